"""Put a checkpoint's tensors into a detector: every tensor has its place, every place its tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gendkit import backbones, layouts, tensors
from gendkit.model import GenDConfig, GenDForImageClassification

State = dict[str, torch.Tensor]
Shapes = dict[tuple[str, str], tuple[int, ...]]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def architecture(
    backbone: str, base: Any = None, near: Path | None = None
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Find the architecture of a backbone that an official config names, without the network.

    Args:
        backbone: Official id, or the kit's name.
        base: Folder of the backbone, for one that the kit does not know.
        near: Folder in which one of that name may lie; None for files from outside.

    Returns:
        (the kit's name or the id itself, `Encoder.config`).

    Raises:
        ValueError: If it is not known and there is no folder of it.
    """
    if name := layouts.kit_name(backbone):
        return name, backbones.config_of(name)
    folder = beside(backbone, base, near)
    if folder is None:
        known = ", ".join(layouts.official_id(n) for n in backbones.names() if n != "embedded")
        raise ValueError(
            f"Unknown backbone {backbone!r}; known: {known}. For another one give its folder "
            "(config.json and weights) as base= (--base)."
        )
    config = backbones.config_of(folder)
    config["spec"]["name"] = backbone
    return backbone, config


def beside(backbone: str, base: Any, near: Path | None) -> Path | None:
    """Find a backbone's folder: `base` if it is one, else the plain name `backbone` in `near`."""
    if isinstance(base, str | Path) and Path(base).is_dir():
        return Path(base)
    if near is None or Path(backbone).name != backbone or backbone in ("", ".", ".."):
        return None
    return near / backbone if (near / backbone / "config.json").is_file() else None


def wanted(encoder: dict[str, Any]) -> Shapes:
    """List what an official checkpoint on an encoder holds.

    Args:
        encoder: `Encoder.config`.

    Returns:
        (part, name) -> shape; part and name as `layouts.parse_official` gives them.
    """
    spec, model = encoder["spec"], encoder["model"]
    shapes = None
    if spec["family"] == "pe":
        shapes = layouts.perception_shapes(model["model_name"])
    if shapes is None:
        with torch.device("meta"):
            own = backbones.from_config(encoder).vision.state_dict()
        shapes = {layouts.core_key(key): tuple(value.shape) for key, value in own.items()}
    places: Shapes = {("encoder", core): shape for core, shape in shapes.items()}
    width = int(spec["feature_dim"])
    places |= {("head", "linear.weight"): (2, width), ("head", "linear.bias"): (2,)}
    if spec["family"] == "clip":
        places["carried", layouts.PROJECTION] = (int(model.get("projection_dim", 512)), width)
    return places


def official_tensors(backbone: str | Path) -> dict[str, tuple[int, ...]]:
    """List the tensors of an official checkpoint without loading one.

    Args:
        backbone: The kit's name, an official id, or a backbone's folder.

    Returns:
        Name in the released layout -> shape.

    Raises:
        ValueError: If the backbone is unknown.
    """
    _, encoder = architecture(str(backbone), backbone)
    family = encoder["spec"]["family"]
    places = wanted(encoder).items()
    return {official_name(family, part, name): shape for (part, name), shape in places}


def official_name(family: str, part: str, name: str) -> str:
    """Name a tensor as the released files do; the inverse of `layouts.parse_official`."""
    if part == "encoder":
        return layouts.official_key(family, name)
    return f"model.{name}" if part == "head" else name


def sort(
    state: State,
    parse: Callable[[str, str], tuple[str, str] | None],
    family: str,
    what: str,
    places: Shapes,
) -> dict[str, State]:
    """Give every tensor its place.

    Args:
        state: Tensors by their names in the file.
        parse: `layouts.parse_official` or `layouts.parse_saved`.
        family: Of the backbone.
        what: Where the tensors come from, for the message.
        places: What there must be, of `wanted`.

    Returns:
        "encoder", "head" and "carried" -> tensors by name.

    Raises:
        ValueError: If a tensor has no place or a place no tensor, a shape differs, or a tensor does
            not hold 16 or 32 bit floats; names them.
    """
    parts: dict[str, State] = {"encoder": {}, "head": {}, "carried": {}}
    extra, wrong = [], []
    for key, value in state.items():
        place = parse(key, family)
        if place is not None and place[0] == "buffer":
            continue
        if place not in places or place[1] in parts[place[0]]:
            extra.append(key)
            continue
        parts[place[0]][place[1]] = value
        if tuple(value.shape) != places[place] or value.dtype not in _FLOATS:
            wrong.append(f"{key} {tuple(value.shape)} {value.dtype}, not {places[place]} float")
    official = parse is layouts.parse_official
    missing = [
        official_name(family, part, name) if official else f"{part}: {name}"
        for part, name in places
        if name not in parts[part]
    ]
    if missing or extra or wrong:
        raise ValueError(
            f"{what} does not fit its backbone: missing {few(missing)}; unexpected {few(extra)}; "
            f"wrong {few(wrong)}. Use the config.json that was saved with these weights, or download "
            "them again."
        )
    return parts


