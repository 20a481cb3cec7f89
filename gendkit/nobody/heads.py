"""Who a head is (identity) and what its face does (expression, pose).

Lengths are in eye distances of the average head ("units"): x to the image's right, y up, z towards the viewer,
the origin between the eyes. ``neutral`` coordinates of a surface point are those it has on the average head; everything
painted on a head (brows, hairline, stubble) is placed in them, so it follows the shape.

Source: shape targets of MakeHuman (CC0 1.0, see ``pack``); mixing and looks: own.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import pack as packs

AXIS_Z = -0.75  # of the vertical axis for cylindrical coordinates, in units
PIVOT = np.array([0.0, -1.5, -0.9])  # the head turns about this point of the neck
STYLES = (
    "bald",
    "shaved",
    "buzz",
    "cropped",
    "side part",
    "curly",
    "afro",
    "long straight",
    "long wavy",
    "bob",
    "tied back",
    "receding",
    "fringe",
)
GLASSES = ("none", "round metal", "rectangular", "half-rim", "large")
HATS = ("none", "cap", "scarf", "beanie")
HAIR_COLOURS = ("black", "dark brown", "brown", "chestnut", "red", "blond", "grey", "white")
_HAIR_SRGB = (
    (24, 20, 19),
    (52, 37, 28),
    (86, 60, 42),
    (104, 62, 38),
    (134, 68, 34),
    (176, 140, 92),
    (128, 126, 124),
    (206, 203, 198),
)
# share of the colours black to blond before any grey, by ancestry (african, asian, caucasian)
_HAIR_SHARES = np.array(
    [
        [0.82, 0.15, 0.03, 0.0, 0.0, 0.0],
        [0.68, 0.26, 0.06, 0.0, 0.0, 0.0],
        [0.06, 0.22, 0.27, 0.14, 0.08, 0.23],
    ]
)
# share of the styles, in the order of STYLES
_STYLE_SHARES = {
    "male": (0.05, 0.09, 0.14, 0.22, 0.20, 0.10, 0.05, 0.02, 0.02, 0.0, 0.02, 0.08, 0.05),
    "female": (0.0, 0.01, 0.02, 0.07, 0.08, 0.13, 0.06, 0.16, 0.17, 0.13, 0.15, 0.0, 0.10),
}
_SKIN_SRGB = np.array(
    [
        (199, 166, 148),
        (188, 153, 132),
        (173, 137, 115),
        (157, 118, 95),
        (131, 95, 74),
        (91, 64, 52),
    ],
    float,
)
ACTIONS_OFF = {"tongueOut"}
GAZE = tuple(f"eyeLook{d}{s}" for d in ("Down", "In", "Out", "Up") for s in ("Left", "Right"))


@dataclass(frozen=True)
class Identity:
    """A person who does not exist; everything follows from ``seed``.

    Attributes:
        seed: of the generator.
        targets: weights of the shape targets of the head pack.
        traits: age 0 (young) to 1 (old), gender 0 (male) to 1 (female), shares of ancestry, skin and hair traits.
        style: one of ``STYLES``.
        vector: (K,) float32 of all shape and look numbers, for networks that learn from known truth.
    """

    seed: int
    targets: dict[str, float]
    traits: dict[str, float]
    style: str
    vector: np.ndarray


@lru_cache(maxsize=2)
def default_pack(path: str = "") -> packs.HeadPack:
    """The committed head pack, or the one at ``path``."""
    return packs.load(
        path or Path(__file__).resolve().parents[2] / "data" / "nobody" / "heads.safetensors"
    )


def _macro(
    gender: float, age: float, races: np.ndarray, muscle: float, weight: float
) -> dict[str, float]:
    g = dict(zip(packs.GENDERS, (1 - gender, gender), strict=True))
    a = dict(zip(packs.AGES, (1 - age, age), strict=True))

    def three(x: float) -> tuple[float, float, float]:
        return max(0.0, 1 - 2 * x), 1 - abs(2 * x - 1), max(0.0, 2 * x - 1)

    out = {}
    for gn, gw in g.items():
        for an, aw in a.items():
            for rn, rw in zip(packs.RACES, races, strict=True):
                out[f"race:{rn}-{gn}-{an}"] = gw * aw * float(rw)
            for mn, mw in zip(packs.MUSCLES, three(muscle), strict=True):
                for wn, ww in zip(packs.WEIGHTS, three(weight), strict=True):
                    out[f"universal:{gn}-{an}-{mn}-{wn}"] = gw * aw * mw * ww
    known = set(default_pack().names)
    return {k: v for k, v in out.items() if k in known}


@lru_cache(maxsize=1)
def average() -> tuple[np.ndarray, np.ndarray, float]:
    """Neutral coordinates of all vertices (V, 3), and the origin and unit in decimetres they were made with."""
    p = default_pack()
    v = p.blend(_macro(0.5, 0.2, np.full(3, 1 / 3), 0.5, 0.5))
    right, left = v[p.part == 1].mean(0), v[p.part == 2].mean(0)
    origin, unit = (right + left) / 2, float(np.linalg.norm(right - left))
    return ((v - origin) / unit).astype(np.float32), origin, unit


def _ancestry(seed: int, rng: np.random.Generator) -> np.ndarray:
    """Shares of ancestry; among any three people 3k, 3k + 1, 3k + 2 each ancestry leads once."""
    leader = np.random.default_rng([seed // 3, 13]).permutation(3)[seed % 3]
    return rng.dirichlet(np.where(np.arange(3) == leader, 2.2, 0.32))


def _local_change(name: str, common: float, own: float) -> float:
    """Weight of one local change of shape: what caricatures a head is drawn smaller."""
    x = float(np.clip(0.24 * (0.96 * common + own), -0.55, 0.55))
    small = {
        0.35: ("neck", "measure", "head-trans", "head-angle", "head-age", "nose-scale-vert"),
        0.45: ("head-square", "head-rect", "head-diamond", "head-tri", "head-inv", "head-fat"),
        0.6: ("nose-scale", "nose-trans", "nose-volume", "nose-hump", "chin-width", "chin-jaw"),
        0.7: ("chin-", "forehead-", "head-scale", "mouth-trans", "nose-point"),
    }
    for factor, starts in small.items():
        if name.startswith(starts):
            return x * factor
    return x * 0.6 if "ear-shape" in name or "wing" in name else x


def _local_changes(rng: np.random.Generator) -> tuple[dict[str, float], np.ndarray]:
    pairs = default_pack().pairs()
    targets, shared, local = {}, {}, np.zeros(len(pairs))
    for k, (low, high) in enumerate(pairs):
        name = high[len("local:") :]
        common, own = rng.normal(), rng.normal()
        if name[:2] in ("l-", "r-"):
            common = shared.setdefault(name[2:], common)
            own *= 0.28
        elif "trans-in" in name or "trans-out" in name:  # moves to one side
            common, own = 0.0, own * 0.2
        else:
            own = 0.0
        local[k] = x = _local_change(name, common, own)
        if x > 0:
            targets[high] = x
        elif low:
            targets[low] = -x
    return targets, local


def _hair_traits(
    rng: np.random.Generator, age: float, gender: float, races: np.ndarray
) -> dict[str, float]:
    shares = races @ _HAIR_SHARES
    colour = int(rng.choice(6, p=shares / shares.sum()))
    years = _years(age)
    grey = float(np.clip((years - rng.normal(50, 8)) / 20, 0, 1)) if years > 33 else 0.0
    if gender > 0.5 and rng.random() < 0.5:
        grey *= 0.2  # dyed
    return {
        "hair_colour": float(colour),
        "hair_shade": float(np.exp(rng.normal(0, 0.16))),
        "hair_dark": (1.0, 0.82, 0.62, 0.5, 0.4, 0.08)[colour],
        "hair_red": (0.1, 0.2, 0.25, 0.6, 1.0, 0.2)[colour],
        "grey": grey,
        "hair_curl": float(np.clip(races[0] * 0.85 + rng.normal(0.12, 0.18), 0, 1)),
        "hairline": float(rng.normal(0, 0.06) + 0.12 * age * (1 - gender)),
        "part": float(rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)),
        "hair_volume": float(rng.uniform(0.75, 1.3)),
        "hair_length": float(rng.uniform()),
    }


def _style(rng: np.random.Generator, traits: dict[str, float]) -> str:
    shares = np.array(_STYLE_SHARES["female" if traits["gender"] > 0.5 else "male"])
    of = STYLES.index
    shares[of("afro")] *= 0.05 + 2.6 * traits["african"]
    shares[of("curly")] *= 0.6 + 0.9 * traits["african"]
    straight = [of(n) for n in ("long straight", "bob", "fringe", "side part")]
    shares[straight] *= 1.25 - 0.9 * traits["african"]
    old = [of("receding"), of("bald")]
    shares[old] *= 0.25 + 2.2 * traits["age"]
    return str(rng.choice(STYLES, p=shares / shares.sum()))


def _wear(rng: np.random.Generator, female: bool, age: float) -> dict[str, float]:
    glasses = rng.random() < 0.13 + 0.14 * age
    hat = rng.random() < 0.10
    kinds = [0.15, 0.6, 0.25] if female else [0.6, 0.0, 0.4]
    kind, cover = int(rng.integers(1, len(GLASSES))), int(rng.choice([1, 2, 3], p=kinds))
    return {
        "glasses": float(kind * glasses),
        "glasses_shade": float(rng.uniform()),
        "hat": float(cover * hat),
        "garment": float(rng.integers(0, 4)),
        "cloth_hue": float(rng.uniform()),
        "cloth_sat": float(rng.uniform(0, 0.65)),
        "cloth_value": float(rng.uniform(0.08, 0.75)),
        "cloth_kind": float(rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])),
        "neckline": float(rng.uniform(-2.75, -2.45)),
    }


def make_identity(seed: int) -> Identity:
    """Draw a person.

    Args:
        seed: any non-negative integer; below 100,000 for the benchmark, from 1,000,000 for training worlds.

    Returns:
        The identity.
    """
    seed = int(seed)
    rng = np.random.default_rng([seed, 11])
    gender = float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.08), 0, 1))
    female = gender > 0.5
    age = float(rng.beta(1.05, 1.5))
    races = _ancestry(seed, rng)
    muscle = float(rng.uniform(0.3, 0.65))
    weight = float(np.clip(rng.normal(0.46, 0.15), 0.08, 0.88))
    targets = _macro(gender, age, races, muscle, weight)
    changes, local = _local_changes(rng)
    targets |= changes
    tone = float(np.clip(races @ [0.9, 0.36, 0.16] + rng.normal(0, 0.11), 0.02, 0.98))
    traits = {
        "gender": gender,
        "age": age,
        "african": float(races[0]),
        "asian": float(races[1]),
        "caucasian": float(races[2]),
        "muscle": muscle,
        "weight": weight,
        "tone": tone,
        "undertone": float(rng.normal(0, 0.5)),
        "ruddy": float(rng.uniform(0.2, 1)),
        "blotch": float(rng.uniform(0.3, 1)),
        "freckles": float(max(0.0, rng.normal(-0.3, 0.6)) * (1 - tone)),
        "moles": float(rng.integers(0, 6)),
        **_hair_traits(rng, age, gender, races),
        "brow_thick": float(rng.uniform(0.75, 1.35) * (0.8 if female else 1.1)),
        "brow_dense": float(rng.uniform(0.6, 1.0)),
        "brow_arch": float(rng.uniform(0, 1)),
        "brow_height": float(rng.normal(0, 0.025)),
        "stubble": 0.0 if female else float(np.clip(rng.normal(0.3, 0.35), 0, 1)),
        "beard": 0.0 if female else float(rng.random() < 0.2),
        "iris_hue": float(rng.uniform()),
        "lip_red": float(rng.uniform(0, 0.5) + (rng.random() < 0.35) * 0.6 * female),
        "lash": float(rng.uniform(0.35, 0.6) + 0.25 * female),
        "liner": float(female * (rng.random() < 0.4)),
        "gloss": float(rng.uniform(0.5, 1.2)),
        **_wear(rng, female, age),
        "eye_distance": 1.0,
    }
    traits["iris_light"] = float(
        rng.uniform(0, 1) * (1 - traits["hair_dark"] * 0.5) * races[2] ** 0.8
    )
    style = _style(rng, traits)
    kinds = (STYLES.index(style), len(STYLES)), (int(traits["glasses"]), len(GLASSES))
    kinds += ((int(traits["hat"]), len(HATS)),)
    vector = np.concatenate([list(traits.values()), local, *(np.eye(n)[k] for k, n in kinds)])
    return Identity(seed, targets, traits, style, vector.astype(np.float32))


def skin_colour(traits: dict[str, float]) -> np.ndarray:
    """Mean albedo of the skin, (3,) linear RGB, from the traits tone (0 light to 1 dark) and undertone."""
    at = traits["tone"] * (len(_SKIN_SRGB) - 1)
    stops = (_SKIN_SRGB / 255) ** 2.2
    base = np.array([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)])
    return base * [1, 1 - 0.03 * traits["undertone"], 1 - 0.08 * traits["undertone"]]


def hair_pigments(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Colour of a hair with pigment and of one without, (3,) linear RGB each."""
    natural, white = (
        (np.array(_HAIR_SRGB[k]) / 255) ** 2.2 for k in (int(identity.traits["hair_colour"]), 7)
    )
    return natural * identity.traits["hair_shade"], 0.85 * white


