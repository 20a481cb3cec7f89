"""The table of samples: one row per video or per frame, with its label, pair, source and role.

Every step of the kit reads and writes this table. Labels come from its column, never from a path.
 A video is known by (dataset, method, compression, video_id): `000_003` of two methods are
two. Roles: `fit` trains, `select` chooses (checkpoint, threshold), `report` is read once.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from uuid import uuid4

import numpy as np
import pandas as pd

COLUMNS = ["path", "dataset", "method", "compression", "video_id", "source_id", "label", "role"]
KEY = ["dataset", "method", "compression", "video_id"]
ROLES = ("fit", "select", "report", "")
_TEXT = [*(name for name in COLUMNS if name != "label"), "donor_id", "mask_path", "sha256"]
_COUNTS = ["frame", "face", "n_frames"]
_FILLED = ["path", "dataset", "method", "video_id", "source_id"]


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the first bad row and the fix."""


def _fail(table: pd.DataFrame, bad: Iterable[bool], what: Callable[[int], str]) -> None:
    """Raise if any row is bad, naming the first and how many there are."""
    rows = np.flatnonzero(np.asarray(bad, dtype=bool))
    if len(rows):
        path = table["path"].iloc[rows[0]]
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise ManifestError(f"row {rows[0]} (path {path!r}): {what(rows[0])}{more}")


def _escapes(path: str) -> bool:
    return bool(
        path.startswith("/")
        or re.search(r"[\\\0]|^[A-Za-z]:", path)
        or ".." in PurePosixPath(path).parts
    )


def resolve(root: str | Path, path: str) -> Path:
    """Join a manifest's relative path to its folder, refusing to leave it.

    Only the text is judged: a link that the user placed inside the folder may point elsewhere.

    Args:
        root: Folder of the manifest.
        path: Relative path with forward slashes.

    Returns:
        root / path.

    Raises:
        ManifestError: If the path is empty, absolute, has a drive or backslash, or climbs by "..".
    """
    if not isinstance(path, str) or not path or _escapes(path):
        raise ManifestError(
            f"got path {path!r}, expected a relative path with forward slashes "
            "inside the manifest's folder; rewrite it relative to that folder"
        )
    return Path(root) / path


def _check_columns(table: pd.DataFrame) -> None:
    if not isinstance(table, pd.DataFrame):
        raise ManifestError(
            f"got {type(table).__name__}, expected a pandas DataFrame; use manifest.read for a file"
        )
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ManifestError(
            f"missing columns {missing}, expected {COLUMNS}; add them "
            "(compression and role may hold empty text)"
        )
    twice = list(table.columns[table.columns.duplicated()])
    if twice:
        raise ManifestError(f"column {twice[0]!r} stands twice; drop or rename one")


def _check_values(table: pd.DataFrame) -> None:
    for name in [name for name in [*_TEXT, "label", *_COUNTS] if name in table]:
        column = table[name]
        _fail(
            table,
            column.isna(),
            lambda i, n=name: (
                f"{n} is missing (NaN); fill it, with empty text where there is nothing to say"
            ),
        )
        if name in _TEXT:
            is_text = [isinstance(value, str) for value in column]
            _fail(
                table,
                np.logical_not(is_text),
                lambda i, n=name, c=column: (
                    f"{n} is "
                    f"{c.iloc[i]!r} ({type(c.iloc[i]).__name__}), expected text; use .astype(str)"
                ),
            )
        elif name in _COUNTS:
            whole = [
                isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
                for value in column
            ]
            _fail(
                table,
                np.logical_not(whole),
                lambda i, n=name, c=column: f"{n} is {c.iloc[i]!r}, expected a whole number >= 0",
            )
    for name in _FILLED:
        _fail(table, table[name] == "", lambda i, n=name: f"{n} is empty; give it a value")
    for name in KEY[:3]:
        _fail(
            table,
            [("/" in value) for value in table[name]],
            lambda i, n=name: (
                f"{n} is {table[n].iloc[i]!r}, expected no slash, which separates the parts of a key"
            ),
        )
    label = table["label"]
    known = [isinstance(value, int | np.integer | np.bool_) and value in (0, 1) for value in label]
    _fail(
        table,
        np.logical_not(known),
        lambda i: f"label is {label.iloc[i]!r}, expected 0 (real) or 1 (fake)",
    )
    odd = [value != "real" and value.lower() == "real" for value in table["method"]]
    _fail(
        table,
        odd,
        lambda i: (
            f'method is {table["method"].iloc[i]!r}, expected "real" in lower '
            "case for reals, or a name that is not taken for it"
        ),
    )
    _fail(
        table,
        (table["method"] == "real") != (label == 0),
        lambda i: (
            f"label {label.iloc[i]} does not agree with method {table['method'].iloc[i]!r}; expected "
            'method "real" exactly where the label is 0'
        ),
    )
    _fail(
        table,
        ~table["role"].isin(ROLES),
        lambda i: (
            f'unknown role {table["role"].iloc[i]!r}, expected "fit", "select", "report" or ""'
        ),
    )
    for name in [name for name in ("path", "mask_path") if name in table]:
        _fail(
            table,
            [_escapes(path) for path in table[name]],
            lambda i, n=name: (
                f"{n} is {table[n].iloc[i]!r}, expected a relative path with forward slashes inside "
                "the manifest's folder; rewrite it relative to that folder"
            ),
        )
    if "sha256" in table:
        good = [re.fullmatch(r"[0-9a-f]{64}|", value) is not None for value in table["sha256"]]
        _fail(
            table,
            np.logical_not(good),
            lambda i: (
                f"sha256 is {table['sha256'].iloc[i]!r}, "
                "expected 64 hexadecimal digits in lower case, or empty text"
            ),
        )


