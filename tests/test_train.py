"""The training run: schedule, batches, choice of the epoch, and restarts that change nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from tiny import FAST, make_crops, same, tiny_model, tuned
from torch import nn
from transformers import TrainerCallback

from gendkit import adapters, backbones, evaluate, metrics, recipe, train
from gendkit.datasets import CropDataset, RandomBatchSampler
from gendkit.losses import GenDLoss

LOGGED = 1e-5 if int(transformers.__version__.split(".")[0]) >= 5 else 6e-5  # 4 rounds the loss


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return make_crops(tmp_path_factory.mktemp("crops"))


class Kill(TrainerCallback):
    """End the process, as far as Trainer can tell, after some updates."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_schedule_equals_torch():
    """The official schedule: LinearLR over epoch 1, then restarts every 10 epochs, per step."""
    config, per_epoch = train.TrainConfig.paper(), 7
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=3e-4)
    parts = [
        torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1e-5 / 3e-4, total_iters=per_epoch
        ),
        torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=70, eta_min=1e-5),
    ]
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[per_epoch])
    for step in range(30 * per_epoch):
        expected = optimizer.param_groups[0]["lr"]
        assert train.learning_rate(step, per_epoch, config) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        schedule.step()
    restarts = [
        step
        for step in range(1, 30 * per_epoch)
        if train.learning_rate(step, per_epoch, config) == 3e-4
    ]
    assert restarts == [1 * per_epoch, 11 * per_epoch, 21 * per_epoch]


def test_one_cycle_ends_near_the_floor():
    config = train.TrainConfig(epochs=4, warmup_epochs=1, cycle_epochs=0)
    rates = [train.learning_rate(step, 10, config) for step in range(40)]
    assert rates[0] == config.min_learning_rate and max(rates) == rates[10]
    assert rates[10] == pytest.approx(config.learning_rate)
    assert rates[-1] < 1.1 * config.min_learning_rate and np.all(np.diff(rates[10:]) < 0)
    first = train.learning_rate(0, 10, train.TrainConfig(warmup_epochs=0))
    assert first == pytest.approx(config.learning_rate)


def test_config_errors_and_paper_values():
    paper = train.TrainConfig.paper(seed=3)
    assert (paper.epochs, paper.batch_size, paper.alignment, paper.uniformity) == (
        30,
        128,
        0.1,
        0.5,
    )
    assert (paper.learning_rate, paper.min_learning_rate) == (3e-4, 1e-5)
    assert paper.seed == 3 and paper.precision == "bf16" and not paper.paired
    for wrong in (
        {"epochs": 0},
        {"precision": "fp8"},
        {"select_metric": "loss"},
        {"learning_rate": 0},
    ):
        with pytest.raises(ValueError, match="must be|expected"):
            train.TrainConfig(**wrong)


@pytest.fixture(scope="module")
def run(crops, tmp_path_factory):
    root, table = crops
    model = tiny_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    out = tmp_path_factory.mktemp("runs")
    return start, train.train(model, table, root, FAST, out), out


def test_training_learns_and_keeps_the_best_epoch(run, crops):
    root, table = crops
    _, result, _ = run
    history = result.history
    assert history["epoch"].tolist() == [1, 2, 3] and history["step"].tolist() == [6, 12, 18]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert result.best["select_auroc"] == history["select_auroc"].max() > 0.7
    assert not result.loaded and result.seconds > 0 and not result.model.training
    # Scored again, the model gives the number that chose the epoch.
    scores = evaluate.score(result.model, table[table["role"] == "select"], root, device="cpu")
    videos = metrics.video_scores(scores)
    auroc = metrics.auroc(videos["label"].to_numpy(), videos["p_fake"].to_numpy())
    assert auroc == pytest.approx(result.best["select_auroc"], abs=1e-9)


def test_only_the_tuned_weights_move(run):
    start, result, _ = run
    names = {name for name, value in result.model.named_parameters() if value.requires_grad}
    assert names
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, start[name]) == (name not in names), name


