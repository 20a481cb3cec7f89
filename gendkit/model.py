"""GenD: an encoder, a small head, and the LayerNorm adapter that tunes them.

The detector is a transformers model, so `from_pretrained`, `Trainer` and PEFT work as usual. The
encoder is always built from the config stored with the model, never by a second `from_pretrained`,
so a saved detector loads with no network.
"""

import copy
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LNTuningConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.utils import ModelOutput

from gendkit import backbones, repro
from gendkit.losses import GenDLoss

HEADS = ("LinearNorm", "linear")
ID2LABEL = {0: "real", 1: "fake"}
_ADAPTER_FILE = "gend_config.json"


class GenDConfig(PretrainedConfig):
    """Everything that rebuilds a detector without its weights.

    Args:
        backbone: Name the encoder was loaded by (`backbones.names()` or a folder).
        encoder: `Encoder.config`; None takes the registered architecture of `backbone`.
        head: "LinearNorm" (features are L2-normalised before the linear layer) or "linear".
        feature_scale: Factor on the normalised features. 1.0 is the paper's head; a small encoder
            trained for a minute learns faster with about 10: unit features make small logits.
        alignment: Weight of the alignment loss.
        uniformity: Weight of the uniformity loss.
        label_smoothing: Of the cross-entropy, in [0, 1).
        class_weight: Two cross-entropy weights (real, fake), or None.

    Raises:
        ValueError: If `head` is unknown or `feature_scale` is not positive.

    Source: official GenD code, commit e03532d: loss weights and head names of the released models.
    """

    model_type = "gend"

    def __init__(
        self,
        backbone: str = "embedded",
        encoder: dict[str, Any] | None = None,
        head: str = "LinearNorm",
        feature_scale: float = 1.0,
        alignment: float = 0.1,
        uniformity: float = 0.5,
        label_smoothing: float = 0.0,
        class_weight: list[float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Store the fields; transformers handles the rest of `kwargs`."""
        if head not in HEADS:
            raise ValueError(f"Unknown head {head!r}; expected one of {', '.join(HEADS)}.")
        if not feature_scale > 0:
            raise ValueError(f"feature_scale must be positive, got {feature_scale}; try 1.0.")
        self.backbone = str(backbone)
        self.encoder = json.loads(json.dumps(encoder))  # tuples become lists, as in a saved file
        self.head = head
        self.feature_scale = float(feature_scale)
        self.alignment = alignment
        self.uniformity = uniformity
        self.label_smoothing = label_smoothing
        self.class_weight = None if class_weight is None else list(class_weight)
        kwargs.setdefault("id2label", dict(ID2LABEL))
        kwargs.setdefault("label2id", {name: index for index, name in ID2LABEL.items()})
        super().__init__(**kwargs)


@dataclass
class GenDOutput(ModelOutput):
    """What a detector returns.

    Args:
        loss: Scalar, only when labels were given.
        logits: (B, 2), column 0 real, column 1 fake; softmax's column 1 is the score P(fake).
        features: (B, D) from the encoder, not normalised.
        embeddings: (B, D) L2-normalised features.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    features: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None


class GenDHead(nn.Module):
    """Linear classifier, on normalised features where `normalize` is set.

    Args:
        feature_dim: D.
        normalize: L2-normalise the features first (the "LinearNorm" head).
        scale: Factor on the normalised features.

    Source: official GenD code, commit e03532d: the classifier's weights are not normalised and keep a bias.
    """

    def __init__(self, feature_dim: int, normalize: bool, scale: float) -> None:
        """Create the layer."""
        super().__init__()
        self.normalize = normalize
        self.scale = scale
        self.linear = nn.Linear(feature_dim, 2)

    def transform(self, features: torch.Tensor) -> torch.Tensor:
        """Give what the linear layer sees: (B, D) features, normalised and scaled if so set."""
        return functional.normalize(features, dim=-1) * self.scale if self.normalize else features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, D) features to (B, 2) logits."""
        return self.linear(self.transform(features))


class GenDForImageClassification(PreTrainedModel):
    """Deepfake detector: `.encoder` gives features, `.head` gives the logits of real and fake.

    Args:
        config: GenDConfig.
        encoder: A loaded encoder that fits `config.encoder`; None builds one with random weights.
    """

    config_class = GenDConfig
    main_input_name = "pixel_values"

    def __init__(self, config: GenDConfig, encoder: backbones.Encoder | None = None) -> None:
        """Build encoder and head."""
        super().__init__(config)
        if config.encoder is None:
            config.encoder = backbones.config_of(config.backbone)
        built = backbones.from_config(config.encoder) if encoder is None else None
        if built is not None:
            self.encoder = built
        feature_dim = int(config.encoder["spec"]["feature_dim"])
        self.head = GenDHead(feature_dim, config.head == "LinearNorm", config.feature_scale)
        self.post_init()
        if encoder is not None:  # after post_init, which would draw its weights anew
            self.encoder = encoder

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, GenDHead):
            nn.init.normal_(module.linear.weight, std=0.02)
            nn.init.zeros_(module.linear.bias)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved detector as transformers does, then set again what no file holds."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.encoder.rebuild_buffers()
        return loaded

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> GenDOutput | tuple[torch.Tensor, ...]:
        """Score a batch.

        Args:
            pixel_values: (B, 3, S, S) float, normalised as the encoder expects.
            labels: (B,) int, 0 real and 1 fake; None for no loss.
            return_dict: False for a plain tuple.

        Returns:
            GenDOutput, or the tuple of its parts that are set.
        """
        features = self.encoder(pixel_values)
        logits = self.head(features)
        embeddings = functional.normalize(features, dim=-1)
        loss = None if labels is None else self._loss(logits, features, labels)
        output = GenDOutput(loss=loss, logits=logits, features=features, embeddings=embeddings)
        return output.to_tuple() if return_dict is False else output

    def _loss(self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor) -> Any:
        config = self.config
        objective = GenDLoss(
            alignment=config.alignment,
            uniformity=config.uniformity,
            label_smoothing=config.label_smoothing,
            class_weight=config.class_weight,
        ).to(logits.device)
        return objective(logits, features, labels)[0]


class GenDImageProcessor(BaseImageProcessor):
    """Turn aligned face crops into the detector's input, and remember how the crops must be made.

    Args:
        image_size: Side of the input, pixels.
        image_mean: Channel means for values in [0, 1].
        image_std: Channel standard deviations.
        resize: "shortest" or "exact", see `BackboneSpec`.
        resample: "bicubic" or "bilinear".
        crop_scale: Margin of the face crop that the detector was trained on (`faces.align_crop`).

    Source: official GenD code, commit e03532d (margin 1.3).
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        image_size: int = 224,
        image_mean: tuple[float, ...] = backbones.CLIP_MEAN,
        image_std: tuple[float, ...] = backbones.CLIP_STD,
        resize: str = "shortest",
        resample: str = "bicubic",
        crop_scale: float = 1.3,
        **kwargs: Any,
    ) -> None:
        """Store the fields."""
        super().__init__(**kwargs)
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.resize = resize
        self.resample = resample
        self.crop_scale = crop_scale

    @classmethod
    def from_spec(
        cls, spec: backbones.BackboneSpec, crop_scale: float = 1.3
    ) -> "GenDImageProcessor":
        """Make the processor of an encoder."""
        how = {"resize": spec.resize, "resample": spec.resample, "crop_scale": crop_scale}
        return cls(spec.image_size, spec.mean, spec.std, **how)

    def preprocess(self, images: Any, return_tensors: str | None = "pt", **_: Any) -> BatchFeature:
        """Normalise images.

        Args:
            images: One or a list of (H, W, 3) uint8 RGB arrays or PIL images.
            return_tensors: "pt" or "np".

        Returns:
            BatchFeature with `pixel_values` (B, 3, S, S) float32.

        Raises:
            ValueError: On an empty list or an array of another shape or type.
        """
        values = backbones.preprocess(self)(images)
        return BatchFeature({"pixel_values": values}, tensor_type=return_tensors)

    @property
    def mean(self) -> list[float]:
        """Channel means, under the name that `backbones.preprocess` reads."""
        return self.image_mean

    @property
    def std(self) -> list[float]:
        """Channel standard deviations, under the name that `backbones.preprocess` reads."""
        return self.image_std


