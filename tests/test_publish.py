"""Folders for a model hub: the bare install loads them with the same scores; cards; the upload."""

import importlib.util
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from packaging.utils import canonicalize_name
from PIL import Image
from test_model import BARE, needs_of, tiny
from tiny import TINY, make_crops
from transformers import CLIPVisionConfig, CLIPVisionModel

from gendkit import adapters, cards, evaluate, hub, publish, repro, score
from gendkit.commands import publish as command
from gendkit.commands import train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of gendkit train on tiny crops, and its encoder, in folders with absolute names."""
    torch.manual_seed(0)
    top = tmp_path_factory.mktemp("made")
    CLIPVisionModel(CLIPVisionConfig(**TINY)).save_pretrained(top / "my-encoder")
    root, table = make_crops(top / "crops")
    table.to_csv(root / "manifest.csv", index=False)
    words = ["example", "--data", root / "manifest.csv", "--out", top / "run", "--set"]
    words += [f"backbone={top / 'my-encoder'}", "--set", "batch_size=8", "--set", "epochs=1"]
    assert train.main([str(word) for word in words]) == 0
    return top


@pytest.fixture(scope="module")
def full(made):
    """The run as a whole detector."""
    facts = publish.write(made / "run", made / "full", licence="mit", repo_id="me/tiny-detector")
    return made / "full", facts


def scores_of(detector: score.Detector, image: Image.Image) -> list[float]:
    with torch.no_grad():
        pixels = detector.processor([image])["pixel_values"]
        return detector.model(pixels).logits.softmax(-1)[0].tolist()


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


LOAD_BARE = """
import sys
from importlib.machinery import PathFinder

absent, real = set(sys.argv[2].split()), PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in absent else real(name, path, target)

PathFinder.find_spec = find_spec
import json
import numpy as np
import gendkit.model
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

folder = sys.argv[1]
image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
model = AutoModelForImageClassification.from_pretrained(folder)
processor = AutoImageProcessor.from_pretrained(folder)
auto = model(**processor(image, return_tensors="pt")).logits.softmax(-1)[0].tolist()
piped = {row["label"]: row["score"] for row in pipeline("image-classification", model=folder)(image)}
print(json.dumps({"auto": auto, "pipeline": [piped["real"], piped["fake"]],
                  "loaded": sorted(absent & {name.split(".")[0] for name in sys.modules})}))
