"""Speed of the way from videos to crops: frames chosen, landmarks in batches, several workers."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendkit import repro, video

_START_CLIPS = 4  # extracted first, so that what a start costs can be taken off
# Distance of key frames: x264's own default, and that of the embedded benchmark.
FAR, NEAR = 250, 12


@dataclass(frozen=True)
class DataSize:
    """How much is measured.

    Args:
        n_clips: Clips of Nobody's Faces to decode.
        n_frames: Frames of each of them, and of each clip that is extracted.
        long: Frames of the generated film.
        sampled: Frames chosen of it.
        side: Its width in pixels; its height is half of it.
        n_faces: Frames whose landmarks are found.
        n_extracted: Clips that are extracted.
        passes: Timed passes; the best is kept.
    """

    n_clips: int = 6
    n_frames: int = 8
    long: int = 300
    sampled: int = 32
    side: int = 640
    n_faces: int = 32
    n_extracted: int = 16
    passes: int = 4


def clips(n: int) -> list[Path]:
    """Find clips of Nobody's Faces, spread over its people.

    Args:
        n: At most so many.

    Returns:
        Videos of real people of the benchmark.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted((repro.data_dir() / "nobody" / "real").rglob("*.mp4"))
    if not found:
        raise FileNotFoundError(
            "no clip in data/nobody/real; restore the data folder or set GENDKIT_DATA"
        )
    return [found[k * len(found) // n] for k in range(min(n, len(found)))]


def film(path: Path, n_frames: int, width: int, gop: int) -> Path:
    """Write a film of a drifting texture with sensor noise, half as high as wide.

    Args:
        path: The file.
        n_frames: Its length.
        width: In pixels, a multiple of 4.
        gop: Largest distance of key frames.

    Returns:
        The path.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (width // 16, width // 8, 3), dtype=np.uint8)
    texture = coarse.repeat(16, axis=0).repeat(16, axis=1)
    noise = rng.integers(-6, 7, (width // 2, width, 3))

    def frames():
        for k in range(n_frames):
            picture = np.roll(texture, (k, 2 * k), axis=(0, 1))[: width // 2, :width]
            moved = np.roll(noise, 7 * k, axis=1)
            yield np.clip(picture.astype(np.int16) + moved, 0, 255).astype(np.uint8)

    options = {"preset": "veryfast", "sc_threshold": "0"}
    return video.write_video(path, frames(), gop=gop, options=options)


def decode(size: DataSize) -> dict[str, Any]:
    """Read sampled frames of short clips in one forward pass, and by seeking to each.

    Args:
        size: How much.

    Returns:
        kit and baseline (what, images_per_second, cpu_ms), note, equal (whether the pixels are).
    """
    wanted = {
        clip: video.sample(video.probe(clip).n_frames, n=size.n_frames)
        for clip in clips(size.n_clips)
    }
    kit, baseline, equal = _both_ways(wanted, size.passes)
    n = sum(map(len, wanted.values()))
    note = f"{n} frames of {len(wanted)} clips; {_pixels(equal)}"
    return {"kit": kit, "baseline": baseline, "note": note, "equal": equal}


def sampling(size: DataSize) -> dict[str, Any]:
    """Read a few frames of a long film in one forward pass, and by seeking to each.

    Args:
        size: How much.

    Returns:
        As `decode`, of a film with key frames at x264's own distance; the note says what they give
        where key frames are close.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = film(Path(folder) / "far.mp4", size.long, size.side, FAR)
        indices = video.sample(size.long, n=size.sampled)
        kit, baseline, equal = _both_ways({path: indices}, 2)
        close = film(Path(folder) / "near.mp4", size.long, size.side, NEAR)
        near_kit, near_baseline, near_equal = _both_ways({close: indices}, 2)
    near = near_kit["images_per_second"] / near_baseline["images_per_second"]
    note = (
        f"{len(indices)} of {size.long} frames of a generated {size.side} x {size.side // 2} film, "
        f"a key frame every {FAR}; {_pixels(equal and near_equal)} "
        f"With one every {NEAR} the ratio is {near:.2g}."
    )
    whole = {"equal": equal and near_equal, "ratio_near": near}
    return {"kit": kit, "baseline": baseline, "note": note, **whole}


def _pixels(equal: bool) -> str:
    return "pixels equal." if equal else "PIXELS DIFFER: seeking missed."


def _both_ways(wanted: dict[Path, list[int]], passes: int) -> tuple[dict, dict, bool]:
    from gendkit import bench_baselines

    def read(reader: Callable[..., np.ndarray]) -> list[np.ndarray]:
        return [reader(path, indices) for path, indices in wanted.items()]

    ways = {
        "video.read_frames, one forward pass": lambda: read(video.read_frames),
        "PyAV, a seek for every frame": lambda: read(bench_baselines.seek_frames),
    }
    (kit, ours), (baseline, theirs) = _in_turns(ways, sum(map(len, wanted.values())), passes)
    return kit, baseline, all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _in_turns(
    ways: dict[str, Callable[[], Any]], n: int, passes: int
) -> list[tuple[dict[str, Any], Any]]:
    """Time ways to do the same to n images, in turns; the best pass and the answer of each."""
    best = {what: (float("inf"), float("inf")) for what in ways}
    answers = {}
    for _ in range(passes):
        for what, work in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            answers[what] = work()
            took = time.perf_counter() - start, time.process_time() - busy
            best[what] = tuple(map(min, best[what], took))
    return [
        ({"what": w, "images_per_second": n / seconds, "cpu_ms": 1000 * cpu / n}, answers[w])
        for w, (seconds, cpu) in best.items()
    ]


def batches(size: DataSize) -> dict[str, Any]:
    """Find the landmarks of frames in batches, as an extraction does, and frame by frame.

    Args:
        size: How much.

    Returns:
        kit and baseline (what, images_per_second, cpu_ms), note, equal (whether all landmarks are).

    Raises:
        ImportError: If a package of the extra "faces" is missing.
    """
    from gendkit.faces import FaceEngine

    together = FaceEngine()
    n = max(together.batch_images, 1)
    found = clips(-(-size.n_faces // 2))
    frames = [f for clip in found for f in video.read_frames(clip, [0, 1])][: size.n_faces]
    boxes = [[box for box, _ in together.detect(frame)[:1]] for frame in frames]

    def in_batches() -> list[np.ndarray]:
        parts = [slice(k, k + n) for k in range(0, len(frames), n)]
        points = [together.landmarks_of(frames[part], boxes[part]) for part in parts]
        return [one for part in points for some in part for one in some]

    def one_by_one() -> list[np.ndarray]:
        return [p for f, b in zip(frames, boxes, strict=True) for p in together.landmarks(f, b)]

    one_by_one()  # compiles the decoding
    ways = {
        f"landmarks, {n} frames at once": in_batches,
        "landmarks, frame by frame": one_by_one,
    }
    (kit, ours), (baseline, theirs) = _in_turns(ways, len(frames), size.passes)
    same = [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]
    note = f"{len(frames)} frames, boxes given; " + (
        "landmarks equal." if all(same) else f"LANDMARKS DIFFER in {same.count(False)} faces."
    )
    return {"kit": kit, "baseline": baseline, "note": note, "equal": all(same)}


def extract_speed(size: DataSize, workers: int) -> dict[str, Any]:
    """Extract clips with a number of workers.

    Args:
        size: How much.
        workers: Processes.

    Returns:
        what, images_per_second of what comes after the start, and start_s, what the start costs.
    """
    import pandas as pd

    from gendkit import extract, manifest

    root = repro.data_dir() / "nobody"
    table = manifest.read(root / "manifest.csv")
    table = table[table["method"] == "real"].head(size.n_extracted + _START_CLIPS)
    seconds, frames = [], []
    with tempfile.TemporaryDirectory() as folder:
        parts: Sequence[pd.DataFrame] = (table.head(_START_CLIPS), table)
        for number, part in enumerate(parts):
            done = extract.run(
                part, Path(folder) / str(number), root=root, n_frames=size.n_frames, workers=workers
            )
            seconds.append(done.speed["seconds"])
            frames.append(done.speed["n_frames"])
    # The second call starts anew, too, so the difference holds no start.
    rate = (frames[1] - frames[0]) / max(seconds[1] - seconds[0], 1e-9)
    what = f"gendkit extract, {workers} worker" + "s" * (workers > 1)
    return {
        "what": what,
        "images_per_second": rate,
        "start_s": max(seconds[0] - frames[0] / rate, 0.0),
    }
