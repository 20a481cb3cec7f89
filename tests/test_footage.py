"""Shards of footage from fake renders: content, twins, repeatability, resuming."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

pytest.importorskip("cv2")
pytest.importorskip("numba")

from small_footage import picture, write_renders  # noqa: E402

from gendkit.pretrain import footage, targets, traces  # noqa: E402


@pytest.fixture
def plain(monkeypatch):
    """Two pictures without a person a shard, from one that is larger than a frame."""
    big = np.random.default_rng(3).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    monkeypatch.setattr(footage, "plain_pictures", lambda: [big])
    monkeypatch.setattr(footage, "PLAIN", 2)


def load(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def test_cameras_lie_between_phone_and_webcam():
    rng = np.random.default_rng(0)
    drawn = [footage.any_camera(rng) for _ in range(200)]
    scale = np.array([c.scale for c in drawn])
    assert 0.6 <= scale.min() < 0.8 and scale.max() <= 1
    phone = (scale >= 0.88) & (np.array([c.sharpen for c in drawn]) <= 0.45)
    assert 0.4 < phone.mean() < 0.75  # every second one, and a few mixtures
    assert max(abs(c.fringe) for c in drawn) <= 0.35
    assert footage.any_camera(np.random.default_rng(5)) == footage.any_camera(
        np.random.default_rng(5)
    )


def test_code_is_repeatable_and_decodes_to_about_the_same_picture():
    image = picture(np.random.default_rng(0))[:128, :128]
    for seed in range(4):  # key frames and predicted ones
        a, b = (footage.code(image, 20, np.random.default_rng(seed)) for _ in range(2))
        assert a.shape == image.shape and a.dtype == np.uint8 and (a == b).all()
        assert 0 < np.abs(a.astype(float) - image).mean() < 10  # colours lose half their pixels


def test_code_loses_more_at_a_higher_crf():
    rng = np.random.default_rng(0)
    image = np.clip(picture(rng)[:96, :96] + rng.normal(0, 12, (96, 96, 3)), 0, 255)
    image = image.astype(np.uint8)
    lost = [
        np.mean(
            [
                np.abs(footage.code(image, crf, np.random.default_rng(s)).astype(float) - image)
                for s in range(3)
            ]
        )
        for crf in (17, 26, 35)
    ]
    assert lost[0] < lost[1] < lost[2]


def test_pictures_of_scikit_image_are_large_enough_and_in_colour():
    pytest.importorskip("skimage")
    pictures = footage.plain_pictures()
    assert pictures
    for p in pictures:
        assert p.dtype == np.uint8 and p.shape[2] == 3 and min(p.shape[:2]) >= targets.FRAME


def test_shard_holds_what_the_encoder_must_tell(tmp_path, plain):
    source = write_renders(tmp_path, n=2)
    renders = load(source)
    assert footage.make_shard(source, tmp_path / "a.npz", (0, 0, 0)) == 8  # twins of 2 + 2
    got = load(tmp_path / "a.npz")
    assert got["images"].shape == (8, 128, 128, 3) and got["images"].dtype == np.uint8
    assert got["maps"].shape == (8, 64, 7) and got["maps"].dtype == np.float16
    assert got["landmarks"].shape == (8, 136)
    assert list(got["identity_id"]) == [0, 0, 1, 1, -1, -1, -1, -1]
    for name in footage.FACTS:
        assert np.isnan(got[name][4:]).all()
        np.testing.assert_array_equal(got[name][:4], renders[name][[0, 0, 1, 1]])
    assert np.isnan(got["landmarks"][4:]).all() and np.isfinite(got["landmarks"][:4]).all()
    np.testing.assert_array_equal(got["landmarks"][::2], got["landmarks"][1::2])  # one crop
    assert (got["images"][::2] != got["images"][1::2]).any()
    camera = got["camera"]
    assert camera.shape == (8, len(footage.CAMERA)) and np.isfinite(camera).all()
    assert ((camera[:, -1] >= 17) & (camera[:, -1] <= 34)).all()
    np.testing.assert_array_equal(camera[::2], camera[1::2])  # one film, one CRF
    assert len(set(camera[:, 0])) == 4 == len(set(camera[:, -1]))
    pictures = torch.from_numpy(got["images"]).permute(0, 3, 1, 2) / 255
    texture = targets.texture(pictures).numpy()
    np.testing.assert_allclose(got["texture"], texture, atol=0.01)
    assert 0 < got["maps"][..., 0].max() <= 1.001


def test_twins_are_coded_and_cropped_alike(tmp_path, plain, monkeypatch):
    """With nothing processed, twins come out equal to the last bit; where one is, it shows."""
    source = write_renders(tmp_path, n=3)

    def unprocessed(image, rng):
        maps = np.zeros((*image.shape[:2], 7), np.float32)
        return [traces.Processed(image, maps)] * 2

    def dark_above(image, rng):
        first, second = unprocessed(image, rng)
        dark, maps = image.copy(), first.maps.copy()
        dark[: len(dark) // 2] //= 4
        maps[: len(dark) // 2] = 1
        return traces.Processed(dark, maps), second

    monkeypatch.setattr(traces, "process", unprocessed)
    footage.make_shard(source, tmp_path / "a.npz", (0, 0, 0))
    got = load(tmp_path / "a.npz")
    for name in ("images", "maps", "texture", "camera", "landmarks"):
        np.testing.assert_array_equal(got[name][::2], got[name][1::2])
    assert (got["images"][0] != got["images"][2]).any()

    monkeypatch.setattr(traces, "process", dark_above)
    footage.make_shard(source, tmp_path / "b.npz", (0, 0, 0))
    got = load(tmp_path / "b.npz")
    first, second = (got["images"][k::2].astype(float) for k in (0, 1))
    assert not got["maps"][1::2].any()
    covered = got["maps"][::2, :, 0].astype(float)
    assert covered.min() == 0 and covered.max() == 1  # the first twin is in the even row
    away = np.abs(first - second).reshape(len(first), 8, 16, 8, 16, 3).mean((2, 4, 5))
    away = away.reshape(len(first), 64)
    assert away[covered == 0].mean() < 10 < 40 < away[covered == 1].mean()


def test_crf_is_a_normal_distribution_cut_off_at_its_ends():
    rng = np.random.default_rng(0)
    drawn = np.array([footage._crf(rng) for _ in range(6000)])
    assert drawn.min() == 17 and drawn.max() == 34
    for value in (20, 24, 28, 31):
        assert (drawn <= value).mean() == pytest.approx(norm(24, 4).cdf(value), abs=0.02)
    assert (drawn == 17).mean() == pytest.approx(norm(24, 4).cdf(17), abs=0.01)
    assert (drawn == 34).mean() == pytest.approx(norm(24, 4).sf(34), abs=0.01)


def test_same_seed_same_shard(tmp_path, plain):
    source = write_renders(tmp_path, n=1)
    for name, seed in (("a", (0, 1, 2)), ("b", (0, 1, 2)), ("c", (0, 2, 2))):
        footage.make_shard(source, tmp_path / f"{name}.npz", seed)
    a, b, c = (load(tmp_path / f"{name}.npz") for name in "abc")
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert (a["images"] != c["images"]).any() and (a["camera"] != c["camera"]).any()


def test_a_run_goes_on_and_leaves_half_written_renders_for_later(tmp_path, plain, capsys):
    renders, out = tmp_path / "renders", tmp_path / "footage"
    write_renders(renders, 0, n=1)
    other = write_renders(renders, 1, n=1)
    whole = other.read_bytes()
    other.write_bytes(whole[: len(whole) // 2])
    assert footage.run(renders, out, passes=1) == 6
    assert [p.name for p in sorted(out.iterdir())] == ["footage-00-00000.npz"]
    first = (out / "footage-00-00000.npz").stat().st_mtime_ns
    other.write_bytes(whole)
    capsys.readouterr()
    assert footage.run(renders, out, passes=2) == 18
    assert "min left" in capsys.readouterr().out
    names = [p.name for p in sorted(out.iterdir())]
    assert names == [f"footage-{turn:02d}-{k:05d}.npz" for turn in (0, 1) for k in (0, 1)]
    assert (out / names[0]).stat().st_mtime_ns == first
    assert footage.run(renders, out, passes=2) == 0


def test_a_run_stops_after_its_minutes(tmp_path, plain, capsys):
    for k in range(6):
        write_renders(tmp_path / "renders", k, n=1)
    made = footage.run(tmp_path / "renders", tmp_path / "out", passes=3, minutes=0)
    assert made == 6 and "the same command goes on" in capsys.readouterr().out
    assert 1 <= len(list((tmp_path / "out").iterdir())) < 6


def test_bad_calls_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="gendkit nobody training --out"):
        footage.run(tmp_path, tmp_path / "out")
    write_renders(tmp_path, n=1)
    with pytest.raises(ValueError, match="--passes is 0, expected at least 1"):
        footage.run(tmp_path, tmp_path / "out", passes=0)
    assert not (tmp_path / "out").exists()
