"""Local processing: twins, where they differ, what was done there, and whether the maps say so."""

import io
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2")

from gendkit.pretrain import traces  # noqa: E402


def noise_picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 216, (128, 128, 3), dtype=np.uint8)


def fine(image: np.ndarray) -> np.ndarray:
    """Squared difference of neighbours, (H, W - 1)."""
    return (np.diff(image.astype(float), axis=1) ** 2).mean(-1)


def only_regions(n: int) -> list[int]:
    """Seeds with which `process` leaves the picture as a whole alone: its first draw decides."""
    seeds = range(10 * n)
    return [s for s in seeds if np.random.default_rng(s).random() >= 0.3][:n]


def test_regions_are_in_range_and_of_the_stated_size():
    rng = np.random.default_rng(0)
    masks = [traces.region(rng, 96) for _ in range(300)]
    assert all(m.shape == (96, 96) and m.dtype == np.float32 for m in masks)
    assert min(m.min() for m in masks) >= 0 and max(m.max() for m in masks) <= 1 + 1e-5
    shares = np.array([m.mean() for m in masks])
    assert 0.8 < ((shares > 0.03) & (shares < 0.45)).mean() < 0.99
    steepest = np.array([np.abs(np.diff(m, axis=1)).max() for m in masks if m.max() > 0.5])
    assert (steepest > 0.5).mean() > 0.1 and (steepest < 0.15).mean() > 0.1  # hard and soft edges
    middle = np.mean([m[32:64, 32:64].mean() for m in masks])
    corner = np.mean([m[:32, :32].mean() for m in masks])
    assert corner > 0.2 * middle  # all over the picture


def test_same_seed_same_result():
    image = noise_picture()
    for seed in range(8):
        first, again = (traces.process(image, np.random.default_rng(seed)) for _ in range(2))
        for a, b in zip(first, again, strict=True):
            assert (a.image == b.image).all() and (a.maps == b.maps).all()
    assert (traces.process(image, np.random.default_rng(1))[0].image != first[0].image).any()


def test_twins_are_equal_outside_the_regions_of_both():
    image, alone = noise_picture(), set(only_regions(60))
    n_apart = n_clean = 0
    for seed in range(40):
        twins = traces.process(image, np.random.default_rng(seed))
        for twin in twins:
            assert twin.image.dtype == np.uint8 and twin.image.shape == image.shape
            assert twin.maps.shape == (128, 128, 7) and twin.maps.dtype == np.float32
            coverage = twin.maps[..., 0]
            assert coverage.min() >= 0 and coverage.max() <= 1 + 1e-5
            left = np.abs(twin.maps[coverage == 0]).max(initial=0)
            assert left < 1e-6  # a mask of 1e-8 is lost in 1 - m
            if seed in alone:
                changed = (twin.image != image).any(-1)
                assert not changed[coverage == 0].any()
                if coverage.max() > 0.5:
                    assert changed[coverage > 0.5].mean() > 0.3
        first, second = twins
        outside = (first.maps[..., 0] == 0) & (second.maps[..., 0] == 0)
        assert (first.image[outside] == second.image[outside]).all()
        n_apart += (first.image != second.image).any()
        n_clean += not second.maps.any()
    assert n_apart > 35 and 10 < n_clean < 30


def test_first_twin_has_a_region_and_the_second_every_other_time(monkeypatch):
    image, counts = noise_picture()[:24, :24], []
    monkeypatch.setattr(traces, "_regions", lambda x, count, rng: counts.append(count))
    for seed in range(600):
        traces.process(image, np.random.default_rng(seed))
    first, second = np.array(counts).reshape(-1, 2).T
    np.testing.assert_allclose(np.bincount(first) / 600, [0, 0.5, 0.5], atol=0.06)
    np.testing.assert_allclose(np.bincount(second) / 600, [0.5, 0.35, 0.15], atol=0.06)


def test_processing_of_the_whole_picture_is_shared_and_no_trace():
    image, whole = noise_picture(), set(range(80)) - set(only_regions(80))
    found = 0
    for seed in sorted(whole):
        first, second = traces.process(image, np.random.default_rng(seed))
        outside = first.maps[..., 0] == 0
        if not second.maps.any() and outside.any():
            found += 1
            assert (second.image != image).any()
            assert (first.image[outside] == second.image[outside]).all()
    assert found > 3


