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
STYLES = ("shaved", "buzz", "crop", "parted", "afro", "long", "bob", "back")
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


def make_identity(seed: int) -> Identity:
    """Draw a person.

    Args:
        seed: any non-negative integer; below 100,000 for the benchmark, from 1,000,000 for training worlds.

    Returns:
        The identity.
    """
    rng = np.random.default_rng([int(seed), 11])
    gender = float(np.clip(rng.choice([0.08, 0.92]) + rng.normal(0, 0.1), 0, 1))
    age = float(rng.beta(1.1, 1.8))
    races = rng.dirichlet([0.45, 0.45, 0.45])
    muscle, weight = (
        float(rng.uniform(0.25, 0.75)),
        float(np.clip(rng.normal(0.5, 0.2), 0.05, 0.95)),
    )
    targets = _macro(gender, age, races, muscle, weight)
    pairs = default_pack().pairs()
    shared: dict[str, float] = {}
    local = np.zeros(len(pairs))
    for k, (low, high) in enumerate(pairs):
        name = high[len("local:") :]
        common, own = rng.normal(), rng.normal()
        if name[:2] in ("l-", "r-"):
            common = shared.setdefault(name[2:], common)
            own *= 0.28
        else:
            own *= 0.0 if "trans-in" not in name and "trans-out" not in name else 0.2
            common = common if own == 0.0 else 0.0
        x = float(np.clip(0.26 * (0.96 * common + own), -0.6, 0.6))
        if name.startswith(("neck", "measure", "head-trans", "head-angle")):
            x *= 0.4
        if "ear-shape" in name or "wing" in name:
            x *= 0.6
        local[k] = x
        if x > 0:
            targets[high] = x
        elif low:
            targets[low] = -x
    tone = float(np.clip(races @ [0.8, 0.36, 0.18] + rng.normal(0, 0.09), 0.02, 0.98))
    dark = float(np.clip(rng.beta(2, 1.2) + 0.5 * (races[0] + races[1]), 0, 1))
    grey = float(np.clip((age - 0.5) * 2 + rng.normal(0, 0.25), 0, 1)) if age > 0.35 else 0.0
    female = gender > 0.5
    chances = (
        [0.0, 0.01, 0.08, 0.13, 0.12, 0.3, 0.18, 0.18]
        if female
        else [0.14, 0.2, 0.32, 0.22, 0.07, 0.01, 0.01, 0.03]
    )
    chances = np.array(chances)
    chances[4] *= 0.15 + 2.2 * races[0]
    style = str(rng.choice(STYLES, p=chances / chances.sum()))
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
        "hair_dark": dark,
        "hair_red": float(rng.uniform(0, 1) ** 2),
        "grey": grey,
        "hair_curl": float(np.clip(races[0] * 0.9 + rng.normal(0.1, 0.2), 0, 1)),
        "hairline": float(rng.normal(0, 0.07) + (0.12 * age * (1 - gender))),
        "part": float(rng.choice([-1, 1]) * rng.uniform(0.2, 0.7)),
        "hair_volume": float(rng.uniform(0.75, 1.3)),
        "brow_thick": float(rng.uniform(0.75, 1.35) * (0.8 if female else 1.1)),
        "brow_dense": float(rng.uniform(0.6, 1.0)),
        "brow_arch": float(rng.uniform(0, 1)),
        "brow_height": float(rng.normal(0, 0.025)),
        "stubble": 0.0 if female else float(np.clip(rng.normal(0.3, 0.35), 0, 1)),
        "beard": 0.0 if female else float(rng.random() < 0.16),
        "iris_light": float(rng.uniform(0, 1) * (1 - dark * 0.6) * races[2] ** 0.8),
        "iris_hue": float(rng.uniform()),
        "lip_red": float(rng.uniform(0, 0.5) + (rng.random() < 0.35) * 0.6 * female),
        "lash": float(rng.uniform(0.35, 0.6) + 0.25 * female),
        "liner": float(female * (rng.random() < 0.4)),
        "gloss": float(rng.uniform(0.5, 1.2)),
        "cloth_hue": float(rng.uniform()),
        "cloth_sat": float(rng.uniform(0, 0.7)),
        "cloth_value": float(rng.uniform(0.05, 0.75)),
        "cloth_kind": float(rng.integers(0, 4)),
        "neckline": float(rng.uniform(-2.75, -2.35)),
        "eye_distance": 1.0,
    }
    vector = np.concatenate(
        [list(traits.values()), local, np.eye(len(STYLES))[STYLES.index(style)]]
    )
    return Identity(int(seed), targets, traits, style, vector.astype(np.float32))


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
