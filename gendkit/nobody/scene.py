"""What surrounds a head: light, background, place in the picture; and what it does: single poses and speech-like clips.

Source: own.
"""

from dataclasses import dataclass

import numpy as np

from .render import Light, View

# mouth shapes of speech: facial action -> weight (a small set of visemes)
VISEMES = (
    {},
    {"jawOpen": 0.42, "mouthLowerDownLeft": 0.15, "mouthLowerDownRight": 0.15},
    {"jawOpen": 0.20, "mouthStretchLeft": 0.35, "mouthStretchRight": 0.35},
    {"jawOpen": 0.24, "mouthFunnel": 0.55},
    {"jawOpen": 0.10, "mouthPucker": 0.65},
    {"mouthPressLeft": 0.45, "mouthPressRight": 0.45, "mouthRollLower": 0.25},
    {"jawOpen": 0.08, "mouthRollLower": 0.45, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2},
    {"jawOpen": 0.14, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.3},
)
MOODS = (
    {},
    {
        "mouthSmileLeft": 0.55,
        "mouthSmileRight": 0.55,
        "cheekSquintLeft": 0.4,
        "cheekSquintRight": 0.4,
    },
    {"browDownLeft": 0.45, "browDownRight": 0.45, "eyeSquintLeft": 0.25, "eyeSquintRight": 0.25},
    {
        "browInnerUp": 0.5,
        "browOuterUpLeft": 0.4,
        "browOuterUpRight": 0.4,
        "eyeWideLeft": 0.35,
        "eyeWideRight": 0.35,
    },
    {"mouthFrownLeft": 0.4, "mouthFrownRight": 0.4, "browInnerUp": 0.3},
    {
        "noseSneerLeft": 0.3,
        "noseSneerRight": 0.3,
        "mouthUpperUpLeft": 0.2,
        "mouthUpperUpRight": 0.2,
    },
)


