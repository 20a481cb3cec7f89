"""Read weights that others made without running a line of their code, and fetch them from the hub.

Only JSON and safetensors are read from outside. A pickle (.ckpt, .pt, .bin) can run any code while it
is read; `read_checkpoint` opens a local one with torch's restricted reader, which refuses code.
"""

import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gendkit import repro

PATTERNS = ("*.json", "*.safetensors")
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHARD = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
# Enumerations of text in official hyper-parameters. Read as text, nothing of theirs is run.
_TEXT_ENUMS = ("Head", "Backbone", "Optimizer", "InferenceStrategy")


def is_repo_id(name: str) -> bool:
    """Say if a name has the form owner/name of a repository on the hub."""
    return _REPO_ID.fullmatch(name) is not None


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    files: Sequence[str] = ("config.json", WEIGHTS),
) -> Path:
    """Get a model's JSON and safetensors files from the hub or its cache; never another file.

    Args:
        repo_id: owner/name.
        revision: Branch, tag or commit; None for the main branch.
        cache_dir: Cache folder; None for the library's own.
        local_files_only: Never ask the network.
        files: What the model consists of, for the message.

    Returns:
        Folder of the files in the cache.

    Raises:
        FileNotFoundError: If they are neither cached nor to be had; the message says what to do.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    cache = str(cache_dir or constants.HF_HUB_CACHE)
    try:
        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache,
                local_files_only=local_files_only,
                allow_patterns=list(PATTERNS),
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        at = f" --revision {revision}" if revision else ""
        where = f" --cache-dir {cache_dir}" if cache_dir else ""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"The files of {repo_id!r} ({', '.join(files)}) are not in the cache {cache} and could "
            f"not be downloaded ({type(error).__name__}: {reason:.120}). Fix: with a network run "
            f"`hf download {repo_id} {' '.join(files)}{at}{where}` once; or copy the folder "
            f"models--{repo_id.replace('/', '--')} of another machine's cache into {cache}; or "
            "pass a local folder that holds these files. A gated model must first be accepted at "
            f"https://huggingface.co/{repo_id}."
        ) from error


def read(folder: str | Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a folder: one safetensors file, or several with an index.

    Args:
        folder: Holds model.safetensors, or model.safetensors.index.json and the files it names.

    Returns:
        Name -> tensor on the CPU, in the stored type.

    Raises:
        FileNotFoundError: If there are no weights, or a file of the index is missing.
        ValueError: If there are only pickles, a file is damaged, or the index names a file outside
            of the folder or tensors other than the files hold.
    """
    folder = Path(folder)
    if (folder / WEIGHTS).is_file():
        return read_file(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _read_shards(folder)
    there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if pickles := [name for name in there if Path(name).suffix in PICKLES]:
        raise ValueError(
            f"{folder} has only {', '.join(pickles[:4])}: reading such a file can run any code, so "
            f"only safetensors are read. {_advice(pickles[0])}"
        )
    raise FileNotFoundError(
        f"No {WEIGHTS} in {folder} (found: {', '.join(there[:6]) or 'nothing'}). Put the weights "
        "there; for a model of the hub: `hf download OWNER/NAME config.json model.safetensors "
        f"--local-dir {folder}`."
    )


def read_file(path: str | Path) -> dict[str, torch.Tensor]:
    """Read one safetensors file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, or is cut off.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}). Download it again; a renamed pickle "
            "is not read."
        ) from error


def _read_shards(folder: Path) -> dict[str, torch.Tensor]:
    index = repro.read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{folder / INDEX} has no 'weight_map' of tensor name -> file name.")
    names = sorted({str(name) for name in places.values()})
    if bad := [name for name in names if not _SHARD.fullmatch(name)]:
        raise ValueError(
            f"{folder / INDEX} names {bad[0]!r}; expected the plain name of a .safetensors file in "
            "the same folder. Do not use this download: its index points elsewhere."
        )
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing[:4])}, named in {INDEX}. Download the model again."
        )
    state: dict[str, torch.Tensor] = {}
    for name in names:
        part = read_file(folder / name)
        wanted = {key for key, place in places.items() if place == name}
        if wrong := sorted(wanted ^ set(part)):
            raise ValueError(
                f"{folder / name} and {INDEX} differ at {', '.join(wrong[:4])}. Download the model "
                "again."
            )
        state.update(part)
    return state


def read_checkpoint(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a local PyTorch (Lightning) checkpoint with torch's restricted reader.

    Args:
        path: A pickle: .ckpt, .pt, .pth or .bin.

    Returns:
        (tensors by name, hyper-parameters; empty where the file has none).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If reading would run code, the file is damaged, or it holds no tensors.

    Source: layout of Lightning checkpoints (`state_dict`, `hyper_parameters`); official GenD code,
    commit e03532d, src/config.py.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}; check the path.")
    enums = [(str, f"src.config.{name}") for name in _TEXT_ENUMS]
    try:
        with torch.serialization.safe_globals(enums):
            loaded = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else str(error).strip().splitlines()[0][:120]
        raise ValueError(
            f"{path} cannot be read without running code of the file ({reason}), which this kit "
            f"does not do. {_advice(path.name)}"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state or not _all_tensors(state):
        raise ValueError(
            f"{path} holds no tensors by name; expected a state dict, or a Lightning checkpoint "
            "with the key 'state_dict'."
        )
    hyper = loaded.get("hyper_parameters") or {}
    return state, dict(hyper) if isinstance(hyper, dict) and state is not loaded else {}


def _all_tensors(state: dict[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())


def _advice(name: str) -> str:
    return (
        f"If you trust {name}, turn it into safetensors where it was made: `c = torch.load({name!r}, "
        "map_location='cpu', weights_only=False); safetensors.torch.save_file({k: v.contiguous() "
        "for k, v in c.get('state_dict', c).items()}, 'model.safetensors')`, and put it beside a "
        "config.json. A Lightning checkpoint that holds plain tensors is read by `gendkit convert "
        "model.ckpt OUT --to gendkit`."
    )
