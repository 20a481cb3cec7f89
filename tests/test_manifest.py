"""manifest: schema, reading and writing, pairs, splits without leaks, audit."""

import numpy as np
import pandas as pd
import pytest

from gendkit import manifest
from gendkit.manifest import ManifestError


@pytest.fixture
def table(tiny_manifest):
    return tiny_manifest


@pytest.fixture
def frames(table):
    out = table.loc[table.index.repeat(2)].reset_index(drop=True)
    out["frame"] = np.tile([3, 9], len(table))
    out["path"] = [f"{p[:-4]}/{f:04d}.png" for p, f in zip(out["path"], out["frame"], strict=True)]
    return out


def test_a_valid_table_passes_and_is_not_changed(table, frames):
    before = table.copy()
    assert manifest.validate(table)["label"].dtype == "int64"
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(manifest.validate(frames), frames)
    booleans = table.assign(label=table["label"].astype(bool))
    assert set(manifest.validate(booleans)["label"]) == {0, 1}


@pytest.mark.parametrize("column, value, message", [
    ("path", "/data/a.mp4", "inside the manifest's folder"),
    ("path", "../a.mp4", "inside the manifest's folder"),
    ("path", "x/../../a.mp4", "inside the manifest's folder"),
    ("path", "C:/a.mp4", "inside the manifest's folder"),
    ("path", "x\\a.mp4", "inside the manifest's folder"),
    ("path", "", "path is empty"),
    ("path", None, "path is missing"),
    ("mask_path", "/m.png", "mask_path is '/m.png'"),
    ("dataset", "toy/er", "no slash"),
    ("source_id", "", "source_id is empty"),
    ("video_id", 7, "use .astype"),
    ("label", 2, r"expected 0 \(real\) or 1 \(fake\)"),
    ("label", "1", "expected 0"),
    ("label", np.nan, "label is missing"),
    ("label", 0, 'does not agree with method .FS.; expected method "real" exactly'),
    ("method", "Real", "lower case for reals"),
    ("method", "real", "does not agree"),
    ("role", "test", 'unknown role .test., expected "fit", "select", "report"'),
    ("sha256", "xyz", "64 hexadecimal"),
    ("n_frames", -1, "whole number >= 0"),
    ("frame", 1.5, "whole number >= 0"),
])  # fmt: skip
def test_the_first_bad_row_is_named(table, column, value, message):
    defaults = {"mask_path": "", "sha256": "", "n_frames": 16, "frame": 0}
    if column in defaults:
        table[column] = defaults[column]
    table[column] = table[column].astype(object)
    for row in (4, 7):  # both fakes of method FS
        table.loc[row, column] = value
    with pytest.raises(ManifestError, match=message) as caught:
        manifest.validate(table)
    assert str(caught.value).startswith("row 4 (path") and "(2 such rows)" in str(caught.value)


def test_columns(table):
    with pytest.raises(ManifestError, match=r"missing columns \['role'\].*add them"):
        manifest.validate(table.drop(columns="role"))
    with pytest.raises(ManifestError, match="stands twice"):
        manifest.validate(pd.concat([table, table["path"]], axis=1))
    with pytest.raises(ManifestError, match="manifest.read"):
        manifest.validate("manifest.csv")


def test_rows_of_one_video(table, frames):
    twice = pd.concat([table, table.iloc[[5]].assign(path="other.mp4")])
    with pytest.raises(ManifestError, match="row 24 .*duplicated key"):
        manifest.validate(twice)
    with pytest.raises(ManifestError, match="duplicated key"):
        manifest.validate(pd.concat([frames, frames.iloc[[5]]]))
    two_faces = pd.concat([frames.assign(face=0), frames.iloc[[5]].assign(face=1)])
    assert len(manifest.validate(two_faces)) == len(frames) + 1
    frames.loc[5, "role"] = "report"
    with pytest.raises(ManifestError, match="row 5 .*role is 'report' but 'fit'.*'toy/NT/c23/000'"):
        manifest.validate(frames)


def test_one_path_with_two_labels(table):
    table.loc[1, "path"] = table.loc[0, "path"]
    with pytest.raises(ManifestError, match="row 1 .*both labels"):
        manifest.validate(table)


def test_missing_files(table, tmp_path):
    for path in table["path"].drop(index=6):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(ManifestError, match="row 6 .*does not exist under"):
        manifest.validate(table, root=tmp_path)
    assert manifest.audit(table, root=tmp_path).iloc[0].to_dict() == {
        "check": "missing_file",
        "severity": "error",
        "rows": (6,),
        "what": "1 files of column path do not exist",
    }
    (tmp_path / table["path"][6]).touch()
    assert len(manifest.validate(table, root=tmp_path)) == len(table)


