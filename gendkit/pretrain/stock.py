"""What lies in data/weights: list it, hash it, check it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendkit import repro

HASHES = "hashes.json"
FOREIGN = (".bin", ".ckpt", ".h5", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".pth")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms: not trained
_LICENCE = re.compile(r"\|\s*licence\s*\|\s*([^|\n]*\w[^|\n]*?)\s*\|", re.IGNORECASE)


@dataclass(frozen=True)
class Model:
    """One embedded model.

    Attributes:
        name: also the name of its recipe.
        file: its weights, below data/weights.
        purpose: what it is for.
        max_bytes: largest file. max_parameters: most parameters.
    """

    name: str
    file: str
    purpose: str
    max_bytes: float = math.inf
    max_parameters: float = math.inf

    @property
    def card(self) -> str:
        """File of the model card, below data/weights."""
        return f"{self.name}.md"


MODELS = (
    Model("landmarks", "landmarks.safetensors", "68 face landmarks, run by face-alignment", 8e6),
    Model("encoder", "encoder/model.safetensors", "stands in for CLIP ViT-L/14", 24e6, 12e6),
    Model("detector", "detector/adapter_model.safetensors", "LayerNorms and head on the encoder"),
)
# What a card must name, and how it is found there.
CARD = {
    "the recipe": "`gendkit weights {name}",
    "the time it took": r"\d\s*(seconds?|minutes?|min|hours?|h)\b",
    "the hardware": r"\b(cores?|CPU|GPU)\b",
    "the licence (a row | licence | ... |)": _LICENCE.pattern,
}


def folder(root: str | Path = "") -> Path:
    """Find the folder of the weights.

    Args:
        root: A folder; "" means `weights` in the data folder (`repro.data_dir`).

    Returns:
        The existing folder.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    path = Path(root).expanduser() if root else repro.data_dir() / "weights"
    if not path.is_dir():
        raise FileNotFoundError(
            f"got weights folder {str(path)!r}, expected an existing folder; use a checkout of "
            "gendkit, or give the folder with --root"
        )
    return path


