"""Training on the sphere, as a film that can be turned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from .geometry import _wire_frame
from .style import CLASSES, count, f32, finish

MAX_FRAMES, MAX_MOVING = 20, 400  # points times frames are what a page must carry


def sphere_motion(
    frames: Any,
    labels: Any,
    steps: Sequence[int],
    readings: Mapping[str, Sequence[float]] | None = None,
    title: str = "Training on the sphere",
    profile: str = "fast",
    caption: str = "",
    what: str = "point",
) -> go.Figure:
    """Animate points on the unit sphere; a button plays, a slider shows any step, the mouse turns.

    Args:
        frames: (T, N, 3) unit vectors, at most 20 frames of 400 points.
        labels: (N,) 0 real, 1 fake.
        steps: (T,) step of each frame.
        readings: Name -> (T,) numbers that are shown beside the step.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.
        what: What a point is, in the singular.

    Raises:
        ValueError: If shapes differ, points are no unit vectors, or there are too many.
    """
    xyz, y = np.asarray(frames, float), np.asarray(labels)
    good = xyz.ndim == 3 and xyz.shape[2] == 3 and y.shape == (xyz.shape[1],)
    if not good or len(steps) != len(xyz) or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"frames {xyz.shape}, labels {y.shape} and {len(steps)} steps; expected (T, N, 3), (N,) of 0 and 1, T"
        )
    if len(xyz) > MAX_FRAMES or xyz.shape[1] > MAX_MOVING:
        raise ValueError(
            f"{len(xyz)} frames of {xyz.shape[1]} points; at most {MAX_FRAMES} of {MAX_MOVING}: show fewer"
        )
    if not np.allclose(np.linalg.norm(xyz, axis=2), 1, atol=1e-3):
        raise ValueError("points are not of length 1; divide each by its length")
    readings = readings or {}

    def traces(points: np.ndarray) -> list[go.Scatter3d]:
        return [
            go.Scatter3d(
                x=f32(points[y == label, 0]), y=f32(points[y == label, 1]), z=f32(points[y == label, 2]),
                mode="markers", name=name, hovertemplate=f"{name}<extra></extra>",
                marker={"color": color, "symbol": symbol, "size": 4, "opacity": 0.85},
            )
            for label, (name, color, symbol) in CLASSES.items() if (y == label).any()
        ]  # fmt: skip

    first = traces(xyz[0])
    moving = list(range(1, 1 + len(first)))
    fig = go.Figure([_wire_frame(), *first])
    fig.frames = [
        go.Frame(name=str(step), traces=moving, data=traces(points))
        for step, points in zip(steps, xyz, strict=True)
    ]
    texts = [
        " · ".join([f"step {step}", *(f"{name} {values[k]:.2f}" for name, values in readings.items())])
        for k, step in enumerate(steps)
    ]  # fmt: skip
    still = {"transition": {"duration": 0}}
    at_once = {**still, "mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    play = {**still, "fromcurrent": False, "frame": {"duration": 350, "redraw": True}}
    slider = {
        "x": 0.16, "len": 0.84, "y": 0, "yanchor": "top", "pad": {"t": 34, "b": 4}, "ticklen": 0,
        "font": {"color": "rgba(0,0,0,0)", "size": 1},  # the reading above the bar says the step
        "currentvalue": {"font": {"color": "#222222", "size": 13}, "xanchor": "left"},
        "steps": [
            {"method": "animate", "label": text, "args": [[str(step)], at_once]}
            for step, text in zip(steps, texts, strict=True)
        ],
    }  # fmt: skip
    button = {
        "type": "buttons", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 44},
        "showactive": False,
        "buttons": [{"label": "Play", "method": "animate", "args": [None, play]}],
    }  # fmt: skip
    facts = [count(int((y == c).sum()), f"{CLASSES[c][0]} {what}") for c in (0, 1) if (y == c).any()]  # fmt: skip
    facts.append(f"{len(xyz)} frames over {steps[-1]:,} steps")
    axis = {"visible": False, "range": [-1.03, 1.03]}
    scene = {"xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "cube",
             "camera": {"eye": {"x": 1.0, "y": 1.0, "z": 0.5}}}  # fmt: skip
    return finish(
        fig, title, facts, profile, caption, scene=scene, height=600, sliders=[slider], updatemenus=[button],
        margin={"l": 0, "r": 10, "b": 110}, legend={"yref": "paper", "yanchor": "top", "y": 1, "x": 0.02},
    )  # fmt: skip
