"""What is drawn over a head as soft lines: hair and glasses, posed, lit and blended with a frame. Source: own."""

from dataclasses import dataclass

import numpy as np

from . import hair, heads
from .raster import draw_lines, rasterize
from .scalp import CENTRE
from .shade_wear import light_strands

BIAS, SOFT = 0.035, 0.05  # depth test of lines, in units


@dataclass(frozen=True)
class Worn:
    """Soft lines of one frame: hair and glasses, posed.

    Attributes:
        lines: what is worn. points: (V, 3) float32 posed. centre: (3,) posed middle of the head.
    """

    lines: hair.Strands
    points: np.ndarray
    centre: np.ndarray

    def draw(
        self, positions: np.ndarray, faces: np.ndarray, view, lights: np.ndarray, sky: np.ndarray
    ) -> np.ndarray:
        """Light and draw the lines in front of and behind the solid surfaces.

        Args:
            positions: (N, 3) posed vertices and faces: (F, 3) of the solid surfaces. view: ``render.View``.
            lights: (L, 6), sky: (2, 3), see ``surface.diffuse``.

        Returns:
            (size, size, 4) float32: linear light of the lines, and the share of the picture behind that shows.
        """
        lines, size = self.lines, 2 * view.size
        layer = np.zeros((size, size, 4), np.float32)
        layer[..., 3] = 1
        if len(lines.first):
            depth = rasterize(_screen(positions, view), faces, (size, size))[0]
            screen = _screen(self.points, view)
            first = lines.first[_seen(screen, lines, depth)]
            colour = np.zeros((len(self.points), 3), np.float32)
            camera = np.array([0.0, 0.0, view.distance])
            place = (lights, sky, camera, self.centre)
            light_strands(self.points, first, lines.tint, lines.open, *place, colour)
            z = screen[:, 2]
            half = (lines.half * (2 * view.scale * view.distance) / z).astype(np.float32)
            # the mass of the hair lies behind its surface
            far = z[first] + z[first + 1] + 0.12 * lines.mass[first]
            order = np.argsort(-far, kind="stable")
            draw_lines(layer, depth, screen, half, colour, lines.alpha, order, first, BIAS, SOFT)
        return layer.reshape(view.size, 2, view.size, 2, 4).mean((1, 3))


def _seen(screen: np.ndarray, lines: hair.Strands, depth: np.ndarray) -> np.ndarray:
    """Which segments (S,) may show: not transparent, in the picture, an end not far behind a surface."""
    n = len(depth)
    x, y = np.clip(np.round(screen[:, :2]), 0, n - 1).astype(int).T
    inside = (np.abs(screen[:, :2] - n / 2) < n / 2 + 12).all(1)
    ends = inside & (screen[:, 2] < depth[y, x] + BIAS + 0.15)
    opaque = lines.alpha > 0
    a, b = lines.first, lines.first + 1
    return (ends[a] | ends[b]) & (opaque[a] | opaque[b])


def _screen(points: np.ndarray, view) -> np.ndarray:
    """Column, row and depth (N, 3) float32 in the picture of twice the size."""
    depth = view.distance - points[:, 2:]
    return np.concatenate([view.project(points) * 2 + 0.5, depth], 1).astype(np.float32)


