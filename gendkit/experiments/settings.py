"""The settings of the official code: its defaults, what its training entry sets, what they mean here.

Source: github.com/yermandy/GenD at e03532d.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gendkit.benchmarks import DEEPSPEAK_1, DEEPSPEAK_2, FF, GROUPS, cdfv3, lists

CLIP = "openai/clip-vit-large-patch14"
PE = "vit_pe_core_large_patch14_336"
DINO = "facebook/dinov3-vitl16-pretrain-lvd1689m"

# Parameters whose name holds one of these are trained.
LAYERNORMS = {
    CLIP: ["pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm"],
    PE: ["norm_pre", "norm1", "norm2", "norm"],
    DINO: ["norm1", "norm2", "norm"],
}
PE_ARGS = {"img_size": 224, "merge_cls_token_with_patches": None}

AUGMENTATIONS = {
    "random_horizontal_flip": 0.5,
    "random_affine_degrees": 10,
    "random_affine_translate": [0.1, 0.1],
    "random_affine_scale": [0.9, 1.1],
    "gaussian_blur_prob": 0.1,
    "gaussian_blur_kernel_size": 7,
    "gaussian_blur_sigma": [0.1, 2.0],
    "color_jitter_brightness": 0.1,
    "color_jitter_contrast": 0.1,
    "jpeg_quality": [40, 100],
    "resize": None,
    "resize_interpolation": 2,
    "gaussian_noise_sigma": 0.0,
}
NO_AUGMENTATIONS = {
    "random_horizontal_flip": 0.0,
    "random_affine_degrees": 0,
    "random_affine_translate": None,
    "random_affine_scale": None,
    "gaussian_blur_prob": 0.0,
    "gaussian_blur_kernel_size": 0,
    "gaussian_blur_sigma": 0.0,
    "color_jitter_brightness": 0.0,
    "color_jitter_contrast": 0.0,
    "jpeg_quality": 100,
    "resize": None,
    "resize_interpolation": 2,
    "gaussian_noise_sigma": 0.0,
}

# A setting at its default is not written down; the ones that are always written are not here.
DEFAULTS = MappingProxyType(
    {
        "seed": 42,
        "checkpoint": None,
        "backbone_args": None,
        "unfreeze_layers": [],
        "head": "linear",
        "custom_preprocessing": None,
        "test_augmentations": None,
        "lr": 3e-4,
        "lr_scheduler": "cosine",
        "num_epochs_in_cycle": 1.0,
        "weight_decay": 0.0,
        "max_epochs": 1,
        "early_stopping_patience": -1,
    }
)

VAL_DEEPSPEAK = lists("DeepSpeak-2.0/my-val", *DEEPSPEAK_2, before="val-") + lists(
    "DeepSpeak-1.1/my-val", *DEEPSPEAK_1, before="val-"
)
VAL_FFIW = lists("FFIW", "fake", "real", before="val-")
VAL_CDFV2 = lists("CDFv2/val", "Celeb-synthesis", "YouTube-real", "Celeb-real")
VAL_ENTRY = VAL_DEEPSPEAK + VAL_CDFV2 + VAL_FFIW
VAL_PAPER = VAL_DEEPSPEAK + cdfv3("my-val") + VAL_FFIW
VAL_NO_CELEB = lists("FF/val", *FF) + VAL_DEEPSPEAK + VAL_FFIW

# What the entry point of training sets before an experiment changes it.
ENTRY = MappingProxyType(
    {
        "run_dir": "runs/rebuttal",
        "backbone": CLIP,
        "trn_files": list(lists("FF/train", *FF)),
        "val_files": list(VAL_ENTRY),
        "augmentations": AUGMENTATIONS,
        "min_lr": 1e-5,
        "warmup_epochs": 1.0,
        "max_epochs": 51,
        "batch_size": 128,
        "mini_batch_size": 128,
        "n_test_groups": len(GROUPS),
    }
)
# What the runs of the paper set besides.
WACV = MappingProxyType(
    {
        "val_files": list(VAL_PAPER),
        "lr_scheduler": "cyclic",
        "num_epochs_in_cycle": 10.0,
        "max_epochs": 30,
        "early_stopping_patience": 30,
    }
)


def loss(ce: float = 0.0, uniformity: float = 0.0, alignment: float = 0.0) -> dict[str, float]:
    """Write loss weights as the official code does.

    Args:
        ce: Of the cross-entropy; 0 in runs that only test.
        uniformity: Of the uniformity term.
        alignment: Of the alignment term.
    """
    return {
        "ce_labels": ce,
        "label_smoothing": 0.0,
        "uniformity": uniformity,
        "alignment_labels": alignment,
    }


def resolve(*parts: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Put settings over those of the training entry and drop what is at its default.

    Args:
        *parts: Settings, later ones win.
        **changes: Settings that win over all.

    Returns:
        A new dictionary of plain lists, numbers and dictionaries.
    """
    settings: dict[str, Any] = {**ENTRY, "loss": loss()}
    for part in (*parts, changes):
        settings |= part
    return {
        name: _copied(value)
        for name, value in settings.items()
        if name not in DEFAULTS or value != DEFAULTS[name]
    }


def _copied(value: Any) -> Any:
    """Copy lists and dictionaries, so that nobody's change reaches the constants above."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value


def losses_of(settings: Mapping[str, Any]) -> dict[str, float]:
    """Translate the loss weights of official settings into the kit's names."""
    weights = settings["loss"]
    return {
        "cross_entropy": weights["ce_labels"],
        "label_smoothing": weights["label_smoothing"],
        "alignment": weights["alignment_labels"],
        "uniformity": weights["uniformity"],
    }


def training_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate official settings into fields of `TrainConfig`.

    Args:
        settings: Resolved official settings.

    Returns:
        Keyword arguments of `TrainConfig`. The official cosine without restarts spans all epochs,
        the one of the warm-up included, so `cycle_epochs` is then the number of epochs.
    """
    every = {**DEFAULTS, **settings}
    cyclic = every["lr_scheduler"] == "cyclic"
    losses = losses_of(settings)
    return {
        "epochs": every["max_epochs"],
        "batch_size": every["mini_batch_size"],
        "accumulate": every["batch_size"] // every["mini_batch_size"],
        "learning_rate": every["lr"],
        "min_learning_rate": every["min_lr"],
        "warmup_epochs": every["warmup_epochs"],
        "cycle_epochs": float(every["num_epochs_in_cycle"] if cyclic else every["max_epochs"]),
        "weight_decay": every["weight_decay"],
        "alignment": losses["alignment"],
        "uniformity": losses["uniformity"],
        "label_smoothing": losses["label_smoothing"],
        "paired": False,
        "augment": every["augmentations"] is not None,
        "select_metric": "map",
        "precision": "bf16",
        "seed": every["seed"],
        "patience": max(every["early_stopping_patience"], 0),
    }


PAPER: Mapping[str, Any] = MappingProxyType(training_of(resolve(WACV, loss=loss(1.0))))
