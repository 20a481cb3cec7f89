"""Score files frame by frame: what the app does with what it was given, without the app.

Faces are found and cut by the code that makes training crops (`gendkit.extract`), every crop is
scored, and a few frames and crops are kept small enough to show.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gendkit import video
from gendkit.app import limits as checks
from gendkit.app.limits import Limits, UploadError
from gendkit.app.pictures import CROP_SIDE, shrink
from gendkit.calibration import rescale
from gendkit.faces import choose
from gendkit.score import score_crops

RULES = ("spread", "stride")
AGGREGATES = {"mean": np.mean, "median": np.median}
SHOWN_FRAMES = 12
SCORED = ("ok", "partial")
_BATCH, _BATCH_BYTES = 32, 2**26  # crops scored together, and their size: bounds the memory
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How files are looked at.

    Attributes:
        rule: "spread": `max_frames` frames from the first to the last; "stride": every `stride`-th
            frame from the first on, at most `max_frames`.
        max_frames: Frames looked at in one video.
        stride: Step of the rule "stride".
        det_threshold: Lowest score of the face detector; 0 is dlib's own.
        scale: Margin of the crops; None: the one that the model was trained on.
        size: Side of the crops in pixels; None: as large as in the frame.
        max_faces: Faces scored in a frame, largest first. A frame counts by its highest.
        aggregate: Frames to file: "mean" or "median".
    """

    rule: str = "spread"
    max_frames: int = 8
    stride: int = 5
    det_threshold: float = 0.0
    scale: float | None = None
    size: int | None = 256
    max_faces: int = 1
    aggregate: str = "mean"

    def check(self, limits: Limits) -> "Settings":
        """Refuse what is unknown or beyond the limits.

        Raises:
            UploadError: Names the setting, what came and what is expected.
        """
        if self.rule not in RULES or self.aggregate not in AGGREGATES:
            raise UploadError(
                f"got rule {self.rule!r} and aggregate {self.aggregate!r}; expected one of "
                f"{', '.join(RULES)} and one of {', '.join(AGGREGATES)}."
            )
        for name, low, high in (
            ("max_frames", 1, limits.max_frames),
            ("stride", 1, 10_000),
            ("det_threshold", -5, 100),
            ("scale", 0.5, 3),
            ("size", 32, 1024),
            ("max_faces", 1, limits.max_faces),
        ):
            value = getattr(self, name)
            if value is None and name in ("scale", "size"):
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            whole = name in ("scale", "det_threshold") or value == int(value) if number else False
            if not (number and whole and low <= value <= high):
                raise UploadError(f"the setting {name} is {value!r}; expected {low:g} to {high:g}.")
        return self


@dataclass(frozen=True)
class FaceResult:
    """One face that was scored: frame number, second (None for an image), rank by size, box in
    pixels (x0, y0, x1, y1), P(fake) in [0, 1]."""

    frame: int
    seconds: float | None
    face: int
    box: tuple[float, float, float, float]
    p_fake: float


@dataclass(frozen=True)
class Shown:
    """A frame kept for showing: number, second, its image (at most 480 pixels wide or high), boxes
    in pixels of that image, their scores, and the crops that were judged (at most 128 pixels)."""

    frame: int
    seconds: float | None
    image: np.ndarray
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    crops: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class FileResult:
    """What one file gave.

    Attributes:
        name: To show; see `limits.shown_name`.
        status: "ok", "partial" (scored, but with a remark), or why there is no score: "refused",
            "no_face", "unreadable", "stopped", "error".
        message: The reason or remark; "" if all went well.
        kind: "image" or "video"; "" where the file was refused.
        sha256: Of the file, first 16 digits; "" where it was refused.
        width, height, fps, n_total: Of the file; 0 where not known.
        n_frames: Frames looked at.
        n_with_face: Frames with at least one face that was scored.
        faces: Every face that was scored.
        mean, median: Over the frames with a face, each by its highest face; None without.
        p_fake: The one of the two that was asked for.
        calibrated: p_fake at the temperature stored with the model; None without one.
        shown: Frames for showing.
    """

    name: str
    status: str
    message: str
    kind: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    n_total: int = 0
    n_frames: int = 0
    n_with_face: int = 0
    faces: tuple[FaceResult, ...] = ()
    mean: float | None = None
    median: float | None = None
    p_fake: float | None = None
    calibrated: float | None = None
    shown: tuple[Shown, ...] = field(default=(), repr=False)

    def call(self, threshold: float | None) -> str | None:
        """Say "fake" if the score is at least the threshold, else "real"; None without either."""
        if self.p_fake is None or threshold is None:
            return None
        return "fake" if self.p_fake >= threshold else "real"

    def by_frame(self) -> list[tuple[int, float | None, float]]:
        """Give (frame, second, highest P(fake) of its faces), in the order of the file."""
        best: dict[int, FaceResult] = {}
        for face in self.faces:
            if face.frame not in best or face.p_fake > best[face.frame].p_fake:
                best[face.frame] = face
        return [(n, best[n].seconds, best[n].p_fake) for n in sorted(best)]


