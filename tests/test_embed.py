"""Maps onto the sphere, and angles against closed forms and slow loops."""

import itertools
import sys

import numpy as np
import pytest

from gendkit import embed


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def blobs(n=40, dim=16, n_blobs=3, spread=0.15, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(n_blobs, dim)))
    labels = np.repeat(np.arange(n_blobs), n)
    return unit(centres[labels] + spread * rng.normal(size=(n * n_blobs, dim))), labels


def test_umap_separates_blobs_on_the_sphere():
    z, labels = blobs()
    xyz = embed.sphere_map(z, seed=0, n_epochs=200)
    assert xyz.shape == (120, 3) and xyz.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), 1, atol=1e-6)
    trust = embed.trustworthiness(z, xyz)
    shuffled = embed.trustworthiness(z, np.random.default_rng(0).permutation(xyz))
    # 0.925 to 0.935 over seeds 0 to 4, shuffled 0.50 to 0.53; 0.88 leaves room for other machines
    assert trust > 0.88 and shuffled < 0.65
    angles = embed.geodesic(xyz)
    same = labels[:, None] == labels[None]
    assert np.median(angles[same]) < 0.5 * np.median(angles[~same])
    again = embed.sphere_map(z, seed=0, n_epochs=200)
    # compare distances, not coordinates; 0.02 rad leaves room for other machines' rounding
    np.testing.assert_allclose(embed.geodesic(again), angles, atol=0.02)


def test_umap_distances_are_those_of_the_points_we_draw():
    """umap-learn's haversine takes its first coordinate from the pole, any real number."""
    from umap.distances import haversine_grad

    rng = np.random.default_rng(0)
    raw = rng.uniform(-300, 300, (30, 2))
    angles = embed.geodesic(embed.to_xyz(raw[:, 0], raw[:, 1]))
    for i, j in itertools.combinations(range(30), 2):
        # to_xyz gives float32, about 1e-7 per coordinate
        assert haversine_grad(raw[i], raw[j])[0] == pytest.approx(angles[i, j], abs=2e-6)


def test_geodesic_against_known_angles():
    points = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [np.sin(1e-6), 0, np.cos(1e-6)]], float)
    angles = embed.geodesic(points)
    assert angles[0, 1] == pytest.approx(np.pi) and angles[0, 2] == pytest.approx(np.pi / 2)
    assert angles[0, 3] == pytest.approx(1e-6, rel=1e-6) and np.all(np.diag(angles) == 0)


def slow_trustworthiness(high, low, k):
    n, penalty = len(high), 0
    by_angle = np.arccos(np.clip(high @ high.T, -1, 1))
    on_map = np.arccos(np.clip(low @ low.T, -1, 1))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        ranks = {j: r for r, j in enumerate(sorted(others, key=lambda j: by_angle[i, j]), start=1)}
        for j in sorted(others, key=lambda j: on_map[i, j])[:k]:
            penalty += max(0, ranks[j] - k)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty


def test_trustworthiness_against_a_slow_loop():
    rng = np.random.default_rng(3)
    high, low = unit(rng.normal(size=(25, 8))), unit(rng.normal(size=(25, 3)))
    for k in (1, 5, 10):
        expected = slow_trustworthiness(high, low, k)
        assert embed.trustworthiness(high, low, k) == pytest.approx(expected, abs=1e-12)
    assert embed.trustworthiness(low, low, 5) == 1


