"""Heat maps, ladders and schedules: what is drawn where, and what is refused."""

import itertools

import numpy as np
import pandas as pd
import pytest

from gendkit import plots


def cells(**more):
    values = {("DF", "DF"): 0.9, ("DF", "NT"): 0.6, ("NT", "DF"): 0.7}
    rows = [{"trained": t, "tested": s, "auroc": v} for (t, s), v in values.items()]
    return pd.DataFrame(rows).assign(**more)


def test_a_heat_map_puts_each_value_into_its_cell():
    table = cells(low=lambda t: t["auroc"] - 0.1, high=lambda t: t["auroc"] + 0.05)
    table["own"] = table["trained"] == table["tested"]
    fig = plots.heat_map(
        table, "tested", "trained", title="Own wins", marked="own", facts=["3 runs"]
    )
    (trace,) = fig.data
    assert list(trace.y) == ["DF", "NT"] and list(trace.x) == ["DF", "NT"]
    np.testing.assert_allclose(trace.z, [[0.9, 0.7], [0.6, np.nan]], atol=1e-6)
    assert trace.text[1][0] == "0.60<br>0.50 0.65" and trace.text[1][1] == ""
    (frame,) = fig.layout.shapes
    assert (frame.x0 + frame.x1, frame.y0 + frame.y1) == (0, 0)
    assert fig.layout.title.text == "Own wins"
    assert "3 runs · below: 95 % interval" in fig.layout.title.subtitle.text
    assert fig.layout.meta["alt"].startswith("Own wins. 3 runs")


def test_signed_values_are_white_at_their_zero():
    fig = plots.heat_map(cells(auroc=[0.2, -0.1, 0.0]), "tested", "trained", middle=0.0)
    (trace,) = fig.data
    assert trace.zmin == pytest.approx(-0.2) and trace.zmax == pytest.approx(0.2)
    assert trace.colorscale[1] == (0.5, "#FFFFFF")
    assert trace.text[1][0] == "-0.10" and trace.text[0][0] == "+0.20"
    assert "interval" not in fig.layout.title.subtitle.text


def test_a_ladder_keeps_the_order_of_its_steps():
    rows = [
        {"run": run, "group": group, "auroc": 0.6 + 0.1 * k, "low": 0.5, "high": 0.95}
        for k, (run, group) in enumerate(itertools.product(("base", "LN"), ("seen", "unseen")))
    ]
    fig = plots.ladder(pd.DataFrame(rows))
    seen, unseen = fig.data
    assert (seen.name, unseen.name) == ("seen", "unseen")
    assert list(fig.layout.xaxis.ticktext) == ["base", "LN"]
    np.testing.assert_allclose(np.round(seen.x), [0, 1])
    assert seen.x[0] < unseen.x[0]  # the bars do not lie on each other
    np.testing.assert_allclose(seen.y, [0.6, 0.8], atol=1e-6)
    np.testing.assert_allclose(seen.error_y.array, [0.35, 0.15], atol=1e-6)
    assert seen.line.color != unseen.line.color and seen.marker.symbol != unseen.marker.symbol
    assert unseen.text[1] == "LN, unseen: 0.900 [0.500, 0.950]"
    bare = plots.ladder(pd.DataFrame(rows).drop(columns=["low", "high"]))
    assert bare.data[0].error_y.array is None and "interval" not in bare.layout.meta["alt"]


def test_schedules_have_a_panel_each():
    table = pd.DataFrame({"epoch": [0, 1, 0, 1], "learning_rate": [0, 1e-2, 1e-5, 3e-4]})
    fig = plots.schedules(table.assign(name=["kit", "kit", "paper", "paper"]))
    assert [trace.name for trace in fig.data] == ["kit", "paper"]
    np.testing.assert_allclose(fig.data[1].y, [1e-5, 3e-4], rtol=1e-6)
    assert fig.data[1].yaxis == "y2" and "2 schedules" in fig.layout.title.subtitle.text


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: plots.heat_map(cells(), "tested", "from"), r"missing \['from'\]"),
        (lambda: plots.heat_map(cells(trained="DF"), "tested", "trained"), "stands twice"),
        (lambda: plots.ladder(cells()), r"missing \['run', 'group'\]"),
        (lambda: plots.ladder(cells()[:0], "tested", "trained"), "0 rows"),
        (lambda: plots.schedules(cells()), r"missing \['name', 'epoch', 'learning_rate'\]"),
    ],
)
def test_wrong_tables_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
