"""Speed and memory, each measured beside a baseline in the same run; the ratios are what counts.

Every model and every training runs in a process of its own, so that peak memory is its own. Kit and
baseline take turns, and the faster of the rounds is kept. Absolute numbers hold for this machine and
for what else it does at the time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gendkit import bench_data, repro
from gendkit.bench_data import DataSize

PARTS = ("landmarks", "encoder", "training", "decode", "sampling", "batches", "workers")
# The least ratio of images a second that a part should show; a miss is printed.
EXPECTED = {"sampling": 8.0, "batches": 1.0, "workers": 1.5}
_MIB = 2**20


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        rounds: Processes of each side; the best is kept.
        n_images: Images per timed pass of a network.
        passes: Timed passes; the best is kept.
        n_crops: Crops to train on, half of them fake; as many again, divided by 4, to select on.
        epochs: Epochs of the training.
        batch_size: Crops per step.
        data: Of the parts from decode to workers.
    """

    rounds: int = 1
    n_images: int = 4
    passes: int = 3
    n_crops: int = 96
    epochs: int = 8
    batch_size: int = 32
    data: DataSize = DataSize()


def run(parts: Sequence[str] = PARTS, size: Size | None = None) -> dict[str, Any]:
    """Run benchmarks.

    Args:
        parts: Some of `PARTS`.
        size: How much; None for what takes about a minute on two idle cores.

    Returns:
        {"parts": {name: result}, "threads", "machine"}. A result has kit and baseline (what they
        are, images_per_second, and where known cpu_ms per image, peak_mib, parameters, gflop),
        ratio (kit over baseline of each number), note, and where one is stated the expected ratio.

    Raises:
        ValueError: For an unknown part.
        RuntimeError: If a measuring process fails; holds its message.
    """
    size = size or Size()
    unknown = [name for name in parts if name not in PARTS]
    if unknown or not parts:
        raise ValueError(f"got parts {list(parts)}, expected some of {', '.join(PARTS)}")
    done = {}
    for name in repro.progress(parts, what="bench"):
        done[name] = _PAIRS[name](size)
        if name in EXPECTED:
            done[name]["expected"] = EXPECTED[name]
    facts = repro.provenance()
    return {"parts": done, "threads": _threads(), "machine": facts["machine"]}


def table(result: dict[str, Any]) -> str:
    """Write a result for a reader, one block a part."""
    blocks = []
    for name, part in result["parts"].items():
        lines = [f"{name}: {part['kit']['what']}  vs  {part['baseline']['what']}"]
        for key, unit in _SHOWN.items():
            if key in part["kit"] and key in part["baseline"]:
                kit, base = part["kit"][key], part["baseline"][key]
                lines.append(
                    f"  {unit:<22}{kit:>12.4g}{base:>12.4g}   ratio {part['ratio'][key]:.3g}"
                )
        blocks.append("\n".join([*lines, *_verdict(part), f"  {part['note']}"]))
    head = f"kit, baseline, kit / baseline; {result['threads']} threads"
    tail = (
        "Ratios are measured side by side; absolute numbers depend on what else the machine does."
    )
    return "\n\n".join([head, *blocks, tail])


def _verdict(part: dict[str, Any]) -> list[str]:
    if "expected" not in part:
        return []
    met = part["ratio"]["images_per_second"] >= part["expected"]
    return [f"  expected at least {part['expected']:g}: {'met' if met else 'MISSED'}"]


_SHOWN = {
    "images_per_second": "images a second",
    "cpu_ms": "CPU ms an image",
    "peak_mib": "peak memory, MiB",
    "parameters": "parameters",
    "gflop": "GFLOP an image",  # a multiplication and an addition are two
}


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def _child(task: str, settings: dict[str, Any], threads: int = 0) -> dict[str, Any]:
    """Measure one thing in a process of its own."""
    command = [sys.executable, "-m", "gendkit.bench", task, json.dumps(settings)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads or _threads()),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *_python_path()]),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"measuring {task!r} failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _pair(
    tasks: tuple[str, str], settings: dict[str, Any], rounds: int, note: str, threads: int = 0
) -> dict:
    """Measure kit and baseline in turns; keep the best round of each."""
    best: list[dict[str, Any]] = [{}, {}]
    for _ in range(rounds):
        for k, task in enumerate(tasks):
            found = _child(task, settings, threads)
            if not best[k]:
                best[k] = found
                continue
            for key, better in _BETTER.items():
                if key in found:
                    best[k][key] = better(best[k][key], found[key])
    return _result(best[0], best[1], note)


