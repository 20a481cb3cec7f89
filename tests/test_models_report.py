"""The measured bars of the embedded models: lists, stand-in trainings, what the bars measure."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytest.importorskip("cv2")
pytest.importorskip("numba")

from test_resample import KEY, PEOPLE, scores  # noqa: E402
from tiny import make_crops, tiny_model  # noqa: E402

from gendkit import adapters, evaluate, manifest  # noqa: E402
from gendkit import model as gend  # noqa: E402
from gendkit.pretrain import detector, report, weights  # noqa: E402

LISTS = Path(__file__).parents[1] / "data" / "nobody"


def test_bar_says_whether_it_is_met():
    nan = float("nan")
    assert report.Bar("a", 0.9, bound=0.9).met is True
    assert report.Bar("a", 0.89, bound=0.9).met is False
    assert report.Bar("a", 80.0, bound=90.0, above=False).met is True
    assert report.Bar("a", 91.0, bound=90.0, above=False).met is False
    assert report.Bar("a", 0.5, 0.4, 0.6).met is None and np.isnan(report.Bar("a", 0.5).bound)
    pad = " " * 61
    full = report.Bar("a", 0.8512, 0.8, 0.9, 0.88).line()
    assert full == f"a{pad}   0.851 [0.800, 0.900]   >= 0.880  MISSED"
    seconds = report.Bar("a", 84.0, nan, nan, 90.0, above=False).line()
    assert seconds == f"a{pad}  84.000{' ' * 17} <= 90.000 met"
    assert report.Bar("a", -0.1, -0.25, 0.05).line() == f"a{pad}  -0.100 [-0.250, 0.050]"


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_real_lists_give_72_fit_videos_and_leave_the_others(kind):
    table = manifest.read(LISTS / "manifest.csv")
    got = report.among(table, LISTS / f"{kind}.csv")
    fit = got[got["role"] == "fit"]
    assert len(fit) == 72 and (fit["label"] == 0).sum() == 36
    wanted = pd.MultiIndex.from_frame(manifest.read(LISTS / f"{kind}.csv")[KEY])
    assert set(pd.MultiIndex.from_frame(fit[KEY])) == set(wanted)
    assert fit["source_id"].nunique() == {"paired": 36, "unpaired": 72}[kind]
    rest = table[table["role"] != "fit"]
    pd.testing.assert_frame_equal(got[got["role"] != "fit"], rest)


def test_among_keeps_every_crop_of_exactly_the_listed_videos(tmp_path):
    root, table = make_crops(tmp_path / "crops")
    videos = table.drop_duplicates(KEY).drop(columns="frame")
    listed = videos[(videos["role"] == "fit") & videos["video_id"].isin(["fit1", "fit4"])]
    listed = listed[listed["method"] != "NT"]
    manifest.write(listed, tmp_path / "list.csv")
    got = report.among(table, tmp_path / "list.csv")
    fit = got[got["role"] == "fit"]
    assert len(fit) == 2 * 2 * 2  # people, real and DF, frames
    assert set(fit["video_id"]) == {"fit1", "fit4"} and set(fit["method"]) == {"real", "DF"}
    assert (got["role"] != "fit").sum() == (table["role"] != "fit").sum()


def test_repeat_trains_with_every_seed_and_scores_both_sets(capsys):
    mixed = pd.concat([scores(9), scores(9, role="fit").assign(dataset="fit")])
    sets = report.Sets(mixed, Path("own"), scores(8), Path("other"))
    asked = []

    def fit(seed):
        def score(table, folder):
            asked.append((seed, folder.name, set(table["role"])))
            return table.assign(p_fake=(table["p_fake"] + seed / 10).clip(0, 1))

        return score, 3.0 - seed

    runs = report.repeat("a trainer", 3, sets, fit)
    assert asked == [(s, name, {"report"}) for s in range(3) for name in ("own", "other")]
    assert runs.seconds == 3.0 and runs.own.scores.shape == (3, 28)
    for seed in range(3):
        means = scores(9).assign(p_fake=lambda t, s=seed: (t["p_fake"] + s / 10).clip(0, 1))
        np.testing.assert_allclose(runs.own.scores[seed], means.groupby(KEY)["p_fake"].mean())
    assert "a trainer, seed 1: trained 2 s" in capsys.readouterr().err


def test_head_starts_from_the_probe_on_the_given_rows(tmp_path):
    root, table = make_crops(tmp_path)
    fit = table[table["role"] == "fit"]
    ours, theirs = (tiny_model(tune="none") for _ in range(2))
    accuracy = detector.start_head(ours, fit, root)
    features = evaluate.cache_features(theirs, fit, root)
    assert accuracy == adapters.init_head(theirs, features, fit["label"]) > 0.5
    assert torch.equal(ours.head.linear.weight, theirs.head.linear.weight)
    other = tiny_model(tune="none")
    detector.start_head(other, fit[fit["method"] != "NT"], root)
    assert not torch.equal(other.head.linear.weight, ours.head.linear.weight)
    with pytest.raises(ValueError, match="both classes"):
        detector.start_head(other, fit[fit["label"] == 0], root)


def test_tuned_scores_what_it_trained(tmp_path, monkeypatch):
    root, table = make_crops(tmp_path / "crops")
    built = []

    def build(name, head, feature_scale):
        built.append((name, head, feature_scale))
        return tiny_model(tune="none")

    def train(network, rows, folder, config, out):
        given.append((network, rows, config, out))
        return SimpleNamespace(model=network, seconds=40.0)

    given = []
    monkeypatch.setattr(gend, "build", build)
    monkeypatch.setattr(report.train, "train", train)
    score, seconds = report.tuned("start", table, root, tmp_path)(0)
    assert built == [("embedded", "LinearNorm", 10.0)] and not given and seconds < 40
    rows = table[table["role"] == "report"]
    probe = tiny_model(tune="none")
    detector.start_head(probe, table[table["role"] == "fit"], root)
    pd.testing.assert_frame_equal(score(rows, root), evaluate.score(probe, rows, root))

    plain = {"alignment": 0.0, "paired": False}
    _, seconds = report.tuned("full", table, root, tmp_path / "w", **plain)(2)
    (network, seen, config, out), *more = given
    assert not more and seconds > 40 and out == tmp_path / "w" and seen is table
    assert all(p.requires_grad for p in network.parameters())
    assert (config.seed, config.alignment, config.paired, config.epochs) == (2, 0.0, False, 4)
    assert config.augment is False and config.uniformity == detector.RECIPE.uniformity


def test_texture_baseline_learns_from_the_fit_people(tmp_path):
    root, table = make_crops(tmp_path)
    rng = np.random.default_rng(0)
    for path, label in zip(table["path"], table["label"], strict=True):
        grain = rng.normal(128, 20 - 12 * label, (128, 128, 3)).clip(0, 255)  # fakes are smoother
        Image.fromarray(grain.astype(np.uint8)).save(root / path)
    score, seconds = report.texture(report.Sets(table, root, table, root))(0)
    rows = table[table["role"] == "report"]
    found = score(rows, root)
    assert seconds > 0 and found["p_fake"].between(0, 1).all()
    fake = found["label"] == 1
    assert found["p_fake"][fake].min() > found["p_fake"][~fake].max()
    assert report.sample([found]).methods == ["DF", "NT"]


def test_bars_name_what_they_measure():
    methods = ("DF", "F2F", "FS", "NT", "SBI", "Whole")

    def runs(seed, shift):
        tables = [scores(seed + k, methods, shift=shift) for k in range(2)]
        return report.Runs(report.sample(tables), report.sample(tables[:1]), 30.0 + seed)

    names = ("baseline", "probe", "gend", "full", "paired", "unpaired")
    made = {n: runs(10 * k, 0.05 * k) for k, n in enumerate(names)}
    bars = {bar.what: bar for bar in report._bars(**made)}
    ones = np.ones((1, len(PEOPLE)), int)

    def value(name, which):
        return made[name].own.means(which, ones)[0]

    seen, unseen = ["DF", "F2F", "FS", "NT"], ["SBI", "Whole"]
    wanted = {
        "GenD: mean AUROC, seen manipulations": (value("gend", seen), 0.88),
        "GenD: mean AUROC, unseen manipulations": (value("gend", unseen), 0.80),
        "GenD minus texture baseline, unseen": (
            value("gend", unseen) - value("baseline", unseen),
            0,
        ),
        "GenD minus linear probe, seen": (value("gend", seen) - value("probe", seen), 0.08),
        "paired minus unpaired, unseen": (value("paired", unseen) - value("unpaired", unseen), 0),
    }
    for what, (number, bound) in wanted.items():
        assert bars[what].value == pytest.approx(number) and bars[what].bound == bound
        assert bars[what].low <= bars[what].value <= bars[what].high
    other = made["gend"].other.means(list(methods), ones)[0]
    assert bars["GenD: mean AUROC, nobody-x"].value == pytest.approx(other)
    time = bars["GenD: slowest training, s (2 cores, nothing else running)"]
    assert (time.value, time.bound, time.met) == (50.0, 90.0, True)
    for method in methods:
        assert bars[f"GenD: {method}"].value == pytest.approx(value("gend", [method]))


def test_landmark_bars_are_in_percent(monkeypatch):
    from gendkit import faces
    from gendkit.pretrain import check_landmarks

    monkeypatch.setattr(faces, "FaceEngine", lambda: "engine")
    called = []

    def check(root, engine, role, n_frames):
        called.append((root.name, engine, role, n_frames))
        return {"nme": 0.034, "failures": 0.02}

    monkeypatch.setattr(check_landmarks, "check", check)
    error, failures = report.landmarks()
    assert called == [("nobody", "engine", "report", 8)]
    assert error.value == pytest.approx(3.4) and error.met
    assert failures.value == pytest.approx(2.0) and not failures.met


def test_command_prints_and_writes_the_bars(tmp_path, monkeypatch, capsys):
    bars = [report.Bar("first", 0.9, 0.8, 0.95, 0.88), report.Bar("second", 0.4)]
    monkeypatch.setattr(report, "run", lambda work, seeds, workers: bars)
    out = tmp_path / "bars.json"
    assert weights.main(["report", "--seeds", "2", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mean of 2 seeds") and lines[1:] == [bar.line() for bar in bars]
    written = json.loads(out.read_text())
    assert written["seeds"] == 2 and "commit" in written["code"]
    assert written["bars"][0] == {
        "what": "first", "value": 0.9, "low": 0.8, "high": 0.95, "bound": 0.88, "above": True, "met": True,
    }  # fmt: skip
    assert written["bars"][1]["low"] is None and written["bars"][1]["met"] is None


@pytest.mark.parametrize("option", ["seeds", "workers"])
def test_command_refuses_no_seeds_and_no_workers(option, capsys):
    assert weights.main(["report", f"--{option}", "0"]) == 1
    assert f"--{option} is 0, expected at least 1" in capsys.readouterr().err
