"""The command `gendkit weights`: the recipes of the embedded models, and what lies in data/weights."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from gendkit.pretrain import stock

RECIPES = {  # these read their own options
    "landmarks": ("gendkit.pretrain.landmarks", "train the landmark network"),
    "encoder": ("gendkit.pretrain.encoder", "pre-train the encoder on renders"),
    "detector": ("gendkit.pretrain.detector", "tune the encoder's LayerNorms on Nobody's Faces"),
    "report": ("gendkit.pretrain.report", "train with several seeds, measure what the cards state"),
}
_EXAMPLES = """examples:
  gendkit weights list                                        what is shipped
  gendkit weights verify                                      files, hashes, values, cards
  gendkit nobody training --out _build/renders                clean pictures for the recipes
  gendkit weights landmarks --minutes 65 --resume
  gendkit weights encoder --minutes 90 --resume
  gendkit weights detector
  gendkit weights hashes                                      after training
  gendkit weights report --out report.json                    every number, with intervals
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Name of a recipe (or report) and its own options, or list, verify, hashes; None takes
            them from the command line.

    Returns:
        Exit status: 0 done, 1 a recipe failed or faults were found, 2 wrong use, 130 stopped.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv and argv[0] in RECIPES:
            return int(importlib.import_module(RECIPES[argv[0]][0]).main(argv[1:]) or 0)
        args = _parser().parse_args(argv)
        return args.call(args)
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
        more = '; pip install "gendkit[nobody,faces]"' if isinstance(error, ImportError) else ""
        print(f"gendkit weights {argv[0]}: {error}{more}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "stopped; the same command goes on (landmarks and encoder: add --resume)",
            file=sys.stderr,
        )
        return 130


def _list(args: argparse.Namespace) -> int:
    rows = stock.describe(args.root)
    if args.json:
        print(json.dumps({"models": rows}))
        return 0
    line = "{:<10} {:<36} {:>8} {:>11}  {:<12}  {:<8}  {}"
    print(line.format("name", "file", "MB", "parameters", "sha256", "licence", "what for"))
    for r in rows:
        size, digest = f"{r['bytes'] / 1e6:.2f}", r["sha256"][:12]
        row = (r["name"], r["file"], size, r["parameters"], digest, r["licence"], r["purpose"])
        print(line.format(*row))
    return 0


def _verify(args: argparse.Namespace) -> int:
    faults = stock.verify(args.root)
    if args.json:
        print(json.dumps({"ok": not faults, "faults": faults}))
    else:
        print("\n".join(faults) or "all is well")
    return 1 if faults else 0


def _hashes(args: argparse.Namespace) -> int:
    path = stock.write_hashes(args.root)
    print(f"{path.name}: {len(stock.repro.read_json(path))} files; now: gendkit weights verify")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit weights",
        description="The embedded models: recipes, and what lies in data/weights.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, (_, text) in RECIPES.items():
        sub.add_parser(name, help=text)
    for name, call, text in (
        ("list", _list, "the shipped models: file, size, parameters, hash, licence"),
        ("verify", _verify, "check files, hashes, values, sizes, modes and cards"),
        ("hashes", _hashes, "write data/weights/hashes.json anew, after training"),
    ):
        p = sub.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        p.add_argument("--root", default="", help="folder (default: weights in the data folder)")
        if name != "hashes":
            p.add_argument("--json", action="store_true", help="one JSON object on stdout")
        p.set_defaults(call=call)
    return parser


if __name__ == "__main__":
    sys.exit(main())
