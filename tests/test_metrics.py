"""metrics: parity with the official numbers, oracles, intervals, errors."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance
from sklearn import metrics as sk

from gendkit import metrics

TOLERANCE = 1e-9
CASES = range(3)


@pytest.fixture(scope="module")
def parity():
    from pathlib import Path

    return json.loads((Path(__file__).parent / "data" / "metrics.json").read_text())


def as_table(case):
    """Frame scores; a video is the folder of its frames: dataset/source/video/frame."""
    rows = [file.split("/") for file in case["files"]]
    return pd.DataFrame(
        {
            "dataset": [r[0] for r in rows],
            "method": [r[1] for r in rows],
            "compression": "",
            "video_id": [r[2] for r in rows],
            "source_id": [r[2] for r in rows],
            "label": case["labels"],
            "p_fake": [p[1] for p in case["probs"]],
        }
    )


@pytest.mark.parametrize("level", ["frame", "video_mean", "video_median"])
@pytest.mark.parametrize("k", CASES)
def test_parity_with_the_official_code(parity, k, level):
    table = as_table(parity[k])
    if level != "frame":
        table = metrics.video_scores(table, how=level.removeprefix("video_"))
    y, s = table["label"], table["p_fake"]
    want = parity[k][level]

    def close(got, expected):
        assert abs(got - expected) < TOLERANCE, (got, expected)

    close(metrics.auroc(y, s), want["auroc"])
    close(metrics.average_precision(y, s), want["mAP"])
    rate, threshold = metrics.eer(y, s)
    close(rate, want["eer"])
    close(threshold, want["eer_threshold"])
    for fpr, tpr in want["tpr_at_fpr"].items():
        close(metrics.tpr_at_fpr(y, s, float(fpr)), tpr)
    oracle = metrics.oracle_accuracies(y, s)
    close(oracle["oracle_accuracy"], want["acc"])
    close(oracle["oracle_balanced_accuracy"], want["balanced_acc"])
    close(oracle["oracle_f1"], want["f1"])
    for got, expected in zip(metrics.w1_official(y, s), want["w1"], strict=True):
        close(got, expected)
    close(metrics.w1(y, s), want["w1"][1])


def test_the_fixture_has_no_number_that_is_not_checked(parity):
    checked = {
        "auroc",
        "mAP",
        "eer",
        "eer_threshold",
        "tpr_at_fpr",
        "acc",
        "balanced_acc",
        "f1",
        "w1",
    }
    for case in parity:
        for level in ("frame", "video_mean", "video_median"):
            assert set(case[level]) == checked


def test_confusion_counts():
    y, s = [0, 0, 0, 1, 1], [0.1, 0.5, 0.6, 0.5, 0.2]
    assert metrics.confusion(y, s, 0.5).tolist() == [[1, 2], [1, 1]]
    assert metrics.confusion(y, s, 0.0).tolist() == [[0, 3], [0, 2]]
    for threshold in (np.inf, np.nan):
        with pytest.raises(ValueError, match="fix it on the select set"):
            metrics.confusion(y, s, threshold)


def test_checked_gives_plain_arrays():
    labels, scores = metrics.checked(pd.Series([True, False]), [1, 0])
    assert labels.dtype == np.int64 and labels.tolist() == [1, 0]
    assert scores.dtype == float and scores.tolist() == [1.0, 0.0]
    assert metrics.checked([1, 1], [0.5, 0.5], both=False)[0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="only fake samples"):
        metrics.checked([1, 1], [0.5, 0.5])


def test_a_perfect_oracle_makes_no_error():
    oracle = metrics.oracle_accuracies([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9])
    assert oracle["oracle_threshold"] == 0.7 and oracle["oracle_accuracy"] == 1.0


def random_case(seed, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 80))
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    s = np.clip(rng.normal(0.4 + 0.2 * y, 0.25), 0, 1)
    return y, np.round(s, 1) if ties else s


CASE = [(seed, ties) for seed in range(8) for ties in (False, True)]


@pytest.mark.parametrize("seed, ties", CASE)
def test_against_sklearn_and_scipy(seed, ties):
    y, s = random_case(seed, ties)
    assert metrics.auroc(y, s) == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
    for got, want in zip(metrics.roc(y, s), sk.roc_curve(y, s), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)
    ap = sk.average_precision_score(y, s)
    both = (ap + sk.average_precision_score(1 - y, -s)) / 2
    assert metrics.average_precision(y, s, classes="fake") == pytest.approx(ap, abs=1e-12)
    assert metrics.average_precision(y, s) == pytest.approx(both, abs=1e-12)
    called = s >= 0.45
    assert metrics.accuracy(y, s, 0.45) == pytest.approx(sk.accuracy_score(y, called))
    assert metrics.balanced_accuracy(y, s, 0.45) == pytest.approx(
        sk.balanced_accuracy_score(y, called)
    )
    assert metrics.f1(y, s, 0.45) == pytest.approx(sk.f1_score(y, called, average="macro"))
    assert metrics.brier(y, s) == pytest.approx(sk.brier_score_loss(y, s))
    assert metrics.w1(y, s) == pytest.approx(wasserstein_distance(s[y == 1], s[y == 0]))


@pytest.mark.parametrize("seed, ties", CASE)
def test_against_slow_loops(seed, ties):
    y, s = random_case(seed, ties)
    fakes, reals = s[y == 1], s[y == 0]
    wins = sum(1.0 if f > r else 0.5 if f == r else 0.0 for f in fakes for r in reals)
    assert metrics.auroc(y, s) == pytest.approx(wins / (len(fakes) * len(reals)), abs=1e-12)
    for fpr in (0, 0.01, 0.1, 0.5, 1):
        best = max(np.mean(fakes >= t) for t in [*s, 2] if np.mean(reals >= t) <= fpr)
        assert metrics.tpr_at_fpr(y, s, fpr) == pytest.approx(best, abs=1e-12)
    gap = 0.0
    for k in range(10):
        low, high = k / 10, (k + 1) / 10
        inside = (s >= low) & ((s < high) | (k == 9))
        if inside.any():
            gap += inside.sum() / len(s) * abs(s[inside].mean() - y[inside].mean())
    if not ties:  # on the edges themselves the loop and the bins may round differently
        assert metrics.ece(y, s) == pytest.approx(gap, abs=1e-12)
    rate, threshold = metrics.eer(y, s)
    fpr, tpr, _ = metrics.roc(y, s)
    assert 0 <= rate <= 1 and 0 <= threshold <= 1
    grid = np.concatenate([np.linspace(a, b, 200) for a, b in zip(fpr, fpr[1:], strict=False)])
    curve = np.concatenate([np.linspace(a, b, 200) for a, b in zip(tpr, tpr[1:], strict=False)])
    assert rate == pytest.approx(grid[np.argmin(np.abs(1 - curve - grid))], abs=0.02)


def test_closed_forms():
    y, perfect = np.array([0, 0, 1, 1]), np.array([0.0, 0.1, 0.9, 1.0])
    assert metrics.auroc(y, perfect) == 1 and metrics.auroc(y, 1 - perfect) == 0
    assert metrics.eer(y, perfect)[0] == 0 and 0.1 < metrics.eer(y, perfect)[1] <= 0.9
    assert metrics.eer(y, 1 - perfect)[0] == pytest.approx(1)
    assert metrics.tpr_at_fpr(y, perfect, 0) == 1
    assert metrics.accuracy(y, perfect) == metrics.f1(y, perfect) == 1
    assert metrics.w1(y, y.astype(float)) == 1 and metrics.ece(y, y) == 0
    constant = np.full(4, 0.5)
    assert metrics.auroc(y, constant) == 0.5 and metrics.w1(y, constant) == 0
    assert metrics.eer(y, constant) == (pytest.approx(0.5), 0.5)
    assert metrics.brier(y, constant) == 0.25 and metrics.average_precision(y, constant) == 0.5


def test_a_threshold_is_reached_by_its_own_score():
    assert metrics.accuracy([0, 1], [0.2, 0.5], threshold=0.5) == 1


def test_auroc_ignores_order_and_monotone_maps(rng):
    y, s = random_case(3, ties=False)
    order = rng.permutation(len(y))
    assert metrics.auroc(y[order], s[order]) == metrics.auroc(y, s) == metrics.auroc(y, s**3)
    assert metrics.auroc(1 - y, 1 - s) == pytest.approx(metrics.auroc(y, s))


def test_reliability():
    table = metrics.reliability([0, 1, 1, 0, 1], [0.05, 0.1, 0.75, 0.8, 1.0], n_bins=4)
    assert table[["low", "high", "n"]].to_numpy().tolist() == [[0, 0.25, 2], [0.75, 1, 3]]
    assert table["mean_score"].tolist() == pytest.approx([0.075, 0.85])
    assert table["gap"].tolist() == pytest.approx([0.075 - 0.5, 0.85 - 2 / 3])
    with pytest.raises(ValueError, match="10 is usual"):
        metrics.reliability([0, 1], [0, 1], n_bins=0)


POINT = [metrics.auroc, metrics.average_precision, metrics.eer, metrics.tpr_at_fpr,
         metrics.accuracy, metrics.balanced_accuracy, metrics.f1, metrics.oracle_accuracies,
         metrics.brier, metrics.ece, metrics.w1, metrics.w1_official, metrics.roc]  # fmt: skip


@pytest.mark.parametrize("metric", POINT)
@pytest.mark.parametrize("y, s, message", [
    ([1, 1], [0.5, 0.6], "only fake samples.*add reals"),
    ([0, 0], [0.5, 0.6], "only real samples.*add fakes"),
    ([0, 1], [0.5, np.nan], "row 1.*drop or fill"),
    ([0, 1], [0.5, 1.5], "apply softmax or sigmoid"),
    ([0, 1], [-np.inf, 0.5], "row 0"),
    ([0, 2], [0.5, 0.5], "label 2 at row 1"),
    ([0, 1, 1], [0.5, 0.5], r"\(3,\) and scores \(2,\)"),
    ([0, 1], [[0.5, 0.5], [0.2, 0.8]], r"scores\[:, 1\]"),
    ([], [], "N > 0"),
])  # fmt: skip
def test_errors_say_what_to_do(metric, y, s, message):
    with pytest.raises(ValueError, match=message):
        metric(y, s)


def test_other_errors():
    with pytest.raises(ValueError, match="1 % is 0.01"):
        metrics.tpr_at_fpr([0, 1], [0, 1], 5)
    with pytest.raises(ValueError, match="select set"):
        metrics.accuracy([0, 1], [0, 1], float("nan"))
    with pytest.raises(ValueError, match='"both" or "fake"'):
        metrics.average_precision([0, 1], [0, 1], classes="real")


def test_video_scores_against_a_loop(tiny_scores):
    shuffled = tiny_scores.sample(frac=1, random_state=1)
    for how, reduce in {
        "mean": np.mean,
        "median": np.median,
        "max": np.max,
        "top3": lambda x: np.sort(x)[-3:].mean(),
    }.items():
        got = metrics.video_scores(shuffled, how)
        assert len(got) == 24 and (got["n_frames"] == 4).all()
        for row in got.itertuples():
            mine = tiny_scores[
                (tiny_scores["method"] == row.method) & (tiny_scores["video_id"] == row.video_id)
            ]
            assert row.p_fake == pytest.approx(reduce(mine["p_fake"]))
            assert (mine["label"] == row.label).all() and (mine["role"] == row.role).all()
    assert "frame" not in got and {"source_id", "donor_id"} <= set(got)


def test_video_scores_errors(tiny_scores):
    with pytest.raises(ValueError, match="join the scores with"):
        metrics.video_scores(tiny_scores.drop(columns="method"))
    with pytest.raises(ValueError, match="mean"):
        metrics.video_scores(tiny_scores, how="mode")
    bad = tiny_scores.copy()
    bad.loc[9, "label"] = 0
    with pytest.raises(ValueError, match="label varies within video 'toy/NT/c23/000'"):
        metrics.video_scores(bad)
    bad = tiny_scores.copy()
    bad.loc[9, "p_fake"] = np.nan
    with pytest.raises(ValueError, match="row 9"):
        metrics.video_scores(bad)


def simulated(n_sources, seed=0, frames=1, shift=1.0):
    """Reals and fakes in pairs; the source moves both scores, and all frames of a video."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(n_sources), 2)
    label = np.tile([0, 1], n_sources)
    logit = rng.normal(0, 1, n_sources)[source] + rng.normal(0, 1, 2 * n_sources) + shift * label
    table = pd.DataFrame(
        {
            "dataset": "d",
            "method": np.where(label, "FS", "real"),
            "compression": "",
            "video_id": source.astype(str),
            "source_id": source.astype(str),
            "label": label,
            "p_fake": 1 / (1 + np.exp(-logit)),
        }
    )
    table = table.loc[table.index.repeat(frames)].reset_index(drop=True)
    return table.assign(frame=np.tile(np.arange(frames), 2 * n_sources))