def test_read_gives_back_what_write_wrote(frames, tmp_path):
    frames["video_id"] = [
        "NA" if v == "000" else "007" if v == "007" else v for v in frames["video_id"]
    ]
    frames["actor_id"] = "01"
    frames["yaw"] = np.linspace(-1, 1, len(frames)) / 3
    frames.loc[0, "yaw"] = np.nan
    frames["code"] = "0010"
    frames["n_frames"] = 16
    frames["clean"] = frames["label"] == 0
    path = tmp_path / "sub" / "manifest.csv"
    manifest.write(frames, path)
    pd.testing.assert_frame_equal(manifest.read(path), frames, check_dtype=False, check_exact=True)
    assert [p.name for p in path.parent.iterdir()] == ["manifest.csv"]


def test_write_refuses_a_bad_table_and_keeps_the_old_file(table, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("old")
    with pytest.raises(ManifestError):
        manifest.write(table.assign(role="test"), path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_read_errors(table, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the step"):
        manifest.read(tmp_path / "none.csv")
    path = tmp_path / "manifest.csv"
    for text in ("", "a,b\n1,2\n", 'a,b\n1,2,3,4\n"x\n'):
        path.write_text(text)
        with pytest.raises(ManifestError):
            manifest.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        manifest.read(path)
    table["label"] = table["label"].astype(object)
    table.loc[2, "label"] = "fake"
    table.to_csv(path, index=False)
    with pytest.raises(ManifestError, match="row 2 .*label is 'fake'"):
        manifest.read(path)


def test_an_empty_manifest_round_trips(table, tmp_path):
    manifest.write(table.iloc[:0], tmp_path / "m.csv")
    assert len(manifest.read(tmp_path / "m.csv")) == 0
    assert len(manifest.audit(table.iloc[:0])) == 0


def test_video_key_keeps_methods_apart(table):
    keys = manifest.video_key(table)
    assert keys[1] == "toy/FS/c23/000" and keys.nunique() == len(table)
    with pytest.raises(ManifestError, match="missing columns"):
        manifest.video_key(table.drop(columns="compression"))


def test_resolve(tmp_path):
    assert manifest.resolve(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    for bad in ("/etc/passwd", "../x", "a/../../x", "C:/x", "a\\b", "", None):
        with pytest.raises(ManifestError, match="relative path"):
            manifest.resolve(tmp_path, bad)


def slow_pairs(table, same):
    return [
        (i, j)
        for i, a in table.iterrows()
        if a["label"] == 0
        for j, b in table.iterrows()
        if b["label"] == 1 and all(a[name] == b[name] for name in same)
    ]


def test_pairs_against_a_loop(table, frames):
    table = pd.concat([table, table.assign(dataset="other")], ignore_index=True)
    table = table.drop(index=[0, 10]).sample(frac=1, random_state=0).reset_index(drop=True)
    got = manifest.pairs(table)
    assert list(got.itertuples(index=False, name=None)) == slow_pairs(
        table, ["dataset", "source_id"]
    )
    frames.index = [f"row{i}" for i in range(len(frames))]
    got = manifest.pairs(frames.drop(index="row3"))
    assert list(got.itertuples(index=False, name=None)) == slow_pairs(
        frames.drop(index="row3"), ["dataset", "source_id", "frame"]
    )
    assert manifest.pairs(table[table["label"] == 1]).empty
    with pytest.raises(ManifestError, match="reset_index"):
        manifest.pairs(table.set_index(np.zeros(len(table), int)))


def slow_components(table):
    """Merge sets of people until nothing changes."""
    sets = [
        {(r.dataset, r.source_id)} | ({(r.dataset, r.donor_id)} if r.donor_id else set())
        for r in table.itertuples()
    ]
    changed = True
    while changed:
        changed = False
        for a in sets:
            for b in sets:
                if a is not b and a & b and a != b:
                    a |= b
                    b |= a
                    changed = True
    return [min("/".join(p) for p in s) for s in sets]


def chain(rng, n=40, links=25):
    """Random fakes a_b, in two datasets whose ids are the same numbers."""
    rows = []
    for dataset in ("A", "B"):
        edges = rng.integers(n, size=(links, 2))
        for i in range(n):
            rows.append((dataset, "real", f"{i:03d}", f"{i:03d}", "", 0))
        for a, b in {tuple(e) for e in edges.tolist()}:
            rows.append((dataset, "FS", f"{a:03d}_{b:03d}", f"{a:03d}", f"{b:03d}", 1))
    table = pd.DataFrame(
        rows, columns=["dataset", "method", "video_id", "source_id", "donor_id", "label"]
    )
    table["path"] = table["dataset"] + "/" + table["method"] + "/" + table["video_id"]
    return table.assign(compression="", role="")


def test_components_against_a_loop(rng):
    table = chain(rng)
    assert list(manifest.components(table)) == slow_components(table)
    one = table.assign(dataset="")
    assert list(manifest.components(table, across_datasets=True)) == slow_components(one)


@pytest.mark.parametrize("across", [False, True])
def test_split_never_leaks_and_meets_the_shares(rng, across):
    shares = {"fit": 0.6, "select": 0.15, "report": 0.25}
    table = chain(rng, n=60, links=12)  # few links: many linked groups would be one giant
    got = manifest.split(table, shares, seed=0, across_datasets=across)
    scope = "" if across else got["dataset"]
    people = pd.concat(
        [
            pd.DataFrame({"who": scope + got["source_id"], "role": got["role"]}),
            pd.DataFrame({"who": scope + got["donor_id"], "role": got["role"]})[
                (got["donor_id"] != "").to_numpy()
            ],
        ]
    )
    assert (people.groupby("who")["role"].nunique() == 1).all()
    assert not manifest.audit(got)["check"].isin(["leak_source", "leak_donor"]).any()
    for role, share in shares.items():
        assert abs((got["role"] == role).mean() - share) < 0.08
    pd.testing.assert_frame_equal(got.drop(columns="role"), table.drop(columns="role"))


def test_split_depends_on_seed_and_ids_only(rng):
    table, shares = chain(rng), {"fit": 0.5, "report": 0.5}
    roles = manifest.split(table, shares, seed=1)["role"]
    shuffled = manifest.split(table.sample(frac=1, random_state=5), shares, seed=1)["role"]
    assert (shuffled.sort_index() == roles).all()
    assert (manifest.split(table, shares, seed=2)["role"] != roles).any()


@pytest.mark.parametrize("shares", [{"fit": 0.5}, {"fit": 1.5, "report": -0.5}, {"train": 1.0}, {}])
def test_split_refuses_shares(table, shares):
    with pytest.raises(ManifestError, match="sum to 1"):
        manifest.split(table, shares, seed=0)


def test_split_says_when_everything_is_linked(table):
    table["donor_id"] = "000"
    with pytest.raises(ManifestError, match="too few"):
        manifest.split(table, {"fit": 0.5, "report": 0.5}, seed=0)


def test_audit_is_silent_on_a_clean_table(table):
    assert manifest.audit(table).empty
    assert list(manifest.audit(table).columns) == ["check", "severity", "what", "rows"]


def findings(table):
    return manifest.audit(table).set_index("check")


def test_audit_finds_leaks(table):
    leak = table.copy()
    leak.loc[0, "role"] = "report"  # the real of source 000, whose fakes are in fit
    got = findings(leak)
    assert got.loc["leak_source", "severity"] == "error"
    assert got.loc["leak_source", "rows"] == (0, 1, 2)
    leak = table.copy()
    leak.loc[leak.index[1], "donor_id"] = "007"  # fit uses a report identity as donor
    assert set(findings(leak).loc["leak_donor", "rows"]) >= {1, 21}
    leak = table.copy()
    leak.loc[21, "path"] = leak.loc[0, "path"]
    assert findings(leak).loc["leak_path", "rows"] == (0, 21)
    leak = table.assign(sha256="")
    leak.loc[[0, 21], "sha256"] = "a" * 64
    got = findings(leak)
    assert got.loc["leak_sha256", "rows"] == (0, 21) and "two_labels" not in got.index
    leak.loc[1, "sha256"] = "a" * 64
    assert findings(leak).loc["two_labels", "rows"] == (0, 1, 21)
    two = pd.concat(
        [
            table,
            table.assign(
                dataset="b",
                path="b/" + table["path"],
                role=table["role"].map({"fit": "report", "select": "fit", "report": "select"}),
            ),
        ]
    )
    got = findings(two.reset_index(drop=True))
    assert list(got.index) == ["leak_across_datasets"]
    assert got.loc["leak_across_datasets", "severity"] == "warning"


def test_audit_finds_missing_pairs_and_imbalance(table):
    got = findings(table.drop(index=[0, 4, 5]))
    assert got.loc["unpaired_fake", "rows"] == (1, 2)
    assert got.loc["unpaired_real", "rows"] == (3,)
    got = findings(table[(table["label"] == 0) | (table["role"] != "select")])
    assert got.loc["single_class", "severity"] == "error" and got.index[0] == "single_class"
    more = pd.concat([table, table[table["method"] == "NT"].assign(method="DF")], ignore_index=True)
    got = findings(more).loc[["imbalance"]]
    assert len(got) == 3 and "'fit' has 4 real and 12 fake videos" in " ".join(got["what"])
    some = table.copy()
    some.loc[some["source_id"] == "003", "role"] = ""
    assert findings(some).loc["no_role", "rows"] == (9, 10, 11)
    assert manifest.audit(table.assign(role="")).empty


def test_audit_finds_shortcuts(table, frames):
    got = findings(table.assign(compression=np.where(table["label"] == 1, "c40", "c23")))
    assert got.loc["compression_shortcut", "severity"] == "warning"
    got = findings(frames.drop(index=[1]))
    assert got.loc["mixed_frame_counts", "rows"] == (0,)
    assert got.loc["mixed_frame_counts", "severity"] == "note"
    got = findings(table.assign(n_frames=np.where(table["label"] == 1, 7, 140)))
    assert got.loc["mixed_frame_counts", "severity"] == "warning"
