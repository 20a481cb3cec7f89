"""Released models in and out: official numbers, layouts, adapters, the hub's cache, bad files."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

import gendkit
from gendkit import adapters, backbones, checkpoints, hub, layouts, repro, specs, tensors
from gendkit import model as gend

ROOT = Path(__file__).resolve().parents[1]
PARITY = ROOT / "tests" / "data" / "parity"
NAMES = ["gend_clip_linear", "gend_clip_linearnorm", "gend_dinov3_linearnorm"]
PROJECTION = "feature_extractor.visual_projection.weight"


def base_of(name: str) -> str:
    return json.loads((PARITY / name / "config.json").read_text())["backbone"]


@pytest.fixture
def parity(tmp_path) -> Path:
    """The three checkpoints, and beside them the whole backbones that they were made from."""
    root = tmp_path / "parity"
    shutil.copytree(PARITY, root)
    generator = torch.Generator().manual_seed(0)
    for name, source, prefix in (
        ("tiny-clip", "gend_clip_linear", "feature_extractor."),
        ("tiny-dinov3", "gend_dinov3_linearnorm", "feature_extractor.backbone."),
    ):
        stored = load_file(PARITY / source / "model.safetensors").items()
        state = {k.removeprefix(prefix): v for k, v in stored if k.startswith(prefix)}
        if name == "tiny-clip":  # a whole CLIP has a text half too
            state["text_model.final_layer_norm.weight"] = torch.randn(32, generator=generator)
            state["text_projection.weight"] = torch.randn(24, 32, generator=generator)
            state["logit_scale"] = torch.tensor(2.6592)
        save_file(state, root / name / "model.safetensors")
    return root


def edit(folder: Path, change) -> Path:
    """Rewrite the weights of a folder: `change(state)` works in place."""
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    path.unlink()
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata={"format": "pt"})
    return folder


def train_layernorm(folder: Path) -> Path:
    """Move LayerNorms and head of an official checkpoint, as training would."""
    generator = torch.Generator().manual_seed(7)

    def change(state):
        moved = 0
        for key, value in state.items():
            if "norm" in key.rpartition(".")[0].rpartition(".")[2] or key.startswith("model."):
                state[key] = value + 0.1 * torch.randn(value.shape, generator=generator)
                moved += 1
        assert moved >= 2 * (2 * 3 + 1) + 2

    return edit(folder, change)


def logits(model, seed: int = 1) -> torch.Tensor:
    size = model.encoder.spec.image_size
    batch = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model(batch).logits


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the official numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_official_ones(parity, name):
    model = gendkit.from_pretrained(parity / name)
    expected = np.load(PARITY / name / "expected.npz")
    with torch.no_grad():
        output = model(torch.from_numpy(expected["pixel_values"]))
    np.testing.assert_allclose(output.features, expected["features"], atol=1e-5)
    np.testing.assert_allclose(output.logits, expected["logits"], atol=1e-5)
    np.testing.assert_allclose(output.logits.softmax(-1), expected["probs"], atol=1e-5)
    stored = json.loads((PARITY / name / "config.json").read_text())
    assert not model.training and model.config.head == stored["head"]


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_of_a_loaded_model_equals_the_official_one(parity, name):
    processor = gend.GenDImageProcessor.from_spec(hub.from_pretrained(parity / name).encoder.spec)
    expected = np.load(PARITY / name / "expected.npz")["pixel_values"]
    image = Image.open(PARITY / "input.png")
    got = processor([image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])["pixel_values"]
    np.testing.assert_allclose(got[0], expected[0], atol=1e-4)
    clip = processor.resize == "shortest"  # row 1 is row 0 mirrored, not the mirrored image
    np.testing.assert_allclose(got[1], expected[1], atol=1e-4 if clip else 0.1)


def newer_names(state: dict) -> None:
    """Rename to what transformers 5 writes."""
    for key in list(state):
        new = key.replace("backbone.layer.", "backbone.model.layer.")
        new = new.replace(
            "feature_extractor.vision_model.", "feature_extractor.vision_model.vision_model."
        )
        state[new] = state.pop(key)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_newer_transformers_are_read_and_old_ones_written(parity, tmp_path, name):
    wanted = logits(hub.from_pretrained(parity / name))
    edit(parity / name, newer_names)
    assert set(load_file(parity / name / "model.safetensors")) != set(
        load_file(PARITY / name / "model.safetensors")
    )
    assert torch.equal(logits(hub.from_pretrained(parity / name)), wanted)
    out = hub.to_official(parity / name, tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(PARITY / name / "model.safetensors")


def test_stored_position_ids_are_rebuilt_not_read(parity):
    name = "feature_extractor.vision_model.embeddings.position_ids"
    wanted = logits(hub.from_pretrained(parity / "gend_clip_linear"))
    edit(parity / "gend_clip_linear", lambda s: s.update({name: torch.zeros(1, 17).long()}))
    model = hub.from_pretrained(parity / "gend_clip_linear")
    ids = next(v for k, v in model.encoder.named_buffers() if k.endswith("position_ids"))
    assert ids.flatten().tolist() == list(range(17))
    assert torch.equal(logits(model), wanted)


@pytest.mark.parametrize(("key", "word"), [("head", "NOT normalised"), ("backbone", "clip-vit")])
def test_a_missing_key_keeps_the_official_default_and_warns(parity, key, word):
    path = parity / "gend_clip_linearnorm" / "config.json"
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=f"no '{key}'.*{word}"):
        if key == "head":
            model = hub.from_pretrained(path.parent)
        else:  # then it is a CLIP L/14, which these tensors are not
            with pytest.raises(ValueError, match="does not fit its backbone"):
                hub.from_pretrained(path.parent)
            return
    assert model.config.head == "linear"
    expected = np.load(PARITY / "gend_clip_linearnorm" / "expected.npz")
    weight, bias = model.head.linear.weight.detach(), model.head.linear.bias.detach()
    plain = torch.from_numpy(expected["features"]) @ weight.T + bias
    with torch.no_grad():
        got = model(torch.from_numpy(expected["pixel_values"])).logits
    torch.testing.assert_close(got, plain, atol=1e-5, rtol=0)


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_official_goes_back_bit_for_bit(parity, tmp_path, name):
    for source in (parity / name, hub.from_pretrained(parity / name)):
        out = hub.to_official(source, tmp_path / "out")
        assert sha(out / "model.safetensors") == sha(PARITY / name / "model.safetensors")
        stored = json.loads((PARITY / name / "config.json").read_text())
        assert json.loads((out / "config.json").read_text()) == stored


@pytest.mark.parametrize("name", NAMES)
def test_official_to_adapter_to_official_is_bit_identical(parity, tmp_path, name):
    source = train_layernorm(parity / name)
    model = hub.from_pretrained(source)
    assert not torch.equal(logits(model), logits(hub.from_pretrained(untouched(parity, name))))
    adapter = hub.to_adapter(source, parity / "adapter")
    count = sum(v.numel() for v in load_file(adapter / "adapter_model.safetensors").values())
    assert count == adapters.count_layernorm(model) + 2 * 48 + 2
    assert sum(p.stat().st_size for p in adapter.iterdir()) < 4 * count + 20_000
    again = hub.from_adapter(adapter)  # finds the backbone beside it
    assert torch.equal(logits(again), logits(model))
    out = hub.to_official(again, tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(source / "model.safetensors")
    assert (out / "config.json").read_text() == (
        hub.to_official(source, tmp_path / "direct") / "config.json"
    ).read_text()
    straight = hub.to_official(adapter, tmp_path / "straight")
    assert sha(straight / "model.safetensors") == sha(source / "model.safetensors")


def untouched(parity: Path, name: str) -> Path:
    """An untouched copy of a checkpoint, beside its backbone."""
    return Path(shutil.copytree(PARITY / name, parity / f"{name}-untouched"))


@pytest.mark.parametrize("name", NAMES[1:])
def test_adapter_is_also_what_peft_loads(parity, name):
    source = train_layernorm(parity / name)
    adapter = hub.to_adapter(source, parity / "adapter")
    model = hub.from_pretrained(source)
    encoder = backbones.load(parity / base_of(name))
    stored = json.loads((adapter / "gend_config.json").read_text())["config"]
    base = gend.GenDForImageClassification(
        gend.GenDConfig(encoder=encoder.config, head=stored["head"]), encoder
    )
    assert torch.equal(logits(adapters.load_adapter(adapter, base)), logits(model))


def test_base_may_be_a_folder_or_a_detector_that_stays_as_it_is(parity, tmp_path):
    source = train_layernorm(parity / "gend_clip_linearnorm")
    base = hub.from_pretrained(parity / "gend_clip_linear")
    before = {k: v.clone() for k, v in base.state_dict().items()}
    adapter = hub.to_adapter(source, tmp_path / "a", base=base)
    folder = hub.to_adapter(source, tmp_path / "b", base=parity / "tiny-clip")
    assert sha(adapter / "adapter_model.safetensors") == sha(folder / "adapter_model.safetensors")
    wanted = logits(hub.from_pretrained(source))
    assert torch.equal(logits(hub.from_pretrained(adapter, base=base)), wanted)
    assert torch.equal(logits(hub.from_adapter(folder, base=parity / "tiny-clip")), wanted)
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())
    with pytest.raises(FileNotFoundError, match="No base encoder 'tiny-clip'"):
        hub.from_adapter(adapter)  # nothing of that name beside it
    with pytest.raises(ValueError, match="tuned already"):
        hub.to_adapter(source, tmp_path / "c", base=adapters.tune_layernorm(base))


def test_a_projection_that_the_base_lacks_travels_with_the_adapter(parity, tmp_path):
    source = train_layernorm(parity / "gend_clip_linearnorm")
    vision_only = edit(parity / "tiny-clip", lambda s: s.pop("visual_projection.weight"))
    adapter = hub.to_adapter(source, tmp_path / "adapter", base=vision_only)
    out = hub.to_official(hub.from_adapter(adapter, base=vision_only), tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(source / "model.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_folder_of_this_kit_keeps_everything(parity, tmp_path, name):
    model = hub.from_pretrained(parity / name)
    folder = hub.save(model, tmp_path / "saved")
    assert hub.kind_of(folder) == "gendkit"
    again = hub.from_pretrained(folder)
    assert torch.equal(logits(again), logits(model))
    auto = AutoModelForImageClassification.from_pretrained(folder)
    assert torch.equal(logits(auto), logits(model))
    assert gend.GenDImageProcessor.from_pretrained(folder).image_size == 56
    out = hub.to_official(folder, tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(PARITY / name / "model.safetensors")
    assert str(tmp_path) not in (folder / "config.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_saved_folder_with_names_of_the_other_transformers(parity, tmp_path, name):
    folder = hub.save(hub.from_pretrained(parity / name), tmp_path / "saved")
    wanted = logits(hub.from_pretrained(folder))

    def rename(state):
        for key in [k for k in state if k.startswith("encoder.vision.")]:
            core = layouts.core_key(key.removeprefix("encoder.vision."))
            other = f"vision_model.{core}" if "clip" in name else core
            if f"encoder.vision.{other}" == key:  # running under transformers 4
                other = core if "clip" in name else f"model.{core}"
            state[f"encoder.vision.{other}"] = state.pop(key)

    edit(folder, rename)
    assert torch.equal(logits(hub.from_pretrained(folder)), wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_checkpoints_stay_narrow_until_trained(parity, tmp_path, dtype):
    source = edit(
        parity / "gend_clip_linearnorm",
        lambda s: s.update({k: v.to(getattr(torch, dtype)) for k, v in s.items()}),
    )
    before = sha(source / "model.safetensors")
    model = hub.from_pretrained(source)
    assert next(model.parameters()).dtype == torch.float32
    out = hub.to_official(model, tmp_path / "out")
    assert sha(out / "model.safetensors") == before
    assert json.loads((out / "config.json").read_text())["dtype"] == dtype
    with torch.no_grad():
        model.head.linear.bias.add_(1e-7)
    out = hub.to_official(model, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    assert {v.dtype for v in load_file(out / "model.safetensors").values()} == {torch.float32}


def test_feature_scale_is_multiplied_into_the_head(parity, tmp_path):
    encoder = backbones.load(parity / "tiny-clip")
    config = gend.GenDConfig("tiny-clip", encoder.config, "LinearNorm", feature_scale=10.0)
    model = gend.GenDForImageClassification(config, encoder).eval()
    out = hub.to_official(model, parity / "out", base=parity / "tiny-clip")
    again = hub.from_pretrained(out)
    assert again.config.feature_scale == 1.0
    torch.testing.assert_close(logits(again), logits(model), atol=1e-6, rtol=1e-6)


def test_a_tuned_detector_is_merged(parity, tmp_path):
    model = hub.from_pretrained(parity / "gend_clip_linearnorm")
    tuned = adapters.tune_layernorm(hub.from_pretrained(parity / "gend_clip_linearnorm"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapter = hub.to_adapter(tuned, tmp_path / "adapter", base=model)
    wanted = logits(tuned.eval())
    assert torch.equal(logits(hub.from_adapter(adapter, base=model)), wanted)
    assert torch.equal(
        logits(hub.from_pretrained(hub.to_official(tuned, parity / "release"))), wanted
    )


@pytest.mark.parametrize("how", ["lora", "bitfit", "probe", "full"])
def test_adapters_of_other_kinds_load_too(parity, tmp_path, how):
    base = hub.from_pretrained(parity / "gend_clip_linearnorm")
    tuned = adapters.tune(hub.from_pretrained(parity / "gend_clip_linearnorm"), how)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    folder = adapters.save_adapter(tuned, tmp_path / how)
    options = {} if how == "full" else {"base": base}
    again = hub.from_pretrained(folder, **options)
    torch.testing.assert_close(logits(again), logits(tuned.eval()), atol=1e-5, rtol=0)
    assert not torch.allclose(logits(again), logits(base), atol=1e-3)


# --- what must be refused ----------------------------------------------------------------------


def test_adapter_refuses_what_is_not_layernorm_or_head(parity, tmp_path):
    source = train_layernorm(parity / "gend_clip_linearnorm")
    names = [
        "feature_extractor.vision_model.encoder.layers.1.self_attn.q_proj.weight",
        "feature_extractor.vision_model.embeddings.class_embedding",
        PROJECTION,
    ]

    def change(state):
        for name in names:
            state[name][0] += 1e-6

    edit(source, change)
    with pytest.raises(ValueError, match="3 tensors other than LayerNorm and head") as error:
        hub.to_adapter(source, tmp_path / "adapter")
    assert all(name in str(error.value) for name in names)
    assert not (tmp_path / "adapter").exists()


def test_adapter_refuses_another_base(parity, tmp_path):
    source = train_layernorm(parity / "gend_clip_linearnorm")
    adapter = hub.to_adapter(source, tmp_path / "adapter", base=parity / "tiny-clip")
    edit(parity / "tiny-clip", lambda s: s["vision_model.embeddings.class_embedding"].add_(1e-6))
    with pytest.raises(ValueError, match="tuned on other weights of 'tiny-clip'"):
        hub.from_adapter(adapter, base=parity / "tiny-clip")
    with pytest.raises(ValueError, match=r"another architecture.*embeddings\.cls_token"):
        hub.from_adapter(adapter, base=parity / "tiny-dinov3")
    with pytest.raises(ValueError, match="does not fit its backbone"):
        hub.to_adapter(source, tmp_path / "b", base=parity / "tiny-dinov3")
    edit(parity / "tiny-clip", lambda s: s.pop("vision_model.pre_layrnorm.bias"))
    model = hub.from_pretrained(source)
    with pytest.raises(ValueError, match=r"another architecture.*pre_layrnorm\.bias"):
        hub.to_adapter(model, tmp_path / "b", base=parity / "tiny-clip")


def test_damaged_adapters_are_refused(parity, tmp_path):
    source = train_layernorm(parity / "gend_clip_linearnorm")
    adapter = hub.to_adapter(source, parity / "adapter")
    path = adapter / "adapter_model.safetensors"
    state = load_file(path)
    name = "base_model.model.head.linear.bias"
    save_file({k: v for k, v in state.items() if k != name}, path)
    with pytest.raises(ValueError, match=r"missing head: linear\.bias"):
        hub.from_adapter(adapter)
    path.unlink()
    torch.save(state, adapter / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"found: .*adapter_model\.bin.*safetensors only"):
        hub.from_adapter(adapter)
    facts = json.loads((adapter / "gend_config.json").read_text())
    repro.write_json(adapter / "gend_config.json", facts | {"how": "lora"})
    with pytest.raises(FileNotFoundError, match="safetensors only"):
        hub.from_adapter(adapter)
    repro.write_json(adapter / "gend_config.json", {"how": "layernorm"})
    with pytest.raises(ValueError, match="lacks 'config'"):
        hub.from_adapter(adapter)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gend_clip_linear", lambda s: s.pop("model.linear.bias"), r"missing model\.linear\.bias;"),
        ("gend_clip_linear", lambda s: s.pop(PROJECTION), rf"missing {PROJECTION};"),
        (
            "gend_dinov3_linearnorm",
            lambda s: s.pop("feature_extractor.backbone.layer.2.norm1.weight"),
            r"missing feature_extractor\.backbone\.layer\.2\.norm1\.weight; unexpected nothing",
        ),
        (
            "gend_dinov3_linearnorm",
            lambda s: s.update({"feature_extractor.backbone.layer.3.norm1.bias": torch.ones(48)}),
            r"missing nothing; unexpected feature_extractor\.backbone\.layer\.3\.norm1\.bias",
        ),
        (
            "gend_clip_linear",
            lambda s: s.update({"model.linear.scale": torch.ones(1), "other": torch.ones(1)}),
            r"unexpected model\.linear\.scale, other",
        ),
        (
            "gend_dinov3_linearnorm",  # one tensor under both names
            lambda s: s.update({"feature_extractor.backbone.model.norm.bias": torch.ones(48)}),
            r"unexpected feature_extractor\.backbone\.(model\.)?norm\.bias",
        ),
        (
            "gend_clip_linear",
            lambda s: s.update({"model.linear.weight": torch.ones(3, 48)}),
            r"wrong model\.linear\.weight \(3, 48\) torch\.float32, not \(2, 48\)",
        ),
        (
            "gend_clip_linear",
            lambda s: s.update({"model.linear.bias": torch.ones(2, dtype=torch.int8)}),
            r"model\.linear\.bias \(2,\) torch\.int8",
        ),
    ],
)
def test_tensors_without_place_and_places_without_tensor_are_named(parity, name, change, words):
    edit(parity / name, change)
    with pytest.raises(ValueError, match=words):
        hub.from_pretrained(parity / name)


def test_a_saved_folder_with_missing_tensors_is_refused(parity, tmp_path):
    folder = hub.save(hub.from_pretrained(parity / "gend_clip_linear"), tmp_path / "saved")
    edit(folder, lambda s: s.pop("head.linear.weight"))
    with pytest.raises(ValueError, match=r"missing head: linear\.weight"):
        hub.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder": None}))
    with pytest.raises(ValueError, match="describes no encoder"):
        hub.from_pretrained(folder)


class Bomb:
    """Runs code when a pickle of it is read."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was run",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "model.pt"])
