"""The detector: official numbers, outputs, save and load, the pipeline, the bare install."""

import importlib.util
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, pipeline

from gendkit import backbones
from gendkit import model as gend

ROOT = Path(__file__).resolve().parents[1]
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


def tiny(seed: int = 0, num_hidden_layers: int = 2, **config) -> gend.GenDForImageClassification:
    torch.manual_seed(seed)
    spec = backbones.config_of("clip-l14")["spec"]
    spec.update(name="tiny", hub_id="", feature_dim=32, image_size=28)
    encoder = {"spec": spec, "model": {**TINY, "num_hidden_layers": num_hidden_layers}}
    settings = gend.GenDConfig(backbone="tiny", encoder=encoder, **config)
    return gend.GenDForImageClassification(settings).eval()


def write_encoder(model: gend.GenDForImageClassification, folder: Path) -> None:
    """Write the encoder of `tiny` in the layout of transformers."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TINY, "model_type": "clip_vision_model"}))
    save_file(model.encoder.vision.state_dict(), folder / "model.safetensors")


def tiny_dinov3() -> gend.GenDForImageClassification:
    torch.manual_seed(0)
    spec = backbones.config_of("dinov3-l")["spec"]
    spec.update(name="tiny", hub_id="", feature_dim=32, image_size=28)
    settings = gend.GenDConfig(backbone="tiny", encoder={"spec": spec, "model": TINY})
    return gend.GenDForImageClassification(settings).eval()


def pixels(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def logits(model, batch=None) -> torch.Tensor:
    with torch.no_grad():
        return model(pixels() if batch is None else batch).logits


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
    write_encoder(source, folder)
    built = gend.build(folder, head="linear")
    for key, value in built.encoder.state_dict().items():
        assert torch.equal(value, source.encoder.state_dict()[key]), key
    assert built.config.head == "linear" and not built.training
    with pytest.raises(ValueError, match="LinearNorm, linear"):
        gend.build(folder, head="mlp")
    with pytest.raises(ValueError, match="feature_scale"):
        gend.build(folder, feature_scale=0)


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


def test_return_dict_follows_the_config():
    model = tiny()
    logits, features, embeddings = model(pixels(), return_dict=False)  # no loss without labels
    assert (logits.shape, features.shape, embeddings.shape) == ((4, 2), (4, 32), (4, 32))
    model.config.return_dict = False
    assert isinstance(model(pixels()), tuple) and not isinstance(model(pixels()), gend.GenDOutput)
    assert isinstance(model(pixels(), return_dict=True), gend.GenDOutput)
    assert list(model(pixels(), return_dict=True)) == ["logits", "features", "embeddings"]


def test_official_backbone_names_become_ours():
    assert gend.GenDConfig(backbone="openai/clip-vit-large-patch14").backbone == "clip-l14"
    with pytest.raises(ValueError, match="Known names: embedded, clip-b16"):
        gend.build("openai/clip-vit-huge")


def saved(folder: Path) -> Path:
    tiny().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("gone", "new", "message"),
    [
        ("head.linear.bias", None, r"missing \['head\.linear\.bias'\], unexpected \[\]"),
        (None, "head.extra", r"missing \[\], unexpected \['head\.extra'\].*config\.json"),
        ("encoder.vision.post_layernorm.weight", "x", r"post_layernorm\.weight.*\['x'\]"),
    ],
)
def test_missing_and_extra_tensors_are_refused(tmp_path, gone, new, message, caplog):
    path = saved(tmp_path) / "model.safetensors"
    state = load_file(path)
    names = {k: k for k in state} if gone is None else {k: k for k in state if gone not in k}
    assert len(names) == len(state) - (gone is not None)
    state = {k: state[k] for k in names}
    if new is not None:
        state[new] = torch.zeros(2)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        gend.GenDForImageClassification.from_pretrained(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    path = saved(tmp_path) / "model.safetensors"
    torch.save(load_file(path), tmp_path / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(OSError, match="safetensors"):
        gend.GenDForImageClassification.from_pretrained(tmp_path)
    with pytest.raises(OSError, match="safetensors"):
        gend.GenDForImageClassification.from_pretrained(tmp_path, use_safetensors=False)


@pytest.mark.parametrize(
    ("make", "new", "old"),
    [
        (tiny, "vision.", "vision.vision_model."),
        (tiny_dinov3, "vision.model.layer.", "vision.layer."),
    ],
)
def test_files_of_other_versions_of_transformers_load(tmp_path, make, new, old):
    """As it was saved by either version; and what is saved after that loads again."""
    model = make()
    model.save_pretrained(tmp_path / "own")
    state = load_file(tmp_path / "own" / "model.safetensors")
    plain = {name.replace(old, new): value for name, value in state.items()}
    for i, layout in enumerate((plain, {k.replace(new, old): v for k, v in plain.items()})):
        assert len(layout) == len(state)
        save_file(layout, tmp_path / "own" / "model.safetensors", metadata={"format": "pt"})
        again = gend.GenDForImageClassification.from_pretrained(tmp_path / "own")
        assert torch.equal(logits(again), logits(model))
        again.save_pretrained(tmp_path / str(i))
        once_more = gend.GenDForImageClassification.from_pretrained(tmp_path / str(i))
        assert torch.equal(logits(once_more), logits(model))


def test_loading_info_is_given_when_asked(tmp_path):
    model, info = gend.GenDForImageClassification.from_pretrained(
        saved(tmp_path), output_loading_info=True
    )
    assert torch.equal(logits(model), logits(tiny())) and not info["missing_keys"]


def test_pipeline_scores_an_image_like_the_model(tmp_path):
    torch.manual_seed(0)
    model = gend.build("embedded", feature_scale=10.0)
    processor = gend.GenDImageProcessor.from_spec(model.encoder.spec)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (150, 140, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    with torch.no_grad():
        real, fake = model(**processor(image)).logits.softmax(-1)[0].tolist()
    wanted = {"real": pytest.approx(real, abs=1e-6), "fake": pytest.approx(fake, abs=1e-6)}
    for given in ({"model": str(tmp_path)}, {"model": model, "image_processor": processor}):
        run = pipeline("image-classification", device="cpu", **given)
        assert isinstance(run.image_processor, gend.GenDImageProcessor)
        got = run(image)
        assert {row["label"]: row["score"] for row in got} == wanted
        assert got[0]["score"] > got[1]["score"]
        assert [len(rows) for rows in run([image, image.resize((60, 60))])] == [2, 2]


def test_processor_takes_no_unknown_option():
    processor = gend.GenDImageProcessor()
    with pytest.raises(TypeError, match="do_resize"):
        processor.preprocess(np.zeros((9, 9, 3), np.uint8), do_resize=False)
    arrays = processor(np.zeros((9, 9, 3), np.uint8), return_tensors="np")["pixel_values"]
    assert isinstance(arrays, np.ndarray) and arrays.shape == (1, 3, 224, 224)


BARE = ["torch", "transformers", "numpy", "pillow", "safetensors"]


def needs_of(names: list[str]) -> set[str]:
    """Distributions that these need themselves, on this machine, without extras."""
    found, todo = set(), list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found:
            continue
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        for text in required:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


SCORE_BARE = """
import sys
from importlib.machinery import PathFinder

