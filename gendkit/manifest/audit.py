"""What makes results on a valid table of samples untrue: leaks, missing pairs, shortcuts."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit.manifest.table import missing_files, validate, video_key

SEVERITIES = ("error", "warning", "note")


def audit(table: pd.DataFrame, root: str | Path | None = None) -> pd.DataFrame:
    """Look for what makes results on a valid manifest untrue: leaks, missing pairs, shortcuts.

    Args:
        table: A manifest.
        root: Folder of the manifest; if given, missing files are looked for.

    Returns:
        One row per finding, worst first: check (name), severity ("error": results are wrong,
        "warning": look before you trust them, "note": to know), what (a sentence), rows (tuple of
        index labels). No rows: nothing found.

    Raises:
        ManifestError: If the table is not valid.

    Source: own; the pitfalls are listed with sources in notebook 07.
    """
    table = validate(table)
    found: list[tuple[str, str, str, tuple]] = []

    def add(check: str, severity: str, what: str, rows: Iterable[bool]) -> None:
        rows = np.asarray(rows, dtype=bool)
        if rows.any():
            found.append((check, severity, what, tuple(table.index[rows])))

    _leaks(table, add)
    _unpaired(table, add)
    _uneven(table.assign(video=video_key(table)), add)
    for name, rows in ({} if root is None else missing_files(table, root)).items():
        add("missing_file", "error", f"{sum(rows)} files of column {name} do not exist", rows)
    result = pd.DataFrame(found, columns=["check", "severity", "what", "rows"])
    order = result["severity"].map(SEVERITIES.index).astype(int).to_numpy()
    return result.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _shared(names: pd.Series, roles: pd.Series) -> set[str]:
    """Names that stand under two roles or more; empty names and roles do not count."""
    rows = pd.DataFrame({"name": names.to_numpy(), "role": roles.to_numpy()})
    rows = rows[(rows["name"] != "") & (rows["role"] != "")].drop_duplicates()
    counts = rows["name"].value_counts()
    return set(counts.index[counts > 1])


def _leaks(table: pd.DataFrame, add: Callable[..., None]) -> None:
    roles, scope = table["role"], table["dataset"] + "/"
    sources = scope + table["source_id"]
    leaks = {"leak_source": sources, "leak_path": table["path"]}
    if "sha256" in table:
        leaks["leak_sha256"] = table["sha256"]
    for check, names in leaks.items():
        shared = _shared(names, roles)
        if shared:
            add(
                check,
                "error",
                f"{len(shared)} values of {check[5:]} stand under two roles, first "
                f"{min(shared)!r}; use manifest.split",
                names.isin(shared),
            )
    if "donor_id" in table:
        donors = (scope + table["donor_id"]).where(table["donor_id"] != "", "")
        both = _shared(pd.concat([sources, donors]), pd.concat([roles, roles]))
        shared = both - _shared(sources, roles)
        if shared:
            add(
                "leak_donor",
                "error",
                f"{len(shared)} people stand under two roles as source and "
                f"donor, first {min(shared)!r}; use manifest.split",
                sources.isin(shared) | donors.isin(shared),
            )
    inside = {name.split("/", 1)[1] for name in _shared(sources, roles)}
    shared = _shared(table["source_id"], roles) - inside
    if shared:
        add(
            "leak_across_datasets",
            "warning",
            f"{len(shared)} source ids stand under two roles in "
            f"two datasets, first {min(shared)!r}; if they are the same people, use manifest.split "
            "with across_datasets=True",
            table["source_id"].isin(shared),
        )
    if "sha256" in table:
        n_labels = table["label"].groupby(table["sha256"].to_numpy()).transform("nunique")
        add(
            "two_labels",
            "error",
            "files with equal content stand with both labels",
            (table["sha256"] != "") & (n_labels > 1),
        )


def _unpaired(table: pd.DataFrame, add: Callable[..., None]) -> None:
    is_real = table["label"] == 0
    sources = table["dataset"] + "/" + table["source_id"]
    add(
        "unpaired_fake",
        "warning",
        "fakes whose source has no real video: a detector may learn "
        "the people instead of the forgery",
        ~is_real & ~sources.isin(sources[is_real]),
    )
    add(
        "unpaired_real",
        "note",
        "reals whose source has no fake",
        is_real & ~sources.isin(sources[~is_real]),
    )


def _uneven(table: pd.DataFrame, add: Callable[..., None]) -> None:
    no_role = table["role"] == ""
    add(
        "no_role",
        "note",
        "rows without a role are left out of every step",
        no_role & ~no_role.all(),
    )
    videos = (
        table.assign(n=1)
        .groupby("video", sort=False, as_index=False)
        .agg(
            n=("n", "sum"),
            label=("label", "first"),
            role=("role", "first"),
            **({"n_frames": ("n_frames", "first")} if "n_frames" in table else {}),
        )
    )
    for role, part in videos[videos["role"] != ""].groupby("role"):
        n_fake, rows = int(part["label"].sum()), table["role"] == role
        n_real = len(part) - n_fake
        have = f"role {role!r} has {n_real} real and {n_fake} fake videos"
        if n_fake == 0 or n_real == 0:
            add("single_class", "error", f"{have}; no AUROC can be computed", rows)
        elif max(n_fake, n_real) > 2 * min(n_fake, n_real):
            add(
                "imbalance",
                "note",
                f"{have}; average precision and accuracy move with this share",
                rows,
            )
    counts = videos["n"] if "frame" in table else videos.get("n_frames")
    if counts is not None and counts.nunique() > 1:
        mean = counts.groupby(videos["label"]).mean()
        uneven = len(mean) == 2 and max(mean) > 1.2 * min(mean)
        usual = counts.mode().iloc[0]
        what = f"videos have {counts.min()} to {counts.max()} frames, most {usual}"
        if uneven:
            what += f"; on average {mean[0]:.1f} (real) and {mean[1]:.1f} (fake)"
        add(
            "mixed_frame_counts",
            "warning" if uneven else "note",
            what,
            table["video"].isin(videos["video"][counts != usual]),
        )
    for dataset, part in table.groupby("dataset"):
        codecs = part.groupby("label")["compression"].agg(set)
        if len(codecs) == 2 and codecs[0] != codecs[1]:
            add(
                "compression_shortcut",
                "warning",
                f"reals of {dataset!r} have compression "
                f"{sorted(codecs[0])}, fakes {sorted(codecs[1])}: the codec tells the class",
                table["dataset"] == dataset,
            )
