"""Score files: images and videos in, one P(fake) a file out, with what it rests on.

Faces are found and cut by the code that makes training crops (`gendkit.extract`), so a detector
sees here what it saw there. A file that cannot be scored gives a reason, not a number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendkit import repro, tensors
from gendkit.calibration import explain, interval, read, rescale

__all__ = [
    "AGGREGATES",
    "EMBEDDED_LIMITS",
    "MEANING",
    "Detector",
    "FaceScore",
    "FileScore",
    "explain",
    "interpreted",
    "interval",
    "load",
    "score_crops",
    "score_files",
]

if TYPE_CHECKING:
    import torch

AGGREGATES = {"mean": np.mean, "median": np.median}
MEANING = (
    "A score says how much a face looks like the fakes the detector was trained on; it is not the "
    "chance that the file is fake, and no proof."
)
EMBEDDED_LIMITS = (
    "The embedded models know rendered heads that do not exist and their manipulations; on "
    "pictures of real people their score means nothing. Give a released model with --model."
)
_BATCH = 32
Seen = Callable[["FileScore", list[np.ndarray]], None]


@dataclass(frozen=True)
class Detector:
    """A model with what is needed to use it.

    Attributes:
        name: What it was asked for by.
        model: Its output has `logits` (B, 2), class 1 = fake.
        processor: List of (H, W, 3) uint8 crops -> mapping with `pixel_values`.
        crop_scale: Margin of the crops it was trained on.
        threshold: value, rule and what it did where it was set (n_real, false_alarms, n_fake,
            hits), as `evaluate.select_threshold` gives it, and temperature where it was
            calibrated (`calibration.calibrate`); None where none is known.
        limits: One sentence on what the model was not made for; "" where nothing is known.
    """

    name: str
    model: "torch.nn.Module"
    processor: Any
    crop_scale: float
    threshold: dict[str, Any] | None
    limits: str


@dataclass(frozen=True)
class FaceScore:
    """One face of one frame.

    Attributes:
        frame: Number of the frame; 0 for an image.
        face: Number of the face in its frame, largest first.
        box: x0, y0, x1, y1 in pixels.
        p_fake: Score in [0, 1].
    """

    frame: int
    face: int
    box: tuple[float, float, float, float]
    p_fake: float


@dataclass(frozen=True)
class FileScore:
    """What one file gave.

    Attributes:
        path: The file as it was given, or its folder joined with its name.
        status: "ok", "partial" (scored, but not in every frame, or the file is damaged), or why
            there is no score: "no_face", "unreadable", "empty", "missing".
        message: The reason, in words; "" if all went well.
        n_frames: Frames looked at.
        n_faces: Frames with a face.
        n_several: Frames with more than one face.
        p_fake: The file's score in [0, 1], or None.
        call: "fake" if p_fake >= threshold, else "real"; None without score or threshold.
        faces: Every face that was scored.
        calibrated: p_fake at the temperature stored with the model, in [0, 1]; None without one.
    """

    path: str
    status: str
    message: str
    n_frames: int
    n_faces: int
    n_several: int
    p_fake: float | None
    call: str | None
    faces: tuple[FaceScore, ...]
    calibrated: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the plain data, for JSON."""
        return asdict(self)


def load(model: str | Path | None = None, device: str = "auto") -> Detector:
    """Load a detector with its preprocessing and threshold; the embedded one by default.

    Args:
        model: None or "embedded"; else a released model's id or a folder (`hub.from_pretrained`),
            or the folder of a run of `gendkit train`. Threshold and temperature are those of
            threshold.json in the folder (`gendkit calibrate` writes it), else the threshold is
            chosen on the select rows of a run's scores.csv.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        The detector, ready to score.

    Raises:
        ValueError: If the name is unknown, the weights do not fit, or threshold.json is damaged.
        FileNotFoundError: If weights are missing.
    """
    from gendkit.evaluate import read_scores, select_threshold
    from gendkit.hub import from_pretrained
    from gendkit.model import GenDImageProcessor

    embedded = model is None or str(model) == "embedded"
    folder = repro.data_dir() / "weights" / "detector" if embedded else Path(str(model))
    on_hub = not folder.is_dir() and tensors.is_repo_id(str(model))
    if on_hub:
        folder = tensors.fetch(str(model))  # with its threshold and preprocessing
    home = folder
    if (folder / "adapter").is_dir():  # the folder of a run
        folder = folder / "adapter"
    detector = from_pretrained(str(folder) if folder.is_dir() and not on_hub else str(model))
    if (folder / "preprocessor_config.json").is_file():
        processor = GenDImageProcessor.from_pretrained(folder)
    else:
        processor = GenDImageProcessor.from_spec(detector.encoder.spec)
    threshold = read(home) or read(folder)
    if threshold is None and (home / "scores.csv").is_file():
        scores = read_scores(home / "scores.csv")
        threshold = select_threshold(scores) if (scores["role"] == "select").any() else None
    return Detector(
        name="embedded" if embedded else str(model),
        model=detector.to(repro.device(device)).eval(),
        processor=processor,
        crop_scale=processor.crop_scale,
        threshold=threshold,
        limits=EMBEDDED_LIMITS if detector.config.backbone == "embedded" else "",
    )


