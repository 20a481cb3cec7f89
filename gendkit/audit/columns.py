"""What the columns of a result table stand on: how many of each class, which reals they share."""

from pathlib import Path

import pandas as pd

from gendkit import manifest, video
from gendkit.repro import progress, sha256

UNEVEN = 1.2  # frames a video of one class over the other, from which their counts matter; own


def measured(table: pd.DataFrame, root: str | Path) -> pd.DataFrame:
    """Add what a manifest leaves out: the hash of each file and its number of frames.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.

    Returns:
        The table with sha256 and n_frames in every row; what stands there is kept.

    Raises:
        ManifestError: If the manifest is not valid or a file is missing.
        VideoError: If a video cannot be read.
    """
    table, root = manifest.validate(table, root).copy(), Path(root)
    known = table["sha256"] if "sha256" in table else pd.Series("", index=table.index)
    empty = known == ""
    hashes = [sha256(root / path) for path in progress(table["path"][empty], what="content")]
    table["sha256"] = known.mask(empty, pd.Series(hashes, index=table.index[empty], dtype=object))
    if "n_frames" not in table and "frame" not in table:
        table["n_frames"] = [video.probe(root / path).n_frames for path in table["path"]]
    return table


def balance(table: pd.DataFrame) -> pd.DataFrame:
    """Count videos and frames of each class.

    Args:
        table: A manifest of videos with n_frames.

    Returns:
        One row per dataset, compression and role: n_real, n_fake (videos), base_rate (share of
        fakes, to which average precision and accuracy belong), frames_real, frames_fake (mean of a
        video), verdict: "one class", "uneven frames" or "ok".

    Raises:
        ManifestError: If the manifest is not valid.
    """
    table = manifest.validate(table)
    rows = []
    for key, part in table.groupby(["dataset", "compression", "role"], sort=True):
        n_fake = int(part["label"].sum())
        frames = part.groupby("label")["n_frames"].mean().reindex([0, 1])
        verdict = "ok"
        if frames.isna().any():
            verdict = "one class"
        elif frames.max() >= UNEVEN * frames.min():
            verdict = "uneven frames"
        n_real = len(part) - n_fake
        rows.append((*key, n_real, n_fake, n_fake / len(part), *frames, verdict))
    columns = ["dataset", "compression", "role", "n_real", "n_fake", "base_rate"]
    return pd.DataFrame(rows, columns=[*columns, "frames_real", "frames_fake", "verdict"])


def shared_reals(table: pd.DataFrame) -> pd.DataFrame:
    """Find reals that several columns of a result table stand on, by the content of their files.

    All methods of a set share its reals, so the columns of one set are never independent; a mean
    over them has a wider interval than over as many separate sets. `gendkit.metrics.bootstrap`
    draws people once for all columns of a set. Copies of a real in a second set, or under a second
    name in the same set, are counted twice by any mean over sets.

    Args:
        table: A manifest of videos with sha256.

    Returns:
        One row per finding: severity ("note": one set, several methods; "warning": equal files in
        two sets or under two names; "error": equal files under two roles), columns (the sets or
        "SET: methods"), n_shared (files), n_reals (different reals of these columns), first (a
        video that is shared).

    Raises:
        ManifestError: If the manifest is not valid.

    Source: own; the trap is listed in notebook 07.
    """
    table = manifest.validate(table)
    reals = table[(table["label"] == 0) & (table["sha256"] != "")].copy()
    reals["video"] = manifest.video_key(reals)
    # a compression is a column of its own: its files are other files
    reals["set"] = reals["dataset"] + ("/" + reals["compression"]).where(
        reals["compression"] != "", ""
    )
    sets = {name: part.drop_duplicates("sha256") for name, part in reals.groupby("set")}
    rows = []
    names = sorted(sets)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            both = sets[one]["sha256"].isin(sets[other]["sha256"])
            n_all = len(sets[one]) + len(sets[other]) - int(both.sum())
            rows.append(("warning", f"{one}, {other}", sets[one][both], n_all))
    for name, part in reals.groupby("set"):
        twice = part[part.duplicated("sha256", keep=False)]
        rows.append(("warning", f"{name} twice", twice.drop_duplicates("sha256"), len(sets[name])))
    used = reals[reals["role"] != ""]
    roles = used.groupby("sha256")["role"].nunique()
    across = used[used["sha256"].isin(roles.index[roles > 1])].drop_duplicates("sha256")
    rows.append(("error", "two roles", across, used["sha256"].nunique()))
    fakes = table[table["label"] == 1]
    for (dataset, compression), part in fakes.groupby(["dataset", "compression"], sort=True):
        name = f"{dataset}/{compression}" if compression else dataset
        methods = sorted(set(part["method"]))
        if len(methods) > 1 and name in sets:
            columns = f"{name}: {', '.join(methods)}"
            rows.append(("note", columns, sets[name], len(sets[name])))
    found = [
        (severity, columns, len(part), n_reals, part["video"].iloc[0])
        for severity, columns, part, n_reals in rows
        if len(part)
    ]
    result = pd.DataFrame(found, columns=["severity", "columns", "n_shared", "n_reals", "first"])
    order = result["severity"].map(list(manifest.SEVERITIES).index).astype(int)
    return result.iloc[order.argsort(kind="stable")].reset_index(drop=True)
