"""Parameter-efficient tuning of a detector: what is trained, counted, saved, loaded and merged.

`tune(model, how)` chooses the trainable part. LayerNorm tuning and LoRA run through PEFT and wrap the
detector; BitFit, the linear probe and full tuning only set `requires_grad`. `save_adapter` writes what
was tuned and a hash of all the rest, and `load_adapter` refuses an encoder with another hash.
"""

import copy
import hashlib
import json
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gendkit import backbones, repro
from gendkit.model import GenDConfig, GenDForImageClassification, GenDHead

KINDS = ("layernorm", "lora", "bitfit", "probe", "full")
# Options of tune(model, "lora"): the names and defaults of the official code, src/config.py.
LORA_DEFAULTS = {
    "target_modules": "out",
    "rank": 1,
    "alpha": 32,
    "dropout": 0.05,
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
}
_LORA_TARGETS = {
    "out": {"clip": ["out_proj"], "dinov3": ["o_proj"], "pe": ["attn.proj"]},
    "attention": {
        "clip": ["q_proj", "k_proj", "v_proj", "out_proj"],
        "dinov3": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "pe": ["attn.qkv", "attn.proj"],
    },
}
_LORA_BIAS = ("none", "all", "lora_only")
_FACTS_FILE = "gend_config.json"
_PEFT_FILE = "adapter_model.safetensors"
_TENSOR_FILE = "tuned.safetensors"


def tune(model: GenDForImageClassification, how: str = "layernorm", **options: Any) -> nn.Module:
    """Freeze everything but the head and the part of the encoder that is to be tuned.

    Args:
        model: A plain detector; it is changed in place.
        how: "layernorm": gains and biases of every LayerNorm (PEFT). "lora": low-rank updates of
            linear layers (PEFT). "bitfit": every bias of the encoder. "probe": the head alone.
            "full": everything.
        **options: Of "lora" only. target_modules: "out" (the output projection of every
            attention), "attention" (query, key, value and output), a list of name endings, or a
            regular expression for whole names. rank: >= 1. alpha: the update is scaled by
            alpha / rank. dropout: in [0, 1). bias: "none", "all" or "lora_only", biases trained too.
            use_rslora: scale by alpha / sqrt(rank). use_dora: learn direction and length apart.
            Defaults: `LORA_DEFAULTS`.

    Returns:
        The model in training mode: a PeftModel around it for "layernorm" and "lora", else itself.

    Raises:
        ValueError: If the model is tuned already, `how` or an option is unknown or out of range, or
            a pattern does not match the layers it should.

    Source: arXiv 2508.06248 (LayerNorm); official GenD code, src/config.py (LoRA options and their
    defaults; its target "out_proj" is what "out" gives on CLIP); arXiv 2106.10199 (BitFit).
    """
    if how not in KINDS:
        raise ValueError(f"Unknown way to tune {how!r}; expected one of {', '.join(KINDS)}.")
    known = LORA_DEFAULTS if how == "lora" else {}
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"tune(how={how!r}) has no option {unknown}; it takes {', '.join(known) or 'none'}."
        )
    _refuse_tuned(model)
    options = {**known, **options}
    if how == "layernorm":
        tuned = _wrap(model, _layernorm_settings(model))
    elif how == "lora":
        tuned = _wrap(model, _lora_settings(model, options))
    else:
        model.requires_grad_(False)
        for parameter in _plain_tensors(model, _in_place(model, how)).values():
            parameter.requires_grad_(True)
        tuned = model
    model.tuning = {"how": how, "options": options}
    return tuned.train()


def tune_layernorm(model: GenDForImageClassification) -> nn.Module:
    """Tune as GenD does: `tune(model, "layernorm")`."""
    return tune(model, "layernorm")


def _is_wrapped(model: nn.Module) -> bool:
    return hasattr(model, "get_base_model")  # a PeftModel, without importing peft


