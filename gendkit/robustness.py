"""Robustness: the same crops at every level of a corruption, scored by several detectors at once.

Also which band of detail carries a forgery: bands of an image, and a real that is given one band of its fake.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gendkit import evaluate, metrics, transforms

if TYPE_CHECKING:
    import torch

CLEAN = "clean"
# The option of each corruption that is its level, in the words of an axis.
AXES = {
    "jpeg": ("quality", "JPEG quality"),
    "blur": ("sigma", "blur, sigma (px)"),
    "resize": ("size", "resize, side (px)"),
    "noise": ("sigma", "noise, sigma (0 to 1)"),
}
# One detector or several on the same images: list of (H, W, 3) uint8 -> name -> (N,) P(fake).
Reader = Callable[[list[np.ndarray]], Mapping[str, np.ndarray]]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def grid(
    names: Iterable[str] = tuple(AXES), interpolation: str | None = "bilinear"
) -> pd.DataFrame:
    """Lay out the levels of the paper's robustness grid, mildest first.

    Args:
        names: Corruptions, of `transforms.CORRUPTIONS`.
        interpolation: The filter of "resize"; None for all six.

    Returns:
        One row per level: corruption, level (for `transforms.corrupt`), value (quality, sigma or
        side), filter ("" but for resize), harmless (True where the image stays as it is).

    Raises:
        ValueError: For an unknown corruption or filter.
    """
    rows = []
    for name in names:
        if name not in AXES:
            raise ValueError(f"got corruption {name!r}, expected one of {', '.join(AXES)}")
        for level, options in enumerate(transforms.CORRUPTIONS[name]):
            value, kind = options[AXES[name][0]], options.get("interpolation", "")
            if kind and interpolation not in (None, kind):
                continue
            harmless = name in ("blur", "noise") and value == 0
            rows.append(dict(zip(_GRID, (name, level, value, kind, harmless), strict=True)))
    if interpolation not in (None, *transforms.INTERPOLATIONS):
        known = ", ".join(transforms.INTERPOLATIONS)
        raise ValueError(f"got interpolation={interpolation!r}, expected None or one of {known}")
    return pd.DataFrame(rows, columns=_GRID)


_GRID = ["corruption", "level", "value", "filter", "harmless"]


def conditions(levels: pd.DataFrame) -> dict[str, Transform]:
    """Turn rows of `grid` into named transforms for `sweep`; harmless ones are left out.

    Args:
        levels: Rows of `grid`.

    Returns:
        Name -> (image, rng) -> image. The name is that of `name_of`.
    """
    kept = levels[~levels["harmless"]]
    return {
        name_of(row): _one(str(row["corruption"]), int(row["level"]))
        for row in kept.to_dict("records")
    }


def name_of(row: Mapping[str, Any]) -> str:
    """Name a level of `grid`: "jpeg 40", "resize 64 bilinear"; a harmless one is "clean"."""
    if row["harmless"]:
        return CLEAN
    return f"{row['corruption']} {row['value']:g} {row['filter']}".rstrip()


def _one(name: str, level: int) -> Transform:
    return lambda image, rng: transforms.corrupt(image, name, level, rng)


def decode(table: pd.DataFrame, root: str | Path) -> list[np.ndarray]:
    """Read the crops of a frame manifest into memory.

    Args:
        table: N rows; 100 crops of 256 pixels are 20 MB.
        root: Folder that its paths are relative to.

    Returns:
        N images (H, W, 3) uint8.

    Raises:
        ValueError: If the table is empty or a file is no image.
        FileNotFoundError: If a crop is missing.
    """
    from gendkit.datasets import CropDataset

    data = CropDataset(table, root, list)
    return _threaded(data.image, range(len(data)))


def _threaded(function: Callable, *columns: Iterable) -> list:
    """Map with as many threads as torch has: Pillow and numpy let others run while they work."""
    import torch

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, *columns))


def encode(
    model: "torch.nn.Module", images: Sequence[np.ndarray], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Run a detector on images in memory.

    Args:
        model: Detector; it runs where it is, in eval mode, and its mode is restored.
        images: N images (H, W, 3) uint8; the sizes may differ.
        batch_size: Images per forward pass.

    Returns:
        features (N, D) float32, not normalised; p_fake (N,) float64.

    Raises:
        ValueError: If there is no image.
    """
    import torch

    from gendkit.datasets import to_pixels

    if not len(images):
        raise ValueError("got no images, expected at least one")
    prepare, where = evaluate.processor_of(model), next(model.parameters()).device
    was_training, features, logits = model.training, [], []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            pixels = to_pixels(prepare, images[start : start + batch_size]).to(where)
            out = model(pixel_values=pixels)
            features.append(out["features"].float().cpu().numpy())
            logits.append(out["logits"].float().cpu().numpy())
    model.train(was_training)
    p_fake = evaluate.probability(np.concatenate(logits))
    return {"features": np.concatenate(features), "p_fake": p_fake}


