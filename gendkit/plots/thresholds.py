"""Figures of decisions: thresholds carried to other data, calibration, prevalence, abstaining, slices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import CLASSES, DASHES, FAKE, OTHERS, REAL, binary, count, f32, finish, line, need

PREVALENCES = (0.5, 0.1, 0.01, 0.001)


def score_strips(
    sets: Mapping[str, tuple[Any, Any]],
    threshold: float | None = None,
    title: str = "Scores of several sets",
    unit: str = "video",
    n_bins: int = 25,
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw the scores of several sets above one another, with one threshold through all.

    Args:
        sets: Name -> (labels (N,), P(fake) (N,)).
        threshold: Drawn as a line if given.
        title: The message.
        unit: What one score stands for.
        n_bins: Bins over [0, 1].
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If there is no set, or labels or scores are wrong.
    """
    if not sets:
        raise ValueError("no set to draw; give name -> (labels, scores)")
    fig = make_subplots(len(sets), 1, shared_xaxes=True, vertical_spacing=0.07)
    edges, totals = np.linspace(0, 1, n_bins + 1), [0, 0]
    for row, (name, pair) in enumerate(sets.items(), 1):
        y, s = binary(*pair)
        for label, (kind, color, _) in CLASSES.items():
            n = int((y == label).sum())
            totals[label] += n
            share = np.histogram(s[y == label], bins=edges)[0] / max(n, 1)
            fig.add_bar(
                x=f32((edges[:-1] + edges[1:]) / 2), y=f32(share), name=kind, width=1 / n_bins,
                opacity=0.65, showlegend=row == 1, legendgroup=kind, row=row, col=1,
                marker={"color": color, "pattern": {"shape": "/" if label else ""}},
                hovertemplate=f"{name}, {kind} at %{{x:.2f}}: %{{y:.1%}}<extra></extra>",
            )  # fmt: skip
        fig.update_yaxes(title=name, tickformat=".0%", nticks=4, row=row, col=1)
    if threshold is not None:
        fig.add_vline(x=threshold, line={"color": "#222222", "dash": "dash"})
    fig.update_xaxes(range=[0, 1])
    fig.update_xaxes(title="Score, P(fake)", row=len(sets), col=1)
    facts = [count(totals[0], f"real {unit}"), count(totals[1], f"fake {unit}")]
    facts += ["share of the class in each bin"]
    facts += [f"dashed: threshold {threshold:.3f}"] * (threshold is not None)
    height = 150 + 130 * len(sets)
    return finish(fig, title, facts, profile, caption, barmode="overlay", height=height)