def test_pickles_are_refused(parity, name):
    folder = parity / "gend_clip_linear"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / name)
    with pytest.raises(ValueError, match=rf"only {name}.*only safetensors are read.*save_file"):
        hub.from_pretrained(folder)
    (folder / name).rename(folder / "model.safetensors")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        hub.from_pretrained(folder)


def shard(folder: Path, n: int = 3) -> Path:
    """Split the weights into `n` files with an index, as large models come."""
    state = load_file(folder / "model.safetensors")
    places = {}
    for i in range(n):
        part = dict(sorted(state.items())[i::n])
        file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_sharded_checkpoints(parity, tmp_path, name):
    wanted = logits(hub.from_pretrained(parity / name))
    folder = shard(parity / name)
    assert torch.equal(logits(hub.from_pretrained(folder)), wanted)
    out = hub.to_official(folder, tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(PARITY / name / "model.safetensors")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00002-of-00003\.safetensors"):
        hub.from_pretrained(folder)


@pytest.mark.parametrize(
    "place",
    [
        "../tiny-clip/model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "model.bin",
        ".safetensors",
    ],
)
def test_an_index_that_leaves_its_folder_is_refused(parity, place):
    folder = shard(parity / "gend_clip_linear")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.linear.bias"] = place
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="plain name of a .safetensors file in the same folder"):
        hub.from_pretrained(folder)


