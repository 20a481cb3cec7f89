"""What this installation has and lacks: versions, machine, weights, data; each with its remedy."""

import importlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gendkit import repro

OK, MISSING, BROKEN = "ok", "missing", "broken"
FAST_EXTRAS = ("faces",)  # beside the base, what the fast profile imports
MODULES = {  # import name of a package, where it is another one
    "dlib-bin": "dlib", "face-alignment": "face_alignment", "opencv-python": "cv2",
    "pillow": "PIL", "pytorch-metric-learning": "pytorch_metric_learning",
    "scikit-learn": "sklearn", "umap-learn": "umap", "huggingface-hub": "huggingface_hub",
}  # fmt: skip
_FREE_GB, _MEMORY_GB = 1.0, 2.0  # for crops and runs of the fast profile; its peak is 1.6 GB


@dataclass(frozen=True)
class Line:
    """One finding.

    Attributes:
        group: "packages", "machine", "weights", "data", "models" or "extras".
        name: What was looked at.
        status: "ok", "missing" or "broken".
        needed: Whether the fast profile needs it.
        text: What was found.
        fix: The one command that mends it; "" where all is well.
    """

    group: str
    name: str
    status: str
    needed: bool
    text: str
    fix: str = ""


def examine(quick: bool = False) -> list[Line]:
    """Look at everything; nothing is downloaded or changed.

    Args:
        quick: Do not hash the data and the weights, only look whether the files are there.

    Returns:
        The findings, by group.
    """
    looks: list[Callable[[], Iterator[Line]]] = [
        packages,
        machine,
        lambda: weights(quick),
        lambda: data(quick),
        networks,
        models,
    ]
    return [line for look in looks for line in look()]


def healthy(lines: list[Line]) -> bool:
    """Say whether nothing that the fast profile needs is missing or broken."""
    return all(line.status == OK for line in lines if line.needed)


# ---------------------------------------------------------------- packages and extras


def requirements() -> dict[str, list[Any]]:
    """Give what gendkit asks for: extra -> requirements; "" is the base.

    Raises:
        FileNotFoundError: If gendkit is not installed, only importable.
    """
    from packaging.requirements import Requirement

    try:
        found = metadata.requires("gendkit") or []
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            "gendkit is not installed, only on the path; run: pip install -e ."
        ) from error
    extras = [""] + list(metadata.metadata("gendkit").get_all("Provides-Extra") or [])
    out: dict[str, list[Any]] = {extra: [] for extra in extras}
    for need in map(Requirement, found):
        for extra in extras:
            if need.marker is None:
                out[""].append(need)
                break
            if extra and need.marker.evaluate({"extra": extra}):
                out[extra].append(need)
    return out


def packages() -> Iterator[Line]:
    """Compare Python and every package with the lower bounds; import those of the fast profile."""
    version = platform.python_version()
    fits = sys.version_info >= (3, 11)
    status, fix = (OK, "") if fits else (BROKEN, "install Python 3.11 or newer, then: make install")
    yield Line("packages", "python", status, True, version, fix)
    try:
        needs = requirements()
    except FileNotFoundError as error:
        yield Line("packages", "gendkit", BROKEN, True, str(error), "pip install -e .")
        return
    for need in needs[""]:
        yield _package("packages", need, True, True, f'pip install "{need.name}{need.specifier}"')
    yield from _torchvision()
    for extra, parts in needs.items():
        if extra:
            yield from _extra(extra, parts)


def _package(group: str, need: Any, needed: bool, load: bool, fix: str) -> Line:
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return Line(group, need.name, MISSING, needed, f"expected {need.specifier}", fix)
    if version not in need.specifier:
        text = f"{version}, expected {need.specifier}"
        return Line(group, need.name, BROKEN, needed, text, fix)
    problem = _import(MODULES.get(need.name, need.name)) if load else ""
    if problem:
        fix = f"pip install --force-reinstall --no-deps {need.name}=={version}"
        return Line(group, need.name, BROKEN, needed, f"{version} does not import: {problem}", fix)
    return Line(group, need.name, OK, needed, version)


