"""How good a detector is, and how sure we can be: scores in, numbers with intervals out.

Order of arguments: (y_true, y_score). Labels are 0 (real) and 1 (fake); a score is P(fake) in
[0, 1]. Frames of one video are not independent, so intervals resample whole groups of videos.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

KEY = ["dataset", "method", "compression", "video_id"]
Metric = Callable[[np.ndarray, np.ndarray], float]


def checked(y_true: ArrayLike, y_score: ArrayLike, both: bool = True) -> tuple[np.ndarray, ...]:
    """Check labels and scores once, at the border.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake) in [0, 1].
        both: Ask for both classes.

    Returns:
        labels (N,) int64 and scores (N,) float64.

    Raises:
        ValueError: For unequal shapes, no rows, a label outside {0, 1}, NaN, a score outside
            [0, 1], and (if `both`) one class; names the first bad row.
    """
    labels, scores = np.asarray(y_true), np.asarray(y_score, dtype=float)
    if labels.ndim != 1 or labels.shape != scores.shape or labels.size == 0:
        raise ValueError(
            f"got labels {labels.shape} and scores {scores.shape}, expected two equal "
            "shapes (N,) with N > 0; give one P(fake) per label, as scores[:, 1]"
        )
    bad = np.flatnonzero(~np.isin(labels, (0, 1)))
    if bad.size:
        raise ValueError(
            f"got label {labels[bad[0]]} at row {bad[0]}, expected 0 (real) or 1 "
            "(fake); map the labels first"
        )
    bad = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if bad.size:
        raise ValueError(
            f"got score {scores[bad[0]]} at row {bad[0]} ({bad.size} such rows), "
            "expected P(fake) in [0, 1]; apply softmax or sigmoid to logits, and drop "
            "or fill failed rows"
        )
    labels = labels.astype(np.int64)
    if both and labels.min() == labels.max():
        name = "fake" if labels[0] else "real"
        raise ValueError(
            f"got only {name} samples (label {labels[0]}), expected both classes; add "
            f"{'reals' if labels[0] else 'fakes'} to this group or leave it out"
        )
    return labels, scores


def roc(y_true: ArrayLike, y_score: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the corners of the ROC curve.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        fpr, tpr, thresholds, each (K,): a score >= threshold is called fake. The first point is
        (0, 0) at threshold infinity; points inside straight pieces are left out.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010.
    """
    labels, scores = checked(y_true, y_score)
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # the end of each run of ties
    tps = np.cumsum(labels)[last]
    fps = last + 1 - tps
    corner = np.ones(len(last), dtype=bool)
    corner[1:-1] = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
    tps, fps, thresholds = tps[corner], fps[corner], scores[last][corner]
    return (
        np.append(0.0, fps / fps[-1]),
        np.append(0.0, tps / tps[-1]),
        np.append(np.inf, thresholds),
    )


def auroc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real (ties count half).

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        Value in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
    """
    labels, scores = checked(y_true, y_score)
    return float(weighted_auroc(labels, scores, np.ones((1, len(labels))))[0])


def weighted_auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the AUROC of many resamples at once, without checks: for bootstraps of your own.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any real numbers.
        weights: (R, N) how often resample r holds sample n.

    Returns:
        (R,) values; both classes must be in every resample.

    Source: own (the rank formula with weights; ties count half).
    """
    order = np.argsort(scores, kind="stable")
    labels, scores, weights = labels[order], scores[order], weights[:, order]
    starts = np.flatnonzero(np.append(True, np.diff(scores) != 0))
    fake = np.add.reduceat(weights * labels, starts, axis=1)
    real = np.add.reduceat(weights * (1 - labels), starts, axis=1)
    real_below = np.cumsum(real, axis=1) - real
    wins = (fake * (real_below + real / 2)).sum(axis=1)
    return wins / (fake.sum(axis=1) * real.sum(axis=1))


def average_precision(y_true: ArrayLike, y_score: ArrayLike, classes: str = "both") -> float:
    """Average precision, which moves with the share of fakes: state it beside the value.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        classes: "both" (default): mean of the value for finding fakes and the value for finding
            reals by 1 - P(fake); the official GenD code calls it mAP. "fake": finding fakes only.

    Returns:
        Value in [0, 1].

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes, unknown `classes`.

    Source: parity with github.com/yermandy/GenD at e03532d.
    """
    labels, scores = checked(y_true, y_score)
    if classes not in ("both", "fake"):
        raise ValueError(f'got classes={classes!r}, expected "both" or "fake"')
    values = [_precision_area(labels, scores)]
    if classes == "both":
        values.append(_precision_area(1 - labels, -scores))
    return float(np.mean(values))


