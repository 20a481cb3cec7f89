"""Clips of one source look alike from outside: equal packets, untouched pixels."""

import av
import numpy as np
import pytest

from gendkit import video
from gendkit.nobody import coding

SHAPE = (14, 128, 128, 3)


@pytest.fixture(scope="module")
def clips():
    """Three clips that differ inside a square, one of them busier than the others."""
    rng = np.random.default_rng(0)
    real = np.repeat(rng.integers(0, 255, (1, *SHAPE[1:]), dtype=np.uint8), SHAPE[0], axis=0)
    still, busy = real.copy(), real.copy()
    still[:, 40:80, 40:80] = 90
    busy[:, 40:80, 40:80] = rng.integers(0, 255, (SHAPE[0], 40, 40, 3))
    return [real, still, busy]


@pytest.fixture(scope="module")
def paths(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alike")
    found = [folder / f"{k}.mp4" for k in range(3)]
    coding.write_alike(found, clips, crf=23)
    return found


def packets(path):
    with av.open(str(path)) as container:
        return [(p.size, p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def test_packets_have_equal_sizes_times_and_kinds(paths):
    assert packets(paths[0]) == packets(paths[1]) == packets(paths[2])
    assert len({path.stat().st_size for path in paths}) == 1
    assert len(packets(paths[0])) == SHAPE[0]


def test_plain_coding_would_tell_them_apart(clips, tmp_path):
    sizes = set()
    for k, clip in enumerate(clips):
        video.write_video(tmp_path / f"{k}.mp4", clip, crf=23)
        sizes.add((tmp_path / f"{k}.mp4").stat().st_size)
    assert len(sizes) == 3


def test_filling_changes_no_pixel(clips, paths, tmp_path):
    options = {"x264-params": coding.FIXED_TYPES, "preset": "medium"}
    for clip, path in zip(clips, paths, strict=True):
        video.write_video(tmp_path / path.name, clip, crf=23, gop=12, options=options)
        assert (video.read_frames(path) == video.read_frames(tmp_path / path.name)).all()


def test_the_same_clips_give_the_same_bytes(clips, paths, tmp_path):
    again = [tmp_path / path.name for path in paths]
    coding.write_alike(again, clips, crf=23)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_clips_of_different_shapes_are_refused(clips, tmp_path):
    with pytest.raises(ValueError, match="expected one shape and one path per clip"):
        coding.write_alike([tmp_path / "a.mp4", tmp_path / "b.mp4"], [clips[0], clips[1][:5]])
    with pytest.raises(ValueError, match="got 1 paths"):
        coding.write_alike([tmp_path / "a.mp4"], clips)
    assert not list(tmp_path.iterdir())
