"""The published figures of GenD as data: each with its unit, its source and how sure it is.

The tables lie in `data/paper` (its README says what they hold). A value that was not found is empty and
stays empty: nothing here is guessed. `gendkit.report` sets one's own numbers beside them.
"""

import functools
from pathlib import Path

import pandas as pd

from gendkit import repro

COLUMNS = ["table", "row", "column", "value", "unit", "tag", "source", "note"]
TAGS = {
    "V": "verified: read in the official code or on a page of its authors, or measured with it",
    "S": "second-hand: a third party quotes the paper; not checked against it",
    "I": "inferred from other rows",
    "": "not found",
}
FILLED_BY = ("scores", "kit", "cited")
_LIST = "tables.csv"


def read(folder: str | Path = "") -> pd.DataFrame:
    """Read every figure.

    Args:
        folder: Folder of the tables; "" means `paper` in the data folder.

    Returns:
        One row a figure with `COLUMNS`, all text as written ("96.0" keeps its digit; "" is not
        found), and number: float, NaN where the value is text or not found. A copy.

    Raises:
        FileNotFoundError: If the folder or its list of tables is missing.
        ValueError: If a column, a tag or a source is missing, a figure stands twice, or the files
            and the list of tables do not name the same tables; names the file and the line.
    """
    return _read(_folder(folder))[0].copy()


def tables(folder: str | Path = "") -> pd.DataFrame:
    """Read the list of tables.

    Args:
        folder: As for `read`.

    Returns:
        Index table; title, filled_by ("scores": from scores files; "kit": derived by the code of
        the kit; "cited": not at all) and needs (what a fill asks for), in the order of the book.

    Raises:
        FileNotFoundError, ValueError: As `read`.
    """
    return _read(_folder(folder))[1].copy()


def table(name: str, folder: str | Path = "") -> pd.DataFrame:
    """Read the figures of one table.

    Args:
        name: For example "cells".
        folder: As for `read`.

    Returns:
        The rows of `read` with a new index.

    Raises:
        ValueError: If there is no such table; also as `read`.
    """
    known = tables(folder).index
    if name not in known:
        raise ValueError(f"got table {name!r}, expected one of {', '.join(known)}")
    figures = read(folder)
    return figures[figures["table"] == name].reset_index(drop=True)


def _folder(folder: str | Path) -> Path:
    return Path(folder) if folder else repro.data_dir() / "paper"


@functools.lru_cache(maxsize=4)
def _read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not (folder / _LIST).is_file():
        raise FileNotFoundError(
            f"no file {folder / _LIST}; use a checkout of gendkit, or set GENDKIT_DATA to its data"
        )
    listed = _csv(folder / _LIST, ["table", "title", "filled_by", "needs"])
    wrong = sorted(set(listed["filled_by"]) - set(FILLED_BY))
    if wrong:
        raise ValueError(f"{_LIST}: filled_by is {wrong[0]!r}; expected one of {FILLED_BY}")
    parts = []
    for path in sorted(folder.glob("*.csv")):
        if path.name != _LIST:
            parts.append(_figures(path))
    figures = pd.concat(parts, ignore_index=True)
    different = set(figures["table"]) ^ set(listed["table"])
    if different:
        raise ValueError(
            f"{_LIST} and the files beside it do not name the same tables: {sorted(different)}; "
            "give each table a line in the list and rows in one file"
        )
    figures["number"] = pd.to_numeric(figures["value"], errors="coerce")
    return figures, listed.set_index("table")


def _csv(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != columns:
        raise ValueError(f"{path.name} has the columns {list(table.columns)}; expected {columns}")
    return table


def _figures(path: Path) -> pd.DataFrame:
    """Read one file and check every line of it."""
    found = _csv(path, COLUMNS)
    known = found["tag"].isin(TAGS)
    same = (found["value"] == "") == (found["tag"] == "")
    sourced = (found["value"] == "") == (found["source"] == "")
    again = found.duplicated(["table", "row", "column", "source"])
    for good, what in (
        (known, f"the tag is none of {[tag for tag in TAGS if tag]}"),
        (same, "a value needs a tag, and an empty value has none"),
        (sourced, "a value needs a source, and an empty value has none"),
        (~again, "table, row, column and source stand above already"),
    ):
        if not good.all():
            raise ValueError(f"{path.name}, line {(~good).idxmax() + 2}: {what}; correct the line")
    return found
