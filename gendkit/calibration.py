"""Threshold and temperature of a detector, chosen on the role select and kept beside its weights.

The threshold decides; it lives on the scale of the raw score. The temperature only restates a
score as a share: it keeps the order, so it moves no decision.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendkit import metrics, repro

if TYPE_CHECKING:
    import pandas as pd

FILE = "threshold.json"
_MODELS = ("config.json", "gend_config.json", "adapter", "run.json")
LOWEST, HIGHEST = 0.05, 20.0  # the range in which a temperature is looked for
_EDGE = 2.0**-52  # a score of exactly 0 or 1 has no finite logit


def parse_rule(text: str) -> float | None:
    """Read a rule of the command line.

    Args:
        text: "eer" (as many reals called fake as fakes called real), or "fpr=SHARE": the lowest
            threshold at which at most that share of the reals is called fake.

    Returns:
        None for "eer", else the share, in [0, 1): what `evaluate.select_threshold` takes as fpr.

    Raises:
        ValueError: For anything else.
    """
    name, _, value = text.partition("=")
    if text == "eer":
        return None
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if name != "fpr" or not 0 <= share < 1:
        raise ValueError(
            f"got rule {text!r}, expected eer or fpr=SHARE with a share in [0, 1), as fpr=0.05"
        )
    return share


def interval(k: int, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a rate that was counted.

    Args:
        k: Cases counted.
        n: Trials, at least 1.

    Returns:
        (low, high), shares in [0, 1].

    Raises:
        ValueError: If not 0 <= k <= n with n >= 1.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"got {k} of {n}, expected 0 <= k <= n and n >= 1")
    z = 1.959963984540054
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if k == 0 else low), (1.0 if k == n else high)


def logit(p_fake: Any) -> np.ndarray:
    """Recover the difference of the two logits, fake minus real, from P(fake).

    Args:
        p_fake: (...) scores in [0, 1]; 0 and 1 are moved inside by 2**-52 (a logit of 36).

    Returns:
        (...) float64.
    """
    p = np.clip(np.asarray(p_fake, dtype=float), _EDGE, 1 - _EDGE)
    return np.log(p) - np.log1p(-p)


def rescale(p_fake: Any, temperature: float) -> np.ndarray:
    """Divide the logits of scores by a temperature: above 1 they move towards 0.5.

    Args:
        p_fake: (...) scores in [0, 1].
        temperature: Positive; 1 changes nothing.

    Returns:
        (...) float64 in [0, 1], in the same order.

    Raises:
        ValueError: If the temperature is not a positive number.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2, for two classes.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"got temperature {temperature}, expected a positive finite number")
    return 1 / (1 + np.exp(-logit(p_fake) / temperature))