def test_loss_parts_and_learning_rate_are_logged(run):
    history = run[1].history
    parts = [name for name in history if name.startswith("loss_")]
    assert {"loss_alignment", "loss_uniformity"} <= set(parts)
    entropy = next(name for name in parts if name not in ("loss_alignment", "loss_uniformity"))
    total = (
        history[entropy]
        + FAST.alignment * history["loss_alignment"]
        + FAST.uniformity * history["loss_uniformity"]
    )
    np.testing.assert_allclose(total, history["loss"], rtol=1e-4, atol=LOGGED)
    assert {"learning_rate", "select_map", "select_loss", "seconds"} <= set(history)
    assert history.isna().sum().sum() == 0


def test_a_finished_run_is_loaded(run, crops, capsys):
    root, table = crops
    _, result, out = run
    again = train.train(tiny_model(), table, root, FAST, out)
    assert again.loaded and "nothing was trained" in capsys.readouterr().out
    assert same(tuned(again.model), tuned(result.model)) and again.best == result.best
    pd.testing.assert_frame_equal(again.history, result.history)
    assert not (result.folder / "checkpoints").exists()
    record = json.loads((result.folder / "run.json").read_text())
    assert record["config"]["batch_size"] == 8 and record["n_fit"] == 36


def fingerprint(model, table, root, config=FAST, **more):
    data = recipe.data_fingerprint(table, root)
    return train.run_fingerprint(data, recipe.start_fingerprint(model), config, **more)


def test_the_fingerprint_sees_every_cause(crops, tmp_path):
    root, table = crops
    fit = table[table["role"] == "fit"]
    copy = tmp_path / "crops"
    shutil.copytree(root, copy)
    first = fingerprint(tiny_model(), fit, root)
    same_run = replace(FAST, report_to=("wandb",), workers=2, keep_checkpoints=0)
    assert first == fingerprint(tiny_model(), fit, copy, same_run)
    others = [
        fingerprint(tiny_model(seed=1), fit, root),
        fingerprint(tiny_model(tune="head"), fit, root),
        fingerprint(tiny_model(), fit.iloc[1:], root),
        fingerprint(tiny_model(), fit, root, replace(FAST, seed=1)),
        fingerprint(tiny_model(), fit, root, world=2),
        fingerprint(tiny_model(), fit, root, resumed="0"),
    ]
    other = tiny_model()
    other.config.feature_scale = 10.0
    others.append(fingerprint(other, fit, root))
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(copy / fit["path"].iloc[0])
    others.append(fingerprint(tiny_model(), fit, copy))
    assert len({first, *others}) == 9


class Watch(TrainerCallback):
    """Keep the trained weights of each epoch."""

    def __init__(self, model):
        self.model, self.epochs = model, []

    def on_epoch_end(self, args, state, control, **kwargs):
        self.epochs.append(tuned(self.model))


@pytest.mark.parametrize("killed", [False, True])
def test_the_first_best_epoch_is_kept_not_the_last(crops, tmp_path, monkeypatch, killed):
    root, table = crops
    values = {6: 0.6, 12: 0.9, 18: 0.9}
    log = train.GenDTrainer.log

    def fixed(self, logs, *args, **kwargs):
        if "eval_auroc" in logs:
            logs["eval_auroc"] = values[self.state.global_step]
        log(self, logs, *args, **kwargs)

    monkeypatch.setattr(train.GenDTrainer, "log", fixed)
    model = tiny_model()
    watch = Watch(model)
    if killed:
        with pytest.raises(KeyboardInterrupt):
            train.train(model, table, root, FAST, tmp_path, callbacks=[watch, Kill(15)])
        model = tiny_model()
    result = train.train(model, table, root, FAST, tmp_path, callbacks=[] if killed else [watch])
    assert result.best["epoch"] == 2 and len(result.history) == 3
    assert [path.name for path in result.folder.glob("weights*")] == ["weights.safetensors"]
    assert same(tuned(result.model), watch.epochs[1])
    if not killed:
        assert not same(watch.epochs[1], watch.epochs[2])