def score_files(
    files: Sequence[str | Path],
    detector: Detector | None = None,
    engine: Any = None,
    n_frames: int = 8,
    policy: str = "largest",
    aggregate: str = "mean",
    seen: Seen | None = None,
) -> Iterator[FileScore]:
    """Score images, videos and folders of them, one after another.

    Args:
        files: Files and folders; a folder gives every image and video in it.
        detector: From `load`; None loads the embedded one.
        engine: Finds faces, as `faces.FaceEngine` (the default).
        n_frames: Frames of a video, spread evenly.
        policy: Which face of several: "largest", "central", or "all". With "all" a frame counts by
            its highest face.
        aggregate: Frames to file: "mean" or "median".
        seen: Called with every result that has a score and its crops, (size, size, 3) uint8 each,
            in the order of `FileScore.faces`, before the result is yielded: for pictures of what
            was judged.

    Yields:
        One `FileScore` per file, in the order given; also for what is missing or broken.

    Raises:
        ValueError: If a setting is unknown or there is no file; before the first result.
    """
    from gendkit.faces import POLICIES, FaceEngine

    policies = [name for name in POLICIES if name != "mask"]
    if policy not in policies:
        raise ValueError(f"got policy {policy!r}, expected one of {', '.join(policies)}")
    if aggregate not in AGGREGATES:
        raise ValueError(f"got aggregate {aggregate!r}, expected one of {', '.join(AGGREGATES)}")
    if isinstance(n_frames, bool) or not isinstance(n_frames, int) or n_frames < 1:
        raise ValueError(f"got n_frames={n_frames!r}, expected a whole number >= 1; 8 is usual")
    if isinstance(files, str | Path) or not len(files):
        raise ValueError(f"got files={files!r}, expected a list with at least one file or folder")
    detector = detector or load()
    engine = FaceEngine() if engine is None else engine
    spec = {
        "rule": "fixed_num_frames",
        "n_frames": n_frames,
        "stride": None,
        "scale": detector.crop_scale,
        "size": 256,
        "policy": policy,
    }
    return (_score_unit(unit, spec, detector, engine, aggregate, seen) for unit in _units(files))


def _units(files: Sequence[str | Path]) -> Iterator[dict]:
    from gendkit.extract.units import find_units

    for item in files:
        try:
            yield from find_units([item], None, "unlabelled")
        except FileNotFoundError:
            yield {"source": str(item), "missing": True}


class _Crops:
    """Keeps in memory what an extraction writes to files."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, Any, np.ndarray]] = []

    def add(self, frame: int, face: Any, number: int | None, n_faces: int, crop: Any) -> None:
        self.rows.append((frame, number or 0, face, crop))


def _score_unit(
    unit: dict, spec: dict, detector: Detector, engine: Any, aggregate: str, seen: Seen | None
) -> FileScore:
    from gendkit.extract.work import cut_unit

    path = unit["source"]
    if unit.get("missing"):
        return FileScore(path, "missing", "no such file or folder", 0, 0, 0, None, None, ())
    crops = _Crops()
    try:
        facts = cut_unit(unit, spec, engine, crops)
    except (ValueError, OSError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"
        return FileScore(path, "unreadable", reason, 0, 0, 0, None, None, ())
    counts = (facts["n_asked"], facts["n_faces"], facts["n_several"])
    if not crops.rows:
        return FileScore(path, facts["status"], facts["message"], *counts, None, None, ())
    p_fake = score_crops(detector, [crop for *_, crop in crops.rows])
    if not np.isfinite(p_fake).all():
        message = f"the model {detector.name} gave a score that is not finite: damaged weights?"
        return FileScore(path, "unreadable", message, *counts, None, None, ())
    faces = tuple(
        FaceScore(frame, number, tuple(round(float(v), 1) for v in face.box), float(p))
        for (frame, number, face, _), p in zip(crops.rows, p_fake, strict=True)
    )
    best: dict[int, float] = {}
    for face in faces:
        best[face.frame] = max(best.get(face.frame, 0.0), face.p_fake)
    value = float(AGGREGATES[aggregate](list(best.values())))
    call = calibrated = None
    if detector.threshold is not None:
        call = "fake" if value >= detector.threshold["value"] else "real"
        if heat := detector.threshold.get("temperature"):
            calibrated = float(rescale(value, heat["value"]))
    notes = [facts["message"]] if facts["message"] else []
    if facts["n_several"]:
        taken = "each frame counts by its highest" if spec["policy"] == "all" else spec["policy"]
        notes.append(f"several faces in {facts['n_several']} of {counts[0]} frames ({taken})")
    result = FileScore(
        path, facts["status"], "; ".join(notes), *counts, value, call, faces, calibrated
    )
    if seen is not None:
        seen(result, [crop for *_, crop in crops.rows])
    return result


def score_crops(detector: Detector, crops: Sequence[np.ndarray]) -> np.ndarray:
    """Score aligned crops.

    Args:
        detector: From `load`.
        crops: N arrays (H, W, 3) uint8 RGB, as `faces.align_crop` makes them.

    Returns:
        P(fake), (N,) float64; not finite where the weights are damaged.
    """
    import torch

    from gendkit.evaluate import probability

    parts, where = [], next(detector.model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(crops), _BATCH):
            pixels = detector.processor(crops[start : start + _BATCH])["pixel_values"].to(where)
            parts.append(probability(detector.model(pixel_values=pixels).logits.float()))
    return np.concatenate(parts)


@contextmanager
def interpreted() -> Iterator[None]:
    """Let face-alignment decode landmarks in plain Python, with the same numbers.

    numba compiles two functions for ten seconds on the first use of an installation and saves 10
    milliseconds a face, so a few files are scored sooner without.

    Source: own measurement, face_alignment 1.5.0.
    """
    from gendkit.fan import need

    utils = need("face_alignment").utils
    compiled = {name: getattr(utils, name, None) for name in ("transform_np", "_get_preds_fromhm")}
    compiled = {name: f for name, f in compiled.items() if hasattr(f, "py_func")}
    try:
        for name, function in compiled.items():
            setattr(utils, name, function.py_func)
        yield
    finally:
        for name, function in compiled.items():
            setattr(utils, name, function)
