"""Resampling by person, over seeds: arithmetic by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from gendkit import resample

PEOPLE = [f"n{k:03d}" for k in range(7)]
KEY = ["dataset", "method", "compression", "video_id"]


def scores(
    seed: int,
    methods: tuple[str, ...] = ("DF", "NT", "SBI"),
    role: str = "report",
    shift: float = 0.2,
) -> pd.DataFrame:
    """Two frames of a real and of a fake a method for everybody; fakes score higher by `shift`."""
    rng, rows = np.random.default_rng(seed), []
    for who, method, frame in itertools.product(PEOPLE, ("real", *methods), range(2)):
        fake = method != "real"
        rows.append(
            {
                "dataset": "toy",
                "method": method,
                "compression": "c23",
                "video_id": f"{who}_n999" if fake else who,
                "source_id": who,
                "role": role,
                "label": int(fake),
                "frame": frame,
                "p_fake": rng.uniform(0, 0.7) + shift * fake,
            }
        )
    return pd.DataFrame(rows)


def area(fakes: list[float], reals: list[float]) -> float:
    """AUROC by counting pairs."""
    wins = [(f > r) + (f == r) / 2 for f, r in itertools.product(fakes, reals)]
    return float(np.mean(wins))


def mean_area(runs: list[pd.DataFrame], methods: list[str], people: list[str]) -> float:
    """Mean AUROC over seeds and methods, of people who may come more than once."""
    values = []
    for run, method in itertools.product(runs, methods):
        video = run.groupby(["source_id", "method"])["p_fake"].mean()
        values.append(area([video[p, method] for p in people], [video[p, "real"] for p in people]))
    return float(np.mean(values))


def test_mean_and_difference_by_hand():
    one, two = [scores(0), scores(1)], [scores(2, shift=0.1), scores(3, shift=0.1)]
    a, b = resample.sample(one), resample.sample(two)
    methods = ["DF", "SBI"]
    first, second = (mean_area(runs, methods, PEOPLE) for runs in (one, two))
    value, low, high = resample.estimate([(1, a, methods)], seed=4, n=60)
    assert value == pytest.approx(first) and low <= value <= high and low < high
    gap = resample.estimate([(1, a, methods), (-1, b, methods)], seed=4, n=60)
    assert gap[0] == pytest.approx(first - second) and gap[1] < gap[0] < gap[2]

    rng = np.random.default_rng(4)  # the same people for both terms
    draws = rng.multinomial(7, np.full(7, 1 / 7), size=60)
    drawn = [[p for p, n in zip(PEOPLE, row, strict=True) for _ in range(n)] for row in draws]
    means = [[mean_area(runs, methods, people) for people in drawn] for runs in (one, two)]
    np.testing.assert_allclose([low, high], np.quantile(means[0], [0.025, 0.975]))
    wanted = np.quantile(np.subtract(*means), [0.025, 0.975])
    np.testing.assert_allclose(gap[1:], wanted, atol=1e-12)


def test_seeds_and_methods_count_alike():
    runs = [scores(0), scores(1)]
    both = resample.sample(runs)
    parts = [resample.sample([run]) for run in runs]
    ones = np.ones((1, len(PEOPLE)), int)
    values = [s.means([m], ones)[0] for s in parts for m in ("DF", "NT")]
    assert both.means(["DF", "NT"], ones)[0] == pytest.approx(np.mean(values))
    assert both.methods == ["DF", "NT", "SBI"] and list(both.people) == PEOPLE
    assert both.scores.shape == (2, 4 * len(PEOPLE))


def test_equal_samples_differ_by_exactly_nothing():
    a, b = (resample.sample([scores(0), scores(1)]) for _ in range(2))
    assert resample.estimate([(1, a, ["DF", "NT"]), (-1, b, ["DF", "NT"])]) == (0, 0, 0)
    perfect = resample.sample([scores(0, shift=0.3).assign(p_fake=lambda t: t["label"] * 1.0)])
    assert resample.estimate([(1, perfect, ["DF"])]) == (1, 1, 1)


def test_sample_keeps_the_report_people_and_refuses_different_videos():
    run = pd.concat([scores(0), scores(1, role="select").assign(dataset="other")])
    kept = resample.sample([run])
    assert len(kept.videos) == 4 * len(PEOPLE)
    means = scores(0).groupby(KEY)["p_fake"].mean()  # videos come in the order of their key
    np.testing.assert_allclose(kept.scores[0], means)
    fewer = scores(1)
    with pytest.raises(ValueError, match="scored different videos; score one table with every"):
        resample.sample([scores(0), fewer[fewer["video_id"] != "n003"]])
    with pytest.raises(ValueError, match="scored different videos"):
        resample.sample([scores(0), scores(1).replace({"video_id": {"n003": "n300"}})])


def test_estimate_refuses_other_people_and_unknown_manipulations():
    a, others = scores(0), scores(1)
    others["source_id"] = others["source_id"].str.replace("n", "x")
    pair = [(1, resample.sample([a]), ["DF"]), (-1, resample.sample([others]), ["DF"])]
    with pytest.raises(ValueError, match="of different people"):
        resample.estimate(pair)
    with pytest.raises(ValueError, match=r"no videos of \['Talk'\] in this sample, it has \['DF'"):
        resample.estimate([(1, resample.sample([a]), ["DF", "Talk"])])


def test_pooled_and_worst_by_hand():
    runs = [scores(0), scores(1, shift=0.1)]
    one, ones = resample.sample(runs), np.ones((1, len(PEOPLE)), int)
    pooled, each = [], []
    for run in runs:
        video = run.groupby(["method", "source_id"])["p_fake"].mean()
        pooled.append(area([*video["DF"], *video["NT"]], [*video["real"]]))
        each.append([area([*video[m]], [*video["real"]]) for m in ("DF", "NT")])
    assert one.pooled(["DF", "NT"], ones)[0] == pytest.approx(np.mean(pooled))
    assert one.worst(["DF", "NT"], ones)[0] == pytest.approx(np.mean(each, axis=0).min())
    np.testing.assert_allclose(one.areas(["DF", "NT"], ones)[:, :, 0].T, each)
    terms = [(1, one, ["DF", "NT", "SBI"])]
    worst, mean = (resample.estimate(terms, n=50, how=how) for how in ("worst", "mean"))
    assert worst[0] < mean[0] and worst[1] < mean[1] and worst[2] < mean[2]
    with pytest.raises(ValueError, match="got how='best', expected one of mean, pooled, worst"):
        resample.estimate(terms, how="best")
