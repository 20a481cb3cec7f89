"""Attention weights and rollout against matrix products by hand."""

import numpy as np
import pytest
import torch
from tiny import tiny_model

from gendkit import attention


def pixels(n=3):
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def test_weights_are_those_of_the_first_layer():
    encoder = tiny_model(tune="").encoder.eval()
    before, kind = encoder(pixels()), encoder.vision.config._attn_implementation
    weights = attention.attentions(encoder, pixels())
    assert weights.shape == (1, 3, 2, 5, 5) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert encoder.vision.config._attn_implementation == kind
    torch.testing.assert_close(encoder(pixels()), before)
    vision = encoder.vision
    with torch.inference_mode():
        tokens = vision.pre_layrnorm(vision.embeddings(pixels()))
        block = vision.encoder.layers[0]
        x = block.layer_norm1(tokens)
        q, k = (
            getattr(block.self_attn, name)(x).reshape(3, 5, 2, 8).transpose(1, 2)
            for name in ("q_proj", "k_proj")
        )
        expected = torch.softmax(q @ k.transpose(2, 3) / 8**0.5, dim=-1)
    np.testing.assert_allclose(weights[0], expected.numpy(), atol=1e-5)


def test_rollout_against_a_product_of_matrices():
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=(3, 2, 4, 5, 5))
    weights /= weights.sum(-1, keepdims=True)
    flow = attention.rollout(weights, residual=0.3)
    for b in range(2):
        product = np.eye(5)
        for layer in weights[:, b].mean(axis=1):
            product = (0.3 * np.eye(5) + 0.7 * layer) @ product
        np.testing.assert_allclose(flow[b], product[0])
    np.testing.assert_allclose(flow.sum(1), 1)


def test_maps_keep_the_order_of_patches():
    values = np.array([[9.0, 1, 2, 3, 4]])
    maps = attention.patch_map(values, 2)
    np.testing.assert_allclose(maps[0], np.array([[1, 2], [3, 4]]) / 10)
    wide = attention.to_pixels(maps, 6)
    assert wide.shape == (1, 6, 6)
    np.testing.assert_allclose(wide[0, ::3, ::3], maps[0])


def test_bad_input():
    with pytest.raises(ValueError, match=r"\(L, B, H, T, T\)"):
        attention.rollout(np.ones((2, 5, 5)))
    with pytest.raises(ValueError, match="class token first"):
        attention.patch_map(np.ones((1, 4)), 2)
