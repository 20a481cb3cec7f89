"""calibration: threshold and temperature against independent arithmetic; storing and reading."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from gendkit import calibration, evaluate, metrics, repro, score
from gendkit.commands import calibrate as command


def drawn(rng, n=400, heat=2.5):
    """Labels drawn from probabilities, and scores whose logits are too large by a factor."""
    z = rng.normal(0, 1.5, n)
    labels = (rng.uniform(size=n) < 1 / (1 + np.exp(-z))).astype(int)
    return labels, 1 / (1 + np.exp(-heat * z))


@pytest.fixture
def select(tiny_scores):
    """Twelve select people with a real and two fakes of four frames each."""
    rng = np.random.default_rng(3)
    rows = []
    for person in range(12):
        for method, label in (("real", 0), ("FS", 1), ("NT", 1)):
            for frame in range(4):
                z = 1.5 * (2 * label - 1) + rng.normal(0, 2)
                rows.append({
                    "dataset": "toy", "method": method, "compression": "c23",
                    "video_id": f"{person:03d}", "role": "select", "source_id": f"{person:03d}",
                    "label": label, "frame": frame, "p_fake": 1 / (1 + math.exp(-z)),
                })  # fmt: skip
    report = tiny_scores[tiny_scores["role"] == "report"]
    report = report.assign(source_id="r" + report["source_id"], video_id="r" + report["video_id"])
    return pd.concat([pd.DataFrame(rows), report[evaluate.COLUMNS]], ignore_index=True)


def test_logit_and_rescale_are_inverse_and_keep_the_order():
    p = np.array([0.0, 1e-9, 0.2, 0.5, 0.9, 1.0])
    assert np.isfinite(calibration.logit(p)).all()
    np.testing.assert_allclose(calibration.logit([0.2, 0.5]), [math.log(0.25), 0], atol=1e-15)
    np.testing.assert_allclose(calibration.rescale(p, 1.0), p, atol=1e-15)
    warm = calibration.rescale(p, 3.0)
    assert (np.diff(warm) > 0).all() and warm[3] == 0.5 and warm[4] < 0.9
    assert calibration.rescale(0.9, 2.0) == pytest.approx(3 / 4)  # odds 9 -> sqrt 9
    for bad in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive finite"):
            calibration.rescale(p, bad)


def test_log_loss_against_the_formula(rng):
    labels, p = drawn(rng, 50)
    q = calibration.rescale(p, 1.7)
    want = -np.mean(np.where(labels == 1, np.log(q), np.log(1 - q)))
    assert calibration.log_loss(labels, p, 1.7) == pytest.approx(want)
    assert calibration.log_loss([0, 1], [0.5, 0.5], 9.0) == pytest.approx(math.log(2))


def test_the_temperature_has_the_lowest_loss_and_finds_the_planted_one(rng):
    labels, p = drawn(rng, 20_000)
    found = calibration.fit_temperature(labels, p)
    other = minimize_scalar(
        lambda t: calibration.log_loss(labels, p, t), bounds=(0.05, 20), method="bounded"
    )
    assert found == pytest.approx(other.x, rel=1e-3) and found == pytest.approx(2.5, rel=0.05)


def test_a_temperature_at_the_end_of_its_range():
    assert calibration.fit_temperature([0, 1], [0.1, 0.9]) == calibration.LOWEST
    assert calibration.fit_temperature([1, 0], [0.1, 0.9]) == calibration.HIGHEST
    with pytest.raises(ValueError, match="expected both classes"):
        calibration.fit_temperature([1, 1], [0.1, 0.9])


@pytest.mark.parametrize(("text", "want"), [("eer", None), ("fpr=0.05", 0.05), ("fpr=0", 0.0)])
def test_rules(text, want):
    assert calibration.parse_rule(text) == want


@pytest.mark.parametrize(
    "text", ["", "EER", "fpr", "fpr=", "fpr=5%", "fpr=1", "fpr=-0.1", "tpr=0.9"]
)
def test_bad_rules(text):
    with pytest.raises(ValueError, match="expected eer or fpr=SHARE"):
        calibration.parse_rule(text)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (4, 16), (7, 7), (1, 1000)])
def test_interval_is_wilsons(k, n):
    want = binomtest(k, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(calibration.interval(k, n), want, atol=1e-12)


def test_needed_is_the_first_that_fits():
    for budget in (0.2, 0.05, 0.01):
        n = calibration.needed(budget)
        assert calibration.interval(0, n)[1] <= budget < calibration.interval(0, n - 1)[1]
    with pytest.raises(ValueError, match="share in"):
        calibration.needed(0)


@pytest.mark.parametrize("rule", ["eer", "fpr=0.25"])
def test_calibrate_agrees_with_the_one_definition_of_each_rule(select, rule):
    found = calibration.calibrate(select, rule, n_bootstrap=40)
    chosen = evaluate.select_threshold(select, fpr=calibration.parse_rule(rule))
    assert {name: found[name] for name in chosen} == chosen
    videos = metrics.video_scores(select[select["role"] == "select"])
    heat = found["temperature"]
    assert heat["value"] == calibration.fit_temperature(videos["label"], videos["p_fake"])
    assert heat["log_loss"] <= heat["log_loss_before"] and heat["share_fake"] == 2 / 3
    assert found["low"] <= found["value"] <= found["high"]
    assert heat["low"] < heat["value"] < heat["high"] and not heat["at_limit"]
    assert (found["n_people"], found["n_real"], found["n_fake"]) == (12, 12, 24)
    assert found["datasets"] == ["toy"] and found["n_frames"] == 4
    assert found["fpr_interval"] == list(calibration.interval(found["false_alarms"], 12))
    assert found["tpr"] == found["hits"] / 24


def test_only_select_rows_count(select):
    changed = select.assign(p_fake=select["p_fake"].where(select["role"] == "select", 0.5))
    one, two = (calibration.calibrate(t, n_bootstrap=10) for t in (select, changed))
    assert one == two
    with pytest.raises(ValueError, match="no row has the role 'select'"):
        calibration.calibrate(select[select["role"] == "report"])


def test_store_and_read(select, tmp_path):
    found = calibration.calibrate(select, n_bootstrap=10)
    with pytest.raises(FileNotFoundError, match="holds no model"):
        calibration.store(found, tmp_path)
    (tmp_path / "adapter").mkdir()
    assert calibration.read(tmp_path) is None
    calibration.store(found, tmp_path, seed=0)
    stored = calibration.read(tmp_path)
    assert (
        stored["value"] == found["value"] and stored["seed"] == 0 and "code" in stored["provenance"]
    )
    text = calibration.explain(stored)
    assert "of toy" in text and "4 frames a video" in text and "temperature" in text


@pytest.mark.parametrize(
    "content",
    [
        {"rule": "x"},
        {"value": "high", "rule": "x"},
        {"value": 0.5},
        [1],
        {"value": 0.5, "rule": "x", "temperature": 2},
        {"value": 0.5, "rule": "x", "temperature": {"value": 0}},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content):
    repro.write_json(tmp_path / "threshold.json", content)
    with pytest.raises(ValueError, match="gendkit calibrate SCORES --model FOLDER"):
        calibration.read(tmp_path)


def test_explain_says_what_is_known():
    assert "no file is called" in calibration.explain(None)
    assert "not recorded" in calibration.explain({"value": 0.5, "rule": "mine"})
    known = {"value": 0.7, "rule": "equal error rate on select", "false_alarms": 4, "n_real": 16}
    text = calibration.explain(known)
    assert "4 of 16" in text and "25%" in text and "10% to 49%" in text and "select" in text
    assert score.explain is calibration.explain


# ---------------------------------------------------------------- the command


@pytest.fixture
def scores_file(select, tmp_path):
    evaluate.write_scores(select, tmp_path / "scores.csv")
    return tmp_path / "scores.csv"


def test_command_stores_what_score_uses(scores_file, tmp_path, capsys):
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    words = [str(scores_file), "--model", str(tmp_path / "run"), "--n-bootstrap", "20"]
    assert command.main([*words, "--rule", "fpr=0.05"]) == 0
    out = capsys.readouterr().out
    stored = calibration.read(tmp_path / "run")
    assert f"threshold    {stored['value']:.4f}" in out and "12 people resampled" in out
    assert "do not show that it is kept elsewhere" in out and "73 reals without an alarm" in out
    assert "stored in" in out and stored["scores_sha256"] == repro.sha256(scores_file)


def test_command_without_model_stores_nothing(scores_file, tmp_path, capsys):
    import json

    before = sorted(tmp_path.iterdir())
    assert command.main([str(scores_file), "--json", "--n-bootstrap", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stored"] is None and found["temperature"]["value"] > 0
    assert sorted(tmp_path.iterdir()) == before


def test_command_wrong_use(scores_file, tmp_path, capsys):
    for words in (["--rule", "best"], ["--n-bootstrap", "0"]):
        with pytest.raises(SystemExit) as stopped:
            command.main([str(scores_file), *words])
        assert stopped.value.code == 2 and "expected" in capsys.readouterr().err
    assert command.main([str(tmp_path / "none.csv")]) == 1
    assert command.main([str(scores_file), "--n-bootstrap", "2", "--model", str(tmp_path)]) == 1
    assert "holds no model" in capsys.readouterr().err
