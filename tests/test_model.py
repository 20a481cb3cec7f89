"""The detector: official numbers, LayerNorm tuning and its count, adapters, save and load."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from gendkit import backbones
from gendkit import model as gend

PARITY = Path(__file__).parent / "data" / "parity"
TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
N_LAYERNORM = 2 * 32 * (2 * 2 + 2)  # gain and bias, 2 layers of 2, first and last
N_HEAD = 2 * 32 + 2


@pytest.fixture(autouse=True)
def strict_warnings(recwarn):
    """A warning from transformers or PEFT is a mistake of ours."""
    yield
    assert not [str(w.message) for w in recwarn]


def tiny(seed: int = 0, **config) -> gend.GenDForImageClassification:
    torch.manual_seed(seed)
    spec = backbones.config_of("clip-l14")["spec"]
    spec.update(name="tiny", hub_id="", feature_dim=32, image_size=28)
    settings = gend.GenDConfig(backbone="tiny", encoder={"spec": spec, "model": TINY}, **config)
    return gend.GenDForImageClassification(settings).eval()


def pixels(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def logits(model, batch=None) -> torch.Tensor:
    with torch.no_grad():
        return model(pixels() if batch is None else batch).logits


def shake(model) -> None:
    """Move what is trainable, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    "name", ["gend_clip_linear", "gend_clip_linearnorm", "gend_dinov3_linearnorm"]
)
def test_logits_equal_the_official_ones(name):
    stored = json.loads((PARITY / name / "config.json").read_text())
    encoder = backbones.from_config(backbones.config_of(PARITY / stored["backbone"]))
    config = gend.GenDConfig(encoder=encoder.config, head=stored["head"])
    model = gend.GenDForImageClassification(config, encoder).eval()
    state = load_file(PARITY / name / "model.safetensors")
    prefixes = ("feature_extractor.backbone.", "feature_extractor.")
    vision, head = {}, {}
    for key, tensor in state.items():
        if key.startswith("model."):
            head[key.removeprefix("model.")] = tensor
        else:
            prefix = next(p for p in prefixes if key.startswith(p))
            vision[key.removeprefix(prefix)] = tensor
    backbones.load_vision_state(encoder.vision, vision)
    model.head.load_state_dict(head)
    expected = np.load(PARITY / name / "expected.npz")
    with torch.no_grad():
        output = model(torch.from_numpy(expected["pixel_values"]))
    np.testing.assert_allclose(output.features, expected["features"], atol=1e-5)
    np.testing.assert_allclose(output.logits, expected["logits"], atol=1e-5)
    np.testing.assert_allclose(output.logits.softmax(-1), expected["probs"], atol=1e-5)


def test_clip_l14_trains_104450_parameters():
    """As the official code counts: 102,400 LayerNorm + 2,050 head; the unused projection (786,432) left out."""
    with torch.device("meta"):
        config = gend.GenDConfig(backbone="clip-l14")
        model = gend.tune_layernorm(gend.GenDForImageClassification(config))
    trainable, total = gend.count_trainable(model)
    assert gend.count_layernorm(model) == 102_400
    assert trainable == 102_400 + 2_050 == 104_450
    assert total == 303_968_258 - 786_432
    assert gend.count_layernorm(model) == trainable - sum(
        p.numel() for p in gend.active_head(model).parameters()
    )


def test_dinov3_l_trains_102402_parameters():
    with torch.device("meta"):
        config = gend.GenDConfig(backbone="dinov3-l")
        model = gend.tune_layernorm(gend.GenDForImageClassification(config))
    assert gend.count_trainable(model) == (102_402, 303_131_650)
    assert gend.count_layernorm(model) == 100_352