def test_each_epoch_has_its_own_draws(crops, tmp_path, monkeypatch):
    root, table = crops
    seen, rng = [], CropDataset.rng
    monkeypatch.setattr(
        CropDataset, "rng", lambda self, i: seen.append((self.epoch, self.seed)) or rng(self, i)
    )
    config = train.TrainConfig(epochs=2, batch_size=8, seed=5)
    train.train(tiny_model(), table, root, config, tmp_path)
    assert seen == [(0, 5)] * 48 + [(1, 5)] * 48  # 24 pairs


class KillAt(TrainerCallback):
    """Raise at a named moment of Trainer, at an update."""

    def __init__(self, moment, step):
        def stop(args, state, control, **kwargs):
            if state.global_step == step:
                raise KeyboardInterrupt

        setattr(self, moment, stop)


@pytest.mark.parametrize("moment", ["on_evaluate", "on_save", "on_train_end"])
def test_a_kill_around_the_end_changes_nothing(run, crops, tmp_path, moment):
    root, table = crops
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny_model(), table, root, FAST, tmp_path, callbacks=[KillAt(moment, 18)])
    again = train.train(tiny_model(), table, root, FAST, tmp_path)
    assert not again.loaded and same(tuned(again.model), tuned(run[1].model))
    assert sorted(p.name for p in again.folder.iterdir()) == [
        "history.csv",
        "run.json",
        "weights.safetensors",
    ]


def test_an_epoch_that_turns_out_worse_when_repeated_is_not_kept(crops, tmp_path, monkeypatch):
    """On a GPU a repeated epoch may score otherwise; its first attempt must leave no trace."""
    root, table = crops
    values, log = {6: 0.6, 12: 0.9, 18: 0.5}, train.GenDTrainer.log

    def fixed(self, logs, *args, **kwargs):
        if "eval_auroc" in logs:
            logs["eval_auroc"] = values[self.state.global_step]
        log(self, logs, *args, **kwargs)

    monkeypatch.setattr(train.GenDTrainer, "log", fixed)
    model = tiny_model()
    watch, kill = Watch(model), KillAt("on_evaluate", 12)
    with pytest.raises(KeyboardInterrupt):
        train.train(model, table, root, FAST, tmp_path, callbacks=[watch, kill])
    values[12] = 0.4
    result = train.train(tiny_model(), table, root, FAST, tmp_path)
    assert result.best["epoch"] == 1 and same(tuned(result.model), watch.epochs[0])


@pytest.mark.filterwarnings("error")
def test_saving_asks_no_one(crops, tmp_path, monkeypatch):
    """PEFT looks for the base model's config on the hub unless told not to."""

    def refuse(*args, **kwargs):
        raise AssertionError("asked the hub")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", refuse)
    config = train.TrainConfig(epochs=1, batch_size=8)
    root, table = crops
    assert train.train(tiny_model(), table, root, config, tmp_path).history["step"].item() == 6


def test_bfloat16_runs(crops, tmp_path):
    root, table = crops
    config = train.TrainConfig(epochs=1, batch_size=8, precision="bf16", learning_rate=1e-2)
    result = train.train(tiny_model(), table, root, config, tmp_path)
    assert np.isfinite(result.history["loss"]).all()
    assert {value.dtype for value in tuned(result.model).values()} == {torch.float32}


@pytest.mark.parametrize("step", [3, 9, 17])
def test_a_killed_run_ends_with_the_same_weights(run, crops, tmp_path, step):
    root, table = crops
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny_model(), table, root, FAST, tmp_path, callbacks=[Kill(step)])
    again = train.train(tiny_model(), table, root, FAST, tmp_path)
    assert not again.loaded
    assert same(tuned(again.model), tuned(run[1].model))
    columns = [name for name in again.history if name != "seconds"]
    pd.testing.assert_frame_equal(again.history[columns], run[1].history[columns])
    assert again.history["seconds"].is_monotonic_increasing


