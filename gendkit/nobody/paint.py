"""Skin, brows and beard of one person, baked once into the textures of ``chart``.

The colour of skin is its mean colour times what more or less blood (redness) and melanin (spots, shadows round the
eyes) let through. Source: absorption by blood and melanin after Anderson and Parrish 1981, strengths chosen by us.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .chart import HEIGHT, WIDTH, Y_BOTTOM, Y_TOP, positions
from .face_hair import paint_beard, paint_brows, paint_freckles, paint_moles, press_wrinkles
from .heads import Identity, hair_colour, skin_colour
from .lashes import Lashes
from .lashes import make as make_lashes
from .noise import noise3
from .surface import smooth

BLOOD = (0.10, 0.85, 0.62)  # how strongly red, green and blue light is held back
MELANIN = (0.42, 0.80, 1.10)


@dataclass(frozen=True)
class Look:
    """What the shader needs of one person.

    Attributes:
        skin: (HEIGHT, WIDTH, 4) float32, linear albedo and gloss.
        height: (HEIGHT, WIDTH) float32: creases of the skin, units.
        colours: (7, 3) float32 linear: hair, lips, iris, sclera, cloth, cloth's second colour, inner iris.
        numbers: (8,) float32: irregularity of the skin, size of the pupil in radians, age, cloth kind, neckline, liner,
            gloss, number of the person for noise.
        lashes: single hairs of the lids.
    """

    skin: np.ndarray
    height: np.ndarray
    colours: np.ndarray
    numbers: np.ndarray
    lashes: Lashes


def linear(r: float, g: float, b: float) -> np.ndarray:
    """sRGB-like 0..255 numbers to linear light (gamma 2.2)."""
    return (np.array([r, g, b]) / 255.0) ** 2.2


@numba.njit(cache=True)
def _spot(x, y, cx, cy, rx, ry):
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


@numba.njit(cache=True)
def _paint_skin(skin, where, base, traits, seed):
    tone, ruddy, blotch, age = traits
    red = 1.0 - 0.45 * tone
    for j in range(skin.shape[0]):
        for i in range(skin.shape[1]):
            x, y, z = where[j, i, 0], where[j, i, 1], where[j, i, 2]
            if z < -1.75 and y > -1.0:  # under the hair
                for c in range(3):
                    skin[j, i, c] = base[c]
                skin[j, i, 3] = 0.5
                continue
            a = abs(x)
            low = noise3(x * 2.1 + 7, y * 2.1, z * 2.1, seed) - 0.5
            mid = noise3(x * 6.5, y * 6.5, z * 6.5, seed + 1) - 0.5
            fine = noise3(x * 17, y * 17, z * 17, seed + 2) - 0.5
            pore = noise3(x * 43, y * 43, z * 43, seed + 3) - 0.5
            face = 1.0 if z > -0.6 else 0.0
            blood = blotch * (0.30 * low + 0.24 * mid + 0.24 * fine + 0.18 * pore)
            melanin = 0.10 * low + 0.07 * mid + 0.06 * fine + 0.03 * pore
            if face > 0:
                cheek = _spot(a, y, 0.66, -0.55, 0.30, 0.26)
                blood += ruddy * (
                    0.34 * cheek * (1 + mid)
                    + 0.36 * _spot(a, y, 0, -0.60, 0.20, 0.20)
                    + 0.22 * _spot(a, y, 0.24, -0.64, 0.08, 0.10)
                    + 0.14 * _spot(a, y, 0, -1.68, 0.26, 0.16)
                    + 0.10 * _spot(a, y, 0, 0.32, 0.18, 0.12)
                )
                under = _spot(a, y, 0.46, -0.20, 0.26, 0.09)
                socket = _spot(a, y, 0.30, 0.02, 0.16, 0.15) + 0.7 * _spot(
                    a, y, 0.55, 0.10, 0.3, 0.09
                )
                blood += 0.22 * under + 0.10 * socket - 0.10 * _spot(a, y, 0, 0.75, 0.7, 0.3)
                melanin += (0.14 + 0.22 * tone + 0.10 * age) * (under + 0.6 * socket)
                melanin += (0.10 * tone) * _spot(a, y, 0, -1.18, 0.5, 0.34)
                melanin += 0.06 * tone * _spot(a, y, 0, 0.75, 0.9, 0.3)
                if age > 0.5:
                    f = noise3(x * 8 + 3, y * 8, z * 8, seed + 5)
                    melanin += smooth(0.72, 0.86, f) * (age - 0.45) * 0.4 * (1 - 0.5 * tone)
                    f = noise3(x * 27, y * 27, z * 27, seed + 6)  # small veins of the cheeks
                    blood += smooth(0.66, 0.86, f) * (age - 0.5) * 0.9 * ruddy * cheek
            blood *= red
            for c in range(3):
                skin[j, i, c] = base[c] * np.exp(-blood * BLOOD[c] - melanin * MELANIN[c])
            oily = (
                0.65
                + 0.55 * _spot(a, y, 0, 0.6, 0.5, 0.4)
                + 0.75 * _spot(a, y, 0, -0.42, 0.18, 0.4)
                + 0.35 * _spot(a, y, 0.6, -0.35, 0.25, 0.18)
                + 0.30 * _spot(a, y, 0, -1.7, 0.25, 0.15)
            )
            skin[j, i, 3] = max(oily * (1 - 0.25 * age) + 0.5 * mid + 0.5 * fine, 0.1)


def iris_colours(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Outer and inner colour of the iris, (3,) linear each; both vary without steps, so no two people share them."""
    t = identity.traits
    rng = np.random.default_rng([identity.seed, 29])
    dark, amber = linear(66, 40, 24), linear(126, 84, 40)
    blue, green, grey = linear(86, 114, 138), linear(96, 112, 80), linear(108, 118, 122)
    cold = np.average([blue, green, grey], 0, rng.dirichlet([0.4 + 1.2 * t["iris_hue"], 0.5, 0.6]))
    light = t["iris_light"] ** 0.8
    brown = dark + (amber - dark) * rng.uniform(0, 0.5) * (1 - 0.5 * t["tone"])
    outer = (brown * (1 - light) + cold * light) * np.exp(
        rng.normal(0, 0.14) + rng.normal(0, 0.045, 3)
    )
    inner = outer * 0.6 + (0.4 * amber + 0.2 * outer) * rng.uniform(0.2, 1.0)
    return outer, inner


