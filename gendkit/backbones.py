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
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, DINOv3ViTConfig, DINOv3ViTModel

from gendkit import repro
from gendkit.pixels import preprocess
from gendkit.specs import (
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
    "config_of",
    "from_config",
    "layernorm_modules",
    "load",
    "load_vision_state",
    "names",
    "preprocess",
]

_RESAMPLE_NAMES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers in preprocessor files

_CLASSES = {
    "clip": (CLIPVisionConfig, CLIPVisionModel),
    "dinov3": (DINOv3ViTConfig, DINOv3ViTModel),
}


def names() -> list[str]:
    """List every name that `load` knows, the embedded encoder first."""
    return ["embedded", *REGISTRY]


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
        if self.spec.family == "pe":
            return
        small = _build_vision(self.spec, {**self._model_config, "num_hidden_layers": 1})
        fresh = dict(small.named_buffers())
        device = next(self.vision.parameters()).device
        for name, _ in list(self.vision.named_buffers()):
            owner, _, leaf = name.rpartition(".")
            setattr(self.vision.get_submodule(owner), leaf, fresh[name].to(device))


def _build_vision(spec: BackboneSpec, model_config: dict[str, Any]) -> nn.Module:
    if spec.family == "pe":
        return _build_timm(model_config, pretrained=False)
    if spec.family not in _CLASSES:
        known = ", ".join([*_CLASSES, "pe"])
        raise ValueError(f"Unknown encoder family {spec.family!r}; expected one of {known}.")
    config_class, model_class = _CLASSES[spec.family]
    return model_class(config_class(**model_config))


def _build_timm(model_config: dict[str, Any], pretrained: bool) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            "Perception Encoder backbones run through timm, which could not be imported "
            f'({error}). Install it with: pip install "gendkit[pe]"'
        ) from error
    model = timm.create_model(
        model_config["model_name"], pretrained=pretrained, dynamic_img_size=True
    )
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
        name: A name of `names()` or a folder that holds `config.json`.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the folder holds no `config.json`.
    """
    if str(name) in REGISTRY:
        spec, model = REGISTRY[str(name)]
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
    """Load an encoder by name, or from a folder in the transformers layout.

    Args:
        name: A name of `names()`, or a local folder (`config.json`, `model.safetensors`, optionally
            `preprocessor_config.json`).
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
    if not pretrained:
        return from_config(config_of(name)).eval()
    if str(name) in REGISTRY:
        spec, model_config = REGISTRY[str(name)]
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
    try:
        if spec.family == "pe":
            return _build_timm(model_config, pretrained=True)
        model_class = _CLASSES[spec.family][1]
        return model_class.from_pretrained(
            spec.hub_id, cache_dir=cache_dir, local_files_only=local_only, dtype=torch.float32
        )
    except OSError as error:
        raise FileNotFoundError(
            f"The weights of {spec.name!r} ({spec.hub_id}) are not in the local cache and could "
            f"not be downloaded. Fix: run `hf download {spec.hub_id}` once with a network (a gated "
            f"model must first be accepted at https://huggingface.co/{spec.hub_id}), pass the "
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
    stored = stored.get("vision_config", stored)  # a whole CLIP: keep the vision half
    kinds = {"clip_vision_model": "clip", "clip": "clip", "dinov3_vit": "dinov3"}
    family = kinds.get(stored.get("model_type", ""))
    if family is None:
        raise ValueError(
            f"{path} has model_type {stored.get('model_type')!r}; expected one of "
            f"{', '.join(kinds)}."
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
        state: Tensors by name, from transformers 4 or 5, with or without a text half (ignored).
        what: Where they come from, for the message.

    Raises:
        ValueError: If tensors are missing, left over or of another shape; names them.

    Source: key layouts of transformers 4.56 and 5.23.
    """
    own = vision.state_dict()
    by_core = {_core_key(key): key for key in own}
    mapped, extra = {}, []
    for key, tensor in state.items():
        target = by_core.get(_core_key(key))
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


def _core_key(key: str) -> str:
    key = re.sub(r"^(vision_model|model|vision_model\.model)\.", "", key)
    return re.sub(r"^model\.", "", key)


def _foreign(key: str) -> bool:
    parts = ("text_model.", "text_projection", "visual_projection", "logit_scale")
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
