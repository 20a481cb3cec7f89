"""From videos and images to aligned face crops with a manifest and a report; resumable.

One unit of work is one video. Its crops are written to a temporary folder that is renamed when complete, and a small
record is written last: a run that was killed goes on where it stopped and ends with the same bytes.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import manifest, repro, video
from gendkit.extract.jobs import run_jobs
from gendkit.extract.overlap import Clock
from gendkit.extract.scales import crops_at_scales
from gendkit.extract.track import LIMITS
from gendkit.extract.units import ExtractError, find_masks, find_units, mask_hash, quick_hash
from gendkit.extract.work import record_path
from gendkit.faces import POLICIES, FaceEngine, detector_files
from gendkit.fan import find_weights

__all__ = ["STATUSES", "ExtractError", "ExtractReport", "crops_at_scales", "find_masks", "run"]

LOCK_WAIT_S = 600  # how long a second run into the same folder waits for the first
STATUSES = ("ok", "partial", "no_face", "unreadable", "empty")


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction gave.

    Attributes:
        crops: frame manifest, one row per crop; `path` is relative to the output folder.
        report: one row per video, in the order of the input: path, status, n_asked (frames asked), n_faces (frames
            that gave a crop), n_several (frames with more than one face), message, codec, width, height, with the
            policy "mask" n_masked (frames whose face a mask chose), and the key of the video.
        folder: where the crops lie.
        speed: of what was done now: n_videos, n_frames, seconds, frames_per_second, and stages, the seconds of
            decode, detect, landmarks, align and write. Decoding and writing run beside the rest, and workers beside
            one another, so the stages may add up to more than the seconds.
    """

    crops: pd.DataFrame
    report: pd.DataFrame
    folder: Path
    speed: dict[str, Any] = field(default_factory=dict)


def run(
    inputs: str | Path | pd.DataFrame | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    root: str | Path | None = None,
    n_frames: int = 32,
    rule: str = "fixed_num_frames",
    stride: int = 1,
    engine: Any = None,
    scale: float = 1.3,
    size: int | None = 256,
    policy: str = "largest",
    workers: int = 1,
    method: str = "unlabelled",
    limit: int | None = None,
    mask_folder: str | Path | None = None,
    track: bool = False,
    cluster: str | None = None,
    redo: bool = False,
) -> ExtractReport:
    """Cut aligned face crops out of videos and images.

    Written under `out`: `<dataset>/<method>[/<compression>]/<video_id>/<frame>.png`, `manifest.csv`, `report.csv`,
    `provenance.json` and the records of finished videos (`.units`). What is finished is not done again.

    Args:
        inputs: a manifest of videos (its path, or the table with `root`), a folder, a file, a list of these two, or
            a .txt file that names one video or image a line.
        out: folder for the results; made by an extraction with other settings, it is refused. None takes a folder
            of the build cache that is named after inputs and settings, shared by all who ask for the same.
        root: folder that the paths of a table or of a .txt file are relative to.
        n_frames: frames per video for "fixed_num_frames"; crops per video for "at_least".
        rule: frame rule, see `gendkit.video.sample`.
        stride: step for "fixed_stride".
        engine: None for `FaceEngine()`, a dict of settings for it, or any object that works like it.
        scale: crop margin, see `gendkit.faces.align_crop`.
        size: side of the crops in pixels; None or 0 keeps the native size.
        policy: which face of several, see `gendkit.faces.choose`. "mask" takes the largest face where the
            manifest names no mask (reals); "all" makes a crop of each.
        workers: number of processes; each has one thread.
        method: for inputs without a manifest: "real" gives label 0, any other name label 1. The default says that
            nothing is known; such rows have role "" and must not be evaluated.
        limit: with "fixed_stride", stop a video after this many frames with a face.
        mask_folder: masks of the inputs, see `find_masks`; with the policy "mask".
        track: follow faces from frame to frame; detect again where that is unsure, see `track`. The settings in
            provenance.json say so, and rows of followed faces have tracked = 1.
        cluster: address of a Dask scheduler, or its .json file, that does the work in place of `workers`; all its
            machines must see inputs and `out` under the same names.
        redo: do finished videos again.

    Returns:
        The manifest of crops and the report.

    Raises:
        ExtractError: nothing to do, unknown settings, or an `out` made with other settings.
        FileNotFoundError: a path of `inputs` or the weights of the engine are missing.
        ImportError: a package of the extra "faces" or "cluster" is missing.

    Source: sampling rules, margin and file naming follow the official GenD preprocessing (`detector.py`).
    """
    start = time.perf_counter()
    units = find_units(inputs, root, method)
    size = size or None
    _check(rule, n_frames, stride, scale, size, policy, workers)
    _check_more(rule, limit, policy, mask_folder, track, engine)
    if mask_folder is not None:
        n_found = find_masks(units, mask_folder)
        if n_found < len(units):
            print(
                f"extract: {n_found} of {len(units)} inputs have a mask; of the others the largest "
                "face is taken",
                file=sys.stderr,
            )
    settings = dict(engine) if isinstance(engine, dict) else None
    if engine is None or settings is not None:
        engine = FaceEngine(**(settings or {}))
    spec = {
        "rule": rule,
        "n_frames": n_frames if rule in ("fixed_num_frames", "at_least") else None,
        "stride": stride if rule == "fixed_stride" else None,
        "scale": float(scale),
        "size": size,
        "policy": policy,
        "interpolation": "bilinear",
        "engine": _describe(engine, settings),
        # Settings that came later stand here only where they are used: the caches' names stay.
        **({"limit": limit} if limit else {}),
    }
    if track:
        spec["engine"]["track"] = LIMITS
    for unit in units:
        unit["seen"] = quick_hash(Path(unit["source"]))
    out = _shared(units, spec) if out is None else Path(out)
    with _locked(out):
        _claim(out, spec)
        _sweep(out)
        records: dict[int, dict] = {}
        todo = []
        for number, unit in enumerate(units):
            record = None if redo else _finished(out, unit)
            if record is None:
                todo.append(number)
            else:
                records[number] = record
        jobs = run_jobs([units[k] for k in todo], out, spec, engine, settings, workers, cluster)
        clock = Clock()
        with contextlib.closing(jobs):
            for position, record, seconds in repro.progress(jobs, len(todo), "extract"):
                records[todo[position]] = record
                clock.add(seconds)
        speed = _speed([records[k] for k in todo], time.perf_counter() - start, clock)
        return _assemble(units, [records[k] for k in range(len(units))], out, speed)


