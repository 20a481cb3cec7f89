"""Vision encoders behind one interface: what they are, how to load them, what they must see.

An `Encoder` turns normalised images into one feature vector each. It knows its `BackboneSpec` and
carries a plain dictionary (`config`) from which it can be rebuilt with no network and no second
download, so a saved detector never has to ask the hub for the encoder it was made from.
"""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, DINOv3ViTConfig, DINOv3ViTModel

from gendkit import layouts, repro
from gendkit.pixels import preprocess
from gendkit.specs import (
    ALIASES,
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAYERNORM_TARGETS,
    REGISTRY,
    BackboneSpec,
)

__all__ = [
    "REGISTRY",
    "BackboneSpec",
    "Encoder",
    "canonical",
    "config_of",
    "from_config",
    "key_mapping",
    "layernorm_modules",
    "load",
    "load_vision_state",
    "names",
    "preprocess",
    "stable_name",
]

_RESAMPLE_NAMES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers in preprocessor files

_CLASSES = {
    "clip": (CLIPVisionConfig, CLIPVisionModel),
    "dinov3": (DINOv3ViTConfig, DINOv3ViTModel),
}


def names() -> list[str]:
    """List every name that `load` knows, the embedded encoder first."""
    return ["embedded", *REGISTRY]


def canonical(name: str | Path) -> str:
    """Give the short name of an encoder that comes by the official code's or the hub's name.

    Args:
        name: Such as "openai/clip-vit-large-patch14" or "vit_pe_core_large_patch14_336".

    Returns:
        Such as "clip-l14"; a name that is in no list comes back as it is.
    """
    return ALIASES.get(str(name), str(name))


class Encoder(nn.Module):
    """A vision model that gives one feature vector an image.

    Args:
        vision: The network (`CLIPVisionModel`, `DINOv3ViTModel` or a timm model).
        spec: Facts about it.
        model_config: Architecture from which `from_config` can rebuild `vision`.
    """

    def __init__(self, vision: nn.Module, spec: BackboneSpec, model_config: dict[str, Any]) -> None:
        """Hold the network and the facts."""
        super().__init__()
        self.vision = vision
        self.spec = spec
        self._model_config = dict(model_config)

    @property
    def config(self) -> dict[str, Any]:
        """Plain dictionary that rebuilds this encoder: `from_config(encoder.config)`."""
        return json.loads(json.dumps({"spec": asdict(self.spec), "model": self._model_config}))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Encode a batch.

        Args:
            pixel_values: (B, 3, S, S) float, normalised by `preprocess(self.spec)`.

        Returns:
            features (B, D) float: CLIP's class token after the last LayerNorm, DINOv3's class
            token, PE's attention-pooled vector. Not normalised.

        Source: official GenD code, commit e03532d: the feature that the official code reads from each backbone.
        """
        if self.spec.family == "pe":
            return self.vision(pixel_values)
        return self.vision(pixel_values=pixel_values).pooler_output

    def tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Give the patch tokens of the last layer, in row-major order.

        Args:
            pixel_values: (B, 3, S, S) float, normalised.

        Returns:
            (B, N, D) float, N patches; class and register tokens are left out.
        """
        if self.spec.family == "pe":
            hidden = self.vision.forward_features(pixel_values)
            n_prefix = self.vision.num_prefix_tokens
        else:
            hidden = self.vision(pixel_values=pixel_values).last_hidden_state
            n_prefix = 1 + int(self._model_config.get("num_register_tokens", 0))
        return hidden[:, n_prefix:]

    def rebuild_buffers(self) -> None:
        """Set again the buffers that no checkpoint holds (position ids, rotary frequencies).

        Some versions of transformers leave them uninitialised after a load through the meta device,
        and the scores are then wrong but plausible.
        """
        depth = "depth" if self.spec.family == "pe" else "num_hidden_layers"
        small = _build_vision(self.spec, {**self._model_config, depth: 1})
        fresh = dict(small.named_buffers())
        device = next(self.vision.parameters()).device
        for name, _ in list(self.vision.named_buffers()):
            owner, _, leaf = name.rpartition(".")
            setattr(self.vision.get_submodule(owner), leaf, fresh[name].to(device))


