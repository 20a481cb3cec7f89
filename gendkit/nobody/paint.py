"""Skin, brows, stubble and hair of one person, baked once into cylindrical textures.

A texel stands for an angle about the head's vertical axis and a height, in neutral coordinates; the seam lies at the
back of the head, so the face has none. Source: own.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .heads import AXIS_Z, STYLES, Identity, brow_curve

HEIGHT, WIDTH = 608, 1024
Y_TOP, Y_BOTTOM = 1.95, -3.55


@dataclass(frozen=True)
class Look:
    """What the shader needs of one person.

    Attributes:
        skin: (HEIGHT, WIDTH, 4) float32, linear albedo and gloss.
        hair: (HEIGHT, WIDTH, 3) float32: strand height, hairline cover, strand brightness.
        colours: (6, 3) float32 linear: hair, lips, iris, sclera, cloth, cloth's second colour.
        numbers: (8,) float32: style index, hair curl, lash darkness, cloth kind, neckline, liner, gloss, grey.
    """

    skin: np.ndarray
    hair: np.ndarray
    colours: np.ndarray
    numbers: np.ndarray


def linear(r: float, g: float, b: float) -> np.ndarray:
    """sRGB-like 0..255 numbers to linear light (gamma 2.2)."""
    return (np.array([r, g, b]) / 255.0) ** 2.2


@numba.njit(cache=True)
def _hash(x, y, z, seed):
    h = (x * 374761393 + y * 668265263 + z * 2147483647 + seed * 974711) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@numba.njit(cache=True)
def noise3(x, y, z, seed):
    """Smooth value noise in [0, 1) at a point of space."""
    xi, yi, zi = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - xi, y - yi, z - zi
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for dx in range(2):
        for dy in range(2):
            for dz in range(2):
                k = (u if dx else 1 - u) * (v if dy else 1 - v) * (w if dz else 1 - w)
                total += k * _hash(xi + dx, yi + dy, zi + dz, seed)
    return total


@numba.njit(cache=True)
def _step(a, b, x):
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True)
def _bump(x, y, cx, cy, rx, ry):
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


@numba.njit(cache=True)
def _bake(skin, hair, base, hair_rgb, t, knots_u, knots_y, seed, style):
    tone, ruddy, blotch, freckles, stubble, beard, age, curl, under = t
    h, w = skin.shape[0], skin.shape[1]
    red = 1.0 - 0.65 * tone
    for j in range(h):
        y = 1.95 - (j + 0.5) / h * 5.5
        for i in range(w):
            u = ((i + 0.5) / w - 0.5) * 2 * np.pi
            sx, cz = np.sin(u), np.cos(u)
            x = 1.25 * sx  # roughly neutral x of the face
            a = abs(x) if cz > 0 else 2.5 - abs(x)
            nx, ny, nz = 1.25 * sx, y, 1.25 * cz
            low = noise3(nx * 1.6 + 7, ny * 1.6, nz * 1.6, seed) - 0.5
            mid = noise3(nx * 6, ny * 6, nz * 6, seed + 1) - 0.5
            fine = noise3(nx * 24, ny * 24, nz * 24, seed + 2) - 0.5
            pore = noise3(nx * 62, ny * 62, nz * 62, seed + 3) - 0.5
            warm = (
                ruddy
                * red
                * (
                    0.55 * _bump(a, y, 0.62, -0.62, 0.34, 0.30)
                    + 0.5 * _bump(a, y, 0, -0.62, 0.2, 0.22)
                    + 0.25 * _bump(a, y, 0, -1.75, 0.3, 0.2)
                )
            )
            shade = 1 + blotch * (0.16 * low + 0.10 * mid + 0.06 * fine) + 0.09 * pore
            eye = (
                _bump(a, y, 0.5, -0.18, 0.38, 0.14) * (0.10 + 0.12 * age)
                + _bump(a, y, 0.5, 0.1, 0.36, 0.13) * 0.10
            )
            shade *= 1 - eye
            mottle = blotch * red * (0.5 * mid + 0.7 * low)
            r = base[0] * shade * (1 + 0.05 * warm + 0.03 * mottle + 0.03 * under)
            g = base[1] * shade * (1 - 0.24 * warm - 0.09 * mottle - 0.10 * eye)
            b = base[2] * shade * (1 - 0.26 * warm - 0.09 * mottle - 0.05 * under)
            if freckles > 0.05:
                f = noise3(nx * 17 + 31, ny * 17, nz * 17, seed + 4)
                s = _step(0.76, 0.88, f) * freckles * 0.5 * (_bump(a, y, 0.4, -0.4, 0.8, 0.4) + 0.2)
                r *= 1 - 0.25 * s
                g *= 1 - 0.5 * s
                b *= 1 - 0.65 * s
            if age > 0.55:
                f = noise3(nx * 9 + 3, ny * 9, nz * 9, seed + 5)
                s = _step(0.74, 0.86, f) * (age - 0.5) * 0.5
                r *= 1 - 0.2 * s
                g *= 1 - 0.35 * s
                b *= 1 - 0.4 * s
            gloss = (
                0.75
                + 0.5 * _bump(a, y, 0, 0.5, 0.7, 0.5)
                + 0.6 * _bump(a, y, 0, -0.4, 0.2, 0.45)
                + 0.5 * (mid + fine)
            )
            # hairline and strands
            line = np.interp(abs(u), knots_u, knots_y)
            wob = noise3(u * 9, 3.0, y * 3, seed + 6) - 0.5
            strand = noise3(u * 60, y * 5, 1.5, seed + 7)
            fur = noise3(u * 95 + 0.15 * y, y * (7 + 30 * curl), 4.5, seed + 8)
            soft = 0.10 if style > 1 else 0.18
            cover = _step(-soft, soft, y - line + 0.10 * wob + 0.16 * (strand - 0.5))
            curly = noise3(nx * 13, ny * 13, nz * 13, seed + 9)
            height = fur * (1 - curl) + curly * curl if style != 4 else 0.35 * fur + 0.65 * curly
            hair[j, i, 0] = height
            hair[j, i, 1] = cover
            hair[j, i, 2] = 0.72 + 0.56 * (0.5 * strand + 0.5 * fur)
            # stubble and beard: short hairs over the lower face
            zone = _step(-0.72, -0.98, y + 0.10 * wob - 0.30 * _step(0.75, 1.1, a))
            zone *= 1 - _step(-2.05, -2.45, y)
            zone *= 1 - 0.9 * _bump(a, y, 0.45, -0.95, 0.28, 0.16)
            zone *= 1 - 0.75 * _bump(a, y, 0.1, -1.50, 0.14, 0.06)
            zone *= 1.0 if abs(u) < 1.75 else 0.0
            dots = noise3(u * 110, y * 55, 2.5, seed + 10)
            s = zone * (0.36 * stubble + 0.22 * stubble * _step(0.45, 0.8, dots))
            if beard > 0:
                s = max(s, zone * (0.66 + 0.4 * (fur - 0.5) + 0.3 * (dots - 0.5)))
            s = min(max(s, 0.0), 0.95)
            under_hair = (
                cover
                * (0.55 if style == 0 else (0.8 if style == 1 else 0.92))
                * (0.75 + 0.5 * (dots - 0.5))
            )
            s = max(s, min(under_hair, 0.97))
            k = 0.8 + 0.4 * fur
            skin[j, i, 0] = r * (1 - s) + s * hair_rgb[0] * k
            skin[j, i, 1] = g * (1 - s) + s * hair_rgb[1] * k
            skin[j, i, 2] = b * (1 - s) + s * hair_rgb[2] * k
            skin[j, i, 3] = gloss * (1 - 0.8 * s)


@numba.njit(cache=True)
def _stroke(skin, x0, y0, x1, y1, bend, width, rgb, alpha):
    """One hair: a bent line that thins out towards its end (texel coordinates)."""
    h, w = skin.shape[0], skin.shape[1]
    n = int(max(abs(x1 - x0), abs(y1 - y0))) * 2 + 2
    nx, ny = -(y1 - y0), x1 - x0
    left, right = int(min(x0, x1) - 4), int(max(x0, x1) + 5)
    top, low = int(min(y0, y1) - 4), int(max(y0, y1) + 5)
    cover = np.zeros((low - top + 1, right - left + 1), np.float32)
    for k in range(n):
        t = k / (n - 1)
        x = x0 + (x1 - x0) * t + nx * bend * t * (1 - t)
        y = y0 + (y1 - y0) * t + ny * bend * t * (1 - t)
        r = width * (1 - 0.75 * t)
        for j in range(int(y - r - 1), int(y + r + 2)):
            for i in range(int(x - r - 1), int(x + r + 2)):
                d = np.sqrt((i - x) ** 2 + (j - y) ** 2)
                c = min(max(r + 0.5 - d, 0.0), 1.0)
                jj, ii = j - top, i - left
                if 0 <= jj < cover.shape[0] and 0 <= ii < cover.shape[1] and c > cover[jj, ii]:
                    cover[jj, ii] = c
    for jj in range(cover.shape[0]):
        for ii in range(cover.shape[1]):
            j, i = jj + top, ii + left
            if 0 <= j < h and 0 <= i < w and cover[jj, ii] > 0:
                a = alpha * cover[jj, ii]
                for c in range(3):
                    skin[j, i, c] = skin[j, i, c] * (1 - a) + rgb[c] * a
                skin[j, i, 3] *= 1 - 0.7 * a


def texel(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture column and row of a point on the front of the average head with neutral x, y."""
    z = 0.30 - 0.42 * np.asarray(x) ** 2 - AXIS_Z  # the brow region's depth
    u = np.arctan2(x, z)
    return (u / (2 * np.pi) + 0.5) * WIDTH - 0.5, (Y_TOP - np.asarray(y)) / (
        Y_TOP - Y_BOTTOM
    ) * HEIGHT - 0.5


