"""Make forgeries from images and 68 landmarks, by the algorithms of the field, for teaching and measuring.

Use them on pictures of people who do not exist, or who agreed. All keep every pixel outside their mask unchanged, bit
for bit, draw their settings once per clip (so a clip is consistent in time) and match the fine detail of what they
paste to what was there before: else the resampling alone would give every forgery away.

`METHODS` lists all eleven. Those of `FORGERIES` need no network; the others are loaded with torch when first named.
"""

import importlib
from typing import Any

from .blend import self_blend, self_blend_clip
from .common import Forged, ForgedClip, ForgeError
from .methods import FORGERIES, METHODS, Method
from .morph import morph_clip
from .poisson import poisson_clip
from .reenact import reenact_clip, talk_clip
from .swap import swap, swap_clip

LEARNED = (
    "autoencoder_clip",
    "inpaint_clip",
    "mouth_clip",
    "super_resolve_clip",
    "whole_clip",
)

__all__ = [
    "FORGERIES",
    "METHODS",
    "ForgeError",
    "Forged",
    "ForgedClip",
    "Method",
    "morph_clip",
    "poisson_clip",
    "reenact_clip",
    "self_blend",
    "self_blend_clip",
    "swap",
    "swap_clip",
    "talk_clip",
]


def __getattr__(name: str) -> Any:
    """Load the learned forgeries, which need torch, only when asked for."""
    if name in LEARNED:
        return getattr(importlib.import_module("gendkit.forge.learned"), name)
    raise AttributeError(f"module 'gendkit.forge' has no attribute {name!r}")
