"""One unit of work of an extraction: one video or image to crops and a record."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from gendkit import repro, video
from gendkit.extract.overlap import Clock, Writer, ahead
from gendkit.extract.units import IMAGES, VIDEOS, mask_hash
from gendkit.faces import Face, align_crop, choose, overlap

_ABOUT = ("codec", "width", "height")
_UNCOUNTED = (".mkv", ".webm")  # containers that say how long they are, not how many frames
_BATCH_BYTES = 2**26  # of images that are found faces in together: bounds the memory for 8K video


def record_path(out: Path, unit: dict) -> Path:
    """Where the record of a finished unit lies."""
    return out / ".units" / f"{unit['folder']}.json"


def do_unit(unit: dict, out: Path, spec: dict, engine: Any, clock: Clock | None = None) -> dict:
    """Do one video: write its crops, then its record.

    Args:
        unit: as `find_units` gives it, with "seen", the `quick_hash` of its source.
        out: folder of the extraction.
        spec: settings, see `gendkit.extract.run`.
        engine: finds the faces of a list of images.
        clock: adds up the time of each stage.

    Returns:
        The record: status, n_frames, n_asked, n_faces, n_several, n_masked (with the policy "mask"),
        message, codec, width, height, crops, seen, mask.
    """
    clock = clock or Clock()
    folder = out / unit["folder"]
    if folder.exists():
        shutil.rmtree(folder)
    with contextlib.ExitStack() as stack:
        crops = _Crops(stack, folder, clock)
        facts = cut_unit(unit, spec, engine, crops, clock)
        crops.finish()
        record = {
            **facts,
            "crops": sorted(crops.rows, key=lambda row: row["file"]),
            "seen": unit["seen"],
            "mask": mask_hash(unit["mask"]),
        }
    repro.write_json(record_path(out, unit), record)
    return record


class _Crops:
    """Writes crops, in a thread, into a folder that appears when the stack closes without an error."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, clock: Clock):
        self.stack, self.folder, self.clock = stack, folder, clock
        self.temporary: Path | None = None
        self.writer: Writer | None = None
        self.rows: list[dict] = []

    def add(
        self, frame: int, face: Face, number: int | None, n_faces: int, crop: np.ndarray
    ) -> None:
        if self.writer is None:
            self.temporary = self.stack.enter_context(repro.atomic_path(self.folder))
            self.temporary.mkdir()
            self.writer = Writer()
            # comes before atomic_path clears up
            self.stack.callback(self.writer.abort)
        name = f"{frame:05d}.png" if number is None else f"{frame:05d}_{number}.png"
        self.writer.put(self._save(crop, self.temporary / name))
        row = {
            "file": name,
            "frame": frame,
            "box": " ".join(f"{v:.1f}" for v in np.asarray(face.box, float)),
            "score": round(float(face.score), 4),
            "n_faces": n_faces,
        }
        if face.tracked:
            row["tracked"] = 1
        self.rows.append(row if number is None else {**row, "face": number})

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.finish()

    def _save(self, crop: np.ndarray, path: Path) -> Callable[[], None]:
        def save() -> None:
            with self.clock.stage("write"):
                # Level 1: a fifth larger than the default, four times as fast to write.
                Image.fromarray(crop).save(path, compress_level=1)

        return save