def error_rates(
    table: pd.DataFrame,
    by: str = "set",
    measures: Sequence[str] = ("fpr", "tpr"),
    title: str = "What one threshold does",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw rates with their intervals, one line per set or slice.

    Args:
        table: Columns `by`, n_real, n_fake and, for each measure, its value, _low and _high
            (`decisions.transfer`, `decisions.slices`).
        by: Column that names the rows.
        measures: Of "fpr", "tpr", "auroc", "balanced_accuracy".
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    columns = [f"{m}{end}" for m in measures for end in ("", "_low", "_high")]
    need(table, [by, "n_real", "n_fake", *columns])
    names = {
        "fpr": ("false positive rate (reals)", REAL, "circle"),
        "tpr": ("true positive rate (fakes)", FAKE, "diamond"),
        "auroc": ("AUROC", "#000000", "square"),
        "balanced_accuracy": ("balanced accuracy", "#009E73", "cross"),
    }
    fig = go.Figure()
    rows = np.arange(len(table))
    for k, measure in enumerate(measures):
        name, color, symbol = names[measure]
        value, low, high = (table[f"{measure}{end}"].to_numpy() for end in ("", "_low", "_high"))
        offset = 0.16 * (k - (len(measures) - 1) / 2)
        fig.add_scatter(
            x=f32(value), y=f32(rows + offset), mode="markers", name=name,
            marker={"color": color, "symbol": symbol, "size": 10},
            error_x={"type": "data", "symmetric": False, "array": f32(np.maximum(high - value, 0)),
                     "arrayminus": f32(np.maximum(value - low, 0)), "thickness": 2},
            text=table[by], customdata=np.c_[f32(low), f32(high)],
            hovertemplate="%{text}: " + name + " %{x:.3f} "
            "[%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
        )  # fmt: skip
    labels = [f"{row[by]} ({row['n_real']} : {row['n_fake']})" for _, row in table.iterrows()]
    fig.update_yaxes(tickvals=rows, ticktext=labels, range=[len(table) - 0.5, -0.5])
    fig.update_xaxes(title="Rate", range=[-0.02, 1.02])
    facts = ["reals : fakes in brackets", "bars: 95 % intervals"]
    height = 190 + 44 * len(table)
    return finish(fig, title, facts, profile, caption, height=height)


def reliability(
    versions: Mapping[str, tuple[Any, Any]],
    n_bins: int = 10,
    title: str = "Calibration",
    unit: str = "video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Compare several versions of scores with the share of fakes that they promise.

    Args:
        versions: Name -> (labels (N,), P(fake) (N,)).
        n_bins: Bins with equally many videos each, so that no point rests on two or three.
        title: The message.
        unit: What one score stands for.
        profile: Run profile, for the caption.
        caption: Anything to add, such as the calibration errors.

    Raises:
        ValueError: If there is no version, fewer rows than bins, or labels or scores are wrong.
    """
    if not versions:
        raise ValueError("no scores to draw; give name -> (labels, scores)")
    fig, n = go.Figure([line([0, 1], [0, 1])]), 0
    for k, (name, pair) in enumerate(versions.items()):
        y, s = binary(*pair)
        if len(y) < n_bins:
            raise ValueError(f"{name!r} has {len(y)} rows, expected at least {n_bins}, one a bin")
        n = max(n, len(y))
        parts = np.array_split(np.argsort(s, kind="stable"), n_bins)
        fig.add_scatter(
            x=f32([s[part].mean() for part in parts]), y=f32([y[part].mean() for part in parts]),
            mode="lines+markers", name=name, text=[str(len(part)) for part in parts],
            line={"color": OTHERS[k % len(OTHERS)], "dash": DASHES[k % len(DASHES)]},
            marker={"size": 9, "symbol": ["circle", "diamond", "square", "cross"][k % 4]},
            hovertemplate=f"{name}: mean score %{{x:.2f}}, %{{y:.0%}} fake of %{{text}} {unit}s"
            "<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title="Mean score of the bin, P(fake)", range=[-0.02, 1.02])
    fig.update_yaxes(title="Share of fakes in the bin", range=[-0.02, 1.02], tickformat=".0%")
    facts = [count(n, unit), f"{n_bins} bins of equal size", "dotted: what a score promises"]
    return finish(fig, title, facts, profile, caption, height=460)


def threshold_explorer(
    sets: Mapping[str, tuple[Any, Any]],
    threshold: float,
    n_steps: int = 41,
    prevalences: Sequence[float] = PREVALENCES,
    title: str = "What does 'fake' mean at this threshold?",
    unit: str = "video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Let the reader choose a threshold (slider) and a share of fakes (buttons).

    Above: the share of reals and of fakes that are called fake, per set. Below: of what is called
    fake, how much is fake, against the share of fakes in what is looked at; the chosen one is marked.

    Args:
        sets: Name -> (labels (N,), P(fake) (N,)); at most four.
        threshold: Where the slider stands at first, in [0, 1].
        n_steps: Other positions of the slider, spread evenly over the scores' quantiles.
        prevalences: Choices of the buttons, in (0, 1); the third stands first where there is one.
        title: The message.
        unit: What one score stands for.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If there are no or more than four sets, one lacks a class, or a share or the
            threshold is out of range.
    """
    data = {name: binary(*pair) for name, pair in sets.items()}
    if not 1 <= len(data) <= 4 or any(len(np.unique(y)) < 2 for y, _ in data.values()):
        raise ValueError(f"got {len(data)} sets, expected 1 to 4, each with reals and fakes")
    if not 0 <= threshold <= 1 or not all(0 < p < 1 for p in prevalences):
        raise ValueError(
            f"got threshold={threshold}, prevalences={prevalences}; expected [0, 1] and (0, 1)"
        )
    pooled = np.concatenate([s for _, s in data.values()])
    steps = np.unique(np.r_[np.quantile(pooled, np.linspace(0, 1, n_steps)).round(3), threshold])
    grid = np.logspace(-3.5, np.log10(0.9), 25)
    first, chosen = int(np.searchsorted(steps, threshold)), min(2, len(prevalences) - 1)
    fig = make_subplots(2, 1, row_heights=[0.4, 0.6], vertical_spacing=0.2)
    names = list(data)
    for k, y in enumerate(_heights(data, steps[first], grid, prevalences)):
        fig.add_trace(_trace(k, names, y, grid, prevalences, chosen), row=1 if k < 2 else 2, col=1)
    fig.add_trace(line(grid, grid, color="#999999"), row=2, col=1)
    moving = list(range(len(fig.data) - 1))
    marks = 2 + len(names)
    slider = [
        {"method": "restyle", "label": f"{t:.3f}",
         "args": [{"y": _heights(data, t, grid, prevalences)}, moving]}
        for t in steps
    ]  # fmt: skip
    fixed = [True] * marks
    buttons = [
        {"method": "restyle", "label": _one_in(p),
         "args": [{"visible": [*fixed, *[j == i for j in range(len(prevalences))], True]}]}
        for i, p in enumerate(prevalences)
    ]  # fmt: skip
    fig.update_xaxes(title="Share of fakes in what is looked at", type="log", row=2, col=1,
                     tickvals=[0.001, 0.01, 0.1, 0.5], ticktext=["0.1 %", "1 %", "10 %", "50 %"])  # fmt: skip
    fig.update_yaxes(title="Called fake", range=[0, 1.02], tickformat=".0%", row=1, col=1)
    fig.update_yaxes(title="Fake, of those", range=[-0.02, 1.05], tickformat=".0%", row=2, col=1)
    # sets may share their reals, so counts are not added
    most = [max(int((y == c).sum()) for y, _ in data.values()) for c in (0, 1)]
    facts = [f"at most {count(most[0], f'real {unit}')} and {count(most[1], f'fake {unit}')} a set",
             "slider: threshold", "buttons: share of fakes"]  # fmt: skip
    return finish(
        fig, title, facts, profile, caption, height=720, barmode="group",
        sliders=[{"active": first, "steps": slider, "pad": {"t": 55, "b": 10}, "len": 1.0,
                  "currentvalue": {"prefix": "threshold "}}],
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, "active": chosen,
                      "x": 0, "xanchor": "left", "y": 0.56, "yanchor": "middle", "pad": {"t": 0}}],
        legend={"orientation": "h", "yref": "paper", "y": 1.03, "yanchor": "bottom", "x": 0},
        margin={"b": 30, "t": 150},
    )  # fmt: skip


