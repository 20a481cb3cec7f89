"""Crops by true landmarks: the frame asked for, cut as align_crop cuts it."""

import numpy as np
import pytest

from gendkit import faces, manifest, repro, video
from gendkit.nobody import cut

ROOT = repro.data_dir() / "nobody"


def test_a_fake_is_cut_like_its_real():
    videos = manifest.read(ROOT / "manifest.csv")
    person = videos["source_id"].iloc[0]
    table = videos[(videos["source_id"] == person) & videos["method"].isin(["real", "FS"])]
    rows, crops = cut.true_crops(table, ROOT, ROOT / "landmarks.npz", frames=(2, 7), size=64)
    assert rows["frame"].tolist() == [2, 7, 2, 7] and len(crops) == 4
    points = np.load(ROOT / "landmarks.npz", allow_pickle=False)[person][7]
    image = video.read_frames(ROOT / rows["path"].iloc[3], [7])[0]
    wanted = faces.align_crop(image, faces.five_points(points), size=64)
    np.testing.assert_array_equal(crops[3], wanted)
    change = np.abs(crops[1].astype(int) - crops[3])  # a real and its fake: equal near the corner
    assert change[:4, :4].mean() < 6 < np.abs(crops[1].astype(int) - crops[1][::-1]).mean()
    with pytest.raises(ValueError, match=r"no landmarks of 'nobody'"):
        cut.true_crops(table.assign(source_id="nobody"), ROOT, ROOT / "landmarks.npz")
