"""GenD's released models in and out: official checkpoints, folders of this kit, adapters.

`from_pretrained` reads all of them. Architectures come from the kit's own table of backbones, so a
gated base repository is never asked; weights come from safetensors only, and every tensor of a file
must have its place in the model and every place its tensor.

An official file holds one tensor that no score depends on: CLIP's projection to the text space. The
detector has no layer for it; it travels along as `model.carried`, so that what is written back is bit
for bit what was read.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gendkit import adapters, backbones, checkpoints, layouts, repro, tensors
from gendkit.model import HEADS, GenDConfig, GenDForImageClassification, GenDImageProcessor

_CARRIED_FILE = "carried.safetensors"
_ADAPTER_FACTS = "gend_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_OFFICIAL_KEYS = ("architectures", "backbone", "dtype", "head", "transformers_version")
_LIBRARY = "4.56.2"  # the version of transformers whose names the official layout has


def from_pretrained(
    source: str | Path,
    *,
    base: Any = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> GenDForImageClassification:
    """Load a detector: a released model, or a local folder in any layout that this kit knows.

    Args:
        source: "yermandy/GenD_CLIP_L_14", "yermandy/GenD_PE_L", "yermandy/GenD_DINOv3_L" or another
            hub repository in their layout or the kit's; or a folder: official checkpoint, detector
            saved by this kit, adapter.
        base: For an adapter, the encoder it belongs on: name, folder or detector; None takes the
            name stored with it. For an official checkpoint of a backbone unknown to the kit: the
            folder of that backbone.
        revision: Branch, tag or commit on the hub.
        cache_dir: Of the hub files; None for the library's own.
        local_files_only: Never ask the network.

    Returns:
        The plain detector in evaluation mode, float32, on the CPU. Its preprocessing:
        `GenDImageProcessor.from_spec(model.encoder.spec)`.

    Raises:
        ValueError: If the layout or backbone is unknown, the weights are a pickle, or tensors are
            missing, left over or of another shape; names them.
        FileNotFoundError: If files are neither there nor to be had.
        ImportError: If the backbone is PE and timm is missing.
    """
    path = Path(source)
    hub = {"cache_dir": cache_dir, "local_files_only": local_files_only}
    if path.is_dir():
        return _from_folder(path, base, _near(path), **hub)
    if path.is_file():
        raise ValueError(
            f"{path} is a file; expected a folder with config.json and {tensors.WEIGHTS}. A "
            f"checkpoint of Lightning is converted by `gendkit convert {path} OUT --to gendkit`."
        )
    if not tensors.is_repo_id(str(source)):
        raise ValueError(
            f"{str(source)!r} is neither a folder nor a hub repository (owner/name). Released "
            f"models: {', '.join(layouts.RELEASED)}."
        )
    folder = tensors.fetch(str(source), revision=revision, **hub)
    return _from_folder(folder, base, None, **hub)


def kind_of(folder: str | Path) -> str:
    """Say what a folder holds: "official", "gendkit" or "adapter".

    Args:
        folder: With config.json or, for an adapter, gend_config.json.

    Raises:
        FileNotFoundError: If it has neither.
        ValueError: If config.json describes another model.
    """
    folder = Path(folder)
    if (folder / _ADAPTER_FACTS).is_file():
        return "adapter"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"No config.json in {folder}: expected an official GenD checkpoint, a detector saved by "
            f"this kit, or an adapter ({_ADAPTER_FACTS})."
        )
    stored = repro.read_json(folder / "config.json")
    kind = stored.get("model_type") if isinstance(stored, dict) else None
    if kind not in ("GenD", "gend"):
        raise ValueError(
            f"{folder / 'config.json'} has model_type {kind!r}; expected 'GenD' (official layout) "
            "or 'gend' (this kit). A bare encoder is loaded by backbones.load."
        )
    return "official" if kind == "GenD" else "gendkit"


def _from_folder(folder: Path, base: Any, near: Path | None, **hub: Any) -> Any:
    kind = kind_of(folder)
    if kind == "adapter":
        return _from_adapter(folder, base, near, **hub)
    if kind == "official":
        return _from_official(folder, base, near)
    return _from_saved(folder)


def from_official(folder: str | Path, base: str | Path | None = None) -> GenDForImageClassification:
    """Load a folder in the official layout: config.json that names a backbone, and weights.

    Args:
        folder: Of the checkpoint.
        base: Folder of the backbone, where the kit does not know its id and no folder of that name
            stands beside the checkpoint.

    Returns, raises: As `from_pretrained`. Warns where config.json lacks `head` or `backbone`: the
        official defaults are then used, and the default head does not normalise.

    Source: official GenD code, commit e03532d, src/hf/modeling_gend.py.
    """
    return _from_official(Path(folder), base, _near(folder))


def _from_official(folder: Path, base: Any, near: Path | None) -> GenDForImageClassification:
    stored = repro.read_json(folder / "config.json")
    for key, default in (("backbone", layouts.DEFAULT_BACKBONE), ("head", layouts.DEFAULT_HEAD)):
        if key not in stored:
            effect = "; features are then NOT normalised" if key == "head" else ""
            warnings.warn(
                f"{folder / 'config.json'} has no {key!r}; the official code takes {default!r}, and "
                f"so does this{effect}. Write the key into config.json if the model was trained "
                "with another.",
                stacklevel=4,
            )
    return _build_official(stored, tensors.read(folder), str(folder), base, near)


def from_checkpoint(
    path: str | Path,
    *,
    backbone: str | None = None,
    head: str | None = None,
    base: str | Path | None = None,
) -> GenDForImageClassification:
    """Load a local Lightning checkpoint of the official training code, without running its code.

    Args:
        path: The .ckpt file.
        backbone: Official id or the kit's name, where the file's hyper-parameters do not say.
        head: "LinearNorm" or "linear", likewise.
        base: Folder of a backbone that the kit does not know.

    Raises:
        ValueError: As `tensors.read_checkpoint` and `from_official`; also if backbone or head is
            not known, or the run used features that this detector has not.
        FileNotFoundError: If there is no such file.
    """
    state, hyper = tensors.read_checkpoint(path)
    found = {"backbone": backbone or hyper.get("backbone"), "head": head or hyper.get("head")}
    if unknown := [key for key, value in found.items() if not isinstance(value, str)]:
        raise ValueError(
            f"{path} does not say its {' and '.join(unknown)}; give "
            f"{' and '.join(f'{key}= (--{key})' for key in unknown)}, for example "
            f"{layouts.DEFAULT_BACKBONE!r} and 'LinearNorm'."
        )
    options = hyper.get("backbone_args")
    if isinstance(options, dict) and options.get("merge_cls_token_with_patches"):
        raise ValueError(
            f"{path} was trained on class and patch tokens together (merge_cls_token_with_patches="
            f"{options['merge_cls_token_with_patches']!r}); this kit reads the class token only."
        )
    found["backbone"] = layouts.official_id(found["backbone"])
    return _build_official(found, state, str(path), base, Path(path).resolve().parent)


def _build_official(stored: dict, state: dict, what: str, base: Any, near: Path | None) -> Any:
    official = {"head": layouts.DEFAULT_HEAD, "backbone": layouts.DEFAULT_BACKBONE}
    official |= {key: stored[key] for key in _OFFICIAL_KEYS if key in stored}
    if not isinstance(official["backbone"], str) or official["head"] not in HEADS:
        raise ValueError(
            f"{what} has backbone {official['backbone']!r} and head {official['head']!r}; expected "
            f"the name of a backbone and one of {', '.join(HEADS)}."
        )
    name, encoder = checkpoints.architecture(official["backbone"], base, near)
    family = encoder["spec"]["family"]
    parts = checkpoints.sort(
        state, layouts.parse_official, family, what, checkpoints.wanted(encoder)
    )
    types = {value.dtype for value in state.values()}
    official["dtype"] = str(types.pop()).removeprefix("torch.") if len(types) == 1 else "float32"
    config = GenDConfig(name, encoder, official["head"], official=official)
    return checkpoints.assemble(config, parts["encoder"], parts["head"], parts["carried"])


def _from_saved(folder: Path) -> GenDForImageClassification:
    config = _config(repro.read_json(folder / "config.json"), folder / "config.json")
    wanted = {k: v for k, v in checkpoints.wanted(config.encoder).items() if k[0] != "carried"}
    family = config.encoder["spec"]["family"]
    parts = checkpoints.sort(tensors.read(folder), layouts.parse_saved, family, str(folder), wanted)
    return checkpoints.assemble(config, parts["encoder"], parts["head"], _read_carried(folder))


def _config(stored: Any, what: Path) -> GenDConfig:
    encoder = stored.get("encoder") if isinstance(stored, dict) else None
    if not isinstance(encoder, dict) or not {"spec", "model"} <= set(encoder):
        raise ValueError(
            f"{what} describes no encoder (keys 'spec' and 'model'); expected what hub.save or "
            "adapters.save_adapter wrote. Save the model again."
        )
    return GenDConfig.from_dict(stored)


def _read_carried(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / _CARRIED_FILE
    carried = tensors.read_file(path) if path.is_file() else {}
    if extra := sorted(set(carried) - {layouts.PROJECTION}):
        raise ValueError(f"{path} holds {checkpoints.few(extra)}; expected {layouts.PROJECTION}.")
    return carried


def _write_carried(carried: dict[str, torch.Tensor], folder: Path) -> None:
    if carried:
        save_file({k: v.contiguous() for k, v in carried.items()}, folder / _CARRIED_FILE)


def _as_model(source: Any, **options: Any) -> GenDForImageClassification:
    if isinstance(source, str | Path):
        return from_pretrained(source, **options)
    if hasattr(source, "get_base_model") or getattr(source, "tuning", None):
        return adapters.merge(source)
    return source


def save(model: GenDForImageClassification, out: str | Path) -> Path:
    """Save a detector as a folder of this kit, with its image processor and what it carries.

    Args:
        model: Plain detector.
        out: Folder; an existing one is replaced as a whole.

    Returns:
        The folder: `from_pretrained` and transformers' Auto classes read it.
    """
    with repro.atomic_path(out) as folder:
        model.save_pretrained(str(folder))
        GenDImageProcessor.from_spec(model.encoder.spec).save_pretrained(str(folder))
        _write_carried(getattr(model, "carried", {}), folder)
    return Path(out)


def to_official(model: Any, out: str | Path, base: str | Path | None = None, **hub: Any) -> Path:
    """Write a detector in the layout of the released models, which the official code loads.

    A checkpoint that came from there goes back with bit-identical tensors, in its stored type as
    long as that type still holds the values. `feature_scale` is multiplied into the head's weight.

    Args:
        model: Detector (plain or tuned), a folder, or a hub id.
        out: Folder; an existing one is replaced as a whole.
        base: The untuned encoder of an adapter. For a CLIP detector that was not read from an
            official file: name or folder of the whole CLIP, whose projection is written.
        **hub: cache_dir, local_files_only.

    Returns:
        The folder: config.json, model.safetensors.

    Raises:
        ValueError: If the official code cannot build this backbone, or the projection is not known.

    Source: official GenD code, commit e03532d, src/hf/modeling_gend.py.
    """
    near = _near(model)
    model = _as_model(model, base=base, **hub)
    family = model.encoder.spec.family
    official = dict(getattr(model.config, "official", None) or {})
    backbone = official.get("backbone", layouts.official_id(model.config.backbone))
    if layouts.official_family(backbone) != family:
        raise ValueError(
            f"The official code cannot build backbone {backbone!r}: it looks for 'clip', 'vit_pe' "
            f"or 'dino' in the name, and this encoder is of family {family!r}. Share a model on such "
            "an encoder in the kit's own layout (hub.save, --to gendkit)."
        )
    carried = getattr(model, "carried", {})
    if family == "clip" and layouts.PROJECTION not in carried:
        carried = checkpoints.base_tensors(model.config, base, near, **hub)[1]
        if layouts.PROJECTION not in carried:
            raise ValueError(
                f"The official layout of CLIP holds {layouts.PROJECTION}, which neither this model "
                f"nor base {checkpoints.describe(base, model.config)} has. Give the folder of the "
                "whole CLIP as base= (--base)."
            )
    head = {
        f"model.{name}": value.detach().cpu() for name, value in model.head.state_dict().items()
    }
    if model.config.head == "LinearNorm" and model.config.feature_scale != 1:
        head["model.linear.weight"] = head["model.linear.weight"] * model.config.feature_scale
    encoder = checkpoints.encoder_state(model)
    state = {layouts.official_key(family, core): value for core, value in encoder.items()}
    state, dtype = checkpoints.narrow(state | carried | head, official.get("dtype", "float32"))
    config = {"architectures": ["GenD"], "model_type": "GenD", "transformers_version": _LIBRARY}
    config |= official | {"backbone": backbone, "head": model.config.head, "dtype": dtype}
    with repro.atomic_path(out) as folder:
        folder.mkdir(parents=True)
        repro.write_json(folder / "config.json", config)
        save_file(state, folder / tensors.WEIGHTS, metadata={"format": "pt"})
    return Path(out)


def _near(source: Any) -> Path | None:
    local = isinstance(source, str | Path) and Path(source).is_dir()
    return Path(source).resolve().parent if local else None


def base_beside(source: str | Path, model: GenDForImageClassification) -> Path | None:
    """Find the folder of a detector's base encoder beside a local source; None if there is none.

    Args:
        source: What the detector was loaded from: folder, file or hub id.
        model: The detector.
    """
    local = Path(source).exists()
    near = Path(source).resolve().parent if local else None
    return checkpoints.beside(model.config.backbone, None, near)


def to_adapter(source: Any, out: str | Path, base: Any = None, **hub: Any) -> Path:
    """Split a LayerNorm-tuned detector: the base's name, a PEFT LayerNorm adapter, the head.

    Args:
        source: Detector, a folder, or a hub id (official layout or the kit's).
        out: Folder; an existing one is replaced as a whole. 0.4 MB for CLIP L/14.
        base: The untuned encoder: a known name, a folder or a detector; None takes the backbone's
            name from the model.
        **hub: cache_dir, local_files_only.

    Returns:
        The folder: the format of `adapters.save_adapter`.

    Raises:
        ValueError: If anything but LayerNorms and head differs from the base; names the tensors.
        FileNotFoundError: If the base's weights cannot be had.
    """
    near = _near(source)
    model = _as_model(source, base=base, **hub)
    config, family = copy.deepcopy(model.config), model.encoder.spec.family
    encoder, carried = checkpoints.base_tensors(config, base, near, **hub)
    norms, tuned = _norms(model), checkpoints.encoder_state(model)
    differ = [
        layouts.official_key(family, core)
        for core, value in tuned.items()
        if core.rpartition(".")[0] not in norms and not torch.equal(value, encoder[core])
    ]
    kept = getattr(model, "carried", {})
    differ += [
        k for k, v in kept.items() if k in carried and not torch.equal(v.float(), carried[k])
    ]
    if differ:
        raise ValueError(
            f"{len(differ)} tensors other than LayerNorm and head differ from base "
            f"{checkpoints.describe(base, config)}: {checkpoints.few(differ)}. A LayerNorm adapter "
            "cannot hold them: give the base that the model was tuned from (--base), or keep the "
            "whole model (--to gendkit)."
        )
    plain = checkpoints.assemble(config, encoder, model.head.state_dict(), {})
    wrapped = adapters.tune_layernorm(plain)
    for name, layer in backbones.layernorm_modules(model).items():
        copies = wrapped.get_base_model().get_submodule(name).ln_tuning_layers
        copies["default"].load_state_dict(layer.state_dict())
    with repro.atomic_path(out) as folder:
        adapters.save_adapter(wrapped, folder)
        _write_carried({k: v for k, v in kept.items() if k not in carried}, folder)
    return Path(out)


def _norms(model: GenDForImageClassification) -> set[str]:
    """Name the encoder's LayerNorms by core name."""
    return {layouts.core_key(name) for name in backbones.layernorm_modules(model.encoder.vision)}


def from_adapter(folder: str | Path, base: Any = None, **hub: Any) -> GenDForImageClassification:
    """Put an adapter on its base encoder, as a plain detector; PEFT is not needed for LayerNorms.

    Args:
        folder: What `to_adapter` or `adapters.save_adapter` wrote.
        base: The untuned encoder: a known name, a folder or a detector; None takes the stored name
            (a folder of that name beside the adapter, where it is none that the kit knows).
        **hub: cache_dir, local_files_only.

    Returns:
        Detector in evaluation mode; its logits are those of the detector that was split.

    Raises:
        ValueError: If the base has other weights than the adapter was tuned on, or tensors are
            missing or left over.
        FileNotFoundError: If files are missing.
    """
    return _from_adapter(Path(folder), base, _near(folder), **hub)


def _from_adapter(folder: Path, base: Any, near: Path | None, **hub: Any) -> Any:
    facts = repro.read_json(folder / _ADAPTER_FACTS)
    how = facts.get("how", "layernorm")
    if not isinstance(facts.get("config"), dict) or "encoder_sha256" not in facts:
        raise ValueError(
            f"{folder / _ADAPTER_FACTS} lacks 'config' or 'encoder_sha256'; expected what "
            "adapters.save_adapter wrote. Save the adapter again."
        )
    config = _config(facts["config"], folder / _ADAPTER_FACTS)
    if near is None and base is None and config.backbone not in backbones.names():
        raise ValueError(
            f"The adapter in {folder} belongs on {config.backbone!r}, which is no known backbone "
            f"({', '.join(backbones.names())}). Give the folder of that encoder as base= (--base)."
        )
    if how not in ("layernorm", "full") and not (folder / _ADAPTER_WEIGHTS).is_file():
        _weights_of(folder, "tuned.safetensors")  # PEFT would read a pickle in their place
    if how == "full":  # nothing is left of the base
        return adapters.merge(adapters.load_adapter(folder, GenDForImageClassification(config)))
    encoder, carried = checkpoints.base_tensors(config, base, near, **hub)
    width = int(config.encoder["spec"]["feature_dim"])
    head = {"linear.weight": torch.zeros(2, width), "linear.bias": torch.zeros(2)}
    model = checkpoints.assemble(config, encoder, head, carried | _read_carried(folder))
    if how != "layernorm":
        return adapters.merge(adapters.load_adapter(folder, model))
    if adapters.encoder_fingerprint(model) != facts["encoder_sha256"]:
        raise ValueError(
            f"The adapter in {folder} was tuned on other weights of {config.backbone!r} than base "
            f"{checkpoints.describe(base, config)} has. Give the original encoder as base= (--base)."
        )
    _fill(model, _weights_of(folder, _ADAPTER_WEIGHTS))
    return model


def _fill(model: GenDForImageClassification, path: Path) -> None:
    """Put the LayerNorms and the head of a PEFT adapter file into a plain detector."""
    stored = {_plain_name(key): value for key, value in tensors.read_file(path).items()}
    norms, places = _norms(model), checkpoints.wanted(model.config.encoder)
    places = {k: v for k, v in places.items() if k[0] == "head" or k[1].rpartition(".")[0] in norms}
    family = model.encoder.spec.family
    parts = checkpoints.sort(stored, layouts.parse_saved, family, str(path), places)
    model.head.load_state_dict(parts["head"])
    own = checkpoints.encoder_state(model)
    for core, value in parts["encoder"].items():
        own[core].copy_(value)


def _weights_of(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise FileNotFoundError(
            f"No {name} in {folder} (found: {there}); an adapter's weights are read from "
            "safetensors only. Save it again with adapters.save_adapter."
        )
    return folder / name


def _plain_name(key: str) -> str:
    return key.removeprefix("base_model.model.").replace(".ln_tuning_layers", "")
