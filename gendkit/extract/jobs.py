"""Who does the videos of an extraction: this process, several processes, or a Dask cluster."""

import importlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gendkit import repro
from gendkit.extract.overlap import Clock
from gendkit.extract.track import Tracker
from gendkit.extract.units import ExtractError
from gendkit.extract.work import do_unit
from gendkit.faces import FaceEngine

Job = tuple[int, dict, dict[str, float]]  # number of the unit, its record, seconds of each stage
# Packages whose version may change the bytes of a crop.
_MATTER = ("av", "dlib-bin", "face-alignment", "numpy", "opencv-python", "pillow", "torch")
_ENGINE: Any = None  # the engine of a worker process, built once there
_LOCAL = threading.local()  # the engine of each thread of a cluster's worker


def build(engine: Any, track: bool) -> Any:
    """Make the engine that a worker uses.

    Args:
        engine: settings of a `FaceEngine`, or any object that works like it.
        track: follow faces from frame to frame.

    Returns:
        The engine.
    """
    engine = FaceEngine(**engine) if isinstance(engine, dict) else engine
    return Tracker(engine) if track else engine


def run_jobs(
    units: list[dict],
    out: Path,
    spec: dict,
    engine: Any,
    settings: dict | None,
    workers: int,
    cluster: str | None,
) -> Iterator[Job]:
    """Do units, in any order.

    Args:
        units: see `do_unit`.
        out: folder of the extraction; every worker must see it under this name.
        spec: see `gendkit.extract.run`.
        engine: finds faces, without tracking.
        settings: settings from which workers build it; None: what the engine says, or itself.
        workers: number of processes.
        cluster: address of a Dask scheduler, or None.

    Yields:
        Number of the unit, its record, and the seconds of each stage.

    Raises:
        RuntimeError: a worker died.
        ExtractError: the cluster cannot be used.
    """
    if not units:
        return
    track = "track" in spec["engine"]
    if cluster is None and (workers == 1 or len(units) < 2):
        engine = build(engine, track)
        for number, unit in enumerate(units):
            clock = Clock()
            yield number, do_unit(unit, out, spec, engine, clock), clock.seconds
        return
    if isinstance(engine, FaceEngine):
        engine = settings if settings is not None else engine.settings
    if cluster is not None:
        yield from _on_cluster(units, out.resolve(), spec, engine, track, cluster)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(units)), get_context("spawn"), _start_worker, (engine, track)
    )
    try:
        futures = {pool.submit(_work, unit, out, spec): k for k, unit in enumerate(units)}
        for future in as_completed(futures):
            yield futures[future], *future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died (out of memory?); run again to go on, with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(engine: Any, track: bool) -> None:
    global _ENGINE
    import torch

    torch.set_num_threads(1)
    _ENGINE = build(engine, track)


def _work(unit: dict, out: Path, spec: dict) -> tuple[dict, dict[str, float]]:
    clock = Clock()
    return do_unit(unit, out, spec, _ENGINE, clock), clock.seconds


def _on_cluster(
    units: list[dict], out: Path, spec: dict, engine: Any, track: bool, address: str
) -> Iterator[Job]:
    distributed = _distributed()
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        client = distributed.Client(**where, timeout=30)
    except (OSError, TimeoutError, ValueError) as error:
        raise ExtractError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with `dask scheduler` "
            "and workers with `dask worker ADDRESS`, or leave --cluster out"
        ) from error
    # realpath, because resolve() raises on links in a circle, which are a row of the report
    units = [{**unit, "source": os.path.realpath(unit["source"])} for unit in units]
    units = [{**u, "mask": u["mask"] and os.path.realpath(u["mask"])} for u in units]
    try:
        _same_versions(client)
        futures = {}
        for k, unit in enumerate(units):
            # A worker that dies gives its video to another; two runs that meet on one, retry.
            task = client.submit(
                _work_on_cluster, unit, out, spec, engine, track, pure=False, retries=2
            )
            futures[task] = k
        for task in distributed.as_completed(list(futures)):
            yield futures[task], *task.result()
            task.release()
    except (distributed.KilledWorker, distributed.client.FutureCancelledError) as error:
        raise RuntimeError(
            f"the workers of {address} died or left ({error}); run again to go on"
        ) from error
    finally:
        client.close()


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ImportError(
            f"a cluster needs Dask, which does not import here ({error}); install it on all its "
            'machines with: pip install "gendkit[cluster]"'
        ) from error


def _same_versions(client: Any) -> None:
    own = _versions()
    for worker, found in client.run(_versions).items():
        odd = [f"{k} {found.get(k)}, here {own[k]}" for k in own if found.get(k) != own[k]]
        if odd:
            raise ExtractError(
                f"the worker {worker} has other versions ({'; '.join(odd)}), so its crops could "
                "differ; install the same there (constraints.txt)"
            )


def _versions() -> dict[str, str]:
    found = repro.provenance()["code"]["versions"]
    return {name: found[name] for name in _MATTER if name in found}


def _work_on_cluster(
    unit: dict, out: Path, spec: dict, engine: Any, track: bool
) -> tuple[dict, dict[str, float]]:
    if not out.is_dir():
        raise ExtractError(f"this worker does not see {out}; use a folder that all machines share")
    key = json.dumps([engine, track], sort_keys=True, default=repr)
    if getattr(_LOCAL, "key", None) != key:
        _one_thread()
        _LOCAL.engine, _LOCAL.key = build(engine, track), key
    clock = Clock()
    return do_unit(unit, out, spec, _LOCAL.engine, clock), clock.seconds


@cache
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