_BETTER = {"images_per_second": max, "cpu_ms": min, "peak_mib": min, "start_s": min}


def _result(kit: dict[str, Any], baseline: dict[str, Any], note: str) -> dict[str, Any]:
    ratio = {key: kit[key] / baseline[key] for key in _SHOWN if baseline.get(key) and kit.get(key)}
    return {"kit": kit, "baseline": baseline, "ratio": ratio, "note": note}


def _landmarks(size: Size) -> dict[str, Any]:
    note = "Same input, face-alignment's network with random weights: speed and size, not accuracy."
    return _pair(("light_fan", "fan"), asdict(size), size.rounds, note)


def _encoder(size: Size) -> dict[str, Any]:
    note = (
        "Each at its own input size; CLIP B/32 with random weights is a baseline for size only: "
        "trained, it knows far more."
    )
    return _pair(("embedded", "clip_b32"), asdict(size), size.rounds, note)


def _training(size: Size) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_crops(Path(folder), size)
        settings = asdict(size) | {"folder": folder}
        note = (
            "Same encoder, trained tensors, batches, augmentation, losses, selection and files per "
            "epoch; the baseline decodes and augments each image with Pillow. Whole call, "
            "start to chosen weights; memory is that of the whole process."
        )
        return _pair(("train_kit", "train_plain"), settings, size.rounds, note)


def _workers(size: Size) -> dict[str, Any]:
    found = _pair(("extract_2", "extract_1"), asdict(size), size.rounds, "", threads=1)
    two, one = found["kit"]["start_s"], found["baseline"]["start_s"]
    found["note"] = (
        f"{size.data.n_extracted} clips, {size.data.n_frames} frames each, one thread a process; "
        f"the start of the processes ({two:.1f} s and {one:.1f} s) is not counted."
    )
    return found


def _sides(found: dict[str, Any]) -> dict[str, Any]:
    kit, baseline, note = (found.pop(name) for name in ("kit", "baseline", "note"))
    return _result(kit, baseline, note) | found


_PAIRS: dict[str, Callable[[Size], dict[str, Any]]] = {
    "landmarks": _landmarks,
    "encoder": _encoder,
    "training": _training,
    "decode": lambda size: _sides(bench_data.decode(size.data)),
    "sampling": lambda size: _sides(bench_data.sampling(size.data)),
    "batches": lambda size: _sides(bench_data.batches(size.data)),
    "workers": _workers,
}


