"""Videos scored by several trained seeds, resampled by person: means and differences with intervals.

One draw of people is used for every seed, every manipulation and every model that is compared, so
what they share (the people, the reals) cancels in a difference. The seeds are averaged, not drawn.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gendkit import metrics

N_DRAWS = 2000


@dataclass(frozen=True)
class Sample:
    """The videos of one set with scores from every seed, ready to be resampled by person.

    Attributes:
        videos: Report videos: source_id, method, label.
        scores: (S, N) one row of P(fake) per seed.
    """

    videos: pd.DataFrame
    scores: np.ndarray

    def areas(self, methods: Sequence[str], people: np.ndarray) -> np.ndarray:
        """AUROC of each manipulation against the reals, for draws of people.

        Args:
            methods: M manipulations.
            people: (R, P) how often each person counts, people in the order of their sorted ids.

        Returns:
            (M, S, R) values; NaN where a draw lacks a class.

        Raises:
            ValueError: If a manipulation is not in the sample.
        """
        self._check(methods)
        return np.stack([self._area([method], people) for method in methods])

    def means(self, methods: Sequence[str], people: np.ndarray) -> np.ndarray:
        """Mean AUROC over manipulations and seeds. Args, Raises: as `areas`. Returns: (R,)."""
        return self.areas(methods, people).mean(axis=(0, 1))

    def worst(self, methods: Sequence[str], people: np.ndarray) -> np.ndarray:
        """Lowest AUROC of the manipulations, seeds averaged first; of each draw its own lowest.

        Args, Raises: as `areas`. Returns: (R,).
        """
        return self.areas(methods, people).mean(axis=1).min(axis=0)

    def pooled(self, methods: Sequence[str], people: np.ndarray) -> np.ndarray:
        """AUROC of all fakes of the manipulations together, averaged over seeds.

        Args, Raises: as `areas`. Returns: (R,).
        """
        self._check(methods)
        return self._area(methods, people).mean(axis=0)

    def _check(self, methods: Sequence[str]) -> None:
        if missing := sorted(set(methods) - set(self.methods)):
            raise ValueError(f"no videos of {missing} in this sample, it has {self.methods}")

    def _area(self, methods: Sequence[str], people: np.ndarray) -> np.ndarray:
        """(S, R) AUROC of the fakes of all these manipulations against the reals."""
        columns = np.searchsorted(self.people, self.videos["source_id"])
        rows = self.videos["method"].isin(["real", *methods]).to_numpy()
        label, weight = self.videos["label"].to_numpy()[rows], people[:, columns[rows]]
        with np.errstate(invalid="ignore"):
            return np.stack([metrics.weighted_auroc(label, s[rows], weight) for s in self.scores])

    @property
    def people(self) -> np.ndarray:
        """Sorted ids of the people."""
        return np.unique(self.videos["source_id"])

    @property
    def methods(self) -> list[str]:
        """Manipulations, sorted."""
        return sorted(set(self.videos["method"]) - {"real"})


HOW: dict[str, Callable[[Sample, Sequence[str], np.ndarray], np.ndarray]] = {
    "mean": Sample.means,
    "pooled": Sample.pooled,
    "worst": Sample.worst,
}


def sample(runs: Iterable[pd.DataFrame]) -> Sample:
    """Put the scores of several seeds together.

    Args:
        runs: Tables of `evaluate.score`, or of videos, the same rows in each; only the role report
            is kept.

    Returns:
        The sample, videos in the order of their key.

    Raises:
        ValueError: If the runs scored different videos.
    """
    videos = [metrics.video_scores(run[run["role"] == "report"]) for run in runs]
    names = [v[["source_id", "method", "video_id"]] for v in videos]
    if not all(names[0].equals(other) for other in names):
        raise ValueError("the seeds scored different videos; score one table with every seed")
    table = videos[0][["source_id", "method", "label"]].reset_index(drop=True)
    return Sample(table, np.stack([v["p_fake"].to_numpy() for v in videos]))


def estimate(
    terms: Sequence[tuple[float, Sample, Sequence[str]]],
    seed: int = 0,
    n: int | None = None,
    how: str = "mean",
) -> tuple[float, float, float]:
    """Sum weighted AUROCs, with an interval from one draw of people for all terms.

    Args:
        terms: (weight, sample, manipulations); all samples must be of the same people. One term of
            weight 1 is a mean, two of weights 1 and -1 are a difference.
        seed: Of the draws.
        n: Number of draws; None for `N_DRAWS`.
        how: Over the manipulations of a term: "mean" of their AUROCs, "pooled" (one AUROC of all
            their fakes), "worst" (the lowest).

    Returns:
        Value, lower and upper end of the 95 % percentile interval.

    Raises:
        ValueError: If the samples are of different people, or `how` is unknown.
    """
    if how not in HOW:
        raise ValueError(f"got how={how!r}, expected one of {', '.join(HOW)}")
    people = terms[0][1].people
    if any(list(people) != list(s.people) for _, s, _ in terms):
        raise ValueError("the terms are of different people, so they cannot be drawn together")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=n or N_DRAWS)
    counts = np.vstack([np.ones(len(people), int), drawn])
    values = sum(weight * HOW[how](s, methods, counts) for weight, s, methods in terms)
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)
