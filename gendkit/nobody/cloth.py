"""Hats and garments as meshes fitted to a head and its neck. Source: own."""

from dataclasses import dataclass

import numpy as np

from . import heads
from .scalp import CENTRE, Skull

PLAIN, KNIT, RIB = 0.0, 1.0, 2.0  # weaves, see ``shade_wear.shade_hat``


@dataclass(frozen=True)
class Sheet:
    """A mesh of cloth in units on the head at rest.

    Attributes:
        points: (V, 3). faces: (F, 3) int32.
        extra: (V, 6) float32: red, green, blue albedo, ambient visibility, weave, place along the thread.
    """

    points: np.ndarray
    faces: np.ndarray
    extra: np.ndarray


def _grid(points: np.ndarray, colour: np.ndarray, ambient, weave: float, closed: bool) -> Sheet:
    """A sheet from rows of points (R, C, 3); closed joins the last column to the first."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    faces = np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]
    )
    extra = np.zeros((rows, columns, 6))
    extra[..., :3] = colour
    extra[..., 3] = ambient
    extra[..., 4] = weave
    # distance along the row, so that ribs keep their width
    step = np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=2)
    extra[..., 5] = np.cumsum(step.mean(0))[None]
    return Sheet(
        points.reshape(-1, 3), faces.astype(np.int32), extra.reshape(-1, 6).astype(np.float32)
    )


def join(sheets: list[Sheet]) -> Sheet:
    """Several sheets as one; none gives an empty sheet."""
    start = np.cumsum([0] + [len(s.points) for s in sheets])
    return Sheet(
        np.concatenate([np.zeros((0, 3)), *(s.points for s in sheets)]).astype(np.float32),
        np.concatenate(
            [
                np.zeros((0, 3), np.int32),
                *(s.faces + k for s, k in zip(sheets, start, strict=False)),
            ]
        ),
        np.concatenate([np.zeros((0, 6), np.float32), *(s.extra for s in sheets)]),
    )


def _crown(skull: Skull, rim, lift, columns: int = 72, rows: int = 22) -> np.ndarray:
    """Cloth over the skull: rows from the top down to a rim.

    Args:
        skull: map of the head. rim: function of the azimuth (0 in front) giving the height of the rim.
        lift: function of (share of the way down (R, 1), azimuth (1, C)) giving the height over the skull.

    Returns:
        (R, C, 3) points.
    """
    azimuth = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    polar = np.linspace(0.02, 2.5, 90)
    unit = np.stack(
        [
            np.sin(polar)[:, None] * np.sin(azimuth),
            np.broadcast_to(np.cos(polar)[:, None], (len(polar), columns)),
            np.sin(polar)[:, None] * np.cos(azimuth),
        ],
        -1,
    )
    radius = skull.radius(unit.reshape(-1, 3)).reshape(len(polar), columns)
    height = CENTRE[1] + radius * unit[..., 1]
    last = np.array([np.interp(-rim(azimuth[c]), -height[:, c], polar) for c in range(columns)])
    share = np.linspace(0, 1, rows)[:, None]
    at = share * last[None] + (1 - share) * polar[0]
    low = np.clip(np.searchsorted(polar, at) - 1, 0, len(polar) - 2)
    f = (at - polar[low]) / (polar[1] - polar[0])
    column = np.arange(columns)[None]
    r = radius[low, column] * (1 - f) + radius[low + 1, column] * f
    r = r + lift(share, azimuth[None])
    return CENTRE + np.stack(
        [np.sin(at) * np.sin(azimuth) * r, np.cos(at) * r, np.sin(at) * np.cos(azimuth) * r], -1
    )


def _heights(*knots: tuple[float, float]):
    degrees, heights = zip(*knots, strict=True)
    return lambda azimuth: np.interp(np.abs(azimuth), np.deg2rad(degrees), heights)


# height of a hat's rim at an azimuth from the front; hair above it is hidden
RIMS = {
    "beanie": _heights((0, 0.72), (50, 0.55), (85, 0.16), (120, -0.2), (180, -0.5)),
    "cap": _heights((0, 0.90), (40, 0.78), (80, 0.34), (120, 0.1), (180, -0.12)),
}


def _beanie(skull: Skull, colour: np.ndarray) -> list[Sheet]:
    def lift(share, azimuth):
        fold = 1 / (1 + np.exp(-(share - 0.76) * 90))
        slouch = 0.06 * np.exp(-((share / 0.6) ** 4)) * (1 - 0.4 * np.cos(azimuth))
        close = np.clip((share - 0.985) / 0.015, 0, 1)
        return 0.10 + 0.05 * fold + slouch - 0.20 * close

    return [_grid(_crown(skull, RIMS["beanie"], lift, 90, 60), colour, 0.9, RIB, True)]


def _cap(skull: Skull, colour: np.ndarray, brim_colour: np.ndarray) -> list[Sheet]:
    def lift(share, azimuth):
        front = np.exp(-((azimuth / 0.8) ** 2)) * np.sin(np.pi * np.clip(share, 0, 1))
        close = np.clip((share - 0.97) / 0.03, 0, 1)
        return 0.10 + 0.10 * front - 0.13 * close + 0.03 * (1 - share)

    crown = _crown(skull, RIMS["cap"], lift, 90, 34)
    azimuth = np.linspace(-np.pi, np.pi, 90, endpoint=False)
    front = np.abs(azimuth) < np.deg2rad(66)
    edge = crown[-3, front]
    a = azimuth[front] / np.deg2rad(66)
    reach = 0.92 * np.sqrt(np.maximum(1 - a**4, 0))
    out = np.linspace(0, 1, 12)[:, None]
    brim = np.stack(
        [
            edge[None, :, 0] * (1 + 0.04 * out),
            edge[None, :, 1] - 0.20 * out - 0.11 * out * a[None] ** 2 + 0.03,
            edge[None, :, 2] + out * reach,
        ],
        -1,
    )
    under = brim[::-1] - [0, 0.035, 0]
    both = np.concatenate([brim, under])
    return [
        _grid(crown, colour, 0.95, PLAIN, True),
        _grid(both, brim_colour, np.r_[np.ones(12), 0.55 * np.ones(12)][:, None], PLAIN, False),
    ]


def _scarf(skull: Skull, colour: np.ndarray) -> list[Sheet]:
    """A headscarf that leaves the face open: rows lead from the edge round the face to the back."""
    around = np.linspace(-np.pi, np.pi, 110, endpoint=False)  # 0 is up
    middle = np.array([0.0, -0.45, -1.1])
    # half axes of the opening above and below its middle, in units
    x = 1.07 * np.sin(around) * np.where(np.cos(around) < 0, 1 - 0.10 * np.cos(around) ** 2, 1)
    y = middle[1] + np.where(np.cos(around) > 0, 1.17, 1.36) * np.cos(around)
    edge_z = np.interp(
        np.abs(around),
        np.deg2rad([0, 50, 90, 130, 160, 180]),
        [0.28, -0.12, -0.62, -0.58, -0.38, -0.30],
    )
    edge = np.stack([x, y, edge_z], -1)
    first = edge - CENTRE
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    back = np.stack([0.35 * np.sin(around), 0.35 * np.cos(around) - 0.1, np.full(110, -1.0)], 1)
    share = np.linspace(0, 1, 40)[:, None, None]
    unit = first * (1 - share) + share * back / np.linalg.norm(back, axis=1, keepdims=True)
    # halfway round, turn outward so that the sheet wraps over the sides
    wide = np.stack([np.sin(around), np.cos(around), np.full(110, -0.2)], 1)
    unit = unit + 1.1 * np.sin(np.pi * share) * wide
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    r = skull.radius(unit.reshape(-1, 3), "wide").reshape(unit.shape[:2])
    s = share[..., 0]
    loose = np.clip(-np.cos(around), 0, 1)[None]
    fold = 0.025 * np.sin(around * 9 + 5 * s) + 0.03 * np.sin(around * 5 - 9 * s + 1)
    r = np.maximum(
        r
        + 0.09
        + 0.30 * loose * s
        + 0.05 * np.sin(np.pi * np.clip(s * 3, 0, 1))
        + fold * (0.4 + loose),
        1.2,
    )
    points = CENTRE + unit * r[..., None]
    points[0] = edge * 0.985 + CENTRE * 0.015
    return [_grid(points, colour, 0.92, PLAIN, True)]


def _palette(identity: heads.Identity) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([identity.seed, 53])
    value, saturation, hue = rng.uniform(0.12, 0.8), rng.uniform(0.0, 0.6), rng.uniform()
    k = (np.array([5, 3, 1]) + hue * 6) % 6
    colour = value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return colour**2.2, (colour * rng.choice([1.0, 0.55])) ** 2.2


def hat(identity: heads.Identity, shape: np.ndarray) -> list[Sheet]:
    """The hat of a person, fitted to the head.

    Args:
        identity: who. shape: (V, 3) of ``heads.neutral_shape``.

    Returns:
        Sheets; none for a bare head.
    """
    kind = heads.HATS[int(identity.traits["hat"])]
    if kind == "none":
        return []
    skull = Skull(shape, kind == "scarf", -3.6 if kind == "scarf" else -1.35)
    colour, second = _palette(identity)
    if kind == "cap":
        return _cap(skull, colour, second)
    return (_beanie if kind == "beanie" else _scarf)(skull, colour)


def _neck(shape: np.ndarray, azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Distance of the neck's skin from its axis at azimuths (C,) and heights (R, C)."""
    p = heads.default_pack()
    k = (p.part == 0) & (p.attributes[:, 1] < 0.2) & (shape[:, 1] > -3.4) & (shape[:, 1] < -1.2)
    k &= (shape[:, 2] < -0.4) | (shape[:, 1] < -2.15)
    v = shape[k]
    angle, r = np.arctan2(v[:, 0], v[:, 2] - NECK_Z), np.hypot(v[:, 0], v[:, 2] - NECK_Z)
    turn = np.abs((angle[:, None] - azimuth[None] + np.pi) % (2 * np.pi) - np.pi)
    out = np.empty(height.shape)
    for row in range(height.shape[0]):
        far = (turn / 0.30) ** 2 + ((v[:, 1, None] - height[row][None]) / 0.14) ** 2
        w = np.exp(-far) + 1e-9
        out[row] = (w * r[:, None]).sum(0) / w.sum(0)
    return out


