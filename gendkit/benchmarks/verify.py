"""Compare a folder with the tree that a dataset should have: what is missing, extra or unusable."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gendkit.benchmarks import listed, scan
from gendkit.benchmarks.listed import DataError
from gendkit.benchmarks.schema import SOURCES, Card, Part

_IGNORED = {"manifest.csv", "README.md", "LICENSE", "conversion_dict.json"}


def verify(
    card: Card,
    root: str | Path,
    compression: str | None = None,
    masks: bool = False,
    subset: bool = False,
) -> dict[str, Any]:
    """Compare a folder with the expected tree of a dataset. No video is opened.

    Args:
        card: Of the dataset.
        root: Its folder.
        compression: Only this one; None takes every one of which a folder exists.
        masks: Whether missing masks make the tree incomplete.
        subset: Whether the folder holds a part of the release: then every video is expected that
            the lists in the folder name, and the official counts are not.

    Returns:
        complete (bool), name, root, tree (where the expected tree comes from), compressions,
        parts (one dict a folder: folder, method, compression, exists, found, expected, missing
        names, odd names, empty files, doubled names), masks (folder, found, missing), files
        (missing lists), problems (lists that are wrong), extra (paths that are not expected), hint
        (another folder that looks right, or ""), todo (what to do, in order).

    Raises:
        FileNotFoundError: If the root is no folder.
        DataError: If the dataset has no such compression.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; give the folder of {card.name}")
    which = _which(card, root, compression)
    problems: list[str] = []
    names = _expected_names(card, root, problems, subset)
    files = [" or ".join(places) for places in card.files if not listed.find_file(root, places)]
    parts, covered = [], []
    for one in which:
        for part in card.parts:
            found = scan.look(root, part, one)
            parts.append(_part(part, one, found, names.get(_key(part)), subset))
            covered.append((part, found))
    report = {
        "name": card.key,
        "root": str(root),
        "tree": card.tree.cited,
        "compressions": [one for one in which if one],
        "parts": parts,
        "masks": _masks(root, covered),
        "files": files,
        "problems": problems,
        "extra": _extra(card, root) + [path for _, found in covered for path in found.other],
        "hint": "" if any(part["exists"] for part in parts) else _elsewhere(card, root),
    }
    gaps = any(
        not part["exists"]
        or part["missing_count"]
        or part["odd"]
        or part["empty"]
        or part["doubled"]
        for part in parts
    )
    no_masks = masks and any(one["missing"] for one in report["masks"])
    report["complete"] = not (gaps or files or problems or no_masks)
    report["todo"] = _todo(card, report, masks)
    return report


def _which(card: Card, root: Path, compression: str | None) -> list[str]:
    if compression is None:
        return scan.compressions(card, root) or [card.compressions[0]]
    if compression not in card.compressions:
        known = ", ".join(card.compressions) or "none: leave --compression out"
        raise DataError(f"got compression {compression!r}; {card.name} has {known}")
    return [compression]


def _key(part: Part) -> tuple[str, str]:
    return part.method, part.origin


def _expected_names(
    card: Card, root: Path, problems: list[str], subset: bool
) -> dict[tuple[str, str], dict[str, bool]]:
    """Names that must be there, for each part whose names are known; True: all of its names."""
    try:
        if card.key in ("FF++", "FSh"):
            reals = [f"{k:03d}" for k in range(1000)]
            fakes: list[str] = []
            if all(listed.find_file(root, places) for places in card.files):
                pairs = [pair for part in listed.read_splits(card, root).values() for pair in part]
                fakes = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
                reals = [one for pair in pairs for one in pair] if subset else reals
            whole = subset or len(fakes) == 1000
            return {
                _key(part): dict.fromkeys(reals, True)
                if part.is_real
                else dict.fromkeys(fakes, whole)
                for part in card.parts
            }
        if (listed.TEST_VIDEOS,) in card.files and (root / listed.TEST_VIDEOS).is_file():
            tested = [stem.rsplit("/", 1) for stem in listed.read_test_videos(card, root)]
            return {
                _key(part): {name: False for folder, name in tested if folder == part.folders[0]}
                for part in card.parts
            }
    except DataError as error:
        problems.append(str(error))
    return {}