def _check_rows(table: pd.DataFrame) -> None:
    unit = [name for name in (*KEY, "frame", "face") if name in table]
    twice = table.duplicated(unit)
    _fail(
        table,
        twice,
        lambda i: (
            f"duplicated key {tuple(table[unit].iloc[i])} of {tuple(unit)}; "
            "keep one row, or give the videos different ids"
        ),
    )
    videos = video_key(table)
    for name in [name for name in ("source_id", "donor_id", "role") if name in table]:
        first = table[name].groupby(videos.to_numpy()).transform("first")
        _fail(
            table,
            table[name] != first,
            lambda i, n=name, f=first: (
                f"{n} is "
                f"{table[n].iloc[i]!r} but {f.iloc[i]!r} in an earlier row of video "
                f"{videos.iloc[i]!r}; a video has one {n}"
            ),
        )
    first = table["label"].groupby(table["path"].to_numpy()).transform("first")
    _fail(table, table["label"] != first, lambda i: "this path has both labels; correct one")


def validate(table: pd.DataFrame, root: str | Path | None = None) -> pd.DataFrame:
    """Check a manifest and give it back in normal form.

    Args:
        table: One row per video, or per frame where it has a column `frame`. Required columns:
            `COLUMNS`. Known optional ones: frame, face, n_frames (whole numbers), donor_id,
            mask_path, sha256 (text, may be empty). Any others are kept as they are.
        root: Folder of the manifest; if given, every path and mask must exist there.

    Returns:
        A copy with label and counts as int64; rows, order and index are kept.

    Raises:
        ManifestError: For missing or doubled columns, NaN, wrong types, an unknown role, a label
            that does not agree with method "real", duplicated keys, a path that leaves the folder,
            a video with two sources or roles, a path with two labels, a missing file.

    Source: own.
    """
    _check_columns(table)
    _check_values(table)
    _check_rows(table)
    if root is not None:
        for name, missing in missing_files(table, root).items():
            _fail(
                table,
                missing,
                lambda i, n=name: (
                    f"{n} {table[n].iloc[i]!r} does not exist "
                    f"under {str(root)!r}; extract it, or pass the manifest's own folder as root"
                ),
            )
    whole = {name: "int64" for name in ("label", *_COUNTS) if name in table}
    return table.astype(whole)


def missing_files(table: pd.DataFrame, root: str | Path) -> dict[str, list[bool]]:
    return {
        name: [bool(path) and not (Path(root) / path).exists() for path in table[name]]
        for name in ("path", "mask_path")
        if name in table
    }


def _typed(column: pd.Series) -> pd.Series:
    """Give an extra column numbers if all its text is numbers; ids and codes like 007 stay text."""
    filled = column[column != ""]
    if column.name.endswith("_id") or filled.empty or filled.str.match(r"-?0\d").any():
        return column
    for kind in (int, float):
        try:
            values = [kind(value) if value else np.nan for value in column]
        except ValueError:
            continue
        return pd.Series(values, index=column.index, name=column.name)
    if filled.isin(["True", "False"]).all() and len(filled) == len(column):
        return column == "True"
    return column


