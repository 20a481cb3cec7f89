"""``gendkit audit MANIFEST``: everything that makes results on a set of videos untrue."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gendkit import manifest
from gendkit.audit.columns import balance, measured, shared_reals
from gendkit.audit.duplicates import near_duplicates
from gendkit.audit.shortcuts import KINDS, as_table, probes
from gendkit.repro import write_json

KEPT_APART = ("source_id", "donor_id", "scene_id", "sha256")  # no value under two roles

_EXAMPLES = """examples:
  gendkit audit data/nobody/manifest.csv
  gendkit audit my/manifest.csv --by-method --out audit.json
  gendkit audit my/manifest.csv --probes metadata --strict

Exit status 1 if something makes results untrue, with --strict also for warnings: made for CI.
"""


def disjointness(table: pd.DataFrame) -> pd.DataFrame:
    """Count what stands under two roles: people, donors, scenes, files.

    Args:
        table: A manifest; `scene_id` is looked at where there is such a column.

    Returns:
        One row per column, and one for people linked through donors: what, n_values, n_shared
        (values under two roles or more), first (the first of them, or "").

    Raises:
        ManifestError: If the table is not valid.
    """
    table = manifest.validate(table)
    linked = manifest.components(table)
    scope = table["dataset"] + "/"
    columns = {
        name: (scope + table[name]).where(table[name] != "", "")
        for name in KEPT_APART
        if name in table
    }
    rows = []
    for what, values in {**columns, "linked people": linked}.items():
        used = (values != "") & (table["role"] != "")
        roles = table["role"][used].groupby(values[used]).nunique()
        shared = sorted(roles.index[roles > 1])
        rows.append((what, len(roles), len(shared), shared[0] if shared else ""))
    return pd.DataFrame(rows, columns=["what", "n_values", "n_shared", "first"])


def main(argv: Sequence[str] | None = None) -> int:
    """Audit a manifest from the command line.

    Args:
        argv: Words after `gendkit audit`; None takes them from the command line.

    Returns:
        0 if nothing was found, 1 if an error or a shortcut was, 2 for wrong use (reason on stderr).
    """
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit audit: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit audit",
        description="Look for leaks, near-duplicates, uneven classes, reals that columns share, and "
        "shortcuts in a set of videos.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifest", help="the manifest (.csv); paths are relative to its folder")
    parser.add_argument(
        "--probes", default=",".join(KINDS), help=f"shortcut probes to run ({','.join(KINDS)})"
    )
    parser.add_argument("--by-method", action="store_true", help="probe each manipulation as well")
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and resamples (0)")
    parser.add_argument("--strict", action="store_true", help="warnings give exit status 1, too")
    parser.add_argument("--out", help="file for all findings (JSON)")
    return parser


def _run(args: argparse.Namespace) -> int:
    table = manifest.read(args.manifest)
    root = Path(args.manifest).parent
    kinds = [kind for kind in args.probes.split(",") if kind]
    table = measured(table, root)
    findings = manifest.audit(table, root).drop(columns="rows")
    apart, even, shared = disjointness(table), balance(table), shared_reals(table)
    duplicates = near_duplicates(table, root)
    by = "method" if args.by_method else ""
    shortcuts = as_table(probes(table, root, kinds, by, args.seed))
    parts = {
        "findings": ("Findings in the table", findings),
        "disjointness": ("Disjoint between roles", apart),
        "balance": ("Videos and frames of each class", even.round(3)),
        "shared_reals": ("Reals in several columns", shared),
        "near_duplicates": ("Near-duplicates across sources or roles", duplicates),
        "probes": ("Shortcut probes (AUROC, 95 % interval; clean holds 0.5)", shortcuts.round(3)),
    }
    for title, part in parts.values():
        _print(title, part)
    if args.out:
        full = {name: part for name, (_, part) in parts.items()} | {"probes": shortcuts}
        plain = {n: p.astype(object).where(p.notna(), None) for n, p in full.items()}
        write_json(args.out, {name: part.to_dict("records") for name, part in plain.items()})
    bad = {"error", "warning"} if args.strict else {"error"}
    rated = pd.concat([part["severity"] for part in (findings, shared, duplicates)])
    wrong = rated.isin(bad).any() or (shortcuts["verdict"] == "shortcut").any()
    return int(wrong or apart["n_shared"].any())


def _print(title: str, rows: pd.DataFrame) -> None:
    print(f"\n{title}\n" + (rows.to_string(index=False) if len(rows) else "nothing"))
