"""Seeds, device, atomic files, hashes and the provenance record: what makes a run repeatable."""

import hashlib
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
PACKAGES = (  # whose versions stand in every provenance record, where installed
    "accelerate", "anny", "av", "dlib-bin", "face-alignment", "numpy", "opencv-python", "pandas",
    "peft", "pillow", "plotly", "pytorch-metric-learning", "safetensors", "scikit-learn", "scipy",
    "torch", "transformers", "umap-learn",
)  # fmt: skip
_PACKAGE = Path(__file__).resolve().parent


def seed_all(seed: int) -> np.random.Generator:
    """Seed python, numpy and torch, and return a generator to pass down.

    torch is imported here if it is installed: its own start seed is a constant, so a torch loaded
    after this call would silently ignore the seed.

    Args:
        seed: Whole number, 0 <= seed < 2**32.

    Returns:
        `numpy.random.default_rng(seed)`; library code takes this, not the global state.

    Raises:
        ValueError: If the seed is not a whole number in range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"got seed {seed!r}, expected a whole number from 0 to 2**32 - 1; try 0")
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries such as umap still read the global state)
    if "torch" in sys.modules or util.find_spec("torch") is not None:
        import torch

        torch.manual_seed(seed)
    return np.random.default_rng(seed)


def device(name: str = "auto") -> "torch.device":
    """Choose where to compute.

    Args:
        name: "auto" (cuda, else mps, else cpu) or a torch device name such as "cpu", "cuda:1".

    Returns:
        The torch device.

    Raises:
        ValueError: If the named device is unknown or not present here.
    """
    import torch

    has_mps, n_cuda = torch.backends.mps.is_available(), torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if n_cuda else "mps" if has_mps else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'got device {name!r}, expected "auto", "cpu", "cuda" or "mps"') from error
    if (chosen.type == "cuda" and (chosen.index or 0) >= n_cuda) or (
        chosen.type == "mps" and not has_mps
    ):
        raise ValueError(
            f"got device {name!r}, but torch sees {n_cuda} CUDA devices and mps is "
            f'{has_mps}; use device="auto"'
        )
    return chosen


def data_dir(path: str | Path = "") -> Path:
    """Find the data folder.

    Args:
        path: A folder; "" means the variable GENDKIT_DATA, else `data/` of the checkout.

    Returns:
        The existing folder.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    asked = str(path or os.environ.get("GENDKIT_DATA", ""))
    folder = Path(asked).expanduser() if asked else _PACKAGE.parent / "data"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"got data folder {str(folder)!r}, expected an existing folder; "
            "use a checkout of gendkit, or set GENDKIT_DATA to the data folder"
        )
    return folder