def read(path: str | Path) -> pd.DataFrame:
    """Read a manifest (CSV) and validate it; ids such as "007" and "NA" stay text.

    Args:
        path: The CSV file; its folder is the root of the paths inside.

    Returns:
        The validated table.

    Raises:
        FileNotFoundError: If there is no such file.
        ManifestError: If it is not a valid manifest.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"got manifest {str(path)!r}, expected an existing CSV file; check "
            "the path, or run the step that writes it"
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ManifestError(f"got {str(path)!r}, expected a CSV table in UTF-8: {error}") from error
    _check_columns(table)
    for name in table.columns:
        if name == "label" or name in _COUNTS:
            whole = table[name].str.fullmatch(r"\d+")
            _fail(
                table,
                ~whole,
                lambda i, n=name: (
                    f"{n} is {table[n].iloc[i]!r}, expected a whole "
                    "number" + (": 0 (real) or 1 (fake)" if n == "label" else "")
                ),
            )
            table[name] = table[name].astype("int64")
        elif name not in _TEXT:
            table[name] = _typed(table[name])
    return validate(table)


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Validate a manifest and write it as CSV, atomically, without its index.

    Args:
        table: The manifest.
        path: Target file, in the folder that its paths are relative to.

    Raises:
        ManifestError: If the table is not valid; nothing is written then.
    """
    path = Path(path)
    table = validate(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp-{uuid4().hex[:12]}{path.suffix}")
    try:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def video_key(table: pd.DataFrame) -> pd.Series:
    """Name the video of each row.

    Args:
        table: Any table with the columns of `KEY`.

    Returns:
        Text "dataset/method/compression/video_id", on the table's index.

    Raises:
        ManifestError: If a key column is missing.
    """
    missing = [name for name in KEY if name not in table]
    if missing:
        raise ManifestError(f"missing columns {missing}, expected {KEY}; keep them in every table")
    parts = zip(*(table[name] for name in KEY), strict=True)
    return pd.Series(["/".join(row) for row in parts], index=table.index, name="video", dtype=str)


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Match every fake with the reals it was made from.

    Args:
        table: A manifest with a unique index.

    Returns:
        Columns real and fake: index labels of two rows with equal (dataset, source_id), and equal
        frame and face where there are such columns. One row per match, ordered by real, then fake.

    Raises:
        ManifestError: If the table is not valid or its index is not unique.

    Source: the paired training sets of GenD (arXiv 2508.06248).
    """
    table = validate(table)
    if not table.index.is_unique:
        raise ManifestError("the index is not unique; use table.reset_index(drop=True)")
    same = [name for name in ("dataset", "source_id", "frame", "face") if name in table]
    rows = table[same].assign(row=np.arange(len(table)))
    found = rows[table["label"] == 0].merge(
        rows[table["label"] == 1], on=same, suffixes=("_real", "_fake")
    )
    found = found.sort_values(["row_real", "row_fake"])
    return pd.DataFrame(
        {"real": table.index[found["row_real"]], "fake": table.index[found["row_fake"]]}
    )


def components(table: pd.DataFrame, across_datasets: bool = False) -> pd.Series:
    """Group the rows that share people: linked through source_id or donor_id, step by step.

    A fake `a_b` (source a, donor b) links a and b, so all videos of a and b are one group.

    Args:
        table: A manifest.
        across_datasets: False: equal ids in two datasets are different people. True: the same.

    Returns:
        For each row the name of its group: the smallest "dataset/source_id" in it.

    Source: own (union-find). The leak it prevents: arXiv 2210.14457.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    scopes = [""] * len(table) if across_datasets else list(table["dataset"])
    nodes = [f"{scope}/{one}" for scope, one in zip(scopes, table["source_id"], strict=True)]
    donors = table["donor_id"] if "donor_id" in table else [""] * len(table)
    for node, scope, donor in zip(nodes, scopes, donors, strict=True):
        a, b = find(node), find(f"{scope}/{donor}" if donor else node)
        parent[max(a, b)] = min(a, b)
    return pd.Series([find(node) for node in nodes], index=table.index, name="component")


def split(
    table: pd.DataFrame, shares: Mapping[str, float], seed: int, across_datasets: bool = False
) -> pd.DataFrame:
    """Give every row a role so that no source and no donor is seen under two roles.

    Whole groups of linked people (`components`) are dealt out in random order, larger ones first,
    each to the role that lacks most videos in that dataset. The result depends on the seed and the
    ids only, not on the order of the rows.

    Args:
        table: A manifest; its role column is replaced.
        shares: Role -> share of the videos, for example {"fit": 0.6, "select": 0.1, "report": 0.3};
            positive, summing to 1.
        seed: Seed of the order.
        across_datasets: True if equal source ids in two datasets are the same people.

    Returns:
        A copy with the new roles.

    Raises:
        ManifestError: If shares are wrong, or there are too few groups to give every role one.

    Source: own.
    """
    table = validate(table)
    wrong = [role for role in shares if role not in ROLES[:3] or not 0 < shares[role] <= 1]
    if wrong or not np.isclose(sum(shares.values()), 1):
        raise ManifestError(
            f"got shares {dict(shares)}, expected positive shares of "
            f"{', '.join(ROLES[:3])} that sum to 1"
        )
    groups = components(table, across_datasets)
    videos = table.assign(group=groups, scope="" if across_datasets else table["dataset"])
    videos = videos.drop_duplicates(KEY)
    rng = np.random.default_rng(seed)
    role_of: dict[str, str] = {}
    for _, part in videos.groupby("scope", sort=True):
        sizes = part["group"].value_counts().sort_index()
        order = sizes.iloc[rng.permutation(len(sizes))].sort_values(ascending=False, kind="stable")
        lack = {role: share * len(part) for role, share in shares.items()}
        for group, size in order.items():
            role = max(lack, key=lack.get)
            role_of[group] = role
            lack[role] -= size
    empty = [role for role in shares if role not in role_of.values()]
    if empty and len(table):
        raise ManifestError(
            f"got {len(role_of)} groups of linked sources, too few to give each of "
            f"{list(shares)} one ({empty[0]!r} stays empty); add sources, or ask "
            "for fewer roles"
        )
    return table.assign(role=[role_of[group] for group in groups])
