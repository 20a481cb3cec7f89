"""The generator of Nobody's Faces and the committed benchmark."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendkit import manifest, video
from gendkit.repro import sha256

pytest.importorskip("numba")
from gendkit.nobody import benchmark, build, camera, heads, pack, points, raster, scene
from gendkit.nobody.actor import Actor
from gendkit.nobody.render import View

DATA = Path(__file__).parents[1] / "data" / "nobody"
LIGHT = scene.light(np.random.default_rng(0))
VIEW = View(50.0, (128.0, 118.0))
GREY = np.full((256, 256, 3), 0.2, np.float32)


@pytest.fixture(scope="module")
def actor():
    return Actor(heads.make_identity(3))


@pytest.fixture(scope="module")
def table():
    return manifest.read(DATA / "manifest.csv")


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
    clip = benchmark.plan(3, 0, 4)
    _, marks = benchmark.shoot(actor, clip)
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


def test_fakes_are_made_from_the_footage_of_their_real(tmp_path, monkeypatch):
    footage, written, film = [], {}, camera.film

    def keep_footage(frames, cam, rng):
        footage.append(film(frames, cam, rng))
        return footage[-1]

    def keep_written(path, frames, **settings):
        written[path.relative_to(tmp_path).parts[0]] = (np.asarray(frames), settings)
        Path(path).write_bytes(b"clip")

    monkeypatch.setattr(benchmark.cameras, "film", keep_footage)
    monkeypatch.setattr(benchmark, "write_video", keep_written)
    rows = benchmark._make(str(tmp_path), 0, 20, 0, 4, 23)
    assert [r["method"] for r in rows] == list(benchmark.METHODS)
    assert len(footage) == 2  # of the target and of the donor
    clips = [written[method] for method in benchmark.METHODS]
    assert np.array_equal(clips[0][0], footage[0])
    assert all(settings == clips[0][1] for _, settings in clips)
    for images, _ in clips[1:]:
        same = (images == footage[0]).all(-1)
        assert 0.5 < same.mean() < 1  # the background is the real's, bit for bit
    n_written = len(written)
    written.clear()
    assert benchmark._make(str(tmp_path), 0, 20, 0, 4, 23) == rows  # resumed: nothing made again
    assert n_written and not written and len(footage) == 2


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["training", "--identities", "0"], "--identities is 0, expected at least 1"),
        (["training", "--seed", "5"], "training worlds start at 1000000"),
        (["benchmark", "--identities", "3"], "--identities is 3, expected at least 20"),
        (["benchmark", "--seed", "99990"], "--seed is 99990"),
        (["benchmark", "--crf", "99"], "--crf 99"),
    ],
)
def test_bad_arguments_give_one_clear_line(args, words, tmp_path, capsys):
    assert build.main([*args, "--out", str(tmp_path / "x")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_unwritable_folder_and_missing_anny(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert build.main(["training", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "choose another --out" in capsys.readouterr().err
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


def test_roles_and_partners():
    all_roles = benchmark.roles(40)
    assert [all_roles.count(r) for r in ("fit", "select", "report")] == [22, 4, 14]
    for k in range(40):
        for shift in (0, 3):
            p = benchmark.partner(k, 40, shift)
            assert p != k and all_roles[p] == all_roles[k]


def test_committed_manifest_and_files(table):
    manifest.validate(table, DATA)
    assert set(table["method"]) == set(benchmark.METHODS)
    assert (table["label"] == (table["method"] != "real")).all()
    assert len(table) == 4 * table["source_id"].nunique()
    wrong = [
        p for p, s in zip(table["path"], table["sha256"], strict=True) if sha256(DATA / p) != s
    ]
    assert not wrong
    size = sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file())
    assert size <= 12e6


def test_committed_roles_are_disjoint(table):
    people = pd.read_csv(DATA / "identities.csv").set_index("identity_id")
    assert people.index.is_unique and set(people["role"]) == {"fit", "select", "report"}
    assert (table["source_id"].map(people["role"]) == table["role"]).all()
    given = table[table["donor_id"] != ""]
    assert len(given) and (given["donor_id"].map(people["role"]) == given["role"]).all()
    assert (given["donor_id"] != given["source_id"]).all()


def test_committed_masks(table):
    reals, fakes = table[table["label"] == 0], table[table["label"] == 1]
    assert (reals["mask_path"] == "").all() and (fakes["mask_path"] != "").all()
    for path in fakes.groupby("method").head(3)["mask_path"]:
        mask = video.read_frames(DATA / path)[..., 0]
        assert len(mask) == 16 and 0.001 < (mask > 127).mean() < 0.5


def test_committed_clips_are_those_of_the_generator(table):
    marks = np.load(DATA / "landmarks.npz", allow_pickle=False)
    assert set(marks) == set(table.loc[table["label"] == 0, "video_id"])
    who, clip = heads.make_identity(2), benchmark.plan(2, 0, 16)
    np.testing.assert_allclose(Actor.points(who, clip.motion, clip.view), marks["n002"], atol=0.01)
    m = clip.motion
    image, _ = Actor(who).frame(
        m.expressions[4], tuple(m.gaze[4]), m.angles[4], clip.light, clip.view, clip.background
    )
    cam = camera.draw(np.random.default_rng([0, 2, 71]))
    filmed = camera.film(image[None], cam, np.random.default_rng(0))[0].astype(float)
    stored = video.read_frames(DATA / "real" / "n002.mp4", [4])[0]
    assert np.sqrt(((filmed - stored) ** 2).mean()) < 6
