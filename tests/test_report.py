"""The report on a built benchmark, on a toy set with a blurred "face" as the forgery."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from gendkit import audit, manifest, metrics, video
from gendkit.faces import Face
from gendkit.nobody import build as command
from gendkit.nobody import report

SIZE, FRAMES, N = 96, 4, 12


def points():
    """68 landmarks whose five points lie where a face has them."""
    found = np.zeros((68, 2), np.float32)
    for group, place in (
        (slice(36, 42), (36, 40)),
        (slice(42, 48), (60, 40)),
        (slice(30, 31), (48, 54)),
        (slice(48, 49), (39, 66)),
        (slice(54, 55), (57, 66)),
    ):
        found[group] = place
    return found


def build(root, letter="n", roles=("fit",) * 8 + ("report",) * 4):
    rng, rows = np.random.default_rng(0), []
    mask = np.zeros((FRAMES, SIZE, SIZE), np.float32)
    mask[:, 24:72, 24:72] = 1
    for folder in ("real", "FS", "masks/FS"):
        (root / folder).mkdir(parents=True)
    for number, role in enumerate(roles):
        name = f"{letter}{number:03d}"
        place = 128 + 40 * gaussian_filter(rng.normal(size=(SIZE, SIZE, 3)), (3, 3, 0)) * 8
        real = np.clip(place + rng.normal(0, 12, (FRAMES, SIZE, SIZE, 3)), 0, 255)
        soft = gaussian_filter(real, (0, 1.2, 1.2, 0))
        fake = np.where(mask[..., None] > 0, soft, real)
        for method, frames in (("real", real), ("FS", fake)):
            video.write_video(root / f"{method}/{name}.mp4", frames.astype(np.uint8))
            rows.append(
                {
                    "path": f"{method}/{name}.mp4",
                    "dataset": root.name,
                    "method": method,
                    "compression": "c23",
                    "video_id": name,
                    "source_id": name,
                    "label": int(method != "real"),
                    "role": role,
                    "mask_path": "" if method == "real" else f"masks/FS/{name}.mp4",
                    "n_frames": FRAMES,
                }
            )
        video.write_video(root / f"masks/FS/{name}.mp4", mask)
    manifest.write(pd.DataFrame(rows), root / "manifest.csv")
    names = [f"{letter}{k:03d}" for k in range(len(roles))]
    np.savez(root / "landmarks.npz", **{name: np.stack([points()] * FRAMES) for name in names})
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return build(folder / "nobody"), build(folder / "nobody-x", "x", ("report",) * 10)


class HalfBlind:
    """Finds a face in every second picture, two pixels beside the truth."""

    def __init__(self):
        self.n = 0

    def __call__(self, images):
        self.n += 1
        box = np.array([20, 20, 80, 80], np.float32)
        return [[Face(box, 1.0, points() + [2, 0])] if self.n % 2 else [] for _ in images]


def test_rows_are_frames_and_the_forgery_is_found_in_people_not_seen(roots):
    frames, features = report.textures(roots[0])
    assert len(frames) == len(features) == 2 * N * 2  # frames 0 and 3 of each clip
    assert sorted(frames["frame"].unique()) == [0, 3]
    own = report.own_difficulty(frames, features)
    assert list(own) == ["FS"] and own["FS"].n_videos == 2 * N and own["FS"].value > 0.9


def test_transfer_trains_on_fit_and_reads_the_report_people(roots):
    (frames, features), cross = report.textures(roots[0]), report.textures(roots[1])
    found = report.transfer(frames, features, {"nobody": (frames, features), "nobody-x": cross})
    assert [(name, one["FS"].n_videos) for name, one in found.items()] == [
        ("nobody", 8),
        ("nobody-x", 20),
    ]
    assert found["nobody-x"]["FS"].value > 0.9
    of_report = (frames["role"] == "report").to_numpy()
    other = np.where(of_report[:, None], 0, features)  # what it trains on is not touched
    flat = report.transfer(frames, other, {"nobody-x": cross})
    assert flat["nobody-x"]["FS"] == found["nobody-x"]["FS"]


def test_detection_counts_faces_and_measures_landmarks(roots, monkeypatch):
    monkeypatch.setattr(report, "FaceEngine", HalfBlind)
    found = report.detection(roots[0], n_frames=20)
    eyes = np.linalg.norm(points()[36] - points()[45])
    assert found["n_frames"] == 20 and found["detected"] == 0.5 and found["n_real_frames"] == 5
    assert found["nme"] == pytest.approx(2 / eyes, abs=1e-5)


def test_the_command_prints_everything_and_writes_json(roots, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "FaceEngine", HalfBlind)
    out = tmp_path / "report.json"
    assert command.main(["report", str(roots[0]), "--cross", str(roots[1]), "--out", str(out)]) == 0
    text, facts = capsys.readouterr().out, json.loads(out.read_text())
    assert len(facts["audits"]) == 2 * 2 * len(audit.KINDS)
    assert facts["own"].keys() == facts["transfer"].keys() == {"nobody/FS", "nobody-x/FS"}
    assert facts["detection"]["nobody-x"]["n_frames"] == report.N_DETECT
    assert "<- outside 0.60 to 0.90" in text and "50.0% of 240 frames" in text


def test_difficulty_inside_the_range_is_not_marked():
    one = report._plain(metrics.Estimate(0.75, 0.7, 0.8, 40))
    facts = {"audits": [{"kind": "metadata", "strongest": ""}], "transfer": {}, "detection": {}}
    assert "<-" not in report.show(facts | {"own": {"nobody/FS": one}})
    assert "<-" in report.show(facts | {"own": {"nobody/FS": one | {"auroc": 0.91}}})


def test_wrong_folders_are_refused_in_one_line(tmp_path, roots, capsys):
    assert command.main(["report", str(tmp_path)]) == 2
    assert "expected an existing CSV" in capsys.readouterr().err
    broken = build(tmp_path / "broken", roles=("fit",) * 2)
    np.savez(broken / "landmarks.npz", n000=np.zeros((4, 68, 2)))
    with pytest.raises(ValueError, match=r"landmarks.npz lacks 'n001'"):
        report.textures(broken)
