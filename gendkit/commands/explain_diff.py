"""``gendkit explain-diff A B``: why two results are not the same."""

import argparse
import json
import sys
from collections.abc import Sequence

_EXAMPLES = """examples:
  gendkit explain-diff crops-1.3 crops-1.5          two folders of gendkit extract
  gendkit explain-diff mine.csv theirs.csv          two scores files, their records beside them
  gendkit explain-diff _build/runs/a _build/runs/b  two runs of gendkit train or test
  gendkit explain-diff a.csv b.csv --json | jq .differences[0]

What differs is listed with the likeliest reason for another AUROC first. Where both sides score the
same videos, the change of the AUROC is measured and split: other videos, other labels, another way
from frames to videos, other frames, and what is left, the scores themselves.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit explain-diff",
        description="Rank what differs between two crop folders, scores files or runs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="a folder of crops or of a run, or a scores file")
    parser.add_argument("b", metavar="B", help="the other, of the same kind")
    parser.add_argument("--n-bootstrap", type=int, default=1000, help="resamples (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Explain from the command line.

    Args:
        argv: Words after `gendkit explain-diff`; None takes them from the command line.

    Returns:
        0 if the two could be compared, whether they differ or not, 1 if not, 2 for wrong use
        (argparse exits with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.n_bootstrap < 1:
        parser.error(f"--n-bootstrap is {args.n_bootstrap}; expected at least 1")
    try:
        from gendkit import compare

        result = compare.compare(args.a, args.b, args.n_bootstrap, args.seed)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit explain-diff: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"a": args.a, "b": args.b, **result.to_dict()}, indent=2, default=str))
    else:
        print(compare.table(result, args.a, args.b))
    return 0


if __name__ == "__main__":
    sys.exit(main())