def cut_unit(unit: dict, spec: dict, engine: Any, crops: Any, clock: Clock | None = None) -> dict:
    """Find the faces of one video or image and hand each crop to `crops.add`.

    Args:
        unit: See `do_unit`.
        spec: Settings, see `gendkit.extract.run`.
        engine: Finds the faces of a list of images.
        crops: Has `add(frame, face, number, n_faces, crop)`.
        clock: Adds up the time of each stage.

    Returns:
        status, n_frames, n_asked, n_faces, n_several, message, codec, width, height; and n_masked,
        the frames whose face was chosen by a mask, with that policy.
    """
    clock = clock or Clock()
    facts: dict[str, Any] = {"status": "unreadable", "n_frames": 0, "n_asked": 0, "n_faces": 0}
    facts |= {"n_several": 0, **({"n_masked": 0} if spec["policy"] == "mask" else {})}
    notes: list[str] = []
    if unit.get("empty_folder"):
        kinds = ", ".join(VIDEOS + IMAGES)
        message = f"the folder holds no video and no image; expected files ending in {kinds}"
        return {**facts, "status": "empty", "message": message}
    source = Path(unit["source"])
    try:
        n_total, is_image, about = _length(source, notes)
    except video.VideoError as error:
        status = "empty" if error.kind == "empty" else "unreadable"
        return {**facts, "status": status, "message": _short(error, source)}
    facts.update(about)
    order = (
        [0]
        if is_image
        else video.sample(n_total, spec["rule"], spec["n_frames"] or 1, spec["stride"] or 1)
    )
    most = spec["n_frames"] if spec["rule"] == "at_least" else spec.get("limit")
    wanted = min(len(order), most or len(order))
    tried, several, without, done, position, by_mask = 0, 0, 0, 0, 0, 0
    masks = _Masks(unit, spec)
    while done < wanted and position < len(order):
        # "at_least" goes on with the next frames of its order until enough of them gave a face.
        block = sorted(order[position : position + wanted - done])
        position += len(block)
        if hasattr(engine, "restart"):
            engine.restart()
        batches = _batches(source, block, is_image, masks, getattr(engine, "batch_images", 4))
        with contextlib.closing(ahead(_timed(batches, clock))) as ready:
            for numbers, images, around in ready:
                found = clock.find(engine, images)
                for number, image, mask, faces in zip(numbers, images, around, found, strict=True):
                    tried += 1
                    several += len(faces) > 1
                    try:
                        with clock.stage("align"):
                            made, met = _cut(number, image, mask, faces, spec, crops)
                    except ValueError as error:  # points that give no crop
                        made, met = False, False
                        notes.append(f"frame {number}: {error}")
                    done, without = done + made, without + (not made)
                    by_mask += met
                    masks.n_unmet += made and mask is not None and not met
    notes += masks.problems()
    facts.update(n_frames=n_total, n_asked=tried, n_faces=done, n_several=several)
    if "n_masked" in facts:
        facts["n_masked"] = by_mask
    if not done:
        looked = f"no face found in {tried} frames; lower the threshold or use another detector"
        return {**facts, "status": "no_face", "message": "; ".join([*notes, looked])}
    if without and spec["rule"] != "at_least" and not spec.get("limit"):
        notes.append(f"no face in {without} of {tried} frames")
    elif done < wanted:
        notes.append(f"only {done} of {wanted} frames with a face")
    return {**facts, "status": "partial" if notes else "ok", "message": "; ".join(notes)}


def _length(source: Path, notes: list[str]) -> tuple[int, bool, dict]:
    """Number of readable frames, whether the file is an image, and its codec, width and height."""
    if source.suffix.lower() in IMAGES and source.is_file() and source.stat().st_size:
        height, width = _open_image(source).shape[:2]
        codec = source.suffix.lower()[1:].replace("jpeg", "jpg")
        return 1, True, {"codec": codec, "width": width, "height": height}
    try:
        info = video.probe(source)
    except video.VideoError as error:
        if not error.n_readable:
            raise
        notes.append(_short(error, source))
        return error.n_readable, False, {}
    claimed = round(info.duration_s * info.fps)
    if source.suffix.lower() in _UNCOUNTED and info.n_frames < min(0.9 * claimed, claimed - 1):
        notes.append(
            f"{source.name} holds {info.n_frames} frames, its length announces about {claimed}; it "
            "is cut off, or its frame rate varies"
        )
    return info.n_frames, False, {name: getattr(info, name) for name in _ABOUT}


def _open_image(source: Path) -> np.ndarray:
    try:
        with Image.open(source) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits; convert would cut off at 255
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = type(error).__name__
        raise video.VideoError(
            f"{source} cannot be read as an image ({reason}); save it again as PNG."
        ) from error