def test_an_index_that_does_not_tell_the_truth_is_refused(parity):
    folder = shard(parity / "gend_clip_linear")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.linear.bias"]
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"differ at model\.linear\.bias"):
        hub.from_pretrained(folder)
    path.write_text("[]")
    with pytest.raises(ValueError, match="no 'weight_map'"):
        hub.from_pretrained(folder)


@pytest.mark.parametrize("backbone", ["../tiny-clip", "/etc", "..", "someone/clip", 3])
def test_unknown_backbones_are_refused_and_no_other_path_is_read(parity, backbone):
    path = parity / "gend_clip_linear" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backbone": backbone}))
    with pytest.raises(ValueError, match="Unknown backbone|expected the name of a backbone"):
        hub.from_pretrained(path.parent)


def test_unknown_heads_layouts_and_names_are_refused(parity, tmp_path):
    path = parity / "gend_clip_linear" / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"head": "mlp"}))
    with pytest.raises(ValueError, match="head 'mlp'; expected .*LinearNorm, linear"):
        hub.from_pretrained(path.parent)
    path.write_text(json.dumps(stored | {"model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type 'bert'"):
        hub.from_pretrained(path.parent)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"No config\.json"):
        hub.from_pretrained(path.parent)
    with pytest.raises(ValueError, match="neither a folder nor a hub repository.*GenD_PE_L"):
        hub.from_pretrained("gend-large")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(ValueError, match="gendkit convert .*model.ckpt OUT"):
        hub.from_pretrained(tmp_path / "model.ckpt")


def test_official_layout_is_refused_for_what_the_official_code_cannot_build(parity, tmp_path):
    with pytest.raises(ValueError, match="cannot build backbone 'embedded'"):
        hub.to_official(gend.build("embedded"), tmp_path / "out")
    edit(parity / "tiny-clip", lambda s: s.pop("visual_projection.weight"))
    model = gend.build(parity / "tiny-clip")
    with pytest.raises(ValueError, match="nor base .* has. Give the folder of the whole CLIP"):
        hub.to_official(model, tmp_path / "out", base=parity / "tiny-clip")
    assert not (tmp_path / "out").exists()


# --- the hub's cache -----------------------------------------------------------------------------


def put_into_cache(cache: Path, repo_id: str, folder: Path) -> None:
    """Lay files out as huggingface_hub does after a download."""
    root = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = root / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    for file in folder.iterdir():
        blob = root / "blobs" / sha(file)
        blob.parent.mkdir(exist_ok=True)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)


