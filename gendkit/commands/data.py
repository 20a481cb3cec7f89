"""``gendkit data``: what is known of each dataset, checks of its folder, its manifest, its lists."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gendkit import benchmarks
from gendkit.benchmarks.scan import shown

_EXAMPLES = """examples:
  gendkit data list
  gendkit data show CDFv2
  gendkit data verify FF++ /data/FaceForensics++ --compression c23
  gendkit data manifest FF++ /data/FaceForensics++ --compression c23 --out /data/FaceForensics++/c23.csv
  gendkit data manifest DFD /data/FaceForensics++ --compression c23 --split people --out /data/dfd.csv
  gendkit data manifest generic my/videos --dataset mine --out my/manifest.csv
  gendkit data lists crops/manifest.csv --out GenD

exit status:
  0  done, or nothing is missing
  1  the folder is incomplete, or the work failed (reason on stderr)
  2  wrong use, for example a name that is not known
"""
_SHOWN = 10  # names of a long list that are printed; --json has all


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit data",
        description="The datasets of the paper: rights, how to get them, what should be on disk, "
        "and their manifests.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")

    actions.add_parser("list", parents=[common], help="all datasets, a line each")
    show = actions.add_parser("show", parents=[common], help="all facts of one, with sources")
    show.add_argument("name", help="of a dataset, as gendkit data list gives it")

    verify = actions.add_parser("verify", parents=[common], help="what is missing or extra")
    verify.add_argument("name", help="of a dataset, as gendkit data list gives it")
    verify.add_argument("root", type=Path, metavar="ROOT", help="folder of the dataset")
    verify.add_argument("--compression", help="only this one, for example c23")
    verify.add_argument("--masks", action="store_true", help="masks must be there too")
    verify.add_argument(
        "--subset",
        action="store_true",
        help="ROOT holds a part: expect what its own lists name, not the official counts",
    )

    build = actions.add_parser("manifest", parents=[common], help="write the manifest of a folder")
    build.add_argument("name", help="a dataset, or generic: real/ and one folder for each method")
    build.add_argument("root", type=Path, metavar="ROOT", help="folder of the dataset")
    build.add_argument("--out", type=Path, required=True, metavar="CSV", help="in ROOT or above it")
    build.add_argument("--split", help="official, people, rest or whole; see gendkit data show")
    build.add_argument("--compression", help="only this one (generic: a word for the column)")
    build.add_argument("--dataset", help="generic: name of the set (default: the folder's)")
    build.add_argument(
        "--source",
        choices=("person", "recording"),
        default="person",
        help="what source_id names: person keeps people apart, recording pairs exactly (person)",
    )
    build.add_argument("--shares", default="", metavar="FIT,SELECT,REPORT", help="0.6,0.2,0.2")
    build.add_argument("--seed", type=int, default=0, help="of the split by people (0)")
    build.add_argument("--partial", action="store_true", help="go on where videos are missing")

    lists = actions.add_parser(
        "lists", parents=[common], help="official path lists, after an extraction"
    )
    lists.add_argument("crops", type=Path, metavar="CROPS", help="manifest.csv of an extraction")
    lists.add_argument("--out", type=Path, required=True, help="folder, for example of GenD's code")
    lists.add_argument("--part", help='one folder for all lists, for example "all"')
    return parser


class _WrongUse(ValueError):
    """Words of the command line that cannot be meant."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gendkit data`.

    Args:
        argv: Words after `gendkit data`; None takes them from the command line.

    Returns:
        0 done, 1 incomplete or failed, 2 wrong use.
    """
    args = _parser().parse_args(argv)
    actions = {
        "list": _list,
        "show": _show,
        "verify": _verify,
        "manifest": _manifest,
        "lists": _lists,
    }
    try:
        facts, lines, status = actions[args.action](args)
    except _WrongUse as error:
        print(f"gendkit data: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"gendkit data: {error}", file=sys.stderr)
        return 1
    try:
        print(json.dumps(facts, indent=1) if args.json else "\n".join(lines), flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


_Answer = tuple[dict[str, Any], list[str], int]


def _card(name: str) -> benchmarks.Card:
    try:
        return benchmarks.card(name)
    except ValueError as error:
        raise _WrongUse(error) from error


def _list(args: argparse.Namespace) -> _Answer:
    cards = list(benchmarks.CARDS.values())
    rows = [
        {"key": one.key, "name": one.name, "year": one.year.text, "builds": _builds(one.key)}
        for one in cards
    ]
    lines = [
        f"{row['key']:<7} {row['year']}  {row['name']:<34} "
        f"{'manifest: ' + ', '.join(row['builds']) if row['builds'] else ''}".rstrip()
        for row in rows
    ]
    lines.append(f"{len(rows)} datasets; more: gendkit data show NAME")
    return {"count": len(rows), "datasets": rows}, lines, 0


def _builds(key: str) -> list[str]:
    from gendkit.benchmarks.build import SPLITS

    return list(SPLITS.get(key, ()))


def _show(args: argparse.Namespace) -> _Answer:
    from gendkit.benchmarks.build import NEEDS

    one = _card(args.name)
    expected = [_expected(part) for part in one.parts]
    facts = {
        "key": one.key,
        "name": one.name,
        "aliases": list(one.aliases),
        "facts": {
            heading: [
                {"text": f.text, "source": benchmarks.SOURCES.get(f.source, "")} for f in part
            ]
            for heading, part in one.facts().items()
        },
        "expected": expected,
        "files": [list(places) for places in one.files],
        "compressions": list(one.compressions),
        "splits": _builds(one.key),
        "needs": NEEDS.get(one.key, ""),
    }
    lines = [f"{one.key}: {one.name}" + f" (also {', '.join(one.aliases)})" * bool(one.aliases)]
    for heading, part in one.facts().items():
        lines.append(heading)
        lines += [f"  {fact.cited}" for fact in part]
    lines.append("expected on disk, below its folder")
    for row in expected:
        count = f"{row['count']} videos" if row["count"] else "number unknown"
        lines.append(f"  {row['folder']}/  {row['method']}, {count}")
    lines += [f"  {places[0]}" for places in one.files]
    if one.compressions:
        lines.append(f"  {{c}} is one of {', '.join(one.compressions)}")
    if facts["splits"]:
        lines.append(f"manifest: --split {', '.join(facts['splits'])}")
    else:
        lines.append(f"manifest: no builder; needed: {facts['needs']}")
    return facts, lines, 0


def _expected(part: benchmarks.Part) -> dict[str, Any]:
    return {
        "folder": part.folders[0],
        "method": part.method,
        "count": part.count,
        "masks": part.masks,
    }


def _verify(args: argparse.Namespace) -> _Answer:
    from gendkit.benchmarks.verify import verify

    card = _card(args.name)
    report = verify(card, args.root, args.compression, args.masks, args.subset)
    return report, _report(card, report), 0 if report["complete"] else 1


def _report(card: benchmarks.Card, report: dict[str, Any]) -> list[str]:
    lines = [f"{card.name} in {report['root']}", f"expected tree: {report['tree']}"]
    for part in report["parts"]:
        of = f" of {part['expected']}" if part["expected"] else ""
        state = f"{part['found']}{of} videos" if part["exists"] else "missing folder"
        lines.append(f"  {part['folder']}/  {state}")
        lines += _names("missing", part["missing"])
        unnamed = part["missing_count"] - len(part["missing"])
        if part["exists"] and unnamed > 0 and part["expected"]:
            lines.append(f"      {unnamed} more are missing; which ones is not known")
        for what in ("unlisted", "odd", "empty", "doubled"):
            lines += _names({"odd": "unreadable name"}.get(what, what), part[what])
    for one in report["masks"]:
        state = f"{one['found']} masks" if one["exists"] else "no masks (optional)"
        lines.append(f"  {one['folder']}/  {state}")
        if one["exists"]:
            lines += _names("without mask", one["missing"])
    lines += [f"  missing list: {name}" for name in report["files"]]
    lines += [f"  wrong list: {problem}" for problem in report["problems"]]
    lines += [f"  extra: {line.strip()}" for line in _names("", report["extra"])]
    lines.append("complete" if report["complete"] else "incomplete")
    if report["todo"]:
        lines.append("to do")
        lines += [f"  {line}" for line in report["todo"]]
    return lines


def _names(what: str, names: Sequence[str]) -> list[str]:
    lines = [f"      {what} {shown(name)}".rstrip() for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        lines.append(f"      {what} {len(names) - _SHOWN} more (all: --json)")
    return lines


def _manifest(args: argparse.Namespace) -> _Answer:
    from gendkit.benchmarks import build

    shares = _shares(args.shares)
    if args.name == "generic":
        table, notes = build.build_generic(
            args.root,
            args.dataset,
            args.split or build.SPLITS["generic"][0],
            args.compression or "",
            shares,
            args.seed,
        )
    else:
        if args.dataset:
            raise _WrongUse("--dataset is for generic; a known dataset has its name")
        table, notes = build.build(
            _card(args.name),
            args.root,
            args.split,
            args.compression,
            args.source,
            shares,
            args.seed,
            args.partial,
        )
    path = build.write(table, args.root, args.out)
    keys = ["method", "compression", "role"]
    counts = table.groupby(keys, sort=True).size().reset_index(name="videos")
    facts = {
        "manifest": str(path),
        "videos": len(table),
        "masks": int((table["mask_path"] != "").sum()),
        "counts": counts.to_dict("records"),
        "notes": notes,
    }
    lines = [f"{path}: {len(table)} videos, {facts['masks']} with a mask"]
    lines += [
        f"  {row['role']:<7} {row['method']:<18} {row['compression']:<5} {row['videos']:>6}".rstrip()
        for row in facts["counts"]
    ]
    lines += [f"note: {shown(note)}" for note in notes]
    lines.append(f"next: gendkit audit {path}; gendkit extract {path} --out CROPS")
    return facts, lines, 0


def _shares(text: str) -> dict[str, float] | None:
    if not text:
        return None
    roles = ("fit", "select", "report")
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or min(values) < 0 or not sum(values) < float("inf") or not sum(values):
        raise _WrongUse(f"got --shares {text!r}, expected three numbers as 0.6,0.2,0.2")
    return {role: value for role, value in zip(roles, values, strict=True) if value}


def _lists(args: argparse.Namespace) -> _Answer:
    from gendkit.benchmarks.paths import write_lists

    table = write_lists(args.crops, args.out, args.part)
    rows = table.to_dict("records")
    lines = [f"  {row['file']}  {row['n_videos']} videos, {row['n_frames']} frames" for row in rows]
    return {"out": str(args.out), "lists": rows}, [f"{args.out}: {len(rows)} lists", *lines], 0


if __name__ == "__main__":
    sys.exit(main())
