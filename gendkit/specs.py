"""Facts about the known encoders: hub names, architectures, normalisation, LayerNorm names."""

from dataclasses import dataclass

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LAYERNORM_TARGETS = {
    "clip": r"(.*\.)?(pre_layrnorm|layer_norm1|layer_norm2|post_layernorm)",
    "dinov3": r"(.*\.)?(norm1|norm2|norm)",
    # not every "norm": timm puts an identity of that name into attention and MLP
    "pe": r"(.*\.)?(norm_pre|norm1|norm2|(vision|attn_pool)\.norm)",
}


@dataclass(frozen=True)
class BackboneSpec:
    """Facts about one encoder that the rest of the kit needs.

    Args:
        name: Short name, as given to `load`.
        hub_id: Repository on the Hugging Face hub, for PE without its tag ".fb"; empty for local
            encoders.
        family: "clip", "dinov3" or "pe": which class runs it and how its LayerNorms are named.
        image_size: Side of the square input, pixels.
        mean: Channel means of the normalisation, RGB, for values in [0, 1].
        std: Channel standard deviations of the normalisation.
        feature_dim: Length D of a feature vector: the width of the network, before any projection.
        layernorm_targets: Regular expression that matches the full name of every LayerNorm and of
            nothing else.
        resize: "shortest" (shortest edge, then a centre crop: CLIP, PE) or "exact" (both edges:
            DINOv3).
        resample: "bicubic" or "bilinear".

    Source: normalisation and sizes are those of the official preprocessor files of each model.
    """

    name: str
    hub_id: str
    family: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature_dim: int
    layernorm_targets: str
    resize: str = "shortest"
    resample: str = "bicubic"


def _clip(name: str, hub_id: str, size: int, patch: int, large: bool) -> tuple[BackboneSpec, dict]:
    width = 1024 if large else 768
    model = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 24 if large else 12,
        "num_attention_heads": width // 64,
        "projection_dim": 768 if large else 512,
        "image_size": size,
        "patch_size": patch,
    }
    targets = LAYERNORM_TARGETS["clip"]
    return BackboneSpec(name, hub_id, "clip", size, CLIP_MEAN, CLIP_STD, width, targets), model


def _dinov3(name: str, hub_id: str, large: bool) -> tuple[BackboneSpec, dict]:
    width = 1024 if large else 768
    model = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 24 if large else 12,
        "num_attention_heads": width // 64,
        "num_register_tokens": 4,
        "image_size": 224,
        "patch_size": 16,
    }
    targets = LAYERNORM_TARGETS["dinov3"]
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    spec = BackboneSpec(name, hub_id, "dinov3", 224, mean, std, width, targets, "exact", "bilinear")
    return spec, model


def _pe(name: str, timm_name: str, width: int) -> tuple[BackboneSpec, dict]:
    half = (0.5, 0.5, 0.5)
    hub_id, targets = f"timm/{timm_name}", LAYERNORM_TARGETS["pe"]
    # the networks were made for 224, 336 and 448 pixels; GenD runs all of them at 224
    spec = BackboneSpec(name, hub_id, "pe", 224, half, half, width, targets)
    return spec, {"model_name": timm_name}


# name -> (facts, architecture): the architecture rebuilds the encoder without the hub.
_ENTRIES = (
    _clip("clip-b16", "openai/clip-vit-base-patch16", 224, 16, False),
    _clip("clip-b32", "openai/clip-vit-base-patch32", 224, 32, False),
    _clip("clip-l14", "openai/clip-vit-large-patch14", 224, 14, True),
    _clip("clip-l14-336", "openai/clip-vit-large-patch14-336", 336, 14, True),
    _dinov3("dinov3-b", "facebook/dinov3-vitb16-pretrain-lvd1689m", False),
    _dinov3("dinov3-l", "facebook/dinov3-vitl16-pretrain-lvd1689m", True),
    _pe("pe-b", "vit_pe_core_base_patch16_224", 768),
    _pe("pe-l", "vit_pe_core_large_patch14_336", 1024),
    _pe("pe-g", "vit_pe_core_gigantic_patch14_448", 1536),
)
REGISTRY: dict[str, tuple[BackboneSpec, dict]] = {entry[0].name: entry for entry in _ENTRIES}
# The names that the official code and the hub use, to ours.
ALIASES = {spec.hub_id: spec.name for spec, _ in _ENTRIES} | {
    model["model_name"]: spec.name for spec, model in _ENTRIES if spec.family == "pe"
}
