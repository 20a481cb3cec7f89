"""``gendkit doctor``: what this installation has and lacks, and the command that mends each lack."""

import argparse
import json
from collections.abc import Sequence

_EXAMPLES = """examples:
  gendkit doctor            everything, a line each; below a red line the command that mends it
  gendkit doctor --quick    without hashing data and weights
  gendkit doctor --json | jq '.lines[] | select(.status != "ok")'

Nothing is downloaded or changed. "missing" and "broken" count only where the fast profile, which
needs no network and no GPU, needs the thing: then the exit code is 1.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit doctor",
        description="Check packages, machine, weights and data of this installation.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="do not hash data and weights")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Examine from the command line.

    Args:
        argv: Words after `gendkit doctor`; None takes them from the command line.

    Returns:
        0 if all that the fast profile needs is there, else 1; 2 for wrong use (argparse exits).
    """
    from gendkit import doctor

    args = _parser().parse_args(argv)
    lines = doctor.examine(args.quick)
    print(json.dumps(doctor.as_dict(lines), indent=2) if args.json else doctor.text(lines))
    return 0 if doctor.healthy(lines) else 1
