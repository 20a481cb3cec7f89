"""Why two results differ: rank what differs between two crop folders, scores files or runs.

Facts come from the provenance records; where both sides score the same videos, what a difference does
to the AUROC is measured, not guessed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gendkit import evaluate, manifest, repro
from gendkit.compare.known import KNOWN, LEVELS, OTHER, SKIPPED
from gendkit.compare.measured import measure, measure_crops

__all__ = [
    "Comparison", "Difference", "Side", "compare", "measure", "measure_crops", "read", "table"
]  # fmt: skip

_MATTERS, _NOTHING = 0.005, 0.001  # changes of the AUROC: this much counts, this little does not
# Recorded only where they are used: nothing is an answer, too.
_OFF = ("spec.limit", "spec.engine.track", "spec.engine.across")


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        path: As given.
        kind: "crops", "scores" or "run".
        facts: Name -> what the records say, flat.
        crops: Frame manifest of the crops, or None.
        scores: Scores table, or None.
    """

    path: Path
    kind: str
    facts: dict[str, Any]
    crops: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        name: Of the fact.
        a: Its value on one side; None: not recorded.
        b: Its value on the other.
        likelihood: "measured", or how likely it moves the AUROC.
        why: One sentence.
        change: Measured change of the AUROC from a to b; None where it cannot be measured.
        weight: 0 to 100 and more for what was measured; the order.
    """

    name: str
    a: Any
    b: Any
    likelihood: str
    why: str
    change: float | None
    weight: float


@dataclass(frozen=True)
class Comparison:
    """What differs between two results.

    Attributes:
        kind: Of the two sides, as "crops" or "scores and run".
        differences: The likeliest first.
        scores: What was measured on the scores (`measure`), or None.
        crops: What was measured on the crops (`measure_crops`), or None.
        n_same: Facts that agree.
    """

    kind: str
    differences: list[Difference]
    scores: dict[str, Any] | None
    crops: dict[str, Any] | None
    n_same: int = field(default=0)

    def to_dict(self) -> dict[str, Any]:
        """Give the plain data, for JSON."""
        return asdict(self)


def compare(a: str | Path, b: str | Path, n_bootstrap: int = 1000, seed: int = 0) -> Comparison:
    """Rank what differs between two results by how likely it moves the AUROC.

    Args:
        a: Folder of crops, scores file, or folder of a run.
        b: The other, of the same kind; a scores file and a run can be compared.
        n_bootstrap: Resamples of the interval of the measured change.
        seed: Of the resampling.

    Returns:
        The comparison.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If a path is none of these, or the kinds do not go together.
    """
    one, two = read(a), read(b)
    if (one.kind == "crops") != (two.kind == "crops"):
        raise ValueError(
            f"{a} holds {one.kind} and {b} {two.kind}; compare crops with crops, and scores or runs "
            "with scores or runs"
        )
    measured = pictures = None
    changes: dict[str, float] = {}
    facts = [dict(one.facts), dict(two.facts)]
    if one.scores is not None and two.scores is not None:
        hows = [_how(side) for side in (one, two)]
        measured = measure(one.scores, two.scores, hows, n_bootstrap, seed)
        changes = {name: c for name, c in measured["changes"].items() if c is not None}
        for name, pair in measured["differs"].items():
            for side, value in zip(facts, pair, strict=True):
                side.pop(f"test.{name}", None)
                side[name] = value
    if one.crops is not None and two.crops is not None:
        pictures = measure_crops(one.crops, two.crops, (one.path, two.path))
    names = sorted({*facts[0], *facts[1]})
    differing = [name for name in names if facts[0].get(name) != facts[1].get(name)]
    found = [_difference(n, facts[0].get(n), facts[1].get(n), changes.get(n)) for n in differing]
    found.sort(key=lambda difference: (-difference.weight, difference.name))
    kinds = " and ".join(dict.fromkeys([one.kind, two.kind]))
    return Comparison(kinds, found, measured, pictures, len(names) - len(differing))


def _difference(name: str, a: Any, b: Any, change: float | None) -> Difference:
    weight, why = next(
        ((w, text) for pattern, w, text in KNOWN if re.fullmatch(pattern, name)), OTHER
    )
    likelihood = next(text for least, text in LEVELS if weight >= least)
    if (a is None or b is None) and name not in _OFF:
        weight, why = weight / 2, f"{why} Only one side records it."
        likelihood = next(text for least, text in LEVELS if weight >= least)
    if change is not None:
        likelihood = "measured"
        if abs(change) >= _MATTERS:
            weight = 100 + abs(change)
        elif abs(change) < _NOTHING:
            weight /= 4
    return Difference(name, a, b, likelihood, why, change, weight)


def read(path: str | Path) -> Side:
    """Read one side with its records.

    Args:
        path: Folder with manifest.csv and provenance.json (crops), scores file (.csv, its record
            beside it as .json), or folder with run.json, or scores.csv (run).

    Returns:
        The side.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is none of these.
    """
    path = Path(path)
    if path.is_file():
        scores = evaluate.read_scores(path)
        return Side(path, "scores", {**_record(path), **_data_facts(scores)}, scores=scores)
    if not path.is_dir():
        raise FileNotFoundError(
            f"got {str(path)!r}, expected a folder of crops or of a run, or a scores file; check "
            "the path"
        )
    if (path / "manifest.csv").is_file() and (path / "provenance.json").is_file():
        crops = manifest.read(path / "manifest.csv")
        record = _flat(repro.read_json(path / "provenance.json"))
        return Side(path, "crops", {**record, **_data_facts(crops), **_coverage(path)}, crops)
    stored = path / "scores.csv"
    records = [path / name for name in ("result.json", "run.json") if (path / name).is_file()]
    if not records and not stored.is_file():
        raise ValueError(
            f"{path} holds neither provenance.json with manifest.csv (crops), nor run.json or "
            "scores.csv (a run of gendkit train or test); give one of these folders"
        )
    facts: dict[str, Any] = {}
    for file in records:
        facts |= _flat(repro.read_json(file))
    scores = None
    if stored.is_file():
        scores = evaluate.read_scores(stored)
        facts = {**_record(stored), **facts, **_data_facts(scores)}
    return Side(path, "run", facts, scores=scores)


def _record(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {"record": "none beside the file"}
    record = repro.read_json(beside)
    whole = record.get("sha256") in (None, repro.sha256(path))
    return {**_flat(record), "record": "fits" if whole else "was written for another file"}


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {} if SKIPPED.fullmatch(name) or data is None else {name: data}
    if name == "spec.engine.track":
        return {name: "on"}
    out: dict[str, Any] = {}
    for key, value in data.items():
        out |= _flat(value, f"{name}.{key}" if name else key)
    return out


def _data_facts(table: pd.DataFrame) -> dict[str, Any]:
    names = {"sets": "dataset", "methods": "method", "compression": "compression", "roles": "role"}
    return {
        f"data.{name}": sorted(map(str, table[column].fillna("").unique()))
        for name, column in names.items()
    }


def _coverage(folder: Path) -> dict[str, Any]:
    file = folder / "report.csv"
    if not file.is_file():
        return {}
    report = pd.read_csv(file)
    asked = int(report["n_asked"].sum())
    facts: dict[str, Any] = {"coverage": round(float(report["n_faces"].sum()) / max(asked, 1), 4)}
    if "codec" in report and report["codec"].notna().any():
        facts["data.codec"] = sorted(report["codec"].dropna().unique())
    return facts


def _how(side: Side) -> str:
    asked = side.facts.get("aggregate") or side.facts.get("test.aggregate")
    return asked if asked in ("mean", "median", "max") else "mean"


def table(result: Comparison, a: str, b: str, show: Callable[[Any], str] = str) -> str:
    """Write a comparison for a reader.

    Args:
        result: From `compare`.
        a: Name of one side.
        b: Name of the other.
        show: Turns a value into text.

    Returns:
        Lines of text.
    """
    lines = [f"A: {a}", f"B: {b}", ""]
    if result.scores is not None:
        lines += [*_score_lines(result.scores), ""]
    if result.crops is not None:
        lines += [*_crop_lines(result.crops), ""]
    if not result.differences:
        return "\n".join([*lines, f"Nothing that is recorded differs ({result.n_same} facts)."])
    lines.append("What differs, the likeliest reason for another AUROC first:")
    for number, one in enumerate(result.differences, start=1):
        change = "" if one.change is None else f", {one.change:+.3f} AUROC from A to B"
        a, b = (_cut(show(value)) for value in (one.a, one.b))
        lines.append(f"{number:>3}. {one.name}: A {a}, B {b}  [{one.likelihood}{change}]")
        lines.append(f"     {one.why}")
    return "\n".join([*lines, f"{result.n_same} recorded facts agree."])


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _score_lines(found: dict[str, Any]) -> Iterator[str]:
    known = [f"{found[k]:.3f}" if found[k] is not None else "-" for k in ("auroc_a", "auroc_b")]
    yield (
        f"AUROC (videos, roles {', '.join(filter(None, found['roles'])) or '-'}): A {known[0]} on "
        f"{found['n_a']}, B {known[1]} on {found['n_b']}; {found['n_common']} videos in common"
    )
    left = found["changes"].get("scores")
    if left is not None:
        ends = found["interval"]
        text = f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else ""
        yield f"on the same videos, labels and frames: {left:+.3f}{text} from A to B"
    if "moved" in found:
        rank = found.get("rank_correlation")
        order = f", rank correlation {rank:.3f}" if rank is not None else ""
        yield f"{found['moved']:.0%} of these videos move by more than 0.1{order}; furthest:"
        for one in found["furthest"]:
            yield f"  {one['video']}: {one['a']:.3f} -> {one['b']:.3f}"


def _crop_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"Crops: A {found['n_a']}, B {found['n_b']}; {found['n_common']} of the same frames"
    if found["n_compared"]:
        grey = "" if found["grey"] is None else f", {found['grey']:.2f} grey levels apart"
        yield (
            f"of {found['n_compared']} compared {found['identical']:.0%} have the same pixels{grey}; "
            f"boxes {found['box_shift']:.3f} sides apart"
        )
