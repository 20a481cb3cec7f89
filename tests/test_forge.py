"""Tests of gendkit.forge and gendkit.warp on painted faces of nobody."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from gendkit import forge, warp
from gendkit.forge import lips, morph, poisson

SIDE = 160


def face_points(opening: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A rough iBUG face (68, 2); eyes at (+-1, 0), mouth at (0, 2)."""
    jaw = np.linspace(np.pi, 0, 17)
    ring = np.array([np.pi, 2.1, 1.05, 0, -1.05, -2.1])
    brow = np.stack([np.linspace(-1.6, -0.4, 5), [-0.65, -0.75, -0.8, -0.77, -0.7]], 1)
    upper, lower = np.linspace(np.pi, 0, 7), np.linspace(0, -np.pi, 7)[1:-1]
    outer = np.concatenate(
        [np.stack([0.8 * np.cos(a), 2 - 0.28 * np.sin(a)], 1) for a in (upper, lower)]
    )
    outer[7:, 1] += opening
    upper, lower = np.linspace(np.pi, 0, 5), np.linspace(0, -np.pi, 5)[1:-1]
    inner = np.concatenate(
        [np.stack([0.6 * np.cos(a), 2 - 0.06 * np.sin(a)], 1) for a in (upper, lower)]
    )
    inner[5:, 1] += opening
    points = np.concatenate([
        np.stack([2.1 * np.cos(jaw), 0.1 + 3.1 * np.sin(jaw)], 1),
        brow, brow[::-1] * [-1, 1],
        np.stack([np.zeros(4), np.linspace(0, 1, 4)], 1),
        np.stack([np.linspace(-0.45, 0.45, 5), np.full(5, 1.3)], 1),
        *(np.stack([side + 0.4 * np.cos(ring), -0.16 * np.sin(ring)], 1) for side in (-1, 1)),
        outer, inner,
    ])  # fmt: skip
    depth = np.sqrt(np.clip(2.3**2 - points[:, 0] ** 2, 0, None)) + 0.6 * (np.arange(68) == 30)
    return np.stack([points[:, 0] * np.cos(yaw) + depth * np.sin(yaw), points[:, 1]], 1)


