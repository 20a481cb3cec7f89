"""Tuning: what each kind trains and counts, adapters saved, loaded, refused and merged."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_backbones import need_timm, write_perception_encoder
from test_model import (  # noqa: F401
    N_HEAD,
    N_LAYERNORM,
    logits,
    pixels,
    strict_warnings,
    tiny,
    tiny_dinov3,
    write_encoder,
)

from gendkit import adapters
from gendkit import model as gend

WIDTH, LAYERS = 32, 2  # of `tiny`
ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
# how -> (options, parameters in training by hand)
N_BIAS = LAYERS * (4 * WIDTH + 48 + WIDTH + 2 * WIDTH) + 2 * WIDTH
N_FULL = (
    LAYERS * (4 * (WIDTH * WIDTH + WIDTH) + 2 * WIDTH * 48 + 48 + WIDTH + 4 * WIDTH)
    + 4 * WIDTH  # first and last LayerNorm
    + WIDTH  # class token
    + 14 * 14 * 3 * WIDTH  # patches
    + 5 * WIDTH  # positions
)
KINDS = {
    "layernorm": ({}, N_LAYERNORM),
    "lora": ({}, LAYERS * 2 * WIDTH),
    "lora r4": ({"target_modules": "attention", "rank": 4}, LAYERS * 4 * 4 * 2 * WIDTH),
    "lora names": ({"target_modules": ["fc1"], "rank": 2}, LAYERS * 2 * (WIDTH + 48)),
    "lora biases": ({"bias": "all"}, LAYERS * 2 * WIDTH + N_BIAS),
    "lora own biases": ({"bias": "lora_only"}, LAYERS * 3 * WIDTH),
    "lora rs dora": ({"use_rslora": True, "use_dora": True, "rank": 2}, LAYERS * 5 * WIDTH),
    "bitfit": ({}, N_BIAS),
    "probe": ({}, 0),
    "full": ({}, N_FULL),
}


def tuned(kind: str, model=None) -> torch.nn.Module:
    """Tune, and move what is trainable, as training would."""
    model = adapters.tune(model or tiny(), kind.split()[0], **KINDS[kind][0])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def on_meta(backbone: str, how: str, **options) -> tuple[torch.nn.Module, tuple[int, int]]:
    with torch.device("meta"):
        plain = gend.GenDForImageClassification(gend.GenDConfig(backbone=backbone))
        model = adapters.tune(plain, how, **options)
    return model, adapters.count_trainable(model)


def test_clip_l14_trains_104450_parameters():
    """As the official code counts; its total has a projection that nothing uses (786,432)."""
    model, counts = on_meta("clip-l14", "layernorm")
    assert counts == (104_450, 303_968_258 - 786_432)
    assert adapters.count_layernorm(model) == 102_400 == 104_450 - 2_050


def test_dinov3_l_trains_102402_parameters():
    model, counts = on_meta("dinov3-l", "layernorm")
    assert counts == (102_402, 303_131_650)
    assert adapters.count_layernorm(model) == 100_352


def test_pe_l_trains_106498_parameters():
    need_timm()
    model, counts = on_meta("pe-l", "layernorm")
    assert counts == (106_498, 316_104_706)
    assert adapters.count_layernorm(model) == 104_448
    assert on_meta("pe-l", "lora")[1][0] == 24 * 2 * 1024 + 2_050
    assert on_meta("pe-l", "lora", target_modules="attention")[1][0] == 24 * 6 * 1024 + 2_050


BIASES = {  # by hand: attention, MLP, two LayerNorms a layer; then what is outside the layers
    "clip-l14": 24 * (4 * 1024 + 4096 + 1024 + 2 * 1024) + 2 * 1024,
    "dinov3-l": 24 * (3 * 1024 + 4096 + 1024 + 2 * 1024) + 1024 + 1024,  # no bias on the keys
}


@pytest.mark.parametrize("backbone", ["clip-l14", "dinov3-l"])
@pytest.mark.parametrize(
    ("how", "options", "n"),
    [
        ("lora", {}, 24 * 2 * 1024),
        ("lora", {"target_modules": "attention", "rank": 8}, 24 * 4 * 8 * 2 * 1024),
        ("lora", {"use_dora": True}, 24 * 3 * 1024),
        ("bitfit", {}, None),
        ("probe", {}, 0),
    ],
)
def test_counts_of_the_other_kinds(backbone, how, options, n):
    _, (trainable, total) = on_meta(backbone, how, **options)
    assert trainable - 2_050 == (BIASES[backbone] if n is None else n)
    assert total == {"clip-l14": 303_181_826, "dinov3-l": 303_131_650}[backbone]


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_counted_moves(kind):
    options, n = KINDS[kind]
    plain = tiny()
    start = {k: v.clone() for k, v in plain.encoder.state_dict().items()}
    model = adapters.tune(plain, kind.split()[0], **options)
    assert model.training
    assert adapters.count_trainable(model) == (n + N_HEAD, N_FULL + N_HEAD)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    torch.manual_seed(0)
    for _ in range(2):  # LoRA's first factor has no gradient while the second is zero
        optimizer.zero_grad()
        model(pixels(), labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        optimizer.step()
    moved = {k: v for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    # the bias of a key shifts all its products alike, which the softmax ignores
    expected = {k for k, v in model.named_parameters() if v.requires_grad and "k_proj.b" not in k}
    assert {k for k in moved if "k_proj.b" not in k and "k_proj.base_layer.b" not in k} == expected
    if kind == "layernorm":
        own = adapters._encoder_tensors(model)  # PEFT tunes copies
        assert all(torch.equal(start[name], value) for name, value in own.items())


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_reloads_to_identical_scores(tmp_path, kind):
    plain = logits(tiny())
    model = tuned(kind)
    scores = logits(model)
    assert not torch.allclose(scores, plain, atol=1e-3)
    folder = adapters.save_adapter(model, tmp_path / "adapter")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < 4 * (KINDS[kind][1] + N_HEAD) + 25_000
    adapters.save_adapter(model, folder)  # a second time replaces it
    again = adapters.load_adapter(folder, base=tiny())
    assert torch.equal(logits(again), scores) and not again.training
    assert adapters.count_trainable(again)[0] == 0
    onward = adapters.load_adapter(folder, base=tiny(), trainable=True)
    assert adapters.count_trainable(onward)[0] == KINDS[kind][1] + N_HEAD
    once_more = adapters.save_adapter(again, tmp_path / "copy")  # a loaded adapter can be saved
    assert torch.equal(logits(adapters.load_adapter(once_more, base=tiny())), scores)
    facts = json.loads((folder / "gend_config.json").read_text())
    assert facts["how"] == kind.split()[0] and KINDS[kind][0].items() <= facts["options"].items()


@pytest.mark.parametrize("kind", KINDS)
def test_another_base_is_refused(tmp_path, kind):
    saved = adapters.save_adapter(tuned(kind), tmp_path / "a")
    other = tiny()
    with torch.no_grad():  # one value of one frozen matrix
        other.encoder.vision.get_parameter("encoder.layers.1.mlp.fc2.weight")[3, 5] += 1e-3
    if kind == "full":  # the adapter replaces every tensor, so only the architecture must fit
        assert torch.equal(logits(adapters.load_adapter(saved, base=other)), logits(tuned(kind)))
        other = tiny(num_hidden_layers=1)
    with pytest.raises(ValueError, match="other weights of 'tiny'"):
        adapters.load_adapter(saved, base=other)
    with pytest.raises(ValueError, match=r"feature_scale=1\.0, the base has 2\.0"):
        adapters.load_adapter(saved, base=tiny(feature_scale=2.0))
    with pytest.raises(ValueError, match="head='LinearNorm'"):
        adapters.load_adapter(saved, base=tiny(head="linear"))


@pytest.mark.parametrize("kind", ["lora", "lora r4", "lora rs dora"])
def test_lora_adds_a_scaled_product(kind):
    """W + s B A, with s = alpha / r, or alpha / sqrt(r); DoRA then sets the length of each row."""
    model = tuned(kind)
    options = adapters.LORA_DEFAULTS | KINDS[kind][0]
    layer = model.get_base_model().encoder.vision.encoder.layers[1].self_attn.out_proj
    rank = options["rank"]
    scale = options["alpha"] / (rank**0.5 if options["use_rslora"] else rank)
    wanted = layer.weight + scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    if options["use_dora"]:
        length = layer.lora_magnitude_vector["default"].weight
        wanted = length[:, None] * wanted / wanted.norm(dim=1, keepdim=True)
    merged = adapters.merge(model)
    got = merged.encoder.vision.encoder.layers[1].self_attn.out_proj.weight
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    x = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), x @ wanted.T + layer.bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_merge_unwraps_everything(tmp_path, kind):
    model = tuned(kind)
    before = adapters.count_trainable(model)
    merged = adapters.merge(model)
    assert type(merged) is gend.GenDForImageClassification and merged.tuning is None
    assert set(merged.state_dict()) == set(tiny().state_dict())
    assert adapters.count_trainable(merged) == (N_FULL + N_HEAD, N_FULL + N_HEAD)
    if "lora" in kind:
        torch.testing.assert_close(logits(merged), logits(model), rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(logits(merged), logits(model))
    assert adapters.count_trainable(model) == before  # the tuned model stays as it is
    merged.save_pretrained(tmp_path)
    again = gend.GenDForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again), logits(merged))


def test_a_merged_model_can_be_tuned_again_and_so_can_a_probe():
    assert isinstance(adapters.tune(adapters.merge(tuned("bitfit"))), PeftModel)
    probe = tuned("probe")
    head = probe.head.linear.weight.detach().clone()
    model = adapters.tune(probe, "layernorm")  # first the head, then the LayerNorms
    assert torch.equal(adapters.active_head(model).linear.weight, head)
    assert adapters.count_trainable(model)[0] == N_LAYERNORM + N_HEAD


def test_adapter_finds_its_backbone_by_name(tmp_path):
    folder = tmp_path / "encoder"
    write_encoder(tiny(), folder)
    for kind in ("layernorm", "bitfit", "full"):
        model = tuned(kind, gend.build(folder, feature_scale=5.0))
        saved = adapters.save_adapter(model, tmp_path / kind)
        assert torch.equal(logits(adapters.load_adapter(saved)), logits(model))


@pytest.mark.parametrize("kind", ["layernorm", "lora r4", "bitfit"])
def test_adapters_of_a_perception_encoder(tmp_path, kind):
    need_timm()
    write_perception_encoder(tmp_path / "encoder")
    model = tuned(kind, gend.build(tmp_path / "encoder"))
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    plain, scores = logits(gend.build(tmp_path / "encoder"), batch), logits(model, batch)
    assert not torch.allclose(scores, plain, atol=1e-3)
    saved = adapters.save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(adapters.load_adapter(saved), batch), scores)
    merged = adapters.merge(model)
    torch.testing.assert_close(logits(merged, batch), scores, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    again = gend.GenDForImageClassification.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(again, batch), logits(merged, batch))


@pytest.mark.parametrize("kind", ["layernorm", "lora r4", "lora biases", "bitfit"])
def test_adapters_of_dinov3_load_in_every_version(tmp_path, kind):
    """transformers 5 puts "model." before the layers; files and hash must not know."""
    model = tuned(kind, tiny_dinov3())
    folder = adapters.save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(adapters.load_adapter(folder, tiny_dinov3())), logits(model))
    (path,) = folder.glob("*.safetensors")
    stored = load_file(path)
    assert any(".vision.layer.1." in f".{name}" for name in stored)
    moved = {name.replace("vision.layer.", "vision.model.layer."): v for name, v in stored.items()}
    if "bitfit" not in kind:  # as PEFT writes it under transformers 5
        save_file(moved, path)
        assert torch.equal(logits(adapters.load_adapter(folder, tiny_dinov3())), logits(model))
    assert all("model.layer" not in name for name in adapters._encoder_tensors(model))


def test_the_first_adapter_format_still_loads(tmp_path):
    """Adapters from before other kinds existed name no kind: they are LayerNorm adapters."""
    model = tuned("layernorm")
    folder = adapters.save_adapter(model, tmp_path / "adapter")
    facts = json.loads((folder / "gend_config.json").read_text())
    old = {name: facts[name] for name in ("config", "encoder_sha256")}
    (folder / "gend_config.json").write_text(json.dumps(old))
    again = adapters.load_adapter(folder, base=tiny())
    assert torch.equal(logits(again), logits(model))
    adapters.save_adapter(again, tmp_path / "again")


def test_tune_refuses():
    with pytest.raises(ValueError, match="layernorm, lora, bitfit, probe, full"):
        adapters.tune(tiny(), "prompt")
    with pytest.raises(ValueError, match=r"'layernorm'\) has no option \['rank'\]; it takes none"):
        adapters.tune(tiny(), rank=4)
    with pytest.raises(ValueError, match=r"no option \['r'\]; it takes target_modules, rank"):
        adapters.tune(tiny(), "lora", r=4)
    model = tiny()
    model.config.encoder["spec"]["layernorm_targets"] = r".*layer_norm1"
    with pytest.raises(ValueError, match="layernorm_targets"):
        adapters.tune(model)
    with pytest.raises(ValueError, match="already has an adapter"):
        adapters.tune(adapters.tune(tiny()))
    with pytest.raises(ValueError, match=r"tuned already \(bitfit\).*merge"):
        adapters.tune(tuned("bitfit"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank=0"),
        ({"rank": 1.5}, "whole rank"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"bias": "some"}, "none, all, lora_only"),
        ({"target_modules": ["qkv"]}, "0 that are.*fc1, fc2, k_proj, out_proj"),
        ({"target_modules": ["linear"]}, "no linear layers of the encoder"),  # the head
        ({"target_modules": r".*layer_norm1"}, "layer_norm1"),
    ],
)
def test_lora_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        adapters.tune(tiny(), "lora", **options)


def test_adapter_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_adapter"):
        adapters.load_adapter(tmp_path)
    with pytest.raises(ValueError, match="adapters.tune"):
        adapters.save_adapter(tiny(), tmp_path / "a")
    with pytest.raises(ValueError, match="adapters.tune"):
        adapters.merge(tiny())
    saved = adapters.save_adapter(tuned("layernorm"), tmp_path / "a")
    path = saved / "adapter_model.safetensors"
    tensors = load_file(path)
    lost = tensors.popitem()[0]
    save_file(tensors, path)
    with pytest.raises(ValueError, match=f"{lost.rpartition('.')[0]}.*save_adapter"):
        adapters.load_adapter(saved, base=tiny())
    path.unlink()
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        adapters.load_adapter(saved, base=tiny())
    saved = adapters.save_adapter(tuned("bitfit"), tmp_path / "a")
    with pytest.raises(ValueError, match="already has an adapter"):
        adapters.load_adapter(saved, base=tuned("layernorm"))
    tensors = load_file(saved / "tuned.safetensors")
    tensors["surprise"] = tensors.pop("head.linear.bias")
    save_file(tensors, saved / "tuned.safetensors")
    with pytest.raises(ValueError, match=r"head\.linear\.bias', 'surprise'.*save_adapter"):
        adapters.load_adapter(saved, base=tiny())


def test_fingerprint_ignores_the_adapter():
    model = tiny()
    before = adapters.encoder_fingerprint(model)
    for kind in ("layernorm", "lora r4"):
        assert adapters.encoder_fingerprint(tuned(kind)) == before
    assert before != adapters.encoder_fingerprint(tiny(seed=5))
    assert adapters.encoder_fingerprint(tuned("bitfit")) != before


@pytest.mark.parametrize("head", gend.HEADS)
@pytest.mark.parametrize("adapt", [False, True])
def test_init_head_separates_separable_features(head, adapt):
    model = tiny(head=head, feature_scale=10.0)
    model = adapters.tune(model) if adapt else model
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 1, 1], 20)
    features = rng.normal(size=(80, 32)) + 6.0 * labels[:, None] * np.eye(32)[4]
    assert adapters.init_head(model, features, labels) > 0.9
    with torch.no_grad():
        given = torch.from_numpy(features).float()
        scores = adapters.active_head(model)(given).softmax(-1)[:, 1]
    assert scores[labels == 1].mean() > 0.8 > 0.3 > scores[labels == 0].mean()


def test_init_head_refuses():
    with pytest.raises(ValueError, match="both classes"):
        adapters.init_head(tiny(), np.ones((3, 32)), [1, 1, 1])
    with pytest.raises(ValueError, match="as many"):
        adapters.init_head(tiny(), np.ones((3, 32)), [1, 0])
