"""Encoders: preprocessing parity, rebuilding, key layouts, LayerNorm targets, clear errors."""

import builtins
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from gendkit import backbones

PARITY = Path(__file__).parent / "data" / "parity"
TINY = {
    "clip": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "dinov3": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_register_tokens": 2,
        "image_size": 32,
        "patch_size": 16,
    },
}


def need_timm() -> None:
    """Skip where timm is missing: it needs a torchvision, which CPU builds of torch come without."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip('timm is missing; install it with: pip install "gendkit[pe]"')


def tiny(family: str = "clip") -> backbones.Encoder:
    torch.manual_seed(0)
    name = "clip-l14" if family == "clip" else "dinov3-l"
    spec = backbones.config_of(name)["spec"]
    spec.update(feature_dim=32, image_size=TINY[family]["image_size"])
    return backbones.from_config({"spec": spec, "model": TINY[family]}).eval()


def test_preprocessing_equals_the_official_one():
    spec = backbones.from_config(backbones.config_of(PARITY / "tiny-clip")).spec
    expected = np.load(PARITY / "gend_clip_linear" / "expected.npz")["pixel_values"]
    image = Image.open(PARITY / "input.png")
    got = backbones.preprocess(spec)([image, np.asarray(image.convert("RGB"))])
    assert got.shape == (2, 3, 56, 56) and got.dtype == torch.float32
    np.testing.assert_allclose(got[0], expected[0], atol=1e-4)
    np.testing.assert_array_equal(got[0], got[1])  # PIL and array are the same image


def test_dinov3_resizes_both_edges():
    spec = backbones.from_config(backbones.config_of(PARITY / "tiny-dinov3")).spec
    assert (spec.resize, spec.resample, spec.image_size) == ("exact", "bilinear", 56)
    expected = np.load(PARITY / "gend_dinov3_linearnorm" / "expected.npz")["pixel_values"]
    got = backbones.preprocess(spec)(Image.open(PARITY / "input.png"))
    np.testing.assert_allclose(
        got[0], expected[0], atol=0.03
    )  # official: torch's resize, not Pillow's


def test_preprocess_refuses_what_is_not_an_image():
    run = backbones.preprocess(tiny().spec)
    with pytest.raises(ValueError, match="at least one"):
        run([])
    with pytest.raises(ValueError, match="uint8 RGB"):
        run(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        run([np.zeros((8, 8), np.uint8)])


def test_preprocess_of_one_colour_is_the_normalised_colour():
    spec = backbones.config_of("clip-b16")["spec"]
    colour = np.array([10, 200, 90], np.uint8)
    got = backbones.preprocess(backbones.BackboneSpec(**spec))(np.full((300, 260, 3), colour))
    wanted = (colour / 255 - np.array(spec["mean"])) / np.array(spec["std"])
    assert got.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(got[0].mean((1, 2)), wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["clip", "dinov3"])
def test_features_and_tokens(family):
    encoder = tiny(family)
    pixels = torch.randn(3, 3, encoder.spec.image_size, encoder.spec.image_size)
    with torch.no_grad():
        features, tokens = encoder(pixels), encoder.tokens(pixels)
    assert features.shape == (3, 32) and tokens.shape == (3, 4, 32)
    hidden = encoder.vision(pixel_values=pixels).last_hidden_state[:, 0]
    wanted = encoder.vision.post_layernorm(hidden) if family == "clip" else hidden
    torch.testing.assert_close(features, wanted.detach())


@pytest.mark.parametrize("family", ["clip", "dinov3"])
def test_config_rebuilds_the_same_network(family):
    encoder = tiny(family)
    again = backbones.from_config(json.loads(json.dumps(encoder.config)))
    again.load_state_dict(encoder.state_dict(), strict=True)
    pixels = torch.randn(2, 3, encoder.spec.image_size, encoder.spec.image_size)
    torch.testing.assert_close(again.eval()(pixels), encoder(pixels), rtol=0, atol=0)
    assert again.spec == encoder.spec


@pytest.mark.parametrize("family", ["clip", "dinov3"])
def test_rebuild_buffers_repairs_garbage(family):
    encoder = tiny(family)
    pixels = torch.randn(2, 3, encoder.spec.image_size, encoder.spec.image_size)
    wanted = encoder(pixels)
    for buffer in encoder.vision.buffers():
        buffer.zero_()
    assert not torch.allclose(encoder(pixels), wanted)
    encoder.rebuild_buffers()
    torch.testing.assert_close(encoder(pixels), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", [n for n in backbones.names()[1:] if not n.startswith("pe")])
def test_layernorm_targets_match_every_layernorm_and_nothing_else(name):
    with torch.device("meta"):
        encoder = backbones.from_config(backbones.config_of(name))
    walked = set(backbones.layernorm_modules(encoder))
    targets = encoder.spec.layernorm_targets
    assert walked == {n for n, _ in encoder.named_modules() if re.fullmatch(targets, n)}
    assert len(walked) == 2 * encoder.vision.config.num_hidden_layers + (2 if "clip" in name else 1)


def test_perception_encoder_targets():
    """Names of the LayerNorms in timm's model, and of the identities that are called norm there."""
    targets = backbones.REGISTRY["pe-l"][0].layernorm_targets
    wanted = ["norm_pre", "norm", "blocks.3.norm1", "blocks.23.norm2", "attn_pool.norm"]
    others = ["blocks.3.attn.q_norm", "attn_pool", "blocks.0.attn", "normal", "patch_embed.norm"]
    others += ["blocks.3.attn.norm", "blocks.3.mlp.norm", "attn_pool.mlp.norm", "fc_norm"]
    assert all(re.fullmatch(targets, f"encoder.vision.{n}") for n in wanted)
    assert not any(re.fullmatch(targets, f"encoder.vision.{n}") for n in others)


