"""What users hand over: more than forty kinds of broken or odd input beside good videos.

Each kind gets its row in the report, and the good videos the crops that they get alone.
"""

import contextlib
import io
import os
import resource
import zlib

import av
import numpy as np
import pytest
from PIL import Image
from test_extract import RedSquares, clip, tree

from gendkit import extract, manifest, video

FRAMES = 20
GOOD = ("good_a.mp4", "good_b.mkv", "good_c.png")


def noisy(n: int = FRAMES, seed: int = 0) -> np.ndarray:
    """The red square of `clip` before sensor noise, so that a file has some bytes a frame."""
    frames = clip(n).astype(int)
    noise = np.random.default_rng(seed).integers(-12, 13, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def write_with(path, frames, codec, pixels, form=None, options=None):
    """Write a video by PyAV alone, for what `video.write_video` does not make."""
    with av.open(str(path), "w", format=form, options=options or {}) as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for image in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def sound(path, form=None):
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream("aac" if form is None else "pcm_s16le", rate=8000)
        samples = np.zeros((1, 4096), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def bomb() -> bytes:
    """A PNG whose header claims 100,000 x 100,000 pixels."""

    def chunk(kind, body):
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    side = (100_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def png(path, image=None, **options):
    Image.fromarray(clip(1)[0] if image is None else image).save(path, **options)


def cut(share, name="good_a.mp4"):
    def make(path):
        whole = (path.parent / name).read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return make


def copy_of(name, change=lambda data: data):
    return lambda path: path.write_bytes(change((path.parent / name).read_bytes()))


def spoil(data: bytes) -> bytes:
    """Overwrite a stretch in the middle of the pictures."""
    middle = len(data) * 6 // 10
    return data[:middle] + b"\xff" * 64 + data[middle + 64 :]


def loop(path):
    other = path.with_name("loop_other.mkv_")
    path.symlink_to(other)
    other.symlink_to(path)


def folder_loop(path):
    path.mkdir()
    (path / "again").symlink_to(path.parent, target_is_directory=True)
    png(path / "inside.png")


def eight_k(**options):
    def make(path):
        small = clip(1)[0]
        large = np.repeat(np.repeat(small, 80, axis=0), 80, axis=1)[:4320, :7680]
        if path.suffix == ".png":
            png(path, large, compress_level=1)
        else:
            write_with(path, large[None], "mjpeg", "yuvj420p")

    return make


def no_read(path):
    path.write_bytes((path.parent / "good_a.mp4").read_bytes())
    path.chmod(0)


# Kind -> file, how it is made, status, words of the message ("" for none).
UNREADABLE, PARTIAL = "unreadable", "partial"
KINDS = {
    "zero bytes": ("zero.mp4", lambda p: p.touch(), "empty", "0 bytes"),
    "zero bytes, image": ("zero.png", lambda p: p.touch(), "empty", "0 bytes"),
    "zeros": ("zeros.mp4", lambda p: p.write_bytes(bytes(4096)), UNREADABLE, "cannot be read"),
    "random bytes": (
        "random.mp4",
        lambda p: p.write_bytes(np.random.default_rng(1).bytes(4096)),
        UNREADABLE,
        "cannot be read",
    ),
    "text as video": (
        "text.mp4",
        lambda p: p.write_text("not a video\n" * 50),
        UNREADABLE,
        "another kind of file",
    ),
    "text as image": (
        "text.png",
        lambda p: p.write_text("not an image"),
        UNREADABLE,
        "as an image",
    ),
    "a web page": (
        "page.mp4",
        lambda p: p.write_text("<!DOCTYPE html><title>Sign in</title>"),
        UNREADABLE,
        "cannot be read",
    ),
    "header only": ("header.mp4", cut(0.01), UNREADABLE, "cut off?"),
    "index at the end, cut": (
        "late_index.mp4",
        lambda p: (
            write_with(p, noisy(), "libx264", "yuv420p"),
            p.write_bytes(p.read_bytes()[: p.stat().st_size * 7 // 10]),
        ),
        UNREADABLE,
        "index was cut",
    ),
    "mkv cut": ("cut.mkv", cut(0.5, "good_b.mkv"), PARTIAL, "its length announces about 20"),
    "damaged in the middle": ("spoilt.mp4", copy_of("good_a.mp4", spoil), None, None),
    "more after the end": (
        "longer.mp4",
        copy_of("good_a.mp4", lambda data: data + bytes(5000)),
        "ok",
        "",
    ),
    "mp4 named avi": ("mp4.avi", copy_of("good_a.mp4"), "ok", ""),
    "mp4 named png": ("mp4.png", copy_of("good_a.mp4"), UNREADABLE, "as an image"),
    "png named mp4": ("png.mp4", copy_of("good_c.png"), "ok", ""),
    "jpeg named png": ("jpeg.png", lambda p: png(p, format="JPEG"), "ok", ""),
    "capital ending": ("CAPITALS.MP4", copy_of("good_a.mp4"), "ok", ""),
    "sound only": ("sound.mp4", sound, UNREADABLE, "no video stream"),
    "wav named mp4": ("wav.mp4", lambda p: sound(p, "wav"), UNREADABLE, "no video stream"),
    "one frame": ("one.mp4", lambda p: video.write_video(p, noisy(1)), "ok", ""),
    "1 x 1 image": ("dot.png", lambda p: png(p, np.zeros((1, 1, 3), np.uint8)), "no_face", "1 fra"),
    "1 x 1 video": (
        "dot.avi",
        lambda p: write_with(p, np.zeros((2, 1, 1, 3), np.uint8), "ffv1", "bgr0"),
        "no_face",
        "no face found in 2 frames",
    ),
    "a line of pixels": (
        "line.png",
        lambda p: png(p, np.zeros((1, 3000, 3), np.uint8)),
        "no_face",
        "no face",
    ),
    "8K image": ("large.png", eight_k(), "ok", ""),
    "8K video": ("large.avi", eight_k(), "ok", ""),
    "no face": (
        "nobody.mp4",
        lambda p: video.write_video(p, clip(5, squares=())),
        "no_face",
        "no face found in 3 frames",
    ),
    "unicode name": ("видео 顔 ñ 🙂.mp4", copy_of("good_a.mp4"), "ok", ""),
    "name that is no text": (os.fsdecode(b"caf\xe9.mp4"), copy_of("good_a.mp4"), "ok", ""),
    "name of 200 letters": ("x" * 196 + ".mp4", copy_of("good_a.mp4"), "ok", ""),
    "name of 255 letters": ("y" * 251 + ".mp4", copy_of("good_a.mp4"), "ok", ""),
    "name with a comma, quotes, a line": ('a,"b"\n c.mp4', copy_of("good_a.mp4"), "ok", ""),
    "name that begins with a dash": ("-rf.mp4", copy_of("good_a.mp4"), "ok", ""),
    "name with many dots": ("a..b...mp4.mp4", copy_of("good_a.mp4"), "ok", ""),
    "link to nothing": ("gone.mp4", lambda p: p.symlink_to("nowhere.mp4"), UNREADABLE, "not exist"),
    "link to itself": ("self.mp4", lambda p: p.symlink_to(p), UNREADABLE, "not exist"),
    "links in a circle": ("circle.mp4", loop, UNREADABLE, "not exist"),
    "link to a good video": ("link.mp4", lambda p: p.symlink_to("good_a.mp4"), "ok", ""),
    "a folder inside itself": ("nest", folder_loop, "ok", ""),
    "a pipe": ("pipe.mp4", os.mkfifo, UNREADABLE, "not exist"),
    "a device": ("device.mp4", lambda p: p.symlink_to("/dev/zero"), UNREADABLE, "not exist"),
    "image cut": ("cut.png", cut(0.5, "good_c.png"), UNREADABLE, "as an image"),
    "image too large to open": ("bomb.png", lambda p: p.write_bytes(bomb()), UNREADABLE, "image"),
    "grey image of 16 bits": (
        "deep.png",
        lambda p: png(p, np.zeros((40, 40), np.uint16)),
        "no_face",
        "no face",
    ),
    "image with transparency": (
        "clear.png",
        lambda p: png(p, np.dstack([clip(1)[0], np.full((64, 96), 9, np.uint8)])),
        "ok",
        "",
    ),
    "cmyk jpeg": (
        "print.jpg",
        lambda p: Image.fromarray(clip(1)[0]).convert("CMYK").save(p, quality=98),
        "ok",
        "",
    ),
    "unreadable": ("locked.mp4", no_read, UNREADABLE, ""),
    **{
        f"{k} tenths": (f"tenth_{k}.mp4", cut(k / 10), UNREADABLE if k < 3 else PARTIAL, "")
        for k in range(1, 10)
    },
}
needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")


def write_good(folder):
    folder.mkdir()
    video.write_video(folder / GOOD[0], noisy(), crf=20)
    video.write_video(folder / GOOD[1], noisy(seed=1), crf=20)
    png(folder / GOOD[2])
    return folder


def run(inputs, out, **options):
    return extract.run(
        inputs, out, **{"engine": RedSquares(), "n_frames": 3, "size": 32, **options}
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One extraction of good and broken files, and one of the good ones alone."""
    top = tmp_path_factory.mktemp("broken")
    clean = run(write_good(top / "set"), top / "clean")
    (top / "set").rename(top / "alone")
    folder = write_good(top / "set")
    for name, make, *_ in KINDS.values():
        make(folder / name)
    return clean, run(folder, top / "out"), folder


def row_of(report, name):
    path = "nest/inside.png" if name == "nest" else name
    path = path.encode("utf-8", "backslashreplace").decode()
    rows = report[report["path"] == path]
    assert len(rows) == 1, f"{path}: {len(rows)} rows"
    return rows.iloc[0]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=needs_no_root) if k == "unreadable" else k for k in KINDS],
)
def test_each_kind_has_its_row_and_says_what_is_wrong(done, kind):
    _, mixed, folder = done
    name, _, status, words = KINDS[kind]
    row = row_of(mixed.report, name)
    if status is not None:  # what a decoder makes of damaged pictures is its own affair
        assert row["status"] == status, row["message"]
        assert (words in row["message"]) and (bool(row["message"]) == (status != "ok"))
    assert row["status"] in extract.STATUSES and str(folder) not in row["message"]
    mine = mixed.crops[mixed.crops["video_id"] == row["video_id"]]
    assert len(mine) == row["n_faces"] and (row["n_faces"] > 0) == (
        row["status"] in ("ok", PARTIAL)
    )
    for path in mine["path"]:
        with Image.open(mixed.folder / path) as crop:
            assert crop.size == (32, 32)
            crop.load()


def test_there_are_at_least_forty_kinds_and_no_input_without_a_row(done):
    _, mixed, _ = done
    assert len(KINDS) >= 40
    assert len(mixed.report) == len(KINDS) + len(GOOD)
    assert mixed.report["path"].is_unique and mixed.report["video_id"].is_unique
    assert manifest.read(mixed.folder / "manifest.csv").shape[0] == len(mixed.crops)
    assert (mixed.folder / "report.csv").is_file() and (mixed.folder / "provenance.json").is_file()


def test_good_videos_get_the_crops_that_they_get_alone(done):
    clean, mixed, _ = done
    expected = {k: v for k, v in tree(clean.folder).items() if k.endswith(".png")}
    assert len(expected) == 7  # two videos of three frames and an image
    found = tree(mixed.folder)
    assert {name: found[name] for name in expected} == expected
    for name in GOOD:
        assert row_of(mixed.report, name)["status"] == "ok"


def test_a_cut_video_gives_the_first_frames_of_the_whole_one(done, tmp_path):
    """Every crop of the nine cut videos equals that of the same frame of the whole video."""
    _, _, folder = done
    only = tmp_path / "cut"
    only.mkdir()
    for name in [GOOD[0], *(f"tenth_{k}.mp4" for k in range(1, 10))]:
        (only / name).symlink_to(folder / name)
    everything = run(only, tmp_path / "all", rule="all")
    crops = {p.rsplit("/", 2)[1:][0]: {} for p in everything.crops["path"]}
    for path in everything.crops["path"]:
        name, frame = path.rsplit("/", 2)[1:]
        crops[name][frame] = (everything.folder / path).read_bytes()
    counts = [len(crops.get(f"tenth_{k}", {})) for k in range(1, 10)]
    assert counts == sorted(counts) and 0 < counts[4] < counts[8] < FRAMES
    for k in range(1, 10):
        for frame, content in crops.get(f"tenth_{k}", {}).items():
            assert crops["good_a"][frame] == content, (k, frame)


def test_a_second_run_tries_the_broken_again_and_changes_nothing(done):
    _, mixed, folder = done
    before = tree(mixed.folder)
    again = run(folder, mixed.folder)
    assert tree(mixed.folder) == before
    assert again.speed["n_videos"] < len(KINDS)  # what gave crops was not done again


def test_two_workers_leave_the_same_report(done, tmp_path):
    _, mixed, folder = done
    few = [folder / KINDS[k][0] for k in ("zero bytes", "text as video", "5 tenths", "one frame")]
    few += [folder / GOOD[0], folder / "circle.mp4"]
    one, two = (run(few, tmp_path / str(n), workers=n) for n in (1, 2))
    assert tree(one.folder) == tree(two.folder)
    whole = mixed.report.set_index("path")
    for row in two.report.itertuples():
        assert (row.status, row.message) == tuple(whole.loc[row.path, ["status", "message"]])


def test_a_list_that_names_broken_files_gives_a_row_each(done, tmp_path):
    _, _, folder = done
    names = ["good_a.mp4", "not_there.mp4", "circle.mp4", "text.mp4", "nest"]
    (folder.parent / "list.txt").write_text("# a list\n\n" + "\n".join(names))
    listed = run(folder.parent / "list.txt", tmp_path / "out", root=folder)
    assert list(listed.report["path"]) == names
    assert list(listed.report["status"]) == ["ok", *[UNREADABLE] * 4]
    assert "is a folder" in listed.report["message"].iloc[4]


# ---------------------------------------------------------------- masks


def mask_frames(n, side=(64, 96), white=True):
    frames = np.zeros((n, *side), np.uint8)
    frames[:, 12:44, 8:50] = 255 * white
    return frames


MASKS = {
    "fits": (lambda p: video.write_video(p, mask_frames(FRAMES)), "ok", "", 3),
    "shorter": (lambda p: video.write_video(p, mask_frames(5)), PARTIAL, "fewer frames", 1),
    "longer": (lambda p: video.write_video(p, mask_frames(FRAMES + 9)), "ok", "", 3),
    "empty file": (lambda p: p.touch(), PARTIAL, "0 bytes", 0),
    "black": (
        lambda p: video.write_video(p, mask_frames(FRAMES, white=False)),
        PARTIAL,
        "meets",
        0,
    ),
    "another size": (
        lambda p: video.write_video(p, mask_frames(FRAMES, (32, 48))),
        PARTIAL,
        "the mask is 48x32, the video 96x64",
        0,
    ),
    "text": (lambda p: p.write_text("no mask"), PARTIAL, "cannot be read", 0),
    "cut": (
        lambda p: (
            video.write_video(p, mask_frames(FRAMES)),
            p.write_bytes(p.read_bytes()[: p.stat().st_size * 8 // 10]),
        ),
        PARTIAL,
        "truncated",
        None,
    ),
    "one picture": (lambda p: png(p.with_suffix(".png"), mask_frames(1)[0]), "ok", "", 3),
    "a folder": (lambda p: p.mkdir(), "ok", "", 0),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_that_do_not_fit_cost_the_choice_but_no_crop(tmp_path, kind):
    make, status, words, n_masked = MASKS[kind]
    folder = tmp_path / "set"
    folder.mkdir()
    video.write_video(folder / "a.mp4", noisy(), crf=20)
    video.write_video(folder / "b.mp4", noisy(seed=2), crf=20)
    (tmp_path / "masks").mkdir()
    make(tmp_path / "masks/a.mp4")
    video.write_video(tmp_path / "masks/b.mp4", mask_frames(FRAMES))
    made = run(folder, tmp_path / "out", policy="mask", mask_folder=tmp_path / "masks")
    a, b = (made.report.iloc[k] for k in range(2))
    assert a["status"] == status and words in a["message"] and a["n_faces"] == 3
    assert n_masked is None or a["n_masked"] == n_masked
    assert (b["status"], b["n_faces"], b["n_masked"]) == ("ok", 3, 3)
    assert len(made.crops) == 6


# ---------------------------------------------------------------- the disk


@contextlib.contextmanager
def files_up_to(n_bytes):
    """Let no file of this process grow beyond a size, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:  # what pytest captures is a file too
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_videos_only_and_a_rerun_completes(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, side in (("a", 12), ("b", 40), ("c", 12)):
        frames = clip(4, squares=((4, 10, side),))
        frames[..., 2] = np.random.default_rng(side).integers(0, 80, frames.shape[:3])
        video.write_video(folder / f"{name}.mp4", frames, crf=10)
    whole = run(folder, tmp_path / "whole", size=None)
    sizes = {p.parent.name: p.stat().st_size for p in sorted(whole.folder.rglob("*.png"))}
    room = max(sizes["a"], sizes["c"], 2000)
    assert sizes["b"] > room  # the crops of b do not fit
    with files_up_to(room), pytest.raises(OSError, match="too large|File too large"):
        run(folder, tmp_path / "out", size=None)
    left = tree(tmp_path / "out")
    expected = tree(whole.folder)
    assert any("/a/" in name for name in left) and not any("/b/" in name for name in left)
    assert all(expected[name] == content for name, content in left.items())
    run(folder, tmp_path / "out", size=None)
    assert tree(tmp_path / "out") == expected


# ---------------------------------------------------------------- the real engine


def test_the_real_engine_takes_the_smallest_and_the_largest(tmp_path):
    pytest.importorskip("face_alignment")
    pytest.importorskip("dlib")
    folder = tmp_path / "set"
    folder.mkdir()
    KINDS["1 x 1 image"][1](folder / "dot.png")
    KINDS["1 x 1 video"][1](folder / "dot.avi")
    KINDS["8K image"][1](folder / "large.png")
    made = run(folder, tmp_path / "out", engine={"device": "cpu"})
    assert list(made.report["status"]) == ["no_face"] * 3
