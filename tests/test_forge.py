"""Tests of gendkit.forge and gendkit.warp on painted faces of nobody."""

import numpy as np
import pytest
from scipy import ndimage

from gendkit import forge, warp

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


def forge_all(target, donor, seed=0, **options) -> dict[str, forge.ForgedClip]:
    return {
        "FS": forge.swap_clip(*target, *donor, np.random.default_rng(seed), **options),
        "NT": forge.mouth_clip(*target, donor[1], np.random.default_rng(seed), **options),
        "SBI": forge.self_blend_clip(*target, np.random.default_rng(seed), **options),
    }


@pytest.fixture(scope="module")
def forged(target, donor):
    return forge_all(target, donor)


@pytest.mark.parametrize("method", ["FS", "NT", "SBI"])
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
    assert (forged["NT"].masks[0][y[1:], x[1:]] > 0.7).all()
    eyes = points[36:48]
    assert (forged["NT"].masks[0][eyes[:, 1], eyes[:, 0]] == 0).all()


def test_zero_strength_changes_nothing(target, donor):
    for clip in forge_all(target, donor, strength=0.0).values():
        assert np.array_equal(clip.images, target[0]) and not clip.masks.any()


def test_strength_is_opacity(target, donor, forged):
    half = forge_all(target, donor, strength=0.5)
    for method, clip in half.items():
        whole = forged[method]
        assert np.allclose(
            clip.masks, np.where(whole.masks / 2 < 1 / 255, 0, whole.masks / 2), atol=1e-6
        )
        middle = (whole.images.astype(float) + target[0]) / 2
        where = (whole.masks > 0.1) & (whole.images > 2).all(-1) & (whole.images < 253).all(-1)
        assert np.abs(clip.images - middle)[where].max() <= 1


def test_equal_seeds_give_equal_clips(target, donor, forged):
    for method, clip in forge_all(target, donor).items():
        assert np.array_equal(clip.images, forged[method].images)
        assert clip.settings == forged[method].settings
    for method, clip in forge_all(target, donor, seed=1).items():
        assert not np.array_equal(clip.images, forged[method].images)


def test_inputs_are_not_changed(donor):
    target = make_clip(1)
    before = target[0].copy(), target[1].copy()
    forge_all(target, donor)
    assert np.array_equal(target[0], before[0]) and np.array_equal(target[1], before[1])


def test_single_images_are_clips_of_one(target, donor):
    pairs = [
        (forge.swap, forge.swap_clip, (*target, *donor)),
        (forge.mouth, forge.mouth_clip, (*target, donor[1])),
        (forge.self_blend, forge.self_blend_clip, target),
    ]
    for single, clip, data in pairs:
        one = single(*(part[0] for part in data), np.random.default_rng(3))
        many = clip(*(part[:1] for part in data), np.random.default_rng(3))
        assert np.array_equal(one.image, many.images[0]) and np.array_equal(one.mask, many.masks[0])
        assert one.image.shape == (SIDE, SIDE, 3) and one.mask.max() > 0.3


def test_swapping_a_face_with_itself_keeps_it(target, monkeypatch):
    def settings(low, high):
        return {(0.30, 0.60): 1.0, (0.001, 0.004): 0.0}.get((low, high), (low + high) / 2)

    class Mean:
        uniform = staticmethod(settings)
        standard_normal = staticmethod(np.zeros)

    clip = forge.swap_clip(*target, *target, Mean())
    error = np.abs(clip.images.astype(int) - target[0])[clip.masks > 0]
    assert error.mean() < 1.5


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
        forge.mouth_clip(*target, donor[1][0], rng)
    with pytest.raises(forge.ForgeError, match=r"\[0, 1\]"):
        forge.self_blend_clip(*target, rng, strength=2.0)
