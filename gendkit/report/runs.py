"""Scores files of a reproducer: what was scored, by which model, and which published row it answers to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gendkit import benchmarks, compare, evaluate, experiments, metrics, official, repro

RELEASED = {
    "yermandy/GenD_CLIP_L_14": "GenD CLIP",
    "yermandy/GenD_PE_L": "GenD PE",
    "yermandy/GenD_DINOv3_L": "GenD DINOv3",
}
OTHERS = ("Effort", "ForAda", "FS-VFM", "SBI", "linear probe")  # which this kit does not have
ENCODERS = {"clip-l14": "CLIP", "pe-l": "PE", "dinov3-l": "DINOv3"}
# Which rung the released models are. Source: github.com/yermandy/GenD at e03532d, the comment "select
# this group of runs" of its robustness file; for DINOv3 none is named.
RUNGS = {"CLIP LN+L2+UnAl": "GenD CLIP", "PE LN+L2": "GenD PE"}
_FOLDER_ENDING = re.compile(r"-x\d.*$")  # as in CDFv3-x1.3-th0.5-all: how its crops were made


@dataclass(frozen=True)
class Run:
    """Scores of one model.

    Attributes:
        name: For the reader: the experiment, the model, or the file.
        sets: Key of a benchmark ("CDFv2", "FF") or name of another set -> its report videos.
        rows: Published rows it answers to: "GenD CLIP", "CLIP LN", "paired"; empty if the records
            do not tell, or name a model that the paper has not.
        profile: "fast", "demo", "full", or "" where nothing is recorded.
        provenance: File, hash and commit, in one line.
        note: What a reader must know.
    """

    name: str
    sets: dict[str, pd.DataFrame] = field(repr=False)
    rows: tuple[str, ...] = ()
    profile: str = ""
    provenance: str = ""
    note: str = ""


def find(paths: Iterable[str | Path]) -> list[Path]:
    """Find scores files and runs.

    Args:
        paths: Scores files (.csv), folders of runs (with scores.csv), or folders that hold such
            files or folders, at any depth.

    Returns:
        Files and folders for `load`, sorted, each once.

    Raises:
        FileNotFoundError: If a path does not exist, or a folder holds no scores.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}; give scores files or their folder")
        files = [path] if path.is_file() else sorted(filter(_is_scores, path.rglob("*.csv")))
        if not files:
            raise FileNotFoundError(
                f"{path} holds no scores file (a .csv with the columns {evaluate.COLUMNS}, or the "
                "official test_predictions.csv); write one: gendkit test --model MODEL --data "
                "MANIFEST --out FOLDER"
            )
        found |= dict.fromkeys(f.parent if f.name == "scores.csv" else f for f in files)
    return list(found)


def _is_scores(path: Path) -> bool:
    if path.name == "test_predictions.csv":
        return True
    with path.open(encoding="utf-8", errors="replace") as handle:
        return set(evaluate.COLUMNS) <= set(handle.readline().strip().split(","))


def load(path: str | Path, name: str = "", how: str = "mean") -> Run:
    """Read one scores file or run.

    Args:
        path: Scores file of the kit, the official `test_predictions.csv`, or a folder with
            scores.csv.
        name: What was scored, where its records do not say: an experiment (`gendkit experiments
            list`), a released model's id, or a published row such as "GenD PE".
        how: Frames to video: "mean" (the paper's) or "median".

    Returns:
        The run.

    Raises:
        FileNotFoundError, ValueError: As `evaluate.read_scores`; also if one benchmark stands there
            in two compressions, or `name` is unknown.
    """
    path = Path(path)
    if path.name == "test_predictions.csv":
        facts: dict[str, Any] = {}
        scores, file = official.read_predictions(path), path
    else:
        side = compare.read(path)
        if side.scores is None:
            raise ValueError(f"{path} has no scores.csv; run: gendkit test --from {path}")
        facts, scores, file = side.facts, side.scores, path
    if path.is_dir():
        file = path / "scores.csv"
    asked = name or _stated(facts)
    rows, note = identify(asked, _profile(facts)) if asked else ((), "")
    if not asked:
        note = "its records do not name the model; say it: --as NAME"
    commit = str(facts.get("code.commit") or "")[:10]
    provenance = f"{file.name} {repro.sha256(file)[:12]}" + (f", commit {commit}" if commit else "")
    return Run(asked or path.stem, sets(scores, how), rows, _profile(facts), provenance, note)


