"""Run the notebooks of the book with papermill: strict parameters, reuse of unchanged runs only."""

import contextlib
import difflib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import psutil
import yaml
from nbclient.exceptions import CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
PROFILES = ("fast", "demo", "full")
CELL_TIMEOUT = {"fast": 600, "demo": 3600, "full": None}  # seconds
# What a run may depend on besides its notebook and parameters. data/raw and data/cache are the
# reader's own and are named by parameters.
DEPENDENCIES = (
    *("gendkit", "data", "constraints.txt"),
    *("book/nbrun.py", "book/offline"),
)
NOT_A_DEPENDENCY = {"__pycache__", ".ipynb_checkpoints", "raw", "cache"}
VERSIONS = ("torch", "transformers", "peft", "pytorch-metric-learning", "umap-learn", "plotly")
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list}
# The same surroundings in every run: offline, few threads, figures as data (see nbfigures.py).
ENVIRONMENT = {
    "PLOTLY_RENDERER": "plotly_mimetype",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
    "PYTHONHASHSEED": "0",
}
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA")
OFFLINE = ROOT / "book" / "offline"


class BookError(Exception):
    """The book cannot be built; the message says what to repair."""


@dataclass(frozen=True)
class Run:
    """One executed notebook and what it cost.

    Args:
        name: Stem of the notebook, such as "04_layernorm_tuning".
        path: The executed copy.
        profile: "fast", "demo" or "full".
        parameters: Values that differ from the defaults of the notebook.
        seconds: Wall time of the run.
        peak_mb: Largest resident memory of the kernel with its worker processes, MiB.
        finished: UTC time, ISO format.
        versions: Versions of Python and of the libraries that matter.
        key: Hash of everything that the run depends on.
        reused: True if the copy comes from an earlier run with the same key.
    """

    name: str
    path: Path
    profile: str
    parameters: dict[str, Any]
    seconds: float
    peak_mb: float
    finished: str
    versions: dict[str, str]
    key: str
    reused: bool = False


def cells(path: Path) -> list[tuple[str, str, list[str]]]:
    """Content of a notebook: (type, source, tags) of each cell; outputs and ids do not count."""
    notebook = jupytext.read(path)
    return [
        (c.cell_type, c.source.strip(), sorted(c.metadata.get("tags", []))) for c in notebook.cells
    ]


def check_pair(notebook: Path) -> None:
    """Raise BookError unless NN_slug.py and NN_slug.ipynb exist and have the same cells."""
    source, generated = notebook.with_suffix(".py"), notebook.with_suffix(".ipynb")
    repair = f"run: jupytext --to ipynb --update notebooks/{source.name}"
    if not source.is_file():
        raise BookError(f"notebooks/{source.name} is missing; it is the source of {generated.name}")
    if not generated.is_file():
        raise BookError(f"notebooks/{generated.name} is missing; {repair}")
    if cells(source) != cells(generated):
        raise BookError(f"notebooks/{source.name} and {generated.name} differ; {repair}")


def declared(notebook: Path) -> dict[str, dict[str, Any]]:
    """Parameters that papermill sees in the cell tagged `parameters` (name to type, default, help)."""
    with contextlib.redirect_stdout(None):
        return papermill.inspect_notebook(str(notebook))


def _value(name: str, value: Any, kind: str, where: str) -> Any:
    """Check a value against the declared type; text from the command line is converted."""
    wanted = TYPES.get(kind.split("[")[0])
    if wanted is None:
        raise BookError(f"{where}: parameter {name} has type {kind}; use one of {', '.join(TYPES)}")
    if isinstance(value, str) and wanted is not str:
        try:
            value = float(value) if wanted is float else yaml.safe_load(value)
        except ValueError as error:
            raise BookError(f"{where}: {name} must be {kind}, got {value!r}") from error
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise BookError(f"{where}: {name} must be {kind}, got {value!r}")
    return value


