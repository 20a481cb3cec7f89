"""Building a set and checking it, with stand-ins for pictures and networks; layouts of lists."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gendkit import forge, manifest, repro, video

pytest.importorskip("numba")
from gendkit.nobody import (
    benchmark,
    build,
    camera,
    clips,
    film,
    forging,
    lists,
    person,
    plan,
    schedule,
    schema,
    stored,
    verify,
)

SMALL = plan.Settings("nobody", 10, 4, 2, methods=("DF", "FS", "SBI", "Whole"))


# --- stand-ins: smooth pictures for renders, a bright spot for a forgery ----------------------------------------------


def picture(rng):
    small = rng.integers(40, 200, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC))


def stand_in_footage(who, n_frames, domain="nobody"):
    rng = film.generator(who, "clip")
    frames = np.stack([picture(rng)] * n_frames)
    points = rng.uniform(80, 170, (n_frames, 68, 2)).astype(np.float32)
    return film.Footage(frames, points, camera.draw(rng, domain))


def stand_in_forge(self, method, partner, attempt, rng):
    if method == "DF":
        assert self.group_tools() == "group"
    if method == "Whole":
        assert self.general_tools() == "general"
    frames = self.footage.frames.copy()
    masks = np.zeros(frames.shape[:3], np.float32)
    x = int(rng.integers(70, 110))
    masks[:, 90:160, x : x + 70] = 0.8
    frames[:, 90:160, x : x + 70] ^= 16
    return forge.ForgedClip(frames, masks, {"x": float(x)})


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    taught = []

    def teach(folder, reels, seed, shared, effort, say):
        folder.mkdir(parents=True)
        stored.group_file(folder).write_text("networks")
        taught.append(len(reels))

    monkeypatch.setattr(benchmark, "recipe_hash", lambda: "0" * 64)
    monkeypatch.setattr(film, "real_footage", stand_in_footage)
    monkeypatch.setattr(film, "reel", stand_in_footage)
    monkeypatch.setattr(forging.Forger, "_forge", stand_in_forge)
    monkeypatch.setattr(stored, "general", lambda folder, effort, say: taught.append("general"))
    monkeypatch.setattr(stored, "load_general", lambda folder, effort: "general")
    monkeypatch.setattr(stored, "teach_group", teach)
    monkeypatch.setattr(stored, "load_group", lambda folder, people: "group")
    return taught


def make(folder, settings=SMALL):
    return benchmark.build_set(folder, settings, workers=1, cache=folder.parent / "networks")


def bytes_of(folder):
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): repro.sha256(f) for f in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.__wrapped__(patch)
        folder = tmp_path_factory.mktemp("sets") / "nobody"
        make(folder)
        lists.write_pairs(folder)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built, tmp_path / "nobody")
    return tmp_path / "nobody"


# --- build -----------------------------------------------------------------------------------------------------------


def test_a_set_has_all_clips_masks_and_tables(built):
    table = manifest.validate(manifest.read(built / "manifest.csv"), built)
    counts = table.groupby(["role", "method"]).size()
    assert counts["fit"].to_dict() == {"DF": 6, "FS": 6, "real": 6}
    assert counts["report"].to_dict() == {"DF": 2, "FS": 2, "SBI": 2, "Whole": 2, "real": 2}
    forgeries = pd.read_csv(built / "forgeries.csv")
    assert len(forgeries) == (table["label"] == 1).sum()
    np.testing.assert_allclose(forgeries["opacity"], 0.8, atol=1e-6)
    np.testing.assert_allclose(forgeries["area"], 70 * 70 / 256**2, atol=1e-4)
    assert not (built / ".build").exists()
    assert repro.read_json(built / "build.json")["settings"]["n_identities"] == 10


def test_networks_are_taught_once_and_for_each_group(tmp_path, stand_ins):
    make(tmp_path / "nobody")
    assert stand_ins[0] == "general" and sorted(stand_ins[1:]) == [2, 2, 3, 3]


def test_without_learned_methods_nothing_is_taught(tmp_path, stand_ins):
    make(tmp_path / "nobody", plan.Settings("nobody", 10, 4, 2, methods=("FS", "SBI")))
    assert stand_ins == []


def test_a_build_that_was_stopped_goes_on_and_gives_the_same_bytes(built, tmp_path, monkeypatch):
    made, whole, stops = [], person.make, 4

    def stop(work, who, *rest):
        if len(made) == stops:
            raise KeyboardInterrupt
        made.append(who.name)
        whole(work, who, *rest)

    monkeypatch.setattr(person, "make", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "nobody")
    assert not (tmp_path / "nobody" / "manifest.csv").exists()
    first = list(made)
    monkeypatch.setattr(
        person, "make", lambda work, who, *rest: (made.append(who.name), whole(work, who, *rest))
    )
    make(tmp_path / "nobody")
    assert len(made) == 10 and first == made[:stops] and len(set(made)) == 10
    lists.write_pairs(tmp_path / "nobody")
    assert bytes_of(tmp_path / "nobody") == bytes_of(built)


def test_a_finished_set_is_left_alone_and_a_damaged_one_made_again(copy, built, monkeypatch):
    make(copy)
    monkeypatch.setattr(person, "make", pytest.fail)
    make(copy)  # complete: nobody is made
    monkeypatch.undo()
    (copy / "real" / "n003.mp4").unlink()
    with pytest.MonkeyPatch.context() as patch:
        stand_ins.__wrapped__(patch)
        make(copy)
    assert bytes_of(copy) == bytes_of(built)


def test_other_settings_start_anew(copy, capsys):
    (copy / ".build" / "people").mkdir(parents=True)
    repro.write_json(copy / ".build" / "stamp.json", {"settings": "others"})
    (copy / "build.json").unlink()
    make(copy)
    assert "starting anew" in capsys.readouterr().out
    assert verify.verify(copy.parent, workers=1).ok


def test_people_do_not_depend_on_how_many_there_are():
    few, many = (
        {p.seed: p.name for g in plan.groups(plan.Settings(n_identities=n)) for p in g.people}
        for n in (10, 20)
    )
    assert few.items() <= many.items()


def test_the_stamp_knows_the_recipe(monkeypatch):
    monkeypatch.undo()
    facts = benchmark.stamp(SMALL)
    assert facts == benchmark.stamp(SMALL) and len(facts["code"]) == 64
    assert facts != benchmark.stamp(plan.Settings("nobody", 10, 4, 2))
    assert {"numpy", "torch", "av"} <= set(facts["versions"])


def test_the_order_of_work(tmp_path):
    place = schedule.Place(SMALL, tmp_path / "work", tmp_path / "networks")
    plan_of_work = schedule.Schedule(place)
    assert plan_of_work.left == {"general": 1, "person": 10, "group": 4, "reel": 10}
    kinds = []
    while (task := plan_of_work.next()) is not None:
        kinds.append(task.kind)
        plan_of_work.finished(task, 1.0)
    assert kinds[0] == "general" and kinds[1:4] == ["reel"] * 3 and kinds[4] == "group"
    assert kinds[5:8] == ["person"] * 3  # a group's people come before the next reel
    assert not any(plan_of_work.left.values()) and plan_of_work.seconds_left(2) == 0


def test_two_lists_for_pairs(copy):
    files = lists.write_pairs(copy)
    paired, unpaired = (manifest.validate(manifest.read(f), copy) for f in files)
    assert len(paired) == len(unpaired) > 0 and set(paired["role"]) == {"fit"}
    reals, fakes = (set(unpaired.loc[unpaired["label"] == k, "source_id"]) for k in (0, 1))
    assert not reals & fakes
    assert set(manifest.pairs(paired)["fake"]) == set(paired.index[paired["label"] == 1])


# --- verify ----------------------------------------------------------------------------------------------------------


def faults(folder, **options):
    found = verify.verify(folder.parent, workers=1, **options)
    return {check: text for check, text in found.problems.items() if text}


def rewrite(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(path, index=False, lineterminator="\n")


def test_a_good_set_passes(built, capsys):
    assert build.main(["verify", str(built.parent), "--rebuild", "2", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "all is well" in out and "2 of 2 bit-identical" in out and "FAULT" not in out


def test_a_flipped_byte(copy, capsys):
    path = copy / "FS" / sorted(p.name for p in (copy / "FS").iterdir())[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert any("sha256 differs" in f for f in faults(copy)["files and hashes"])
    assert build.main(["verify", str(copy), "--workers", "1"]) == 1
    assert "there are faults" in capsys.readouterr().out


def test_a_missing_mask(copy):
    next((copy / "masks" / "SBI").iterdir()).unlink()
    found = faults(copy)
    assert "is missing" in found["files and hashes"][0]
    assert "cannot be decoded" in found["clips decode: frames, size, rate, format"][0]


def test_a_swapped_label(copy):
    def swap(table):
        table.loc[0, "label"] = "1"

    rewrite(copy / "manifest.csv", swap)
    assert "label 1 does not agree" in faults(copy)["schema"][0]


def test_a_real_and_a_fake_that_changed_places(copy):
    def swap(table):
        fake = table.index[(table["method"] == "SBI") & (table["source_id"] == "n008")][0]
        real = table.index[(table["method"] == "real") & (table["source_id"] == "n008")][0]
        columns = ["path", "sha256"]
        table.loc[[real, fake], columns] = table.loc[[fake, real], columns].to_numpy()

    rewrite(copy / "manifest.csv", swap)
    assert "does not fit its method" in faults(copy)["plan: who, what, how often"][0]


def test_a_role_leak(copy):
    def leak(table):
        rows = table["source_id"] == "n000"
        table.loc[rows, "role"] = "report"

    rewrite(copy / "manifest.csv", leak)
    assert "n000 is for fit" in faults(copy)["roles share nobody"][0]
    rewrite(copy / "identities.csv", lambda t: t.__setitem__("role", "fit"))
    assert "the plan" in faults(copy)["plan: who, what, how often"][0]


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("identities.csv", lambda t: t.pop("ita_deg"), "no column ita_deg"),
        ("identities.csv", lambda t: t.__setitem__("african", "1.5"), "a number from 0 to 1"),
        ("identities.csv", lambda t: t.__setitem__("gender", ""), "one of female, male"),
        ("forgeries.csv", lambda t: t.__setitem__("opacity", "strong"), "opacity is 'strong'"),
        ("manifest.csv", lambda t: t.__setitem__("donor_id", "Ann"), "donor_id is 'Ann'"),
    ],
)
def test_a_wrong_schema(copy, file, change, words):
    rewrite(copy / file, change)
    assert any(words in f for f in faults(copy)["schema"])


def test_a_mask_that_lies(copy):
    table = manifest.read(copy / "manifest.csv")
    row = table[table["method"] == "FS"].iloc[0]
    other = np.zeros((4, 256, 256), np.float32)
    other[:, 180:250, 10:80] = 1
    video.write_video(copy / row["mask_path"], other)
    found = faults(copy)["masks agree with what was forged"]
    assert len(found) == 1 and "grey levels inside the mask" in found[0]


def test_clips_of_another_form_are_found(copy):
    name = "real/n000.mp4"
    frames = video.read_frames(copy / name)
    video.write_video(copy / name, frames[:3], fps=30)
    (copy / "real" / "stray.mp4").write_bytes(b"")
    found = faults(copy)
    assert "3 frames" in found["clips decode: frames, size, rate, format"][0]
    assert any("stray.mp4 is in no table" in f for f in found["files and hashes"])


def test_people_in_one_scene_and_equal_clips(copy):
    shutil.copy(copy / "real" / "n000.mp4", copy / "real" / "n001.mp4")
    rewrite(copy / "identities.csv", lambda t: t.__setitem__("seed", "1"))
    found = faults(copy)
    assert "look alike" in found["no two people in one scene"][0]
    assert "makes two people" in found["sets and clips share nothing"][0]


def test_another_clip_than_the_seed_gives(copy, monkeypatch):
    monkeypatch.setattr(
        film,
        "real_footage",
        lambda who, n, domain: stand_in_footage(plan.Person("a", 7, "", 0, 0), n),
    )
    found = faults(copy, rebuild=1)["clips made again from their seeds"]
    assert "is another clip" in found[0] and "same code and versions" in found[1]


def test_training_lists_that_lie(copy):
    shutil.copy(copy / "paired.csv", copy / "unpaired.csv")
    assert "people on both sides" in faults(copy)["training lists"][0]
    (copy / "paired.csv").unlink()
    assert "paired.csv is missing" in faults(copy)["training lists"][0]


def test_landmarks_outside_the_frame(copy):
    with np.load(copy / "landmarks.npz") as data:
        points = {k: data[k] for k in data.files}
    points["n002"] = points["n002"] + 200
    np.savez(copy / "landmarks.npz", **points)
    assert "landmarks of n002 leave the frame" in faults(copy)["landmarks"][0]


def test_fingerprints_tell_pictures_apart():
    rng = np.random.default_rng(0)
    one, two = picture(rng)[..., 0], picture(rng)[..., 0]
    a, b, noisy = clips.fingerprint(one), clips.fingerprint(two), clips.fingerprint(one // 2 + 3)
    assert a.shape == (256,) and (a != b).sum() > 60 and (a != noisy).sum() < 20
    assert clips.near_duplicates([("a", a), ("b", b)], 10) == []
    assert len(clips.near_duplicates([("a", a), ("b", b), ("c", a)], 10)) == 1


def test_a_set_of_another_version_is_refused_in_one_line(copy, capsys):
    repro.write_json(copy / "build.json", {"n": 56, "seed": 0})
    assert build.main(["verify", str(copy)]) == 2
    assert "another version of the generator" in capsys.readouterr().err


def test_every_table_has_a_schema():
    assert set(schema.TABLES) == {"manifest.csv", "identities.csv", "forgeries.csv"}
    assert set(manifest.COLUMNS) <= set(schema.MANIFEST)


# --- lists -----------------------------------------------------------------------------------------------------------


def crops_of(built, folder):
    table = manifest.read(built / "manifest.csv")
    rows = []
    for row in table.to_dict("records"):
        for frame in (0, 2):
            path = f"{row['dataset']}/{row['method']}/{row['compression']}/{row['video_id']}/{frame:05d}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(path.encode())
            rows.append(row | {"path": path, "frame": frame, "mask_path": "", "sha256": ""})
    manifest.write(pd.DataFrame(rows), folder / "manifest.csv")
    return folder / "manifest.csv"


def test_lists_follow_the_layout_and_its_label_rule(built, tmp_path, capsys):
    crops, out = crops_of(built, tmp_path / "crops"), tmp_path / "gend"
    assert build.main(["lists", str(crops), "--out", str(out)]) == 0
    assert "nobody-test-Whole.txt" in capsys.readouterr().out
    table = manifest.read(built / "manifest.csv")
    names = {f.name for f in out.glob("*.txt")}
    assert {"nobody-train-real.txt", "nobody-val-DF.txt", "nobody-test-SBI.txt"} <= names
    n = 0
    for file in out.glob("*.txt"):
        split, method = file.stem.split("-")[1:]
        for line in file.read_text().splitlines():
            dataset, source, name, frame = line.split("/")
            assert (out / line).is_file() and Path(frame).suffix == ".png"
            row = table[(table["method"] == source) & (table["video_id"] == name)].iloc[0]
            assert (line.split("/")[-3] == "real") == (row["label"] == 0)
            assert (dataset, source, split) == ("nobody", method, lists.SPLITS[row["role"]])
            n += 1
    assert n == 2 * len(table)


def test_lists_want_crops_with_roles_and_one_compression(built, tmp_path):
    with pytest.raises(ValueError, match="expected one of crops"):
        lists.write(built / "manifest.csv", tmp_path / "a")
    crops = crops_of(built, tmp_path / "crops")
    table = manifest.read(crops)
    manifest.write(table.assign(role=""), tmp_path / "crops" / "none.csv")
    with pytest.raises(ValueError, match="rows without a role"):
        lists.write(tmp_path / "crops" / "none.csv", tmp_path / "b")
    two = pd.concat([table, table.assign(compression="c40", path="x" + table["path"])])
    manifest.write(two.reset_index(drop=True), tmp_path / "crops" / "two.csv")
    with pytest.raises(ValueError, match="two compressions"):
        lists.write(tmp_path / "crops" / "two.csv", tmp_path / "c")