def log_loss(y_true: Any, p_fake: Any, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of labels under rescaled scores, in nats.

    Args:
        y_true: (N,) labels 0 or 1.
        p_fake: (N,) scores in [0, 1].
        temperature: Positive.

    Returns:
        Value >= 0, lower is better; log 2 = 0.693 for a constant score of 0.5.

    Raises:
        ValueError: For labels, scores or a temperature out of range.
    """
    labels, scores = metrics.checked(y_true, p_fake, both=False)
    rescale(0.5, temperature)  # its check
    signed = np.where(labels == 1, -1, 1) * logit(scores) / temperature
    return float(np.logaddexp(0, signed).mean())


def fit_temperature(y_true: Any, p_fake: Any) -> float:
    """Find the temperature with the lowest `log_loss`.

    The loss is convex in 1 / temperature, so its slope has one root. Without a root in the range
    the better end of it is returned: `HIGHEST` for scores that say nothing, `LOWEST` for scores
    that separate the classes at 0.5.

    Args:
        y_true: (N,) labels 0 or 1, both there.
        p_fake: (N,) scores in [0, 1].

    Returns:
        Temperature in [`LOWEST`, `HIGHEST`].

    Raises:
        ValueError: As `metrics.auroc`.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    labels, scores = metrics.checked(y_true, p_fake)
    z = logit(scores)

    def slope(inverse: float) -> float:
        return float(np.mean((expit(inverse * z) - labels) * z))

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(low) >= 0:
        return HIGHEST
    if slope(high) <= 0:
        return LOWEST
    return 1 / brentq(slope, low, high, xtol=1e-12)


def calibrate(
    scores: "pd.DataFrame",
    rule: str = "eer",
    how: str = "mean",
    level: str = "video",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Choose threshold and temperature on the rows of the role select.

    Args:
        scores: Scores table (`evaluate.score`) with rows of the role select, both classes.
        rule: See `parse_rule`.
        how: Frames to video: "mean" or "median".
        level: "video" or "frame": what is counted, and what the temperature is for.
        n_bootstrap: Resamples of people (source_id) for the intervals.
        seed: Seed of the resampling.

    Returns:
        What `evaluate.select_threshold` gives (value, rule, level, how, n_real, n_fake,
        false_alarms, hits, fpr), and: low, high (95 % interval of the value), fpr_interval (counted
        reals, Wilson), tpr, tpr_interval (people resampled), datasets, n_people, n_frames (of a
        video, where all have the same), and temperature: value, low, high, log_loss (after),
        log_loss_before, share_fake, at_limit.

    Raises:
        ValueError: If the rule is unknown, no row is select, or a class or a second person is
            missing.
    """
    import pandas as pd

    from gendkit import evaluate

    fpr = parse_rule(rule)
    chosen = evaluate.select_threshold(scores, how, level, fpr)
    rows = scores[scores["role"] == "select"]
    units = metrics.video_scores(rows, how) if level == "video" else rows
    labels, p_fake = units["label"].to_numpy(), units["p_fake"].to_numpy()

    def threshold(y: np.ndarray, s: np.ndarray) -> float:
        key = dict.fromkeys([*metrics.KEY, "source_id"], "")
        part = pd.DataFrame({**key, "role": "select", "label": y, "p_fake": s})
        return evaluate.select_threshold(part, level="frame", fpr=fpr)["value"]

    def found(y: np.ndarray, s: np.ndarray) -> float:
        return float(np.mean(s[y == 1] >= chosen["value"]))

    def of(metric: metrics.Metric) -> metrics.Estimate:
        return metrics.bootstrap(units, metric, n=n_bootstrap, seed=seed)

    at, tpr, heat = of(threshold), of(found), of(fit_temperature)
    temperature = {
        "value": heat.value,
        "low": heat.low,
        "high": heat.high,
        "log_loss": log_loss(labels, p_fake, heat.value),
        "log_loss_before": log_loss(labels, p_fake),
        "share_fake": float(labels.mean()),
        "at_limit": heat.value in (LOWEST, HIGHEST),
    }
    frames = metrics.video_scores(rows, how)["n_frames"]
    return chosen | {
        "low": at.low,
        "high": at.high,
        "fpr_interval": list(interval(chosen["false_alarms"], chosen["n_real"])),
        "tpr": tpr.value,
        "tpr_interval": [tpr.low, tpr.high],
        "datasets": sorted(rows["dataset"].unique()),
        "n_people": at.n_groups,
        "n_frames": int(frames.iloc[0]) if frames.nunique() == 1 else None,
        "temperature": temperature,
    }


def needed(budget: float) -> int:
    """Count the reals without one false alarm that show a false-positive rate within a budget.

    Args:
        budget: Share in (0, 1).

    Returns:
        The smallest n for which the upper end of `interval(0, n)` is at most the budget.

    Raises:
        ValueError: If the budget is not in (0, 1).
    """
    if not 0 < budget < 1:
        raise ValueError(f"got budget {budget}, expected a share in (0, 1); 5 % is 0.05")
    z = 1.959963984540054
    return math.ceil(round(z * z * (1 - budget) / budget, 9))


def read(folder: str | Path) -> dict[str, Any] | None:
    """Read what is stored with a model.

    Args:
        folder: Of the model, the adapter or the run.

    Returns:
        The content of threshold.json, or None where there is none.

    Raises:
        ValueError: If value is not a number, or the temperature not a positive one.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    stored = repro.read_json(path)
    value = stored.get("value") if isinstance(stored, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or "rule" not in stored:
        raise ValueError(
            f"{path} has no threshold (keys value, a number, and rule); write it again: "
            "gendkit calibrate SCORES --model FOLDER"
        )
    heat = stored.get("temperature")
    if heat is not None:
        heat = heat.get("value") if isinstance(heat, dict) else None
        if isinstance(heat, bool) or not isinstance(heat, int | float) or not heat > 0:
            raise ValueError(
                f"{path} has the temperature {stored['temperature']!r}, expected a record whose "
                "value is a positive number; write it again: gendkit calibrate SCORES --model FOLDER"
            )
    return stored


def store(found: dict[str, Any], folder: str | Path, **facts: Any) -> Path:
    """Keep what `calibrate` found with a model; an older choice is replaced.

    Args:
        found: From `calibrate`.
        folder: Of the model, the adapter or the run.
        **facts: Anything to record, such as the file of scores.

    Returns:
        The file, `FILE` in the folder; `score.load` and `gendkit score` use it.

    Raises:
        FileNotFoundError: If the folder holds neither a model nor a run.
    """
    folder = Path(folder)
    if not any((folder / name).exists() for name in _MODELS):
        raise FileNotFoundError(
            f"{folder} holds no model; expected a folder with one of {', '.join(_MODELS)}: a "
            "detector, an adapter, or a run of gendkit train"
        )
    repro.write_json(folder / FILE, {**found, **facts, "provenance": repro.provenance()})
    return folder / FILE


def explain(threshold: dict[str, Any] | None) -> str:
    """Say in words where a threshold comes from, what it costs, and how sure that is.

    Args:
        threshold: As `read` or `evaluate.select_threshold` gives it.

    Returns:
        Text with the value, the rule and the set, the false-positive rate with its interval, and
        the temperature where there is one.
    """
    if threshold is None:
        return (
            "No threshold is stored with this model, so no file is called real or fake; choose one "
            "on videos like yours (gendkit calibrate) or give --threshold."
        )
    names = ", ".join(threshold.get("datasets", []))
    text = f"Threshold {threshold['value']:.3f}: {threshold['rule']}{f' of {names}' * bool(names)}."
    if threshold.get("n_frames"):
        text = f"{text[:-1]} ({threshold['n_frames']} frames a video)."
    k, n = threshold.get("false_alarms"), threshold.get("n_real")
    if k is None or not n:
        return text + " Its false-positive rate was not recorded."
    low, high = interval(k, n)
    text += (
        f" There {k} of {n} reals were called fake: a false-positive rate of {k / n:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%})."
    )
    heat = threshold.get("temperature")
    if heat is None:
        return text
    return (
        f"{text} Calibrated scores use the temperature {heat['value']:.2f}, fitted where "
        f"{heat['share_fake']:.0%} of the {threshold.get('level', 'video')}s were fake; where fakes "
        "are rarer they are too high."
    )
