"""From scores to decisions: what a threshold does on other data, at a prevalence, at a cost, in a slice.

Tables of videos come from `metrics.video_scores`: dataset, source_id, label and p_fake. A score >= the
threshold is called fake.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gendkit import calibration, metrics

MEASURES = ("fpr", "tpr", "auroc")


def ppv(tpr: Any, fpr: Any, prevalence: Any) -> np.ndarray:
    """Share of fakes among what is called fake (positive predictive value).

    Args:
        tpr: Share of fakes that are found, in [0, 1].
        fpr: Share of reals that are called fake, in [0, 1].
        prevalence: Share of fakes in what is looked at, in [0, 1]; arrays are broadcast.

    Returns:
        float64 in [0, 1]; NaN where nothing is called fake.

    Raises:
        ValueError: If a share is outside [0, 1].

    Source: Bayes' rule.
    """
    tpr, fpr, prevalence = _shares(tpr=tpr, fpr=fpr, prevalence=prevalence)
    right, wrong = tpr * prevalence, fpr * (1 - prevalence)
    with np.errstate(invalid="ignore"):
        return right / (right + wrong)


def npv(tpr: Any, fpr: Any, prevalence: Any) -> np.ndarray:
    """Share of reals among what is called real (negative predictive value).

    Args, Returns, Raises, Source: as `ppv`; NaN where nothing is called real.
    """
    tpr, fpr, prevalence = _shares(tpr=tpr, fpr=fpr, prevalence=prevalence)
    return ppv(1 - fpr, 1 - tpr, 1 - prevalence)


def _shares(**given: Any) -> list[np.ndarray]:
    out = []
    for name, value in given.items():
        array = np.asarray(value, dtype=float)
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"got {name}={value}, expected shares in [0, 1]; 1 % is 0.01")
        out.append(array)
    return out


def restate(p_fake: Any, fitted: float, prevalence: float) -> np.ndarray:
    """Move calibrated scores from the share of fakes they were fitted at to another.

    Args:
        p_fake: (...) calibrated P(fake).
        fitted: Share of fakes in the set that they were calibrated on, in (0, 1).
        prevalence: Share of fakes where they are used, in (0, 1).

    Returns:
        (...) float64: the logit, moved by the difference of the logits of both shares.

    Raises:
        ValueError: If a share is not in (0, 1).

    Source: Saerens et al. 2002, https://doi.org/10.1162/089976602753284446, equation 4.
    """
    if not (0 < fitted < 1 and 0 < prevalence < 1):
        raise ValueError(f"got shares {fitted} and {prevalence}, expected both in (0, 1)")
    shift = calibration.logit(prevalence) - calibration.logit(fitted)
    return 1 / (1 + np.exp(-(calibration.logit(p_fake) + shift)))


def cost(tpr: Any, fpr: Any, prevalence: Any, alarm: float, miss: float) -> np.ndarray:
    """Expected cost of one decision.

    Args:
        tpr: Share of fakes that are found.
        fpr: Share of reals that are called fake.
        prevalence: Share of fakes.
        alarm: Cost of calling a real fake, >= 0.
        miss: Cost of calling a fake real, >= 0, in the same unit.

    Returns:
        float64. The best threshold on calibrated scores is alarm / (alarm + miss).

    Raises:
        ValueError: If a share is outside [0, 1] or a cost is negative.

    Source: Elkan 2001, The Foundations of Cost-Sensitive Learning, section 2.
    """
    if not (alarm >= 0 and miss >= 0):
        raise ValueError(f"got costs {alarm} and {miss}, expected numbers >= 0")
    tpr, fpr, prevalence = _shares(tpr=tpr, fpr=fpr, prevalence=prevalence)
    return prevalence * (1 - tpr) * miss + (1 - prevalence) * fpr * alarm


def transfer(
    sets: Mapping[str, pd.DataFrame], threshold: float, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Carry one threshold to several sets, beside what each set's own would give.

    Args:
        sets: Name -> videos, with reals and fakes.
        threshold: Fixed elsewhere.
        n_bootstrap: Resamples of sources for the intervals of tpr, auroc and balanced_accuracy.
        seed: Of the resampling.

    Returns:
        One row a set: set, n_real, n_fake, fpr, tpr, auroc and balanced_accuracy, each with _low and
        _high (95 %; of fpr by Wilson's interval, as each real is a source of its own), and
        oracle_threshold, oracle_balanced_accuracy (at the set's own equal error rate).

    Raises:
        ValueError: If a set lacks a class, or the threshold is not finite.
    """
    rows = []
    for name, videos in sets.items():
        found = _measured(videos, threshold, n_bootstrap, seed)
        oracle = metrics.oracle_accuracies(videos["label"], videos["p_fake"])
        kept = {k: oracle[k] for k in ("oracle_threshold", "oracle_balanced_accuracy")}
        rows.append({"set": name} | found | kept)
    return pd.DataFrame(rows)


def _measured(videos: pd.DataFrame, threshold: float, n: int, seed: int) -> dict[str, Any]:
    counts = metrics.confusion(videos["label"], videos["p_fake"], threshold)
    out: dict[str, Any] = {"n_real": int(counts[0].sum()), "n_fake": int(counts[1].sum())}
    low, high = calibration.interval(int(counts[0, 1]), out["n_real"])
    out |= {"fpr": counts[0, 1] / out["n_real"], "fpr_low": low, "fpr_high": high}

    def hit_rate(y: np.ndarray, s: np.ndarray) -> float:
        return float(np.mean(s[y == 1] >= threshold))

    def balanced(y: np.ndarray, s: np.ndarray) -> float:
        return (hit_rate(y, s) + float(np.mean(s[y == 0] < threshold))) / 2

    for name, metric in (
        ("tpr", hit_rate),
        ("auroc", metrics.auroc),
        ("balanced_accuracy", balanced),
    ):
        found = metrics.bootstrap(videos, metric, n=n, seed=seed)
        out |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return out


