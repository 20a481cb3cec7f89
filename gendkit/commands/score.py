"""``gendkit score FILE...``: one score a file, with its threshold and what it does not say."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  gendkit score photo.png clip.mp4            the embedded detector, no download
  gendkit score folder/ --csv > scores.csv    every image and video in a folder
  gendkit score clip.mp4 --n-frames 32 --json | jq .files[0].p_fake
  gendkit score clip.mp4 --model yermandy/GenD_CLIP_L_14
  gendkit score clip.mp4 --model _build/out/runs/example   a run of gendkit train
  gendkit score group.jpg --policy all --faces   a line for every face
  gendkit score clip.mp4 --explain --out pages   a page: frames, crops, scores, a tested map

A file that cannot be scored (no face, broken, missing) gets a row with the reason, the others are
still scored, and the exit code is 1.
"""
_SCORED = ("ok", "partial")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit score",
        description="Find the faces of images and videos and score them with a detector.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="images, videos or folders")
    parser.add_argument(
        "--model", help="a released model's id or a folder (default: the embedded detector)"
    )
    parser.add_argument(
        "--n-frames", type=int, default=8, help="frames of a video, spread evenly (default 8)"
    )
    parser.add_argument(
        "--detector",
        default="dlib",
        help="face detector: dlib, or one of face-alignment: sfd, blazeface, retinaface, scrfd, "
        "yunet (default dlib)",
    )
    parser.add_argument(
        "--det-threshold",
        type=float,
        default=0.0,
        metavar="SCORE",
        help="lowest score of the face detector that counts as a face (0: the detector's own)",
    )
    parser.add_argument(
        "--policy",
        choices=("largest", "central", "all"),
        default="largest",
        help="which face of several; all: a frame counts by its highest face (default largest)",
    )
    parser.add_argument(
        "--aggregate",
        choices=("mean", "median"),
        help="how the scores of the frames become one (default: as the threshold was set, or mean)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="call fake from this score on, in [0, 1] (default: the one stored with the model)",
    )
    parser.add_argument("--faces", action="store_true", help="a line or row for every face")
    parser.add_argument(
        "--explain", action="store_true", help="write a page on every file, with a tested map"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="of these pages (default: _build/out/score)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--csv", action="store_true", help="a CSV table on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Score files from the command line.

    Args:
        argv: Words after `gendkit score`; None takes them from the command line.

    Returns:
        0 if every file was scored, 1 if one was not or the model could not be loaded, 2 for wrong
        use (argparse exits with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.n_frames < 1:
        parser.error(f"--n-frames is {args.n_frames}; expected at least 1")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold is {args.threshold}; expected a number in [0, 1]")
    if args.out is not None and not args.explain:
        parser.error("--out is the folder of the pages that --explain writes; add --explain")
    try:
        with _soon(args):
            return _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit score: {error}", file=sys.stderr)
        return 1


def _soon(args: argparse.Namespace) -> AbstractContextManager:
    """Spare a few files the compiler, which only many frames earn back."""
    from gendkit import score

    few = len(args.files) * args.n_frames <= 1000 and not any(Path(f).is_dir() for f in args.files)
    return score.interpreted() if few else nullcontext()


def _run(args: argparse.Namespace) -> int:
    from gendkit import faces, score

    detector = score.load(args.model, args.device)
    stored = (detector.threshold or {}).get("how")
    aggregate = args.aggregate or (stored if stored in score.AGGREGATES else "mean")
    if args.threshold is not None:
        given = {"value": args.threshold, "rule": "given on the command line"}
        detector = replace(detector, threshold=given)
    engine = faces.FaceEngine(
        detector=args.detector, device=args.device, threshold=args.det_threshold
    )
    pages: dict[str, str] = {}
    seen = _pages(args, detector, pages) if args.explain else None
    results = []
    found = score.score_files(
        args.files, detector, engine, args.n_frames, args.policy, aggregate, seen
    )
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_FACE_COLUMNS if args.faces else _COLUMNS)
    for result in found:
        results.append(result)
        if args.csv:
            writer.writerows(_face_rows(result) if args.faces else [_row(result)])
        elif not args.json:
            print("\n".join(_lines(result, args.faces, pages.get(result.path))), flush=True)
    notes = [score.explain(detector.threshold), score.MEANING]
    notes += [detector.limits] if detector.limits else []
    if args.json:
        facts = {
            "model": detector.name,
            "threshold": detector.threshold,
            "n_frames": args.n_frames,
            "policy": args.policy,
            "aggregate": aggregate,
            "notes": notes,
            "files": [
                result.to_dict() | ({"page": pages.get(result.path)} if args.explain else {})
                for result in results
            ],
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n" + "\n".join(notes), file=sys.stderr if args.csv else sys.stdout)
    return 0 if all(result.status in _SCORED for result in results) else 1


def _pages(args: argparse.Namespace, detector: Any, pages: dict[str, str]) -> Callable:
    from gendkit import repro, score_page

    folder = args.out or repro.out_dir() / "score"

    def write(result: Any, crops: list) -> None:
        pages[result.path] = str(score_page.write(result, crops, detector, folder))

    return write


_COLUMNS = (
    "path", "status", "p_fake", "calibrated", "call", "lowest", "highest", "n_frames", "n_faces",
    "n_several", "message",
)  # fmt: skip
_FACE_COLUMNS = ("path", "status", "frame", "face", "x0", "y0", "x1", "y1", "p_fake", "message")


def _row(result: Any) -> list:
    scores = [face.p_fake for face in result.faces]
    ends = (min(scores), max(scores)) if scores else ("", "")
    values = ["" if value is None else value for value in (result.p_fake, result.calibrated)]
    counts = (result.n_frames, result.n_faces, result.n_several)
    return [
        result.path, result.status, *values, result.call or "", *ends, *counts, result.message
    ]  # fmt: skip


def _face_rows(result: Any) -> list[list]:
    if not result.faces:
        return [[result.path, result.status, *[""] * 7, result.message]]
    return [
        [result.path, result.status, face.frame, face.face, *face.box, face.p_fake, result.message]
        for face in result.faces
    ]


def _lines(result: Any, each: bool, page: str | None) -> list[str]:
    if result.p_fake is None:
        return [f"{result.path}: no score ({result.status}): {result.message}"]
    scores = [face.p_fake for face in result.faces]
    call = f", called {result.call}" if result.call else ""
    if result.calibrated is not None:
        call += f", calibrated {result.calibrated:.3f}"
    if len(scores) > 1:
        what = f"{len(scores)} faces in {result.n_faces} of {result.n_frames} frames"
        call += f" ({what}, {min(scores):.3f} to {max(scores):.3f})"
    note = f"; {result.message}" if result.message else ""
    lines = [f"{result.path}: P(fake) {result.p_fake:.3f}{call}{note}"]
    for face in result.faces if each else ():
        box = " ".join(f"{value:.0f}" for value in face.box)
        lines.append(f"  frame {face.frame} face {face.face} box {box}: P(fake) {face.p_fake:.3f}")
    return lines + ([f"  page: {page}"] if page else [])