def _precision_area(hits: np.ndarray, scores: np.ndarray) -> float:
    """Sum of precision times the recall gained, over the distinct scores from the highest."""
    order = np.argsort(-scores, kind="stable")
    hits, scores = hits[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    found = np.cumsum(hits)[last]
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / found[-1])


def eer(y_true: ArrayLike, y_score: ArrayLike) -> tuple[float, float]:
    """Equal error rate: where as many reals are called fake as fakes are called real.

    The ROC corners are joined by straight lines. Where the curve jumps over the diagonal, every
    threshold of the jump gives the same rate, and rounding decides which is returned.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        (rate, threshold), both in [0, 1].

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: parity with github.com/yermandy/GenD at e03532d (root of 1 - x - TPR(x)).
    """
    from scipy.optimize import brentq

    fpr, tpr, thresholds = roc(y_true, y_score)
    thresholds[0] = thresholds[1]  # a line to infinity has no points
    rate = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1)
    return float(rate), float(np.interp(rate, fpr, thresholds))


def tpr_at_fpr(y_true: ArrayLike, y_score: ArrayLike, fpr: float = 0.01) -> float:
    """Share of fakes found when at most `fpr` of the reals are called fake.

    The best real threshold is taken, nothing between thresholds is invented: with fewer than
    1 / fpr reals the value is that of no false alarm at all.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        fpr: Allowed share of false alarms, in [0, 1].

    Returns:
        True positive rate in [0, 1].

    Raises:
        ValueError: For fpr outside [0, 1], one class, NaN, bad scores or shapes.

    Source: parity with github.com/yermandy/GenD at e03532d.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"got fpr={fpr}, expected a share in [0, 1]; 1 % is 0.01")
    rates, found, _ = roc(y_true, y_score)
    return float(found[rates <= fpr].max())


def confusion(y_true: ArrayLike, y_score: ArrayLike, threshold: float) -> np.ndarray:
    """Count right and wrong calls when a score >= threshold is called fake.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        threshold: Fixed before the test set is seen.

    Returns:
        (2, 2) counts: the row is the true class, the column the called class, real first.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes, no finite threshold.
    """
    labels, scores = checked(y_true, y_score)
    if not np.isfinite(threshold):
        raise ValueError(
            f"got threshold={threshold}, expected a finite number; fix it on the "
            "select set, for example by eer"
        )
    called = (scores >= threshold).astype(int)
    return np.bincount(2 * labels + called, minlength=4).reshape(2, 2)


def accuracy(y_true: ArrayLike, y_score: ArrayLike, threshold: float = 0.5) -> float:
    """Share of right calls when a score >= threshold is called fake.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        threshold: Fixed before the test set is seen.

    Returns:
        Value in [0, 1]; it moves with the share of fakes.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes, no finite threshold.
    """
    counts = confusion(y_true, y_score, threshold)
    return float(np.trace(counts) / counts.sum())


def balanced_accuracy(y_true: ArrayLike, y_score: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the shares of reals and of fakes that are called right.

    Args, Returns, Raises: as `accuracy`; the value does not move with the share of fakes.
    """
    counts = confusion(y_true, y_score, threshold)
    return float(np.mean(np.diag(counts) / counts.sum(axis=1)))


def f1(y_true: ArrayLike, y_score: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the F1 values of both classes (macro F1).

    Args, Returns, Raises: as `accuracy`.
    """
    counts = confusion(y_true, y_score, threshold)
    return float(np.mean(2 * np.diag(counts) / (counts.sum(axis=1) + counts.sum(axis=0))))


def oracle_accuracies(y_true: ArrayLike, y_score: ArrayLike) -> dict[str, float]:
    """Accuracies at the test set's own EER threshold, which no user of a detector can know.

    The official GenD code logs its accuracies so. Report them under these names only. Its calls
    are `score > threshold`, those of the kit `score >= threshold`; they differ only where a score
    is the threshold itself, as the lowest fake of a set without any error is.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        oracle_threshold, oracle_accuracy, oracle_balanced_accuracy, oracle_f1.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.
    """
    threshold = eer(y_true, y_score)[1]
    return {
        "oracle_threshold": threshold,
        "oracle_accuracy": accuracy(y_true, y_score, threshold),
        "oracle_balanced_accuracy": balanced_accuracy(y_true, y_score, threshold),
        "oracle_f1": f1(y_true, y_score, threshold),
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Area between two empirical distribution functions."""
    points = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(x), points[:-1], side="right") / len(x) for x in (a, b)]
    return float(np.sum(np.abs(below[0] - below[1]) * np.diff(points)))


