"""Official lists beside the videos: pairs of FaceForensics++, test videos of Celeb-DF."""

import json
import re
from pathlib import Path

from gendkit.benchmarks.schema import Card

ROLES = {"train": "fit", "val": "select", "test": "report"}
PAIRS = {"train": 360, "val": 70, "test": 70}  # pairs in the official files
TEST_VIDEOS = "List_of_testing_videos.txt"


class DataError(ValueError):
    """A folder or list that cannot be used; the message says what came and how to fix it."""


def find_file(root: Path, places: tuple[str, ...]) -> Path | None:
    """Find a list of a dataset.

    Args:
        root: Folder of the dataset.
        places: Where it may lie, best first.

    Returns:
        The first that exists, or None.
    """
    return next((root / place for place in places if (root / place).is_file()), None)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read one split file of FaceForensics++.

    Args:
        path: JSON list of pairs of names of three digits.

    Raises:
        DataError: If it is anything else, or a pair or name stands twice.
    """
    try:
        pairs = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); copy the official file again") from error
    if not isinstance(pairs, list) or not pairs:
        raise DataError(f'{path} is not a list of pairs; expected [["071", "054"], ...]')
    seen: set[str] = set()
    for number, pair in enumerate(pairs):
        fits = isinstance(pair, list) and len(pair) == 2
        if not fits or not all(isinstance(n, str) and re.fullmatch(r"\d{3}", n) for n in pair):
            raise DataError(
                f"{path}: entry {number} is {pair!r}, expected two names of three digits, as "
                '["071", "054"]; copy the official file again'
            )
        twice = sorted(seen & set(pair)) or ([pair[0]] if pair[0] == pair[1] else [])
        if twice:
            raise DataError(f"{path}: video {twice[0]!r} stands in two pairs; copy it again")
        seen |= set(pair)
    return [(a, b) for a, b in pairs]


def read_splits(card: Card, root: Path) -> dict[str, list[tuple[str, str]]]:
    """Read the three split files of a FaceForensics++ tree.

    Args:
        card: Of FaceForensics++ or FaceShifter.
        root: Folder of the dataset.

    Returns:
        "train", "val", "test": pairs.

    Raises:
        DataError: If a file is missing or wrong, or a video stands in two splits.
    """
    splits: dict[str, list[tuple[str, str]]] = {}
    where: dict[str, str] = {}
    for name, places in zip(ROLES, card.files, strict=True):
        path = find_file(root, places)
        if path is None:
            raise DataError(
                f"{name}.json is missing under {root}: looked for {', '.join(places)}; copy it "
                "from dataset/splits of github.com/ondyari/FaceForensics"
            )
        splits[name] = read_pairs(path)
        for video in (one for pair in splits[name] for one in pair):
            other = where.setdefault(video, name)
            if other != name:
                raise DataError(
                    f"video {video!r} stands in {other}.json and in {name}.json: wrong splits; copy "
                    "the official files again"
                )
    return splits


def read_test_videos(card: Card, root: Path) -> dict[str, str]:
    """Read the list of test videos of a Celeb-DF tree.

    Args:
        card: Of Celeb-DF v2 or Celeb-DF++.
        root: Folder of the dataset.

    Returns:
        Path below the root, without its suffix and without "videos/" -> "real" or "fake".

    Raises:
        DataError: If the list is missing, empty or wrong, or a path leaves the folder.

    Source: lines are "1 Celeb-real/id0_0000.mp4" (real) or "0 Celeb-synthesis/..." (fake).
    """
    path = root / TEST_VIDEOS
    if not path.is_file():
        raise DataError(f"{path} is missing; it comes with the release: copy it there")
    found: dict[str, str] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error}); copy it again") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, _, name = line.strip().partition(" ")
        name = name.strip()
        if label not in ("0", "1") or not name:
            raise DataError(
                f'{path}: line {number} is {line!r}, expected "1 FOLDER/VIDEO.mp4" (real) or '
                '"0 FOLDER/VIDEO.mp4" (fake)'
            )
        if name.startswith("/") or re.search(r"\\|^[A-Za-z]:|(^|/)\.\.(/|$)", name):
            raise DataError(
                f"{path}: line {number} names {name!r}, expected a path inside the dataset; "
                "copy the official list again"
            )
        stem = name.rsplit(".", 1)[0].replace("/videos/", "/")
        kind = "real" if label == "1" else "fake"
        if found.get(stem, kind) != kind:
            raise DataError(f"{path}: line {number}: {name!r} stands there as real and as fake")
        folder = next((p for p in card.parts if stem.rsplit("/", 1)[0] == p.folders[0]), None)
        if folder is None:
            raise DataError(
                f"{path}: line {number} names {name!r}, whose folder is none of {card.name}; "
                "is it the list of another release?"
            )
        if folder.is_real != (kind == "real"):
            raise DataError(
                f"{path}: line {number} calls {name!r} {kind}, but its folder holds "
                f"{'reals' if folder.is_real else 'fakes'}; copy the official list again"
            )
        found[stem] = kind
    if not found:
        raise DataError(f"{path} is empty; copy the official list again")
    return found
