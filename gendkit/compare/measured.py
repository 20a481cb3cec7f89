"""What two scores tables, or two folders of crops, do differently on the same videos."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import manifest, metrics
from gendkit.manifest import KEY

_N_CROPS = 48  # crops that are compared pixel by pixel


def measure(
    a: pd.DataFrame,
    b: pd.DataFrame,
    hows: list[str] | tuple[str, str] = ("mean", "mean"),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Split the difference of two AUROCs into parts that can be measured.

    On the rows of the role report where both have some, else on all rows; at the level of videos.

    Args:
        a: Scores table.
        b: The other.
        hows: Frames to video, for a and b.
        n_bootstrap: Resamples.
        seed: Of the resampling.

    Returns:
        roles; auroc_a, auroc_b (None with one class only), change (b - a) of all videos of each;
        n_a, n_b, n_common (videos); changes: of the change, what comes from "videos", "labels",
        "aggregate", "frames" and the "scores" themselves, in this order, each with the earlier ones
        equal; interval: 95 % of "scores", over sources; differs: name -> (a, b) for what differs;
        rank_correlation, moved (share of common videos whose score moves by more than 0.1), and
        furthest, the five videos that move most.
    """
    both = all((table["role"] == "report").any() for table in (a, b))
    tables = [table[table["role"] == "report"] if both else table for table in (a, b)]
    videos = [metrics.video_scores(t, how) for t, how in zip(tables, hows, strict=True)]
    keys = [pd.MultiIndex.from_frame(v[KEY]) for v in videos]
    common = keys[0].intersection(keys[1])
    own = [_auroc(v["label"], v["p_fake"]) for v in videos]
    out: dict[str, Any] = {
        "roles": ["report"] if both else sorted(set(a["role"]) | set(b["role"])),
        "auroc_a": own[0],
        "auroc_b": own[1],
        "change": _minus(own[1], own[0]),
        "n_a": len(keys[0]),
        "n_b": len(keys[1]),
        "n_common": len(common),
        "changes": {},
        "interval": None,
        "differs": {},
    }
    if len(common) < max(map(len, keys)):
        only = [f"{len(k)} videos, {len(k) - len(common)} of them only here" for k in keys]
        out["differs"]["videos"] = tuple(only)
    if not len(common):
        return out
    steps = _steps(tables, videos, keys, common, hows)
    before = out["change"]
    for name, differs, left in steps:
        if differs is not None:
            out["differs"][name] = differs
        if name in out["differs"]:
            out["changes"][name] = _minus(before, left)
        before = left
    out["changes"]["scores"] = before
    _add_movement(out, tables, common, n_bootstrap, seed)
    return out


def _steps(tables, videos, keys, common, hows) -> Iterator[tuple[str, tuple | None, float | None]]:
    """Yield what is made equal, how it differed, and the change of the AUROC that is then left."""
    same = [v.set_index(KEY).loc[common] for v in videos]
    yield "videos", None, _change(*same)
    odd = int((same[0]["label"] != same[1]["label"]).sum())
    agree = common[(same[0]["label"] == same[1]["label"]).to_numpy()]
    counts = [f"{int((v['label'] == 1).sum())} of {len(common)} fake" for v in same]
    differs = (f"{counts[0]}; {odd} labels differ", counts[1]) if odd else None
    yield "labels", differs, _change(*(v.loc[agree] for v in same)) if len(agree) else None
    mean = [metrics.video_scores(_of(t, agree), hows[0]) for t in tables] if len(agree) else []
    left = _change(*mean) if mean else None
    yield "aggregate", tuple(hows) if hows[0] != hows[1] else None, left
    parts = _common_frames([_of(t, agree) for t in tables]) if len(agree) else None
    if parts is None:
        return
    n = [len(_of(t, agree)) for t in tables]
    if len(parts[0]) < max(n):
        text = [f"{k} frames, {k - len(parts[0])} of them only here" for k in n]
        some = [metrics.video_scores(part, hows[0]) for part in parts]
        yield "frames", tuple(text), _change(*some) if len(parts[0]) else None


def _of(table: pd.DataFrame, keys: pd.MultiIndex) -> pd.DataFrame:
    return table[pd.MultiIndex.from_frame(table[KEY]).isin(keys)]


