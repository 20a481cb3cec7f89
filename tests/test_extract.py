"""Tests of gendkit.extract with a stand-in for the face engine that finds red squares."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gendkit import extract, manifest, video
from gendkit.extract.overlap import Clock, Writer, ahead
from gendkit.extract.track import RUN, Tracker
from gendkit.extract.units import find_units
from gendkit.faces import Face


def landmarks_in(box: np.ndarray) -> np.ndarray:
    """A rough face of 68 points inside a box."""
    t = np.linspace(np.pi, 0, 17)
    circle = np.linspace(0, 2 * np.pi, 7)[:-1]
    points = np.concatenate([
        np.stack([0.5 + 0.45 * np.cos(t), 0.3 + 0.6 * np.sin(t)], 1),
        np.stack([np.linspace(0.15, 0.85, 10), np.full(10, 0.2)], 1),
        np.stack([np.full(9, 0.5), np.linspace(0.3, 0.55, 9)], 1),
        np.stack([0.3 + 0.08 * np.cos(circle), 0.3 + 0.03 * np.sin(circle)], 1),
        np.stack([0.7 + 0.08 * np.cos(circle), 0.3 + 0.03 * np.sin(circle)], 1),
        np.stack([np.linspace(0.35, 0.65, 20), np.full(20, 0.72)], 1),
    ])  # fmt: skip
    return (box[:2] + points * (box[2:] - box[:2])).astype(np.float32)


@dataclass
class RedSquares:
    """Finds red squares in the left and in the right half of an image; works like FaceEngine."""

    delay: float = 0.0

    @property
    def settings(self) -> dict:
        return {"engine": "red squares"}

    def __call__(self, images):
        time.sleep(self.delay * len(images))
        return [self._find(image) for image in images]

    def _find(self, image):
        found = []
        red = (image[..., 0] > 150) & (image[..., 1] < 90)
        for half in (slice(0, 48), slice(48, None)):
            part = np.zeros_like(red)
            part[:, half] = red[:, half]
            y, x = np.nonzero(part)
            if len(x) > 30:
                box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
                found.append(Face(box, float(len(x)) / 100, landmarks_in(box)))
        return found


def clip(n: int = 12, squares=((8, 12, 32),), without=()) -> np.ndarray:
    """Frames 96 x 64 with red squares (x, y, side) that drift; frames in `without` show none."""
    frames = np.full((n, 64, 96, 3), 60, np.uint8)
    frames += 5 * np.arange(n, dtype=np.uint8)[:, None, None, None]
    for k in range(n):
        for x, y, side in squares if k not in without else ():
            frames[k, y : y + side, x + k // 4 : x + k // 4 + side] = (210, 30, 40)
    return frames


def tree(root: Path) -> dict[str, bytes]:
    """All files of a folder with their bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def data(tmp_path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    rows = []
    for k in range(4):
        for method in ("real", "FS"):
            path = f"{method}/{k:03d}.mp4"
            video.write_video(root / path, clip(squares=((6 + 2 * k, 12, 32),)), crf=12)
            rows.append({"path": path, "dataset": "toy", "method": method, "compression": "", "video_id": f"{k:03d}",
                         "source_id": f"{k:03d}", "label": int(method != "real"), "role": "fit"})  # fmt: skip
    manifest.write(pd.DataFrame(rows), root / "manifest.csv")
    return root


def run(inputs, out, **options):
    options = {"engine": RedSquares(), "n_frames": 4, "size": 32, **options}
    return extract.run(inputs, out, **options)


def test_manifest_to_crops(data, tmp_path):
    done = run(data / "manifest.csv", tmp_path / "out")
    assert (done.report["status"] == "ok").all() and len(done.report) == 8
    assert len(done.crops) == 32 and set(done.crops["frame"]) == {0, 3, 7, 11}
    first = done.crops.iloc[0]
    assert (
        first["path"] == "toy/real/000/00000.png"
        and first["role"] == "fit"
        and first["n_faces"] == 1
    )
    x0, y0, x1, y1 = map(float, first["box"].split())
    assert abs(x0 - 6) <= 1 and abs(y1 - 44) <= 1
    for path in done.crops["path"]:
        with Image.open(tmp_path / "out" / path) as crop:
            assert crop.size == (32, 32) and crop.mode == "RGB"
    again = manifest.read(tmp_path / "out" / "manifest.csv")
    assert list(again["path"]) == list(done.crops["path"])
    assert list(pd.read_csv(tmp_path / "out" / "report.csv")["n_faces"]) == [4] * 8
    assert len(manifest.pairs(again)) == 16


def test_crops_show_the_frame_they_name(data, tmp_path):
    done = run(data / "manifest.csv", tmp_path / "out", rule="all", scale=2.0)
    one = done.crops[done.crops["path"].str.startswith("toy/real/000/")]
    levels = [np.asarray(Image.open(tmp_path / "out" / p))[16, -4:, 1].mean() for p in one["path"]]
    assert list(one["frame"]) == list(range(12))
    assert np.abs(np.array(levels) - 60 - 5 * np.arange(12)).max() < 2.4  # grey rises by 5 a frame


def test_what_is_done_is_not_done_again(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "out")
    before = tree(tmp_path / "out")

    class Never(RedSquares):
        def __call__(self, images):
            raise AssertionError("asked for a finished video")

    again = run(data / "manifest.csv", tmp_path / "out", engine=Never())
    assert tree(tmp_path / "out") == before and len(again.crops) == 32
    (tmp_path / "out" / "toy/FS/001/00003.png").unlink()
    run(data / "manifest.csv", tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_a_changed_video_is_done_again(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "out")
    video.write_video(data / "FS/002.mp4", clip(squares=()), crf=12)
    done = run(data / "manifest.csv", tmp_path / "out")
    assert done.report.set_index("path")["status"]["FS/002.mp4"] == "no_face"
    assert not (tmp_path / "out" / "toy/FS/002").exists() and len(done.crops) == 28


def test_two_workers_give_the_same_files(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "one")
    run(data / "manifest.csv", tmp_path / "two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_extract import RedSquares, run
run(sys.argv[2], sys.argv[3], engine=RedSquares(delay=0.1))
"""


def test_killed_half_way_and_rerun_gives_the_same_bytes(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "whole")
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(Path(__file__).parent),
        str(data / "manifest.csv"),
        str(out),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while (
        len(list(out.rglob(".units/**/*.json"))) < 3
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    n_done = len(list(out.rglob(".units/**/*.json")))
    assert 3 <= n_done < 8, f"{n_done} of 8 videos done when killed"
    assert not (out / "manifest.csv").exists()
    # what a kill in the middle of a video leaves behind
    for stale in (out / "toy/real/.003.tmp-0123456789ab", out / "toy/FS/.003.old-0123456789ab"):
        stale.mkdir(parents=True)
        (stale / "00000.png").write_bytes(b"half")
    (out / "toy/FS/003").mkdir(parents=True, exist_ok=True)
    (out / "toy/FS/003/00099.png").write_bytes(b"no record was written for this folder")
    run(data / "manifest.csv", out)
    assert tree(out) == tree(tmp_path / "whole")


def test_broken_inputs_each_get_a_row(tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = video.write_video(folder / "good.mp4", clip(), crf=12).read_bytes()
    video.write_video(folder / "noface.mp4", clip(squares=()), crf=12)
    (folder / "cut.mp4").write_bytes(good[: int(len(good) * 0.93)])
    (folder / "headless.mp4").write_bytes(good[:300])
    (folder / "text.mp4").write_text("not a video\n" * 30)
    (folder / "zero.mp4").touch()
    (folder / "bad.png").write_text("not an image")
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "notes.txt").write_text("ignored")
    Image.fromarray(clip()[0]).save(folder / "picture.png")
    done = run(folder, tmp_path / "out", rule="all")
    rows = done.report.set_index("path")
    status = rows["status"].to_dict()
    assert status == {
        "bad.png": "unreadable", "cut.mp4": "partial", "gone.mp4": "unreadable", "good.mp4": "ok",
        "headless.mp4": "unreadable", "noface.mp4": "no_face", "picture.png": "ok", "text.mp4": "unreadable",
        "zero.mp4": "empty",
    }  # fmt: skip
    assert (
        "of 12 frames readable" in rows["message"]["cut.mp4"]
        and 0 < rows["n_faces"]["cut.mp4"] < 12
    )
    assert "no face found in 12 frames" in rows["message"]["noface.mp4"]
    assert "another kind of file" in rows["message"]["text.mp4"]
    assert (
        "0 bytes" in rows["message"]["zero.mp4"] and "does not exist" in rows["message"]["gone.mp4"]
    )
    assert "as an image" in rows["message"]["bad.png"]
    assert not rows["message"].str.contains(str(tmp_path)).any()
    assert (done.crops["method"] == "unlabelled").all() and (done.crops["label"] == 1).all()
    assert set(done.crops["video_id"]) == {"good", "cut", "picture"}
    before = tree(tmp_path / "out")
    run(folder, tmp_path / "out", rule="all")
    assert tree(tmp_path / "out") == before


def test_empty_folder(tmp_path):
    (tmp_path / "nothing").mkdir()
    done = run(tmp_path / "nothing", tmp_path / "out")
    assert list(done.report["status"]) == ["empty"] and "no video" in done.report["message"][0]
    assert len(done.crops) == 0 and list(done.crops.columns)[:8] == manifest.COLUMNS
    assert (tmp_path / "out" / "manifest.csv").read_text().startswith("path,dataset")


def test_files_of_one_name_keep_apart(tmp_path):
    for path in ("a/x.mp4", "b/x.mp4", "b/x.avi"):
        codec = "mjpeg" if path.endswith("avi") else "libx264"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        video.write_video(tmp_path / path, clip(4), codec=codec)
    done = run([tmp_path / "a" / "x.mp4", tmp_path / "b"], tmp_path / "out", method="real")
    assert list(done.report["status"]) == ["ok"] * 3
    assert done.crops["path"].is_unique and done.crops["video_id"].nunique() == 3
    same = run([tmp_path / "a" / "x.mp4"] * 2, tmp_path / "twice")
    assert list(same.report["video_id"]) == ["x", "x~2"]


def test_other_settings_are_refused(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "out")
    with pytest.raises(extract.ExtractError, match="scale: there 1.3, asked 1.5.*another folder"):
        run(data / "manifest.csv", tmp_path / "out", scale=1.5)
    other = type("Other", (RedSquares,), {"settings": {"engine": "blue squares"}})()
    with pytest.raises(
        extract.ExtractError, match="engine.engine: there 'red squares', asked 'blue"
    ):
        run(data / "manifest.csv", tmp_path / "out", engine=other)
    (tmp_path / "out" / "provenance.json").unlink()
    with pytest.raises(extract.ExtractError, match="without provenance"):
        run(data / "manifest.csv", tmp_path / "out")


def test_a_second_run_in_the_same_folder_waits_then_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "LOCK_WAIT_S", 0)

    class Nested(RedSquares):
        def __call__(self, images):
            run(data / "manifest.csv", tmp_path / "out")

    with pytest.raises(extract.ExtractError, match="another extraction"):
        run(data / "manifest.csv", tmp_path / "out", engine=Nested())


def test_an_error_of_the_engine_is_not_hidden(data, tmp_path):
    class Broken(RedSquares):
        def __call__(self, images):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(data / "manifest.csv", tmp_path / "out", engine=Broken())
    assert not list((tmp_path / "out").rglob("*.png"))


def test_frames_without_a_face_are_counted(tmp_path):
    path = video.write_video(tmp_path / "v" / "v.mp4", clip(12, without=(0, 5, 6)), crf=12)
    done = run(path, tmp_path / "all", rule="all")
    row = done.report.iloc[0]
    assert (row["status"], row["n_asked"], row["n_faces"]) == ("partial", 12, 9)
    assert "no face in 3 of 12 frames" in row["message"]
    # "at_least" tries 6, 0, 11, 3, 9, ... until four frames gave a face
    done = run(path, tmp_path / "least", rule="at_least")
    row = done.report.iloc[0]
    assert (row["status"], row["n_asked"], row["n_faces"]) == ("ok", 6, 4)
    order = video.sample(12, "at_least")
    assert list(done.crops["frame"]) == sorted(k for k in order[:6] if k not in (0, 5, 6))
    done = run(path, tmp_path / "many", rule="at_least", n_frames=10)
    assert (
        done.report.iloc[0]["status"] == "partial"
        and "only 9 of 10" in done.report.iloc[0]["message"]
    )


def test_policies_with_two_faces(tmp_path):
    squares = ((4, 4, 20), (58, 20, 32))
    root = tmp_path / "data"
    video.write_video(root / "FS/0.mp4", clip(4, squares), crf=12)
    mask = np.zeros((4, 64, 96), np.float32)
    mask[:, 6:20, 6:20] = 1
    video.write_video(root / "masks/0.mp4", mask)
    row = {"path": "FS/0.mp4", "dataset": "toy", "method": "FS", "compression": "c23", "video_id": "0",
           "source_id": "0", "label": 1, "role": "", "mask_path": "masks/0.mp4"}  # fmt: skip
    table = pd.DataFrame([row])
    left = {}
    for policy in ("largest", "mask", "all"):
        done = run(table, tmp_path / policy, root=root, policy=policy, rule="all")
        left[policy] = [float(box.split()[0]) < 48 for box in done.crops["box"]]
        assert done.report["n_several"][0] == 4 and set(done.crops["n_faces"]) == {2}
        assert done.crops["path"][0].startswith("toy/FS/c23/0/00000")
    assert left["largest"] == [False] * 4 and left["mask"] == [True] * 4
    assert sorted(left["all"]) == [False] * 4 + [True] * 4 and set(done.crops["face"]) == {0, 1}
    table["mask_path"] = "FS/none.mp4"
    done = run(table, tmp_path / "nomask", root=root, policy="mask", rule="all")
    assert (
        done.report["status"][0] == "partial"
        and "largest face was taken" in done.report["message"][0]
    )


def test_wrong_use(data, tmp_path):
    table = manifest.read(data / "manifest.csv")
    cases = [
        ((table,), {}, "pass root="),
        ((table.assign(frame=0),), {"root": data}, "manifest of frames"),
        (([],), {}, "no inputs"),
        ((data,), {"rule": "random"}, "use one of"),
        ((data,), {"policy": "best"}, "use one of"),
        ((data,), {"n_frames": 0}, "at least 1"),
        ((data,), {"scale": 0}, "scale > 0"),
    ]
    for args, options, message in cases:
        with pytest.raises(extract.ExtractError, match=message):
            run(*args, tmp_path / "out", **options)
    with pytest.raises(FileNotFoundError, match="check the path"):
        run(data / "none.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_provenance_names_what_made_the_crops(data, tmp_path):
    from gendkit.repro import read_json

    run(data / "manifest.csv", tmp_path / "out", rule="fixed_stride", stride=3)
    record = read_json(tmp_path / "out" / "provenance.json")
    assert record["spec"] == {
        "rule": "fixed_stride", "n_frames": None, "stride": 3, "scale": 1.3, "size": 32, "policy": "largest",
        "interpolation": "bilinear", "engine": {"engine": "red squares"},
    }  # fmt: skip
    assert "numpy" in record["code"]["versions"]


# --- overlap ---------------------------------------------------------------------------------


def test_ahead_keeps_order_and_stays_a_few_items_ahead():
    made = []

    def items():
        for k in range(20):
            made.append(k)
            yield k

    lead = []
    for k in ahead(items(), depth=2):
        time.sleep(0.005)
        lead.append(len(made) - k - 1)
    assert made == list(range(20)) and 1 <= max(lead) <= 4  # depth, one in each hand


def test_ahead_raises_after_what_came_before_and_ends_its_thread():
    def broken():
        yield 1
        raise video.VideoError("cut", 1, "truncated")

    seen = []
    with pytest.raises(video.VideoError, match="cut"):
        for k in ahead(broken()):
            seen.append(k)
    assert seen == [1]
    endless = ahead(iter(int, 1))
    next(endless)
    endless.close()
    assert not [t for t in threading.enumerate() if t.name == "gendkit-decode"]


def test_writer_does_all_in_order_and_raises_the_first_error():
    done = []
    writer = Writer(depth=2)
    for k in range(10):
        writer.put(lambda k=k: done.append(k))
    writer.finish()
    assert done == list(range(10))

    def full():
        raise OSError(28, "No space left on device")

    writer = Writer()
    writer.put(full)
    writer.put(lambda: done.append("after the error"))
    with pytest.raises(OSError, match="No space left"):
        writer.finish()
    writer.abort()
    assert "after the error" not in done
    assert not [t for t in threading.enumerate() if t.name == "gendkit-write"]


def test_a_full_disk_leaves_no_half_video(data, tmp_path, monkeypatch):
    saved = []
    real = Image.Image.save

    def save(self, path, **options):
        if len(saved) == 6:
            raise OSError(28, "No space left on device")
        saved.append(path)
        real(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left"):
        run(data / "manifest.csv", tmp_path / "out")
    monkeypatch.undo()
    left = [p for p in (tmp_path / "out").rglob("*.png")]
    assert len(left) == 4 and len({p.parent for p in left}) == 1  # the first video, whole
    run(data / "manifest.csv", tmp_path / "out")
    run(data / "manifest.csv", tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_large_frames_come_one_at_a_time(tmp_path, monkeypatch):
    sizes = []

    class Counting(RedSquares):
        batch_images = 16

        def __call__(self, images):
            sizes.append(len(images))
            return super().__call__(images)

    path = video.write_video(tmp_path / "v.mp4", clip(12), crf=12)
    run(path, tmp_path / "a", engine=Counting(), rule="all")
    assert sizes == [12]
    monkeypatch.setattr(extract.work, "_BATCH_BYTES", 64 * 96 * 3)
    sizes.clear()
    run(path, tmp_path / "b", engine=Counting(), rule="all")
    assert sum(sizes) == 12 and max(sizes) == 2  # the second brings it over the limit
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_speed_counts_what_was_done_now(data, tmp_path):
    done = run(data / "manifest.csv", tmp_path / "out", engine=RedSquares(delay=0.005))
    speed = done.speed
    assert (speed["n_videos"], speed["n_frames"]) == (8, 32)
    assert speed["frames_per_second"] == pytest.approx(32 / speed["seconds"])
    assert set(speed["stages"]) == {"decode", "detect", "landmarks", "align", "write"}
    assert speed["stages"]["detect"] >= 32 * 0.005 and speed["stages"]["landmarks"] == 0
    assert min(speed["stages"][k] for k in ("decode", "align", "write")) > 0
    again = run(data / "manifest.csv", tmp_path / "out").speed
    assert (again["n_videos"], again["n_frames"]) == (0, 0)


def test_clock_takes_the_times_that_an_engine_keeps():
    class Keeps:
        seconds = {"detect": 1.0, "landmarks": 2.0}

        def __call__(self, images):
            self.seconds = {"detect": 1.5, "landmarks": 4.0}
            return images

    clock = Clock()
    clock.find(Keeps(), [1])
    assert clock.seconds["detect"] == 0.5 and clock.seconds["landmarks"] == 2.0


# --- options ---------------------------------------------------------------------------------


def test_fixed_stride_with_a_limit_stops_after_so_many_faces(tmp_path):
    path = video.write_video(tmp_path / "v.mp4", clip(12, without=(0, 4)), crf=12)
    done = run(path, tmp_path / "out", rule="fixed_stride", stride=2, limit=3)
    row = done.report.iloc[0]
    assert list(done.crops["frame"]) == [2, 6, 8]
    assert (row["status"], row["n_asked"], row["n_faces"]) == ("ok", 5, 3)
    spec = json.loads((tmp_path / "out" / "provenance.json").read_text())["spec"]
    assert spec["limit"] == 3
    with pytest.raises(extract.ExtractError, match="goes with 'fixed_stride'"):
        run(path, tmp_path / "o2", limit=3)


def test_list_files_name_one_input_a_line(tmp_path):
    folder = tmp_path / "videos"
    for name in ("a/x.mp4", "b/x.mp4"):
        video.write_video(folder / name, clip(4), crf=12)
    lines = "# two videos\na/x.mp4\n\nb/x.mp4\nb/gone.mp4\n"
    (tmp_path / "list.txt").write_text(lines)
    done = run(tmp_path / "list.txt", tmp_path / "out", root=folder)
    rows = done.report.set_index("path")
    assert list(rows.index) == ["a/x.mp4", "b/x.mp4", "b/gone.mp4"]
    assert list(rows["status"]) == ["ok", "ok", "unreadable"]
    assert "does not exist" in rows["message"]["b/gone.mp4"]
    assert list(rows["video_id"])[:2] == ["a/x", "b/x"]
    elsewhere = tmp_path / "lists" / "list.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f"{folder}/a/x.mp4\n{folder}/b/x.mp4\n")
    done = run(elsewhere, tmp_path / "absolute")
    assert list(done.report["path"]) == ["a/x.mp4", "b/x.mp4"]
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(extract.ExtractError, match="names no file"):
        run(tmp_path / "list.txt", tmp_path / "none")


def test_report_names_codec_and_size(tmp_path):
    video.write_video(tmp_path / "d" / "v.avi", clip(4), codec="mjpeg")
    Image.fromarray(clip()[0]).save(tmp_path / "d" / "p.png")
    (tmp_path / "d" / "z.mp4").touch()
    report = run(tmp_path / "d", tmp_path / "out").report.set_index("path")
    assert list(report.loc["v.avi", ["codec", "width", "height"]]) == ["mjpeg", 96, 64]
    assert list(report.loc["p.png", ["codec", "width", "height"]]) == ["png", 96, 64]
    assert report.loc["z.mp4", ["codec", "width", "height"]].isna().all()


def test_redo_does_finished_videos_again(data, tmp_path):
    run(data / "manifest.csv", tmp_path / "out")
    before = tree(tmp_path / "out")
    again = run(data / "manifest.csv", tmp_path / "out", redo=True)
    assert again.speed["n_videos"] == 8 and tree(tmp_path / "out") == before


# --- masks -----------------------------------------------------------------------------------


def mask_clip(n: int = 4, x: int = 6, size=(64, 96), empty=()) -> np.ndarray:
    """Mask of the left (x = 6) or the right (x = 60) square of `TWO`."""
    mask = np.zeros((n, *size), np.float32)
    mask[:, 6:20, x : x + 14] = 1
    mask[list(empty)] = 0
    return mask


TWO = ((4, 4, 20), (58, 20, 32))


@pytest.mark.parametrize(
    ("source", "mask"),
    [
        ("v.mp4", "v.mp4"),
        ("v.mp4", "v_mask.mp4"),
        ("FS/c23/videos/v.mp4", "FS/c23/videos/v.mp4"),
        ("FS/c23/videos/v.mp4", "FS/masks/videos/v.mp4"),
        ("FS/v.mp4", "FS/v_mask.avi"),
    ],
)
def test_mask_folders_choose_the_face(tmp_path, source, mask):
    video.write_video(tmp_path / "videos" / source, clip(4, TWO), crf=12)
    codec = "mjpeg" if mask.endswith("avi") else "libx264"
    video.write_video(tmp_path / "masks" / mask, mask_clip(), codec=codec)
    options = {"policy": "mask", "mask_folder": tmp_path / "masks", "rule": "all"}
    done = run(tmp_path / "videos", tmp_path / "out", **options)
    assert [float(box.split()[0]) < 48 for box in done.crops["box"]] == [True] * 4
    assert done.report["n_masked"][0] == 4 and done.report["status"][0] == "ok"


def test_masks_beside_their_videos_are_found(tmp_path):
    video.write_video(tmp_path / "d" / "v.mp4", clip(4, TWO), crf=12)
    video.write_video(tmp_path / "d" / "v_mask.mp4", mask_clip())
    units = find_units(tmp_path / "d" / "v.mp4", None, "FS")
    assert extract.find_masks(units, tmp_path / "d") == 1
    assert Path(units[0]["mask"]).name == "v_mask.mp4"


def test_masks_that_do_not_fit_are_told(tmp_path, capsys):
    cases = {
        "short": (mask_clip(2), "fewer frames than the video; in 2 frames the largest", 2),
        "empty": (mask_clip(empty=(1,)), "meets no face in 1 frames; the largest", 3),
        "small": (mask_clip(size=(32, 96)), "the mask is 96x32, the video 96x64; in 4", 0),
    }
    for name, (mask, _, _) in cases.items():
        video.write_video(tmp_path / "videos" / f"{name}.mp4", clip(4, TWO), crf=12)
        video.write_video(tmp_path / "masks" / f"{name}.mp4", mask)
    video.write_video(tmp_path / "videos" / "text.mp4", clip(4, TWO), crf=12)
    (tmp_path / "masks" / "text.mp4").write_text("no mask\n" * 40)
    video.write_video(tmp_path / "videos" / "without.mp4", clip(4, TWO), crf=12)
    options = {"policy": "mask", "mask_folder": tmp_path / "masks", "rule": "all"}
    rows = run(tmp_path / "videos", tmp_path / "out", **options).report.set_index("video_id")
    assert "4 of 5 inputs have a mask" in capsys.readouterr().err
    for name, (_, message, n_masked) in cases.items():
        assert rows["status"][name] == "partial" and message in rows["message"][name], name
        assert rows["n_masked"][name] == n_masked and rows["n_faces"][name] == 4, name
    assert "another kind of file" in rows["message"]["text"] and rows["n_masked"]["text"] == 0
    assert (rows["status"]["without"], rows["n_masked"]["without"]) == ("ok", 0)


def test_mask_folders_that_cannot_be_used_are_refused(data, tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(extract.ExtractError, match="holds no mask.*real/000_mask.mp4"):
        run(data / "manifest.csv", tmp_path / "o", policy="mask", mask_folder=tmp_path / "masks")
    with pytest.raises(extract.ExtractError, match="does not exist"):
        run(data / "manifest.csv", tmp_path / "o", policy="mask", mask_folder=tmp_path / "no")
    with pytest.raises(extract.ExtractError, match="with policy 'mask'"):
        run(data / "manifest.csv", tmp_path / "o", mask_folder=tmp_path / "masks")


# --- tracking --------------------------------------------------------------------------------


class Exact:
    """A FaceEngine's parts on `clip`: detects red squares; landmarks fit the square they lie on."""

    settings = {"engine": "exact"}

    def __init__(self):
        self.seconds = {"detect": 0.0, "landmarks": 0.0}
        self.n_detected = 0

    def detect(self, image):
        self.n_detected += 1
        return [(face.box, face.score) for face in RedSquares()._find(image)]

    def scored_landmarks(self, image, boxes):
        points, sure = [], []
        for box in boxes:
            x, y = np.clip((box[:2] + box[2:]) / 2, 0, [95, 63]).astype(int)
            on = [f for f in RedSquares()._find(image) if (f.box[0] // 48) == (x // 48)]
            points.append(on[0].landmarks if on else landmarks_in(np.asarray(box)))
            sure.append(0.8 if on and image[y, x, 0] > 150 and image[y, x, 1] < 90 else 0.1)
        return points, sure


def test_tracking_follows_a_drifting_face_and_detects_every_so_often():
    frames, engine = clip(24), Exact()
    tracker = Tracker(engine)
    found = tracker(list(frames))
    assert engine.n_detected == tracker.n_detected == 3  # frames 0, RUN + 1 and 2 RUN + 2
    assert tracker.n_tracked == 21 and RUN == 10
    assert [faces[0].tracked for faces in found] == [k % (RUN + 1) > 0 for k in range(24)]
    for image, faces in zip(frames, found, strict=True):
        truth = RedSquares()._find(image)[0]
        assert np.abs(faces[0].box - truth.box).max() < 1e-3
        np.testing.assert_array_equal(faces[0].landmarks, truth.landmarks)


def test_tracking_detects_again_where_the_face_jumps_or_is_gone():
    frames = clip(8)
    frames[4:] = clip(8, squares=((52, 12, 32),))[4:]  # the face is in the other half now
    engine = Exact()
    found = Tracker(engine)(list(frames))
    assert [f[0].tracked for f in found] == [False, True, True, True, False, True, True, True]
    assert all(f[0].box[0] >= 48 for f in found[4:])
    engine = Exact()
    found = Tracker(engine)(list(clip(6, without=(2, 3))))
    assert [len(f) for f in found] == [1, 1, 0, 0, 1, 1]
    assert engine.n_detected == 4  # 0, 2, 3 and 4
    tracker = Tracker(engine)
    tracker([frames[0]])
    tracker.restart()
    assert not tracker([frames[1]])[0][0].tracked


def test_tracking_needs_a_face_engine(data, tmp_path):
    with pytest.raises(extract.ExtractError, match="needs a FaceEngine, got RedSquares"):
        run(data / "manifest.csv", tmp_path / "out", track=True)


# --- the cluster -----------------------------------------------------------------------------

HAS_DASK = importlib.util.find_spec("distributed") is not None
needs_dask = pytest.mark.skipif(not HAS_DASK, reason='needs pip install "gendkit[cluster]"')


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster on this machine: two workers in processes of their own."""
    distributed = pytest.importorskip("distributed")
    options = {"host": "127.0.0.1", "dashboard_address": None, "n_workers": 2}
    with distributed.LocalCluster(threads_per_worker=1, **options) as started:
        yield started.scheduler_address


@needs_dask
def test_a_cluster_gives_the_same_files(data, tmp_path, cluster):
    run(data / "manifest.csv", tmp_path / "one")
    done = run(data / "manifest.csv", tmp_path / "two", cluster=cluster)
    assert tree(tmp_path / "one") == tree(tmp_path / "two") and done.speed["n_frames"] == 32


CLUSTER_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_extract import RedSquares, run
run(sys.argv[2], sys.argv[3], engine=RedSquares(delay=0.2), cluster=sys.argv[4])
"""


@needs_dask
def test_killed_on_the_cluster_and_rerun_gives_the_same_bytes(data, tmp_path, cluster):
    run(data / "manifest.csv", tmp_path / "whole")
    out, tests = tmp_path / "killed", str(Path(__file__).parent)
    command = [sys.executable, "-c", CLUSTER_SCRIPT, tests, data / "manifest.csv", out, cluster]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    n_done, deadline = 0, time.monotonic() + 120
    while n_done < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        n_done = len(list(out.rglob(".units/**/*.json")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert 2 <= n_done < 8 and not (out / "manifest.csv").exists()
    run(data / "manifest.csv", out, cluster=cluster)
    time.sleep(1)  # a video that a worker still had in hand when the client died
    assert tree(out) == tree(tmp_path / "whole")


@needs_dask
def test_no_scheduler_is_told(data, tmp_path, monkeypatch):
    import distributed

    def refuse(**where):
        raise OSError("connection refused")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(extract.ExtractError, match="no Dask scheduler answers at 'tcp://127"):
        run(data / "manifest.csv", tmp_path / "out", cluster="tcp://127.0.0.1:1")


@pytest.mark.skipif(HAS_DASK, reason="distributed is here")
def test_without_dask_the_message_says_what_to_install(data, tmp_path):
    with pytest.raises(ImportError, match=r"gendkit\[cluster\]"):
        run(data / "manifest.csv", tmp_path / "out", cluster="tcp://127.0.0.1:8786")


# ---------------------------------------------------------------- margins


def test_crops_at_scales_are_those_of_an_extraction_at_each_scale(data, tmp_path):
    table = manifest.read(data / "manifest.csv")
    rows, crops = extract.crops_at_scales(table, data, [1.0, 1.7], 3, RedSquares(), size=32)
    assert len(rows) == 24 and list(crops) == [1.0, 1.7]
    for scale in crops:
        out = tmp_path / str(scale)
        done = run(data / "manifest.csv", out, n_frames=3, scale=scale)
        assert (
            done.crops[["video_id", "method", "frame"]] == rows[["video_id", "method", "frame"]]
        ).all(axis=None)
        for path, crop in zip(done.crops["path"], crops[scale], strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(out / path)), crop)


def test_crops_at_scales_leave_out_frames_without_a_face(tmp_path):
    video.write_video(tmp_path / "real/a.mp4", clip(8, without=(0,)), crf=12)
    table = find_units(tmp_path / "real", None, "real")[0]["row"]
    table = pd.DataFrame([table])
    rows, crops = extract.crops_at_scales(table, tmp_path / "real", [1.3], 8, RedSquares())
    assert rows["frame"].tolist() == list(range(1, 8)) and crops[1.3][0].shape == (256, 256, 3)
    with pytest.raises(ValueError, match="expected positive numbers"):
        extract.crops_at_scales(table, tmp_path / "real", [1.0, 0.0], engine=RedSquares())
