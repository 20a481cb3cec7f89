"""The encoder's recipe: crop geometry, targets against slow loops, and a run that resumes."""

import json
import math

import numpy as np
import pytest
import torch

from gendkit import backbones, faces
from gendkit.pretrain import encoder as train_encoder
from gendkit.pretrain import pretext


def landmarks(rng) -> np.ndarray:
    """68 points whose five main ones are the template, turned and scaled."""
    turn = rng.uniform(150, 190) * np.exp(1j * rng.normal(0, 0.1))
    five = turn * ((pretext.TEMPLATE - 0.5) @ [1, 1j]) + 128 + 128j + rng.normal(0, 5)
    points = rng.uniform(70, 190, (68, 2))
    five = np.stack([five.real, five.imag], axis=1)
    points[36:42], points[42:48] = five[0], five[1]
    points[[30, 48, 54]] = five[2:]
    return points


def write_shard(folder, index=0, n=12):
    rng = np.random.default_rng(index)
    folder.mkdir(exist_ok=True)
    np.savez(
        folder / f"shard-{index:03d}.npz",
        images=rng.integers(0, 256, (n, 256, 256, 3), dtype=np.uint8),
        landmarks=np.stack([landmarks(rng) for _ in range(n)]).astype(np.float32),
        identity_id=np.arange(n) + n * index,
        identity=rng.normal(size=(n, 5)).astype(np.float32),
        expression=rng.normal(size=(n, 4)).astype(np.float32),
        pose=rng.normal(size=(n, 3)).astype(np.float32),
        light=rng.normal(size=(n, 2)).astype(np.float32),
    )


def test_similarity_recovers_the_one_that_was_applied():
    rng = np.random.default_rng(0)
    points, angle = rng.normal(size=(5, 2)), 0.7
    turn = 1.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = pretext.similarity(points, points @ turn.T + [3, -4])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [3, -4]]), atol=1e-12)


def test_crop_without_jitter_is_the_detectors_crop():
    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 256, (32, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    points = landmarks(rng)
    sample = pretext.crop(image, np.zeros((256, 256, 6), np.float32), points, rng, jitter=0)
    wanted = faces.align_crop(image, faces.five_points(points), scale=1.3, size=256)
    wanted = wanted.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert sample.image.shape == (128, 128, 3)
    assert np.abs(sample.image - wanted).mean() < 6 < 30 < wanted.std()  # Pillow's filter, the mean
    five = pretext.five_points((sample.landmarks + 0.5) * 256)
    target = ((pretext.TEMPLATE - 0.5) / 1.3 + 0.5) * 256
    assert np.abs(five - target).max() < 1e-3


def test_camera_levels_follow_what_was_done():
    rng = np.random.default_rng(0)
    camera = pretext.Camera(rng)
    flat = np.full((256, 256, 3), 128, np.uint8)
    told, seen = [], []
    for _ in range(40):
        image, levels = camera(flat, rng)
        assert image.dtype == np.uint8 and levels.shape == (256, 256, 6)
        assert np.isfinite(levels).all() and levels[..., :3].min() >= 0 and levels.max() < 2
        told.append(levels[..., 1].mean())
        seen.append(np.log1p(np.diff(image.astype(float), axis=1).std()))
    assert np.corrcoef(told, seen)[0, 1] > 0.7


def test_smooth_map_is_smooth_and_covers_the_picture():
    rng = np.random.default_rng(0)
    maps = np.stack([pretext.smooth_map(rng) for _ in range(50)])
    assert maps.min() >= 0 and maps.max() <= 1
    assert np.abs(np.diff(maps, axis=1)).max() < 0.4
    centre, corner = maps[:, 96:160, 96:160].mean(), maps[:, :64, :64].mean()
    assert abs(centre - corner) < 0.15  # no preference for where a face would be


def test_blur_matrix_is_a_mirrored_gaussian():
    x = torch.randn(1, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = pretext._gauss(x, 0.7)[0, 0]
    weights = [math.exp(-(k**2) / (2 * 0.7**2)) for k in range(-2, 3)]
    weights = [w / sum(weights) for w in weights]
    mirror = lambda i: abs(i) if i < 20 else 38 - i  # noqa: E731
    for i, j in [(0, 0), (5, 7), (19, 18)]:
        wanted = sum(
            weights[a + 2] * weights[b + 2] * x[0, 0, mirror(i + a), mirror(j + b)]
            for a in range(-2, 3)
            for b in range(-2, 3)
        )
        assert abs(got[i, j] - wanted) < 1e-12


def test_dense_targets_by_hand():
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    levels = torch.rand(2, 8, 8, 6)
    got = pretext.dense_targets(images, levels)
    assert got.shape == (2, 64, pretext.N_DENSE)
    row, column = 3, 5
    token = got[1, 8 * row + column]
    luma = (images[1] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    cell = luma[16 * row + 8 : 16 * row + 16, 16 * column : 16 * column + 8]  # lower left
    torch.testing.assert_close(token[40 + 2], cell.mean())
    high = luma - pretext._gauss(luma, 0.7)
    cell = high[16 * row : 16 * row + 8, 16 * column + 8 : 16 * column + 16]  # upper right
    torch.testing.assert_close(token[1], torch.log((cell**2).mean() + 1e-6), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(token[-6:], levels[1, row, column])


def test_patch_filters_answer_with_variance_one():
    noise = torch.randn(24, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    images = pretext._gauss(noise, 2.0) + 0.02 * noise
    filters = pretext.patch_filters(images, 24)
    answers = torch.nn.functional.conv2d(images, filters, stride=16)
    torch.testing.assert_close(answers.std((0, 2, 3)), torch.ones(24), atol=0.1, rtol=0)


def test_recipe_runs_resumes_and_exports_a_loadable_encoder(tmp_path):
    write_shard(tmp_path / "renders")
    options = {"batch": 4, "work": tmp_path / "work", "export_every": 0.01}
    out = tmp_path / "encoder"
    score = train_encoder.train(tmp_path / "renders", out, 0.02, **options)
    assert {"bands", "landmarks", "identity", "light"} <= set(score)
    assert all(np.isfinite(v) and v <= 1 for v in score.values())
    first = json.loads((out / "provenance.json").read_text())
    write_shard(tmp_path / "renders", index=1)
    whole = (tmp_path / "renders" / "shard-001.npz").read_bytes()
    (tmp_path / "renders" / "shard-002.npz").write_bytes(whole[: len(whole) // 2])
    train_encoder.train(tmp_path / "renders", out, 0.05, resume=True, **options)
    second = json.loads((out / "provenance.json").read_text())
    assert second["steps"] > first["steps"] > 0 and second["pictures"] == 24
    encoder = backbones.load(out)
    assert encoder.spec.image_size == 128 and encoder.spec.feature_dim == 192
    image = np.zeros((256, 256, 3), np.uint8)
    assert encoder(backbones.preprocess(encoder.spec)(image)).isfinite().all()


def test_recipe_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="gendkit nobody training --out"):
        train_encoder.train(tmp_path, tmp_path / "out", 0.01)
    write_shard(tmp_path / "renders")
    with pytest.raises(FileNotFoundError, match="without --resume"):
        train_encoder.train(
            tmp_path / "renders", tmp_path / "out", 0.01, work=tmp_path / "w", resume=True
        )
