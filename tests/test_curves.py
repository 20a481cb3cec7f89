"""curves: every row against a count by hand, against scikit-learn, and against the numbers."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from gendkit import curves, metrics, repro


def case(seed, ties=True):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 60))
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    s = np.clip(rng.normal(0.4 + 0.2 * y, 0.25), 0, 1)
    return y, np.round(s, 1) if ties else s


CASES = [(seed, ties) for seed in range(4) for ties in (False, True)]


@pytest.mark.parametrize("seed, ties", CASES)
def test_every_row_against_counts_by_hand(seed, ties):
    y, s = case(seed, ties)
    tables = {
        "roc": curves.roc(y, s), "rates": curves.fpr_fnr(y, s), "f1": curves.f1(y, s),
        "fake": curves.precision_recall(y, s),
    }  # fmt: skip
    for table in tables.values():
        assert table["threshold"].tolist() == [np.inf, *sorted(set(s), reverse=True)]
    assert sorted(curves.precision_recall(y, s, "real")["threshold"]) == sorted(
        tables["roc"]["threshold"]
    )
    for k, threshold in enumerate(tables["roc"]["threshold"]):
        called = s >= threshold
        tp, fp = sum(called & (y == 1)), sum(called & (y == 0))
        fn, tn = sum(y == 1) - tp, sum(y == 0) - fp
        row = {name: table.iloc[k] for name, table in tables.items()}
        assert row["roc"]["tpr"] == tp / (tp + fn) and row["roc"]["fpr"] == fp / (fp + tn)
        assert row["rates"]["fnr"] == pytest.approx(fn / (tp + fn), abs=1e-15)
        assert row["rates"]["fpr"] == fp / (fp + tn)
        assert row["fake"]["precision"] == (tp / (tp + fp) if tp + fp else 1)
        assert row["fake"]["recall"] == tp / (tp + fn)
        assert row["f1"]["f1_fake"] == 2 * tp / (2 * tp + fp + fn)
        assert row["f1"]["f1_real"] == 2 * tn / (2 * tn + fp + fn)
    real = curves.precision_recall(y, s, "real")
    for threshold, precision, recall in real.to_numpy():
        called = s < threshold
        right = sum(called & (y == 0))
        assert precision == (right / called.sum() if called.any() else 1)
        assert recall == right / sum(y == 0)


@pytest.mark.parametrize("seed, ties", CASES)
def test_areas_are_the_numbers(seed, ties):
    y, s = case(seed, ties)
    roc = curves.roc(y, s)
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(metrics.auroc(y, s), abs=1e-12)
    areas = []
    for positive in ("fake", "real"):
        pr = curves.precision_recall(y, s, positive)
        assert (np.diff(pr["recall"]) >= 0).all()
        areas.append(np.sum(pr["precision"].iloc[1:] * np.diff(pr["recall"])))
    assert areas[0] == pytest.approx(metrics.average_precision(y, s, "fake"), abs=1e-12)
    assert np.mean(areas) == pytest.approx(metrics.average_precision(y, s), abs=1e-12)
    fpr, tpr, thresholds = sk.roc_curve(y, s, drop_intermediate=False)
    np.testing.assert_allclose(roc, np.stack([thresholds, fpr, tpr], axis=1), atol=1e-15)
    precision, recall, at = sk.precision_recall_curve(y, s)
    fake = curves.precision_recall(y, s)
    np.testing.assert_allclose(fake["precision"][1:], precision[:-1][::-1][: len(at)])
    np.testing.assert_allclose(fake["recall"][1:], recall[:-1][::-1][: len(at)])


def test_macro_f1_is_that_of_metrics():
    y, s = case(1)
    table = curves.f1(y, s)
    for row in table.iloc[1:].itertuples():
        assert row.f1 == pytest.approx(metrics.f1(y, s, row.threshold), abs=1e-15)


def test_the_two_rates_cross_at_the_equal_error_rate():
    y, s = case(2, ties=False)
    rate, rates = metrics.eer(y, s)[0], curves.fpr_fnr(y, s)
    before = rates[rates["fpr"] < rates["fnr"]].iloc[-1]
    after = rates[rates["fpr"] >= rates["fnr"]].iloc[0]
    assert before["fpr"] <= rate <= max(before["fnr"], after["fpr"])


def test_confusion():
    y, s = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.5, 0.6, 0.5, 0.2])
    table = curves.confusion(y, s, 0.5)
    assert table["label"].tolist() == ["real", "fake"]
    assert table[["called_real", "called_fake"]].to_numpy().tolist() == [[1, 2], [1, 1]]
    assert table["share_called_fake"].tolist() == [2 / 3, 1 / 2]
    with pytest.raises(ValueError, match="finite number"):
        curves.confusion(y, s, float("nan"))


def test_histogram():
    y, s = np.array([0, 0, 1, 1, 1]), np.array([0.0, 0.25, 0.25, 0.8, 1.0])
    table = curves.histogram(y, s, n_bins=4)
    assert table["n_real"].tolist() == [1, 1, 0, 0]
    assert table["n_fake"].tolist() == [0, 1, 0, 2]  # 1.0 belongs to the last bin
    assert table["share_real"].sum() == 1 and table["share_fake"].tolist()[-1] == 2 / 3
    assert table["high"].tolist() == [0.25, 0.5, 0.75, 1]
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match="whole number"):
            curves.histogram(y, s, n_bins=n)


@pytest.mark.parametrize(
    ("y", "s", "message"),
    [
        ([0, 0], [0.1, 0.2], "only real samples"),
        ([0, 2], [0.1, 0.2], "got label 2 at row 1"),
        ([0, 1], [0.1, np.nan], "got score nan at row 1"),
        ([0, 1], [0.1, -0.2], r"expected P\(fake\) in"),
        ([], [], "N > 0"),
    ],
)
@pytest.mark.parametrize(
    "make", [curves.roc, curves.fpr_fnr, curves.precision_recall, curves.f1, curves.histogram]
)
def test_bad_input(make, y, s, message):
    with pytest.raises(ValueError, match=message):
        make(y, s)


def test_unknown_class():
    with pytest.raises(ValueError, match="expected one of"):
        curves.precision_recall([0, 1], [0, 1], "fakes")


def test_thin_keeps_ends_order_and_shape():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    s = np.clip(rng.normal(0.4 + 0.3 * y, 0.15), 0, 1)
    whole = curves.roc(y, s)
    small = curves.thin(whole, 200)
    assert len(small) <= 200
    pd.testing.assert_series_equal(small.iloc[0], whole.iloc[0])
    pd.testing.assert_series_equal(small.iloc[-1], whole.iloc[-1], check_names=False)
    assert set(map(tuple, small.to_numpy())) <= set(map(tuple, whole.to_numpy()))
    assert (np.diff(small["fpr"]) >= 0).all() and (np.diff(small["tpr"]) >= 0).all()
    # no piece of the curve is jumped over: the longest step is near the mean step of arc length
    step = np.abs(np.diff(small[["fpr", "tpr"]], axis=0)).sum(axis=1)
    assert step.max() < 2.5 * 2 / 200
    assert np.trapezoid(small["tpr"], small["fpr"]) == pytest.approx(metrics.auroc(y, s), abs=1e-3)
    assert curves.thin(whole.iloc[:5], 10).equals(whole.iloc[:5])
    assert len(curves.thin(whole, 2)) == 2
    with pytest.raises(ValueError, match="at least 2"):
        curves.thin(whole, 1)


def test_a_million_scores_are_quick():
    rng = np.random.default_rng(0)
    y, s = rng.integers(0, 2, 1_000_000), rng.random(1_000_000)
    start = time.process_time()
    assert len(curves.roc(y, s)) > 900_000
    assert time.process_time() - start < 5  # sorts once; a loop over thresholds takes hours


def test_files(tmp_path):
    y, s = case(0)
    files = curves.write(y, s, tmp_path / "curves", threshold=0.5, n_bins=7)
    assert all(f.is_file() for f in files) and len(files) == 8
    back = pd.read_csv(tmp_path / "curves" / "roc.csv", dtype=str).astype(float)
    pd.testing.assert_frame_equal(back, curves.roc(y, s), check_exact=True)
    assert len(pd.read_csv(tmp_path / "curves" / "histogram.csv")) == 7
    facts = repro.read_json(tmp_path / "curves" / "curves.json")
    assert facts["threshold"] == 0.5 and facts["n_rows"] == len(y) and "versions" in facts["code"]
    curves.write(y, s, tmp_path / "curves", threshold=0.4)  # replaces the folder
    assert len(pd.read_csv(tmp_path / "curves" / "histogram.csv")) == 50
