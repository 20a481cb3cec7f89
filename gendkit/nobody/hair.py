"""Hair as strands that grow from the scalp: where it grows, how it falls, how it is cut.

Strands are polylines in units on the person's head at rest. Wide, dim ones make the mass of the hair, narrow ones its
surface, a few loose ones and short thin ones at the hairline make its outline soft.

Source: own; combing along a field of directions and clumping towards guide hairs are common practice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import heads
from .scalp import CENTRE, Skull, find_roots


@dataclass(frozen=True)
class Cut:
    """How a style grows; lengths in units.

    Attributes:
        length: shortest and longest. thickness: of the hair over the scalp at the sides and on top.
        flow: name of the field of directions. points: of a strand. count: of narrow strands.
        curl: radius of the curls at hair_curl 0 and 1. turns: of a curl per unit. clump: share that gathers in tufts.
    """

    length: tuple[float, float]
    thickness: tuple[float, float]
    flow: str
    points: int = 10
    count: int = 3600
    curl: tuple[float, float] = (0.0, 0.02)
    turns: float = 1.2
    clump: float = 0.45


CUTS = {
    "bald": Cut((0.03, 0.06), (0.01, 0.01), "forward", 4, 2600),
    "shaved": Cut((0.03, 0.05), (0.01, 0.01), "forward", 3, 4200, clump=0.0),
    "buzz": Cut((0.06, 0.12), (0.02, 0.05), "forward", 4, 5200, clump=0.15),
    "cropped": Cut((0.28, 0.50), (0.06, 0.20), "forward", 9, 4200, (0.006, 0.03), 2.0, 0.5),
    "receding": Cut((0.18, 0.34), (0.05, 0.10), "forward", 8, 2900, (0.004, 0.03), 2.0, 0.4),
    "side part": Cut((0.45, 1.05), (0.08, 0.26), "part", 12, 3600, (0.006, 0.03), 1.4),
    "curly": Cut((0.55, 1.15), (0.20, 0.36), "part", 22, 2500, (0.05, 0.075), 3.2, 0.75),
    "afro": Cut((0.35, 0.62), (0.36, 0.56), "out", 14, 3600, (0.045, 0.06), 4.5, 0.7),
    "long straight": Cut((3.2, 4.4), (0.13, 0.22), "part", 20, 2300, (0.0, 0.01), 0.3, 0.5),
    "long wavy": Cut((2.8, 4.2), (0.20, 0.26), "part", 30, 2100, (0.035, 0.06), 0.95, 0.7),
    "bob": Cut((1.9, 2.4), (0.18, 0.24), "part", 17, 2500, (0.002, 0.03), 0.6, 0.5),
    "fringe": Cut((1.9, 3.6), (0.16, 0.22), "fringe", 18, 2600, (0.0, 0.03), 0.5, 0.45),
    "tied back": Cut((1.6, 2.2), (0.04, 0.07), "back", 14, 3200, (0.0, 0.012), 0.6, 0.4),
}
BUN = np.array([0.0, 0.75, -2.95])  # where tied hair meets


@dataclass(frozen=True)
class Strands:
    """Polylines of one person, all vertices in one list.

    Attributes:
        points: (V, 3) float32 in units at rest. first: (S,) int64, segment s joins vertices first[s] and first[s] + 1.
        half: (V,) half width in units. alpha: (V,) opacity. tint: (V, 3) linear albedo.
        open: (V,) share of light that reaches the place inside the hair. mass: (V,) bool, casts shadow.
    """

    points: np.ndarray
    first: np.ndarray
    half: np.ndarray
    alpha: np.ndarray
    tint: np.ndarray
    open: np.ndarray
    mass: np.ndarray


def _in_fringe(roots: np.ndarray) -> np.ndarray:
    """Which roots (N, 3) carry hair that is combed over the forehead."""
    angle = np.abs(np.arctan2(roots[:, 0], roots[:, 2] - heads.AXIS_Z))
    return (angle < 0.66) & (roots[:, 1] > 0.8) & (roots[:, 2] > heads.AXIS_Z)


def _flow(
    cut: Cut, p: np.ndarray, roots: np.ndarray, traits: dict[str, float], out: np.ndarray
) -> np.ndarray:
    """Direction in which hair is combed at places p (N, 3) of strands with the given roots."""
    top = np.clip((p[:, 1] - 0.7) / 0.9, 0, 1)
    part = traits["part"]
    side = np.tanh((roots[:, 0] - part + 0.03 * np.sin(9 * roots[:, 2])) / 0.10)
    zero = np.zeros(len(p))
    if cut.flow == "out":
        return out + 0.15 * np.stack([zero, zero - 1, zero], 1)
    if cut.flow == "back":
        return BUN - p
    if cut.flow == "part":
        return np.stack([side * 1.0, zero - 0.9, -0.22 - 0.25 * top], 1)
    turn = np.sin(6 * part)
    forward = np.stack(
        [0.35 * np.tanh(roots[:, 0] * 2) + 0.35 * turn * top, zero - 0.55, 1.2 * top - 0.4], 1
    )
    if traits["hair_length"] > 0.55 and cut.flow == "forward":  # brushed up and back
        forward = np.stack([side * 0.6 * top, 0.5 * top - 0.7 * (1 - top), -0.55 * top - 0.35], 1)
    if cut.flow == "fringe":
        front = _in_fringe(roots)[:, None]
        down = np.stack([0.12 * roots[:, 0], zero - 1.0, zero + 1.0], 1)
        fall = np.stack([np.tanh(roots[:, 0] / 0.1), zero - 0.9, -0.3 + 0 * zero], 1)
        return np.where(front, down, fall)
    return forward


def _open_face(p: np.ndarray, limit: float) -> np.ndarray:
    """Comb hair out of the face: no strand below the forehead nearer to the middle than an angle."""
    x, z = p[:, 0], p[:, 2] - heads.AXIS_Z
    angle, r = np.arctan2(x, z), np.hypot(x, z)
    bound = limit * np.clip((1.15 - p[:, 1]) / 0.5, 0, 1)
    new = np.sign(angle) * np.maximum(np.abs(angle), bound)
    return np.stack([r * np.sin(new), p[:, 1], heads.AXIS_Z + r * np.cos(new)], 1)


def _grow(
    identity: heads.Identity,
    skull: Skull,
    roots: np.ndarray,
    length: np.ndarray,
    rise: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Grow strands step by step over the skull and down from it: (N, K, 3)."""
    cut, traits = CUTS[identity.style], identity.traits
    k_points = cut.points
    step = length / (k_points - 1)
    p, path = roots.copy(), [roots]
    jitter = rng.normal(0, 0.16 if cut.flow != "back" else 0.05, roots.shape)
    limit = np.deg2rad(58 + 16 * traits["hair_volume"]) + rng.normal(0, 0.07, len(roots))
    grown = np.zeros(len(roots))
    hugging = cut.flow in ("forward", "back") or max(cut.length) < 0.6
    fringe = np.zeros(len(roots), bool)
    if cut.flow == "fringe":
        fringe = _in_fringe(roots)
    for _ in range(k_points - 1):
        d = p - CENTRE
        r = np.linalg.norm(d, axis=1, keepdims=True)
        out = d / r
        flow = _flow(cut, p, roots, traits, out) + jitter
        if cut.flow != "out":
            below = np.clip((0.1 - p[:, 1]) / 0.8, 0, 1)[:, None]
            flow = flow * (1 - below) + below * np.array([0.0, -1.0, 0.0]) + 0.1 * below * jitter
            flow -= (flow * out).sum(1, keepdims=True) * out * (1 - below)
        flow /= np.linalg.norm(flow, axis=1, keepdims=True) + 1e-9
        p = p + flow * step[:, None]
        grown += step
        d = p - CENTRE
        r = np.linalg.norm(d, axis=1)
        lift = rise * (1 - np.exp(-grown / (0.12 + 0.5 * rise)))
        floor = skull.radius(d / r[:, None]) + lift
        r_new = floor if hugging else np.maximum(r, floor)
        if cut.flow == "out":
            r_new = r
        p = CENTRE + d / r[:, None] * r_new[:, None]
        if max(cut.length) > 0.6 and cut.flow != "back":
            p = np.where(fringe[:, None], p, _open_face(p, limit))
        path.append(p)
    return np.stack(path, 1)


