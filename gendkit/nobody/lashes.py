"""Eyelashes as single bent hairs that follow the lids.

Source: own; the strips they grow on are those of the head pack.
"""

from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np

from .heads import average, default_pack
from .surface import LASH

UPPER, LOWER = 75, 32  # hairs of one eye


@dataclass(frozen=True)
class Lashes:
    """Where hairs leave the lid and end, as mixtures of mesh vertices.

    Attributes:
        vertices: (N, 4, 2) int, weights: (N, 4, 2) float32: root, two points between, tip, each between two vertices.
        strength: (N,) float32 darkness of each hair.
    """

    vertices: np.ndarray
    weights: np.ndarray
    strength: np.ndarray


def _grid(quads: np.ndarray) -> np.ndarray:
    """Vertices (columns, 5) of a strip of quads, along the lid and from one rim to the other."""
    near: dict[int, set[int]] = {}
    for q in quads.tolist():
        for a, b in zip(q, q[1:] + q[:1], strict=True):
            near.setdefault(a, set()).add(b)
            near.setdefault(b, set()).add(a)
    corners = [v for v in sorted(near) if len(near[v]) == 2]

    def side(first: int, second: int) -> list[int]:
        path = [first, second]
        while len(near[path[-1]]) == 3:
            path += [v for v in near[path[-1]] if len(near[v]) <= 3 and v not in path]
        return path

    column = next(
        path
        for corner in corners
        for path in (side(corner, v) for v in sorted(near[corner]))
        if len(path) == 5
    )
    columns, seen = [column], set(column)
    while True:
        step = [[v for v in near[u] if v not in seen] for u in columns[-1]]
        if not all(step):
            return np.array(columns)
        columns.append([s[0] for s in step])
        seen |= set(columns[-1])


@lru_cache(maxsize=2)
def _strips() -> list[tuple[bool, np.ndarray]]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pack, points = default_pack(), average()[0]
    faces = pack.faces[pack.material == LASH].reshape(-1, 6)
    quads = faces[:, [0, 1, 2, 5]]
    pairs = np.stack([quads, np.roll(quads, 1, 1)], -1).reshape(-1, 2)
    n = len(points)
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (n, n))
    label = connected_components(links, False)[1]
    out = []
    for k in np.unique(label[quads[:, 0]]):
        grid = _grid(quads[label[quads[:, 0]] == k])
        if points[grid[:, 0], 2].mean() > points[grid[:, -1], 2].mean():  # roots lie deeper
            grid = grid[:, ::-1]
        out.append((points[grid[:, -1], 1].mean() > -0.03, grid))
    return out


def make(seed: int, density: float) -> Lashes:
    """Grow the lashes of a person.

    Args:
        seed: of the identity. density: trait ``lash``, 0.3 (few, fair) to 0.9 (many, made up).

    Returns:
        The lashes.
    """
    rng = np.random.default_rng([seed, 41])
    vertices, weights, strength = [], [], []
    for upper, grid in _strips():
        n = int((UPPER if upper else LOWER) * (0.7 + 0.6 * density))
        along = (np.arange(n) + rng.uniform(0.1, 0.9, n)) / n * (len(grid) - 1)
        fan = np.clip(along + rng.normal(0, 0.22, n), 0, len(grid) - 1.001)
        length = rng.uniform(0.45, 0.95 if upper else 0.5, n) * (0.75 + 0.4 * density)
        for share in range(4):
            t = share / 3
            at = np.clip(along * (1 - t) + fan * t, 0, len(grid) - 1.001)
            i = at.astype(int)
            row = np.minimum(length * t, 1) * 4
            j = np.minimum(row.astype(int), 3)
            f, g = at - i, row - j
            vertices.append(
                np.stack([grid[i, j], grid[i + 1, j], grid[i, j + 1], grid[i + 1, j + 1]], 1)
            )
            weights.append(np.stack([(1 - f) * (1 - g), f * (1 - g), (1 - f) * g, f * g], 1))
        strength.append(rng.uniform(0.6, 1.0, n) * (1.0 if upper else 0.55))
    per = [np.stack(vertices[k : k + 4], 1) for k in range(0, len(vertices), 4)]
    mix = [np.stack(weights[k : k + 4], 1) for k in range(0, len(weights), 4)]
    return Lashes(
        np.concatenate(per),
        np.concatenate(mix).astype(np.float32),
        np.concatenate(strength).astype(np.float32),
    )


@numba.njit(cache=True)
def _draw(curves, strength, depth, width, out):
    h, w = out.shape
    for k in range(curves.shape[0]):
        for s in range(3):
            ax, ay, az = curves[k, s]
            bx, by, bz = curves[k, s + 1]
            n = int(max(abs(bx - ax), abs(by - ay)) * 2) + 2
            for i in range(n):
                f = i / n
                x, y, z = ax + (bx - ax) * f, ay + (by - ay) * f, az + (bz - az) * f
                t = (s + f) / 3
                r = width * (1 - 0.8 * t)
                dark = strength[k] * (1 - 0.75 * t * t) * min(2 * r, 1.0)
                r = max(r, 0.5)
                for q in range(max(int(y - r - 1), 0), min(int(y + r + 2), h - 1) + 1):
                    for p in range(max(int(x - r - 1), 0), min(int(x + r + 2), w - 1) + 1):
                        if z > depth[q, p] + 0.02:
                            continue
                        d = np.sqrt((p - x) ** 2 + (q - y) ** 2)
                        c = dark * min(max(r + 0.5 - d, 0.0), 1.0)
                        if c > out[q, p]:
                            out[q, p] = c


def cover(lashes: Lashes, screen: np.ndarray, depth: np.ndarray, scale: float) -> np.ndarray:
    """Draw lashes in front of a depth buffer.

    Args:
        lashes: of the person. screen: (V, 3) float32 column, row, depth. depth: (H, W) float32.
        scale: pixels per unit.

    Returns:
        (H, W) float32 share of each pixel that lashes hide.
    """
    curves = np.einsum("nkj,nkjc->nkc", lashes.weights, screen[lashes.vertices])
    out = np.zeros(depth.shape, np.float32)
    _draw(curves, lashes.strength, depth, 0.0095 * scale, out)
    return out