def build(
    backbone: str | Path = "embedded",
    head: str = "LinearNorm",
    *,
    pretrained: bool = True,
    **config: Any,
) -> GenDForImageClassification:
    """Build a detector on a named encoder.

    Args:
        backbone: A name of `backbones.names()` or a local folder.
        head: "LinearNorm" or "linear".
        pretrained: False for random encoder weights (no download).
        **config: Further fields of `GenDConfig`.

    Returns:
        The detector in evaluation mode, all parameters trainable, the head random.

    Raises:
        ValueError: If a name is unknown.
        FileNotFoundError: If weights cannot be had.
    """
    encoder = backbones.load(backbone, pretrained=pretrained)
    settings = GenDConfig(backbone=str(backbone), encoder=encoder.config, head=head, **config)
    return GenDForImageClassification(settings, encoder).eval()


def tune_layernorm(model: GenDForImageClassification) -> PeftModel:
    """Freeze everything but the LayerNorms and the head, through PEFT.

    Args:
        model: A detector; it is wrapped in place.

    Returns:
        PeftModel in training mode; trainable are the LayerNorms of the encoder and the head.

    Raises:
        ValueError: If the model is wrapped already, or the targets miss a LayerNorm or match
            something else.

    Source: arXiv 2508.06248; official GenD code, commit e03532d.
    """
    if isinstance(model, PeftModel):
        raise ValueError("This model already has an adapter; pass the plain detector (see merge).")
    targets = model.config.encoder["spec"]["layernorm_targets"]
    matched = {name for name, _ in model.named_modules() if re.fullmatch(targets, name)}
    walked = set(backbones.layernorm_modules(model))
    if matched != walked:
        wrong = sorted(matched ^ walked)[:4]
        raise ValueError(
            f"The pattern {targets!r} and the LayerNorms of this encoder differ at {wrong}. "
            "Correct layernorm_targets of its BackboneSpec."
        )
    settings = LNTuningConfig(target_modules=targets, modules_to_save=["head"])
    with _known_peft_warnings():
        adapted = get_peft_model(model, settings)
    adapted.peft_config["default"].base_model_name_or_path = model.config.backbone
    return adapted.train()


