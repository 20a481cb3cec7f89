"""Figures of levels: what is drawn, and bad tables by message."""

import numpy as np
import pandas as pd
import pytest

from gendkit import plots


def levels():
    rows = [
        {"corruption": name, "level": k, "value": value, "model": model, "auroc": 0.8 - 0.05 * k,
         "low": 0.7 - 0.05 * k, "high": 0.85}
        for name, values in (("jpeg", (100, 60, 20)), ("blur", (0.0, 1.0, 3.0)))
        for k, value in enumerate(values) for model in ("detector", "probe")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def falls():
    ends = {
        f"{k}{end}": [v, v - 0.1]
        for k, v in (("a", 0.9), ("b", 0.6))
        for end in ("", "_low", "_high")
    }
    return pd.DataFrame({"name": ["codec", "identity"], **ends})


def sizes():
    return pd.DataFrame({"n": [4, 16] * 2, "kind": ["paired"] * 2 + ["unpaired"] * 2,
                         "expected": [0.7, 0.75, 0.55, 0.6], "simulated": [0.7, np.nan] * 2,
                         "error": 0.01})  # fmt: skip


AXES = {"jpeg": "JPEG quality", "blur": "sigma"}
FIGURES = {
    "curves_by_level": lambda **k: plots.curves_by_level(levels(), AXES, {"jpeg": (40, 100)}, **k),
    "before_after": lambda **k: plots.before_after(falls(), **k),
    "growth": lambda **k: plots.growth(sizes(), **k),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_it_shows(name):
    fig = FIGURES[name](title="The message", profile="demo", facts=["32 people"], caption="More.")
    assert fig.layout.title.text == "The message"
    assert (
        "32 people" in fig.layout.title.subtitle.text
        and "profile demo" in fig.layout.title.subtitle.text
    )
    assert "The message" in fig.layout.meta["alt"] and len(fig.to_json()) < 100_000


def test_levels_are_in_order_and_the_training_range_is_shaded():
    fig = FIGURES["curves_by_level"]()
    assert fig.layout.xaxis.ticktext == ("100", "60", "20")
    boxes = [s for s in fig.layout.shapes if s.type == "rect"]
    assert [(b.x0, b.x1) for b in boxes] == [(-0.4, 1.4)]  # qualities 100 and 60
    assert "shaded" in fig.layout.title.subtitle.text
    np.testing.assert_allclose(fig.data[0].y, [0.8, 0.75, 0.7], rtol=1e-6)
    assert [t.showlegend for t in fig.data] == [True, True, False, False]
    assert "shaded" not in plots.curves_by_level(levels(), AXES).layout.title.subtitle.text


def test_what_was_not_simulated_has_no_point():
    fig = FIGURES["growth"]()
    points = [t for t in fig.data if t.mode == "markers"]
    assert [len(t.x) for t in points] == [1, 1]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.curves_by_level(levels().drop(columns="low"), AXES), r"missing \['low'\]"),
        (lambda: plots.curves_by_level(levels(), {"fog": "fog"}), "axes of"),
        (lambda: plots.before_after(falls().drop(columns="b")), r"missing \['b'\]"),
        (lambda: plots.before_after(falls().assign(name="codec")), "twice"),
        (lambda: plots.growth(sizes().iloc[:0]), "0 rows"),
    ],
)
def test_bad_tables(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
