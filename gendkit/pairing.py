"""Why pairs remove shortcuts: a model small enough to be solved, its simulation, and what a batch holds.

The model. A video has one number that the forgery moves, f = delta y + sigma e, and D numbers that have
nothing to do with it, v = tau u: light, skin, camera, codec. y is the label (0, 1), e and u are standard
normal, u belongs to the clip, so a fake shares it with the real that it was made from. A linear detector
learns the difference of the class means, w = mean(fakes) - mean(reals), and its logit is
w_f f + w_v v: forgery plus nuisance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_NODES = 41  # of each Gaussian integral
_QUANTILES = 400  # of the chi-square integral


@dataclass(frozen=True)
class World:
    """The sizes in the model.

    Args:
        forgery: delta > 0, how far a forgery moves its number.
        noise: sigma > 0, its spread within a class.
        nuisance: tau >= 0, spread of each number that says nothing.
        dims: D >= 1, how many of these there are.
    """

    forgery: float = 1.0
    noise: float = 1.0
    nuisance: float = 1.0
    dims: int = 50

    def __post_init__(self) -> None:
        if not (self.forgery > 0 and self.noise > 0 and self.nuisance >= 0 and self.dims >= 1):
            raise ValueError(
                f"got {self}, expected forgery > 0, noise > 0, nuisance >= 0, dims >= 1"
            )


def _check(n: int, n_min: int = 1) -> None:
    if isinstance(n, bool) or int(n) != n or n < n_min:
        raise ValueError(f"got n={n!r} reals and fakes, expected a whole number >= {n_min}")


def expected_auroc(
    n: int, world: World, paired: bool, shift: float = 0.0, test_shift: float = 0.0
) -> float:
    """Expected AUROC on new people after training on n reals and n fakes.

    The forgery's weight is normal with mean delta and variance 2 sigma^2 / n. Unpaired, each weight of
    the nuisance is normal with variance 2 tau^2 / n; paired, it is 0. Given the weights, scores of both
    classes are normal, and the AUROC is ``Phi(gap / sqrt(2 (w_f^2 sigma^2 + tau^2 |w_v|^2)))``.

    Args:
        n: Reals, and fakes, of the training list.
        world: Sizes of the model.
        paired: Every fake beside its own real, or fakes and reals of different people.
        shift: What the collection adds to one nuisance number of all training fakes (another codec).
            Pairs do not cancel it: the real does not share it.
        test_shift: The same in the test set: `shift` for a test set of the same collection, 0 for a
            clean one.

    Returns:
        Value in [0, 1], exact up to the quadrature (error below 0.001).

    Raises:
        ValueError: If n is not a whole number >= 1.
    """
    from scipy.special import ndtr
    from scipy.stats import norm

    _check(n)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    # The integrand jumps where w_f changes its sign: many steps of equal probability, no Gauss rule.
    steps = norm.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    w_f = world.forgery + world.noise * np.sqrt(2 / n) * steps
    if paired:
        first, p_first, rest = np.array([shift]), np.ones(1), np.zeros(1)
    else:
        spread = world.nuisance * np.sqrt(2 / n)
        first, p_first = shift + spread * nodes, weights
        rest = spread**2 * _chi_square(world.dims - 1)
    length = first[:, None] ** 2 + rest
    gap = w_f[:, None, None] * world.forgery + test_shift * first[:, None]
    variance = (world.noise * w_f[:, None, None]) ** 2 + world.nuisance**2 * length
    areas = ndtr(gap / np.sqrt(2 * variance))
    return float((areas.mean(axis=(0, 2)) * p_first).sum())


def _chi_square(dims: int) -> np.ndarray:
    """Values that stand for a chi-square variable, each as likely as the others."""
    from scipy.stats import chi2

    if dims == 0:
        return np.zeros(1)
    return chi2.ppf((np.arange(60) + 0.5) / 60, dims)


def simulate(
    n: int,
    world: World,
    paired: bool,
    rng: np.random.Generator,
    n_repeats: int = 200,
    n_test: int = 500,
    shift: float = 0.0,
    test_shift: float = 0.0,
) -> np.ndarray:
    """Draw people, train the difference of means, and test it on other people, many times.

    Args:
        n: Reals, and fakes, of a training list.
        world: Sizes of the model.
        paired: See `expected_auroc`.
        rng: Source of chance.
        n_repeats: Training lists.
        n_test: Reals, and fakes, of each test, all of different people.
        shift, test_shift: See `expected_auroc`.

    Returns:
        (n_repeats,) AUROC of each detector.

    Raises:
        ValueError: If n, n_repeats or n_test is not a whole number >= 1.
    """
    from gendkit import metrics

    for number in (n, n_repeats, n_test):
        _check(number)

    def videos(count: int, label: int, people: np.ndarray, moved: float) -> np.ndarray:
        x = np.empty((count, 1 + world.dims))
        x[:, 0] = world.forgery * label + world.noise * rng.standard_normal(count)
        x[:, 1:] = world.nuisance * people
        x[:, 1] += moved * label
        return x

    areas = np.empty(n_repeats)
    labels = np.repeat([0, 1], n_test)
    for k in range(n_repeats):
        people = rng.standard_normal((2, n, world.dims))
        reals = videos(n, 0, people[0], shift)
        fakes = videos(n, 1, people[0 if paired else 1], shift)
        weights = fakes.mean(axis=0) - reals.mean(axis=0)
        others = rng.standard_normal((2, n_test, world.dims))
        tests = [videos(n_test, y, others[y], test_shift) for y in (0, 1)]
        areas[k] = metrics.auroc(labels, _unit(np.concatenate(tests) @ weights))
    return areas


def _unit(logits: np.ndarray) -> np.ndarray:
    """Map logits into (0, 1) without changing their order."""
    ranks = np.argsort(np.argsort(logits))
    return (ranks + 0.5) / len(logits)


def class_gap(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give the difference of the class means, mean(fakes) - mean(reals), (D,).

    It is also where the first step of gradient descent on the logistic loss goes, from weights of 0 and
    balanced classes.

    Args:
        features: (N, D).
        labels: (N,) 0 real, 1 fake, both present.

    Raises:
        ValueError: If the lengths differ or a class is missing.
    """
    features, labels = np.asarray(features, float), np.asarray(labels)
    if len(features) != len(labels) or set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f"got {len(features)} features and {len(labels)} labels {sorted(set(labels.tolist()))}, "
            "expected as many, and both classes 0 and 1"
        )
    return features[labels == 1].mean(axis=0) - features[labels == 0].mean(axis=0)


