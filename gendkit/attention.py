"""Where a vision transformer looks: attention of the class token, and rollout through the layers.

An attention map says from where a layer copies, not what decides the score. Hold every map against the test
of `explain.deletion` before you believe it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from gendkit.backbones import Encoder


@contextmanager
def _plain_attention(encoder: Encoder) -> Iterator[None]:
    """Switch to the implementation that keeps its weights; fused kernels never form them."""
    config = encoder.vision.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def attentions(encoder: Encoder, pixel_values: torch.Tensor) -> np.ndarray:
    """Return the attention weights of every layer and head.

    Args:
        encoder: CLIP or DINOv3 encoder.
        pixel_values: (B, 3, S, S) float, normalised.

    Returns:
        (L, B, H, T, T) float32: row = the token that reads, column = the token that is read; each row sums to
        1. Token 0 is the class token, then registers if any, then patches row by row.

    Raises:
        ValueError: For the family "pe", whose implementation gives no weights.
    """
    if encoder.spec.family == "pe":
        raise ValueError(
            "Perception Encoder runs through timm, which keeps no attention weights; use a CLIP or DINOv3 encoder"
        )
    with _plain_attention(encoder), torch.inference_mode():
        output = encoder.vision(pixel_values=pixel_values, output_attentions=True)
    return torch.stack(output.attentions).float().cpu().numpy()


def rollout(weights: np.ndarray, residual: float = 0.5) -> np.ndarray:
    """Follow attention from the last layer's class token to the patches of the image.

    Args:
        weights: (L, B, H, T, T), as `attentions` gives.
        residual: Share that a token keeps of itself in each layer, in [0, 1): the skip connection.

    Returns:
        (B, T) float64: how much of each first-layer token reaches the class token; rows sum to 1.

    Raises:
        ValueError: If the shape or the share is wrong.

    Source: attention rollout, Abnar and Zuidema 2020 (arXiv 2005.00928); heads are averaged.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 5 or weights.shape[-1] != weights.shape[-2] or not 0 <= residual < 1:
        raise ValueError(
            f"got weights {weights.shape} and residual={residual}, expected (L, B, H, T, T) and a share in [0, 1)"
        )
    flow = np.zeros((weights.shape[1], weights.shape[-1]))
    flow[:, 0] = 1
    for layer in weights[::-1].mean(axis=2):
        flow = residual * flow + (1 - residual) * np.einsum("bt,bts->bs", flow, layer)
    return flow


def patch_map(values: np.ndarray, n_side: int) -> np.ndarray:
    """Keep the patch tokens of (B, T) values, as (B, n_side, n_side) maps that sum to 1."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] <= n_side**2:
        raise ValueError(
            f"got values {values.shape}, expected (B, T) with T > {n_side**2} tokens, class token first"
        )
    maps = values[:, -(n_side**2) :].reshape(len(values), n_side, n_side)
    return maps / maps.sum(axis=(1, 2), keepdims=True)


def to_pixels(maps: np.ndarray, side: int) -> np.ndarray:
    """Spread (B, n, n) patch values over (B, side, side) pixels, for `explain.deletion`.

    Args:
        maps: (B, n, n).
        side: Of the crop, pixels; at least n.

    Returns:
        (B, side, side), each pixel with the value of its patch.
    """
    place = np.arange(side) * maps.shape[-1] // side
    return np.asarray(maps)[:, place][:, :, place]
