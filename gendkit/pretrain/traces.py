"""Generic local processing: what picture editors and codecs do to a part of a picture.

An ellipse, polygon or blob anywhere goes through the steps of `STEPS`, each with its chance: softened (or
sampled anew, shifted, cleaned of noise), sharpened, made noisy, coded, toned; the result is mixed into the
picture with a hard or soft edge. Nothing is taken from another picture; one shift is at most a pixel along
each axis; no region knows where the face is. Pictures come as twins: two versions of one picture that differ
in their processed regions only, so that what tells them apart is a trace and nothing else.

No operation is one of the benchmark's eleven manipulations, but two of them have kin here. A region that is
toned, softened and shifted and then mixed back is a self-blend (SBI) without the face's outline and with
less movement; a region that is sampled down and up again is what SuperRes does with a network and then
hides by matching detail and grain. The encoder meets neither, but it is taught to look for their kind.

Source: traces of many generic manipulations as a pretext, in the spirit of ManTra-Net (Wu et al.,
CVPR 2019); regions, operations and their strengths are our own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("coverage", "soft", "noise", "code", "red", "green", "blue")
CAST = 10.0  # grey levels that count as one unit of a colour shift
Operation = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, dict[str, float]]]


def region(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw where a picture is processed.

    Args:
        rng: Random source.
        size: Side of the picture in pixels.

    Returns:
        (size, size) float32 in [0, 1] up to rounding: one or two ellipses or polygons, or blobs, with a
        hard or soft edge. Nine of ten cover 3 to 45 % of the picture; very few cover next to nothing.
    """
    kind = rng.random()
    mask = np.zeros((size, size), np.float32)
    if kind < 0.3:
        field = rng.normal(size=(int(rng.integers(2, 6)),) * 2).astype(np.float32)
        field = cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
        mask[field > np.quantile(field, rng.uniform(0.5, 0.93))] = 1
    else:
        for _ in range(int(rng.integers(1, 3))):
            centre = rng.uniform(0.15, 0.85, 2) * size
            radii = rng.uniform(0.12, 0.36, 2) * size
            n = 48 if kind < 0.65 else int(rng.integers(3, 10))
            angles = (
                np.sort(rng.uniform(0, 2 * np.pi, n)) if n < 48 else np.linspace(0, 2 * np.pi, n)
            )
            turn = np.exp(1j * rng.uniform(0, np.pi))
            points = (np.cos(angles) * radii[0] + 1j * np.sin(angles) * radii[1]) * turn
            corners = np.stack([points.real, points.imag], -1) + centre
            cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1.0)
    sigma = float(np.exp(rng.uniform(np.log(0.5), np.log(20.0))))
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def _soften(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    sigma = rng.uniform(0.3, 1.5)
    return cv2.GaussianBlur(x, (0, 0), sigma), {"soft": sigma}


def _resample(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    side, scale = x.shape[0], rng.uniform(0.4, 0.95)
    small = cv2.resize(x, (round(side * scale),) * 2, interpolation=cv2.INTER_AREA)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))]
    return cv2.resize(small, (side, side), interpolation=how), {"soft": 0.6 / scale}