def _curl(
    path: np.ndarray, cut: Cut, curl: float, phase: np.ndarray, length: np.ndarray
) -> np.ndarray:
    """Wind strands into waves or curls of a common phase in each tuft."""
    radius = cut.curl[0] + (cut.curl[1] - cut.curl[0]) * curl
    if radius < 0.003:
        return path
    along = np.linspace(0, 1, path.shape[1])[None] * length[:, None]
    t = np.gradient(path, axis=1)
    t /= np.linalg.norm(t, axis=2, keepdims=True) + 1e-9
    out = path - CENTRE
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    b = np.cross(t, out)
    turn = 2 * np.pi * cut.turns * along + phase[:, None]
    size = radius * np.clip(along / 0.25, 0, 1)
    return (
        path + (size * np.cos(turn))[..., None] * b + (0.7 * size * np.sin(turn))[..., None] * out
    )


def _tufts(roots: np.ndarray, cut: Cut, part: float) -> np.ndarray:
    """Index (N,) of the guide hair that grows nearest, on the same side of the parting."""
    from scipy.spatial import cKDTree

    place = roots.copy()
    if cut.flow in ("part", "fringe"):
        middle = part if cut.flow == "part" else 0.0
        place[:, 0] += 9.0 * np.sign(place[:, 0] - middle)
    if cut.flow == "fringe":
        place[:, 2] += 9.0 * _in_fringe(roots)
    guides = max(1, len(roots) // 14)
    return cKDTree(place[:guides]).query(place)[1]


def _clump(path: np.ndarray, tuft: np.ndarray, share: float) -> np.ndarray:
    """Gather the tips of strands towards their guide hairs."""
    along = np.linspace(0, 1, path.shape[1]) ** 1.3
    return path + (share * along)[None, :, None] * (path[tuft] - path)


def _crosses_face(path: np.ndarray, roots: np.ndarray, cut: Cut) -> np.ndarray:
    """Which strands (N,) would hang over the eyes or cheeks."""
    x, z = path[..., 0], path[..., 2] - heads.AXIS_Z
    angle = np.abs(np.arctan2(x, z))
    over = ((angle < np.deg2rad(50)) & (path[..., 1] < 0.62) & (path[..., 1] > -1.9)).any(1)
    return over & ~(_in_fringe(roots) & (cut.flow == "fringe"))


def _out_of_skull(path: np.ndarray, skull: Skull) -> np.ndarray:
    """Lift places (N, K, 3) that curls and tufts have brought into the head; the roots stay."""
    d = (path[:, 1:] - CENTRE).reshape(-1, 3)
    r = np.linalg.norm(d, axis=1)
    unit = d / r[:, None]
    free = np.maximum(r, skull.radius(unit) + 0.015)
    lifted = (CENTRE + unit * free[:, None]).reshape(path[:, 1:].shape)
    high = path[:, 1:, 1:2] > -0.9
    return np.concatenate([path[:, :1], np.where(high, lifted, path[:, 1:])], 1)


def join(parts: list[dict[str, np.ndarray]]) -> Strands:
    """Put layers of strands (N, K, ...) into one list of vertices.

    Args:
        parts: dictionaries of points (N, K, 3), half, alpha, open, mass (N, K) and tint (N, K, 3).

    Returns:
        All strands.
    """
    nothing = np.zeros((0, 2))
    empty = {k: nothing for k in ("half", "alpha", "open")}
    empty |= {"points": np.zeros((0, 2, 3)), "tint": np.zeros((0, 2, 3)), "mass": nothing > 0}
    parts = [empty, *parts]
    first, start = [], 0
    for part in parts:
        n, k = part["points"].shape[:2]
        index = start + np.arange(n * k).reshape(n, k)
        first.append(index[:, :-1].ravel())
        start += n * k
    flat = {
        name: np.concatenate([part[name].reshape(-1, *part[name].shape[2:]) for part in parts])
        for name in ("points", "half", "alpha", "tint", "open", "mass")
    }
    flat = {k: v if k == "mass" else v.astype(np.float32) for k, v in flat.items()}
    return Strands(first=np.concatenate(first).astype(np.int64), **flat)


def _tints(
    identity: heads.Identity, length: np.ndarray, k: int, mixed: bool, rng: np.random.Generator
) -> np.ndarray:
    """Albedo (N, k, 3): strands differ, single ones are grey unless mixed, roots are darker and tips paler."""
    natural, white = heads.hair_pigments(identity)
    n = len(length)
    t = identity.traits
    grey = (rng.random(n) < t["grey"]) * rng.uniform(0.25, 0.75 + 0.2 * t["grey"], n)
    if mixed:
        grey = np.full(n, 0.8 * t["grey"])
    colour = natural * (1 - grey[:, None]) + white * grey[:, None]
    colour = colour * np.exp(rng.normal(0, 0.20, (n, 1))) * (1 + rng.normal(0, 0.05, (n, 3)))
    along = np.linspace(0, 1, k)
    tip = 1 + 0.5 * (1 - t["hair_dark"]) * along**2
    root = 0.62 + 0.38 * np.clip(along * length[:, None] / 0.25, 0, 1)
    return colour[:, None] * (tip * root)[..., None]


def _below(rim: Callable, points: np.ndarray) -> np.ndarray:
    """Which places (..., 3) lie below the rim of a hat."""
    d = points - CENTRE
    return points[..., 1] < rim(np.arctan2(d[..., 0], d[..., 2])) + 0.02


def _layer(
    identity: heads.Identity,
    skull: Skull,
    shape: np.ndarray,
    count: int,
    kind: str,
    rng: np.random.Generator,
    rim: Callable | None,
) -> dict[str, np.ndarray]:
    cut, traits = CUTS[identity.style], identity.traits
    at, dense = find_roots(shape, identity, count, rng)
    n, k = len(at), cut.points
    top = np.clip((at[:, 1] - 0.4) / 1.1, 0, 1)
    thick = cut.thickness[0] + (cut.thickness[1] - cut.thickness[0]) * top
    if cut.flow != "forward" or cut.length[1] > 0.2:
        thick = thick * traits["hair_volume"]
    low, high = {
        "mass": (0.05, 0.7),
        "fine": (0.25, 1.0),
        "loose": (0.8, 1.35),
        "baby": (0.1, 0.3),
    }[kind]
    level = rng.uniform(low, high, n)
    span = cut.length[0] + (cut.length[1] - cut.length[0]) * traits["hair_length"]
    length = span * rng.uniform(0.82, 1.05, n) * (0.5 + 0.5 * dense)
    if cut.flow == "forward":
        length *= 0.45 + 0.55 * top
    if cut.flow == "fringe":
        front = _in_fringe(at)
        reach = at[:, 1] - 0.56 + 0.40 * np.clip(0.25 - at[:, 2], 0, 1.1)
        length = np.where(front, reach * rng.uniform(0.9, 1.06, n), length)
    if kind == "baby":
        length = rng.uniform(0.06, 0.16, n)
    rise = thick * level * (0.35 + 0.65 * dense)
    if rim is not None:
        rise = np.where(_below(rim, at), rise, np.minimum(rise, 0.02))
    path = _grow(identity, skull, at, length, rise, rng)
    tuft = _tufts(at, cut, traits["part"])
    path = _clump(path, tuft, cut.clump if kind != "baby" else 0.0)
    phase = rng.uniform(0, 2 * np.pi, n)[tuft] + rng.normal(0, 0.5, n)
    path = _out_of_skull(_curl(path, cut, traits["hair_curl"], phase, length), skull)
    short = cut.length[1] < 0.2
    width = {
        "mass": 0.010 if short else 0.045,
        "fine": 0.006 if short else 0.0085,
        "loose": 0.004,
        "baby": 0.004,
    }[kind]
    along = np.linspace(0, 1, k)
    half = np.ones((n, 1)) * width * (1 - 0.6 * along**2) * np.exp(rng.normal(0, 0.2, (n, 1)))
    grown = along * length[:, None]
    fade = np.clip(grown / 0.10 + 0.35, 0, 1) * np.clip((1 - along) * 4 + 0.1, 0, 1)
    strength = {"mass": 0.75, "fine": 0.85, "loose": 0.5, "baby": 0.45}[kind]
    alpha = strength * fade * rng.uniform(0.6, 1, (n, 1)) * (0.35 + 0.65 * dense[:, None])
    if cut.length[1] > 0.6:
        alpha *= ~_crosses_face(path, at, cut)[:, None]
    if cut.flow == "fringe":  # cut straight above the eyes
        alpha *= np.where(_in_fringe(at)[:, None], np.clip((path[..., 1] - 0.47) / 0.08, 0, 1), 1)
    if rim is not None:
        alpha *= _below(rim, path)
    inside = np.clip((level - 0.05) / 0.9, 0, 1)[:, None]
    lit = (0.30 + 0.70 * inside) * (0.60 + 0.40 * np.clip(grown / 0.3, 0, 1))
    return {
        "points": path,
        "half": half,
        "alpha": alpha,
        "tint": _tints(identity, length, k, kind == "mass", rng),
        "open": lit,
        "mass": np.full((n, k), kind == "mass"),
    }


def strands(
    identity: heads.Identity, shape: np.ndarray, rim: Callable | None = None
) -> list[dict[str, np.ndarray]]:
    """Grow a person's hair.

    Args:
        identity: who. shape: (V, 3) of ``heads.neutral_shape``.
        rim: of a hat, height at an azimuth from the front above which hair is hidden, or None.

    Returns:
        Layers of strands for :func:`join`; the same identity gives the same.
    """
    rng = np.random.default_rng([identity.seed, 37])
    cut = CUTS[identity.style]
    long = cut.length[1] > 1.2
    over = long and identity.traits["hair_length"] > 0.4 and cut.flow != "back"
    skull = Skull(shape, over, -3.6 if long and cut.flow != "back" else -1.35)
    mass = 0 if cut.length[1] < 0.1 else int(cut.count * (0.42 if long else 0.5))
    counts = {
        "mass": mass,
        "fine": cut.count,
        "loose": 0 if cut.length[1] < 0.2 else 160,
        "baby": 220,
    }
    return [_layer(identity, skull, shape, n, kind, rng, rim) for kind, n in counts.items() if n]
