"""What a score rests on: frames with boxes, a map over a crop, the test of that map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageDraw

from .pictures import data_uri
from .style import FAKE, count, f32, finish, line


def boxed(image: Any, boxes: Sequence[Any], max_side: int = 480) -> np.ndarray:
    """Draw boxes into an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (4,) x0, y0, x1, y1 each, in pixels; they may cross the border.
        max_side: Larger images are scaled down to this, pixels.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    picture = Image.fromarray(np.asarray(image))
    scale = min(1.0, max_side / max(picture.size))
    size = [max(1, round(side * scale)) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    width = max(2, max(size) // 160)
    for box in boxes:
        draw.rectangle([float(v) * scale for v in box], outline=FAKE, width=width)
    return np.asarray(picture)


def occlusion_map(
    crop: Any,
    heat: Any,
    title: str = "What the score reacts to when it is covered",
    profile: str = "",
    caption: str = "",
) -> go.Figure:
    """Lay a map over a crop: orange where covering lowers the score, blue where it raises it.

    Args:
        crop: (H, W, 3) uint8 RGB.
        heat: (H, W) fall of the score.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If the shapes differ or the map is not finite.
    """
    heat, shape = np.asarray(heat, dtype=float), np.shape(crop)[:2]
    if heat.shape != shape or not np.isfinite(heat).all():
        raise ValueError(f"got a map {heat.shape}, expected finite values {shape}")
    height, width = shape
    top = float(np.abs(heat).max()) or 1.0
    step = max(1, min(shape) // 64)
    fig = go.Figure(
        go.Heatmap(
            z=f32(heat[::step, ::step]),
            x=f32(np.arange(width)[::step]),
            y=f32(np.arange(height)[::step]),
            zmin=-top,
            zmax=top,
            colorscale=[  # what changes nothing is not veiled
                [0, "rgba(0, 114, 178, 0.75)"],
                [0.5, "rgba(255, 255, 255, 0)"],
                [1, "rgba(213, 94, 0, 0.75)"],
            ],
            colorbar={"title": {"text": "fall", "side": "right"}, "thickness": 12},
            name="fall of the score",
            hovertemplate="x %{x}, y %{y}: %{z:.2f}<extra></extra>",
        )
    )
    fig.add_layout_image(
        source=data_uri(crop, 256), xref="x", yref="y", x=-0.5, y=-0.5, sizex=width, sizey=height,
        sizing="stretch", layer="below",
    )  # fmt: skip
    fig.update_xaxes(visible=False, range=[-0.5, width - 0.5], constrain="domain")
    fig.update_yaxes(visible=False, range=[height - 0.5, -0.5], scaleanchor="x")
    facts = [f"from {heat.min():.2f} to {heat.max():.2f}"]
    return finish(fig, title, facts, profile, caption, margin={"l": 10, "r": 10, "b": 10})


def deletion_curves(
    share: Any,
    by_map: Any,
    by_chance: Any,
    title: str = "Covering the crop: by the map, and by chance",
    profile: str = "",
    caption: str = "",
) -> go.Figure:
    """Draw the score while more and more of a crop is covered.

    Args:
        share: (K,) share of the crop that is covered.
        by_map: (K,) score, the highest cells of a map first.
        by_chance: (R, K) score in random orders.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.

    Raises:
        ValueError: If the shapes do not fit.
    """
    share, by_map = np.asarray(share, dtype=float), np.asarray(by_map, dtype=float)
    by_chance = np.asarray(by_chance, dtype=float)
    if share.shape != by_map.shape or by_chance.ndim != 2 or by_chance.shape[1:] != share.shape:
        raise ValueError(
            f"got {share.shape}, {by_map.shape} and {by_chance.shape}, expected (K,), (K,), (R, K)"
        )
    fig = go.Figure()
    for curve in by_chance:
        fig.add_trace(line(share, curve, color="#BBBBBB", dash="solid"))
    fig.add_scatter(
        x=f32(share),
        y=f32(by_chance.mean(axis=0)),
        mode="lines",
        name="mean of random orders",
        line={"color": "#555555", "dash": "dash"},
    )
    fig.add_scatter(
        x=f32(share),
        y=f32(by_map),
        mode="lines+markers",
        name="by the map",
        line={"color": FAKE, "width": 3},
    )
    fig.update_xaxes(title="Share of the crop that is covered", tickformat=".0%")
    fig.update_yaxes(title="Score (logit of P(fake))")
    return finish(fig, title, [count(len(by_chance), "random order")], profile, caption)