def test_a_half_written_checkpoint_is_not_used(run, crops, tmp_path, capsys):
    root, table = crops
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny_model(), table, root, FAST, tmp_path, callbacks=[Kill(9)])
    good = next(tmp_path.glob("run-*/checkpoints/checkpoint-6"))
    bad = good.with_name("checkpoint-12")
    shutil.copytree(good, bad)
    (bad / "trainer_state.json").write_text('{"epoch": 2.0, "glob')
    again = train.train(tiny_model(), table, root, FAST, tmp_path)
    assert "going on from checkpoint-6" in capsys.readouterr().out
    assert same(tuned(again.model), tuned(run[1].model))


def test_a_frozen_encoder_runs_once_and_training_equals_a_plain_loop(crops, tmp_path, monkeypatch):
    root, table = crops
    config = train.TrainConfig(
        epochs=1, batch_size=8, learning_rate=3e-2, augment=False, paired=False, label_smoothing=0.1
    )
    start = tiny_model(tune="head")
    fit = table[table["role"] == "fit"].reset_index(drop=True)
    features = torch.from_numpy(train.cache_features(start, fit, root, device="cpu"))
    calls, forward = [], backbones.Encoder.forward
    monkeypatch.setattr(
        backbones.Encoder, "forward", lambda self, x: calls.append(len(x)) or forward(self, x)
    )
    result = train.train(tiny_model(tune="head"), table, root, config, tmp_path)
    assert sum(calls) == table["role"].isin(["fit", "select"]).sum()

    head, labels = start.head, torch.tensor(fit["label"].to_numpy())
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.0)
    objective, losses = GenDLoss(0.1, 0.5, 0.1), []
    for step, rows in enumerate(RandomBatchSampler(len(fit), 8, seed=0)):
        optimizer.param_groups[0]["lr"] = train.learning_rate(step, 4, config)
        loss, _ = objective(head(features[rows]), features[rows], labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # fused and plain AdamW differ by float32 rounding
    for name, value in head.named_parameters():
        torch.testing.assert_close(tuned(result.model)[f"head.{name}"], value, atol=1e-6, rtol=1e-5)
    assert result.history["loss"].item() == pytest.approx(np.mean(losses), abs=LOGGED)


def test_cache_features_equals_the_forward_pass(crops):
    root, table = crops
    model = tiny_model(tune="head")
    features = train.cache_features(model, table.iloc[:5], root, batch_size=2, device="cpu")
    prepare = backbones.preprocess(model.encoder.spec)
    images = [np.asarray(Image.open(root / path)) for path in table["path"][:5]]
    with torch.no_grad():
        expected = model(prepare(images)).features.numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert features.shape == (5, 16) and features.dtype == np.float32


def test_accumulated_steps_equal_one_large_batch(crops, tmp_path):
    """With cross-entropy alone the gradient of two half batches is that of the whole."""
    root, table = crops
    base = {"epochs": 1, "learning_rate": 1e-2, "augment": False, "paired": False, "warmup_epochs": 0,
            "alignment": 0.0, "uniformity": 0.0}  # fmt: skip
    results, losses = [], []
    for size, accumulate in ((12, 1), (6, 2)):
        config = train.TrainConfig(batch_size=size, accumulate=accumulate, **base)
        result = train.train(tiny_model(tune="head"), table, root, config, tmp_path)
        results.append(tuned(result.model))
        losses.append(result.history["loss"].item())
        assert result.history["step"].iloc[-1] == 3
    # AdamW forgives a wrong scale of the loss, the log does not
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-5, rtol=1e-4)


def test_bad_batches_and_tables_are_named(crops, tmp_path):
    root, table = crops
    model = tiny_model()
    with torch.no_grad():
        adapters.active_head(model).linear.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"update 0, fit rows \[\d+, "):
        train.train(model, table, root, FAST, tmp_path)
    only_real = table[(table["role"] != "select") | (table["label"] == 0)]
    with pytest.raises(ValueError, match="'select' has 8 real and 0 fake rows"):
        train.train(tiny_model(), only_real, root, FAST, tmp_path)
    with pytest.raises(ValueError, match="adapters.tune"):
        train.train(tiny_model(tune="head").requires_grad_(False), table, root, FAST, tmp_path)


