"""doctor: what is there and what is missing, each with its remedy; nothing is downloaded."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

from gendkit import doctor, repro
from gendkit.commands import doctor as command


@pytest.fixture
def empty_caches(tmp_path, monkeypatch):
    import torch
    from huggingface_hub import constants

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def by_name(lines):
    return {line.name: line for line in lines}


def test_packages_of_this_environment():
    lines = by_name(doctor.packages())
    assert lines["torch"].status == "ok" and lines["torch"].text == metadata.version("torch")
    assert lines["faces"].status == "ok" and lines["faces"].needed
    assert not lines["book"].needed and doctor.healthy(list(lines.values()))


def test_requirements_are_those_of_the_project():
    needs = doctor.requirements()
    assert "torch" in {need.name for need in needs[""]}
    assert {need.name for need in needs["faces"]} == {"dlib-bin", "face-alignment", "opencv-python"}


def test_a_missing_an_old_and_a_broken_package(monkeypatch):
    from packaging.requirements import Requirement

    real = metadata.version
    found = {"numpy": "1.0", "tqdm": None}

    def version(name):
        if name in found and found[name] is None:
            raise metadata.PackageNotFoundError(name)
        return found.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(doctor, "_import", lambda module: "OSError: bad" * (module == "scipy"))
    lines = by_name(doctor.packages())
    assert lines["numpy"].status == "broken" and lines["numpy"].text == "1.0, expected >=2"
    assert lines["tqdm"].status == "missing" and 'pip install "tqdm' in lines["tqdm"].fix
    assert lines["scipy"].status == "broken" and "OSError: bad" in lines["scipy"].text
    assert not doctor.healthy(list(lines.values()))
    part = [Requirement("tqdm>=4"), Requirement("pandas>=2")]
    (extra,) = doctor._extra("log", part)
    assert extra.status == "missing" and extra.fix == 'pip install "gendkit[log]"'
    assert doctor.healthy([extra])  # nothing that the fast profile needs


def test_machine(monkeypatch, tmp_path):
    lines = by_name(doctor.machine())
    assert "cores" in lines["processor"].text and lines["disk"].status == "ok"
    usage = type("Usage", (), {"free": 2e8})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    full = by_name(doctor.machine())["disk"]
    assert full.status == "broken" and full.needed and "free 0.8 GB" in full.fix


def test_embedded_data_and_weights_are_there():
    lines = [*doctor.data(quick=True), *doctor.weights(quick=True)]
    assert [line.status for line in lines] == ["ok"] * 3 and "824 clips" in lines[0].text


def test_changed_and_missing_clips(tmp_path, monkeypatch):
    import shutil

    from gendkit import manifest

    table = manifest.read(repro.data_dir() / "nobody" / "manifest.csv").iloc[:2]
    for name in ("nobody", "nobody-x"):
        for path in table["path"]:
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repro.data_dir() / "nobody" / path, tmp_path / name / path)
        part = table.drop(columns=["mask_path", "mask_sha256"])
        manifest.write(part, tmp_path / name / "manifest.csv")
    monkeypatch.setattr(repro, "data_dir", lambda path="": tmp_path)
    assert [line.status for line in doctor.data()] == ["ok", "ok"]
    (tmp_path / "nobody" / table["path"].iloc[0]).write_bytes(b"other")
    (tmp_path / "nobody-x" / table["path"].iloc[1]).unlink()
    changed, lost = doctor.data()
    assert changed.status == "broken" and "are not those of the manifest" in changed.text
    assert lost.status == "missing" and "1 of 2 clips" in lost.text
    assert changed.fix == "git checkout -- data/nobody" and changed.needed
    (weights,) = doctor.weights()
    assert weights.status == "missing" and weights.needed and weights.fix


def test_faults_of_the_verifier_are_told(monkeypatch):
    def run(command, **options):
        assert command[2:] == ["gendkit.cli", "weights", "verify", "--json"]
        return subprocess.CompletedProcess(command, 1, '{"ok": false, "faults": ["a: sha256"]}', "")

    monkeypatch.setattr(doctor.subprocess, "run", run)
    (line,) = doctor.weights()
    assert line.status == "broken" and "1 faults, first: a: sha256" in line.text

    def crash(command, **options):
        return subprocess.CompletedProcess(command, 3, "", "boom\nlast words")

    monkeypatch.setattr(doctor.subprocess, "run", crash)
    (line,) = doctor.weights()
    assert "ended with 3: last words" in line.text


def test_models_from_outside_have_address_folder_and_command(empty_caches):
    lines = by_name([*doctor.networks(), *doctor.models()])
    fan = lines["landmarks 2DFAN-4"]
    target = empty_caches / "torch" / "checkpoints" / "2DFAN4-11f355bf06.pth.tar"
    assert fan.status == "missing" and not fan.needed and str(target.parent) in fan.text
    assert fan.fix.startswith(f"curl -L --create-dirs -o {target} https://")
    gend = lines["released yermandy/GenD_CLIP_L_14"]
    assert gend.fix == "hf download yermandy/GenD_CLIP_L_14 config.json model.safetensors"
    assert str(empty_caches / "hub" / "models--yermandy--GenD_CLIP_L_14") in gend.text
    assert "https://huggingface.co/facebook/dinov3" in lines["encoder dinov3-l"].text
    target.parent.mkdir(parents=True)
    target.write_bytes(b"weights")
    assert by_name(doctor.networks())["landmarks 2DFAN-4"].status == "ok"


def test_a_cached_model_is_found(empty_caches):
    cache = empty_caches / "hub" / "models--yermandy--GenD_PE_L"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    assert by_name(doctor.models())["released yermandy/GenD_PE_L"].status == "missing"
    (snapshot / "model.safetensors").write_bytes(b"x")
    line = by_name(doctor.models())["released yermandy/GenD_PE_L"]
    assert line.status == "ok" and line.text == str(snapshot)


LINES = [
    doctor.Line("packages", "torch", "ok", True, "2.13.0"),
    doctor.Line("data", "nobody", "broken", True, "1 of 2 clips", "git checkout -- data/nobody"),
    doctor.Line("models", "released x", "missing", False, "there", "hf download x"),
]


def test_command_text_json_and_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda quick=False: LINES)
    assert command.main([]) == 1
    out = capsys.readouterr().out
    assert "fix: git checkout -- data/nobody" in out and "OK       torch" in out
    assert "1 things that the fast profile needs" in out and "1 more are not here" in out
    assert command.main(["--json", "--quick"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"] and told["lines"][1]["status"] == "broken"
    monkeypatch.setattr(doctor, "examine", lambda quick=False: [LINES[0], LINES[2]])
    assert command.main([]) == 0
    assert "All that the fast profile needs is here." in capsys.readouterr().out


def test_the_import_is_light():
    code = "import sys, gendkit.doctor; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