def _brows(
    skin: np.ndarray, traits: dict[str, float], rgb: np.ndarray, rng: np.random.Generator
) -> None:
    n = int(330 * traits["brow_dense"] * (0.75 + 0.5 * traits["brow_thick"]))
    for side in (-1, 1):
        t = np.sort(rng.beta(1.05, 1.15, n))
        x = 0.15 + 0.80 * t
        half = (
            0.075
            * traits["brow_thick"]
            * (0.75 + 0.5 * np.sin(np.pi * np.minimum(t * 1.25 + 0.15, 1)))
            * (1 - 0.72 * np.clip((t - 0.5) / 0.5, 0, 1))
        )
        off = np.clip(rng.normal(0, 0.55, n), -1, 1)
        y = brow_curve(x, traits["brow_arch"], traits["brow_height"]) + off * half
        slope = np.gradient(brow_curve(x, traits["brow_arch"])) / np.maximum(np.gradient(x), 1e-6)
        along = np.arctan(np.clip(slope, -1.2, 1.2))
        up = (
            np.deg2rad(75) * (1 - np.clip(t * 2.6, 0, 1))
            + np.deg2rad(22) * (1 - t)
            - np.deg2rad(20) * off
        )
        angle = along + up + rng.normal(0, 0.14, n)
        length = rng.uniform(0.09, 0.15, n) * (1 - 0.35 * t) * np.where(t < 0.12, 0.75, 1)
        x1, y1 = x + np.cos(angle) * length, y + np.sin(angle) * length
        c0, r0 = texel(side * x, y)
        c1, r1 = texel(side * x1, y1)
        width = rng.uniform(0.65, 1.1, n)
        alpha = rng.uniform(0.3, 0.65, n) * (0.55 + 0.45 * np.clip(t * 5, 0, 1))
        for k in range(n):
            _stroke(
                skin,
                c0[k],
                r0[k],
                c1[k],
                r1[k],
                side * 0.25,
                width[k],
                rgb * rng.uniform(0.7, 1.4),
                alpha[k],
            )


