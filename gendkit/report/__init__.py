"""The paper's tables with "ours" beside every published figure, filled from scores files and the kit itself.

`fill` gives one row a published figure. Ours comes from the scores of a reproducer where they name the
benchmark and the model, from the kit's own code where a figure needs no scores (`kit`), and is otherwise
"not run", with what it needs. A cell is never filled from other data.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import benchmarks, metrics, paper, repro
from gendkit.report.runs import Run, find, identify, load

__all__ = [
    "COLUMNS", "OTHER", "VERDICTS", "Run", "fill", "find", "identify", "load", "ours_text",
    "parity", "readable", "text", "write",
]  # fmt: skip

COLUMNS = [
    "table", "row", "column", "published", "unit", "tag", "source", "ours", "low", "high",
    "verdict", "why", "n_runs", "n_real", "n_fake", "profile", "provenance", "note",
]  # fmt: skip
VERDICTS = {
    "agrees": "the 95 % interval of ours reaches the published figure, as far as it is rounded",
    "above": "the interval lies above the published figure",
    "below": "the interval lies below the published figure",
    "equal": "the kit's own code gives the published figure",
    "differs": "the kit's own code gives another figure",
    "ours only": "no published figure was found",
    "other data": "not comparable: no benchmark or model of the paper",
    "not run": "ours is missing; the note says what it needs",
    "cited": "not filled: another method or protocol",
}
OTHER = "other"  # the table of what no published row answers to
_FOURTEEN = tuple(one.key for one in benchmarks.BENCHMARKS)
_FF = ("DF", "F2F", "FS", "NT")


class _MissingError(Exception):
    """What a cell needs and the scores do not have."""


def fill(
    runs: Sequence[Run] = (), n_bootstrap: int = 1000, seed: int = 0, folder: str | Path = ""
) -> pd.DataFrame:
    """Set ours beside every published figure.

    An AUROC is that of a set's report videos, all its fakes against its reals, as the official test
    groups are scored. Several runs of one row (seeds) are averaged. The interval is a bootstrap over
    sources; one draw is used for all runs and sets of a cell.

    Args:
        runs: From `load`; none fills what the kit gives by itself.
        n_bootstrap: Resamples of each interval.
        seed: Of the resampling.
        folder: Of the published tables; "" is `data/paper`.

    Returns:
        One row a figure with `COLUMNS`, published ones first, in the order of `paper.tables`;
        then rows of the table "cells" for models that the paper has not, and of `OTHER` for other
        sets. published is text as written, "" where none was found; ours, low and high are numbers
        in its unit (ours may be text), None where there is none; verdict is a key of `VERDICTS`;
        why says what ours rests on or needs, note belongs to the published figure.

    Raises:
        ValueError: If n_bootstrap < 1, or a table is broken (`paper.read`).
    """
    from gendkit.report import kit

    if n_bootstrap < 1:
        raise ValueError(f"got n_bootstrap={n_bootstrap}, expected at least 1; 1000 is usual")
    figures, listed = paper.read(folder), paper.tables(folder)
    known = kit.values()
    rows = []
    for name in listed.index:
        filled_by, needs = listed.loc[name, ["filled_by", "needs"]]
        for figure in figures[figures["table"] == name].to_dict("records"):
            if filled_by == "scores":
                ours = _from_scores(figure, runs, needs, n_bootstrap, seed)
            else:
                ours = _from_kit(figure, known, filled_by, needs)
            rows.append(_row(figure, **ours))
    table = pd.DataFrame([*rows, *_others(runs, n_bootstrap, seed)], columns=COLUMNS, dtype=object)
    return table.astype({"low": float, "high": float})


def _row(figure: dict[str, Any], **ours: Any) -> dict[str, Any]:
    given = {name: figure[name] for name in ("table", "row", "column", "unit", "tag", "source")}
    given |= {"published": figure["value"], "note": figure["note"]}
    empty = {"ours": None, "low": None, "high": None, "n_runs": 0, "n_real": 0, "n_fake": 0}
    return dict.fromkeys(COLUMNS, "") | empty | given | ours


def _from_kit(figure: dict[str, Any], known: dict, filled_by: str, needs: str) -> dict[str, Any]:
    key = (figure["table"], figure["row"], figure["column"])
    if key in known:
        value, how = known[key]
        if not figure["value"]:
            return {"ours": value, "verdict": "ours only", "provenance": how}
        same = _same(figure, value)
        return {"ours": value, "verdict": "equal" if same else "differs", "provenance": how}
    if filled_by == "cited" or figure["value"]:
        reason = f"needs {needs}" if filled_by == "cited" and needs else ""
        return {"verdict": "cited", "why": reason}
    return {"verdict": "not run", "why": f"needs {needs}" if needs else ""}


def _same(figure: dict[str, Any], value: Any) -> bool:
    if isinstance(value, str) or np.isnan(figure["number"]):
        return str(value) == figure["value"]
    return bool(np.isclose(float(value), figure["number"], rtol=1e-9, atol=0))


def _from_scores(
    figure: dict[str, Any], runs: Sequence[Run], needs: str, n: int, seed: int
) -> dict[str, Any]:
    label, part = figure["row"], "mean of 14"
    if figure["table"] == "cells":
        label, part = figure["column"], figure["row"]
    try:
        if figure["row"] == "paired - unpaired":
            return _difference(figure, runs, n, seed)
        chosen = _of(runs, label)
        parts = _parts(chosen, part)
    except _MissingError as missing:
        return {"verdict": "not run", "why": f"needs {str(missing) or needs}"}
    value, low, high = _estimate([(1.0, parts)], n, seed)
    return {"ours": value, "low": low, "high": high, **_facts(chosen, parts)} | {
        "verdict": _verdict(figure, low, high),
        "why": "; ".join(dict.fromkeys(run.note for run in chosen if run.note)),
    }


def _of(runs: Sequence[Run], label: str) -> list[Run]:
    chosen = [run for run in runs if label in run.rows]
    if not chosen:
        raise _MissingError
    return chosen


def _parts(runs: Sequence[Run], part: str) -> dict[str, pd.DataFrame]:
    """Videos of each run and set whose AUROCs are averaged in a cell; raises for what is missing."""
    keys = _FOURTEEN if part == "mean of 14" else (part,)
    parts, missing = {}, []
    for number, run in enumerate(runs):
        for key in keys:
            for name, videos in _videos(run, key).items():
                labels = set(videos["label"])
                if labels == {0, 1}:
                    parts[f"{number}/{name}"] = videos
                else:
                    missing.append(f"{run.name}: {name} ({_lack(key, labels)})")
    if missing:
        more = f" and {len(missing) - 14} more" if len(missing) > 14 else ""
        raise _MissingError(f"scores of {', '.join(missing[:14])}{more}")
    return parts


def _lack(key: str, labels: set[int]) -> str:
    if not labels:
        return "not scored"
    what = "fakes" if 0 in labels else "reals"
    if key == "DFDM" and what == "reals":
        return "its reals are those of CDFv2: gendkit test --reals DFDM=CDFv2/Celeb-real"
    return f"no {what}"


def _videos(run: Run, key: str) -> dict[str, pd.DataFrame]:
    if not key.startswith("FF++ "):
        return {key: run.sets.get(key, _NONE)}
    whole = run.sets.get("FF++", _NONE)
    real = whole["label"] == 0
    methods = _FF if key == "FF++ mean" else (key.removeprefix("FF++ "),)
    fakes = {m: whole[(whole["label"] == 1) & (whole["method"] == m)] for m in methods}
    return {
        f"FF++ {m}": pd.concat([whole[real], part]) if len(part) else part
        for m, part in fakes.items()
    }


_NONE = pd.DataFrame({"label": [], "method": []})


def _facts(runs: Sequence[Run], parts: dict[str, pd.DataFrame]) -> dict[str, Any]:
    first = [videos for name, videos in parts.items() if name.startswith("0/")]
    reals = [
        videos.loc[videos["label"] == 0, ["method", "source_id", "video_id"]] for videos in first
    ]
    return {
        "n_runs": len(runs),
        "n_real": len(pd.concat(reals).drop_duplicates()),
        "n_fake": int(sum((videos["label"] == 1).sum() for videos in first)),
        "profile": ", ".join(dict.fromkeys(run.profile for run in runs if run.profile)),
        "provenance": "; ".join(run.provenance for run in runs),
    }


def _verdict(figure: dict[str, Any], low: float, high: float) -> str:
    """Compare an interval with a published figure, which stands for all that rounds to it."""
    if not figure["value"]:
        return "ours only"
    half = 0.5 * 10.0 ** -len(figure["value"].partition(".")[2])
    if low > figure["number"] + half:
        return "above"
    return "below" if high < figure["number"] - half else "agrees"


def _difference(figure: dict[str, Any], runs: Sequence[Run], n: int, seed: int) -> dict[str, Any]:
    """Difference of paired and unpaired training in points, resampled together."""
    sides = [_of(runs, name) for name in ("paired", "unpaired")]
    parts = [_parts(side, "mean of 14") for side in sides]
    value, low, high = _estimate([(1.0, parts[0]), (-1.0, parts[1])], n, seed)
    return {"ours": value, "low": low, "high": high, **_facts(sides[0] + sides[1], parts[0])} | {
        "verdict": _verdict(figure, low, high),
    }


def _estimate(
    terms: Sequence[tuple[float, dict[str, pd.DataFrame]]], n: int, seed: int
) -> tuple[float, float, float]:
    """Sum of weighted means of AUROCs in percent, with the interval of n draws of the sources."""
    everyone = [videos["source_id"] for _, parts in terms for videos in parts.values()]
    sources = np.unique(np.concatenate(everyone))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sources), np.full(len(sources), 1 / len(sources)), size=n)
    counts = np.vstack([np.ones(len(sources), int), drawn])
    values = np.zeros(n + 1)
    for weight, parts in terms:
        for videos in parts.values():
            labels, p_fake = videos["label"].to_numpy(), videos["p_fake"].to_numpy()
            columns = np.searchsorted(sources, videos["source_id"])
            step = max(1, 2_000_000 // len(videos))  # bounds the memory of the weights
            with np.errstate(invalid="ignore"):  # a draw without one of the classes has no AUROC
                for at in range(0, n + 1, step):
                    times = counts[at : at + step, columns]
                    area = metrics.weighted_auroc(labels, p_fake, times)
                    values[at : at + step] += 100 * weight * area / len(parts)
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def _others(runs: Sequence[Run], n: int, seed: int) -> list[dict[str, Any]]:
    """Rows for what no published row answers to."""
    rows = []
    for run in runs:
        for key, videos in run.sets.items():
            whole = is_benchmark(key)
            if run.rows and whole:
                continue
            figure = {"table": "cells" if whole else OTHER, "row": key, "column": run.name}
            figure |= {"unit": "AUROC %", "tag": "", "source": "", "value": "", "note": ""}
            if set(videos["label"]) != {0, 1}:
                why = f"needs {_lack(key, set(videos['label']))}"
                rows.append(_row(figure, verdict="not run", why=why))
                continue
            parts = {f"0/{key}": videos}
            value, low, high = _estimate([(1.0, parts)], n, seed)
            ours = {"ours": value, "low": low, "high": high, **_facts([run], parts)}
            verdict = "ours only" if whole else "other data"
            rows.append(_row(figure, verdict=verdict, why=run.note, **ours))
    return rows


def is_benchmark(key: str) -> bool:
    """Whether a set is one of the paper's: the 14, or FaceForensics++.

    Args:
        key: As in `Run.sets`.
    """
    return key in benchmarks.CARDS


def parity(folder: str | Path) -> pd.Series:
    """Compare with stored answers of the official code; see `gendkit.report.kit.parity`."""
    from gendkit.report import kit

    return kit.parity(folder)


def readable(filled: pd.DataFrame) -> pd.DataFrame:
    """Turn rows into text, for a reader or a figure.

    Args:
        filled: From `fill`.

    Returns:
        row, column, published (with its tag, or "not found"), ours (with its interval), profile,
        rests on (file and hash, or how it was derived, or what is needed), verdict; same index.
    """
    rows = filled.to_dict("records")
    columns = {
        "row": filled["row"],
        "column": filled["column"],
        "published": [_published(row) for row in rows],
        "ours": [ours_text(row) for row in rows],
        "profile": filled["profile"],
        "rests on": ["; ".join(t for t in (row["provenance"], row["why"]) if t) for row in rows],
        "verdict": filled["verdict"],
    }
    return pd.DataFrame(columns, index=filled.index)


def text(filled: pd.DataFrame, tables: Iterable[str] = ()) -> str:
    """Write the tables for a terminal.

    Args:
        filled: From `fill`.
        tables: Only these; none means all.

    Returns:
        Lines: for each table its title and rows with published, ours, verdict and what is missing.
    """
    titles = {**paper.tables()["title"].to_dict(), OTHER: "Other data, not comparable"}
    lines = []
    for name in list(tables) or list(dict.fromkeys(filled["table"])):
        part = filled[filled["table"] == name]
        shown = readable(part).drop(columns=["rests on", "profile"])
        lines += [f"{titles[name]} ({name})", shown.to_string(index=False)]
        notes = dict.fromkeys(part.loc[part["verdict"] == "not run", "why"])
        lines += [*(f"  not run: {note}" for note in notes if note), ""]
    tags = "; ".join(f"{tag} {what}" for tag, what in paper.TAGS.items() if tag)
    return "\n".join([*lines, f"Tags: {tags}."])


def _published(row: dict[str, Any]) -> str:
    return f"{row['published']} ({row['tag']})" if row["published"] else "not found"


def ours_text(row: dict[str, Any]) -> str:
    """Write ours with its interval.

    Args:
        row: Of `fill`.

    Returns:
        For example "91.2 [90.1, 92.4]", "104450", or "" where there is none.
    """
    ours = row["ours"]
    if ours is None:
        return ""
    if row["low"] is not None and not np.isnan(row["low"]):
        return f"{ours:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
    return ours if isinstance(ours, str) else f"{ours:.10g}"


def write(filled: pd.DataFrame, out: str | Path, **facts: Any) -> Path:
    """Write the tables as CSV, Markdown and JSON with provenance.

    Args:
        filled: From `fill`.
        out: Folder.
        **facts: Anything to record, such as the files that were read.

    Returns:
        The folder with report.csv, report.md and report.json.
    """
    out = Path(out)
    with repro.atomic_path(out / "report.csv") as temporary:
        filled.to_csv(temporary, index=False)
    with repro.atomic_path(out / "report.md") as temporary:
        temporary.write_text(_markdown(filled), "utf-8")
    plain = filled.astype(object).where(filled.notna(), None)
    repro.write_json(out / "report.json", repro.provenance(**facts, rows=plain.to_dict("records")))
    return out


def _markdown(filled: pd.DataFrame) -> str:
    titles = {**paper.tables()["title"].to_dict(), OTHER: "Other data, not comparable"}
    lines = ["# Published figures and ours", ""]
    for name, part in filled.groupby("table", sort=False):
        shown = readable(part).assign(note=part["note"])
        lines += [f"## {titles[name]}", "", f"| {' | '.join(shown.columns)} |"]
        lines.append("|" + "---|" * shown.shape[1])
        for row in shown.itertuples(index=False):
            lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |")
        lines.append("")
    verdicts = "; ".join(f"{name}: {what}" for name, what in VERDICTS.items())
    return "\n".join([*lines, f"Verdicts: {verdicts}.", ""])
