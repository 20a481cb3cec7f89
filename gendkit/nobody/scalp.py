"""The scalp: the form of the skull, where hair grows on it, and the skin that shows between hairs. Source: own."""

import numpy as np

from . import heads
from .raster import rasterize

CENTRE = np.array([0.0, 0.3, -1.1])  # a point inside the skull
MAP_SIZE = 160  # pixels of the map of the skull's radius


class Skull:
    """Distance of the head's surface from ``CENTRE`` in every direction, as a map round the axis through the top."""

    def __init__(self, shape: np.ndarray, ears: bool, lowest: float) -> None:
        """Map a head.

        Args:
            shape: (V, 3) positions in units at rest. ears: whether hair lies over the ears.
            lowest: height down to which the body is mapped.
        """
        from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter

        p = heads.default_pack()
        faces = p.faces[p.material == 0]
        keep = (shape[faces, 1] > lowest).all(1) & (np.abs(shape[faces, 0]) < 3.2).all(1)
        if not ears:
            keep &= (p.attributes[faces, 2] < 0.3).all(1)
        d = shape - CENTRE
        r = np.linalg.norm(d, axis=1)
        pixel = self._pixel(d / r[:, None])
        keep &= (np.ptp(pixel[faces], axis=1) < MAP_SIZE / 5).all(1)  # not across the lower pole
        screen = np.concatenate([pixel, -r[:, None]], 1).astype(np.float32)
        depth, _, _ = rasterize(screen, faces[keep], (MAP_SIZE, MAP_SIZE))
        empty = ~np.isfinite(depth)
        near = distance_transform_edt(empty, return_distances=False, return_indices=True)
        radius = -depth[tuple(near)]
        self.map = gaussian_filter(radius, 1.0)
        self.wide = gaussian_filter(maximum_filter(radius, 7), 2.5)

    @staticmethod
    def _pixel(unit: np.ndarray) -> np.ndarray:
        polar = np.arccos(np.clip(unit[..., 1], -1, 1)) / np.pi * (MAP_SIZE / 2 - 1)
        across = np.maximum(np.hypot(unit[..., 0], unit[..., 2]), 1e-6)
        half = (MAP_SIZE - 1) / 2
        return np.stack(
            [half + polar * unit[..., 0] / across, half + polar * unit[..., 2] / across], -1
        )

    def radius(self, unit: np.ndarray, which: str = "near") -> np.ndarray:
        """Distance of the surface in directions (N, 3); "wide": of the farthest surface near each direction."""
        x, y = np.clip(self._pixel(unit), 0, MAP_SIZE - 1.001).T
        i, j = x.astype(int), y.astype(int)
        u, v = x - i, y - j
        m = self.map if which == "near" else self.wide
        return (m[j, i] * (1 - u) + m[j, i + 1] * u) * (1 - v) + (
            m[j + 1, i] * (1 - u) + m[j + 1, i + 1] * u
        ) * v


def hairline(angle: np.ndarray, traits: dict[str, float], style: str) -> np.ndarray:
    """Where hair begins.

    Args:
        angle: (...) radians about the head's axis, 0 in front. traits, style: of the identity.

    Returns:
        Neutral height (...) above which hair grows.
    """
    front = 1.03 + traits["hairline"]
    recede = max(0.0, traits["hairline"] - 0.04) * 1.5
    if style == "receding":
        front, recede = front + 0.14, 0.30 + 0.35 * traits["hair_length"]
    if style == "bald":
        front, recede = 2.4, 0.3
    burn = -0.42 + (0.35 if traits["gender"] > 0.5 else 0.0)
    knots = np.array(
        [
            [0, front],
            [16, front + recede * 0.45],
            [30, front + 0.02 + recede],
            [44, front - 0.13 + recede],
            [55, 0.66 + recede * 0.8],
            [64, 0.36 + (1.1 if style == "bald" else 0.0)],
            [72, 0.02 + (0.7 if style == "bald" else 0.0)],
            [79, burn],
            [86, burn - 0.05],
            [92, 0.08],
            [104, 0.16],
            [116, -0.35],
            [130, -0.95],
            [180, -1.15],
        ]
    )
    return np.interp(np.abs(angle), np.deg2rad(knots[:, 0]), knots[:, 1])


