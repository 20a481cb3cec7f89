"""Sphere statistics against embed, and what is and is not moved."""

import numpy as np
import pytest
import torch
from tiny import tiny_model

from gendkit import adapters, backbones, embed, movement


def cloud(n=40, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, 6)) + np.array([1.0, 0, 0, 0, 0, 0])
    return z / np.linalg.norm(z, axis=1, keepdims=True), np.arange(n) % 2


def test_numbers_against_the_other_implementation_and_against_repeated_rows():
    z, y = cloud()
    found = movement.sphere_numbers(z @ z.T, y, np.ones((1, 40)))[0]
    s = embed.angle_statistics(z, y)
    expected = [s.resultant[0], s.resultant[1], s.between_means, s.alignment, s.uniformity]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # leaving rows out by weight is leaving them out
    kept = np.arange(40) >= 8
    left = movement.sphere_numbers(z @ z.T, y, kept[None].astype(float))[0]
    own = movement.sphere_numbers(z[kept] @ z[kept].T, y[kept], np.ones((1, 32)))[0]
    np.testing.assert_allclose(left, own, atol=1e-12)


def test_jackknife_against_a_loop():
    from scipy.stats import t

    z, y = cloud()
    people = np.arange(40) // 4
    table = movement.compare_spheres({"a": z, "b": -z}, y, people)
    assert set(table.embeddings) == {"a", "b", "difference"}
    row = table[(table.measure == "uniformity") & (table.embeddings == "a")].iloc[0]
    without = [embed.angle_statistics(z[people != p], y[people != p]).uniformity for p in range(10)]
    error = np.sqrt(9 / 10 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert row.high - row.value == pytest.approx(t.ppf(0.975, 9) * error, rel=1e-9)
    same = table[table.embeddings == "difference"]
    np.testing.assert_allclose(same.value, 0, atol=1e-9)  # a mirrored cloud has the same shape


def test_angles_moved():
    a = np.array([[1.0, 0], [0, 2], [3, 0]])
    b = np.array([[1.0, 1], [0, 5], [-1, 0]])
    np.testing.assert_allclose(movement.angles_moved(a, b), [45, 0, 180], atol=1e-6)


def changed_encoder():
    before = tiny_model(tune="").encoder
    model = tiny_model(tune="layernorm")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "ln_tuning_layers" in name and name.endswith("weight"):
                value *= 1.1
    return before, adapters.merge(model).encoder


def test_changes_are_those_that_were_made():
    before, after = changed_encoder()
    changes = movement.layernorm_changes(before, after)
    assert len(changes) == len(backbones.layernorm_modules(before)) == 4
    np.testing.assert_allclose(changes.gain, 0.1, atol=1e-6)
    np.testing.assert_allclose(changes[["bias", "spread"]], 0, atol=1e-6)
    size = movement.change_size(before, after)
    assert size["n_changed"] == 4 * 16 and size["n"] == sum(p.numel() for p in before.parameters())
    assert size["length"] == pytest.approx(0.1 * (4 * 16) ** 0.5, rel=1e-5)


def test_transplant_takes_what_was_named_and_leaves_both_alone():
    before, after = changed_encoder()
    names = list(backbones.layernorm_modules(before))
    start = {name: value.clone() for name, value in before.named_parameters()}
    mixed = movement.transplant(before, after, names[:1])
    assert movement.change_size(before, mixed)["n_changed"] == 16
    assert movement.change_size(after, movement.transplant(before, after, names))["n_changed"] == 0
    assert all(torch.equal(value, start[name]) for name, value in before.named_parameters())


@pytest.mark.parametrize("where", ["layernorms", "weights", "all"])
def test_scatter_has_the_length_asked_for(where):
    encoder = tiny_model(tune="").encoder
    noisy = movement.scatter(encoder, 0.5, where, seed=2)
    assert movement.change_size(encoder, noisy)["length"] == pytest.approx(0.5, rel=1e-4)
    touched = (movement.layernorm_changes(encoder, noisy).gain > 0).all()
    assert touched == (where != "weights")
    if where == "layernorms":
        assert movement.change_size(encoder, noisy)["n_changed"] <= 4 * 32


def test_bad_input():
    z, y = cloud()
    with pytest.raises(ValueError, match="three people"):
        movement.compare_spheres({"a": z}, y, np.arange(40) % 2)
    with pytest.raises(ValueError, match="equal numbers"):
        movement.compare_spheres({"a": z[:30]}, y, np.arange(40))
    with pytest.raises(ValueError, match="equal shapes"):
        movement.angles_moved(z, z[:3])
    encoder = tiny_model(tune="").encoder
    with pytest.raises(ValueError, match="no LayerNorm"):
        movement.transplant(encoder, encoder, ["x"])
    with pytest.raises(ValueError, match="where='here'"):
        movement.scatter(encoder, 1.0, "here")
