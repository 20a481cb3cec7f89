"""Tests of gendkit.video on counter videos: every frame shows its own number as black and white blocks."""

import json
import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from gendkit.video import VideoError, iter_frames, probe, read_frames, sample, write_video

ORDERS = json.loads((Path(__file__).parent / "data" / "frame_order.json").read_text())


def counter_frame(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(8):
        row, column = divmod(bit, 4)
        image[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = (
            235 if number >> bit & 1 else 16
        )
    return image


def number_of(image: np.ndarray) -> int:
    bits = [
        image[16 * (b // 4) + 4 : 16 * (b // 4) + 12, 16 * (b % 4) + 4 : 16 * (b % 4) + 12]
        for b in range(8)
    ]
    return sum((block.mean() > 126) << bit for bit, block in enumerate(bits))


def counter(n: int, **size) -> np.ndarray:
    return np.stack([counter_frame(k, **size) for k in range(n)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "counter.mp4"
    return write_video(path, counter(60), options={"bf": "3", "b-adapt": "0"}, gop=24)


def test_the_counter_really_has_b_frames(clip):
    with av.open(str(clip)) as container:
        kinds = [
            av.video.frame.PictureType(frame.pict_type).name for frame in container.decode(video=0)
        ]
    assert kinds.count("B") > 20


def test_frame_k_is_frame_k(clip):
    assert [number_of(image) for image in read_frames(clip)] == list(range(60))
    assert [(k, number_of(image)) for k, image in iter_frames(clip)] == [(k, k) for k in range(60)]


def test_any_order_and_repeats(clip):
    wanted = [59, 0, 31, 31, 7]
    images = read_frames(clip, wanted)
    assert images.dtype == np.uint8 and images.shape == (5, 48, 64, 3)
    assert [number_of(image) for image in images] == wanted
    assert np.array_equal(images, read_frames(clip)[wanted])


@pytest.mark.parametrize(
    "name,codec",
    [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mjpeg"), ("a.mkv", "libx264")],
)
def test_containers_and_codecs(tmp_path, name, codec):
    path = write_video(tmp_path / name, counter(20), codec=codec)
    assert [number_of(image) for image in read_frames(path)] == list(range(20))
    assert probe(path).n_frames == 20


def test_probe(clip):
    info = probe(clip)
    assert (info.n_frames, info.width, info.height, info.codec) == (60, 64, 48, "h264")
    assert info.fps == pytest.approx(25) and info.duration_s == pytest.approx(2.4)


def test_same_input_same_bytes(tmp_path):
    a = write_video(tmp_path / "a.mp4", counter(12)).read_bytes()
    b = write_video(tmp_path / "b.mp4", iter(counter(12))).read_bytes()
    assert a == b
    assert a != write_video(tmp_path / "c.mp4", counter(12), crf=40).read_bytes()


def test_crf_costs_quality(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    errors = []
    for crf in (10, 40):
        back = read_frames(write_video(tmp_path / f"{crf}.mp4", noise, crf=crf))
        errors.append(np.abs(back.astype(float) - noise).mean())
    assert errors[0] < errors[1]


def test_colour_order_is_rgb(tmp_path):
    red = np.zeros((3, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    back = read_frames(write_video(tmp_path / "red.mp4", red, crf=10)).astype(int)
    assert abs(back[..., 0].mean() - 200) < 6 and back[..., 1:].mean() < 6


def test_masks_as_bytes_and_floats(tmp_path):
    mask = np.zeros((5, 32, 48), np.float32)
    mask[:, 8:24, 16:32] = 1
    mask[:, 0:8] = 0.5
    a = write_video(tmp_path / "a.mp4", mask, crf=10)
    b = write_video(tmp_path / "b.mp4", np.round(mask * 255).astype(np.uint8), crf=10)
    assert a.read_bytes() == b.read_bytes()
    assert np.abs(read_frames(a)[..., 0] / 255.0 - mask).mean() < 0.02
    with pytest.raises(VideoError, match="clip it"):
        write_video(tmp_path / "c.mp4", mask * 2)


def test_odd_sizes_are_refused_or_padded(tmp_path):
    odd = counter(6, width=65, height=49)
    with pytest.raises(VideoError, match="pad=True"):
        write_video(tmp_path / "odd.mp4", odd)
    assert not list(tmp_path.iterdir())
    back = read_frames(write_video(tmp_path / "odd.mp4", odd, crf=10, pad=True))
    assert back.shape == (6, 50, 66, 3)
    assert np.abs(back[:, :, 65].astype(int) - back[:, :, 64]).mean() < 4
    assert [number_of(image) for image in back] == list(range(6))


def test_odd_size_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 65, 49, "yuv444p"
        for image in counter(5, width=65, height=49):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    assert read_frames(path).shape == (5, 49, 65, 3)


def test_variable_frame_rate_and_audio_first(tmp_path):
    path = tmp_path / "vfr.mkv"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=8000)
        stream = out.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = av.AudioFrame.from_ndarray(
            np.zeros((1, 4000), np.int16), format="s16", layout="mono"
        )
        tone.sample_rate, tone.pts = 8000, 0
        out.mux(sound.encode(tone))
        for k, image in enumerate(counter(20)):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts = 40 * k + 13 * (k % 3) + 200 * (k > 10)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    assert [number_of(image) for image in read_frames(path)] == list(range(20))
    assert probe(path).n_frames == 20


def test_rotation_metadata_is_applied(tmp_path):
    path = write_video(tmp_path / "turn.mp4", counter(3), crf=10)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    upright = read_frames(path)
    path.write_bytes(data)
    turned = read_frames(path)
    # This matrix asks the player for a quarter turn clockwise.
    assert np.array_equal(turned, np.rot90(upright, -1, axes=(1, 2)))
    assert (probe(path).width, probe(path).height) == (48, 64)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.9, 0.99])
def test_truncated_file_gives_its_good_frames_and_says_how_many(clip, tmp_path, share):
    whole, data = read_frames(clip), clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * share)])
    got = []
    with pytest.raises(VideoError, match="frames readable") as caught:
        for index, image in iter_frames(cut):
            assert index == len(got)
            got.append(image)
    assert caught.value.n_readable == len(got) < 60
    with pytest.raises(VideoError) as again:
        probe(cut)
    assert again.value.n_readable == len(got)
    if got:
        assert f"{len(got)} of 60 frames" in str(caught.value) and caught.value.kind == "truncated"
        assert np.array_equal(np.stack(got), whole[: len(got)])
        assert np.array_equal(read_frames(cut, [len(got) - 1])[0], whole[len(got) - 1])
    if share == 0.9:
        assert len(got) > 40


def test_broken_files_say_what_came(tmp_path):
    with pytest.raises(VideoError, match="does not exist"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="is a folder"):
        probe(tmp_path)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match="0 bytes") as caught:
        read_frames(empty)
    assert caught.value.kind == "empty"
    text = tmp_path / "text.mp4"
    text.write_text("This is not a video.\n" * 50)
    for call in (probe, read_frames):
        with pytest.raises(VideoError, match="another kind of file") as caught:
            call(text)
        assert caught.value.kind == "unreadable" and caught.value.n_readable == 0


def test_no_video_stream(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=8000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        tone.sample_rate = 8000
        out.mux(sound.encode(tone))
    with pytest.raises(VideoError, match="no video stream"):
        probe(path)


def test_index_out_of_range(clip):
    with pytest.raises(VideoError, match="60 frames \\(0 to 59\\)"):
        read_frames(clip, [3, 60])
    with pytest.raises(VideoError, match="never negative"):
        read_frames(clip, [-1])
    with pytest.raises(VideoError, match="None for all"):
        read_frames(clip, [])


def test_bad_input_to_write(tmp_path):
    cases = [
        (np.zeros((0, 8, 8, 3), np.uint8), "at least one"),
        (np.zeros((2, 8, 8, 3), np.float32), "uint8"),
        (np.zeros((2, 8, 8, 4), np.uint8), "uint8"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "one size"),
    ]
    for frames, message in cases:
        with pytest.raises(VideoError, match=message):
            write_video(tmp_path / "x.mp4", frames)
    with pytest.raises(VideoError, match="unknown ending"):
        write_video(tmp_path / "x.txt", counter(2))
    assert not list(tmp_path.iterdir())


def test_error_survives_a_process_border():
    error = pickle.loads(pickle.dumps(VideoError("cut", 7, "truncated")))
    assert (str(error), error.n_readable, error.kind) == ("cut", 7, "truncated")


@pytest.mark.parametrize("n_total", sorted(map(int, ORDERS)))
def test_at_least_order_equals_the_official_one(n_total):
    assert sample(n_total, "at_least") == ORDERS[str(n_total)]


def test_sampling_rules():
    assert sample(5, "all") == [0, 1, 2, 3, 4]
    assert sample(10, "fixed_stride", stride=4) == [0, 4, 8]
    assert sample(4, n=32) == [0, 1, 2, 3]
    for n_total in (33, 100, 333):
        frames = sample(n_total, n=32)
        assert frames[0] == 0 and frames[-1] == n_total - 1 and len(set(frames)) == 32
        assert frames == sorted(frames)
    assert sorted(sample(1000, "at_least")) == list(range(1000))
    with pytest.raises(VideoError, match="use one of"):
        sample(10, "random")
    with pytest.raises(VideoError, match="at least 1"):
        sample(0)
