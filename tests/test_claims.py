"""What chapters say to remember, derived again from the stored scores by arithmetic of its own.

A claim that the stored runs no longer support must fail here, and the chapter be rewritten.
"""

import numpy as np
import pandas as pd
import pytest

from gendkit import results

SEEN = ("DF", "F2F", "FS", "NT")
UNSEEN = ("Poisson", "SBI", "Morph", "SuperRes", "Inpaint", "Talk", "Whole")
GROUPS = {
    "seen": ("nobody", SEEN),
    "unseen": ("nobody", UNSEEN),
    "nobody-x": ("nobody-x", (*SEEN, *UNSEEN)),
}
N_DRAWS = 2000


@pytest.fixture(scope="module")
def stored():
    return pd.read_csv(results.store_dir() / results.SCORES)


def runs(stored, name):
    """Return the columns of a run, one per seed."""
    return [c for c in stored.columns if c == name or c.startswith(f"{name}-seed")]


def areas(stored, name, dataset, methods):
    """AUROC under 1 + N_DRAWS draws of people, the first of all people once; mean over all.

    A fake beats a real as often as its score is higher, ties counting half. Each person has one
    real and one fake of each method, so a draw is a weight for each person.
    """
    part = stored[stored["dataset"] == dataset]
    people = sorted(part.loc[part["label"] == 0, "source_id"])
    rng = np.random.default_rng(7)
    weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), N_DRAWS)
    weights = np.vstack([np.ones(len(people), int), weights]).astype(float)
    found = []
    for run in runs(stored, name):
        real = part[part["label"] == 0].set_index("source_id")[run].reindex(people).to_numpy()
        for method in methods:
            fake = part[part["method"] == method].set_index("source_id")[run].reindex(people)
            there = fake.notna().to_numpy()
            fake = fake.to_numpy()[there, None]
            wins = (fake > real) + 0.5 * (fake == real)
            area = (weights[:, there] @ wins * weights).sum(1)
            found.append(area / (weights[:, there].sum(1) * weights.sum(1)))
    return np.mean(found, axis=0)


def interval(draws):
    """Return value, low and high of draws whose first is the value."""
    return draws[0], *np.quantile(draws[1:], [0.025, 0.975])


def difference(stored, a, b, group):
    return interval(areas(stored, a, *GROUPS[group]) - areas(stored, b, *GROUPS[group]))


@pytest.mark.parametrize("group", GROUPS)
def test_chapter_6_layernorm_tuning_is_the_step_of_the_ladder(stored, group):
    _, low, _ = difference(stored, "nobody-LN", "nobody-baseline", group)
    assert low > 0
    value, low, high = difference(stored, "nobody-LN+L2", "nobody-LN", group)
    assert low < 0 < high and abs(value) < 0.005, "the sphere adds nothing"
    value, low, high = difference(stored, "nobody-LN+L2+UnAl", "nobody-LN+L2", group)
    assert value < -0.02 and high < 0.005, "its two terms cost"


def test_chapter_6_it_is_uniformity_that_costs(stored):
    listed = results.runs("nobody-sweep-*")
    names = {(row.alignment, row.uniformity): row.Index for row in listed.itertuples()}
    neither = names[0.0, 0.0]
    _, low, high = difference(stored, names[0.1, 0.0], neither, "unseen")
    assert low < 0 < high
    _, _, high = difference(stored, names[0.0, 0.5], neither, "unseen")
    assert high < 0


@pytest.mark.parametrize("group", GROUPS)
def test_chapter_4_under_the_whole_loss_no_way_to_tune_clearly_beats_the_probe(stored, group):
    for name in ("nobody-LN+L2+UnAl", "nobody-bitfit", "nobody-lora", "nobody-full"):
        _, low, _ = difference(stored, name, "nobody-probe", group)
        assert low < 0, name
    listed = results.runs().groupby("group")["adapter_bytes"].mean()
    assert listed["nobody-LN+L2+UnAl"] < 50e3 and listed["nobody-full"] > 5e6


@pytest.mark.parametrize("group", ["unseen", "nobody-x"])
def test_chapter_8_nothing_is_shown_against_full_tuning(stored, group):
    _, low, high = difference(stored, "nobody-LN", "nobody-full", group)
    assert low < 0 < high


def test_chapter_8_the_fair_gap_is_several_times_the_naive_one(stored):
    cross = {(a, b): areas(stored, f"nobody-cross-{a}", "nobody", (b,)) for a in SEEN for b in SEEN}
    own = np.mean([cross[a, a] for a in SEEN], axis=0)
    foreign = np.mean([cross[a, b] for a in SEEN for b in SEEN if a != b], axis=0)
    fair, low, _ = interval(own - foreign)
    top = "nobody-LN+L2+UnAl"
    naive, _, _ = interval(
        areas(stored, top, *GROUPS["seen"]) - areas(stored, top, *GROUPS["unseen"])
    )
    assert low > 0 and fair > 3 * naive
    one = np.mean([areas(stored, f"nobody-cross-{m}", *GROUPS["unseen"]) for m in SEEN], axis=0)
    _, low, _ = interval(areas(stored, top, *GROUPS["unseen"]) - one)
    assert low > 0, "variety carries over to new manipulations"


def test_chapter_8_mean_and_pooled_are_equal_where_all_share_their_reals(stored):
    part = stored[stored["dataset"] == "nobody"]
    real = part.loc[part["label"] == 0, "nobody-baseline"].to_numpy()
    fake = part.loc[part["label"] == 1, "nobody-baseline"].to_numpy()[:, None]
    pooled = ((fake > real) + 0.5 * (fake == real)).mean()
    mean = areas(stored, "nobody-baseline", "nobody", (*SEEN, *UNSEEN))[0]
    assert pooled == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("group", ["seen", "unseen"])
def test_chapter_9_pairs_are_better_on_equal_numbers_of_videos(stored, group):
    _, low, _ = difference(stored, "nobody-paired-LN", "nobody-unpaired-LN", group)
    assert low > 0


def test_the_library_says_the_same(stored):
    """The chapters print `results.difference`; value and ends agree with the arithmetic above."""
    told = results.difference("nobody-LN", "nobody-baseline", n_bootstrap=N_DRAWS, seed=1)
    for row in told.itertuples():
        value, low, high = difference(stored, "nobody-LN", "nobody-baseline", row.group)
        assert row.difference == pytest.approx(value, abs=1e-9)
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.006)
