"""The texture baseline against slow loops and planted textures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gendkit import baselines, manifest, metrics


def crop(rng, blurred=False, side=128):
    image = rng.normal(128, 20, (side, side, 3))
    if blurred:
        image = gaussian_filter(image, (0.5, 0.5, 0))
    return np.clip(image, 0, 255).astype(np.uint8)


def crop_table(n_people, methods=("real", "FS"), n_frames=2, role=""):
    rows = [
        {
            "path": f"{method}/{person}/{frame}.png",
            "dataset": "toy",
            "method": method,
            "compression": "",
            "video_id": f"{person:03d}",
            "source_id": f"{person:03d}",
            "label": int(method != "real"),
            "role": role,
            "frame": frame,
        }
        for method in methods
        for person in range(n_people)
        for frame in range(n_frames)
    ]
    return pd.DataFrame(rows)


def test_energies_equal_slow_loops():
    image = crop(np.random.default_rng(0), side=32)
    luma = (image * np.array([0.299, 0.587, 0.114])).sum(-1)
    expected = []
    finer = luma
    for sigma in (0.7, 1.4, 2.8):
        coarser = gaussian_filter(luma, sigma)
        for row in range(8):
            for column in range(8):
                cell = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                expected.append(np.log(((finer - coarser)[cell] ** 2).mean() + 0.01))
        finer = coarser
    found = baselines.texture_energies(image)
    assert found.shape == (192,) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_flat_crop_has_the_least_energy_and_one_cell_shows_where_texture_is():
    flat = np.full((128, 128, 3), 90, np.uint8)
    np.testing.assert_allclose(baselines.texture_energies(flat), np.log(0.01), atol=1e-3)
    flat[52:60, 20:28] = crop(np.random.default_rng(1))[:8, :8]  # inside cell row 3, column 1
    assert baselines.texture_energies(flat)[:64].argmax() == 3 * 8 + 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((128, 128), np.uint8),
        np.zeros((128, 128, 3), np.float32),
        np.zeros((100, 128, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        [[1]],
    ],
)
def test_wrong_images_are_refused(image):
    with pytest.raises(ValueError, match="multiples of 8"):
        baselines.texture_energies(image)


def test_features_of_files_equal_those_of_arrays_and_other_sizes_are_resized(tmp_path):
    rng = np.random.default_rng(2)
    table = crop_table(1)
    for path in table["path"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop(rng)).save(tmp_path / path)
    large = Image.fromarray(crop(rng)).resize((256, 256), Image.Resampling.NEAREST)
    large.save(tmp_path / table["path"].iloc[3])
    found = baselines.texture_features(table, tmp_path)
    with Image.open(tmp_path / table["path"].iloc[0]) as first:
        np.testing.assert_array_equal(found[0], baselines.texture_energies(np.asarray(first)))
    assert found.shape == (4, 192) and np.isfinite(found).all()
    with pytest.raises(manifest.ManifestError, match="does not exist"):
        baselines.texture_features(table.assign(path="none.png").iloc[:1], tmp_path)


def test_it_finds_a_blur_in_people_it_has_not_seen_and_nothing_where_nothing_is():
    rng = np.random.default_rng(3)
    table = crop_table(12)
    blurred = np.stack([baselines.texture_energies(crop(rng, y == 1)) for y in table["label"]])
    scores = baselines.cross_scores(blurred, table)
    videos = metrics.video_scores(table.assign(p_fake=scores))
    assert len(videos) == 24 and metrics.auroc(videos["label"], videos["p_fake"]) > 0.95
    null = np.mean(
        [
            metrics.auroc(table["label"], baselines.cross_scores(rng.normal(size=(48, 5)), table))
            for _ in range(20)
        ]
    )
    assert abs(null - 0.5) < 0.08


def test_scores_of_a_person_do_not_depend_on_that_persons_labels():
    rng = np.random.default_rng(4)
    table = crop_table(6, n_frames=1)
    features = rng.normal(size=(len(table), 3))
    swapped = table.assign(source_id=table["source_id"])
    mine = table["source_id"] == "002"
    swapped.loc[mine, "label"] = 1 - table.loc[mine, "label"]
    once = baselines.cross_scores(features, table, n_folds=6)
    again = baselines.cross_scores(features, swapped, n_folds=6)
    np.testing.assert_allclose(once[mine], again[mine], atol=1e-12)
    assert np.abs(once - again)[~mine].max() > 1e-6


def test_wrong_use_is_refused():
    features, table = np.zeros((8, 3)), crop_table(2)
    with pytest.raises(ValueError, match="both of them present"):
        baselines.fit(features, np.zeros(8, int))
    with pytest.raises(ValueError, match="rows of features"):
        baselines.cross_scores(features[:3], table)
    with pytest.raises(ValueError, match="1 groups of linked people"):
        baselines.cross_scores(features[:4], table[table["source_id"] == "000"])
    linked = table.assign(donor_id=np.where(table["label"] == 1, "000", ""))
    with pytest.raises(ValueError, match="1 groups of linked people"):
        baselines.cross_scores(features, linked)
