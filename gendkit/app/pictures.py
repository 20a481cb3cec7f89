"""Pictures for the page: frames with boxes and scores, crops; all inside the page, no files."""

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gendkit.plots import FAKE, REAL, data_uri

FRAME_SIDE = 480
CROP_SIDE = 128
_UNJUDGED = "#777777"


def shrink(image: np.ndarray, side: int = FRAME_SIDE) -> np.ndarray:
    """Scale an image down so that its longer side has at most `side` pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: Pixels.

    Returns:
        (h, w, 3) uint8 RGB; the same array where it is small enough.
    """
    if max(image.shape[:2]) <= side:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def color(p_fake: float, threshold: float | None) -> str:
    """Give the colour of a score: that of fakes, of reals, or grey where no threshold is known."""
    if threshold is None:
        return _UNJUDGED
    return FAKE if p_fake >= threshold else REAL


def annotate(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    threshold: float | None,
) -> np.ndarray:
    """Draw boxes with their scores into a frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: x0, y0, x1, y1 in pixels of `image`; they may cross its border.
        scores: P(fake) of each box.
        threshold: Colours differ from this score on; None: grey.

    Returns:
        A new image of the same shape.
    """
    picture = Image.fromarray(image).copy()
    draw = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 200))
    font = ImageFont.load_default(size=max(13, round(max(picture.size) / 18)))
    for box, score in zip(boxes, scores, strict=True):
        x0, y0 = (float(np.clip(v, 0, s - 1)) for v, s in zip(box[:2], picture.size, strict=True))
        x1, y1 = (float(np.clip(v, 0, s - 1)) for v, s in zip(box[2:], picture.size, strict=True))
        shade, text = color(score, threshold), f"{score:.2f}"
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=shade, width=width)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        y = max(0.0, y0 - (bottom - top) - 6)
        draw.rectangle((x0, y, x0 + right - left + 8, y + bottom - top + 6), fill=shade)
        draw.text((x0 + 4 - left, y + 3 - top), text, fill="#FFFFFF", font=font)
    return np.asarray(picture)


def figure(image: np.ndarray, alt: str, caption: str, side: int = FRAME_SIDE) -> str:
    """Give an image as a piece of a page, with alternative text and caption.

    Args:
        image: (H, W, 3) uint8 RGB.
        alt: What it shows, for readers who do not see it.
        caption: Line below.
        side: Longest side in pixels.

    Returns:
        HTML; both texts are escaped.
    """
    alt, caption = html.escape(alt, quote=True), html.escape(caption)
    return (
        f'<figure><img src="{data_uri(image, side)}" alt="{alt}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
