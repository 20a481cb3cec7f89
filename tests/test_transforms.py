"""transforms: corruptions against oracles, augmentation order, chance from the generator only."""

import inspect

import numpy as np
import pytest
from PIL import Image

from gendkit import transforms
from gendkit.transforms import Augment


def none(**options):
    """An augmentation that changes nothing, except for the options."""
    off = {
        "flip": 0,
        "degrees": 0,
        "translate": 0,
        "scale": (1, 1),
        "blur": 0,
        "brightness": 0,
        "contrast": 0,
        "jpeg_quality": None,
    }
    return Augment(**{**off, **options})


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int))


def slow_blur(image, kernel, sigma):
    """Weigh every pixel of the window; mirror without the edge pixel."""
    half, (height, width, _) = kernel // 2, image.shape
    offsets = range(-half, half + 1)
    weights = {(i, j): np.exp(-(i * i + j * j) / (2 * sigma**2)) for i in offsets for j in offsets}
    total = sum(weights.values())

    def mirror(k, n):
        return -k if k < 0 else 2 * (n - 1) - k if k >= n else k

    out = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            for (i, j), weight in weights.items():
                out[y, x] += weight / total * image[mirror(y + i, height), mirror(x + j, width)]
    return np.round(out)


@pytest.mark.parametrize("kernel, sigma", [(5, 0.5), (7, 1.0), (11, 1.5), (7, 2.0)])
def test_blur_against_a_loop(rng, kernel, sigma):
    image = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    got = transforms.blur(image, kernel, sigma)
    want = slow_blur(image, kernel, sigma)
    assert difference(got, want).max() <= 1  # a half may be rounded either way
    assert (difference(got, want) == 0).mean() > 0.99


def test_blur_keeps_flat_images_and_the_identity(image):
    flat = np.full((30, 30, 3), 77, np.uint8)
    assert (transforms.blur(flat, 19, 3.0) == 77).all()
    assert (transforms.blur(image, 0, 0) == image).all()
    assert (transforms.blur(image, 1, 0.5) == image).all()
    assert transforms.blur(image, 7, 2.0).std() < image.std()


def test_jpeg(image):
    smooth = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    assert difference(transforms.jpeg(smooth, 100), smooth).max() <= 2
    errors = [difference(transforms.jpeg(image, q), image).mean() for q in (100, 60, 20, 5)]
    assert errors == sorted(errors) and errors[0] < 3 < errors[-1]


def test_resize(image):
    for number, name in enumerate(transforms.INTERPOLATIONS):
        got = transforms.resize(image, (20, 30), name)
        want = np.array(Image.fromarray(image).resize((30, 20), number))
        assert got.shape == (20, 30, 3) and (got == want).all()
    assert transforms.resize(image, 16).shape == (16, 16, 3)
    assert (transforms.resize(image, (48, 64), "nearest") == image).all()
    blocks = image[:40, :60].reshape(20, 2, 30, 2, 3).mean((1, 3))
    assert difference(transforms.resize(image[:40, :60], (20, 30), "box"), blocks).max() <= 1


def test_noise():
    grey = np.full((200, 200, 3), 128, np.uint8)
    got = transforms.noise(grey, 0.05, np.random.default_rng(0)).astype(float)
    # the standard deviation of 120,000 values is known to 0.2 %; rounding adds 1/12
    assert got.std() == pytest.approx(np.sqrt((0.05 * 255) ** 2 + 1 / 12), rel=0.02)
    assert got.mean() == pytest.approx(128, abs=0.2)
    assert (transforms.noise(grey, 0, np.random.default_rng(0)) == grey).all()
    black = transforms.noise(grey * 0, 0.2, np.random.default_rng(0))
    assert 0.45 < (black == 0).mean() < 0.55 and black.dtype == np.uint8


def test_the_grid_is_the_papers():
    grid = transforms.CORRUPTIONS
    assert {name: len(cells) for name, cells in grid.items()} == {
        "jpeg": 6,
        "blur": 6,
        "resize": 18,
        "noise": 6,
    }
    assert [cell["quality"] for cell in grid["jpeg"]] == [100, 80, 60, 40, 20, 10]
    assert [(c["kernel"], c["sigma"]) for c in grid["blur"]] == [
        (0, 0),
        (5, 0.5),
        (7, 1),
        (11, 1.5),
        (13, 2),
        (19, 3),
    ]
    assert {c["size"] for c in grid["resize"]} == {224, 112, 64}
    assert [cell["sigma"] for cell in grid["noise"]] == [0, 0.01, 0.03, 0.05, 0.1, 0.2]