def _build_vision(spec: BackboneSpec, model_config: dict[str, Any]) -> nn.Module:
    if spec.family == "pe":
        return _build_timm(model_config)
    if spec.family not in _CLASSES:
        known = ", ".join([*_CLASSES, "pe"])
        raise ValueError(f"Unknown encoder family {spec.family!r}; expected one of {known}.")
    config_class, model_class = _CLASSES[spec.family]
    return _tower(model_class(config_class(**model_config)))


def _tower(vision: nn.Module) -> nn.Module:
    """Take CLIP out of the shell it has before transformers 5, so that names are the same."""
    return getattr(vision, "vision_model", vision)


def _build_timm(model_config: dict[str, Any], weights: str | Path | None = None) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"Perception Encoder backbones run through timm, which could not be imported ({error}). "
            'Install it with: pip install "gendkit[pe]"'
        ) from error
    except RuntimeError as error:
        raise ImportError(
            f"timm needs torchvision, which does not fit the installed torch {torch.__version__} "
            f"({error}). Install the torchvision of that torch, from the same package index."
        ) from error
    options = {name: value for name, value in model_config.items() if name != "model_name"}
    if weights is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    # dynamic_img_size: position embeddings are resampled to whatever square comes in
    model = timm.create_model(model_config["model_name"], dynamic_img_size=True, **options)
    model.head = nn.Identity()
    return model


def from_config(config: dict[str, Any]) -> Encoder:
    """Build an encoder with random weights from `Encoder.config`.

    Args:
        config: {"spec": fields of `BackboneSpec`, "model": architecture}.

    Raises:
        ValueError: If one of the two parts is missing or the family is unknown.
    """
    if not isinstance(config, dict) or not {"spec", "model"} <= set(config):
        raise ValueError(
            f"An encoder config needs the keys 'spec' and 'model', got {config!r:.80}. "
            "Take it from Encoder.config or backbones.config_of(name)."
        )
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config["spec"].items()}
    spec = BackboneSpec(**fields)
    return Encoder(_build_vision(spec, config["model"]), spec, config["model"])


def config_of(name: str | Path) -> dict[str, Any]:
    """Give the config of a known encoder or a local folder without loading any weight.

    Args:
        name: A name of `names()` (or what `canonical` makes one of) or a folder that holds
            `config.json`.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the folder holds no `config.json`.
    """
    name = canonical(name)
    if name in REGISTRY:
        spec, model = REGISTRY[name]
        return {"spec": asdict(spec), "model": dict(model)}
    spec, model = _read_folder(_folder_of(name), str(name))
    return {"spec": asdict(spec), "model": model}


def load(
    name: str | Path = "embedded",
    *,
    pretrained: bool = True,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Encoder:
    """Load an encoder by name, or from a folder in the layout of transformers or timm.

    Args:
        name: A name of `names()` (or what `canonical` makes one of), or a local folder
            (`config.json`, `model.safetensors`, optionally `preprocessor_config.json`).
        pretrained: False builds the same architecture with random weights (needs no download).
        cache_dir: Where hub files are cached; None for the library's default.
        local_files_only: Never ask the network, only the cache.

    Returns:
        Encoder in evaluation mode, float32, on the CPU.

    Raises:
        ValueError: If the name is unknown or the weights do not fit the architecture.
        FileNotFoundError: If weights are neither cached nor to be had from the network.
        ImportError: If timm is needed and missing.
    """
    name = canonical(name)
    if not pretrained:
        return from_config(config_of(name)).eval()
    if name in REGISTRY:
        spec, model_config = REGISTRY[name]
        vision = _from_hub(spec, model_config, cache_dir, local_files_only)
        return Encoder(vision.float(), spec, model_config).eval()
    folder = _folder_of(name)
    spec, model_config = _read_folder(folder, str(name))
    encoder = Encoder(_build_vision(spec, model_config), spec, model_config)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"No model.safetensors in {folder}. Put the encoder's weights there, or pass "
            "pretrained=False."
        )
    load_vision_state(encoder.vision, load_file(weights), what=str(weights))
    return encoder.float().eval()