def out_dir(path: str | Path = "") -> Path:
    """Find, or make, the folder for crops, runs and scores.

    Args:
        path: A folder; "" means `_build/out` of the checkout.

    Returns:
        The folder.
    """
    folder = Path(path).expanduser() if path else _PACKAGE.parent / "_build" / "out"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_dir() -> Path:
    """Find the folder for what is costly and can be made again: `_build/cache` of the checkout."""
    return out_dir(_PACKAGE.parent / "_build" / "cache")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Push to the disk what was written, so that a full disk shows before the old is replaced."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place only if the block succeeds.

    The block writes a file there or makes a folder there. After an exception (a full disk and
    Ctrl-C too) nothing is left of it, and what stood at `path` before is untouched. The temporary
    name keeps the suffix, because writers such as `numpy.savez` and Pillow read it.

    Args:
        path: Final file or folder; missing parent folders are made.

    Yields:
        A path that does not exist yet, in the same folder.

    Raises:
        FileNotFoundError: If the block wrote nothing.
    """
    path = Path(path)
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid4().hex[:12]
    temporary = path.with_name(f".{path.stem}.tmp-{token}{path.suffix}")
    old = path.with_name(f".{path.stem}.old-{token}{path.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(
                f"nothing was written for {path.name!r}; write to the path "
                "that atomic_path gives, not to the final one"
            )
        _sync(temporary)
        # os.replace cannot put a folder over a full one, nor exchange a file and a folder
        if path.exists() and (temporary.is_dir() or (path.is_dir() and not path.is_symlink())):
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        if old.exists():
            os.replace(old, path)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
    _remove(old)


def _plain(data: Any, where: str) -> Any:
    """Turn numpy values, paths and tuples into JSON values; refuse what JSON cannot hold."""
    if isinstance(data, dict):
        for key in data:
            if not isinstance(key, str):
                raise ValueError(f"got key {key!r} at {where}, expected text keys; use str(key)")
        return {key: _plain(value, f"{where}.{key}") for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value, f"{where}[{i}]") for i, value in enumerate(data)]
    if isinstance(data, np.ndarray | np.generic):
        return _plain(data.tolist(), where)
    if isinstance(data, Path):
        return data.as_posix()
    if isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"got {data} at {where}, expected a finite number; use None or drop it")
    if data is None or isinstance(data, str | bool | int | float):
        return data
    raise ValueError(
        f"got {type(data).__name__} at {where}, expected text, number, bool, None, "
        "list or dict; convert it first"
    )


def write_json(path: str | Path, data: Any) -> None:
    """Write a result as JSON, atomically: sorted keys, two-space indent, final newline.

    Args:
        path: Target file.
        data: Dicts with text keys, lists, text, numbers (numpy too), bools, None, paths.

    Raises:
        ValueError: For NaN, infinity or another type; the message says where in the data.
    """
    text = json.dumps(_plain(data, "$"), indent=2, sort_keys=True, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def link(source: Path, target: Path) -> None:
    """Put a file in a second place, as a hard link where possible, else as a copy.

    Args:
        source: The file.
        target: Where; replaced if it exists.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def read_json(path: str | Path) -> Any:
    """Read a JSON file as `write_json` writes it.

    Args:
        path: The file.

    Returns:
        The data.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the text is not JSON, or holds NaN or infinity.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(_existing(path).read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as error:
        message = f"got {str(path)!r}, expected valid JSON ({error}); write it again"
        raise ValueError(message) from error


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"got {str(path)!r}, expected an existing file; check the path, or "
            "run the step that writes it"
        )
    return Path(path)


def sha256(path: str | Path) -> str:
    """Hash the bytes of one file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    with _existing(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(*paths: str | Path) -> str:
    """Hash the names and contents of files and folders into one value.

    It does not depend on where they lie, on times or on the order of the arguments. Folders named
    `__pycache__` are left out, because running code changes them.

    Args:
        *paths: Files or folders.

    Returns:
        64 hexadecimal digits.

    Raises:
        FileNotFoundError: If a path does not exist.
    """
    lines = []
    for root in (Path(path).resolve() for path in paths):
        if not root.is_dir():
            lines.append([root.name, sha256(root)])
            continue
        lines.append([root.name + "/", ""])
        for file in root.rglob("*"):
            parts = file.relative_to(root).parts
            if file.is_file() and "__pycache__" not in parts:
                lines.append(["/".join((root.name, *parts)), sha256(file)])
    return hashlib.sha256(json.dumps(sorted(lines)).encode()).hexdigest()


def _git(*arguments: str) -> str | None:
    """Ask git about the folder of this package; None where git or a checkout is missing."""
    command = ["git", "-C", str(_PACKAGE), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(**facts: Any) -> dict[str, Any]:
    """Record what produced a result: code, machine, time, and the facts given.

    Args:
        **facts: Anything `write_json` takes, for example seed=0, profile="fast".

    Returns:
        {"code": {"commit", "dirty", "versions"}, "machine": {...}, "started": ISO time in UTC} and the
        facts. Outside a git checkout commit and dirty are None. No paths, no host name.

    Source: own; the shape follows the result files of huggingface/peft, method_comparison.
    """
    top = _git("rev-parse", "--show-toplevel")
    # installed inside another project's checkout: that commit says nothing about this code
    inside = top is not None and Path(top).resolve() == _PACKAGE.parent
    status = _git("status", "--porcelain") if inside else None
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        if version := _version(package):
            versions[package] = version
    machine = {
        "system": platform.system(),
        "processor": platform.machine(),
        "n_cpu": os.cpu_count(),
        "memory_gb": _memory_gb(),
    }
    if (torch := sys.modules.get("torch")) is not None:
        machine["threads"] = torch.get_num_threads()
        machine["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    code = {
        "commit": _git("rev-parse", "HEAD") if inside else None,
        "dirty": None if status is None else bool(status),
        "versions": versions,
    }
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"code": code, "machine": machine, "started": started, **facts}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows
        return None


def _in_notebook() -> bool:
    kernel = sys.modules.get("ipykernel.kernelapp")  # other packages import ipykernel, too
    return kernel is not None and kernel.IPKernelApp.initialized()


def progress(iterable: Iterable[Item], total: int | None = None, what: str = "") -> Iterator[Item]:
    """Iterate and show how far it is: a bar in a live terminal, one line per 10 % elsewhere.

    Lines suit notebooks run by papermill and logs of CI, where a bar leaves a line per step.

    Args:
        iterable: Anything to iterate.
        total: Number of items; None means len(iterable), or unknown: a line at 1, 2, 4, 8, ...
        what: Short name shown before the numbers.

    Yields:
        The items, unchanged.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    in_notebook = _in_notebook()  # there stderr is shown as a red warning
    stream = sys.stdout if in_notebook else sys.stderr
    if stream.isatty() and not in_notebook:
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, desc=what or None, file=stream)
        return
    start, tenths, done = time.monotonic(), 0, 0
    for done, item in enumerate(iterable, start=1):
        yield item
        seconds = time.monotonic() - start
        line = ""
        if total and 10 * done // total > tenths:
            tenths = min(10, 10 * done // total)
            left = seconds / done * (total - done)
            line = f"{10 * tenths} % ({done}/{total}), {seconds:.0f} s, ETA {left:.0f} s"
        elif not total and done & (done - 1) == 0:
            line = f"{done}, {seconds:.0f} s"
        if line:
            print(f"{what or 'done'}: {line}", file=stream, flush=True)
    if not total and done:
        seconds = time.monotonic() - start
        print(f"{what or 'done'}: {done} in all, {seconds:.0f} s", file=stream, flush=True)
