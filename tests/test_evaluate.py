"""Scores do not depend on how they are computed; reports count honestly."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from gendkit import backbones, evaluate, metrics
from gendkit import model as gend

TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip


def tiny_model(seed=0):
    torch.manual_seed(seed)
    spec = backbones.config_of("clip-l14")["spec"]
    spec.update(name="tiny", hub_id="", feature_dim=16, image_size=28)
    config = gend.GenDConfig(backbone="tiny", encoder={"spec": spec, "model": TINY})
    return gend.GenDForImageClassification(config).eval()


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root, rng, rows = tmp_path_factory.mktemp("crops"), np.random.default_rng(0), []
    for source, method, frame in itertools.product(range(3), ("real", "DF"), range(2)):
        path = f"{method}_{source}_{frame}.png"
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(root / path)
        rows.append({"path": path, "dataset": "toy", "method": method, "compression": "c23",
                     "video_id": f"{source:03d}", "source_id": f"s{source}", "role": "report",
                     "label": int(method != "real"), "frame": frame})  # fmt: skip
    return root, pd.DataFrame(rows)


def test_scores_equal_a_plain_loop(crops):
    root, table = crops
    model = tiny_model().train()
    scores = evaluate.score(model, table, root, device="cpu")
    assert list(scores.columns) == evaluate.COLUMNS and scores["video_id"].tolist()[0] == "000"
    assert model.training  # as it came
    prepare = backbones.preprocess(model.encoder.spec)
    model.eval()
    for path, p_fake in zip(table["path"], scores["p_fake"], strict=True):
        with torch.no_grad():
            logits = model(prepare([np.asarray(Image.open(root / path))])).logits[0].double()
        odds = float(torch.exp(logits[1] - logits[0]))
        assert p_fake == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_scores_do_not_depend_on_batch_size(crops):
    root, table = crops
    runs = [
        evaluate.score(tiny_model(), table, root, batch_size=n, device="cpu") for n in (1, 5, 32)
    ]
    for other in runs[1:]:
        # float32 matrix products of another shape round differently; 1e-6 is about 10 ulp
        np.testing.assert_allclose(runs[0]["p_fake"], other["p_fake"], atol=1e-6)


def test_scores_do_not_depend_on_row_order(crops):
    root, table = crops
    model, shuffled = tiny_model(), table.sample(frac=1, random_state=1)
    a = evaluate.score(model, table, root, batch_size=5, device="cpu")
    b = evaluate.score(model, shuffled, root, batch_size=5, device="cpu")
    assert b["p_fake"].tolist() == a["p_fake"].to_numpy()[shuffled.index].tolist()
    assert b["video_id"].tolist() == shuffled["video_id"].tolist()


def test_score_refuses_nan_and_video_tables(crops):
    root, table = crops
    model = tiny_model()
    nn.init.constant_(model.head.linear.bias, float("nan"))
    with pytest.raises(ValueError, match=r"12 of 12 scores are not finite, first row 0 \(toy/real"):
        evaluate.score(model, table, root, device="cpu")
    with pytest.raises(ValueError, match="run the extraction"):
        evaluate.score(tiny_model(), table.drop(columns="frame"), root)


def toy_scores(n=12, n_frames=3, seed=0, roles=("report",), dataset="toy"):
    rng, rows = np.random.default_rng(seed), []
    for role, source, (method, lift) in itertools.product(
        roles, range(n), (("real", 0.0), ("DF", 0.3), ("NT", 0.1))
    ):
        offset = rng.normal(0, 0.1)
        for frame in range(n_frames):
            rows.append({
                "dataset": dataset, "method": method, "compression": "c23", "role": role,
                "video_id": f"{role}{source:03d}", "source_id": f"{role}{source}", "frame": frame,
                "label": int(method != "real"),
                "p_fake": float(np.clip(0.4 + lift + offset + rng.normal(0, 0.05), 0, 1)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def slow_auroc(real, fake):
    return np.mean([(f > r) + 0.5 * (f == r) for f in fake for r in real])


def test_report_rows_against_slow_loops():
    scores = toy_scores()
    out = evaluate.report(scores, n_bootstrap=200).set_index("method")
    assert out.index.tolist() == ["DF", "NT", evaluate.MEAN, evaluate.POOLED]
    videos = scores.groupby(["method", "video_id"])["p_fake"].mean()
    real, df, nt = (videos[name].to_numpy() for name in ("real", "DF", "NT"))
    wanted = {"DF": slow_auroc(real, df), "NT": slow_auroc(real, nt)}
    wanted[evaluate.MEAN] = (wanted["DF"] + wanted["NT"]) / 2
    wanted[evaluate.POOLED] = slow_auroc(real, np.r_[df, nt])
    for name, value in wanted.items():
        assert out.loc[name, "auroc"] == pytest.approx(value, abs=1e-12)
        assert out.loc[name, "low"] <= value <= out.loc[name, "high"]
    assert out["n_real"].tolist() == [12] * 4 and out["n_fake"].tolist() == [12, 12, 24, 24]
    assert (out["level"] == "video").all() and (out["dataset"] == "toy").all()


def test_frame_level_counts_frames_but_resamples_sources():
    scores = toy_scores(n_frames=6)
    frame = evaluate.report(scores, level="frame", n_bootstrap=300).set_index("method")
    assert frame.loc["DF", "n_real"] == 72
    naive = metrics.bootstrap(scores[scores["method"] != "NT"], groups="row", n=300)
    width = frame.loc["DF", "high"] - frame.loc["DF", "low"]
    assert width > 1.3 * (naive.high - naive.low)


def test_interval_of_the_mean_equals_an_explicit_bootstrap():
    videos = metrics.video_scores(toy_scores(n=10))
    reals = videos[videos["method"] == "real"]
    groups = {m: pd.concat([reals, videos[videos["method"] == m]]) for m in ("DF", "NT")}
    value, low, high = evaluate._mean_over_methods(groups, n=400, seed=5)
    rng, sources, draws = np.random.default_rng(5), sorted(set(videos["source_id"])), []
    for _ in range(400):
        counts = dict(zip(sources, rng.multinomial(10, [0.1] * 10), strict=True))
        one = []
        for part in groups.values():
            pick = {0: [], 1: []}
            for source, label, p in part[["source_id", "label", "p_fake"]].to_numpy():
                pick[label] += [p] * counts[source]
            one.append(slow_auroc(pick[0], pick[1]))
        draws.append(np.mean(one))
    np.testing.assert_allclose([low, high], np.quantile(draws, [0.025, 0.975]), atol=1e-12)


def test_datasets_and_compressions_stay_apart():
    raw = toy_scores().assign(compression="raw")
    both = pd.concat([toy_scores(), toy_scores(seed=1, dataset="other"), raw], ignore_index=True)
    out = evaluate.report(both, n_bootstrap=20)
    assert len(out) == 12 and (out["n_real"] == 12).all()


def test_report_refuses_what_the_model_has_seen():
    scores = toy_scores(roles=("fit", "select", "report"))
    with pytest.raises(ValueError, match="'select' was used to make or choose the model"):
        evaluate.report(scores, roles=("select",))
    seen = evaluate.report(scores, roles=("select",), n_bootstrap=10, allow_seen=True)
    assert seen["n_real"].tolist() == [12] * 4
    with pytest.raises(ValueError, match="no row has the role 'report'"):
        evaluate.report(scores[scores["role"] != "report"])
    leak = scores.copy()
    leak.loc[leak["role"] == "report", "source_id"] = "fit3"
    with pytest.raises(ValueError, match="both sides of the split, first 'toy/fit3'"):
        evaluate.report(leak)


def test_one_class_is_named():
    scores = toy_scores()
    with pytest.raises(ValueError, match="toy/c23 has 12 real and 0 fake videos"):
        evaluate.report(scores[scores["label"] == 0])


def test_coverage_counts_videos_without_a_score():
    scores = toy_scores()
    lost = (scores["method"] == "DF") & scores["video_id"].isin(
        ["report000", "report001", "report002"]
    )
    out = evaluate.report(scores[~lost], n_bootstrap=10, expected=scores).set_index("method")
    assert out.loc["DF", "coverage"] == pytest.approx(21 / 24)
    assert out.loc["NT", "coverage"] == 1
    assert out.loc[evaluate.POOLED, "coverage"] == pytest.approx(33 / 36)


def test_scores_file_keeps_every_bit(tmp_path):
    scores = toy_scores().assign(video_id=lambda t: t["video_id"].str[-3:])
    scores.loc[0, "p_fake"] = np.nextafter(0.1, 1)
    scores.loc[1, "p_fake"] = 1e-300
    evaluate.write_scores(scores, tmp_path / "scores.csv", profile="fast")
    back = evaluate.read_scores(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(back, scores, check_exact=True, check_dtype=False)
    assert back["video_id"].iloc[0] == "000"
    record = (tmp_path / "scores.json").read_text()
    assert '"profile": "fast"' in record and '"n_rows": 108' in record


def test_read_scores_errors(tmp_path):
    path = tmp_path / "scores.csv"
    with pytest.raises(FileNotFoundError, match="write_scores"):
        evaluate.read_scores(path)
    scores = toy_scores()
    scores.drop(columns="role").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"lacks the columns \['role'\]"):
        evaluate.read_scores(path)
    for bad in (1.5, float("nan")):
        scores.loc[4, "p_fake"] = bad
        scores.to_csv(path, index=False)
        with pytest.raises(ValueError, match="line 6: p_fake is"):
            evaluate.read_scores(path)