def test_a_model_comes_from_the_cache(parity, tmp_path, monkeypatch):
    """The whole way of `from_pretrained(hub id)`, with a registry entry of the tiny backbone."""
    config = backbones.config_of(parity / "tiny-clip")
    entry = (
        backbones.BackboneSpec(**config["spec"] | {"hub_id": "own/tiny-clip"}),
        config["model"],
    )
    monkeypatch.setitem(backbones.REGISTRY, "tiny", entry)
    monkeypatch.setitem(specs.ALIASES, "own/tiny-clip", "tiny")
    source = train_layernorm(parity / "gend_clip_linearnorm")
    stored = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(stored | {"backbone": "own/tiny-clip"}))
    cache = tmp_path / "cache"
    put_into_cache(cache, "own/GenD_tiny", source)
    put_into_cache(cache, "own/tiny-clip", parity / "tiny-clip")
    model = gendkit.from_pretrained("own/GenD_tiny", cache_dir=cache)
    assert model.config.backbone == "tiny"
    adapter = hub.to_adapter("own/GenD_tiny", tmp_path / "adapter", cache_dir=cache)
    again = hub.from_adapter(adapter, cache_dir=cache)
    assert torch.equal(logits(again), logits(model))
    out = hub.to_official(again, tmp_path / "out")
    assert sha(out / "model.safetensors") == sha(source / "model.safetensors")


