"""The eleven manipulations: facts for tables, and the functions of those that need no network."""

from collections.abc import Callable
from dataclasses import dataclass

from .blend import self_blend_clip
from .common import ForgedClip
from .morph import morph_clip
from .poisson import poisson_clip
from .reenact import reenact_clip, talk_clip
from .swap import swap_clip


@dataclass(frozen=True)
class Method:
    """Facts about one manipulation.

    Attributes:
        title: its name in words.
        family: "swap", "reenactment", "blend", "edit" or "synthesis".
        source: the paper it follows.
        seen: whether detectors are trained on it.
        needs: what it takes beside the target: "donor frames", "driver landmarks", a network or "nothing".
        function: its name in `gendkit.forge`.
    """

    title: str
    family: str
    source: str
    seen: bool
    needs: str
    function: str


METHODS: dict[str, Method] = {
    "DF": Method(
        "autoencoder swap", "swap", "Roessler et al. 2019, section 3.1 (DeepFakes)",
        True, "network of the group", "autoencoder_clip",
    ),
    "F2F": Method(
        "expression reenactment", "reenactment", "Thies et al. 2016",
        True, "driver landmarks", "reenact_clip",
    ),
    "FS": Method(
        "landmark swap", "swap", "Roessler et al. 2019, section 3.1 (FaceSwap)",
        True, "donor frames", "swap_clip",
    ),
    "NT": Method(
        "neural texture of the mouth", "reenactment", "Thies et al. 2019",
        True, "driver landmarks, network of the group", "mouth_clip",
    ),
    "Poisson": Method(
        "gradient-domain swap", "swap", "Perez et al. 2003",
        False, "donor frames", "poisson_clip",
    ),
    "SBI": Method(
        "self-blend", "blend", "Shiohara and Yamasaki 2022",
        False, "nothing", "self_blend_clip",
    ),
    "Morph": Method(
        "face morph", "blend", "Ferrara et al. 2014",
        False, "donor frames", "morph_clip",
    ),
    "SuperRes": Method(
        "learned upsampling", "edit", "Shi et al. 2016",
        False, "general network", "super_resolve_clip",
    ),
    "Inpaint": Method(
        "inpainted part", "edit", "Pathak et al. 2016",
        False, "general network", "inpaint_clip",
    ),
    "Talk": Method(
        "lip motion", "reenactment", "Prajwal et al. 2020; Bregler et al. 1997",
        False, "driver landmarks", "talk_clip",
    ),
    "Whole": Method(
        "whole face sampled", "synthesis", "Kingma and Welling 2014",
        False, "general network", "whole_clip",
    ),
}  # fmt: skip

FORGERIES: dict[str, Callable[..., ForgedClip]] = {
    "F2F": reenact_clip,
    "FS": swap_clip,
    "Poisson": poisson_clip,
    "SBI": self_blend_clip,
    "Morph": morph_clip,
    "Talk": talk_clip,
}
