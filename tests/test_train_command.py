"""`gendkit train`: what it writes, what it refuses, and a kill -9 that changes no byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import TINY, make_crops
from transformers import CLIPVisionConfig, CLIPVisionModel

from gendkit import adapters, evaluate, experiments, metrics, repro
from gendkit.commands import train as command

FRAMES = [f"{number:03d}.png" for number in (0, 7)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A folder with a CLIP encoder in miniature."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    CLIPVisionModel(CLIPVisionConfig(**TINY)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of crops with roles."""
    root, table = make_crops(tmp_path_factory.mktemp("crops"))
    table.to_csv(root / "manifest.csv", index=False)
    return root / "manifest.csv"


@pytest.fixture
def words(backbone, data):
    """A short run of the example on the tiny crops."""
    settings = [f"backbone={backbone}", "batch_size=8", "learning_rate=0.03"]
    return ["example", "--data", str(data)] + [w for s in settings for w in ("--set", s)]


def test_the_example_writes_all_that_the_next_steps_read(words, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert command.main([*words, "--out", str(out), "--seed", "3", "--json"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert "epoch 3/3" in captured.err
    config = experiments.get("example").recipe
    history = pd.read_csv(out / "history.csv")
    assert summary["epochs"] == config.epochs == len(history) == 3
    record = repro.read_json(out / "run.json")
    assert record["experiment"] == "example" and record["config"]["seed"] == 3
    assert record["config"]["uniformity"] == 0.5 and record["config"]["batch_size"] == 8
    assert (out / record["run"] / "weights.safetensors").is_file()
    # The adapter and the scores are the same model.
    scores = evaluate.read_scores(out / "scores.csv")
    table = pd.read_csv(data, dtype={"compression": str})
    held = table[table["role"] != "fit"]
    assert len(scores) == len(held) and set(scores["role"]) == {"select", "report"}
    again = evaluate.score(adapters.load_adapter(out / "adapter"), held, data.parent, device="cpu")
    np.testing.assert_allclose(again["p_fake"], scores["p_fake"], atol=1e-6)
    select = metrics.video_scores(scores[scores["role"] == "select"])
    auroc = metrics.auroc(select["label"].to_numpy(), select["p_fake"].to_numpy())
    assert summary["select_auroc"] == pytest.approx(auroc)
    assert summary["select_auroc"] == pytest.approx(history["select_auroc"].max(), abs=1e-9)
    threshold = repro.read_json(out / "threshold.json")
    called = select["p_fake"] >= threshold["value"]
    assert summary["threshold"] == threshold["value"]
    assert threshold["false_alarms"] == int((called & (select["label"] == 0)).sum())
    assert {row["method"] for row in summary["report"]} >= {"DF", "NT", "pooled"}
    # A second call trains nothing.
    assert command.main([*words, "--out", str(out), "--seed", "3"]) == 0
    assert "loaded, nothing was trained" in capsys.readouterr().out


@pytest.mark.parametrize(("flag", "n_rows"), [("true", 1), ("false", 0)])
def test_the_head_starts_from_the_probe_unless_told_not_to(
    words, tmp_path, monkeypatch, flag, n_rows
):
    seen, start = [], adapters.init_head
    monkeypatch.setattr(
        adapters, "init_head", lambda model, x, y: seen.append(len(y)) or start(model, x, y)
    )
    settings = ["--set", "epochs=1", "--set", f"init_head={flag}"]
    assert command.main([*words, *settings, "--out", str(tmp_path)]) == 0
    assert seen == [36] * n_rows


def test_kill_9_in_the_middle_of_an_epoch_changes_no_byte(words, tmp_path):
    here = Path(__file__).resolve().parent
    out, whole = tmp_path / "killed", tmp_path / "whole"
    words = [*words, "--set", "keep_checkpoints=0"]  # so that the last epoch can be compared too
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
    }
    killed = subprocess.run(
        [sys.executable, "kill_worker.py", "9", *words, "--out", str(out)],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]
    (run,) = out.glob("run-*")
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["checkpoint-6"]
    assert not (out / "run.json").exists()
    assert command.main([*words, "--out", str(out)]) == 0
    assert command.main([*words, "--out", str(whole)]) == 0
    names = [f"{run.name}/weights.safetensors", "adapter/adapter_model.safetensors", "scores.csv"]
    names.append(f"{run.name}/checkpoints/checkpoint-18/adapter_model.safetensors")
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    histories = [
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (out, whole)
    ]
    pd.testing.assert_frame_equal(*histories)


def test_resume_takes_a_given_checkpoint(words, tmp_path, capsys):
    out = tmp_path / "a"
    assert command.main([*words, "--out", str(out), "--set", "keep_checkpoints=0"]) == 0
    (run,) = out.glob("run-*")
    given = run / "checkpoints" / "checkpoint-6"
    capsys.readouterr()
    longer = [*words, "--out", str(tmp_path / "b"), "--set", "epochs=4", "--resume", str(given)]
    assert command.main([*longer, "--json"]) == 0
    captured = capsys.readouterr()
    assert "going on from checkpoint-6" in captured.err
    assert json.loads(captured.out)["epochs"] == 4
    assert command.main([*words, "--out", str(out), "--resume", str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["exmaple"], "there is no experiment 'exmaple'; nearest: example"),
        (["example", "--set", "epoch=2"], "unknown setting 'epoch'; did you mean 'epochs'"),
        (["example", "--set", "lr=1"], "the official 'lr' is 'learning_rate' here"),
        (["example", "--set", "epochs=two"], "epochs='two': expected a whole number"),
        (["example", "--set", "augment=maybe"], "augment='maybe': expected true or false"),
        (["example", "--set", "epochs"], "expected key=value"),
        (["example", "--set", "head=norm"], "head='norm': expected one of LinearNorm, linear"),
        (["example", "--set", "backbone=clip"], "Unknown backbone 'clip'"),
        (["example", "--set", "seed=1", "--seed", "2"], "--seed 2 and --set seed=1 disagree"),
        (["example", "--set", "min_learning_rate=1"], "the floor must be at most the peak"),
        (["example-test"], "example-test trains nothing, it tests run:example-training"),
    ],
)
def test_wrong_use_is_2_and_says_what_is_meant(more, message, capsys):
    assert command.main(more) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def official_tree(root, frames=True):
    """Write the lists of `example-training` and the frames they name."""
    rng = np.random.default_rng(0)
    for method in ("DF", "F2F", "FS", "NT", "real"):
        lines = []
        for video in ("000", "001"):
            name = video if method == "real" else f"{video}_00{1 - int(video)}"
            for frame in FRAMES:
                path = f"datasets/FF/{method}/{name}/{frame}"
                lines.append(path)
                if frames:
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    face = rng.integers(0, 200, (30, 30, 3), dtype=np.uint8)
                    face[..., 0] += 0 if method == "real" else 50
                    Image.fromarray(face).save(root / path)
        target = root / "config/datasets/FF/test" / f"{method}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join([*lines, lines[0], ""]), "utf-8")  # one line twice
    return root


def test_an_official_run_reads_the_official_lists(backbone, tmp_path, capsys):
    root = official_tree(tmp_path / "root")
    words = ["example-training", "--data", str(root), "--out", str(tmp_path / "out"), "--json"]
    words += ["--set", f"backbone={backbone}"]
    assert command.main(words) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["profile"], summary["n_fit"], summary["n_select"]) == ("full", 20, 20)
    record = repro.read_json(tmp_path / "out" / "run.json")
    official = experiments.get("example-training").settings
    assert record["config"]["precision"] == "bf16" and not record["config"]["paired"]
    assert record["config"]["batch_size"] == official["batch_size"] == 2
    scores = evaluate.read_scores(tmp_path / "out" / "scores.csv")
    assert (scores["label"] == (scores["method"] != "real")).all() and len(scores) == 20
    assert sorted(set(scores["frame"])) == [0, 7] and "report" not in summary


