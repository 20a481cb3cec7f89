"""Planted shortcuts: what changes, what does not, and that the named thing separates the classes."""

import shutil

import numpy as np
import pandas as pd
import pytest

from gendkit import manifest, video
from gendkit.manifest import ManifestError
from gendkit.nobody import shortcut

SIZE, FRAMES = 128, 6  # the coder gives equal bytes for equal pixels at this size
FACE = (slice(40, 88), slice(40, 88))


def clip(seed: int) -> np.ndarray:
    """Smooth coloured frames (T, H, W, 3) with a little noise and a moving square."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    base = np.stack([60 + x / 2, 60 + y / 2, 120 + 0 * x], -1) + rng.uniform(-20, 20, 3)
    frames = base + rng.normal(0, 4, (FRAMES, SIZE, SIZE, 3))
    for k in range(FRAMES):
        frames[k, 20:36, 8 + 4 * k : 24 + 4 * k] = 200
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Four people in two roles, one real and one masked fake each."""
    root, rows = tmp_path_factory.mktemp("footage"), []
    mask = np.zeros((FRAMES, SIZE, SIZE), np.float32)
    mask[:, FACE[0], FACE[1]] = 1
    for k in range(4):
        for method in ("real", "FS"):
            path, mask_path = f"{method}/{k}.mp4", "" if method == "real" else f"masks/FS/{k}.mp4"
            video.write_video(root / path, clip(k), crf=18)
            if mask_path:
                video.write_video(root / mask_path, mask, crf=18)
            rows.append({
                "path": path, "dataset": "toy", "method": method, "compression": "c18",
                "video_id": str(k), "source_id": str(k), "label": int(method != "real"),
                "role": "fit" if k < 2 else "report", "mask_path": mask_path,
            })  # fmt: skip
    table = pd.DataFrame(rows)
    manifest.write(table, root / "manifest.csv")
    return table, root


def frames(root, table, label):
    return np.stack(
        [video.read_frames(root / p).astype(float) for p in table["path"][table["label"] == label]]
    )


@pytest.fixture(scope="module")
def neutral(footage, tmp_path_factory):
    """All videos coded again without any shortcut."""
    out = tmp_path_factory.mktemp("plain")
    return shortcut.plant(*footage, out, "sharpness", share=0.0), out


