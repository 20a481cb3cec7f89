"""Scores do not depend on how they are computed; reports count honestly."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from gendkit import backbones, evaluate, metrics, transforms
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


def test_a_transform_is_applied_to_the_decoded_crops(crops, tmp_path):
    root, table = crops
    for path in table["path"]:
        image = np.asarray(Image.open(root / path))
        Image.fromarray(transforms.blur(image, 7, 1.0)).save(tmp_path / path)
    model = tiny_model()

    def blurred(image, rng):
        assert image.shape == (40, 36, 3) and image.dtype == np.uint8
        return transforms.corrupt(image, "blur", 2, rng)

    plain = evaluate.score(model, table, root, device="cpu")
    given = evaluate.score(model, table, root, device="cpu", transform=blurred)
    stored = evaluate.score(model, table, tmp_path, device="cpu")
    assert given["p_fake"].tolist() == stored["p_fake"].tolist() != plain["p_fake"].tolist()
    features = evaluate.cache_features(model, table, root, device="cpu", transform=blurred)
    wanted = evaluate.cache_features(model, table, tmp_path, device="cpu")
    np.testing.assert_array_equal(features, wanted)


def test_the_chance_of_a_transform_belongs_to_the_row(crops):
    root, table = crops
    model, shuffled = tiny_model(), table.sample(frac=1, random_state=1)

    def noisy(image, rng):
        return transforms.corrupt(image, "noise", 4, rng)

    def scores(rows, seed=0):
        return evaluate.score(model, rows, root, 5, "cpu", transform=noisy, seed=seed)["p_fake"]

    a, b = scores(table), scores(shuffled)
    assert b.tolist() == a.to_numpy()[shuffled.index].tolist()
    assert scores(table).tolist() == a.tolist() != scores(table, seed=1).tolist()
    grey = table.assign(path="grey.png")  # one picture for a real and its fake, two draws of noise
    Image.fromarray(np.full((40, 36, 3), 128, np.uint8)).save(root / "grey.png")
    assert scores(grey).nunique() == len(grey)


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
    value, low, high = evaluate._mean_auroc(groups, n=400, seed=5)
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


def two_sets():
    return pd.concat(
        [toy_scores(roles=("select", "report")), toy_scores(seed=1, n=10, dataset="other")],
        ignore_index=True,
    )


def test_summary_holds_what_metrics_gives():
    videos = metrics.video_scores(toy_scores())
    y, s = videos["label"], videos["p_fake"]
    out = evaluate.summary(y, s, threshold=0.55)
    assert out["auroc"] == metrics.auroc(y, s) and out["w1"] == metrics.w1(y, s)
    assert out["ap"] == metrics.average_precision(y, s, "fake") != out["map"]
    assert out["map"] == metrics.average_precision(y, s)
    assert out["eer"] == metrics.eer(y, s)[0]
    assert [out[f"tpr@fpr={x}"] for x in (0.001, 0.01, 0.05)] == [
        metrics.tpr_at_fpr(y, s, x) for x in (0.001, 0.01, 0.05)
    ]
    assert out["accuracy"] == np.mean((s >= 0.55) == y)
    assert out["oracle_threshold"] == metrics.eer(y, s)[1]
    assert "accuracy" not in evaluate.summary(y, s)


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("level", ["video", "frame"])
def test_measure_is_the_report_with_more_columns(level, how):
    scores = toy_scores()
    table = evaluate.measure(scores, how=how, level=level, threshold=0.5, n_bootstrap=30)
    plain = evaluate.report(scores, how=how, level=level, n_bootstrap=30)
    pd.testing.assert_frame_equal(table[plain.columns], plain)
    units = scores if level == "frame" else metrics.video_scores(scores, how=how)
    for name, methods in (("DF", ["DF"]), ("NT", ["NT"]), (evaluate.POOLED, ["DF", "NT"])):
        part = units[units["method"].isin(["real", *methods])]
        row = table.set_index("method").loc[name]
        for key, value in evaluate.summary(part["label"], part["p_fake"], 0.5).items():
            assert row[key] == pytest.approx(value, abs=1e-12), (name, key)
    rows = table.set_index("method")
    for key in ("auroc", "map", "eer", "accuracy", "oracle_f1"):
        mean = (rows.loc["DF", key] + rows.loc["NT", key]) / 2
        assert rows.loc[evaluate.MEAN, key] == pytest.approx(mean, abs=1e-12)
    assert np.isnan(rows.loc[evaluate.MEAN, "oracle_threshold"])


def test_several_sets_get_mean_worst_and_pooled():
    scores = two_sets()
    table = evaluate.measure(scores, n_bootstrap=50)
    assert table["method"].tolist()[-3:] == [
        evaluate.MEAN_SETS, evaluate.WORST_SET, evaluate.POOLED
    ]  # fmt: skip
    videos = metrics.video_scores(scores[scores["role"] == "report"])
    each = {
        name: slow_auroc(part.p_fake[part.label == 0], part.p_fake[part.label == 1])
        for name, part in videos.groupby("dataset")
    }
    mean, worst, pooled = (table.iloc[k] for k in (-3, -2, -1))
    assert mean["auroc"] == pytest.approx(np.mean(list(each.values())), abs=1e-12)
    assert worst["dataset"] == min(each, key=each.get)
    assert worst["auroc"] == pytest.approx(min(each.values()), abs=1e-12)
    assert np.isnan(worst["low"]) and worst["n_real"] == (10 if each["other"] < each["toy"] else 12)
    real, fake = (videos.p_fake[videos.label == k] for k in (0, 1))
    assert pooled["auroc"] == pytest.approx(slow_auroc(real, fake), abs=1e-12)
    assert mean["low"] <= mean["auroc"] <= mean["high"] and pooled["low"] <= pooled["high"]
    assert (
        len(evaluate.measure(toy_scores(), n_bootstrap=5)) == 4
    )  # one set needs no mean over sets


def test_a_shift_between_sets_lowers_only_the_pooled_value():
    low, high = toy_scores(), toy_scores(dataset="other")
    low["p_fake"], high["p_fake"] = low["p_fake"] * 0.3, 0.6 + high["p_fake"] * 0.3
    table = evaluate.measure(pd.concat([low, high], ignore_index=True), n_bootstrap=5)
    rows = table[table["dataset"] == evaluate.ALL_SETS].set_index("method")["auroc"]
    assert rows[evaluate.POOLED] < rows[evaluate.MEAN_SETS] - 0.1


def test_threshold_from_select_only():
    scores = two_sets()
    found = evaluate.select_threshold(scores)
    select = metrics.video_scores(scores[scores["role"] == "select"])
    assert found["value"] == metrics.eer(select["label"], select["p_fake"])[1]
    called = select["p_fake"] >= found["value"]
    assert found["false_alarms"] == (called & (select["label"] == 0)).sum()
    assert found["hits"] == (called & (select["label"] == 1)).sum()
    assert (found["n_real"], found["n_fake"]) == (12, 24) and "role select" in found["rule"]
    changed = scores.copy()
    changed.loc[changed["role"] == "report", "p_fake"] *= 0.5
    assert evaluate.select_threshold(changed) == found
    with pytest.raises(ValueError, match="nothing to choose a threshold on"):
        evaluate.select_threshold(toy_scores())


def test_threshold_for_a_false_positive_rate():
    scores = toy_scores(roles=("select",), n=20)
    select = metrics.video_scores(scores)
    reals = np.sort(select["p_fake"][select["label"] == 0])
    for fpr, allowed in ((0.0, 0), (0.05, 1), (0.1, 2)):
        found = evaluate.select_threshold(scores, fpr=fpr)
        assert found["false_alarms"] <= allowed and found["fpr"] == found["false_alarms"] / 20
        lower = select["p_fake"][select["p_fake"] < found["value"]].max()
        assert (reals >= lower).sum() > allowed  # the next lower threshold breaks the budget
    scores.loc[scores["label"] == 0, "p_fake"] = 1.0
    assert evaluate.select_threshold(scores, fpr=0.0)["false_alarms"] == 0
    with pytest.raises(ValueError, match="expected a share"):
        evaluate.select_threshold(scores, fpr=1.5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[:0], "has no rows"),
        (lambda t: t.drop(columns="label"), r"lacks the columns \['label'\]"),
        (lambda t: t.assign(label=t["label"] + 1), "got label 2 at row 3"),
        (lambda t: t.assign(p_fake=t["p_fake"].where(t.index != 7)), "got score nan at row 7"),
        (lambda t: t.assign(p_fake=t["p_fake"] + 1), "expected P.fake. in"),
        (
            lambda t: pd.concat([t, t.iloc[[5]]]),
            r"row 108 \(toy/DF/c23/report000/2\) is there twice",
        ),
        (lambda t: t.to_dict(), "got dict, expected a table"),
    ],
)
def test_bad_scores_are_named(tmp_path, spoil, message):
    bad = spoil(toy_scores())
    for call in (evaluate.check_scores, evaluate.report, evaluate.measure):
        with pytest.raises(ValueError, match=message):
            call(bad)
    with pytest.raises(ValueError, match=message):
        evaluate.write_scores(bad, tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())


def test_bad_score_files_are_named(tmp_path):
    path = tmp_path / "scores.csv"
    scores = toy_scores()
    for spoil, message in (
        (lambda t: t.assign(label=t["label"].replace(1, 2)), r"line 5: label is '2' \(72 such"),
        (lambda t: t.assign(label=t["label"].replace(1, "fake")), "line 5: label is 'fake'"),
        (lambda t: pd.concat([t, t]), "is there twice"),
        (lambda t: t.iloc[:0], "has no rows"),
    ):
        spoil(scores).to_csv(path, index=False)
        with pytest.raises(ValueError, match=message):
            evaluate.read_scores(path)
    path.write_bytes(b"\xff\xfe\x00binary\x00")
    with pytest.raises(ValueError):
        evaluate.read_scores(path)
    path.write_text("")
    with pytest.raises(ValueError, match="not a CSV table"):
        evaluate.read_scores(path)


def test_an_empty_list_of_crops(crops):
    root, table = crops
    with pytest.raises(ValueError, match="no rows"):
        evaluate.score(tiny_model(), table.iloc[:0], root, device="cpu")


def test_tables_need_no_torch():
    import subprocess
    import sys

    code = "import sys, gendkit.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
