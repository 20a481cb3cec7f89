"""What surrounds a head: light, background, place in the picture; and what it does: single poses and speech-like clips.

Source: own; speech blends neighbouring mouth shapes by their dominance (Cohen and Massaro 1993, "Modeling
coarticulation in synthetic visual speech"), heads move with minimum jerk (Flash and Hogan 1985).
"""

from dataclasses import dataclass

import numpy as np

from . import places
from .render import Light, View


def _both(**weights: float) -> dict[str, float]:
    """The same weight for the left and the right action of each name."""
    return {f"{name}{side}": v for name, v in weights.items() for side in ("Left", "Right")}


# mouth shapes of speech: facial action -> weight; vowels open the mouth, consonants close it
VOWELS = (
    {"jawOpen": 0.36, **_both(mouthLowerDown=0.12)},  # as in "father"
    {"jawOpen": 0.20, **_both(mouthStretch=0.22, mouthLowerDown=0.08)},  # "bed"
    {"jawOpen": 0.13, **_both(mouthSmile=0.22, mouthStretch=0.12)},  # "see"
    {"jawOpen": 0.24, "mouthFunnel": 0.38},  # "saw"
    {"jawOpen": 0.11, "mouthPucker": 0.45, "mouthFunnel": 0.12},  # "too"
    {"jawOpen": 0.16},  # "about"
)
CONSONANTS = (
    {"mouthRollLower": 0.18, "mouthRollUpper": 0.10, **_both(mouthPress=0.30)},  # p, b, m
    {"jawOpen": 0.05, "mouthRollLower": 0.30, **_both(mouthUpperUp=0.12)},  # f, v
    {"jawOpen": 0.07, **_both(mouthStretch=0.10, mouthLowerDown=0.10)},  # s, t, d
    {"jawOpen": 0.08, "mouthFunnel": 0.25, "mouthPucker": 0.12},  # sh, r
    {"jawOpen": 0.12},  # k, n
)
VISEMES = ({}, *VOWELS, *CONSONANTS)
MOODS = (
    {},
    _both(mouthSmile=0.50, cheekSquint=0.40, mouthDimple=0.12, eyeSquint=0.12),
    _both(mouthSmile=0.25, cheekSquint=0.15),
    _both(browDown=0.22, eyeSquint=0.15),
    {"browInnerUp": 0.35, **_both(browOuterUp=0.35, eyeWide=0.20)},
    {"browInnerUp": 0.30, **_both(mouthFrown=0.22)},
    _both(noseSneer=0.12, mouthUpperUp=0.08, browDown=0.12),
)
_MOOD_SHARES = np.array([0.26, 0.16, 0.20, 0.12, 0.10, 0.10, 0.06])