@pytest.mark.parametrize(
    ("name", "depth", "total", "layernorm"),
    [
        ("pe-b", 12, 92_886_528, 2 * 768 * 27),
        ("pe-l", 24, 316_102_656, 2 * 1024 * 51),
        ("pe-g", 50, 1_880_066_560, 2 * 1536 * 103),
    ],
)
def test_perception_encoders_in_timm(name, depth, total, layernorm):
    need_timm()
    with torch.device("meta"):
        encoder = backbones.from_config(backbones.config_of(name))
        features = encoder(torch.empty(2, 3, 224, 224))
    assert features.shape == (2, encoder.spec.feature_dim) == (2, encoder.vision.num_features)
    layers = backbones.layernorm_modules(encoder)
    targets = encoder.spec.layernorm_targets
    assert set(layers) == {n for n, _ in encoder.named_modules() if re.fullmatch(targets, n)}
    assert len(layers) == 2 * depth + 3
    assert sum(p.numel() for m in layers.values() for p in m.parameters()) == layernorm
    assert sum(p.numel() for p in encoder.parameters()) == total


def write_perception_encoder(folder: Path) -> nn.Module:
    """Write a small one in timm's layout."""
    import timm

    torch.manual_seed(0)
    source = timm.create_model("vit_pe_core_tiny_patch16_384", dynamic_img_size=True).eval()
    stored = {
        "architecture": "vit_pe_core_tiny_patch16_384",
        "num_features": source.num_features,
        "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.5, 0.5, 0.5]},
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(stored))
    save_file(source.state_dict(), folder / "model.safetensors")
    return source


def test_perception_encoder_from_a_folder(tmp_path):
    """timm's layout; the attention-pooled vector; 224 pixels on a network made for 384."""
    need_timm()
    source = write_perception_encoder(tmp_path)
    encoder = backbones.load(tmp_path)
    assert (encoder.spec.image_size, encoder.spec.mean) == (224, (0.4, 0.5, 0.6))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = source.forward_features(pixels)
        assert tokens.shape[1] == source.num_prefix_tokens + 14 * 14
        pooled = source.attn_pool(tokens)
        torch.testing.assert_close(encoder(pixels), pooled, rtol=0, atol=0)
        assert not torch.allclose(pooled, tokens[:, 0], atol=1e-2)  # not the class token
        patches = encoder.tokens(pixels)
        torch.testing.assert_close(patches, tokens[:, source.num_prefix_tokens :])
        for buffer in encoder.vision.buffers():
            buffer.zero_()
        assert not torch.equal(encoder(pixels), pooled)
        encoder.rebuild_buffers()
        torch.testing.assert_close(encoder(pixels), pooled, rtol=0, atol=0)
    weights = backbones._build_timm(encoder.config["model"], tmp_path / "model.safetensors")
    torch.testing.assert_close(weights.eval()(pixels), pooled, rtol=0, atol=0)