def test_the_trainer_uses_the_objective_of_the_kit(crops, tmp_path):
    root, table = crops
    fit = table[table["role"] == "fit"].reset_index(drop=True)
    model = tiny_model(tune="head")
    select = table[table["role"] == "select"].reset_index(drop=True)
    trainer, _ = train._prepare(
        model, fit, select, root, FAST, tmp_path, backbones.preprocess(model.encoder.spec)
    )
    rows = next(iter(trainer.sampler))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in rows])
    loss, out = trainer.compute_loss(model, batch, return_outputs=True)
    expected, _ = GenDLoss(0.1, 0.5, 0.0)(out.logits, out.features, batch["labels"])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert table["source_id"][rows[:4]].tolist() == table["source_id"][rows[4:]].tolist()


def start(script, *words, **environment):
    """Run a script of this folder in a process of its own, with the package and the tests on its path."""
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent)])
    return subprocess.run(
        [sys.executable, *script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=here,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment},
    )


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """A run of two processes under torchrun (gloo, CPU): its folder and settings."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo backend")
    folder = tmp_path_factory.mktemp("ddp")
    config = replace(FAST, epochs=2, label_smoothing=0.05)
    (folder / "config.json").write_text(json.dumps(asdict(config)), "utf-8")
    make_crops(folder / "crops")[1].to_csv(folder / "crops.csv", index=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = Path(__file__).with_name("ddp_worker.py")
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    launcher.append(f"--master-port={port}")
    done = start(launcher, worker, folder, GLOO_SOCKET_IFNAME="lo", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, config


def test_two_processes_take_different_pairs_and_the_same_number_of_steps(two_processes, crops):
    folder, config = two_processes
    _, table = crops
    fit = table[table["role"] == "fit"].reset_index(drop=True)
    seen = [json.loads((folder / f"seen{rank}.json").read_text("utf-8")) for rank in (0, 1)]
    sampler = train.PairedBatchSampler(fit, config.batch_size, config.seed)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == 6
        for rank in (0, 1):
            mine = [rows for _, rows in seen[rank][3 * epoch : 3 * epoch + 3]]
            assert mine == batches[rank::2]
            for rows in mine:  # each process has whole pairs: real k beside fake k
                label, source = fit["label"][rows].to_numpy(), fit["source_id"][rows].to_numpy()
                assert (label == [0] * 4 + [1] * 4).all() and (source[:4] == source[4:]).all()
    assert [len(rows) for rows in seen] == [6, 6]


def test_two_processes_equal_one_with_twice_the_accumulation(two_processes, crops, tmp_path):
    """Two batches, each with its own pair terms, and the mean of their gradients: the same update."""
    folder, config = two_processes
    root, table = crops
    weights = [torch.load(folder / f"weights{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(*weights)
    config = replace(config, accumulate=2)
    one = train.train(tiny_model(dropout=0.0), table, root, config, tmp_path)
    assert one.history["step"].tolist() == [3, 6]
    for name, value in tuned(one.model).items():
        torch.testing.assert_close(weights[0][name], value, atol=2e-5, rtol=1e-3)
    (found,) = (folder / "runs").glob("run-*")
    history = pd.read_csv(found / "history.csv")
    assert history["step"].tolist() == [3, 6]
    for name in ("loss", "loss_alignment", "loss_uniformity", "select_auroc", "learning_rate"):
        np.testing.assert_allclose(history[name], one.history[name], rtol=2e-3, err_msg=name)
    assert json.loads((found / "run.json").read_text("utf-8"))["n_processes"] == 2


def test_processes_that_read_different_crops_are_refused():
    train._check_processes(["a" * 64, "a" * 64])
    with pytest.raises(ValueError, match="2 processes have 2 different runs.*Finish writing"):
        train._check_processes(["a" * 64, "b" * 64])


def fixed_scores(monkeypatch, values):
    """Let the select AUROC of each update be what `values` says."""
    log = train.GenDTrainer.log

    def fixed(self, logs, *args, **kwargs):
        if "eval_auroc" in logs:
            logs["eval_auroc"] = values[self.state.global_step]
        log(self, logs, *args, **kwargs)

    monkeypatch.setattr(train.GenDTrainer, "log", fixed)


@pytest.mark.parametrize("moment", [None, "on_evaluate", "on_save", "on_train_end"])
def test_patience_ends_the_run_and_a_restart_does_not_go_on(crops, tmp_path, monkeypatch, moment):
    root, table = crops
    fixed_scores(monkeypatch, {6: 0.6, 12: 0.9, 18: 0.8, 24: 0.9, 30: 0.95})
    config = replace(FAST, epochs=5, patience=2)
    if moment:
        with pytest.raises(KeyboardInterrupt):
            train.train(tiny_model(), table, root, config, tmp_path, callbacks=[KillAt(moment, 24)])
    result = train.train(tiny_model(), table, root, config, tmp_path)
    assert result.history["epoch"].tolist() == [1, 2, 3, 4] and result.best["epoch"] == 2
    record = json.loads((result.folder / "run.json").read_text())
    assert record["stopped_early"] is True
    # one epoch more of patience reaches the better fifth epoch
    longer = train.train(tiny_model(), table, root, replace(config, patience=3), tmp_path)
    assert longer.best["epoch"] == 5 and len(longer.history) == 5


@pytest.fixture(scope="module")
def kept(crops, tmp_path_factory):
    """A run of three epochs that keeps all its checkpoints."""
    root, table = crops
    out = tmp_path_factory.mktemp("kept")
    return train.train(tiny_model(), table, root, replace(FAST, keep_checkpoints=0), out)


@pytest.mark.parametrize("step", [6, 12])
def test_resume_from_a_given_checkpoint_gives_the_same_run(kept, crops, tmp_path, step):
    root, table = crops
    names = sorted(path.name for path in (kept.folder / "checkpoints").iterdir())
    assert names == ["checkpoint-12", "checkpoint-18", "checkpoint-6"]
    given = kept.folder / "checkpoints" / f"checkpoint-{step}"
    again = train.train(tiny_model(), table, root, FAST, tmp_path, resume=given)
    assert again.folder.name != kept.folder.name and not again.loaded
    assert same(tuned(again.model), tuned(kept.model))
    columns = [name for name in again.history if name != "seconds"]
    pd.testing.assert_frame_equal(again.history[columns], kept.history[columns])
    assert train.train(tiny_model(), table, root, FAST, tmp_path, resume=given).loaded


def test_resume_adds_epochs_with_the_schedule_of_the_new_length(kept, crops, tmp_path):
    root, table = crops
    config = replace(FAST, epochs=4)
    result = train.train(tiny_model(), table, root, config, tmp_path, resume=kept.folder)
    assert result.history["step"].tolist() == [6, 12, 18, 24]
    rates = result.history["learning_rate"].to_numpy()
    np.testing.assert_allclose(rates[:3], kept.history["learning_rate"])
    assert rates[3] == pytest.approx(recipe.learning_rate(23, 6, config))


def test_resume_keeps_a_best_epoch_that_came_before(crops, tmp_path, monkeypatch):
    root, table = crops
    fixed_scores(monkeypatch, {6: 0.9, 12: 0.6, 18: 0.7})
    model = tiny_model()
    watch = Watch(model)
    config = replace(FAST, keep_checkpoints=0)
    first = train.train(model, table, root, config, tmp_path / "a", callbacks=[watch])
    given = first.folder / "checkpoints" / "checkpoint-12"
    again = train.train(tiny_model(), table, root, FAST, tmp_path / "b", resume=given)
    assert again.best["epoch"] == 1 and same(tuned(again.model), watch.epochs[0])


def test_resume_refuses_other_runs_by_what_differs(kept, crops, tmp_path):
    root, table = crops
    given = kept.folder / "checkpoints" / "checkpoint-12"

    def go(model=None, table=table, resume=given, **changes):
        config = replace(FAST, **changes)
        train.train(model or tiny_model(), table, root, config, tmp_path / "out", resume=resume)

    with pytest.raises(ValueError, match=r"learning_rate is 0.03 there and 0.01 here"):
        go(learning_rate=1e-2)
    with pytest.raises(ValueError, match="the start weights differ"):
        go(model=tiny_model(seed=1))
    with pytest.raises(ValueError, match="the crops or their rows differ"):
        go(table=table.iloc[1:])
    with pytest.raises(ValueError, match="has done 2 epochs and epochs is 2; raise epochs"):
        go(epochs=2)
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*keep_checkpoints=0"):
        go(resume=tmp_path)
    bare = shutil.copytree(given, tmp_path / "checkpoint-12")
    (bare / "gendkit.json").unlink()
    with pytest.raises(FileNotFoundError, match="has no gendkit.json"):
        go(resume=bare)


def test_versions_of_features_equal_augmenting_in_every_epoch(crops, tmp_path, monkeypatch, capsys):
    """With as many versions as epochs, the frozen encoder's run is the official one, in seconds."""
    root, table = crops
    calls, forward = [], backbones.Encoder.forward
    monkeypatch.setattr(
        backbones.Encoder, "forward", lambda self, x: calls.append(len(x)) or forward(self, x)
    )
    results, counts = [], []
    for draws in (0, 3, 1):
        calls.clear()
        model = tiny_model(tune="head", dropout=0.0)
        config = replace(FAST, feature_draws=draws)
        results.append(train.train(model, table, root, config, tmp_path))
        counts.append(sum(calls))
        assert ("the encoder runs in every epoch" in capsys.readouterr().out) == (draws == 0)
    assert counts == [
        3 * (48 + 24),
        3 * 36 + 24,
        36 + 24,
    ]  # 6 batches of 8 an epoch, 24 select rows
    for name, value in tuned(results[0].model).items():
        torch.testing.assert_close(tuned(results[1].model)[name], value, atol=1e-5, rtol=1e-4)
    assert not same(tuned(results[1].model), tuned(results[2].model))


