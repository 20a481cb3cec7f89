"""What an extraction has to do: one unit of work for each video or image of its inputs."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from gendkit import manifest

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_LONGEST = 220  # bytes of a part of a path: file systems take 255, temporary names are longer
_COMPRESSIONS = ("raw", "c0", "c23", "c40")


class ExtractError(ValueError):
    """An extraction cannot start; the message says what came and how to fix it."""


def find_units(inputs: Any, root: str | Path | None, method: str) -> list[dict]:
    """List what to do.

    Args:
        inputs: as for `gendkit.extract.run`.
        root: folder that the paths of a table are relative to.
        method: name of the method for inputs without a manifest.

    Returns:
        One dict per video or image: source (file), mask (file or ""), folder (of its crops, relative), row (manifest).

    Raises:
        ExtractError: no inputs, a table without root, or a manifest of frames.
        FileNotFoundError: an input does not exist.
    """
    if isinstance(inputs, str | Path) and Path(inputs).suffix.lower() == ".csv":
        table, root = manifest.read(inputs), Path(root or Path(inputs).parent)
    elif isinstance(inputs, pd.DataFrame):
        if root is None:
            raise ExtractError(
                "got a table without root; pass root=, the folder its paths are relative to."
            )
        table = manifest.validate(inputs)
    elif isinstance(inputs, str | Path) and Path(inputs).suffix.lower() == ".txt":
        return _units_of_list(Path(inputs), root, method)
    else:
        return _units_of_files(inputs, method)
    if "frame" in table:
        raise ExtractError(
            "got a manifest of frames (it has a column 'frame'), expected one row per video."
        )
    if table.empty:
        raise ExtractError("the manifest has no rows; expected at least one video.")
    return [
        _unit(row, manifest.resolve(root, row["path"]), root) for row in table.to_dict("records")
    ]


def _units_of_list(path: Path, root: str | Path | None, method: str) -> list[dict]:
    """A unit for each line of a list file, there or not; a relative name starts at `root`."""
    base = Path(root or path.parent)
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    files = [base / line for line in lines if line and not line.startswith("#")]
    if not files:
        raise ExtractError(f"{path} names no file; expected one video or image a line.")
    home = os.path.realpath(base)
    real = [Path(os.path.realpath(file)) for file in files]  # resolve() would raise on a circle
    inside = all(file.is_relative_to(home) for file in real)
    if not inside:  # absolute names: their common folder takes the place of the list's
        base = Path(os.path.commonpath([file.parent for file in real]))
        files = real
    units = _units_in(base, files, method)
    return _numbered(units)


def _units_of_files(inputs: Any, method: str) -> list[dict]:
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not given:
        raise ExtractError("no inputs; give a manifest, a folder or files.")
    units: list[dict] = []
    for item in map(Path, given):
        if not item.exists() and not item.is_symlink():
            raise FileNotFoundError(
                f"got {str(item)!r}, expected a manifest, a folder, a video or an image; check the path"
            )
        base = item if item.is_dir() else item.parent
        files = _media(item) if item.is_dir() else [item]
        units += _units_in(base, files, method)
        if not files:
            units.append(
                {
                    **_unit(_row(item.name, _name_of(base), method, "(none)"), item, base),
                    "empty_folder": True,
                }
            )
    return _numbered(units)


def _units_in(base: Path, files: list[Path], method: str) -> list[dict]:
    dataset = _name_of(base)
    inside = [Path(os.path.relpath(file, base)) for file in files]
    names = [_plain_name(path.with_suffix("").as_posix()) for path in inside]
    counts = Counter(names)
    units = []
    for file, path, name in zip(files, inside, names, strict=True):
        # a.mp4 beside a.avi: keep the ending, so that each has its own id
        name = name if counts[name] == 1 else _plain_name(path.as_posix())
        units.append(_unit(_row(path.as_posix(), dataset, method, name), file, base))
    return units


def _numbered(units: list[dict]) -> list[dict]:
    taken: dict[str, int] = {}
    for unit in units:
        count = taken[unit["folder"]] = taken.get(unit["folder"], 0) + 1
        if count > 1:
            row = {**unit["row"], "video_id": f"{unit['row']['video_id']}~{count}"}
            unit.update(row=row, folder=_folder(row))
    return units


def find_masks(units: list[dict], folder: str | Path) -> int:
    """Give each unit its mask of a folder that mirrors the videos; changes the units.

    Tried in this order, beside the same name with the ending of a video or an image: the video's own
    name (FaceForensics++), its name with `_mask`, and both where FaceForensics++ keeps its masks,
    `<method>/masks/videos` for `<method>/c23/videos`.

    Args:
        units: as `find_units` gives them; a mask that the manifest names stays.
        folder: of the masks.

    Returns:
        Number of units with a mask.

    Raises:
        ExtractError: the folder does not exist, or holds no mask of any unit.

    Source: naming of the official GenD preprocessing (`detector.py`) and of FaceForensics++.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExtractError(f"the mask folder {folder} does not exist; check the path.")
    for unit in units:
        if not unit["mask"]:
            unit["mask"] = _mask_of(Path(unit["row"]["path"]), Path(unit["source"]), folder)
    found = sum(bool(unit["mask"]) for unit in units)
    if not found:
        name = Path(units[0]["row"]["path"])
        raise ExtractError(
            f"{folder} holds no mask of any of the {len(units)} inputs; expected, for example, "
            f"{name.as_posix()} or {name.with_stem(name.stem + '_mask').as_posix()} in it."
        )
    return found