def test_where_regions_overlap_levels_add_up_and_coverage_is_one_minus_the_rest(monkeypatch):
    masks = [np.full((4, 4), 0.6, np.float32), np.full((4, 4), 0.5, np.float32)]
    masks[1][2:] = 0
    levels = dict(zip(traces.KINDS[1:], (1.0, 2.0, 0.5, -1.0, 0.25, 3.0), strict=True))
    left = iter(masks)
    monkeypatch.setattr(traces, "region", lambda rng, size: next(left))
    monkeypatch.setattr(traces, "_edit", lambda x, rng: (np.full_like(x, 200), levels))
    got = traces._regions(np.full((4, 4, 3), 100, np.float32), 2, np.random.default_rng(4))
    opacity = np.random.default_rng(4).uniform(0.7, 1.0, 2)
    a, b = (mask * share for mask, share in zip(masks, opacity, strict=True))
    np.testing.assert_allclose(got.maps[..., 0], 1 - (1 - a) * (1 - b), rtol=1e-5)
    told = (a + b)[..., None] * np.array([1.0, 2.0, 0.5, -1.0, 0.25, 3.0])
    np.testing.assert_allclose(got.maps[..., 1:], told, rtol=1e-5)
    wanted = 200 - 100 * (1 - a) * (1 - b)
    np.testing.assert_array_equal(got.image, np.floor(wanted + 0.5)[..., None].repeat(3, 2))


def test_steps_are_taken_in_order_and_their_levels_add_up(monkeypatch):
    def never(x, rng):
        raise AssertionError("a step of chance 0 was taken")

    steps = (
        (1.0, (lambda x, rng: (x + 1, {"soft": 0.25}),)),
        (0.0, (never,)),
        (1.0, (lambda x, rng: (10 * x, {"soft": 0.5, "blue": -1.0}),)),
    )
    monkeypatch.setattr(traces, "STEPS", steps)
    out, levels = traces._edit(np.full((2, 2, 3), 3.0, np.float32), np.random.default_rng(0))
    assert (out == 40).all() and list(levels) == list(traces.KINDS[1:])
    assert levels == dict.fromkeys(traces.KINDS[1:], 0.0) | {"soft": 0.75, "blue": -1.0}


def test_every_step_has_its_chance_and_one_is_always_taken(monkeypatch):
    taken = []

    def spy(operation):
        return lambda x, rng: (taken[-1].append(operation), (x, {}))[1]

    steps = tuple((chance, tuple(map(spy, ops))) for chance, ops in traces.STEPS)
    monkeypatch.setattr(traces, "STEPS", steps)
    rng, n = np.random.default_rng(0), 3000
    for _ in range(n):
        taken.append([])
        traces._edit(np.zeros((1, 1, 3), np.float32), rng)
    assert min(map(len, taken)) == 1 and max(map(len, taken)) == 5
    seen = Counter(itertools.chain(*taken))
    some = 1 - 0.15 * 0.85 * 0.6 * 0.9 * 0.4  # a pass that takes no step is made again
    wanted = {traces._soften: 0.17, traces._resample: 0.34, traces._shift: 0.17, traces._clean: 0.17,
              traces._sharpen: 0.15, traces._noise: 0.4, traces._code: 0.1, traces._tone: 0.6}  # fmt: skip
    assert seen.keys() == wanted.keys()
    for operation, chance in wanted.items():
        assert seen[operation] / n == pytest.approx(chance / some, abs=0.035)


def test_soften_widens_a_point_as_a_sampled_gauss_does():
    point = np.zeros((65, 65, 3), np.float32)
    point[32, 32] = 1000
    y, x = np.mgrid[-32:33, -32:33]
    t = np.arange(-8, 9)
    for seed in range(6):
        blurred, level = traces._soften(point, np.random.default_rng(seed))
        sigma = np.random.default_rng(seed).uniform(0.3, 1.5)
        assert level == {"soft": sigma}
        weights = np.exp(-(t**2) / (2 * sigma**2))
        variance = (weights * t**2).sum() / weights.sum()
        spread = (blurred[..., 0] * (x**2 + y**2)).sum() / blurred[..., 0].sum() / 2
        assert spread == pytest.approx(variance, rel=0.01)


def test_shift_moves_at_most_a_pixel_and_widens_as_told():
    y, x = np.mgrid[:64, :64]
    blob = 1000 * np.exp(-((x - 31) ** 2 + (y - 33) ** 2) / 40)[..., None].repeat(3, 2)
    blob = blob.astype(np.float32)
    weigh = lambda image, f: (image[..., 0] * f).sum() / image[..., 0].sum()  # noqa: E731
    for seed in range(8):
        moved, level = traces._shift(blob, np.random.default_rng(seed))
        dx, dy = np.random.default_rng(seed).uniform(-1, 1, 2)
        assert weigh(moved, x) - 31 == pytest.approx(dx, abs=0.03)
        assert weigh(moved, y) - 33 == pytest.approx(dy, abs=0.03)
        mx, my = weigh(moved, x), weigh(moved, y)
        wider = weigh(moved, (x - mx) ** 2 + (y - my) ** 2) - 40  # two axes of variance 20
        assert wider == pytest.approx(level["soft"], abs=0.05)


