"""Skin, eyes, lashes, shading and the film curve of the heads, against what they must and must not do."""

from dataclasses import replace

import numpy as np
import pytest

from gendkit.nobody import chart, heads, lashes, noise, paint, render, scene, strokes, surface
from gendkit.nobody.actor import Actor
from gendkit.nobody.face_hair import press_wrinkles

VIEW = render.View(50.0, (128.0, 118.0))
GREY = np.full((256, 256, 3), 0.2, np.float32)


def person(seed: int = 3, **traits: float) -> heads.Identity:
    """An identity with some traits set."""
    who = heads.make_identity(seed)
    return replace(who, traits={**who.traits, **traits})


@pytest.fixture(scope="module")
def actor():
    return Actor(person(3, hat=0.0, glasses=0.0))


def mean_face(look: paint.Look) -> np.ndarray:
    """Mean albedo of forehead and cheeks."""
    column, row = chart.texel(
        np.array([-0.6, -0.1, 0.1, 0.6]), np.array([-0.45, 0.65, 0.65, -0.45])
    )
    boxes = [
        look.skin[int(r) - 8 : int(r) + 8, int(c) - 8 : int(c) + 8, :3].reshape(-1, 3)
        for c, r in zip(column, row, strict=True)
    ]
    return np.concatenate(boxes).mean(0)


