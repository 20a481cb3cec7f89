"""Figures of decisions: what they show is what the numbers say, and they stay small."""

import numpy as np
import pandas as pd
import pytest

from gendkit import plots
from gendkit.plots import thresholds


def pair(n=200, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], n // 2)
    return y, 1 / (1 + np.exp(-(rng.normal(size=n) + 2 * y - 1 + offset)))


def rates():
    row = {"n_real": 10, "n_fake": 20}
    for name, value in (("fpr", 0.2), ("tpr", 0.7), ("auroc", 0.8), ("balanced_accuracy", 0.75)):
        row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
    return pd.DataFrame([{"set": "a", **row}, {"set": "b", **row}])


FIGURES = {
    "strips": lambda: plots.score_strips({"a": pair(), "b": pair(offset=1)}, 0.4, title="T"),
    "rates": lambda: plots.error_rates(rates(), title="T"),
    "reliability": lambda: plots.reliability({"raw": pair(), "scaled": pair(seed=1)}, title="T"),
    "explorer": lambda: plots.threshold_explorer(
        {"a": pair(), "b": pair(offset=1)}, 0.4, title="T"
    ),
    "risk": lambda: plots.risk_coverage(
        {"a": pd.DataFrame({"coverage": [1, 0.5], "risk": [0.2, 0.1]})},
        title="T",
        facts=["4 videos"],
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_title_caption_alt_text_and_is_small(name):
    fig = FIGURES[name]()
    assert fig.layout.title.text == "T" and "profile fast" in fig.layout.title.subtitle.text
    assert fig.layout.meta["alt"].startswith("T.")
    assert len(fig.to_json()) < 150_000


def test_strips_share_one_axis_and_one_threshold():
    fig = plots.score_strips({"a": pair(), "b": pair(offset=1)}, 0.4)
    assert [s.x0 for s in fig.layout.shapes] == [0.4, 0.4]
    assert sum(trace.showlegend for trace in fig.data) == 2
    for trace in fig.data:
        assert np.sum(trace.y) == pytest.approx(1, abs=1e-6)
    assert "dashed: threshold 0.400" in fig.layout.title.subtitle.text


def test_rates_show_values_and_intervals():
    fig = plots.error_rates(rates(), measures=["fpr", "auroc"])
    fpr, auroc = fig.data
    assert list(fpr.x) == pytest.approx([0.2, 0.2]) and list(auroc.x) == pytest.approx([0.8, 0.8])
    assert list(fpr.error_x.array) == pytest.approx([0.1, 0.1])
    assert list(fig.layout.yaxis.ticktext) == ["a (10 : 20)", "b (10 : 20)"]


def test_reliability_has_bins_of_equal_size():
    y, s = pair(100)
    fig = plots.reliability({"raw": (y, s)}, n_bins=4)
    order = np.argsort(s)
    assert list(fig.data[1].y) == pytest.approx([y[part].mean() for part in np.split(order, 4)])
    assert list(fig.data[1].text) == ["25"] * 4


def test_the_explorer_starts_at_the_threshold_and_moves_every_trace():
    sets = {"a": pair(), "b": pair(offset=1)}
    fig = plots.threshold_explorer(sets, 0.4, n_steps=11, prevalences=(0.5, 0.1, 0.01))
    slider = fig.layout.sliders[0]
    assert slider.steps[slider.active].label == "0.400"
    for step in slider.steps:
        heights, traces = step.args[0]["y"], step.args[1]
        assert len(heights) == len(traces) == len(fig.data) - 1
        assert all(len(h) == len(fig.data[t].y) for h, t in zip(heights, traces, strict=True))
    start = slider.steps[slider.active].args[0]["y"]
    for trace, height in zip(fig.data, start, strict=False):
        assert list(trace.y) == pytest.approx(height)


def test_the_explorer_shows_bayes_rule():
    y, s = pair()
    fig = plots.threshold_explorer({"a": (y, s)}, 0.6, prevalences=(0.5, 0.1, 0.01))
    fpr, tpr = np.mean(s[y == 0] >= 0.6), np.mean(s[y == 1] >= 0.6)
    assert fig.data[0].y[0] == pytest.approx(fpr, abs=1e-4)
    assert fig.data[1].y[0] == pytest.approx(tpr, abs=1e-4)
    marks = [trace for trace in fig.data if (trace.name or "").startswith("1 fake in")]
    for share, mark in zip((0.5, 0.1, 0.01), marks, strict=True):
        assert mark.y[0] == pytest.approx(tpr * share / (tpr * share + fpr * (1 - share)), abs=1e-4)
    assert [mark.visible for mark in marks] == [False, False, True]


def test_each_button_shows_one_share_and_hides_nothing_else():
    fig = plots.threshold_explorer({"a": pair(), "b": pair(seed=1)}, 0.5)
    for k, button in enumerate(fig.layout.updatemenus[0].buttons):
        shown = button.args[0]["visible"]
        assert len(shown) == len(fig.data)
        assert [v for v in shown[4:8]] == [j == k for j in range(4)]
        assert all(shown[:4]) and shown[-1]


def test_no_call_at_all_has_no_right_share():
    heights = thresholds._heights({"a": pair()}, 1.0, np.array([0.5]), [0.5])
    assert heights == [[0.0], [0.0], [0.0], [0.0]]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: plots.score_strips({}), "no set to draw"),
        (lambda: plots.error_rates(rates().drop(columns="fpr_low")), "fpr_low"),
        (lambda: plots.error_rates(rates().iloc[:0]), "a table with rows"),
        (lambda: plots.reliability({}), "no scores to draw"),
        (lambda: plots.reliability({"a": pair(4)}, n_bins=10), "at least 10"),
        (lambda: plots.threshold_explorer({}, 0.5), "got 0 sets"),
        (lambda: plots.threshold_explorer({"a": ([0, 0], [0.1, 0.2])}, 0.5), "reals and fakes"),
        (lambda: plots.threshold_explorer({"a": pair()}, 1.5), "got threshold=1.5"),
        (lambda: plots.threshold_explorer({"a": pair()}, 0.5, prevalences=[0]), "prevalences"),
        (lambda: plots.risk_coverage({}), "no curve to draw"),
        (lambda: plots.risk_coverage({"a": pd.DataFrame({"risk": [1]})}), "coverage"),
    ],
)
def test_bad_input_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