def bake(identity: Identity) -> Look:
    """Paint a person.

    Args:
        identity: who.

    Returns:
        The textures and colours; the same identity gives identical arrays.
    """
    t = identity.traits
    rng = np.random.default_rng([identity.seed, 23])
    style = STYLES.index(identity.style)
    stops = np.array(
        [
            linear(240, 205, 186),
            linear(226, 183, 156),
            linear(203, 155, 122),
            linear(160, 112, 82),
            linear(118, 78, 56),
            linear(74, 47, 35),
        ]
    )
    pos = t["tone"] * 5
    base = np.array([np.interp(pos, np.arange(6), stops[:, c]) for c in range(3)])
    base *= np.array([1, 1 - 0.03 * t["undertone"], 1 - 0.08 * t["undertone"]])
    dark, light = linear(28, 21, 18), linear(176, 132, 78)
    brown = linear(88, 56, 36)
    d = t["hair_dark"]
    hair = brown + (dark - brown) * (d - 0.5) * 2 if d > 0.5 else light + (brown - light) * d * 2
    hair = hair * np.array(
        [1 + 0.5 * t["hair_red"] * (1 - d), 1, 1 - 0.3 * t["hair_red"] * (1 - d)]
    )
    grey = t["grey"] * 0.85
    hair = hair * (1 - grey) + linear(168, 165, 162) * grey
    brow = hair * 0.55 * (1 - 0.4 * grey) + 0.25 * dark
    skin = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    fur = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    front = 1.02 + t["hairline"]
    recede = max(0.0, t["hairline"] - 0.05) * 1.5
    knots = np.array(
        [
            [0, front],
            [18, front + recede * 0.5],
            [34, front + 0.02 + recede],
            [48, front - 0.12 + recede],
            [58, 0.62],
            [68, 0.25],
            [75, -0.02],
            [82, -0.36],
            [88, -0.42],
            [93, 0.1],
            [104, 0.18],
            [116, -0.35],
            [130, -0.95],
            [180, -1.15],
        ],
        float,
    )
    names = (
        "tone",
        "ruddy",
        "blotch",
        "freckles",
        "stubble",
        "beard",
        "age",
        "hair_curl",
        "undertone",
    )
    numbers = tuple(float(t[k]) for k in names)
    _bake(
        skin,
        fur,
        base,
        hair,
        numbers,
        np.deg2rad(knots[:, 0]),
        knots[:, 1],
        identity.seed % 1_000_003,
        style,
    )
    for _ in range(int(t["moles"])):
        c, r = texel(np.float64(rng.uniform(-0.9, 0.9)), np.float64(rng.uniform(-1.7, 0.7)))
        _stroke(skin, c, r, c + 0.5, r + 0.5, 0.0, rng.uniform(0.5, 1.3), base * 0.3, 0.6)
    _brows(skin, t, brow, rng)
    lips = base * np.array([0.86, 0.58, 0.60]) * (1 - 0.12 * t["tone"]) * (
        1 - t["lip_red"] * 0.45
    ) + t["lip_red"] * 0.45 * linear(165, 45, 55) * (1 - 0.35 * t["tone"])
    hue = t["iris_hue"]
    cold = linear(88, 120, 142) if hue < 0.5 else linear(104, 118, 84)
    iris = linear(70, 40, 22) * (1 - t["iris_light"]) + cold * t["iris_light"]
    sclera = linear(226, 218, 212) * (1 - 0.1 * t["age"])
    cloth = [
        _hsv(t["cloth_hue"], t["cloth_sat"], t["cloth_value"]),
        _hsv(t["cloth_hue"] + 0.45 * t["blotch"], t["cloth_sat"] * 0.6, 0.15 + 0.7 * t["ruddy"]),
    ]
    more = np.array(
        [
            style,
            t["hair_curl"],
            t["lash"],
            t["cloth_kind"],
            t["neckline"],
            t["liner"],
            t["gloss"],
            grey,
        ],
        np.float32,
    )
    return Look(skin, fur, np.stack([hair, lips, iris, sclera, *cloth]).astype(np.float32), more)


def _hsv(h: float, s: float, v: float) -> np.ndarray:
    k = (np.array([5, 3, 1]) + (h % 1) * 6) % 6
    return (v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)) ** 2.2
