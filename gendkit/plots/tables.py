"""Figures of the paper's tables: published figures over the years, ours beside published."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .style import DASHES, OTHERS, count, f32, finish

# verdicts of gendkit.report: (fill, sign); never by colour alone
COLORS = {
    "agrees": ("#D9EEDF", "="), "equal": ("#D9EEDF", "="), "above": ("#DCEAF7", "▲"),
    "below": ("#FBE3D6", "▼"), "differs": ("#FBE3D6", "≠"), "ours only": ("#FFFFFF", ""),
    "other data": ("#F0F0F0", "≁"), "not run": ("#F7F7F7", "–"), "cited": ("#F7F7F7", ""),
}  # fmt: skip


def published_years(
    table: pd.DataFrame,
    title: str = "Published AUROC by the year of the benchmark",
    caption: str = "",
) -> go.Figure:
    """Draw published figures against the year of their benchmark, one mark a model.

    Args:
        table: Columns year, benchmark, model, auroc (percent); one row a figure.
        title: The message.
        caption: Where the figures come from.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    needed = ["year", "benchmark", "model", "auroc"]
    missing = [name for name in needed if name not in table.columns]
    if missing or table.empty:
        raise ValueError(f"a table with rows and the columns {needed}; missing {missing}")
    fig = go.Figure()
    symbols = ["circle", "diamond", "square", "cross", "x"]
    models = list(dict.fromkeys(table["model"]))
    for k, model in enumerate(models):
        part = table[table["model"] == model].sort_values("year")
        shift = 0.12 * (k - (len(models) - 1) / 2)  # marks of one benchmark stand side by side
        fig.add_scatter(
            x=f32(part["year"] + shift), y=f32(part["auroc"]), mode="markers", name=model,
            marker={"symbol": symbols[k % len(symbols)], "size": 10, "color": OTHERS[k % len(OTHERS)]},
            text=part["benchmark"],
            hovertemplate=f"{model} on %{{text}}: %{{y:.1f}} %<extra></extra>",
        )  # fmt: skip
    mean = table.groupby("year")["auroc"].mean()
    fig.add_scatter(
        x=f32(mean.index), y=f32(mean), mode="lines", name="mean of what is known",
        line={"color": "#999999", "dash": DASHES[2], "width": 2}, hoverinfo="skip",
    )  # fmt: skip
    named = table.groupby(["year", "benchmark"])["auroc"].min().reset_index()
    for year, group in named.groupby("year"):
        fig.add_annotation(
            x=float(year), y=float(group["auroc"].min()), yshift=-14, showarrow=False,
            yanchor="top", text="<br>".join(group["benchmark"]), font={"size": 11},
        )  # fmt: skip
    fig.update_xaxes(title="Year of the benchmark", dtick=1, tickformat="d")
    low = float(np.floor(table["auroc"].min() / 5) * 5 - 5)
    fig.update_yaxes(title="Video-level AUROC (percent)", range=[low, 101])
    facts = [
        count(len(table), "published figure"),
        count(table["benchmark"].nunique(), "benchmark"),
    ]
    return finish(fig, title, facts, "", caption, height=520)


def comparison(
    table: pd.DataFrame,
    columns: Sequence[str] = ("row", "column", "published", "ours", "profile", "rests on"),
    title: str = "Published and ours",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Show a filled table; the cell of ours is tinted and signed by its verdict.

    Args:
        table: Text columns `columns`, and verdict (see `COLORS`).
        columns: What is shown, in order; "ours" carries the verdict.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing, there is no row, or a verdict is unknown.
    """
    missing = [name for name in (*columns, "verdict") if name not in table.columns]
    if missing or table.empty:
        raise ValueError(f"a table with rows and the columns {list(columns)}; missing {missing}")
    unknown = sorted(set(table["verdict"]) - set(COLORS))
    if unknown:
        raise ValueError(f"got verdict {unknown[0]!r}, expected one of {', '.join(COLORS)}")
    fills = [COLORS[verdict][0] for verdict in table["verdict"]]
    cells: list[Any] = []
    for name in columns:
        texts = [str(value) for value in table[name]]
        if name == "ours":
            signs = [COLORS[verdict][1] for verdict in table["verdict"]]
            texts = [f"{sign} {text}".strip() for sign, text in zip(signs, texts, strict=True)]
        cells.append(texts)
    widths = [max(len(name) + 2, 9, min(44, 2 + max(map(len, texts))))
              for name, texts in zip(columns, cells, strict=True)]  # fmt: skip
    fig = go.Figure(
        go.Table(
            header={"values": [f"<b>{name}</b>" for name in columns], "align": "left",
                    "fill": {"color": "#EEEEEE"}, "font": {"size": 13}},
            cells={"values": cells, "align": "left", "height": 24, "font": {"size": 12},
                   "fill": {"color": [fills if n == "ours" else "#FFFFFF" for n in columns]}},
            columnwidth=widths,
        )
    )  # fmt: skip
    counts = table["verdict"].value_counts()
    facts = [count(len(table), "row"), *(f"{n} {name}" for name, n in counts.items())]
    lines = sum(max(1, max(-(-len(cells[k][row]) // widths[k]) for k in range(len(cells))))
                for row in range(len(table)))  # fmt: skip
    height = min(900, 150 + 20 * lines + 8 * len(table))
    return finish(fig, title, facts, profile, caption, height=height, margin={"b": 15, "l": 10})