def count_trainable(model: nn.Module) -> tuple[int, int]:
    """Count parameters by their `requires_grad` flag.

    Args:
        model: Detector, with or without an adapter.

    Returns:
        (trainable, total); total is the size of the detector, without PEFT's second copies.
    """
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for name, p in model.named_parameters() if not _is_copy(name))
    return trainable, total


def count_layernorm(model: nn.Module) -> int:
    """Count the parameters of every LayerNorm by walking the modules, whatever is trainable."""
    layers = backbones.layernorm_modules(model).values()
    return sum(p.numel() for layer in layers for p in layer.parameters())


@contextmanager
def _known_peft_warnings() -> Iterator[None]:
    # PEFT asks each LayerNorm for its in_features, and transformers for a name it has renamed.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type .*LayerNorm")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.* is deprecated")
        yield


def _is_copy(name: str) -> bool:
    return ".ln_tuning_layers." in name or ".modules_to_save." in name


def _detector(model: nn.Module) -> GenDForImageClassification:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def active_head(model: nn.Module) -> GenDHead:
    """Give the head in use: the adapter's copy where PEFT keeps one."""
    head = _detector(model).head
    if isinstance(head, ModulesToSaveWrapper):
        return head.modules_to_save[head.active_adapters[0]]
    return head


def init_head(model: nn.Module, features: Any, labels: Any, strength: float = 0.1) -> float:
    """Start the head from the linear probe: balanced logistic regression on frozen features.

    Args:
        model: Detector, with or without an adapter; its head is overwritten.
        features: (N, D) float, `GenDOutput.features`, not normalised.
        labels: (N,) int, 0 real and 1 fake, both present.
        strength: Inverse regularisation (scikit-learn's C) on standardised features.

    Returns:
        Balanced accuracy of the probe on these samples (not a test result).

    Raises:
        ValueError: If lengths differ, a class is missing or a feature is not finite.

    Source: own; a head that starts at random makes the first LayerNorm steps noise.
    """
    head = active_head(model)
    x = head.transform(torch.as_tensor(features, dtype=torch.float32)).double().numpy()
    y = np.asarray(labels)
    if len(x) != len(y) or set(np.unique(y)) != {0, 1} or not np.isfinite(x).all():
        raise ValueError(
            f"init_head needs as many finite features as labels and both classes 0 and 1; got "
            f"{len(x)} features (finite: {np.isfinite(x).all()}), {len(y)} labels with values "
            f"{np.unique(y)[:5]}."
        )
    mean, std = x.mean(0), x.std(0) + 1e-6 * (np.abs(x).max() + 1e-12)
    probe = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    probe.fit((x - mean) / std, y)
    weight = probe.coef_[0] / std
    bias = float(probe.intercept_[0] - weight @ mean)
    with torch.no_grad():  # softmax of (-z/2, z/2) is the probe's sigmoid(z)
        half = torch.as_tensor(weight / 2, dtype=head.linear.weight.dtype)
        head.linear.weight.copy_(torch.stack([-half, half]))
        head.linear.bias.copy_(torch.tensor([-bias / 2, bias / 2]))
    hits = probe.predict((x - mean) / std) == y
    return float((hits[y == 0].mean() + hits[y == 1].mean()) / 2)


