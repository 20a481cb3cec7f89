"""`gendkit data`: what it prints, what it writes, how it ends."""

import json
import shutil
import subprocess
import sys

import pytest
from dataset_trees import celeb, deepfakedetection, faceforensics, generic, touch

from gendkit import benchmarks, manifest
from gendkit.commands import data


def run(capsys, *words):
    status = data.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def test_list_names_every_dataset(capsys):
    status, out, _ = run(capsys, "list")
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(benchmarks.CARDS)
    assert lines[-1].startswith("15 datasets")
    status, out, _ = run(capsys, "list", "--json")
    facts = json.loads(out)
    assert status == 0 and facts["count"] == 15
    assert {row["key"]: row["builds"] for row in facts["datasets"]}["DFD"] == ["people", "whole"]


@pytest.mark.parametrize("key", benchmarks.CARDS)
def test_show_prints_every_fact_with_its_source(capsys, key):
    status, out, _ = run(capsys, "show", key)
    assert status == 0
    for facts in benchmarks.card(key).facts().values():
        for fact in facts:
            assert fact.cited in out
    status, out, _ = run(capsys, "show", key, "--json")
    facts = json.loads(out)
    assert {"rights", "access", "size", "splits", "overlaps"} <= set(facts["facts"])
    assert len(facts["expected"]) == len(benchmarks.card(key).parts)


@pytest.mark.parametrize(
    "words", [("show", "CDFv4"), ("verify", "CDFv4", "."), ("manifest", "CDFv4")]
)
def test_an_unknown_name_is_wrong_use(capsys, tmp_path, words):
    more = (tmp_path, "--out", tmp_path / "m.csv") if words[0] == "manifest" else ()
    status, out, err = run(capsys, *words, *more)
    assert (status, out) == (2, "")
    assert "got dataset 'CDFv4', expected one of FF++" in err and "did you mean CDFv" in err


def test_verify_of_a_complete_part(capsys, tmp_path):
    root = faceforensics(tmp_path)
    status, out, err = run(capsys, "verify", "ff++", root, "--subset", "--masks")
    assert (status, err) == (0, "")
    assert "manipulated_sequences/Deepfakes/c23/videos/  8 videos" in out
    assert out.splitlines()[-1] == "complete"


def test_verify_prints_exactly_what_is_missing_and_what_to_do(capsys, tmp_path):
    root = faceforensics(tmp_path)
    (root / "manipulated_sequences/FaceSwap/c23/videos/071_054.mp4").unlink()
    (root / "manipulated_sequences/FaceSwap/masks/videos/720_672.mp4").unlink()
    touch(root, "old/x.mp4", "original_sequences/youtube/c23/videos/wrong name.mp4")
    status, out, _ = run(capsys, "verify", "FF++", root, "--subset")
    assert status == 1
    for line in (
        "manipulated_sequences/FaceSwap/c23/videos/  7 videos",
        "missing 071_054",
        "without mask 720_672",
        "unreadable name original_sequences/youtube/c23/videos/wrong name.mp4",
        "extra: old/",
        "incomplete",
        f"download-FaceForensics.py {root} -d FaceSwap -c c23 -t videos",
        "move files with other names out of the video folders",
    ):
        assert line in out
    assert "-d Deepfakes" not in out
    status, out, err = run(capsys, "verify", "FF++", root, "--subset", "--json")
    report = json.loads(out)
    assert (status, err, report["complete"]) == (1, "", False)
    found = {part["folder"]: part for part in report["parts"]}
    assert found["manipulated_sequences/FaceSwap/c23/videos"]["missing"] == ["071_054"]


def test_verify_shortens_long_lists_but_json_does_not(capsys, tmp_path):
    root = faceforensics(tmp_path)
    status, out, _ = run(capsys, "verify", "FF++", root)
    assert status == 1 and "missing 982 more (all: --json)" in out
    assert "8 of 1000 videos" in out and "992 more are missing; which ones is not known" in out
    _, out, _ = run(capsys, "verify", "FF++", root, "--json")
    assert len(json.loads(out)["parts"][0]["missing"]) == 992


@pytest.mark.parametrize("words", [("no/such/folder",), (".", "--compression", "c99")])
def test_verify_that_cannot_be_done(capsys, words):
    status, out, err = run(capsys, "verify", "FF++", *words)
    assert (status, out) == (1, "") and err.startswith("gendkit data: ")


