"""Free points on a sphere, pulled by the losses of GenD: training with nothing between data and loss."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Flow:
    """How points moved.

    Attributes:
        frames: (T, N, D) float32 unit vectors, the first before any step.
        steps: (T,) number of steps taken at each frame.
        history: One row a frame: step, cross_entropy, alignment, uniformity, and R-bar of each class as
            resultant_0, resultant_1.
    """

    frames: np.ndarray
    steps: np.ndarray
    history: pd.DataFrame


def random_points(n: int, dim: int = 3, seed: int = 0) -> np.ndarray:
    """Draw points evenly from the unit sphere.

    Args:
        n: Number of points.
        dim: Coordinates.
        seed: Of the draw.

    Returns:
        (n, dim) float32.
    """
    points = np.random.default_rng(seed).normal(size=(n, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def flow(
    points: np.ndarray,
    labels: np.ndarray,
    cross_entropy: float = 0.0,
    alignment: float = 0.0,
    uniformity: float = 0.0,
    t: float = 2.0,
    steps: int = 600,
    rate: float = 0.05,
    n_frames: int = 20,
    scale: float = 1.0,
    seed: int = 0,
) -> Flow:
    """Let points slide down the loss, staying on the sphere.

    Each step moves every point against the tangential part of N times its gradient and divides by the
    length. With cross-entropy, a linear head (2, D) with bias learns by the same rate, from zero.

    Args:
        points: (N, D) unit vectors.
        labels: (N,) 0 or 1.
        cross_entropy: Weight, >= 0.
        alignment: Weight, >= 0.
        uniformity: Weight, >= 0.
        t: Sharpness of uniformity.
        steps: Number of steps.
        rate: Length of a step.
        n_frames: Frames kept, at steps that grow like a square; at most steps + 1.
        scale: Factor of the points before the head, as `GenDConfig.feature_scale`.
        seed: Of a jitter of 1e-4 that breaks ties: equal points would have equal gradients for ever.

    Returns:
        Flow.

    Raises:
        ValueError: If shapes differ, a weight is negative, or a count is too small.

    Source: own; Riemannian gradient descent on a product of spheres (Absil, Mahony and Sepulchre 2008).
    """
    z, y = np.array(points, dtype=np.float64), np.array(labels)
    if z.ndim != 2 or y.shape != z.shape[:1] or len(z) < 2 or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"got points {z.shape} and labels {y.shape}, expected (N, D) and (N,), each 0 or 1"
        )
    if min(cross_entropy, alignment, uniformity) < 0 or t <= 0 or steps < 1 or n_frames < 2:
        raise ValueError(
            f"got weights {cross_entropy}, {alignment}, {uniformity}, t={t}, steps={steps}, n_frames="
            f"{n_frames}, expected weights >= 0, t > 0, steps >= 1 and n_frames >= 2"
        )
    z = _unit(z + 1e-4 * np.random.default_rng(seed).normal(size=z.shape))
    head = np.zeros((2, z.shape[1] + 1))
    kept = np.unique(np.round(steps * np.linspace(0, 1, n_frames) ** 2).astype(int))
    frames, rows = [], []
    for step in range(steps + 1):
        values, slopes, head_slope = losses_and_slopes(z, y, head, t, scale)
        if step in kept:
            means = {f"resultant_{c}": np.linalg.norm(z[y == c].mean(axis=0)) for c in np.unique(y)}
            rows.append({"step": step} | values | means)
            frames.append(z.astype(np.float32))
        slope = (
            cross_entropy * slopes["cross_entropy"]
            + alignment * slopes["alignment"]
            + uniformity * slopes["uniformity"]
        )
        slope -= (slope * z).sum(axis=1, keepdims=True) * z  # what leaves the sphere is lost anyway
        z = _unit(z - rate * len(z) * slope)
        head -= rate * cross_entropy * head_slope
    return Flow(np.stack(frames), kept, pd.DataFrame(rows))


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def losses_and_slopes(
    z: np.ndarray, labels: np.ndarray, head: np.ndarray, t: float = 2.0, scale: float = 1.0
) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """Give the three losses and their gradients in closed form.

    On the sphere ``|zi - zj|^2 = 2 - 2 zi.zj``, so a pair pulls zi along zj and nothing else: alignment with
    weight -2 / (same pairs), uniformity with 2 t k_ij / (sum of k), where k is the Gaussian potential.

    Args:
        z: (N, D) unit vectors.
        labels: (N,) 0 or 1.
        head: (2, D + 1) weights and bias of the linear head.
        t: Sharpness of uniformity.
        scale: Factor of the points before the head.

    Returns:
        Values by name, gradients (N, D) by name, and the gradient of the head (2, D + 1). Without a pair of
        one class, alignment and its gradient are 0.

    Source: own; equal to automatic differentiation of `gendkit.losses` after projection on the tangent.
    """
    n, y = len(z), np.asarray(labels)
    squared = np.maximum(2 - 2 * z @ z.T, 0)
    same = (y[:, None] == y) & ~np.eye(n, dtype=bool)
    potential = np.exp(-t * squared) * ~np.eye(n, dtype=bool)
    n_same, total = same.sum() / 2, potential.sum() / 2
    logits = scale * z @ head[:, :-1].T + head[:, -1]
    logits -= logits.max(axis=1, keepdims=True)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (chance - np.eye(2)[y]) / n
    values = {
        "cross_entropy": float(-np.log(chance[np.arange(n), y]).mean()),
        "alignment": float((squared * same).sum() / 2 / max(n_same, 1)),
        "uniformity": float(np.log(total / (n * (n - 1) / 2))),
    }
    slopes = {
        "cross_entropy": scale * error @ head[:, :-1],
        "alignment": -2 * (same @ z) / max(n_same, 1),
        "uniformity": 2 * t * (potential @ z) / total,
    }
    head_slope = np.concatenate([scale * error.T @ z, error.sum(axis=0)[:, None]], axis=1)
    return values, slopes, head_slope


def project(
    features: np.ndarray,
    labels: np.ndarray,
    shown: np.ndarray,
    alignment: float = 0.1,
    uniformity: float = 0.5,
    dim: int = 3,
    steps: int = 300,
    rate: float = 0.01,
    n_frames: int = 20,
    scale: float = 4.0,
    seed: int = 0,
) -> Flow:
    """Train a linear map of real features onto a sphere that can be seen, and watch other rows.

    features -> standardise -> linear (dim, D) -> unit length -> head; AdamW, whole batches, the objective of
    GenD. Nothing of the rows that are watched is learnt from.

    Args:
        features: (N, D) of the rows that are trained on.
        labels: (N,) 0 or 1.
        shown: (M, D) features of the rows that are watched.
        alignment: Weight, >= 0.
        uniformity: Weight, >= 0.
        dim: Coordinates of the sphere; 3 can be drawn.
        steps: Number of steps.
        rate: Of AdamW.
        n_frames: Frames kept.
        scale: Factor before the head.
        seed: Of the first map.

    Returns:
        Flow of the watched rows; its history holds the losses on the rows trained on.

    Raises:
        ValueError: If shapes differ.

    Source: own; objective of arXiv 2508.06248.
    """
    import torch
    from torch import nn

    from gendkit.losses import GenDLoss

    x, y = torch.as_tensor(features, dtype=torch.float32), torch.as_tensor(np.array(labels)).long()
    other = torch.as_tensor(shown, dtype=torch.float32)
    if x.ndim != 2 or other.ndim != 2 or x.shape[1] != other.shape[1] or y.shape != x.shape[:1]:
        raise ValueError(
            f"got features {tuple(x.shape)}, labels {tuple(y.shape)} and shown {tuple(other.shape)}, "
            "expected (N, D), (N,) and (M, D)"
        )
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, other = (x - mean) / deviation, (other - mean) / deviation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lens, head = nn.Linear(x.shape[1], dim, bias=False), nn.Linear(dim, 2)
    objective = GenDLoss(alignment=alignment, uniformity=uniformity)
    optimizer = torch.optim.AdamW(
        [*lens.parameters(), *head.parameters()], lr=rate, weight_decay=0.1
    )
    kept = np.unique(np.round(steps * np.linspace(0, 1, n_frames) ** 2).astype(int))
    frames, rows = [], []
    for step in range(steps + 1):
        z = nn.functional.normalize(lens(x), dim=1)
        loss, parts = objective(head(scale * z), z, y)
        if step in kept:
            with torch.no_grad():
                seen = nn.functional.normalize(lens(other), dim=1)
            frames.append(seen.numpy().copy())
            means = {f"resultant_{c}": float(z.detach()[y == c].mean(0).norm()) for c in (0, 1)}
            rows.append(
                {"step": step} | {name: float(value) for name, value in parts.items()} | means
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Flow(np.stack(frames), kept, pd.DataFrame(rows))