def _one_in(share: float) -> str:
    return f"1 fake in {1 / share:.0f}"


def _heights(
    data: Mapping[str, tuple[np.ndarray, np.ndarray]],
    threshold: float,
    grid: np.ndarray,
    prevalences: Sequence[float],
) -> list[list[float]]:
    """Heights of every moving trace at a threshold: two bars, a curve a set, marks a prevalence."""
    fpr = np.array([float(np.mean(s[y == 0] >= threshold)) for y, s in data.values()])
    tpr = np.array([float(np.mean(s[y == 1] >= threshold)) for y, s in data.values()])

    def right(share: Any) -> np.ndarray:
        hits, alarms = tpr * share, fpr * (1 - share)
        return np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)

    curves = np.array([right(share) for share in grid]).T
    marks = np.array([right(share) for share in prevalences])
    return [[round(float(v), 4) for v in row] for row in [fpr, tpr, *curves, *marks]]


def _trace(
    k: int,
    names: list[str],
    y: list[float],
    grid: np.ndarray,
    prevalences: Sequence[float],
    chosen: int,
) -> go.Bar | go.Scatter:
    if k < 2:
        kind, color, _ = CLASSES[k]
        return go.Bar(
            x=names, y=y, name=f"{kind}s called fake", marker={"color": color},
            hovertemplate=f"%{{x}}: %{{y:.1%}} of the {kind}s are called fake<extra></extra>",
        )  # fmt: skip
    if k < 2 + len(names):
        name = names[k - 2]
        return go.Scatter(
            x=f32(grid), y=y, mode="lines", name=name, showlegend=True,
            line={"color": OTHERS[k - 2], "dash": DASHES[k - 2], "width": 2},
            hovertemplate=f"{name}: of 100 calls %{{y:.0%}} are right at a share of %{{x:.2%}}"
            "<extra></extra>",
        )  # fmt: skip
    place = k - 2 - len(names)
    return go.Scatter(
        x=f32([prevalences[place]] * len(names)), y=y, mode="markers+text", showlegend=False,
        visible=place == chosen, marker={"size": 11, "color": OTHERS[: len(names)]},
        texttemplate="%{y:.0%}",
        textposition=["top center", "bottom right", "middle left", "top left"][: len(names)],
        name=_one_in(prevalences[place]),
        hovertemplate="%{y:.1%} of what is called fake is fake<extra></extra>",
    )  # fmt: skip


def risk_coverage(
    curves: Mapping[str, pd.DataFrame],
    title: str = "Declining the hard ones",
    profile: str = "fast",
    caption: str = "",
    facts: Sequence[str] = (),
) -> go.Figure:
    """Draw the share of wrong answers against the share of videos that are answered.

    Args:
        curves: Name -> table with coverage and risk (`decisions.risk_coverage`).
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.
        facts: What the curves rest on, for the caption.

    Raises:
        ValueError: If there is no curve or a column is missing.
    """
    if not curves:
        raise ValueError("no curve to draw; give name -> table")
    fig = go.Figure()
    for k, (name, table) in enumerate(curves.items()):
        need(table, ["coverage", "risk"])
        fig.add_scatter(
            x=f32(table["coverage"]), y=f32(table["risk"]), mode="lines", name=name,
            line={"color": OTHERS[k % len(OTHERS)], "dash": DASHES[k % len(DASHES)], "width": 2},
            hovertemplate=f"{name}: answers %{{x:.0%}}, of which %{{y:.1%}} wrong<extra></extra>",
        )  # fmt: skip
    fig.update_xaxes(title="Share of videos that are answered", range=[0, 1.02], tickformat=".0%")
    fig.update_yaxes(title="Wrong answers among them", rangemode="tozero", tickformat=".0%")
    return finish(fig, title, list(facts), profile, caption)
