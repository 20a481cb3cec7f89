"""Small trees that look like the releases of real datasets, filled with clips of Nobody's Faces.

They are for trying every step, from the check of a folder to the test, before data is on disk.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from gendkit import manifest, repro
from gendkit.benchmarks.cards import CARDS
from gendkit.benchmarks.listed import ROLES, TEST_VIDEOS, DataError

PAIRS = {"train": 4, "val": 1, "test": 1}


def faceforensics(
    out: str | Path,
    n_pairs: Mapping[str, int] | None = None,
    nobody: str | Path | None = None,
    compression: str = "c23",
) -> Path:
    """Make a tree like FaceForensics++: originals, four methods, masks, lists of pairs.

    Two people of one role are a pair [a, b]; the clip of a fake of a is named a_b, as the release
    does. Nobody's fakes of a were made with another donor than b, of the same role.

    Args:
        out: Folder of the tree; files in it are overwritten.
        n_pairs: Pairs in train, val and test; None takes `PAIRS`.
        nobody: Folder of Nobody's Faces; None takes the embedded one.
        compression: Name of the folder that the clips go to.

    Returns:
        The folder.

    Raises:
        DataError: If there are too few people.
        FileNotFoundError: If Nobody's Faces is not there.

    Source: tree and names as in dataset/README.md of github.com/ondyari/FaceForensics.
    """
    out, card = Path(out), CARDS["FF++"]
    root, table = _nobody(nobody)
    (out / "splits").mkdir(parents=True, exist_ok=True)
    for split, count in (n_pairs or PAIRS).items():
        people = _people(table, ROLES[split], 2 * count)
        names = [person.lstrip("nx") for person in people]
        pairs = [[names[k], names[k + 1]] for k in range(0, len(names), 2)]
        text = json.dumps(pairs, indent=1)
        (out / f"splits/{split}.json").write_text(text, "utf-8", newline="\n")
        other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        for person, name in zip(people, names, strict=True):
            for part in card.parts:
                row = _row(table, person, part.method)
                stem = name if part.is_real else f"{name}_{other[name]}"
                folder = part.folders[0].replace("{c}", compression)
                _copy(root / row["path"], out / folder / f"{stem}.mp4")
                if part.masks and row["mask_path"]:
                    _copy(root / row["mask_path"], out / part.masks / f"{stem}.mp4")
    return out


def celeb(
    out: str | Path,
    n_people: int = 8,
    n_youtube: int = 2,
    nobody: str | Path | None = None,
) -> Path:
    """Make a tree like Celeb-DF v2: celebrities, swaps of two of them, others, the test list.

    All videos are tested. A swap idA_idB shows person A; Nobody's own donor is another one.

    Args:
        out: Folder of the tree; files in it are overwritten.
        n_people: Celebrities, an even number; each has a real clip and a swap with a neighbour.
        n_youtube: Further people, with a real clip alone.
        nobody: Folder of Nobody's Faces, or of its second set; None takes the second set
            (`nobody-x`), filmed by another camera, beside the embedded one.

    Returns:
        The folder.

    Raises:
        DataError: If there are too few people, or n_people is odd.
        FileNotFoundError: If Nobody's Faces is not there.

    Source: tree, names and list as in github.com/yuezunli/celeb-deepfakeforensics, README.md.
    """
    if n_people < 2 or n_people % 2:
        raise DataError(f"got n_people={n_people}, expected an even number: swaps need two")
    out = Path(out)
    root, table = _nobody(nobody or repro.data_dir() / "nobody-x")
    people = _people(table, "report", n_people + n_youtube)
    lines = []
    for k, person in enumerate(people):
        real = f"Celeb-real/id{k}_0000" if k < n_people else f"YouTube-real/{k - n_people:05d}"
        _copy(root / _row(table, person, "real")["path"], out / f"{real}.mp4")
        lines.append(f"1 {real}.mp4")
        if k < n_people:
            fake = f"Celeb-synthesis/id{k}_id{k ^ 1}_0000"
            _copy(root / _row(table, person, "DF")["path"], out / f"{fake}.mp4")
            lines.append(f"0 {fake}.mp4")
    (out / TEST_VIDEOS).write_text("\n".join(lines) + "\n", "utf-8", newline="\n")
    return out


def _nobody(folder: str | Path | None) -> tuple[Path, pd.DataFrame]:
    root = repro.data_dir() / "nobody" if folder is None else Path(folder)
    return root, manifest.read(root / "manifest.csv")


def _people(table: pd.DataFrame, role: str, count: int) -> Sequence[str]:
    there = sorted(set(table.loc[table["role"] == role, "source_id"]))
    if count < 1 or len(there) < count:
        raise DataError(f"got {count} people of role {role!r}, expected 1 to {len(there)}")
    return there[:count]


def _row(table: pd.DataFrame, person: str, method: str) -> pd.Series:
    return table[(table["source_id"] == person) & (table["method"] == method)].iloc[0]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
