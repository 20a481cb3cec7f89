"""What tuning moved: sphere statistics with intervals, LayerNorms before and after, and controls."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from gendkit.backbones import Encoder, layernorm_modules
from gendkit.embed import check_embeddings

MEASURES = ["R-bar of reals", "R-bar of fakes", "angle between means", "alignment", "uniformity"]


def sphere_numbers(
    gram: np.ndarray, labels: np.ndarray, weights: np.ndarray, t: float = 2.0
) -> np.ndarray:
    """Compute the five sphere statistics of many weighted samples at once.

    Args:
        gram: (N, N) cosines of all rows.
        labels: (N,) 0 or 1.
        weights: (R, N) how often sample r holds row n; a row and its copies are no pair.
        t: Sharpness of uniformity.

    Returns:
        (R, 5) in the order of `MEASURES`; the angle in degrees.
    """
    weights, y = np.asarray(weights, float), np.asarray(labels)
    apart = ~np.eye(len(gram), dtype=bool)
    squared = np.maximum(2 - 2 * gram, 0)
    same = (y[:, None] == y) & apart

    def total(matrix: np.ndarray) -> np.ndarray:
        return ((weights @ matrix) * weights).sum(axis=1)

    first, second = weights * (y == 0), weights * (y == 1)
    lengths = [np.sqrt(((w @ gram) * w).sum(axis=1)) for w in (first, second)]
    cosine = ((first @ gram) * second).sum(axis=1) / (lengths[0] * lengths[1])
    return np.stack(
        [
            lengths[0] / first.sum(axis=1),
            lengths[1] / second.sum(axis=1),
            np.degrees(np.arccos(np.clip(cosine, -1, 1))),
            total(squared * same) / total(same.astype(float)),
            np.log(total(np.exp(-t * squared) * apart) / total(apart.astype(float))),
        ],
        axis=1,
    )


def compare_spheres(
    embeddings: Mapping[str, np.ndarray],
    labels: Sequence[int],
    people: Sequence[str],
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure how two classes lie on the sphere, before and after, with intervals over people.

    The interval is the jackknife's: each person is left out once. A bootstrap would draw a person twice, and the
    copies, being at distance 0 of each other, pull every mean over pairs to one side.

    Args:
        embeddings: Name -> (N, D) unit vectors of the same N crops.
        labels: (N,) 0 real, 1 fake.
        people: (N,) source_id; a person is left out with the real and all fakes.
        level: Of the interval.

    Returns:
        One row per measure and name (and "difference", last minus first, if there are two): measure, embeddings,
        value, low, high.

    Raises:
        ValueError: If rows are no unit vectors, numbers of rows differ, or there are fewer than three people.

    Source: delete-one jackknife over clusters, Efron and Tibshirani 1993, chapter 11.
    """
    from scipy.stats import t as student

    y, codes = np.asarray(labels), pd.factorize(np.asarray(people))[0]
    checked = {name: check_embeddings(z) for name, z in embeddings.items()}
    wrong = {name: len(z) for name, z in checked.items() if len(z) != len(y)}
    n = int(codes.max()) + 1
    if wrong or len(codes) != len(y) or n < 3:
        raise ValueError(
            f"got {len(y)} labels, {n} people in {len(codes)} rows, and embeddings with other numbers of rows "
            f"{wrong}; expected equal numbers and at least three people"
        )
    weights = np.concatenate([np.ones((1, len(y))), np.arange(n)[:, None] != codes])
    found = {name: sphere_numbers(z @ z.T, y, weights) for name, z in checked.items()}
    if len(found) == 2:
        first, last = found.values()
        found["difference"] = last - first
    factor, rows = student.ppf((1 + level) / 2, n - 1), []
    for k, measure in enumerate(MEASURES):
        for name, numbers in found.items():
            value, without = numbers[0, k], numbers[1:, k]
            half = factor * np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
            rows.append((measure, name, value, value - half, value + half))
    return pd.DataFrame(rows, columns=["measure", "embeddings", "value", "low", "high"])