def slow_bootstrap(table, metric, n, seed):
    """Draw groups one by one and rebuild the table each time."""
    rng = np.random.default_rng(seed)
    groups = [part for _, part in table.groupby(["dataset", "source_id"], sort=True)]
    values = []
    while len(values) < n:
        again = pd.concat([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        if again["label"].nunique() == 2:
            values.append(metric(again["label"].to_numpy(), again["p_fake"].to_numpy()))
    return np.quantile(values, [0.025, 0.975])


def test_bootstrap_against_a_loop():
    table = simulated(12)
    got = metrics.bootstrap(table, n=50, seed=3)
    assert got.value == metrics.auroc(table["label"], table["p_fake"])
    assert (got.n_videos, got.n_groups, got.n_redrawn, got.level) == (24, 12, 0, 0.95)
    assert [got.low, got.high] == pytest.approx(slow_bootstrap(table, metrics.auroc, 50, 3))
    got = metrics.bootstrap(table, metrics.brier, n=50, seed=3)
    assert [got.low, got.high] == pytest.approx(slow_bootstrap(table, metrics.brier, 50, 3))
    fast = metrics.bootstrap(table, n=50)
    slow = metrics.bootstrap(table, lambda y, s: metrics.auroc(y, s), n=50)
    assert [fast.low, fast.high] == pytest.approx([slow.low, slow.high])


def test_bootstrap_is_seeded_and_ignores_row_order():
    table = simulated(15)
    one = metrics.bootstrap(table, seed=1, n=200)
    assert one == metrics.bootstrap(table.sample(frac=1, random_state=0), seed=1, n=200)
    assert one != metrics.bootstrap(table, seed=2, n=200)
    narrow = metrics.bootstrap(table, seed=1, n=200, level=0.5)
    assert one.low < narrow.low < narrow.high < one.high


def test_bootstrap_is_fast():
    table = simulated(250)
    start = time.process_time()
    metrics.bootstrap(table, n=1000)
    assert time.process_time() - start < 1


def test_intervals_of_videos_cover_and_those_of_frames_do_not():
    """200 sets of 40 pairs of 8 frames: the nominal 95 % interval must cover the true value."""
    big = simulated(4000, seed=99)
    truth = metrics.auroc(big["label"], big["p_fake"])
    cover = {"source_id": 0, "row": 0}
    for seed in range(200):
        table = simulated(40, seed=seed, frames=8)
        for groups in cover:
            got = metrics.bootstrap(table, groups=groups, n=100, seed=seed)
            cover[groups] += not got.excludes(truth)
    # binomial, n = 200, p = 0.95: four standard deviations are 0.06
    assert cover["source_id"] / 200 > 0.86
    assert cover["row"] / 200 < 0.75


def test_pairs_stay_together():
    """The source moves real and fake alike: keeping pairs together narrows the interval."""
    rng = np.random.default_rng(0)
    table = simulated(60, shift=0.0)
    base = np.repeat(rng.uniform(0.2, 0.7, 60), 2)
    table["p_fake"] = base + 0.05 * table["label"] + rng.normal(0, 0.01, 120)
    paired = metrics.bootstrap(table)
    single = metrics.bootstrap(table, groups="video")
    assert paired.high - paired.low < 0.5 * (single.high - single.low)


def test_ids_of_two_datasets_are_two_groups():
    one = simulated(10)
    two = pd.concat([one, one.assign(dataset="e")], ignore_index=True)
    assert metrics.bootstrap(two, n=10).n_groups == 20
    assert metrics.bootstrap(two, n=10, groups=["source_id"]).n_groups == 10
    assert metrics.bootstrap(two, n=10, groups="video").n_groups == 40


def test_resamples_with_one_class_are_drawn_again():
    table = simulated(4)
    table["source_id"] = table["method"] + table["source_id"]
    table = table[(table["label"] == 1) | (table["video_id"] == "0")]
    got = metrics.bootstrap(table, n=300)
    assert got.n_redrawn > 50 and np.isfinite([got.low, got.high]).all()
    assert got.n_groups == 5


def test_bootstrap_errors(tiny_scores):
    table = simulated(5)
    with pytest.raises(ValueError, match="missing columns"):
        metrics.bootstrap(table.drop(columns="source_id"))
    with pytest.raises(ValueError, match="only fake"):
        metrics.bootstrap(table[table["label"] == 1])
    with pytest.raises(ValueError, match="at least 2"):
        metrics.bootstrap(table.assign(source_id="a"))
    with pytest.raises(ValueError, match=r"eer\(y, s\)\[0\]"):
        metrics.bootstrap(table, metrics.eer)
    for wrong in ({"n": 0}, {"level": 1.0}, {"level": 95}):
        with pytest.raises(ValueError, match="1000 and 0.95"):
            metrics.bootstrap(table, **wrong)


def test_estimate_prints():
    estimate = metrics.Estimate(0.9124, 0.8709, 0.9451, 120)
    assert str(estimate) == "0.912 [0.871, 0.945]"
    assert estimate.excludes(0.5) and not estimate.excludes(0.9)


def test_paired_difference():
    a = simulated(60, seed=0)
    rng = np.random.default_rng(1)
    shift = rng.normal(0, 0.02, len(a)) - 0.06 * a["label"]
    b = a.assign(p_fake=np.clip(a["p_fake"] + shift, 0, 1))
    got = metrics.paired_difference(a, b.sample(frac=1, random_state=0))
    one, two = metrics.bootstrap(a), metrics.bootstrap(b)
    assert got.value == pytest.approx(one.value - two.value)
    assert got.high - got.low < 0.5 * (one.high - one.low)
    assert got.excludes(0) and not one.excludes(two.value)
    same = metrics.paired_difference(a, a)
    assert same.value == same.low == same.high == 0
    other = metrics.paired_difference(b, a)
    assert (other.low, other.high) == pytest.approx((-got.high, -got.low))


def test_paired_difference_errors(tiny_scores):
    a = simulated(6)
    with pytest.raises(ValueError, match="the same videos"):
        metrics.paired_difference(a, a.iloc[1:])
    with pytest.raises(ValueError, match="score both from one manifest"):
        metrics.paired_difference(a, a.assign(label=1 - a["label"]))
    with pytest.raises(ValueError, match="video_scores first"):
        metrics.paired_difference(tiny_scores.drop(columns="frame"), tiny_scores)
    assert metrics.paired_difference(tiny_scores, tiny_scores, n=5).n_videos == 24


def test_the_module_is_light():
    import subprocess
    import sys

    code = (
        "import sys, gendkit.metrics, gendkit.manifest;"
        "print({'torch', 'sklearn', 'transformers', 'cv2'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
