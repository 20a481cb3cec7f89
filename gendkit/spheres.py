"""The unit sphere in formulas: exact optima of alignment and uniformity, and von Mises-Fisher.

Uniformity here is the quantity of `losses.UniformityLoss`: log of the mean of exp(-t * squared distance)
over all pairs i < j. Everything is computed in float64 by closed forms, so that a measured value can be
held against a known one.
"""

from dataclasses import dataclass

import numpy as np

_LARGEST_R = 1 - 1e-12  # a resultant nearer to 1 has no concentration that float64 can tell


def _check(n: int = 2, t: float = 1.0, dim: int = 2) -> None:
    if n < 2 or not t > 0 or dim < 2:
        raise ValueError(
            f"got n={n}, t={t}, dim={dim}, expected n >= 2 points, t > 0 and dim >= 2 coordinates"
        )


def two_point_uniformity(n_first: int, n_second: int, degrees: float = 180.0, t: float = 2.0):
    """Uniformity of points that sit in two places: two classes that have each become one point.

    Args:
        n_first: Points in the first place, >= 1.
        n_second: Points in the second, >= 1.
        degrees: Angle between the two places; 180 is antipodal.
        t: Sharpness of the potential, > 0.

    Returns:
        The value; -0.709 for 32 + 32 antipodal points at t = 2, log 1/2 = -0.693 for very many.

    Raises:
        ValueError: If a count or t is too small.

    Source: own; a pair shares a place with probability p, and log(p + (1 - p) exp(-t d^2)) is left.
    """
    _check(t=t)
    if n_first < 1 or n_second < 1:
        raise ValueError(f"got {n_first} and {n_second} points, expected at least 1 in each place")
    n = n_first + n_second
    same = (n_first * (n_first - 1) + n_second * (n_second - 1)) / (n * (n - 1))
    squared = 2 - 2 * np.cos(np.radians(degrees))
    return float(np.log(same + (1 - same) * np.exp(-t * squared)))


def polygon(n: int) -> np.ndarray:
    """Place n points on the circle at equal angles.

    Args:
        n: Number of points, >= 2.

    Returns:
        (n, 2) float64 unit vectors.
    """
    _check(n)
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def polygon_uniformity(n: int, t: float = 2.0) -> float:
    """Uniformity of the regular polygon, the best that n points on the circle can do.

    Args:
        n: Number of points, >= 2.
        t: Sharpness of the potential, > 0.

    Returns:
        The value.

    Raises:
        ValueError: If n or t is too small.

    Source: Cohn and Kumar 2007 (arXiv math/0607446): regular polygons, simplices, the octahedron and
    the icosahedron are best for every potential of this kind.
    """
    _check(n, t)
    step = 2 * np.pi * np.arange(1, n) / n
    return float(np.log(np.mean(np.exp(-t * (2 - 2 * np.cos(step))))))


def platonic_uniformity(n: int, t: float = 2.0) -> float:
    """Uniformity of the octahedron (6) or the icosahedron (12), the best of so many points in three dimensions.

    Args:
        n: 6 or 12.
        t: Sharpness of the potential, > 0.

    Returns:
        The value.

    Raises:
        ValueError: For another n, or t too small.

    Source: own, from the cosines between one corner and the others; that they are best: Cohn and Kumar 2007.
    """
    _check(t=t)
    corners = {6: [0.0] * 4 + [-1.0], 12: [5**-0.5] * 5 + [-(5**-0.5)] * 5 + [-1.0]}
    if n not in corners:
        raise ValueError(f"got n={n}, expected 6 (octahedron) or 12 (icosahedron)")
    return float(np.log(np.mean(np.exp(-t * (2 - 2 * np.array(corners[n]))))))


def simplex(n: int) -> np.ndarray:
    """Place n points at equal distances on a sphere: the regular simplex.

    Args:
        n: Number of points, >= 2.

    Returns:
        (n, n) float64 unit vectors, in a subspace of n - 1 dimensions.
    """
    _check(n)
    corners = np.eye(n) - 1 / n
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


def simplex_uniformity(n: int, t: float = 2.0) -> float:
    """Uniformity of the regular simplex: the best of n points in n - 1 or more dimensions.

    Args:
        n: Number of points, >= 2.
        t: Sharpness of the potential, > 0.

    Returns:
        -2 t n / (n - 1).

    Raises:
        ValueError: If n or t is too small.

    Source: own, two lines. The squared distances of all pairs sum to ``n^2 - |sum z|^2 <= n^2``, so their mean is
    at most 2 n / (n - 1); exp is convex, so the mean of exp(-t d^2) is at least exp of -t times that.
    """
    _check(n, t)
    return -2 * t * n / (n - 1)