class _Stop(Exception):
    """The rest of a file is not looked at; the text says why, "" if all that was asked is done."""


def analyse(
    files: Sequence[tuple[str, str | Path]],
    detector: Any,
    engine: Any,
    settings: Settings,
    limits: Limits,
    report: Callable[[float, str], None] = lambda share, text: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[FileResult]:
    """Score files one after another; a bad one gives a message and the next is looked at.

    Args:
        files: (name to show, file).
        detector: As `score.load` gives it.
        engine: Finds the faces of a list of images, as `faces.FaceEngine`.
        settings: How to look at them.
        limits: What is allowed.
        report: Called with the share done in [0, 1] and what is being done.
        stopped: Asked before every few frames; True ends the work with what is there.

    Yields:
        One result per file, in their order.

    Raises:
        UploadError: If there is no file, too many, or a setting is wrong; before the first result.
    """
    settings = settings.check(limits)
    if not files:
        raise UploadError("nothing to score: give a file or choose an example.")
    if len(files) > limits.max_files:
        raise UploadError(
            f"{len(files)} files are more than {limits.max_files}; give the rest in a second go."
        )
    return _each(files, detector, engine, settings, limits, report, stopped)


def _each(files, detector, engine, settings, limits, report, stopped) -> Iterator[FileResult]:
    until = time.monotonic() + limits.work_seconds
    for k, (given, path) in enumerate(files):
        name = checks.shown_name(given)

        def tell(share: float, k: int = k, name: str = name) -> None:
            report((k + share) / len(files), f"{name} ({k + 1} of {len(files)})")

        def why() -> str:
            if stopped():
                return "stopped by hand"
            over = time.monotonic() > until
            return f"the {limits.work_seconds:g} s for one request are over" if over else ""

        tell(0.0)
        if reason := why():
            yield FileResult(name, "stopped", f"not looked at: {reason}.")
            continue
        try:
            yield _one(name, Path(path), detector, engine, settings, limits, tell, why)
        except UploadError as error:
            yield FileResult(name, "refused", str(error))
        except (ValueError, OSError, MemoryError) as error:
            yield FileResult(name, "unreadable", _named(error, Path(path), name))
        except Exception as error:  # one file must not end the request of the others
            _LOG.exception("scoring a file failed")
            text = f"could not be scored ({type(error).__name__}: {error}); the log has more."
            yield FileResult(name, "error", text)
    report(1.0, "done")


def _named(error: Exception, path: Path, name: str) -> str:
    text = str(error).replace(str(path), name).replace(path.name, name)
    return text or type(error).__name__


def _one(name, path, detector, engine, settings, limits, tell, why) -> FileResult:
    from gendkit.extract.units import IMAGES
    from gendkit.extract.work import cut_unit

    upload = checks.check(path, limits)
    facts = {"kind": upload.kind, "sha256": _digest(path)}
    with ExitStack() as stack:
        source = path
        if (path.suffix.lower() in IMAGES) != (upload.kind == "image"):
            source = _renamed(path, upload.kind, stack)
        about, n_total = _about(source, upload, limits)
        step = settings.stride if settings.rule == "stride" else 1
        order = range(0, n_total, step)
        if settings.rule == "spread":
            order = video.sample(n_total, "fixed_num_frames", settings.max_frames)
        order = list(order)[: settings.max_frames]
        seen = _Seen(detector, about["fps"] if upload.kind == "video" else None, order)
        watch = _Watch(engine, settings, order, seen, tell, why)
        spec = {
            "rule": "fixed_stride" if settings.rule == "stride" else "fixed_num_frames",
            "n_frames": settings.max_frames,
            "stride": settings.stride,
            "scale": settings.scale or detector.crop_scale,
            "size": settings.size,
            "policy": "all",
        }
        notes, found, halted = [upload.note], {}, ""
        try:
            found = cut_unit({"source": str(source), "mask": ""}, spec, watch, seen)
        except _Stop as stop:
            halted = str(stop)
            notes.append(halted)
    seen.score()
    facts |= about | {"n_total": n_total, "n_frames": watch.n_seen}
    # its count of frames without a face includes those beyond the limit
    remarks = [r for r in found.get("message", "").split("; ") if not r.startswith("no face ")]
    notes += [remark.replace(source.name, name) for remark in remarks]
    n_with_face = len({face.frame for face in seen.faces})
    if 0 < n_with_face < watch.n_seen:
        notes.append(f"no face in {watch.n_seen - n_with_face} of {watch.n_seen} frames")
    if watch.n_more:
        notes.append(
            f"more than {settings.max_faces} faces in {watch.n_more} frames (largest taken)"
        )
    message = "; ".join(note for note in notes if note)
    if not seen.faces:
        if found.get("status") == "unreadable":
            return FileResult(name, "unreadable", message, **facts)
        looked = f"no face found in {watch.n_seen} frame{'s' * (watch.n_seen != 1)} looked at"
        if not halted:
            looked += (
                "; look at more frames, lower the detection threshold, or give a larger picture"
            )
        return FileResult(name, "no_face", "; ".join(filter(None, [message, looked])), **facts)
    result = FileResult(name, "partial" if message else "ok", message, **facts, faces=seen.faces)
    values = [p for *_, p in result.by_frame()]
    if not np.isfinite(values).all():
        text = f"the model {detector.name} gave a score that is not finite: damaged weights?"
        return FileResult(name, "error", text, **facts)
    numbers = {how: float(f(values)) for how, f in AGGREGATES.items()}
    value = numbers[settings.aggregate]
    heat = (detector.threshold or {}).get("temperature")
    return replace(
        result,
        **numbers,
        p_fake=value,
        calibrated=float(rescale(value, heat["value"])) if heat else None,
        n_with_face=n_with_face,
        shown=seen.shown(),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def _renamed(path: Path, kind: str, stack: ExitStack) -> Path:
    """Give a file a name that fits its content, for as long as the stack is open."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gendkit-app-")))
    other = folder / ("it.png" if kind == "image" else "it.mp4")
    try:
        os.link(path, other)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, other)
    return other


def _about(source: Path, upload: checks.Upload, limits: Limits) -> tuple[dict, int]:
    """Width, height and frame rate of a file, and its number of frames, counted."""
    if upload.kind == "image":
        from PIL import Image

        with Image.open(source) as image:
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
            width, height = reversed(image.size) if turned else image.size
        return {"width": width, "height": height, "fps": 0.0}, 1
    try:
        info = video.probe(source)
    except video.VideoError as error:
        if not error.n_readable:
            raise
        return {"width": 0, "height": 0, "fps": 0.0}, error.n_readable
    checks.check_seconds(info.n_frames / info.fps if info.fps else info.duration_s, limits)
    return {"width": info.width, "height": info.height, "fps": info.fps}, info.n_frames


class _Watch:
    """Works like the engine that it holds; counts, reports, limits the faces, and stops in time."""

    def __init__(self, engine, settings, order, seen, tell, why) -> None:
        self.engine, self.settings, self.order, self.seen = engine, settings, order, seen
        self.tell, self.why = tell, why
        self.batch_images = getattr(engine, "batch_images", 4)
        self.n_seen = self.n_more = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[list]:
        if reason := self.why():
            raise _Stop(f"{reason}: {self.n_seen} of {len(self.order)} frames looked at")
        if self.n_seen == len(self.order):
            raise _Stop("")
        wanted = images[: len(self.order) - self.n_seen]
        found = []
        for image, faces in zip(wanted, self.engine(wanted), strict=True):
            ranked = choose(faces, "all")
            self.n_more += len(ranked) > self.settings.max_faces
            found.append(ranked[: self.settings.max_faces])
            self.seen.look(self.order[self.n_seen], image)
            self.n_seen += 1
        self.tell(self.n_seen / len(self.order))
        return found + [[] for _ in images[len(wanted) :]]


class _Seen:
    """Takes crops from an extraction, scores them, and keeps a few frames and crops for showing."""

    def __init__(self, detector: Any, fps: float | None, order: list[int]) -> None:
        self.detector, self.fps = detector, fps
        steps = np.linspace(0, len(order) - 1, min(SHOWN_FRAMES, len(order)))
        self.keep = {order[int(k)] for k in np.rint(steps)}
        self.images: dict[int, tuple[np.ndarray, float]] = {}
        self.crops: dict[int, list[np.ndarray]] = {}
        self.waiting: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        self.faces: tuple[FaceResult, ...] = ()

    def look(self, frame: int, image: np.ndarray) -> None:
        """Keep a frame, if it is one of those to show."""
        if frame in self.keep:
            small = shrink(image)
            self.images[frame] = (np.array(small), small.shape[1] / image.shape[1])

    def add(
        self, frame: int, face: Any, number: int | None, n_faces: int, crop: np.ndarray
    ) -> None:
        """Take a crop, as `extract.work.cut_unit` gives it."""
        self.waiting.append((frame, number or 0, np.asarray(face.box, float), crop))
        n_bytes = sum(crop.nbytes for *_, crop in self.waiting)
        if len(self.waiting) == _BATCH or n_bytes > _BATCH_BYTES:
            self.score()

    def score(self) -> None:
        """Score the crops that wait."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        scores = score_crops(self.detector, [crop for *_, crop in waiting])
        for (frame, number, box, crop), p in zip(waiting, scores, strict=True):
            seconds = frame / self.fps if self.fps else None
            box = tuple(round(float(v), 1) for v in box)
            self.faces += (FaceResult(frame, seconds, number, box, float(p)),)
            if frame in self.keep:
                self.crops.setdefault(frame, []).append(np.array(shrink(crop, CROP_SIDE)))

    def shown(self) -> tuple[Shown, ...]:
        """Give the frames for showing, with what was found in them."""
        out = []
        for frame, (image, scale) in sorted(self.images.items()):
            faces = [face for face in self.faces if face.frame == frame]
            boxes = tuple(tuple(v * scale for v in face.box) for face in faces)
            seconds = frame / self.fps if self.fps else None
            scores = tuple(face.p_fake for face in faces)
            out.append(
                Shown(frame, seconds, image, boxes, scores, tuple(self.crops.get(frame, ())))
            )
        return tuple(out)
