"""Figures of scoring one's own files: scores over time, and what a call is worth where fakes are rare."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .style import DASHES, FAKE, MAX_POINTS, OTHERS, REAL, count, f32, finish, thin


def scores_over_time(
    table: pd.DataFrame,
    threshold: float | None = None,
    title: str = "Scores over time",
    profile: str = "",
    caption: str = "",
) -> go.Figure:
    """Draw the score of every frame that was looked at, one line a file.

    Args:
        table: Columns file, seconds and p_fake; an image has seconds 0.
        threshold: Drawn as a line if given.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    needed = ["file", "seconds", "p_fake"]
    if len(table) == 0 or not set(needed) <= set(table.columns):
        raise ValueError(f"rows with the columns {needed} are needed; got {list(table.columns)}")
    fig = go.Figure()
    n_files = table["file"].nunique()
    colors = [REAL, FAKE, *OTHERS]
    for k, (name, rows) in enumerate(table.groupby("file", sort=False)):
        rows = rows.sort_values("seconds")
        rows = rows.iloc[thin(len(rows), max(1, MAX_POINTS // n_files))]
        shown = str(name).replace("<", "&lt;")
        fig.add_scatter(
            x=f32(rows["seconds"]),
            y=f32(rows["p_fake"]),
            mode="lines+markers",
            name=shown,
            line={"color": colors[k % len(colors)], "dash": DASHES[k % len(DASHES)]},
            hovertemplate=f"{shown}, %{{x:.2f}} s: P(fake) %{{y:.2f}}<extra></extra>",
        )
    if threshold is not None:
        fig.add_hline(
            y=threshold,
            line={"color": "#222222", "dash": "dash"},
            annotation={"text": f"threshold {threshold:.3f}"},
        )
    fig.update_xaxes(title="Time (s)")
    fig.update_yaxes(title="Score, P(fake)", range=[-0.02, 1.02])
    facts = [count(n_files, "file"), count(len(table), "frame")]
    return finish(fig, title, facts, profile, caption, showlegend=n_files <= 8)


def predictive_values(
    prevalence: Any,
    value: Any,
    low: Any = None,
    high: Any = None,
    chosen: tuple[float, float] | None = None,
    title: str = "What a call is worth",
    profile: str = "",
    caption: str = "",
) -> go.Figure:
    """Draw the share of fakes among files called fake against how common fakes are.

    Args:
        prevalence: (N,) shares in (0, 1), rising; the axis is logarithmic.
        value: (N,) predictive values in [0, 1].
        low: (N,) lower edge of a band, or None.
        high: (N,) upper edge.
        chosen: (prevalence, value) marked with a star.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If the lengths differ, or a prevalence is not in (0, 1).
    """
    x, y = np.asarray(prevalence, float), np.asarray(value, float)
    if x.shape != y.shape or x.ndim != 1 or not len(x) or not ((x > 0) & (x < 1)).all():
        raise ValueError(f"got {x.shape} prevalences in (0, 1) and {y.shape} values; expected (N,)")
    fig = go.Figure()
    if low is not None and high is not None:
        fig.add_scatter(
            x=f32(np.r_[x, x[::-1]]),
            y=f32(np.r_[np.asarray(low, float), np.asarray(high, float)[::-1]]),
            fill="toself",
            fillcolor="rgba(0, 114, 178, 0.18)",
            line={"width": 0},
            name="within the intervals",
            hoverinfo="skip",
        )
    fig.add_scatter(
        x=f32(x),
        y=f32(y),
        mode="lines",
        name="fakes among calls",
        line={"color": REAL, "width": 2},
        hovertemplate="%{x:.2%} fakes: %{y:.1%} of the calls are right<extra></extra>",
    )
    if chosen is not None:
        fig.add_scatter(
            x=f32([chosen[0]]),
            y=f32([chosen[1]]),
            mode="markers",
            name="chosen",
            marker={"symbol": "star", "size": 14, "color": FAKE},
            hovertemplate="%{x:.2%} fakes: %{y:.1%}<extra></extra>",
        )
    ticks = [0.0001, 0.001, 0.01, 0.1, 0.5]
    fig.update_xaxes(
        title="Share of fakes among all files",
        type="log",
        tickvals=ticks,
        ticktext=[f"{t:.2%}".rstrip("0%").rstrip(".") + " %" for t in ticks],
    )
    fig.update_yaxes(title="Calls that are right", range=[-0.02, 1.02], tickformat=".0%")
    return finish(fig, title, [], profile, caption, height=400)
