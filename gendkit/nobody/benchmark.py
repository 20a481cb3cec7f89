"""Build a set: reels, networks, people, tables; on all cores, and on from where it was stopped. Source: own.

The work is cut into tasks: one for the networks that all share, one for each person's reel, one for each group's
networks, one for each person's clips. A task that is done has left its files in the folder of the build, so a build
that was killed loses at most what was running. Nothing depends on the order of tasks or on the number of processes.
"""

import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import manifest, repro
from gendkit.repro import atomic_path, write_json

from . import film, person, plan, stored
from .plan import Settings
from .schedule import Place, Schedule, Task

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("av", "numba", "numpy", "opencv-python", "scipy", "torch")
# Modules of this folder that no pixel depends on; all others, and what is named below, are the recipe.
NOT_RECIPE = ("benchmark.py", "build.py", "lists.py", "report.py", "schedule.py", "schema.py", "shortcut.py",
              "verify.py")  # fmt: skip


def stamp(settings: Settings) -> dict[str, Any]:
    """All that the frames before coding depend on: settings, code and versions.

    Args:
        settings: of the set.

    Returns:
        settings (a dictionary), code (a hash of the recipe) and versions.
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    facts = json.loads(json.dumps(asdict(settings)))
    return {"settings": facts, "code": recipe_hash(), "versions": versions}


def recipe_hash() -> str:
    """Hash of all code and of the head pack that a frame depends on."""
    here = Path(__file__).resolve().parent
    files = [p for p in sorted(here.glob("*.py")) if p.name not in NOT_RECIPE]
    files += [PACKAGE / "forge", PACKAGE / "warp.py", PACKAGE / "video.py", heads_pack()]
    return repro.fingerprint(*files)


def heads_pack() -> Path:
    """The head pack that people are made from."""
    return PACKAGE.parent / "data" / "nobody" / "heads.safetensors"


def build_set(
    out: str | Path, settings: Settings, workers: int = 0, cache: str | Path | None = None
) -> pd.DataFrame:
    """Render, forge and code a set; go on with a build that was stopped, and leave a finished one alone.

    Args:
        out: folder of the set, such as ``data/nobody``. settings: what to make.
        workers: processes; 0 means one for each core.
        cache: folder of the networks that all sets share; None means the build cache.

    Returns:
        The manifest, written last.

    Raises:
        ValueError: bad settings; a forgery that cannot be made (``forge.ForgeError``).
        OSError: the folder cannot be written, or the disk is full.
    """
    plan.check(settings)
    out, now = Path(out), stamp(settings)
    if _is_complete(out, now):
        print(f"{out}: complete, nothing to do", flush=True)
        return manifest.read(out / "manifest.csv")
    work = out / ".build"
    _same_or_fresh(work, now)
    # Networks that all sets share are kept apart by recipe: other code may draw other pictures to learn from.
    networks = Path(cache or repro.cache_dir() / "nobody-networks") / now["code"][:16]
    place = Place(settings, work, networks)
    _run(place, workers or os.cpu_count() or 1)
    return _finish(out, place, now)


def _is_complete(out: Path, now: dict) -> bool:
    if not (out / "build.json").is_file() or repro.read_json(out / "build.json") != now:
        return False
    table = manifest.read(out / "manifest.csv")
    files = pd.concat([table["path"], table["mask_path"][table["mask_path"] != ""]])
    hashes = pd.concat([table["sha256"], table["mask_sha256"][table["mask_path"] != ""]])
    return all(
        (out / file).is_file() and repro.sha256(out / file) == known
        for file, known in zip(files, hashes, strict=True)
    )


def _same_or_fresh(work: Path, now: dict) -> None:
    """Keep what an earlier run with the same stamp left; throw away what another left."""
    known = work / "stamp.json"
    if work.exists() and not (known.is_file() and repro.read_json(known) == now):
        print(f"{work} was begun with other settings, code or versions; starting anew", flush=True)
        shutil.rmtree(work)
    write_json(known, now)


def _run(place: Place, workers: int) -> None:
    schedule = Schedule(place)
    n_tasks = sum(schedule.left.values())
    for done, (task, seconds) in enumerate(_finished(schedule, place, workers), 1):
        whom = task.person.name if task.person else f"of {task.group.number}" if task.group else ""
        minutes = schedule.seconds_left(workers) / 60
        print(
            f"{place.settings.set_name} [{done}/{n_tasks}] {task.kind} {whom}: {seconds:.0f} s, "
            f"about {minutes:.0f} min left",
            flush=True,
        )


def _finished(schedule: Schedule, place: Place, workers: int) -> Iterator[tuple[Task, float]]:
    running: dict[Any, Task] = {}
    with _pool(workers) as pool:
        try:
            while True:
                while len(running) < workers and (task := schedule.next()) is not None:
                    running[pool.submit(_do, task, place)] = task
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    seconds = future.result()
                    schedule.finished(task, seconds)
                    yield task, seconds
        except BrokenProcessPool as error:
            raise OSError(
                "a process was ended from outside, perhaps for lack of memory; run the same command "
                "again to go on, with fewer --workers"
            ) from error
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            for future in running:
                future.cancel()


def _pool(workers: int) -> Executor:
    """Processes; a single worker is a thread of this one."""
    if workers == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_watch_parent
    )


def _watch_parent() -> None:
    """End this process when its parent is gone: a killed build leaves nothing running."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# --- tasks -----------------------------------------------------------------------------------------------------------


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, so that sums are added in one order everywhere."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _do(task: Task, place: Place) -> float:
    """Do one task; give the seconds."""
    start = time.monotonic()
    with one_thread():
        TASKS[task.kind](task, place)
    return time.monotonic() - start