def encoder_fingerprint(model: nn.Module) -> str:
    """Hash the frozen encoder (names, shapes, values); an adapter on it changes nothing."""
    digest = hashlib.sha256()
    state = _detector(model).encoder.state_dict()
    for name, tensor in sorted((k.replace(".base_layer", ""), v) for k, v in state.items()):
        if not _is_copy(f".{name}"):
            array = tensor.detach().cpu().float().contiguous().numpy()
            digest.update(f"{name}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def save_adapter(model: PeftModel, folder: str | Path) -> Path:
    """Save only what was tuned: LayerNorms and head (0.4 MB for CLIP L/14).

    Args:
        model: Result of `tune_layernorm`.
        folder: Where to write; an existing folder is replaced as a whole.

    Returns:
        The folder.

    Raises:
        ValueError: If the model has no adapter.
    """
    if not isinstance(model, PeftModel):
        raise ValueError("This model has no adapter; pass what tune_layernorm returned.")
    facts = {
        "config": json.loads(_detector(model).config.to_json_string(use_diff=False)),
        "encoder_sha256": encoder_fingerprint(model),
    }
    with repro.atomic_path(folder) as temporary:
        model.save_pretrained(str(temporary), save_embedding_layers=False)
        (temporary / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a card
        repro.write_json(temporary / _ADAPTER_FILE, facts)
    return Path(folder)


def load_adapter(
    folder: str | Path,
    base: GenDForImageClassification | None = None,
    trainable: bool = False,
) -> PeftModel:
    """Load an adapter onto the encoder it was tuned on.

    Args:
        folder: What `save_adapter` wrote.
        base: Detector to put it on (wrapped in place); None loads the stored backbone by its name.
        trainable: True to go on training.

    Returns:
        PeftModel in evaluation mode.

    Raises:
        FileNotFoundError: If the folder holds no adapter.
        ValueError: If the base encoder is not the one the adapter was tuned on.
    """
    folder = Path(folder)
    if not (folder / _ADAPTER_FILE).is_file():
        raise FileNotFoundError(
            f"No {_ADAPTER_FILE} in {folder}: not an adapter of this kit. Write one with "
            "save_adapter."
        )
    facts = repro.read_json(folder / _ADAPTER_FILE)
    config = GenDConfig.from_dict(facts["config"])
    if base is None:
        base = GenDForImageClassification(config, backbones.load(config.backbone))
    if encoder_fingerprint(base) != facts["encoder_sha256"]:
        raise ValueError(
            f"The adapter in {folder} was tuned on other weights of {config.backbone!r} than those "
            "loaded now. Give a detector on the original encoder as base=, or tune a new adapter."
        )
    with _known_peft_warnings():
        return PeftModel.from_pretrained(base, str(folder), is_trainable=trainable).eval()


def merge(model: PeftModel) -> GenDForImageClassification:
    """Put an adapter's LayerNorms and head into a plain detector.

    Args:
        model: Result of `tune_layernorm` or `load_adapter`; stays as it is.

    Returns:
        A new detector in evaluation mode with the same scores and the key names of an untuned one.

    Raises:
        ValueError: If the model has no adapter.

    Source: own; PEFT's `merge_and_unload` leaves the head inside its wrapper, whose names no one
    else reads.
    """
    if not isinstance(model, PeftModel):
        raise ValueError("merge needs a model with an adapter (tune_layernorm or load_adapter).")
    head = copy.deepcopy(active_head(model))
    merged = copy.deepcopy(model).merge_and_unload()
    merged.head = head
    return merged.requires_grad_(True).eval()


AutoConfig.register("gend", GenDConfig, exist_ok=True)
AutoModelForImageClassification.register(GenDConfig, GenDForImageClassification, exist_ok=True)
AutoImageProcessor.register(
    GenDConfig, slow_image_processor_class=GenDImageProcessor, exist_ok=True
)
