"""Audits: clean sets are called clean, planted shortcuts and duplicates are found."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from gendkit import audit, manifest, metrics, video
from gendkit.audit import duplicates, facts, shortcuts
from gendkit.nobody import shortcut
from gendkit.repro import read_json, sha256

SIZE, FRAMES, N = 64, 6, 20


def picture(rng):
    """A background with coarse and fine forms that no other source has."""
    noise = rng.normal(size=(SIZE, SIZE, 3))
    layers = [gaussian_filter(noise, (sigma, sigma, 0)) for sigma in (2, 6, 16)]
    return 128 + 25 * sum(layer / layer.std() for layer in layers)


def clip(rng, background):
    """A moving patch of noise, the "face", before a still place with a little sensor noise."""
    frames = background + rng.normal(0, 2, (FRAMES, SIZE, SIZE, 3))
    frames[:, 24:40, 24:40] += rng.normal(0, 25, (FRAMES, 16, 16, 3))
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A real and a fake of each source; the fake has other noise inside its mask only."""
    root, rng, rows = tmp_path_factory.mktemp("toy"), np.random.default_rng(0), []
    mask = np.zeros((FRAMES, SIZE, SIZE), np.float32)
    mask[:, 24:40, 24:40] = 1
    for folder in ("real", "FS", "masks"):
        (root / folder).mkdir()
    for number in range(N):
        name, place = f"{number:03d}", picture(rng)
        real = clip(rng, place)
        fake = np.where(mask[..., None] > 0, clip(rng, place), real)
        for method, frames in (("real", real), ("FS", fake)):
            video.write_video(root / f"{method}/{name}.mp4", frames)
            rows.append(row(method, name))
        video.write_video(root / f"masks/{name}.mp4", mask)
    table = pd.DataFrame(rows)
    manifest.write(table, root / "manifest.csv")
    return root, manifest.read(root / "manifest.csv")


def row(method, name, **more):
    return {
        "path": f"{method}/{name}.mp4",
        "dataset": "toy",
        "method": method,
        "compression": "c23",
        "video_id": name,
        "source_id": name,
        "label": int(method != "real"),
        "role": "fit" if int(name) < 12 else "report",
        "mask_path": "" if method == "real" else f"masks/{name}.mp4",
        "n_frames": FRAMES,
        **more,
    }


def null_set(rng, n_sources, n_fakes, n_facts):
    """Facts that say nothing: each video is its source with noise of its own."""
    rows = [
        row("real" if k == 0 else f"M{k}", f"{source:03d}")
        for source in range(n_sources)
        for k in range(n_fakes + 1)
    ]
    own = rng.normal(size=(n_sources, 1, n_facts))
    values = own + 0.3 * rng.normal(size=(n_sources, n_fakes + 1, n_facts))
    return pd.DataFrame(rows), pd.DataFrame(values.reshape(len(rows), n_facts)).add_prefix("fact ")


@pytest.mark.parametrize(("n_fakes", "n_facts"), [(1, 1), (2, 8)])
def test_intervals_hold_one_half_on_sets_without_a_shortcut(n_fakes, n_facts):
    rng = np.random.default_rng(1)
    found = [audit.separability(*null_set(rng, 20, n_fakes, n_facts), seed=k)[0] for k in range(40)]
    assert np.mean([one.excludes(0.5) for one in found]) <= 0.10
    assert abs(np.mean([one.value for one in found]) - 0.5) < 0.03  # paired sets lean to no side


def test_a_fact_that_tells_is_found_and_named():
    table, values = null_set(np.random.default_rng(2), 20, 2, 5)
    values["fact 3"] += 1.5 * table["label"]
    estimate, weights, grouped_by = audit.separability(table, values)
    assert estimate.low > 0.5 and weights[0][0] == "fact 3" and weights[0][1] > 0
    assert grouped_by == "people"  # nobody lends a face here, so each person is a group