def test_manifest_of_faceforensics(capsys, tmp_path):
    root = faceforensics(tmp_path / "FF")
    out = tmp_path / "ff.csv"
    status, text, _ = run(capsys, "manifest", "FF++", root, "--compression", "c23", "--out", out)
    assert status == 0 and f"{out}: 40 videos, 32 with a mask" in text
    assert f"next: gendkit audit {out}" in text
    table = manifest.validate(manifest.read(out), tmp_path)
    assert table.groupby("role").size().to_dict() == {"fit": 20, "report": 10, "select": 10}
    status, text, _ = run(capsys, "manifest", "FF++", root, "--out", out, "--json")
    facts = json.loads(text)
    assert status == 0 and facts["videos"] == 40 and facts["masks"] == 32
    assert sum(row["videos"] for row in facts["counts"]) == 40


def test_manifest_of_actors_has_nobody_in_two_roles(capsys, tmp_path):
    root = deepfakedetection(tmp_path)
    out = root / "dfd.csv"
    words = ("manifest", "DFD", root, "--out", out, "--shares", "0.5,0,0.5")
    status, text, _ = run(capsys, *words)
    assert status == 0 and "note: people by role: 3 fit, 3 report" in text
    table = manifest.read(out)
    by_role = {
        role: {*part["source_id"], *part["donor_id"]} - {""} for role, part in table.groupby("role")
    }
    assert not by_role["fit"] & by_role["report"] and len(by_role["fit"] | by_role["report"]) == 6


def test_manifest_of_celeb_df(capsys, tmp_path):
    root = celeb(tmp_path)
    status, text, _ = run(capsys, "manifest", "Celeb-DF-v2", root, "--out", root / "m.csv")
    assert status == 0 and "22 videos without a role are left out" in text
    assert set(manifest.read(root / "m.csv")["role"]) == {"report"}


def test_manifest_of_a_generic_folder(capsys, tmp_path):
    root = generic(tmp_path)
    words = ("manifest", "generic", root, "--dataset", "KoDF", "--compression", "c23")
    status, text, _ = run(capsys, *words, "--out", root / "m.csv")
    assert status == 0 and "1 fakes have the name of no real" in text
    table = manifest.read(root / "m.csv")
    assert set(table["dataset"]) == {"KoDF"} and set(table["compression"]) == {"c23"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "splits/train.json").write_text('[["../../x", "054"]]'), "entry 0 is"),
        (lambda r: (r / "splits/train.json").unlink(), "train.json is missing"),
        (lambda r: touch(r, "original_sequences/youtube/c23/videos/071.mkv"), "are both video"),
        (lambda r: shutil.rmtree(r / "manipulated_sequences/FaceSwap"), "pass --partial"),
        (lambda r: shutil.rmtree(r / "original_sequences"), "no videos in original_sequences"),
    ],
)
def test_manifest_of_a_spoilt_tree_writes_nothing(capsys, tmp_path, spoil, message):
    root = faceforensics(tmp_path)
    spoil(root)
    status, out, err = run(capsys, "manifest", "FF++", root, "--out", root / "m.csv")
    assert (status, out) == (1, "") and message in err and not (root / "m.csv").exists()


def test_manifest_of_a_set_without_a_builder(capsys, tmp_path):
    status, _, err = run(capsys, "manifest", "FAVC", tmp_path, "--out", tmp_path / "m.csv")
    assert status == 1 and "meta_data.csv of the release" in err
    assert "gendkit data manifest generic ROOT --dataset FakeAVCeleb" in err


@pytest.mark.parametrize(
    "words",
    [("--shares", "1,2"), ("--shares", "a,b,c"), ("--shares", "0,0,0"), ("--dataset", "mine")],
)
def test_wrong_use_of_manifest(capsys, tmp_path, words):
    root = deepfakedetection(tmp_path)
    status, _, err = run(capsys, "manifest", "DFD", root, "--out", root / "m.csv", *words)
    assert status == 2 and words[0] in err


@pytest.mark.parametrize("split", ["official", "random"])
def test_a_wrong_split(capsys, tmp_path, split):
    root = deepfakedetection(tmp_path)
    words = ("manifest", "DFD", root, "--out", root / "m.csv", "--split", split)
    status, _, err = run(capsys, *words)
    assert status == 1 and f"got split '{split}', expected one of people, whole" in err


def test_lists_of_something_else(capsys, tmp_path):
    root = generic(tmp_path)
    run(capsys, "manifest", "generic", root, "--out", root / "m.csv")
    status, _, err = run(capsys, "lists", root / "m.csv", "--out", tmp_path / "out")
    assert status == 1 and "run gendkit extract on it first" in err
    status, _, err = run(capsys, "lists", root / "none.csv", "--out", tmp_path / "out")
    assert status == 1 and "expected an existing CSV file" in err


def test_the_command_line_ends_with_its_status(tmp_path):
    words = [sys.executable, "-m", "gendkit.commands.data", "verify", "UADFV", str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 1 and "real/  missing folder" in ended.stdout
    assert "Google form" in ended.stdout and ended.stderr == ""