def _towards(azimuth: float, height: float) -> np.ndarray:
    """Unit vector to a light; azimuth to the right of the camera and height, in radians."""
    return np.array(
        [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
    )


def light(rng: np.random.Generator, domain: str = "nobody") -> Light:
    """Draw a light.

    Args:
        rng: random generator.
        domain: "nobody": a warm to cold key from above the eyes, a weaker fill, a sky and a floor. "nobody-x": harder,
            coloured, from below, from behind or from straight above.

    Returns:
        The light.

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in places.PLACES:
        raise ValueError(f"domain is {domain!r}, expected one of {', '.join(places.PLACES)}")
    if domain == "nobody-x":
        return _odd_light(rng)
    azimuth, height = rng.uniform(-1.25, 1.25), rng.uniform(0.05, 0.95)
    side = -np.sign(azimuth) * rng.uniform(0.3, 1.2)
    fill = np.array([np.sin(side), rng.uniform(-0.2, 0.3), np.cos(side)])
    warmth = rng.normal(0, 0.10)
    tint = np.array([1 + warmth, 1.0, 1 - 1.3 * warmth])
    power = rng.uniform(0.75, 1.35)
    fill_tint = np.array([1 - 0.5 * warmth, 1.0, 1 + 0.7 * warmth]) * (1 + rng.normal(0, 0.04, 3))
    ambient = rng.uniform(0.14, 0.42)
    return Light(
        _towards(azimuth, height),
        tint * power,
        fill,
        fill_tint * rng.uniform(0.08, 0.4),
        fill_tint * ambient,
        np.array([1.05, 1.0, 0.92]) * ambient * rng.uniform(0.3, 0.6),
    )


def _odd_light(rng: np.random.Generator) -> Light:
    """Lights that the first domain does not have."""
    kind = rng.choice(["hard", "coloured", "below", "behind", "above"])
    side = rng.choice([-1.0, 1.0])
    azimuth, height = {
        "hard": (side * rng.uniform(0.5, 1.4), rng.uniform(0.3, 1.0)),
        "coloured": (side * rng.uniform(0.4, 1.3), rng.uniform(0.0, 0.6)),
        "below": (side * rng.uniform(0.0, 0.6), -rng.uniform(0.35, 0.8)),
        "behind": (side * rng.uniform(1.9, 2.5), rng.uniform(0.2, 0.7)),
        "above": (side * rng.uniform(0.0, 0.5), rng.uniform(1.05, 1.3)),
    }[kind]
    colour = 0.45 if kind == "coloured" else 0.12
    key_tint, fill_tint = (np.exp(colour * rng.uniform(-1, 1, 3)) for _ in range(2))
    power = rng.uniform(1.1, 1.7) if kind in ("hard", "behind") else rng.uniform(0.7, 1.1)
    fill = {"hard": 0.10, "coloured": 0.35, "below": 0.2, "behind": 0.55, "above": 0.15}[kind]
    ambient = fill_tint * rng.uniform(0.06, 0.2)
    return Light(
        _towards(azimuth, height),
        key_tint * power,
        _towards(-side * rng.uniform(0.1, 1.2), rng.uniform(-0.1, 0.3)),
        fill_tint * fill * rng.uniform(0.7, 1.4),
        ambient,
        ambient * rng.uniform(0.3, 1.0),
    )


def similar_light(rng: np.random.Generator, like: Light, domain: str = "nobody") -> Light:
    """Draw a light whose key comes from nearly the same side, as a forger would choose a donor."""
    other = light(rng, domain)
    key = like.key / np.linalg.norm(like.key) + rng.normal(0, 0.18, 3)
    return Light(
        key / np.linalg.norm(key),
        other.key_rgb,
        like.fill,
        other.fill_rgb,
        other.sky_rgb,
        other.ground_rgb,
    )


def background(rng: np.random.Generator, size: int = 256, domain: str = "nobody") -> np.ndarray:
    """Draw an out-of-focus place.

    Args:
        rng: random generator. size: of the square picture, pixels. domain: "nobody" or "nobody-x".

    Returns:
        (size, size, 3) float32 linear.

    Raises:
        ValueError: an unknown domain.
    """
    return places.draw(rng, size, domain)


def expression(rng: np.random.Generator, names: list[str]) -> dict[str, float]:
    """Draw a still expression: part mood, part speech, part noise, nearly symmetric; eyelids follow the draw."""
    out: dict[str, float] = {}
    _add(out, _mood(rng), rng.uniform(0, 1.4))
    _add(out, VISEMES[rng.integers(len(VISEMES))], rng.uniform(0, 1.4))
    spread = rng.choice([0.05, 0.11], p=[0.7, 0.3])
    drawn: dict[str, float] = {}
    for name in names:
        if name == "tongueOut" or name.startswith(("eyeLook", "eyeBlink")):
            continue
        kind = name.removesuffix("Left").removesuffix("Right")
        v = drawn.setdefault(kind, max(0.0, rng.normal(0, spread)))
        if kind in ("jaw", "mouth"):  # sideways: never both sides alike
            v = max(0.0, rng.normal(0, 0.4 * spread))
        elif name.startswith(("cheekPuff", "noseSneer", "jaw")):
            v *= 0.5
        out[name] = out.get(name, 0.0) + v * rng.uniform(0.75, 1.25)
    lid = rng.choice([0.0, rng.uniform(0, 0.35), rng.uniform(0.5, 1.0)], p=[0.55, 0.33, 0.12])
    out["eyeBlinkLeft"] = out["eyeBlinkRight"] = float(lid)
    return {k: float(np.clip(v, 0, 1)) for k, v in out.items()}


def _add(total: dict[str, float], more: dict[str, float], weight: float) -> None:
    for name, v in more.items():
        total[name] = total.get(name, 0.0) + weight * v


def _mood(rng: np.random.Generator) -> dict[str, float]:
    """A mood with a slight difference between the sides of the face."""
    mood = MOODS[rng.choice(len(MOODS), p=_MOOD_SHARES / _MOOD_SHARES.sum())]
    lean = rng.normal(0, 0.12)
    return {k: v * (1 + lean * (k.endswith("Left") - k.endswith("Right"))) for k, v in mood.items()}


def view(rng: np.random.Generator, size: int = 256, box: tuple[float, float] = (70, 200)) -> View:
    """Draw scale and place of the head so that the face's box has a side in ``box`` pixels and stays in the picture."""
    side = rng.uniform(*box) * size / 256
    room = max(0.0, size * 0.5 - side * 0.62)
    cx = size / 2 + rng.uniform(-1, 1) * room * 0.8
    cy = size * 0.5 - side * 0.29 + rng.uniform(-0.6, 0.8) * room * 0.6
    return View(side / 2.4, (float(cx), float(cy)), float(rng.uniform(9, 20)), size)


@dataclass(frozen=True)
class Motion:
    """What a head does over a clip of T frames.

    Attributes:
        expressions: T dictionaries action -> weight. gaze: (T, 2) and angles: (T, 3) radians.
    """

    expressions: list[dict[str, float]]
    gaze: np.ndarray
    angles: np.ndarray


def motion(
    rng: np.random.Generator,
    n_frames: int,
    fps: float = 25.0,
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Motion:
    """Draw a short talk: about five mouth shapes a second, blinks, nods and turns, eyes that fixate near the camera.

    Args:
        rng: random generator. n_frames: T. fps: frames a second. angles: mean yaw, pitch, roll in radians.

    Returns:
        The motion; about half of the clips of 0.64 s hold a blink.
    """
    t = np.arange(n_frames) / fps
    turn = _head(rng, t) + np.asarray(angles)
    gaze = _gaze(rng, t, turn)
    tracks = _speech(rng, t)
    mood, strength = _mood(rng), rng.uniform(0.2, 1.0) * (1 + 0.25 * _sway(rng, t))
    _add(tracks, mood, np.clip(strength, 0, 1.2))
    _add(tracks, {"browInnerUp": 0.10, **_both(browOuterUp=0.08)}, np.abs(_sway(rng, t)))
    raised = _bump(t, rng.uniform(0, t[-1] + 0.2), 0.45) * (rng.random() < 0.35)
    _add(tracks, {"browInnerUp": 0.25, **_both(browOuterUp=0.25)}, raised)
    lid = np.maximum(_blinks(rng, t), rng.uniform(0.0, 0.14) + 0.8 * np.maximum(0, -gaze[:, 1]))
    _add(tracks, _both(eyeBlink=1.0), lid)
    names = sorted(tracks)
    table = np.clip([np.broadcast_to(tracks[name], t.shape) for name in names], 0, 1)
    rows = [dict(zip(names, map(float, column), strict=True)) for column in table.T]
    return Motion(rows, gaze, turn)


def _speech(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    """Consonants and vowels in turn, each blended with its neighbours; action -> (T,) weights."""
    keys = np.arange(-0.6, t[-1] + 0.8, 0.2)
    keys = keys + rng.uniform(-0.04, 0.04, len(keys))
    is_vowel = np.arange(len(keys)) % 2 == rng.integers(2)
    # dominance falls off exponentially from each key, with a rounded tip
    fall = np.where(is_vowel, 0.060, 0.050)
    dominance = np.exp(-np.hypot(t[:, None] - keys, 0.03) / fall) * np.where(is_vowel, 1.0, 1.25)
    dominance /= dominance.sum(1, keepdims=True)
    loud = rng.uniform(0.55, 1.15)
    if rng.random() < 0.2:  # falls silent, or begins to speak
        step = _ease((t - rng.uniform(0, t[-1] + 0.1)) / 0.25)
        loud = loud * (0.08 + 0.92 * (step if rng.random() < 0.5 else 1 - step))
    tracks: dict[str, np.ndarray] = {}
    for k, vowel in enumerate(is_vowel):
        shapes = VOWELS if vowel else CONSONANTS
        shape, stress = shapes[rng.integers(len(shapes))], rng.uniform(0.65, 1.25)
        _add(tracks, shape, dominance[:, k] * stress * loud)
    return tracks


def _head(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (T, 3) with mean 0: sway, a turn in most clips, a nod in some."""
    turn = np.stack([_sway(rng, t) * size for size in (0.030, 0.022, 0.014)], 1)
    if rng.random() < 0.7:
        seconds = rng.uniform(0.35, 0.8)
        step = _ease((t - rng.uniform(-0.3, t[-1])) / seconds)
        turn += step[:, None] * rng.normal(0, [0.13, 0.05, 0.035]) * seconds / 0.6
    if rng.random() < 0.45:
        nod = _bump(t, rng.uniform(0, t[-1] + 0.1), rng.uniform(0.3, 0.5))
        turn[:, 1] -= nod * rng.uniform(0.03, 0.09)
    return turn - turn.mean(0)


def _gaze(rng: np.random.Generator, t: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Eyes (T, 2) that hold a point near the camera while the head turns, and jump to another now and then."""
    away = rng.random() < 0.25
    point = rng.normal(0, [0.15, 0.05]) if away else rng.normal(0, [0.05, 0.03])
    target = np.tile(point, (len(t), 1))
    start = rng.exponential(0.7)
    while start < t[-1]:
        following = rng.normal(0, [0.07, 0.035])
        target += _ease((t - start) / 0.07)[:, None] * (following - point)
        point = following
        start += 0.25 + rng.exponential(0.7)
    target += rng.normal(0, 0.002, target.shape)
    return np.clip(target - 0.92 * turn[:, :2], [-0.38, -0.22], [0.38, 0.22])


def _blinks(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """How far the lids are closed (T,): quick to close, slower to open."""
    closed, at = np.zeros(len(t)), rng.exponential(0.92)
    while at < t[-1] + 0.05:
        down = _ease((t - at + 0.10) / 0.10)
        up = _ease((t - at - 0.02) / 0.14)
        closed = np.maximum(closed, down - up)
        at += 0.45 + rng.exponential(1.0)
    return closed


def _ease(x: np.ndarray) -> np.ndarray:
    """From 0 to 1 while x goes from 0 to 1, with minimum jerk."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _bump(t: np.ndarray, centre: float, seconds: float) -> np.ndarray:
    """Up to 1 and back to 0 within ``seconds``."""
    x = np.clip((t - centre) / seconds, -0.5, 0.5)
    return 0.5 + 0.5 * np.cos(2 * np.pi * x)


def _sway(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Slow movement without aim, of size about 1."""
    out = np.zeros(len(t))
    for f in (0.35, 0.8, 1.5):
        out += rng.normal() * np.sin(2 * np.pi * (f * t + rng.uniform())) / (1 + f)
    return out