def w1(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Wasserstein-1 distance between the scores of reals and of fakes.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        Value in [0, 1]: 0 equal distributions, 1 all reals at 0 and all fakes at 1. It has no
        sign: a detector that calls everything wrong has 1 too.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.
    """
    labels, scores = checked(y_true, y_score)
    return _distance(scores[labels == 0], scores[labels == 1])


def w1_official(y_true: ArrayLike, y_score: ArrayLike) -> tuple[float, float, float, float]:
    """The four Wasserstein-1 distances that the official GenD code logs.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        Between reals and fakes in P(real), between reals and fakes in P(fake) (equal to the first),
        between P(real) and P(fake) of the reals, between P(real) and P(fake) of the fakes.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: parity with github.com/yermandy/GenD at e03532d.
    """
    labels, scores = checked(y_true, y_score)
    real, fake = scores[labels == 0], scores[labels == 1]
    return (
        _distance(1 - real, 1 - fake),
        _distance(real, fake),
        _distance(1 - real, real),
        _distance(1 - fake, fake),
    )


def brier(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Mean squared distance between score and label: calibration and sharpness in one.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).

    Returns:
        Value in [0, 1], lower is better; 0.25 for a constant score of 0.5.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes.

    Source: Brier 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    labels, scores = checked(y_true, y_score)
    return float(np.mean((scores - labels) ** 2))


def reliability(y_true: ArrayLike, y_score: ArrayLike, n_bins: int = 10) -> pd.DataFrame:
    """Compare scores with the share of fakes, bin by bin.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        n_bins: Number of bins of equal width over [0, 1]; a score on an edge counts above it.

    Returns:
        One row per bin that is not empty: low, high (edges), n, mean_score, share_fake, gap
        (mean_score - share_fake, positive where the detector calls fake too readily).

    Raises:
        ValueError: For n_bins < 1, one class, NaN, scores outside [0, 1], unequal shapes.
    """
    labels, scores = checked(y_true, y_score)
    if isinstance(n_bins, bool) or not isinstance(n_bins, int) or n_bins < 1:
        raise ValueError(f"got n_bins={n_bins!r}, expected a whole number >= 1; 10 is usual")
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, n_bins - 1)
    table = (
        pd.DataFrame({"bin": bins, "score": scores, "label": labels})
        .groupby("bin")
        .agg(n=("score", "size"), mean_score=("score", "mean"), share_fake=("label", "mean"))
    )
    table.insert(0, "low", edges[table.index])
    table.insert(1, "high", edges[table.index + 1])
    table["gap"] = table["mean_score"] - table["share_fake"]
    return table.reset_index(drop=True)


def ece(y_true: ArrayLike, y_score: ArrayLike, n_bins: int = 10) -> float:
    """Expected calibration error: mean absolute gap of `reliability`, weighted by bin size.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        n_bins: Number of bins of equal width.

    Returns:
        Value in [0, 1], lower is better. It grows with n_bins on small sets.

    Raises:
        ValueError: As `reliability`.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3, on P(fake) instead of the confidence.
    """
    table = reliability(y_true, y_score, n_bins)
    return float(np.average(table["gap"].abs(), weights=table["n"]))


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Args:
        value: The metric on all rows.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n_videos: Number of videos behind it.
        level: Share of the resamples inside the interval.
        n_groups: Number of groups that were resampled.
        n_redrawn: Resamples thrown away because they had one class.
    """

    value: float
    low: float
    high: float
    n_videos: int
    level: float = 0.95
    n_groups: int = 0
    n_redrawn: int = 0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float) -> bool:
        """Say whether a value, such as 0.5 or a difference of 0, lies outside the interval."""
        return not self.low <= value <= self.high


def _require(scores: pd.DataFrame, columns: list[str]) -> None:
    if not isinstance(scores, pd.DataFrame):
        raise ValueError(f"got {type(scores).__name__}, expected a table of scores (DataFrame)")
    missing = [name for name in columns if name not in scores]
    if missing:
        raise ValueError(
            f"missing columns {missing}, expected {columns}; join the scores with their manifest"
        )


