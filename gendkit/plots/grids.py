"""Figures of many runs: a table as a heat map, a ladder of ingredients, learning rates over a run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .style import DASHES, FAKE, OTHERS, REAL, count, f32, finish, need

GROUP_COLORS = {"seen": REAL, "unseen": FAKE, "nobody-x": "#009E73"}
SYMBOLS = ["circle", "diamond", "square", "triangle-up", "x", "cross"]
# One hue, or blue below the middle and orange above: distinct for the common kinds of colour
# blindness, and light enough for dark numbers everywhere.
RISING = [[0.0, "#EAF3FA"], [1.0, "#56B4E9"]]
SIGNED = [[0.0, "#6DB1DE"], [0.5, "#FFFFFF"], [1.0, "#F0A06A"]]


def heat_map(
    table: pd.DataFrame,
    rows: str,
    columns: str,
    value: str = "auroc",
    x_title: str = "",
    y_title: str = "",
    title: str = "AUROC of every pair",
    facts: Sequence[str] = (),
    middle: float | None = None,
    marked: str = "",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw a table of values as a heat map, with the value and its interval in each cell.

    Args:
        table: One row per cell: `rows`, `columns` and `value`; low and high where they are known.
        rows: Column that names the rows, in the order of the table.
        columns: Column that names the columns.
        value: Column of the values.
        x_title: Axis title of the columns.
        y_title: Axis title of the rows.
        title: The message.
        facts: Data and counts, for the caption.
        middle: For values with a sign: their zero, which is white. None for a scale from pale
            (lowest) to blue (highest).
        marked: Column of booleans: these cells get a frame.
        profile: Run profile, for the caption.
        caption: Anything to add, such as what a frame means.

    Raises:
        ValueError: If a column is missing, there is no row, or a cell stands twice.
    """
    need(table, [rows, columns, value, *([marked] if marked else [])])
    if table.duplicated([rows, columns]).any():
        raise ValueError(f"a cell of {rows} and {columns} stands twice; keep one row for each")
    ys, xs = (list(dict.fromkeys(table[name])) for name in (rows, columns))
    interval = {"low", "high"} <= set(table.columns)
    values, texts = np.full((len(ys), len(xs)), np.nan), np.full((len(ys), len(xs)), "", object)
    for cell in table.to_dict("records"):
        at = ys.index(cell[rows]), xs.index(cell[columns])
        values[at] = cell[value]
        number = f"{cell[value]:+.2f}" if middle is not None else f"{cell[value]:.2f}"
        ends = f"<br>{cell['low']:.2f} {cell['high']:.2f}" if interval else ""
        texts[at] = number + ends
    scale = {"colorscale": RISING}
    if middle is not None:
        reach = float(np.nanmax(np.abs(values - middle))) or 1.0
        scale = {"colorscale": SIGNED, "zmin": middle - reach, "zmax": middle + reach}
    fig = go.Figure(
        go.Heatmap(
            x=[str(x) for x in xs], y=[str(y) for y in ys], z=f32(values), text=texts, name=value,
            texttemplate="%{text}", textfont={"size": 11, "color": "#222222"}, xgap=2, ygap=2, hoverongaps=False,
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>", showscale=False, **scale,
        )
    )  # fmt: skip
    for cell in table[table[marked].astype(bool)].to_dict("records") if marked else []:
        x, y = xs.index(cell[columns]), ys.index(cell[rows])
        fig.add_shape(
            type="rect", x0=x - 0.48, x1=x + 0.48, y0=y - 0.48, y1=y + 0.48,
            line={"color": FAKE if middle is None else "#222222", "width": 2},
        )  # fmt: skip
    fig.update_xaxes(title=x_title, showgrid=False, ticks="", type="category")
    fig.update_yaxes(title=y_title, autorange="reversed", showgrid=False, ticks="", type="category")
    facts = [*facts, *(["below: 95 % interval"] if interval else [])]
    size = {"height": 150 + max(40 * len(ys), 150), "margin": {"b": 60, "l": 60, "r": 20}}
    return finish(fig, title, facts, profile, caption, **size)


