"""Figures of what a change costs: curves over levels, before and after, growth with the data."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import DASHES, OTHERS, f32, finish, need

SYMBOLS = ["circle", "diamond", "square", "triangle-up", "x", "cross"]
# A detector keeps its colour from figure to figure.
_MODELS = {"detector": "#000000", "probe": "#332288", "texture": "#117733",
           "probe, augmented": "#8877FF", "texture, augmented": "#44AA99"}  # fmt: skip


def curves_by_level(
    table: pd.DataFrame,
    axes: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float]] | None = None,
    title: str = "AUROC at every level",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw AUROC against the level of each corruption, a panel each, mildest level on the left.

    Args:
        table: Columns corruption, level (order on the axis), value (its label), model, auroc, low, high.
        axes: Corruption -> title of its axis; these are drawn, at most four.
        ranges: Corruption -> (low, high) of the values that a training augmentation covers: shaded.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column, or a corruption of `axes`, is missing.
    """
    need(table, ["corruption", "level", "value", "model", "auroc", "low", "high"])
    if not axes or set(axes) - set(table["corruption"]):
        raise ValueError(
            f"got axes of {list(axes)}, the table has {sorted(set(table['corruption']))}"
        )
    n_columns = min(2, len(axes))
    n_rows = -(-len(axes) // n_columns)
    fig = make_subplots(n_rows, n_columns, shared_yaxes=True, horizontal_spacing=0.04,
                        vertical_spacing=0.2)  # fmt: skip
    models = list(dict.fromkeys(table["model"]))
    for at, (name, label) in enumerate(axes.items()):
        place = {"row": at // n_columns + 1, "col": at % n_columns + 1}
        part = table[table["corruption"] == name]
        levels = part.drop_duplicates("level").sort_values("level")
        spot = {level: k for k, level in enumerate(levels["level"])}
        for k, model in enumerate(models):
            own = part[part["model"] == model].sort_values("level")
            offset = (k - (len(models) - 1) / 2) * 0.07
            color = _MODELS.get(model, OTHERS[k % len(OTHERS)])
            fig.add_scatter(
                x=f32([spot[level] + offset for level in own["level"]]), y=f32(own["auroc"]),
                name=model, legendgroup=model, showlegend=at == 0, mode="lines+markers",
                line={"color": color, "dash": DASHES[k % len(DASHES)], "width": 2},
                marker={"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 7},
                error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 0,
                         "array": f32(own["high"] - own["auroc"]),
                         "arrayminus": f32(own["auroc"] - own["low"])},
                text=[f"{v:g}" for v in own["value"]],
                hovertemplate=f"{model}, {name} %{{text}}: %{{y:.3f}}<extra></extra>", **place,
            )  # fmt: skip
        if ranges and name in ranges:  # after the traces: plotly leaves empty panels out
            low, high = ranges[name]
            inside = [k for k, v in enumerate(levels["value"]) if low <= v <= high]
            if inside:
                fig.add_vrect(x0=min(inside) - 0.4, x1=max(inside) + 0.4, fillcolor="#DDCC77",
                              opacity=0.3, line_width=0, layer="below", **place)  # fmt: skip
        fig.add_hline(y=0.5, line={"color": "#999999", "dash": "dot", "width": 1}, **place)
        fig.update_xaxes(title=label, tickvals=list(spot.values()), showgrid=False,
                         ticktext=[f"{v:g}" for v in levels["value"]], **place)  # fmt: skip
    fig.update_yaxes(title="AUROC", col=1)
    notes = [*facts, "bars: 95 % intervals"]
    notes += ["shaded: levels that the training augmentation covers"] if ranges else []
    rows = -(-len(models) // 2)
    return finish(fig, title, notes, profile, caption, height=170 + 270 * n_rows + 22 * rows,
                  margin={"b": 80 + 24 * rows, "t": 90})  # fmt: skip


def before_after(
    table: pd.DataFrame,
    names: tuple[str, str] = ("own test", "clean test"),
    title: str = "Before and after",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw two AUROCs with their intervals on one line per row, joined: how far the second falls.

    Args:
        table: Columns name, and for each of a and b: a, a_low, a_high, b, b_low, b_high.
        names: What a and b are.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing, there is no row, or a name stands twice.
    """
    need(table, ["name", *(f"{k}{end}" for k in "ab" for end in ("", "_low", "_high"))])
    if table["name"].duplicated().any():
        raise ValueError(f"name {table['name'][table['name'].duplicated()].iloc[0]!r} stands twice")
    fig = go.Figure()
    for row in table.itertuples():
        fig.add_scatter(x=f32([row.a, row.b]), y=[row.name] * 2, mode="lines", showlegend=False,
                        line={"color": "#BBBBBB", "width": 3}, hoverinfo="skip")  # fmt: skip
    looks = (("a", names[0], "#882255", "circle-open"), ("b", names[1], "#000000", "square"))
    for key, name, color, symbol in looks:
        fig.add_scatter(
            x=f32(table[key]), y=table["name"].tolist(), mode="markers", name=name,
            marker={"color": color, "symbol": symbol, "size": 11, "line": {"width": 2}},
            error_x={"type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
                     "array": f32(table[f"{key}_high"] - table[key]),
                     "arrayminus": f32(table[key] - table[f"{key}_low"])},
            hovertemplate=f"%{{y}}, {name}: %{{x:.3f}}<extra></extra>",
        )  # fmt: skip
    fig.add_vline(x=0.5, line={"color": "#999999", "dash": "dot", "width": 1})
    low = float(min(table["a_low"].min(), table["b_low"].min()))
    fig.update_xaxes(title="AUROC (0.5 = chance, 1 = perfect)", range=[min(0.4, low - 0.02), 1.02])
    fig.update_yaxes(autorange="reversed", type="category")
    notes = [*facts, "bars: 95 % intervals"]
    return finish(fig, title, notes, profile, caption, height=230 + 34 * len(table))


def growth(
    table: pd.DataFrame,
    x_title: str = "Training reals = fakes (log axis)",
    title: str = "AUROC grows with the list",
    facts: Sequence[str] = (),
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw expected AUROC against the size of a training list as lines, and simulated as points.

    Args:
        table: Columns n, kind, expected; simulated and its standard error where it was simulated (else NaN).
        x_title: Title of the x axis.
        title: The message.
        facts: Data and counts, for the caption.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    need(table, ["n", "kind", "expected", "simulated", "error"])
    fig = go.Figure()
    colors = ["#332288", "#882255", "#117733", "#888888"]
    for k, (kind, part) in enumerate(table.groupby("kind", sort=False)):
        part, color = part.sort_values("n"), colors[k % len(colors)]
        fig.add_scatter(x=f32(part["n"]), y=f32(part["expected"]), mode="lines", name=kind,
                        line={"color": color, "dash": DASHES[k % len(DASHES)], "width": 2},
                        hovertemplate=f"{kind}, %{{x}}: %{{y:.3f}}<extra></extra>")  # fmt: skip
        known = part[np.isfinite(part["simulated"])]
        fig.add_scatter(
            x=f32(known["n"]), y=f32(known["simulated"]), mode="markers", showlegend=False,
            name=f"{kind}, simulated",
            marker={"color": color, "symbol": SYMBOLS[k % len(SYMBOLS)], "size": 9},
            error_y={"type": "data", "array": f32(1.96 * known["error"]), "thickness": 1.5},
            hovertemplate=f"{kind}, %{{x}}, simulated: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title=x_title, type="log", dtick=float(np.log10(2)))
    fig.update_yaxes(title="AUROC on new people")
    notes = [*facts, "lines: computed, points: simulated"]
    return finish(fig, title, notes, profile, caption)
