"""Shortcuts planted on purpose in the videos of any manifest: what a detector may learn instead of forgeries.

A shortcut is planted in fakes only, and every video, real or fake, is decoded and coded once more in the same way, so
that nothing but the shortcut is new. `unpaired` and `paired` choose training lists that differ in one point only.

Source: own.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest
from gendkit.manifest import ManifestError
from gendkit.repro import atomic_path, read_json, sha256, write_json
from gendkit.video import iter_frames, probe, read_frames, write_video

KINDS = {
    "codec": "Fakes are coded with a coarser quality and without frames between frames; reals are not.",
    "sharpness": "Fakes are softened a little over the whole frame; reals are not.",
    "background": "Fakes carry a faint tint that grows across the picture, outside their masks only.",
    "identity": "Reals show one half of the people, fakes the other half; no video is changed.",
}
USUAL = {"crf": 18, "gop": 12}  # coding of everything that a shortcut does not touch
COARSE = {"crf": 30, "gop": 12, "options": {"bf": "0"}}  # the codec shortcut
SOFT = np.array([0.18, 0.64, 0.18], np.float32)  # taps of the sharpness shortcut
TINT = np.array(
    [10.0, 0.0, -10.0], np.float32
)  # levels of the background shortcut at the stronger side
_RECIPE = "shortcut.json"


def plant(
    table: pd.DataFrame,
    root: str | Path,
    out: str | Path,
    kind: str,
    share: float = 1.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Plant a shortcut and write the videos with their manifest; what is already there is kept.

    To plant it in one role only, give the rows of that role.

    Args:
        table: a manifest of videos (no frames). root: its folder. out: another folder, for the new one.
        kind: one of `KINDS`.
        share: of the fakes that carry the shortcut (of the people sorted by class, for "identity"), 0 to 1.
        seed: of the choice.

    Returns:
        The manifest written to ``out``/manifest.csv: columns of ``table``, fresh sha256, and ``shortcut``, which
        holds the kind where it was planted and is empty elsewhere. For "identity" it has fewer rows.

    Raises:
        ManifestError: the table is not valid, a file is missing, a fake has no mask ("background"), or a role has
            fewer than two people ("identity").
        ValueError: an unknown kind, a share outside [0, 1], or ``out`` is ``root`` or holds another recipe.
    """
    root, out = Path(root), Path(out)
    _check(kind, share, root, out)
    table = manifest.validate(table, root)
    if "frame" in table:
        raise ManifestError(
            "got a manifest of frames (column 'frame'), expected one row per video; plant the "
            "shortcut in the videos and extract their frames afterwards"
        )
    if kind == "background":
        _check_masks(table)
    planted = _choose(table, kind, share, seed)
    if kind == "identity":
        table = table[planted >= 0]
        planted = planted[planted >= 0]
    out.mkdir(parents=True, exist_ok=True)
    _keep_recipe(table, out, {"kind": kind, "share": float(share), "seed": int(seed)})
    for (_, row), marked in zip(table.iterrows(), planted, strict=True):
        _make(row, root, out, kind, bool(marked))
    result = table.assign(
        sha256=[sha256(out / path) for path in table["path"]],
        shortcut=np.where(planted == 1, kind, ""),
    )
    manifest.write(result, out / "manifest.csv")
    return result


def _check(kind: str, share: float, root: Path, out: Path) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 (no fake) to 1 (every fake)")
    if out.resolve() == root.resolve():
        raise ValueError(
            f"out is {str(out)!r}, the folder of the manifest itself; give another folder, so that "
            "the videos there stay as they are"
        )


def _check_masks(table: pd.DataFrame) -> None:
    fakes = table[table["label"] == 1]
    masks = fakes["mask_path"] if "mask_path" in table else pd.Series("", index=fakes.index)
    bad = fakes["path"][masks == ""]
    if len(bad):
        raise ManifestError(
            f"{len(bad)} fakes have no mask_path, first {bad.iloc[0]!r}; the background shortcut "
            "needs the mask video of every fake: leave those rows out, or choose another kind"
        )


def _choose(table: pd.DataFrame, kind: str, share: float, seed: int) -> np.ndarray:
    """For each row 1 (planted), 0 (left as it is) or -1 (left out); it does not depend on the order of the rows."""
    rng = np.random.default_rng(seed)
    if kind == "identity":
        return _sort_people(table, share, rng)
    planted = np.zeros(len(table), np.int64)
    fakes = np.flatnonzero(table["label"] == 1)
    fakes = fakes[np.argsort(manifest.video_key(table).to_numpy()[fakes], kind="stable")]
    planted[rng.permutation(fakes)[: round(share * len(fakes))]] = 1
    return planted


