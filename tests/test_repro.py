"""repro: seeds, atomic files, JSON, hashes, provenance, progress."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from gendkit import repro


def test_import_is_light():
    code = "import sys, gendkit, gendkit.repro; print('torch' in sys.modules, gendkit.__version__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split()[0] == "False"


def test_seed_all_repeats_everything():
    import torch

    def draw():
        generator = repro.seed_all(7)
        return [generator.random(), random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: NPY002

    assert draw() == draw()
    first = draw()
    repro.seed_all(8)
    assert torch.rand(1).item() != first[3]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "3", True])
def test_seed_all_refuses(seed):
    with pytest.raises(ValueError, match="whole number"):
        repro.seed_all(seed)


def test_device():
    assert repro.device("cpu").type == "cpu"
    assert repro.device().type in {"cpu", "cuda", "mps"}
    with pytest.raises(ValueError, match='"auto"'):
        repro.device("cuda:99")
    with pytest.raises(ValueError, match="expected"):
        repro.device("abacus")


def test_data_dir(tmp_path, monkeypatch):
    assert repro.data_dir(tmp_path) == tmp_path
    monkeypatch.setenv("GENDKIT_DATA", str(tmp_path))
    assert repro.data_dir() == tmp_path
    with pytest.raises(FileNotFoundError, match="set GENDKIT_DATA"):
        repro.data_dir(tmp_path / "none")


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_atomic_file_and_folder(tmp_path):
    with repro.atomic_path(tmp_path / "deep" / "a.npz") as temporary:
        assert temporary.suffix == ".npz" and temporary.parent == tmp_path / "deep"
        np.savez(temporary, x=np.arange(3))
    assert names(tmp_path) == ["deep", "deep/a.npz"]
    for content in ("old", "new"):
        with repro.atomic_path(tmp_path / "deep") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
        assert names(tmp_path) == ["deep", f"deep/{content}"]
    with repro.atomic_path(tmp_path / "deep") as temporary:
        temporary.write_text("a file now")
    assert (tmp_path / "deep").read_text() == "a file now"
    assert names(tmp_path) == ["deep"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_atomic_leaves_nothing_after_an_error(tmp_path, error, kind):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), repro.atomic_path(tmp_path / "a.txt") as temporary:
        if kind == "folder":
            temporary.mkdir()
            temporary = temporary / "inside"
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
    with pytest.raises(error), repro.atomic_path(tmp_path / "x" / "y" / "b.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ["a.txt"]


def test_atomic_survives_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    for broken in ("fsync", "replace"):
        (tmp_path / "a.json").write_text("old")
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(OSError, match="No space"):
                repro.write_json(tmp_path / "a.json", {"x": 1})
        assert names(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_text() == "old"


def test_atomic_folder_comes_back_if_the_exchange_fails(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("old")
    real, calls = os.replace, []

    def second_fails(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise OSError("broken")
        real(a, b)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="broken"), repro.atomic_path(tmp_path / "d") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["d", "d/old"]


def test_atomic_needs_something_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="atomic_path gives"):
        with repro.atomic_path(tmp_path / "a.txt"):
            pass


def test_json_round_trip(tmp_path):
    path = tmp_path / "r.json"
    given = {"b": np.float32(0.5), "a": (1, np.arange(2)), "c": {"x": None, "y": "é"}}
    repro.write_json(path, given)
    assert repro.read_json(path) == {"a": [1, [0, 1]], "b": 0.5, "c": {"x": None, "y": "é"}}
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n  "a"') and text.endswith("}\n")
    for bad, where in [
        ({"m": {"auroc": float("nan")}}, r"\$\.m\.auroc"),
        ({"m": [1, np.inf]}, r"\$\.m\[1\]"),
        ({"m": {1: 2}}, r"\$\.m"),
        ({"m": object()}, r"\$\.m"),
    ]:
        with pytest.raises(ValueError, match=where):
            repro.write_json(path, bad)
    assert path.read_text(encoding="utf-8") == text


def test_read_json_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the step"):
        repro.read_json(tmp_path / "none.json")
    for text in ("{", '{"x": NaN}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="write it again"):
            repro.read_json(tmp_path / "bad.json")


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert repro.sha256(tmp_path / "a") == expected
    with pytest.raises(FileNotFoundError, match="existing file"):
        repro.sha256(tmp_path)


def test_fingerprint(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name / "set"
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_text("1")
        (folder / "sub" / "b").write_text("2")
        (tmp_path / name / "file").write_text("3")
    one, two = tmp_path / "one", tmp_path / "two"
    start = repro.fingerprint(one / "set", one / "file")
    assert start == repro.fingerprint(two / "file", two / "set")
    (two / "set" / "__pycache__").mkdir()
    (two / "set" / "__pycache__" / "x.pyc").write_text("x")
    assert start == repro.fingerprint(two / "set", two / "file")
    (two / "set" / "a").write_text("1x")
    changed = repro.fingerprint(two / "set", two / "file")
    (two / "set" / "a").write_text("1")
    (two / "set" / "a").rename(two / "set" / "c")
    renamed = repro.fingerprint(two / "set", two / "file")
    assert len({start, changed, renamed}) == 3
    with pytest.raises(FileNotFoundError):
        repro.fingerprint(tmp_path / "none")


def test_provenance_is_writable(tmp_path):
    record = repro.provenance(seed=3, profile="fast")
    repro.write_json(tmp_path / "p.json", record)
    assert record["seed"] == 3 and {"code", "machine", "started"} <= set(record)
    assert record["code"]["versions"]["numpy"] == np.__version__
    assert str(repro._PACKAGE.parent) not in json.dumps(record)


def test_provenance_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    code = repro.provenance()["code"]
    assert code["commit"] is None and code["dirty"] is None


def test_provenance_ignores_the_checkout_of_another_project(monkeypatch):
    monkeypatch.setattr(repro, "_git", lambda *a: "/elsewhere" if "--show-toplevel" in a else "abc")
    assert repro.provenance()["code"]["commit"] is None
    monkeypatch.setattr(
        repro,
        "_git",
        lambda *a: (
            str(repro._PACKAGE.parent) if "--show-toplevel" in a else "abc" if "HEAD" in a else ""
        ),
    )
    code = repro.provenance()["code"]
    assert code["commit"] == "abc" and code["dirty"] is False


def test_progress_prints_a_line_per_tenth(capsys):
    import ipykernel.kernelapp  # its import alone makes no notebook

    assert not ipykernel.kernelapp.IPKernelApp.initialized()
    assert list(repro.progress(range(1000), what="frames")) == list(range(1000))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[0].startswith("frames: 10 % (100/1000)") and "ETA" in lines[0]
    assert list(repro.progress(iter("abc"), total=3)) == ["a", "b", "c"]
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert sum(1 for _ in repro.progress(iter(range(100)))) == 100
    assert capsys.readouterr().err.splitlines()[-1].startswith("done: 100 in all")
    assert list(repro.progress([])) == []


def test_progress_shows_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(repro.progress(range(3), what="faces")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "faces" in shown and "\r" in shown and "ETA" not in shown


def test_progress_in_a_notebook_goes_to_stdout(capsys, monkeypatch):
    from ipykernel.kernelapp import IPKernelApp

    monkeypatch.setattr(IPKernelApp, "initialized", lambda: True)
    assert list(repro.progress(range(10), what="faces")) == list(range(10))
    shown = capsys.readouterr()
    assert shown.out.startswith("faces: 10 %") and shown.err == ""


def test_network_is_blocked():
    import socket

    with pytest.raises(RuntimeError, match="tried to reach"):
        socket.socket().connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="looked up"):
        socket.getaddrinfo("example.org", 80)
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
