"""`gendkit bench`: speed and memory of the kit, each beside a baseline in the same run."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

_EXAMPLES = """examples:
  gendkit bench                      all parts, about three minutes on two idle cores
  gendkit bench training decode      two of them
  gendkit bench --rounds 3 --json    the best of three processes each, for a program
  gendkit bench --out bench.json     keep the numbers

Only the ratios can be compared between machines, and only if nothing else runs.
"""


def _parser() -> argparse.ArgumentParser:
    from gendkit.bench import PARTS

    parser = argparse.ArgumentParser(
        prog="gendkit bench",
        description=(
            "Measure the embedded networks, training, decoding, landmarks in batches and workers "
            "against baselines: images a second, CPU time, peak memory, size, and the ratio of kit "
            "to baseline of each. Where a ratio is expected, a miss is printed."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="processes of each side (default 1)")
    parser.add_argument("--out", type=Path, help="write the result as JSON to this file too")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after `gendkit bench`; None takes them from the command line.

    Returns:
        0 done, 1 a measurement failed, 2 wrong usage (the reason is on stderr).
    """
    from gendkit import bench, repro

    args = _parser().parse_args(argv)
    unknown = [part for part in args.part if part not in bench.PARTS]
    if unknown or args.rounds < 1:
        what = f"unknown part {unknown[0]!r}" if unknown else f"--rounds is {args.rounds}"
        parts = ", ".join(bench.PARTS)
        print(f"gendkit bench: {what}; expected some of {parts} and --rounds >= 1", file=sys.stderr)
        return 2
    try:
        result = bench.run(args.part or bench.PARTS, bench.Size(rounds=args.rounds))
        if args.out:
            repro.write_json(args.out, result)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"gendkit bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, sort_keys=True) if args.json else bench.table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