def ladder(
    table: pd.DataFrame,
    step: str = "run",
    by: str = "group",
    value: str = "auroc",
    y_title: str = "AUROC (0.5 = chance)",
    title: str = "What each step adds",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw values over the steps of a ladder, one line per kind, with intervals.

    Args:
        table: Columns `step`, `by`, `value`; low and high where they are known.
        step: Column of the steps, in the order of the table.
        by: Column of the kinds.
        value: Column of the values.
        y_title: Axis title with unit.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    need(table, [step, by, value])
    steps, kinds = (list(dict.fromkeys(table[name])) for name in (step, by))
    interval = {"low", "high"} <= set(table.columns)
    fig = go.Figure()
    for k, kind in enumerate(kinds):
        own = table[table[by] == kind]
        shift = 0.0 if len(kinds) == 1 else 0.24 * (k / (len(kinds) - 1) - 0.5)
        color = GROUP_COLORS.get(str(kind), OTHERS[k % len(OTHERS)])
        bars = {}
        texts = [f"{s}, {kind}: {v:.3f}" for s, v in zip(own[step], own[value], strict=True)]
        if interval:
            up, down = own["high"] - own[value], own[value] - own["low"]
            bars = {"error_y": {"type": "data", "symmetric": False, "array": f32(up),
                                "arrayminus": f32(down), "thickness": 1.5, "width": 3}}  # fmt: skip
            ends = zip(texts, own["low"], own["high"], strict=True)
            texts = [f"{text} [{low:.3f}, {high:.3f}]" for text, low, high in ends]
        fig.add_scatter(
            x=f32([steps.index(name) + shift for name in own[step]]), y=f32(own[value]),
            mode="lines+markers", name=str(kind), text=texts, hovertemplate="%{text}<extra></extra>",
            line={"color": color, "dash": DASHES[k % len(DASHES)]},
            marker={"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 10}, **bars,
        )  # fmt: skip
    fig.update_xaxes(
        tickvals=list(range(len(steps))),
        ticktext=[str(name).replace(" ", "<br>") for name in steps],
        tickfont={"size": 12},
        tickangle=0,
        range=[-0.4, len(steps) - 0.6],
        showgrid=False,
    )
    fig.update_yaxes(title=y_title)
    facts = [*facts, *(["bars: 95 % intervals"] if interval else [])]
    return finish(fig, title, facts, profile, caption)


def schedules(
    table: pd.DataFrame,
    by: str = "name",
    title: str = "The learning rate over a run",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw learning rates over the epochs, a panel for each schedule: their sizes may differ.

    Args:
        table: Columns `by`, epoch (may be a fraction) and learning_rate.
        by: Column that names the schedules.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    from plotly.subplots import make_subplots

    need(table, [by, "epoch", "learning_rate"])
    names = list(dict.fromkeys(table[by]))
    fig = make_subplots(len(names), 1, vertical_spacing=0.3 / len(names), subplot_titles=names)
    for k, name in enumerate(names, 1):
        own = table[table[by] == name]
        fig.add_scatter(
            x=f32(own["epoch"]), y=f32(own["learning_rate"]), mode="lines", name=str(name),
            line={"color": REAL, "width": 2}, showlegend=False, row=k, col=1,
            hovertemplate="epoch %{x:.2f}: %{y:.2g}<extra></extra>",
        )  # fmt: skip
        fig.update_yaxes(title="Learning rate", exponentformat="power", rangemode="tozero", row=k)
    fig.update_xaxes(title="Epoch", row=len(names))
    size = {"height": 150 + 170 * len(names), "margin": {"t": 110, "b": 60}}
    return finish(fig, title, [count(len(names), "schedule")], profile, caption, **size)
