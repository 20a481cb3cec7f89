"""Charts of scores, training and sizes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import (
    CLASSES,
    DASHES,
    MAX_POINTS,
    METHOD_COLORS,
    binary,
    count,
    f32,
    finish,
    line,
    method_color,
    thin,
)


def roc(
    curves: pd.DataFrame | Mapping[str, tuple[Any, Any]],
    title: str = "ROC curves",
    unit: str = "video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw ROC curves, one per manipulation against the reals, or one per name.

    Args:
        curves: Scores table with label, method and p_fake (one row per unit), or name ->
            (labels, scores).
        title: The message.
        unit: What one score stands for: "video" or "frame".
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a curve lacks a class.
    """
    if isinstance(curves, pd.DataFrame):
        reals = curves[curves["label"] == 0]
        fakes = curves[curves["label"] == 1].groupby("method", sort=True)
        curves = {
            m: (np.r_[reals["label"], f["label"]], np.r_[reals["p_fake"], f["p_fake"]])
            for m, f in fakes
        }
    if not curves:
        raise ValueError("no curve to draw: no row has label 1; score fakes too")
    fig = go.Figure([line([0, 1], [0, 1])])
    totals = [0, 0]
    for k, (name, pair) in enumerate(curves.items()):
        y, s = binary(*pair)
        n_real, n_fake = int((y == 0).sum()), int((y == 1).sum())
        if not n_real or not n_fake:
            raise ValueError(f"curve {name!r} has {n_real} reals and {n_fake} fakes; it needs both")
        totals = [max(totals[0], n_real), totals[1] + n_fake]
        cut = np.r_[np.flatnonzero(np.diff(s[order := np.argsort(-s, kind="stable")])), len(s) - 1]
        tpr = np.r_[0, np.cumsum(y[order])[cut] / n_fake]
        fpr = np.r_[0, np.cumsum(1 - y[order])[cut] / n_real]
        kept = np.unique(np.linspace(0, len(fpr) - 1, MAX_POINTS // len(curves)).astype(int))
        fig.add_scatter(
            x=f32(fpr[kept]),
            y=f32(tpr[kept]),
            mode="lines",
            name=name,
            line={"color": method_color(name), "dash": DASHES[k % len(DASHES)], "width": 2},
            hovertemplate=f"{name}<br>FPR %{{x:.3f}}, TPR %{{y:.3f}}<extra></extra>",
        )
    facts = [count(totals[0], f"real {unit}"), count(totals[1], f"fake {unit}")]
    fig.update_xaxes(title="False positive rate (share of reals called fake)", range=[0, 1])
    fig.update_yaxes(title="True positive rate (share of fakes found)", range=[0, 1.005])
    return finish(fig, title, facts, profile, caption, height=480)


def forest(
    report: pd.DataFrame,
    title: str = "AUROC per manipulation",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw AUROC with its interval, one line per row of a report; 0.5 is chance.

    Args:
        report: Columns method, auroc, low, high, n_real, n_fake (`evaluate.report`); dataset and
            level are shown where they vary.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    needed = ["method", "auroc", "low", "high", "n_real", "n_fake"]
    missing = [name for name in needed if name not in report.columns]
    if missing or report.empty:
        raise ValueError(
            f"a report with rows and the columns {needed} is needed; missing {missing}"
        )
    extra = [
        c
        for c in ("dataset", "compression", "level", "model")
        if c in report.columns and report[c].nunique() > 1
    ]
    names = [" · ".join([str(row[c]) for c in [*extra, "method"]]) for _, row in report.iterrows()]
    fig = go.Figure()
    for name, (_, row) in zip(names, report.iterrows(), strict=True):
        fig.add_scatter(
            x=f32([row["auroc"]]), y=[name], mode="markers", name=name, showlegend=False,
            marker={"color": method_color(row["method"]), "size": 10},
            error_x={"type": "data", "symmetric": False, "array": f32([row["high"] - row["auroc"]]),
                     "arrayminus": f32([row["auroc"] - row["low"]]), "thickness": 2},
            hovertemplate=f"{name}: {row['auroc']:.3f} [{row['low']:.3f}, {row['high']:.3f}], "
                          f"{row['n_real']} real, {row['n_fake']} fake<extra></extra>",
        )  # fmt: skip
    fig.add_vline(x=0.5, line={"color": "#999999", "dash": "dot", "width": 1})
    unit = report["level"].iloc[0] if "level" in report.columns and "level" not in extra else "unit"
    facts = [count(int(report["n_real"].max()), f"real {unit}"),
             f"at most {count(int(report['n_fake'].max()), f'fake {unit}')} a row",
             "bars: 95 % intervals"]  # fmt: skip
    fig.update_xaxes(
        title="AUROC (0.5 = chance, 1 = perfect)",
        range=[min(0.45, float(report["low"].min()) - 0.02), 1.01],
    )
    fig.update_yaxes(autorange="reversed", type="category")
    return finish(
        fig, title, facts, profile, caption, height=160 + 36 * len(report), margin={"b": 60}
    )


auroc_table = forest


def score_histogram(
    labels: Any,
    scores: Any = None,
    threshold: float | None = None,
    n_bins: int = 20,
    title: str = "Scores of reals and fakes",
    unit: str = "video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw how the scores of the two classes are spread.

    Args:
        labels: (N,) 0 real, 1 fake; or a table with the columns label and p_fake.
        scores: (N,) P(fake) in [0, 1]; None if a table was given.
        threshold: Drawn as a line if given.
        n_bins: Bins over [0, 1].
        title: The message.
        unit: What one score stands for.
        profile: Run profile, for the caption.
        caption: Anything to add.
    """
    y, s = binary(labels, scores)
    edges = np.linspace(0, 1, n_bins + 1)
    fig, facts = go.Figure(), []
    for label, (name, color, _) in CLASSES.items():
        n = int((y == label).sum())
        share = np.histogram(s[y == label], bins=edges)[0] / max(n, 1)
        facts.append(count(n, f"{name} {unit}"))
        fig.add_bar(
            x=f32((edges[:-1] + edges[1:]) / 2),
            y=f32(share),
            name=name,
            opacity=0.65,
            marker={"color": color, "pattern": {"shape": "/" if label else ""}},
            width=1 / n_bins,
            hovertemplate=f"{name} at %{{x:.2f}}: %{{y:.1%}}<extra></extra>",
        )
    if threshold is not None:
        fig.add_vline(
            x=threshold,
            line={"color": "#222222", "dash": "dash"},
            annotation={"text": f"threshold {threshold:.3f}", "xshift": 4},
        )
    fig.update_xaxes(title="Score, P(fake)", range=[0, 1])
    fig.update_yaxes(title=f"Share of the class's {unit}s", tickformat=".0%")
    return finish(fig, title, facts, profile, caption, barmode="overlay")


def score_lines(
    table: pd.DataFrame,
    threshold: float | None = None,
    title: str = "Scores along the video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw the score of every frame, one line per version of a clip.

    Args:
        table: Columns method, frame (number or position) and p_fake; one video per method.
        threshold: Drawn as a line if given.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing or there is no row.
    """
    needed = ["method", "frame", "p_fake"]
    if len(table) == 0 or not set(needed) <= set(table.columns):
        raise ValueError(f"rows with the columns {needed} are needed; got {list(table.columns)}")
    fig = go.Figure()
    for k, (method, rows) in enumerate(table.groupby("method", sort=False)):
        rows = rows.sort_values("frame")
        rows = rows.iloc[thin(len(rows), MAX_POINTS // table["method"].nunique())]
        fig.add_scatter(
            x=f32(rows["frame"]),
            y=f32(rows["p_fake"]),
            mode="lines+markers",
            name=method,
            line={"color": method_color(method), "dash": DASHES[k % len(DASHES)]},
            hovertemplate=f"{method}, frame %{{x}}: P(fake) %{{y:.2f}}<extra></extra>",
        )
    if threshold is not None:
        fig.add_hline(
            y=threshold,
            line={"color": "#222222", "dash": "dash"},
            annotation={"text": f"threshold {threshold:.3f}"},
        )
    fig.update_xaxes(title="Frame (number)")
    fig.update_yaxes(title="Score, P(fake)", range=[-0.02, 1.02])
    facts = [count(table["method"].nunique(), "video"), count(len(table), "frame")]
    return finish(fig, title, facts, profile, caption)


def training_curves(
    history: pd.DataFrame,
    title: str = "Training",
    metric: str = "auroc",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw the loss and its parts, and the select score with the chosen epoch.

    Args:
        history: One row per epoch: epoch, loss, loss_*, select_auroc, select_map (`train`).
        title: The message.
        metric: Which select score chose the epoch, "auroc" or "map".
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a column is missing.
    """
    score = f"select_{metric}"
    if history.empty or not {"epoch", "loss", score} <= set(history.columns):
        raise ValueError(
            f"history needs rows and the columns epoch, loss, {score}; got {list(history)}"
        )
    fig = make_subplots(1, 2, horizontal_spacing=0.12)
    parts = ["loss", *(c for c in history.columns if c.startswith("loss_"))]
    epochs, colors = f32(history["epoch"]), ["#000000", *list(METHOD_COLORS.values())[1:6]]
    for k, name in enumerate(parts):
        fig.add_scatter(
            x=epochs,
            y=f32(history[name]),
            name=name.replace("loss_", "loss: "),
            mode="lines+markers",
            row=1,
            col=1,
            line={"color": colors[k % len(colors)], "dash": DASHES[k % len(DASHES)]},
        )
    fig.add_scatter(
        x=epochs,
        y=f32(history[score]),
        name=f"select {metric}",
        mode="lines+markers",
        line={"color": "#332288"},
        row=1,
        col=2,
    )
    best = history.loc[history[score].idxmax()]
    fig.add_scatter(
        x=f32([best["epoch"]]),
        y=f32([best[score]]),
        name="chosen epoch",
        mode="markers",
        marker={"symbol": "star", "size": 14, "color": "#E69F00"},
        row=1,
        col=2,
    )
    fig.update_xaxes(title="Epoch", dtick=1 if len(history) <= 12 else None)
    fig.update_yaxes(title="Loss (nats)", col=1)
    label = {"auroc": "AUROC", "map": "mAP"}.get(metric, metric)
    fig.update_yaxes(title=f"{label} of select videos", col=2)
    facts = [count(len(history), "epoch"), f"chosen: epoch {best['epoch']:.0f}"]
    return finish(fig, title, facts, profile, caption)


def calibration(
    labels: Any,
    scores: Any = None,
    n_bins: int = 10,
    title: str = "Calibration",
    unit: str = "video",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw how often a score of p is a fake; a calibrated detector lies on the diagonal.

    Args:
        labels: (N,) 0 real, 1 fake; or a table with the columns label and p_fake.
        scores: (N,) P(fake) in [0, 1]; None if a table was given.
        n_bins: Equal bins over [0, 1]; empty ones are left out.
        title: The message.
        unit: What one score stands for.
        profile: Run profile, for the caption.
        caption: Anything to add, such as the calibration error.

    Source: bars are 95 % score intervals, Wilson 1927.
    """
    y, s = binary(labels, scores)
    which = np.minimum((s * n_bins).astype(int), n_bins - 1)
    n = np.bincount(which, minlength=n_bins)
    used = n > 0
    share = np.bincount(which, weights=y, minlength=n_bins)[used] / n[used]
    mean, n, z2 = np.bincount(which, weights=s, minlength=n_bins)[used] / n[used], n[used], 1.96**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    fig = go.Figure([line([0, 1], [0, 1])])
    fig.add_scatter(
        x=f32(mean), y=f32(share), mode="markers+lines", name="observed", line={"color": "#000000"},
        marker={"size": 9}, text=[str(k) for k in n],
        error_y={"type": "data", "symmetric": False, "array": f32(np.maximum(centre + half - share, 0)),
                 "arrayminus": f32(np.maximum(share - centre + half, 0)), "thickness": 1},
        hovertemplate=f"mean score %{{x:.2f}}: %{{y:.0%}} fake of %{{text}} {unit}s<extra></extra>",
    )  # fmt: skip
    fig.update_xaxes(title="Mean score of the bin, P(fake)", range=[-0.02, 1.02])
    fig.update_yaxes(title="Share of fakes in the bin", range=[-0.02, 1.02], tickformat=".0%")
    facts = [count(int((y == c).sum()), f"{CLASSES[c][0]} {unit}") for c in (0, 1)]
    return finish(fig, title, [*facts, "bars: 95 % intervals"], profile, caption, height=480)


def parameter_bars(
    counts: Mapping[str, int],
    total: int,
    title: str = "Trained parameters",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Compare numbers of trained parameters on a logarithmic axis.

    Args:
        counts: Name -> number of parameters, > 0.
        total: Parameters of the whole model.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If a count is not positive.
    """
    bad = [name for name, value in counts.items() if value <= 0]
    if not counts or bad or total <= 0:
        raise ValueError(
            f"counts {dict(counts)} of {total}: all must be > 0 (log axis); drop {bad}"
        )
    names, values = list(counts), [int(value) for value in counts.values()]
    fig = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            name="trained",
            marker={"color": "#332288"},
            text=[f"{value:,} ({value / total:.3%})" for value in values],
            textposition="auto",
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    low = math.floor(math.log10(min(values))) - 1
    fig.update_xaxes(
        title="Trained parameters (logarithmic axis)",
        type="log",
        dtick=1,
        range=[low, math.log10(total) + 0.1],
    )
    fig.update_yaxes(autorange="reversed")
    facts = [f"of {total:,} parameters"]
    return finish(
        fig,
        title,
        facts,
        profile,
        caption,
        height=160 + 40 * len(values),
        margin={"b": 60},
        showlegend=False,
    )