def _do_general(task: Task, place: Place) -> None:
    stored.general(place.cache, place.settings.effort, _say)


def _do_reel(task: Task, place: Place) -> None:
    settings = place.settings
    shots = film.reel(task.person, settings.n_reel, settings.spec.domain)
    with atomic_path(place.reel(task.person)) as path:
        np.savez(path, frames=shots.frames, points=shots.points)


def _do_group(task: Task, place: Place) -> None:
    reels = [_load_reel(place.reel(p)) for p in task.group.people]
    effort, seed = place.settings.effort, task.group.people[0].seed
    shared = stored.load_general(place.cache, effort)
    stored.teach_group(place.group(task.group), reels, seed, shared, effort, _say)


def _do_person(task: Task, place: Place) -> None:
    person.make(
        place.work,
        task.person,
        task.group,
        place.settings,
        lambda: stored.load_group(place.group(task.group), len(task.group.people)),
        lambda: stored.load_general(place.cache, place.settings.effort),
    )


TASKS = {"general": _do_general, "reel": _do_reel, "group": _do_group, "person": _do_person}


def _load_reel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return data["frames"], data["points"]


def _say(line: str) -> None:
    print(line, flush=True)


# --- the end ---------------------------------------------------------------------------------------------------------


def _finish(out: Path, place: Place, now: dict) -> pd.DataFrame:
    """Put the clips in place of older ones and write the tables."""
    people = [p for group in plan.groups(place.settings) for p in group.people]
    people.sort(key=lambda p: p.seed)
    records = [repro.read_json(person.record_path(place.work, p)) for p in people]
    clips = pd.DataFrame([row for r in records for row in r["clips"]])
    order = clips["method"].map({m: k for k, m in enumerate((plan.REAL, *plan.METHODS))})
    clips = clips.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
    for name in ("build.json", "manifest.csv"):  # from here to the end the set is not complete
        (out / name).unlink(missing_ok=True)
    for old in (plan.REAL, *plan.METHODS, "masks"):
        shutil.rmtree(out / old, ignore_errors=True)
    for folder in sorted((place.work / "clips").iterdir()):
        shutil.copytree(folder, out / folder.name)
    with atomic_path(out / "landmarks.npz") as path:
        points = {
            p.name: np.load(
                person.record_path(place.work, p).with_suffix(".npy"), allow_pickle=False
            )
            for p in people
        }
        np.savez_compressed(path, **points)
    _write_table(out / "identities.csv", [r["identity"] for r in records])
    _write_table(out / "forgeries.csv", [row for r in records for row in r["forgeries"]])
    manifest.write(clips, out / "manifest.csv")
    write_json(out / "build.json", now)
    shutil.rmtree(place.work)
    return manifest.read(out / "manifest.csv")


def _write_table(path: Path, rows: list[dict]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
