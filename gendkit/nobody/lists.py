"""Lists of frames in the layout that the official GenD code reads, written after an extraction. Source: own.

That code takes the label from the path: a frame ``<set>/<source>/<video>/<frame>.png`` is real exactly where the source
folder is named "real". An extraction of gendkit has one folder more (the compression), so the crops are put into that
layout here, as hard links, which take no room.

Source: layout and label rule of the GenD code (arXiv 2508.06248).
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from gendkit import manifest
from gendkit.repro import atomic_path, link

from . import shortcut

SPLITS = {"fit": "train", "select": "val", "report": "test"}


def write(crops: str | Path, out: str | Path) -> pd.DataFrame:
    """Lay out the crops of an extraction and write one list for each set, split and method.

    Args:
        crops: ``manifest.csv`` of an extraction (``gendkit extract data/nobody/manifest.csv --out ...``).
        out: folder of the result: ``<set>/<source>/<video>/<frame>.png`` and ``<set>-<split>-<source>.txt``. The lines
            of a list are paths relative to this folder.

    Returns:
        One row a list: file, set, split, source, n_videos, n_frames.

    Raises:
        ValueError: the manifest is not one of crops, or has no roles, or two videos would fall into one folder.
    """
    crops, out = Path(crops), Path(out)
    table = manifest.read(crops)
    if "frame" not in table:
        raise ValueError(
            f"{crops} is a manifest of videos, expected one of crops; run gendkit extract on it first"
        )
    if not table["role"].isin(SPLITS).all():
        raise ValueError(f"{crops} has rows without a role; expected fit, select or report")
    folder = [
        "/".join(parts)
        for parts in zip(table["dataset"], table["method"], table["video_id"], strict=True)
    ]
    both = table.groupby(folder)["compression"].nunique()
    if (both > 1).any():
        raise ValueError(
            f"{both.index[both > 1][0]} is there in two compressions, which this layout cannot tell apart; "
            "extract one compression at a time"
        )
    names = [f"{d}/{PurePosixPath(p).name}" for d, p in zip(folder, table["path"], strict=True)]
    for source, name in zip(table["path"], names, strict=True):
        link(manifest.resolve(crops.parent, source), out / name)
    rows = []
    for (dataset, role, method), part in table.assign(line=names).groupby(
        ["dataset", "role", "method"], sort=True
    ):
        file = f"{dataset}-{SPLITS[role]}-{method}.txt"
        with atomic_path(out / file) as path:
            path.write_text("\n".join(sorted(part["line"])) + "\n", encoding="utf-8", newline="\n")
        rows.append([file, dataset, SPLITS[role], method, part["video_id"].nunique(), len(part)])
    return pd.DataFrame(rows, columns=["file", "set", "split", "source", "n_videos", "n_frames"])


def write_pairs(folder: str | Path, seed: int = 0) -> list[Path]:
    """Write ``paired.csv`` and ``unpaired.csv``: two training lists of equal size, with no new video.

    Args:
        folder: of a set with people of the role "fit". seed: of the choice.

    Returns:
        The two files; paths inside are relative to the folder, as in its manifest.

    Raises:
        ManifestError: too few people.
    """
    folder = Path(folder)
    table = manifest.read(folder / "manifest.csv")
    for name, choose in (("paired", shortcut.paired), ("unpaired", shortcut.unpaired)):
        manifest.write(choose(table, seed), folder / f"{name}.csv")
    return [folder / "paired.csv", folder / "unpaired.csv"]
