"""Exact values on the sphere against slow loops, known constants and samples."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import vonmises_fisher

from gendkit import spheres


def slow_uniformity(points, t=2.0):
    values = [
        np.exp(-t * ((points[i] - points[j]) ** 2).sum())
        for i in range(len(points))
        for j in range(i)
    ]
    return np.log(np.mean(values))


def test_two_places_against_a_loop_and_the_known_value():
    assert spheres.two_point_uniformity(32, 32) == pytest.approx(-0.7088, abs=1e-4)
    angle = np.radians(70)
    points = np.array([[1.0, 0.0]] * 3 + [[np.cos(angle), np.sin(angle)]] * 5)
    assert spheres.two_point_uniformity(3, 5, 70, 0.7) == pytest.approx(
        slow_uniformity(points, 0.7)
    )


@pytest.mark.parametrize("n", [2, 3, 7])
def test_polygon_and_simplex_against_loops(n):
    assert spheres.polygon_uniformity(n, 1.3) == pytest.approx(
        slow_uniformity(spheres.polygon(n), 1.3)
    )
    points = spheres.simplex(n)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    assert spheres.simplex_uniformity(n, 1.3) == pytest.approx(slow_uniformity(points, 1.3))


def test_octahedron_and_icosahedron_against_their_corners():
    octahedron = np.r_[np.eye(3), -np.eye(3)]
    assert spheres.platonic_uniformity(6) == pytest.approx(slow_uniformity(octahedron))
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)])
    corners = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    corners = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    assert spheres.platonic_uniformity(12, 0.8) == pytest.approx(slow_uniformity(corners, 0.8))


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_even_spread_against_an_integral_over_the_angle(dim):
    density = lambda a: np.sin(a) ** (dim - 2)  # noqa: E731
    potential = quad(lambda a: density(a) * np.exp(-2 * (2 - 2 * np.cos(a))), 0, np.pi)[0]
    expected = np.log(potential / quad(density, 0, np.pi)[0])
    assert spheres.uniform_uniformity(dim) == pytest.approx(expected, abs=1e-9)


def test_many_dimensions_tend_to_minus_2t():
    assert spheres.uniform_uniformity(100_000) == pytest.approx(-4, abs=1e-4)
    # -2t + 2 t^2 / D to first order
    assert spheres.uniform_uniformity(1000) == pytest.approx(-4 + 8 / 1000, abs=1e-4)


@pytest.mark.parametrize(("n", "dim"), [(4, 3), (6, 2), (12, 3), (40, 3)])
def test_nothing_goes_below_the_bound(n, dim):
    rng = np.random.default_rng(n)
    for _ in range(20):
        points = rng.normal(size=(n, dim))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        assert slow_uniformity(points) > spheres.uniformity_bound(n, dim)
    if dim == 2:
        gap = spheres.polygon_uniformity(n) - spheres.uniformity_bound(n, dim)
        assert 0 <= gap < 0.2


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_critical_ratio_against_small_spreads(t):
    """Finite differences: spread one class a little and see which loss moves more."""
    n, m, size = 12, 7, 1e-4
    angle = 2 * np.pi * np.arange(m) / m
    ring = np.c_[size * np.cos(angle), size * np.sin(angle), np.full(m, np.sqrt(1 - size**2))]
    points = np.r_[ring, np.repeat([[0.0, 0.0, -1.0]], n - m, axis=0)]
    collapsed = np.r_[np.repeat([[0.0, 0.0, 1.0]], m, axis=0), points[m:]]

    def alignment(z):
        pairs = [(i, j) for i in range(n) for j in range(i) if (i < m) == (j < m)]
        return np.mean([((z[i] - z[j]) ** 2).sum() for i, j in pairs])

    fall = slow_uniformity(collapsed, t) - slow_uniformity(points, t)
    rise = alignment(points) - alignment(collapsed)
    # the finite spread leaves terms of the order of its square
    assert fall / rise == pytest.approx(spheres.critical_ratio(m, n - m, t), rel=1e-4)


def test_tangent_is_at_right_angles():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 4))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert np.abs((spheres.tangent(rng.normal(size=(5, 4)), z) * z).sum(1)).max() < 1e-12


def test_three_dimensions_have_elementary_formulas():
    kappa = np.array([0.01, 1.0, 30.0])
    # Langevin's function and kappa / (4 pi sinh kappa)
    langevin = 1 / np.tanh(kappa) - 1 / kappa
    np.testing.assert_allclose(spheres.mean_resultant(kappa, 3), langevin, rtol=1e-9)
    assert spheres.log_constant(1.0, 3) == pytest.approx(np.log(1 / (4 * np.pi * np.sinh(1.0))))


@pytest.mark.parametrize("dim", [2, 3, 192, 1024])
@pytest.mark.parametrize("resultant", [0.01, 0.3, 0.94, 0.999])
def test_concentration_is_the_inverse_of_the_mean(dim, resultant):
    kappa = spheres.concentration(resultant, dim)
    assert spheres.mean_resultant(kappa, dim) == pytest.approx(resultant, abs=1e-9)


def test_log_bessel_where_the_function_underflows():
    """The recurrence I_{v-1} - I_{v+1} = 2 v / x I_v ties the series to itself."""
    order, x = 511.0, 5.0
    a, b, c = (float(spheres.log_bessel(order + k, x)) for k in (-1, 0, 1))
    assert np.exp(a - b) - np.exp(c - b) == pytest.approx(2 * order / x, rel=1e-10)
    assert spheres.log_bessel(2.0, 3.0) == pytest.approx(np.log(2.2452124409299512))


def test_fit_recovers_a_sample_where_scipy_gives_up():
    true = vonmises_fisher(np.eye(192)[3], 200.0, seed=1)
    fit = spheres.fit_von_mises_fisher(true.rvs(500))
    # 500 draws tell kappa to about 1 per cent
    assert fit.kappa == pytest.approx(200, rel=0.06) and fit.mean[3] > 0.95
    low = vonmises_fisher(np.eye(3)[0], 4.0)
    points = low.rvs(5, random_state=0)
    exact = spheres.VonMisesFisher(np.eye(3)[0], 4.0, 0.0).log_density(points)
    np.testing.assert_allclose(exact, low.logpdf(points), atol=1e-10)


def test_rotation_by_gain_against_the_angle_itself():
    rng = np.random.default_rng(0)
    f, gain = rng.normal(size=(8, 30)), 1 + 0.4 * rng.normal(size=30)
    cosine = (f * (f * gain)).sum(1) / np.linalg.norm(f, axis=1) / np.linalg.norm(f * gain, axis=1)
    np.testing.assert_allclose(
        spheres.rotation_by_gain(f, gain), np.degrees(np.arccos(cosine)), atol=1e-9
    )
    np.testing.assert_allclose(spheres.rotation_by_gain(f, np.full(30, 3.0)), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spheres.two_point_uniformity(0, 3), "at least 1 in each"),
        (lambda: spheres.polygon_uniformity(1), "n >= 2"),
        (lambda: spheres.platonic_uniformity(8), "6 \\(octahedron\\)"),
        (lambda: spheres.uniform_uniformity(1), "dim >= 2"),
        (lambda: spheres.uniform_uniformity(3, t=0), "t > 0"),
        (lambda: spheres.critical_ratio(1, 5), "at least 2 in each"),
        (lambda: spheres.concentration(1.0, 3), "R-bar < 1"),
        (lambda: spheres.fit_von_mises_fisher(np.ones((4, 3))), "unit vectors"),
        (lambda: spheres.fit_von_mises_fisher(np.array([[1.0, 0], [-1, 0]])), "no direction"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
