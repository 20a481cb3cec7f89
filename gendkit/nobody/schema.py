"""What the tables of a set must look like: columns, kinds, ranges, allowed values. Source: own."""

from dataclasses import dataclass

import pandas as pd

from .heads import GLASSES, HAIR_COLOURS, HATS, STYLES
from .plan import METHODS, REAL, SETS

ROLES = ("fit", "select", "report")
HASH = r"[0-9a-f]{64}"
NAME = r"[a-z]\d{3,}"


@dataclass(frozen=True)
class Column:
    """What one column may hold.

    Attributes:
        low, high: range of a number. allowed: values of a text. pattern: regular expression of a text.
        may_be_empty: whether a cell may be empty.
    """

    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()
    pattern: str = ""
    may_be_empty: bool = False


SHARE, COUNT, DEGREES = Column(0, 1), Column(0, 1e9), Column(-180, 180)
MANIFEST = {
    "path": Column(pattern=r"[A-Za-z0-9]+/\w+\.mp4"),
    "dataset": Column(allowed=tuple(SETS)),
    "method": Column(allowed=(REAL, *METHODS)),
    "compression": Column(pattern=r"c\d+"),
    "video_id": Column(pattern=rf"{NAME}(_{NAME})?"),
    "source_id": Column(pattern=NAME),
    "label": Column(0, 1),
    "role": Column(allowed=ROLES),
    "donor_id": Column(pattern=NAME, may_be_empty=True),
    "mask_path": Column(pattern=r"masks/[A-Za-z0-9]+/\w+\.mp4", may_be_empty=True),
    "n_frames": Column(4, 1000),
    "sha256": Column(pattern=HASH),
    "mask_sha256": Column(pattern=HASH, may_be_empty=True),
}
IDENTITIES = {
    "identity_id": Column(pattern=NAME),
    "dataset": Column(allowed=tuple(SETS)),
    "role": Column(allowed=ROLES),
    "group": COUNT,
    "seed": COUNT,
    "gender": Column(allowed=("female", "male")),
    "age_band": Column(pattern=r"\d{2}-\d{2}"),
    "african": SHARE,
    "asian": SHARE,
    "caucasian": SHARE,
    "ita_deg": Column(-90, 90),
    "hair": Column(allowed=STYLES),
    "hair_colour": Column(allowed=(*HAIR_COLOURS, "none")),
    "glasses": Column(allowed=GLASSES),
    "hat": Column(allowed=HATS),
    "beard": Column(allowed=("none", "stubble", "beard")),
    "yaw_min_deg": DEGREES,
    "yaw_max_deg": DEGREES,
    "pitch_mean_deg": DEGREES,
    "roll_mean_deg": DEGREES,
    "light_azimuth_deg": DEGREES,
    "light_height_deg": DEGREES,
    "frames_sha256": Column(pattern=HASH),
}
FORGERIES = {
    "dataset": Column(allowed=tuple(SETS)),
    "method": Column(allowed=METHODS),
    "video_id": MANIFEST["video_id"],
    "source_id": Column(pattern=NAME),
    "donor_id": Column(pattern=NAME, may_be_empty=True),
    "attempt": Column(0, 100),
    "opacity": SHARE,
    "area": SHARE,
    "frames_sha256": Column(pattern=HASH),
    "settings": Column(pattern=r"\{.*\}"),
}
TABLES = {"manifest.csv": MANIFEST, "identities.csv": IDENTITIES, "forgeries.csv": FORGERIES}


def problems(table: pd.DataFrame, columns: dict[str, Column], name: str) -> list[str]:
    """Compare a table, read as text, with what it must look like.

    Args:
        table: all cells text. columns: of ``TABLES``; further columns are free. name: of the file, for messages.

    Returns:
        One sentence a fault; none where all is well.
    """
    found = [f"{name}: no column {c}" for c in columns if c not in table]
    for title, column in columns.items():
        if title in table:
            cells = table[title][~(column.may_be_empty & (table[title] == ""))]
            bad = cells[~_fits(cells, column)]
            if len(bad):
                found.append(
                    f"{name}: {title} is {bad.iloc[0]!r} in row {bad.index[0]}, expected {_words(column)}"
                    f" ({len(bad)} such rows)"
                )
    return found


def _fits(cells: pd.Series, column: Column) -> pd.Series:
    if column.allowed:
        return cells.isin(column.allowed)
    if column.pattern:
        return cells.str.fullmatch(column.pattern)
    return pd.to_numeric(cells, errors="coerce").between(column.low, column.high)


def _words(column: Column) -> str:
    if column.allowed:
        return "one of " + ", ".join(column.allowed)
    if column.pattern:
        return f"text like {column.pattern}"
    return f"a number from {column.low:g} to {column.high:g}"