"""


def test_the_bare_install_loads_the_folder_with_the_same_scores(made, full):
    """In another process, where every package but torch and its five companions is hidden."""
    kept = needs_of(BARE) | {"gendkit"}
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(name) for name in owners} & kept
    }
    never = {"peft", "sklearn", "pandas", "scipy", "cv2", "av", "onnx", "onnxruntime"}
    assert {name for name in never if importlib.util.find_spec(name)} <= hidden
    shutil.copytree(full[0], made / "elsewhere" / "copy")
    command = [sys.executable, "-c", LOAD_BARE, str(made / "elsewhere/copy"), " ".join(hidden)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=made)
    assert done.returncode == 0, done.stderr[-2000:]
    got = json.loads(done.stdout.splitlines()[-1])
    wanted = scores_of(score.load(made / "run", device="cpu"), picture())
    np.testing.assert_allclose(got["auto"], wanted, atol=1e-7)
    np.testing.assert_allclose(got["pipeline"], wanted, atol=1e-7)
    assert got["loaded"] == []


def test_the_folder_holds_what_a_hub_wants_and_no_place_of_this_machine(made, full):
    folder, facts = full
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json", "threshold.json",
        "README.md",
    }  # fmt: skip
    assert facts["difference"] == 0 and set(facts["files"]) == {p.name for p in folder.iterdir()}
    assert facts["files"]["model.safetensors"]["sha256"] == repro.sha256(
        folder / "model.safetensors"
    )
    for path in folder.iterdir():
        assert str(made).encode() not in path.read_bytes(), path.name
        assert path.stat().st_mode & 0o777 == 0o644
    assert json.loads((folder / "config.json").read_text())["backbone"] == "my-encoder"
    # the kit reads it as well, with its threshold
    again = score.load(folder, device="cpu")
    assert again.threshold["value"] == score.load(made / "run", device="cpu").threshold["value"]


def test_the_card_says_what_the_records_say(made, full):
    text = (full[0] / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["pipeline_tag"]) == ("mit", "image-classification")
    assert "arxiv:2508.06248" in head["tags"] and "base_model" not in head
    card = ModelCard.load(full[0] / "README.md")  # what the hub's own reader understands
    rows = repro.read_json(made / "run" / "summary.json")["report"]
    assert [r.metric_value for r in card.data.eval_results] == [
        round(row["auroc"], 6) for row in rows
    ]
    for row in rows:
        assert f"| {row['auroc']:.3f} | {row['low']:.3f} to {row['high']:.3f} |" in text
    run = repro.read_json(made / "run" / "run.json")
    assert f"{run['n_trained']:,} of" in text and run["fingerprint"] in text
    assert "toy: DF, NT, real" in text and "AdamW, rate 0.01 to 0.001" in text
    assert f"{run['n_fit']:,} to fit" in text and "epoch 1 taken" in text
    assert full[1]["files"]["model.safetensors"]["sha256"] in text
    for word in ("tiny-detector", "## Limits and misuse", "no proof", "licence | mit", "layernorm"):
        assert word in text
    assert "None" not in text and "nan" not in text.lower().split()


def test_an_adapter_is_what_was_tuned_and_loads_on_its_encoder(made):
    facts = publish.write(made / "run", made / "adapter", "adapter", licence="mit")
    names = {"adapter_config.json", "adapter_model.safetensors", "gend_config.json"}
    assert names <= set(facts["files"]) and "model.safetensors" not in facts["files"]
    same = (made / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert (made / "adapter" / "adapter_model.safetensors").read_bytes() == same
    for path in (made / "adapter").iterdir():
        assert str(made).encode() not in path.read_bytes(), path.name
    again = hub.from_pretrained(made / "adapter")  # its encoder lies beside it
    wanted = score.load(made / "run", device="cpu").model
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again(pixels).logits, wanted(pixels).logits)
    # and a whole detector gives the same adapter, where its base is known
    out = made / "from-full"
    publish.write(made / "full", out, "adapter", licence="mit", base=str(made / "my-encoder"))
    from safetensors.torch import load_file

    left, right = (load_file(f / "adapter_model.safetensors") for f in (out, made / "adapter"))
    assert left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_the_embedded_detector_needs_no_words(tmp_path):
    out = tmp_path / "detector"
    assert command.main(["embedded", "--out", str(out), "--dry-run", "--adapter"]) == 0
    text = (out / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    rows = repro.read_json(ROOT / "data" / "weights" / "detector" / "metrics.json")
    assert head["license"] == "cc0-1.0" and len(head["model-index"][0]["results"]) == len(rows)
    assert "5,762 of" in text and "rendered heads" in text and "No run record" in text
    assert "### The embedded detector: card" in text  # its own card, as notes


def test_licence_is_asked_for_where_it_is_not_the_kits_own(made, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"my-encoder.*toy.*--license ID"):
        publish.write(made / "run", tmp_path / "a")
    with pytest.raises(ValueError, match="small letters"):
        publish.write(made / "run", tmp_path / "a", licence="MIT License")
    model = tiny()
    model.save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="data that no record names"):
        publish.write(tmp_path / "saved", tmp_path / "a")
    facts = publish.write(tmp_path / "saved", tmp_path / "a", licence="other")
    text = (tmp_path / "a" / "README.md").read_text()
    assert "threshold.json" not in facts["files"] and "Nothing: no report" in text
    assert "No threshold is stored" in text and "trained | not recorded" in text
    assert "model-index" not in text


def test_base_encoders_of_the_hub_are_named(tmp_path):
    model = tiny()
    model.config.encoder["spec"]["hub_id"] = "openai/clip-vit-large-patch14"
    model.save_pretrained(tmp_path / "saved")
    publish.write(tmp_path / "saved", tmp_path / "out", licence="mit")
    head = ModelCard.load(tmp_path / "out" / "README.md").data
    assert head.base_model == "openai/clip-vit-large-patch14"
    assert head.to_dict()["base_model_relation"] == "finetune"


def test_a_folder_with_other_scores_is_not_written(tmp_path, monkeypatch):
    tiny().save_pretrained(tmp_path / "saved")
    other = tiny(seed=1)
    save = hub.save
    monkeypatch.setattr(hub, "save", lambda model, out: save(other, out))
    with pytest.raises(ValueError, match="other scores than the source"):
        publish.write(tmp_path / "saved", tmp_path / "out", licence="mit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["lora", "probe"])
def test_other_ways_to_tune(tmp_path, how):
    folder = adapters.save_adapter(adapters.tune(embedded_copy(), how), tmp_path / how)
    text = "\n# Mine\n\n```sh\n# a comment\n```\n"
    (tmp_path / "notes.md").write_text(text)
    for kind in publish.KINDS:
        facts = publish.write(
            folder, tmp_path / kind, kind, licence="mit", notes=tmp_path / "notes.md"
        )
        card = (tmp_path / kind / "README.md").read_text()
        assert facts["difference"] <= 1e-6 and f"| tuned | {how} |" in card
        assert "### Mine" in card and "\n# a comment" in card
    name = "adapter_model.safetensors" if how == "lora" else "tuned.safetensors"
    assert name in facts["files"]


def embedded_copy():
    from gendkit import model

    return model.build("embedded", feature_scale=10.0)


class Hub:
    """Stands in for huggingface_hub.HfApi; keeps what it was asked to do."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **options):
        names = {path.name for path in Path(options["folder_path"]).iterdir()}
        self.calls.append(("upload_folder", options["repo_id"], names))


