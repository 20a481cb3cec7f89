"""Every figure of the book: plotly, one style, never shown here, always with an alternative text.

Functions take arrays and tables and return a `plotly.graph_objects.Figure`. The title is the message,
given by the caller; the line below it says how much data it rests on and in which profile. Reals and
fakes have the same colours and symbols everywhere. At most 2,000 points are drawn, in float32, so that
a page stays small; if points are left out, the caption says so. Nothing here imports the rest of the kit.
"""

from .charts import (
    auroc_table,
    calibration,
    forest,
    parameter_bars,
    roc,
    score_histogram,
    score_lines,
    training_curves,
)
from .geometry import angle_histogram, sphere
from .pictures import contact_sheet, data_uri, face_overlay
from .style import FAKE, MAX_POINTS, METHOD_COLORS, REAL, describe, method_color

__all__ = [
    "FAKE",
    "MAX_POINTS",
    "METHOD_COLORS",
    "REAL",
    "angle_histogram",
    "auroc_table",
    "calibration",
    "contact_sheet",
    "data_uri",
    "describe",
    "face_overlay",
    "forest",
    "method_color",
    "parameter_bars",
    "roc",
    "score_histogram",
    "score_lines",
    "sphere",
    "training_curves",
]
