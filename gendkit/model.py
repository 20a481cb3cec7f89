"""GenD: an encoder and a small head (what tunes them is in `adapters`).

The detector is a transformers model, so `from_pretrained`, `Trainer` and PEFT work as usual. The
encoder is always built from the config stored with the model, never by a second `from_pretrained`,
so a saved detector loads with no network. Loading and scoring need torch, transformers, NumPy, Pillow
and safetensors only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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

from gendkit import backbones

HEADS = ("LinearNorm", "linear")
ID2LABEL = {0: "real", 1: "fake"}


class GenDConfig(PretrainedConfig):
    """Everything that rebuilds a detector without its weights.

    Args:
        backbone: Name the encoder was loaded by (`backbones.names()`, the hub's name or a folder).
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
        self.backbone = backbones.canonical(backbone)
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
        self.tuning: dict[str, Any] | None = None  # how it is tuned; adapters.tune sets it
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
        """Load a saved detector as transformers does, and check that it is whole.

        Args:
            *args: Of `PreTrainedModel.from_pretrained`: the folder.
            **kwargs: Of the same; weights are read from safetensors only.

        Returns:
            The detector in evaluation mode; with output_loading_info=True also what was loaded.

        Raises:
            ValueError: If tensors are missing or left over (transformers would draw or drop them).
            OSError: If the folder holds no config.json or no model.safetensors.
        """
        with_info = kwargs.pop("output_loading_info", False)
        kwargs["use_safetensors"] = True  # other formats can run code when they are read
        kwargs.setdefault("key_mapping", backbones.key_mapping())
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        if missing or extra:
            raise ValueError(
                f"The weights do not fit this detector: missing {missing[:4]}, unexpected "
                f"{extra[:4]}. Use the config.json that was saved beside these weights."
            )
        model.encoder.rebuild_buffers()
        return (model, info) if with_info else model

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
            return_dict: False for a plain tuple; None does as `config.return_dict` says.

        Returns:
            GenDOutput, or the tuple of its parts that are set.
        """
        features = self.encoder(pixel_values)
        logits = self.head(features)
        embeddings = functional.normalize(features, dim=-1)
        loss = None if labels is None else self._loss(logits, features, labels)
        output = GenDOutput(loss=loss, logits=logits, features=features, embeddings=embeddings)
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def _loss(self, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor) -> Any:
        from gendkit.losses import GenDLoss  # scoring needs no metric-learning library

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

    def preprocess(self, images: Any, return_tensors: str | None = "pt") -> BatchFeature:
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


AutoConfig.register("gend", GenDConfig, exist_ok=True)
AutoModelForImageClassification.register(GenDConfig, GenDForImageClassification, exist_ok=True)
AutoImageProcessor.register(
    GenDConfig, slow_image_processor_class=GenDImageProcessor, exist_ok=True
)