def _shift(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    dx, dy = rng.uniform(-1, 1, 2)
    matrix = np.array([[1, 0, dx], [0, 1, dy]])
    moved = cv2.warpAffine(x, matrix, x.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return moved, {"soft": abs(dx * (1 - abs(dx))) + abs(dy * (1 - abs(dy)))}


def _clean(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    y = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        return cv2.medianBlur(y, 3).astype(np.float32), {"soft": 0.8}
    strength = rng.uniform(10, 40)
    return cv2.bilateralFilter(y, 5, strength, 2.0).astype(np.float32), {"soft": strength / 40}


def _sharpen(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    amount = rng.uniform(0.3, 1.3)
    return x + amount * (x - cv2.GaussianBlur(x, (0, 0), 1.0)), {"soft": -0.7 * amount}


def _noise(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    amount = float(np.exp(rng.uniform(np.log(1.0), np.log(7.0))))
    grain = rng.standard_normal(x.shape, dtype=np.float32)
    if rng.random() < 0.5:
        grain[:] = grain[..., :1]
    if rng.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.8)
        grain /= grain.std()
    return x + amount * grain, {"noise": amount / 4}


def _code(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    quality = int(rng.integers(25, 85))
    y = np.clip(x, 0, 255).astype(np.uint8)
    blue_first = np.ascontiguousarray(y[..., ::-1])
    coded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32), {
        "code": (100 - quality) / 50
    }


def _tone(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    shift = (rng.normal(0, 8) + rng.normal(0, 6, 3)).astype(np.float32)
    gain = np.float32(np.exp(rng.normal(0, 0.12)))
    out = (x - 128) * gain + 128 + shift
    return out, dict(zip(("red", "green", "blue"), shift / CAST, strict=True))


# What is done to a region, in this order, each step with its chance; of several operations one is drawn.
STEPS: tuple[tuple[float, tuple[Operation, ...]], ...] = (
    (0.85, (_soften, _resample, _resample, _shift, _clean)),
    (0.15, (_sharpen,)),
    (0.4, (_noise,)),
    (0.1, (_code,)),
    (0.6, (_tone,)),
)


@dataclass
class Processed:
    """A processed picture and where what was done.

    Args:
        image: (H, H, 3) uint8 RGB.
        maps: (H, H, 7) float32 in the order of `KINDS`: coverage in [0, 1]; how soft (a region: -0.91 to
            1.5, negative: sharpened), noisy (0 to 1.75) and coded (0 to 1.5); shifts of red, green and blue
            in units of `CAST` (about -2.5 to 2.5). All are zero outside the regions and fade with their
            edge. Where two overlap, levels add up and coverages a, b give 1 - (1 - a)(1 - b).
    """

    image: np.ndarray
    maps: np.ndarray


def process(image: np.ndarray, rng: np.random.Generator) -> tuple[Processed, Processed]:
    """Make twins of a picture that differ in what was done to regions of them.

    Three times in ten the whole picture is processed first, both twins alike. Then one or two regions of
    the first twin are; every second time one or two of the second twin are, too, elsewhere and otherwise.

    Args:
        image: (H, H, 3) uint8 RGB.
        rng: Random source.

    Returns:
        The twins, equal wherever the coverage of both is zero. What is done to the whole picture is no
        trace: its coverage is zero.
    """
    x = image.astype(np.float32)
    if rng.random() < 0.3:
        x, _ = _edit(x, rng)
    first = _regions(x, int(rng.integers(1, 3)), rng)
    second = _regions(x, int(rng.choice(3, p=(0.5, 0.35, 0.15))), rng)
    return first, second


def _regions(x: np.ndarray, count: int, rng: np.random.Generator) -> Processed:
    """Process `count` regions of a picture (H, H, 3) float32, one after the other."""
    maps = np.zeros((*x.shape[:2], len(KINDS)), np.float32)
    for _ in range(count):
        mask = region(rng, x.shape[0]) * np.float32(rng.uniform(0.7, 1.0))
        changed, levels = _edit(x, rng)
        x = x + mask[..., None] * (changed - x)
        maps[..., 0] = 1 - (1 - maps[..., 0]) * (1 - mask)
        maps[..., 1:] += mask[..., None] * np.array(list(levels.values()), np.float32)
    return Processed(np.clip(x + 0.5, 0, 255).astype(np.uint8), maps)


def _edit(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Go through `STEPS` until at least one was taken.

    Returns:
        The picture, float32 and not clipped, and the level of each kind but coverage, in the order of
        `KINDS`; levels of several steps add up.
    """
    levels, taken = dict.fromkeys(KINDS[1:], 0.0), 0
    while not taken:
        for chance, operations in STEPS:
            if rng.random() < chance:
                x, done = operations[int(rng.integers(len(operations)))](x, rng)
                levels = {name: value + done.get(name, 0.0) for name, value in levels.items()}
                taken += 1
    return x, levels
