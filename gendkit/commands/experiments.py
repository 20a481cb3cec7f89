"""``gendkit experiments``: list the named runs, show one, compare two, train and store some."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gendkit import experiments
from gendkit.experiments import Experiment, explain

_EXAMPLES = """examples:
  gendkit experiments list --family base
  gendkit experiments list 'wacv-PE_L-*-seed0'
  gendkit experiments list --source kit
  gendkit experiments show wacv-LN+L2+UnAl-seed0
  gendkit experiments diff wacv-LN+L2 wacv-LN+L2+UnAl
  gendkit experiments diff wacv-LN+L2+UnAl-seed0-blur-7-1.0 \\
      wacv-LN+L2+UnAl-seed0-blur-7-1.0-fixed
  gendkit experiments run 'nobody-LN*' nobody-baseline       train what data/results lacks
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit experiments",
        description="The 803 runs of the official code, corrected versions of those that do not "
        "do what their name says (NAME-fixed), and the kit's own on Nobody's Faces.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")

    which = actions.add_parser("list", parents=[common], help="names, a line each")
    which.add_argument("pattern", nargs="?", help="part of a name, or a pattern with * and ?")
    which.add_argument("--family", help="for example base, sweep, paired, robustness, ladder")
    which.add_argument("--source", choices=experiments.SOURCES, help="whose runs")

    show = actions.add_parser("show", parents=[common], help="settings, note, what the kit runs")
    show.add_argument("name", help="exactly as list gives it")

    diff = actions.add_parser("diff", parents=[common], help="settings in which two runs differ")
    diff.add_argument("a", help="name of a run")
    diff.add_argument("b", help="name of the other")

    run = actions.add_parser(
        "run",
        parents=[common],
        help="train what is not stored yet, store the scores of every report video",
        description="Train experiments of the kit on the embedded encoder, one after the other, "
        "and store the scores of the report people. Killed, the same line goes on.",
    )
    run.add_argument("patterns", nargs="+", metavar="PATTERN", help="names, with * and ?")
    run.add_argument("--store", default="", help="folder (default: results in the data folder)")
    run.add_argument("--work", default="_build/experiments", help="folder of the trainings")
    run.add_argument("--workers", type=int, default=2, help="processes of the extraction (2)")
    run.add_argument("--again", action="store_true", help="also train what is stored but stale")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gendkit experiments`.

    Args:
        argv: Words after `gendkit experiments`; None takes them from the command line.

    Returns:
        0 if something was found, 1 if `list` found nothing or a training failed, 2 for wrong use
        (reason on stderr).
    """
    args = _parser().parse_args(argv)
    try:
        if args.action == "run":
            return _run(args)
        text, status = {"list": _list, "show": _show, "diff": _diff}[args.action](args)
    except ValueError as error:
        print(f"gendkit experiments: {error}", file=sys.stderr)
        return 2
    try:
        if text:
            print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run(args: argparse.Namespace) -> int:
    from gendkit import results

    results.planned(args.patterns)  # wrong names first
    try:
        # Only the summary may stand on stdout when a program reads it.
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            added = results.run(args.patterns, args.store, args.work, args.workers, args.again)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"gendkit experiments run: {error}", file=sys.stderr)
        return 1
    where = str(results.store_dir(args.store))
    text = f"{len(added)} runs added to {where}"
    print(json.dumps({"added": added, "store": where}) if args.json else text)
    return 0


def _list(args: argparse.Namespace) -> tuple[str, int]:
    names = experiments.names(args.pattern, args.family, args.source)
    found = [experiments.get(name) for name in names]
    if args.json:
        rows = [
            {
                "name": run.name,
                "family": run.family,
                "source": run.source,
                "trains": run.trains,
                "backbone": run.backbone,
                "note": run.note,
            }
            for run in found
        ]
        return json.dumps({"count": len(rows), "experiments": rows}, indent=1), 0 if rows else 1
    if not found:
        print("gendkit experiments: no experiment fits; try a shorter pattern", file=sys.stderr)
        return "", 1
    wide = max(len(name) for name in names)
    lines = [
        f"{run.name:<{wide}}  {run.family:<11}  {run.source:<8}  "
        f"{'trains' if run.trains else 'tests':<6}  {'trap' if 'Trap:' in run.note else ''}".rstrip()
        for run in found
    ]
    return "\n".join([*lines, f"{len(found)} in all; more: gendkit experiments show NAME"]), 0


def _show(args: argparse.Namespace) -> tuple[str, int]:
    run = experiments.get(args.name)
    does, lacks = explain.runs(run), explain.cannot(run)
    if args.json:
        facts = {
            "name": run.name,
            "family": run.family,
            "source": run.source,
            "trains": run.trains,
            "note": run.note,
            "settings": run.settings,
            "kit": run.view(),
            "runs": does,
            "cannot": lacks,
        }
        return json.dumps(facts, indent=1), 0
    lines = [run.name, f"  family {run.family}, source {run.source}"]
    if run.note:
        lines.append(f"  note: {run.note}")
    if run.settings:
        lines.append("settings (official names; those that differ from the official defaults)")
        lines += _table(run.settings)
    lines.append("the kit")
    lines += [f"  {line}" for line in does or ["runs nothing of this"]]
    if lacks:
        lines.append("the kit cannot")
        lines += [f"  {line}" for line in lacks]
    if does:
        where = " --data ROOT" if run.source == "official" else ""
        lines.append(f"run it: gendkit {'train' if run.trains else 'test'} {run.name}{where}")
    return "\n".join(lines), 0


def _table(settings: Mapping[str, Any]) -> list[str]:
    wide = max(len(name) for name in settings)
    return [f"  {name:<{wide}}  {_brief(value)}" for name, value in settings.items()]


def _brief(value: Any) -> str:
    """Write a value on one line; of many words only the first and how many more."""
    if isinstance(value, list) and len(value) > 4:
        return f"{value[0]} and {len(value) - 1} more"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_brief(item)}" for name, item in value.items()) or "none"
    return "none" if value is None else str(value)


def _diff(args: argparse.Namespace) -> tuple[str, int]:
    a, b = experiments.get(args.a), experiments.get(args.b)
    differs = experiments.difference(a, b)
    if args.json:
        facts = {"a": a.name, "b": b.name, "differs": differs, "notes": _notes(a, b)}
        return json.dumps(facts, indent=1), 0
    lines = [
        f"{name}: {_brief(left)} -> {_brief(right)}" for name, (left, right) in differs.items()
    ]
    lines = lines or ["no setting differs"]
    return "\n".join([*lines, *(f"note on {name}: {t}" for name, t in _notes(a, b).items())]), 0


def _notes(*runs: Experiment) -> dict[str, str]:
    return {run.name: run.note for run in runs if run.note}