def _mask_of(path: Path, source: Path, folder: Path) -> str:
    home = path.parent.parts
    homes = [Path(*home), Path(*("masks" if part in _COMPRESSIONS else part for part in home))]
    for place in dict.fromkeys(homes):
        for stem in (path.stem, f"{path.stem}_mask"):
            for ending in dict.fromkeys([path.suffix, *VIDEOS, *IMAGES]):
                file = folder / place / f"{stem}{ending}"
                # videos and masks in one folder: the video itself is not its mask
                if file.is_file() and file.resolve() != source.resolve():
                    return str(file)
    return ""


def _media(folder: Path) -> list[Path]:
    found = []
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(at) / n
            for n in names
            if Path(n).suffix.lower() in VIDEOS + IMAGES and not n.startswith(".")
        ]
    return sorted(found)


def _plain_name(name: str) -> str:
    """A name that any file system takes, in UTF-8, with room for a temporary ending."""
    parts = re.sub(r"[\\\0:]", "_", _text(name)).split("/")
    return "/".join(map(_shortened, parts))


def _text(name: str) -> str:
    """Write the bytes of another encoding as \\udcXX, so that the name can be stored."""
    return name.encode("utf-8", "backslashreplace").decode()


def _shortened(part: str) -> str:
    whole = part.encode()
    if len(whole) <= _LONGEST:
        return part
    start = whole[: _LONGEST - 13].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(whole).hexdigest()[:12]}"


def _name_of(folder: Path) -> str:
    return _plain_name(folder.resolve().name) or "files"


def _row(path: str, dataset: str, method: str, video_id: str) -> dict:
    return {
        "path": _text(path),
        "dataset": dataset,
        "method": method,
        "compression": "",
        "video_id": video_id,
        "source_id": video_id,
        "label": int(method != "real"),
        "role": "",
    }


def _folder(row: dict) -> str:
    parts = [row["dataset"], row["method"], row["compression"], row["video_id"]]
    return "/".join(part for part in parts if part)


def _unit(row: dict, source: Path, root: Path) -> dict:
    mask = str(manifest.resolve(root, row["mask_path"])) if row.get("mask_path") else ""
    folder = _folder(row)
    manifest.resolve(".", folder)  # refuses ids that would leave the output folder
    return {"source": str(source), "mask": mask, "folder": folder, "row": row}


def quick_hash(path: Path) -> str:
    """Recognise a file by its size and its first and last 64 KiB; "" where it cannot be read."""
    try:
        if not path.is_file():  # a pipe would be waited for, a device never ends
            return ""
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(65536)
            handle.seek(max(0, size - 65536))
            return hashlib.sha256(str(size).encode() + head + handle.read(65536)).hexdigest()[:32]
    except OSError:
        return ""


def mask_hash(path: str) -> str:
    """`quick_hash` of a mask; "" where there is none."""
    return quick_hash(Path(path)) if path else ""