def few(names: list[str], n: int = 6) -> str:
    """Write the first `n` names and how many more there are, for a message."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return (", ".join(sorted(names)[:n]) or "nothing") + more


def assemble(
    config: GenDConfig, encoder: State, head: State, carried: State
) -> GenDForImageClassification:
    """Build a detector around tensors, without drawing random weights for the encoder first.

    Args:
        config: With `encoder` set.
        encoder: Core name -> tensor, complete; taken over without a copy where float32.
        head: "linear.weight" and "linear.bias".
        carried: Tensors of an official file that no score depends on; `model.carried` holds them.

    Returns:
        The detector in evaluation mode, float32, all parameters trainable.
    """
    if config.encoder["spec"]["family"] == "pe":
        built = backbones.from_config(config.encoder)  # timm computes buffers that no file holds
    else:
        with torch.device("meta"):
            built = backbones.from_config(config.encoder)
    own = {layouts.core_key(key): key for key in built.vision.state_dict()}
    filled = {own[core]: value.float() for core, value in encoder.items()}
    built.vision.load_state_dict(filled, strict=True, assign=True)
    built.rebuild_buffers()
    model = GenDForImageClassification(config, built)
    model.head.load_state_dict({name: value.float() for name, value in head.items()})
    model.carried = dict(carried)
    return model.requires_grad_(True).eval()


def encoder_state(model: GenDForImageClassification) -> State:
    """Give the encoder's tensors by core name, detached, on the CPU."""
    state = model.encoder.vision.state_dict()
    return {layouts.core_key(key): value.detach().cpu() for key, value in state.items()}


def base_tensors(
    config: GenDConfig, base: Any = None, near: Path | None = None, **hub: Any
) -> tuple[State, State]:
    """Read the untuned encoder of a detector.

    Args:
        config: Of the detector; names the encoder where `base` does not.
        base: A known name, an official id, a folder or an untuned detector; None for the config's.
        near: Folder in which a folder of that name may lie.
        **hub: cache_dir, local_files_only.

    Returns:
        (core name -> tensor, what an official file carries beside the encoder).

    Raises:
        FileNotFoundError: If its weights cannot be had.
        ValueError: If `base` is a tuned detector or another architecture; names the tensors.
    """
    if isinstance(base, torch.nn.Module):
        if hasattr(base, "get_base_model") or getattr(base, "tuning", None):
            raise ValueError("base is tuned already; give an untuned detector, a name or a folder.")
        encoder = {core: value.clone() for core, value in encoder_state(base).items()}
        carried = dict(getattr(base, "carried", {}))
    else:
        encoder, carried = _read_base(config, base, near, **hub)
    places = wanted(config.encoder)
    shapes = {name: shape for (part, name), shape in places.items() if part == "encoder"}
    wrong = sorted(set(shapes) ^ set(encoder))
    wrong += [k for k, v in encoder.items() if k in shapes and tuple(v.shape) != shapes[k]]
    if wrong:
        raise ValueError(
            f"Base {describe(base, config)} is another architecture than the detector's encoder; "
            f"they differ at {few(wrong)}. Give the original encoder as base= (--base)."
        )
    return encoder, carried


def describe(base: Any, config: GenDConfig) -> str:
    """Name a base encoder for a message."""
    named = config.backbone if base is None or isinstance(base, torch.nn.Module) else base
    return repr(str(named))


def _read_base(config: GenDConfig, base: Any, near: Path | None, **hub: Any) -> tuple[State, State]:
    name = config.backbone if base is None else str(base)
    name = layouts.kit_name(name) or name
    spec = backbones.REGISTRY[name][0] if name in backbones.REGISTRY else None
    if name == "embedded" or (spec is not None and spec.family == "pe"):
        vision = backbones.load(name, **hub).vision.state_dict()
        return {layouts.core_key(key): value for key, value in vision.items()}, {}
    folder = tensors.fetch(spec.hub_id, **hub) if spec else beside(name, base or name, near)
    if folder is None:
        raise FileNotFoundError(
            f"No base encoder {name!r}: neither a known name ({', '.join(backbones.names())}) nor "
            "an existing folder. Give it as base= (--base)."
        )
    parts: dict[str, State] = {"encoder": {}, "carried": {}}
    for key, value in tensors.read(folder).items():
        if place := layouts.parse_base(key, config.encoder["spec"]["family"]):
            parts[place[0]][place[1]] = value.float()
    return parts["encoder"], parts["carried"]


def narrow(state: State, dtype: str) -> tuple[State, str]:
    """Turn tensors into a narrower type if none of their values changes by it.

    Args:
        state: float32 tensors.
        dtype: "float32", "float16" or "bfloat16".

    Returns:
        (contiguous tensors, their type): as asked, or float32 as they were.
    """
    kind = getattr(torch, dtype, None)
    if kind in _FLOATS and all(torch.equal(v, v.to(kind).to(v.dtype)) for v in state.values()):
        return {key: value.to(kind).contiguous() for key, value in state.items()}, dtype
    return {key: value.float().contiguous() for key, value in state.items()}, "float32"