@pytest.mark.parametrize(
    "name, level",
    [(n, k) for n, cells in transforms.CORRUPTIONS.items() for k in range(len(cells))],
)
def test_every_cell_of_the_grid_runs(image, name, level):
    got = transforms.corrupt(image, name, level, np.random.default_rng(1))
    assert got.dtype == np.uint8 and got.ndim == 3
    again = transforms.corrupt(image, name, level, np.random.default_rng(1))
    assert (got == again).all()


def test_augment_has_the_official_defaults():
    defaults = {name: p.default for name, p in inspect.signature(Augment).parameters.items()}
    assert defaults == {
        "flip": 0.5,
        "degrees": 10.0,
        "translate": 0.1,
        "scale": (0.9, 1.1),
        "blur": 0.1,
        "blur_kernel": 7,
        "blur_sigma": (0.1, 2.0),
        "brightness": 0.1,
        "contrast": 0.1,
        "jpeg_quality": (40, 100),
        "interpolation": "nearest",
    }


def test_augment_is_seeded_and_leaves_its_input(image):
    before, augment = image.copy(), Augment()
    one = augment(image, np.random.default_rng(5))
    assert (one == augment(image, np.random.default_rng(5))).all()
    assert (one != augment(image, np.random.default_rng(6))).any()
    assert (image == before).all() and one.shape == image.shape and one.dtype == np.uint8
    np.random.seed(0)  # noqa: NPY002
    assert (one == augment(image, np.random.default_rng(5))).all()


def test_every_image_takes_the_same_amount_of_chance(image):
    states = []
    for augment in (Augment(), none(), Augment(blur=1, flip=1), Augment(jpeg_quality=None)):
        rng = np.random.default_rng(3)
        augment(image, rng)
        states.append(rng.random())
    assert len(set(states)) == 1
    # the geometry is the same whether or not the other parts are on
    draws = [a.draw(np.random.default_rng(3)) for a in (Augment(), Augment(blur=1, brightness=0))]
    assert draws[0].angle == draws[1].angle and draws[0].shift == draws[1].shift


def test_nothing_on_is_the_identity(image):
    for seed in range(3):
        assert (none()(image, np.random.default_rng(seed)) == image).all()


