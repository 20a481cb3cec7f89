"""Figures of what features hold: lines with bands, dots with intervals, patches and heat over a face."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .pictures import data_uri
from .style import DASHES, METHOD_COLORS, OTHERS, count, f32, finish

SERIES = ["#332288", "#117733", "#AA4499", "#888888", "#882255", "#44AA99"]
SYMBOLS = ["circle", "square", "diamond", "x", "triangle-up", "cross"]


def _columns(table: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in table.columns]
    if missing or len(table) == 0:
        raise ValueError(
            f"a table with rows and the columns {list(needed)} is needed; missing {missing}, {len(table)} rows"
        )


def _color(name: str, k: int) -> str:
    return METHOD_COLORS.get(name, SERIES[k] if k < len(SERIES) else OTHERS[k % len(OTHERS)])


def band_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    x_title: str,
    y_title: str,
    title: str = "Curves",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
    log_x: bool = False,
    level: float | None = None,
    marks: Mapping[str, float] | None = None,
) -> go.Figure:
    """Draw curves, each with its interval as a band where the table has low and high.

    Args:
        table: Columns `x`, `y`, `by`; low and high for the band.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        by: Column whose values are the curves.
        x_title: Axis title with unit.
        y_title: Axis title with unit.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.
        log_x: Logarithmic horizontal axis.
        level: Height of a horizontal reference line, such as chance.
        marks: Text -> place of a vertical line.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    _columns(table, [x, y, by])
    fig, banded = go.Figure(), {"low", "high"} <= set(table.columns)
    for k, (name, rows) in enumerate(table.groupby(by, sort=False)):
        rows, color = rows.sort_values(x), _color(str(name), k)
        if banded:
            fig.add_scatter(
                x=f32(np.r_[rows[x], rows[x][::-1]]), y=f32(np.r_[rows["high"], rows["low"][::-1]]),
                fill="toself", fillcolor=color, opacity=0.15, line={"width": 0}, hoverinfo="skip",
                showlegend=False, legendgroup=str(name),
            )  # fmt: skip
        fig.add_scatter(
            x=f32(rows[x]),
            y=f32(rows[y]),
            mode="lines+markers" if len(rows) <= 24 else "lines",
            name=str(name),
            legendgroup=str(name),
            line={"color": color, "dash": DASHES[k % len(DASHES)], "width": 2},
            marker={"size": 5},
            hovertemplate=f"{name}: %{{x:.3g}}, %{{y:.3f}}<extra></extra>",
        )
    if level is not None:
        fig.add_hline(y=level, line={"color": "#999999", "dash": "dot", "width": 1})
    for text, place in (marks or {}).items():
        fig.add_vline(x=place, line={"color": "#222222", "dash": "dash", "width": 1})
        fig.add_annotation(
            text=text, x=np.log10(place) if log_x else place, y=0.99, yref="paper", yanchor="top", xanchor="left",
            xshift=3, showarrow=False, font={"size": 11}, bgcolor="rgba(255,255,255,0.7)",
        )  # fmt: skip
    fig.update_xaxes(title=x_title)
    if log_x:
        fig.update_xaxes(type="log", dtick=1, exponentformat="power")
    fig.update_yaxes(title=y_title)
    facts = [*facts, "bands: 95 % intervals"] if banded else facts
    return finish(fig, title, facts, profile, caption, height=460, margin={"b": 120})


