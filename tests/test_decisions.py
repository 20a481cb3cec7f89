"""Decisions against arithmetic by hand, and against sets whose answer is known by construction."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from gendkit import decisions, metrics


def videos(n=30, shift=2.0, offset=0.0, seed=0, dataset="a"):
    """One real and one fake of each of n people, normal logits."""
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1], n)
    z = rng.normal(size=2 * n) + shift * label + offset
    people = np.repeat([f"{k:03}" for k in range(n)], 2)
    return pd.DataFrame(
        {"dataset": dataset, "method": np.where(label, "DF", "real"), "compression": "",
         "video_id": people, "source_id": people, "label": label, "p_fake": 1 / (1 + np.exp(-z))}
    )  # fmt: skip


def test_ppv_and_npv_by_counting_ten_thousand():
    fakes, reals, tpr, fpr = 100, 9900, 0.9, 0.05
    assert decisions.ppv(tpr, fpr, 0.01) == pytest.approx(90 / (90 + 495))
    assert decisions.npv(tpr, fpr, 0.01) == pytest.approx(9405 / (9405 + 10))
    assert decisions.ppv(tpr, fpr, [0.0, 1.0]) == pytest.approx([0, 1])
    assert np.isnan(decisions.ppv(0.0, 0.0, 0.5))
    assert fakes + reals == 10_000


@pytest.mark.parametrize("given", [(1.2, 0, 0.5), (0.5, -0.1, 0.5), (0.5, 0.1, np.nan)])
def test_shares_out_of_range_are_refused(given):
    with pytest.raises(ValueError, match=r"expected shares in \[0, 1\]"):
        decisions.ppv(*given)


def test_restate_is_bayes_rule_on_a_known_mixture():
    """Scores that are exact posteriors at one share become exact posteriors at the other."""
    x = np.linspace(-3, 3, 13)
    real, fake = norm.pdf(x, -1), norm.pdf(x, 1)

    def posterior(share):
        return share * fake / (share * fake + (1 - share) * real)

    assert decisions.restate(posterior(0.8), 0.8, 0.01) == pytest.approx(posterior(0.01))
    assert decisions.restate(posterior(0.8), 0.8, 0.8) == pytest.approx(posterior(0.8))
    with pytest.raises(ValueError, match=r"expected both in \(0, 1\)"):
        decisions.restate(x, 0.5, 1.0)


def test_the_threshold_of_the_costs_is_the_cheapest_on_exact_posteriors():
    rng = np.random.default_rng(0)
    share, alarm, miss = 0.3, 1.0, 4.0
    label = rng.random(40_000) < share
    x = rng.normal(size=label.size) + np.where(label, 1, -1)
    p = share * norm.pdf(x, 1) / (share * norm.pdf(x, 1) + (1 - share) * norm.pdf(x, -1))

    def paid(threshold):
        tpr, fpr = np.mean(p[label] >= threshold), np.mean(p[~label] >= threshold)
        return float(decisions.cost(tpr, fpr, share, alarm, miss))

    best = alarm / (alarm + miss)
    assert paid(best) < min(paid(best / 2), paid(best * 2)) and paid(best) < paid(0.5)
    assert decisions.cost(1, 1, share, alarm, miss) == pytest.approx((1 - share) * alarm)
    assert decisions.cost(0, 0, share, alarm, miss) == pytest.approx(share * miss)
    with pytest.raises(ValueError, match="expected numbers >= 0"):
        decisions.cost(0.5, 0.5, 0.5, -1, 1)


def test_transfer_of_a_shifted_set_keeps_the_auroc_and_moves_the_rates():
    sets = {"here": videos(), "there": videos(offset=2.0)}
    threshold = metrics.eer(sets["here"]["label"], sets["here"]["p_fake"])[1]
    table = decisions.transfer(sets, threshold, n_bootstrap=100).set_index("set")
    assert table.loc["here", "auroc"] == pytest.approx(table.loc["there", "auroc"])
    assert table.loc["there", "fpr"] > table.loc["here", "fpr_high"]
    assert table.loc["there", "tpr"] >= table.loc["here", "tpr"]
    oracle = table["oracle_balanced_accuracy"]
    assert oracle["here"] == pytest.approx(oracle["there"], abs=0.04)
    assert table.loc["there", "balanced_accuracy"] < oracle["there"] - 0.1
    part = sets["there"]
    alarms = (part.loc[part["label"] == 0, "p_fake"] >= threshold).sum()
    assert table.loc["there", "fpr"] == alarms / 30
    assert (table["tpr_low"] <= table["tpr"]).all() and (table["tpr"] <= table["tpr_high"]).all()


def test_transfer_refuses_one_class():
    part = videos()
    with pytest.raises(ValueError, match="only real"):
        decisions.transfer({"x": part[part["label"] == 0]}, 0.5)


def test_risk_coverage_by_hand():
    labels, scores = [0, 0, 1, 1], [0.1, 0.6, 0.55, 0.9]
    table = decisions.risk_coverage(labels, scores, 0.5)
    # sorted by distance: 0.1 and 0.9 (right), then 0.6 (wrong: a real), then 0.55 (right)
    assert table["coverage"].tolist() == pytest.approx([1.0, 0.75, 0.5])
    assert table["risk"].tolist() == pytest.approx([0.25, 0.25 / 0.75, 0.0])
    assert table["margin"].is_monotonic_increasing


def test_risk_coverage_weighs_the_classes_to_the_prevalence():
    part = pd.concat([videos(), videos(seed=1).query("label == 1")])
    whole = decisions.risk_coverage(part["label"], part["p_fake"], 0.5, prevalence=0.2).iloc[0]
    called = part["p_fake"] >= 0.5
    fpr, fnr = called[part["label"] == 0].mean(), 1 - called[part["label"] == 1].mean()
    assert whole["coverage"] == pytest.approx(1)
    assert whole["risk"] == pytest.approx(0.8 * fpr + 0.2 * fnr)


@pytest.mark.parametrize("given", [{"threshold": 1.0}, {"threshold": 0.5, "prevalence": 0.0}])
def test_risk_coverage_refuses(given):
    with pytest.raises(ValueError, match=r"expected both in \(0, 1\)"):
        decisions.risk_coverage([0, 1], [0.2, 0.7], **given)


def groups(part, n_groups=2):
    return {p: f"g{k % n_groups}" for k, p in enumerate(sorted(set(part["source_id"])))}


def test_slices_measure_each_group_alone():
    part = videos(40)
    of = groups(part)
    table = decisions.slices(part, of, 0.6, n_bootstrap=50)
    assert table["slice"].tolist() == ["g0", "g1"] and table["n_people"].tolist() == [20, 20]
    one = part[part["source_id"].map(of) == "g1"]
    assert table.loc[1, "auroc"] == pytest.approx(metrics.auroc(one["label"], one["p_fake"]))
    assert table.loc[1, "fpr"] == (one.loc[one["label"] == 0, "p_fake"] >= 0.6).mean()


def test_slices_refuse_what_has_no_answer():
    part = videos(6)
    people = sorted(set(part["source_id"]))
    with pytest.raises(ValueError, match="expected at least 2"):
        decisions.slices(part, dict.fromkeys(people, "all"), 0.5)
    with pytest.raises(ValueError, match="group 'b' has 1 people"):
        decisions.slices(part, {**dict.fromkeys(people, "a"), people[0]: "b"}, 0.5)


@pytest.mark.parametrize("measure", decisions.MEASURES)
def test_slice_test_finds_a_planted_gap(measure):
    """Of half the people the reals score as high as fakes."""
    part = videos(40)
    of = groups(part)
    planted = part.copy()
    bad = (planted["source_id"].map(of) == "g1") & (planted["label"] == 0)
    planted.loc[bad, "p_fake"] = part.loc[part["label"] == 1, "p_fake"].to_numpy()[bad[::2]]
    spread, p = decisions.slice_test(planted, of, 0.6, measure, n_permutations=300)
    plain, fair = decisions.slice_test(part, of, 0.6, measure, n_permutations=300)
    table = decisions.slices(planted, of, 0.6, n_bootstrap=10)
    assert spread == pytest.approx(np.ptp(table[measure]))
    if measure == "tpr":  # the fakes were not touched
        assert (spread, p) == (plain, fair)
    else:
        assert p == pytest.approx(1 / 301, abs=0.01) and p < fair


def test_slice_test_is_fair_where_nothing_is_planted():
    found = []
    for seed in range(40):
        part = videos(24, seed=seed)
        found.append(decisions.slice_test(part, groups(part), 0.6, "auroc", 99, seed)[1])
    assert 0.3 < np.mean(found) < 0.7 and min(found) >= 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.2


def test_slice_test_keeps_the_videos_of_a_person_together():
    """Ten equal fakes of each person are no ten witnesses: p does not change."""
    part = videos(20)
    fakes = part[part["label"] == 1]
    many = pd.concat([part, *(fakes.assign(method=f"m{k}") for k in range(9))])
    one = decisions.slice_test(part, groups(part), 0.8, "tpr", 200)
    ten = decisions.slice_test(many, groups(part), 0.8, "tpr", 200)
    assert one == pytest.approx(ten)


def test_slice_test_refuses():
    part = videos(6)
    with pytest.raises(ValueError, match="got measure='acc'"):
        decisions.slice_test(part, groups(part), 0.5, "acc")
    first = sorted(set(part["source_id"]))[0]
    only = part[(part["source_id"] != first) | (part["label"] == 0)]
    lone = {p: "a" if p == first else "b" for p in set(part["source_id"])}
    with pytest.raises(ValueError, match="one class only"):
        decisions.slice_test(only, lone, 0.5, "auroc", 10)
