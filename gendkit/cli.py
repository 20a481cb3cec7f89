"""The command `gendkit`: a thin door to functions that live elsewhere."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from gendkit import __version__

_EXAMPLES = """examples:
  gendkit extract data/nobody/manifest.csv --out _build/crops --n-frames 8
  gendkit extract clip1.mp4 clip2.mp4 --out _build/crops
  gendkit audit data/nobody/manifest.csv
  gendkit nobody build      make Nobody's Faces again, from seeds
  gendkit nobody verify     check its files, tables, clips and masks (more: gendkit nobody --help)
  gendkit weights --help    the recipes of the embedded models
"""

# These modules read their own options; here is only the way to them.
_FORWARDED = {
    "train": ("gendkit.commands.train", "train a detector by a named experiment"),
    "test": ("gendkit.commands.test", "tables with intervals from a run or a scores file"),
    "score": ("gendkit.commands.score", "score images and videos"),
    "experiments": ("gendkit.commands.experiments", "the paper's 803 runs and the kit's own"),
    "convert": ("gendkit.commands.convert", "released models in and out, adapters"),
    "bench": ("gendkit.commands.bench", "speed and memory, each against a baseline"),
    "data": ("gendkit.commands.data", "datasets: rights, checks of a folder, manifests, path lists"),
    "audit": ("gendkit.audit", "what makes results on a set untrue: leaks, twins, shortcuts"),
    "nobody": ("gendkit.nobody.build", "the generator of Nobody's Faces"),
    "weights": ("gendkit.pretrain.weights", "the recipes of the embedded models"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit",
        description="Deepfake detection kit: see the book for what each step means.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gendkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    extract = commands.add_parser("extract", help="videos or images to aligned face crops")
    extract.add_argument("source", nargs="+", help="a manifest (.csv), videos, images or folders")
    extract.add_argument("--out", required=True, help="folder for the crops and their manifest")
    extract.add_argument("--n-frames", type=int, default=32, help="frames per video (default 32)")
    extract.add_argument("--scale", type=float, default=1.3, help="crop margin (default 1.3)")
    extract.add_argument("--size", type=int, default=256, help="side of a crop, 0 keeps the native")
    extract.add_argument("--policy", default="largest", help="which face of several (largest)")
    extract.add_argument("--workers", type=int, default=1, help="processes (default 1)")

    for name, (_, text) in _FORWARDED.items():
        commands.add_parser(name, help=text)
    return parser


def _extract(args: argparse.Namespace) -> int:
    from gendkit import extract

    one_manifest = len(args.source) == 1 and Path(args.source[0]).suffix == ".csv"
    done = extract.run(
        args.source[0] if one_manifest else args.source,
        args.out,
        n_frames=args.n_frames,
        scale=args.scale,
        size=args.size or None,
        policy=args.policy,
        workers=args.workers,
    )
    print(done.report["status"].value_counts().to_string())
    return 0 if (done.report["status"] == "ok").any() else 1


def _forward(module: str, argv: Sequence[str]) -> int:
    """Call `main(argv)` of a module of the generator."""
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{module} is not part of this installation of gendkit.")
    return int(importlib.import_module(module).main(list(argv)) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after `gendkit`; None takes them from the command line.

    Returns:
        Exit status: 0 done, 1 nothing could be done, 2 wrong use (with the reason on stderr).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv and argv[0] in _FORWARDED else None
    args = argparse.Namespace(command=command) if command else _parser().parse_args(argv)
    try:
        if command:
            return _forward(_FORWARDED[command][0], argv[1:])
        return _extract(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit {args.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
