"""Hair, glasses, hats and the facts of a person."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
from gendkit.nobody import cloth, hair, heads, raster, scalp, scene, wear
from gendkit.nobody.actor import Actor
from gendkit.nobody.render import View

LIGHT = scene.light(np.random.default_rng(0))
VIEW = View(44.0, (128.0, 128.0))
DARK, BRIGHT = np.zeros((256, 256, 3), np.float32), np.ones((256, 256, 3), np.float32)


@pytest.fixture(scope="module")
def people():
    return [heads.make_identity(k) for k in range(500)]


def dressed(seed: int, style: str | None = None, **traits: float) -> heads.Identity:
    """A person with some traits set by hand."""
    who = heads.make_identity(seed)
    return dataclasses.replace(
        who, style=style or who.style, traits={**who.traits, "hat": 0.0, "glasses": 0.0, **traits}
    )


def shot(who: heads.Identity, background=DARK, angles=(0.0, 0.0, 0.0)) -> np.ndarray:
    return Actor(who).frame({}, (0, 0), angles, LIGHT, VIEW, background)[0]


def test_shares_of_glasses_hats_styles_and_colours(people):
    facts = [heads.attributes(p) for p in people]
    share = {k: np.mean([f[k] != "none" for f in facts]) for k in ("glasses", "hat")}
    assert 0.13 < share["glasses"] < 0.24 and 0.06 < share["hat"] < 0.14
    assert {f["glasses"] for f in facts} == set(heads.GLASSES)
    assert {f["hat"] for f in facts} == set(heads.HATS)
    assert {f["hair"] for f in facts} == set(heads.STYLES)
    assert {f["hair_colour"] for f in facts} == set(heads.HAIR_COLOURS) | {"none"}
    dark = np.mean([f["hair_colour"] == "black" for f in facts])
    assert dark < 0.5
    leaders = np.argmax([[f[r] for r in ("african", "asian", "caucasian")] for f in facts], axis=1)
    assert (np.bincount(leaders) / len(leaders) > 0.28).all()


def test_any_three_people_in_a_row_have_three_leading_ancestries():
    drawn = [heads._ancestry(k, np.random.default_rng(k)) for k in range(300)]
    leaders = np.argmax(drawn, axis=1).reshape(-1, 3)
    assert np.mean([len(set(three)) == 3 for three in leaders]) > 0.6


def test_facts_have_one_schema(people):
    first = heads.attributes(people[0])
    assert list(first) == [
        "gender",
        "age_band",
        "african",
        "asian",
        "caucasian",
        "ita_deg",
        "hair",
        "hair_colour",
        "glasses",
        "hat",
        "beard",
    ]
    for person in people[:60]:
        facts = heads.attributes(person)
        assert facts.keys() == first.keys()
        assert facts["gender"] in ("female", "male") and -90 < facts["ita_deg"] < 90
        assert facts["beard"] in ("none", "stubble", "beard")
        low, high = map(int, facts["age_band"].split("-"))
        assert high == low + 9 and 20 <= low <= 70
        assert abs(sum(facts[r] for r in ("african", "asian", "caucasian")) - 1) < 0.02


def test_typology_angle_is_that_of_the_lab_colour():
    lab = pytest.importorskip("skimage.color").rgb2lab
    for srgb in ((198, 134, 66), (240, 205, 186), (74, 47, 35)):
        srgb = np.array(srgb) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        lightness, _, b = lab(srgb[None, None])[0, 0]
        expected = np.rad2deg(np.arctan2(lightness - 50, b))
        assert heads.typology_angle(linear) == pytest.approx(expected, abs=0.1)


def test_typology_angle_falls_with_the_tone():
    tones = np.linspace(0, 1, 21)
    angles = [heads.typology_angle(heads.skin_colour({"tone": t, "undertone": 0.0})) for t in tones]
    assert (np.diff(angles) < 0).all() and angles[0] > 55 and angles[-1] < -30


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_glasses_sit_in_front_of_the_eyes_and_are_symmetric(kind):
    who = dressed(5, glasses=float(kind))
    shape = heads.neutral_shape(who)
    shape = (shape + _mirrored(shape)) / 2
    lines = hair.join(wear.glasses(who, shape))
    rims = lines.points[lines.mass & (lines.points[:, 2] > 0)]
    p = heads.default_pack()
    for eye in (1, 2):
        corners = shape[p.part == eye]
        near = rims[np.abs(rims[:, 0] - corners[:, 0].mean()) < 0.33]
        assert near[:, 2].min() > corners[:, 2].max() - 0.05
        assert near[:, 1].min() < corners[:, 1].mean() < near[:, 1].max()
    left, right = rims[rims[:, 0] > 0.2], rims[rims[:, 0] < -0.2]
    mirrored = right * [-1, 1, 1]
    gap = np.linalg.norm(left[:, None] - mirrored[None], axis=2).min(1)
    assert len(left) == len(right) and gap.max() < 0.05


def _mirrored(shape: np.ndarray) -> np.ndarray:
    """The mirror image of a shape, vertex by vertex (nearest vertex of the mirrored average head)."""
    from scipy.spatial import cKDTree

    neutral = heads.average()[0]
    twin = cKDTree(neutral).query(neutral * [-1, 1, 1])[1]
    return shape[twin] * [-1, 1, 1]


def test_a_face_without_glasses_or_hat_has_none():
    who = dressed(5)
    shape = heads.neutral_shape(who)
    assert wear.glasses(who, shape) == [] and cloth.hat(who, shape) == []


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_hats_cover_the_hair_and_leave_the_face_free(kind):
    bare, covered = (shot(dressed(8, "long straight", hat=float(k))) for k in (0, kind))
    changed = (bare.astype(int) != covered).any(-1)
    _, marks = Actor(dressed(8)).frame({}, (0, 0), (0, 0, 0), LIGHT, VIEW, DARK)
    x, y = np.round(marks[17:]).astype(int).T
    top = slice(y.min() - 70, y.min() - 25)
    hair_pixels = bare[top].sum(-1) > 0
    assert changed[top][hair_pixels].mean() > 0.9
    # from the eyes to the chin nothing of a hat lies in front of the face
    shape = heads.neutral_shape(dressed(8))
    hat = cloth.join(cloth.hat(dressed(8, hat=float(kind)), shape))
    depth = raster.rasterize(wear._screen(hat.points, VIEW), hat.faces, (512, 512))[0]
    x, y = np.round(2 * marks[36:] + 0.5).astype(int).T
    assert (depth[y, x] > VIEW.distance).all()


def test_hair_has_a_soft_outline():
    who = dressed(8, "side part")
    dark, bright = shot(who, DARK).astype(float), shot(who, BRIGHT).astype(float)
    through = ((bright - dark) / shot_background())[:120].mean(-1)
    partial = ((through > 0.05) & (through < 0.95)).sum()
    solid = through <= 0.5
    edge = (solid[:, 1:] != solid[:, :-1]).sum() + (solid[1:] != solid[:-1]).sum()
    # a hard mask cut at sample centres of a smooth outline leaves about 0.7 mixed pixels for each step of its outline
    assert partial > 1.2 * edge


def shot_background() -> np.ndarray:
    """What an empty picture shows on the bright ground."""
    far = View(44.0, (4000.0, 4000.0))
    return Actor(dressed(8)).frame({}, (0, 0), (0, 0, 0), LIGHT, far, BRIGHT)[0].astype(float)


def test_the_same_person_has_the_same_hair_and_pixels():
    who = dressed(9, "curly", glasses=2.0)
    one, two = (hair.join(hair.strands(who, heads.neutral_shape(who))) for _ in range(2))
    assert all(
        np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in dataclasses.fields(one)
    )
    assert np.array_equal(shot(who), shot(who))


@pytest.mark.parametrize("style", heads.STYLES)
def test_every_style_grows_finite_hair_outside_the_skull(style):
    who = dressed(6, style)
    shape = heads.neutral_shape(who)
    layers = hair.strands(who, shape)
    skull = scalp.Skull(shape, ears=False, lowest=-1.35)
    for layer in layers:
        tips = layer["points"][:, -1]
        tips = tips[tips[:, 1] > 0.3]
        assert np.isfinite(layer["points"]).all()
        d = tips - scalp.CENTRE
        r = np.linalg.norm(d, axis=1)
        assert len(r) == 0 or (r > skull.radius(d / r[:, None]) - 0.12).mean() > 0.97
    if style not in ("bald", "receding"):
        assert sum(len(layer["points"]) for layer in layers) > 2000


def test_lines_blend_by_coverage_and_respect_depth():
    layer = np.zeros((9, 9, 4), np.float32)
    layer[..., 3] = 1
    depth = np.full((9, 9), 5.0, np.float32)
    depth[:, 5:] = 1.0  # a wall in front of the right side
    screen = np.array([[0, 4, 2], [9, 4, 2]], np.float32)
    half, alpha = np.full(2, 0.25, np.float32), np.ones(2, np.float32)
    colour = np.ones((2, 3), np.float32)
    one = np.array([0])
    raster.draw_lines(layer, depth, screen, half, colour, alpha, one, one, 0.03, 0.05)
    np.testing.assert_allclose(layer[4, :5, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(layer[4, :5, 3], 0.5, atol=1e-6)
    assert (layer[:, 5:, 3] == 1).all() and (layer[[0, 1, 2, 6, 7, 8], :, 3] == 1).all()