def test_text_facts_count_and_constant_ones_do_not():
    values = pd.DataFrame(
        {"tag": ["a", "a", "b", "b"], "once": list("wxyz"), "same": 1.0, "size": [1.0, 2, 3, 4]}
    )
    found = shortcuts.numbers(values)
    assert list(found.columns) == ["tag = a", "tag = b", "size"]
    np.testing.assert_allclose(found.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(ddof=0), 1)


def test_linked_people_stay_together_where_they_leave_ten_groups():
    table, values = null_set(np.random.default_rng(3), 40, 1, 2)
    in_pairs = [f"{int(name) ^ 1:03d}" for name in table["source_id"]]
    in_tens = [f"{int(name) // 10 * 10:03d}" for name in table["source_id"]]
    for donors, expected, n_groups in ((in_pairs, "people", 20), (in_tens, "source", 40)):
        donors = np.where(table["label"] == 1, donors, "")
        estimate, _, grouped_by = audit.separability(table.assign(donor_id=donors), values)
        assert (grouped_by, estimate.n_groups) == (expected, n_groups)


def test_sets_that_cannot_be_judged_are_refused():
    table, values = null_set(np.random.default_rng(4), 12, 1, 2)
    with pytest.raises(audit.AuditError, match="only reals"):
        audit.separability(table, values[table["label"] == 0])
    with pytest.raises(audit.AuditError, match="got 9 sources, expected at least 10"):
        audit.separability(table, values.iloc[:18])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.51, 0.7, "shortcut"), (0.5, 0.7, "clean"), (0.3, 0.6, "clean"), (0.3, 0.4, "below chance")],
)
def test_verdicts(low, high, verdict):
    estimate = metrics.Estimate(0.5, low, high, 10)
    assert audit.Probe("metadata", "all", estimate, (), 10, 0, "source").verdict == verdict


def test_background_and_first_frame_of_a_clean_set_are_clean(toy):
    root, table = toy
    found = audit.probes(table, root, ("background", "first_frame"), by="method")
    assert [(one.kind, one.method) for one in found] == [
        ("background", "all"),
        ("background", "FS"),
        ("first_frame", "all"),
        ("first_frame", "FS"),
    ]
    assert [one.verdict for one in found] == ["clean"] * 4
    shown = audit.as_table(found)
    assert (shown["n_videos"] == 2 * N).all() and (shown["n_left_out"] == 0).all()


@pytest.mark.parametrize(
    ("planted", "seen_by"),
    [("codec", "metadata"), ("sharpness", "background"), ("background", "background")],
)
def test_planted_shortcuts_are_found(toy, tmp_path, planted, seen_by):
    root, table = toy
    planted_table = shortcut.plant(table, root, tmp_path, planted)
    found = audit.probe(planted_table, tmp_path, seen_by)
    assert found.verdict == "shortcut" and found.estimate.value > 0.7, found


def test_coding_again_without_a_shortcut_leaves_pictures_clean(toy, tmp_path):
    root, table = toy
    again = shortcut.plant(table, root, tmp_path, "sharpness", share=0)
    found = audit.probes(again, tmp_path, ("background", "first_frame"))
    assert [one.verdict for one in found] == ["clean", "clean"]


def test_a_tint_of_the_fakes_is_found_in_the_first_frame(toy, tmp_path):
    root, table = toy
    for _, one in table.iterrows():
        (tmp_path / one["path"]).parent.mkdir(exist_ok=True)
        frames = video.read_frames(root / one["path"]).astype(int)
        frames += one["label"] * np.array([60, 0, 0])
        video.write_video(tmp_path / one["path"], np.clip(frames, 0, 255).astype(np.uint8))
    found = audit.probe(table.assign(mask_path=""), tmp_path, "first_frame")
    assert found.verdict == "shortcut" and found.weights[0][0] == "mean r"


