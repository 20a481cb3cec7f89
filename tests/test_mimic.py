"""Trees that look like real releases, and the way of two of them from the check to the test."""

import json

import pytest

from gendkit import benchmarks, evaluate, manifest
from gendkit.audit import command as audit
from gendkit.benchmarks import mimic
from gendkit.benchmarks.listed import DataError
from gendkit.benchmarks.verify import verify
from gendkit.commands import data, extract, test, train
from gendkit.repro import data_dir

PAIRS = {"train": 3, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    top = tmp_path_factory.mktemp("trees")
    return (
        mimic.faceforensics(top / "FaceForensics++", PAIRS),
        mimic.celeb(top / "Celeb-DF-v2", n_people=8, n_youtube=2),
    )


def test_the_trees_are_complete(trees):
    ff, celeb = trees
    report = verify(benchmarks.card("FF++"), ff, masks=True, subset=True)
    assert report["complete"] and not report["extra"] and not report["problems"]
    assert [part["found"] for part in report["parts"]] == [10] * 5
    assert [part["found"] for part in report["masks"]] == [10] * 4
    report = verify(benchmarks.card("CDFv2"), celeb, subset=True)
    assert report["complete"] and not report["extra"]
    assert sorted(part["found"] for part in report["parts"]) == [2, 8, 8]


def test_a_fake_stands_beside_the_real_it_was_made_from(trees):
    ff, _ = trees
    nobody = data_dir() / "nobody"
    known = manifest.read(nobody / "manifest.csv").set_index("sha256")
    from gendkit.repro import sha256

    for a, b in json.loads((ff / "splits/test.json").read_text()):
        real = known.loc[sha256(ff / f"original_sequences/youtube/c23/videos/{a}.mp4")]
        assert real["role"] == "report" and real["method"] == "real"
        for method, short in (("Deepfakes", "DF"), ("NeuralTextures", "NT")):
            folder = ff / f"manipulated_sequences/{method}"
            fake = known.loc[sha256(folder / f"c23/videos/{a}_{b}.mp4")]
            assert (fake["method"], fake["source_id"]) == (short, real["source_id"])
            assert sha256(folder / f"masks/videos/{a}_{b}.mp4") == fake["mask_sha256"]


def test_too_few_people_are_told(tmp_path):
    with pytest.raises(DataError, match="got 200 people of role 'fit', expected 1 to 72"):
        mimic.faceforensics(tmp_path, {"train": 100})
    with pytest.raises(DataError, match="expected an even number"):
        mimic.celeb(tmp_path, n_people=3)


def ran(capsys, command, *words):
    status = command.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def test_both_trees_go_through_every_command_by_their_official_names(trees, tmp_path, capsys):
    """verify, manifest, audit, extract, lists, train, test: FF++ trains, Celeb-DF v2 tests."""
    pytest.importorskip("face_alignment")
    pytest.importorskip("dlib")
    crops = {}
    for name, root in zip(("FF++", "CDFv2"), trees, strict=True):
        status, out, _ = ran(capsys, data, "verify", name, root, "--subset")
        assert status == 0 and out.splitlines()[-1] == "complete"
        table = root / "manifest.csv"
        status, out, _ = ran(capsys, data, "manifest", name, root, "--out", table)
        assert status == 0 and f"next: gendkit audit {table}" in out
        status, out, err = ran(capsys, audit, table, "--probes", "metadata")
        assert status == 0, out + err
        assert "Reals in several columns" in out
        words = (table, "--out", tmp_path / name, "--n-frames", 1, "--strict")
        status, out, err = ran(capsys, extract, *words)
        assert status == 0 and "100.0%" in out and "frames a second" in err
        assert all(stage in err for stage in ("decode", "detect", "landmarks", "align", "write"))
        crops[name] = tmp_path / name / "manifest.csv"
        status, out, _ = ran(capsys, data, "lists", crops[name], "--out", tmp_path / "GenD")
        assert status == 0
    table = manifest.read(crops["FF++"])
    assert set(table["method"]) == {"real", "DF", "F2F", "FS", "NT"} and len(table) == 50
    assert table.groupby("role")["source_id"].nunique().to_dict() == {
        "fit": 6,
        "report": 2,
        "select": 2,
    }
    for group in ("FF", "FF-DF"):  # what the official code will look for
        for name in benchmarks.GROUPS[group]:
            assert len((tmp_path / "GenD" / name).read_text().splitlines()) == 2, name
    tested = tmp_path / "GenD" / benchmarks.ROOT / "CDFv2"
    lists = {path.stem: path for path in tested.rglob("*.txt")}
    assert set(lists) == {"Celeb-real", "YouTube-real", "Celeb-synthesis"}

    words = ("--data", crops["FF++"], "--out", tmp_path / "run", "--set", "epochs=1")
    more = ("--profile", "fast", "--set", "batch_size=8", "--json")
    status, out, err = ran(capsys, train, "wacv-LN+L2+UnAl", *words, *more)
    assert status == 0, err
    summary = json.loads(out)
    assert summary["n_fit"] == 30 and summary["experiment"].startswith("wacv-LN+L2+UnAl")
    words = ("--from", tmp_path / "run", "--data", crops["CDFv2"], "--n-bootstrap", 50, "--json")
    status, out, err = ran(capsys, test, *words, "--out", tmp_path / "result")
    assert status == 0, err
    rows = {(row["dataset"], row["method"]): row for row in json.loads(out)["table"]}
    assert all(dataset == "CDFv2" for dataset, _ in rows)
    whole = next(row for row in rows.values() if row["n_fake"] == 8)
    assert whole["n_real"] == 10 and 0 <= whole["low"] <= whole["auroc"] <= whole["high"] <= 1
    scores = evaluate.read_scores(tmp_path / "result/scores.csv")
    assert (scores.loc[scores["dataset"] == "CDFv2", "role"] == "report").all()