def test_nothing_in_the_cache_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        hub.from_pretrained("yermandy/GenD_CLIP_L_14", cache_dir=tmp_path)
    text = str(error.value)
    assert "'yermandy/GenD_CLIP_L_14' (config.json, model.safetensors)" in text
    assert str(tmp_path) in text and "models--yermandy--GenD_CLIP_L_14" in text
    assert "hf download yermandy/GenD_CLIP_L_14 config.json model.safetensors" in text


def test_files_from_the_hub_cannot_name_local_folders(parity, tmp_path, monkeypatch):
    monkeypatch.chdir(parity)
    put_into_cache(tmp_path / "cache", "own/model", parity / "gend_clip_linear")
    with pytest.raises(ValueError, match="Unknown backbone 'tiny-clip'"):
        hub.from_pretrained("own/model", cache_dir=tmp_path / "cache")
    adapter = hub.to_adapter(train_layernorm(parity / "gend_clip_linearnorm"), parity / "adapter")
    put_into_cache(tmp_path / "cache", "own/adapter", adapter)
    with pytest.raises(ValueError, match="belongs on 'tiny-clip', which is no known backbone"):
        hub.from_pretrained("own/adapter", cache_dir=tmp_path / "cache")
    base = parity / "tiny-clip"
    hub.from_pretrained("own/adapter", base=base, cache_dir=tmp_path / "cache")


