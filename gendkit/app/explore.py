"""What a threshold means where it is used: false alarms, hits and how rare fakes are there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendkit import repro
from gendkit.calibration import interval
from gendkit.decisions import ppv


@dataclass(frozen=True)
class Rates:
    """What a threshold does on videos whose truth is known.

    Attributes:
        threshold: A file is called fake from this score on.
        false_alarms, n_real: Reals called fake, of how many.
        hits, n_fake: Fakes called fake, of how many.
    """

    threshold: float
    false_alarms: int
    n_real: int
    hits: int
    n_fake: int

    @property
    def fpr(self) -> float:
        """Give the share of reals called fake."""
        return self.false_alarms / self.n_real

    @property
    def tpr(self) -> float:
        """Give the share of fakes called fake."""
        return self.hits / self.n_fake

    @property
    def band(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Give the 95 % intervals of (fpr, tpr)."""
        return interval(self.false_alarms, self.n_real), interval(self.hits, self.n_fake)


def stored(threshold: dict[str, Any] | None) -> Rates | None:
    """Read the rates that a threshold was stored with; None where they are not known."""
    names = ("value", "false_alarms", "n_real", "hits", "n_fake")
    if threshold is None or not all(threshold.get(name) is not None for name in names):
        return None
    value, *counts = (threshold[name] for name in names)
    return Rates(float(value), *counts) if counts[1] and counts[3] else None


def select_videos(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the scores of the select videos that a run left, so that any threshold can be judged.

    Args:
        folder: Of a run of `gendkit train`; or "embedded".

    Returns:
        labels (N,) and P(fake) (N,) of videos; None without scores of both classes.
    """
    from gendkit import evaluate, metrics

    home = repro.data_dir() / "weights" / "detector" if str(folder) == "embedded" else Path(folder)
    path = home / "scores.csv"
    if not path.is_file():
        return None
    scores = evaluate.read_scores(path)
    videos = metrics.video_scores(scores[scores["role"] == "select"])
    if videos["label"].nunique() < 2:
        return None
    return videos["label"].to_numpy(), videos["p_fake"].to_numpy()


def rates_at(labels: np.ndarray, p_fake: np.ndarray, threshold: float) -> Rates:
    """Count what a threshold does.

    Args:
        labels: (N,) 0 real, 1 fake; both occur.
        p_fake: (N,) in [0, 1].
        threshold: Called fake from this score on.

    Raises:
        ValueError: If a class is missing.
    """
    labels, called = np.asarray(labels), np.asarray(p_fake) >= threshold
    n_real, n_fake = int((labels == 0).sum()), int((labels == 1).sum())
    if not n_real or not n_fake:
        raise ValueError(f"got {n_real} reals and {n_fake} fakes; both are needed")
    alarms, hits = int(called[labels == 0].sum()), int(called[labels == 1].sum())
    return Rates(float(threshold), alarms, n_real, hits, n_fake)


def value_band(prevalence: Any, rates: Rates) -> tuple[np.ndarray, np.ndarray]:
    """Give the lowest and highest predictive value within the 95 % intervals of both rates.

    Wider than a 95 % interval of the value itself, since both rates are taken at their worst and at
    their best together.
    """
    (fpr_low, fpr_high), (tpr_low, tpr_high) = rates.band
    return ppv(tpr_low, fpr_high, prevalence), ppv(tpr_high, fpr_low, prevalence)


def in_words(prevalence: float, fpr: float, tpr: float, n: int = 10_000) -> str:
    """Say what the rates mean among `n` files of which a share is fake.

    Args:
        prevalence: Share of fakes, in (0, 1).
        fpr: Share of reals called fake.
        tpr: Share of fakes called fake.
        n: Files.

    Returns:
        One or two sentences with whole numbers.
    """
    value = float(ppv(tpr, fpr, prevalence))
    n_fake = prevalence * n
    hits, alarms = n_fake * tpr, (n - n_fake) * fpr
    text = (
        f"Of {n:,} files {n_fake:,.0f} are fakes; {hits:,.0f} of these and {alarms:,.0f} reals are "
        f"called fake, and {n_fake - hits:,.0f} fakes are missed."
    )
    if np.isnan(value):
        return text + " Nothing is called fake."
    return text + f" A file that is called fake is one with a chance of {value:.1%}."
