"""A simulated camera: what a sensor and its processing do to clean frames.

A clip is filmed before it is forged, as footage that falls into a forger's hands has been: what a
forgery resamples is light with its noise. The donor has a camera of its own.

Steps: lens blur (stronger in red and blue), colour fringes, vignette, exposure with a slow drift, white balance, Bayer
sampling, shot and read noise, demosaicing, chroma noise, loss of resolution, sharpening, tone curve.

Source: the usual sensor model (shot noise of variance proportional to signal, plus constant read
noise; bilinear demosaicing); the choice of parameters is our own.
"""

from dataclasses import asdict, dataclass

import numba
import numpy as np

from .defocus import resize
from .places import PLACES

GAMMA = 2.2
MAX_FRINGE = 0.4  # pixels by which red and blue may leave their place in the corners


@dataclass(frozen=True)
class Camera:
    """Parameters of one camera and its settings, drawn once per clip.

    Attributes:
        blur: sigma of the lens blur, pixels. vignette: loss of light in the corners, share.
        exposure: gain. red, blue: white balance gains against green.
        shot, read: noise, as standard deviations in linear light at full signal and in the dark.
        scale: resolution kept, at most 1. sharpen: strength of the sharpening.
        fringe: by how many pixels red lies farther out, and blue farther in, than green in the corners.
        drift: size of the slow change of exposure over a clip, as a logarithm.
        chroma: standard deviation of blotchy colour noise in linear light at full signal.
        contrast: bend of the tone curve, 0 for none.
    """

    blur: float
    vignette: float
    exposure: float
    red: float
    blue: float
    shot: float
    read: float
    scale: float
    sharpen: float
    fringe: float = 0.0
    drift: float = 0.0
    chroma: float = 0.0
    contrast: float = 0.0

    def facts(self) -> dict[str, float]:
        """The parameters as a dictionary."""
        return asdict(self)


def draw(rng: np.random.Generator, domain: str = "nobody") -> Camera:
    """Draw a camera.

    Args:
        rng: random generator.
        domain: "nobody": a phone or a video camera. "nobody-x": a webcam, with fewer pixels, more noise, blotches of
            colour, stronger sharpening and a steeper tone curve.

    Returns:
        The camera.

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in PLACES:
        raise ValueError(f"domain is {domain!r}, expected one of {', '.join(PLACES)}")
    webcam = domain == "nobody-x"
    ranges = {
        "blur": (0.3, 0.6) if webcam else (0.2, 0.5),
        "vignette": (0.1, 0.4) if webcam else (0.0, 0.25),
        "shot": (0.035, 0.075) if webcam else (0.016, 0.048),
        "read": (0.004, 0.012) if webcam else (0.0016, 0.006),
        "scale": (0.6, 0.8) if webcam else (0.88, 1.0),
        "sharpen": (0.6, 1.2) if webcam else (0.0, 0.45),
        "fringe": (-0.35, 0.35) if webcam else (-0.2, 0.2),
        "drift": (0.0, 0.06) if webcam else (0.0, 0.02),
        "chroma": (0.008, 0.025) if webcam else (0.0, 0.004),
        "contrast": (0.25, 0.6) if webcam else (0.0, 0.2),
    }
    spread = 2.0 if webcam else 1.0
    return Camera(
        exposure=float(np.exp(rng.normal(0, 0.10 * spread))),
        red=float(np.exp(rng.normal(0, 0.05 * spread))),
        blue=float(np.exp(rng.normal(0, 0.06 * spread))),
        **{name: float(rng.uniform(*limits)) for name, limits in ranges.items()},
    )


def film(frames: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Film clean frames.

    Args:
        frames: (T, H, W, 3) uint8 RGB, H and W even.
        camera: parameters.
        rng: of the noise and of the drift only.

    Returns:
        (T, H, W, 3) uint8 RGB of equal size; points keep their place.

    Raises:
        ValueError: frames are not uint8 (T, H, W, 3) with even height and width, or the colour fringe is too wide.
    """
    frames = np.asarray(frames)
    if (
        frames.ndim != 4
        or frames.shape[-1] != 3
        or frames.dtype != np.uint8
        or frames.shape[1] % 2
        or frames.shape[2] % 2
    ):
        raise ValueError(
            f"frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3) with even H and W; "
            "stack RGB images of one size, and crop a row or column of an odd one"
        )
    if abs(camera.fringe) > MAX_FRINGE:
        raise ValueError(
            f"fringe is {camera.fringe} pixels, expected at most {MAX_FRINGE}, so that landmarks stay true"
        )
    gain = camera.exposure * _vignette(camera, *frames.shape[1:3])
    gain = gain[..., None] * np.array([camera.red, 1.0, camera.blue], np.float32)
    drift = np.exp(camera.drift * _wander(rng, len(frames)))
    return np.stack(
        [_film_one(f, camera, gain * k, rng) for f, k in zip(frames, drift, strict=True)]
    )


def _vignette(camera: Camera, h: int, w: int) -> np.ndarray:
    y, x = np.linspace(-1, 1, h, dtype=np.float32), np.linspace(-1, 1, w, dtype=np.float32)
    return 1 - np.float32(camera.vignette) * (x[None] ** 2 + y[:, None] ** 2) / 2


