"""Images in figures: contact sheets and faces with what was found on them."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from .style import count, f32, finish


def data_uri(image: Any, max_side: int = 160, kind: str = "jpeg") -> str:
    """Pack an image into a page.

    Args:
        image: (H, W, 3) uint8 RGB.
        max_side: Larger images are scaled down to this, pixels.
        kind: "jpeg" (small) or "png" (exact).

    Returns:
        A data URI.

    Raises:
        ValueError: If the image or the kind is wrong.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"image {array.shape} {array.dtype}; expected (H, W, 3) uint8 RGB")
    if kind not in ("jpeg", "png"):
        raise ValueError(f"kind {kind!r}; expected 'jpeg' or 'png'")
    picture = Image.fromarray(array)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(
        buffer, kind.upper(), **({"quality": 88} if kind == "jpeg" else {"optimize": True})
    )
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def contact_sheet(
    images: Sequence[Any],
    captions: Sequence[str] | None = None,
    n_columns: int = 6,
    title: str = "Crops",
    profile: str = "fast",
    caption: str = "",
    max_side: int = 160,
    kind: str = "jpeg",
) -> go.Figure:
    """Show images in a grid, each with a short text below.

    Args:
        images: N arrays (H, W, 3) uint8 RGB.
        captions: N texts.
        n_columns: Images in a row.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.
        max_side: Images are scaled down to this, pixels.
        kind: "jpeg", or "png" where compression must not touch the pixels.

    Raises:
        ValueError: If there is no image, or counts differ.
    """
    captions = [""] * len(images) if captions is None else list(captions)
    if len(images) == 0 or len(images) != len(captions):
        raise ValueError(
            f"{len(images)} images and {len(captions)} captions; expected equal, at least 1"
        )
    n_columns = min(n_columns, len(images))
    n_rows = math.ceil(len(images) / n_columns)
    columns, rows = np.arange(len(images)) % n_columns, np.arange(len(images)) // n_columns
    # A cell is as wide as 1 and as high as the tallest image, with room for the text.
    tall = max(np.shape(image)[0] / np.shape(image)[1] for image in images)
    step = tall + (0.2 if any(captions) else 0.05)
    tops = rows * step
    fig = go.Figure(
        go.Scatter(
            x=f32(columns + 0.5),
            y=f32(tops + tall / 2),
            mode="markers",
            marker={"opacity": 0},
            name="image",
            showlegend=False,
            text=captions,
            hovertemplate="%{text}<extra></extra>",
        )
    )
    for image, text, left, top in zip(images, captions, columns, tops, strict=True):
        fig.add_layout_image(
            source=data_uri(image, max_side, kind),
            xref="x",
            yref="y",
            x=float(left) + 0.02,
            y=float(top),
            sizex=0.96,
            sizey=tall,
            yanchor="top",
            layer="below",
        )
        if text:
            fig.add_annotation(
                text=text,
                x=float(left) + 0.5,
                y=float(top) + tall,
                showarrow=False,
                yanchor="top",
                font={"size": 11},
            )
    fig.update_xaxes(visible=False, range=[0, n_columns])
    fig.update_yaxes(visible=False, range=[n_rows * step, 0], scaleanchor="x")
    layout = {
        "height": 95 + int(n_rows * step * 720 / n_columns),
        "margin": {"l": 10, "r": 10, "b": 10},
    }
    finish(fig, title, [count(len(images), "image")], profile, caption, **layout)
    # height over width: the book fits the height to the page
    fig.layout.meta = {**fig.layout.meta, "aspect": n_rows * step / n_columns}
    return fig


def face_overlay(
    image: Any,
    box: Any = None,
    landmarks: Any = None,
    points: Any = None,
    title: str = "Face, box and landmarks",
    profile: str = "fast",
    caption: str = "",
) -> go.Figure:
    """Draw box, 68 landmarks and five points over an image, in its pixel coordinates.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) x0, y0, x1, y1 in pixels.
        landmarks: (68, 2) x, y in pixels.
        points: (5, 2) x, y in pixels.
        title: The message.
        profile: Run profile, for the caption.
        caption: Anything to add.
    """
    height, width = np.asarray(image).shape[:2]
    # Pixel centres are integers, so the first pixel begins at -0.5.
    picture = {"source": data_uri(image, 640), "xref": "x", "yref": "y", "x": -0.5, "y": -0.5,
               "sizex": width, "sizey": height, "sizing": "stretch", "layer": "below"}  # fmt: skip
    fig = go.Figure(layout={"images": [picture]})
    drawn = [("landmarks", landmarks, {"color": "#F0E442", "size": 5, "line": {"width": 0.5}}),
             ("five points", points, {"color": "#CC79A7", "size": 9, "symbol": "x"})]  # fmt: skip
    for name, xy, marker in drawn:
        if xy is not None:
            xy = np.asarray(xy, dtype=float)
            fig.add_scatter(
                x=f32(xy[:, 0]),
                y=f32(xy[:, 1]),
                mode="markers",
                name=name,
                marker=marker,
                text=[str(i) for i in range(len(xy))],
                hovertemplate=f"{name} %{{text}}: (%{{x:.1f}}, %{{y:.1f}})<extra></extra>",
            )
    if box is not None:
        x0, y0, x1, y1 = (float(value) for value in box)
        fig.add_scatter(
            x=f32([x0, x1, x1, x0, x0]),
            y=f32([y0, y0, y1, y1, y0]),
            mode="lines",
            name="box",
            line={"color": "#56B4E9", "width": 3},
            hoverinfo="skip",
        )
    fig.update_xaxes(
        title="x (pixels)", range=[-0.5, width - 0.5], constrain="domain", showgrid=False
    )
    fig.update_yaxes(
        title="y (pixels)", range=[height - 0.5, -0.5], scaleanchor="x", showgrid=False
    )
    facts = [f"{width} x {height} pixels"]
    return finish(fig, title, facts, profile, caption, height=520)
