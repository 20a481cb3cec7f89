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
from .explained import boxed, deletion_curves, occlusion_map
from .features import band_lines, heat, interval_dots, layer_bars, share_bars, token_grid
from .geometry import angle_histogram, sphere
from .grids import heat_map, ladder, schedules
from .levels import before_after, curves_by_level, growth
from .motion import sphere_motion
from .pictures import contact_sheet, data_uri, face_overlay
from .style import FAKE, MAX_POINTS, METHOD_COLORS, REAL, describe, method_color
from .tables import comparison, published_years
from .thresholds import (
    error_rates,
    reliability,
    risk_coverage,
    score_strips,
    threshold_explorer,
)
from .use import predictive_values, scores_over_time

__all__ = [
    "FAKE",
    "MAX_POINTS",
    "METHOD_COLORS",
    "REAL",
    "angle_histogram",
    "auroc_table",
    "band_lines",
    "before_after",
    "boxed",
    "calibration",
    "comparison",
    "contact_sheet",
    "curves_by_level",
    "data_uri",
    "deletion_curves",
    "describe",
    "error_rates",
    "face_overlay",
    "forest",
    "growth",
    "heat",
    "heat_map",
    "interval_dots",
    "ladder",
    "layer_bars",
    "method_color",
    "occlusion_map",
    "parameter_bars",
    "predictive_values",
    "published_years",
    "reliability",
    "risk_coverage",
    "roc",
    "schedules",
    "score_histogram",
    "score_lines",
    "score_strips",
    "scores_over_time",
    "share_bars",
    "sphere",
    "sphere_motion",
    "threshold_explorer",
    "token_grid",
    "training_curves",
]
