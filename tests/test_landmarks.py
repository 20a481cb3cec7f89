"""The recipe of the landmark network: geometry, loss, decoding, resuming."""

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")

from gendkit.fan import (
    SIGMA,
    LightFAN,
    embedded_face_alignment,
    fan_box,
    landmark_square,
    load_light_fan,
)  # noqa: E402
from gendkit.pretrain import landmarks as recipe  # noqa: E402
from gendkit.pretrain.spoil import spoil  # noqa: E402


def marked(rng: np.random.Generator, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An image whose 68 landmarks are coloured dots on black, each with its own colour."""
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(8)), -1).reshape(-1, 2)[:68]
    points = (grid * 14 + [70, 75] + rng.uniform(-2, 2, (68, 2))).astype(np.float32)
    y, x = np.mgrid[:256, :256]
    image = np.zeros((256, 256, 3), np.float64)
    for k, (px, py) in enumerate(points):
        blob = np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
        image += blob[..., None] * (np.array([k % 5 + 1, k // 5 % 5 + 1, k // 25 + 1]) * 50)
    return np.clip(image, 0, 255).astype(np.uint8), points


def test_mirror_pairs_are_symmetric_and_known():
    assert (recipe.MIRROR[recipe.MIRROR] == np.arange(68)).all()
    for left, right in ((0, 16), (36, 45), (39, 42), (48, 54), (31, 35), (60, 64), (17, 26)):
        assert recipe.MIRROR[left] == right
    for middle in (8, 27, 30, 33, 51, 57, 62, 66):
        assert recipe.MIRROR[middle] == middle


def test_mirror_and_decode_agree_with_face_alignment():
    utils = pytest.importorskip("face_alignment.utils")
    embedded_face_alignment()  # keeps what numba compiles
    maps = torch.arange(68.0)[None, :, None, None]
    assert (utils.shuffle_lr(maps)[0, :, 0, 0].numpy() == recipe.MIRROR).all()
    heatmaps = np.random.default_rng(0).random((3, 68, 64, 64), dtype=np.float32)
    # it counts cells from 0.5; at the border it leaves the highest cell as it is
    theirs, _, _ = utils.get_preds_fromhm(heatmaps.copy(), np.zeros(2), 1.0)
    ours = recipe.decode(heatmaps)
    inner = ((ours > 1) & (ours < 62)).all(-1)
    assert inner.mean() > 0.8
    assert ours[inner] == pytest.approx(theirs[inner] - 0.5)


def test_targets_lie_on_the_landmarks_of_the_crop():
    rng = np.random.default_rng(1)
    image, points = marked(rng)
    crop, targets = recipe.sample(image, points, rng, [], augment=False)
    for k in (0, 20, 40, 67):
        x, y = (targets[k] + 0.5) * 4 - 0.5
        area = crop[int(y) - 9 : int(y) + 10, int(x) - 9 : int(x) + 10].sum(-1).astype(float)
        cells = np.stack(np.mgrid[int(y) - 9 : int(y) + 10, int(x) - 9 : int(x) + 10], -1)
        area = np.where(np.hypot(cells[..., 0] - y, cells[..., 1] - x) < 8, area, 0)
        cy, cx = (area[..., None] * cells).sum((0, 1)) / area.sum()
        assert abs(cx - x) < 3 and abs(cy - y) < 3


def test_crop_is_that_of_face_alignment():
    utils = pytest.importorskip("face_alignment.utils")
    rng = np.random.default_rng(2)
    image, points = marked(rng)
    center, side = landmark_square(points)
    box = fan_box(center, side)
    width = box[2] - box[0]
    middle = np.array([box[2] - width / 2, box[3] - width / 2 - 0.12 * width])
    theirs = utils.crop(image, middle, 2 * width / 195).astype(int)

    class Still:
        """A generator whose box is exact."""

        def normal(self, mean, deviation, *size):
            return np.zeros(np.shape(deviation))

        def uniform(self, low, high):
            return np.log(side)

        def random(self, *size):
            return np.full(size, 0.5) if size else 0.0

    ours, targets = recipe.sample(image, points, Still(), [], augment=False)
    # the same square up to the rounding to whole pixels (about one pixel of the crop)
    assert np.abs(theirs - ours).mean() < 6
    assert targets == pytest.approx((points - center) / side * 64 + 31.5, abs=1e-3)


def test_mirrored_and_turned_samples_keep_their_points():
    rng = np.random.default_rng(4)
    image, points = marked(rng)
    recipe_colours = [image[int(round(y)), int(round(x))] > 40 for x, y in points]
    assert all(c.any() for c in recipe_colours)
    inside = dark = 0
    for _ in range(6):
        crop, targets = recipe.sample(image, points, rng, [(image * 0, points)], augment=True)
        assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8
        assert targets.shape == (68, 2) and targets.dtype == np.float32
        inside += ((targets > 0) & (targets < 63)).all(-1).mean() / 6
        dark += crop.mean() < 1
    assert inside > 0.9 and dark == 0


def test_spatial_loss_against_explicit_cells():
    rng = np.random.default_rng(5)
    logits = torch.from_numpy(rng.normal(size=(2, 68, 32, 32)))
    targets = torch.from_numpy(rng.uniform(2, 60, (2, 68, 2)).astype(np.float32))
    targets[0, 0] = torch.tensor([-30.0, 5.0])  # outside: does not count
    total, count = 0.0, 0
    for b in range(2):
        for k in range(68):
            if (b, k) == (0, 0):
                continue
            point = (targets[b, k].numpy() + 0.5) / 2 - 0.5
            y, x = np.mgrid[:32, :32]
            blob = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * SIGMA**2))
            z = logits[b, k].numpy()
            p = np.exp(z) / np.exp(z).sum()
            away = np.abs(np.array([(p * x).sum(), (p * y).sum()]) - point)
            smooth = np.where(away < 1, away**2 / 2, away - 0.5).sum() * 2
            total += -(blob / blob.sum() * np.log(p)).sum() + 0.2 * smooth
            count += 1
    got = recipe.spatial_loss(logits, targets).item()
    assert got == pytest.approx(total / count, rel=1e-4)


def test_errors_closed_form():
    truth = np.zeros((2, 68, 2))
    truth[:, 45, 0] = 50
    found = truth + np.array([3.0, 4.0])
    assert recipe.errors(found, truth) == pytest.approx([0.1, 0.1])


def test_spoil_is_repeatable_and_keeps_the_form():
    image, points = marked(np.random.default_rng(0))
    for seed in range(20):
        a = spoil(image, points, image, 120, np.random.default_rng(seed))
        b = spoil(image, points, image, 120, np.random.default_rng(seed))
        assert a.shape == image.shape and a.dtype == np.uint8 and (a == b).all()


def test_no_renders_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="gendkit nobody training --out"):
        recipe.Renders(tmp_path).refresh()


def test_training_resumes_and_exports(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "LightFAN", lambda: LightFAN((4, 4, 4, 4), (0, 0, 0, 0), 4))
    rng = np.random.default_rng(6)
    faces = [marked(rng) for _ in range(24)]
    np.savez(
        tmp_path / "shard-00000.npz",
        images=np.stack([f[0] for f in faces]),
        landmarks=np.stack([f[1] for f in faces]),
        identity_id=np.arange(24),
    )
    where = dict(renders=tmp_path, out=tmp_path / "out", work=tmp_path / "work", batch_size=2)
    first = recipe.train(**where, steps=2, where="cpu")
    again = recipe.train(**where, steps=4, where="cpu", resume=True)
    assert (first["step"], again["step"]) == (2, 4)
    assert again["seconds"] >= first["seconds"]
    assert 0 < first["n_faces"] < 24  # identities that training does not see
    model = load_light_fan(tmp_path / "out" / "landmarks.safetensors")
    assert model(torch.zeros(1, 3, 256, 256))[-1].shape == (1, 68, 64, 64)