def shades(lines: hair.Strands, most: int = 2400) -> np.ndarray:
    """Small triangles that stand for hair and rims where light is cut off: (3 T, 3) points at rest."""
    first = lines.first[lines.mass[lines.first] & (lines.alpha[lines.first] > 0)]
    first = first[:: max(1, len(first) // most)]
    a, b = lines.points[first], lines.points[first + 1]
    along = b - a
    wide = np.cross(along, a - CENTRE)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True) + 1e-9
    out = np.stack([a - along * 0.5 - 0.05 * wide, b + 0.5 * along, a + 0.07 * wide], 1)
    return out.reshape(-1, 3).astype(np.float32)


# outline of a lens: half width, half height, roundness of the corners; frame: half thickness, lower half, gloss
_LENSES = {
    "round metal": (0.375, 0.365, 2.0, 0.013, 0.013),
    "rectangular": (0.425, 0.275, 5.0, 0.036, 0.030),
    "half-rim": (0.42, 0.27, 4.0, 0.034, 0.006),
    "large": (0.46, 0.41, 2.9, 0.028, 0.026),
}
_PLASTIC = ((18, 17, 18), (46, 28, 20), (84, 48, 28), (22, 30, 54), (92, 18, 26), (150, 146, 140))
_METAL = ((150, 124, 76), (140, 142, 146), (54, 54, 58), (160, 110, 92))


def _line(points, half, tint, alpha=1.0, casts=True) -> dict[str, np.ndarray]:
    """One line (1, K, ...) in the form that ``hair.join`` takes; tint (3,) or (K, 3)."""
    k = len(points)
    return {
        "points": np.asarray(points, float)[None],
        "half": np.broadcast_to(np.asarray(half, float), (k,))[None].copy(),
        "alpha": np.broadcast_to(np.asarray(alpha, float), (k,))[None].copy(),
        "tint": np.broadcast_to(np.asarray(tint, float), (k, 3))[None].copy(),
        "open": np.ones((1, k)),
        "mass": np.full((1, k), casts),
    }


def _lens_place(shape: np.ndarray, half_width: float, half_height: float) -> tuple[float, ...]:
    """Middle of the right image lens (x, y) and depth of the lenses, fitted to eyes, bridge and brow."""
    p = heads.default_pack()
    left = shape[p.part == 2].mean(0)
    x = max(abs(float(left[0])), half_width + 0.10)
    y = float(left[1]) - 0.05
    front = shape[(p.part == 0) & (p.attributes[:, 1] < 0.2)]
    near = np.abs(np.abs(front[:, 0]) - x) < half_width * 0.8
    near &= np.abs(front[:, 1] - y) < half_height * 0.9
    # lenses lean: the upper edge is farther in front
    z = float((front[near, 2] - 0.10 * (front[near, 1] - y)).max()) + 0.05
    bridge = front[(np.abs(front[:, 0]) < 0.06) & (np.abs(front[:, 1] - 0.05) < 0.12)]
    return x, y, max(z, float(bridge[:, 2].min()) - 0.02)


def _temple(shape: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Arm of the glasses from its hinge over the ear: (K, 3), on the side of the start."""
    p = heads.default_pack()
    skin = shape[(p.part == 0) & (p.attributes[:, 2] < 0.2) & (p.attributes[:, 1] < 0.2)]
    ear = shape[(p.part == 0) & (p.attributes[:, 2] > 0.25) & (shape[:, 0] * start[0] > 0)]
    root = ear[ear[:, 1] > np.quantile(ear[:, 1], 0.9)].mean(0)  # top of the ear
    z = np.linspace(start[2], root[2] - 0.08, 14)
    y = np.linspace(start[1], root[1] - 0.03, 14)
    x = np.empty(14)
    for k in range(14):
        near = (np.abs(skin[:, 2] - z[k]) < 0.16) & (np.abs(skin[:, 1] - y[k]) < 0.16)
        x[k] = np.abs(skin[near, 0]).max(initial=0.0) + 0.035
    x = np.maximum.accumulate(np.maximum(x, abs(start[0]) - 0.01))
    arm = np.stack([np.sign(start[0]) * x, y, z], 1)
    hook = arm[-1] + np.array([[0, -0.12, -0.10], [0, -0.30, -0.16]])
    return np.concatenate([arm, hook])


def glasses(identity: heads.Identity, shape: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Glasses fitted to a face: rims, bridge, temples, and a faint reflection on the lenses.

    Args:
        identity: who. shape: (V, 3) of ``heads.neutral_shape``.

    Returns:
        Lines for ``hair.join``; none for a face without glasses.
    """
    name = heads.GLASSES[int(identity.traits["glasses"])]
    if name == "none":
        return []
    rng = np.random.default_rng([identity.seed, 59])
    a, b, corner, upper, lower = _LENSES[name]
    a, b = a * rng.uniform(0.95, 1.06), b * rng.uniform(0.93, 1.08)
    x, y, z = _lens_place(shape, a, b)
    metal = name == "round metal" or (name == "large" and rng.random() < 0.35)
    if metal:
        upper = lower = 0.014
    shades = _METAL if metal else _PLASTIC
    pick = int(identity.traits["glasses_shade"] * len(shades))
    tint = (np.array(shades[pick]) / 255) ** 2.2

    def place(px: np.ndarray, py: np.ndarray) -> np.ndarray:
        depth = z + 0.10 * (py - y) - 0.09 * np.maximum(np.abs(px) - 0.3, 0) ** 2
        return np.stack([px, py, depth], -1)

    t = np.linspace(0, 2 * np.pi, 49)
    rim_x = a * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / corner)
    rim_y = b * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / corner)
    thick = lower + (upper - lower) * np.clip(0.5 + 4 * rim_y / b, 0, 1)
    out = []
    for side in (-1, 1):
        rim = place(side * (x + rim_x), y + rim_y)
        out += _reflection(rng, place, side * x, y, a, b, corner)
        out.append(_line(rim - [0, 0, 0.05], thick, tint * 0.45, 1.0))
        out.append(_line(rim, thick, tint))
        if not metal:  # light on the upper edge of a thick rim
            out.append(_line(rim + [0, 0.012, 0.02], thick * 0.30, tint * 1.5 + 0.035, 0.55, False))
        hinge = place(np.array(side * (x + 0.99 * a)), np.array(y + 0.45 * b))
        arm = _temple(shape, hinge)
        arm[0] = hinge
        out.append(_line(arm - [side * 0.02, 0, 0.0], max(upper * 0.9, 0.016), tint * 0.6))
        out.append(_line(arm, max(upper * 0.8, 0.013), tint))
    s = np.linspace(-1, 1, 9)
    bridge = place(s * (x - a * 0.93), y + b * 0.30 + 0.05 * (1 - s * s))
    bridge[:, 2] += 0.05 * (1 - s * s)
    out.append(_line(bridge - [0, 0, 0.04], max(upper * 0.8, 0.014), tint * 0.5))
    out.append(_line(bridge, max(upper * 0.8, 0.014), tint))
    return out


def _reflection(rng, place, x: float, y: float, a: float, b: float, corner: float) -> list:
    """A slanted streak of sky on a lens, as rows of wide faint lines."""
    rows, out = 13, []
    at, width = rng.uniform(-0.5, 0.5), rng.uniform(0.25, 0.5)
    for v in (np.arange(rows) + 0.5) / rows * 2 - 1:
        half_chord = (1 - abs(v) ** corner) ** (1 / corner) * 0.97
        u = np.linspace(-half_chord, half_chord, 12)
        streak = np.exp(-(((u - 0.5 * v - at) / width) ** 2))
        points = place(x + u * a, np.full(12, y + v * b))
        out.append(_line(points, b / rows, (0.85, 0.92, 1.0), 0.02 + 0.06 * streak, False))
    return out


def pose(lines: hair.Strands, angles) -> Worn:
    """Turn what is worn with the head; what hangs below the chin follows the neck."""
    points = heads.pose(lines.points, lines.points, angles)
    centre = heads.pose(CENTRE[None], CENTRE[None], angles)[0]
    return Worn(lines, points, centre.astype(np.float64))
