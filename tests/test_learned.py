"""Tests of the learned forgeries and of how their networks are taught: tiny networks, tiny batches."""

import numpy as np
import pytest
import torch

from gendkit import forge, warp
from gendkit.forge import learned, networks, patches
from gendkit.nobody import lessons, tools

METHODS = ("DF", "NT", "SuperRes", "Inpaint", "Whole")
TINY = tools.Steps(2, 2, 2, 2, 2, 2, 2)


def make_face(seed: int, n: int = 4, size: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """A painted face that turns and speaks: (n, size, size, 3) uint8 and landmarks (n, 68, 2)."""
    rng = np.random.default_rng(seed)
    skin, eye, lip = rng.uniform(90, 210, 3), rng.uniform(20, 90, 3), rng.uniform(60, 160, 3)
    grain = rng.normal(0, 3, (n, size, size, 3))
    images, landmarks = [], []
    for t in range(n):
        points = patches.TEMPLATE.copy()
        points[[55, 56, 57, 58, 59, 65, 66, 67], 1] += 4 * np.sin(t + seed) ** 2
        angle = 0.05 * np.sin(t)
        turned = (
            points
            * [1 - 0.02 * t, 1]
            @ [
                [np.cos(angle), np.sin(angle)],
                [-np.sin(angle), np.cos(angle)],
            ]
        )
        points = 1.1 * turned + [size / 2 - 53 + t, size / 2 - 55]
        image = np.full((size, size, 3), 70.0)
        box = (0, 0, size, size)
        image[warp.hull_depth(points, box) > -4] = skin
        for part, colour in ((slice(36, 42), eye), (slice(42, 48), eye), (slice(48, 60), lip)):
            image[warp.hull_depth(points[part], box) > 0] = colour
        images.append(image * (0.8 + 0.2 * np.cos(2 * t)) + grain[t])
        landmarks.append(points)
    return np.clip(images, 0, 255).astype(np.uint8), np.array(landmarks)


def painted_person(seed: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Stands in for the renderer: a painted face of the same seed."""
    return make_face(seed, frames)


@pytest.fixture(scope="module")
def target():
    return make_face(1, 3)


@pytest.fixture(scope="module")
def shared():
    """Untaught networks of all five kinds, with the people of one group."""
    with networks.repeatable(3):
        made = {
            "swapper": networks.FaceSwapper(2),
            "renderer": networks.MouthRenderer(2),
            "upsampler": networks.Upsampler(),
            "inpainter": networks.Inpainter(),
            "generator": networks.Generator(),
        }
    for network in made.values():
        network.eval().requires_grad_(False)
    return made


def make_one(shared, target, method, seed=0, **options) -> forge.ForgedClip:
    rng, driver = np.random.default_rng(seed), make_face(2, 2)[1]
    if method == "DF":
        return learned.autoencoder_clip(*target, shared["swapper"], 1, rng, **options)
    if method == "NT":
        return learned.mouth_clip(*target, driver, shared["renderer"], 0, rng, **options)
    if method == "SuperRes":
        return learned.super_resolve_clip(*target, shared["upsampler"], rng, **options)
    if method == "Inpaint":
        return learned.inpaint_clip(*target, shared["inpainter"], rng, **options)
    return learned.whole_clip(*target, shared["generator"], rng, **options)


def forge_all(shared, target, seed=0, **options) -> dict[str, forge.ForgedClip]:
    return {method: make_one(shared, target, method, seed, **options) for method in METHODS}


@pytest.fixture(scope="module")
def forged(shared, target):
    return forge_all(shared, target)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_mask_changes(forged, target, method):
    clip = forged[method]
    assert clip.images.shape == target[0].shape and clip.images.dtype == np.uint8
    assert clip.masks.dtype == np.float32 and 0.01 < (clip.masks > 0.5).mean() < 0.6
    outside = clip.masks == 0
    assert (clip.images[outside] == target[0][outside]).all()
    assert (clip.images != target[0]).any((1, 2, 3)).all()
    assert clip.masks.max() <= 1 and clip.settings


def test_masks_lie_where_they_should(forged, target):
    eyes, mouth = (
        target[1][0, k].mean(0).round().astype(int) for k in (range(36, 48), range(48, 68))
    )
    for method in ("DF", "SuperRes", "Whole"):
        assert forged[method].masks[0, eyes[1], eyes[0]] > 0.9
        assert forged[method].masks[0, mouth[1], mouth[0]] > 0.9
    assert forged["NT"].masks[0, mouth[1], mouth[0]] > 0.9
    assert forged["NT"].masks[0, eyes[1], eyes[0]] == 0


@pytest.mark.parametrize("method", ["DF", "Whole"])
def test_what_lies_over_the_face_stays(shared, target, method):
    over = np.zeros(target[0].shape[:3], np.float32)
    over[:, 70:90] = 1  # a bar across the face, like the frame of glasses
    clip = make_one(shared, target, method, over=over)
    assert (clip.masks[:, 70:90] == 0).all() and (clip.masks[:, 95:110] > 0.5).any()
    assert (clip.images[:, 70:90] == target[0][:, 70:90]).all()
    with pytest.raises(forge.ForgeError, match="one picture a frame"):
        make_one(shared, target, method, over=over[:1])


def test_lids_that_close_stay(shared, target):
    images, points = target
    shut = points.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        shut[1, [upper, lower]] = shut[1, [upper, lower]].mean(0)
    open_eyes, blink = (make_one(shared, (images, p), "DF") for p in (points, shut))
    x, y = points[1, 36:42].mean(0).round().astype(int)
    assert open_eyes.masks[1, y, x] > 0.5 and blink.masks[1, y, x] < 0.05


def test_strength_zero_gives_the_target_back(shared, target):
    for clip in forge_all(shared, target, strength=0.0).values():
        assert (clip.images == target[0]).all() and not clip.masks.any()


def test_equal_seeds_give_equal_clips(shared, target, forged):
    again, other = forge_all(shared, target), forge_all(shared, target, seed=1)
    for method, clip in forged.items():
        assert (again[method].images == clip.images).all()
        assert (other[method].images != clip.images).any()


def test_every_region_can_be_inpainted(shared):
    target = make_face(1, 1)
    clips = [make_one(shared, target, "Inpaint", seed) for seed in (11, 21, 1, 4, 0)]
    assert {c.settings["region"] for c in clips} == set(range(len(patches.REGIONS)))
    assert all((c.masks > 0.5).mean() > 0.005 for c in clips)


@pytest.mark.parametrize(
    ("person", "words"), [(2, "knows 2 people"), (-1, "0 to 1"), (1.0, "whole number")]
)
def test_unknown_people_are_refused(shared, target, person, words):
    rng = np.random.default_rng(0)
    with pytest.raises(forge.ForgeError, match=words):
        learned.autoencoder_clip(*target, shared["swapper"], person, rng)
    with pytest.raises(forge.ForgeError, match=words):
        learned.mouth_clip(*target, target[1], shared["renderer"], person, rng)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_refused(shared, target, method):
    images, points = target
    for bad in (
        (images / 255, points),
        (images, points[:, :5]),
        (images[:2], points),
        (images, points * np.nan),
    ):
        with pytest.raises(forge.ForgeError):
            make_one(shared, bad, method)
    with pytest.raises(forge.ForgeError, match="strength"):
        make_one(shared, target, method, strength=2.0)


def test_grain_is_that_of_the_footage():
    rng = np.random.default_rng(0)
    noisy = [128 + rng.normal(0, [4, 2, 6], (64, 64, 3)).astype(np.float32) for _ in range(3)]
    clean = [np.full((64, 64, 3), 128, np.float32)] * 3
    masks = [np.ones((64, 64), np.float32)] * 3
    made = learned.add_grain(clean, noisy, masks, 1.0, rng)
    want, have = (np.std(warp.bands(x[0])[0], axis=(0, 1)) for x in (noisy, made))
    assert np.abs(have / want - 1).max() < 0.25
    assert np.allclose(learned.add_grain(clean, clean, masks, 1.0, rng)[0], 128, atol=1e-3)


def test_alignment_and_return_are_inverse(target):
    images, points = target
    y, x = np.mgrid[0 : images.shape[1], 0 : images.shape[2]]
    ramp = np.stack([x, y], -1)[None].repeat(len(images), 0).astype(np.float32)
    moves = patches.alignments(points)
    boxes = [warp.box_of(p[patches.INNER], 0, images.shape[1:]) for p in points]
    for back, (x0, y0, x1, y1) in zip(
        patches.to_frame(patches.align(ramp, moves), moves, boxes), boxes, strict=True
    ):
        assert np.abs(back - ramp[0, y0:y1, x0:x1]).max() < 0.1
    canonical = patches.look_up(ramp, patches.canonical_grid(points))
    for back, (x0, y0, x1, y1) in zip(
        patches.lay_down(canonical, points, boxes), boxes, strict=True
    ):
        assert np.abs(back - ramp[0, y0:y1, x0:x1])[6:-6, 6:-6].mean() < 0.5


def footage() -> lessons.Footage:
    parts = [lessons.cut_faces(*make_face(k, 4), k) for k in range(2)]
    return lessons.join(parts)


@pytest.mark.parametrize(
    ("make", "teach", "steps", "size", "factor"),
    [
        (networks.Upsampler, lessons.teach_upsampler, 40, 4, 0.8),
        (networks.Inpainter, lessons.teach_inpainter, 16, 4, 0.8),
        (lambda: networks.FaceSwapper(2), lessons.teach_group, 70, 2, 0.85),
        (lambda: networks.MouthRenderer(2), lessons.teach_renderer, 24, 4, 0.7),
    ],
)
def test_lessons_lower_the_loss(monkeypatch, make, teach, steps, size, factor):
    monkeypatch.setattr(lessons, "jitter_colour", lambda images, *_: images)
    with networks.repeatable(0):
        losses = teach(make(), footage(), steps, None, size=size)
    assert np.mean(losses[-6:]) < factor * np.mean(losses[:4])


def test_generator_starts_at_the_principal_components_and_notes_the_spread():
    made = footage()
    with networks.repeatable(0), torch.no_grad():
        network = networks.Generator()
        faces = lessons.pictures(made.canonical)
        network.start(faces)
        codes = network.encode(faces)[0]
        again = network.decode(codes, torch.zeros(len(faces), networks.POSE))
        start, plain = (again - faces).abs().mean(), (faces - faces.mean(0)).abs().mean()
    assert start < 0.2 * plain
    with networks.repeatable(0):
        assert np.isfinite(lessons.teach_generator(network, made, 3, None, size=2)).all()
    assert network.shapes.abs().max() > 0 and network.shapes[:, :34].abs().max() < 1e-6
    spread = torch.cov(network.latent(torch.randn(4000, networks.LATENT)).T)
    wanted = network.spread @ network.spread.T
    assert (spread - wanted).abs().max() < 0.2 * wanted.diagonal().max()


def test_training_stops_when_it_breaks():
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="not finite"):
        networks.fit([{"params": [weight], "lr": 0.1}], lambda _: (weight * np.nan).sum(), 3)
    with pytest.raises(ValueError, match="steps"):
        networks.fit([{"params": [weight], "lr": 0.1}], lambda _: weight.sum(), 0)


def test_repeatable_restores_torch():
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with networks.repeatable(1):
        first = torch.rand(3)
        assert torch.get_num_threads() == 1
    with networks.repeatable(1):
        assert torch.equal(torch.rand(3), first)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_tools_are_kept_and_repeatable(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "shoot_person", painted_person)
    reels, said = [make_face(k, 4) for k in (5, 6)], []
    options = {"people": 2, "frames": 2, "steps": TINY}
    first = tools.general(tmp_path / "a", progress=said.append, **options)
    assert sum("ready" in line for line in said) == 5 and any(
        "rendered 2/2" in line for line in said
    )
    group = tools.group(tmp_path / "a", reels, 7, first, TINY, progress=said.append)
    assert len(group.swapper.decoders) == len(group.renderer.textures) == 2
    said.clear()
    monkeypatch.setattr(lessons, "shoot_person", None)  # what is kept is not made again
    second = tools.general(tmp_path / "a", progress=said.append, **options)
    again = tools.group(tmp_path / "a", reels, 7, second, TINY, progress=said.append)
    assert not said
    assert same(first.generator, second.generator) and same(group.swapper, again.swapper)
    (damaged,) = (tmp_path / "a").glob("group-swapper-*")
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = tools.group(tmp_path / "a", reels, 7, second, TINY, progress=said.append)
    assert any("damaged" in line for line in said) and same(group.swapper, again.swapper)
    other = tools.group(tmp_path / "a", reels, 8, second, TINY, progress=said.append)
    assert not same(group.swapper, other.swapper)


def test_tools_refuse_bad_numbers_and_reels(tmp_path, shared):
    general = tools.General(
        **{**shared, "swapper": networks.FaceSwapper(1), "renderer": networks.MouthRenderer(1)}
    )
    images, points = make_face(1)
    for reels, words in (
        ([(images, points)], "at least 2"),
        ([(images, points), (images / 255, points)], "reel 1 is float64"),
        ([(images, points), (images, points[:2])], "landmarks of reel 1"),
    ):
        with pytest.raises(ValueError, match=words):
            tools.group(tmp_path, reels, 0, general)
    with pytest.raises(ValueError, match="people is 1"):
        tools.general(tmp_path, people=1)
