"""app: thirty kinds of uploads give a message or a score, nothing stays on the disk; the server keeps to itself."""

import base64
import csv
import io
import json
import os
import pickle
import re
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gendkit import calibration, evaluate, faces, repro, score, video
from gendkit.app import (
    analyse,
    examples,
    explore,
    files,
    limits,
    models,
    pictures,
    report,
    serve,
    ui,
)
from gendkit.app.analyse import Settings
from gendkit.app.limits import Limits, UploadError
from gendkit.commands import app as command

SMALL = Limits(max_mb=3.0, max_seconds=60.0, max_files=4)


@pytest.fixture(scope="module")
def detector():
    return score.load(device="cpu")


@pytest.fixture(scope="module")
def engine():
    with score.interpreted():
        yield faces.FaceEngine(device="cpu")


@pytest.fixture(scope="module")
def clip():
    return examples.path(examples.names()[1])


@pytest.fixture(scope="module")
def still(clip):
    """One frame of a face swap, (256, 256, 3) uint8."""
    return video.read_frames(clip, [0])[0]


@pytest.fixture
def work(detector, engine, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    shelf = models.Shelf("cpu", load=lambda name, device: detector)
    shelf._engine = engine
    return ui.Work(shelf, SMALL, home)


def send(work, path: Path, name: str | None = None) -> str:
    """Put a file where an upload would lie."""
    folder = work.home / uuid.uuid4().hex
    folder.mkdir()
    target = folder / (name or path.name)
    target.write_bytes(path.read_bytes())
    return str(target)


TWO = Settings(max_frames=2)


def run(work, paths, settings=TWO, chosen=(), model="embedded", folder=""):
    """Score as the page does; gives the last answer and the text of its status."""
    last = list(work.run("page", paths, list(chosen), model, folder, settings))[-1]
    return last, re.sub("<[^>]*>", "", last["status"])


# --- kinds of uploads ------------------------------------------------------------------------


def _png(image, path, mode=None, **options):
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)