def uniform_uniformity(dim: int, t: float = 2.0) -> float:
    """Uniformity of infinitely many points spread evenly over the sphere.

    Args:
        dim: Coordinates of a point: 2 for the circle, 3 for the ordinary sphere.
        t: Sharpness of the potential, > 0.

    Returns:
        -2 t + log 0F1(; dim/2; t^2), which tends to -2 t as dim grows.

    Raises:
        ValueError: If dim or t is too small.

    Source: own; ``|x - y|^2 = 2 - 2 cos``, and the mean of exp(k cos) over the sphere is the inverse of the
    von Mises-Fisher constant, 0F1(; dim/2; k^2/4), with k = 2 t (Mardia and Jupp 2000, section 9.3.2).
    """
    from scipy.special import hyp0f1

    _check(t=t, dim=dim)
    return float(-2 * t + np.log(hyp0f1(dim / 2, t * t)))


def uniformity_bound(n: int, dim: int, t: float = 2.0) -> float:
    """A value that n points on the sphere can never go below.

    Args:
        n: Number of points, >= 2.
        dim: Coordinates of a point, >= 2.
        t: Sharpness of the potential, > 0.

    Returns:
        The larger of two bounds: that of the simplex, reached if n <= dim + 1, and that of the uniform
        distribution, near which many points come.

    Raises:
        ValueError: If n, dim or t is too small.

    Source: own. The potential is a sum of Legendre-type polynomials with positive weights (Schoenberg 1942), so
    its mean over all ordered pairs, a point with itself included, is at least that of the uniform
    distribution; the n equal pairs are then taken off.
    """
    _check(n, t, dim)
    rest = (n * np.exp(uniform_uniformity(dim, t)) - 1) / (n - 1)
    return max(simplex_uniformity(n, t), float(np.log(rest)) if rest > 0 else -np.inf)


def critical_ratio(n_first: int, n_second: int, t: float = 2.0) -> float:
    """Weight of alignment over weight of uniformity above which two antipodal classes stay points.

    Args:
        n_first: Points of the first class, >= 2.
        n_second: Points of the second class, >= 2.
        t: Sharpness of the potential, > 0.

    Returns:
        About t. Below it, a class that is one point gains by spreading.

    Raises:
        ValueError: If a class has fewer than two points.

    Source: own. Spread one class of m points by a small, centred tangential variance v. Its pairs' squared
    distances grow from 0 to m^2 v in sum, and those to the other class shrink by v each. Alignment gains
    m^2 v / (same pairs); the mean potential loses t m^2 v and gains t exp(-4 t) m (n - m) v, over all pairs.
    """
    _check(t=t)
    if min(n_first, n_second) < 2:
        raise ValueError(f"got classes of {n_first} and {n_second}; expected at least 2 in each")
    n = n_first + n_second
    same = (n_first * (n_first - 1) + n_second * (n_second - 1)) / (n * (n - 1))
    far, uneven = np.exp(-4 * t), min(n_first, n_second) / max(n_first, n_second)
    return float(t * same * (1 - far * uneven) / (same + (1 - same) * far))