def _from_hub(
    spec: BackboneSpec, model_config: dict, cache_dir: Any, local_only: bool
) -> nn.Module:
    hub_id = f"{spec.hub_id}.fb" if spec.family == "pe" else spec.hub_id
    where = {"cache_dir": cache_dir, "local_files_only": local_only}
    try:
        if spec.family == "pe":
            from huggingface_hub import hf_hub_download

            return _build_timm(model_config, hf_hub_download(hub_id, "model.safetensors", **where))
        model_class = _CLASSES[spec.family][1]
        return _tower(model_class.from_pretrained(hub_id, dtype=torch.float32, **where))
    except OSError as error:
        raise FileNotFoundError(
            f"The weights of {spec.name!r} ({hub_id}) are not in the local cache and could "
            f"not be downloaded. Fix: run `hf download {hub_id}` once with a network (a gated "
            f"model must first be accepted at https://huggingface.co/{hub_id}), pass the "
            "folder of a local copy, or use the encoder that ships with the kit: "
            "backbones.load('embedded')."
        ) from error


def _folder_of(name: str | Path) -> Path:
    if str(name) == "embedded":
        folder = repro.data_dir() / "weights" / "encoder"
        if not folder.is_dir():
            raise FileNotFoundError(
                f"No embedded encoder at {folder}; restore data/weights of the checkout, or set "
                "GENDKIT_DATA to the data folder that holds it."
            )
        return folder
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(
            f"Unknown backbone {str(name)!r}. Known names: {', '.join(names())}; "
            "or give an existing folder with config.json and model.safetensors."
        )
    return folder


def _read_folder(folder: Path, name: str) -> tuple[BackboneSpec, dict[str, Any]]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"No config.json in {folder}: not an encoder in the transformers layout."
        )
    stored = json.loads(path.read_text(encoding="utf-8"))
    if str(stored.get("architecture", "")).startswith("vit_pe_core"):
        return _read_timm(stored, name)
    stored = stored.get("vision_config", stored)  # a whole CLIP: keep the vision half
    kinds = {"clip_vision_model": "clip", "clip": "clip", "dinov3_vit": "dinov3"}
    family = kinds.get(stored.get("model_type", ""))
    if family is None:
        raise ValueError(
            f"{path} has model_type {stored.get('model_type')!r}; expected one of "
            f"{', '.join(kinds)}, or a timm architecture vit_pe_core_...."
        )
    config_class = _CLASSES[family][0]
    defaults = config_class().to_dict()
    skip = {
        "model_type",
        "transformers_version",
        "architectures",
        "dtype",
        "torch_dtype",
        "stage_names",
    }
    keep = {
        k: v for k, v in stored.items() if k in defaults and k not in skip and not k.startswith("_")
    }
    model_config = {k: v for k, v in keep.items() if k not in ("out_features", "out_indices")}
    clip = family == "clip"
    spec = BackboneSpec(
        name=name,
        hub_id="",
        family=family,
        image_size=int(model_config.get("image_size", defaults["image_size"])),
        mean=CLIP_MEAN if clip else IMAGENET_MEAN,
        std=CLIP_STD if clip else IMAGENET_STD,
        feature_dim=int(model_config.get("hidden_size", defaults["hidden_size"])),
        layernorm_targets=LAYERNORM_TARGETS[family],
        resize="shortest" if clip else "exact",
        resample="bicubic" if clip else "bilinear",
    )
    return _with_preprocessor(spec, folder / "preprocessor_config.json"), model_config