def test_two_routes_count_the_same_and_only_those_move():
    model = gend.tune_layernorm(tiny())
    assert gend.count_layernorm(model) == N_LAYERNORM
    assert gend.count_trainable(model)[0] == N_LAYERNORM + N_HEAD
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model(pixels(), labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    optimizer.step()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all("ln_tuning_layers" in k or "modules_to_save" in k for k in moved)
    assert sum(before[k].numel() for k in moved) > N_LAYERNORM  # nearly all of them, and the head


def test_count_of_a_plain_model():
    model = tiny()
    n = sum(p.numel() for p in model.parameters())
    assert gend.count_trainable(model) == (n, n)
    assert gend.count_layernorm(model) == N_LAYERNORM


def test_tune_layernorm_refuses():
    model = tiny()
    model.config.encoder["spec"]["layernorm_targets"] = r".*layer_norm1"
    with pytest.raises(ValueError, match="layernorm_targets"):
        gend.tune_layernorm(model)
    with pytest.raises(ValueError, match="already has an adapter"):
        gend.tune_layernorm(gend.tune_layernorm(tiny()))


@pytest.mark.parametrize("head", gend.HEADS)
def test_head_and_outputs(head):
    model = tiny(head=head, feature_scale=7.0)
    output = model(pixels())
    assert output.logits.shape == (4, 2) and output.features.shape == (4, 32)
    assert output.loss is None
    torch.testing.assert_close(output.embeddings.norm(dim=-1), torch.ones(4))
    unit = output.features / output.features.norm(dim=-1, keepdim=True)
    seen = 7.0 * unit if head == "LinearNorm" else output.features
    linear = model.head.linear
    torch.testing.assert_close(output.logits, seen @ linear.weight.T + linear.bias)
    loss, *rest = model(pixels(), labels=torch.tensor([0, 1, 1, 0]), return_dict=False)
    assert loss.ndim == 0 and len(rest) == 3


def test_loss_is_the_weighted_sum_of_its_parts():
    labels = torch.tensor([0, 1, 1, 0])
    plain = tiny(alignment=0.0, uniformity=0.0)
    output = plain(pixels(), labels=labels)
    ce = functional.cross_entropy(output.logits, labels)
    torch.testing.assert_close(output.loss, ce)
    z, n = output.embeddings, 4
    d = {(i, j): ((z[i] - z[j]) ** 2).sum() for i in range(n) for j in range(i + 1, n)}
    align = torch.stack([v for (i, j), v in d.items() if labels[i] == labels[j]]).mean()
    uniform = torch.stack([(-2 * v).exp() for v in d.values()]).mean().log()
    full = tiny(alignment=0.3, uniformity=0.7)(pixels(), labels=labels)
    torch.testing.assert_close(full.loss, ce + 0.3 * align + 0.7 * uniform)


@pytest.mark.parametrize("head", gend.HEADS)
def test_save_and_load_gives_the_same_logits(tmp_path, head):
    model = tiny(head=head, feature_scale=3.0, alignment=0.25)
    model.save_pretrained(tmp_path)
    again = gend.GenDForImageClassification.from_pretrained(tmp_path)
    assert not again.training
    assert torch.equal(logits(again), logits(model))
    assert again.config.encoder == model.config.encoder
    assert (again.config.alignment, again.config.feature_scale) == (0.25, 3.0)
    assert again.config.id2label == {0: "real", 1: "fake"}
    torch.manual_seed(99)  # nothing is drawn at load
    auto = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(auto), logits(model))
    assert AutoConfig.from_pretrained(tmp_path).model_type == "gend"


def test_build_keeps_the_loaded_encoder(tmp_path):
    source = tiny()
    folder = tmp_path / "encoder"
    source.encoder.vision.save_pretrained(folder)
    built = gend.build(folder, head="linear")
    for key, value in built.encoder.state_dict().items():
        assert torch.equal(value, source.encoder.state_dict()[key]), key
    assert built.config.head == "linear" and not built.training
    with pytest.raises(ValueError, match="LinearNorm, linear"):
        gend.build(folder, head="mlp")
    with pytest.raises(ValueError, match="feature_scale"):
        gend.build(folder, feature_scale=0)


