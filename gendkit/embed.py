"""Embeddings on a sphere one can look at, and the numbers that say what the picture hides.

A map onto the ordinary sphere loses most of what 64 or 1,024 dimensions hold. So every map comes
with its trustworthiness, and the statements are made from angles in the original space.
"""

import warnings
from dataclasses import dataclass

import numpy as np

_MAX_PAIRS_FROM = 2000  # rows; all pairs of more would need gigabytes


@dataclass(frozen=True)
class AngleStatistics:
    """Angles between embeddings in their own space, in degrees.

    Attributes:
        resultant: Class -> R-bar in [0, 1], the length of the mean embedding: 1 = one point,
            0 = spread evenly.
        between_means: Angle between the two class means, degrees; nan if there are not two
            classes, or a mean is zero.
        alignment: Mean squared distance of pairs of one class; 0 = each class is a point.
        uniformity: log of the mean of exp(-2 squared distance) over all pairs; lower = more even.
        edges: (n_bins + 1,) bin edges, degrees, 0 to 180.
        within: (n_bins,) density of angles between members of one class, per degree.
        between: (n_bins,) density of angles between members of two classes, per degree.
        n: Class -> number of embeddings used.
    """

    resultant: dict[int, float]
    between_means: float
    alignment: float
    uniformity: float
    edges: np.ndarray
    within: np.ndarray
    between: np.ndarray
    n: dict[int, int]


def check_embeddings(embeddings: np.ndarray, n_min: int = 2, tolerance: float = 1e-3) -> np.ndarray:
    """Check that rows are finite unit vectors.

    Args:
        embeddings: (N, D) float.
        n_min: Smallest number of rows that makes sense.
        tolerance: Largest allowed deviation of a length from 1.

    Returns:
        (N, D) float64.

    Raises:
        ValueError: Names the first bad row and how to fix it.
    """
    z = np.asarray(embeddings, dtype=np.float64)
    if z.ndim != 2:
        raise ValueError(f"embeddings have shape {z.shape}; expected (N, D), one row per crop")
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{bad.size} embeddings are not finite, first row {bad[0]}; drop or fix them"
        )
    if len(z) < n_min:
        raise ValueError(f"{len(z)} embeddings; expected at least {n_min}: score more crops")
    off = np.abs(np.linalg.norm(z, axis=1) - 1)
    if off.max() > tolerance:
        raise ValueError(
            f"row {off.argmax()} has length {np.linalg.norm(z[off.argmax()]):.4g}, not 1; pass "
            "output.embeddings, or features / np.linalg.norm(features, axis=1, keepdims=True)"
        )
    return z