def _import(module: str) -> str:
    """Import a module; return what went wrong, in one line."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary raises anything
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.150}"
    return ""


def _torchvision() -> Iterator[Line]:
    """A torchvision that does not fit torch breaks transformers; none at all is fine."""
    if importlib.util.find_spec("torchvision") is None:
        return
    problem = _import("torchvision")
    if problem:
        text = f"does not import beside this torch ({problem}); the kit does not need it"
        yield Line("packages", "torchvision", BROKEN, True, text, "pip uninstall -y torchvision")


def _extra(extra: str, parts: list[Any]) -> Iterator[Line]:
    needed = extra in FAST_EXTRAS
    fix = f'pip install "gendkit[{extra}]"'
    lines = [_package("extras", need, needed, needed, fix) for need in parts]
    bad = [line for line in lines if line.status != OK]
    if not bad:
        text = ", ".join(f"{line.name} {line.text}" for line in lines)
        yield Line("extras", extra, OK, needed, text)
        return
    status = BROKEN if any(line.status == BROKEN for line in bad) else MISSING
    text = "; ".join(f"{line.name}: {line.status}, {line.text}" for line in bad)
    yield Line("extras", extra, status, needed, text, fix)


# ---------------------------------------------------------------- machine


def machine() -> Iterator[Line]:
    """Cores, threads, memory, GPU, disk, network setting."""
    n_cpu = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cpu
    threads, gpu = "torch is missing", "torch is missing"
    if importlib.util.find_spec("torch") and not _import("torch"):
        import torch

        threads = f"torch uses {torch.get_num_threads()} threads"
        gpu = _gpu(torch)
    asked = os.environ.get("OMP_NUM_THREADS")
    text = f"{usable} of {n_cpu} cores, {threads}, OMP_NUM_THREADS {asked or 'not set'}"
    yield Line("machine", "processor", OK, True, text)
    memory = repro.provenance()["machine"]["memory_gb"]
    if memory is not None:
        low = memory < _MEMORY_GB
        fix = "close other programs, or lower n_frames and batch_size" if low else ""
        text = f"{memory} GB; the fast profile takes at most 1.6 GB"
        yield Line("machine", "memory", BROKEN if low else OK, True, text, fix)
    yield Line("machine", "GPU", OK, False, gpu)
    yield _disk()
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    text = "the model hub is not asked (HF_HUB_OFFLINE)" if offline else "the model hub is allowed"
    yield Line("machine", "network", OK, False, text)


def _gpu(torch: Any) -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return ", ".join(names)
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    return "none; the fast profile needs none, the profiles demo and full gain by one"


def _disk() -> Line:
    try:
        folder = repro.out_dir()
        free = shutil.disk_usage(folder).free / 1e9
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        fix = "run gendkit from a folder that you may write to"
        return Line("machine", "disk", BROKEN, True, str(error), fix)
    text = f"{free:.1f} GB free at {folder}"
    if not writable:
        return Line(
            "machine", "disk", BROKEN, True, f"{folder} is read-only", f"chmod u+w {folder}"
        )
    if free < _FREE_GB:
        fix = f"free {_FREE_GB - free:.1f} GB; make clean removes what can be built again"
        return Line("machine", "disk", BROKEN, True, text, fix)
    return Line("machine", "disk", OK, True, text)


# ---------------------------------------------------------------- data and embedded weights


def weights(quick: bool = False) -> Iterator[Line]:
    """Check the embedded models, by `gendkit weights verify`."""
    fix = "git checkout -- data/weights"
    try:
        folder = repro.data_dir() / "weights"
        known = repro.read_json(folder / "hashes.json")
    except (OSError, ValueError) as error:
        yield Line("weights", "embedded models", MISSING, True, str(error), fix)
        return
    lost = [name for name in known if not (folder / name).is_file()]
    if lost:
        text = f"{len(lost)} of {len(known)} files are not in {folder}, first {lost[0]}"
        yield Line("weights", "embedded models", MISSING, True, text, fix)
        return
    text = f"{len(known)} files in {folder}"
    if not quick:
        faults = _verified()
        if faults:
            text = f"{len(faults)} faults, first: {faults[0]}"
            yield Line("weights", "embedded models", BROKEN, True, text, fix)
            return
        text += ", as listed (sha256)"
    yield Line("weights", "embedded models", OK, True, text)


def _verified() -> list[str]:
    import json

    command = [sys.executable, "-m", "gendkit.cli", "weights", "verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    try:
        return json.loads(done.stdout)["faults"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [f"gendkit weights verify ended with {done.returncode}: {last}"]


def data(quick: bool = False) -> Iterator[Line]:
    """Check the clips of Nobody's Faces against the hashes of their manifests."""
    from gendkit import manifest

    for name in ("nobody", "nobody-x"):
        fix = f"git checkout -- data/{name}"
        try:
            folder = repro.data_dir() / name
            table = manifest.read(folder / "manifest.csv")
        except (OSError, ValueError) as error:
            yield Line("data", name, MISSING, True, str(error), fix)
            continue
        lost = [path for path in table["path"] if not (folder / path).is_file()]
        pairs = zip(table["path"], table["sha256"], strict=True)
        if lost:
            text = f"{len(lost)} of {len(table)} clips are not in {folder}, first {lost[0]}"
            yield Line("data", name, MISSING, True, text, fix)
            continue
        other = [] if quick else [p for p, h in pairs if h and repro.sha256(folder / p) != h]
        if other:
            text = f"{len(other)} of {len(table)} clips are not those of the manifest: {other[0]}"
            yield Line("data", name, BROKEN, True, text, fix)
            continue
        checked = "" if quick else ", as listed (sha256)"
        yield Line("data", name, OK, True, f"{len(table)} clips in {folder}{checked}")


