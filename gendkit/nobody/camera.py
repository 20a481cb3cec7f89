"""A simulated camera: what a sensor and its processing do to clean frames.

A clip is filmed before it is forged, as footage that falls into a forger's hands has been: what a
forgery resamples is light with its noise. The donor has a camera of its own.

Steps: lens blur and vignette, exposure and white balance, Bayer sampling, shot and read noise,
demosaicing, a slight loss of resolution, sharpening, gamma.

Source: the usual sensor model (shot noise of variance proportional to signal, plus constant read
noise; bilinear demosaicing); the choice of parameters is our own.
"""

from dataclasses import asdict, dataclass

import numpy as np

GAMMA = 2.2


@dataclass(frozen=True)
class Camera:
    """Parameters of one camera and its settings, drawn once per clip.

    Attributes:
        blur: sigma of the lens blur, pixels. vignette: loss of light in the corners, share.
        exposure: gain. red, blue: white balance gains against green.
        shot, read: noise, as standard deviations in linear light at full signal and in the dark.
        scale: resolution kept, at most 1. sharpen: strength of the sharpening.
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

    def facts(self) -> dict[str, float]:
        """The parameters as a dictionary."""
        return asdict(self)


def draw(rng: np.random.Generator) -> Camera:
    """Draw a camera."""
    return Camera(
        blur=float(rng.uniform(0.2, 0.5)),
        vignette=float(rng.uniform(0.0, 0.25)),
        exposure=float(np.exp(rng.normal(0, 0.10))),
        red=float(np.exp(rng.normal(0, 0.05))),
        blue=float(np.exp(rng.normal(0, 0.06))),
        shot=float(rng.uniform(0.016, 0.048)),
        read=float(rng.uniform(0.0016, 0.006)),
        scale=float(rng.uniform(0.88, 1.0)),
        sharpen=float(rng.uniform(0.0, 0.45)),
    )


def film(frames: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Film clean frames.

    Args:
        frames: (T, H, W, 3) uint8 RGB, H and W even.
        camera: parameters.
        rng: of the noise only.

    Returns:
        (T, H, W, 3) uint8 RGB of equal size; points keep their place.

    Raises:
        ValueError: frames are not uint8 (T, H, W, 3) with even height and width.
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
    return np.stack([_film_one(frame, camera, rng) for frame in frames])


def _film_one(frame: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    h, w, _ = frame.shape
    light = (np.arange(256, dtype=np.float32) / np.float32(255)) ** np.float32(GAMMA)
    x = light[frame]
    x = gaussian_filter(x, (camera.blur, camera.blur, 0), mode="nearest", truncate=3)
    yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    x *= (camera.exposure * (1 - camera.vignette * (xx**2 + yy**2) / 2))[..., None].astype(
        np.float32
    )
    x *= np.array([camera.red, 1.0, camera.blue], np.float32)
    raw = np.empty((h, w), np.float32)  # Bayer pattern RGGB
    raw[0::2, 0::2], raw[0::2, 1::2] = x[0::2, 0::2, 0], x[0::2, 1::2, 1]
    raw[1::2, 0::2], raw[1::2, 1::2] = x[1::2, 0::2, 1], x[1::2, 1::2, 2]
    sigma = np.sqrt(camera.shot**2 * np.maximum(raw, 0) + camera.read**2)
    raw += sigma * rng.standard_normal(raw.shape, dtype=np.float32)
    x = _demosaic(np.clip(raw, 0, 1))
    if camera.scale < 1:
        small_h, small_w = round(h * camera.scale), round(w * camera.scale)
        x = _resize(_resize(x, small_h, small_w), h, w)
    if camera.sharpen > 0:
        x = x + camera.sharpen * (x - gaussian_filter(x, (1.0, 1.0, 0), mode="nearest", truncate=3))
    return np.round(np.clip(x, 0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)


def _demosaic(raw: np.ndarray) -> np.ndarray:
    from scipy.ndimage import convolve

    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
    planes = np.zeros((*raw.shape, 3), np.float32)
    planes[0::2, 0::2, 0], planes[1::2, 1::2, 2] = raw[0::2, 0::2], raw[1::2, 1::2]
    planes[0::2, 1::2, 1], planes[1::2, 0::2, 1] = raw[0::2, 1::2], raw[1::2, 0::2]
    return np.stack(
        [convolve(planes[..., c], square if c != 1 else cross, mode="mirror") for c in range(3)], -1
    )


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres aligned by area, so that nothing shifts."""
    for axis, n in ((0, height), (1, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(n) + 0.5) * old / n - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), old - 2)
        t = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = np.take(image, low, axis) * (1 - t) + np.take(image, low + 1, axis) * t
    return image