def write_crops(folder: Path, size: Size) -> Path:
    """Cut pictures of 256 pixels out of clips of Nobody's Faces: material to train on, for timing.

    The fakes are the reals with a colour cast.

    Args:
        folder: Where to write PNG files and manifest.csv.
        size: How many.

    Returns:
        The manifest of crops, with the roles fit and select.
    """
    import pandas as pd
    from PIL import Image

    from gendkit import video

    n_fit, n_select = size.n_crops // 2, max(size.n_crops // 8, 2)
    n_videos = min(8, n_fit + n_select)
    frames = []
    for clip in bench_data.clips(n_videos):
        each = -(-(n_fit + n_select) // n_videos)
        frames += list(video.read_frames(clip, video.sample(video.probe(clip).n_frames, n=each)))
    frames = [frames[k % len(frames)] for k in range(n_fit + n_select)]
    rows = []
    for k, frame in enumerate(frames):
        side = min(frame.shape[:2])
        top, left = ((edge - side) // 2 for edge in frame.shape[:2])
        face = Image.fromarray(frame[top : top + side, left : left + side]).resize((256, 256))
        fake = np.clip(np.asarray(face, np.int16) + [12, -6, 0], 0, 255).astype(np.uint8)
        for method, picture in (("real", face), ("DF", Image.fromarray(fake))):
            path = f"{method}_{k:04d}.png"
            picture.save(folder / path)
            rows.append({
                "path": path, "dataset": "bench", "method": method, "compression": "c23",
                "video_id": f"{k:04d}", "source_id": f"{k:04d}", "label": int(method != "real"),
                "role": "fit" if k < n_fit else "select", "frame": 0,
            })  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def measure(task: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Measure one side of a pair in this process; `run` gives each a process of its own.

    Args:
        task: "light_fan", "fan", "embedded", "clip_b32", "train_kit", "train_plain", "extract_1" or
            "extract_2".
        settings: Fields of `Size`; for trainings also folder, which holds `write_crops`' files.

    Returns:
        what, images_per_second, cpu_ms and peak_mib; for networks parameters and gflop too. For
        extractions, whose work is done elsewhere, what, images_per_second and start_s.
    """
    import torch

    torch.set_num_threads(_threads())
    folder = settings.pop("folder", "")
    size = Size(**{**settings, "data": DataSize(**settings.get("data", {}))})
    found = _TASKS[task](size, Path(folder))
    return found if task in _IN_PROCESSES else found | {"peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Return the most memory this process has held; what started it does not count."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would carry over the peak of the process that started this one.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def _network(size: Size, build: Callable[[], Any], shape: tuple[int, ...], what: str) -> dict:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = build().eval()
    images = torch.rand(size.n_images, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(images[:1])
        model(images)
        seconds, cpu = float("inf"), float("inf")
        for _ in range(size.passes):
            start, busy = time.perf_counter(), time.process_time()
            model(images)
            seconds = min(seconds, time.perf_counter() - start)
            cpu = min(cpu, time.process_time() - busy)
    return {
        "what": what,
        "images_per_second": size.n_images / seconds,
        "cpu_ms": 1000 * cpu / size.n_images,
        "parameters": sum(value.numel() for value in model.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
    }


def _light_fan(size: Size, _: Path) -> dict[str, Any]:
    from gendkit import fan

    def build() -> Any:
        return fan.load_light_fan(fan.find_weights("embedded"))

    return _network(size, build, (3, 256, 256), "the embedded landmark network")


def _fan(size: Size, _: Path) -> dict[str, Any]:
    from gendkit import fan

    fan.need("face_alignment")
    from face_alignment.models.fan import FAN

    return _network(size, lambda: FAN(1), (3, 256, 256), "face-alignment's FAN(1)")


def _embedded(size: Size, _: Path) -> dict[str, Any]:
    from gendkit import backbones

    encoder = backbones.load("embedded")
    shape = (3, encoder.spec.image_size, encoder.spec.image_size)
    return _network(size, lambda: encoder, shape, f"the embedded encoder, {shape[1]} px")


def _clip_b32(size: Size, _: Path) -> dict[str, Any]:
    from gendkit import backbones

    def build() -> Any:
        return backbones.load("clip-b32", pretrained=False)

    return _network(size, build, (3, 224, 224), "CLIP ViT-B/32, 224 px")


def _train_kit(size: Size, folder: Path) -> dict[str, Any]:
    from gendkit import adapters, manifest, model, train

    crops = manifest.read(folder / "manifest.csv")
    detector = adapters.tune(model.build("embedded", feature_scale=10.0))
    config = replace(
        train.TrainConfig(), epochs=size.epochs, batch_size=size.batch_size, paired=False
    )
    with tempfile.TemporaryDirectory() as out:
        start, busy = time.perf_counter(), time.process_time()
        result = train.train(detector, crops, folder, config, out)
        seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    n = int(result.history["step"].iloc[-1]) * size.batch_size
    return _speed("gendkit.train", n, seconds, cpu)


def _train_plain(size: Size, folder: Path) -> dict[str, Any]:
    from gendkit import bench_baselines

    n, seconds, cpu = bench_baselines.train(folder / "manifest.csv", size.epochs, size.batch_size)
    return _speed("a plain loop", n, seconds, cpu)


def _speed(what: str, n: int, seconds: float, cpu: float) -> dict[str, Any]:
    return {"what": what, "images_per_second": n / seconds, "cpu_ms": 1000 * cpu / n}


_TASKS: dict[str, Callable[[Size, Path], dict[str, Any]]] = {
    "light_fan": _light_fan,
    "fan": _fan,
    "embedded": _embedded,
    "clip_b32": _clip_b32,
    "train_kit": _train_kit,
    "train_plain": _train_plain,
    "extract_1": lambda size, _: bench_data.extract_speed(size.data, 1),
    "extract_2": lambda size, _: bench_data.extract_speed(size.data, 2),
}
_IN_PROCESSES = ("extract_1", "extract_2")


if __name__ == "__main__":
    import contextlib

    with contextlib.redirect_stdout(sys.stderr):
        _found = measure(sys.argv[1], json.loads(sys.argv[2]))
    print(json.dumps(_found))
