"""Free points: gradients against automatic differentiation, optima against closed forms."""

import numpy as np
import pytest
import torch

from gendkit import flow, losses, spheres


def test_values_and_slopes_against_automatic_differentiation():
    z = flow.random_points(9, 4, seed=3).astype(float)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1])
    head = np.random.default_rng(0).normal(size=(2, 5))
    values, slopes, head_slope = flow.losses_and_slopes(z, labels, head, t=1.5, scale=3.0)
    points = torch.tensor(z, requires_grad=True)
    weights = torch.tensor(head, requires_grad=True)
    y = torch.tensor(labels)
    logits = 3.0 * points @ weights[:, :-1].T + weights[:, -1]
    parts = {
        "cross_entropy": torch.nn.functional.cross_entropy(logits, y),
        "alignment": losses.AlignmentLoss()(points, y),
        "uniformity": losses.UniformityLoss(t=1.5)(points, y),
    }
    for name, part in parts.items():
        assert values[name] == pytest.approx(float(part.detach()), abs=1e-9)
        expected = torch.autograd.grad(part, points, retain_graph=True)[0].numpy()
        # the library normalises inside, so only the tangential parts agree
        np.testing.assert_allclose(
            spheres.tangent(slopes[name], z), spheres.tangent(expected, z), atol=1e-9
        )
    expected = torch.autograd.grad(parts["cross_entropy"], weights)[0].numpy()
    np.testing.assert_allclose(head_slope, expected, atol=1e-12)


@pytest.mark.parametrize(("n", "dim"), [(5, 2), (4, 3)])
def test_points_find_the_exact_optimum(n, dim):
    start = flow.random_points(n, dim, seed=1)
    run = flow.flow(start, np.zeros(n, int), uniformity=1.0, steps=2500, rate=0.02)
    exact = spheres.polygon_uniformity(n) if dim == 2 else spheres.simplex_uniformity(n)
    assert run.history.uniformity.iloc[-1] == pytest.approx(exact, abs=1e-6)
    assert run.frames.shape == (20, n, dim) and run.frames.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(run.frames, axis=2), 1, atol=1e-6)


@pytest.mark.parametrize(("relative", "collapsed"), [(0.8, False), (1.2, True)])
def test_collapse_where_theory_says(relative, collapsed):
    poles = np.repeat([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], 10, axis=0)
    labels = np.repeat([0, 1], 10)
    weight = relative * spheres.critical_ratio(10, 10)
    run = flow.flow(poles, labels, alignment=weight, uniformity=1.0, steps=500, rate=0.15)
    assert (run.history.alignment.iloc[-1] < 1e-3) == collapsed


def test_alignment_alone_collapses_and_steps_are_those_of_the_frames():
    labels = np.arange(12) % 2
    run = flow.flow(flow.random_points(12), labels, alignment=1.0, steps=300, n_frames=5)
    assert run.history.alignment.iloc[-1] < 1e-3 < run.history.alignment.iloc[0]
    assert run.history.step.tolist() == run.steps.tolist() == [0, 19, 75, 169, 300]


def test_projection_learns_a_direction_that_is_there():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    features = rng.normal(size=(80, 12))
    features[:, 4] += 4 * labels
    run = flow.project(features[:40], labels[:40], features[40:], steps=120)
    assert run.frames.shape[1:] == (40, 3)
    np.testing.assert_allclose(np.linalg.norm(run.frames, axis=2), 1, atol=1e-5)
    means = [run.frames[-1][labels[40:] == c].mean(axis=0) for c in (0, 1)]
    assert np.dot(*means) < 0 and run.history.cross_entropy.iloc[-1] < 0.3
    again = flow.project(features[:40], labels[:40], features[40:], steps=120)
    np.testing.assert_array_equal(run.frames, again.frames)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flow.flow(np.eye(3), np.array([0, 1])), "expected \\(N, D\\) and \\(N,\\)"),
        (lambda: flow.flow(np.eye(3), np.array([0, 1, 2])), "each 0 or 1"),
        (lambda: flow.flow(np.eye(3), np.zeros(3, int), alignment=-1.0), "weights >= 0"),
        (lambda: flow.project(np.eye(3), np.zeros(3), np.ones((2, 4))), "\\(M, D\\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