def tensors(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Give the names and the tensors of a safetensors file, one at a time.

    Raises:
        ValueError: If the file is not readable as safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise ValueError(f"{Path(path).name} is not readable as safetensors ({error})") from error


def count_parameters(path: str | Path) -> int:
    """Count the parameters in a safetensors file; statistics of batch norms do not count."""
    return sum(t.numel() for name, t in tensors(path) if not name.endswith(STATISTICS))


def describe(root: str | Path = "") -> list[dict[str, Any]]:
    """Describe the embedded models.

    Args:
        root: See `folder`.

    Returns:
        For each model name, file, bytes, parameters, sha256, licence (from its card, "" if it names
        none) and purpose.

    Raises:
        FileNotFoundError: If a model's file is missing.
        ValueError: If a file is not readable as safetensors.
    """
    root, rows = folder(root), []
    for model in MODELS:
        path = root / model.file
        digest = repro.sha256(path)  # says which file is missing
        card = root / model.card
        licence = _LICENCE.search(card.read_text("utf-8")) if card.is_file() else None
        rows.append(
            {
                "name": model.name,
                "file": model.file,
                "bytes": path.stat().st_size,
                "parameters": count_parameters(path),
                "sha256": digest,
                "licence": licence.group(1) if licence else "",
                "purpose": model.purpose,
            }
        )
    return rows


def hashes(root: str | Path = "") -> dict[str, dict[str, Any]]:
    """Hash what lies there: all files but cards (.md), hidden ones and the list itself.

    Args:
        root: See `folder`.

    Returns:
        {path below root, with "/": {"bytes": ..., "sha256": ...}}.
    """
    root, found = folder(root), {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if path.is_file() and not hidden and path.suffix != ".md" and name != HASHES:
            found[name] = {"bytes": path.stat().st_size, "sha256": repro.sha256(path)}
    return found


def write_hashes(root: str | Path = "") -> Path:
    """Write the list that `verify` compares with, atomically.

    Args:
        root: See `folder`.

    Returns:
        The file.
    """
    path = folder(root) / HASHES
    repro.write_json(path, hashes(root))
    return path


def verify(root: str | Path = "") -> list[str]:
    """Check the weights: hashes, formats, values, sizes, modes and cards.

    Args:
        root: See `folder`.

    Returns:
        One line for each fault, with how to mend it; empty when all is well.
    """
    root = folder(root)
    found = hashes(root)
    faults = _compare(root, found)
    for name in found:
        path = root / name
        wanted = path.parent.stat().st_mode & 0o444
        if path.stat().st_mode & wanted != wanted:
            faults.append(f"{name}: not readable by all who may read its folder; chmod a+r {path}")
        if path.suffix in FOREIGN:
            faults.append(f"{name}: weights must be safetensors; convert it and remove this file")
        if path.suffix == ".safetensors":
            faults += _values(path, name)
    for model in MODELS:
        if model.file not in found:
            faults.append(
                f"{model.file}: missing; restore it from the repository, or make it: "
                f"gendkit weights {model.name}"
            )
            continue
        faults += _size(root, model)
        faults += _card(root, model, {value["sha256"] for value in found.values()})
    return faults or _loads(root)


def _compare(root: Path, found: dict[str, dict[str, Any]]) -> list[str]:
    try:
        known = repro.read_json(root / HASHES)
    except FileNotFoundError:
        return [f"{HASHES}: missing; write it with: gendkit weights hashes"]
    except ValueError as error:
        return [f"{HASHES}: {error}; write it with: gendkit weights hashes"]
    good = isinstance(known, dict) and all(
        isinstance(value, dict) and {"bytes", "sha256"} <= value.keys() for value in known.values()
    )
    if not good:
        return [f"{HASHES}: expected path -> bytes, sha256; write it with: gendkit weights hashes"]
    faults = []
    for name in sorted(known.keys() | found.keys()):
        want, have = known.get(name), found.get(name)
        if want is None:
            faults.append(f"{name}: not in {HASHES}; remove it, or run: gendkit weights hashes")
        elif have is None:
            faults.append(f"{name}: missing; restore it, or run: gendkit weights hashes")
        elif want["bytes"] != have["bytes"]:
            faults.append(
                f"{name}: {have['bytes']} bytes, expected {want['bytes']}; restore it, or after "
                "training run: gendkit weights hashes"
            )
        elif want["sha256"] != have["sha256"]:
            faults.append(
                f"{name}: sha256 {have['sha256'][:12]}..., expected {str(want['sha256'])[:12]}...; "
                "restore it, or after training run: gendkit weights hashes"
            )
    return faults


def _values(path: Path, name: str) -> list[str]:
    try:
        bad = [key for key, t in tensors(path) if t.is_floating_point() and not t.isfinite().all()]
    except ValueError as error:
        return [f"{name}: {error}; restore it"]
    if not bad:
        return []
    return [f"{name}: NaN or infinity in {len(bad)} tensors, {bad[0]} first; train or restore it"]


def _size(root: Path, model: Model) -> list[str]:
    path, faults = root / model.file, []
    size = path.stat().st_size
    if size > model.max_bytes:
        faults.append(
            f"{model.file}: {size / 1e6:.1f} MB, at most {model.max_bytes / 1e6:.0f} are shipped; "
            "store float16 or train a smaller one"
        )
    if model.max_parameters < math.inf:
        try:
            n = count_parameters(path)
        except ValueError:
            return faults  # `_values` tells
        if n > model.max_parameters:
            faults.append(
                f"{model.file}: {n} parameters, at most {model.max_parameters:.0f}; train a smaller one"
            )
    return faults


def _card(root: Path, model: Model, known: set[str]) -> list[str]:
    if not (root / model.card).is_file():
        return [f"{model.card}: missing; write the card of {model.file}"]
    text = (root / model.card).read_text("utf-8")
    faults = [
        f"{model.card}: does not name {what}; add it"
        for what, pattern in CARD.items()
        if not re.search(pattern.replace("{name}", model.name), text, re.IGNORECASE)
    ]
    for digest in re.findall(r"\b[0-9a-f]{64}\b", text):
        if digest not in known:
            faults.append(
                f"{model.card}: names sha256 {digest[:12]}..., which no file here has; write the one "
                "that gendkit weights list --json gives"
            )
    return faults


def _loads(root: Path) -> list[str]:
    """Load each model as its users do; a detector of another encoder is found here."""
    from gendkit import adapters, backbones, fan, model

    detector = root / "detector"
    try:
        fan.load_light_fan(root / "landmarks.safetensors")
        encoder = backbones.load(root / "encoder")
        config = repro.read_json(detector / "gend_config.json")["config"]
        base = model.GenDForImageClassification(model.GenDConfig.from_dict(config), encoder)
        adapters.load_adapter(detector, base)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        return [f"does not load: {error}"]
    return []
