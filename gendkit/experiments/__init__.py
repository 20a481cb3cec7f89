"""The 803 named runs of the official code, corrected versions of some, and the kit's own: as data.

`names()` lists them, `get(name)` gives an `Experiment`, `difference(a, b)` what two runs differ in.
"""

import copy
import difflib
import functools
from fnmatch import fnmatchcase
from typing import Any

from gendkit.experiments import families, kit, traps
from gendkit.experiments.core import PROFILES, SOURCES, Data, Experiment
from gendkit.experiments.settings import DEFAULTS, losses_of, training_of
from gendkit.specs import ALIASES

__all__ = ["PROFILES", "SOURCES", "Data", "Experiment", "difference", "get", "names"]


@functools.cache
def _table() -> dict[str, Experiment]:
    official, fixed = {}, {}
    for run in families.every():
        official[run.name] = _translate(run, "official", traps.note_of(run))
        if (correction := traps.fix_of(run)) is not None:
            better, text = correction
            fixed[better.name] = _translate(better, "fixed", f"Corrects {run.name}. {text}")
    return {**official, **fixed, **{run.name: run for run in kit.every()}}


def _translate(run: families.Run, source: str, note: str) -> Experiment:
    """Say in the kit's words what an official run does."""
    model = run.settings if run.model is None else run.model
    known = bool(model)
    trains = not run.weights
    lists = run.settings
    return Experiment(
        name=run.name,
        family=run.family,
        source=source,
        backbone=ALIASES[model["backbone"]] if known else None,
        head=model.get("head", "linear") if known else None,
        tune=("layernorm" if "unfreeze_layers" in model else "probe") if trains else None,
        data=Data(
            "lists",
            tuple(lists["trn_files"]) if trains else (),
            tuple(lists["val_files"]) if trains else (),
            run.tests,
        ),
        losses=losses_of(run.settings) if trains else {},
        training=training_of(run.settings) if trains else None,
        weights=run.weights,
        corruption=run.corruption,
        settings=run.settings,
        note=note,
    )


def names(
    pattern: str | None = None, family: str | None = None, source: str | None = None
) -> list[str]:
    """List experiments: official ones in their own order, corrected ones, the kit's.

    Args:
        pattern: With `*`, `?` or `[` a pattern for whole names, otherwise a part of the name.
        family: Only of this family.
        source: Only of this source, one of `SOURCES`.

    Returns:
        Names; empty if none fits.

    Raises:
        ValueError: If there is no such family or source.
    """
    table = _table()
    known = {"family": list(dict.fromkeys(e.family for e in table.values())), "source": SOURCES}
    for what, value in (("family", family), ("source", source)):
        if value is not None and value not in known[what]:
            raise ValueError(f"got {what} {value!r}, expected one of {', '.join(known[what])}")
    if pattern is not None and not set("*?[") & set(pattern):
        pattern = f"*{pattern}*"
    return [
        name
        for name, experiment in table.items()
        if (pattern is None or fnmatchcase(name, pattern))
        and family in (None, experiment.family)
        and source in (None, experiment.source)
    ]


def get(name: str) -> Experiment:
    """Find an experiment.

    Args:
        name: Exactly as `names()` gives it.

    Raises:
        ValueError: If there is none; the message gives the nearest names.
    """
    table = _table()
    if name in table:
        return copy.deepcopy(table[name])  # a change by the caller must not reach the table
    if name.endswith("-fixed") and name.removesuffix("-fixed") in table:
        raise ValueError(
            f"there is no experiment {name!r}: nothing in {name.removesuffix('-fixed')!r} needs "
            "to be corrected"
        )
    near = difflib.get_close_matches(name, table, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "list them with: gendkit experiments list"
    raise ValueError(f"there is no experiment {name!r}; {hint}")


def difference(a: str | Experiment, b: str | Experiment) -> dict[str, tuple[Any, Any]]:
    """List the settings in which two experiments differ.

    Two official or corrected runs are compared by their official settings, a setting that is not
    written down at its default. If one is the kit's own, both are compared by what the kit runs.

    Args:
        a: Name or experiment.
        b: Name or experiment.

    Returns:
        Setting -> (value in a, value in b), nested ones with dots. Empty if the runs are equal.
    """
    first, second = (get(run) if isinstance(run, str) else run for run in (a, b))
    if first.settings and second.settings:
        sides = [_flat({**DEFAULTS, **run.settings}) for run in (first, second)]
    else:
        sides = [_flat(_in_brief(run)) for run in (first, second)]
    left, right = sides
    found = {}
    for key in {**left, **right}:
        if left.get(key) != right.get(key):
            found[key] = (left.get(key), right.get(key))
    return found


def _in_brief(run: Experiment) -> dict[str, Any]:
    """Give what the kit runs, test groups by their names."""
    view = run.view()
    view["data"]["test"] = list(view["data"]["test"])
    return view


def _flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = value
    return flat