def batch_facts(
    table: pd.DataFrame, batches: Iterable[Sequence[int]], features: np.ndarray | None = None
) -> pd.DataFrame:
    """Say what each batch of a sampler holds.

    Args:
        table: Frame manifest whose rows the batches name.
        batches: Row positions of each batch.
        features: (N, D) of the rows; adds the column gap, the squared length of `class_gap`.

    Returns:
        One row per batch: n_real, n_fake, n_people, n_methods (of fakes), with_real (share of the fakes
        whose real, of the same dataset, person and frame, is in the batch; NaN without fakes), gap.

    Raises:
        ValueError: If there is no batch.
    """
    table = table.reset_index(drop=True)
    same = ["dataset", "source_id", *(name for name in ("frame",) if name in table)]
    shown = pd.Series(list(table[same].itertuples(index=False, name=None)))
    rows = []
    for batch in batches:
        part, keys = table.iloc[list(batch)], shown.iloc[list(batch)]
        fake = (part["label"] == 1).to_numpy()
        reals = set(keys[~fake])
        there = [key in reals for key in keys[fake]]
        row = {"n_real": int((~fake).sum()), "n_fake": int(fake.sum())}
        row |= {"n_people": part["source_id"].nunique()}
        row |= {"n_methods": part["method"][fake].nunique()}
        row |= {"with_real": float(np.mean(there)) if there else float("nan")}
        if features is not None:
            gap = class_gap(features[list(batch)], part["label"].to_numpy())
            row["gap"] = float(gap @ gap)
        rows.append(row)
    if not rows:
        raise ValueError("got no batch, expected at least one; use a smaller batch_size")
    return pd.DataFrame(rows)
