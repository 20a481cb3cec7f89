"""Shortcut probes: can facts that a forgery should not change tell reals from fakes?"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest, metrics, video
from gendkit.audit import facts as measure
from gendkit.repro import progress

KINDS = ("metadata", "background", "first_frame")
N_FOLDS = 5
MIN_GROUPS = 10  # fewer cannot be split and resampled in a way that means anything
_FEW_VALUES = 8  # a number with so few values is taken as a category too
_STRENGTH = 0.1  # inverse penalty of the regression
_ALL = "all"


class AuditError(ValueError):
    """A set that a probe cannot judge; the message says why and what to do."""


@dataclass(frozen=True)
class Probe:
    """What one kind of facts tells about the label.

    Attributes:
        kind: "metadata", "background" or "first_frame".
        method: The manipulation compared with its reals, or "all".
        estimate: Cross-validated AUROC with its interval.
        weights: The strongest facts: (name, weight), strongest first; a positive weight means that
            fakes have more of it. Weights are of standardised facts.
        n_videos: Videos that were judged.
        n_left_out: Videos of the set that were not (no mask, no pair, or more fakes than other sources).
        grouped_by: "people" (linked by donors) or "source": what folds and resamples keep together.
    """

    kind: str
    method: str
    estimate: metrics.Estimate
    weights: tuple[tuple[str, float], ...]
    n_videos: int
    n_left_out: int
    grouped_by: str

    @property
    def verdict(self) -> str:
        """Give "shortcut" (interval above 0.5), "clean" (holds 0.5) or "below chance"."""
        if self.estimate.low > 0.5:
            return "shortcut"
        return "below chance" if self.estimate.high < 0.5 else "clean"


def collect(table: pd.DataFrame, root: str | Path, kind: str) -> pd.DataFrame:
    """Measure all videos of a manifest.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.
        kind: One of `KINDS`.

    Returns:
        One row of facts per video, on the table's index. For "background", videos of a source
        without any mask are left out.

    Raises:
        AuditError: For an unknown kind, a manifest of frames, or no mask at all.
        ManifestError: If the manifest is not valid or a file is missing.
        VideoError: If a file cannot be read.
    """
    table = manifest.validate(table, root)
    if "frame" in table:
        raise AuditError(
            "got a manifest of frames; expected the manifest of the videos they are of"
        )
    if kind not in KINDS:
        raise AuditError(f"got kind {kind!r}, expected one of {', '.join(KINDS)}")
    if kind == "background":
        rows = _backgrounds(table, Path(root))
    else:
        one = measure.file_facts if kind == "metadata" else measure.first_frame_facts
        files = progress(table["path"].items(), len(table), kind)
        rows = {label: one(Path(root) / path) for label, path in files}
    return pd.DataFrame.from_dict(rows, orient="index").reindex(
        [label for label in table.index if label in rows]
    )


def _backgrounds(table: pd.DataFrame, root: Path) -> dict:
    if "mask_path" not in table or not (table["mask_path"] != "").any():
        raise AuditError(
            "no row has a mask_path, so nothing says where the background is; add the masks of the "
            'fakes, or probe "metadata" and "first_frame" only'
        )
    rows = {}
    sources = table.groupby(["dataset", "source_id"], sort=False)
    for _, part in progress(sources, sources.ngroups, "background"):
        masks = [root / path for path in part["mask_path"].unique() if path]
        if not masks:
            continue
        first = root / part["path"].iloc[0]
        n_frames = part["n_frames"].min() if "n_frames" in part else video.probe(first).n_frames
        frames = video.sample(int(n_frames), n=measure.BACKGROUND_FRAMES)
        outside = measure.outside_masks(masks, frames)
        for label, path in part["path"].items():
            rows[label] = measure.background_facts(root / path, outside, frames)
    return rows


def numbers(facts: pd.DataFrame) -> pd.DataFrame:
    """Turn facts into standardised numbers that a linear model can use.

    Text, and numbers with few values, give one column per value that two videos or more have.
    Columns that never change are dropped.

    Args:
        facts: One row per video; numbers and text, empty cells allowed in text.

    Returns:
        (N, D) float64 table; each column has mean 0 and spread 1.
    """
    columns = {}
    for name, column in facts.items():
        is_text = not pd.api.types.is_numeric_dtype(column)
        if not is_text:
            columns[name] = column.astype(float)
        if is_text or column.nunique() <= _FEW_VALUES:
            counts = column.fillna("").value_counts()
            for value in counts.index[(counts >= 2) & (counts < len(column))]:
                shown = value if is_text else f"{value:.4g}"
                columns[f"{name} = {shown}"] = (column.fillna("") == value).astype(float)
    table = pd.DataFrame(columns, index=facts.index)
    spread = table.std(ddof=0)
    table = table.loc[:, spread > 1e-9 * (1 + table.abs().max())]
    return (table - table.mean()) / table.std(ddof=0)


def separability(
    table: pd.DataFrame, facts: pd.DataFrame, seed: int = 0
) -> tuple[metrics.Estimate, tuple[tuple[str, float], ...], str]:
    """Measure how well facts tell reals from fakes of people who were not in the training part.

    A logistic regression is fitted on four fifths of the people and scores the last fifth. Scores
    are ranked inside each fold, so that folds are comparable and a fold's offset, which leans
    against the labels of its own videos, cannot push the AUROC below 0.5. The bootstrap interval
    is widened by sqrt(1 + n_folds / (n_folds - 1)): folds share their training videos, hence
    vary together, which a bootstrap of finished scores does not see.

    Args:
        table: A manifest; its rows that `facts` has too are judged.
        facts: One row per video, on the table's index.
        seed: Seed of folds and resamples.

    Returns:
        AUROC with its 95 % interval, the five strongest weights, and "people" or "source": what
        stays together. People linked by donors do, where that leaves at least ten groups.

    Raises:
        AuditError: For one class or fewer than ten sources.

    Source: Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366 (the correction); the
        ranking is our own.
    """
    table = table.loc[facts.index].reset_index(drop=True)
    labels = table["label"].to_numpy()
    if len(np.unique(labels)) < 2:
        have = "fakes" if len(labels) and labels[0] else "reals"
        raise AuditError(
            f"got only {have} ({len(labels)} videos); a probe compares reals and fakes"
        )
    groups, grouped_by = _groups(table)
    features = numbers(facts)
    scores = np.full(len(table), 0.5)
    weights: tuple[tuple[str, float], ...] = ()
    if features.shape[1]:
        scores = _cross_scores(features.to_numpy(), labels, groups, seed)
        model = _regression().fit(features.to_numpy(), labels)
        order = np.argsort(-np.abs(model.coef_[0]))[:5]
        weights = tuple((features.columns[k], float(model.coef_[0][k])) for k in order)
    scored = table[metrics.KEY].assign(label=labels, p_fake=scores, group=groups)
    raw = metrics.bootstrap(scored, groups="group", seed=seed)
    return _widened(raw), weights, grouped_by


def _groups(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    people = manifest.components(table)
    sources = table["dataset"] + "/" + table["source_id"]
    for groups, name in ((people, "people"), (sources, "source")):
        if groups.nunique() >= MIN_GROUPS:
            return pd.factorize(groups)[0], name
    raise AuditError(
        f"got {sources.nunique()} sources, expected at least {MIN_GROUPS}: with fewer, folds and "
        "intervals that keep a source together mean nothing"
    )


def _regression():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_STRENGTH, class_weight="balanced", solver="newton-cholesky")


def _cross_scores(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """Score every video by a model that saw none of its group; ranks in (0, 1) within a fold."""
    from scipy.stats import rankdata
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    scores = np.empty(len(labels))
    for train, test in folds.split(features, labels, groups):
        if len(np.unique(labels[train])) < 2:
            raise AuditError("a fold has one class only; add sources that have reals and fakes")
        model = _regression().fit(features[train], labels[train])
        scores[test] = rankdata(model.decision_function(features[test])) / (len(test) + 1)
    return scores


def _widened(estimate: metrics.Estimate) -> metrics.Estimate:
    factor = np.sqrt(1 + N_FOLDS / (N_FOLDS - 1))
    low = estimate.value - factor * (estimate.value - estimate.low)
    high = estimate.value + factor * (estimate.high - estimate.value)
    return replace(estimate, low=float(max(low, 0)), high=float(min(high, 1)))


def paired_with(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Keep the fakes of one method and the reals they were made from.

    Args:
        table: A manifest.
        method: A manipulation.

    Returns:
        Rows of that method and, where their sources have reals, those reals; else all reals.
    """
    fakes = table["method"] == method
    sources = table["dataset"] + "/" + table["source_id"]
    reals = (table["label"] == 0) & sources.isin(sources[fakes])
    return table[fakes | (reals if reals.any() else table["label"] == 0)]


