"""The model of pairs against closed forms and its own simulation; what a batch holds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from gendkit import datasets, pairing

WORLD = pairing.World(forgery=1.0, noise=1.0, nuisance=1.0, dims=20)


def test_pairs_leave_the_forgery_alone():
    n = 8
    right = norm.cdf(1.0 / np.sqrt(2 / n))  # the weight of the forgery has the right sign
    area = norm.cdf(1 / np.sqrt(2))
    wanted = right * area + (1 - right) * (1 - area)
    assert pairing.expected_auroc(n, WORLD, paired=True) == pytest.approx(wanted, abs=1e-3)
    silent = pairing.World(1.0, 1.0, 0.0, 20)  # no nuisance: nothing to cancel
    assert pairing.expected_auroc(n, silent, paired=False) == pytest.approx(wanted, abs=1e-3)


def test_unpaired_against_a_plain_monte_carlo():
    n, rng = 10, np.random.default_rng(0)
    w_f = 1 + np.sqrt(2 / n) * rng.standard_normal(200_000)
    length = 2 / n * rng.chisquare(20, 200_000)
    wanted = norm.cdf(w_f / np.sqrt(2 * (w_f**2 + length))).mean()
    assert pairing.expected_auroc(n, WORLD, paired=False) == pytest.approx(wanted, abs=2e-3)


def test_more_videos_help_and_pairs_need_fewer():
    unpaired = [pairing.expected_auroc(n, WORLD, False) for n in (4, 16, 64, 4096)]
    paired = [pairing.expected_auroc(n, WORLD, True) for n in (4, 16, 64, 4096)]
    assert unpaired == sorted(unpaired) and all(
        p > u for p, u in zip(paired, unpaired, strict=True)
    )
    assert unpaired[-1] == pytest.approx(paired[-1], abs=2e-3)


def test_a_shift_of_the_collection_survives_pairs():
    for paired in (True, False):
        own = pairing.expected_auroc(36, WORLD, paired, shift=2.0, test_shift=2.0)
        clean = pairing.expected_auroc(36, WORLD, paired, shift=2.0)
        assert own > 0.9 > pairing.expected_auroc(36, WORLD, paired) > clean
    wanted = norm.cdf((1 + 4) / np.sqrt(2 * (1 + 4)))  # weights 1 and 2 when n is endless
    own = pairing.expected_auroc(10**6, WORLD, True, shift=2.0, test_shift=2.0)
    assert own == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("shift", "test_shift"), [(0.0, 0.0), (1.5, 1.5), (1.5, 0.0)])
def test_the_simulation_agrees(paired, shift, test_shift):
    found = pairing.simulate(
        12, WORLD, paired, np.random.default_rng(1), 150, 200, shift, test_shift
    )
    wanted = pairing.expected_auroc(12, WORLD, paired, shift, test_shift)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - wanted) < 4 * error + 1e-3


def test_class_gap_is_the_first_step_of_logistic_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), np.repeat([0, 1], 5)
    step, h = np.empty(3), 1e-6
    for k in range(3):
        w = np.eye(3)[k] * h
        loss = [np.log1p(np.exp(-(2 * y - 1) * (x @ (s * w)))).mean() for s in (1, -1)]
        step[k] = -(loss[0] - loss[1]) / (2 * h)
    np.testing.assert_allclose(step, pairing.class_gap(x, y) / 4, atol=1e-8)


def crops(people=8):
    rows = []
    for person in range(people):
        for method in ("real", "DF", "NT"):
            for frame in (0, 7):
                rows.append({"path": f"{method}{person}{frame}", "dataset": "toy", "method": method,
                             "compression": "c23", "video_id": str(person), "frame": frame,
                             "source_id": str(person), "label": int(method != "real"),
                             "role": "fit"})  # fmt: skip
    return pd.DataFrame(rows)


def test_batch_facts_count_what_is_there():
    table = crops()
    facts = pairing.batch_facts(table, [[0, 2, 8, 1]])  # real 0/0, DF 0/0, DF 1/0, real 0/7
    assert facts.iloc[0].to_dict() == {
        "n_real": 2, "n_fake": 2, "n_people": 2, "n_methods": 1, "with_real": 0.5}  # fmt: skip
    paired = pairing.batch_facts(table, datasets.PairedBatchSampler(table, 8))
    assert (paired["with_real"] == 1).all() and (paired["n_real"] == paired["n_fake"]).all()
    features = np.random.default_rng(0).normal(size=(8, 5))[table["source_id"].astype(int)]
    shared = pairing.batch_facts(table, datasets.PairedBatchSampler(table, 8), features)
    np.testing.assert_allclose(shared["gap"], 0, atol=1e-20)
    plain = pairing.batch_facts(table, datasets.RandomBatchSampler(len(table), 12), features)
    assert (plain["gap"] > 0.01).all() and plain["with_real"].mean() < 1


def test_errors():
    with pytest.raises(ValueError, match="expected forgery > 0"):
        pairing.World(forgery=0)
    with pytest.raises(ValueError, match="whole number >= 1"):
        pairing.expected_auroc(0, WORLD, True)
    with pytest.raises(ValueError, match="whole number >= 1"):
        pairing.simulate(4, WORLD, True, np.random.default_rng(0), n_repeats=0)
    with pytest.raises(ValueError, match="both classes"):
        pairing.class_gap(np.ones((3, 2)), [1, 1, 1])
    with pytest.raises(ValueError, match="no batch"):
        pairing.batch_facts(crops(), [])