def _refuse_tuned(model: nn.Module) -> None:
    if _is_wrapped(model):
        raise ValueError("This model already has an adapter; pass the plain detector (see merge).")
    if (
        model.tuning is not None and model.tuning["how"] != "probe"
    ):  # probe leaves the encoder alone
        raise ValueError(
            f"This model is tuned already ({model.tuning['how']}); pass a new detector, or "
            "merge(model) to start from what was tuned."
        )


def _wrap(model: GenDForImageClassification, settings: Any) -> nn.Module:
    from peft import get_peft_model

    with _known_peft_warnings():
        adapted = get_peft_model(model, settings)
    adapted.peft_config["default"].base_model_name_or_path = model.config.backbone
    return adapted


def _layernorm_settings(model: GenDForImageClassification) -> Any:
    from peft import LNTuningConfig

    targets = model.config.encoder["spec"]["layernorm_targets"]
    matched = {name for name, _ in model.named_modules() if re.fullmatch(targets, name)}
    walked = set(backbones.layernorm_modules(model))
    if matched != walked:
        wrong = sorted(matched ^ walked)[:4]
        raise ValueError(
            f"The pattern {targets!r} and the LayerNorms of this encoder differ at {wrong}. "
            "Correct layernorm_targets of its BackboneSpec."
        )
    return LNTuningConfig(target_modules=targets, modules_to_save=["head"])


def _lora_settings(model: GenDForImageClassification, options: dict[str, Any]) -> Any:
    from peft import LoraConfig

    rank, dropout, bias = options["rank"], options["dropout"], options["bias"]
    if not (isinstance(rank, int) and rank >= 1 and 0 <= dropout < 1 and bias in _LORA_BIAS):
        raise ValueError(
            f"Got rank={rank!r}, dropout={dropout!r}, bias={bias!r}; expected a whole rank >= 1, "
            f"dropout in [0, 1) and bias one of {', '.join(_LORA_BIAS)}."
        )
    targets = options["target_modules"]
    if isinstance(targets, str) and targets in _LORA_TARGETS:
        targets = _LORA_TARGETS[targets][model.config.encoder["spec"]["family"]]
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    linear = {name for name in linear if name.startswith("encoder.")}
    matched = {name for name, _ in model.named_modules() if name and _is_target(name, targets)}
    if not matched or matched - linear:
        endings = sorted({name.rpartition(".")[2] for name in linear})
        raise ValueError(
            f"target_modules={options['target_modules']!r} matches {sorted(matched - linear)[:3]}, "
            f"which are no linear layers of the encoder, and {len(matched & linear)} that are. Give "
            f"'out', 'attention' or name endings out of {', '.join(endings)}."
        )
    return LoraConfig(
        target_modules=targets,
        r=rank,
        lora_alpha=options["alpha"],
        lora_dropout=dropout,
        bias=bias,
        use_rslora=options["use_rslora"],
        use_dora=options["use_dora"],
        modules_to_save=["head"],
    )


def _is_target(name: str, targets: str | Collection[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == ending or name.endswith(f".{ending}") for ending in targets)


@contextmanager
def _known_peft_warnings() -> Iterator[None]:
    # PEFT asks each LayerNorm for its in_features, and transformers for a name it has renamed.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type .*LayerNorm")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.* is deprecated")
        yield


def _is_copy(name: str) -> bool:
    return any(part in name for part in (".ln_tuning_layers.", ".modules_to_save.", ".lora_"))


def _detector(model: nn.Module) -> GenDForImageClassification:
    return model.get_base_model() if _is_wrapped(model) else model


def _encoder_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name the encoder's own tensors as without an adapter, in any version of transformers."""
    state = _detector(model).encoder.state_dict(keep_vars=True)
    own = {k.replace(".base_layer", ""): v for k, v in state.items() if not _is_copy(f".{k}")}
    return {backbones.stable_name(name): value for name, value in own.items()}


def _in_place(model: nn.Module, how: str, lora_bias: str = "none") -> list[str]:
    """Name the encoder's own tensors that the tuning changes where they lie."""
    names = _encoder_tensors(model)
    biases = sorted(name for name in names if name.endswith("bias"))
    if how == "full":
        return sorted(names)
    if how == "bitfit" or lora_bias == "all":
        return biases
    if lora_bias == "lora_only":
        state = {backbones.stable_name(name) for name in _detector(model).encoder.state_dict()}
        return [name for name in biases if name.removesuffix("bias") + "base_layer.bias" in state]
    return []


def _plain_tensors(model: nn.Module, in_place: Collection[str]) -> dict[str, torch.Tensor]:
    """Give the head and the named tensors of the encoder."""
    encoder = _encoder_tensors(model)
    tensors = {f"encoder.{name}": encoder[name] for name in in_place}
    head = {f"head.{name}": value for name, value in active_head(model).named_parameters()}
    return tensors | head


def count_trainable(model: nn.Module) -> tuple[int, int]:
    """Count parameters by their `requires_grad` flag.

    Args:
        model: Detector, with or without an adapter.

    Returns:
        (trainable, total); total is the size of the plain detector, without what PEFT adds.
    """
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for name, p in model.named_parameters() if not _is_copy(name))
    return trainable, total