def test_the_draws_fill_their_ranges():
    augment, rng = Augment(), np.random.default_rng(0)
    draws = [augment.draw(rng) for _ in range(4000)]
    assert np.mean([d.flip for d in draws]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([d.blur_sigma > 0 for d in draws]) == pytest.approx(0.1, abs=0.025)
    assert np.mean([d.contrast_first for d in draws]) == pytest.approx(0.5, abs=0.04)
    for values, low, high in [
        ([d.angle for d in draws], -10, 10), ([d.shift[0] for d in draws], -0.1, 0.1),
        ([d.shift[1] for d in draws], -0.1, 0.1), ([d.scale for d in draws], 0.9, 1.1),
        ([d.brightness for d in draws], 0.9, 1.1), ([d.contrast for d in draws], 0.9, 1.1),
        ([d.quality for d in draws], 40, 100),
        ([d.blur_sigma for d in draws if d.blur_sigma], 0.1, 2.0),
    ]:  # fmt: skip
        width = high - low
        assert low <= min(values) < low + width / 50 and high - width / 50 < max(values) <= high


def dot(x, y, size=41):
    image = np.zeros((size, size, 3), np.uint8)
    image[y, x] = 255
    return image


def where(image):
    y, x = np.nonzero(image[..., 0] > 100)
    return (round(float(x.mean()), 1), round(float(y.mean()), 1))


def test_the_geometry():
    """A dot 10 right of the centre of a 41 x 41 image, pixel centres at whole numbers."""
    image = dot(30, 20)

    def moved(**change):
        start = none().draw(np.random.default_rng(0)).__dict__
        return none().apply(image, transforms.Draw(**{**start, **change}))

    assert where(moved()) == (30, 20)
    assert where(moved(flip=True)) == (10, 20)
    assert where(moved(angle=90.0)) == (20, 10)  # counter-clockwise: right goes up
    assert where(moved(shift=(0.1, -0.2))) == (34, 12)  # right, up, in whole pixels
    assert where(moved(scale=1.5)) == pytest.approx((35, 20), abs=0.6)
    assert where(moved(angle=90.0, shift=(0.1, 0.0))) == (24, 10)  # turn first, then shift
    assert moved(shift=(0.3, 0.0))[:, :5].max() == 0  # black comes in


def test_bilinear_is_finer_than_nearest(image):
    soft = none(degrees=10, interpolation="bilinear")
    hard = none(degrees=10)
    a, b = (t(image, np.random.default_rng(1)) for t in (soft, hard))
    assert (a != b).any() and difference(a, b).mean() < 12


def test_colour_and_order():
    image = np.full((8, 8, 3), 100, np.uint8)
    image[:4] = 50
    base = none().draw(np.random.default_rng(0)).__dict__
    draw = transforms.Draw(**{**base, "brightness": 1.1, "contrast": 1.0})
    assert (none().apply(image, draw)[[0, 7], 0, 0] == [55, 110]).all()
    draw = transforms.Draw(**{**base, "contrast": 0.9, "brightness": 1.0})
    assert difference(none().apply(image, draw)[[0, 7], 0, 0], np.array([52, 97])).max() <= 1
    # clipping makes the order visible
    image = np.full((8, 8, 3), 250, np.uint8)
    image[:4] = 0
    both = {**base, "brightness": 1.5, "contrast": 0.5}
    first, last = (
        none().apply(image, transforms.Draw(**{**both, "contrast_first": c})) for c in (True, False)
    )
    assert (first != last).any()


def test_jpeg_comes_last(image):
    augment = none(jpeg_quality=(30, 30), flip=1)
    want = transforms.jpeg(np.ascontiguousarray(image[:, ::-1]), 30)
    assert (augment(image, np.random.default_rng(0)) == want).all()


def test_a_pair_is_treated_alike(image):
    """The difference of a real and its fake stays where the fake was changed."""
    fake = image.copy()
    fake[10:20, 10:20] = 255 - fake[10:20, 10:20]
    changed = np.zeros_like(image)
    changed[10:20, 10:20] = 255
    augment = Augment(jpeg_quality=None, brightness=0, contrast=0)
    for seed in range(5):
        a, b, mask = (augment(x, np.random.default_rng(seed)) for x in (image, fake, changed))
        assert ((a != b) <= (mask > 0)).all() and (a != b).any()


@pytest.mark.parametrize("call", [
    lambda x: transforms.jpeg(x, 50), lambda x: transforms.blur(x, 5, 1.0),
    lambda x: transforms.resize(x, 8), lambda x: transforms.noise(x, 0.1, np.random.default_rng(0)),
    lambda x: Augment()(x, np.random.default_rng(0)),
])  # fmt: skip
@pytest.mark.parametrize("bad", [
    np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8),
    np.zeros((3, 8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8),
])  # fmt: skip
def test_other_images_are_refused(call, bad):
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8 RGB; multiply"):
        call(bad)


def test_errors(image):
    rng = np.random.default_rng(0)
    for call, message in [
        (lambda: transforms.jpeg(image, 0), "from 1 to 100"),
        (lambda: transforms.jpeg(image, 50.5), "from 1 to 100"),
        (lambda: transforms.blur(image, 4, 1.0), "odd kernel"),
        (lambda: transforms.blur(image, 5, 0), "odd kernel"),
        (lambda: transforms.blur(image[:5], 19, 1.0), "smaller kernel"),
        (lambda: transforms.resize(image, 8, "cubic"), "nearest, lanczos"),
        (lambda: transforms.resize(image, 0), "at least 1 pixel"),
        (lambda: transforms.noise(image, -1, rng), ">= 0"),
        (lambda: transforms.corrupt(image, "fog", 0, rng), "'jpeg': 6"),
        (lambda: transforms.corrupt(image, "jpeg", 6, rng), "'jpeg': 6"),
        (lambda: Augment(flip=2), r"flip=2, expected a number in \[0, 1\]"),
        (lambda: Augment(scale=(1.1, 0.9)), "0 < low <= high"),
        (lambda: Augment(jpeg_quality=(40, 101)), "at most 100"),
        (lambda: Augment(blur_kernel=6), "odd"),
        (lambda: Augment(interpolation="lanczos"), "bilinear"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