def risk_coverage(
    y_true: Any, p_fake: Any, threshold: float, prevalence: float = 0.5
) -> pd.DataFrame:
    """Let the detector decline the videos whose scores lie nearest to the threshold.

    Args:
        y_true: (N,) labels 0 or 1.
        p_fake: (N,) scores.
        threshold: Fixed elsewhere; the distance to it is taken between logits.
        prevalence: Share of fakes; the classes are weighted to it, however many videos each has.

    Returns:
        One row for each number of declined videos, from none: margin (least distance answered),
        coverage (weighted share answered), risk (weighted share of wrong answers among them).

    Raises:
        ValueError: For one class, bad scores, or a prevalence or threshold not in (0, 1).

    Source: El-Yaniv and Wiener 2010, Journal of Machine Learning Research 11.
    """
    labels, scores = metrics.checked(y_true, p_fake)
    if not (0 < prevalence < 1 and 0 < threshold < 1):
        raise ValueError(
            f"got prevalence={prevalence} and threshold={threshold}, expected both in (0, 1)"
        )
    share = np.where(labels == 1, prevalence, 1 - prevalence)
    weight = share / np.bincount(labels)[labels]
    margin = np.abs(calibration.logit(scores) - calibration.logit(threshold))
    order = np.argsort(-margin, kind="stable")
    wrong = ((scores >= threshold).astype(int) != labels)[order]
    answered = np.cumsum(weight[order])
    risk = np.cumsum(weight[order] * wrong) / answered
    last = np.append(-np.diff(margin[order]) > 1e-9, True)  # equal distances answer together
    table = pd.DataFrame({"margin": margin[order], "coverage": answered, "risk": risk})[last]
    return table.iloc[::-1].reset_index(drop=True)


def slices(
    videos: pd.DataFrame,
    groups: Mapping[str, str],
    threshold: float,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure a detector on the videos of each group of people.

    Args:
        videos: Videos of `metrics.video_scores`.
        groups: source_id -> name of the group; people without one are left out.
        threshold: One for all, fixed elsewhere.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Returns:
        One row a group, in the order of first mention in `groups`: slice, n_people, n_real, n_fake,
        and fpr, tpr, auroc and balanced_accuracy with _low and _high, as `transfer`.

    Raises:
        ValueError: If fewer than two groups have videos, or one lacks a class or a second person.
    """
    names = videos["source_id"].map(groups)
    rows = []
    for name in dict.fromkeys(groups.values()):
        part = videos[names == name]
        if part.empty:
            continue
        if part["source_id"].nunique() < 2 or part["label"].nunique() < 2:
            raise ValueError(
                f"group {name!r} has {part['source_id'].nunique()} people and the labels "
                f"{sorted(set(part['label']))}; a slice needs two people and both labels: join groups"
            )
        found = _measured(part, threshold, n_bootstrap, seed)
        rows.append({"slice": name, "n_people": part["source_id"].nunique()} | found)
    if len(rows) < 2:
        raise ValueError(f"got {len(rows)} groups with videos, expected at least 2")
    return pd.DataFrame(rows)


def slice_test(
    videos: pd.DataFrame,
    groups: Mapping[str, str],
    threshold: float,
    measure: str = "fpr",
    n_permutations: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Ask how often chance alone spreads the groups as far: the groups are dealt out anew.

    Args:
        videos: Videos.
        groups: source_id -> name of the group.
        threshold: As for `slices`.
        measure: "fpr", "tpr" or "auroc".
        n_permutations: Number of deals. People are dealt, so a person's videos stay together.
        seed: Of the deals.

    Returns:
        (spread, p): largest minus smallest value over the groups, and the share of deals that spread
        as far, in (0, 1]. With many tests some p are small by chance: adjust them together.

    Raises:
        ValueError: If the measure is unknown, or a group lacks a class.

    Source: permutation test; Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585 (p is
    never 0).
    """
    if measure not in MEASURES:
        raise ValueError(f"got measure={measure!r}, expected one of {', '.join(MEASURES)}")
    kept = videos[videos["source_id"].isin(groups)]
    people, columns = np.unique(kept["source_id"], return_inverse=True)
    names, codes = np.unique([groups[person] for person in people], return_inverse=True)
    rng = np.random.default_rng(seed)
    deals = np.vstack([codes, *(rng.permutation(codes) for _ in range(n_permutations))])
    labels, p_fake = kept["label"].to_numpy(), kept["p_fake"].to_numpy()
    values = []
    for code in range(len(names)):
        weights = (deals[:, columns] == code).astype(float)
        values.append(_weighted(labels, p_fake, weights, threshold, measure))
    spread = np.ptp(values, axis=0)
    if not np.isfinite(spread[0]):
        raise ValueError("a group has videos of one class only; join groups")
    apart = np.nan_to_num(spread[1:], nan=0.0) >= spread[0] - 1e-12
    return float(spread[0]), float((1 + apart.sum()) / (1 + n_permutations))


def _weighted(
    labels: np.ndarray, p_fake: np.ndarray, weights: np.ndarray, threshold: float, measure: str
) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        if measure == "auroc":
            return metrics.weighted_auroc(labels, p_fake, weights)
        rows = labels == (1 if measure == "tpr" else 0)
        called = (p_fake[rows] >= threshold).astype(float)
        return weights[:, rows] @ called / weights[:, rows].sum(axis=1)