def test_lists_are_read_by_the_source_folder_and_each_frame_once(tmp_path):
    root = official_tree(tmp_path)
    beside = root / "lists"
    (beside / "clips/x/Real3DPortrait/7").mkdir(parents=True)
    (beside / "clips/x/Real3DPortrait/7/1.png").write_bytes(b"")
    (beside / "other.txt").write_text("clips/x/Real3DPortrait/7/1.png\n", "utf-8")
    lists = {"fit": ("config/datasets/FF/test/real.txt", "lists/other.txt")}
    table = command.read_lists(root, lists)
    assert len(table) == 5 and set(table["role"]) == {"fit"}
    assert table["label"].tolist() == [0, 0, 0, 0, 1]
    assert table["path"].iloc[-1] == "lists/clips/x/Real3DPortrait/7/1.png"
    assert all((root / path).is_file() for path in table["path"])
    assert table["source_id"].tolist()[:4] == ["000", "000", "001", "001"]
    (beside / "other.txt").write_text("../../outside/x/real/7/1.png\n", "utf-8")
    with pytest.raises(ValueError, match="inside the manifest's folder"):
        command.read_lists(root, lists)
    (beside / "other.txt").write_text("\n", "utf-8")
    with pytest.raises(ValueError, match="other.txt names no frame"):
        command.read_lists(root, lists)


def test_missing_official_files_are_named(tmp_path, capsys):
    assert command.main(["example-training"]) == 1
    error = capsys.readouterr().err
    assert "needs its data: pass --data ROOT" in error and "config/datasets/FF/test/DF.txt" in error
    root = official_tree(tmp_path, frames=False)
    assert command.main(["example-training", "--data", str(root)]) == 1
    error = capsys.readouterr().err
    assert "name 20 frames, but 20 files are missing" in error
    assert str(root / "datasets/FF/DF/000_001/000.png") in error
    (root / "config/datasets/FF/test/NT.txt").unlink()
    assert command.main(["example-training", "--data", str(root)]) == 1
    error = capsys.readouterr().err
    assert "5 official lists are needed, but 1 files are missing" in error
    assert error.rstrip().endswith(str(root / "config/datasets/FF/test/NT.txt"))


def test_manifests_of_two_folders_become_one_table(data, tmp_path):
    other, table = make_crops(tmp_path / "other")
    table.to_csv(other / "manifest.csv", index=False)
    crops, root = command._read_or_extract([data, other / "manifest.csv"], 2, 1)
    assert len(crops) == 2 * len(table) and all((root / path).is_file() for path in crops["path"])
    assert crops["table"].value_counts().tolist() == [72, 72]


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    assert "torchrun" in capsys.readouterr().out