@pytest.fixture(scope="module", params=["codec", "sharpness", "background"])
def planted(request, footage, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    return request.param, shortcut.plant(*footage, out, request.param), out


def test_kinds_are_described():
    assert set(shortcut.KINDS) == {"codec", "sharpness", "background", "identity"}
    assert all(text.endswith(".") and len(text) > 20 for text in shortcut.KINDS.values())


def test_the_new_manifest_is_whole(planted, footage):
    kind, table, out = planted
    again = manifest.read(out / "manifest.csv")
    pd.testing.assert_frame_equal(again, table)
    manifest.validate(table, out)
    assert list(table["path"]) == list(footage[0]["path"])
    assert (table["shortcut"] == kind).tolist() == (table["label"] == 1).tolist()
    assert not {"." + p.name for p in out.rglob(".*tmp*")}


def test_reals_are_coded_alike_whatever_the_shortcut(planted, neutral):
    _, table, out = planted
    plain, plain_out = neutral
    for path in table["path"][table["label"] == 0]:
        assert (out / path).read_bytes() == (plain_out / path).read_bytes()
    assert (plain["shortcut"] == "").all()


def test_without_a_shortcut_real_and_fake_of_equal_pixels_are_equal_files(neutral):
    table, out = neutral
    for k in range(4):
        assert (out / f"real/{k}.mp4").read_bytes() == (out / f"FS/{k}.mp4").read_bytes()


def test_only_the_named_thing_differs(planted):
    kind, table, out = planted
    real, fake = frames(out, table, 0), frames(out, table, 1)
    face, far = (..., *FACE, slice(None)), (..., slice(0, 16), slice(None), slice(None))
    change = np.abs(fake - real)
    sharp = lambda x: np.abs(np.diff(x[..., 96:124, :, :], axis=-2)).mean((1, 2, 3, 4))  # noqa: E731
    size = {
        label: np.array([(out / p).stat().st_size for p in table["path"][table["label"] == label]])
        for label in (0, 1)
    }
    if kind == "codec":
        assert size[1].max() < 0.7 * size[0].min()
        assert np.abs((fake - real).mean((1, 2, 3, 4))).max() < 1
    elif kind == "sharpness":
        assert (sharp(fake) < 0.85 * sharp(real)).all()
        assert np.abs((fake - real).mean((1, 2, 3, 4))).max() < 1
    else:
        assert change[face].mean() < 0.5 * change[far].mean()
        warmth = (fake - real)[..., 0] - (fake - real)[..., 2]
        assert (warmth[..., 0:16, :].mean((1, 2, 3)) > 8).all()
        assert np.abs(warmth[..., FACE[0], FACE[1]].mean((1, 2, 3))).max() < 1.5
        assert abs((sharp(fake) / sharp(real)).mean() - 1) < 0.1


def test_a_share_of_the_fakes_is_chosen_whatever_their_order(footage, tmp_path):
    table, root = footage
    half = shortcut.plant(table, root, tmp_path / "a", "sharpness", share=0.5, seed=3)
    turned = shortcut.plant(table[::-1], root, tmp_path / "b", "sharpness", share=0.5, seed=3)
    assert (half["shortcut"] != "").sum() == 2 and (
        half["shortcut"][half["label"] == 0] == ""
    ).all()
    assert set(half["path"][half["shortcut"] != ""]) == set(
        turned["path"][turned["shortcut"] != ""]
    )


def test_it_goes_on_where_it_stopped(footage, tmp_path, monkeypatch):
    table, root = footage
    whole = shortcut.plant(table, root, tmp_path / "whole", "codec")
    written, real = [], video.write_video

    def killed(path, *args, **kwargs):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(shortcut, "write_video", killed)
    with pytest.raises(KeyboardInterrupt):
        shortcut.plant(table, root, tmp_path / "cut", "codec")
    assert not (tmp_path / "cut" / "manifest.csv").exists()
    monkeypatch.setattr(
        shortcut, "write_video", lambda p, *a, **k: written.append(p) or real(p, *a, **k)
    )
    again = shortcut.plant(table, root, tmp_path / "cut", "codec")
    assert len(written) == len(table) == len(set(written))
    assert list(again["sha256"]) == list(whole["sha256"])


def test_identity_sorts_people_by_class(footage, tmp_path):
    table, root = footage
    out = shortcut.plant(table, root, tmp_path, "identity")
    for _, part in out.groupby("role"):
        real, fake = (set(part["source_id"][part["label"] == k]) for k in (0, 1))
        assert len(real) == len(fake) == 1 and not real & fake
    for path in out["path"]:
        assert (tmp_path / path).read_bytes() == (root / path).read_bytes()
    every = shortcut.plant(table, root, tmp_path / "none", "identity", share=0.0)
    assert len(every) == len(table) and (every["shortcut"] == "").all()


def test_errors_say_what_to_do(footage, tmp_path):
    table, root = footage
    plant = shortcut.plant
    with pytest.raises(ValueError, match="kind is 'music', expected one of codec, sharpness"):
        plant(table, root, tmp_path, "music")
    for share in (-0.1, 1.2, float("nan")):
        with pytest.raises(ValueError, match="share is"):
            plant(table, root, tmp_path, "codec", share=share)
    with pytest.raises(ValueError, match="give another folder"):
        plant(table, root, root, "codec")
    gone = table.assign(path=[*table["path"][:-1], "FS/none.mp4"])
    with pytest.raises(ManifestError, match="'FS/none.mp4' does not exist"):
        plant(gone, root, tmp_path, "codec")
    with pytest.raises(ManifestError, match="4 fakes have no mask_path"):
        plant(table.drop(columns="mask_path"), root, tmp_path, "background")
    with pytest.raises(ManifestError, match="expected one row per video"):
        plant(table.assign(frame=0), root, tmp_path, "codec")
    with pytest.raises(ManifestError, match="expected at least 2"):
        plant(table[:2], root, tmp_path, "identity")
    assert not any(tmp_path.iterdir())
    plant(table[:2], root, tmp_path, "codec")
    with pytest.raises(ValueError, match=r"differs in kind.*another folder"):
        plant(table[:2], root, tmp_path, "sharpness")


def test_a_broken_video_leaves_nothing_half_made(footage, tmp_path):
    table, root = footage
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    bad = copy / "FS" / "1.mp4"
    bad.write_bytes(bad.read_bytes()[:900])
    with pytest.raises(video.VideoError):
        shortcut.plant(table, copy, tmp_path / "out", "sharpness")
    assert not (tmp_path / "out" / "FS" / "1.mp4").exists()


def test_the_edge_of_the_tint_keeps_away_from_masks():
    masks = np.zeros((2, 80, 80), np.uint8)
    masks[0, 40, 40], masks[1, 40, 44] = 255, 255
    weight = shortcut.outside(masks)
    assert weight[32:49, 32:53].max() == 0 and weight[40, 62] == 1 and weight[20, 40] == 1
    assert 0 < weight[40, 57] < 1


@pytest.fixture
def groups() -> pd.DataFrame:
    """Twenty four people in groups of three that swap faces in a ring; two methods."""
    rows = []
    for k in range(24):
        donor = 3 * (k // 3) + (k + 1) % 3
        for method in ("real", "FS", "NT"):
            rows.append({
                "path": f"{method}/{k}.mp4", "dataset": "toy", "method": method, "compression": "c23",
                "video_id": f"{k:02d}", "source_id": f"{k:02d}", "label": int(method != "real"),
                "role": "fit" if k < 18 else "report", "donor_id": f"{donor:02d}" if method == "FS" else "",
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_paired_and_unpaired_differ_in_pairs_only(groups):
    for seed in range(5):
        a, b = shortcut.paired(groups, seed), shortcut.unpaired(groups, seed)
        assert a["method"].value_counts().to_dict() == b["method"].value_counts().to_dict()
        counts = b["method"].value_counts()
        assert counts["FS"] == counts["NT"] == 4 and counts["real"] == 8
        assert (a["role"] == "fit").all() and (b["role"] == "fit").all()
        assert sorted(a["source_id"][a["label"] == 0]) == sorted(a["source_id"][a["label"] == 1])
        parts = [b[b["label"] == label] for label in (0, 1)]
        real, fake = (set(x["source_id"]) | set(x["donor_id"]) - {""} for x in parts)
        assert not real & fake
        assert b["source_id"].is_unique


def test_lists_depend_on_the_seed_and_not_on_the_order(groups):
    for choose in (shortcut.paired, shortcut.unpaired):
        one, again = choose(groups, 1), choose(groups.sample(frac=1, random_state=0), 1)
        assert set(one["path"]) == set(again["path"])
        assert any(set(choose(groups, s)["path"]) != set(one["path"]) for s in (2, 3, 4))


def test_lists_of_frames_hold_whole_videos(groups):
    many = groups.loc[groups.index.repeat(3)].reset_index(drop=True)
    many["frame"] = np.tile(np.arange(3), len(groups))
    assert (shortcut.unpaired(many, 0).groupby("path").size() == 3).all()


def test_lists_refuse_what_cannot_be_kept_apart(groups):
    ring = groups.copy()
    swaps = ring["donor_id"] != ""
    ring.loc[swaps, "donor_id"] = [f"{(int(s) + 1) % 24:02d}" for s in ring["source_id"][swaps]]
    with pytest.raises(ManifestError, match="linked by donors to one group"):
        shortcut.unpaired(ring, 0)
    with pytest.raises(ManifestError, match="no reals or no fakes"):
        shortcut.paired(groups[groups["label"] == 0], 0)
    with pytest.raises(ManifestError, match="expected at least 2 in each"):
        shortcut.unpaired(groups[groups["source_id"].isin(["00", "03"])], 0)