def interval_dots(
    table: pd.DataFrame,
    row: str,
    by: str,
    x_title: str,
    title: str = "Values with intervals",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
    level: float | None = None,
) -> go.Figure:
    """Draw values with their intervals, one line per row, one symbol per kind.

    Args:
        table: Columns `row`, `by`, value, low, high.
        row: Column of the lines, in the order of the table.
        by: Column of the kinds.
        x_title: Axis title with unit.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.
        level: Place of a vertical reference line, such as chance.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    _columns(table, [row, by, "value", "low", "high"])
    names, kinds = list(dict.fromkeys(table[row])), list(dict.fromkeys(table[by]))
    place = {name: k for k, name in enumerate(names)}
    fig = go.Figure()
    for k, kind in enumerate(kinds):
        own = table[table[by] == kind]
        shift = 0.0 if len(kinds) == 1 else 0.5 * (k / (len(kinds) - 1) - 0.5)
        fig.add_scatter(
            x=f32(own["value"]), y=f32([place[name] + shift for name in own[row]]), mode="markers", name=str(kind),
            marker={"color": _color(str(kind), k), "symbol": SYMBOLS[k % len(SYMBOLS)], "size": 9},
            error_x={"type": "data", "symmetric": False, "array": f32(own["high"] - own["value"]),
                     "arrayminus": f32(own["value"] - own["low"]), "thickness": 1.5, "width": 0},
            text=[f"{name}, {kind}: {v:.3f} [{low:.3f}, {high:.3f}]" for name, v, low, high in
                  own[[row, "value", "low", "high"]].itertuples(index=False)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    if level is not None:
        fig.add_vline(x=level, line={"color": "#999999", "dash": "dot", "width": 1})
    fig.update_xaxes(title=x_title)
    fig.update_yaxes(
        tickvals=list(range(len(names))), ticktext=[str(n) for n in names], range=[len(names) - 0.4, -0.6]
    )  # fmt: skip
    facts = [*facts, "bars: 95 % intervals"]
    return finish(
        fig, title, facts, profile, caption, height=190 + 42 * len(names), margin={"b": 110}
    )


def share_bars(
    shares: pd.DataFrame,
    title: str = "Shares",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Stack shares that sum to 1, one bar per column.

    Args:
        shares: One row per part, one column per bar; numbers in [0, 1].
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column does not sum to 1.
    """
    total = shares.sum().to_numpy()
    if shares.empty or not np.allclose(total, 1, atol=1e-6):
        raise ValueError(f"the columns sum to {total}; expected shares that sum to 1")
    fig = go.Figure()
    for k, (part, row) in enumerate(shares.iterrows()):
        fig.add_bar(
            x=f32(row), y=[str(c) for c in shares.columns], orientation="h", name=str(part),
            marker={"color": _color(str(part), k), "pattern": {"shape": ["", "/", "x", "\\", "."][k % 5]}},
            text=[f"{v:.0%}" if v > 0.5 else "" for v in row], textposition="inside",
            hovertemplate=f"{part}: %{{x:.2%}}<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title="Share of the variance", range=[0, 1], tickformat=".0%")
    fig.update_yaxes(autorange="reversed")
    return finish(
        fig, title, facts, profile, caption, barmode="stack", height=220 + 44 * shares.shape[1],
        margin={"b": 125},
    )  # fmt: skip


def layer_bars(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    title: str = "Change per layer",
    y_title: str = "Relative change",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw numbers of each layer side by side, first layer left.

    Args:
        table: One row per layer: name and the columns named.
        columns: Column -> name in the legend.
        title: The message.
        y_title: Axis title with unit.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    _columns(table, ["name", *columns])
    fig = go.Figure()
    for k, (column, name) in enumerate(columns.items()):
        fig.add_bar(
            x=list(table["name"]), y=f32(table[column]), name=name,
            marker={"color": SERIES[k], "pattern": {"shape": ["", "/", "x"][k % 3]}},
            hovertemplate=f"%{{x}}<br>{name}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title="LayerNorm, first to last", tickangle=-60, type="category")
    fig.update_yaxes(title=y_title, rangemode="tozero")
    facts = [count(len(table), "LayerNorm"), *facts]
    return finish(
        fig, title, facts, profile, caption, height=500, margin={"t": 110},
        legend={"yref": "paper", "y": 1.01, "yanchor": "bottom"},
    )  # fmt: skip


def token_grid(
    image: Any,
    n_side: int,
    title: str = "What the encoder cuts an image into",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw the patches of a vision transformer over its input.

    Args:
        image: (S, S, 3) uint8 RGB.
        n_side: Patches along a side.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If the image is not square or the number is not positive.
    """
    side = np.shape(image)[0]
    if np.shape(image) != (side, side, 3) or n_side < 1:
        raise ValueError(
            f"image {np.shape(image)} and n_side {n_side}; expected (S, S, 3), at least 1"
        )
    picture = {"source": data_uri(image, 512, "png"), "xref": "x", "yref": "y", "x": 0, "y": 0,
               "sizex": n_side, "sizey": n_side, "sizing": "stretch", "layer": "below"}  # fmt: skip
    fig = go.Figure(layout={"images": [picture]})
    places = np.arange(n_side**2)
    fig.add_scatter(
        x=f32(places % n_side + 0.5), y=f32(places // n_side + 0.5), mode="markers", marker={"opacity": 0},
        text=[f"token {k + 1}" for k in places], hovertemplate="%{text}<extra></extra>", name="patch", showlegend=False,
    )  # fmt: skip
    for k in range(n_side + 1):
        for ends in ({"x0": k, "x1": k, "y0": 0, "y1": n_side}, {"y0": k, "y1": k, "x0": 0, "x1": n_side}):  # fmt: skip
            fig.add_shape(type="line", line={"color": "#FFFFFF", "width": 1}, **ends)
    axis = {"range": [0, n_side], "dtick": 1, "showgrid": False, "constrain": "domain"}
    fig.update_xaxes(title="Patch column", **axis)
    fig.update_yaxes(title="Patch row", **{**axis, "range": [n_side, 0]}, scaleanchor="x")
    facts = [
        f"{n_side} x {n_side} patches of {side // n_side} pixels",
        f"{n_side**2 + 1} tokens with the class token",
    ]
    return finish(fig, title, facts, profile, caption, height=500, margin={"b": 60})


def heat(image: Any, values: Any, strength: float = 0.65) -> np.ndarray:
    """Lay a coarse map over an image, dark where it is low, untouched where it is highest.

    Args:
        image: (S, S, 3) uint8 RGB.
        values: (n, n) numbers >= 0; only their ratios count.
        strength: How dark the lowest becomes, in [0, 1].

    Returns:
        (S, S, 3) uint8 RGB.

    Raises:
        ValueError: If a shape or a value is wrong.
    """
    image, values = np.asarray(image), np.asarray(values, float)
    good = image.ndim == 3 and values.ndim == 2 and np.isfinite(values).all() and values.min() >= 0
    if not good or values.max() <= 0 or not 0 <= strength <= 1:
        raise ValueError(
            f"image {image.shape}, values {values.shape}; expected (S, S, 3) and finite (n, n) >= 0, not all 0"
        )
    height, width = image.shape[:2]
    rows = np.minimum(np.arange(height) * values.shape[0] // height, values.shape[0] - 1)
    columns = np.minimum(np.arange(width) * values.shape[1] // width, values.shape[1] - 1)
    light = 1 - strength * (1 - (values / values.max())[rows][:, columns])
    return np.round(image * light[..., None]).astype(np.uint8)
