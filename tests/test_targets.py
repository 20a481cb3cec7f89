"""What the encoder must tell about a crop: geometry, texture against SciPy, first-layer filters."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

pytest.importorskip("cv2")
pytest.importorskip("numba")

from small_footage import picture, points  # noqa: E402

from gendkit import faces  # noqa: E402
from gendkit.pretrain import targets  # noqa: E402


def test_five_points_are_those_of_the_face_engine():
    landmarks = np.random.default_rng(0).uniform(0, 256, (68, 2))
    np.testing.assert_allclose(targets.five_points(landmarks), faces.five_points(landmarks))


def test_similarity_recovers_the_one_that_was_applied():
    rng = np.random.default_rng(0)
    source, angle = rng.normal(size=(5, 2)), 0.7
    turn = 1.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = targets.similarity(source, source @ turn.T + [3, -4])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [3, -4]]), atol=1e-12)


def test_crop_without_jitter_is_the_detectors_crop():
    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 256, (32, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    landmarks = points(rng)
    sample = targets.crop(image, np.zeros((256, 256, 7), np.float32), landmarks, rng, jitter=0)
    wanted = faces.align_crop(image, faces.five_points(landmarks), scale=1.3, size=256)
    wanted = wanted.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert sample.image.shape == (128, 128, 3) and sample.image.dtype == np.uint8
    assert np.abs(sample.image - wanted).mean() < 6 < 30 < wanted.std()  # Pillow's filter, the mean
    five = targets.five_points((sample.landmarks + 0.5) * 256)
    template = ((targets.TEMPLATE - 0.5) / 1.3 + 0.5) * 256
    assert np.abs(five - template).max() < 1e-3


def test_landmarks_land_where_the_points_of_the_picture_land():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:256, :256]
    for _ in range(4):
        landmarks = points(rng)
        landmarks[0] = rng.uniform(110, 150, 2)
        spot = 255 * np.exp(-((x - landmarks[0, 0]) ** 2 + (y - landmarks[0, 1]) ** 2) / 18)
        image = spot[..., None].repeat(3, 2).astype(np.uint8)
        sample = targets.crop(image, np.zeros((256, 256, 7), np.float32), landmarks, rng)
        light = sample.image[..., 0].astype(float)
        seen = [(light * axis[:128, :128]).sum() / light.sum() for axis in (x, y)]
        told = (sample.landmarks[0] + 0.5) * 128 - 0.25  # pixel centres of 256, then of 128
        np.testing.assert_allclose(seen, told, atol=0.3)


def test_maps_are_cut_along_with_the_picture():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256]
    disc = ((x - 120) ** 2 + (y - 140) ** 2 < 50**2).astype(np.float32)
    maps = disc[..., None] * np.arange(1, 8, dtype=np.float32)
    image = (200 * disc)[..., None].repeat(3, 2).astype(np.uint8)
    sample = targets.crop(image, maps, points(rng), rng)
    assert sample.maps.shape == (64, 7) and sample.maps.dtype == np.float32
    seen = sample.image[..., 0].reshape(8, 16, 8, 16).mean((1, 3)).ravel() / 200
    for k in range(7):
        np.testing.assert_allclose(sample.maps[:, k], (k + 1) * seen, atol=0.12 * (k + 1))


def test_a_picture_without_a_face_gives_no_landmarks_and_no_black_border():
    image = np.full((256, 256, 3), 200, np.uint8)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sample = targets.crop(image, np.zeros((256, 256, 7), np.float32), None, rng)
        assert np.isnan(sample.landmarks).all() and sample.landmarks.shape == (68, 2)
        assert sample.image.min() >= 199


def test_texture_against_scipy():
    rng = np.random.default_rng(4)
    image = ndimage.gaussian_filter(rng.random((128, 128, 3)), (0.8, 0.8, 0)).astype(np.float64)
    got = targets.texture(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0].numpy()
    assert got.shape == (64, targets.N_TEXTURE)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [luma, (red - luma) / (2 * (1 - 0.299)), (blue - luma) / (2 * (1 - 0.114))]  # BT.601
    levels = [planes] + [
        [ndimage.gaussian_filter(p, sigma, mode="mirror", truncate=3) for p in planes]
        for sigma in (0.7, 1.4, 2.8)
    ]
    wanted = np.empty((8, 8, targets.N_TEXTURE))
    smooth = np.pad(levels[1][0], 1, mode="reflect")
    here = smooth[1:-1, 1:-1]
    turned = [smooth[1:-1, 2:], smooth[2:, 1:-1], smooth[2:, 2:], smooth[2:, :-2]]
    for row in range(8):
        for column in range(8):
            numbers = []
            halves = [
                (slice(16 * row + i, 16 * row + i + 8), slice(16 * column + j, 16 * column + j + 8))
                for i in (0, 8)
                for j in (0, 8)
            ]
            for fine, coarse in zip(levels[:-1], levels[1:], strict=True):
                for a, b in zip(fine, coarse, strict=True):
                    numbers += [np.log(((a - b)[h] ** 2).mean() + 1e-6) for h in halves]
            patch = (slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16))
            numbers += [np.log(((t - here)[patch] ** 2).mean() + 1e-6) for t in turned]
            numbers += [p[h].mean() for p in planes for h in halves]
            wanted[row, column] = numbers
    np.testing.assert_allclose(got, wanted.reshape(64, -1), atol=2e-3)


def test_texture_tells_what_was_softened():
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    soft = targets._gauss(image, 1.0)
    sharp, blurred = targets.texture(image)[0], targets.texture(soft)[0]
    assert (blurred[:, :12] < sharp[:, :12] - 1).all()  # the finest band of Y, Cr and Cb
    torch.testing.assert_close(blurred[:, 40:], sharp[:, 40:], atol=0.05, rtol=0)  # colours stay


WIDTH = targets.FREE + 104 + 8  # the empty channels, the groups, eight of the whole patch


@pytest.fixture(scope="module")
def filters():
    """Pictures with coarse and fine structure, and the filters made of them."""
    rng = np.random.default_rng(5)
    images = torch.from_numpy(np.stack([picture(rng) for _ in range(16)])).permute(0, 3, 1, 2)
    noise = torch.randn(16, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    images = images[..., ::2, ::2].float() / 100 + 0.05 * noise
    return images, targets.patch_filters(images, WIDTH)


def test_groups_and_empty_channels_share_out_the_filters():
    groups = targets.energy_groups()
    assert [len(group) for group in groups] == [6] * 12 + [2] * 16
    assert list(itertools.chain(*groups)) == list(range(104))
    assert len(groups) <= targets.FREE


def test_patch_filters_answer_with_variance_one_and_empty_ones_not_at_all(filters):
    images, weights = filters
    answers = torch.nn.functional.conv2d(images, weights, stride=16)
    some, free = answers[:, : -targets.FREE], answers[:, -targets.FREE :]
    torch.testing.assert_close(some.std((0, 2, 3)), torch.ones(112), atol=0.02, rtol=0)
    assert not weights[-targets.FREE :].any() and not free.any()
    rows = some.transpose(0, 1).flatten(1)
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)
    for group in [*targets.energy_groups(), range(104, 112)]:  # principal components
        part = rows[list(group)]
        likeness = part @ part.T / part.shape[1] - torch.eye(len(part))
        assert likeness.abs().max() < 0.02


def test_groups_look_at_one_band_of_one_quarter(filters):
    weights = filters[1].double()
    flat, loud = weights.sum((2, 3)).abs(), weights.abs().sum((2, 3))
    groups = targets.energy_groups()
    assert (flat[:104] < 1e-3 * loud[:104]).all()  # deaf to brightness and to mean colour
    assert (flat[104:112] > 0.05 * loud[104:112]).any()
    reach = [2] * 4 + [4] * 4 + [8] * 4 + ([2] * 4 + [4] * 4) * 2  # of the blurs, 3 sigma
    at = np.arange(16)
    for group, radius, (row, column) in zip(
        groups, reach, itertools.cycle(itertools.product((0, 8), (0, 8))), strict=False
    ):
        near = [(at >= low - radius) & (at < low + 8 + radius) for low in (row, column)]
        mask = torch.from_numpy(near[0][:, None] & near[1][None])
        part = weights[group].abs().sum((0, 1))
        assert part[~mask].sum() < 1e-9 * part.sum()
        inside = part[row : row + 8, column : column + 8].sum() / part.sum()
        assert inside > 0.7
    for group in groups[4:8]:  # the second band reaches farther than the first
        assert weights[group][..., 2 + 8 :, :].any() and weights[group][..., : 8 - 2, :].any()


def test_luma_filters_weigh_colours_as_luma_and_chroma_filters_are_blind_to_grey(filters):
    weights = filters[1].double()
    red, green, blue = (weights[:72, k] for k in range(3))
    torch.testing.assert_close(red / 0.299, green / 0.587, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(red / 0.299, blue / 0.114, rtol=1e-3, atol=1e-4)
    chroma = weights[72:104]
    assert chroma.sum(1).abs().max() < 1e-5 * chroma.abs().max()
    assert chroma[:16, 0].abs().max() > 2 * chroma[:16, 2].abs().max()  # Cr: red most
    assert chroma[16:, 2].abs().max() > 2 * chroma[16:, 0].abs().max()  # Cb: blue most


def test_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="got 136 channels, expected more than 136"):
        targets.patch_filters(torch.zeros(1, 3, 128, 128), 136)