def test_file_facts(tmp_path):
    frames = clip(np.random.default_rng(5), picture(np.random.default_rng(5)))
    video.write_video(tmp_path / "a.mp4", frames, fps=20, gop=3, options={"bf": "0"})
    found = facts.file_facts(tmp_path / "a.mp4")
    assert (found["width"], found["n_frames"], found["fps"]) == (SIZE, FRAMES, 20)
    assert (found["codec"], found["pixel_format"]) == ("h264", "yuv420p")
    assert found["GOP length"] == 3 and found["share of key packets"] == pytest.approx(1 / 3)
    assert found["log file size"] == pytest.approx(np.log((tmp_path / "a.mp4").stat().st_size))
    assert "crf=23" in found["encoder_note"] and found["share of reordered packets"] == 0


def test_first_frame_facts_are_those_of_a_known_picture(tmp_path):
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    frames[0, :, SIZE // 2 :] = 200
    frames[1] = 90  # not looked at
    video.write_video(tmp_path / "a.mp4", frames, crf=0)
    found = facts.first_frame_facts(tmp_path / "a.mp4")
    assert found["mean g"] == pytest.approx(100 / 255, abs=0.01)
    assert found["spread g"] == pytest.approx(100 / 255, abs=0.01)
    assert found["contrast"] == pytest.approx(200 / 255, abs=0.02)
    assert found["saturation"] < 0.02


def test_the_background_keeps_a_margin_to_all_masks(toy, tmp_path):
    other = np.zeros((FRAMES, SIZE, SIZE), np.float32)
    other[3:, :4, :4] = 1  # in the second half only
    video.write_video(tmp_path / "other.mp4", other)
    outside = facts.outside_masks([toy[0] / "masks/000.mp4", tmp_path / "other.mp4"], [0, 5], 6)
    expected = np.ones((SIZE, SIZE), bool)
    expected[18:46, 18:46] = expected[:10, :10] = False
    np.testing.assert_array_equal(outside, expected)
    with pytest.raises(ValueError, match="leave some background"):
        facts.background_facts(toy[0] / "real/000.mp4", np.zeros((SIZE, SIZE), bool), [0])


def test_wrong_use_is_refused(toy):
    root, table = toy
    with pytest.raises(audit.AuditError, match="expected one of metadata"):
        audit.probe(table, root, "smell")
    with pytest.raises(audit.AuditError, match="no row has a mask_path"):
        audit.probe(table.assign(mask_path=""), root, "background")
    with pytest.raises(audit.AuditError, match="manifest of frames"):
        audit.probe(table.assign(frame=0), root, "metadata")
    with pytest.raises(manifest.ManifestError, match="does not exist"):
        audit.probe(table.replace("real/003.mp4", "none.mp4"), root, "metadata")
    with pytest.raises(audit.AuditError, match='expected "" or "method"'):
        audit.probes(table, root, by="colour")


def test_a_source_without_masks_is_left_out_and_counted(toy):
    root, table = toy
    found = audit.probe(table[table["path"] != "FS/003.mp4"], root, "background")
    assert (found.n_videos, found.n_left_out) == (2 * N - 2, 1)


def test_a_hash_survives_coding_and_brightness_and_tells_pictures_apart(toy):
    root, _ = toy
    rng = np.random.default_rng(6)
    one, other = picture(rng), picture(rng)
    first, same, different = (
        duplicates.cosine_hash(np.clip(image, 0, 255).astype(np.uint8))
        for image in (one, 0.8 * one + 10 + rng.normal(0, 3, one.shape), other)
    )
    assert first.shape == (144,)
    assert (first != same).sum() <= duplicates.MAX_DISTANCE < 30 < (first != different).sum()


def test_links_equal_those_of_all_pairs():
    rng = np.random.default_rng(7)
    seeds = rng.random((40, 144)) < 0.5
    flips = rng.random((40, 144)) < rng.uniform(0, 0.15, (40, 1))
    hashes = np.concatenate([seeds, seeds ^ flips])
    distances = (hashes[:, None] != hashes[None]).sum(-1)
    expected = {
        (i, j): distances[i, j]
        for i in range(80)
        for j in range(i + 1, 80)
        if distances[i, j] <= 11
    }
    assert duplicates._links(hashes, 11) == expected and 5 < len(expected) < 40


def test_near_duplicates_are_found_across_sources_and_roles_only(toy, tmp_path):
    root, table = toy
    assert audit.near_duplicates(table, root).empty
    frames = video.read_frames(root / "real/002.mp4")
    video.write_video(tmp_path / "copy.mp4", frames, crf=26)
    rows = []
    for name in ("real/002.mp4", "real/015.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((root / name).read_bytes())
        rows.append(table[table["path"] == name].iloc[0].to_dict() | {"mask_path": ""})
    copied = rows[0] | {"path": "copy.mp4", "video_id": "900", "source_id": "900"}
    for role, severity in (("report", "error"), ("fit", "warning")):
        found = audit.near_duplicates(pd.DataFrame([*rows, copied | {"role": role}]), tmp_path)
        assert list(found["severity"]) == [severity]
        assert found["sources"][0] == ("toy/002", "toy/900") and found["distance"][0] <= 10
    with pytest.raises(ValueError, match="expected 0 to 11"):
        audit.near_duplicates(table, root, 12)


def test_disjointness_counts_people_donors_and_scenes(toy):
    _, table = toy
    clean = audit.disjointness(table)
    assert list(clean["what"]) == ["source_id", "linked people"] and not clean["n_shared"].any()
    donors = np.where(table["path"] == "FS/019.mp4", "001", "")
    leaky = audit.disjointness(table.assign(donor_id=donors, scene_id=table["label"].map(str)))
    assert leaky.set_index("what")["n_shared"].to_dict() == {
        "source_id": 0,
        "donor_id": 0,
        "scene_id": 2,
        "linked people": 1,
    }


def test_the_command_reports_and_its_exit_status_tells(toy, tmp_path, capsys):
    root, table = toy
    path, out = str(root / "manifest.csv"), tmp_path / "found.json"
    assert audit.main([path, "--probes", "background,first_frame", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "clean" in text and "Near-duplicates" in text and "linked people" in text
    found = read_json(out)
    assert len(found["probes"]) == 2 and len(found["balance"]) == 2
    leaky = table.assign(donor_id=np.where(table["path"] == "FS/019.mp4", "001", ""))
    manifest.write(leaky, root / "leaky.csv")
    assert audit.main([str(root / "leaky.csv"), "--probes", "first_frame"]) == 1
    assert audit.main([str(tmp_path / "none.csv")]) == 2
    assert "expected an existing CSV" in capsys.readouterr().err
    assert audit.main([path, "--probes", "smell"]) == 2


# --- columns of a result table ------------------------------------------------------------------


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def columns_table():
    """Two sets of two methods, two people each; hashes are made up."""
    rows = []
    for dataset, people in (("A", "12"), ("B", "34")):
        for person in people:
            for method in ("real", "FS", "NT"):
                made = row(
                    method, f"00{person}", dataset=dataset, path=f"{dataset}{method}{person}"
                )
                rows.append(
                    {**made, "sha256": digest(f"{dataset}{method}{person}"), "mask_path": ""}
                )
    return pd.DataFrame(rows)


def test_a_clean_table_shares_reals_between_methods_only():
    found = audit.shared_reals(columns_table())
    assert found.to_dict("list") == {
        "severity": ["note", "note"],
        "columns": ["A/c23: FS, NT", "B/c23: FS, NT"],
        "n_shared": [2, 2],
        "n_reals": [2, 2],
        "first": ["A/real/c23/001", "B/real/c23/003"],
    }


def shared(**changes):
    table = columns_table().set_index("path", drop=False)
    for path, values in changes.items():
        table.loc[path, list(values)] = list(values.values())
    return audit.shared_reals(table.reset_index(drop=True))


def test_one_file_in_two_sets_is_counted_once_and_told():
    found = shared(Breal3={"sha256": digest("Areal1")})
    first = found.iloc[0]
    assert (first["severity"], first["columns"]) == ("warning", "A/c23, B/c23")
    assert (first["n_shared"], first["n_reals"], first["first"]) == (1, 3, "A/real/c23/001")
    # a fake with the bytes of a real is another finding (two_labels), not a shared real
    assert (shared(BFS3={"sha256": digest("Areal1")})["severity"] == "note").all()


def test_one_file_under_two_names_or_two_roles():
    found = shared(Areal2={"sha256": digest("Areal1")})
    assert list(found["columns"][:1]) == ["A/c23 twice"] and found["severity"][0] == "warning"
    found = shared(Areal2={"sha256": digest("Areal1"), "role": "select"})
    assert (
        list(found["severity"][:2]) == ["error", "warning"] and found["columns"][0] == "two roles"
    )


def test_balance_counts_videos_and_frames_of_each_class():
    table = columns_table().assign(n_frames=[10, 20, 30] * 4)
    table.loc[table["dataset"] == "B", "n_frames"] = 10
    even = audit.balance(table).set_index("dataset")
    assert list(even.loc["A", ["n_real", "n_fake", "frames_real", "frames_fake"]]) == [2, 4, 10, 25]
    assert even["base_rate"].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert even["verdict"].tolist() == ["uneven frames", "ok"]
    reals = audit.balance(table[table["label"] == 0])
    assert set(reals["verdict"]) == {"one class"} and reals["frames_fake"].isna().all()


def test_what_a_manifest_leaves_out_is_measured(toy):
    root, table = toy
    bare = table.drop(columns="n_frames").assign(sha256=[digest("given")] + [""] * (len(table) - 1))
    full = audit.measured(bare, root)
    assert (full["n_frames"] == FRAMES).all() and full["sha256"].iloc[0] == digest("given")
    assert full["sha256"].iloc[1] == sha256(root / table["path"].iloc[1])
    assert list(bare.columns) + ["n_frames"] == list(full.columns)


def test_the_command_finds_copies_and_uneven_frames_by_itself(toy, tmp_path, capsys):
    """The manifest names neither hashes nor frames; a second set holds a copy of a real."""
    root, table = toy
    bare = table.drop(columns="n_frames")
    copied = bare[bare["source_id"] == "019"].assign(dataset="toy2")
    (root / "second").mkdir()
    for path in copied["path"]:
        (root / "second" / path.replace("/", "_")).write_bytes((root / path).read_bytes())
    short = video.read_frames(root / "real/019.mp4")[:3]
    video.write_video(root / "second/FS_019.mp4", short)  # three frames instead of six
    copied["path"] = "second/" + copied["path"].str.replace("/", "_")
    manifest.write(pd.concat([bare, copied]), root / "two.csv")
    words = [str(root / "two.csv"), "--probes", "first_frame", "--out", str(tmp_path / "two.json")]
    assert audit.main(words) == 0
    text = capsys.readouterr().out
    assert "toy/c23, toy2/c23" in text and "uneven frames" in text and "mixed_frame_counts" in text
    found = read_json(tmp_path / "two.json")
    assert {one["severity"] for one in found["shared_reals"]} == {"warning"}
    assert [one["verdict"] for one in found["balance"] if one["dataset"] == "toy2"] == [
        "uneven frames"
    ]
    assert audit.main([*words, "--strict"]) == 1


def test_sources_with_more_fakes_do_not_count_more():
    table = pd.DataFrame(
        [
            {"dataset": "d", "source_id": f"s{k}", "label": int(j > 0), "method": f"m{j}"}
            for k in range(4)
            for j in range(3 if k < 2 else 6)
        ]
        + [{"dataset": "d", "source_id": "alone", "label": 1, "method": "m1"}]
    )
    even = audit.shortcuts.evenly(table)
    counts = even[even.label == 1].groupby("source_id").size()
    assert counts[["s0", "s1", "s2", "s3"]].eq(2).all() and counts["alone"] == 1
    assert (even[even.label == 0].source_id == ["s0", "s1", "s2", "s3"]).all()
    assert even.index.is_monotonic_increasing and even.equals(audit.shortcuts.evenly(table))
    assert not even.equals(audit.shortcuts.evenly(table, seed=1))
    reals = table[table.label == 0]
    assert audit.shortcuts.evenly(reals) is reals
