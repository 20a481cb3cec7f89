"""The measurement of the face engine on clips with true landmarks."""

import numpy as np
import pandas as pd
import pytest

from gendkit import manifest, video
from gendkit.faces import Face
from gendkit.pretrain.check_landmarks import check


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    rows, truth = [], {}
    for name, role in (("a", "report"), ("b", "report"), ("c", "fit")):
        (tmp_path / "real").mkdir(exist_ok=True)
        video.write_video(tmp_path / f"real/{name}.mp4", np.zeros((4, 64, 64, 3), np.uint8))
        truth[name] = rng.uniform(10, 50, (4, 68, 2)).astype(np.float32)
        truth[name][:, 36], truth[name][:, 45] = [20, 30], [40, 30]
        rows.append(
            {
                "path": f"real/{name}.mp4",
                "dataset": "t",
                "method": "real",
                "compression": "c23",
                "video_id": name,
                "source_id": name,
                "label": 0,
                "role": role,
            }
        )
    manifest.write(pd.DataFrame(rows), tmp_path / "manifest.csv")
    np.savez(tmp_path / "landmarks.npz", **truth)
    return tmp_path, truth


def test_known_errors_give_known_numbers(root):
    folder, truth = root
    clips = iter(("a", "b"))

    def engine(frames):
        name = next(clips)
        faces = [[Face(np.zeros(4), 1.0, p + np.float32([1.2, 1.6]))] for p in truth[name]]
        if name == "b":  # one frame without a face, one far off
            faces[0] = []
            faces[1] = [Face(np.zeros(4), 1.0, truth[name][1] + np.float32([3, 4]))]
        return faces

    found = check(folder, engine)
    assert (found["n_clips"], found["n_frames"]) == (2, 8)
    assert found["detected"] == pytest.approx(7 / 8)
    assert found["nme"] == pytest.approx((6 * 2 / 20 + 5 / 20) / 7, rel=1e-4)
    assert found["nme_eyes"] == pytest.approx(found["nme"], rel=1e-4)
    assert found["failures"] == pytest.approx(1 / 7)
    assert found["inter_ocular_pixels"] == pytest.approx(20)


def test_nothing_to_measure_is_named(root):
    folder, _ = root
    with pytest.raises(ValueError, match="expected fit, select or report"):
        check(folder, lambda frames: [], role="test")
    with pytest.raises(ValueError, match="no face found in 8 frames"):
        check(folder, lambda frames: [[] for _ in frames])
