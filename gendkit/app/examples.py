"""Clips of Nobody's Faces to try the app on: one person, real and forged, held back from training."""

import functools
from pathlib import Path

from gendkit import manifest, repro, video
from gendkit.app.limits import UploadError
from gendkit.app.pictures import figure

# method -> what it is, and whether the embedded detector was trained on it
_SHOWN = {
    "real": "real",
    "FS": "face swap, kind seen in training",
    "NT": "changed mouth, kind seen in training",
    "Whole": "wholly made, kind not seen",
}


@functools.cache
def _files() -> dict[str, Path]:
    """Name -> clip; empty where the data are not installed."""
    try:
        folder = repro.data_dir() / "nobody"
        table = manifest.read(folder / "manifest.csv")
    except FileNotFoundError:
        return {}
    table = table[(table["role"] == "report") & table["method"].isin(list(_SHOWN))]
    counts = table.groupby("source_id")["method"].nunique()
    complete = counts[counts == len(_SHOWN)]
    if complete.empty:
        return {}
    person = complete.index[0]
    table = table[table["source_id"] == person].drop_duplicates("method").set_index("method")
    return {
        f"{method}: {text}": folder / table.loc[method, "path"] for method, text in _SHOWN.items()
    }


def names() -> list[str]:
    """List the examples; empty where the data are not installed."""
    return list(_files())


def path(name: str) -> Path:
    """Give the file of an example.

    Raises:
        UploadError: If there is no such example.
    """
    if name not in _files():
        raise UploadError(f"no example {name!r}; choose one of the list.")
    return _files()[name]


@functools.cache
def strip() -> str:
    """Show the middle frame of each example, as HTML."""
    parts = []
    for name, file in _files().items():
        middle = video.probe(file).n_frames // 2
        image = video.read_frames(file, [middle])[0]
        kind = name.split(":")[0]
        parts.append(figure(image, f"example {name}", kind, 120))
    return f'<div class="gk-grid gk-tiny">{"".join(parts)}</div>' if parts else ""