def video_scores(scores: pd.DataFrame, how: str = "mean") -> pd.DataFrame:
    """Aggregate frame scores to one score per video.

    A video is (dataset, method, compression, video_id): equal ids under two methods stay apart.

    Args:
        scores: One row per frame with the columns of `KEY`, label (0, 1) and p_fake in [0, 1].
        how: "mean" (default, as in the paper), "median", "max", or "topK": mean of the K highest,
            for example "top3".

    Returns:
        One row per video, sorted by key: the key, every column that is constant within all videos,
        p_fake and n_frames (rows aggregated). The index is new.

    Raises:
        ValueError: If a column is missing, p_fake is NaN or outside [0, 1], label, role or
            source_id varies within a video (the first such video is named), or `how` is unknown.

    Source: own. The official code takes the mean over the frames in a folder.
    """
    _require(scores, [*KEY, "label", "p_fake"])
    checked(scores["label"], scores["p_fake"], both=False)
    top = re.fullmatch(r"top([1-9]\d*)", how)
    if how not in ("mean", "median", "max") and not top:
        raise ValueError(f'got how={how!r}, expected "mean", "median", "max" or "top3"')
    grouped = scores.groupby(KEY, sort=True)
    others = [name for name in scores.columns if name not in (*KEY, "p_fake", "n_frames")]
    counts = grouped[others].nunique(dropna=False)
    for name in (name for name in ("label", "role", "source_id") if name in others):
        if (counts[name] > 1).any():
            video = "/".join(map(str, counts.index[counts[name] > 1][0]))
            raise ValueError(
                f"{name} varies within video {video!r}, expected one value; give the "
                "videos different ids, methods or compressions"
            )
    constant = [
        name
        for name in others
        if (counts[name] <= 1).all() and name not in ("frame", "face", "path")
    ]
    result = grouped[constant].first()
    if top:
        best = scores.sort_values("p_fake", ascending=False).groupby(KEY).head(int(top[1]))
        result["p_fake"] = best.groupby(KEY)["p_fake"].mean()
    else:
        result["p_fake"] = grouped["p_fake"].agg(how)
    result["n_frames"] = grouped.size()
    return result.reset_index()


def _group_codes(scores: pd.DataFrame, groups: str | list[str]) -> np.ndarray:
    """Number the resampling unit of each row."""
    if groups == "row":
        return np.arange(len(scores))
    names = KEY if groups == "video" else [groups] if isinstance(groups, str) else list(groups)
    if groups == "source_id":
        names = ["dataset", "source_id"]  # id 007 of two datasets is two people
    _require(scores, names)
    return scores.groupby(names, sort=True, dropna=False).ngroup().to_numpy()


def _draw(labels: np.ndarray, codes: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, int]:
    """Draw groups with replacement: counts (n, G), and how many draws had one class."""
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise ValueError(
            'got 1 group, expected at least 2 to resample; choose groups="video" or add sources'
        )
    per_class = np.stack(
        [np.bincount(codes[labels == label], minlength=n_groups) for label in (0, 1)], axis=1
    )
    rng = np.random.default_rng(seed)
    kept, n_kept, n_drawn = [], 0, 0
    while n_kept < n:
        draw = rng.integers(n_groups, size=(n - n_kept, n_groups))
        rows = np.repeat(np.arange(len(draw)), n_groups)
        counts = np.zeros((len(draw), n_groups), dtype=np.int64)
        np.add.at(counts, (rows, draw.ravel()), 1)
        counts = counts[(counts @ per_class > 0).all(axis=1)]
        n_drawn += len(draw)
        n_kept += len(counts)
        kept.append(counts)
    return np.concatenate(kept), n_drawn - n


