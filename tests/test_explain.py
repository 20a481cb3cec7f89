"""explain: maps and their test on detectors whose reasons are known."""

import numpy as np
import pytest

from gendkit import explain, plots


@pytest.fixture
def crop(rng):
    """Grey noise with a bright square at rows 16 to 31, columns 40 to 55."""
    image = rng.integers(60, 90, (64, 72, 3), dtype=np.uint8)
    image[16:32, 40:56] = 250
    return image


def brightness(crops):
    """The mean of the square alone, as a logit-like number."""
    return np.array([crop[16:32, 40:56].mean() / 25 for crop in crops])


def constant(crops):
    return np.full(len(crops), 0.7)


@pytest.mark.parametrize("fill", explain.FILLS)
def test_fills(crop, fill):
    cover = explain.fill_of(crop, fill)
    assert cover.shape == crop.shape and cover.dtype == np.uint8
    assert abs(cover.mean() - crop.mean()) < 6
    np.testing.assert_array_equal(cover, explain.fill_of(crop, fill))
    if fill == "shuffle":
        pixels = [np.sort(image.reshape(-1, 3), axis=0) for image in (crop, cover)]
        np.testing.assert_array_equal(*pixels)
    else:
        assert cover.std() < 0.7 * crop.std()


def test_the_map_finds_the_square(crop):
    heat = explain.occlusion(brightness, crop, size=16, stride=8)
    assert heat.shape == crop.shape[:2]
    inside = np.zeros(heat.shape, bool)
    inside[16:32, 40:56] = True
    assert np.unravel_index(heat.argmax(), heat.shape)[0] in range(16, 32)
    assert heat[inside].mean() > 5 * heat[~inside].mean() and heat[0, 0] == 0


def test_the_map_against_plain_arithmetic(crop):
    """One square a place without overlap: the fall of the score is the value there."""
    heat = explain.occlusion(brightness, crop, size=8, stride=8, batch=3)
    cover = explain.fill_of(crop)
    for y, x in ((16, 40), (24, 48), (0, 0)):
        image = crop.copy()
        image[y : y + 8, x : x + 8] = cover[y : y + 8, x : x + 8]
        fall = brightness([crop])[0] - brightness([image])[0]
        np.testing.assert_allclose(heat[y : y + 8, x : x + 8], fall)


def test_every_pixel_is_covered_also_where_the_stride_does_not_fit(crop):
    heat = explain.occlusion(brightness, crop, size=20, stride=13)
    assert np.isfinite(heat).all()


def test_deletion_trusts_the_right_map_and_no_other(crop, rng):
    heat = explain.occlusion(brightness, crop, size=16, stride=8)
    test = explain.deletion(brightness, crop, heat)
    assert test.valid and test.faithful and test.rank == 1 / 20
    assert "faster than 19 of 19" in test.text() and "rests on" in test.text()
    assert test.share[0] == 0 and test.share[-1] == 1 and (np.diff(test.share) > 0).all()
    assert test.by_map[0] == brightness([crop])[0] and test.by_chance.shape == (19, 9)
    assert test.area == pytest.approx(
        np.sum((test.by_map[1:] + test.by_map[:-1]) / 2 * np.diff(test.share))
    )
    wrong = explain.deletion(brightness, crop, -heat)
    assert not wrong.faithful and wrong.rank > 0.5 and "do not read it" in wrong.text()


def test_a_detector_that_no_cover_moves_cannot_be_tested(crop, rng):
    test = explain.deletion(constant, crop, rng.normal(size=crop.shape[:2]), n_random=3)
    assert not test.valid and not test.faithful and "cannot be tested" in test.text()


def test_ties_do_not_count_as_better(crop):
    """With a map that says nothing, chance orders that are as good stand before it."""
    test = explain.Deletion(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([[1.0, 0.0]] * 19))
    assert test.rank == 1.0 and not test.faithful


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 65}, "1 <= stride <= size <= 64"),
        ({"size": 8, "stride": 9}, "1 <= stride"),
        ({"fill": "black"}, "expected one of mean, blur, shuffle"),
    ],
)
def test_bad_settings(crop, options, message):
    with pytest.raises(ValueError, match=message):
        explain.occlusion(brightness, crop, **options)


def test_bad_input(crop):
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        explain.occlusion(brightness, crop / 255)
    for heat in (np.zeros((3, 3)), np.full(crop.shape[:2], np.nan)):
        with pytest.raises(ValueError, match="expected finite values"):
            explain.deletion(brightness, crop, heat)
    for options in ({"grid": 65}, {"steps": 0}, {"n_random": 0}, {"grid": 2, "steps": 5}):
        with pytest.raises(ValueError, match="n_random >= 1"):
            explain.deletion(brightness, crop, np.zeros(crop.shape[:2]), **options)


# ---------------------------------------------------------------- figures


def test_figures(crop):
    heat = explain.occlusion(brightness, crop, size=16, stride=8)
    test = explain.deletion(brightness, crop, heat, n_random=4)
    one = plots.occlusion_map(crop, heat)
    assert one.data[0].zmax == -one.data[0].zmin == np.abs(heat).max() and one.layout.images
    two = plots.deletion_curves(test.share, test.by_map, test.by_chance)
    assert "4 random orders" in two.layout.meta["alt"] and "by the map" in two.layout.meta["alt"]
    np.testing.assert_allclose(two.data[-1].y, test.by_map.astype(np.float32))
    with pytest.raises(ValueError, match="got a map"):
        plots.occlusion_map(crop, heat[1:])
    with pytest.raises(ValueError, match=r"\(R, K\)"):
        plots.deletion_curves(test.share, test.by_map, test.by_map)


def test_boxes_are_drawn_where_they_are():
    image = np.zeros((100, 200, 3), np.uint8)
    drawn = plots.boxed(image, [(20, 10, 80, 60)])
    assert drawn.shape == image.shape and drawn[10, 50].any() and not drawn[35, 50].any()
    small = plots.boxed(image, [(20, 10, 80, 60), (-5, -5, 500, 500)], max_side=100)
    assert small.shape == (50, 100, 3) and small[5, 25].any()