# --- full size, on the meta device -----------------------------------------------------------


def listed(width: int, depth: int, family: str) -> set[str]:
    """The released tensor names, as the notes on the paper list them."""
    both = ("weight", "bias")
    names = {f"model.linear.{p}" for p in both}
    if family == "clip":
        root = "feature_extractor.vision_model"
        names |= {f"{root}.embeddings.{n}" for n in ("class_embedding", "patch_embedding.weight",
                  "position_embedding.weight")} | {PROJECTION}  # fmt: skip
        names |= {f"{root}.{n}.{p}" for n in ("pre_layrnorm", "post_layernorm") for p in both}
        block = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
        block += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
        layers, ends = "encoder.layers", [f"{n}.{p}" for n in block for p in both]
    elif family == "dinov3":
        root = "feature_extractor.backbone"
        names |= {f"{root}.embeddings.{n}" for n in ("cls_token", "mask_token", "register_tokens",
                  "patch_embeddings.weight", "patch_embeddings.bias")}  # fmt: skip
        names |= {f"{root}.norm.{p}" for p in both}
        block = ["norm1", "norm2", "mlp.up_proj", "mlp.down_proj"]
        block += [f"attention.{x}_proj" for x in ("q", "v", "o")]
        layers, ends = "layer", [f"{n}.{p}" for n in block for p in both]
        ends += ["attention.k_proj.weight", "layer_scale1.lambda1", "layer_scale2.lambda1"]
    else:
        root = "feature_extractor.backbone"
        names |= {f"{root}.{n}" for n in ("cls_token", "pos_embed", "patch_embed.proj.weight",
                  "attn_pool.latent")}  # fmt: skip
        ends = ["q", "kv", "proj", "norm", "mlp.fc1", "mlp.fc2"]
        names |= {f"{root}.attn_pool.{n}.{p}" for n in ends for p in both}
        names |= {f"{root}.{n}.{p}" for n in ("norm_pre", "norm") for p in both}
        block = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
        layers, ends = "blocks", [f"{n}.{p}" for n in block for p in both]
    return names | {f"{root}.{layers}.{i}.{end}" for i in range(depth) for end in ends}


