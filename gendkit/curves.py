"""The curves behind the numbers, as plain tables: ROC, PR, F1, FPR and FNR, confusion, histograms.

Every table is exact: one row per distinct score, nothing between is invented, and a row says what
happens when a score >= its threshold is called fake. `thin` makes one small enough to draw.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gendkit import metrics, repro

CLASSES = ("real", "fake")


def _steps(y_true: ArrayLike, y_score: ArrayLike) -> tuple[np.ndarray, ...]:
    """Thresholds from infinity down, reals and fakes called fake at each, and both totals."""
    labels, scores = metrics.checked(y_true, y_score)
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # the end of each run of ties
    hits = np.append(0, np.cumsum(labels)[last])
    alarms = np.append(0, last + 1) - hits
    return np.append(np.inf, scores[last]), alarms, hits, alarms[-1], hits[-1]


def roc(y_true: ArrayLike, y_score: ArrayLike) -> pd.DataFrame:
    """Give the ROC curve with every threshold.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        threshold, fpr, tpr: from (0, 0) at threshold infinity to (1, 1), one row per distinct score.
        Joined by straight lines they enclose `metrics.auroc`.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010.
    """
    thresholds, alarms, hits, n_real, n_fake = _steps(y_true, y_score)
    return pd.DataFrame({"threshold": thresholds, "fpr": alarms / n_real, "tpr": hits / n_fake})


def fpr_fnr(y_true: ArrayLike, y_score: ArrayLike) -> pd.DataFrame:
    """Give both error rates at every threshold; they cross at the equal error rate.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        threshold, fpr (share of reals called fake), fnr (share of fakes called real).

    Raises:
        ValueError: As `roc`.
    """
    table = roc(y_true, y_score)
    return table.assign(fnr=1 - table.pop("tpr"))


def precision_recall(y_true: ArrayLike, y_score: ArrayLike, positive: str = "fake") -> pd.DataFrame:
    """Give precision and recall for finding one class.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        positive: "fake", found where the score >= threshold, or "real", found where it is below.

    Returns:
        threshold, precision, recall, in the order of growing recall. Where nothing is called
        positive the precision is 1 by convention. The sum of precision times the step of recall is
        the average precision.

    Raises:
        ValueError: For an unknown class; else as `roc`.
    """
    if positive not in CLASSES:
        raise ValueError(f"got positive={positive!r}, expected one of {CLASSES}")
    thresholds, alarms, hits, n_real, n_fake = _steps(y_true, y_score)
    right, wrong, n = hits, alarms, n_fake
    if positive == "real":
        # called real at a threshold: all that is below it; the lowest threshold calls nothing real
        thresholds = thresholds[::-1]
        right, wrong, n = (n_real - alarms)[::-1], (n_fake - hits)[::-1], n_real
    called = right + wrong
    precision = np.where(called > 0, right / np.maximum(called, 1), 1.0)
    return pd.DataFrame({"threshold": thresholds, "precision": precision, "recall": right / n})


def f1(y_true: ArrayLike, y_score: ArrayLike) -> pd.DataFrame:
    """Give F1 at every threshold.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        threshold, f1_fake, f1_real, f1 (their mean, as `metrics.f1`). The best row of a test set is
        an oracle's choice.

    Raises:
        ValueError: As `roc`.
    """
    thresholds, alarms, hits, n_real, n_fake = _steps(y_true, y_score)
    fake = 2 * hits / (hits + alarms + n_fake)
    real = 2 * (n_real - alarms) / (2 * n_real + n_fake - alarms - hits)
    columns = {"threshold": thresholds, "f1_fake": fake, "f1_real": real, "f1": (fake + real) / 2}
    return pd.DataFrame(columns)


def confusion(y_true: ArrayLike, y_score: ArrayLike, threshold: float) -> pd.DataFrame:
    """Give the confusion matrix at one threshold, with shares.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        threshold: A score >= threshold is called fake.

    Returns:
        Two rows, real and fake: label, called_real, called_fake (counts), share_called_fake (the
        false positive rate of the reals, the true positive rate of the fakes).

    Raises:
        ValueError: For a threshold that is not finite; else as `roc`.
    """
    counts = metrics.confusion(y_true, y_score, threshold)
    table = pd.DataFrame(counts, columns=["called_real", "called_fake"])
    table.insert(0, "label", CLASSES)
    return table.assign(share_called_fake=counts[:, 1] / counts.sum(axis=1))


def histogram(y_true: ArrayLike, y_score: ArrayLike, n_bins: int = 50) -> pd.DataFrame:
    """Count the scores of reals and of fakes in bins of equal width over [0, 1].

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        n_bins: Number of bins; a score on an inner edge counts above it.

    Returns:
        One row per bin: low, high, n_real, n_fake, share_real, share_fake (of their class).

    Raises:
        ValueError: For n_bins < 1; else as `roc`.
    """
    labels, scores = metrics.checked(y_true, y_score)
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"got n_bins={n_bins!r}, expected a whole number >= 1; 50 is usual")
    edges = np.linspace(0, 1, n_bins + 1)
    real, fake = (np.histogram(scores[labels == label], edges)[0] for label in (0, 1))
    columns = {"low": edges[:-1], "high": edges[1:], "n_real": real, "n_fake": fake}
    return pd.DataFrame(columns).assign(share_real=real / real.sum(), share_fake=fake / fake.sum())


def thin(table: pd.DataFrame, n: int = 500) -> pd.DataFrame:
    """Keep at most n rows of a curve for drawing: both ends, and the rest evenly along the curve.

    Args:
        table: A curve of this module.
        n: Rows to keep, at least 2.

    Returns:
        The table itself if it is short enough, else rows of it, in order.

    Raises:
        ValueError: For n < 2.

    Source: own. Even steps of arc length keep steep parts, even steps of the row number do not.
    """
    if n < 2:
        raise ValueError(f"got n={n}, expected at least 2 rows; 500 draws well")
    if len(table) <= n:
        return table
    values = table.drop(columns="threshold", errors="ignore").to_numpy(float)
    length = np.append(0, np.cumsum(np.abs(np.diff(values, axis=0)).sum(axis=1)))
    wanted = np.linspace(0, length[-1], n - 1)  # and the last row
    rows = np.unique(np.searchsorted(length, wanted).clip(0, len(table) - 1))
    return table.iloc[np.union1d(rows, [0, len(table) - 1])].reset_index(drop=True)


def write(
    y_true: ArrayLike, y_score: ArrayLike, folder: str | Path, threshold: float, n_bins: int = 50
) -> list[Path]:
    """Write every curve of a set as CSV, with a provenance record beside them.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        folder: Where to write; an existing folder is replaced as a whole.
        threshold: For the confusion matrix.
        n_bins: For the histogram.

    Returns:
        The files: roc, pr_fake, pr_real, f1, fpr_fnr, confusion, histogram (.csv), curves.json.

    Raises:
        ValueError: As `roc`.
    """
    tables = {
        "roc": roc(y_true, y_score),
        "pr_fake": precision_recall(y_true, y_score),
        "pr_real": precision_recall(y_true, y_score, "real"),
        "f1": f1(y_true, y_score),
        "fpr_fnr": fpr_fnr(y_true, y_score),
        "confusion": confusion(y_true, y_score, threshold),
        "histogram": histogram(y_true, y_score, n_bins),
    }
    with repro.atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, table in tables.items():
            table.to_csv(temporary / f"{name}.csv", index=False)
        facts = {"threshold": threshold, "n_bins": n_bins, "n_rows": len(np.asarray(y_true))}
        repro.write_json(temporary / "curves.json", repro.provenance(**facts))
    return [Path(folder) / name for name in [*(f"{t}.csv" for t in tables), "curves.json"]]
