"""Tests of `gendkit.compare` and `gendkit explain-diff` on tables whose differences are known."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gendkit import compare, evaluate, manifest, metrics, repro
from gendkit.commands import explain_diff


def names(result) -> list[str]:
    return [one.name for one in result.differences]


def pair(tmp_path, a: pd.DataFrame, b: pd.DataFrame, facts_a=None, facts_b=None):
    evaluate.write_scores(a, tmp_path / "a.csv", **(facts_a or {}))
    evaluate.write_scores(b, tmp_path / "b.csv", **(facts_b or {}))
    return tmp_path / "a.csv", tmp_path / "b.csv"


def report_rows(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["role"] == "report"]


def auroc(scores: pd.DataFrame, how: str = "mean") -> float:
    """Independent of the module: pairs of a real and a fake video that are in order."""
    keys = ["dataset", "method", "compression", "video_id"]
    videos = scores.groupby(keys).agg(label=("label", "first"), p=("p_fake", how))
    real, fake = (videos.loc[videos["label"] == k, "p"].to_numpy() for k in (0, 1))
    order = fake[:, None] - real[None, :]
    return float(((order > 0) + 0.5 * (order == 0)).mean())


@pytest.fixture
def scores(tiny_scores) -> pd.DataFrame:
    """All videos in the role report, 24 of them."""
    return tiny_scores.assign(role="report", source_id=tiny_scores["video_id"])


# --- scores ----------------------------------------------------------------------------------


def test_equal_files_differ_in_nothing(scores, tmp_path):
    result = compare.compare(*pair(tmp_path, scores, scores, {"model": "x"}, {"model": "x"}))
    assert result.differences == [] and result.n_same > 5
    assert result.scores["change"] == 0 and result.scores["interval"] == [0, 0]
    assert result.scores["moved"] == 0 and result.scores["rank_correlation"] == pytest.approx(1)
    assert "Nothing that is recorded differs" in compare.table(result, "a", "b")


def test_other_scores_of_the_same_videos(scores, tmp_path, rng):
    other = scores.assign(p_fake=np.clip(scores["p_fake"] + rng.normal(0, 0.3, len(scores)), 0, 1))
    files = pair(tmp_path, scores, other, {"model": "x"}, {"model": "y"})
    result = compare.compare(*files, n_bootstrap=200)
    change = auroc(other) - auroc(scores)
    assert result.scores["change"] == pytest.approx(change)
    assert result.scores["changes"] == {"scores": pytest.approx(change)}
    low, high = result.scores["interval"]
    assert low <= change <= high and low < high
    assert names(result) == ["model"] and result.differences[0].likelihood == "very likely"
    a, b = (metrics.video_scores(t)["p_fake"].to_numpy() for t in (scores, other))
    assert result.scores["moved"] == pytest.approx((np.abs(a - b) > 0.1).mean())
    first = result.scores["furthest"][0]
    assert abs(first["a"] - first["b"]) == pytest.approx(np.abs(a - b).max())


def test_other_videos_are_measured(scores, tmp_path):
    fewer = scores[~((scores["method"] == "NT") | (scores["video_id"] == "003"))]
    result = compare.compare(*pair(tmp_path, scores, fewer))
    assert result.scores["n_common"] == 14 and result.scores["n_a"] == 24
    assert result.scores["changes"]["videos"] == pytest.approx(auroc(fewer) - auroc(scores))
    assert result.scores["changes"]["scores"] == pytest.approx(0)
    first = next(one for one in result.differences if one.name == "videos")
    assert first.change == result.scores["changes"]["videos"] and first.likelihood == "measured"
    assert "24 videos, 10 of them only here" in first.a


def test_other_labels_frames_and_aggregate_are_told_apart(scores, tmp_path):
    """Each step is checked against the AUROC with the earlier ones made equal."""
    turned = ["000", "001"]
    other = scores[scores["frame"] < 3].copy()
    swap = other["video_id"].isin(turned) & (other["method"] == "FS")
    other.loc[swap, "label"] = 0
    facts = [{"test": {"aggregate": how}} for how in ("mean", "median")]
    result = compare.compare(*pair(tmp_path, scores, other, *facts))
    agree = ~(scores["video_id"].isin(turned) & (scores["method"] == "FS"))
    a, b = scores[agree], other[~swap]
    total = auroc(other, "median") - auroc(scores)
    after_labels = auroc(b, "median") - auroc(a)
    after_aggregate = auroc(b) - auroc(a)
    after_frames = auroc(b) - auroc(a[a["frame"] < 3])
    changes = result.scores["changes"]
    assert result.scores["change"] == pytest.approx(total)
    assert changes["labels"] == pytest.approx(total - after_labels)
    assert changes["aggregate"] == pytest.approx(after_labels - after_aggregate)
    assert changes["frames"] == pytest.approx(after_aggregate - after_frames)
    assert changes["scores"] == pytest.approx(after_frames) == pytest.approx(0)
    assert sum(changes.values()) == pytest.approx(total)
    assert {"labels", "aggregate", "frames"} <= set(names(result))
    assert "test.aggregate" not in names(result)
    labels = next(one for one in result.differences if one.name == "labels")
    assert "2 labels differ" in labels.a


def test_a_measured_change_decides_the_order(scores, tmp_path):
    turned = scores.copy()
    turned.loc[turned["video_id"].isin(["000", "001", "002"]), "label"] ^= 1
    files = pair(tmp_path, scores, turned, {"model": "x", "seed": 1}, {"model": "y", "seed": 2})
    result = compare.compare(*files)
    assert names(result)[0] == "labels" and result.differences[0].likelihood == "measured"
    assert names(result).index("model") < names(result).index("seed")
    weights = [one.weight for one in result.differences]
    assert weights == sorted(weights, reverse=True)


def test_nothing_in_common_and_one_class(scores, tmp_path):
    real = scores[scores["label"] == 0]
    result = compare.compare(*pair(tmp_path, real, scores[scores["label"] == 1]))
    found = result.scores
    assert (found["n_common"], found["auroc_a"], found["change"]) == (0, None, None)
    assert {"videos", "data.methods"} <= set(names(result))
    assert "-" in compare.table(result, "a", "b")


def test_a_record_of_another_file_is_told(scores, tmp_path):
    a, b = pair(tmp_path, scores, scores)
    scores.assign(p_fake=0.5).to_csv(b, index=False)
    result = compare.compare(a, b, n_bootstrap=50)
    one = next(one for one in result.differences if one.name == "record")
    assert (one.a, one.b) == ("fits", "was written for another file")
    b.with_suffix(".json").unlink()
    one = next(x for x in compare.compare(a, b, 50).differences if x.name == "record")
    assert one.b == "none beside the file"


def test_a_run_with_a_scores_file(scores, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    repro.write_json(
        run / "run.json",
        {"config": {"learning_rate": 0.01, "seed": 0}, "experiment": "x", "seconds": 3.0},
    )
    evaluate.write_scores(scores, run / "scores.csv")
    other = tmp_path / "other"
    other.mkdir()
    record = {"config": {"learning_rate": 0.02, "seed": 0}, "experiment": "x", "seconds": 9.0}
    repro.write_json(other / "run.json", record)
    result = compare.compare(run, other)
    one = next(one for one in result.differences if one.name == "config.learning_rate")
    assert (one.a, one.b, one.likelihood) == (0.01, 0.02, "likely")
    assert "seconds" not in names(result) and result.scores is None
    evaluate.write_scores(scores, tmp_path / "s.csv")
    assert compare.compare(run, tmp_path / "s.csv", 50).kind == "run and scores"


# --- crops -----------------------------------------------------------------------------------


def crop_folder(folder, spec=None, versions=None, shade=0, n=4, codec="h264"):
    rng = np.random.default_rng(1)
    rows = []
    for k in range(n):
        path = f"toy/real/{k:03d}/00000.png"
        (folder / path).parent.mkdir(parents=True)
        Image.fromarray(rng.integers(20, 200, (16, 16, 3), np.uint8) + np.uint8(shade)).save(
            folder / path
        )
        rows.append({"path": path, "dataset": "toy", "method": "real", "compression": "c23",
                     "video_id": f"{k:03d}", "source_id": f"{k:03d}", "label": 0, "role": "report",
                     "frame": 0, "box": f"{10 + shade} 10.0 {30 + shade} 30.0", "score": 1.0,
                     "n_faces": 1})  # fmt: skip
    manifest.write(pd.DataFrame(rows), folder / "manifest.csv")
    engine = {"detector": "dlib", "threshold": 0.0, "weights_sha256": "aa"}
    base = {"rule": "all", "scale": 1.3, "size": 16, "interpolation": "bilinear", "engine": engine}
    spec = {**base, **(spec or {})}
    code = {"commit": "c", "versions": {"av": "18", "plotly": "7", **(versions or {})}}
    repro.write_json(folder / "provenance.json", {"spec": spec, "code": code})
    lines = [{"path": "x", "n_asked": 4, "n_faces": n, "codec": codec}]
    pd.DataFrame(lines).to_csv(folder / "report.csv", index=False)
    return folder


def test_crop_folders_are_ranked_by_what_matters(tmp_path):
    a = crop_folder(tmp_path / "a")
    engine = {"detector": "sfd", "threshold": 0.5, "weights_sha256": "bb"}
    spec = {"scale": 1.5, "size": 32, "engine": engine, "rule": "at_least"}
    b = crop_folder(tmp_path / "b", spec, {"av": "17", "plotly": "6"}, 3, codec="vp9")
    result = compare.compare(a, b)
    assert names(result) == [
        "data.codec", "spec.scale", "spec.engine.detector", "spec.rule", "spec.size",
        "spec.engine.weights_sha256", "spec.engine.threshold", "code.versions.av",
        "code.versions.plotly",
    ]  # fmt: skip
    by_name = {one.name: one for one in result.differences}
    assert by_name["spec.scale"].likelihood == "likely" and "margin" in by_name["spec.scale"].why
    assert by_name["code.versions.plotly"].likelihood == "unlikely"
    assert result.crops["n_common"] == result.crops["n_compared"] == 4
    assert result.crops["identical"] == 0 and result.crops["grey"] == pytest.approx(3)
    assert result.crops["box_shift"] == pytest.approx(3 / 20)


def test_fewer_crops_show_as_coverage(tmp_path):
    a, b = crop_folder(tmp_path / "a"), crop_folder(tmp_path / "b", n=3)
    result = compare.compare(a, b)
    assert names(result) == ["coverage"]
    assert (result.differences[0].a, result.differences[0].b) == (1.0, 0.75)
    assert result.crops["identical"] == 1 and result.crops["n_common"] == 3


def test_what_cannot_be_compared_is_refused(scores, tmp_path):
    crops = crop_folder(tmp_path / "crops")
    file, _ = pair(tmp_path, scores, scores)
    with pytest.raises(ValueError, match="compare crops with crops"):
        compare.compare(crops, file)
    with pytest.raises(FileNotFoundError, match="check the path"):
        compare.compare(crops, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="neither provenance.json"):
        compare.compare(crops, tmp_path / "empty")


# --- the command -----------------------------------------------------------------------------


def test_the_command(scores, tmp_path, capsys):
    other = scores.assign(p_fake=1 - scores["p_fake"])
    a, b = map(str, pair(tmp_path, scores, other, {"model": "x"}, {"model": "y"}))
    assert explain_diff.main([a, b, "--n-bootstrap", "50"]) == 0
    text = capsys.readouterr().out
    assert "1. model: A x, B y  [very likely]" in text and "Another model" in text
    change = auroc(other) - auroc(scores)
    assert f"on the same videos, labels and frames: {change:+.3f}" in text
    assert explain_diff.main([a, b, "--json", "--n-bootstrap", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"][0]["name"] == "model" and found["a"] == a
    assert found["scores"]["change"] == pytest.approx(change)


def test_the_command_fails_by_message(tmp_path, capsys):
    assert explain_diff.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "check the path" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        explain_diff.main(["a", "b", "--n-bootstrap", "0"])
    assert stopped.value.code == 2
