"""Write crops and path lists in the layout that the official GenD code reads."""

from pathlib import Path, PurePosixPath

import pandas as pd

from gendkit import manifest
from gendkit.benchmarks.cards import CARDS
from gendkit.benchmarks.groups import CDFV3, ROOT
from gendkit.benchmarks.listed import DataError
from gendkit.repro import atomic_path, link


def write_lists(crops: str | Path, out: str | Path, part: str | None = None) -> pd.DataFrame:
    """Lay out the crops of an extraction and write `config/datasets/...` for them.

    Frames become `datasets/<set>/<source>/<video>/<frame>`, as hard links where that is possible;
    the official code calls a frame real if its source folder holds "real".

    Args:
        crops: `manifest.csv` of an extraction whose videos came from `build`.
        out: Folder of the result, for example the official repository.
        part: Folder of all lists, for example "all" for CDFv2/all; None takes that of each role.

    Returns:
        One row a list: file, dataset, source, n_videos, n_frames.

    Raises:
        DataError: If the manifest is not one of crops, or two videos would be one folder, or the
            official code would read a wrong label off a folder.

    Source: github.com/yermandy/GenD at e03532d, src/utils/files.py.
    """
    crops, out = Path(crops), Path(out)
    table = manifest.read(crops)
    if "frame" not in table:
        raise DataError(f"{crops} is a manifest of videos; run gendkit extract on it first")
    table = table[table["role"] != ""].reset_index(drop=True)
    if table.empty:
        raise DataError(f"{crops} has no row with a role; lists are written of roles")
    named = [_named(*row) for row in zip(*(table[c] for c in _COLUMNS), strict=True)]
    table["source"], table["video"] = zip(*named, strict=True)
    wrong = table["source"].str.contains("real", regex=False) != (table["label"] == 0)
    if wrong.any():
        row = table[wrong].iloc[0]
        raise DataError(
            f"source folder {row['source']!r} of label {row['label']}: the official code takes it "
            'for real exactly if it holds "real"; rename the method'
        )
    folder = "datasets/" + table["dataset"] + "/" + table["source"] + "/" + table["video"]
    both = table.groupby(folder)["compression"].nunique()
    if (both > 1).any():
        raise DataError(
            f"{both.index[both > 1][0]} is there in two compressions, which this layout cannot "
            "tell apart; extract one compression at a time"
        )
    table["line"] = [
        f"{at}/{PurePosixPath(path).name}" for at, path in zip(folder, table["path"], strict=True)
    ]
    if table["line"].duplicated().any():
        raise DataError(f"two crops would be {table['line'][table['line'].duplicated()].iloc[0]}")
    for path, line in zip(table["path"], table["line"], strict=True):
        link(manifest.resolve(crops.parent, path), manifest.resolve(out, line))
    table["file"] = [
        _list_of(dataset, role, source, part)
        for dataset, role, source in zip(
            table["dataset"], table["role"], table["source"], strict=True
        )
    ]
    rows = []
    for file, lines in table.groupby("file", sort=True):
        path = manifest.resolve(out, str(file))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            text = "\n".join(sorted(lines["line"])) + "\n"
            temporary.write_text(text, encoding="utf-8", newline="\n")
        first = lines.iloc[0]
        rows.append([file, first["dataset"], first["source"], lines["video"].nunique(), len(lines)])
    return pd.DataFrame(rows, columns=["file", "dataset", "source", "n_videos", "n_frames"])


_COLUMNS = ("dataset", "method", "video_id")
_BY_FOLDER = {card.folder: card for card in CARDS.values()}


def _named(dataset: str, method: str, video: str) -> tuple[str, str]:
    """Name the source folder and the video folder of a video, as the official lists do."""
    card = _BY_FOLDER.get(dataset)
    if card is None:
        return method, video.replace("/", "-")
    if any(part.origin for part in card.parts) and method == "real" and "/" in video:
        origin, video = video.split("/", 1)
        return origin, video
    return dict(card.renamed).get(method, method), video.replace("/", "-")


def _list_of(dataset: str, role: str, source: str, part: str | None) -> str:
    card = _BY_FOLDER.get(dataset)
    folders = dict(
        card.lists if card else (("report", "test"), ("select", "val"), ("fit", "train"))
    )
    split = part if part is not None else folders.get(role, role)
    base = CDFV3 if dataset == "CDFv3" else dataset
    if split.endswith("-"):  # part of the name of the list: FFIW/test-real.txt
        return f"{ROOT}/{base}/{split}{source}.txt"
    return "/".join(one for one in (ROOT, base, split, f"{source}.txt") if one)