def sweep(
    images: Sequence[np.ndarray],
    table: pd.DataFrame,
    readers: Iterable[Reader],
    transforms_by_name: Mapping[str, Transform],
    seed: int = 0,
) -> pd.DataFrame:
    """Score the same crops as they are and under every condition.

    Args:
        images: N crops (`decode`).
        table: Their N rows of a frame manifest.
        readers: Detectors; each is called once a condition with all images.
        transforms_by_name: Condition -> (image, rng) -> image (`conditions`, or any chain of steps).
        seed: Of the chance in a condition; an image has the same in all conditions of one name,
            whatever else is swept.

    Returns:
        Scores tables (`evaluate.COLUMNS`) on top of each other, with the columns model and
        condition; the condition "clean" comes first.

    Raises:
        ValueError: If images and rows differ in number, a score is outside [0, 1], or a condition
            is called "clean".
    """
    if len(images) != len(table):
        raise ValueError(f"got {len(images)} images and {len(table)} rows, expected as many")
    if CLEAN in transforms_by_name:
        raise ValueError(f"{CLEAN!r} is the name of the untouched crops; name the condition anew")
    rows = table.reset_index(drop=True).reindex(columns=evaluate.COLUMNS[:-1])
    readers, parts = list(readers), []
    for name, change in {CLEAN: None, **transforms_by_name}.items():
        shown = list(images) if change is None else _changed(images, change, name, seed)
        for reader in readers:
            for model, p_fake in reader(shown).items():
                part = rows.assign(p_fake=np.asarray(p_fake, float), model=model, condition=name)
                evaluate.check_scores(part, f"{model} under {name!r}")
                parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _changed(images: Sequence, change: Transform, name: str, seed: int) -> list[np.ndarray]:
    own = int.from_bytes(name.encode(), "little")
    chances = [np.random.default_rng([seed, own, k]) for k in range(len(images))]
    return _threaded(change, images, chances)


