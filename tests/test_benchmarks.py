"""The 50 test groups, the cards of the datasets, checks of folders, manifests and path lists."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_trees import (
    CELEB_TEST,
    FF_PAIRS,
    celeb,
    deepfakedetection,
    faceforensics,
    generic,
    touch,
)

from gendkit import benchmarks, manifest
from gendkit.benchmarks import build, listed, page, paths, people, scan
from gendkit.benchmarks.verify import verify
from gendkit.commands.train import read_lists
from gendkit.extract.units import find_units

OFFICIAL = json.loads((Path(__file__).parent / "data" / "test_groups.json").read_text("utf-8"))


def test_the_groups_are_the_official_ones():
    assert list(benchmarks.GROUPS) == list(OFFICIAL)
    assert len(OFFICIAL) == 50


@pytest.mark.parametrize("group", OFFICIAL)
def test_every_list_of_a_group_is_the_official_one(group):
    assert list(benchmarks.GROUPS[group]) == OFFICIAL[group]


def test_the_fourteen_benchmarks():
    keys = [benchmark.key for benchmark in benchmarks.BENCHMARKS]
    assert sorted(keys) == sorted(
        "UADFV DFD CDFv2 FSh DFDC FFIW KoDF FAVC DFDM PGF IDF DSv1.1 DSv2 CDFv3".split()
    )
    years = [benchmark.year for benchmark in benchmarks.BENCHMARKS]
    assert years == sorted(years)
    for benchmark in benchmarks.BENCHMARKS:
        assert benchmark.lists == tuple(OFFICIAL[benchmark.group])
        assert benchmark.facts.endswith(".")
    # what is left are FaceForensics++ and parts or relatives of the 14
    used = {benchmark.group for benchmark in benchmarks.BENCHMARKS}
    left = [group for group in OFFICIAL if group not in used]
    assert {group.split("-")[0] for group in left} == {"FF", "FaceFusion", "KoDF", "FAVC", "CDFv3"}


def test_the_facts_that_can_be_counted():
    assert len(benchmarks.get("PGF").lists) == 7 + 82
    assert sum(map(len, benchmarks.CDFV3_METHODS.values())) == 22
    assert [len(names) for names in benchmarks.CDFV3_METHODS.values()] == [8, 7, 7]
    assert "config/datasets/CDFv2/all/Celeb-real.txt" in benchmarks.get("DFDM").lists
    assert not any("RV-FA" in path for path in benchmarks.get("FAVC").lists)


@pytest.mark.parametrize("key", ["CDFv2", "CDF", "Celeb-DF v2"])
def test_a_benchmark_is_found_by_each_of_its_names(key):
    assert benchmarks.get(key).key == "CDFv2"


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(ValueError, match="got benchmark 'ImageNet', expected one of UADFV, DFD"):
        benchmarks.get("ImageNet")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("datasets/FF/real/000/000.png", 0),
        ("datasets/CDFv2/Celeb-real/id0_0000/012.png", 0),
        ("datasets/FF/DF/000_003/025.png", 1),
        ("datasets/CDFv3/Real3DPortrait/id0_id1/001.png", 1),  # a capital letter, so not real
        ("real/FF/DF/000_003/025.png", 1),  # only the source folder counts
    ],
)
def test_the_label_is_read_off_the_source_folder(path, label):
    assert benchmarks.label_of(path) == label


def test_a_path_without_a_source_has_no_label():
    with pytest.raises(ValueError, match="expected <dataset>/<source>/<video>/<frame>"):
        benchmarks.label_of("video/frame.png")


# --- cards --------------------------------------------------------------------------------------


def test_there_is_a_card_for_each_benchmark_and_the_training_set():
    keys = [benchmark.key for benchmark in benchmarks.BENCHMARKS]
    assert list(benchmarks.CARDS) == ["FF++", *sorted(keys, key=list(benchmarks.CARDS).index)]
    assert set(benchmarks.CARDS) == {"FF++", *keys} and len(benchmarks.CARDS) == 15


@pytest.mark.parametrize("card", benchmarks.CARDS.values(), ids=lambda card: card.key)
def test_every_fact_has_a_source_or_is_called_unknown(card):
    for heading, facts in card.facts().items():
        assert facts, f"{heading} says nothing: state that it is unknown"
        for fact in facts:
            if fact.known:
                assert fact.source in benchmarks.SOURCES, f"{heading}: {fact.text!r}"
                assert fact.cited.endswith(f"[{benchmarks.SOURCES[fact.source]}]")
            else:
                assert not fact.source, f"{heading}: nobody can be cited for {fact.text!r}"
    assert re.fullmatch(r"(19|20)\d\d", card.year.text)
    if card.key != "FF++":
        assert int(card.year.text) == benchmarks.get(card.key).year
        assert {benchmarks.card(n).key for n in (card.folder, card.name)} == {card.key}
    assert card.parts[0].is_real or card.key == "DFDM"  # which borrows its reals
    for part in card.parts:
        re.compile(part.name)
        assert all("{c}" not in f or card.compressions for f in part.folders)


def test_every_source_is_used():
    used = {f.source for c in benchmarks.CARDS.values() for fs in c.facts().values() for f in fs}
    assert set(benchmarks.SOURCES) == used - {""}


def test_the_official_numbers_of_videos():
    counts = {
        key: [part.count for part in benchmarks.card(key).parts]
        for key in ("FF++", "FSh", "DFD", "CDFv2", "UADFV")
    }
    assert counts["FF++"] == [1000] * 5 and counts["FSh"] == [1000] * 2
    assert counts["DFD"] == [363, 3068] and counts["UADFV"] == [49, 49]
    assert counts["CDFv2"] == [590, 300, 5639]
    methods = [part.method for part in benchmarks.card("CDFv3").parts if not part.is_real]
    assert methods == [name for names in benchmarks.CDFV3_METHODS.values() for name in names]


def test_every_dataset_has_a_builder_or_says_what_it_needs():
    assert set(build.SPLITS) - {"generic"} | set(build.NEEDS) == set(benchmarks.CARDS)
    assert not set(build.SPLITS) & set(build.NEEDS)


@pytest.mark.parametrize(
    ("name", "near"), [("CDFv4", "CDFv2"), ("faceforensic++", "FaceForensics++"), ("kodff", "KoDF")]
)
def test_an_unknown_dataset_is_answered_with_the_nearest_names(name, near):
    with pytest.raises(
        ValueError, match=f"got dataset '{re.escape(name)}', expected one of FF"
    ) as e:
        benchmarks.card(name)
    assert near in str(e.value).split("did you mean")[1]


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ValueError) as error:
        benchmarks.card("xyzzy")
    assert "did you mean" not in str(error.value)


def test_the_package_is_light_to_import():
    code = (
        "import sys, gendkit.benchmarks, gendkit.commands.data; "
        "print({'pandas', 'numpy', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# --- lists of the releases ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "is not a list of pairs"),
        ("[]", "is not a list of pairs"),
        ('[["071"]]', "entry 0 is"),
        ('[["071", 54]]', "entry 0 is"),
        ('[["../../etc/passwd", "054"]]', "expected two names of three digits"),
        ('[["071", "054/"]]', "expected two names of three digits"),
        ('[["071", "0540"]]', "expected two names of three digits"),
        ('[["071", "054"], ["054", "100"]]', "video '054' stands in two pairs"),
        ('[["071", "071"]]', "video '071' stands in two pairs"),
    ],
)
def test_a_pair_list_that_is_wrong_is_refused(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(listed.DataError, match=message):
        listed.read_pairs(path)


def test_a_video_in_two_splits_is_refused(tmp_path):
    root = faceforensics(tmp_path)
    (root / "splits/val.json").write_text('[["720", "071"]]')
    with pytest.raises(listed.DataError, match="'071' stands in train.json and in val.json"):
        listed.read_splits(benchmarks.card("FF++"), root)


def test_splits_are_found_where_the_repository_keeps_them(tmp_path):
    root = faceforensics(tmp_path)
    (root / "dataset").mkdir()
    shutil.move(root / "splits", root / "dataset/splits")
    splits = listed.read_splits(benchmarks.card("FF"), root)
    assert splits == {k: [tuple(p) for p in v] for k, v in FF_PAIRS.items()}
    (root / "dataset/splits/test.json").unlink()
    with pytest.raises(
        listed.DataError, match="test.json is missing .* copy it from dataset/splits"
    ):
        listed.read_splits(benchmarks.card("FF"), root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 ../../secret/id0_0000.mp4", "line 1 names .* expected a path inside the dataset"),
        ("1 /etc/id0_0000.mp4", "expected a path inside the dataset"),
        ("1 Celeb-real/../x.mp4", "expected a path inside the dataset"),
        ("2 Celeb-real/id0_0000.mp4", "line 1 is .*, expected"),
        ("Celeb-real/id0_0000.mp4", "line 1 is .*, expected"),
        ("0 Celeb-real/id0_0000.mp4", "calls .* fake, but its folder holds reals"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "calls .* real, but its folder holds fakes"),
        ("1 Other/id0_0000.mp4", "whose folder is none of Celeb-DF v2"),
        ("", "is empty"),
    ],
)
def test_a_test_list_that_is_wrong_is_refused(tmp_path, line, message):
    (tmp_path / "List_of_testing_videos.txt").write_text(line + "\n")
    with pytest.raises(listed.DataError, match=message):
        listed.read_test_videos(benchmarks.card("CDFv2"), tmp_path)


# --- verify -------------------------------------------------------------------------------------


def folder_of(report, folder):
    return next(part for part in report["parts"] if part["folder"] == folder)


def test_a_part_of_faceforensics_is_complete_against_its_own_lists_only(tmp_path):
    card, root = benchmarks.card("FF++"), faceforensics(tmp_path)
    report = verify(card, root, subset=True, masks=True)
    assert report["complete"] and not report["todo"] and not report["extra"]
    assert [part["found"] for part in report["parts"]] == [8] * 5
    assert [one["found"] for one in report["masks"]] == [8] * 4
    report = verify(card, root)
    assert not report["complete"]
    reals = folder_of(report, "original_sequences/youtube/c23/videos")
    assert reals["missing_count"] == 992 and len(reals["missing"]) == 992
    assert reals["missing"][0] == "000" and "071" not in reals["missing"]
    fakes = folder_of(report, "manipulated_sequences/FaceSwap/c23/videos")
    assert (fakes["found"], fakes["expected"], fakes["missing_count"]) == (8, 1000, 992)
    assert fakes["missing"] == []  # a list of four pairs does not name the others
    assert "-d FaceSwap -c c23 -t videos" in "\n".join(report["todo"])


def test_verify_names_what_is_missing_extra_and_unusable(tmp_path):
    root = faceforensics(tmp_path)
    videos = root / "manipulated_sequences/Deepfakes/c23/videos"
    (videos / "071_054.mp4").unlink()
    (videos / "054_071.mp4").write_bytes(b"")
    touch(videos, "720_672.avi", "a copy of 953_974.mp4", "notes.txt")
    shutil.rmtree(root / "manipulated_sequences/NeuralTextures/c23")
    (root / "manipulated_sequences/FaceSwap/masks/videos/953_974.mp4").unlink()
    touch(root, "backup/x.mp4", "original_sequences/youtube/readme.txt", ".hidden")
    touch(root, "original_sequences/actors/c23/videos/01__walking.mp4")  # belongs to DFD
    (root / "splits/val.json").unlink()
    report = verify(benchmarks.card("FF++"), root, subset=True)
    part = folder_of(report, "manipulated_sequences/Deepfakes/c23/videos")
    assert part["empty"] == ["manipulated_sequences/Deepfakes/c23/videos/054_071.mp4"]
    assert part["odd"] == ["manipulated_sequences/Deepfakes/c23/videos/a copy of 953_974.mp4"]
    assert part["doubled"] == ["720_672"]
    assert not folder_of(report, "manipulated_sequences/NeuralTextures/c23/videos")["exists"]
    assert sorted(report["extra"]) == [
        "backup/",
        "manipulated_sequences/Deepfakes/c23/videos/notes.txt",
        "original_sequences/youtube/readme.txt",
    ]
    assert report["files"] == ["splits/val.json or dataset/splits/val.json or val.json"]
    masks = {one["folder"]: one["missing"] for one in report["masks"]}
    assert masks["manipulated_sequences/FaceSwap/masks/videos"] == ["953_974"]
    assert not report["complete"]
    (root / "splits/val.json").write_text(json.dumps(FF_PAIRS["val"]))
    report = verify(benchmarks.card("FF++"), root, subset=True)
    part = folder_of(report, "manipulated_sequences/Deepfakes/c23/videos")
    assert part["missing"] == ["071_054"]


@pytest.mark.parametrize(
    ("name", "word"),
    [("071.mp4", "empty files"), ("071.avi", "doubled name"), ("71.mp4", "other names")],
)
def test_one_unusable_video_is_enough(tmp_path, name, word):
    root = faceforensics(tmp_path)
    path = root / "original_sequences/youtube/c23/videos" / name
    path.write_bytes(b"" if word == "empty files" else b"x")
    report = verify(benchmarks.card("FF++"), root, subset=True)
    assert not report["complete"] and len(report["todo"]) == 1 and word in report["todo"][0]


def test_missing_masks_count_only_when_asked_for(tmp_path):
    root = faceforensics(tmp_path, masks=False)
    card = benchmarks.card("FF++")
    assert verify(card, root, subset=True)["complete"]
    report = verify(card, root, subset=True, masks=True)
    assert not report["complete"] and any("-t masks" in line for line in report["todo"])


def test_every_compression_on_disk_is_looked_at(tmp_path):
    root = faceforensics(tmp_path)
    touch(root, "original_sequences/youtube/c40/videos/071.mp4")
    card = benchmarks.card("FF++")
    report = verify(card, root, subset=True)
    assert report["compressions"] == ["c23", "c40"] and not report["complete"]
    assert verify(card, root, compression="c23", subset=True)["complete"]
    with pytest.raises(listed.DataError, match="got compression 'c32'; FaceForensics.* has c23"):
        verify(card, root, compression="c32")


def test_celeb_df_with_and_without_a_folder_of_videos(tmp_path):
    root, card = celeb(tmp_path / "a"), benchmarks.card("CDFv2")
    assert verify(card, root, subset=True)["complete"]
    report = verify(card, root)
    assert folder_of(report, "Celeb-real")["missing_count"] == 590 - 12
    for name in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        shutil.move(root / name, tmp_path / "moved")
        shutil.move(tmp_path / "moved", root / name / "videos")
    report = verify(card, root, subset=True)
    assert report["complete"] and not report["extra"]
    (root / "Celeb-synthesis/videos/id0_id1_0000.mp4").unlink()
    report = verify(card, root, subset=True)
    assert folder_of(report, "Celeb-synthesis/videos")["missing"] == ["id0_id1_0000"]


def test_a_wrong_list_is_reported_not_raised(tmp_path):
    root = celeb(tmp_path)
    (root / "List_of_testing_videos.txt").write_text("1 ../x.mp4\n")
    report = verify(benchmarks.card("CDFv2"), root, subset=True)
    assert not report["complete"] and "expected a path inside" in report["problems"][0]


@pytest.mark.parametrize("level", ["above", "below"])
def test_a_root_one_level_off_is_noticed(tmp_path, level):
    root = faceforensics(tmp_path / "data/FF")
    given = root.parent if level == "above" else root / "original_sequences"
    report = verify(benchmarks.card("FF++"), given)
    assert report["hint"] == str(root) and str(root) in report["todo"][0]


@pytest.mark.parametrize("card", benchmarks.CARDS.values(), ids=lambda card: card.key)
def test_an_empty_folder_lacks_everything(tmp_path, card):
    report = verify(card, tmp_path)
    assert not report["complete"] and report["todo"] and not report["extra"]
    assert all(not part["exists"] and part["missing_count"] for part in report["parts"])
    json.dumps(report)


@pytest.mark.parametrize("card", benchmarks.CARDS.values(), ids=lambda card: card.key)
def test_a_folder_with_one_good_video_in_each_part_is_complete_as_a_subset(tmp_path, card):
    if card.key in ("FF++", "FSh"):
        faceforensics(tmp_path)
        faceforensics(tmp_path, methods=("FaceShifter",), masks=False)
    elif card.key == "CDFv2":
        celeb(tmp_path)
    else:
        names = {"DFD": ["01__x", "01_02__x__ABCD1234"], "UADFV": ["0000", "0000_fake"]}
        for k, part in enumerate(card.parts):
            folder = part.folders[0].replace("{c}", (card.compressions or ("",))[0])
            good = [
                *names.get(card.key, []),
                "id0_0000",
                "00000",
                "id0_id1_0000",
                "id0_id1_0000_dfl",
            ]
            if card.key in names:
                good = [names[card.key][k]]
            name = next(n for n in good if scan._fits(n, part.name))
            touch(tmp_path, f"{folder}/{'deep/' * part.deep}{name}.mp4")
        for places in card.files:
            tested = "1 Celeb-real/id0_0000.mp4" if card.key == "CDFv3" else "x"
            (tmp_path / places[0]).write_text(tested)
    report = verify(card, tmp_path, subset=True)
    assert report["complete"], report
    assert report["extra"] == []


def test_a_folder_that_is_none(tmp_path):
    touch(tmp_path, "file")
    with pytest.raises(FileNotFoundError, match="is no folder; give the folder of UADFV"):
        verify(benchmarks.card("UADFV"), tmp_path / "file")


def test_links_in_a_loop_end(tmp_path):
    touch(tmp_path, "real/a/x.mp4")
    (tmp_path / "real/a/again").symlink_to(tmp_path / "real")
    found = scan.look(tmp_path, benchmarks.Part(("real",), "real", deep=True))
    assert found.videos == {"a/x": "real/a/x.mp4"}


def test_a_name_that_is_no_text_is_odd(tmp_path):
    folder = bytes(tmp_path / "real")
    (tmp_path / "real").mkdir()
    with open(folder + b"/caf\xe9.mp4", "wb") as handle:
        handle.write(b"x")
    found = scan.look(tmp_path, benchmarks.Part(("real",), "real"))
    assert not found.videos and [scan.shown(n) for n in found.odd] == ["real/caf\\udce9.mp4"]


# --- manifests ----------------------------------------------------------------------------------


def test_the_manifest_of_faceforensics(tmp_path):
    root = faceforensics(tmp_path)
    (root / "manipulated_sequences/FaceSwap/masks/videos/953_974.mp4").unlink()
    table, notes = build.build(benchmarks.card("FF++"), root)
    assert len(table) == 8 * 5 and set(table["dataset"]) == {"FF"}
    assert set(table["method"]) == {"real", "DF", "F2F", "FS", "NT"}
    assert set(table["compression"]) == {"c23"}
    row = table[(table["method"] == "FS") & (table["video_id"] == "071_054")].iloc[0]
    assert (row["source_id"], row["donor_id"], row["pair_id"]) == ("071", "054", "071")
    assert (row["label"], row["role"]) == (1, "fit")
    assert row["path"] == "manipulated_sequences/FaceSwap/c23/videos/071_054.mp4"
    assert row["mask_path"] == "manipulated_sequences/FaceSwap/masks/videos/071_054.mp4"
    roles = table.groupby("role").size().to_dict()
    assert roles == {"fit": 4 * 5, "select": 2 * 5, "report": 2 * 5}
    assert "1 fakes have no mask; the largest face will be taken there" in notes
    assert "train.json holds 2 pairs, the official one 360" in notes
    manifest.validate(table, root)
    assert not (manifest.audit(table)["severity"] == "error").any()
    assert len(manifest.pairs(table)) == 8 * 4  # each fake has its real


def test_a_split_that_is_not_there(tmp_path):
    root = faceforensics(tmp_path)
    with pytest.raises(
        listed.DataError, match="got split 'people', expected one of official, whole"
    ):
        build.build(benchmarks.card("FF++"), root, split="people")
    table, _ = build.build(benchmarks.card("FF++"), root, split="whole")
    assert set(table["role"]) == {"report"}


def test_faceforensics_with_gaps(tmp_path):
    root, card = faceforensics(tmp_path), benchmarks.card("FF++")
    videos = root / "manipulated_sequences/Deepfakes/c23/videos"
    touch(videos, "071_081.mp4")  # both are in train, but no pair
    with pytest.raises(listed.DataError, match="1 videos stand in no split, first '071_081'"):
        build.build(card, root)
    (videos / "071_054.mp4").unlink()
    table, notes = build.build(card, root, partial=True)
    assert len(table) == 8 * 5 - 1
    assert "1 listed videos of DF c23 are missing, first 071_054" in notes
    assert "1 videos without a role are left out (--split official)" in notes
    (videos / "071_081.mp4").unlink()
    with pytest.raises(listed.DataError, match="1 videos of DF c23 are listed but not there"):
        build.build(card, root)
    shutil.rmtree(root / "manipulated_sequences/NeuralTextures")
    with pytest.raises(listed.DataError, match="no videos in manipulated_sequences/NeuralTextures"):
        build.build(card, root)


def test_doubled_videos_are_refused(tmp_path):
    root = faceforensics(tmp_path)
    touch(root, "original_sequences/youtube/c23/videos/071.avi")
    with pytest.raises(listed.DataError, match="071.avi' and .*071.mp4' are both video '071'"):
        build.build(benchmarks.card("FF++"), root)


def test_faceshifter_shares_the_tree(tmp_path):
    root = faceforensics(tmp_path, methods=("FaceShifter",), masks=False)
    table, notes = build.build(benchmarks.card("FSh"), root)
    assert table.groupby("method").size().to_dict() == {"FaceShifter": 8, "real": 8}
    assert not any("mask" in note for note in notes) and set(table["dataset"]) == {"FSh"}


def test_deepfakedetection_is_split_by_actor(tmp_path):
    root = deepfakedetection(tmp_path)
    shares = {"fit": 0.5, "report": 0.5}
    table, notes = build.build(benchmarks.card("DFD"), root, shares=shares)
    roles = {}
    for row in table.itertuples():
        for actor in filter(None, (row.source_id, row.donor_id)):
            assert roles.setdefault(actor, row.role) == row.role
    assert set(roles) == {f"{k:02d}" for k in range(1, 7)}
    # two groups of three are swapped inside: only the one fake between them is lost
    assert (table["label"] == 1).sum() == 12 and (table["label"] == 0).sum() == 12
    assert "1 fakes join people of different roles" in notes
    assert {roles["01"], roles["02"], roles["03"]} == {roles["01"]}
    fake = table[table["label"] == 1].iloc[0]
    assert fake["pair_id"] in set(table.loc[table["label"] == 0, "video_id"])
    assert (manifest.audit(table)["severity"] != "error").all()
    again, _ = build.build(benchmarks.card("DFD"), root, shares=shares)
    pd.testing.assert_frame_equal(table, again)
    whole, _ = build.build(benchmarks.card("DFD"), root, split="whole")
    assert len(whole) == 25 and set(whole["role"]) == {"report"}


def test_one_actor_is_too_few(tmp_path):
    touch(tmp_path, "original_sequences/actors/c23/videos/01__a.mp4")
    touch(tmp_path, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__a__ABCD1234.mp4")
    with pytest.raises(listed.DataError, match="got 2 people for the roles fit, select, report"):
        build.build(benchmarks.card("DFD"), tmp_path)


def test_the_manifest_of_celeb_df(tmp_path):
    root, card = celeb(tmp_path), benchmarks.card("CDFv2")
    table, notes = build.build(card, root)
    assert set(table["role"]) == {"report"} and len(table) == len(CELEB_TEST)
    assert set(table["video_id"]) == {"Celeb-real/id0_0000", "YouTube-real/00170", "id0_id1_0000"}
    fake = table[table["label"] == 1].iloc[0]
    assert (fake["source_id"], fake["donor_id"]) == ("id0", "id1")
    assert fake["pair_id"] == "Celeb-real/id0_0000"
    assert notes == ["22 videos without a role are left out (--split official)"]
    rest, _ = build.build(card, root, split="rest")
    assert rest.groupby("role").size().to_dict() == {"report": 3, "select": 22}
    by_video, _ = build.build(card, root, split="rest", source="recording")
    pairs = manifest.pairs(by_video)
    ids = by_video["video_id"]
    for pair in pairs.itertuples():
        person, _, number = ids[pair.fake].split("_")
        assert ids[pair.real] == f"Celeb-real/{person}_{number}"
    assert len(pairs) == 10


def test_celeb_df_by_people_keeps_the_official_test(tmp_path):
    card, root = benchmarks.card("CDFv2"), celeb(tmp_path)
    with pytest.raises(listed.DataError, match="no role 'select' with both reals and fakes"):
        build.build(card, root, split="people")  # a fifth of four people
    shares = {"fit": 1, "select": 1, "report": 1}
    table, notes = build.build(card, root, split="people", shares=shares)
    assert set(table.loc[table["role"] == "report", "video_id"]) == {
        *("Celeb-real/id0_0000", "YouTube-real/00170", "id0_id1_0000")
    }
    people_of = {
        role: {*part["source_id"], *part["donor_id"]} - {""} for role, part in table.groupby("role")
    }
    for a, b in itertools.combinations(people_of.values(), 2):
        assert not a & b
    assert set(people_of) == {"fit", "select", "report"}
    assert "id1_id2_0001" not in set(table["video_id"])  # joins a tested person and another
    assert any("3 in the official test" in note for note in notes)


def test_celeb_df_whose_people_are_all_tested_cannot_be_split_by_people(tmp_path):
    root = celeb(tmp_path)
    lines = [f"1 Celeb-real/id{k}_0000.mp4" for k in range(6)]
    (root / "List_of_testing_videos.txt").write_text("\n".join([*CELEB_TEST, *lines]))
    with pytest.raises(listed.DataError, match="7 of the 9 people are in the official test"):
        build.build(benchmarks.card("CDFv2"), root, split="people")


def test_a_listed_test_video_that_is_missing(tmp_path):
    root = celeb(tmp_path)
    (root / "YouTube-real/00170.mp4").unlink()
    with pytest.raises(
        listed.DataError, match="1 videos of the test list are listed but not there"
    ):
        build.build(benchmarks.card("CDFv2"), root)
    table, notes = build.build(benchmarks.card("CDFv2"), root, partial=True)
    assert len(table) == 2 and any("YouTube-real/00170" in note for note in notes)


def test_a_dataset_without_a_builder_says_what_is_needed(tmp_path):
    with pytest.raises(listed.DataError) as error:
        build.build(benchmarks.card("KoDF"), tmp_path)
    for word in (
        "no builder for Korean",
        "target_source_code_number",
        "generic ROOT --dataset KoDF",
    ):
        assert word in str(error.value)


def test_the_manifest_of_a_generic_folder(tmp_path):
    root = generic(tmp_path)
    table, notes = build.build_generic(root, dataset="mine")
    by_id = table.set_index(["method", "video_id"])
    parents = {key: tuple(row) for key, row in by_id[["source_id", "donor_id"]].iterrows()}
    assert parents["swap", "a_b"] == ("a", "b")
    assert parents["swap", "c_1_x"] == ("c_1", "")
    assert parents["lips", "d_fake"] == ("d", "")
    assert parents["lips", "b"] == ("b", "")
    assert parents["lips", "zz"] == ("zz", "")
    assert notes == ["1 fakes have the name of no real; each is a source of its own"]
    assert set(table["role"]) == {"report"} and set(table["dataset"]) == {"mine"}
    split, _ = build.build_generic(root, split="people", shares={"fit": 1, "report": 1}, seed=3)
    groups = manifest.components(split)
    assert split["role"].groupby(groups).nunique().max() == 1
    assert set(split["role"]) == {"fit", "report"}


@pytest.mark.parametrize("missing", ["real", "swap lips"])
def test_a_generic_folder_needs_reals_and_fakes(tmp_path, missing):
    root = generic(tmp_path)
    for name in missing.split():
        shutil.rmtree(root / name)
    with pytest.raises(
        listed.DataError, match="expected real/ with the real videos and one folder"
    ):
        build.build_generic(root)


def test_a_folder_named_like_real_is_refused(tmp_path):
    root = generic(tmp_path)
    touch(root, "Real/x.mp4")
    with pytest.raises(manifest.ManifestError, match='expected "real" in lower case'):
        build.build_generic(root)


def test_a_manifest_is_written_above_its_videos(tmp_path):
    root = faceforensics(tmp_path / "sets/FF")
    table, _ = build.build(benchmarks.card("FF++"), root)
    path = build.write(table, root, tmp_path / "sets/ff.csv")
    read = manifest.read(path)
    assert read["path"].iloc[0].startswith("FF/") and read["video_id"].iloc[0] == "054_071"
    manifest.validate(read, path.parent)
    with pytest.raises(listed.DataError, match="write to .*manifest.csv, or make a link: ln -s"):
        build.write(table, root, tmp_path / "elsewhere/ff.csv")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/FF").symlink_to(root)
    path = build.write(table, tmp_path / "elsewhere/FF", tmp_path / "elsewhere/ff.csv")
    manifest.validate(manifest.read(path), path.parent)


def test_an_extraction_takes_the_manifest_of_celeb_df(tmp_path):
    root = celeb(tmp_path)
    table, _ = build.build(benchmarks.card("CDFv2"), root, split="rest")
    jobs = find_units(build.write(table, root, root / "m.csv"), None, "")
    folders = {unit["folder"] for unit in jobs}
    assert len(jobs) == len(folders) == 25
    assert {"CDFv2/real/Celeb-real/id0_0000", "CDFv2/Celeb-synthesis/id0_id1_0000"} <= folders
    assert all(Path(unit["source"]).is_file() for unit in jobs)


# --- people -------------------------------------------------------------------------------------


def kept(pairs, roles):
    return sum(roles[a] == roles[b] for a, b in pairs)


@pytest.mark.parametrize("seed", range(3))
def test_the_deal_keeps_as_many_fakes_as_any(seed):
    rng = np.random.default_rng(seed)
    names = [f"p{k}" for k in range(7)]
    pairs = [tuple(rng.choice(names, 2, replace=False)) for _ in range(12)]
    people_in = sorted({p for pair in pairs for p in pair})
    roles = people.deal(pairs, people_in, {"fit": 4, "report": 3}, seed)
    n_fit = sum(role == "fit" for role in roles.values())
    best = max(
        kept(pairs, {p: "fit" if p in fit else "report" for p in people_in})
        for fit in itertools.combinations(people_in, n_fit)
    )
    assert kept(pairs, roles) == best


def test_the_deal_does_not_depend_on_order_and_fills_every_role():
    pairs = [("a", "b"), ("c", "d"), ("e", "f")]
    shares = {"fit": 0.6, "select": 0.2, "report": 0.2}
    names = [*"abcdef", "x", "y", "z"]
    first = people.deal(pairs, names, shares, 0)
    second = people.deal([p[::-1] for p in pairs[::-1]], names[::-1], shares, 0)
    assert first == second and set(first) == set(names)
    assert set(first.values()) == set(shares)


# --- official path lists ------------------------------------------------------------------------


def crops_of(table, folder, frames=2):
    """A manifest of crops as an extraction writes it, with files of a few bytes."""
    rows = []
    for row in table.drop(columns="mask_path").to_dict("records"):
        at = [row["dataset"], row["method"], row["compression"], row["video_id"]]
        for frame in range(frames):
            path = "/".join([part for part in at if part] + [f"{frame:04d}.png"])
            touch(folder, path)
            rows.append({**row, "path": path, "frame": frame})
    manifest.write(pd.DataFrame(rows), folder / "manifest.csv")
    return folder / "manifest.csv"


def test_lists_of_faceforensics_are_the_official_ones_and_read_back(tmp_path):
    table, _ = build.build(benchmarks.card("FF++"), faceforensics(tmp_path / "FF"))
    crops = crops_of(table, tmp_path / "crops")
    lists = paths.write_lists(crops, tmp_path / "out")
    test = [file for file in lists["file"] if "/test/" in file]
    assert set(test) == set(OFFICIAL["FF"]) and len(lists) == 15
    line = (tmp_path / "out/config/datasets/FF/test/DF.txt").read_text().splitlines()[0]
    assert line == "datasets/FF/DF/953_974/0000.png"
    assert (tmp_path / "out" / line).read_bytes() == b"FF/DF/c23/953_974/0000.png"
    read = read_lists(tmp_path / "out", {"report": OFFICIAL["FF"]})
    truth = table[table["role"] == "report"]
    assert len(read) == 2 * len(truth)
    counts = read.groupby(["method", "label"]).size().to_dict()
    assert counts == {("DF", 1): 4, ("F2F", 1): 4, ("FS", 1): 4, ("NT", 1): 4, ("real", 0): 4}
    assert paths.write_lists(crops, tmp_path / "out").equals(lists)  # again, over the same files


def test_lists_of_celeb_df_keep_both_kinds_of_reals(tmp_path):
    table, _ = build.build(benchmarks.card("CDFv2"), celeb(tmp_path / "CDF"), split="rest")
    lists = paths.write_lists(crops_of(table, tmp_path / "crops"), tmp_path / "out")
    assert set(OFFICIAL["CDF"]) <= set(lists["file"])
    text = (tmp_path / "out/config/datasets/CDFv2/test/YouTube-real.txt").read_text()
    assert text.splitlines()[0] == "datasets/CDFv2/YouTube-real/00170/0000.png"
    read = read_lists(tmp_path / "out", {"report": OFFICIAL["CDF"]})
    assert set(read["video_id"]) == set(table.loc[table["role"] == "report", "video_id"])
    everything = paths.write_lists(tmp_path / "crops/manifest.csv", tmp_path / "all", part="all")
    assert "config/datasets/CDFv2/all/Celeb-real.txt" in set(everything["file"])
    assert "config/datasets/CDFv2/all/Celeb-real.txt" in OFFICIAL["DFDM"]


@pytest.mark.parametrize(
    ("key", "methods"),
    [
        ("DFD", ["real", "DeepFakeDetection"]),
        ("FSh", ["real", "FaceShifter"]),
        ("UADFV", ["real", "fake"]),
        ("DFDC", ["real", "fake"]),
        ("FFIW", ["real", "fake"]),
        ("KoDF", ["real", "audio-driven", "dffs", "dfl", "fo", "fsgan"]),
        ("IDF", ["real", "face_tts_infoswap", "face_tts_roop", "face_tts_simswap"]),
        ("DSv1.1", benchmarks.DEEPSPEAK_1),
        ("DSv2", benchmarks.DEEPSPEAK_2),
        ("CDFv3", ["Celeb-real/", "YouTube-real/", *sum(benchmarks.CDFV3_METHODS.values(), ())]),
    ],
)
def test_lists_of_a_tested_set_have_the_official_names(tmp_path, key, methods):
    card = benchmarks.card(key)
    rows = []
    for method in methods:
        fake = "/" not in method and method != "real"
        name = method if fake else "real"
        rows.append(
            dict(path="x", dataset=card.folder, method=name, compression="", role="report")
            | dict(video_id="v" if "/" not in method else f"{method}v", source_id="v")
            | dict(label=int(fake), donor_id="", mask_path="")
        )
    lists = paths.write_lists(crops_of(pd.DataFrame(rows), tmp_path / "crops"), tmp_path / "out")
    assert set(lists["file"]) == set(benchmarks.get(key).lists)


def test_lists_refuse_what_the_official_code_would_misread(tmp_path):
    root = generic(tmp_path / "mine")
    table, _ = build.build_generic(root)
    with pytest.raises(listed.DataError, match="is a manifest of videos; run gendkit extract"):
        paths.write_lists(build.write(table, root, root / "m.csv"), tmp_path / "out")
    bad = table.assign(method=table["method"].replace("swap", "surreal"))
    with pytest.raises(listed.DataError, match="'surreal' of label 1: the official code takes it"):
        paths.write_lists(crops_of(bad, tmp_path / "bad"), tmp_path / "out")
    two = pd.concat([table.assign(compression="c23"), table.assign(compression="c40")])
    with pytest.raises(listed.DataError, match="in two compressions"):
        paths.write_lists(crops_of(two, tmp_path / "two"), tmp_path / "out")
    none = crops_of(table.assign(role=""), tmp_path / "none")
    with pytest.raises(listed.DataError, match="no row with a role"):
        paths.write_lists(none, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the page of the book -----------------------------------------------------------------------


def test_the_page_on_access_is_the_one_that_the_cards_give():
    path = Path(__file__).parents[1] / "book/data_access.md"
    command = "python -m gendkit.benchmarks.page > book/data_access.md"
    assert path.read_text("utf-8") == page.markdown(), f"the cards have changed; run: {command}"


def test_the_page_names_every_set_and_every_fact():
    text = page.markdown()
    plain = text.replace("\\_", "_").replace("\\*", "*")
    for card in benchmarks.CARDS.values():
        assert text.count(f"(#{page._anchor(card)})") == text.count(f"({page._anchor(card)})=") == 1
        for facts in card.facts().values():
            for fact in facts:
                assert fact.text.rstrip(".") in plain
        for part in card.parts:
            assert f"{part.folders[0]}/  {part.method}" in text


def test_the_page_has_no_link_that_is_not_in_the_sources():
    links = re.findall(r"\]\((https?://[^)]+)\)", page.markdown())
    assert len(set(links)) > 20
    known = " ".join(benchmarks.SOURCES.values())
    for link in links:
        name = link.removeprefix("https://").replace("arxiv.org/abs/", "arXiv:")
        assert name in known, link


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("github.com/a/b, README.md", "https://github.com/a/b"),
        ("third party: github.com/a/b-c, x.md", "https://github.com/a/b-c"),
        ("official code, github.com/a/b at e03, f.py", "https://github.com/a/b"),
        ("huggingface.co/datasets/f/d_1 (years)", "https://huggingface.co/datasets/f/d_1"),
        ("kaggle.com/c/x/data", "https://kaggle.com/c/x/data"),
        ("sites.google.com/view/x/y", "https://sites.google.com/view/x/y"),
        ("arXiv:2508.06248", "https://arxiv.org/abs/2508.06248"),
        ("this kit's own choice", ""),
    ],
)
def test_addresses_of_sources(source, address):
    assert page._address(source) == address