NECK_Z = -1.45  # of the axis of the neck
# cross sections of what lies round the neck: (height over the collar line, distance from the skin), outside upwards
_RINGS = {
    "crew": (
        (-0.34, -0.03),
        (-0.15, 0.045),
        (-0.05, 0.065),
        (0.04, 0.055),
        (0.06, 0.02),
        (0.04, -0.03),
    ),
    "turtleneck": (
        (-0.45, -0.03),
        (-0.15, 0.05),
        (0.10, 0.09),
        (0.30, 0.11),
        (0.36, 0.09),
        (0.38, 0.04),
        (0.30, -0.03),
    ),
    "hoodie": (
        (-0.50, -0.02),
        (-0.42, 0.16),
        (-0.22, 0.30),
        (0.0, 0.31),
        (0.10, 0.20),
        (0.06, 0.09),
        (-0.12, -0.03),
    ),
    "shirt": ((-0.26, 0.20), (-0.10, 0.17), (0.12, 0.12), (0.20, 0.085), (0.19, 0.05), (0.02, 0.0)),
}
GARMENTS = ("crew", "turtleneck", "hoodie", "shirt")


def garment(identity: heads.Identity, shape: np.ndarray, colour: np.ndarray) -> list[Sheet]:
    """What lies round the neck over the painted cloth.

    Args:
        identity: who. shape: (V, 3) of ``heads.neutral_shape``. colour: (3,) linear albedo of the cloth.

    Returns:
        Sheets; none under a headscarf.
    """
    if heads.HATS[int(identity.traits["hat"])] == "scarf":  # it lies over the neck
        return []
    kind = GARMENTS[int(identity.traits["garment"])]
    azimuth = np.linspace(-np.pi, np.pi, 96, endpoint=False)
    if kind == "shirt":  # open in front
        azimuth = np.linspace(0.16, 2 * np.pi - 0.16, 96)
    line = np.full((1, 96), identity.traits["neckline"])
    for _ in range(3):  # the collar line rises towards the shoulders, as ``surface`` paints it
        x = np.abs(_neck(shape, azimuth, line)[0] * np.sin(azimuth))
        t = np.clip((x - 0.45) / 0.9, 0, 1)
        line = identity.traits["neckline"] + 0.62 * (t * t * (3 - 2 * t))[None]
    section = np.array(_RINGS[kind])
    rise, out = section[:, :1].copy(), section[:, 1:].copy()
    back = 0.5 - 0.5 * np.cos(azimuth)[None]
    if kind == "hoodie":
        out = out * (0.55 + 0.75 * back)
        rise = rise + 0.10 * back
    if kind == "shirt":
        open_ = np.exp(-((np.minimum(azimuth, 2 * np.pi - azimuth) / 0.45) ** 2))[None]
        rise = rise - 0.22 * open_ * (section[:, :1] < 0.0) - 0.06 * open_
        out = out + 0.04 * open_
    height = line + rise
    r = _neck(shape, azimuth, height) + out
    points = np.stack([r * np.sin(azimuth), height, NECK_Z + r * np.cos(azimuth)], -1)
    weave = {"crew": RIB, "turtleneck": RIB, "hoodie": PLAIN, "shirt": PLAIN}[kind]
    shade = np.where(section[:, 1] < 0.03, 0.5, 0.95)[:, None]
    return [_grid(points, colour, shade, weave, kind != "shirt")]
