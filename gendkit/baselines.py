"""The texture baseline: what a few dozen lines without a network find in a face crop."""

from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest
from gendkit.repro import progress

SIDE = 128  # pixels of the crop the baseline looks at
GRID = 8  # cells along each side
SIGMAS = (0.7, 1.4, 2.8)  # pixels; the bands lie between an image and its copies blurred by these
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Source: ITU-R BT.601
PENALTY = 0.01  # inverse strength of the regression's penalty, small because 192 numbers are many


def texture_energies(image: np.ndarray) -> np.ndarray:
    """Measure how much fine detail each part of a crop has: log energies of three high-pass bands.

    Args:
        image: (H, W, 3) uint8 RGB; H and W multiples of 8, usually 128.

    Returns:
        (192,) float32: finest band first, each an 8 x 8 grid row by row. The added 0.01 is about
        the energy of rounding to whole grey levels.

    Raises:
        ValueError: If the image has another form.

    Source: own; residual statistics for forensics: Fridrich and Kodovsky 2012,
        https://doi.org/10.1109/TIFS.2012.2190402.
    """
    from scipy.ndimage import gaussian_filter

    _check(image)
    luma = image.astype(np.float32) @ LUMA
    levels = [luma, *(gaussian_filter(luma, sigma) for sigma in SIGMAS)]
    bands = np.stack([np.square(a - b) for a, b in zip(levels, levels[1:], strict=False)])
    height, width = luma.shape
    cells = bands.reshape(len(SIGMAS), GRID, height // GRID, GRID, width // GRID)
    return np.log(cells.mean(axis=(2, 4)) + 0.01).astype(np.float32).ravel()


def _check(image: np.ndarray) -> None:
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not good or image.shape[2] != 3 or image.size == 0 or any(n % GRID for n in image.shape[:2]):
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(
            f"got {got}, expected uint8 RGB (H, W, 3) with sides that are multiples of {GRID}; "
            f"resize the crop to {SIDE} x {SIDE}"
        )


def texture_features(crops: pd.DataFrame, root: str | Path) -> np.ndarray:
    """Measure all crops of a manifest.

    Args:
        crops: A manifest of aligned crops, one row per image.
        root: Folder that its paths are relative to.

    Returns:
        (N, 192) float32, see `texture_energies`; crops of another size are resized to 128 x 128.

    Raises:
        ManifestError: If the manifest is not valid or a file is missing.
    """
    from PIL import Image

    crops = manifest.validate(crops, root)
    features = np.empty((len(crops), len(SIGMAS) * GRID**2), dtype=np.float32)
    for row, path in enumerate(progress(crops["path"], what="texture")):
        with Image.open(Path(root) / path) as image:
            image = image.convert("RGB")
            if image.size != (SIDE, SIDE):
                image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            features[row] = texture_energies(np.asarray(image))
    return features


def fit(features: np.ndarray, labels: np.ndarray):
    """Fit a logistic regression on standardised features.

    Args:
        features: (N, D) numbers.
        labels: (N,) 0 (real) or 1 (fake); both classes count as much, whatever their numbers.

    Returns:
        The fitted scikit-learn pipeline, for `score`.

    Raises:
        ValueError: For one class, unequal lengths, or features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or set(labels) != {0, 1}:
        raise ValueError(
            f"got features {features.shape} and {labels.shape} labels {sorted(set(labels))}, "
            "expected (N, D) features and one label 0 or 1 for each, both of them present"
        )
    regression = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)


def score(model, features: np.ndarray) -> np.ndarray:
    """Score crops with a fitted model.

    Args:
        model: From `fit`.
        features: (N, D).

    Returns:
        (N,) P(fake). For videos, take `metrics.video_scores` of the table.
    """
    return model.predict_proba(np.asarray(features, dtype=np.float64))[:, 1]


def cross_scores(
    features: np.ndarray, table: pd.DataFrame, n_folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Score every crop by a model that saw nobody linked with its person.

    Args:
        features: (N, D).
        table: N rows of a manifest; folds keep `manifest.components` together.
        n_folds: Parts; fewer where there are fewer groups of linked people.
        seed: Seed of the folds.

    Returns:
        (N,) P(fake).

    Raises:
        ValueError: If rows do not match, there is one group, or a part lacks a class.
    """
    from sklearn.model_selection import GroupKFold

    if len(features) != len(table):
        raise ValueError(f"got {len(features)} rows of features and {len(table)} of the table")
    groups = manifest.components(table).to_numpy()
    n_groups = len(set(groups))
    if n_groups < 2 or n_folds < 2:
        raise ValueError(
            f"got {n_groups} groups of linked people and n_folds={n_folds}, expected 2 or more of "
            "both; add people who share no donor"
        )
    folds = GroupKFold(min(n_folds, n_groups), shuffle=True, random_state=seed)
    labels, scores = table["label"].to_numpy(), np.empty(len(table))
    for train, test in folds.split(features, labels, groups):
        scores[test] = score(fit(features[train], labels[train]), features[test])
    return scores
