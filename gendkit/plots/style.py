"""One style for every figure: colours, template, caption, alternative text, sizes."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

# Okabe and Ito's palette, distinct for the common kinds of colour blindness.
REAL, FAKE = "#0072B2", "#D55E00"
METHOD_COLORS = {
    "real": REAL, "DF": "#E69F00", "F2F": "#56B4E9", "FS": "#009E73", "NT": "#CC79A7",
    "SBI": "#332288", "Poisson": "#7700DD", "Morph": "#DDCC77", "SuperRes": "#99DDFF",
    "Inpaint": "#FFAABB", "Talk": "#8877FF", "Whole": "#6699CC",
    "pooled": "#000000", "mean over methods": "#555555",
}  # fmt: skip
OTHERS = ["#882255", "#44AA99", "#999933", "#AA4499", "#117733", "#88CCEE", "#661100", "#888888"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]
CLASSES = {0: ("real", REAL, "circle"), 1: ("fake", FAKE, "diamond")}
MAX_POINTS = 2000

pio.templates["gendkit"] = go.layout.Template(
    layout={
        "font": {"family": "Arial, Helvetica, sans-serif", "size": 14,
                 "color": "#222222"},
        "title": {"x": 0.02, "xanchor": "left", "font": {"size": 18},
                  "subtitle": {"font": {"size": 13, "color": "#555555"}}},
        "paper_bgcolor": "#FFFFFF", "plot_bgcolor": "#FFFFFF",
        "colorway": [REAL, FAKE, *list(METHOD_COLORS.values())[1:6]],
        "xaxis": {"gridcolor": "#E5E5E5", "linecolor": "#888888", "zeroline": False,
                  "ticks": "outside", "automargin": True},
        "yaxis": {"gridcolor": "#E5E5E5", "linecolor": "#888888", "zeroline": False,
                  "ticks": "outside", "automargin": True},
        "legend": {
            "orientation": "h",
            "yref": "container",
            "yanchor": "bottom",
            "y": 0.01,
            "x": 0,
        },
        "margin": {"l": 60, "r": 20, "t": 80, "b": 95},
        "height": 420,
    }
)  # fmt: skip


def method_color(method: str) -> str:
    """Return the colour of a manipulation, the same in every figure."""
    return METHOD_COLORS.get(method, OTHERS[zlib.crc32(method.encode()) % len(OTHERS)])


def describe(fig: go.Figure) -> str:
    """Put the figure into words, for readers who do not see it.

    Args:
        fig: A figure of this module.

    Returns:
        Title, caption, axes and what is drawn; also stored in `fig.layout.meta["alt"]`.
    """
    layout = fig.layout
    parts = [layout.title.text or "Figure", layout.title.subtitle.text or ""]
    parts += [f"{axis}: {title.text}" for axis, title in _axis_titles(layout) if title.text]
    shown: dict[str, int] = {}
    for trace in fig.data:
        if trace.name:
            size = len(next(v for v in (trace.x, trace.y, [0]) if v is not None))
            shown[trace.name] = shown.get(trace.name, 0) + size
    if shown:
        parts.append("Shown: " + ", ".join(f"{name} ({n} values)" for name, n in shown.items()))
    if layout.images:
        parts.append(f"{len(layout.images)} image{'s' if len(layout.images) > 1 else ''}")
    text = ". ".join(part.rstrip(". ") for part in parts if part) + "."
    fig.update_layout(meta={**(layout.meta or {}), "alt": text})
    return text


def _axis_titles(layout: go.Layout) -> list[tuple[str, Any]]:
    names = [n for n in layout.to_plotly_json() if n.startswith(("xaxis", "yaxis"))]
    return [(f"{name[0]} axis", layout[name].title) for name in sorted(names)]


def finish(
    fig: go.Figure, title: str, facts: Sequence[str], profile: str, caption: str, **layout: Any
) -> go.Figure:
    notes = [*facts, f"profile {profile}" if profile else "", caption]
    subtitle = " · ".join(note for note in notes if note)
    fig.update_layout(
        template="gendkit", title={"text": title, "subtitle": {"text": subtitle}}, **layout
    )
    describe(fig)
    return fig


def need(table: Any, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing or len(table) == 0:
        raise ValueError(
            f"a table with rows and the columns {list(columns)} is needed; missing {missing}, "
            f"{len(table)} rows"
        )


def count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def binary(labels: Any, scores: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and scores; a table with the columns label and p_fake may stand for both."""
    if scores is None:
        if not {"label", "p_fake"} <= set(getattr(labels, "columns", ())):
            raise ValueError("give labels and scores, or a table with the columns label and p_fake")
        labels, scores = labels["label"], labels["p_fake"]
    y, s = np.asarray(labels), np.asarray(scores, dtype=float)
    if y.shape != s.shape or y.ndim != 1 or len(y) == 0:
        raise ValueError(
            f"labels {y.shape} and scores {s.shape}; expected two equal, non-empty (N,)"
        )
    if not np.isin(y, (0, 1)).all() or not np.isfinite(s).all():
        raise ValueError(
            "labels must be 0 (real) or 1 (fake) and scores finite; clean the scores table"
        )
    return y.astype(int), s


def thin(n: int, limit: int = MAX_POINTS, seed: int = 0) -> np.ndarray:
    """Choose which of n points are drawn: all, or a random part in the original order."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def line(x: Any, y: Any, **style: Any) -> go.Scatter:
    return go.Scatter(
        x=f32(x),
        y=f32(y),
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        line={"color": "#999999", "dash": "dot", "width": 1, **style},
    )