def _wander(rng: np.random.Generator, n: int) -> np.ndarray:
    """A slow wave of size 1 over n frames, as automatic exposure makes it."""
    phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    return np.sin(phase + 2 * np.pi * turns * np.arange(n, dtype=np.float32) / 25).astype(
        np.float32
    )


def _film_one(
    frame: np.ndarray, camera: Camera, gain: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    h, w, _ = frame.shape
    light = (np.arange(256, dtype=np.float32) / np.float32(255)) ** np.float32(GAMMA)
    x = _lens(light[frame], camera) * gain
    raw = np.empty((h, w), np.float32)  # Bayer pattern RGGB
    raw[0::2, 0::2], raw[0::2, 1::2] = x[0::2, 0::2, 0], x[0::2, 1::2, 1]
    raw[1::2, 0::2], raw[1::2, 1::2] = x[1::2, 0::2, 1], x[1::2, 1::2, 2]
    sigma = np.sqrt(camera.shot**2 * np.maximum(raw, 0) + camera.read**2)
    raw += sigma * rng.standard_normal(raw.shape, dtype=np.float32)
    x = _demosaic(np.clip(raw, 0, 1))
    if camera.chroma > 0:
        x += _blotches(x, camera.chroma, rng)
    if camera.scale < 1:
        x = resize(resize(x, round(h * camera.scale), round(w * camera.scale)), h, w)
    if camera.sharpen > 0:
        x = x + camera.sharpen * (x - _blur(x, 1.0))
    return _tone(x, camera.contrast)


def _lens(light: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur; red and blue a little larger or smaller than green, about the centre of the picture."""
    out = np.empty_like(light)
    for c, out_by in enumerate((camera.fringe, 0.0, -camera.fringe)):
        plane = light[..., c]
        if out_by:
            plane = _magnify(_magnify(plane, out_by).T, out_by).T
        out[..., c] = _blur(
            plane, camera.blur * (1.0 if c == 1 else 1.0 + 0.5 * abs(camera.fringe))
        )
    return out


def _magnify(plane: np.ndarray, pixels: float) -> np.ndarray:
    """Stretch rows about the middle, by ``pixels`` / sqrt(2) at their ends."""
    w = plane.shape[1]
    middle = (w - 1) / 2
    at = middle + (np.arange(w) - middle) * (1 - pixels / np.sqrt(2) / middle)
    low = np.clip(np.floor(at).astype(int), 0, w - 2)
    t = np.clip(at - low, 0, 1).astype(np.float32)
    return plane[:, low] * (1 - t) + plane[:, low + 1] * t


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    for axis in (0, 1):
        image = gaussian_filter1d(image, sigma, axis=axis, mode="nearest", truncate=3)
    return image


def _blotches(x: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Colour noise a few pixels wide that leaves the brightness alone."""
    h, w, _ = x.shape
    noise = rng.standard_normal((h // 2, w // 2, 2), dtype=np.float32)
    noise = resize(_blur(noise, 0.7), h, w) * (size * 2.2) * np.sqrt(np.maximum(x[..., 1:2], 0.02))
    red, blue = noise[..., 0], noise[..., 1]
    return np.stack([red, -0.30 * red - 0.10 * blue, blue], -1)


def _tone(x: np.ndarray, contrast: float) -> np.ndarray:
    """Linear light to uint8: gamma, then a bend that darkens shadows and lifts lights."""
    # the table is read at the square root, so that its steps are fine in the dark too
    steps = np.linspace(0, 1, 4096, dtype=np.float32) ** np.float32(2 / GAMMA)
    steps = steps + np.float32(contrast) * steps * (1 - steps) * (2 * steps - 1)
    table = np.round(np.clip(steps, 0, 1) * 255).astype(np.uint8)
    return table[np.round(np.sqrt(np.clip(x, 0, 1)) * 4095).astype(np.int32)]


@numba.njit(cache=True)
def _demosaic(raw):
    """Bilinear: every missing colour is the mean of its nearest samples; edges mirror."""
    h, w = raw.shape
    out = np.empty((h, w, 3), np.float32)
    for y in range(h):
        up, down = abs(y - 1), (y + 1 if y + 1 < h else h - 2)
        for x in range(w):
            left, right = abs(x - 1), (x + 1 if x + 1 < w else w - 2)
            here = raw[y, x]
            rows, columns = raw[up, x] + raw[down, x], raw[y, left] + raw[y, right]
            if (y + x) % 2 == 1:
                out[y, x, 1] = here
                out[y, x, 0] = (columns if y % 2 == 0 else rows) * np.float32(0.5)
                out[y, x, 2] = (rows if y % 2 == 0 else columns) * np.float32(0.5)
                continue
            corners = raw[up, left] + raw[up, right] + raw[down, left] + raw[down, right]
            out[y, x, 1] = (rows + columns) * np.float32(0.25)
            out[y, x, y % 2 * 2] = here
            out[y, x, 2 - y % 2 * 2] = corners * np.float32(0.25)
    return out