def _read_timm(stored: dict[str, Any], name: str) -> tuple[BackboneSpec, dict[str, Any]]:
    facts = stored.get("pretrained_cfg", {})
    if "num_features" not in stored:
        raise ValueError(
            f"config.json of {name} has no num_features; take the one that timm saved beside the "
            "weights."
        )
    spec = replace(
        REGISTRY["pe-l"][0],
        name=name,
        hub_id="",
        mean=tuple(facts.get("mean", (0.5, 0.5, 0.5))),
        std=tuple(facts.get("std", (0.5, 0.5, 0.5))),
        feature_dim=int(stored["num_features"]),
    )
    return spec, {"model_name": stored["architecture"]}


def _with_preprocessor(spec: BackboneSpec, path: Path) -> BackboneSpec:
    if not path.is_file():
        return spec
    stored = json.loads(path.read_text(encoding="utf-8"))
    size = stored.get("size", {})
    return replace(
        spec,
        mean=tuple(stored.get("image_mean", spec.mean)),
        std=tuple(stored.get("image_std", spec.std)),
        resize="shortest" if "shortest_edge" in size else "exact",
        resample=_RESAMPLE_NAMES.get(stored.get("resample"), spec.resample),
    )


def load_vision_state(
    vision: nn.Module, state: dict[str, torch.Tensor], what: str = "weights"
) -> None:
    """Copy a state dict into a vision network, whatever version of transformers wrote its names.

    Args:
        vision: Network built by `from_config`.
        state: Tensors by name, from transformers 4 or 5 or timm; a text half and a projection to
            its space are ignored.
        what: Where they come from, for the message.

    Raises:
        ValueError: If tensors are missing, left over or of another shape; names them.

    Source: key layouts of transformers 4.56 and 5.23.
    """
    own = vision.state_dict()
    by_core = {layouts.core_key(key): key for key in own}
    mapped, extra = {}, []
    for key, tensor in state.items():
        target = by_core.get(layouts.core_key(key))
        if target is not None:
            mapped[target] = tensor
        elif not _foreign(key):
            extra.append(key)
    missing = sorted(set(own) - set(mapped))
    wrong = [k for k, v in mapped.items() if v.shape != own[k].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"{what} does not fit this encoder: missing {missing[:4]}, unexpected "
            f"{sorted(extra)[:4]}, wrong shape {sorted(wrong)[:4]}. Use the config.json that was "
            "saved beside these weights."
        )
    vision.load_state_dict({k: v.to(own[k].dtype) for k, v in mapped.items()}, strict=True)


def stable_name(name: str) -> str:
    """Give a tensor of an encoder the name that it has in every version of transformers.

    Args:
        name: With or without the detector's and PEFT's prefixes: "...vision.model.layer.0...".

    Returns:
        Such as "...vision.layer.0..."; names without "vision." come back as they are.
    """
    return re.sub(r"(^|\.)vision\.((vision_model|model)\.)+", r"\1vision.", name)


def key_mapping() -> dict[str, str] | None:
    """Map a saved detector's names to those of transformers 4; version 5 maps them itself.

    Returns:
        Patterns and what to put in their place, for `from_pretrained`; None for version 5.

    Source: key layouts of transformers 4.56 and 5.23.
    """
    if int(transformers.__version__.partition(".")[0]) >= 5:
        return None  # it would also apply them, turned round, to what is saved later
    return {r"^encoder\.vision\.(vision_model|model)\.": "encoder.vision."}


def _foreign(key: str) -> bool:
    parts = ("text_model.", "text_projection", "visual_projection", "logit_scale", "head.")
    return key.startswith(parts) or key.endswith("position_ids")


def layernorm_modules(module: nn.Module) -> dict[str, nn.LayerNorm]:
    """Find every LayerNorm of a module by walking it, without the copies that PEFT adds.

    Args:
        module: Any module, wrapped by PEFT or not.

    Returns:
        Name -> LayerNorm, in definition order.
    """
    return {
        name: child
        for name, child in module.named_modules()
        if isinstance(child, nn.LayerNorm) and ".ln_tuning_layers." not in name
    }
