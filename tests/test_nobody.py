"""The generator of Nobody's Faces and the committed benchmark."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gendkit import forge, manifest, video
from gendkit.repro import data_dir

pytest.importorskip("numba")
from gendkit.nobody import build, camera, film, forging, heads, pack, plan, points, raster, scene
from gendkit.nobody import verify as checks
from gendkit.nobody.actor import Actor
from gendkit.nobody.render import View

DATA = data_dir() / "nobody"  # GENDKIT_DATA points at another build
LIGHT = scene.light(np.random.default_rng(0))
VIEW = View(50.0, (128.0, 118.0))
GREY = np.full((256, 256, 3), 0.2, np.float32)


@pytest.fixture(scope="module")
def actor():
    return Actor(heads.make_identity(3))


def slow_rasterize(screen, faces, size):
    depth, face = np.full(size, np.inf), np.full(size, -1)
    for f, corners in enumerate(faces):
        a = np.vstack([screen[corners, :2].T, np.ones(3)]).astype(float)
        for y in range(size[0]):
            for x in range(size[1]):
                w = np.linalg.solve(a, [x, y, 1])
                if (w >= 0).all() and w @ screen[corners, 2] < depth[y, x]:
                    depth[y, x], face[y, x] = w @ screen[corners, 2], f
    return depth, face


def test_rasterizer_equals_a_slow_one_on_two_crossing_triangles():
    screen = np.array(
        [
            [1.3, 2.1, 1],
            [17.7, 4.2, 5],
            [6.4, 18.9, 3],
            [16.1, 1.7, 2],
            [18.2, 17.3, 4],
            [0.8, 11.6, 2],
        ]
    )
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    depth, face, weights = raster.rasterize(screen.astype(np.float32), faces, (20, 20))
    slow_depth, slow_face = slow_rasterize(screen.astype(np.float32), faces, (20, 20))
    assert (face == slow_face).all() and set(np.unique(face)) == {-1, 0, 1}
    np.testing.assert_allclose(depth[face >= 0], slow_depth[face >= 0], rtol=1e-5)
    np.testing.assert_allclose(weights[face >= 0].sum(-1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_person_and_frame(actor):
    mood = {"jawOpen": 0.3}
    one = actor.frame(mood, (0.1, 0), (0.2, 0, 0), LIGHT, VIEW, GREY)
    again = Actor(heads.make_identity(3)).frame(mood, (0.1, 0), (0.2, 0, 0), LIGHT, VIEW, GREY)
    other = Actor(heads.make_identity(4)).frame(mood, (0.1, 0), (0.2, 0, 0), LIGHT, VIEW, GREY)
    assert one[0].dtype == np.uint8 and one[0].shape == (256, 256, 3)
    assert (one[0] == again[0]).all() and (one[1] == again[1]).all()
    assert (one[0] != other[0]).mean() > 0.1


def test_identities_differ_in_shape_and_look():
    people = [heads.make_identity(k) for k in range(12)]
    assert len({p.style for p in people}) >= 4
    assert np.std([p.traits["tone"] for p in people]) > 0.1
    shapes = np.stack([heads.neutral_shape(p) for p in people])
    assert shapes.std(0).max() > 0.05
    assert all(
        p.vector.shape == people[0].vector.shape and np.isfinite(p.vector).all() for p in people
    )


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.6, 0.1, 0.1), (-0.6, -0.2, -0.2)])
def test_landmarks_lie_on_the_head(actor, angles):
    image, marks = actor.frame({}, (0, 0), angles, LIGHT, VIEW, GREY)
    other, _ = actor.frame({}, (0, 0), angles, LIGHT, VIEW, GREY * 3)
    on_head = (image == other).all(-1)
    assert marks.shape == (68, 2) and marks.dtype == np.float32
    assert (marks > 0).all() and (marks < 255).all()
    x, y = np.round(marks[17:]).astype(int).T
    assert on_head[y, x].mean() >= 0.96
    x, y = np.round(marks[:17]).astype(int).T  # the jaw line may lie on the outline itself
    near = np.array(
        [on_head[b - 2 : b + 3, a - 2 : a + 3].any() for a, b in zip(x, y, strict=True)]
    )
    assert near.all()


def test_landmark_order_is_ibug(actor):
    _, p = actor.frame({}, (0, 0), (0, 0, 0), LIGHT, VIEW, GREY)
    assert (np.diff(p[1:16, 0]) > 0).all() and p[8, 1] == p[:17, 1].max()
    assert (np.diff(p[17:27, 0]) > 0).all() and (np.diff(p[27:31, 1]) > 0).all()
    assert (np.diff(p[31:36, 0]) > 0).all() and (np.diff(p[[36, 39, 42, 45], 0]) > 0).all()
    assert (p[[37, 38, 43, 44], 1] < p[[41, 40, 47, 46], 1]).all()
    assert (np.diff(p[48:55, 0]) > 0).all() and (np.diff(p[54:60, 0]) < 0).all()
    assert p[51, 1] < p[62, 1] <= p[66, 1] + 0.5 < p[57, 1]
    assert p[17:27, 1].max() < p[36:48, 1].min() and p[33, 1] < p[51, 1]


def test_landmarks_follow_the_expression(actor):
    def marks(**mood):
        return actor.frame(mood, (0, 0), (0, 0, 0), LIGHT, VIEW, GREY)[1]

    rest, talk, blink = marks(), marks(jawOpen=0.6), marks(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    assert (talk[66] - talk[62])[1] > (rest[66] - rest[62])[1] + 5
    lids = lambda p: np.abs(p[[41, 40, 47, 46], 1] - p[[37, 38, 43, 44], 1]).mean()  # noqa: E731
    assert lids(blink) < 0.5 * lids(rest)


def test_pose_signs():
    front = np.array([0.0, 0, 1])
    assert (heads.rotation(0.3, 0, 0) @ front)[0] > 0
    assert (heads.rotation(0, 0.3, 0) @ front)[1] > 0
    assert (heads.rotation(0, 0, 0.3) @ [0, 1.0, 0])[0] > 0


def test_points_equal_those_of_rendered_frames(actor):
    clip = film.real_clip(plan.Person("n003", 3, "fit", 0, 0), 4)
    _, marks = film.shoot(actor, clip)
    assert (Actor.points(actor.identity, clip.motion, clip.view) == marks).all()


def test_unknown_targets_are_named():
    with pytest.raises(ValueError, match="no facial action 'smirk'.*jawOpen"):
        heads.express(heads.average()[0], {"smirk": 1})
    with pytest.raises(ValueError, match="no target 'local:none'"):
        heads.default_pack().blend({"local:none": 1})
    with pytest.raises(FileNotFoundError, match="gendkit.nobody.build pack"):
        pack.load("nowhere.safetensors")


def test_views_keep_the_face_in_the_picture():
    rng = np.random.default_rng(5)
    for _ in range(50):
        v = scene.view(rng)
        marks = points.landmarks(heads.average()[0], v.project)
        side = np.ptp(marks, axis=0).max()
        assert 60 < side < 215 and marks.min() > -5 and marks.max() < 260


# --- camera ----------------------------------------------------------------------------------------------------------


def test_camera_is_repeatable_and_noise_is_fresh():
    frames = np.random.default_rng(0).integers(60, 190, (2, 32, 32, 3)).astype(np.uint8)
    cam = camera.draw(np.random.default_rng(1))
    one, two, three = (camera.film(frames, cam, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (one == two).all() and (one != three).any()
    assert one.dtype == np.uint8 and one.shape == frames.shape


def test_camera_moves_nothing_and_keeps_grey():
    frames = np.full((1, 64, 64, 3), 40, np.uint8)
    frames[0, 24:40, 30:46] = 200
    cam = camera.Camera(0.5, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.85, 0.3)
    out = camera.film(frames, cam, np.random.default_rng(0))[0].astype(float).mean(-1) - 40
    yy, xx = np.mgrid[:64, :64]
    centre = [(out * yy).sum() / out.sum(), (out * xx).sum() / out.sum()]
    np.testing.assert_allclose(centre, [31.5, 37.5], atol=0.3)
    assert abs(out[5, 5]) <= 1 and abs(out[31, 37] - 160) <= 3


def test_camera_refuses_odd_sizes():
    with pytest.raises(ValueError, match="even H and W"):
        camera.film(
            np.zeros((1, 31, 32, 3), np.uint8),
            camera.draw(np.random.default_rng(0)),
            np.random.default_rng(0),
        )


def small_group(n=3):
    return plan.Group(0, "fit", tuple(plan.Person(f"n{k:03d}", k, "fit", 0, k) for k in range(n)))


@pytest.fixture(scope="module")
def forger():
    group, me = small_group(), small_group().people[0]
    clip, footage = film.real_clip(me, 4), film.real_footage(me, 4)
    return forging.Forger(me, group, footage, clip, "nobody", pytest.fail, pytest.fail)


@pytest.mark.parametrize("method", ["FS", "SBI"])
def test_fakes_are_made_from_the_footage_of_their_real(forger, method, monkeypatch):
    monkeypatch.setattr(film, "DONOR_FRAMES", 4)
    one, two = forger.make(method), forger.make(method)
    assert np.array_equal(one.clip.images, two.clip.images)
    same = (one.clip.images == forger.footage.frames).all(-1)
    assert same[one.clip.masks == 0].all() and 0.5 < same.mean() < 1
    assert one.partner == (forger.group.people[1] if method == "FS" else None)


def test_the_same_person_gives_the_same_footage(forger):
    again = film.real_footage(forger.person, 4)
    assert np.array_equal(again.frames, forger.footage.frames)
    assert np.array_equal(again.points, forger.footage.points)
    cross = film.real_footage(forger.person, 4, "nobody-x")
    assert (cross.frames != again.frames).mean() > 0.3


def test_a_refused_clip_is_tried_again_with_another_draw(forger, monkeypatch):
    seen = []

    def refuse_twice(target, points, donor, donor_points, rng):
        seen.append(donor[0, 0, 0, 0])
        if len(seen) < 3:
            raise forge.ForgeError("too far apart.")
        return forge.self_blend_clip(target, points, rng)

    def donor(person, who, clip, domain, attempt):
        picture = np.full((1, 1, 1, 1), 10 * attempt + who.place)
        return film.Footage(picture, None, None)

    monkeypatch.setattr(film, "donor_footage", donor)
    monkeypatch.setitem(forge.FORGERIES, "FS", refuse_twice)
    made = replace(forger, _donors={}).make("FS")
    assert seen == [1, 11, 22] and made.attempt == 2  # the third time another person is asked
    assert made.partner == forger.group.people[2]


def test_a_clip_that_is_always_refused_names_person_and_method(forger, monkeypatch):
    def refuse(*args):
        raise forge.ForgeError("the face would tear.")

    monkeypatch.setitem(forge.FORGERIES, "SBI", refuse)
    with pytest.raises(forge.ForgeError, match="SBI of n000 was refused 6 times.*would tear"):
        forger.make("SBI")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda images, masks: (images * 0, masks * 0), "outside the mask"),
        (lambda images, masks: (images, masks), "unchanged"),
    ],
)
def test_a_forgery_that_breaks_the_rules_is_not_taken(forger, monkeypatch, change, words):
    def bad(target, points, rng):
        images, masks = change(target.copy(), np.ones(target.shape[:3], np.float32))
        return forge.ForgedClip(images, masks, {})

    monkeypatch.setitem(forge.FORGERIES, "SBI", bad)
    with pytest.raises(forge.ForgeError, match=words):
        forger.make("SBI")


# --- who does what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n", "counts"),
    [
        ("nobody", 120, {"fit": 72, "select": 16, "report": 32}),
        ("nobody", 10, {"fit": 6, "select": 2, "report": 2}),
        ("nobody", 300, {"fit": 180, "select": 40, "report": 80}),
        ("nobody-x", 24, {"report": 24}),
    ],
)
def test_everybody_has_a_role_and_a_group(name, n, counts):
    settings = plan.Settings(name, n)
    groups = plan.groups(settings)
    people = [p for g in groups for p in g.people]
    assert {r: sum(p.role == r for p in people) for r in counts} == counts and len(people) == n
    assert len({p.name for p in people}) == len({p.seed for p in people}) == n
    assert all(p.role == g.role and p.group == g.number for g in groups for p in g.people)
    assert all(2 <= len(g.people) <= 9 for g in groups)
    if n < 100:
        assert plan.groups.__wrapped__(settings) == groups


def test_roles_keep_their_shares_in_large_sets():
    dealt = plan.roles(plan.SETS["nobody"], 2000)
    assert [dealt.count(r) for r in ("fit", "select", "report")] == [1200, 267, 533]


def test_partners_are_others_of_the_same_group():
    for group in plan.groups(plan.Settings(n_identities=40)):
        for person in group.people:
            for method in plan.METHODS:
                for attempt in range(6):
                    partner = group.partner(person, method, attempt)
                    takes = method in plan.TAKES_FACE + plan.TAKES_MOTION
                    assert (partner is not None) == takes
                    assert partner is None or (partner in group.people and partner != person)
        if len(group.people) > 2:
            one = group.people[0]
            assert group.partner(one, "FS") != group.partner(one, "F2F")
            assert group.partner(one, "FS", 2) != group.partner(one, "FS", 0)


def test_unseen_manipulations_are_for_the_report():
    settings = plan.Settings(methods=("FS", "SBI"))
    assert plan.methods_of(settings, "fit") == plan.methods_of(settings, "select") == ("FS",)
    assert plan.methods_of(settings, "report") == ("FS", "SBI")


def test_the_plan_knows_the_manipulations_of_the_package():
    assert tuple(forge.METHODS) == plan.METHODS
    assert plan.SEEN == tuple(k for k, m in forge.METHODS.items() if m.seen)


def test_lenders_wear_nothing_on_the_face():
    people = [plan.Person("", k, "fit", 0, 0) for k in range(40)]
    worn = [heads.make_identity(p.seed).traits for p in people]
    assert any(t["glasses"] for t in worn) and any(t["hat"] for t in worn)
    bare = [film.lent_face(p).traits for p in people]
    assert not any(t["glasses"] or t["hat"] for t in bare)
    assert all(b | {"glasses": 0, "hat": 0} == w | {"glasses": 0, "hat": 0}
               for b, w in zip(bare, worn, strict=True))  # fmt: skip


def test_donors_wear_the_glasses_of_the_target():
    people = [plan.Person("", k, "fit", 0, 0) for k in range(40)]
    worn = [heads.make_identity(p.seed).traits["glasses"] for p in people]
    with_glasses = people[next(k for k, kind in enumerate(worn) if kind)]
    bare = people[worn.index(0.0)]
    lent = film.lent_face(bare, with_glasses).traits
    assert lent["glasses"] == heads.make_identity(with_glasses.seed).traits["glasses"]
    assert film.lent_face(with_glasses, bare).traits["glasses"] == 0
    clip = film.real_clip(with_glasses, 2)
    over = film.glasses_over(with_glasses, clip)
    assert over.shape == (2, 256, 256) and 0 < over.mean() < 0.1 and over.max() == 1
    assert film.glasses_over(bare, clip) is None


def test_sets_have_people_of_their_own():
    sets = [plan.Settings(name, 100, seed=99_900) for name in plan.SETS]
    seeds = [{p.seed for g in plan.groups(s) for p in g.people} for s in sets]
    assert not seeds[0] & seeds[1] and max(seeds[0] | seeds[1]) < 500_000


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["training", "--identities", "0"], "--identities is 0, expected at least 1"),
        (["training", "--seed", "5"], "training worlds start at 1000000"),
        (["build", "--identities", "0"], "--identities is 0, expected at least 10"),
        (["build", "--set", "nobody-x", "--identities", "1"], "expected at least 2"),
        (["build", "--seed", "199990"], "--seed is 199990"),
        (["build", "--frames", "2"], "--frames is 2, expected at least 4"),
        (["build", "--workers", "-1"], "--workers is -1"),
        (["build", "--effort", "0"], "--effort is 0"),
        (["build", "--set", "nobodyx"], "no set 'nobodyx', did you mean 'nobody-x'"),
        (["build", "--methods", "FS", "DeepFake"], "no manipulation 'DeepFake', did you mean"),
        (["build", "--methods", "poison"], "did you mean 'Poisson'?"),
        (["build", "--methods", "real"], "no manipulation chosen"),
        (["build", "--set", "nobody", "--methods", "Talk", "--reel", "0"], "--reel is 0"),
    ],
)
def test_bad_arguments_give_one_clear_line(args, words, tmp_path, capsys):
    assert build.main([*args, "--out", str(tmp_path / "x")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and err.startswith("error: ")
    assert not list(tmp_path.rglob("*.mp4"))


def test_verify_needs_a_set(tmp_path, capsys):
    assert build.main(["verify", str(tmp_path)]) == 2
    assert "no finished set" in capsys.readouterr().err


def test_a_full_disk_gives_one_clear_line(tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gendkit.nobody.benchmark.build_set", full)
    assert build.main(["build", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "the disk is full" in err and "run the same command again" in err


def test_unwritable_folder_and_missing_anny(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    for what in ("training", "build"):
        assert build.main([what, "--out", str(tmp_path / "file" / "x")]) == 2
        err = capsys.readouterr().err
        assert "choose another --out" in err and err.count("\n") == 1
    monkeypatch.setattr(pack.importlib.util, "find_spec", lambda name: None)
    assert build.main(["pack", "--out", str(tmp_path / "h.safetensors")]) == 2
    assert 'pip install "gendkit[nobody]"' in capsys.readouterr().err
    assert not (tmp_path / "h.safetensors").exists()


def test_training_set_is_labelled_and_resumable(tmp_path):
    build.render_training_set(tmp_path, n_identities=1, frames_per_identity=2, workers=1)
    shard = tmp_path / "shard-00000.npz"
    d = np.load(shard, allow_pickle=False)
    assert d["images"].shape == (2, 256, 256, 3) and d["images"].dtype == np.uint8
    assert d["landmarks"].shape == (2, 68, 2) and (d["identity_id"] == 1_000_000).all()
    assert (
        d["pose"].shape == (2, 3)
        and d["light"].shape == (2, 18)
        and d["identity_id"].dtype == np.int64
    )
    assert d["expression"].shape[1] == len(heads.action_names()) + 2
    before = shard.stat().st_mtime_ns
    build.render_training_set(tmp_path, n_identities=1, frames_per_identity=2, workers=1)
    assert shard.stat().st_mtime_ns == before


# --- the committed benchmark -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return manifest.read(DATA / "manifest.csv")


@pytest.fixture(scope="module")
def settings():
    return checks.load_settings(DATA)


def test_committed_clips_are_as_planned(table, settings):
    manifest.validate(table, DATA)
    wanted = {
        (method, person.name, person.role)
        for group in plan.groups(settings)
        for person in group.people
        for method in (plan.REAL, *plan.methods_of(settings, person.role))
    }
    assert set(zip(table["method"], table["source_id"], table["role"], strict=True)) == wanted
    assert len(table) == len(wanted)
    assert (table["label"] == (table["method"] != "real")).all()


def test_committed_sets_fit_the_budget():
    files = [f for d in DATA.parent.glob("nobody*") for f in d.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= checks.BUDGET


def test_committed_roles_are_disjoint(table):
    people = pd.read_csv(DATA / "identities.csv").set_index("identity_id")
    assert people.index.is_unique and set(people["role"]) == {"fit", "select", "report"}
    assert (table["source_id"].map(people["role"]) == table["role"]).all()
    given = table[table["donor_id"] != ""]
    assert len(given) and (given["donor_id"].map(people["role"]) == given["role"]).all()
    assert (given["donor_id"] != given["source_id"]).all()


def test_committed_masks(table, settings):
    reals, fakes = table[table["label"] == 0], table[table["label"] == 1]
    assert (reals["mask_path"] == "").all() and (fakes["mask_path"] != "").all()
    for path in fakes.groupby("method").head(2)["mask_path"]:
        mask = video.read_frames(DATA / path)[..., 0]
        assert len(mask) == settings.n_frames and 0.001 < (mask > 127).mean() < 0.6


def test_committed_clips_are_those_of_the_generator(settings):
    group = plan.groups(settings)[0]
    me = group.people[0]
    with np.load(DATA / "landmarks.npz", allow_pickle=False) as stored:
        marks = stored[me.name]
    clip = film.real_clip(me, settings.n_frames)
    who = heads.make_identity(me.seed)
    np.testing.assert_allclose(Actor.points(who, clip.motion, clip.view), marks, atol=0.02)
    m = clip.motion
    image, _ = Actor(who).frame(
        m.expressions[2], tuple(m.gaze[2]), m.angles[2], clip.light, clip.view, clip.background
    )
    rng = film.generator(me, "camera")
    filmed = camera.film(image[None], camera.draw(rng), rng)[0].astype(float)
    coded = video.read_frames(DATA / "real" / f"{me.name}.mp4", [2])[0]
    assert np.sqrt(((filmed - coded) ** 2).mean()) < 9
