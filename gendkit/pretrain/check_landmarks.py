"""Measure the face engine on the real clips of Nobody's Faces, whose landmarks are known.

python -m gendkit.pretrain.check_landmarks --role report
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gendkit import manifest, video
from gendkit.faces import FaceEngine, choose
from gendkit.pretrain.landmarks import errors
from gendkit.repro import data_dir

# iBUG 300-W order.
GROUPS = {"jaw": slice(0, 17), "brows": slice(17, 27), "nose": slice(27, 36),
          "eyes": slice(36, 48), "mouth": slice(48, 68)}  # fmt: skip


def check(
    root: str | Path, engine: FaceEngine, role: str = "report", n_frames: int = 0
) -> dict[str, float]:
    """Compare found with true landmarks, frame by frame.

    Args:
        root: folder with manifest.csv and landmarks.npz.
        engine: the engine to measure.
        role: which identities: "fit", "select" or "report".
        n_frames: frames of each clip, spread evenly; 0 means all.

    Returns:
        n_frames, n_clips, detected (share of frames with a face), nme, nme_median, failures (share of
        found faces with an error above 0.10), nme of each part of the face, ms_per_frame.

    Raises:
        ValueError: when there is no such clip, or no face is found at all.
    """
    root = Path(root)
    table = manifest.read(root / "manifest.csv")
    table = table[(table["method"] == "real") & (table["role"] == role)]
    if table.empty:
        raise ValueError(f"no real clip of role {role!r} in {root}; expected fit, select or report")
    found, true, n_seen, seconds = [], [], 0, 0.0
    with np.load(root / "landmarks.npz", allow_pickle=False) as truth:
        for name, path in zip(table["video_id"], table["path"], strict=True):
            frames = video.read_frames(root / path)
            picked = video.sample(len(frames), n=n_frames or len(frames))
            begun = time.perf_counter()
            results = engine(frames[picked])
            seconds += time.perf_counter() - begun
            n_seen += len(picked)
            for k, faces in zip(picked, results, strict=True):
                best = choose(faces)
                if best is not None:
                    found.append(best.landmarks)
                    true.append(truth[name][k])
    if not found:
        raise ValueError(
            f"no face found in {n_seen} frames of {root}; check the detector's threshold"
        )
    found, true = np.stack(found), np.stack(true)
    nme = errors(found, true)
    distance = np.linalg.norm(found - true, axis=-1)
    ocular = np.linalg.norm(true[:, 36] - true[:, 45], axis=-1)
    parts = {f"nme_{k}": float((distance[:, s].mean(1) / ocular).mean()) for k, s in GROUPS.items()}
    return {
        "n_clips": len(table),
        "n_frames": n_seen,
        "detected": len(found) / n_seen,
        "nme": float(nme.mean()),
        "nme_median": float(np.median(nme)),
        "failures": float((nme > 0.1).mean()),
        **parts,
        "inter_ocular_pixels": float(ocular.mean()),
        "ms_per_frame": 1000 * seconds / n_seen,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure from the command line and print JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m gendkit.pretrain.check_landmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", default="", help="folder of the benchmark; default data/nobody")
    parser.add_argument("--role", default="report", help="fit, select or report (default)")
    parser.add_argument("--frames", type=int, default=0, help="frames of each clip; 0 means all")
    parser.add_argument("--weights", default="embedded", help="landmark network (see FaceEngine)")
    parser.add_argument("--flip", action="store_true", help="with the mirrored crop as well")
    parser.add_argument("--refine", action="store_true", help="a second pass from the first points")
    a = parser.parse_args(argv)
    engine = FaceEngine(landmarks=a.weights, flip=a.flip, refine=a.refine)
    # the first call compiles face-alignment's decoding
    engine.landmarks(np.zeros((256, 256, 3), np.uint8), [np.array([60.0, 60, 190, 190])])
    found = check(a.data or data_dir() / "nobody", engine, a.role, a.frames)
    print(json.dumps({k: round(v, 5) for k, v in found.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
