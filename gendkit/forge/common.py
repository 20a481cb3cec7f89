"""What every forgery shares: the results, the checks of what comes in, the blend into the target."""

from dataclasses import dataclass, field

import numpy as np

from gendkit import warp

MAX_FOLD = 0.10


class ForgeError(ValueError):
    """A forgery cannot be made from these pictures and landmarks; the message says why and what to try."""


@dataclass(frozen=True)
class Forged:
    """A forged image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) float32 in [0, 1], the share of forged material; 0 = pixel untouched.
    """

    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class ForgedClip:
    """A forged clip.

    Attributes:
        images: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) float32 in [0, 1]; 0 = pixel untouched.
        settings: the numbers drawn for this clip.
    """

    images: np.ndarray
    masks: np.ndarray
    settings: dict[str, float] = field(default_factory=dict)


def first(clip: ForgedClip) -> Forged:
    """Take the first frame of a forged clip."""
    return Forged(clip.images[0], clip.masks[0])


def check(
    images: np.ndarray, landmarks: np.ndarray, strength: float, who: str
) -> tuple[np.ndarray, np.ndarray]:
    """Check images and landmarks of a clip.

    Args:
        images: (T, H, W, 3) uint8 RGB.
        landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        strength: number in [0, 1].
        who: what to call the clip in messages, such as "target".

    Returns:
        images and landmarks (float64).

    Raises:
        ForgeError: wrong shapes, a face too small, or outside the picture.
    """
    images, points = np.asarray(images), check_points(landmarks, who)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ForgeError(
            f"{who} is {images.dtype} {images.shape}; expected uint8 (T, H, W, 3) RGB. "
            "For one image use the function without _clip."
        )
    if len(images) != len(points):
        raise ForgeError(
            f"{who} has {len(images)} images and {len(points)} landmark sets; give one per image."
        )
    if not 0 <= strength <= 1:
        raise ForgeError(f"strength is {strength}; expected a number in [0, 1].")
    height, width = images.shape[1:3]
    for t, p in enumerate(points):
        if warp.face_width(p) < 24:
            raise ForgeError(
                f"the {who} face in frame {t} is {warp.face_width(p):.0f} pixels wide; at least 24 are needed. "
                "Use a larger picture or check the order of the landmarks."
            )
        centre = p.mean(0)
        if not (0 <= centre[0] < width and 0 <= centre[1] < height):
            raise ForgeError(
                f"the {who} face in frame {t} has its centre at {centre.round(1)}, outside the "
                f"{width}x{height} image; landmarks are (x, y) in pixels of this image."
            )
    return images, points


def check_points(landmarks: np.ndarray, who: str) -> np.ndarray:
    """Check landmarks (T, 68, 2) and give them as float64; `ForgeError` says what is wrong with `who`."""
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2) or len(points) == 0:
        raise ForgeError(
            f"{who} landmarks are {points.shape}; expected (T, 68, 2): 68 points (x, y) in iBUG order."
        )
    if not np.isfinite(points).all():
        raise ForgeError(f"{who} landmarks hold NaN or infinity; drop frames without a face first.")
    return points


def cut(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut a box (x0, y0, x1, y1) out of an image (H, W, 3): float32 (h, w, 3)."""
    return image[box[1] : box[3], box[0] : box[2]].astype(np.float32)


def compose(
    target: np.ndarray,
    pasted: list[np.ndarray],
    masks: list[np.ndarray],
    boxes: list[tuple[int, int, int, int]],
    strength: float,
    settings: dict[str, float],
) -> ForgedClip:
    """Blend what was made into the target; where the mask is 0 the target stays, bit for bit.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        pasted: T images (h, w, 3) of the boxes, in [0, 255].
        masks: T masks (h, w) in [0, 1].
        boxes: T boxes (x0, y0, x1, y1) in the target's pixels.
        strength: factor on the masks in [0, 1].
        settings: numbers drawn for this clip.

    Returns:
        The forged clip.
    """
    images, full = target.copy(), np.zeros(target.shape[:3], np.float32)
    for t, (x0, y0, x1, y1) in enumerate(boxes):
        alpha = (masks[t] * strength).astype(np.float32)
        alpha[alpha < 1 / 255] = 0
        before = target[t, y0:y1, x0:x1]
        mixed = before + alpha[..., None] * (pasted[t] - before)
        mixed = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
        images[t, y0:y1, x0:x1] = np.where(alpha[..., None] > 0, mixed, before)
        full[t, y0:y1, x0:x1] = alpha
    return ForgedClip(images, full, {k: float(v) for k, v in settings.items()})