def test_timm_that_cannot_be_imported_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "gendkit\[pe\]"'):
        backbones.load("pe-b", pretrained=False)

    def misfit(name, *args):
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *args)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", misfit)
    with pytest.raises(ImportError, match="torchvision of that torch"):
        backbones.load("pe-b", pretrained=False)


@pytest.mark.parametrize(
    ("name", "short", "family", "dim"),
    [
        ("openai/clip-vit-base-patch16", "clip-b16", "clip", 768),
        ("openai/clip-vit-base-patch32", "clip-b32", "clip", 768),
        ("openai/clip-vit-large-patch14", "clip-l14", "clip", 1024),
        ("openai/clip-vit-large-patch14-336", "clip-l14-336", "clip", 1024),
        ("facebook/dinov3-vitb16-pretrain-lvd1689m", "dinov3-b", "dinov3", 768),
        ("facebook/dinov3-vitl16-pretrain-lvd1689m", "dinov3-l", "dinov3", 1024),
        ("vit_pe_core_base_patch16_224", "pe-b", "pe", 768),
        ("vit_pe_core_large_patch14_336", "pe-l", "pe", 1024),
        ("vit_pe_core_gigantic_patch14_448", "pe-g", "pe", 1536),
    ],
)
def test_the_official_names_of_all_nine_backbones(name, short, family, dim):
    assert backbones.canonical(name) == short and short in backbones.names()
    spec = backbones.config_of(name)["spec"]
    assert (spec["name"], spec["family"], spec["feature_dim"]) == (short, family, dim)
    assert backbones.canonical("some/folder") == "some/folder"


def write_folder(encoder: backbones.Encoder, folder: Path, prefix: str = "") -> Path:
    folder.mkdir()
    config = {**TINY["clip"], "model_type": "clip_vision_model"}
    (folder / "config.json").write_text(json.dumps(config))
    state = {f"{prefix}{k}": v.half().contiguous() for k, v in encoder.vision.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_local_folder_in_both_key_layouts(tmp_path, prefix):
    encoder = tiny()
    loaded = backbones.load(write_folder(encoder, tmp_path / "enc", prefix))
    assert loaded.spec.family == "clip" and loaded.spec.image_size == 28
    assert not loaded.training and next(loaded.parameters()).dtype == torch.float32
    for key, value in loaded.vision.state_dict().items():
        torch.testing.assert_close(value, encoder.vision.state_dict()[key].half().float())


def test_unfitting_weights_are_named(tmp_path):
    folder = write_folder(tiny(), tmp_path / "enc")
    state = load_file(folder / "model.safetensors")
    state.pop("pre_layrnorm.weight")
    state["surprise"] = torch.zeros(1)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"pre_layrnorm\.weight.*surprise.*config\.json"):
        backbones.load(folder)


def test_clear_errors(tmp_path):
    with pytest.raises(ValueError, match="Known names: embedded, clip-b16"):
        backbones.load("clip-xxl")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        backbones.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="bert"):
        backbones.load(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({**TINY["clip"], "model_type": "clip_vision_model"})
    )
    with pytest.raises(FileNotFoundError, match="pretrained=False"):
        backbones.load(tmp_path)
    with pytest.raises(ValueError, match="'spec' and 'model'"):
        backbones.from_config({"model": {}})


def test_hub_without_network_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="hf download openai/clip-vit-large-patch14"):
        backbones.load("clip-l14", cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(
        FileNotFoundError, match="accepted at https://huggingface.co/facebook/dinov3"
    ):
        backbones.load("dinov3-l", cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(
        FileNotFoundError, match=r"hf download timm/vit_pe_core_base_patch16_224\.fb"
    ):
        backbones.load("pe-b", cache_dir=tmp_path, local_files_only=True)


def test_embedded_encoder_is_small_and_trained():
    encoder = backbones.load("embedded")
    assert (
        isinstance(encoder.vision, nn.Module) and type(encoder.vision).__name__[:10] == "CLIPVision"
    )
    assert sum(p.numel() for p in encoder.parameters()) <= 6_000_000
    values = torch.cat([p.flatten() for p in encoder.parameters()])
    assert torch.isfinite(values).all()
    gains = torch.cat([m.weight for m in backbones.layernorm_modules(encoder).values()])
    assert gains.std() > 1e-3  # training moved them from 1
    features = encoder(backbones.preprocess(encoder.spec)(Image.open(PARITY / "input.png")))
    assert features.shape == (1, encoder.spec.feature_dim)