def _colours(identity: Identity, base: np.ndarray, hair: np.ndarray) -> np.ndarray:
    t = identity.traits
    rng = np.random.default_rng([identity.seed, 37])
    fair, dark = np.array([0.88, 0.53, 0.55]), np.array([0.78, 0.60, 0.66])
    natural = base * (fair + (dark - fair) * t["tone"]) * np.exp(rng.normal(0, 0.08, 3))
    natural = natural * (1 - 0.1 * t["age"]) + 0.05 * t["tone"] * base
    made_up = max(0.0, t["lip_red"] - 0.5) * 1.1
    stick = _hsv(rng.uniform(-0.06, 0.025), rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.72))
    lips = natural * (1 - made_up) + made_up * stick * (1 - 0.4 * t["tone"])
    sclera = linear(190, 184, 180) * (
        1 - np.array([0.06, 0.10, 0.2]) * rng.uniform(0.2, 1.0) * (0.4 + t["age"])
    )
    cloth = _hsv(t["cloth_hue"], t["cloth_sat"], t["cloth_value"])
    hue = t["cloth_hue"] + 0.45 * t["blotch"]
    second = _hsv(hue, t["cloth_sat"] * 0.6, 0.15 + 0.7 * t["ruddy"])
    outer, inner = iris_colours(identity)
    return np.stack([hair, lips, outer, sclera, cloth, second, inner]).astype(np.float32)


def bake(identity: Identity) -> Look:
    """Paint a person.

    Args:
        identity: who.

    Returns:
        The textures and colours; the same identity gives identical arrays.
    """
    t = identity.traits
    rng = np.random.default_rng([identity.seed, 23])
    noise = identity.seed % 1_000_003
    base, hair = skin_colour(t), hair_colour(identity)
    skin = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    height = np.zeros((HEIGHT, WIDTH), np.float32)
    names = ("tone", "ruddy", "blotch", "age")
    _paint_skin(skin, positions(), base, tuple(float(t[k]) for k in names), noise)
    press_wrinkles(height, t, rng)
    skin[..., :3] *= np.exp(np.clip(height, -0.03, 0) * 14)[..., None] ** np.array(
        [0.8, 1.15, 1.15]
    )
    paint_freckles(skin, t, rng)
    paint_moles(skin, t, base, rng)
    facial = hair * 0.7 + 0.2 * linear(28, 21, 18)
    paint_beard(skin, t, facial * 0.8, rng)
    paint_brows(skin, t, facial * (0.75 - 0.2 * t["grey"]), rng)
    numbers = [t["blotch"], rng.uniform(0.15, 0.24), t["age"], t["cloth_kind"], t["neckline"]]
    numbers += [t["liner"], t["gloss"], noise]
    colours = _colours(identity, base, hair)
    lashes = make_lashes(identity.seed, t["lash"])
    return Look(skin, height, colours, np.array(numbers, np.float32), lashes)


def _hsv(h: float, s: float, v: float) -> np.ndarray:
    k = (np.array([5, 3, 1]) + (h % 1) * 6) % 6
    return (v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)) ** 2.2


__all__ = ["HEIGHT", "WIDTH", "Y_BOTTOM", "Y_TOP", "Look", "bake", "iris_colours", "linear"]
