"""One unit of work of an extraction: one video or image to crops and a record."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gendkit import repro, video
from gendkit.extract.units import IMAGES, VIDEOS, mask_hash
from gendkit.faces import Face, align_crop, choose

BATCH = 16


def record_path(out: Path, unit: dict) -> Path:
    """Where the record of a finished unit lies."""
    return out / ".units" / f"{unit['folder']}.json"


def do_unit(unit: dict, out: Path, spec: dict, engine: Any) -> dict:
    """Do one video: write its crops, then its record.

    Args:
        unit: as `find_units` gives it, with "seen", the `quick_hash` of its source.
        out: folder of the extraction.
        spec: settings, see `gendkit.extract.run`.
        engine: finds the faces of a list of images.

    Returns:
        The record: status, n_frames, n_asked, n_faces, n_several, message, crops, seen, mask.
    """
    folder = out / unit["folder"]
    if folder.exists():
        shutil.rmtree(folder)
    with contextlib.ExitStack() as stack:
        crops = _Crops(stack, folder)
        facts = _extract(unit, spec, engine, crops)
        record = {
            **facts,
            "crops": sorted(crops.rows, key=lambda row: row["file"]),
            "seen": unit["seen"],
            "mask": mask_hash(unit["mask"]),
        }
    repro.write_json(record_path(out, unit), record)
    return record


class _Crops:
    """Writes crops into a folder that appears when the stack closes without an error."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path):
        self.stack, self.folder = stack, folder
        self.temporary: Path | None = None
        self.rows: list[dict] = []

    def add(
        self, frame: int, face: Face, number: int | None, n_faces: int, crop: np.ndarray
    ) -> None:
        if self.temporary is None:
            self.temporary = self.stack.enter_context(repro.atomic_path(self.folder))
            self.temporary.mkdir()
        name = f"{frame:05d}.png" if number is None else f"{frame:05d}_{number}.png"
        # Level 1: a fifth larger than the default, four times as fast to write.
        Image.fromarray(crop).save(self.temporary / name, compress_level=1)
        row = {
            "file": name,
            "frame": frame,
            "box": " ".join(f"{v:.1f}" for v in np.asarray(face.box, float)),
            "score": round(float(face.score), 4),
            "n_faces": n_faces,
        }
        self.rows.append(row if number is None else {**row, "face": number})


def _extract(unit: dict, spec: dict, engine: Any, crops: _Crops) -> dict:
    facts = {"status": "unreadable", "n_frames": 0, "n_asked": 0, "n_faces": 0, "n_several": 0}
    notes: list[str] = []
    if unit.get("empty_folder"):
        kinds = ", ".join(VIDEOS + IMAGES)
        message = f"the folder holds no video and no image; expected files ending in {kinds}"
        return {**facts, "status": "empty", "message": message}
    source = Path(unit["source"])
    try:
        n_total, is_image = _length(source, notes)
    except video.VideoError as error:
        status = "empty" if error.kind == "empty" else "unreadable"
        return {**facts, "status": status, "message": _short(error, source)}
    order = (
        [0]
        if is_image
        else video.sample(n_total, spec["rule"], spec["n_frames"] or 1, spec["stride"] or 1)
    )
    wanted = min(len(order), spec["n_frames"]) if spec["rule"] == "at_least" else len(order)
    tried, several, without, done, position = 0, 0, 0, 0, 0
    while done < wanted and position < len(order):
        # "at_least" goes on with the next frames of its order until enough of them gave a face.
        block = sorted(order[position : position + wanted - done])
        position += len(block)
        for numbers, images in _batches(source, block, is_image):
            masks = _masks(unit, spec, numbers, images, notes)
            found = engine(images)
            for number, image, mask, faces in zip(numbers, images, masks, found, strict=True):
                tried += 1
                several += len(faces) > 1
                made = _cut(number, image, mask, faces, spec, crops)
                done, without = done + made, without + (not made)
    facts.update(n_frames=n_total, n_asked=tried, n_faces=done, n_several=several)
    if not done:
        looked = f"no face found in {tried} frames; lower the threshold or use another detector"
        return {**facts, "status": "no_face", "message": "; ".join([*notes, looked])}
    if without and spec["rule"] != "at_least":
        notes.append(f"no face in {without} of {tried} frames")
    elif done < wanted:
        notes.append(f"only {done} of {wanted} frames with a face")
    return {**facts, "status": "partial" if notes else "ok", "message": "; ".join(notes)}


def _length(source: Path, notes: list[str]) -> tuple[int, bool]:
    """Number of readable frames, and whether the file is an image."""
    if source.suffix.lower() in IMAGES and source.is_file() and source.stat().st_size:
        _open_image(source)
        return 1, True
    try:
        return video.probe(source).n_frames, False
    except video.VideoError as error:
        if not error.n_readable:
            raise
        notes.append(_short(error, source))
        return error.n_readable, False


def _open_image(source: Path) -> np.ndarray:
    try:
        with Image.open(source) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = type(error).__name__
        raise video.VideoError(
            f"{source} cannot be read as an image ({reason}); save it again as PNG."
        ) from error


def _short(error: Exception, source: Path) -> str:
    """The message without the folder, so that a report does not depend on where the data lies."""
    return str(error).replace(str(source), source.name)


def _batches(
    source: Path, numbers: list[int], is_image: bool
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    if is_image:
        yield [0], [_open_image(source)]
        return
    wanted, some, images = set(numbers), [], []
    for index, image in video.iter_frames(source):
        if index in wanted:
            some.append(index)
            images.append(image)
        last = index == numbers[-1]
        if some and (last or len(some) == BATCH):
            yield some, images
            some, images = [], []
        if last:
            break


def _masks(
    unit: dict, spec: dict, numbers: list[int], images: list[np.ndarray], notes: list[str]
) -> list[np.ndarray | None]:
    nothing: list[np.ndarray | None] = [None] * len(numbers)
    if spec["policy"] != "mask" or not unit["mask"]:
        return nothing
    path, problem = Path(unit["mask"]), ""
    try:
        if path.suffix.lower() in IMAGES:
            masks = [_open_image(path)[..., 0]] * len(numbers)
        else:
            masks = list(video.read_frames(path, numbers)[..., 0])
        if masks[0].shape == images[0].shape[:2]:
            # A coded mask is not exactly black and white.
            return [m > 127 for m in masks]
        sizes = [f"{m.shape[1]}x{m.shape[0]}" for m in (masks[0], images[0])]
        problem = f"the mask is {sizes[0]}, the video {sizes[1]}"
    except video.VideoError as error:
        problem = _short(error, path)
    problem += "; the largest face was taken"
    if problem not in notes:
        notes.append(problem)
    return nothing


def _cut(
    number: int,
    image: np.ndarray,
    mask: np.ndarray | None,
    faces: Sequence[Face],
    spec: dict,
    crops: _Crops,
) -> bool:
    policy = "largest" if spec["policy"] == "mask" and mask is None else spec["policy"]
    chosen = choose(faces, policy, mask=mask, shape=image.shape)
    made = False
    for k, face in enumerate(chosen if policy == "all" else [chosen] if chosen is not None else []):
        crop = align_crop(image, face.points, spec["scale"], spec["size"])
        crops.add(number, face, k if policy == "all" else None, len(faces), crop)
        made = True
    return made
