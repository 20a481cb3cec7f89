"""Places, lights, motion and camera of Nobody's Faces."""

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")
from gendkit.nobody import camera, defocus, heads, indoors, outdoors, places, scene

KINDS = [kind for part in places.PLACES.values() for kind in part]
DOMAINS = ("nobody", "nobody-x")


def rng_of(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def low_share(image: np.ndarray) -> float:
    """Share of the energy (mean removed) below 16 cycles a picture; windowed, so that edges do not count."""
    grey = image.mean(-1)
    window = np.hanning(len(grey))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window * window[:, None])) ** 2
    f = np.abs(np.fft.fftfreq(len(grey), 1 / len(grey)))
    return power[np.hypot(f, f[:, None]) < 16].sum() / power.sum()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_place_is_a_picture_out_of_focus(kind):
    for seed in range(3):
        image = kind(rng_of(seed), 256)
        assert image.shape == (256, 256, 3) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1.3
        assert low_share(image) > 0.9
        assert image.std() > 0.004 and np.median(np.abs(np.diff(image, axis=1))) < 0.02


def test_noise_would_not_pass_as_a_place():
    assert low_share(rng_of(0).random((256, 256, 3))) < 0.1


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_same_seed_gives_the_same_place_and_others_differ(domain):
    images = [scene.background(rng_of(k), 256, domain) for k in range(6)]
    assert all(
        (im == scene.background(rng_of(k), 256, domain)).all() for k, im in enumerate(images)
    )
    for k in range(6):
        for j in range(k):
            assert np.abs(images[k] - images[j]).mean() > 0.01


def test_domains_share_no_kind_of_place():
    assert not set(places.PLACES["nobody"]) & set(places.PLACES["nobody-x"])
    for part in places.PLACES.values():
        assert sum(part.values()) == pytest.approx(1)


def test_sizes_show_the_same_place():
    small, large = (scene.background(rng_of(4), size) for size in (128, 256))
    assert np.abs(defocus.resize(large, 128, 128) - small).max() < 0.05


def test_a_place_is_drawn_quickly():
    scene.background(rng_of(0))
    start = time.process_time()
    for k in range(8):
        scene.background(rng_of(k))
    assert (time.process_time() - start) / 8 < 0.06


def test_a_point_out_of_focus_becomes_an_even_disc():
    layer = defocus.Layer()
    layer.ellipses(defocus.ovals(0.5, 0.5, 0.004, 0.004), np.array([[50.0, 50.0, 50.0]]))
    soft = defocus.disc_blur(layer.pixels, 6.0)[..., 0]
    assert soft.sum() == pytest.approx(layer.pixels[..., 0].sum(), rel=1e-3)
    y, x = np.mgrid[: defocus.SIDE, : defocus.SIDE] + 0.5 - defocus.SIDE / 2
    d = np.hypot(y, x)
    assert soft[d > 8].max() < 1e-4 * soft.max()
    assert soft[d < 4].min() > 0.6 * soft.max()  # a Gaussian would have fallen far below


def test_defocus_ends_at_the_edge_of_the_canvas():
    sharp = rng_of(0).random((defocus.SIDE, defocus.SIDE, 4)).astype(np.float32)
    assert defocus.disc_blur(sharp, 0.3) is sharp
    wide = defocus.disc_blur(sharp, 99.0)
    assert np.array_equal(wide, defocus.disc_blur(sharp, defocus.MAX_RADIUS))


def test_walls_behind_the_camera_are_cut_off():
    pinhole = defocus.Pinhole(0.0, 0.0, 0.0, 1.0)
    floor = np.array([[[-1, -1, -2], [1, -1, -2], [1, -1, 4], [-1, -1, 4.0]]])
    behind = floor - [0, 0, 9]
    polygons, counts = pinhole.project(np.concatenate([floor, behind]))
    assert counts.tolist() == [4, 0] and np.isfinite(polygons).all()
    assert polygons[0, :4, 1].min() == pytest.approx(0.75) and polygons[0, :4, 1].max() > 3


def test_unknown_domains_are_named():
    for call in (scene.light, camera.draw, lambda rng, d: scene.background(rng, 256, d)):
        with pytest.raises(ValueError, match="domain is 'moon', expected one of nobody, nobody-x"):
            call(rng_of(0), "moon")