def _speed(records: list[dict], seconds: float, clock: Clock) -> dict[str, Any]:
    n_frames = sum(record["n_asked"] for record in records)
    return {
        "n_videos": len(records),
        "n_frames": n_frames,
        "seconds": seconds,
        "frames_per_second": n_frames / seconds,
        "stages": clock.seconds,
    }


def _shared(units: list[dict], spec: dict) -> Path:
    asked = json.dumps([spec, [(unit["source"], unit["seen"]) for unit in units]], sort_keys=True)
    return repro.cache_dir() / "crops" / hashlib.sha256(asked.encode()).hexdigest()[:12]


def _check(rule, n_frames, stride, scale, size, policy, workers) -> None:
    if rule not in video.RULES:
        raise ExtractError(f"unknown rule {rule!r}; use one of {', '.join(video.RULES)}.")
    if policy not in POLICIES:
        raise ExtractError(f"unknown policy {policy!r}; use one of {', '.join(POLICIES)}.")
    for name, value in (("n_frames", n_frames), ("stride", stride), ("workers", workers)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ExtractError(f"{name} is {value!r}; expected a whole number of at least 1.")
    if not scale > 0 or (size is not None and size < 2):
        raise ExtractError(
            f"got scale={scale}, size={size}; expected scale > 0 and size >= 2 or None."
        )


def _check_more(rule, limit, policy, mask_folder, track, engine) -> None:
    if limit is not None and (rule != "fixed_stride" or limit < 1):
        raise ExtractError(
            f"got limit={limit} with the rule {rule!r}; it goes with 'fixed_stride' and is at least 1."
        )
    if mask_folder is not None and policy != "mask":
        raise ExtractError(
            f"got a mask folder and the policy {policy!r}; a mask chooses the face with policy 'mask'."
        )
    if track and not (engine is None or isinstance(engine, dict | FaceEngine)):
        raise ExtractError(
            f"tracking needs a FaceEngine, got {type(engine).__name__}; leave track out."
        )


def _describe(engine: Any, settings: dict | None) -> dict:
    facts = dict(getattr(engine, "settings", None) or {"engine": type(engine).__name__})
    landmarks = (settings or {}).get("landmarks", facts.get("landmarks"))
    if isinstance(engine, FaceEngine) and landmarks is not None:
        with contextlib.suppress(FileNotFoundError):  # a file elsewhere: only its name is known
            facts["weights_sha256"] = repro.sha256(find_weights(landmarks))
        files = [f for f in detector_files(facts["detector"]) if f.is_file()]
        if files:
            facts["detector_sha256"] = [repro.sha256(f) for f in files]
    return json.loads(json.dumps(facts, sort_keys=True, default=str))


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Let a second run into the folder wait; the lock ends with the process, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has none; two runs at once are then the user's care
        yield
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    raise ExtractError(
                        f"another extraction has been writing to {out} for {LOCK_WAIT_S} s; "
                        "wait for it or use another folder."
                    ) from error
                time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def _claim(out: Path, spec: dict) -> None:
    path = out / "provenance.json"
    if not path.exists():
        if (out / "manifest.csv").exists() or (out / ".units").exists():
            raise ExtractError(
                f"{out} holds crops without provenance.json; use another folder, or delete this one."
            )
        # No time and no machine: a run in two parts must leave the same files as one.
        repro.write_json(path, {"spec": spec, "code": repro.provenance()["code"]})
        return
    before, spec = _flat(repro.read_json(path).get("spec", {})), _flat(spec)
    differs = [k for k in sorted({*spec, *before}) if spec.get(k) != before.get(k)]
    if differs:
        changes = "; ".join(f"{k}: there {before.get(k)!r}, asked {spec.get(k)!r}" for k in differs)
        raise ExtractError(
            f"{out} was made with other settings ({changes}). Use another folder, delete this one, or ask for the same."
        )


def _flat(spec: dict) -> dict:
    engine = {f"engine.{k}": v for k, v in spec.get("engine", {}).items()}
    return {**{k: v for k, v in spec.items() if k != "engine"}, **engine}


def _sweep(out: Path) -> None:
    """Remove what a killed run left half written."""
    stale = [p for p in out.rglob(".*") if re.search(r"\.(tmp|old)-[0-9a-f]{12}", p.name)]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _finished(out: Path, unit: dict) -> dict | None:
    path = record_path(out, unit)
    try:
        record = repro.read_json(path)
    except (FileNotFoundError, ValueError):
        return None
    whole = all((out / unit["folder"] / crop["file"]).is_file() for crop in record["crops"])
    # What could not be read, or has changed, is tried again.
    if (
        whole
        and unit["seen"]
        and record["seen"] == unit["seen"]
        and record["mask"] == mask_hash(unit["mask"])
    ):
        return record
    path.unlink()
    return None


def _assemble(
    units: list[dict], records: list[dict], out: Path, speed: dict[str, Any]
) -> ExtractReport:
    rows, lines = [], []
    for unit, record in zip(units, records, strict=True):
        base = {
            k: v for k, v in unit["row"].items() if k not in ("mask_path", "sha256", "n_frames")
        }
        for crop in record["crops"]:
            names = ("frame", "box", "score", "n_faces", "face", "tracked")
            facts = {k: crop[k] for k in names if k in crop}
            rows.append({**base, "path": f"{unit['folder']}/{crop['file']}", **facts})
        names = ("status", "n_frames", "n_asked", "n_faces", "n_several", "message")
        key = {k: base[k] for k in ("dataset", "method", "compression", "video_id")}
        masked = {"n_masked": record["n_masked"]} if "n_masked" in record else {}
        about = {k: record.get(k) for k in ("codec", "width", "height")}  # older records have none
        lines.append(
            {"path": base["path"], **{k: record[k] for k in names}, **masked, **key, **about}
        )
    columns = [*manifest.COLUMNS, "frame", "box", "score", "n_faces"]
    crops = (
        pd.DataFrame(rows)
        if rows
        else pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    )
    report = pd.DataFrame(lines).astype({"width": "Int64", "height": "Int64"})
    if "tracked" in crops:
        crops["tracked"] = crops["tracked"].fillna(0).astype(int)
    manifest.write(crops, out / "manifest.csv")
    with repro.atomic_path(out / "report.csv") as temporary:
        report.to_csv(temporary, index=False, lineterminator="\n")
    return ExtractReport(manifest.validate(crops), report, out, speed)
