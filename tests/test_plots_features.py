"""Figures of features: what is drawn, what they say about themselves."""

import numpy as np
import pandas as pd
import pytest

from gendkit import plots

CURVES = pd.DataFrame({"x": [0.1, 1, 10] * 2, "y": [1.0, 2, 3, 3, 2, 1], "name": ["a"] * 3 + ["b"] * 3})  # fmt: skip
DOTS = pd.DataFrame({"row": ["yaw", "yaw", "light"], "kind": ["x", "y", "x"], "value": [0.5, 0.2, 0.1],
                     "low": [0.4, 0.1, 0.0], "high": [0.7, 0.3, 0.2]})  # fmt: skip
SHARES = pd.DataFrame({"pooled": [0.8, 0.2], "mean": [0.5, 0.5]}, index=["person", "frame"])
LAYERS = pd.DataFrame({"name": ["first", "last"], "gain": [0.1, 0.2], "bias": [0.3, 0.1]})
FACE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

FIGURES = {
    "band_lines": lambda **k: plots.band_lines(
        CURVES, "x", "y", "name", "X", "Y", log_x=True, marks={"here": 1.0}, level=2.0, **k
    ),
    "interval_dots": lambda **k: plots.interval_dots(DOTS, "row", "kind", "R2", level=0.0, **k),
    "share_bars": lambda **k: plots.share_bars(SHARES, **k),
    "layer_bars": lambda **k: plots.layer_bars(LAYERS, {"gain": "gains", "bias": "biases"}, **k),
    "token_grid": lambda **k: plots.token_grid(FACE, 8, **k),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_is(name):
    fig = FIGURES[name](title="The message", profile="demo", caption="seed 3")
    subtitle, alt = fig.layout.title.subtitle.text, fig.layout.meta["alt"]
    assert "profile demo" in subtitle and "seed 3" in subtitle
    assert "The message" in alt and alt == plots.describe(fig)
    assert fig.layout.xaxis.title.text
    assert len(fig.to_json()) < 60_000


def test_bands_are_drawn_where_there_are_intervals():
    banded = CURVES.assign(low=CURVES.y - 1, high=CURVES.y + 1)
    fig = plots.band_lines(banded, "x", "y", "name", "X", "Y")
    assert len(fig.data) == 4 and "95 % intervals" in fig.layout.title.subtitle.text
    assert fig.data[0].y.tolist() == [2, 3, 4, 2, 1, 0]
    assert len(FIGURES["band_lines"]().data) == 2


def test_marks_stand_where_they_should_on_a_logarithmic_axis():
    fig = FIGURES["band_lines"]()
    assert fig.layout.annotations[-1].x == 0.0 and fig.layout.annotations[-1].text == "here"


def test_dots_are_in_the_order_of_the_table():
    fig = FIGURES["interval_dots"]()
    assert list(fig.layout.yaxis.ticktext) == ["yaw", "light"]
    assert [len(trace.x) for trace in fig.data] == [2, 1]
    np.testing.assert_allclose(fig.data[0].error_x.array, [0.2, 0.1], atol=1e-6)
    assert fig.data[0].y[0] < 0 < fig.data[1].y[0]  # kinds side by side, not on top of each other


def test_heat_keeps_the_brightest_and_darkens_the_rest():
    picture = plots.heat(FACE, np.array([[1.0, 0.0], [0.5, 0.25]]), strength=0.5)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[:32, :32], FACE[:32, :32])
    np.testing.assert_allclose(picture[:32, 32:], FACE[:32, 32:] * 0.5, atol=0.51)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.band_lines(CURVES[:0], "x", "y", "name", "X", "Y"), "0 rows"),
        (lambda: plots.interval_dots(CURVES, "name", "x", "X"), "missing \\['value'"),
        (lambda: plots.share_bars(SHARES * 2), "sum to 1"),
        (lambda: plots.token_grid(FACE[:32], 4), "expected \\(S, S, 3\\)"),
        (lambda: plots.heat(FACE, np.zeros((2, 2))), "not all 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
