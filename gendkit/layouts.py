"""How tensors are named in GenD's released checkpoints, and how those names moved between libraries.

A "core" name is what a vision network calls a tensor itself, without the prefixes that versions of
transformers put before it: `layer.0.norm1.weight` of DINOv3 is `model.layer.0.norm1.weight` since
transformers 5, and all of CLIP's vision tower is below `vision_model.` before.
"""

import re

from gendkit.specs import ALIASES, REGISTRY

RELEASED = {
    "yermandy/GenD_CLIP_L_14": "clip-l14",
    "yermandy/GenD_PE_L": "pe-l",
    "yermandy/GenD_DINOv3_L": "dinov3-l",
}
DEFAULT_BACKBONE = "openai/clip-vit-large-patch14"
DEFAULT_HEAD = "linear"
PROJECTION = "feature_extractor.visual_projection.weight"
_ENCODER = {
    "clip": "feature_extractor.vision_model.",
    "dinov3": "feature_extractor.backbone.",
    "pe": "feature_extractor.backbone.",
}
_HEAD = "model.linear."
# The official code chooses the class by these parts of the backbone's name, in this order.
_NAME_PARTS = (("clip", "clip"), ("vit_pe", "pe"), ("dino", "dinov3"))


def core_key(key: str) -> str:
    """Strip the prefixes that transformers 4 or 5 puts before a vision network's tensor name."""
    return re.sub(r"^(?:(?:vision_model|model)\.)+", "", key)


def official_key(family: str, core: str) -> str:
    """Name an encoder tensor as the released files do (the transformers 4 layout).

    Args:
        family: "clip", "dinov3" or "pe".
        core: Core name.
    """
    return _ENCODER[family] + core


def parse_official(key: str, family: str) -> tuple[str, str] | None:
    """Say what a tensor of an official checkpoint is.

    Args:
        key: Its name, in the transformers 4 or 5 layout.
        family: Of the backbone.

    Returns:
        ("encoder", core name), ("head", "linear.weight"), ("carried", key) for CLIP's projection,
        ("buffer", key) for position ids, which are computed; None for a name of none of these.

    Source: official GenD code, commit e03532d, src/hf/modeling_gend.py; transformers 4.56 and 5.23.
    """
    if key.endswith(".position_ids"):
        return "buffer", key
    if key.startswith(_HEAD):
        return "head", key.removeprefix("model.")
    if family == "clip" and key == PROJECTION:
        return "carried", key
    if key.startswith(_ENCODER[family]):
        return "encoder", core_key(key.removeprefix(_ENCODER[family]))
    return None


def parse_saved(key: str, family: str) -> tuple[str, str] | None:
    """Say what a tensor of a folder saved by this kit is; see `parse_official`."""
    if key.endswith(".position_ids"):
        return "buffer", key
    if key.startswith("head."):
        return "head", key.removeprefix("head.")
    if key.startswith("encoder.vision."):
        return "encoder", core_key(key.removeprefix("encoder.vision."))
    return None


def parse_base(key: str, family: str) -> tuple[str, str] | None:
    """Say what a tensor of a backbone's own checkpoint is; None for what GenD leaves out of it."""
    left_out = ("text_model.", "text_projection.", "logit_scale", "head.")
    if key.endswith("position_ids") or key.startswith(left_out):
        return None
    if family == "clip" and key == "visual_projection.weight":
        return "carried", PROJECTION
    return "encoder", core_key(key)


def kit_name(official_id: str) -> str | None:
    """Give the kit's name of a backbone that an official config names; None if it has none."""
    name = ALIASES.get(official_id, official_id)
    return name if name in REGISTRY else None


def official_id(name: str) -> str:
    """Give the id that the official code knows a backbone by.

    Args:
        name: The kit's name or already an id.
    """
    if name not in REGISTRY:
        return name
    spec, model = REGISTRY[name]
    return model["model_name"] if spec.family == "pe" else spec.hub_id


def official_family(backbone: str) -> str | None:
    """Say as which family the official code builds a backbone of this id; None: not at all.

    Source: official GenD code, commit e03532d, src/hf/modeling_gend.py.
    """
    lower = backbone.lower()
    return next((family for part, family in _NAME_PARTS if part in lower), None)


def perception_shapes(model_name: str) -> dict[str, tuple[int, ...]] | None:
    """List the tensors of a Perception Encoder without its last linear layer, timm not needed.

    Args:
        model_name: timm's name.

    Returns:
        Core name -> shape; None for a model whose sizes are not recorded here.

    Source: paper notes on the released PE-L model: 310 tensors and 316,104,706 parameters with the
    head, both of which these sizes give.
    """
    if model_name != "vit_pe_core_large_patch14_336":
        return None
    width, depth, patch, side = 1024, 24, 14, 336
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, (side // patch) ** 2 + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "attn_pool.latent": (1, 1, width),
    }

    def layer(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    for name in ("norm_pre", "norm", "attn_pool.norm"):
        layer(name, width)
    for name, outputs in (("q", 1), ("kv", 2), ("proj", 1)):
        layer(f"attn_pool.{name}", outputs * width, width)
    blocks = [f"blocks.{i}" for i in range(depth)]
    for block in blocks:
        layer(f"{block}.norm1", width)
        layer(f"{block}.attn.qkv", 3 * width, width)
        layer(f"{block}.attn.proj", width, width)
        layer(f"{block}.norm2", width)
    for name in [*blocks, "attn_pool"]:
        layer(f"{name}.mlp.fc1", 4 * width, width)
        layer(f"{name}.mlp.fc2", width, 4 * width)
    return shapes