def test_tone_shifts_grey_by_the_told_numbers():
    grey = np.full((8, 8, 3), 128, np.float32)
    for seed in range(5):
        out, level = traces._tone(grey, np.random.default_rng(seed))
        told = [level[c] * traces.CAST for c in ("red", "green", "blue")]
        np.testing.assert_allclose(out[0, 0] - 128, told, atol=1e-4)


def test_noise_has_the_told_strength():
    grey, tinted = np.full((128, 128, 3), 128, np.float32), []
    for seed in range(12):
        out, level = traces._noise(grey, np.random.default_rng(seed))
        assert (out - 128).std() == pytest.approx(4 * level["noise"], rel=0.05)
        tinted.append(np.ptp(out, axis=-1).max() > 1e-3)
    assert any(tinted) and not all(tinted)  # coloured and grey grain


def test_coding_is_a_jpeg_of_the_told_quality_in_the_right_colours():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.float32)
    image = cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC).clip(0, 255).round()
    image[..., 2] = 255 - image[..., 0]  # red and blue are each other's opposite
    for seed in range(3):
        out, level = traces._code(image, np.random.default_rng(seed))
        quality = round(100 - 50 * level["code"])
        assert 25 <= quality < 85
        buffer = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).save(buffer, "JPEG", quality=quality, subsampling=2)
        wanted = np.asarray(Image.open(buffer)).astype(float)
        swapped = io.BytesIO()
        turned = Image.fromarray(np.ascontiguousarray(image[..., ::-1].astype(np.uint8)))
        turned.save(swapped, "JPEG", quality=quality, subsampling=2)
        wrong = np.asarray(Image.open(swapped))[..., ::-1].astype(float)
        assert np.abs(out - wanted).mean() < 0.5 < 2 * np.abs(wrong - wanted).mean()


def test_coding_is_worse_the_higher_its_level():
    image = noise_picture().astype(np.float32)
    told, seen = [], []
    for seed in range(12):
        out, level = traces._code(image, np.random.default_rng(seed))
        told.append(level["code"])
        seen.append(np.abs(out - image).mean())
    assert 0.3 <= min(told) and max(told) <= 1.5
    assert np.corrcoef(told, seen)[0, 1] > 0.95


@pytest.mark.parametrize("operation", [traces._soften, traces._resample, traces._clean])
def test_what_softens_takes_fine_detail(operation):
    image = noise_picture().astype(np.float32)
    told, kept = [], []
    for seed in range(10):
        out, level = operation(image, np.random.default_rng(seed))
        assert out.shape == image.shape and out.dtype == np.float32 and level["soft"] > 0
        told.append(level["soft"])
        kept.append(fine(out).mean() / fine(image).mean())
    assert max(kept) < 1
    if operation is not traces._clean:  # a median and a bilateral filter have different scales
        assert np.corrcoef(told, kept)[0, 1] < -0.7


def test_sharpening_adds_fine_detail():
    image = noise_picture().astype(np.float32)
    out, level = traces._sharpen(image, np.random.default_rng(0))
    assert level["soft"] < 0 and fine(out).mean() > 1.2 * fine(image).mean()


def test_a_softened_region_has_less_fine_detail_than_the_rest(monkeypatch):
    monkeypatch.setattr(traces, "STEPS", ((1.0, (traces._resample,)),))
    image, ratios = noise_picture(), []
    for seed in only_regions(30):
        done, _ = traces.process(image, np.random.default_rng(seed))
        coverage = done.maps[:, 1:, 0]
        inside, outside = coverage > 0.8 * max(coverage.max(), 0.5), coverage == 0
        if inside.sum() > 200 and outside.sum() > 200:
            ratios.append(fine(done.image)[inside].mean() / fine(done.image)[outside].mean())
            assert done.maps[:, 1:, 1][inside].min() > 0
    assert len(ratios) > 8 and max(ratios) < 0.75


def test_maps_tell_the_shift_of_a_toned_region(monkeypatch):
    monkeypatch.setattr(traces, "STEPS", ((1.0, (traces._tone,)),))
    grey = np.full((64, 64, 3), 128, np.uint8)
    told, seen = [], []
    for seed in only_regions(40):
        for twin in traces.process(grey, np.random.default_rng(seed)):
            told.append(twin.maps[..., 4:].ravel() * traces.CAST)
            seen.append(twin.image.astype(float).ravel() - 128)
    told, seen = np.concatenate(told), np.concatenate(seen)
    assert np.corrcoef(told, seen)[0, 1] > 0.94  # overlaps and gains are not told
    assert (told * seen).sum() / (told**2).sum() == pytest.approx(1, abs=0.1)