def test_adapter_reloads_to_identical_scores(tmp_path):
    model = gend.tune_layernorm(tiny())
    plain = logits(model.eval())
    shake(model)
    tuned = logits(model)
    assert not torch.allclose(tuned, plain, atol=1e-3)
    folder = gend.save_adapter(model, tmp_path / "adapter")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < 4 * (N_LAYERNORM + N_HEAD) + 20_000
    gend.save_adapter(model, folder)  # a second time replaces it
    again = gend.load_adapter(folder, base=tiny())
    assert torch.equal(logits(again), tuned)
    assert gend.count_trainable(again)[0] == 0
    onward = gend.load_adapter(folder, base=tiny(), trainable=True)
    assert gend.count_trainable(onward)[0] == N_LAYERNORM + N_HEAD


def test_adapter_finds_its_backbone_by_name(tmp_path):
    folder = tmp_path / "encoder"
    tiny().encoder.vision.save_pretrained(folder)
    model = gend.tune_layernorm(gend.build(folder, feature_scale=5.0))
    shake(model)
    saved = gend.save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(gend.load_adapter(saved)), logits(model.eval()))


def test_adapter_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_adapter"):
        gend.load_adapter(tmp_path)
    with pytest.raises(ValueError, match="tune_layernorm"):
        gend.save_adapter(tiny(), tmp_path / "a")
    saved = gend.save_adapter(gend.tune_layernorm(tiny()), tmp_path / "a")
    with pytest.raises(ValueError, match="other weights of 'tiny'"):
        gend.load_adapter(saved, base=tiny(seed=5))


def test_fingerprint_ignores_the_adapter():
    model = tiny()
    before = gend.encoder_fingerprint(model)
    tuned = gend.tune_layernorm(model)
    shake(tuned)
    assert gend.encoder_fingerprint(tuned) == before != gend.encoder_fingerprint(tiny(seed=5))


def test_merge_unwraps_everything(tmp_path):
    model = gend.tune_layernorm(tiny())
    shake(model)
    merged = gend.merge(model)
    assert type(merged) is gend.GenDForImageClassification
    assert set(merged.state_dict()) == set(tiny().state_dict())
    assert torch.equal(logits(merged), logits(model.eval()))
    assert isinstance(model, PeftModel) and gend.count_trainable(model)[0] == N_LAYERNORM + N_HEAD
    merged.save_pretrained(tmp_path)
    again = gend.GenDForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again), logits(model))
    with pytest.raises(ValueError, match="adapter"):
        gend.merge(tiny())


@pytest.mark.parametrize("head", gend.HEADS)
@pytest.mark.parametrize("adapt", [False, True])
def test_init_head_separates_separable_features(head, adapt):
    model = tiny(head=head, feature_scale=10.0)
    model = gend.tune_layernorm(model) if adapt else model
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 1, 1], 20)
    features = rng.normal(size=(80, 32)) + 6.0 * labels[:, None] * np.eye(32)[4]
    assert gend.init_head(model, features, labels) > 0.9
    with torch.no_grad():
        scores = gend.active_head(model)(torch.from_numpy(features).float()).softmax(-1)[:, 1]
    assert scores[labels == 1].mean() > 0.8 > 0.3 > scores[labels == 0].mean()


def test_init_head_refuses():
    with pytest.raises(ValueError, match="both classes"):
        gend.init_head(tiny(), np.ones((3, 32)), [1, 1, 1])
    with pytest.raises(ValueError, match="as many"):
        gend.init_head(tiny(), np.ones((3, 32)), [1, 0])


def test_processor_saves_and_loads(tmp_path):
    spec = tiny().encoder.spec
    processor = gend.GenDImageProcessor.from_spec(spec, crop_scale=1.5)
    processor.save_pretrained(tmp_path)
    tiny().save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for again in (
        gend.GenDImageProcessor.from_pretrained(tmp_path),
        AutoImageProcessor.from_pretrained(tmp_path),
    ):
        assert (again.crop_scale, again.image_size) == (1.5, 28)
        got = again([image, image])["pixel_values"]
        assert torch.equal(got[0], backbones.preprocess(spec)(image)[0]) and got.shape[0] == 2
