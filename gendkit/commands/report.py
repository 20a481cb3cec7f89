"""``gendkit report``: the paper's tables with one's own numbers beside them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

_EXAMPLES = """examples:
  gendkit report                                  every published figure, with its source and tag
  gendkit report results/                         filled from all scores files and runs in a folder
  gendkit report scores.csv --as "GenD PE"        a file whose record does not name its model
  gendkit report results/ --table cells averages --out filled

Benchmarks are found by their names (gendkit data list), models by the records that gendkit train and
gendkit test leave beside their scores: an experiment of the official code, or a released model. A cell
is filled by its own data only; the others say what they need.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit report",
        description="Published figures of the paper, ours beside them, with intervals.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scores", nargs="*", type=Path, metavar="SCORES", help="scores files, runs or folders"
    )
    parser.add_argument(
        "--as",
        dest="name",
        default="",
        metavar="NAME",
        help="what was scored: an experiment, a released model's id, or a row such as 'GenD PE'",
    )
    parser.add_argument("--table", nargs="+", default=[], metavar="TABLE", help="only these tables")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="all tables, also those that the scores do not touch (the default without SCORES)",
    )
    parser.add_argument(
        "--aggregate", choices=("mean", "median"), default="mean", help="frames to video (mean)"
    )
    parser.add_argument("--n-bootstrap", type=int, default=1000, help="resamples (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    parser.add_argument("--out", type=Path, help="folder for report.csv, report.md, report.json")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the tables from the command line.

    Args:
        argv: Words after `gendkit report`; None takes them from the command line.

    Returns:
        0 done, 1 a file could not be read, 2 for wrong use (argparse exits with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.n_bootstrap < 1:
        parser.error(f"--n-bootstrap is {args.n_bootstrap}; expected at least 1")
    if args.name and not args.scores:
        parser.error("--as says what SCORES are; give scores files too")
    try:
        return _run(args, parser)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit report: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from gendkit import paper, report

    known = [*paper.tables().index, report.OTHER]
    if unknown := [name for name in args.table if name not in known]:
        parser.error(f"--table {unknown[0]}: expected some of {', '.join(known)}")
    if args.name and not report.identify(args.name)[0]:
        parser.error(f"--as {args.name!r}: {report.identify(args.name)[1]}")
    runs = [report.load(path, args.name, args.aggregate) for path in report.find(args.scores)]
    filled = report.fill(runs, args.n_bootstrap, args.seed)
    chosen = args.table
    if runs and not chosen and not args.paper:
        chosen = list(dict.fromkeys(filled.loc[filled["n_runs"] > 0, "table"]))
    shown = filled[filled["table"].isin(chosen)] if chosen else filled
    if args.out:
        facts = {"files": [run.provenance for run in runs], "n_bootstrap": args.n_bootstrap}
        report.write(shown, args.out, **facts, seed=args.seed)
    if args.json:
        plain = shown.astype(object).where(shown.notna(), None)
        print(json.dumps({"rows": plain.to_dict("records")}, ensure_ascii=False))
    else:
        print(report.text(shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