def _short(error: Exception, source: Path) -> str:
    """The message without the folder, so that a report does not depend on where the data lies."""
    return str(error).replace(str(source), source.name)


def _timed(items: Iterator, clock: Clock) -> Iterator:
    while True:
        with clock.stage("decode"):
            item = next(items, None)
        if item is None:
            return
        yield item


def _frames(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode forward to the last of the numbers; only these become RGB images."""
    wanted, last = set(numbers), max(numbers)
    for index, frame in video._decode(path):
        if index in wanted:
            yield index, video._image(frame)
        if index == last:
            return


def _batches(
    source: Path, numbers: list[int], is_image: bool, masks: "_Masks", most: int
) -> Iterator[tuple[list[int], list[np.ndarray], list[np.ndarray | None]]]:
    """Yield frame numbers, images and masks, a few at a time; runs in the decoding thread."""
    some: list[tuple[int, np.ndarray, np.ndarray | None]] = []
    masks.start(numbers)
    for index, image in [(0, _open_image(source))] if is_image else _frames(source, numbers):
        some.append((index, image, masks.get(index, image)))
        full = len(some) * image.nbytes > _BATCH_BYTES
        if len(some) == most or full:
            yield tuple(map(list, zip(*some, strict=True)))
            some = []
    if some:
        yield tuple(map(list, zip(*some, strict=True)))


class _Masks:
    """Reads the masks of a video beside its frames, and remembers what was wrong with them."""

    def __init__(self, unit: dict, spec: dict):
        self.path = Path(unit["mask"]) if spec["policy"] == "mask" and unit["mask"] else None
        self.n_unmet, self._lost = 0, 0
        self._problem = ""

    def start(self, numbers: list[int]) -> None:
        """Begin at the first frame again."""
        self._still = self._stream = None
        if self.path is None:
            return
        try:
            if self.path.suffix.lower() in IMAGES:
                self._still = _open_image(self.path)[..., 0]
            else:
                self._stream = _frames(self.path, numbers)
        except video.VideoError as error:
            self._problem = _short(error, self.path)

    def get(self, number: int, image: np.ndarray) -> np.ndarray | None:
        """Give the mask of a frame, (H, W) bool, or None; frames must be asked for in order."""
        if self.path is None:
            return None
        mask = self._still
        if self._stream is not None:
            try:
                mask = next((m[..., 0] for k, m in self._stream if k == number), None)
                ended = mask is None and "it has fewer frames than the video"
                self._problem = self._problem or ended or ""
            except video.VideoError as error:
                self._problem = self._problem or _short(error, self.path)
                self._stream = None
        if mask is not None and mask.shape != image.shape[:2]:
            sizes = [f"{m.shape[1]}x{m.shape[0]}" for m in (mask, image)]
            self._problem = f"the mask is {sizes[0]}, the video {sizes[1]}"
            mask = None
        self._lost += mask is None
        # A coded mask is not exactly black and white.
        return None if mask is None else mask > 127

    def problems(self) -> list[str]:
        """Say for how many frames the mask did not choose the face."""
        out = []
        if self._lost:
            out.append(f"mask: {self._problem}; in {self._lost} frames the largest face was taken")
        if self.n_unmet:
            out.append(
                f"the mask meets no face in {self.n_unmet} frames; the largest face was taken"
            )
        return out


def _cut(
    number: int,
    image: np.ndarray,
    mask: np.ndarray | None,
    faces: Sequence[Face],
    spec: dict,
    crops: Any,
) -> tuple[bool, bool]:
    """Cut the chosen faces of a frame; whether there was one, and whether a mask chose it."""
    policy = "largest" if spec["policy"] == "mask" and mask is None else spec["policy"]
    chosen = choose(faces, policy, mask=mask, shape=image.shape)
    made = met = False
    for k, face in enumerate(chosen if policy == "all" else [chosen] if chosen is not None else []):
        crop = align_crop(image, face.points, spec["scale"], spec["size"])
        crops.add(number, face, k if policy == "all" else None, len(faces), crop)
        made, met = True, policy == "mask" and overlap(face.box, mask) > 0
    return made, met