def evenly(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Keep as many fakes of each source as the source with fewest has, drawn at random.

    Where sources have different numbers of fakes, facts that merely tell sources apart also tell
    how likely a fake is, and a cross-validated AUROC is pushed off 0.5 by that alone.

    Args:
        table: A manifest.
        seed: Seed of the draw.

    Returns:
        Some of the rows, in their order; sources without a real or without a fake are kept whole.
    """
    sources = table["dataset"] + "/" + table["source_id"]
    counts = pd.crosstab(sources, table["label"]).reindex(columns=[0, 1], fill_value=0)
    paired = counts.index[(counts > 0).all(axis=1)]
    fakes = table[(table["label"] == 1) & sources.isin(paired)]
    if fakes.empty:
        return table
    drawn = fakes.groupby(sources[fakes.index]).sample(
        int(counts[1][paired].min()), random_state=seed
    )
    return table[~table.index.isin(fakes.index.difference(drawn.index))]


def probe(table: pd.DataFrame, root: str | Path, kind: str, seed: int = 0) -> Probe:
    """Ask whether one kind of facts tells the reals and fakes of a set apart.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.
        kind: "metadata" (the file, no picture), "background" (pixels outside every mask) or
            "first_frame" (colour and brightness of the whole first frame).
        seed: Seed of folds and resamples.

    Returns:
        The answer.

    Raises:
        AuditError: For one class, too few sources, no masks, or an unknown kind.
        ManifestError: If the manifest is not valid or a file is missing.
        VideoError: If a file cannot be read.
    """
    even = evenly(table, seed)
    return _judge(even, collect(even, root, kind), kind, _ALL, len(table), seed)


def _judge(
    table: pd.DataFrame, facts: pd.DataFrame, kind: str, method: str, n_asked: int, seed: int
) -> Probe:
    facts = facts.loc[[label for label in table.index if label in facts.index]]
    estimate, weights, grouped_by = separability(table, facts, seed)
    return Probe(kind, method, estimate, weights, len(facts), n_asked - len(facts), grouped_by)


def probes(
    table: pd.DataFrame,
    root: str | Path,
    kinds: Iterable[str] = KINDS,
    by: str = "",
    seed: int = 0,
) -> list[Probe]:
    """Run several probes on a set, each file measured once.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.
        kinds: Which probes.
        by: "method" asks for each manipulation and its reals as well; "" for all together only.
        seed: Seed of folds and resamples.

    Returns:
        One probe per kind (and method). Of forty clean ones, one interval lies off 0.5 by chance.

    Raises:
        AuditError: As `probe`.
    """
    if by not in ("", "method"):
        raise AuditError(f'got by={by!r}, expected "" or "method"')
    found = []
    for kind in kinds:
        facts = collect(table, root, kind)
        found.append(_judge(evenly(table, seed), facts, kind, _ALL, len(table), seed))
        methods = sorted(set(table["method"]) - {"real"}) if by else []
        for method in methods:
            part = paired_with(table, method)
            found.append(_judge(part, facts, kind, method, len(part), seed))
    return found


def as_table(found: Iterable[Probe]) -> pd.DataFrame:
    """Lay probes out for reading.

    Args:
        found: Probes.

    Returns:
        One row per probe: kind, method, auroc, low, high, verdict, n_videos, n_left_out,
        grouped_by, strongest (names of the facts with the largest weights).
    """
    return pd.DataFrame(
        {
            "kind": one.kind,
            "method": one.method,
            "auroc": one.estimate.value,
            "low": one.estimate.low,
            "high": one.estimate.high,
            "verdict": one.verdict,
            "n_videos": one.n_videos,
            "n_left_out": one.n_left_out,
            "grouped_by": one.grouped_by,
            "strongest": ", ".join(f"{name} {weight:+.2f}" for name, weight in one.weights[:3]),
        }
        for one in found
    )