def hair_colour(identity: Identity) -> np.ndarray:
    """Mean colour of the hair, (3,) linear RGB, the grey hairs mixed in."""
    natural, white = hair_pigments(identity)
    grey = identity.traits["grey"]
    return natural * (1 - grey) + white * grey


def _years(age: float) -> float:
    return 20 + 58 * age


def typology_angle(linear: np.ndarray) -> float:
    """Individual typology angle (ITA) of a colour, degrees: above 55 very light, below -30 dark.

    Args:
        linear: (3,) linear RGB with sRGB primaries and the white point D65.

    Returns:
        atan((L* - 50) / b*) in degrees.

    Source: Chardon, Cretois, Hourseau 1991; CIE L*a*b* of sRGB (IEC 61966-2-1).
    """
    to_yz = np.array([[0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    y, z = to_yz @ np.asarray(linear, float) / [1.0, 1.08883]
    f = [np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (y, z)]
    return float(np.rad2deg(np.arctan2(116 * f[0] - 66, 200 * (f[0] - f[1]))))


def attributes(identity: Identity) -> dict[str, str | float | int]:
    """What is true of a person, for the data card.

    Args:
        identity: who.

    Returns:
        gender, age_band (years), african, asian, caucasian (shares), ita_deg, hair, hair_colour, glasses, hat, beard
        (none, stubble, beard).
    """
    t = identity.traits
    decade = int(_years(t["age"]) // 10 * 10)
    colour = HAIR_COLOURS[int(t["hair_colour"])]
    if t["grey"] > 0.4:
        colour = "white" if t["grey"] > 0.85 else "grey"
    return {
        "gender": "female" if t["gender"] > 0.5 else "male",
        "age_band": f"{decade}-{decade + 9}",
        "african": round(t["african"], 2),
        "asian": round(t["asian"], 2),
        "caucasian": round(t["caucasian"], 2),
        "ita_deg": round(typology_angle(skin_colour(t)), 1),
        "hair": identity.style,
        "hair_colour": "none" if identity.style == "bald" else colour,
        "glasses": GLASSES[int(t["glasses"])],
        "hat": HATS[int(t["hat"])],
        "beard": "beard" if t["beard"] else ("stubble" if t["stubble"] > 0.35 else "none"),
    }


def neutral_shape(identity: Identity) -> np.ndarray:
    """(V, 3) float32 positions in units, face at rest, origin between this head's eyes."""
    p, (_, _, unit) = default_pack(), average()
    v = p.blend(identity.targets)
    origin = (v[p.part == 1].mean(0) + v[p.part == 2].mean(0)) / 2
    return ((v - origin) / unit).astype(np.float32)


def action_names() -> list[str]:
    """Names of the facial actions, in the order of expression vectors."""
    return [n[len("action:") :] for n in default_pack().names if n.startswith("action:")]


def express(shape: np.ndarray, expression: dict[str, float]) -> np.ndarray:
    """Move the face.

    Args:
        shape: (V, 3) positions in units.
        expression: action name -> weight, usually 0 to 1.

    Returns:
        (V, 3) float32.

    Raises:
        ValueError: an unknown action.
    """
    p, (_, _, unit) = default_pack(), average()
    lookup = packs._lookup(p.names)
    out = shape.astype(np.float64)
    for name in sorted(expression):
        if f"action:{name}" not in lookup:
            raise ValueError(f"no facial action {name!r}; known: {', '.join(action_names())}")
        k = lookup[f"action:{name}"]
        s = slice(p.offsets[k], p.offsets[k + 1])
        out[p.index[s]] += p.delta[s] * (expression[name] * packs.QUANTUM / unit)
    return out.astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation matrix (3, 3) from radians: yaw > 0 turns to the image's right, pitch > 0 up, roll > 0 clockwise."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return z @ y @ x


def pose(points: np.ndarray, neutral: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn the head on the neck; the shoulders follow a little.

    Args:
        points: (N, 3) positions in units.
        neutral: (N, 3) neutral coordinates of the same points (their height says how far they follow).
        angles: yaw, pitch, roll in radians.

    Returns:
        (N, 3) float32.
    """
    y = neutral[:, 1] + 0.35 * np.minimum(
        neutral[:, 2] + 0.6, 0
    )  # the nape is higher than the throat
    w = np.clip((y + 3.1) / 1.5, 0, 1)
    w = 0.12 + 0.88 * w * w * (3 - 2 * w)
    steps = np.linspace(0, 1, 33)
    mats = np.stack([rotation(*(np.asarray(angles) * s)) for s in steps])
    k = np.minimum((w * 32).astype(int), 31)
    f = (w * 32 - k)[:, None]
    d = points - PIVOT
    a = np.einsum("nij,nj->ni", mats[k], d)
    b = np.einsum("nij,nj->ni", mats[k + 1], d)
    return (a * (1 - f) + b * f + PIVOT).astype(np.float32)


def cylinder(points: np.ndarray) -> np.ndarray:
    """Cylindrical coordinates (N, 3) about the head's vertical axis: angle (0 in front), height, radius."""
    z = points[:, 2] - AXIS_Z
    return np.stack([np.arctan2(points[:, 0], z), points[:, 1], np.hypot(points[:, 0], z)], 1)


def brow_curve(x: np.ndarray, arch: float = 0.5, lift: float = 0.0) -> np.ndarray:
    """Neutral height of the middle of the brow at distance ``x`` from the middle of the face."""
    t = (np.asarray(x) - 0.15) / 0.82
    return (
        0.235
        + lift
        + (0.10 + 0.06 * arch) * np.sin(np.pi * np.clip(t, 0, 1) ** 1.25)
        - 0.07 * t * t
        + 0.02 * t
    )