def light(rng: np.random.Generator) -> Light:
    """Draw a plausible light: a warm to cold key from above the eyes, a weaker fill, a sky and a floor."""
    azimuth, height = rng.uniform(-1.25, 1.25), rng.uniform(0.05, 0.95)
    key = np.array(
        [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
    )
    side = -np.sign(azimuth) * rng.uniform(0.3, 1.2)
    fill = np.array([np.sin(side), rng.uniform(-0.2, 0.3), np.cos(side)])
    warmth = rng.normal(0, 0.10)
    tint = np.array([1 + warmth, 1.0, 1 - 1.3 * warmth])
    power = rng.uniform(0.75, 1.35)
    fill_tint = np.array([1 - 0.5 * warmth, 1.0, 1 + 0.7 * warmth]) * (1 + rng.normal(0, 0.04, 3))
    ambient = rng.uniform(0.14, 0.42)
    return Light(
        key,
        tint * power,
        fill,
        fill_tint * rng.uniform(0.08, 0.4),
        fill_tint * ambient,
        np.array([1.05, 1.0, 0.92]) * ambient * rng.uniform(0.3, 0.6),
    )


def similar_light(rng: np.random.Generator, like: Light) -> Light:
    """Draw a light whose key comes from nearly the same side, as a forger would choose a donor."""
    other = light(rng)
    key = like.key / np.linalg.norm(like.key) + rng.normal(0, 0.18, 3)
    return Light(
        key / np.linalg.norm(key),
        other.key_rgb,
        like.fill,
        other.fill_rgb,
        other.sky_rgb,
        other.ground_rgb,
    )


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    for axis in (0, 1):
        image = gaussian_filter1d(image, sigma, axis=axis, mode="nearest")
    return image


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    value = np.exp(rng.uniform(np.log(low), np.log(high)))
    c = np.clip(1 + saturation * rng.normal(0, 1, 3), 0.25, 2)
    return value * c / c.mean()


def background(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Draw an out-of-focus place: a studio wall, a room, or outdoors.

    Args:
        rng: random generator. size: of the square picture, pixels.

    Returns:
        (size, size, 3) float32 linear.
    """
    from scipy.ndimage import zoom

    n = 64
    yy, xx = np.mgrid[0:n, 0:n] / n
    kind = rng.choice(["studio", "room", "outdoors"], p=[0.35, 0.45, 0.2])
    a, b = _colour(rng, 0.04, 0.6, 0.12), _colour(rng, 0.04, 0.6, 0.12)
    if kind == "studio":
        d = np.hypot(xx - rng.uniform(0.2, 0.8), yy - rng.uniform(0.1, 0.7)) / rng.uniform(0.7, 1.3)
        image = b + (a - b) * np.exp(-(d**2))[..., None] * 1.0
        sigma = 3.0
    elif kind == "room":
        slope = rng.uniform(-0.25, 0.25)
        image = np.broadcast_to(a * (0.8 + 0.4 * (xx * slope + 0.5))[..., None], (n, n, 3)).copy()
        corner = rng.uniform(0.1, 0.9)
        image[xx > corner] *= rng.uniform(0.7, 0.95)
        for _ in range(rng.integers(2, 9)):
            x0, y0 = rng.uniform(-0.1, 0.9), rng.uniform(-0.1, 0.8)
            w, h = rng.uniform(0.08, 0.4), rng.uniform(0.1, 0.5)
            inside = (xx > x0) & (xx < x0 + w) & (yy > y0) & (yy < y0 + h)
            c = _colour(rng, 0.02, 0.9, 0.25)
            image[inside] = c
            if rng.random() < 0.35:  # shelves
                stripes = inside & (np.floor((yy - y0) * rng.uniform(8, 16)) % 2 == 0)
                image[stripes] = c * rng.uniform(0.3, 0.7)
        sigma = rng.uniform(0.8, 2.4)
    else:
        horizon = rng.uniform(0.35, 0.75)
        sky = np.array([0.55, 0.68, 0.9]) * rng.uniform(0.5, 1.1)
        ground = np.array([0.16, 0.22, 0.10]) * rng.uniform(0.5, 1.6) * (1 + rng.normal(0, 0.15, 3))
        image = np.where(
            (yy < horizon)[..., None],
            sky * (0.75 + 0.4 * yy[..., None]),
            ground * (1.2 - 0.4 * yy[..., None]),
        )
        for _ in range(rng.integers(4, 12)):
            cx, cy, r = rng.uniform(0, 1), horizon + rng.normal(-0.1, 0.12), rng.uniform(0.05, 0.22)
            image[np.hypot(xx - cx, (yy - cy) * rng.uniform(0.6, 1.4)) < r] = (
                np.array([0.12, 0.2, 0.07]) * rng.uniform(0.3, 2.2) * (1 + rng.normal(0, 0.15, 3))
            )
        sigma = rng.uniform(1.2, 2.8)
    image = _blur(np.clip(image, 0, 1.2), sigma)
    for _ in range(int(rng.random() < 0.3) * rng.integers(1, 6)):
        d = np.hypot(xx - rng.uniform(0, 1), yy - rng.uniform(0, 0.6)) / rng.uniform(0.02, 0.05)
        image = image + (1 / (1 + np.exp((d - 1) * 6)))[..., None] * _colour(rng, 0.1, 0.5, 0.2)
    return np.clip(
        zoom(image, (size / n, size / n, 1), order=1, mode="nearest", grid_mode=True), 0, 1.3
    ).astype(np.float32)


def expression(rng: np.random.Generator, names: list[str]) -> dict[str, float]:
    """Draw a still expression: part mood, part speech, part noise; eyelids follow the draw."""
    out: dict[str, float] = {}

    def add(more: dict[str, float], k: float) -> None:
        for name, v in more.items():
            out[name] = out.get(name, 0.0) + k * v

    add(MOODS[rng.integers(len(MOODS))], rng.uniform(0, 1.2))
    add(VISEMES[rng.integers(len(VISEMES))], rng.uniform(0, 1.3))
    for name in names:
        if name != "tongueOut" and not name.startswith(("eyeLook", "eyeBlink")):
            v = max(0.0, rng.normal(0, 0.11))
            if name.startswith(("jaw", "mouthLeft", "mouthRight", "cheekPuff")):
                v *= 0.6
            out[name] = out.get(name, 0.0) + v
    lid = rng.choice([0.0, rng.uniform(0, 0.35), rng.uniform(0.5, 1.0)], p=[0.55, 0.33, 0.12])
    out["eyeBlinkLeft"] = out["eyeBlinkRight"] = float(lid)
    return {k: float(np.clip(v, 0, 1)) for k, v in out.items()}


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


def _drift(rng: np.random.Generator, t: np.ndarray, size: float) -> np.ndarray:
    out = np.zeros_like(t)
    for f in (0.35, 0.8, 1.5):
        out += rng.normal() * np.sin(2 * np.pi * (f * t + rng.uniform())) / (1 + f)
    return size * out


def motion(
    rng: np.random.Generator,
    n_frames: int,
    fps: float = 25.0,
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Motion:
    """Draw a short talk: visemes about six a second, a blink, small turns of head and eyes.

    Args:
        rng: random generator. n_frames: T. fps: frames a second. angles: mean yaw, pitch, roll in radians.

    Returns:
        The motion.
    """
    t = np.arange(n_frames) / fps
    keys = np.arange(-0.2, t[-1] + 0.5, 0.16)
    keys = keys + rng.uniform(-0.03, 0.03, len(keys))
    shapes = [VISEMES[k] for k in rng.integers(0, len(VISEMES), len(keys))]
    gains = rng.uniform(0.6, 1.15, len(keys))
    mood, strength = MOODS[rng.integers(len(MOODS))], rng.uniform(0.1, 0.7)
    blinks = [rng.uniform(0, max(t[-1], 0.1))] if rng.random() < 0.6 else []
    brow = np.clip(0.25 + _drift(rng, t, 0.35), 0, 0.7)
    names = sorted({k for v in VISEMES for k in v} | set(mood))
    expressions = []
    for i, now in enumerate(t):
        e = dict.fromkeys(names, 0.0)
        w = np.exp(-(((now - keys) / 0.075) ** 2))
        w = w / w.sum()
        for k in range(len(keys)):
            for name, v in shapes[k].items():
                e[name] += w[k] * gains[k] * v
        for name, v in mood.items():
            e[name] += strength * v
        e["browInnerUp"] = e.get("browInnerUp", 0.0) + float(brow[i]) * 0.5
        lid = max([float(np.exp(-(((now - b) / 0.065) ** 4))) for b in blinks], default=0.0)
        e["eyeBlinkLeft"] = e["eyeBlinkRight"] = 0.06 + 0.94 * lid
        expressions.append({k: float(np.clip(v, 0, 1)) for k, v in e.items()})
    gaze = np.stack(
        [rng.normal(0, 0.10) + _drift(rng, t, 0.03), rng.normal(0, 0.05) + _drift(rng, t, 0.02)], 1
    )
    if rng.random() < 0.4:  # a saccade
        gaze[int(rng.integers(n_frames)) :] += rng.normal(0, [0.14, 0.06])
    turn = np.stack(
        [_drift(rng, t, 0.07), _drift(rng, t, 0.05), _drift(rng, t, 0.03)], 1
    ) + np.asarray(angles)
    return Motion(expressions, gaze, turn)