def test_upload_makes_the_repository_and_sends_the_folder(made, full, monkeypatch, capsys):
    api = Hub()
    url = publish.upload(full[0], "me/tiny-detector", private=True, api=api)
    assert url == "https://huggingface.co/me/tiny-detector"
    (made_repo, sent) = api.calls
    assert made_repo == (
        "create_repo",
        "me/tiny-detector",
        {"repo_type": "model", "private": True, "exist_ok": True},
    )
    assert sent == ("upload_folder", "me/tiny-detector", {p.name for p in full[0].iterdir()})
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_of_a_test")
    words = [str(made / "run"), "--out", str(made / "sent"), "--license", "mit"]
    assert command.main([*words, "--repo-id", "me/other"]) == 0
    assert "uploaded to https://huggingface.co/me/other" in capsys.readouterr().out
    assert [call[:2] for call in api.calls[2:]] == [
        ("create_repo", "me/other"),
        ("upload_folder", "me/other"),
    ]
    words += ["--repo-id", "me/other", "--dry-run", "--overwrite", "--json"]
    assert command.main(words) == 0
    assert json.loads(capsys.readouterr().out)["url"] is None and len(api.calls) == 4


def test_upload_without_token_or_card_is_refused(full, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ValueError, match="HF_TOKEN"):
        publish.upload(full[0], "me/tiny")
    with pytest.raises(ValueError, match="owner/name"):
        publish.upload(full[0], "tiny", api=Hub())
    with pytest.raises(FileNotFoundError, match=r"README\.md"):
        publish.upload(tmp_path, "me/tiny", api=Hub())


def test_wrong_use(made, full, tmp_path, capsys):
    run, out = str(made / "run"), str(tmp_path / "out")
    for words in (
        [run, "--out", out],  # an upload to nowhere
        [run, "--out", str(made / "run" / "here"), "--dry-run"],
        [run, "--out", str(full[0]), "--dry-run"],  # not empty
        [run, "--out", str(full[0] / "README.md"), "--dry-run"],
        [run, "--out", out, "--dry-run", "--full", "--adapter"],
    ):
        with pytest.raises(SystemExit) as left:
            command.main(words)
        assert left.value.code == 2, words
    capsys.readouterr()
    assert command.main([str(tmp_path / "none"), "--out", out, "--dry-run"]) == 1
    assert "gendkit convert" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command.main([str(tmp_path / "empty"), "--out", out, "--dry-run"]) == 1
    assert "config.json" in capsys.readouterr().err
    for key, value in (("kind", "half"), ("repo_id", "noslash")):
        with pytest.raises(ValueError, match=value):
            publish.write(run, out, licence="mit", **{key: value})
    assert not Path(out).exists()


def test_headings_are_moved_down_but_not_in_code():
    text = "# A\n\n```\n# b\n```\n##### C\n#no heading"
    assert cards.demote(text) == "### A\n\n```\n# b\n```\n###### C\n#no heading"


def test_the_threshold_of_scores_is_published(made, tmp_path):
    """A run without threshold.json: it is chosen on the select rows, as gendkit score does."""
    copy = Path(shutil.copytree(made / "run", tmp_path / "run"))
    (copy / "threshold.json").unlink()
    publish.write(copy, tmp_path / "out", licence="mit")
    stored = repro.read_json(tmp_path / "out" / "threshold.json")
    scores = evaluate.read_scores(copy / "scores.csv")
    assert stored["value"] == evaluate.select_threshold(scores)["value"]