@pytest.mark.parametrize(
    ("name", "family", "n_tensors", "n_parameters"),
    [
        ("yermandy/GenD_CLIP_L_14", "clip", 394, 303_968_258),
        ("yermandy/GenD_DINOv3_L", "dinov3", 417, 303_131_650),
        ("yermandy/GenD_PE_L", "pe", 310, 316_104_706),
    ],
)
def test_released_tensors_map_without_rest(name, family, n_tensors, n_parameters):
    """Names, number and total size of the released files, as the official code builds them."""
    kit = layouts.RELEASED[name]
    shapes = checkpoints.official_tensors(kit)
    assert len(shapes) == n_tensors and set(shapes) == listed(1024, 24, family)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == n_parameters
    assert shapes == checkpoints.official_tensors(layouts.official_id(kit))
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    places = checkpoints.wanted(backbones.config_of(kit))
    parts = checkpoints.sort(state, layouts.parse_official, family, name, places)
    assert sum(len(part) for part in parts.values()) == n_tensors
    targets = backbones.REGISTRY[kit][0].layernorm_targets
    modules = {core: f"encoder.vision.{core.rpartition('.')[0]}" for core in parts["encoder"]}
    norms = [core for core, module in modules.items() if re.fullmatch(targets, module)]
    trained = sum(parts["encoder"][core].numel() for core in norms) + 2 * 1024 + 2
    assert trained == {"clip": 104_450, "dinov3": 102_402, "pe": 106_498}[family]


