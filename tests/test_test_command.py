"""gendkit test: tables from files, runs and models; the numbers are those of the parity fixtures."""

import json
import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gendkit import curves, evaluate, manifest, metrics, official, repro
from gendkit.commands import test as command

NOBODY = repro.data_dir() / "nobody"


@pytest.fixture
def parity(data):
    return json.loads((data / "metrics.json").read_text())


@pytest.fixture
def scores_file(tiny_scores, tmp_path):
    """Fit rows are left out, as a run does."""
    scores = tiny_scores[tiny_scores["role"] != "fit"].reset_index(drop=True)
    evaluate.write_scores(scores, tmp_path / "scores.csv")
    return tmp_path / "scores.csv"


def call(capsys, *words):
    status = command.main([str(word) for word in words])
    done = capsys.readouterr()
    return status, done.out, done.err


def as_json(capsys, *words):
    status, out, err = call(capsys, *words, "--json", "--n-bootstrap", "20")
    assert status == 0, err
    return json.loads(out)


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("k", range(3))
def test_official_file_to_the_last_digit(parity, tmp_path, capsys, k, how):
    case = parity[k]
    probs = np.array(case["probs"])
    columns = {"prob_class_0": probs[:, 0], "prob_class_1": probs[:, 1]}
    table = pd.DataFrame({"files": case["files"], "labels": case["labels"], **columns})
    table.to_csv(tmp_path / "test_predictions.csv", index=False)
    words = [tmp_path / "test_predictions.csv", "--format", "official", "--threshold", "oracle"]
    names = {
        "auroc": "auroc", "mAP": "map", "eer": "eer", "eer_threshold": "oracle_threshold",
        "acc": "oracle_accuracy", "balanced_acc": "oracle_balanced_accuracy", "f1": "oracle_f1",
    }  # fmt: skip
    for level, key in (("frame", "frame"), ("video", f"video_{how}")):
        result = as_json(capsys, *words, "--level", level, "--aggregate", how)
        row = next(row for row in result["table"] if row["method"] == "pooled")
        for official_name, name in names.items():
            assert abs(row[name] - case[key][official_name]) < 1e-9, (level, name)
        assert abs(row["w1"] - case[key]["w1"][1]) < 1e-9
        for fpr, tpr in case[key]["tpr_at_fpr"].items():
            assert abs(row[f"tpr@fpr={float(fpr)}"] - tpr) < 1e-9
        assert "accuracy" not in row and result["threshold"]["kind"] == "oracle"


def test_threshold_comes_from_select_by_default(scores_file, capsys):
    result = as_json(capsys, scores_file)
    scores = evaluate.read_scores(scores_file)
    want = evaluate.select_threshold(scores)
    assert result["threshold"] == {"kind": "select", **want}
    videos = metrics.video_scores(scores[scores["role"] == "report"])
    row = next(row for row in result["table"] if row["method"] == "pooled")
    called = videos["p_fake"] >= want["value"]
    assert row["accuracy"] == np.mean(called == videos["label"])
    given = as_json(capsys, scores_file, "--threshold", "0.0")
    row = next(row for row in given["table"] if row["method"] == "pooled")
    assert row["accuracy"] == videos["label"].mean()  # all is called fake
    assert given["threshold"] == {
        "kind": "given", "value": 0.0, "rule": "given on the command line"
    }  # fmt: skip


def test_text_table(scores_file, capsys):
    status, out, _ = call(capsys, scores_file, "--n-bootstrap", "20")
    assert status == 0
    header = out.splitlines()[0]
    for name in ("AUROC (95 %)", "mAP", "EER", "TPR@0.1%", "TPR@5%", "W1", "bal. acc", "F1"):
        assert name in header
    assert "oracle" not in out and "on the videos of the role select" in out
    assert re.search(r"toy/c23 +FS +2 +2 +[01]\.\d{3} \[", out)
    assert "under 1000 reals (here 2)" in out
    _, out, _ = call(capsys, scores_file, "--n-bootstrap", "20", "--threshold", "oracle")
    assert "oracle acc" in out and "no user can know" in out