def _sort_people(table: pd.DataFrame, share: float, rng: np.random.Generator) -> np.ndarray:
    """Keep the reals of one half of the people and the fakes of the other, role by role.

    People who are linked by donors stay in one half, but for the group that the cut goes through.
    """
    person = table["dataset"] + "/" + table["source_id"]
    groups = manifest.components(table)
    planted = np.zeros(len(table), np.int64)
    for role, part in table.groupby("role", sort=True):
        names = pd.Series(groups[part.index].to_numpy(), index=person[part.index].to_numpy())
        names = names[~names.index.duplicated()].sort_index()
        if len(names) < 2:
            raise ManifestError(
                f"role {role!r} has {len(names)} person, expected at least 2 to sort by class"
            )
        order = {g: k for k, g in enumerate(rng.permutation(sorted(set(names))))}
        people = np.array(sorted(names.index, key=lambda p, n=names, o=order: (o[n[p]], p)))
        half = len(people) // 2
        sorted_ones = set(rng.permutation(people)[: round(share * len(people))])
        side = {p: int(k >= half) for k, p in enumerate(people)}
        for at in np.flatnonzero((table["role"] == role).to_numpy()):
            who = person.iloc[at]
            if who in sorted_ones:
                planted[at] = 1 if side[who] == table["label"].iloc[at] else -1
    return planted


def _keep_recipe(table: pd.DataFrame, out: Path, recipe: dict) -> None:
    """Write down what the folder holds; refuse a folder that holds something else."""
    text = json.dumps([list(map(str, row)) for row in table.itertuples(index=False)])
    recipe = {**recipe, "table": hashlib.sha256(text.encode()).hexdigest()}
    file = out / _RECIPE
    if not file.exists():
        write_json(file, recipe)
    elif (known := read_json(file)) != recipe:
        differ = sorted(k for k in recipe if known.get(k) != recipe[k])
        raise ValueError(
            f"{str(out)!r} holds a shortcut made otherwise (differs in {', '.join(differ)}); give another "
            "folder, or remove that one first"
        )


def _make(row: pd.Series, root: Path, out: Path, kind: str, marked: bool) -> None:
    """Write one video and its mask, unless they are there."""
    source, target = manifest.resolve(root, row["path"]), manifest.resolve(out, row["path"])
    mask = row.get("mask_path", "")
    if mask and not (out / mask).exists():
        _copy(manifest.resolve(root, mask), manifest.resolve(out, mask))
    if target.exists():
        return
    if kind == "identity":
        _copy(source, target)
        return
    coding = COARSE if marked and kind == "codec" else USUAL
    frames = (image for _, image in iter_frames(source))
    if marked and kind == "sharpness":
        frames = (soften(image) for image in frames)
    elif marked and kind == "background":
        weight = outside(read_frames(manifest.resolve(root, mask))[..., 0])
        frames = (tint(image, weight) for image in frames)
    write_video(target, frames, fps=probe(source).fps or 25.0, **coding)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def soften(image: np.ndarray) -> np.ndarray:
    """Blur an image (H, W, 3) uint8 with three taps in both directions; edges repeat."""
    x = image.astype(np.float32)
    for axis in (0, 1):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        p, n = np.pad(x, pad, mode="edge"), x.shape[axis]
        x = sum(tap * np.take(p, np.arange(k, k + n), axis) for k, tap in enumerate(SOFT))
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def outside(masks: np.ndarray) -> np.ndarray:
    """Where no frame of a clip is forged.

    Args:
        masks: (T, H, W) uint8, 255 where forged.

    Returns:
        (H, W) float32: 0 within 8 pixels of any forged pixel, rising to 1 at 16 pixels; distances are taken along rows
        and columns.
    """
    far = (masks.max(0) < 8).astype(np.float32)
    for axis in (0, 1):
        far = _shrink(far, 12, axis)
    for axis in (0, 1):  # a mean over 9 pixels softens the edge
        p, n = (
            np.pad(far, [(4, 4) if k == axis else (0, 0) for k in range(2)], mode="edge"),
            far.shape[axis],
        )
        far = sum(np.take(p, np.arange(k, k + n), axis) for k in range(9)) / np.float32(9)
    return far