def parameters(
    notebook: Path,
    profile: str,
    overrides: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Collect the parameters of one run and refuse what the notebook does not declare.

    Args:
        notebook: The .ipynb file.
        profile: Looks for `<folder>/<profile>/<stem>.yml`; without the file the defaults hold.
        overrides: Values from the command line; they win over the file.
        folder: Folder of the profiles; default `notebooks/params`.

    Returns:
        Only the values to inject; empty for the defaults.

    Raises:
        BookError: For an unknown name (papermill itself would run with the default) or a wrong type.
    """
    known = declared(notebook)
    file = (folder or ROOT / "notebooks" / "params") / profile / f"{notebook.stem}.yml"
    sources: list[tuple[str, Mapping[str, Any]]] = [("command line", overrides or {})]
    if file.is_file():
        content = yaml.safe_load(file.read_text("utf-8")) or {}
        sources.insert(0, (f"params/{profile}/{file.name}", content))
    values: dict[str, Any] = {} if profile == "fast" else {"profile": profile}
    for where, given in sources:
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise BookError(
                    f"{where}: notebooks/{notebook.name} has no parameter {name}; {hint}"
                )
            values[name] = _value(name, value, known[name]["inferred_type_name"], where)
    if values and "profile" not in known:
        raise BookError(f"notebooks/{notebook.name} has no cell tagged `parameters` with `profile`")
    return values


def _tree(root: Path) -> dict[str, str]:
    """Path -> sha256 of every file that any notebook may depend on."""
    found = {}
    for name in DEPENDENCIES:
        top = root / name
        files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        for path in files:
            relative = path.relative_to(root)
            if not NOT_A_DEPENDENCY & set(relative.parts):
                found[relative.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _outside(folder: str | Path) -> list[tuple[str, int, int]]:
    """Name, size and time of every file of the reader's own data, too large to hash."""
    files = sorted(p for p in Path(folder).expanduser().rglob("*") if p.is_file())
    return [(p.as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def dependency_key(notebook: Path, values: Mapping[str, Any], root: Path = ROOT) -> str:
    """Hash of all that the result of a run depends on; equal keys mean that a copy may be reused."""
    facts = [cells(notebook), dict(values), platform.python_version(), ENVIRONMENT, _tree(root)]
    for folder in (values.get("data_dir"), os.environ.get("GENDKIT_DATA")):
        facts.append(_outside(notebook.parent / folder) if folder else [])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class PeakMemory(threading.Thread):
    """Watch the kernels that this process starts; `peak_mb` is their largest resident memory, MiB.

    The high-water mark that the system keeps for the kernel (VmHWM) misses no spike; the sum over its
    worker processes is sampled. getrusage would not do: its maximum survives exec and so contains us.
    """

    def __init__(self, period_s: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._period_s, self._end = period_s, threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._period_s):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error, OSError):
                    if any("ipykernel_launcher" in word for word in child.cmdline()):
                        self.peak_mb = max(self.peak_mb, self._measure(child) / 2**20)

    @staticmethod
    def _measure(kernel: psutil.Process) -> float:
        total = kernel.memory_info().rss
        for worker in kernel.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += worker.memory_info().rss
        high_water = 0
        status = Path(f"/proc/{kernel.pid}/status")  # Linux only; elsewhere the samples must do
        if status.is_file():
            lines = [s for s in status.read_text().splitlines() if s.startswith("VmHWM")]
            high_water = int(lines[0].split()[1]) * 1024 if lines else 0
        return max(total, high_water)

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self.join()


@contextlib.contextmanager
def _environment(profile: str) -> Iterator[None]:
    """Surroundings of a run. The fast profile gives the same ones everywhere: two threads, no network."""
    before = dict(os.environ)
    for name, value in ENVIRONMENT.items():
        if profile == "fast" or not name.endswith("_OFFLINE"):
            os.environ[name] = value
    if profile == "fast":
        os.environ.update({f"{name}_NUM_THREADS": "2" for name in THREADS})
        path = [str(OFFLINE), before.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _where_it_failed(path: Path) -> str:
    """Number and first line of the cell that raised or never came to an end."""
    if not path.is_file():
        return "before the first cell"
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    code = [c for c in code if "injected-parameters" not in c.metadata.get("tags", [])]
    for number, cell in enumerate(code, 1):
        raised = any(o.output_type == "error" for o in cell.get("outputs", []))
        if raised or cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            first = next((s for s in cell.source.splitlines() if s.strip()), "")
            return f"code cell {number} ({first.strip()[:60]})"
    return "an unknown cell"


def run_notebook(
    notebook: Path,
    profile: str = "fast",
    overrides: Mapping[str, str] | None = None,
    *,
    root: Path = ROOT,
    build: Path = BUILD,
    force: bool = False,
) -> Run:
    """Execute a notebook, or return the earlier execution if nothing that it depends on has changed.

    Args:
        notebook: The .ipynb file; it runs with its own folder as working directory.
        profile: "fast" (the defaults of the notebook), "demo" or "full".
        overrides: Parameters from the command line, as text.
        root: Repository root, for the dependencies.
        build: Folder for executed copies (`runs/<profile>/`) and results (`out/<profile>/`).
        force: Run even if an unchanged copy is there.

    Returns:
        The run. Its executed copy is kept when the notebook fails, too.

    Raises:
        BookError: Naming notebook and cell, if a parameter is unknown or a cell fails.
    """
    check_pair(notebook)
    values = parameters(notebook, profile, overrides, notebook.parent / "params")
    out = None
    if "out_dir" not in values and "out_dir" in declared(notebook):
        # An own, emptied folder for each notebook: no run can see the leftovers of another, so the
        # key below is complete and `make test` and `make book` may share executed copies.
        out = build / "out" / profile / notebook.stem
        values["out_dir"] = Path(os.path.relpath(out, notebook.parent)).as_posix()
    key = dependency_key(notebook, values, root)
    copy = build / "runs" / profile / notebook.name
    record = copy.with_suffix(".json")
    if not force and record.is_file() and copy.is_file():
        facts = json.loads(record.read_text("utf-8"))
        if (
            facts.pop("sha256") == hashlib.sha256(copy.read_bytes()).hexdigest()
            and facts["key"] == key
        ):
            return Run(**{**facts, "path": copy, "reused": True})

    record.unlink(missing_ok=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if out is not None:  # never a folder that the reader named
        shutil.rmtree(out, ignore_errors=True)
    started, reason = time.perf_counter(), None
    with _environment(profile), PeakMemory() as memory:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(copy),
                parameters=values,
                kernel_name="python3",
                cwd=str(notebook.parent),
                progress_bar=False,
                start_timeout=180,
                extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
                execution_timeout=CELL_TIMEOUT[profile],
            )
        except (papermill.PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
            reason = error
    seconds = time.perf_counter() - started
    if reason is not None:
        what = f"{type(reason).__name__}"
        if isinstance(reason, papermill.PapermillExecutionError):
            what = f"{reason.ename}: {reason.evalue}"
        try:
            kept = copy.relative_to(root)
        except ValueError:
            kept = copy
        raise BookError(
            f"notebooks/{notebook.name}, {_where_it_failed(copy)}: {what}\n"
            f"  after {seconds:.0f} s, peak memory {memory.peak_mb:.0f} MB; executed copy: {kept}"
        ) from reason
    run = Run(
        name=notebook.stem,
        path=copy,
        profile=profile,
        parameters=values,
        seconds=round(seconds, 1),
        peak_mb=round(memory.peak_mb),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONS},
        key=key,
    )
    facts = {k: v for k, v in asdict(run).items() if k not in ("path", "reused")}
    facts["sha256"] = hashlib.sha256(copy.read_bytes()).hexdigest()
    record.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", "utf-8")
    return run