# ---------------------------------------------------------------- what only larger profiles need


def networks() -> Iterator[Line]:
    """Look for face-alignment's own networks; the fast profile runs dlib and the embedded one."""
    try:
        import torch

        from gendkit import faces, fan

        url = fan.need("face_alignment").api.models_urls["2DFAN-4"]
    except ImportError as error:
        yield Line("models", "face-alignment", MISSING, False, str(error), _FACES)
        return
    place = Path(torch.hub.get_dir()) / "checkpoints" / fan.OFFICIAL_FILE
    yield _files("landmarks 2DFAN-4", {place: url})
    for name in faces.DETECTORS:
        try:
            files = faces.detector_files(name)
        except ImportError as error:
            text = f"its code does not import: {(str(error).splitlines() or [''])[0]:.150}"
            fix = "use another detector: --detector dlib"
            yield Line("models", f"detector {name}", BROKEN, False, text, fix)
            continue
        if files:
            yield _files(f"detector {name}", files)


_FACES = 'pip install "gendkit[faces]"'


def _files(name: str, files: dict[Path, str]) -> Line:
    lost = {path: url for path, url in files.items() if not path.is_file()}
    if not lost:
        return Line("models", name, OK, False, ", ".join(str(path) for path in files))
    text = "; ".join(f"{url} belongs in {path.parent} as {path.name}" for path, url in lost.items())
    fix = " && ".join(
        f"curl -L --create-dirs -o {shlex.quote(str(path))} {shlex.quote(url)}"
        for path, url in lost.items()
    )
    return Line("models", name, MISSING, False, text, fix)


def models() -> Iterator[Line]:
    """Look in the hub's cache for the released GenD models and the paper's encoders."""
    from gendkit.layouts import RELEASED
    from gendkit.specs import REGISTRY

    for repo_id in RELEASED:
        yield _cached(f"released {repo_id}", repo_id, ("config.json", _WEIGHTS))
    for name, (spec, _) in REGISTRY.items():
        repo_id = f"{spec.hub_id}.fb" if spec.family == "pe" else spec.hub_id
        files = (_WEIGHTS,) if spec.family == "pe" else ("config.json", _WEIGHTS)
        yield _cached(f"encoder {name}", repo_id, files)


_WEIGHTS = "model.safetensors"


def _cached(name: str, repo_id: str, files: tuple[str, ...]) -> Line:
    from huggingface_hub import constants, try_to_load_from_cache

    places = [try_to_load_from_cache(repo_id, file) for file in files]
    if all(isinstance(place, str) for place in places):
        return Line("models", name, OK, False, str(Path(places[0]).parent))
    target = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    text = f"https://huggingface.co/{repo_id} belongs in {target}"
    return Line("models", name, MISSING, False, text, f"hf download {repo_id} {' '.join(files)}")


def as_dict(lines: list[Line]) -> dict[str, Any]:
    """Give the findings as plain data, for JSON."""
    return {"ok": healthy(lines), "lines": [asdict(line) for line in lines]}


def text(lines: list[Line]) -> str:
    """Give the findings as text: a line each, below it the command that mends it."""
    out, group = [], ""
    wide = max(len(line.name) for line in lines)
    for line in lines:
        if line.group != group:
            group = line.group
            out += ["", _TITLES[group]] if out else [_TITLES[group]]
        mark = "OK" if line.status == OK else line.status
        out.append(f"  {mark:<7}  {line.name:<{wide}}  {line.text}")
        if line.fix:
            out.append(f"  {'':<7}  {'':<{wide}}  fix: {line.fix}")
    red = [line for line in lines if line.needed and line.status != OK]
    rest = sum(not line.needed and line.status != OK for line in lines)
    verdict = (
        f"{len(red)} things that the fast profile needs are not right: "
        + ", ".join(line.name for line in red)
        if red
        else "All that the fast profile needs is here."
    )
    other = f" {rest} more are not here; only larger profiles or single commands need them."
    return "\n".join([*out, "", verdict + (other if rest else "")])


_TITLES = {
    "packages": "packages",
    "extras": "extras (optional packages)",
    "machine": "machine",
    "weights": "embedded weights",
    "data": "embedded data",
    "models": "models from outside (none is needed by the fast profile)",
}