def test_the_same_person_is_painted_the_same_and_others_are_not():
    one, again, other = (paint.bake(heads.make_identity(k)) for k in (5, 5, 6))
    for name in ("skin", "height", "colours", "numbers"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
        assert np.isfinite(getattr(one, name)).all()
    assert np.array_equal(one.lashes.weights, again.lashes.weights)
    assert np.abs(one.skin - other.skin).mean() > 0.01
    assert one.skin[..., :3].min() >= 0 and one.skin[..., :3].max() <= 1


def test_skin_colour_follows_the_trait():
    tones = np.linspace(0, 1, 5)
    angles = []
    for tone in tones:
        look = paint.bake(person(3, tone=tone, stubble=0.0, beard=0.0, freckles=0.0))
        angles.append(heads.typology_angle(mean_face(look)))
    assert (np.diff(angles) < -5).all()
    assert angles[0] > 28 and angles[-1] < -20


def test_redness_and_freckles_do_what_they_say():
    calm = {"tone": 0.1, "blotch": 0.3, "age": 0.1}
    pale, ruddy = (paint.bake(person(3, ruddy=v, freckles=0.0, **calm)) for v in (0.0, 1.0))
    column, row = (int(v[0]) for v in chart.texel(np.array([0.66]), np.array([-0.55])))
    cheek = np.s_[row - 10 : row + 10, column - 10 : column + 10]
    green_to_red = [(k.skin[cheek][..., 1] / k.skin[cheek][..., 0]).mean() for k in (pale, ruddy)]
    assert green_to_red[1] < green_to_red[0] - 0.03
    freckled = paint.bake(person(3, ruddy=0.0, freckles=1.0, **calm))
    assert freckled.skin[cheek][..., 2].std() > 1.2 * pale.skin[cheek][..., 2].std()


def test_wrinkles_grow_with_age():
    energy = []
    for age in (0.0, 0.3, 0.6, 0.95):
        height = np.zeros((chart.HEIGHT, chart.WIDTH), np.float32)
        traits = {"age": age, "asian": 0.2}
        press_wrinkles(height, traits, np.random.default_rng(4))
        assert (height <= 0).all() and height.min() > -0.1
        energy.append(float((height**2).sum()))
    assert energy[0] > 0 and (np.diff(energy) > 0).all() and energy[-1] > 3 * energy[0]


def test_the_face_has_no_seam():
    look = paint.bake(person(3, stubble=0.0, beard=0.0, moles=0.0, freckles=0.0))
    middle = slice(int(0.2 * chart.HEIGHT), int(0.75 * chart.HEIGHT))
    steps = np.abs(np.diff(look.skin[middle, :, :3], axis=1)).mean((0, 2))
    front = steps[chart.WIDTH // 2 - 60 : chart.WIDTH // 2 + 60]
    # the textures' own border lies at the back; its two sides come from one noise in space
    assert front.max() < 6 * np.median(front)
    border = np.abs(look.skin[middle, 0, :3] - look.skin[middle, -1, :3]).mean()
    assert border < 0.05 * look.skin[middle, 0, :3].mean() + 2 * np.median(steps)


def test_chart_and_texel_agree():
    x, y = np.array([-0.6, 0.0, 0.3, 0.7]), np.array([0.5, -1.7, -0.5, -0.3])
    column, row = chart.texel(x, y)
    there = chart.positions()[np.round(row).astype(int), np.round(column).astype(int)]
    np.testing.assert_allclose(there[:, 0], x, atol=0.03)
    np.testing.assert_allclose(there[:, 1], y, atol=0.03)
    assert (np.abs(chart.angle(column)) < 1.5).all()


def test_iris_colours_are_all_different():
    colours = np.stack([paint.iris_colours(heads.make_identity(k))[0] for k in range(100)])
    distance = np.abs(colours[:, None] - colours[None]).max(-1) + np.eye(100)
    assert distance.min() > 1e-4
    assert colours.min() > 0 and colours.max() < 1


def test_noise_slope_is_the_derivative_of_noise():
    at, slope, h = np.array([3.3, -1.7, 0.6]), np.zeros(3), 1e-5
    value = noise.noise3_slope(*at, 7, slope)
    assert value == noise.noise3(*at, 7)
    for c in range(3):
        up, down = at.copy(), at.copy()
        up[c] += h
        down[c] -= h
        numeric = (noise.noise3(*up, 7) - noise.noise3(*down, 7)) / (2 * h)
        assert slope[c] == pytest.approx(numeric, abs=1e-4)


def test_hairs_stay_where_they_are_drawn():
    skin = np.ones((40, 60, 4), np.float32)
    start, end = np.array([[20.0, 10.0], [2.0, 38.0]]), np.array([[30.0, 25.0], [-3.0, 44.0]])
    two = np.full(2, 0.6)
    strokes.draw_hairs(skin, start, end, two * 0, two, np.zeros((2, 3)), two)
    changed = (skin[..., 0] < 1).nonzero()
    assert skin[10, 20, 0] < 0.6 and skin[18, 25, 0] < 1 and skin[5, 50, 0] == 1
    assert len(changed[0]) < 90 and skin.min() >= 0


@pytest.mark.parametrize("side", [-1, 1])
def test_lashes_grow_on_both_eyes_and_leave_the_lid(side):
    points = heads.average()[0]
    made = lashes.make(3, 0.6)
    curves = np.einsum("nkj,nkjc->nkc", made.weights, points[made.vertices])
    own = np.sign(curves[:, 0, 0]) == side
    assert 60 < own.sum() < 200
    length = np.linalg.norm(curves[own, 3] - curves[own, 0], axis=1)
    assert length.min() > 0.005 and length.max() < 0.25
    np.testing.assert_allclose(made.weights.sum(-1), 1, atol=1e-5)


def test_lashes_behind_something_are_hidden():
    made, points = lashes.make(3, 0.6), heads.average()[0]
    screen = np.stack([150 + 100 * points[:, 0], 100 - 100 * points[:, 1], 9 - points[:, 2]], 1)
    free = lashes.cover(made, screen, np.full((200, 300), np.inf, np.float32), 100.0)
    hidden = lashes.cover(made, screen, np.zeros((200, 300), np.float32), 100.0)
    assert free.max() > 0.4 and free.max() <= 1 and not hidden.any()


def test_closed_eyes_show_no_eyeball_and_open_eyes_shine(actor):
    light = scene.light(np.random.default_rng(0))
    shut = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    seen, marks = actor.frame({}, (0, 0), (0, 0, 0), light, VIEW, GREY)
    closed, _ = actor.frame(shut, (0, 0), (0, 0, 0), light, VIEW, GREY)
    x0, x1 = np.sort(marks[[36, 39], 0]).astype(int)
    y0, y1 = int(marks[37:42, 1].min()), int(np.ceil(marks[37:42, 1].max()))
    box = np.s_[y0:y1, x0:x1]
    assert np.ptp(seen[box].astype(int).mean(-1)) > 1.3 * np.ptp(closed[box].astype(int).mean(-1))


def test_gaze_moves_the_iris(actor):
    light = scene.light(np.random.default_rng(0))
    frames = [
        actor.frame({}, (turn, 0), (0, 0, 0), light, VIEW, GREY)[0].astype(float)
        for turn in (-0.35, 0.35)
    ]
    marks = actor.frame({}, (0, 0), (0, 0, 0), light, VIEW, GREY)[1]
    y0, y1 = int(marks[37:42, 1].min()), int(marks[37:42, 1].max()) + 1
    x0, x1 = int(marks[36, 0]), int(marks[39, 0]) + 1
    dark = [255 - f[y0:y1, x0:x1].mean((0, 2)) for f in frames]
    centre = [(d**3 * np.arange(len(d))).sum() / (d**3).sum() for d in dark]
    assert centre[1] > centre[0] + 0.5


def test_every_light_gives_a_finite_picture_that_does_not_clip(actor):
    for seed in range(6):
        light = scene.light(np.random.default_rng(seed))
        image, _ = actor.frame({"jawOpen": 0.4}, (0, 0), (0.2, 0, 0), light, VIEW, GREY)
        head = image[60:200, 90:170]
        assert (head == 255).all(-1).mean() < 0.002
        assert 25 < head.mean() < 215 and head.std() > 10
    lamps = light.lamps()
    assert lamps.shape == (3, 6)
    np.testing.assert_allclose(np.linalg.norm(lamps[:, :3], axis=1), 1)


def test_film_curve_is_monotone_and_never_full():
    x = np.concatenate([[-1.0, 0.0], np.geomspace(1e-4, 30, 500)])
    y = render.encode(x)
    assert y.dtype == np.uint8 and (np.diff(y.astype(int)) >= 0).all()
    assert y[0] == y[1] == 0 and render.encode(np.array(2.0)) < 252
    assert abs(int(render.encode(np.array(0.2))) - 255 * 0.2 ** (1 / 2.2)) < 4


def test_shadow_is_soft_and_the_sphere_does_not_shade_itself():
    yy, xx = np.mgrid[: surface.SHADOW_SIZE, : surface.SHADOW_SIZE]
    k = surface.SHADOW_SIZE / surface.SHADOW_WIDTH
    x, y = xx / k - 2.6, yy / k - 3.0
    ball = x**2 + y**2 < 1
    near = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    depth = np.where(ball, -near, np.inf).astype(np.float32)
    axes = np.eye(3)
    front = [np.array([np.sin(a), 0, np.cos(a)]) for a in np.linspace(0, 1.3, 30)]
    lit = [surface._shadow(p, p, axes[0], axes[1], axes[2], depth) for p in front]
    assert min(lit) > 0.95
    wall = [np.array([v, 0.0, -1.5]) for v in np.linspace(0.8, 1.2, 41)]
    fall = np.array([surface._shadow(p, axes[2], axes[0], axes[1], axes[2], depth) for p in wall])
    assert fall[0] == 0 and fall[-1] == 1 and (np.diff(fall) >= -1e-6).all()
    assert ((fall > 0.05) & (fall < 0.95)).sum() >= 4


def test_resolve_averages_samples_over_the_background():
    background = np.full((2, 2, 3), 0.4, np.float32)
    light, pixel = np.array([[1, 1, 1], [0, 0, 0]], np.float32), np.array([0, 10])
    lash = np.zeros((4, 4), np.float32)
    lash[0, 0] = 0.5
    out = surface.resolve(light, pixel, lash, np.array([0.1, 0.1, 0.1]), background)
    np.testing.assert_allclose(out[0, 0], 0.75 * 0.4 + 0.25 * 0.55, rtol=1e-5)
    np.testing.assert_allclose(out[1, 1], 0.75 * 0.4, rtol=1e-5)
    np.testing.assert_allclose(out[0, 1], 0.4, rtol=1e-5)