def growth(
    angle: np.ndarray, height: np.ndarray, traits: dict[str, float], style: str
) -> np.ndarray:
    """How densely hair grows at a place of the scalp.

    Args:
        angle: (...) radians about the head's axis, 0 in front. height: (...) neutral height.
        traits, style: of the identity.

    Returns:
        (...) 0 to 1, soft at the hairline.
    """
    wave = 0.03 * np.sin(angle * 11 + 1) + 0.02 * np.sin(angle * 23 + 2)
    x = np.clip((height - hairline(angle, traits, style) + wave + 0.07) / 0.17, 0, 1)
    dense = x * x * (3 - 2 * x)
    if style == "receding":
        dense = dense * (1 - 0.75 * traits["age"] * np.clip((height - 1.35) / 0.35, 0, 1))
    return dense


def find_roots(
    shape: np.ndarray, identity: heads.Identity, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw places where hair grows, spread evenly over the scalp's area.

    Args:
        shape: (V, 3) positions in units at rest. identity: who. count: most places. rng: random generator.

    Returns:
        places (N, 3) and the density of growth there (N,).
    """
    p, (neutral, _, _) = heads.default_pack(), heads.average()
    faces = p.faces[p.material == 0]
    c = heads.cylinder(neutral)
    outside = (p.attributes[:, 1] < 0.2) & (p.attributes[:, 2] < 0.2) & (neutral[:, 1] > -1.5)
    outside &= (c[:, 2] > 0.75) | (neutral[:, 1] > 0.6)
    faces = faces[outside[faces].all(1)]
    a, b, d = (shape[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, d - a), axis=1)
    pick = rng.choice(len(faces), count * 3, p=area / area.sum())
    w = rng.dirichlet([1, 1, 1], len(pick))
    at = (neutral[faces[pick]] * w[..., None]).sum(1)
    cyl = heads.cylinder(at)
    dense = growth(cyl[:, 0], cyl[:, 1], identity.traits, identity.style)
    keep = np.flatnonzero(rng.random(len(pick)) < dense)[:count]
    return (shape[faces[pick]] * w[..., None]).sum(1)[keep], dense[keep]


def paint_scalp(
    skin: np.ndarray, identity: heads.Identity, longest: float, top: float, bottom: float
) -> None:
    """Darken the skin below hair, and a little in front of the hairline, in place.

    Args:
        skin: (H, W, C) float32 texture, columns are angles about the head's axis, rows neutral heights.
        identity: who. longest: length of the hair in units.
        top, bottom: neutral heights of the first and the last row's outer edges.
    """
    from scipy.ndimage import zoom

    h, w = skin.shape[:2]
    rows = int(h * (top + 1.6) / (top - bottom))
    height = top - (np.arange(rows) + 0.5)[:, None] / h * (top - bottom)
    angle = ((np.arange(w) + 0.5) / w - 0.5)[None] * 2 * np.pi
    rng = np.random.default_rng([identity.seed, 41])
    grain = zoom(rng.random((rows // 3 + 1, w // 3 + 1)).astype(np.float32), 3, order=1)[:rows, :w]
    style = identity.style
    dense = growth(angle, height + 0.10 * (grain - 0.5), identity.traits, style)
    near = growth(angle, height + 0.16, identity.traits, style)
    strength = {"bald": 0.25, "shaved": 0.42}.get(style, 0.5 if longest < 0.2 else 0.95)
    speckle = 0.5 if longest < 0.2 else 0.15
    cover = (dense * strength * (1 + speckle * (grain - 0.5))).clip(0, 0.97)[..., None]
    shadow = 1 - (0.22 if longest > 0.25 else 0.08) * near[..., None]
    colour = heads.hair_colour(identity) * 0.7
    skin[:rows, :, :3] = skin[:rows, :, :3] * shadow * (1 - cover) + colour * cover
    skin[:rows, :, 3:4] *= 1 - 0.8 * cover