def _resampled(
    labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, counts: np.ndarray, metric: Metric
) -> np.ndarray:
    """The metric on every resample."""
    if metric is auroc:
        step = max(1, 2_000_000 // len(labels))  # bounds the memory of the weights
        return np.concatenate(
            [
                weighted_auroc(labels, scores, counts[i : i + step, codes])
                for i in range(0, len(counts), step)
            ]
        )
    rows = np.arange(len(labels))
    return np.array(
        [
            metric(labels[again], scores[again])
            for again in (np.repeat(rows, times[codes]) for times in counts)
        ]
    )


def _value(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> float:
    value = metric(labels, scores)
    if not np.isscalar(value):
        raise ValueError(
            f"the metric gave {type(value).__name__}, expected one number; wrap it, "
            "as lambda y, s: eer(y, s)[0]"
        )
    return float(value)


def _check_numbers(n: int, level: float) -> None:
    if n < 1 or not 0 < level < 1:
        raise ValueError(
            f"got n={n}, level={level}, expected n >= 1 and 0 < level < 1; usual are 1000 and 0.95"
        )


def bootstrap(
    scores: pd.DataFrame,
    metric: Metric = auroc,
    groups: str | list[str] = "source_id",
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Estimate a metric with a percentile bootstrap interval over groups of videos.

    Groups are drawn with replacement, so that a real and its fakes, and all frames of a video, stay
    together. A resample with one class has no AUROC: it is drawn again, and `n_redrawn` counts
    that. Near 0 or 1, and for few groups, percentile intervals are too short.

    Args:
        scores: Rows with the columns of `KEY`, label and p_fake: videos (`video_scores`), or frames
            for a frame-level value.
        metric: (labels (N,), scores (N,)) -> number.
        groups: "source_id" (default, within its dataset), "video", any column or columns, or "row",
            which treats frames as independent: wrong, kept to show how wrong.
        n: Number of resamples.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval.

    Returns:
        The estimate.

    Raises:
        ValueError: If a column is missing, a score is NaN or outside [0, 1], there is one class or
            one group, or the metric gives no single number.

    Source: Field and Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x.
    """
    return _interval([scores], metric, groups, n, seed, level)


def paired_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    metric: Metric = auroc,
    groups: str | list[str] = "source_id",
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Estimate metric(a) - metric(b) of two detectors on the same videos, resampled together.

    Rows are matched by video key (and frame and face, where both have them), in any order. If the
    interval excludes 0 the two are distinguishable on these videos; two single intervals that
    overlap do not say that they are not.

    Args:
        a: Scores of one detector, as for `bootstrap`.
        b: Scores of the other.
        metric: (labels (N,), scores (N,)) -> number.
        groups: As for `bootstrap`; taken from `a`.
        n: Number of resamples.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval.

    Returns:
        The estimate of the difference.

    Raises:
        ValueError: If the tables hold different videos or labels; else as `bootstrap`.

    Source: own; paired cluster bootstrap.
    """
    for table in (a, b):
        _require(table, [*KEY, "label", "p_fake"])
    unit = KEY + [name for name in ("frame", "face") if name in a and name in b]
    keys = [pd.MultiIndex.from_frame(table[unit]) for table in (a, b)]
    for name, key in zip("ab", keys, strict=True):
        if not key.is_unique:
            raise ValueError(
                f"table {name} has key {key[key.duplicated()][0]} twice, expected "
                f"each {tuple(unit)} once; aggregate with video_scores first"
            )
    odd = keys[0].symmetric_difference(keys[1])
    if len(odd):
        raise ValueError(
            f"the tables differ in {len(odd)} rows, first {odd[0]}, expected scores "
            "of the same videos; keep the rows that both have"
        )
    b = b.iloc[keys[1].get_indexer(keys[0])]
    if not np.array_equal(a["label"], b["label"]):
        raise ValueError("the tables give a video different labels; score both from one manifest")
    return _interval([a, b], metric, groups, n, seed, level)


def _interval(
    tables: list[pd.DataFrame],
    metric: Metric,
    groups: str | list[str],
    n: int,
    seed: int,
    level: float,
) -> Estimate:
    """Bootstrap the metric of one table, or the difference of two whose rows are matched."""
    _require(tables[0], [*KEY, "label", "p_fake"])
    _check_numbers(n, level)
    codes = _group_codes(tables[0], groups)
    pairs = [checked(table["label"], table["p_fake"]) for table in tables]
    signs = (1, -1)[: len(tables)]
    value = sum(sign * _value(metric, *pair) for sign, pair in zip(signs, pairs, strict=True))
    counts, n_redrawn = _draw(pairs[0][0], codes, n, seed)
    draws = sum(
        sign * _resampled(*pair, codes, counts, metric)
        for sign, pair in zip(signs, pairs, strict=True)
    )
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    n_videos = len(tables[0][KEY].drop_duplicates())
    return Estimate(value, float(low), float(high), n_videos, level, counts.shape[1], n_redrawn)