def make_clip(seed: int, n: int = 5, yaw: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A painted face that moves and speaks: images (n, 160, 160, 3) and landmarks (n, 68, 2)."""
    rng = np.random.default_rng(seed)
    skin, back = rng.uniform(120, 200, 3), rng.uniform(30, 220, 3)
    texture = warp.smooth_noise((SIDE, SIDE, 1), 1.0, rng) * 6
    images, landmarks = [], []
    for t in range(n):
        points = face_points(0.35 * np.sin(t / 2) ** 2, yaw) * 20 + [78 + t, 62 + 0.5 * t]
        box = (0, 0, SIDE, SIDE)
        image = np.ones((SIDE, SIDE, 3)) * back
        image = np.where(
            warp.hull_depth(warp.with_forehead(points[None])[0], box)[..., None] > -6, skin, image
        )
        image = image + np.roll(texture, (t // 2, t), (0, 1))
        for part, colour in (
            (slice(36, 42), 40),
            (slice(42, 48), 40),
            (slice(48, 60), 90),
            (slice(17, 22), 60),
        ):
            image = np.where(warp.hull_depth(points[part], box)[..., None] > 0, colour, image)
        images.append(np.clip(ndimage.gaussian_filter(image, (0.6, 0.6, 0)), 0, 255).round())
        landmarks.append(points)
    return np.array(images, np.uint8), np.array(landmarks)


@pytest.fixture(scope="module")
def target():
    return make_clip(1)


@pytest.fixture(scope="module")
def donor():
    return make_clip(2, n=7)


@pytest.fixture(scope="module")
def driver():
    """A mouth that opens and shuts, and one blink."""
    points = np.stack([face_points(0.3 * (t % 2), 0.1) * 18 + 80 for t in range(6)])
    points[4, 37:39, 1] += 4
    points[4, 43:45, 1] += 4
    return points


def forge_all(target, donor, driver, seed=0, **options) -> dict[str, forge.ForgedClip]:
    inputs = {"donor frames": donor, "driver landmarks": (driver,), "nothing": ()}
    return {
        name: make(
            *target, *inputs[forge.METHODS[name].needs], np.random.default_rng(seed), **options
        )
        for name, make in forge.FORGERIES.items()
    }


@pytest.fixture(scope="module")
def forged(target, donor, driver):
    return forge_all(target, donor, driver)


@pytest.mark.parametrize("method", forge.FORGERIES)
def test_forgery_stays_in_its_mask(target, forged, method):
    clip = forged[method]
    assert clip.images.shape == target[0].shape and clip.images.dtype == np.uint8
    assert clip.masks.shape == target[0].shape[:3] and clip.masks.dtype == np.float32
    assert clip.masks.min() == 0 and 0.3 < clip.masks.max() <= 1
    assert np.array_equal(clip.images[clip.masks == 0], target[0][clip.masks == 0])
    inside = np.abs(clip.images.astype(int) - target[0])[clip.masks > 0.4]
    assert inside.mean() > 1  # something was done
    share = (clip.masks > 0).mean()
    assert 0.02 < share < 0.5
    # the mask lies on the face and moves with it
    for mask, points in zip(clip.masks, target[1], strict=True):
        y, x = ndimage.center_of_mass(mask)
        assert warp.hull_depth(points, (round(x), round(y), round(x) + 1, round(y) + 1)) > 0


def test_masks_cover_what_they_should(target, forged):
    points = target[1][0].round().astype(int)
    x, y = points[[30, 51, 57]].T
    assert (forged["FS"].masks[0][y, x] > 0.9).all()
    assert (forged["Talk"].masks[0][y[1:], x[1:]] > 0.7).all()
    eyes_and_nose = points[27:48]
    assert (forged["Talk"].masks[:, eyes_and_nose[:-17, 1], eyes_and_nose[:-17, 0]] == 0).all()
    assert (forged["Talk"].masks[0][points[36:48, 1], points[36:48, 0]] == 0).all()


def test_zero_strength_changes_nothing_and_inputs_stay(donor, driver):
    target = make_clip(1)
    before = target[0].copy(), target[1].copy()
    for clip in forge_all(target, donor, driver, strength=0.0).values():
        assert np.array_equal(clip.images, before[0]) and not clip.masks.any()
    assert np.array_equal(target[0], before[0]) and np.array_equal(target[1], before[1])


def test_strength_is_opacity(target, donor, driver, forged):
    half = forge_all(target, donor, driver, strength=0.5)
    for method, clip in half.items():
        whole = forged[method]
        assert np.allclose(
            clip.masks, np.where(whole.masks / 2 < 1 / 255, 0, whole.masks / 2), atol=1e-6
        )
        middle = (whole.images.astype(float) + target[0]) / 2
        where = (whole.masks > 0.1) & (whole.images > 2).all(-1) & (whole.images < 253).all(-1)
        assert np.abs(clip.images - middle)[where].max() <= 1


def test_equal_seeds_give_equal_clips(target, donor, driver, forged):
    for method, clip in forge_all(target, donor, driver).items():
        assert np.array_equal(clip.images, forged[method].images)
        assert clip.settings == forged[method].settings
    for method, clip in forge_all(target, donor, driver, seed=1).items():
        assert not np.array_equal(clip.images, forged[method].images)


def test_single_images_are_clips_of_one(target, donor):
    pairs = [
        (forge.swap, forge.swap_clip, (*target, *donor)),
        (forge.self_blend, forge.self_blend_clip, target),
    ]
    for single, clip, data in pairs:
        one = single(*(part[0] for part in data), np.random.default_rng(3))
        many = clip(*(part[:1] for part in data), np.random.default_rng(3))
        assert np.array_equal(one.image, many.images[0]) and np.array_equal(one.mask, many.masks[0])
        assert one.image.shape == (SIDE, SIDE, 3) and one.mask.max() > 0.3


class Mean:
    """A random source that draws the middle of each range, full resolution, and no noise."""

    @staticmethod
    def uniform(low, high):
        return (
            1.0 if (low, high) in ((0.32, 0.65), (0.30, 0.65), (0.40, 0.80)) else (low + high) / 2
        )

    @staticmethod
    def standard_normal(shape):
        return np.zeros(shape)


@pytest.fixture
def without_grain(monkeypatch):
    monkeypatch.setattr(warp, "grain", lambda pasted, *others: pasted)


@pytest.mark.parametrize("make", [forge.swap_clip, forge.poisson_clip, forge.morph_clip])
def test_the_donor_s_own_face_changes_little(target, make, without_grain):
    clip = make(*target, *target, Mean())
    error = np.abs(clip.images.astype(int) - target[0])[clip.masks > 0]
    assert error.mean() < 1.5


def test_driving_oneself_changes_nothing(target, without_grain):
    assert np.array_equal(warp.copy_expression(target[1], target[1]), target[1])
    clip = forge.reenact_clip(*target, target[1], Mean())
    assert np.abs(clip.images.astype(int) - target[0]).mean() < 0.5
    assert np.abs(clip.images.astype(int) - target[0]).max() < 40  # single pixels between the lips


def test_expressions_move_and_poses_do_not(target, driver):
    moved = warp.copy_expression(target[1], driver)
    assert np.array_equal(moved[:, 27:36], target[1][:, 27:36])
    assert np.array_equal(moved[:, :4], target[1][:, :4])
    gaps = np.linalg.norm(driver[:, 66] - driver[:, 62], axis=1)
    gaps = gaps[np.linspace(0, 5, 5).round().astype(int)]
    assert np.corrcoef(gaps, np.linalg.norm(moved[:, 66] - moved[:, 62], axis=1))[0, 1] > 0.8
    # turning, moving and scaling the driver as a whole is no expression
    turn = np.array([[0.9, 0.3], [-0.3, 0.9]])
    again = warp.copy_expression(target[1], driver @ turn.T * 1.7 + [5, -9])
    assert np.allclose(again, moved, atol=1e-6)


def test_lids_close_with_the_driver(target, driver):
    picks = np.linspace(0, 5, 5).round().astype(int)
    blink = int(np.flatnonzero(picks == 4)[0])
    before = warp.eye_openings(target[1])
    after = warp.eye_openings(warp.copy_expression(target[1], driver))
    assert (after[blink] < 0.6 * before[blink]).all()
    assert np.allclose(np.delete(after, blink, 0), np.delete(before, blink, 0))


def test_lips_do_not_cross(target):
    shut = target[1].copy()
    shut[::2, 65:68, 1] -= 12  # far above the upper lip
    moved = warp.copy_expression(target[1], shut)
    assert (moved[:, 66, 1] - moved[:, 62, 1] > -1e-6).all()


def test_mouths_are_retrieved_by_opening(target):
    wide = lips.opening(target[1])
    assert np.array_equal(lips.retrieve(target[1], target[1]), np.arange(5))
    still = np.repeat(target[1][wide.argmax()][None], 5, 0)
    assert np.abs(wide[lips.retrieve(target[1], still)] - wide.max()).max() < 0.03


def test_a_shut_mouth_opens_dark_below_the_teeth(target):
    points = target[1][0].copy()
    points[60:68, 1] = points[60:68, 1].mean()
    place = target[1][0].copy()
    place[65:68, 1] += 12
    box = warp.box_of(place[60:68], 2, target[0].shape[1:])
    shown = lips.inside(target[0][0], points, place, box)
    x = round(place[62, 0]) - box[0]
    upper, lower = (round(float(place[k, 1])) - box[1] for k in (62, 66))
    assert shown[upper + 1, x].mean() > 1.5 * shown[lower - 1, x].mean()


def test_poisson_against_a_dense_solve():
    rng = np.random.default_rng(0)
    background, guide = rng.uniform(0, 255, (2, 9, 11, 2))
    y, x = np.mgrid[:9, :11]
    inside = (x - 5) ** 2 / 16 + (y - 4) ** 2 / 9 < 1.1
    cells = list(zip(*np.nonzero(inside), strict=True))
    matrix, right = np.zeros((len(cells), len(cells))), np.zeros((len(cells), 2))
    for k, (i, j) in enumerate(cells):
        matrix[k, k] = 4
        for near in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            right[k] += guide[i, j] - guide[near]
            if inside[near]:
                matrix[k, cells.index(near)] = -1
            else:
                right[k] += background[near]
    expected = background.copy()
    expected[inside] = np.linalg.solve(matrix, right)
    assert np.allclose(poisson.fill(background, guide, inside), expected, atol=1e-3)


def test_poisson_keeps_gradients_and_forgets_levels():
    image = np.random.default_rng(0).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    inside = np.ones((12, 12), bool)
    assert np.allclose(poisson.fill(image, image, inside), image, atol=1e-3)
    assert np.allclose(poisson.fill(image, image + 50, inside), image, atol=1e-3)
    assert np.array_equal(poisson.fill(image, image + 50, np.zeros((12, 12), bool)), image)


def test_morph_is_symmetric_in_its_ratio():
    one, two = face_points()[None] * 20, face_points(0.2)[None] * 20
    two[:, 17:48] += 0.7 * np.sin(np.arange(31))[:, None]
    two[:, 17:] = warp.apply_similarity(
        warp.similarity(two[0, 17:], one[0, 17:]), two[:, 17:]
    )  # so that both lie in one frame
    there = morph.mean_faces(one, two, 0.3)[:, 17:]
    back = morph.mean_faces(two, one, 0.7)[:, 17:]
    size = warp.face_width(one[0])
    assert np.abs(there - back).max() < 0.01 * size
    assert np.array_equal(morph.mean_faces(one, two, 0.3)[:, :17], one[:, :17])
    assert np.allclose(morph.mean_faces(one, two, 0.0), one)


def test_foreheads_under_hair_are_left_alone(target):
    images, points = target[0].copy(), target[1]
    assert warp.bare_forehead(images, points) == 1.0
    for image, p in zip(images, points, strict=True):
        image[: round(p[17:27, 1].min()) - 6] = (30, 20, 15)
    covered = warp.bare_forehead(images, points)
    assert covered <= 0.5
    clip = forge.swap_clip(images, points, *make_clip(2), np.random.default_rng(0))
    hair = (images == (30, 20, 15)).all(-1)
    assert clip.masks[hair].mean() < 0.01


def test_blinks_stay_the_target_s(target, donor):
    points = target[1].copy()
    points[2, 37:39] = points[2, [41, 40]] - [0, 0.3]
    points[2, 43:45] = points[2, [47, 46]] - [0, 0.3]
    clip = forge.swap_clip(target[0], points, *donor, np.random.default_rng(0))
    x, y = points[2, 36:42].mean(0).round().astype(int)
    assert clip.masks[2, y, x] == 0 and clip.masks[0, y, x] > 0.9


def test_grain_is_put_back():
    rng = np.random.default_rng(0)
    noisy = (128 + 6 * rng.standard_normal((60, 60, 3))).astype(np.float32)
    noisy[30] = 0  # a line must not come through
    smooth, mask = np.full_like(noisy, 128), np.ones((60, 60))
    made = warp.grain([smooth], [noisy], [mask], 1.0)[0]
    assert 2 < made.std() < 6 and np.abs(made - 128).max() < 15
    assert np.array_equal(warp.grain([smooth], [noisy], [mask], 0.0)[0], smooth)


def test_the_table_of_methods_is_complete():
    assert list(forge.METHODS) == [
        "DF", "F2F", "FS", "NT", "Poisson", "SBI", "Morph", "SuperRes", "Inpaint", "Talk", "Whole",
    ]  # fmt: skip
    assert [name for name, m in forge.METHODS.items() if m.seen] == ["DF", "F2F", "FS", "NT"]
    for name, made in forge.FORGERIES.items():
        assert getattr(forge, forge.METHODS[name].function) is made
    for method in forge.METHODS.values():
        assert callable(getattr(forge, method.function))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = forge.nothing


def test_the_import_needs_no_torch():
    code = "import sys, gendkit.forge; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_swap_takes_the_colour_of_the_target(target, donor, forged):
    where = forged["FS"].masks > 0.9
    before, after = target[0][where].mean(0), forged["FS"].images[where].mean(0)
    given = donor[0][0][60:100, 60:100].reshape(-1, 3).mean(0)
    left = 1 - forged["FS"].settings["colour"]  # share of the difference that is not taken away
    assert np.abs(after - before).max() < (left + 0.1) * np.abs(given - before).max()


def test_mouth_follows_the_driver(target):
    still = np.repeat(target[1][:1], 5, 0)
    talking = still.copy()
    talking[:, 55:60, 1] += 8 * np.array([0, 1, 0, 1, 0])[:, None]
    talking[:, 65:68, 1] += 8 * np.array([0, 1, 0, 1, 0])[:, None]
    moved = warp.copy_mouth(target[1], talking)
    gap = np.linalg.norm(moved[:, 66] - moved[:, 62], axis=1)
    assert gap[[1, 3]].min() > gap[[0, 2, 4]].max() + 2
    others = np.r_[0:48]
    assert np.array_equal(moved[:, others], target[1][:, others])


def test_detail_is_matched():
    rng = np.random.default_rng(0)
    sharp = rng.normal(128, 20, (40, 40, 3)).astype(np.float32)
    soft = ndimage.gaussian_filter(sharp, (0.5, 0.5, 0))
    mask = np.ones((40, 40))
    want = [np.abs(b).mean() for b in warp.bands(sharp)]
    for amount, low, high in ((0.0, 0.0, 0.65), (1.0, 0.8, 1.1)):
        made = warp.match_detail([soft], [sharp], [mask], amount)[0]
        share = np.abs(warp.bands(made)[0]).mean() / want[0]
        assert low < share < high


def test_donor_frames_are_chosen_by_pose():
    frames = np.concatenate([make_clip(2, n=2, yaw=y)[1] for y in (-0.3, 0.0, 0.3)])
    cost = warp.shape_distance(frames[:, 17:], make_clip(1, n=3, yaw=0.28)[1][:, 17:]).T
    assert set(warp.smooth_path(cost, 0.01)) <= {4, 5}
    assert warp.smooth_path(np.array([[0, 1], [0.2, 0], [0, 1.0]]), 0.5).tolist() == [0, 0, 0]
    assert warp.smooth_path(np.array([[0, 1], [0.2, 0], [0, 1.0]]), 0.05).tolist() == [0, 1, 0]


def test_affine_map_against_the_closed_form():
    rng = np.random.default_rng(0)
    target = rng.uniform(5, 45, (12, 2))
    matrix, shift = np.array([[1.1, 0.2], [-0.1, 0.9]]), np.array([3.0, -2.0])
    source = target @ matrix.T + shift
    triangles = warp.triangulate(target)
    field = warp.affine_map(target, source, triangles, (0, 0, 50, 50))
    y, x = np.mgrid[:50, :50]
    inside = warp.hull_depth(target, (0, 0, 50, 50)) > 0.01
    expected = np.stack([x, y], -1) @ matrix.T + shift
    assert np.allclose(field[inside], expected[inside], atol=1e-6)
    assert np.isfinite(field).all()


def test_resample_identity_and_shift():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.uniform(0, 255, (30, 40, 3)), (2, 2, 0))
    y, x = np.mgrid[5:20, 5:30].astype(float)
    same = warp.resample(image, np.stack([x, y], -1))
    assert np.allclose(same, image[5:20, 5:30], atol=1e-2)
    moved = warp.resample(image, np.stack([x + 3, y - 2], -1))
    assert np.allclose(moved, image[3:18, 8:33], atol=1e-2)


def test_hull_depth_of_a_square():
    depth = warp.hull_depth(np.array([[2, 2], [12, 2], [12, 12], [2, 12]]), (0, 0, 15, 15))
    y, x = np.mgrid[:15, :15]
    inside = (x >= 2) & (x <= 12) & (y >= 2) & (y <= 12)
    expected = np.minimum.reduce([x - 2, 12 - x, y - 2, 12 - y])
    assert np.allclose(depth[inside], expected[inside]) and (depth[~inside] < 0).all()


def test_similarity_is_recovered():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(9, 2))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = 2.5 * points @ turn.T + [4, -1]
    assert np.allclose(warp.apply_similarity(warp.similarity(points, moved), points), moved)
    assert warp.shape_distance(points[None], moved[None])[0, 0] < 1e-6
    assert warp.shape_distance(points[None], points[None] * [-1, 1])[0, 0] > 0.1


def test_lab_known_values_and_round_trip():
    known = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
    }
    for rgb, lab in known.items():
        assert np.allclose(warp.rgb_to_lab(np.array(rgb, float)), lab, atol=0.15)
    rng = np.random.default_rng(0)
    colours = rng.uniform(0, 255, (100, 3))
    assert np.allclose(warp.lab_to_rgb(warp.rgb_to_lab(colours)), colours, atol=1e-3)


def test_far_poses_are_refused(target):
    with pytest.raises(forge.ForgeError, match="15 degrees"):
        forge.swap_clip(*target, *make_clip(2, yaw=0.9), np.random.default_rng(0))


def test_folded_landmarks_are_refused(target, donor):
    images, points = target[0], target[1].copy()
    points[:, 0:17, 0] = 160 - points[:, 0:17, 0]  # jaw from the wrong side
    with pytest.raises(forge.ForgeError, match="fold over"):
        forge.swap_clip(images, points, *donor, np.random.default_rng(0))
    folded = warp.triangulate(np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]]))
    assert warp.folded_share(np.array([[0, 0], [-1, 0], [0, 1], [-1, 1.0]]), folded) == 1.0


def test_wrong_inputs_say_what_is_wrong(target, donor):
    rng = np.random.default_rng(0)
    images, points = target
    cases = [
        ((images.astype(float), points), "uint8"),
        ((images[0], points[0]), "without _clip|68, 2"),
        ((images, points[:3]), "one per image"),
        ((images, points[:, :5]), "iBUG"),
        ((images, points * np.nan), "NaN"),
        ((images, points / 10), "at least 24"),
        ((images, points + 500), "outside"),
    ]
    for data, message in cases:
        with pytest.raises(forge.ForgeError, match=message):
            forge.self_blend_clip(*data, rng)
    with pytest.raises(forge.ForgeError, match="donor"):
        forge.swap_clip(*target, donor[0], donor[1][:2], rng)
    with pytest.raises(forge.ForgeError, match="driver"):
        forge.talk_clip(*target, donor[1][0], rng)
    with pytest.raises(forge.ForgeError, match="at least 2"):
        forge.reenact_clip(*target, donor[1][:1], rng)
    with pytest.raises(forge.ForgeError, match=r"\[0, 1\]"):
        forge.self_blend_clip(*target, rng, strength=2.0)