absent, real = set(sys.argv[2].split()), PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in absent else real(name, path, target)

PathFinder.find_spec = find_spec
import numpy as np
from PIL import Image
from gendkit.model import GenDForImageClassification, GenDImageProcessor

model = GenDForImageClassification.from_pretrained(sys.argv[1])
processor = GenDImageProcessor.from_pretrained(sys.argv[1])
image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
inputs = processor([image, image.rotate(90)])
print(*model(**inputs).logits.softmax(-1)[:, 1].tolist())
try:
    model(**inputs, labels=np.zeros(2))
except ModuleNotFoundError as error:
    print(error.name)
try:
    import sklearn
except ModuleNotFoundError:
    print("without sklearn", *sorted(absent & {name.split(".")[0] for name in sys.modules}))
"""


def test_the_bare_install_loads_and_scores(tmp_path):
    """In a process where every other installed package is hidden, as if it were not there."""
    kept = needs_of(BARE) | {"gendkit"}
    owners = metadata.packages_distributions()
    hidden = {
        module
        for module, distributions in owners.items()
        if not {canonicalize_name(name) for name in distributions} & kept
    }
    never = {"peft", "sklearn", "pandas", "scipy", "pytorch_metric_learning", "cv2", "av"}
    assert {name for name in never if importlib.util.find_spec(name)} <= hidden
    assert not {"torch", "numpy", "PIL", "safetensors", "transformers", "gendkit"} & hidden
    model = tiny()
    processor = gend.GenDImageProcessor.from_spec(model.encoder.spec)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    command = [sys.executable, "-c", SCORE_BARE, str(tmp_path), " ".join(hidden)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    scores, loss, rest = done.stdout.splitlines()
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    with torch.no_grad():
        wanted = model(**processor([image, image.rotate(90)])).logits.softmax(-1)[:, 1]
    np.testing.assert_allclose([float(x) for x in scores.split()], wanted, atol=1e-6)
    assert loss == "pytorch_metric_learning"  # only the loss needs it
    assert rest == "without sklearn"
