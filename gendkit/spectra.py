"""How much detail of each size a face crop holds, and what a forgery takes away or adds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit.repro import progress
from gendkit.warp import LUMA

FLOOR = 1.0  # grey levels squared; about what coding noise leaves of a frequency, keeps logs finite


def radial_power(image: np.ndarray, n_bins: int = 32, part: float = 0.7) -> np.ndarray:
    """Measure the mean power of each spatial frequency, whatever its direction.

    The middle of the crop is multiplied by a Hann window, so that its borders do not count as edges.

    Args:
        image: (H, W, 3) uint8 RGB, H = W.
        n_bins: Rings of equal width between 0 and half a cycle a pixel.
        part: Side of the middle part over the side of the crop, in (0, 1].

    Returns:
        (n_bins,) float64, natural logarithm of the mean power a frequency, grey levels squared.

    Raises:
        ValueError: If the image is no square uint8 RGB image, or too small for the rings.

    Source: own; azimuthal averages as a trace of generated images: Durall and others 2020 (arXiv 2003.01826).
    """
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not good or image.shape[2] != 3 or image.shape[0] != image.shape[1]:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"got {got}, expected a square crop (S, S, 3) uint8 RGB")
    side = int(image.shape[0] * part) // 2 * 2
    if not 0 < part <= 1 or side < 2 * n_bins:
        raise ValueError(
            f"got n_bins={n_bins} and part={part} for a side of {image.shape[0]} pixels, expected part in (0, 1] and "
            f"at most {side // 2} bins"
        )
    start = (image.shape[0] - side) // 2
    luma = image[start : start + side, start : start + side].astype(np.float64) @ LUMA
    window = np.hanning(side)[:, None] * np.hanning(side)
    luma = (luma - np.average(luma, weights=window)) * window
    power = np.abs(np.fft.rfft2(luma)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    ring = np.minimum((radius * 2 * n_bins).astype(int), n_bins)  # the corners beyond 0.5 go last
    total = np.bincount(ring.ravel(), weights=power.ravel(), minlength=n_bins + 1)
    return np.log(total[:n_bins] / np.bincount(ring.ravel())[:n_bins] + FLOOR)


def frequencies(n_bins: int = 32) -> np.ndarray:
    """Return the middle of each ring of `radial_power`, (n_bins,) cycles per pixel of the crop."""
    return (np.arange(n_bins) + 0.5) / (2 * n_bins)


def spectra(table: pd.DataFrame, root: str | Path, n_bins: int = 32) -> np.ndarray:
    """Measure all crops of a table.

    Args:
        table: Frame manifest.
        root: Folder that its paths are relative to.
        n_bins: As for `radial_power`.

    Returns:
        (N, n_bins) float64.
    """
    from PIL import Image

    rows = []
    for path in progress(table["path"], what="spectra"):
        with Image.open(Path(root) / path) as image:
            rows.append(radial_power(np.asarray(image.convert("RGB")), n_bins))
    return np.stack(rows)


def paired_change(
    table: pd.DataFrame,
    power: np.ndarray,
    n_bootstrap: int = 300,
    seed: int = 0,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compare every fake with the same frame of its own real, ring by ring.

    Args:
        table: Frame manifest with reals and fakes; N rows.
        power: (N, n_bins), as `spectra` gives.
        n_bootstrap: Resamples of people behind the intervals.
        seed: Of the resampling.
        methods: Manipulations to compare; None for all.

    Returns:
        One row per method and ring: method, frequency (cycles per pixel), change (mean difference of log
        power, fake minus real: -0.1 is ten per cent less), low, high (95 %), n_people.

    Raises:
        ValueError: If rows do not match, or a method has no fake beside its real.
    """
    if len(table) != len(power):
        raise ValueError(f"got {len(table)} rows and {len(power)} spectra, expected equal numbers")
    key = ["dataset", "source_id", "frame"]
    table = table.reset_index(drop=True).assign(row=np.arange(len(table)))
    reals, fakes = table[table["label"] == 0], table[table["label"] == 1]
    pairs = fakes.merge(reals[[*key, "row"]], on=key, suffixes=("", "_real"))
    middle, rng, parts = frequencies(power.shape[1]), np.random.default_rng(seed), []
    for method in methods if methods is not None else sorted(fakes["method"].unique()):
        own = pairs[pairs["method"] == method]
        if own.empty:
            raise ValueError(
                f"no fake of {method!r} has the same frame of its real in this table; keep the reals in it"
            )
        change = pd.DataFrame(power[own["row"]] - power[own["row_real"]])
        people = change.groupby(own["source_id"].to_numpy()).mean().to_numpy()
        draws = people[rng.integers(len(people), size=(n_bootstrap, len(people)))].mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        parts.append(pd.DataFrame({
            "method": method, "frequency": middle, "change": people.mean(axis=0), "low": low, "high": high,
            "n_people": len(people),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
