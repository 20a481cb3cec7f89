"""official: other code's scores in and out; a pickle is never allowed to do anything."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gendkit import evaluate, metrics, official


@pytest.fixture(scope="module")
def parity(request):
    from pathlib import Path

    return json.loads((Path(__file__).parent / "data" / "metrics.json").read_text())


def predictions(case, path):
    """Write a case as the official code does, but with every digit."""
    real, fake = (np.array(case["probs"])[:, k] for k in (0, 1))
    columns = {"files": case["files"], "labels": case["labels"]}
    table = pd.DataFrame({**columns, "prob_class_0": real, "prob_class_1": fake})
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("k", range(3))
def test_numbers_of_a_predictions_file_equal_the_official_ones(parity, tmp_path, k, how):
    scores = official.read_predictions(predictions(parity[k], tmp_path / "test_predictions.csv"))
    assert len(scores) == len(parity[k]["files"]) and (scores["role"] == "report").all()
    assert scores["path"].tolist() == parity[k]["files"]
    assert scores["frame"].tolist() == [int(f[-7:-4]) for f in parity[k]["files"]]
    for level, name in (("frame", "frame"), ("video", f"video_{how}")):
        table = evaluate.measure(scores, how=how, level=level, n_bootstrap=5)
        row, want = table.set_index("method").loc[evaluate.POOLED], parity[k][name]
        got = {
            "auroc": row["auroc"], "mAP": row["map"], "eer": row["eer"], "w1": row["w1"],
            "eer_threshold": row["oracle_threshold"], "acc": row["oracle_accuracy"],
            "balanced_acc": row["oracle_balanced_accuracy"], "f1": row["oracle_f1"],
        }  # fmt: skip
        for key, value in got.items():
            expected = want[key][1] if key == "w1" else want[key]
            assert abs(value - expected) < 1e-9, (key, value, expected)
        for fpr, tpr in want["tpr_at_fpr"].items():
            assert abs(row[f"tpr@fpr={float(fpr)}"] - tpr) < 1e-9


def test_predictions_come_back(parity, tmp_path):
    scores = official.read_predictions(predictions(parity[1], tmp_path / "a.csv"))
    official.write_predictions(scores, tmp_path / "b.csv", decimals=None)
    pd.testing.assert_frame_equal(official.read_predictions(tmp_path / "b.csv"), scores)
    official.write_predictions(scores, tmp_path / "c.csv")
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "files,labels,prob_class_0,prob_class_1"
    real, fake = parity[1]["probs"][0]
    assert lines[1] == f"{parity[1]['files'][0]},{parity[1]['labels'][0]},{real:.4f},{fake:.4f}"


def test_a_table_of_the_kit_goes_out_and_in(tiny_scores, tmp_path):
    scores = tiny_scores.drop(columns="path")
    official.write_predictions(scores, tmp_path / "a.csv", decimals=None)
    back = official.read_predictions(tmp_path / "a.csv")
    names = [*metrics.KEY, "frame", "label"]
    pd.testing.assert_frame_equal(back[names], scores[names], check_dtype=False)
    np.testing.assert_allclose(back["p_fake"], scores["p_fake"], atol=1e-15)


def test_names_of_the_public_benchmarks():
    files = [
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/012.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/000/012.png",
        "/data/CDFv2/Celeb-synthesis/id0_id1_0000/000.png",
        "/data/CDFv2/YouTube-real/00000/000.png",
        "C:\\data\\CDFv2\\Celeb-real\\id0_0000\\000.png",
        "CDFv3/Real3DPortrait/v/1.png",
    ]
    table = official.table_of(files, [1, 0, 1, 0, 0, 1], np.linspace(0, 1, 6))
    got = table[["dataset", "method", "compression", "video_id", "source_id", "label"]]
    assert got.to_numpy().tolist() == [
        ["FaceForensics++", "Deepfakes", "c23", "000_003", "000", 1],
        ["FaceForensics++", "real", "c23", "youtube/000", "000", 0],
        ["CDFv2", "Celeb-synthesis", "", "id0_id1_0000", "id0", 1],
        ["CDFv2", "real", "", "YouTube-real/00000", "00000", 0],
        ["CDFv2", "real", "", "Celeb-real/id0_0000", "id0", 0],
        ["CDFv3", "Real3DPortrait", "", "v", "v", 1],  # "Real" in a name makes nothing real
    ]


def test_frames_are_told_apart_and_folders_too():
    files = ["s/FF/DF/v/a.png", "s/FF/DF/v/b.png", "x/t/FF/DF/v/a.png", "x/t/FF/real/w/f_7.png"]
    table = official.table_of(files, [1, 1, 1, 0], [0.5] * 4)
    assert table["dataset"].tolist() == ["s-FF", "s-FF", "t-FF", "t-FF"]
    assert table["frame"].tolist() == [0, 1, 0, 7]
    assert metrics.video_scores(table)["n_frames"].tolist() == [2, 1, 1]
    with pytest.raises(ValueError, match="ends in dataset/source/video/frame.png"):
        official.table_of(["DF/v/a.png"], [1], [0.5])
    with pytest.raises(ValueError, match="is there twice"):
        official.table_of(files[:1] * 2, [1, 1], [0.5, 0.5])


def test_reals_are_borrowed():
    files = [f"CDFv2/{s}/{v}/0.png" for s in ("Celeb-real", "YouTube-real") for v in "ab"]
    files += [f"DFDM/dfl/{v}/0.png" for v in "ab"] + ["CDFv2/Celeb-synthesis/c/0.png"]
    scores = official.table_of(files, [0] * 4 + [1] * 3, [0.1, 0.6, 0.3, 0.9, 0.5, 0.7, 0.8])
    with pytest.raises(ValueError, match="DFDM/ has 0 real and 2 fake videos.*borrow"):
        evaluate.measure(scores, n_bootstrap=5)
    more = official.borrow_reals(scores, "DFDM", "CDFv2/Celeb-real")
    table = evaluate.measure(more, n_bootstrap=5).set_index(["dataset", "method"])
    assert table.loc[("DFDM", "dfl"), "n_real"] == 2
    assert table.loc[("DFDM", "dfl"), "auroc"] == 3 / 4  # 0.5, 0.7 against 0.1, 0.6
    assert table.loc[("CDFv2", "Celeb-synthesis"), "n_real"] == 4
    every = official.borrow_reals(scores, "DFDM", "CDFv2")
    assert (every["dataset"] == "DFDM").sum() == 6
    for dataset, source in (("DFD", "CDFv2"), ("DFDM", "CDFv2/none"), ("DFDM", "FF")):
        with pytest.raises(ValueError, match="datasets here: CDFv2, DFDM"):
            official.borrow_reals(scores, dataset, source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("files,labels,prob_class_0,prob_class_1\n", "has no rows"),
        ("files,labels,prob_class_0\na/b/c/1.png,0,1\n", r"lacks the columns \['prob_class_1'\]"),
        ("files,labels,prob_class_0,prob_class_1\na/b/c/1.png,2,0,1\n", "line 2: label '2'"),
        ("files,labels,prob_class_0,prob_class_1\na/b/c/1.png,1,0,nan\n", "line 2: got .*'nan'"),
        ("files,labels,prob_class_0,prob_class_1\na/b/c/1.png,1,0,1.2\n", "probabilities in"),
    ],
)
def test_bad_predictions(tmp_path, text, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        official.read_predictions(path)


def test_several_fake_classes_are_one(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "files,labels,prob_class_0,prob_class_1,prob_class_2\n"
        "a/DF/v/1.png,1,0.2,0.3,0.5\na/real/v/1.png,0,0.7,0.2,0.1\n"
    )
    assert official.read(path, "official")["p_fake"].tolist() == [0.5, 0.2]
    with pytest.raises(ValueError, match="expected one of kit, official, deepfakebench"):
        official.read(path, "xml")


# ---------------------------------------------------------------- pickles


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_come_back(tmp_path, protocol):
    content = {
        "pred": np.linspace(0, 1, 5, dtype=np.float32),
        "label": np.array([0, 1, 1, 0, 1]),
        "grid": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "none": np.zeros(0),
        "names": np.array(["a", "bc"]),
        "auc": np.float64(0.1) + 0.2,
        "list": [1, 2.5, "three", None, True, (4, b"5")],
    }
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    back = official.read_pickle(path)
    assert back.keys() == content.keys()
    for name in ("pred", "label", "grid", "big", "none", "names"):
        np.testing.assert_array_equal(back[name], content[name])
        assert back[name].dtype == content[name].dtype and back[name].shape == content[name].shape
    assert back["auc"] == content["auc"] and back["list"] == content["list"]


class Bomb:
    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Bomb((os.system, ("touch RAN",))), "posix.system|nt.system"),
        (Bomb((eval, ("1 + 1",))), "builtins.eval"),
        ({"pred": [Bomb((subprocess.run, (["touch", "RAN"],)))]}, "subprocess.run"),
        (Bomb((getattr, ("a", "upper"))), "builtins.getattr"),
        (Bomb((np.load, ("RAN",))), "numpy.*load"),
        (Bomb((np.dtype, ("O",))), "_Kind|a list|asks for"),
        (np.array([{"a": 1}], dtype=object), "an array of objects"),
        (np.zeros(2, dtype="f8,i4"), "an array of"),
        ({1, 2}, "a set"),
        (pd.Series([1.0]), "pandas"),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=f"asks for .*({name}).*refused"):
        official.read_pickle(path)
    assert not (tmp_path / "RAN").exists()


def test_a_torch_file_and_damaged_ones(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(b"\x80\x02X\x07\x00\x00\x00storageq\x00\x85q\x01Q.")  # a persistent id
    with pytest.raises(ValueError, match="torch file"):
        official.read_pickle(path)
    for damaged in (b"", b"not a pickle", pickle.dumps(np.arange(9.0))[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be read as a pickle"):
            official.read_pickle(path)
    short = pickle.dumps(np.arange(4.0), protocol=2).replace(b"K\x04\x85", b"K\x05\x85")
    path.write_bytes(short)
    with pytest.raises(ValueError, match="cannot be read as a pickle"):
        official.read_pickle(path)
    own = [1]
    own.append(own)
    path.write_bytes(pickle.dumps(own))
    with pytest.raises(ValueError, match="a list that holds itself"):
        official.read_pickle(path)
    with pytest.raises(FileNotFoundError):
        official.read_pickle(tmp_path / "none")


def test_shared_lists_stay_cheap(tmp_path):
    deep = ["x"]
    for _ in range(40):
        deep = [deep, deep]  # 2 ** 40 leaves if each were copied
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(deep))
    assert len(official.read_pickle(tmp_path / "a.pickle")) == 2


def deepfakebench(folder, parity, **changes):
    case = parity[0]
    found = {
        "acc": 0.5, "auc": np.float64(0.8), "eer": 0.2,
        "pred": np.array(case["probs"])[:, 1].astype(np.float32),
        "label": np.array(case["labels"]) * 3, **changes,
    }  # fmt: skip
    names = {"image": case["files"], "label": case["labels"], "mask": [None] * len(case["files"])}
    (folder / "metric_dict_best.pickle").write_bytes(pickle.dumps(found))
    (folder / "data_dict_test.pickle").write_bytes(pickle.dumps(names))
    return folder / "metric_dict_best.pickle"


def test_deepfakebench(parity, tmp_path):
    scores = official.read(deepfakebench(tmp_path, parity), "deepfakebench")
    table = evaluate.measure(scores, n_bootstrap=5).set_index("method")
    # float32 scores: the ranks, and so the AUROC, are those of the doubles
    want = parity[0]["video_mean"]["auroc"]
    assert table.loc[evaluate.POOLED, "auroc"] == pytest.approx(want, abs=1e-9)
    with pytest.raises(ValueError, match="3 scores and 314 labels"):
        official.read(deepfakebench(tmp_path, parity, pred=np.zeros(3)), "deepfakebench")
    (tmp_path / "data_dict_test.pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"lacks \['image'\]"):
        official.read(tmp_path / "metric_dict_best.pickle", "deepfakebench")
    (tmp_path / "data_dict_test.pickle").unlink()
    with pytest.raises(FileNotFoundError, match="data_dict_"):
        official.read(tmp_path / "metric_dict_best.pickle", "deepfakebench")


def test_the_module_loads_no_torch():
    code = "import sys, gendkit.official; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