def test_out_holds_table_curves_and_scores(scores_file, tmp_path, capsys):
    out = tmp_path / "results"
    result = as_json(capsys, scores_file, "--out", out)
    stored = repro.read_json(out / "result.json")
    assert stored["table"] == result["table"] and "versions" in stored["code"]
    assert len(pd.read_csv(out / "table.csv")) == len(result["table"])
    scores = evaluate.read_scores(scores_file)
    pd.testing.assert_frame_equal(
        evaluate.read_scores(out / "scores.csv"), scores, check_exact=True
    )
    videos = metrics.video_scores(scores[scores["role"] == "report"])
    folder = out / "curves" / "toy-c23"
    roc = pd.read_csv(folder / "roc.csv", dtype=str).astype(float)
    pd.testing.assert_frame_equal(roc, curves.roc(videos["label"], videos["p_fake"]))
    assert repro.read_json(folder / "curves.json")["threshold"] == result["threshold"]["value"]
    assert repro.read_json(out / "scores.json")["test"]["level"] == "video"


def test_what_select_has_seen_is_refused(scores_file, tmp_path, capsys):
    scores = evaluate.read_scores(scores_file)
    scores["source_id"] = "000"
    evaluate.write_scores(scores, tmp_path / "leak.csv")
    status, out, err = call(capsys, tmp_path / "leak.csv")
    assert status == 1 and out == "" and "both sides of the split" in err
    only = scores[scores["role"] == "select"]
    evaluate.write_scores(only, tmp_path / "select.csv")
    status, _, err = call(capsys, tmp_path / "select.csv")
    assert status == 1 and "no row has the role 'report'" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("a,b\n1,2\n", "lacks the columns"),
    ],
)
def test_bad_files_end_with_a_reason(tmp_path, capsys, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    status, out, err = call(capsys, path, "--json")
    assert status == 1 and out == "" and message in err and "Traceback" not in err


def test_bad_scores_end_with_a_reason(scores_file, tmp_path, capsys):
    path = tmp_path / "x.csv"
    scores = evaluate.read_scores(scores_file)
    for spoil, message in (
        (lambda t: t[t["label"] == 0], "has 2 real and 0 fake videos"),
        (lambda t: t.assign(p_fake=float("nan")), "line 2: p_fake is"),
        (lambda t: t.assign(p_fake=3.0), "expected a probability in [0, 1]"),
        (lambda t: t.assign(label=2), "expected 0 (real) or 1 (fake)"),
        (lambda t: pd.concat([t, t]), "is there twice"),
        (lambda t: t.iloc[:0], "has no rows"),
    ):
        spoil(scores).to_csv(path, index=False)
        status, _, err = call(capsys, path, "--threshold", "0.5")
        assert status == 1 and message in err, err
    status, _, err = call(capsys, tmp_path / "nothing.csv")
    assert status == 1 and "nothing.csv" in err
    evaluate.write_scores(scores[scores["role"] == "report"], path)
    status, _, err = call(capsys, path, "--threshold", "select")
    assert status == 1 and "nothing to choose a threshold on" in err


def test_deepfakebench_pickles_and_a_hostile_one(parity, tmp_path, capsys):
    case, path = parity[0], tmp_path / "metric_dict_best.pickle"
    found = {"pred": np.array(case["probs"])[:, 1], "label": np.array(case["labels"])}
    path.write_bytes(pickle.dumps(found))
    (tmp_path / "names.pickle").write_bytes(pickle.dumps({"image": case["files"]}))
    result = as_json(capsys, path, "--format", "deepfakebench", "--data", tmp_path / "names.pickle")
    row = next(row for row in result["table"] if row["method"] == "pooled")
    assert abs(row["auroc"] - case["video_mean"]["auroc"]) < 1e-9
    path.write_bytes(pickle.dumps(shutil.rmtree))
    status, _, err = call(
        capsys, path, "--format", "deepfakebench", "--data", tmp_path / "names.pickle"
    )
    assert status == 1 and "asks for shutil.rmtree, which was refused" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of SCORES"),
        (["example", "--model", "embedded"], "a NAME brings its weights"),
        (["a.csv", "--groups", "CDFv2"], "belong to the NAME"),
        (["a.csv", "--from", "run"], "give one of SCORES"),
        (["a.csv", "--data", "m.csv"], "SCORES are scored already"),
        (["--model", "embedded"], "--model needs --data"),
        (["--from", "run", "--format", "official"], "--format says what SCORES is"),
        (["a.csv", "--threshold", "1.5"], "select or oracle"),
        (["a.csv", "--threshold", "best"], "select or oracle"),
        (["a.csv", "--level", "clip"], "invalid choice"),
        (["a.csv", "--reals", "DFDM"], "expected SET=SOURCE"),
        (["a.csv", "--n-bootstrap", "0"], "at least 1"),
    ],
)
def test_wrong_use(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_borrowed_reals(tmp_path, capsys):
    rows = [("CDFv2/Celeb-real/a", 0, 0.2), ("CDFv2/Celeb-real/b", 0, 0.6)]
    rows += [("CDFv2/fake/c", 1, 0.7), ("DFDM/dfl/d", 1, 0.5), ("DFDM/dfl/e", 1, 0.8)]
    lines = [f"{path}/0.png,{label},{1 - p},{p}" for path, label, p in rows]
    path = tmp_path / "p.csv"
    path.write_text("files,labels,prob_class_0,prob_class_1\n" + "\n".join(lines) + "\n")
    status, _, err = call(capsys, path, "--format", "official")
    assert status == 1 and "--reals" in err
    result = as_json(capsys, path, "--format", "official", "--reals", "DFDM=CDFv2/Celeb-real")
    row = next(row for row in result["table"] if row["method"] == "dfl")
    assert row["auroc"] == 3 / 4 and row["n_real"] == 2


# ---------------------------------------------------------------- runs and models


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Manifest of two report people and two select people, a real and two fakes each."""
    folder = tmp_path_factory.mktemp("videos")
    table = manifest.read(NOBODY / "manifest.csv")
    rows = []
    for role in ("select", "report"):
        part = table[(table["role"] == role) & table["method"].isin(["real", "FS", "NT"])]
        for _, mine in list(part.groupby("source_id"))[:2]:
            rows.append(mine.drop_duplicates("method"))
    table = pd.concat(rows, ignore_index=True).drop(columns=["mask_path", "mask_sha256"])
    for path in table["path"]:
        (folder / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(NOBODY / path, folder / path)
    manifest.write(table, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture
def a_run(tmp_path, scores_file):
    folder = tmp_path / "run"
    shutil.copytree(repro.data_dir() / "weights" / "detector", folder / "adapter")
    repro.write_json(folder / "run.json", {"n_frames": 2})
    shutil.copyfile(scores_file, folder / "scores.csv")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(repro, "cache_dir", lambda: tmp_path / "cache")


def test_a_run_is_read_not_scored_again(a_run, scores_file, capsys):
    from_run, from_file = as_json(capsys, "--from", a_run), as_json(capsys, scores_file)
    assert from_run["table"] == from_file["table"]
    assert from_run["threshold"] == from_file["threshold"]
    (a_run / "scores.csv").unlink()
    status, _, err = call(capsys, "--from", a_run)
    assert status == 1 and "has no scores.csv" in err
    (a_run / "run.json").unlink()
    status, _, err = call(capsys, "--from", a_run)
    assert status == 1 and "has no run.json" in err


def test_a_model_on_videos(videos, tmp_path, capsys):
    words = ["--model", "embedded", "--data", videos, "--n-frames", "2", "--device", "cpu"]
    result = as_json(capsys, *words, "--out", tmp_path / "out")
    methods = [row["method"] for row in result["table"]]
    assert methods == ["FS", "NT", evaluate.MEAN, evaluate.POOLED]
    scores = evaluate.read_scores(tmp_path / "out" / "scores.csv")
    assert scores["role"].value_counts().to_dict() == {"select": 12, "report": 12}
    assert result["threshold"]["kind"] == "select" and result["threshold"]["n_real"] == 2
    again = evaluate.measure(scores, threshold=result["threshold"]["value"], n_bootstrap=20)
    assert again["auroc"].tolist() == [row["auroc"] for row in result["table"]]
    assert (result["table"][-1]["n_real"], result["table"][-1]["n_fake"]) == (2, 4)


def test_a_run_on_other_videos_keeps_its_threshold(a_run, videos, tmp_path, capsys):
    table = manifest.read(videos)
    manifest.write(table[table["role"] == "report"], videos.parent / "report.csv")
    words = ["--from", a_run, "--data", videos.parent / "report.csv", "--device", "cpu"]
    result = as_json(capsys, *words)
    stored = evaluate.read_scores(a_run / "scores.csv")
    want = evaluate.select_threshold(stored)
    assert result["threshold"] == {"kind": "select", **want}
    assert {row["dataset"] for row in result["table"]} == {"nobody"}


# ---------------------------------------------------------------- named experiments


def test_a_named_run_is_scored_on_corrupted_crops(a_run, videos, tmp_path, capsys):
    from gendkit import extract, score, transforms

    name = "nobody-LN+L2+UnAl-seed0-jpeg20"
    words = [name, "--from", a_run, "--data", videos, "--n-frames", "1", "--device", "cpu"]
    result = as_json(capsys, *words, "--out", tmp_path / "out")
    assert result["experiment"] == name and result["corruption"]["quality"] == 20
    done = extract.run(manifest.read(videos), root=videos.parent, n_frames=1)
    crops = done.crops[done.crops["role"] == "report"].reset_index(drop=True)
    for path in crops["path"]:
        image = np.asarray(Image.open(done.folder / path))
        Image.fromarray(transforms.jpeg(image, 20)).save(done.folder / path)
    detector = score.load(a_run, "cpu")
    want = evaluate.score(detector.model, crops, done.folder, device="cpu")
    got = evaluate.read_scores(tmp_path / "out" / "scores.csv")
    report = got[got["role"] == "report"].set_index("path" if "path" in got else "video_id")
    assert sorted(report["p_fake"]) == pytest.approx(sorted(want["p_fake"]), abs=1e-6)
    stored = evaluate.read_scores(a_run / "scores.csv")  # the threshold is that of clean crops
    assert result["threshold"]["value"] == evaluate.select_threshold(stored)["value"]


def test_a_named_official_run_on_its_lists(a_run, tmp_path, rng, capsys):
    from gendkit import experiments

    run = experiments.get("wacv-LN+L2+UnAl-seed0-jpeg60")
    root = tmp_path / "root"
    for name in run.data.test["FF-DF"]:
        source = name.removesuffix(".txt").split("/")[-1]
        lines = [f"{source}/vid{k}/000{k}.png" for k in range(2)]
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines))
        for line in lines:
            path = (root / name).parent / line
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    words = [run.name, "--from", a_run, "--data", root, "--threshold", "oracle", "--device", "cpu"]
    result = as_json(capsys, *words, "--groups", "FF-DF")
    assert {row["dataset"] for row in result["table"]} == {"FF-DF"}
    assert result["table"][-1]["n_real"] > 0 and result["table"][-1]["n_fake"] > 0
    status, _, err = call(capsys, *words, "--groups", "CDFv9")
    assert status == 1 and "no test group 'CDFv9'" in err
    status, _, err = call(capsys, *words[:3])
    assert status == 1 and "pass --data ROOT" in err


def test_names_that_cannot_be_tested_say_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(repro, "out_dir", lambda path="": tmp_path)
    status, _, err = call(capsys, "Effort-tmp")
    assert status == 1 and "another project" in err and "--format official" in err
    status, _, err = call(capsys, "nobody-LN+L2+UnAl-seed0-jpeg60")
    assert status == 1 and "gendkit train nobody-LN+L2+UnAl-seed0 --profile fast" in err
    status, _, err = call(capsys, "nobody-LN+L2+UnAl-seed0-jpg60")
    assert status == 1 and "nearest: nobody-LN+L2+UnAl-seed0-jpeg60" in err
    folder = tmp_path / "runs" / "nobody-LN+L2+UnAl-seed0"
    repro.write_json(folder / "run.json", {"profile": "demo"})
    status, _, err = call(capsys, "nobody-LN+L2+UnAl-seed0-jpeg60")
    assert status == 1 and "profile demo" in err


def test_a_manifest_that_leaks_is_refused_before_any_work(videos, capsys):
    table = manifest.read(videos)
    table["source_id"] = "one"
    manifest.write(table, videos.parent / "leak.csv")
    status, _, err = call(capsys, "--model", "embedded", "--data", videos.parent / "leak.csv")
    assert status == 1 and "both sides of the split" in err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and "gendkit test --from" in out and official.FORMATS[1] in out