def angles_moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Angle between each feature before and after, (N,) degrees; features of any length."""
    a, b = np.asarray(before, float), np.asarray(after, float)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"got {a.shape} and {b.shape}, expected two equal shapes (N, D)")
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    # atan2 of chords is exact for small angles, arccos is not
    chord, other = np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)
    return np.degrees(2 * np.arctan2(chord, other))


def layernorm_changes(before: Encoder, after: Encoder) -> pd.DataFrame:
    """List what tuning did to each LayerNorm.

    Args:
        before: The encoder as it was.
        after: The tuned one, merged (`adapters.merge(model).encoder`).

    Returns:
        One row per LayerNorm in order: name, n (channels), gain (length of the change of the gains over their
        length), bias (length of the change of the biases over the length of the gains, as both act on
        standardised tokens), spread (standard deviation of new over old gain).

    Raises:
        ValueError: If the two have different LayerNorms.
    """
    old, new = layernorm_modules(before), layernorm_modules(after)
    if list(old) != list(new):
        raise ValueError(
            f"the encoders have different LayerNorms, first {sorted(set(old) ^ set(new))[:2]}; "
            "merge the tuned one first"
        )
    rows = []
    for name, norm in old.items():
        gain, bias = norm.weight.detach(), norm.bias.detach()
        gain_after, bias_after = new[name].weight.detach(), new[name].bias.detach()
        ratio = gain_after / torch.where(gain.abs() < 1e-3, torch.full_like(gain, torch.nan), gain)
        rows.append({
            "name": name.removeprefix("vision."), "n": gain.numel(),
            "gain": float((gain_after - gain).norm() / gain.norm()),
            "bias": float((bias_after - bias).norm() / gain.norm()),
            "spread": float(ratio[ratio.isfinite()].std()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def change_size(before: Encoder, after: Encoder) -> dict[str, float]:
    """Compare all parameters of two encoders.

    Args:
        before: The encoder as it was.
        after: The tuned one, merged.

    Returns:
        n_changed and n (parameters), length (of the whole change), relative (length over that of all parameters).
    """
    new = dict(after.named_parameters())
    changed = squared = whole = n = 0.0
    for name, value in before.named_parameters():
        difference = new[name].detach() - value.detach()
        changed += int((difference != 0).sum())
        squared += float((difference.double() ** 2).sum())
        whole += float((value.detach().double() ** 2).sum())
        n += value.numel()
    return {"n_changed": int(changed), "n": int(n), "length": squared**0.5,
            "relative": (squared / whole) ** 0.5}  # fmt: skip


def transplant(before: Encoder, after: Encoder, names: Collection[str]) -> Encoder:
    """Copy an encoder, with some LayerNorms taken from another.

    Args:
        before: Most of the copy.
        after: Where the named LayerNorms come from.
        names: As `layernorm_modules` calls them.

    Raises:
        ValueError: If a name is unknown.
    """
    mixed = copy.deepcopy(before)
    old, new = layernorm_modules(mixed), layernorm_modules(after)
    if unknown := sorted(set(names) - set(old)):
        raise ValueError(f"no LayerNorm {unknown[:3]}; known are {list(old)[:3]} and so on")
    with torch.no_grad():
        for name in names:
            old[name].weight.copy_(new[name].weight)
            old[name].bias.copy_(new[name].bias)
    return mixed


def scatter(encoder: Encoder, length: float, where: str = "all", seed: int = 0) -> Encoder:
    """Copy an encoder with a random change of a given length: the control of a learnt change.

    Args:
        encoder: What is copied.
        length: Euclidean length of the change over all numbers that change.
        where: "layernorms", "weights" (all else), or "all".
        seed: Of the direction.

    Raises:
        ValueError: If `where` is unknown.
    """
    if where not in ("layernorms", "weights", "all"):
        raise ValueError(f"got where={where!r}, expected 'layernorms', 'weights' or 'all'")
    changed = copy.deepcopy(encoder)
    norms = {id(p) for module in layernorm_modules(changed).values() for p in module.parameters()}
    chosen: list[Any] = [
        p
        for p in changed.parameters()
        if where == "all" or (id(p) in norms) == (where == "layernorms")
    ]
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(p.shape, generator=generator) for p in chosen]
    size = sum(float((part.double() ** 2).sum()) for part in noise) ** 0.5
    with torch.no_grad():
        for parameter, part in zip(chosen, noise, strict=True):
            parameter += part.to(parameter.dtype) * (length / size)
    return changed