def count_layernorm(model: nn.Module) -> int:
    """Count the parameters of every LayerNorm by walking the modules, whatever is trainable."""
    layers = backbones.layernorm_modules(model).values()
    return sum(p.numel() for layer in layers for p in layer.parameters())


def active_head(model: nn.Module) -> GenDHead:
    """Give the head in use: the adapter's copy where PEFT keeps one."""
    head = _detector(model).head
    if hasattr(head, "modules_to_save"):
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
    from sklearn.linear_model import LogisticRegression

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


def encoder_fingerprint(model: nn.Module, without: Collection[str] = ()) -> str:
    """Hash the encoder (names, shapes, values); an adapter on it changes nothing.

    Args:
        model: Detector, with or without an adapter.
        without: Names of tensors of which only name and shape count.

    Returns:
        64 hexadecimal digits.
    """
    digest, without = hashlib.sha256(), set(without)
    for name, tensor in sorted(_encoder_tensors(model).items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        if name not in without:
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_adapter(model: nn.Module, folder: str | Path) -> Path:
    """Save only what was tuned: for LayerNorms and head of CLIP L/14, 0.4 MB.

    Args:
        model: Result of `tune` or `load_adapter`.
        folder: Where to write; an existing folder is replaced as a whole. PEFT's files for
            "layernorm" and "lora", else tuned.safetensors; always gend_config.json. Tensors have
            the names of transformers 4's DINOv3 and transformers 5's CLIP in every version.

    Returns:
        The folder.

    Raises:
        ValueError: If the model was not tuned.
    """
    detector = _detector(model)
    if detector.tuning is None:
        raise ValueError("This model has no adapter; pass what adapters.tune returned.")
    in_place = _in_place(model, detector.tuning["how"], detector.tuning["options"].get("bias", ""))
    facts = {
        **detector.tuning,
        "config": json.loads(detector.config.to_json_string(use_diff=False)),
        "in_place": in_place,
        "encoder_sha256": encoder_fingerprint(model, without=in_place),
    }
    with repro.atomic_path(folder) as temporary:
        if _is_wrapped(model):
            model.save_pretrained(str(temporary), save_embedding_layers=False)
            (temporary / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a card
            stored = load_file(temporary / _PEFT_FILE)
            stored = {backbones.stable_name(name): value for name, value in stored.items()}
            save_file(stored, temporary / _PEFT_FILE, metadata={"format": "pt"})
        else:
            temporary.mkdir(parents=True, exist_ok=True)
            tensors = _plain_tensors(model, in_place).items()
            kept = {name: value.detach().cpu().contiguous() for name, value in tensors}
            save_file(kept, temporary / _TENSOR_FILE)
        repro.write_json(temporary / _FACTS_FILE, facts)
    return Path(folder)


def load_adapter(
    folder: str | Path,
    base: GenDForImageClassification | None = None,
    trainable: bool = False,
) -> nn.Module:
    """Load an adapter onto the encoder it was tuned on.

    Args:
        folder: What `save_adapter` wrote.
        base: Plain detector to put it on (changed in place); None loads the stored backbone by its
            name.
        trainable: True to go on training.

    Returns:
        What `tune` returned, in evaluation mode.

    Raises:
        FileNotFoundError: If the folder holds no adapter or not its weights.
        ValueError: If the base is not what the adapter was tuned on, or tensors are missing or left
            over.
    """
    folder = Path(folder)
    if not (folder / _FACTS_FILE).is_file():
        raise FileNotFoundError(
            f"No {_FACTS_FILE} in {folder}: not an adapter of this kit. Write one with "
            "save_adapter."
        )
    facts = repro.read_json(folder / _FACTS_FILE)
    how, in_place = facts.get("how", "layernorm"), facts.get("in_place", [])
    config = GenDConfig.from_dict(facts["config"])
    if base is None:
        encoder = backbones.load(config.backbone, pretrained=how != "full")
        base = GenDForImageClassification(config, encoder)
    _refuse_tuned(base)
    _check_base(base, config, facts, folder)
    model = tune(base, how, **facts.get("options", {}))
    if how in ("layernorm", "lora"):
        _fill_peft(model, folder / _PEFT_FILE)
    else:
        _fill(_plain_tensors(model, in_place), folder / _TENSOR_FILE)
    return (model if trainable else model.requires_grad_(False)).eval()


def _check_base(base: nn.Module, config: GenDConfig, facts: dict[str, Any], folder: Path) -> None:
    for name in ("head", "feature_scale"):
        if getattr(base.config, name) != getattr(config, name):
            raise ValueError(
                f"The adapter in {folder} was tuned with {name}={getattr(config, name)!r}, the base "
                f"has {getattr(base.config, name)!r}. Build it with {name}="
                f"{getattr(config, name)!r}."
            )
    if encoder_fingerprint(base, facts.get("in_place", [])) != facts["encoder_sha256"]:
        raise ValueError(
            f"The adapter in {folder} was tuned on other weights of {config.backbone!r} than those "
            "loaded now. Give a detector on the original encoder as base=, or tune a new adapter."
        )


def _fill_peft(model: nn.Module, path: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    stored = {backbones.stable_name(name): value for name, value in _read(path).items()}
    _check_fit({backbones.stable_name(name): value for name, value in own.items()}, stored, path)
    set_peft_model_state_dict(model, {name: stored[backbones.stable_name(name)] for name in own})


def _fill(own: dict[str, torch.Tensor], path: Path) -> None:
    stored = _read(path)
    _check_fit(own, stored, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}; save the adapter again with save_adapter."
        )
    return load_file(path)


def _check_fit(own: dict, stored: dict, path: Path) -> None:
    wrong = sorted(set(own) ^ set(stored))
    wrong += [k for k, v in own.items() if k in stored and stored[k].shape != v.shape]
    if wrong:
        raise ValueError(
            f"{path} does not fit this model: {wrong[:4]} are missing, left over or of another "
            "shape. Save the adapter again with save_adapter."
        )


def merge(model: nn.Module) -> GenDForImageClassification:
    """Put what was tuned into a plain detector.

    Args:
        model: Result of `tune` or `load_adapter`; stays as it is.

    Returns:
        A new detector in evaluation mode with the same scores (LoRA: within rounding) and the key
        names of an untuned one, all parameters trainable.

    Raises:
        ValueError: If the model was not tuned.

    Source: own; PEFT's `merge_and_unload` leaves the head inside its wrapper, whose names no one
    else reads.
    """
    if _detector(model).tuning is None:
        raise ValueError("merge needs a tuned model (adapters.tune or adapters.load_adapter).")
    merged = copy.deepcopy(model)
    if _is_wrapped(merged):
        head = active_head(merged)
        merged = merged.merge_and_unload()
        merged.head = head
    merged.tuning = None
    return merged.requires_grad_(True).eval()