def test_indoors_and_outdoors_are_used():
    made = {k.__module__ for k in KINDS}
    assert made == {indoors.__name__, outdoors.__name__}


def test_lights_of_the_second_domain_are_harder_and_come_from_elsewhere():
    lights = {d: [scene.light(rng_of(k), d) for k in range(200)] for d in DOMAINS}
    key = {d: np.array([x.key for x in lights[d]]) for d in DOMAINS}
    for d in DOMAINS:
        np.testing.assert_allclose(np.linalg.norm(key[d], axis=1), 1, atol=1e-9)
        assert all(np.isfinite(x.vector()).all() and (x.vector()[3:6] > 0).all() for x in lights[d])
    assert key["nobody"][:, 1].min() > 0 and key["nobody"][:, 2].min() > 0
    assert (key["nobody-x"][:, 1] < -0.2).mean() > 0.1  # from below
    assert (key["nobody-x"][:, 2] < 0).mean() > 0.1  # from behind
    ratio = {
        d: np.median([x.key_rgb.mean() / x.sky_rgb.mean() for x in lights[d]]) for d in DOMAINS
    }
    assert ratio["nobody-x"] > 1.5 * ratio["nobody"]
    like = lights["nobody-x"][0]
    near = [scene.similar_light(rng_of(k), like, "nobody-x").key @ like.key for k in range(50)]
    assert np.mean(near) > 0.9


@pytest.fixture(scope="module")
def motions():
    return [scene.motion(rng_of(k, 9), 16, 25.0, (0.2, -0.1, 0.05)) for k in range(200)]


def track(m: scene.Motion, name: str) -> np.ndarray:
    return np.array([e.get(name, 0.0) for e in m.expressions])


def test_motion_has_the_right_form(motions):
    names = set(heads.action_names())
    for m in motions:
        assert len(m.expressions) == 16 and m.gaze.shape == (16, 2) and m.angles.shape == (16, 3)
        assert all(set(e) <= names and all(0 <= v <= 1 for v in e.values()) for e in m.expressions)
        np.testing.assert_allclose(m.angles.mean(0), [0.2, -0.1, 0.05], atol=1e-12)
    again = scene.motion(rng_of(3, 9), 16, 25.0, (0.2, -0.1, 0.05))
    assert again.expressions == motions[3].expressions and (again.gaze == motions[3].gaze).all()


def test_nothing_jumps(motions):
    for m in motions:
        speed = np.abs(np.diff(m.angles, axis=0)).max(0)
        assert (speed < [0.06, 0.06, 0.03]).all()  # radians a frame
        change = np.abs(np.diff(m.angles, 2, axis=0)).max()
        assert change < 0.035
        for name in m.expressions[0]:
            limit = 0.85 if name.startswith("eyeBlink") else 0.30
            assert np.abs(np.diff(track(m, name))).max() < limit
        assert np.abs(m.gaze).max(0)[0] <= 0.38 and np.abs(m.gaze).max(0)[1] <= 0.22


def test_about_half_of_the_clips_hold_a_blink(motions):
    blinks = [track(m, "eyeBlinkLeft").max() > 0.7 for m in motions]
    assert 0.35 < np.mean(blinks) < 0.65
    for m in motions:
        assert track(m, "eyeBlinkLeft").min() < 0.5


def test_mouths_speak_at_the_pace_of_speech():
    turns = []
    for k in range(30):
        jaw = track(scene.motion(rng_of(k, 3), 100), "jawOpen")
        rises = np.diff(jaw) > 0
        turns.append((rises[1:] != rises[:-1]).sum() / 4)
        assert jaw.max() > 0.05
    assert 3 < np.mean(turns) < 8  # turning points a second: one for each mouth shape


def test_heads_turn_and_eyes_hold_their_point(motions):
    spans = np.array([np.ptp(m.angles, axis=0) for m in motions])
    assert 0.04 < np.median(spans[:, 0]) < 0.3
    turned = [m for m, span in zip(motions, spans, strict=True) if span[0] > 0.05]
    slopes = [np.polyfit(m.angles[:, 0], m.gaze[:, 0], 1)[0] for m in turned]
    assert np.median(slopes) < -0.5  # eyes counter the turn of the head