def to_xyz(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Turn polar angles into points of the unit sphere.

    Args:
        theta: (N,) angle from the north pole, radian; any real number, wraps.
        phi: (N,) azimuth, radian; any real number, wraps.

    Returns:
        (N, 3) float32 unit vectors.
    """
    theta, phi = np.asarray(theta, float), np.asarray(phi, float)
    parts = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    return np.stack(parts, axis=1).astype(np.float32)


def sphere_map(
    embeddings: np.ndarray,
    seed: int = 0,
    n_neighbors: int = 15,
    metric: str = "cosine",
    min_dist: float = 0.1,
    n_epochs: int | None = None,
) -> np.ndarray:
    """Map embeddings onto the ordinary sphere with UMAP, output metric haversine.

    One thread, so that the seed fixes the result on one machine. Compare distances between runs,
    never coordinates: the sphere may be turned or mirrored. The first call compiles for about a
    minute on two slow cores.

    Args:
        embeddings: (N, D) unit vectors.
        seed: Seed of UMAP.
        n_neighbors: Size of the neighbourhoods that are kept.
        metric: Distance in the original space.
        min_dist: How close points of a neighbourhood may come.
        n_epochs: Optimisation passes; None leaves it to UMAP.

    Returns:
        (N, 3) float32 unit vectors.

    Raises:
        ValueError: If rows are not finite or not unit vectors, or too few for `n_neighbors`.
        ImportError: If umap-learn is missing.

    Source: McInnes, Healy and Melville, arXiv:1802.03426; umap-learn's haversine output takes its
    first coordinate as the angle from the pole and does not wrap it.
    """
    z = check_embeddings(embeddings, n_min=max(n_neighbors + 1, 10))
    try:
        import umap
    except ImportError as error:
        raise ImportError("sphere_map needs umap-learn: pip install umap-learn") from error
    reducer = umap.UMAP(
        n_components=2,
        n_neighbors=n_neighbors,
        metric=metric,
        output_metric="haversine",
        min_dist=min_dist,
        n_epochs=n_epochs,
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # Says that a seed means one thread; that is what we ask for.
        warnings.filterwarnings("ignore", message="n_jobs value")
        angles = np.asarray(reducer.fit_transform(z.astype(np.float32)), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(angles).all(axis=1))
    if bad.size:
        raise ValueError(
            f"UMAP left {bad.size} points without a place, first row {bad[0]}: rows without "
            "neighbours; raise n_neighbors or drop duplicates"
        )
    return to_xyz(angles[:, 0], angles[:, 1])


def trustworthiness(high: np.ndarray, low: np.ndarray, n_neighbors: int = 10) -> float:
    """Say how far the neighbours on the map are neighbours in the original space.

    Args:
        high: (N, D) unit vectors; neighbours by angle.
        low: (N, 3) unit vectors of the map; neighbours by geodesic distance.
        n_neighbors: Size of the neighbourhoods, below N / 2.

    Returns:
        In [0, 1]; 1 = no false neighbour, about 0.5 for a random map.

    Raises:
        ValueError: If rows are bad, counts differ, or `n_neighbors` is too large.

    Source: Venna and Kaski, ICANN 2001; computed by scikit-learn. On unit vectors the order by
    chord, by cosine and by geodesic is the same, so its Euclidean ranks are geodesic ranks.
    """
    from sklearn.manifold import trustworthiness as ranks

    high, low = check_embeddings(high, n_min=4), check_embeddings(low, n_min=4)
    if len(high) != len(low) or not 1 <= n_neighbors < len(high) / 2:
        raise ValueError(
            f"{len(high)} embeddings, {len(low)} map points, n_neighbors {n_neighbors}; expected "
            "equal counts and 1 <= n_neighbors < N / 2"
        )
    return float(ranks(high, low, n_neighbors=n_neighbors, metric="euclidean"))


def geodesic(points: np.ndarray) -> np.ndarray:
    """Return all angles between unit vectors, (N, N) radian; compare maps by these."""
    from scipy.spatial.distance import cdist

    z = check_embeddings(points, n_min=1)
    # atan2 of chord lengths keeps small and near-opposite angles exact, unlike arccos.
    return 2 * np.arctan2(cdist(z, z), cdist(z, -z))


def angle_statistics(
    embeddings: np.ndarray, labels: np.ndarray, n_bins: int = 36, seed: int = 0
) -> AngleStatistics:
    """Measure how classes lie on the unit sphere of the original space.

    Args:
        embeddings: (N, D) unit vectors.
        labels: (N,) class of each row.
        n_bins: Bins of the angle histograms.
        seed: Chooses the rows if there are more than 2,000.

    Returns:
        AngleStatistics.

    Raises:
        ValueError: If rows are bad, or a class has fewer than two members.

    Source: R-bar: Mardia and Jupp, Directional Statistics, 2000, chapter 9; alignment and
    uniformity: Wang and Isola, arXiv:2005.10242, in the form that GenD uses (arXiv:2508.06248).
    """
    z, y = check_embeddings(embeddings), np.asarray(labels)
    if y.shape != (len(z),):
        raise ValueError(f"{len(z)} embeddings and labels of shape {y.shape}; expected ({len(z)},)")
    if len(z) > _MAX_PAIRS_FROM:
        kept = np.sort(np.random.default_rng(seed).permutation(len(z))[:_MAX_PAIRS_FROM])
        z, y = z[kept], y[kept]
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} has {counts.min()} embedding; expected at least 2"
        )
    means = [z[y == c].mean(axis=0) for c in classes]
    cosine = np.clip(z @ z.T, -1, 1)[np.triu_indices(len(z), k=1)]
    same = (y[:, None] == y[None])[np.triu_indices(len(z), k=1)]
    squared = 2 - 2 * cosine
    degrees = np.degrees(np.arccos(cosine))
    edges = np.linspace(0, 180, n_bins + 1)

    def density(values: np.ndarray) -> np.ndarray:
        if len(values) == 0:
            return np.zeros(n_bins)
        return np.histogram(values, bins=edges, density=True)[0]

    return AngleStatistics(
        resultant={int(c): float(np.linalg.norm(m)) for c, m in zip(classes, means, strict=True)},
        between_means=_angle(means[0], means[1]) if len(classes) == 2 else float("nan"),
        alignment=float(squared[same].mean()),
        uniformity=float(np.log(max(np.exp(-2 * squared).mean(), 1e-6))),
        edges=edges,
        within=density(degrees[same]),
        between=density(degrees[~same]),
        n={int(c): int(k) for c, k in zip(classes, counts, strict=True)},
    )


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) < 1e-12:
        return float("nan")
    a, b = a / lengths[0], b / lengths[1]
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))))


def spherical_pca(embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """Look at the embeddings from the best three directions: linear, no seed, no tuning.

    The three leading directions of the uncentred second moment are kept, because the centre of
    the sphere, not the mean of the data, is the origin here. Then each row is scaled to length 1.

    Args:
        embeddings: (N, D) unit vectors, D >= 3.

    Returns:
        (N, 3) float32 unit vectors, and the share of the squared length that the three
        directions hold (1 = nothing lost).

    Raises:
        ValueError: If rows are bad, D < 3, or a row lies outside the three directions.

    Source: own.
    """
    z = check_embeddings(embeddings, n_min=3)
    if z.shape[1] < 3:
        raise ValueError(f"embeddings have {z.shape[1]} dimensions; a sphere needs at least 3")
    values, vectors = np.linalg.eigh(z.T @ z)
    axes = vectors[:, ::-1][:, :3]
    # A direction has no sign: make the largest coordinate positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(3)])
    points = z @ axes
    lengths = np.linalg.norm(points, axis=1)
    if lengths.min() < 1e-6:
        raise ValueError(
            f"row {lengths.argmin()} has no part in the three leading directions; use sphere_map"
        )
    share = float(np.clip(values[::-1][:3].sum() / values.sum(), 0, 1))
    return (points / lengths[:, None]).astype(np.float32), share
