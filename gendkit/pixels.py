"""Images to tensors: the resizing, cropping and normalising that an encoder was trained with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from gendkit.specs import BackboneSpec

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def preprocess(spec: BackboneSpec) -> Callable[[Any], torch.Tensor]:
    """Make the function that turns images into what an encoder must see.

    Args:
        spec: Facts about the encoder.

    Returns:
        Function of one image or a list of images ((H, W, 3) uint8 RGB arrays or PIL images) that
        returns (B, 3, S, S) float32, normalised. Resizing is Pillow's, with antialiasing.

    Raises:
        ValueError: (from the function) on an empty list or an array of another shape or type.

    Source: same steps and numbers as the official CLIP image processor: resize, centre crop,
    rescale, normalise.
    """
    mean = np.asarray(spec.mean, np.float32)
    std = np.asarray(spec.std, np.float32)
    size, resample = spec.image_size, _RESAMPLE[spec.resample]

    def run(images: Any) -> torch.Tensor:
        single = isinstance(images, Image.Image) or (
            isinstance(images, np.ndarray) and images.ndim == 3
        )
        batch: Sequence[Any] = [images] if single else list(images)
        if not batch:
            raise ValueError("Got an empty list of images; give at least one.")
        out = np.empty((len(batch), size, size, 3), np.float32)
        for i, image in enumerate(batch):
            resized = _resize(_to_pil(image), size, spec.resize, resample)
            out[i] = (np.asarray(resized, np.float32) * np.float32(1 / 255) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(out.transpose(0, 3, 1, 2)))

    return run


def _to_pil(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"An image must be (H, W, 3) uint8 RGB or a PIL image, got shape {array.shape} and "
            f"type {array.dtype}. Convert values in [0, 1] with np.uint8(np.clip(x * 255, 0, 255))."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _resize(image: Image.Image, size: int, how: str, resample: Image.Resampling) -> Image.Image:
    width, height = image.size
    if how == "exact":
        return image if (width, height) == (size, size) else image.resize((size, size), resample)
    short = min(width, height)
    if short != size:
        width, height = (math.floor(size * edge / short) for edge in (width, height))
        image = image.resize((width, height), resample)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