def _profile(facts: dict[str, Any]) -> str:
    return str(facts.get("profile") or facts.get("test.profile") or "")


def _stated(facts: dict[str, Any]) -> str:
    """Name what the records say was scored; a run of `gendkit test` names the folder of a run."""
    for key in ("experiment", "model", "test.model"):
        if facts.get(key):
            return str(facts[key])
    run = str(facts.get("run") or facts.get("test.run") or "")
    return Path(run).name if Path(run).name in experiments.names() else ""


def identify(name: str, profile: str = "") -> tuple[tuple[str, ...], str]:
    """Say which published rows a model answers to.

    Args:
        name: Experiment, id of a released model, or a published row.
        profile: Of the run; only "full" or "" is the paper's encoder and recipe.

    Returns:
        Rows (see `Run`), and a note; no rows for a model that the paper has not.
    """
    if name in RELEASED:
        return (RELEASED[name],), "released checkpoint"
    known = {*RELEASED.values(), *OTHERS, "paired", "unpaired"}
    known |= {f"{e} {r}" for e in ENCODERS.values() for r in ("Baseline", *_LADDER.values())}
    if name in known:
        return (name,), "named by the user"
    if name not in experiments.names():
        return (), f"{name} is no model of the paper"
    run = experiments.get(name)
    if run.source == "kit" or profile in ("fast", "demo"):
        return (), "the kit's own small version, not a run of the paper"
    if run.weights in RELEASED and run.corruption is None:
        return (RELEASED[run.weights],), "released checkpoint"
    if run.family == "paired":
        return ("unpaired" if "unpaired" in name else "paired",), ""
    rung = _rung(run)
    if run.family not in ("base", "seeded") or rung is None:
        return (), f"the paper's tables have no row for {name} here"
    released = RUNGS.get(rung)
    note = "which rung the released model is, is inferred" if released else ""
    return (rung, released) if released else (rung,), note


_LADDER = {(0.0, 0.0, "linear"): "LN", (0.0, 0.0, "LinearNorm"): "LN+L2",
           (0.1, 0.5, "LinearNorm"): "LN+L2+UnAl"}  # fmt: skip


def _rung(run: experiments.Experiment) -> str | None:
    if run.training is None or run.training.get("augment") is False:
        return None
    encoder = ENCODERS.get(run.backbone or "")
    weights = (run.losses["alignment"], run.losses["uniformity"], run.head)
    if run.tune == "probe" and weights == (0.0, 0.0, "linear"):
        return f"{encoder} Baseline"
    rung = _LADDER.get(weights) if run.tune == "layernorm" else None
    return f"{encoder} {rung}" if encoder and rung else None


def sets(scores: pd.DataFrame, how: str = "mean") -> dict[str, pd.DataFrame]:
    """Split a scores table into benchmarks.

    Args:
        scores: Scores table; the role report is taken.
        how: Frames to video.

    Returns:
        Key of the benchmark, else the name of the set -> its videos, sources named with their set.

    Raises:
        ValueError: If there is no report row, or one benchmark stands there twice.
    """
    chosen = scores[scores["role"] == "report"]
    if chosen.empty:
        raise ValueError("no row has the role 'report'; score the test part of a benchmark")
    videos = metrics.video_scores(chosen, how)
    found: dict[str, pd.DataFrame] = {}
    for (dataset, compression), part in videos.groupby(["dataset", "compression"], sort=True):
        key = benchmark_of(str(dataset)) or str(dataset)
        if key in found:
            raise ValueError(
                f"{key} stands there twice ({dataset!r}, compression {compression!r} is the "
                "second); keep one compression in the file"
            )
        found[key] = part.assign(source_id=key + "/" + part["source_id"].astype(str))
    return found


def benchmark_of(dataset: str) -> str | None:
    """Name the benchmark of a set, however its folder is called; None for any other set.

    Args:
        dataset: For example "Celeb-DF-v2", "FF", "CDFv3-x1.3-th0.5-all".
    """
    for name in (dataset, _FOLDER_ENDING.sub("", dataset)):
        try:
            return benchmarks.card(name).key
        except ValueError:
            continue
    return None