def test_still_expressions_are_nearly_symmetric():
    names = heads.action_names()
    drawn = [scene.expression(rng_of(k), names) for k in range(100)]
    gap = [abs(e["mouthSmileLeft"] - e["mouthSmileRight"]) for e in drawn]
    assert np.mean(gap) < 0.05 and max(max(e.values()) for e in drawn) <= 1
    assert np.mean([e["noseSneerLeft"] for e in drawn]) < 0.08


def grain(seed: int = 0, size: int = 256) -> np.ndarray:
    """A picture with detail everywhere, (size, size, 3) uint8."""
    coarse = rng_of(seed).uniform(60, 190, (size // 4, size // 4, 1)).astype(np.float32)
    return np.repeat(defocus.resize(coarse, size, size), 3, axis=2).astype(np.uint8)


def offset(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shift (x, y) in pixels between two patches by least squares on gradients."""
    a, b = a.astype(float) - a.mean(), b.astype(float) - b.mean()
    a, b = a / a.std(), b / b.std()
    gy, gx = np.gradient((a + b) / 2)
    inside = (slice(4, -4), slice(4, -4))
    g = np.stack([gx[inside].ravel(), gy[inside].ravel()], 1)
    return np.linalg.lstsq(g, (a - b)[inside].ravel(), rcond=None)[0]


@pytest.mark.parametrize("domain", DOMAINS)
def test_points_stay_where_they_are_in_every_part_of_the_picture(domain):
    image, shifts = grain(), []
    for k in range(6):
        filmed = camera.film(image[None], camera.draw(rng_of(k), domain), rng_of(k))[0]
        parts = [(slice(y, y + 96), slice(x, x + 96)) for y in (0, 80, 160) for x in (0, 80, 160)]
        shifts.append([offset(image[p].mean(-1), filmed[p].mean(-1)) for p in parts])
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_camera_repeats_itself_and_its_noise_does_not(domain):
    frames = np.stack([grain(1), grain(1)])
    cam = camera.draw(rng_of(1), domain)
    one, two, other = (camera.film(frames, cam, rng_of(s)) for s in (1, 1, 2))
    assert one.dtype == np.uint8 and (one == two).all() and (one != other).mean() > 0.3
    assert (one[0] != one[1]).mean() > 0.3
    assert all(np.isfinite(v) and isinstance(v, float) for v in cam.facts().values())


def test_a_webcam_is_noisier_and_coloured():
    flat = np.full((1, 128, 128, 3), 110, np.uint8)
    noise, colour = {}, {}
    for d in DOMAINS:
        out = [
            camera.film(flat, camera.draw(rng_of(k), d), rng_of(k))[0].astype(float)
            for k in range(8)
        ]
        noise[d] = np.mean([x[40:88, 40:88].std((0, 1)).mean() for x in out])
        colour[d] = np.mean([(x[..., 0] - x[..., 1])[40:88, 40:88].std() for x in out])
    assert noise["nobody-x"] > 1.5 * noise["nobody"] and colour["nobody-x"] > 1.5 * colour["nobody"]


def test_a_perfect_camera_keeps_greys():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    cam = camera.Camera(0.01, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)
    out = camera.film(ramp[None], cam, rng_of(0))[0].astype(int)
    assert np.abs(out - ramp)[:, 2:-2].max() <= 1


def test_exposure_drifts_slowly():
    flat = np.full((16, 64, 64, 3), 120, np.uint8)
    steady = camera.Camera(0.3, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)
    still = camera.film(flat, steady, rng_of(0)).mean((1, 2, 3))
    drift = camera.film(flat, replace(steady, drift=0.06), rng_of(0)).mean((1, 2, 3))
    assert np.ptp(still) == 0 and 0.5 < np.ptp(drift) < 16 and np.abs(np.diff(drift)).max() < 2


def test_a_fringe_too_wide_is_refused():
    cam = camera.Camera(0.3, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, fringe=2.0)
    with pytest.raises(ValueError, match=r"fringe is 2.0 pixels, expected at most 0.4"):
        camera.film(np.zeros((1, 16, 16, 3), np.uint8), cam, rng_of(0))


def test_filming_is_quick():
    frames, cam = np.stack([grain()] * 4), camera.draw(rng_of(0), "nobody-x")
    camera.film(frames, cam, rng_of(0))
    start = time.process_time()
    camera.film(frames, cam, rng_of(0))
    assert (time.process_time() - start) / 4 < 0.06