def curves(scores: pd.DataFrame, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """AUROC of every model and condition, and what the condition costs.

    Args:
        scores: From `sweep`, of one data set and the role report.
        n_bootstrap: Resamples of people.
        seed: Of the resamples.

    Returns:
        One row per model and condition, in their order: model, condition, auroc, low, high (all
        fakes against all reals, videos), change, change_low, change_high (difference to the same
        model on clean crops, the people resampled together), lost (share of the clean AUROC above
        0.5 that is gone: 0 nothing, 1 down to chance; NaN if the clean AUROC is at most 0.5).

    Raises:
        ValueError: If the clean condition, a class or a column is missing.
    """
    rows = []
    for model, own in scores.groupby("model", sort=False):
        videos = {n: metrics.video_scores(p) for n, p in own.groupby("condition", sort=False)}
        if CLEAN not in videos:
            raise ValueError(f"model {model!r} has no rows of the condition {CLEAN!r}; run `sweep`")
        clean = metrics.auroc(videos[CLEAN]["label"], videos[CLEAN]["p_fake"])
        for name, part in videos.items():
            one = metrics.bootstrap(part, n=n_bootstrap, seed=seed)
            change = metrics.paired_difference(part, videos[CLEAN], n=n_bootstrap, seed=seed)
            rows.append({
                "model": model, "condition": name,
                "auroc": one.value, "low": one.low, "high": one.high,
                "change": change.value, "change_low": change.low, "change_high": change.high,
                "lost": (clean - one.value) / (clean - 0.5) if clean > 0.5 else np.nan,
            })  # fmt: skip
    return pd.DataFrame(rows)


def on_grid(levels: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of `curves` at their levels; a harmless level has the clean values.

    Args:
        levels: From `grid`.
        found: From `curves`.

    Returns:
        One row per model and level: columns of both.

    Raises:
        ValueError: If a level was not swept.
    """
    named = levels.assign(condition=[name_of(row) for row in levels.to_dict("records")])
    missing = sorted(set(named["condition"]) - set(found["condition"]))
    if missing:
        raise ValueError(f"no scores under {missing}; sweep these conditions, or narrow the grid")
    order = pd.Categorical(found["model"], found["model"].unique())
    out = named.reset_index(names="_row").merge(found.assign(_model=order), on="condition")
    return (
        out.sort_values(["_model", "_row"]).drop(columns=["_row", "_model"]).reset_index(drop=True)
    )


def bands(image: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Split an image into bands of detail that add up to it again.

    Args:
        image: (H, W, 3) uint8 or float.
        sigmas: K increasing standard deviations in pixels; between two blurs lies one band.

    Returns:
        (K + 1, H, W, 3) float32: finest band first, what is left after the widest blur last.

    Raises:
        ValueError: If the sigmas are not positive and increasing.

    Source: difference of Gaussians; Burt and Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851.
    """
    from scipy.ndimage import gaussian_filter

    if not len(sigmas) or any(b <= a for a, b in zip([0, *sigmas], sigmas, strict=False)):
        raise ValueError(f"got sigmas={list(sigmas)}, expected positive, increasing numbers")
    x = np.asarray(image, dtype=np.float32)
    levels = [x, *(gaussian_filter(x, (s, s, 0)) for s in sigmas)]
    return np.stack([*(a - b for a, b in zip(levels, levels[1:], strict=False)), levels[-1]])


def transplant(
    real: np.ndarray,
    fake: np.ndarray,
    choices: Iterable[Sequence[int]],
    sigmas: Sequence[float],
) -> list[np.ndarray]:
    """Give a real crop some bands of what its fake changed, and nothing else.

    Args:
        real: (H, W, 3) uint8.
        fake: The same crop of a fake made from it.
        choices: For each image to make, the numbers of its bands, see `bands`; all of them give the
            fake, none the real.
        sigmas: As for `bands`.

    Returns:
        An image (H, W, 3) uint8 for each choice.

    Raises:
        ValueError: If the shapes differ, or a band does not exist.
    """
    if real.shape != fake.shape:
        raise ValueError(f"got {real.shape} and {fake.shape}, expected two crops of one size")
    parts, made = bands(fake.astype(np.float32) - real, sigmas), []
    for chosen in choices:
        if not set(chosen) <= set(range(len(parts))):
            raise ValueError(f"got bands {list(chosen)}, expected numbers from 0 to {len(sigmas)}")
        mixed = real + parts[list(chosen)].sum(axis=0)
        made.append(np.clip(np.round(mixed), 0, 255).astype(np.uint8))
    return made


def band_energies(image: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Mean square of each band (`bands`) but the last, over pixels and colours, (K,) float64."""
    return np.square(bands(image, sigmas)[:-1], dtype=np.float64).mean(axis=(1, 2, 3))


def half_power(sigma: float) -> float:
    """Frequency at which a Gaussian blur halves the energy, in cycles per pixel.

    A blur multiplies the amplitude at frequency f by exp(-2 (pi sigma f)^2), so the energy by the
    square of that, which is 1/2 at f = sqrt(ln 2) / (2 pi sigma).

    Raises:
        ValueError: If sigma is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"got sigma={sigma}, expected a positive number of pixels")
    return float(np.sqrt(np.log(2)) / (2 * np.pi * sigma))
