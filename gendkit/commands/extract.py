"""``gendkit extract SOURCE...``: videos and images to aligned face crops, a manifest and a report."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendkit.extract import ExtractReport

_EXAMPLES = """examples:
  gendkit extract data/nobody/manifest.csv --out _build/crops --n-frames 8
  gendkit extract clip1.mp4 clip2.mp4 --out _build/crops
  gendkit extract list.txt --root videos --out _build/crops --workers 2
  gendkit extract videos/ --mask-folder masks/ --out _build/crops
  gendkit extract videos/ --out _build/crops --rule at_least --size none --detector retinaface \\
      --det-threshold 0.1          what the released GenD models were trained on
  gendkit extract videos/ --out /shared/crops --cluster tcp://10.0.0.1:8786

Videos that are finished are skipped, so a run that was killed goes on when it is started again; a
folder made with other settings is refused. Progress and times go to stderr. The exit code is 1 if no
crop was made, or with --strict if any input is not "ok".
"""
_RULES = ("fixed_num_frames", "fixed_stride", "at_least", "all")
_POLICIES = ("largest", "central", "mask", "all")
_DETECTORS = ("dlib", "sfd", "blazeface", "retinaface", "scrfd", "yunet")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit extract",
        description="Cut aligned face crops out of videos and images, with a manifest and a report.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        nargs="+",
        help="a manifest (.csv), a list of files (.txt), or videos, images and folders of them",
    )
    add(
        "--out", "-o", type=Path, help="folder for the crops (default: a folder of the build cache)"
    )
    add("--root", type=Path, help="what a list's or a manifest's paths start at (its own folder)")
    add("--method", default="unlabelled", help="of inputs without a manifest; real gives label 0")

    frames = parser.add_argument_group("frames")
    frames.add_argument(
        "--rule", "--mode", "-m", choices=_RULES, default="fixed_num_frames", help="which frames"
    )
    frames.add_argument(
        "--n-frames",
        "--num-frames",
        "-n",
        type=_count,
        help="frames a video (default 32); with at_least: crops; with fixed_stride: at most so many "
        "(default: no end); -1: all",
    )
    frames.add_argument("--stride", type=int, default=1, help="step of fixed_stride (default 1)")

    found = parser.add_argument_group("faces")
    found.add_argument("--detector", choices=_DETECTORS, default="dlib", help="default dlib")
    found.add_argument(
        "--det-threshold",
        "--det-thres",
        type=float,
        default=0.0,
        help="lowest score of a face (default 0: the detector's own)",
    )
    found.add_argument("--upsample", type=int, default=0, help="times dlib doubles the image (0)")
    found.add_argument(
        "--detect-size",
        type=int,
        default=960,
        help="longest side of an image for detection, 0: as it is (default 960)",
    )
    found.add_argument("--landmarks", default="embedded", help="embedded, official or a file")
    found.add_argument("--refine", action="store_true", help="find the landmarks twice")
    found.add_argument(
        "--policy", choices=_POLICIES, help="which face of several (largest; with masks: mask)"
    )
    found.add_argument(
        "--mask-folder",
        type=Path,
        help="masks under the names of the videos, or with _mask: the face that they meet most",
    )
    found.add_argument("--track", action="store_true", help="follow faces, detect where unsure")
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")

    crops = parser.add_argument_group("crops")
    crops.add_argument("--scale", "-s", type=float, default=1.3, help="margin (default 1.3)")
    crops.add_argument(
        "--size",
        "--target-size",
        type=_size,
        default=256,
        help="side in pixels (default 256); none or 0: native",
    )

    work = parser.add_argument_group("work")
    work.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    work.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler does the work")
    work.add_argument("--redo", action="store_true", help="do finished videos again")
    work.add_argument("--strict", action="store_true", help="exit code 1 if any input is not ok")
    work.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1 and value != -1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of frames; -1 means all")
    return value


def _size(text: str) -> int:
    """Read 256, 256,256, none or 0."""
    if text.lower() == "none":
        return 0
    sides = {int(part) for part in text.split(",")}
    if len(sides) != 1:
        raise argparse.ArgumentTypeError(f"{text}: crops are square; give one number, as 256")
    return sides.pop()


def main(argv: Sequence[str] | None = None) -> int:
    """Extract from the command line.

    Args:
        argv: Words after `gendkit extract`; None takes them from the command line.

    Returns:
        0 if there are crops, 1 if there is none or the work failed, 2 for wrong use (argparse exits
        with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    tables = [s for s in args.source if Path(s).suffix.lower() in (".csv", ".txt")]
    if tables and len(args.source) > 1:
        parser.error(f"{tables[0]} is a table of inputs; give it alone")
    if args.cluster and args.workers > 1:
        parser.error("give --workers or --cluster; a cluster has its own workers")
    if args.mask_folder and args.policy not in (None, "mask"):
        parser.error(f"--mask-folder goes with --policy mask, not {args.policy}")
    try:
        return _run(args, tables[0] if tables else args.source)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"gendkit extract: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace, source: Any) -> int:
    from gendkit import extract

    done = extract.run(
        source,
        args.out,
        root=args.root,
        **_frames(args),
        engine=_engine(args),
        scale=args.scale,
        size=args.size or None,
        policy=args.policy or ("mask" if args.mask_folder else "largest"),
        workers=args.workers,
        method=args.method,
        mask_folder=args.mask_folder,
        track=args.track,
        cluster=args.cluster,
        redo=args.redo,
    )
    counts = {str(k): int(n) for k, n in done.report["status"].value_counts().items()}
    print(times(done.speed), file=sys.stderr)
    if args.json:
        bad = done.report[done.report["status"] != "ok"]
        facts = {
            "folder": str(done.folder),
            "manifest": str(done.folder / "manifest.csv"),
            "n_crops": len(done.crops),
            "status": counts,
            "not_ok": bad[["path", "status", "message"]].to_dict("records"),
            "speed": done.speed,
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print(_text(done, counts))
    whole = set(counts) == {"ok"} or not args.strict
    return 0 if len(done.crops) and whole else 1


def _frames(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `extract.run` for the choice of frames; -1 and no number mean what help says."""
    every = args.n_frames == -1
    if args.rule == "fixed_stride":
        limit = None if every else args.n_frames
        return {"rule": args.rule, "stride": args.stride, "limit": limit}
    if every or args.rule == "all":
        return {"rule": "all"}
    return {"rule": args.rule, "n_frames": args.n_frames or 32}


def _engine(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "detector": args.detector,
        "landmarks": args.landmarks,
        "device": args.device,
        "threshold": args.det_threshold,
        "upsample": args.upsample,
        "detect_size": args.detect_size or None,
        "refine": args.refine,
    }


def times(speed: dict[str, Any]) -> str:
    """Say how fast an extraction was and where its time went.

    Args:
        speed: As `ExtractReport.speed`.

    Returns:
        One or two lines.
    """
    if not speed["n_videos"]:
        return "extract: everything was done before"
    head = (
        f"extract: {speed['n_frames']} frames of {speed['n_videos']} videos in "
        f"{speed['seconds']:.1f} s, {speed['frames_per_second']:.1f} frames a second"
    )
    whole = sum(speed["stages"].values()) or 1.0
    parts = [f"{name} {s:.1f} s ({s / whole:.0%})" for name, s in speed["stages"].items()]
    return f"{head}\n  {', '.join(parts)}; decoding and writing run beside the rest"


def _text(done: "ExtractReport", counts: dict[str, int]) -> str:
    lines = [f"{status:<12}{n}" for status, n in counts.items()]
    asked, found = int(done.report["n_asked"].sum()), int(done.report["n_faces"].sum())
    share = f", {found / asked:.1%}" if asked else ""
    lines.append(f"{found} of {asked} frames gave a crop{share}; {len(done.crops)} crops")
    bad = done.report[done.report["status"] != "ok"]
    lines += [f"  {r.path}: {r.status}: {r.message}" for r in bad.head(10).itertuples()]
    if len(bad) > 10:
        lines.append(f"  ... and {len(bad) - 10} more in report.csv")
    lines.append(f"everything is in {done.folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
