"""`gendkit convert`: every layout to every other, Lightning checkpoints, exit codes."""

import enum
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gendkit import hub
from gendkit.commands import convert

ROOT = Path(__file__).resolve().parents[1]
PARITY = ROOT / "tests" / "data" / "parity"
NAME = "gend_clip_linearnorm"


@pytest.fixture
def parity(tmp_path) -> Path:
    """An official checkpoint with moved LayerNorms, and its backbone beside it."""
    root = tmp_path / "parity"
    shutil.copytree(PARITY, root)
    state = load_file(PARITY / NAME / "model.safetensors")
    prefix = "feature_extractor."
    base = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    save_file(base, root / "tiny-clip" / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    for key in [k for k in state if "norm" in k or k.startswith("model.")]:
        state[key] = state[key] + 0.1 * torch.randn(state[key].shape, generator=generator)
    (root / NAME / "model.safetensors").unlink()
    save_file(state, root / NAME / "model.safetensors", metadata={"format": "pt"})
    return root


def run(*words: object) -> int:
    return convert.main([str(word) for word in words])


def run_json(capsys, *words: object) -> dict:
    assert run(*words, "--json") == 0
    out = capsys.readouterr()
    return json.loads(out.out)


def same(left: Path, right: Path) -> bool:
    """If two weight files hold the same tensors, bit for bit."""
    a, b = (load_file(p / "model.safetensors") for p in (left, right))
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_round_trip_through_every_layout(parity, tmp_path, capsys):
    base = parity / "tiny-clip"
    steps = [("adapter", "a"), ("gendkit", "b"), ("adapter", "c"), ("official", "d")]
    source, seen = parity / NAME, []
    for layout, name in steps:
        facts = run_json(capsys, source, tmp_path / name, "--to", layout, "--base", base)
        seen.append(facts["source_layout"])
        source = tmp_path / name
    assert seen == ["official", "adapter", "gendkit", "adapter"]
    assert same(source, parity / NAME)
    sizes = {p.name: p.stat().st_size for p in source.iterdir()}
    assert {k: v["bytes"] for k, v in facts["files"].items()} == sizes
    assert (facts["backbone"], facts["head"]) == ("tiny-clip", "LinearNorm")


def test_the_base_is_found_beside_the_source(parity, tmp_path, capsys):
    assert run(parity / NAME, parity / "adapter", "--to", "adapter") == 0
    out = capsys.readouterr().out
    assert "adapter_model.safetensors" in out and "head LinearNorm" in out
    assert run(parity / "adapter", tmp_path / "back", "--to", "official") == 0
    assert same(tmp_path / "back", parity / NAME)


class Head(str, enum.Enum):  # noqa: UP042 - as the official code has it
    """Stands for the enumeration of the official code, under its module's name."""

    NLinear = "LinearNorm"


Head.__module__ = "src.config"


@pytest.fixture
def official_code(monkeypatch) -> None:
    """The module that official checkpoints name, there while one is written."""
    module = types.ModuleType("src.config")
    module.Head = Head
    monkeypatch.setitem(sys.modules, "src", types.ModuleType("src"))
    monkeypatch.setitem(sys.modules, "src.config", module)


def lightning(parity: Path, **hyper) -> Path:
    """Write the checkpoint as Lightning does."""
    state = load_file(parity / NAME / "model.safetensors")
    path = parity / "best_mAP.ckpt"
    extra = {"epoch": 3, "optimizer_states": [], "pytorch-lightning_version": "2.5.0"}
    torch.save({"state_dict": state, "hyper_parameters": hyper, **extra}, path)
    return path


def test_lightning_checkpoint(parity, tmp_path, capsys):
    path = lightning(parity, backbone="tiny-clip", head="LinearNorm", backbone_args=None)
    facts = run_json(capsys, path, tmp_path / "out", "--to", "official")
    assert facts["source_layout"] == "checkpoint"
    assert same(tmp_path / "out", parity / NAME)
    assert run(path, tmp_path / "kit", "--to", "gendkit") == 0
    expected = np.load(PARITY / NAME / "expected.npz")["pixel_values"]
    with torch.no_grad():
        got = hub.from_pretrained(tmp_path / "kit")(torch.from_numpy(expected)).logits
        wanted = hub.from_pretrained(parity / NAME)(torch.from_numpy(expected)).logits
    assert torch.equal(got, wanted)


def test_checkpoint_with_the_official_enumeration_is_read_as_text(parity, tmp_path, official_code):
    path = lightning(parity, backbone="tiny-clip", head=Head.NLinear)
    sys.modules.pop("src.config")
    model = hub.from_checkpoint(path)
    assert type(model.config.head) is str and model.config.head == "LinearNorm"
    assert "src.config" not in sys.modules


def test_checkpoint_without_its_settings(parity, tmp_path, capsys):
    path = lightning(parity)
    assert run(path, tmp_path / "out", "--to", "official") == 1
    assert "does not say its backbone and head; give backbone=" in capsys.readouterr().err
    words = ("--backbone", "tiny-clip", "--head", "LinearNorm")
    assert run(path, tmp_path / "out", "--to", "official", *words) == 0
    assert same(tmp_path / "out", parity / NAME)
    torch.save(load_file(parity / NAME / "model.safetensors"), parity / "plain.pt")
    assert run(parity / "plain.pt", tmp_path / "out2", "--to", "official", *words) == 0
    assert same(tmp_path / "out2", parity / NAME)


class Bomb:
    """Runs code when a pickle of it is read."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was run",))


@pytest.mark.parametrize(
    ("hyper", "words"),
    [
        ({"backbone": "tiny-clip", "head": Bomb()}, "without running code of the file.*sys.exit"),
        ({"backbone": "tiny-clip", "head": "mlp"}, "head 'mlp'"),
        ({"backbone": "own/vit", "head": "linear"}, "Unknown backbone 'own/vit'"),
        (
            {
                "backbone": "tiny-clip",
                "head": "linear",
                "backbone_args": {"merge_cls_token_with_patches": "mean"},
            },
            "merge_cls_token_with_patches='mean'",
        ),
    ],
)
def test_checkpoints_that_are_refused(parity, tmp_path, hyper, words):
    with pytest.raises(ValueError, match=words):
        hub.from_checkpoint(lightning(parity, **hyper))


def test_files_that_are_no_checkpoints(tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"not a checkpoint")
    assert run(path, tmp_path / "out", "--to", "gendkit") == 1
    assert "cannot be read" in capsys.readouterr().err
    torch.save({"epoch": 1}, path)
    assert run(path, tmp_path / "out", "--to", "gendkit") == 1
    assert "holds no tensors by name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_failures_leave_nothing_and_give_1(parity, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(parity / NAME, out, "--to", "adapter", "--base", parity / "tiny-dinov3") == 1
    assert "does not fit its backbone" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", out, "--to", "official") == 1
    assert "neither a folder nor a hub repository" in capsys.readouterr().err
    words = ("--cache-dir", tmp_path / "cache", "--offline")
    assert run("yermandy/GenD_PE_L", out, "--to", "gendkit", *words) == 1
    assert "hf download yermandy/GenD_PE_L config.json" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOURCE", "OUT"], "--to"),
        (["SOURCE", "OUT", "--to", "onnx"], "invalid choice"),
        (["SOURCE", "FULL", "--to", "official"], "not empty; choose another, or pass --overwrite"),
        (["SOURCE", "SOURCE", "--to", "official", "--overwrite"], "lie in each other"),
        (["SOURCE", "PARENT", "--to", "official", "--overwrite"], "lie in each other"),
        (["SOURCE", "FILE", "--to", "official"], "is a file"),
        (["SOURCE", "OUT", "--to", "official", "--head", "linear"], "are for a .ckpt file"),
    ],
)
def test_wrong_usage_gives_2(parity, tmp_path, capsys, words, message):
    places = {"SOURCE": parity / NAME, "PARENT": parity, "OUT": tmp_path / "out"}
    places |= {"FULL": parity / "tiny-clip", "FILE": parity / "input.png"}
    with pytest.raises(SystemExit) as error:
        run(*(places.get(word, word) for word in words))
    assert error.value.code == 2 and message in capsys.readouterr().err
    assert (parity / "tiny-clip" / "config.json").is_file()


def test_overwrite_replaces_the_whole_folder(parity, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    assert run(parity / NAME, out, "--to", "official", "--overwrite") == 0
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "model.safetensors"]


def test_warnings_go_to_stderr_and_into_the_json(parity, tmp_path, capsys):
    path = parity / NAME / "config.json"
    config = json.loads(path.read_text())
    del config["head"]
    path.write_text(json.dumps(config))
    assert run(parity / NAME, tmp_path / "out", "--to", "gendkit", "--json") == 0
    got = capsys.readouterr()
    facts = json.loads(got.out)
    assert facts["head"] == "linear" and len(facts["warnings"]) == 1
    assert "warning" in got.err and "NOT normalised" in got.err


def test_help_has_examples_and_loads_nothing_heavy():
    code = (
        "import sys; from gendkit.commands import convert\n"
        "try:\n    convert.main(['--help'])\nfinally:\n"
        "    print('loaded', *{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout and "gendkit convert yermandy/GenD_CLIP_L_14" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["loaded"]