def _sixteen(image, path):
    grey = np.asarray(Image.fromarray(image).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def _turned(image, path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise for showing
    Image.fromarray(np.rot90(image).copy()).save(path, exif=exif, quality=95)


def _gif(image, path):
    pictures = [Image.fromarray(np.roll(image, k, axis=1)) for k in range(3)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0)


def _many(image, path):
    small = np.asarray(Image.fromarray(image).resize((128, 128)))
    Image.fromarray(np.tile(small, (5, 10, 1))).save(path)


def _sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)


def _long(image, path):
    """Two frames, said to be three hours apart."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=1)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
        for pts in (0, 3 * 3600):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = pts
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _heic(path):
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200))


def _zip(path):
    head = b"PK\x03\x04\x14\x00\x01\x00\x08\x00"  # bit 0 of the flags: encrypted
    path.write_bytes(head + os.urandom(300))


# name -> (how it is made of (still, clip, path), "scored" or the status, a word of the message)
KINDS = {
    "text.mp4": (lambda s, c, p: p.write_text("no video\n" * 50), "refused", "text"),
    "playlist.mp4": (
        lambda s, c, p: p.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        "refused",
        "text",
    ),
    "nothing.png": (lambda s, c, p: p.write_bytes(b""), "refused", "empty"),
    "large.bmp": (lambda s, c, p: _png(np.tile(s, (4, 4, 1)), p), "refused", "3.1 MB"),
    "huge.png": (lambda s, c, p: Image.new("1", (9000, 8000)).save(p), "refused", "million"),
    "bomb.png": (lambda s, c, p: Image.new("1", (40000, 9000)).save(p), "refused", "pixels"),
    "8k.jpg": (
        lambda s, c, p: Image.fromarray(s).resize((7680, 4320), 0).save(p, quality=40),
        "any",
        "",
    ),
    "wall.png": (lambda s, c, p: Image.new("RGB", (200, 200), "green").save(p), "no_face", "face"),
    "dot.png": (lambda s, c, p: Image.new("RGB", (1, 1)).save(p), "no_face", "face"),
    "many.png": (lambda s, c, p: _many(s, p), "any", ""),
    "moving.gif": (lambda s, c, p: _gif(s, p), "scored", ""),
    "moving.webp": (lambda s, c, p: _gif(s, p), "scored", "first of 3"),
    "cmyk.jpg": (lambda s, c, p: _png(s, p, "CMYK"), "scored", ""),
    "alpha.png": (lambda s, c, p: _png(s, p, "RGBA"), "scored", ""),
    "palette.png": (lambda s, c, p: _png(s, p, "P"), "scored", ""),
    "grey.png": (lambda s, c, p: _png(s, p, "L"), "scored", ""),
    "sixteen.png": (lambda s, c, p: _sixteen(s, p), "scored", ""),
    "sixteen.tif": (lambda s, c, p: _sixteen(s, p), "scored", ""),
    "turned.jpg": (lambda s, c, p: _turned(s, p), "scored", ""),
    "Gesicht ü 顔 🙂.png": (lambda s, c, p: _png(s, p), "scored", ""),
    "cut.mp4": (
        lambda s, c, p: p.write_bytes(c.read_bytes()[: c.stat().st_size * 6 // 10]),
        "any",
        "",
    ),
    "head.mp4": (lambda s, c, p: p.write_bytes(c.read_bytes()[:200]), "refused", "cut off"),
    "cut.jpg": (
        lambda s, c, p: (_png(s, p), p.write_bytes(p.read_bytes()[:3000])),
        "unreadable",
        "cut.jpg cannot be read as an image",
    ),
    "sound.mp4": (lambda s, c, p: _sound(p), "refused", "sound"),
    "sound.wav": (lambda s, c, p: p.write_bytes(b"RIFF\0\0\0\0WAVE"), "refused", "sound"),
    "phone.heic": (lambda s, c, p: _heic(p), "refused", "HEIC"),
    "secret.zip": (lambda s, c, p: _zip(p), "refused", "ZIP"),
    "drawing.svg": (lambda s, c, p: p.write_text("<svg onload='x()'/>"), "refused", "SVG"),
    "page.jpg": (lambda s, c, p: p.write_text("<!DOCTYPE html><script>"), "refused", "HTML"),
    "paper.pdf": (lambda s, c, p: p.write_bytes(b"%PDF-1.7"), "refused", "PDF"),
    "model.png": (lambda s, c, p: p.write_bytes(pickle.dumps([1] * 9)), "refused", "kind"),
    "noise.mkv": (lambda s, c, p: p.write_bytes(b"\xf7" * 999), "refused", "no known kind"),
    "long.mp4": (lambda s, c, p: _long(s, p), "refused", "lasts"),
    "picture.mp4": (lambda s, c, p: _png(s, p, format="PNG"), "scored", ""),
    "video.png": (lambda s, c, p: p.write_bytes(c.read_bytes()), "scored", ""),
    "jpeg.png": (lambda s, c, p: _png(s, p, format="JPEG"), "scored", ""),
    "picture.xyz": (lambda s, c, p: _png(s, p, format="PNG"), "scored", ""),
    "picture": (lambda s, c, p: _png(s, p, format="PNG"), "scored", ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_upload_gets_an_answer_and_leaves_nothing(name, work, still, clip, tmp_path):
    make, wanted, word = KINDS[name]
    source = tmp_path / name
    make(still, clip, source)
    last, text = run(work, [send(work, source)])
    (result,) = last["results"]
    assert result.name == name
    if wanted == "any":
        wanted = "scored" if result.p_fake is not None else result.status
        assert result.p_fake is not None or result.message
        assert result.status != "error", result.message
    if wanted == "scored":
        assert result.status in ("ok", "partial"), result.message
        assert 0 <= result.p_fake <= 1 and result.faces and result.shown
        assert word in result.message
        assert "1 of 1 file scored" in text
    else:
        assert result.status == wanted and word in result.message, result.message
        assert result.p_fake is None and "0 of 1 file scored" in text
        assert str(work.home) not in result.message
    assert list(work.home.iterdir()) == []


def test_the_app_serves_the_next_user_after_bad_files(work, still, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    good = tmp_path / "good.png"
    Image.fromarray(still).save(good)
    last, text = run(work, [send(work, bad), send(work, good)])
    assert [r.status for r in last["results"]] == ["refused", "ok"]
    assert "1 of 2 files scored" in text and "gk-warn" in last["status"]
    last, _ = run(work, [send(work, good)])
    assert last["results"][0].status == "ok"


def test_the_same_pixels_get_the_same_score_in_every_form(work, still, tmp_path):
    forms = {"a.png": {}, "a.bmp": {}, "a.tif": {}, "b.webp": {"lossless": True}}
    for name, options in forms.items():
        Image.fromarray(still).save(tmp_path / name, **options)
    _turned(still, tmp_path / "t.jpg")
    Image.fromarray(still).save(tmp_path / "u.jpg", quality=95)
    last, _ = run(work, [send(work, tmp_path / n) for n in forms])
    scores = [r.p_fake for r in last["results"]]
    np.testing.assert_allclose(scores, scores[0], atol=1e-6)
    turned, upright = run(work, [send(work, tmp_path / n) for n in ("t.jpg", "u.jpg")])[0][
        "results"
    ]
    assert turned.p_fake == pytest.approx(upright.p_fake, abs=0.15)  # JPEG of turned blocks
    assert (turned.width, turned.height) == (256, 256)


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "home/../../x.png", "..", "/proc/self/environ", "a\x00b"],
)
def test_a_path_that_leads_elsewhere_is_not_touched(path, work):
    last, _ = run(work, [path])
    (result,) = last["results"]
    assert result.status == "refused" and "no such file" in result.message
    assert list(work.home.iterdir()) == []


def test_links_and_folders_are_not_followed(work, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9)).save(secret)
    link = work.home / "link.png"
    link.symlink_to(secret)
    folder = work.home / "folder.png"
    folder.mkdir()
    last, _ = run(work, [str(link), str(folder)])
    assert [r.status for r in last["results"]] == ["refused", "refused"]
    assert secret.is_file()
    with pytest.raises(UploadError, match="out of the app's folder"):
        limits.inside(link, work.home)


# --- analysis --------------------------------------------------------------------------------


def test_a_clip_as_the_command_scores_it(clip, detector, engine):
    (mine,) = analyse.analyse([("c", clip)], detector, engine, Settings(max_frames=4), SMALL)
    (other,) = score.score_files([clip], detector, engine, n_frames=4)
    assert mine.p_fake == pytest.approx(other.p_fake, abs=1e-6)
    assert [f.frame for f in mine.faces] == [f.frame for f in other.faces]
    assert [f.box for f in mine.faces] == [f.box for f in other.faces]
    values = [f.p_fake for f in mine.faces]
    assert mine.mean == pytest.approx(np.mean(values))
    assert mine.median == pytest.approx(np.median(values))
    assert mine.call(mine.p_fake) == "fake" and mine.call(mine.p_fake + 1e-6) == "real"
    assert mine.call(None) is None
    assert mine.sha256 == repro.sha256(clip)[:16]
    info = video.probe(clip)
    assert (mine.width, mine.height, mine.n_total) == (info.width, info.height, info.n_frames)
    seconds = [f.frame / info.fps for f in mine.faces]
    np.testing.assert_allclose([f.seconds for f in mine.faces], seconds)


def test_stride_scale_and_size(clip, detector, engine):
    settings = Settings(rule="stride", stride=3, max_frames=3, scale=1.6, size=None)
    (result,) = analyse.analyse([("c", clip)], detector, engine, settings, SMALL)
    assert [f.frame for f in result.faces] == [0, 3, 6] and result.n_frames == 3
    assert result.status == "ok" and result.message == ""
    images = video.read_frames(clip, [0, 3, 6])
    crops = [
        faces.align_crop(i, faces.choose(f).points, 1.6, None)
        for i, f in zip(images, engine(images), strict=True)
    ]
    np.testing.assert_allclose(
        [f.p_fake for f in result.faces], score.score_crops(detector, crops), atol=1e-6
    )
    (half,) = analyse.analyse(
        [("c", clip)], detector, engine, replace(settings, aggregate="median"), SMALL
    )
    assert half.p_fake == half.median


class Tiles:
    """Finds the faces of a tiled picture: those of one tile, moved to every tile."""

    batch_images = 4

    def __init__(self, engine, rows, columns):
        self.engine, self.rows, self.columns = engine, rows, columns

    def __call__(self, images):
        out = []
        for image in images:
            side = image.shape[0] // self.rows
            (face,) = self.engine([np.ascontiguousarray(image[:side, :side])])[0]
            moves = [(c * side, r * side) for r in range(self.rows) for c in range(self.columns)]
            out.append([
                replace(face, box=face.box + np.float32(m * 2), landmarks=face.landmarks + np.float32(m))
                for m in moves
            ])  # fmt: skip
        return out


@pytest.mark.parametrize("n", [1, 7, 50])
def test_fifty_faces_up_to_the_limit(n, still, detector, engine, tmp_path):
    path = tmp_path / "crowd.png"
    Image.fromarray(np.tile(still, (5, 10, 1))).save(path)
    tiles = Tiles(engine, 5, 10)
    settings = Settings(max_faces=n)
    (result,) = analyse.analyse([("c", path)], detector, tiles, settings, Limits())
    assert len(result.faces) == n and [f.face for f in result.faces] == list(range(n))
    assert result.p_fake == max(f.p_fake for f in result.faces)  # a frame counts by its highest
    (one,) = analyse.analyse([("c", path)], detector, tiles, Settings(), Limits())
    # alignment chooses among point sets by chance (least median), so equal faces differ a little
    assert np.median([f.p_fake for f in result.faces]) == pytest.approx(one.p_fake, abs=0.01)
    assert ("more than" in result.message) == (n < 50)


def test_work_is_stopped_by_hand_and_by_the_clock(clip, detector, engine):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 2

    settings = Settings(rule="stride", stride=1, max_frames=16)
    found = analyse.analyse(
        [("a", clip), ("b", clip)], detector, engine, settings, SMALL, stopped=stop
    )
    first, second = found
    assert first.status == "partial" and "stopped by hand: 4 of 16 frames" in first.message
    assert len(first.faces) == 4 and first.p_fake is not None
    assert second.status == "stopped" and second.p_fake is None
    late = Limits(work_seconds=1e-9)
    (result,) = analyse.analyse([("a", clip)], detector, engine, settings, late)
    assert result.status == "stopped" and "are over" in result.message


def test_progress_rises_to_one(clip, detector, engine):
    told = []
    list(analyse.analyse([("a", clip)] * 2, detector, engine, Settings(max_frames=6), SMALL,
                         report=lambda share, text: told.append((share, text))))  # fmt: skip
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert len(shares) >= 6 and told[-2][1] == "a (2 of 2)"


def test_an_unexpected_failure_is_said_and_logged(clip, detector, caplog):
    class Broken:
        def __call__(self, images):
            raise RuntimeError("out of order")

    results = list(analyse.analyse([("a", clip)], detector, Broken(), Settings(), SMALL))
    assert results[0].status == "error" and "out of order" in results[0].message
    assert "Traceback" in caplog.text


def test_weights_that_give_nonsense_are_said(clip, detector, engine, monkeypatch):
    monkeypatch.setattr(analyse, "score_crops", lambda d, crops: np.full(len(crops), np.nan))
    (result,) = analyse.analyse([("a", clip)], detector, engine, Settings(max_frames=1), SMALL)
    assert result.status == "error" and "damaged weights" in result.message


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rule": "all"}, "rule"),
        ({"aggregate": "max"}, "aggregate"),
        ({"max_frames": 0}, "max_frames"),
        ({"max_frames": 10**6}, "1 to 300"),
        ({"max_faces": 51}, "max_faces"),
        ({"stride": 1.5}, "stride"),
        ({"scale": 9}, "scale"),
        ({"size": 5}, "size"),
        ({"max_frames": "8"}, "max_frames"),
        ({"det_threshold": float("nan")}, "det_threshold"),
    ],
)
def test_wrong_settings_are_named(change, word, work):
    last, text = run(work, None, replace(Settings(), **change), examples.names()[:1])
    assert "results" not in last and word in text and "gk-bad" in last["status"]


def test_nothing_and_too_much(work, still, tmp_path):
    assert "nothing to score" in run(work, None)[1]
    path = tmp_path / "a.png"
    Image.fromarray(still).save(path)
    paths = [send(work, path) for _ in range(5)]
    assert "5 files are more than 4" in run(work, paths)[1]
    assert list(work.home.iterdir()) == []  # refused, and deleted all the same
    once = send(work, path)
    assert len(run(work, [once, once])[0]["results"]) == 1


def test_examples_are_real_files_and_stay(work):
    names = examples.names()
    assert len(names) == 4 and names[0].startswith("real")
    last, _ = run(work, None, chosen=names)
    assert [r.status for r in last["results"]] == ["ok"] * 4
    assert all(examples.path(name).is_file() for name in names)
    assert examples.strip().count("<img") == 4
    assert "no example" in run(work, None, chosen=["../x"])[1]


def test_length_is_counted_not_believed(clip, detector, engine):
    """0.64 s of video: too long for a limit of half a second, whatever the header says."""
    (result,) = analyse.analyse(
        [("a", clip)], detector, engine, Settings(), Limits(max_seconds=0.5)
    )
    assert result.status == "refused" and "lasts" in result.message


# --- names, hosts, folders -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\face.png", "face.png"),
        ("a\nb\r\x00\x1b[31m.png", "ab[31m.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("e\u0301.png", "é.png"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("x" * 300 + ".jpeg", "x" * 51 + "…" + "xxx.jpeg"),
    ],
)
def test_names_are_safe_to_show(given, shown):
    assert limits.shown_name(given) == shown


def test_only_this_computer():
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"):
        assert limits.is_loopback(host)
        serve.check_host(host, False)
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org", ""):
        assert not limits.is_loopback(host)
        with pytest.raises(ValueError, match="--i-know"):
            serve.check_host(host, False)
        serve.check_host(host, True)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--host", "0.0.0.0"], "--i-know"),
        (["--port", "0"], "1 to 65535"),
        (["--max-mb", "0"], "max_mb"),
        (["--max-seconds", "-1"], "max_seconds"),
    ],
)
def test_wrong_use_of_the_command(argv, word, capsys):
    with pytest.raises(SystemExit) as done:
        command.main(argv)
    assert done.value.code == 2 and word in capsys.readouterr().err


def test_help_names_what_matters(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    for option in ("--host", "--port", "--model", "--max-mb", "--max-seconds", "--i-know"):
        assert option in shown


def test_the_folder_of_a_killed_app_goes_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / "gendkit-app-4194304-abc"  # above the largest process number of Linux
    dead.mkdir()
    (dead / "left.png").write_bytes(b"x")
    other = tmp_path / "gendkit-app-mine"
    other.mkdir()
    first, second = files.make_home(), files.make_home()
    assert not dead.exists() and other.exists() and first.is_dir() and second.is_dir()
    assert first.stat().st_mode & 0o077 == 0  # nobody else may read it


def test_what_is_left_over_is_swept(tmp_path):
    def put(name, n, age):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * n)
        os.utime(path, (time.time() - age,) * 2)
        return path

    stray, growing = put("tmpstray", 0, 0), put("tmpgrowing", 5, 1)
    broken, waiting = put("tmpbroken", 5, 60), put("hash/waiting.png", 5, 60)
    old = put("hash2/old.png", 5, 4000)
    with (tmp_path / "tmpopen").open("wb") as handle:
        files.sweep(tmp_path, keep_seconds=1800)
        assert Path(handle.name).exists()
    assert [p.exists() for p in (stray, growing, broken, waiting, old)] == [
        False, True, False, True, False
    ]  # fmt: skip
    reaper = files.Reaper(tmp_path, keep_seconds=30, every=0.05)
    for _ in range(100):
        if not waiting.exists():
            break
        time.sleep(0.05)
    assert not waiting.exists()
    reaper.close()
    assert not tmp_path.exists()


# --- models ----------------------------------------------------------------------------------


def test_one_model_at_a_time_and_by_allowed_names_only(tmp_path):
    loaded = []
    shelf = models.Shelf("cpu", ["embedded", "own folder"], lambda n, d: loaded.append(n) or n)
    assert shelf.detector("embedded") == shelf.detector("embedded") == "embedded"
    assert loaded == ["embedded"]
    assert shelf.detector("own folder", f" {tmp_path} ") == str(tmp_path)
    for choice, folder, word in (
        ("own folder", "", "give the folder"),
        ("own folder", str(tmp_path / "no"), "is no folder"),
        ("yermandy/GenD_PE_L", "", "not offered"),
        ("/etc", "", "not offered"),
    ):
        with pytest.raises(UploadError, match=word):
            shelf.detector(choice, folder)
    assert models.choices("yermandy/GenD_PE_L", own=False)[0] == "yermandy/GenD_PE_L"
    assert models.choices("runs/x")[0] == "runs/x" and models.choices()[-1] == models.OWN
    assert models.OWN not in models.choices(own=False)


def test_a_model_that_is_a_pickle_is_refused(work, tmp_path):
    fired = tmp_path / "fired"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (fired,)

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "GenD", "head": "LinearNorm"}))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    shelf = models.Shelf("cpu")
    work.shelf = shelf
    last, text = run(
        work, None, chosen=examples.names()[:1], model="own folder", folder=str(folder)
    )
    assert "results" not in last and "can run any code" in text
    assert not fired.exists()
    _, text = run(work, None, chosen=examples.names()[:1], model="own folder", folder=str(tmp_path))
    assert "No config.json" in text


# --- threshold and prevalence ----------------------------------------------------------------


def test_rates_by_counting():
    labels = np.array([0, 0, 0, 0, 1, 1])
    p = np.array([0.1, 0.2, 0.6, 0.7, 0.6, 0.9])
    rates = explore.rates_at(labels, p, 0.6)
    assert (rates.false_alarms, rates.n_real, rates.hits, rates.n_fake) == (2, 4, 2, 2)
    assert rates.fpr == 0.5 and rates.tpr == 1.0
    assert rates.band == (calibration.interval(2, 4), calibration.interval(2, 2))
    with pytest.raises(ValueError, match="both are needed"):
        explore.rates_at(labels[:4], p[:4], 0.5)


def test_words_count_people_not_percent():
    words = explore.in_words(0.01, 0.05, 0.8)
    # 100 fakes: 80 found; 9,900 reals: 495 called fake; 80 / 575 = 13.9 %
    for number in ("10,000", "100", "80", "495", "20", "13.9%"):
        assert number in words
    assert "Nothing is called fake" in explore.in_words(0.5, 0.0, 0.0)


def test_the_band_holds_the_curve():
    rates = explore.Rates(0.7, 4, 16, 44, 64)
    grid = np.geomspace(1e-4, 0.5, 20)
    low, high = explore.value_band(grid, rates)
    middle = grid * rates.tpr / (grid * rates.tpr + (1 - grid) * rates.fpr)
    assert (low < middle).all() and (middle < high).all()


def test_stored_rates_and_those_of_a_run(detector, tmp_path, tiny_scores):
    rates = explore.stored(detector.threshold)
    assert (rates.false_alarms, rates.n_real) == (
        detector.threshold["false_alarms"], detector.threshold["n_real"]
    )  # fmt: skip
    assert explore.stored(None) is None and explore.stored({"value": 0.5}) is None
    assert explore.select_videos(tmp_path) is None
    evaluate.write_scores(tiny_scores, tmp_path / "scores.csv")
    labels, p = explore.select_videos(tmp_path)
    select = tiny_scores[tiny_scores["role"] == "select"]
    assert len(labels) == select.groupby(["method", "video_id"]).ngroups
    session = ui.Session()
    session.videos = labels, p
    found = ui.known(session, 0.3)
    assert found.false_alarms == int((p[labels == 0] >= 0.3).sum())
    assert "Counted at 0.300" in ui.rates_text(session, 0.3)
    session.videos, session.stored = None, detector.threshold
    value = detector.threshold["value"]
    assert ui.known(session, round(value, 3)) == rates
    assert ui.known(session, value - 0.1) is None
    assert "was not counted" in ui.rates_text(session, value - 0.1)


def test_the_embedded_detector_counts_at_any_threshold(detector):
    labels, p = explore.select_videos("embedded")
    told = explore.stored(detector.threshold)
    assert explore.rates_at(labels, p, told.threshold) == told
    assert 0 < explore.rates_at(labels, p, 0.999).hits < told.hits


def test_moving_the_threshold_moves_the_calls():
    session = ui.Session()
    session.results = [analyse.FileResult("a", "ok", "", p_fake=0.4, mean=0.4, median=0.4)]
    session.stored = {"value": 0.7, "false_alarms": 4, "n_real": 16, "hits": 44, "n_fake": 64}
    table, words, figure = ui.explored(session, 0.3, 1.0, 25.0, 68.75)
    assert "<td>fake</td>" in table and len(figure.data) == 2  # not the stored point: no band
    table, words, figure = ui.explored(session, 0.7, 1.0, 25.0, 68.8)
    assert "<td>real</td>" in table and len(figure.data) == 3
    assert "2,475 reals" in words
    for wrong in ((0, 5, 5), (100, 5, 5), (1, -1, 5), (1, 5, 101), (None, 5, 5)):
        _, words, figure = ui.explored(session, 0.5, *wrong)
        assert figure is None and "percent" in words


# --- what is shown and handed out ------------------------------------------------------------


@pytest.fixture(scope="module")
def results(clip, still, detector, engine, tmp_path_factory):
    hostile = tmp_path_factory.mktemp("names") / "x.png"
    Image.fromarray(still).save(hostile)
    given = [("<img src=x onerror=alert(1)>.png", hostile), ("=cmd|' calc'!A0", clip)]
    return list(analyse.analyse(given, detector, engine, Settings(max_frames=3), SMALL))


def test_names_from_outside_are_escaped(results, detector):
    data = report.facts(results, Settings(), detector, 0.5)
    pages = (
        report.table(results, 0.5), report.frames(results, 0.5), report.crops(results),
        report.as_page(results, data, 0.5), ui.status("bad", results[0].name),
    )  # fmt: skip
    for page in pages:
        assert "<img src=x" not in page
    assert "&lt;img src=x" in pages[0]
    assert "<img" not in ui.over_time(results, 0.5).to_json().split('"alt"')[0]


def test_the_saved_files_say_what_the_page_says(results, detector):
    value = detector.threshold["value"]
    links = report.downloads(results, Settings(max_frames=3), detector, value)
    saved = {
        name: base64.b64decode(code).decode()
        for name, code in re.findall(r'download="([^"]+)" href="data:[^;]+;base64,([^"]+)"', links)
    }
    assert set(saved) == {"gendkit-report.html", "gendkit-scores.csv", "gendkit-scores.json"}
    data = json.loads(saved["gendkit-scores.json"])
    assert data["model"] == "embedded" and data["threshold"] == value
    assert data["settings"]["scale"] == detector.crop_scale
    assert [f["p_fake"] for f in data["files"]] == [r.p_fake for r in results]
    assert any("no proof" in note for note in data["notes"])
    rows = list(csv.DictReader(io.StringIO(saved["gendkit-scores.csv"])))
    assert len(rows) == sum(len(r.faces) for r in results)
    assert rows[-1]["file"].startswith("'=")  # a spreadsheet must not run it
    assert float(rows[-1]["p_fake"]) == pytest.approx(results[-1].faces[-1].p_fake, abs=1e-6)
    page = saved["gendkit-report.html"]
    assert page.count("<img") == sum(len(r.shown) + len(r.faces) for r in results)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert report.downloads([], Settings(), detector, None).startswith("<p>Nothing to save")


def test_boxes_are_drawn_where_the_faces_are(results, still):
    shown = results[0].shown[0]
    drawn = pictures.annotate(shown.image, shown.boxes, shown.scores, 0.0)
    assert drawn.shape == shown.image.shape and (shown.image == still).all()
    changed = np.argwhere((drawn != shown.image).any(axis=2))
    x0, y0, x1, y1 = shown.boxes[0]
    assert changed[:, 0].max() <= y1 + 3 and changed[:, 1].min() >= x0 - 3
    y = round((y0 + y1) / 2)
    assert tuple(drawn[y, round(x0)]) == (0xD5, 0x5E, 0x00)  # the colour of fakes
    below = pictures.annotate(shown.image, shown.boxes, shown.scores, 1.0)
    assert tuple(below[y, round(x0)]) == (0x00, 0x72, 0xB2)
    outside = pictures.annotate(shown.image, [(-50, -50, 999, 999)], [0.5], None)
    assert outside.shape == shown.image.shape
    assert pictures.shrink(np.zeros((100, 960, 3), np.uint8)).shape == (50, 480, 3)


def test_calibrated_scores_are_shown_where_there_are_some(clip, detector, engine):
    warm = replace(detector, threshold={**detector.threshold, "temperature": {"value": 2.0}})
    (result,) = analyse.analyse([("a", clip)], warm, engine, Settings(max_frames=1), SMALL)
    odds = np.log(result.p_fake / (1 - result.p_fake)) / 2
    assert result.calibrated == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    assert ">calibrated</th>" in report.table([result], None)
    assert ">calibrated</th>" not in report.table([replace(result, calibrated=None)], None)


def test_over_time_names_equal_files_apart(results):
    figure = ui.over_time([results[1], results[1]], 0.5)
    names = [trace.name for trace in figure.data]
    assert len(set(names)) == 2
    np.testing.assert_allclose(figure.data[0].x, [f.seconds for f in results[1].faces], atol=1e-6)
    assert ui.over_time([analyse.FileResult("a", "refused", "no")], 0.5) is None


# --- the server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(detector, engine, tmp_path_factory):
    pytest.importorskip("gradio", reason="pip install 'gendkit[app]'")
    shelf = models.Shelf("cpu", load=lambda name, device: detector)
    shelf._engine = engine
    with serve.serving(shelf=shelf, limits=SMALL) as app:
        yield app
    assert not app.home.exists()


def ask(served, path, data=None, **headers):
    """Status, headers and body of a request."""
    request = urllib.request.Request(served.url.rstrip("/") + path, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def upload(served, name: str, content: bytes):
    line = "xxxxBOUNDARYxxxx"
    head = f'--{line}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{line}--\r\n".encode()
    kind = f"multipart/form-data; boundary={line}"
    return ask(served, "/gradio_api/upload", body, **{"Content-Type": kind})


def test_the_page_forbids_requests_to_elsewhere(served):
    assert served.url.startswith("http://127.0.0.1:")
    status, headers, _ = ask(served, "/")
    assert status == 200
    rules = dict(
        rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";")
    )
    assert rules["default-src"] == "'self'"
    assert all("http" not in rule and "*" not in rule for rule in rules.values())
    config = json.loads(ask(served, "/config")[2])
    assert config["analytics_enabled"] is False and config["run_history"] is False
    assert not config.get("is_space") and config["footer_links"] == []


def test_a_foreign_host_name_is_refused(served):
    """Another site may point its name at 127.0.0.1; the browser then sends that name."""
    assert ask(served, "/config", Host="evil.example")[0] == 421
    assert ask(served, "/config", Host="localhost:1")[0] == 200


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "...."])
def test_uploads_land_in_the_folder_of_the_app(served, name):
    status, _, body = upload(served, name, b"x")
    if status == 200:
        (path,) = json.loads(body)
        assert Path(path).resolve().is_relative_to(served.home)
        Path(path).unlink()
    else:
        assert status in (400, 422)
    assert not (served.home.parent / "evil.png").exists() and not Path("/etc/evil.png").exists()


def test_large_uploads_are_refused_and_leave_nothing(served):
    status, _, body = upload(served, "big.png", bytes(int(SMALL.max_mb * 1e6) + 1))
    assert status == 413 and b"maximum allowed size" in body
    for path in served.home.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)
    files.sweep(served.home)
    assert [p for p in served.home.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        str(Path(__file__).resolve()),
        "pyproject.toml",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "{home}/../../etc/passwd",
        "http://127.0.0.1:9/x",
    ],
)
def test_no_file_outside_is_served(served, path):
    for route in ("/gradio_api/file=", "/gradio_api/download=", "/static/", "/assets/"):
        status, _, body = ask(served, route + path.format(home=served.home))
        assert status in (403, 404, 405, 400, 307), (route, status)
        assert b"root:" not in body and len(body) < 300


def test_there_is_no_open_api(served):
    info = json.loads(ask(served, "/gradio_api/info")[2])
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}
    path = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    data = [[path], [], "embedded", "", "spread evenly", 2, 5, 0, 0, 256, 1, "mean", None]
    body = json.dumps({"data": data}).encode()
    kind = {"Content-Type": "application/json"}
    status, _, body = ask(served, "/gradio_api/call/run", body, **kind)
    if status == 200:  # taken into the queue, where the path is refused
        event = json.loads(body)["event_id"]
        _, _, body = ask(served, f"/gradio_api/call/run/{event}")
        assert b"event: error" in body and b"root:" not in body
    else:
        assert status in (401, 403, 404, 422)


def test_a_wrong_model_ends_the_start_with_its_reason(tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="pip install 'gendkit[app]'")
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="neither a folder nor a hub repository"):
        with serve.serving(model="no such model"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(ImportError, match=r"gendkit\[app\]"):
        serve._gradio()


def test_the_tables_of_scores_are_plain():
    table = pd.DataFrame({"file": ["a"], "seconds": [0.0], "p_fake": [0.5]})
    assert ui.plots.scores_over_time(table).data[0].name == "a"