def _shrink(keep: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Smallest value within ``by`` pixels along one axis."""
    p = np.pad(keep, [(by, by) if k == axis else (0, 0) for k in range(2)], mode="edge")
    n = keep.shape[axis]
    return np.min([np.take(p, np.arange(k, k + n), axis) for k in range(2 * by + 1)], axis=0)


def tint(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Warm an image (H, W, 3) uint8 where the weight (H, W) is high, from 0.4 at the left to 1 at the right."""
    ramp = np.linspace(0.4, 1.0, image.shape[1], dtype=np.float32)
    x = image + (weight * ramp)[..., None] * TINT
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def paired(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose a training list in which every fake comes with the real it was made from.

    It is as long as that of `unpaired`, with as many reals, and as many fakes of each method.

    Args:
        table: a manifest of videos or frames. seed: of the choice.

    Returns:
        Rows of role "fit", in their order: one real and one fake of every person chosen.

    Raises:
        ManifestError: not valid, or too few people.
    """
    videos, each = _sizes(table, seed)
    rng = np.random.default_rng([seed, 1])
    fakes = _deal(videos, sorted(set(videos["person"])), each, rng, need_real=True)
    reals = videos[(videos["label"] == 0) & videos["person"].isin(fakes["person"])]
    reals = reals.drop_duplicates("person")
    return _rows(table, pd.concat([reals, fakes]))


def unpaired(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose a training list in which fakes and reals share no person, neither as source nor as donor.

    It is as long as that of `paired`, with as many reals, and as many fakes of each method; since nobody stands in both
    classes it shows twice as many people.

    Args:
        table: a manifest of videos or frames. seed: of the choice.

    Returns:
        Rows of role "fit", in their order: one real of each person of one half, one fake of each of the other half.

    Raises:
        ManifestError: not valid, too few people, or all of them linked by donors.
    """
    videos, each = _sizes(table, seed)
    rng = np.random.default_rng([seed, 2])
    for_fakes, for_reals = _halves(videos, seed)
    fakes = _deal(videos, for_fakes, each, rng)
    reals = videos[(videos["label"] == 0) & videos["person"].isin(for_reals)]
    reals = reals.drop_duplicates("person")
    chosen = rng.permutation(len(reals))[: len(fakes)]
    return _rows(table, pd.concat([reals.iloc[np.sort(chosen)], fakes]))


def _sizes(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, int]:
    """The videos of role "fit", sorted by name, and how many fakes of each method both lists hold."""
    table = manifest.validate(table)
    fit = table[table["role"] == "fit"]
    if fit["label"].nunique() < 2:
        raise ManifestError("role 'fit' has no reals or no fakes; give a manifest with both")
    videos = fit.assign(
        video=manifest.video_key(fit),
        person=fit["dataset"] + "/" + fit["source_id"],
        group=manifest.components(fit),
    )
    videos = videos.drop_duplicates("video").sort_values("video").reset_index(drop=True)
    for_fakes, for_reals = _halves(videos, seed)
    n_methods = videos.loc[videos["label"] == 1, "method"].nunique()
    with_real = set(videos.loc[videos["label"] == 0, "person"])
    each = min(len(with_real & set(for_reals)), len(for_fakes)) // n_methods
    if each < 1:
        raise ManifestError(
            f"got {len(for_fakes)} and {len(for_reals)} people in the two halves of role 'fit', expected at "
            f"least {n_methods} in each, one for each method; add people, or drop methods"
        )
    return videos, each


def _halves(videos: pd.DataFrame, seed: int) -> tuple[list[str], list[str]]:
    """People for fakes and people for reals: whole groups, dealt to the smaller half in random order."""
    people = videos.drop_duplicates("person").groupby("group")["person"].apply(sorted).sort_index()
    if len(people) < 2:
        raise ManifestError(
            "all people of role 'fit' are linked by donors to one group, expected two groups or more, so that "
            "fakes and reals can be kept apart; leave out some fakes with donors"
        )
    halves: tuple[list[str], list[str]] = ([], [])
    for k in np.random.default_rng([seed, 0]).permutation(len(people)):
        min(halves, key=len).extend(people.iloc[k])
    return halves


def _deal(
    videos: pd.DataFrame,
    people: list[str],
    each: int,
    rng: np.random.Generator,
    need_real: bool = False,
) -> pd.DataFrame:
    """``each`` fakes of every method, no person twice."""
    fakes = videos[(videos["label"] == 1) & videos["person"].isin(people)]
    if need_real:
        fakes = fakes[fakes["person"].isin(videos.loc[videos["label"] == 0, "person"])]
    chosen, used = [], set()
    counts = fakes["method"].value_counts()
    methods = sorted(
        set(videos.loc[videos["label"] == 1, "method"]), key=lambda m: (counts.get(m, 0), m)
    )
    for method in methods:  # the rarest first
        found = fakes[(fakes["method"] == method) & ~fakes["person"].isin(used)]
        found = found.drop_duplicates("person")
        if len(found) < each:
            raise ManifestError(
                f"method {method!r} has fakes of {len(found)} people left, expected {each}; give a manifest in "
                "which every person has a fake of every method"
            )
        found = found.iloc[np.sort(rng.permutation(len(found))[:each])]
        used |= set(found["person"])
        chosen.append(found)
    return pd.concat(chosen)


def _rows(table: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    table = manifest.validate(table)
    keys = manifest.video_key(table).isin(videos["video"])
    return table[keys & (table["role"] == "fit")]
