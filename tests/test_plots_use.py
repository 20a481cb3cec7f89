"""plots.use: scores over time and what a call is worth; what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from gendkit import plots


def table(n_files=2, n=3):
    rows = [(f"<b>{k}</b>.mp4", 0.5 * i, (i + k) / 20) for k in range(n_files) for i in range(n)]
    return pd.DataFrame(rows, columns=["file", "seconds", "p_fake"])


def test_one_line_a_file_in_the_order_of_time():
    shuffled = table().sample(frac=1, random_state=0)
    fig = plots.scores_over_time(shuffled, 0.4)
    assert {trace.name for trace in fig.data} == {"&lt;b>0&lt;/b>.mp4", "&lt;b>1&lt;/b>.mp4"}
    for trace in fig.data:
        np.testing.assert_allclose(trace.x, [0, 0.5, 1.0])
        assert (np.diff(trace.y) > 0).all()
    assert fig.layout.shapes[0].y0 == 0.4
    assert "2 files · 6 frames" in fig.layout.title.subtitle.text
    assert "P(fake)" in fig.layout.meta["alt"]


def test_many_files_stay_readable_and_small():
    fig = plots.scores_over_time(table(20, 500))
    assert fig.layout.showlegend is False  # names are in the hover text
    assert sum(len(trace.x) for trace in fig.data) <= plots.MAX_POINTS
    assert len({(t.line.color, t.line.dash) for t in fig.data}) == 20


def test_predictive_values_with_band_and_star():
    grid = np.geomspace(1e-4, 0.5, 9)
    fig = plots.predictive_values(grid, grid, grid / 2, grid * 2, (0.01, 0.02))
    band, curve, star = fig.data
    assert len(band.x) == 18 and band.y[-1] == pytest.approx(2e-4, rel=1e-6)
    np.testing.assert_allclose(curve.x, grid, rtol=1e-6)
    assert (star.x[0], star.y[0]) == (pytest.approx(0.01), pytest.approx(0.02))
    assert list(fig.layout.xaxis.ticktext) == ["0.01 %", "0.1 %", "1 %", "10 %", "50 %"]
    assert fig.layout.xaxis.type == "log"
    assert len(plots.predictive_values(grid, grid).data) == 1


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([0.1], [0.1, 0.2]), ([0.0], [0.0]), ([1.0], [1.0])]
)
def test_wrong_prevalences_are_refused(x, y):
    with pytest.raises(ValueError, match="expected"):
        plots.predictive_values(x, y)


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="seconds"):
        plots.scores_over_time(table().drop(columns="seconds"))
    with pytest.raises(ValueError, match="seconds"):
        plots.scores_over_time(table().iloc[:0])