def _part(
    part: Part,
    compression: str,
    found: scan.Found,
    names: dict[str, bool] | None,
    subset: bool,
) -> dict[str, Any]:
    count = None if subset else part.count
    have = {stem.rsplit("/", 1)[-1] for stem in found.videos}
    missing = sorted(set(names or ()) - have)
    short = max(0, (count or 0) - len(found.videos))
    if count is None and not found.videos:
        short = 1  # how many are expected is not known, but not none
    return {
        "folder": found.folder,
        "method": part.method,
        "compression": compression,
        "exists": found.exists,
        "found": len(found.videos),
        "expected": count,
        "missing": missing,
        "missing_count": max(short, len(missing)),
        "unlisted": sorted(have - set(names)) if names and all(names.values()) else [],
        "odd": found.odd,
        "empty": found.empty,
        "doubled": sorted(found.doubled),
        "script": part.script,
    }


def _masks(root: Path, covered: Iterable[tuple[Part, scan.Found]]) -> list[dict[str, Any]]:
    """Say for each mask folder which videos, of any compression, have none."""
    wanted: dict[str, set[str]] = {}
    for part, found in covered:
        if part.masks:
            wanted.setdefault(part.masks, set()).update(found.videos)
    rows = []
    for folder, names in wanted.items():
        have = set(scan.look(root, Part((folder,), "mask")).videos)
        rows.append(
            {
                "folder": folder,
                "exists": (root / folder).is_dir(),
                "found": len(have & names),
                "missing": sorted(names - have),
            }
        )
    return rows


def _extra(card: Card, root: Path) -> list[str]:
    expected = {place for places in card.files for place in places} | set(card.beside)
    expected |= {part.masks for part in card.parts if part.masks}
    for part in card.parts:
        for folder in part.folders:
            expected |= {folder.replace("{c}", one) for one in card.compressions or ("",)}
    found: list[str] = []
    todo = [""]
    while todo:
        below = todo.pop(0)
        for entry in sorted(os.scandir(root / below), key=lambda one: one.name):
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith(".") or path in expected or entry.name in _IGNORED:
                continue
            if any(one.startswith(f"{path}/") for one in expected) and entry.is_dir():
                todo.append(path)
            elif below not in expected:  # what is inside a video folder is looked at there
                found.append(path + "/" * entry.is_dir())
    return found


def _elsewhere(card: Card, root: Path) -> str:
    """Name a folder above or below that has the expected tree."""
    near = [entry for entry in sorted(root.iterdir()) if entry.is_dir()]
    for folder in (*near, *root.resolve().parents[:3]):
        if any(
            scan.place(folder, part, one).exists
            for part in card.parts
            for one in card.compressions or ("",)
        ):
            return str(folder)
    return ""


def _todo(card: Card, report: dict[str, Any], masks: bool) -> list[str]:
    todo = []
    if report["hint"]:
        todo.append(f"the tree seems to lie in {report['hint']}; verify that folder")
    parts = [part for part in report["parts"] if part["missing_count"]]
    scripts = [
        f"download-FaceForensics.py {report['root']} -d {part['script']} -c {part['compression']} "
        "-t videos"
        for part in parts
        if part["script"]
    ]
    if parts and not scripts:
        folders = ", ".join(part["folder"] + "/" for part in parts)
        todo.append(f"fill {folders}: {card.access[0].cited}")
    elif scripts:
        todo.append(f"ask for the official script ({SOURCES['ff']}) and run:")
        todo += [f"  {line}" for line in scripts]
    if report["files"]:
        todo.append("copy the official lists: " + "; ".join(report["files"]))
    if report["problems"]:
        todo.append("correct the lists named above: what they should hold is not known without")
    if any(part["odd"] for part in report["parts"]):
        todo.append("move files with other names out of the video folders, or restore their names")
    if any(part["empty"] for part in report["parts"]):
        todo.append("delete the empty files and get them again: their download was cut")
    if any(part["doubled"] for part in report["parts"]):
        todo.append("keep one file of each doubled name: two would be one video in a manifest")
    lacking = [one["folder"] for one in report["masks"] if one["missing"]]
    if masks and lacking:
        todo.append(f"get the masks (-t masks): {', '.join(lacking)}")
    return todo