def tangent(vectors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Take from vectors the part that leaves the sphere.

    Args:
        vectors: (N, D), such as gradients.
        points: (N, D) unit vectors where they act.

    Returns:
        (N, D), each row at a right angle to its point.
    """
    vectors, points = np.asarray(vectors, float), np.asarray(points, float)
    return vectors - (vectors * points).sum(axis=-1, keepdims=True) * points


def log_bessel(order: float, x: np.ndarray | float) -> np.ndarray:
    """Logarithm of the modified Bessel function I, also where I itself leaves float64.

    Args:
        order: >= 0.
        x: > 0.

    Returns:
        log I_order(x).

    Source: scipy's scaled I where it is a normal number, else the power series at x = 0, whose first term
    is (x/2)^order / order!.
    """
    from scipy.special import gammaln, ive

    x = np.asarray(x, float)
    scaled = ive(order, x)
    usable = scaled > 1e-290
    small = np.where(usable, 1.0, x)  # the series is for these only
    k = np.arange(1, 400)
    ratios = (small[..., None] / 2) ** 2 / (k * (k + order))
    series = order * np.log(small / 2) - gammaln(order + 1)
    series = series + np.log1p(np.cumprod(ratios, axis=-1).sum(axis=-1))
    return np.where(usable, np.log(np.where(usable, scaled, 1.0)) + x, series)


def mean_resultant(kappa: np.ndarray | float, dim: int) -> np.ndarray | float:
    """Length of the mean of a von Mises-Fisher distribution, A(kappa) = I_{d/2} / I_{d/2-1}.

    Args:
        kappa: Concentration, > 0.
        dim: Coordinates, >= 2.

    Returns:
        In (0, 1), rising with kappa; about kappa / dim where it is small.

    Source: Mardia and Jupp 2000, section 9.3.2.
    """
    return np.exp(log_bessel(dim / 2, kappa) - log_bessel(dim / 2 - 1, kappa))


def concentration(resultant: float, dim: int) -> float:
    """Concentration whose mean has a given length: the maximum-likelihood estimate.

    Args:
        resultant: R-bar of the sample, in (0, 1).
        dim: Coordinates, >= 2.

    Returns:
        kappa with A(kappa) = R-bar. Near R (d - R^2) / (1 - R^2), a simple approximation.

    Raises:
        ValueError: If R-bar is not inside (0, 1).

    Source: Banerjee and others 2005, Journal of Machine Learning Research 6 (approximation); the root lies between
    R (d - 2) / (1 - R^2) and R d / (1 - R^2) (Sra 2012). scipy.stats.vonmises_fisher.fit gives no usable value
    from about a hundred dimensions on (1.17), hence this one.
    """
    from scipy.optimize import brentq

    if dim < 2 or not 0 < resultant < _LARGEST_R:
        raise ValueError(
            f"got R-bar {resultant} in {dim} dimensions, expected 0 < R-bar < 1 and dim >= 2; equal rows have "
            "no concentration"
        )
    low = max(resultant * (dim - 2), 1e-9) / (1 - resultant**2)
    high = resultant * dim / (1 - resultant**2)
    return float(
        brentq(lambda k: mean_resultant(k, dim) - resultant, low * 0.999, high * 1.001, xtol=1e-10)
    )


def log_constant(kappa: float, dim: int) -> float:
    """Logarithm of the constant in front of exp(kappa * mean . z).

    Args:
        kappa: Concentration, > 0.
        dim: Coordinates, >= 2.

    Returns:
        log C(kappa) = (d/2 - 1) log kappa - d/2 log 2 pi - log I_{d/2-1}(kappa).

    Source: Mardia and Jupp 2000, section 9.3.2.
    """
    half = dim / 2
    log_i = log_bessel(half - 1, kappa)
    return float((half - 1) * np.log(kappa) - half * np.log(2 * np.pi) - log_i)


@dataclass(frozen=True)
class VonMisesFisher:
    """The bell of the sphere: density C(kappa) exp(kappa * mean . z).

    Attributes:
        mean: (D,) unit vector, the direction of the peak.
        kappa: Concentration: 0 is uniform, large is a small cap.
        resultant: R-bar of the sample that it was fitted to.
    """

    mean: np.ndarray
    kappa: float
    resultant: float

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Evaluate at (N, D) unit vectors; (N,) natural logarithms, per unit of area."""
        points = np.asarray(points, float)
        return log_constant(self.kappa, len(self.mean)) + self.kappa * (points @ self.mean)


def fit_von_mises_fisher(points: np.ndarray) -> VonMisesFisher:
    """Fit by maximum likelihood: the direction of the mean, and the concentration of its length.

    Args:
        points: (N, D) unit vectors, N >= 2.

    Returns:
        The distribution.

    Raises:
        ValueError: If rows are not finite unit vectors, all are equal, or their mean is zero.

    Source: Mardia and Jupp 2000, section 10.3.1.
    """
    points = np.asarray(points, float)
    lengths = np.linalg.norm(points, axis=-1)
    if points.ndim != 2 or len(points) < 2 or not np.allclose(lengths, 1, atol=1e-3):
        raise ValueError(
            f"got points {points.shape} with lengths up to {lengths.max():.3g}, expected (N, D) "
            "unit vectors, N >= 2; divide each row by its length"
        )
    mean = points.mean(axis=0)
    resultant = float(np.linalg.norm(mean))
    if resultant < 1e-12:
        raise ValueError("the points have mean zero, so no direction; nothing can be fitted")
    return VonMisesFisher(mean / resultant, concentration(resultant, points.shape[1]), resultant)


def rotation_by_gain(features: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Angle by which a gain per channel turns a feature, by a formula.

    Args:
        features: (N, D), no row zero.
        gain: (D,).

    Returns:
        (N,) degrees, in [0, 180]: arctan of the coefficient of variation of the gains, each channel weighted
        with its share ``f_i^2 / |f|^2`` of the feature's energy. Equal gains turn nothing.

    Source: own: cos = E g / sqrt(E g^2), and tan^2 = 1 / cos^2 - 1 = Var g / (E g)^2.
    """
    features, gain = np.asarray(features, float), np.asarray(gain, float)
    energy = features**2 / (features**2).sum(axis=1, keepdims=True)
    mean = energy @ gain
    spread = np.sqrt(np.maximum(energy @ gain**2 - mean**2, 0))
    return np.degrees(np.arctan2(spread, mean))