def test_the_file_would_have_the_size_of_the_released_one():
    """The CLIP release has 1,215,928,160 bytes: every name, shape and type is in that number."""
    shapes, start = checkpoints.official_tensors("clip-l14"), 0
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    for name in sorted(shapes):
        size = 4 * int(np.prod(shapes[name]))
        place = {"data_offsets": [start, start + size]}
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), **place}
        start += size
    text = len(json.dumps(header, separators=(",", ":")))
    assert 8 + -(-text // 8) * 8 + start == 1_215_928_160


@pytest.mark.parametrize("kit", ["clip-l14", "dinov3-l"])
def test_full_size_detectors_take_these_tensors(kit):
    """The kit's own model on the meta device has a place for each, and no other."""
    with torch.device("meta"):
        model = gend.GenDForImageClassification(gend.GenDConfig(backbone=kit))
    family = model.encoder.spec.family
    own = {f"encoder.vision.{k}" for k in model.encoder.vision.state_dict()}
    assert own == {k for k in model.state_dict() if k.startswith("encoder.")}
    cores = {layouts.core_key(key) for key in model.encoder.vision.state_dict()}
    names = {layouts.official_key(family, core) for core in cores}
    names |= {"model.linear.weight", "model.linear.bias"}
    names |= {PROJECTION} if family == "clip" else set()
    assert names == set(checkpoints.official_tensors(kit))


def test_only_owner_and_name_is_a_repository():
    good = ["yermandy/GenD_PE_L", "a/b-1.2"]
    bad = ["gend", "a/b/c", "../b", "a/..", "/a/b", "a/b c", "a/"]
    assert all(map(tensors.is_repo_id, good)) and not any(map(tensors.is_repo_id, bad))


# --- what it needs -------------------------------------------------------------------------------

WITHOUT = """
import sys
from importlib.machinery import PathFinder

absent, real = set(sys.argv[2].split()), PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in absent else real(name, path, target)

PathFinder.find_spec = find_spec
import torch
import gendkit

assert "torch" in sys.modules and "transformers" not in sys.modules  # gendkit alone is light
for folder in sys.argv[1].split():
    model = gendkit.from_pretrained(folder)
    print(*model(torch.ones(1, 3, 56, 56)).logits.tolist()[0])
print(*sorted(absent & set(sys.modules)))
"""


def test_the_bare_install_loads_released_models_and_adapters(parity):
    """Torch, transformers, NumPy, Pillow and safetensors are enough; PEFT is not needed."""
    source = train_layernorm(parity / "gend_clip_linearnorm")
    adapter = hub.to_adapter(source, parity / "adapter")
    absent = "peft accelerate pandas scipy sklearn pytorch_metric_learning plotly av timm"
    command = [sys.executable, "-c", WITHOUT, f"{source} {adapter}", absent]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    *numbers, loaded = done.stdout.splitlines()
    with torch.no_grad():
        wanted = hub.from_pretrained(source)(torch.ones(1, 3, 56, 56)).logits[0]
    assert len(numbers) == 2 and loaded == ""
    for line in numbers:
        np.testing.assert_allclose([float(x) for x in line.split()], wanted, atol=1e-6)


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_second_environment_differs_in_transformers_only():
    """`make test-tf4` runs these tests on the oldest supported transformers, all else equal."""
    old, now = pins(ROOT / "requirements" / "tf4.txt"), pins(ROOT / "constraints.txt")
    now = {name.lower(): version for name, version in now.items()}
    differ = {name for name, version in old.items() if now.get(name.lower()) != version}
    assert differ == {"transformers", "tokenizers", "huggingface_hub"}
    assert old["transformers"] == "4.56.2" and not [n for n in old if n.startswith("nvidia")]
