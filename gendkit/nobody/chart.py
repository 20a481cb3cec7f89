"""The map of the head: which point of the average head a texel of the textures stands for.

Columns are angles about the head's vertical axis, rows are heights; the seam lies at the back of the head, so the
face has none. Source: own.
"""

from functools import lru_cache

import numpy as np

from .heads import average, cylinder, default_pack
from .raster import rasterize

HEIGHT, WIDTH = 608, 1024
Y_TOP, Y_BOTTOM = 1.95, -3.55
TEXELS = HEIGHT / (
    Y_TOP - Y_BOTTOM
)  # texels per unit, nearly the same in both directions on the face


@lru_cache(maxsize=1)
def positions() -> np.ndarray:
    """Neutral coordinates of the outermost skin at every texel, (HEIGHT, WIDTH, 3) float32."""
    from scipy.ndimage import distance_transform_edt

    pack, points = default_pack(), average()[0]
    c = cylinder(points)
    faces = pack.faces[pack.material == 0]
    faces = faces[np.ptp(c[faces, 0], axis=1) < 2]
    column = (c[:, 0] / (2 * np.pi) + 0.5) * WIDTH - 0.5
    row = (Y_TOP - c[:, 1]) * TEXELS - 0.5
    screen = np.stack([column, row, -c[:, 2]], 1).astype(np.float32)
    _, face, weights = rasterize(screen, np.ascontiguousarray(faces), (HEIGHT, WIDTH))
    out = np.einsum("hwk,hwkc->hwc", weights, points[faces[face]])
    near = distance_transform_edt(face < 0, return_distances=False, return_indices=True)
    return out[near[0], near[1]].astype(np.float32)


def texel(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of points on the front of the average head.

    Args:
        x, y: (N,) neutral coordinates.

    Returns:
        (N,) columns and (N,) rows.
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    front = slice(WIDTH // 4, 3 * WIDTH // 4)
    columns = np.arange(WIDTH)[front]
    rows = (Y_TOP - y) * TEXELS - 0.5
    across = positions()[np.clip(np.round(rows).astype(int), 0, HEIGHT - 1).reshape(-1), front, 0]
    across = np.maximum.accumulate(across, axis=1)
    out = [np.interp(a, line, columns) for a, line in zip(x.reshape(-1), across, strict=True)]
    return np.array(out).reshape(x.shape), rows


def angle(column: np.ndarray) -> np.ndarray:
    """Angle about the head's axis, radians, 0 in front."""
    return ((np.asarray(column) + 0.5) / WIDTH - 0.5) * 2 * np.pi