def test_angle_statistics_against_slow_loops():
    z, labels = blobs(n=12, n_blobs=2, spread=0.4)
    found = embed.angle_statistics(z, labels, n_bins=18)
    near, all_pairs, within, between = [], [], [], []
    for i, j in itertools.combinations(range(len(z)), 2):
        squared = float(((z[i] - z[j]) ** 2).sum())
        angle = np.degrees(np.arccos(z[i] @ z[j]))
        all_pairs.append(np.exp(-2 * squared))
        (within if labels[i] == labels[j] else between).append(angle)
        if labels[i] == labels[j]:
            near.append(squared)
    assert found.alignment == pytest.approx(np.mean(near), abs=1e-12)
    assert found.uniformity == pytest.approx(np.log(np.mean(all_pairs)), abs=1e-12)
    bins = np.linspace(0, 180, 19)
    np.testing.assert_allclose(found.within, np.histogram(within, bins, density=True)[0])
    np.testing.assert_allclose(found.between, np.histogram(between, bins, density=True)[0])
    for c in (0, 1):
        assert found.resultant[c] == pytest.approx(np.linalg.norm(z[labels == c].mean(axis=0)))
    means = [unit(z[labels == c].mean(axis=0)) for c in (0, 1)]
    assert found.between_means == pytest.approx(np.degrees(np.arccos(means[0] @ means[1])))
    assert found.n == {0: 12, 1: 12}


def test_angle_statistics_closed_forms():
    # two opposite points: classes are points, 180 degrees apart
    z = np.repeat([[0.0, 0, 1], [0, 0, -1]], 50, axis=0)
    found = embed.angle_statistics(z, np.repeat([0, 1], 50))
    assert found.resultant == {0: 1, 1: 1} and found.between_means == pytest.approx(180)
    assert found.alignment == pytest.approx(0, abs=1e-12)
    # pairs i < j: 2,450 at distance 0 and 2,500 at squared distance 4
    assert found.uniformity == pytest.approx(np.log((2450 + 2500 * np.exp(-8)) / 4950))
    # high-dimensional uniform: every squared distance is near 2, so uniformity is near -4
    z = unit(np.random.default_rng(0).normal(size=(600, 512)))
    found = embed.angle_statistics(z, np.repeat([0, 1], 300))
    assert found.uniformity == pytest.approx(-4, abs=0.05) and found.resultant[0] < 0.08
    # a mean of zero has no direction
    z = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert np.isnan(embed.angle_statistics(z, [0, 0, 1, 1]).between_means)


def test_many_rows_are_sampled_with_a_seed():
    z, labels = blobs(n=1500, n_blobs=2)
    a, b, c = (embed.angle_statistics(z, labels, seed=s) for s in (0, 0, 1))
    assert sum(a.n.values()) == 2000 and a.alignment == b.alignment != c.alignment


def test_spherical_pca_keeps_what_lies_in_three_dimensions():
    rng = np.random.default_rng(0)
    low = unit(rng.normal(size=(50, 3)) * [3, 2, 1])
    basis = np.linalg.qr(rng.normal(size=(20, 3)))[0]
    points, share = embed.spherical_pca(low @ basis.T)
    assert share == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(embed.geodesic(points), embed.geodesic(low), atol=1e-5)
    again, _ = embed.spherical_pca((low @ basis.T)[::-1])
    np.testing.assert_allclose(again[::-1], points, atol=1e-5)
    _, share = embed.spherical_pca(unit(rng.normal(size=(2000, 30))))
    assert 3 / 30 < share < 0.16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z * 2, r"row \d+ has length 2, not 1; pass output.embeddings"),
        (lambda z: np.where(np.arange(len(z))[:, None] == 7, np.nan, z), "first row 7"),
        (lambda z: z[:5], "5 embeddings; expected at least 16"),
        (lambda z: z[0], r"expected \(N, D\)"),
    ],
)
def test_bad_embeddings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        embed.sphere_map(change(blobs()[0]))


def test_other_errors(monkeypatch):
    z, labels = blobs(n=10)
    with pytest.raises(ValueError, match="n_neighbors < N / 2"):
        embed.trustworthiness(z, z[:, :3] / np.linalg.norm(z[:, :3], axis=1)[:, None], 15)
    with pytest.raises(ValueError, match="class 2 has 1 embedding"):
        embed.angle_statistics(z[:21], labels[:21])
    with pytest.raises(ValueError, match=r"expected \(30,\)"):
        embed.angle_statistics(z, labels[:-1])
    with pytest.raises(ValueError, match="at least 3"):
        embed.spherical_pca(np.array([[1.0, 0]] * 5))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        embed.sphere_map(z)