def _common_frames(tables: list[pd.DataFrame]) -> list[pd.DataFrame] | None:
    if not all("frame" in table for table in tables):
        return None
    unit = KEY + [name for name in ("frame", "face") if all(name in t for t in tables)]
    keys = [pd.MultiIndex.from_frame(table[unit].astype(str)) for table in tables]
    return [t[k.isin(keys[1 - i])] for i, (t, k) in enumerate(zip(tables, keys, strict=True))]


def _auroc(labels: Any, scores: Any) -> float | None:
    if pd.Series(labels).nunique() < 2:
        return None
    return metrics.auroc(labels, scores)


def _change(a: pd.DataFrame, b: pd.DataFrame) -> float | None:
    return _minus(_auroc(b["label"], b["p_fake"]), _auroc(a["label"], a["p_fake"]))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _add_movement(
    out: dict[str, Any], tables: list[pd.DataFrame], common: pd.MultiIndex, n: int, seed: int
) -> None:
    """Compare the scores of the same videos, frames and labels, aggregated in the same way."""
    frames = _common_frames([_of(table, common) for table in tables])
    parts = frames if frames and len(frames[0]) else [_of(table, common) for table in tables]
    a, b = (metrics.video_scores(part).set_index(KEY).sort_index() for part in parts)
    agree = (a["label"] == b["label"]).to_numpy()
    a, b = a[agree], b[agree]
    if len(a) < 2:
        return
    moved = (b["p_fake"] - a["p_fake"]).rename("moved")
    furthest = moved.abs().sort_values(ascending=False, kind="stable").index[:5]
    out["moved"] = float((moved.abs() > 0.1).mean())
    out["furthest"] = [
        {"video": "/".join(filter(None, map(str, key))), "a": float(a.loc[key, "p_fake"]),
         "b": float(b.loc[key, "p_fake"])}
        for key in furthest
    ]  # fmt: skip
    ranks = [side["p_fake"].rank().to_numpy() for side in (a, b)]
    if all(np.ptp(rank) > 0 for rank in ranks):
        out["rank_correlation"] = float(np.corrcoef(*ranks)[0, 1])
    sources = a["source_id"].nunique() if "source_id" in a else 0
    if a["label"].nunique() == 2 and sources > 1:
        value = metrics.paired_difference(b.reset_index(), a.reset_index(), n=n, seed=seed)
        out["interval"] = [value.low, value.high]


def measure_crops(a: pd.DataFrame, b: pd.DataFrame, roots: tuple[Path, Path]) -> dict[str, Any]:
    """Compare the crops of the same frames.

    Args:
        a: Frame manifest of the crops.
        b: The other.
        roots: Folders that their paths are relative to.

    Returns:
        n_a, n_b, n_common (crops of the same frame of the same video); n_compared of them, spread
        evenly, and of these: identical (share with the same pixels), grey (mean absolute difference
        in grey levels, of those with the same side; None without any), box_shift (median distance
        of the box centres in sides of the box).
    """
    unit = [*KEY, "frame"] + ["face"] * ("face" in a and "face" in b)
    tables = [table.drop_duplicates(unit).set_index(unit) for table in (a, b)]
    common = tables[0].index.intersection(tables[1].index)
    out = {"n_a": len(a), "n_b": len(b), "n_common": len(common), "n_compared": 0}
    if not len(common):
        return out
    picked = common[np.unique(np.linspace(0, len(common) - 1, _N_CROPS).astype(int))]
    same, grey, shift = [], [], []
    for key in picked:
        rows = [table.loc[key] for table in tables]
        boxes = [np.array(str(row["box"]).split(), float) for row in rows]
        middle = [box.reshape(2, 2).mean(axis=0) for box in boxes]
        shift.append(np.hypot(*(middle[1] - middle[0])) / max(boxes[0][2] - boxes[0][0], 1))
        files = [manifest.resolve(at, r["path"]) for at, r in zip(roots, rows, strict=True)]
        if not all(file.is_file() for file in files):
            continue
        images = [_pixels(file) for file in files]
        fit = images[0].shape == images[1].shape
        same.append(fit and np.array_equal(*images))
        if fit:
            grey.append(float(np.abs(images[0] - images[1]).mean()))
    out |= {"n_compared": len(same), "box_shift": float(np.median(shift))}
    out["identical"] = float(np.mean(same)) if same else None
    return out | {"grey": float(np.mean(grey)) if grey else None}


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)
