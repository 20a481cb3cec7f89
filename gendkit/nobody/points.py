"""Where the 68 landmarks of a head lie, found by geometry on the average head.

Source: order of iBUG 300-W (Sagonas et al. 2013); definitions on this mesh: own. The jaw line follows the
outline of the face when it turns, as annotators of pictures place it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .heads import average, brow_curve, cylinder, default_pack, express
from .raster import rasterize

_BROW_X = (0.95, 0.81, 0.61, 0.39, 0.17)


@dataclass(frozen=True)
class LandmarkMap:
    """Landmarks as points on triangles.

    Attributes:
        vertices: (51, 3) int vertex indices of landmarks 17 to 67; weights: (51, 3) barycentric.
        jaw_vertices, jaw_weights: (17, C, 3): candidates of the jaw line; the outermost in the image is the landmark.
    """

    vertices: np.ndarray
    weights: np.ndarray
    jaw_vertices: np.ndarray
    jaw_weights: np.ndarray


def _attach(screen, faces, size, pixels):
    _, face, weights = rasterize(screen.astype(np.float32), faces, size)
    v, w = [], []
    for x, y in pixels:
        yy, xx = np.nonzero(face >= 0)
        k = np.argmin((yy - y) ** 2 + (xx - x) ** 2)
        v.append(faces[face[yy[k], xx[k]]])
        w.append(weights[yy[k], xx[k]])
    return np.array(v), np.array(w, np.float64)


def _runs(mask: np.ndarray) -> tuple[int, int]:
    k = np.nonzero(mask)[0]
    return int(k[0]), int(k[-1])


@lru_cache(maxsize=1)
def landmark_map() -> LandmarkMap:
    """Find the 68 landmarks on the average head by geometry, once."""
    p, (n, _, _) = default_pack(), average()
    skin = p.faces[p.material == 0]
    solid = p.faces[p.material < 2]
    res, size = 300.0, (900, 900)

    def project(v):
        return np.stack([450 + v[:, 0] * res, 270 - v[:, 1] * res, -v[:, 2]], 1)

    def pixel(x, y):
        return 450 + x * res, 270 - y * res

    front = project(n)
    _, face, weight = rasterize(front.astype(np.float32), solid, size)
    part = np.where(face >= 0, p.part[solid[face, 0]], 255)
    lip = np.where(face >= 0, (p.attributes[solid[face], 0] * weight).sum(2), 0)
    points = [pixel(-x, brow_curve(x) + 0.015) for x in _BROW_X] + [
        pixel(x, brow_curve(x) + 0.015) for x in _BROW_X[::-1]
    ]
    # the nose: bridge from eye level to the tip, then the line under it
    middle = np.abs(n[:, 0]) < 0.02
    tip = n[middle & (p.part == 0) & (n[:, 1] > -1) & (n[:, 1] < 0)]
    tip_y = tip[np.argmax(tip[:, 2]), 1]
    points += [pixel(0, y) for y in np.linspace(0.06, tip_y, 4)]
    points += [
        pixel(x, y)
        for x, y in ((-0.24, -0.70), (-0.13, -0.745), (0, -0.775), (0.13, -0.745), (0.24, -0.70))
    ]
    for eye in (1, 2):
        yy, xx = np.nonzero(part == eye)
        x0, x1 = xx.min(), xx.max()
        width = x1 - x0
        top = {f: np.nonzero(part[:, int(x0 + f * width)] == eye)[0][0] for f in (0.33, 0.67)}
        low = {f: np.nonzero(part[:, int(x0 + f * width)] == eye)[0][-1] for f in (0.33, 0.67)}
        ends = [(x0 - 4, yy[xx == x0].mean()), (x1 + 4, yy[xx == x1].mean())]
        points += [
            ends[0],
            (x0 + 0.33 * width, top[0.33] - 2),
            (x0 + 0.67 * width, top[0.67] - 2),
            ends[1],
            (x0 + 0.67 * width, low[0.67] + 2),
            (x0 + 0.33 * width, low[0.33] + 2),
        ]
    yy, xx = np.nonzero(lip > 0.5)
    x0, x1 = xx.min(), xx.max()
    corner_y = (yy[xx == x0].mean() + yy[xx == x1].mean()) / 2
    upper = [
        (x0 + f * (x1 - x0), _runs(lip[:, int(x0 + f * (x1 - x0))] > 0.5)[0])
        for f in (0.2, 0.39, 0.5, 0.61, 0.8)
    ]
    lower = [
        (x0 + f * (x1 - x0), _runs(lip[:, int(x0 + f * (x1 - x0))] > 0.5)[1])
        for f in (0.8, 0.62, 0.5, 0.38, 0.2)
    ]
    points += [(x0, corner_y), *upper, (x1, corner_y), *lower]
    vertices, weights = _attach(front, skin, size, points)
    # the inner lips are seen with the mouth open
    wide = express(n, {"jawOpen": 0.7})
    screen = project(wide)
    _, face, weight = rasterize(screen.astype(np.float32), skin, size)
    lip = np.where(face >= 0, (p.attributes[skin[face], 0] * weight).sum(2), 0)
    inner, gap = [], {}
    for x in range(x0, x1):
        k = np.nonzero(lip[:, x] > 0.5)[0]
        jumps = np.nonzero(np.diff(k) > 3)[0] if len(k) else []
        if len(jumps):
            gap[x] = (k[jumps[0]], k[jumps[-1] + 1])
    g0, g1 = min(gap), max(gap)
    inner.append((g0 - 2, sum(gap[g0]) / 2))
    inner += [(g0 + f * (g1 - g0), gap[int(g0 + f * (g1 - g0))][0]) for f in (0.25, 0.5, 0.75)]
    inner.append((g1 + 2, sum(gap[g1]) / 2))
    inner += [(g0 + f * (g1 - g0), gap[int(g0 + f * (g1 - g0))][1]) for f in (0.75, 0.5, 0.25)]
    v, w = _attach(screen, skin, size, inner)
    vertices, weights = np.concatenate([vertices, v]), np.concatenate([weights, w])
    # the jaw line: rows of candidates from the edge of the face towards its middle
    face_skin = skin[(p.attributes[skin, 2] < 0.3).all(1)]
    c = cylinder(n)
    face_skin = face_skin[np.ptp(c[face_skin, 0], axis=1) < 2]  # not across the back seam
    unrolled = np.stack([450 + c[:, 0] * 220, 200 - c[:, 1] * 200, -c[:, 2]], 1)
    heights = (0.02, -0.34, -0.70, -1.03, -1.30, -1.50, -1.665, -1.785, -1.83)
    edges = np.deg2rad((80, 80, 79, 74, 66, 53, 37, 19, 0))
    jv, jw = [], []
    for k in range(17):
        i, side = (k, -1) if k <= 8 else (16 - k, 1)
        us = side * np.linspace(edges[i], edges[i] * 0.45, 12)
        v, w = _attach(
            unrolled, face_skin, (760, 900), [(450 + u * 220, 200 - heights[i] * 200) for u in us]
        )
        jv.append(v)
        jw.append(w)
    return LandmarkMap(vertices, weights, np.array(jv), np.array(jw))


def landmarks(posed: np.ndarray, project) -> np.ndarray:
    """The 68 landmarks of a posed head.

    Args:
        posed: (V, 3) positions in units after expression and pose.
        project: function (N, 3) positions -> (N, 2) pixels.

    Returns:
        (68, 2) float32 x, y in pixels.
    """
    m = landmark_map()
    rest = project((posed[m.vertices] * m.weights[..., None]).sum(1))
    jaw = (posed[m.jaw_vertices] * m.jaw_weights[..., None]).sum(2)
    flat = project(jaw.reshape(-1, 3)).reshape(17, -1, 2)
    out = np.empty((17, 2))
    for k in range(17):
        side = -1 if k < 8 else 1
        out[k] = flat[k, 0] if k == 8 else flat[k, np.argmax(side * flat[k, :, 0])]
    return np.concatenate([out, rest]).astype(np.float32)
