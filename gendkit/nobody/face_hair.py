"""Brows, stubble and beards of one person, hair by hair, and the marks of age in the skin. Source: own."""

import numpy as np

from .chart import HEIGHT, TEXELS, WIDTH, angle, positions, texel
from .heads import brow_curve
from .strokes import draw_hairs, press_groove


def paint_brows(
    skin: np.ndarray, traits: dict[str, float], colour: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw both brows into a texture.

    Args:
        skin: (HEIGHT, WIDTH, 4) float32, changed in place. traits: of the identity. colour: (3,) linear.
        rng: random generator.
    """
    tail, front, tilt = rng.uniform(0.35, 0.75), rng.uniform(0.0, 0.22), rng.normal(0, 0.12)
    reach = rng.uniform(0.70, 0.84)
    fall = rng.uniform(0.08, 0.2)
    for side in (-1, 1):
        n = int(640 * traits["brow_dense"] * (0.7 + 0.5 * traits["brow_thick"]))
        t = rng.beta(1.1, 1.2, n)
        x = 0.13 + front * 0.25 + reach * t
        half = (
            0.078
            * traits["brow_thick"]
            * np.clip(0.55 + 2.4 * t, 0, 1)
            * (1 - tail * np.clip((t - 0.45) / 0.55, 0, 1))
        )
        off = np.clip(rng.normal(0, 0.5, n), -1.1, 1.1)
        y = brow_curve(x, traits["brow_arch"], traits["brow_height"]) + off * half
        ahead = brow_curve(x + 0.02, traits["brow_arch"])
        along = np.arctan((ahead - brow_curve(x, traits["brow_arch"])) / 0.02)
        up = np.deg2rad(72) * np.clip(1 - t * 2.2, 0, 1) + np.deg2rad(16) * (1 - t)
        turn = along + tilt + up - np.deg2rad(22) * off + rng.normal(0, 0.17, n)
        length = rng.uniform(0.06, 0.125, n) * (1 - 0.3 * t) * np.where(t < 0.15, 0.7, 1)
        x1, y1 = x + np.cos(turn) * length, y + np.sin(turn) * length
        start, end = (np.stack(texel(side * a, b), 1) for a, b in ((x, y), (x1, y1)))
        thin = np.clip(t / fall, 0.25, 1) * (1 - 0.45 * np.abs(off))
        soft = rng.random(n) < 0.14  # wide faint strokes: the shade under the hairs
        draw_hairs(
            skin,
            start,
            end,
            rng.normal(side * 0.2, 0.1, n),
            np.where(soft, 2.4, rng.uniform(0.3, 0.62, n)),
            colour * np.exp(rng.normal(0, 0.25, (n, 1))),
            thin * np.where(soft, 0.10, rng.uniform(0.3, 0.72, n)),
        )


def _beard_zone(u: np.ndarray, x: np.ndarray, y: np.ndarray, kind: int) -> np.ndarray:
    """Density of beard hairs: 0 full beard, 1 round the mouth, 2 moustache, 3 along the jaw."""

    def step(a: float, b: float, v: np.ndarray) -> np.ndarray:
        t = np.clip((v - a) / (b - a), 0, 1)
        return t * t * (3 - 2 * t)

    a = np.abs(x)
    side = step(0.75, 1.15, a)
    chin = step(-0.98, -1.28, y - 0.75 * side) * (1 - step(-2.0, -2.3, y))
    lip = np.exp(-((a / 0.42) ** 6)) * step(-0.74, -0.82, y) * (1 - step(-1.02, -1.07, y))
    beside = np.exp(-(((a - 0.5) / 0.10) ** 2)) * step(-0.88, -1.0, y)
    mouth = np.exp(-((a / 0.36) ** 4)) * step(-0.99, -1.03, y) * (1 - step(-1.38, -1.43, y))
    hollow = 1 - 0.8 * np.exp(-(((a - 0.24) / 0.10) ** 2) - ((y + 1.5) / 0.10) ** 2)
    chin = chin * (1 - mouth) * hollow * (np.abs(u) < 1.72)
    round_mouth = np.exp(-((a / 0.5) ** 6))
    zones = (
        np.maximum(chin, np.maximum(lip, 0.8 * beside * (y > -1.5))),
        np.maximum(chin * round_mouth, np.maximum(lip, beside * (y > -1.6))),
        lip,
        chin,
    )
    return np.clip(zones[kind], 0, 1)


def paint_beard(
    skin: np.ndarray, traits: dict[str, float], colour: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw stubble or a beard, each hair a stroke, some of them grey.

    Args:
        skin, traits, colour, rng: as in :func:`paint_brows`.
    """
    stubble, beard = traits["stubble"], traits["beard"]
    if stubble < 0.04 and not beard:
        return
    kind = int(rng.choice(4, p=[0.5, 0.25, 0.13, 0.12])) if beard else 0
    where = positions()
    rows, columns = np.mgrid[0:HEIGHT:2, 0:WIDTH:2]
    zone = _beard_zone(angle(columns), where[::2, ::2, 0], where[::2, ::2, 1], kind)
    zone = zone * (where[::2, ::2, 2] > -0.75)
    shade = 0.5 if beard else 0.30 * stubble
    for c, dark in enumerate((1.0, 0.92, 0.80)):  # hairs below the surface look bluish
        s = np.repeat(np.repeat(zone, 2, 0), 2, 1) * shade * dark
        skin[..., c] = skin[..., c] * (1 - s) + s * colour[c]
    n = 15000 if beard else int(9000 * stubble)
    chance = zone.reshape(-1) / zone.sum()
    pick = rng.choice(zone.size, n, p=chance)
    start = np.stack([columns.reshape(-1)[pick], rows.reshape(-1)[pick]], 1) + rng.uniform(
        -1, 1, (n, 2)
    )
    length = rng.uniform(0.05, 0.13, n) if beard else rng.uniform(0.012, 0.035, n)
    x = angle(start[:, 0])
    lean = np.clip(x, -1, 1) * 0.35 + rng.normal(0, 0.35 if beard else 0.5, n)
    step = np.stack([np.sin(lean), np.cos(lean)], 1) * (length * TEXELS)[:, None]
    grey = rng.random(n) < np.clip(1.3 * traits["grey"], 0, 0.95)
    tint = np.where(grey[:, None], 0.36, colour) * np.exp(rng.normal(0, 0.3, (n, 1)))
    alpha = rng.uniform(0.3, 0.75, n) if beard else rng.uniform(0.12, 0.4, n)
    draw_hairs(
        skin, start, start + step, rng.normal(0, 0.3, n), rng.uniform(0.25, 0.55, n), tint, alpha
    )


def _crease(height, rng, xs, ys, depth, width, wobble=0.008) -> None:
    """Press a smooth line through a few points of the front of the face, fading at its ends."""
    t = np.linspace(0, 1, len(xs))
    n = max(int(np.hypot(np.ptp(xs), np.ptp(ys)) / (0.35 * width)), 8)
    s = np.linspace(0, 1, n)
    bends = np.cumsum(rng.normal(0, 1, n)) * np.sqrt(1 / n)
    bends = wobble * (bends - bends[0] - (bends[-1] - bends[0]) * s)
    fit = [np.polynomial.Polynomial.fit(t, v, min(len(xs) - 1, 3))(s) for v in (xs, ys)]
    points = np.stack(texel(fit[0], fit[1] + bends), 1)
    fade = np.sin(np.pi * np.clip(s, 0.02, 0.98)) ** 0.6 * (
        1 + 0.25 * np.sin(9 * s + rng.uniform(0, 6))
    )
    press_groove(height, points, depth * fade, width * TEXELS)


def press_wrinkles(height: np.ndarray, traits: dict[str, float], rng: np.random.Generator) -> None:
    """Press the lines that come with age, and the folds that everybody has, into a height map.

    Args:
        height: (HEIGHT, WIDTH) float32, units, changed in place. traits: of the identity. rng: random generator.
    """
    age = traits["age"]
    old = np.clip((age - 0.15) / 0.8, 0, 1) ** 1.1
    draw = rng.uniform(0.6, 1.3, 12)
    level = np.sort(rng.uniform(0.52, 0.98, 5))
    level = np.linspace(0.52, 0.95, 5) * 0.7 + level * 0.3
    for k in rng.permutation(5)[: 3 + int(rng.integers(0, 3))]:  # forehead
        x = np.array([-0.72, -0.35, 0.0, 0.35, 0.72]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.05)
        bow = rng.normal(0.03, 0.02)
        y = level[k] + bow * np.cos(np.linspace(-3, 3, 5)) + rng.normal(0, 0.012, 5)
        _crease(height, rng, x, y, 0.0095 * old * draw[0] * rng.uniform(0.5, 1), 0.022)
    lid = 0.35 + 0.65 * (1 - traits["asian"])
    for side in (-1, 1):
        for k in range(2 if draw[1] > 0.9 else 1):  # between the brows
            x = side * (0.085 + 0.05 * k)
            depth = 0.010 * old * draw[1]
            _crease(height, rng, [x, x * 1.1, x * 1.35], [0.10, 0.24, 0.40], depth, 0.02)
        for k in range(5):  # crow's feet
            way = np.deg2rad(-38 + 20 * k + rng.normal(0, 4))
            r = rng.uniform(0.14, 0.27)
            x = side * (0.84 + r * np.cos(way) * np.array([0, 0.5, 1]))
            y = -0.02 + np.array([0.0, 0.5, 1.08]) * r * np.sin(way)
            _crease(height, rng, x, y, 0.0075 * old * draw[2], 0.014)
        bag = np.clip(0.25 + old * 0.9, 0, 1) * draw[3]
        x = side * np.array([0.24, 0.36, 0.52, 0.68, 0.80])
        _crease(height, rng, x, [-0.15, -0.27, -0.315, -0.265, -0.15], 0.011 * bag, 0.03)
        _crease(height, rng, x, [-0.13, -0.20, -0.225, -0.19, -0.10], 0.006 * old * draw[4], 0.016)
        x = side * np.array([0.26, 0.36, 0.5, 0.66, 0.80])
        _crease(height, rng, x, [0.05, 0.125, 0.15, 0.125, 0.03], 0.013 * lid, 0.02, 0.002)
        fold = np.clip(0.22 + old, 0, 1) * draw[5]
        x = side * np.array([0.27, 0.36, 0.455, 0.50])
        _crease(height, rng, x, [-0.55, -0.72, -0.93, -1.13], 0.017 * fold, 0.04, 0.012)
        x = side * np.array([0.425, 0.45, 0.475, 0.46])
        _crease(height, rng, x, [-1.22, -1.34, -1.48, -1.60], 0.012 * old * draw[6], 0.03)
        for k in range(4):  # cheek and upper lip of the old
            x = side * (0.62 + 0.10 * k) * np.array([0.96, 1.0, 1.02])
            y = np.array([-0.55, -0.85, -1.2]) + rng.normal(0, 0.05)
            _crease(height, rng, x, y, 0.004 * old**2 * draw[7] * (k % 2), 0.03, 0.02)
            x = side * (0.05 + 0.075 * k) * np.array([1, 1.04])
            _crease(height, rng, x, [-0.86, -0.99], 0.004 * old**2 * draw[8], 0.012, 0.004)
    for k in range(3):  # neck
        x = np.array([-0.85, -0.4, 0, 0.4, 0.85])
        y = -2.05 - 0.22 * k - 0.07 * np.cos(x * 1.6) + rng.normal(0, 0.02)
        _crease(height, rng, x, y, 0.010 * (0.25 + old) * draw[9], 0.022)


def paint_freckles(skin: np.ndarray, traits: dict[str, float], rng: np.random.Generator) -> None:
    """Paint freckles, most of them over the nose and cheeks. Args: as in :func:`paint_brows`."""
    amount = min(traits["freckles"], 1.0)
    if amount < 0.05:
        return
    n = int(900 * amount)
    x, y = rng.normal(0, 0.55, n), rng.normal(-0.35, 0.28, n)
    wide = rng.random(n) < 0.3
    x, y = np.where(wide, rng.uniform(-1.0, 1.0, n), x), np.where(wide, rng.uniform(-1.8, 1, n), y)
    start = np.stack(texel(x, y), 1)
    at = np.clip(start.astype(int), 0, [WIDTH - 1, HEIGHT - 1])
    colour = skin[at[:, 1], at[:, 0], :3] * np.array([0.70, 0.50, 0.38])
    size, alpha = rng.gamma(4, 0.22, n), rng.uniform(0.1, 0.5, n) * (0.6 + 0.4 * amount)
    end = start + rng.normal(0, 0.7, (n, 2))
    draw_hairs(skin, start, end, np.zeros(n), size, colour, alpha)


def paint_moles(
    skin: np.ndarray, traits: dict[str, float], base: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint a few moles. Args: as in :func:`paint_brows`; base: (3,) linear colour of the skin."""
    n = int(traits["moles"])
    if not n:
        return
    start = np.stack(texel(rng.uniform(-0.9, 0.9, n), rng.uniform(-1.9, 0.8, n)), 1)
    size, dark = rng.uniform(0.5, 1.7, n), np.array([0.5, 0.32, 0.25])
    alpha = rng.uniform(0.3, 0.75, n)
    draw_hairs(skin, start, start + 0.4, np.zeros(n), size, np.tile(base * dark, (n, 1)), alpha)