def test_weight_decay_spares_biases_and_norms(crops, tmp_path):
    root, table = crops
    fit, select = recipe.by_role(table)
    model = tiny_model()
    config = replace(FAST, weight_decay=0.5)
    trainer, _ = train._prepare(
        model, fit, select, root, config, tmp_path, evaluate.processor_of(model)
    )
    optimizer = trainer.create_optimizer()
    names = {id(value): name for name, value in model.named_parameters()}
    groups = {
        group["weight_decay"]: [names[id(value)] for value in group["params"]]
        for group in optimizer.param_groups
    }
    assert isinstance(optimizer, torch.optim.AdamW) and set(groups) == {0.5, 0.0}
    assert len(groups[0.5]) == 1 and groups[0.5][0].endswith("linear.weight")
    assert sum(map(len, groups.values())) == len(tuned(model))
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_gradients_are_clipped_to_the_norm(crops, tmp_path):
    """Clipped to almost nothing, Adam's epsilon holds the weights back; without it they move."""
    root, table = crops
    moved = []
    for norm in (0.0, 1e-9):
        model = tiny_model(tune="head")
        start = tuned(model)
        config = replace(FAST, epochs=1, max_grad_norm=norm, augment=False)
        end = tuned(train.train(model, table, root, config, tmp_path).model)
        moved.append(max((end[n] - start[n]).detach().abs().max().item() for n in start))
    assert moved[1] < 0.2 * moved[0]


def test_a_missing_logger_is_named_before_anything_is_done(crops, tmp_path, monkeypatch):
    root, table = crops
    monkeypatch.setattr(recipe.util, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        config = replace(FAST, report_to=(name,))
        with pytest.raises(ImportError, match=f"pip install {name}"):
            train.train(tiny_model(), table, root, config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_the_history(crops, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, table = crops
    config = replace(FAST, epochs=2, report_to=("tensorboard",))
    result = train.train(tiny_model(), table, root, config, tmp_path)
    events = EventAccumulator(str(result.folder / "tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("train/loss")]
    np.testing.assert_allclose(logged, result.history["loss"], rtol=1e-5)


def test_workers_change_nothing(run, crops, tmp_path):
    root, table = crops
    again = train.train(tiny_model(), table, root, replace(FAST, workers=1), tmp_path)
    assert again.folder.name == run[1].folder.name
    assert same(tuned(again.model), tuned(run[1].model))
