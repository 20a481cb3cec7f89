"""What videos lie in the folders of a dataset, and which of their names cannot be used."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gendkit.benchmarks.schema import Card, Part

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


@dataclass
class Found:
    """The content of one expected folder.

    Args:
        folder: Below the root, with "/"; where it was expected if it does not exist.
        exists: Whether it does.
        videos: Id (path below the folder without suffix) -> path below the root.
        doubled: Ids that several files have, with those files.
        odd: Names of videos that the dataset does not use, or that are not text.
        empty: Videos of zero bytes.
        other: Files and folders that are no videos.
    """

    folder: str
    exists: bool = False
    videos: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, list[str]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def place(root: Path, part: Part, compression: str = "") -> Found:
    """Find where a part lies, without looking at its videos.

    Args:
        root: Folder of the dataset.
        part: What is expected.
        compression: For "{c}".
    """
    folders = [folder.replace("{c}", compression) for folder in part.folders]
    # Celeb-real/videos/ lies inside Celeb-real/: the deeper one is meant where it exists
    for folder in sorted(folders, key=lambda one: -one.count("/")):
        if (root / folder).is_dir():
            return Found(folder, exists=True)
    return Found(folders[0])


def look(root: Path, part: Part, compression: str = "") -> Found:
    """List the videos of one part.

    Args:
        root: Folder of the dataset.
        part: What is expected.
        compression: For "{c}".

    Returns:
        What is there, in the order of names.
    """
    found = place(root, part, compression)
    if not found.exists:
        return found
    names: dict[str, list[str]] = {}
    for below, is_file in _entries(root / found.folder, part.deep):
        path = f"{found.folder}/{below}"
        stem, suffix = os.path.splitext(below)
        if not is_file or suffix.lower() not in SUFFIXES:
            found.other.append(path)
        elif not _fits(stem.rsplit("/", 1)[-1], part.name) or not _is_text(below):
            found.odd.append(path)
        else:
            names.setdefault(stem, []).append(path)
            if (root / path).stat().st_size == 0:
                found.empty.append(path)
    found.doubled = {stem: paths for stem, paths in names.items() if len(paths) > 1}
    found.videos = {stem: paths[0] for stem, paths in names.items()}
    return found


def _fits(stem: str, pattern: str) -> bool:
    return not pattern or re.fullmatch(pattern, stem) is not None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return name.isprintable() and "\\" not in name


def _entries(folder: Path, deep: bool) -> Iterator[tuple[str, bool]]:
    """Give (path below the folder, is a file) in order; links are followed, loops are not."""
    seen = set()
    todo = [""]
    while todo:
        below = todo.pop()
        here = folder / below if below else folder
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        inside = []
        for entry in sorted(os.scandir(here), key=lambda one: one.name):
            if entry.name.startswith("."):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir() and deep:
                inside.append(name)
            else:
                yield name, entry.is_file()
        todo += reversed(inside)


def compressions(card: Card, root: Path) -> list[str]:
    """List the compressions of which at least one folder exists.

    Args:
        card: Of the dataset.
        root: Its folder.

    Returns:
        In the order of the card; [""] for a set that has none.
    """
    if not card.compressions:
        return [""]
    return [one for one in card.compressions if any(place(root, p, one).exists for p in card.parts)]


def shown(name: str) -> str:
    """Write a name so that it can be printed anywhere.

    Args:
        name: From the file system.
    """
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else ascii(name)[1:-1]
