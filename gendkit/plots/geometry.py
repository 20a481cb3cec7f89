"""Embeddings: the sphere to turn, and the angles that say what it hides."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from .style import CLASSES, binary, count, f32, finish, thin


def sphere(
    points: Any,
    labels: Any,
    names: Sequence[str] | None = None,
    title: str = "Embeddings on the sphere",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw points on the unit sphere; it can be turned with the mouse.

    Args:
        points: (N, 3) unit vectors (`embed.sphere_map`, `embed.spherical_pca`).
        labels: (N,) 0 real, 1 fake.
        names: (N,) text shown when the mouse is on a point.
        title: The message.
        profile: Run profile, for the caption.
        caption: For example seed and trustworthiness.

    Raises:
        ValueError: If points are not unit vectors or counts differ.
    """
    xyz = np.asarray(points, dtype=float)
    if (
        xyz.ndim != 2
        or xyz.shape[1] != 3
        or not np.allclose(np.linalg.norm(xyz, axis=1), 1, atol=1e-3)
    ):
        raise ValueError(
            f"points of shape {xyz.shape}; expected (N, 3) unit vectors, see embed.sphere_map"
        )
    y, _ = binary(labels, xyz[:, 0] if len(xyz) == len(labels) else [])
    names = None if names is None else list(names)
    kept = thin(len(xyz))
    fig = go.Figure([_wire_frame()])
    for label, (name, color, symbol) in CLASSES.items():
        rows = kept[y[kept] == label]
        fig.add_scatter3d(
            x=f32(xyz[rows, 0]),
            y=f32(xyz[rows, 1]),
            z=f32(xyz[rows, 2]),
            mode="markers",
            name=name,
            marker={"color": color, "symbol": symbol, "size": 4, "opacity": 0.8},
            text=None if names is None else [names[i] for i in rows],
            hovertemplate=f"{name}<extra></extra>" if names is None else "%{text}<extra></extra>",
        )
    facts = [count(int((y == 0).sum()), "real crop"), count(int((y == 1).sum()), "fake crop")]
    if len(kept) < len(xyz):
        facts.append(f"{len(kept):,} of {len(xyz):,} shown")
    axis = {"visible": False, "range": [-1.03, 1.03]}
    scene = {
        "xaxis": axis,
        "yaxis": axis,
        "zaxis": axis,
        "aspectmode": "cube",
        "camera": {"eye": {"x": 0.95, "y": 0.95, "z": 0.45}},
    }
    return finish(
        fig,
        title,
        facts,
        profile,
        caption,
        scene=scene,
        height=560,
        legend={"y": 0},
        margin={"l": 0, "r": 0, "b": 0},
    )


def _wire_frame(n: int = 48) -> go.Scatter3d:
    t, lines = np.linspace(0, 2 * np.pi, n), []
    for latitude in np.radians([-60, -30, 0, 30, 60]):
        ring = np.c_[np.cos(t), np.sin(t)] * np.cos(latitude)
        lines += [np.c_[ring, np.full(n, np.sin(latitude))], np.full((1, 3), np.nan)]
    for longitude in np.radians(np.arange(0, 180, 30)):
        east = np.cos(t)
        lines += [np.c_[east * np.cos(longitude), east * np.sin(longitude), np.sin(t)],
                  np.full((1, 3), np.nan)]  # fmt: skip
    x, y, z = f32(np.concatenate(lines)).T
    return go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        line={"color": "#CCCCCC", "width": 1},
    )


def angle_histogram(
    statistics: Any,
    title: str = "Angles between embeddings",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw the angles within a class beside those between classes.

    Args:
        statistics: Object with edges (degrees), within, between (density) and n, as
            `embed.angle_statistics` gives.
        title: The message.
        profile: Run profile, for the caption.
        caption: For example R-bar.
    """
    middle = (statistics.edges[:-1] + statistics.edges[1:]) / 2
    fig = go.Figure()
    for name, values, color, dash in (
        ("within a class", statistics.within, "#000000", "solid"),
        ("between classes", statistics.between, "#CC79A7", "dash"),
    ):
        fig.add_scatter(
            x=f32(middle),
            y=f32(values),
            mode="lines",
            name=name,
            line={"color": color, "dash": dash, "shape": "hvh", "width": 2},
        )
    facts = [count(n, f"{CLASSES[c][0] if c in CLASSES else f'class {c}'} crop")
             for c, n in statistics.n.items()]  # fmt: skip
    fig.update_xaxes(title="Angle between two embeddings (degrees)", range=[0, 180], dtick=30)
    fig.update_yaxes(title="Density (per degree)", rangemode="tozero")
    return finish(fig, title, facts, profile, caption)
