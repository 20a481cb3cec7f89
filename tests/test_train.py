"""The training run: schedule, batches, choice of the epoch, and restarts that change nothing."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import TrainerCallback

from gendkit import backbones, evaluate, metrics, train
from gendkit import model as gend
from gendkit.datasets import CropDataset, RandomBatchSampler
from gendkit.losses import GenDLoss

TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "attention_dropout": 0.1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
FAST = train.TrainConfig(epochs=3, batch_size=8, learning_rate=3e-2, min_learning_rate=1e-3)


def tiny_model(seed=0, tune="layernorm"):
    torch.manual_seed(seed)
    spec = backbones.config_of("clip-l14")["spec"]
    spec.update(name="tiny", hub_id="", feature_dim=16, image_size=28)
    config = gend.GenDConfig(backbone="tiny", encoder={"spec": spec, "model": TINY}, head="linear")
    model = gend.GenDForImageClassification(config).eval()
    if tune == "layernorm":
        return gend.tune_layernorm(model)
    if tune == "head":
        model.encoder.requires_grad_(False)
    return model


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Crops in which fakes are a little redder than their reals."""
    root, rng, rows = tmp_path_factory.mktemp("crops"), np.random.default_rng(0), []
    for role, n in (("fit", 6), ("select", 4), ("report", 2)):
        for source, frame in itertools.product(range(n), range(2)):
            face = rng.integers(60, 180, (30, 30, 3), dtype=np.uint8)
            for method, red in (("real", 0), ("DF", 40), ("NT", 25)):
                path = f"{role}_{method}_{source}_{frame}.png"
                Image.fromarray(face + np.array([red, 0, 0], np.uint8)).save(root / path)
                rows.append({
                    "path": path, "dataset": "toy", "method": method, "compression": "c23",
                    "video_id": f"{role}{source}", "source_id": f"{role}{source}", "role": role,
                    "label": int(method != "real"), "frame": frame,
                })  # fmt: skip
    return root, pd.DataFrame(rows)


class Kill(TrainerCallback):
    """End the process, as far as Trainer can tell, after some updates."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def tuned(model):
    return {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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
    np.testing.assert_allclose(total, history["loss"], rtol=1e-4)
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


def test_the_fingerprint_sees_every_cause(crops, tmp_path):
    root, table = crops
    fit = table[table["role"] == "fit"]
    copy = tmp_path / "crops"
    shutil.copytree(root, copy)
    first = train.run_fingerprint(tiny_model(), fit, root, FAST)
    assert first == train.run_fingerprint(tiny_model(), fit, copy, FAST)
    others = [
        train.run_fingerprint(tiny_model(seed=1), fit, root, FAST),
        train.run_fingerprint(tiny_model(tune="head"), fit, root, FAST),
        train.run_fingerprint(tiny_model(), fit.iloc[1:], root, FAST),
        train.run_fingerprint(tiny_model(), fit, root, train.TrainConfig(seed=1)),
    ]
    other = tiny_model()
    other.config.feature_scale = 10.0
    others.append(train.run_fingerprint(other, fit, root, FAST))
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(copy / fit["path"].iloc[0])
    others.append(train.run_fingerprint(tiny_model(), fit, copy, FAST))
    assert len({first, *others}) == 7


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
    assert result.history["loss"].item() == pytest.approx(np.mean(losses), abs=1e-5)


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
        gend.active_head(model).linear.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"update 0, fit rows \[\d+, "):
        train.train(model, table, root, FAST, tmp_path)
    only_real = table[(table["role"] != "select") | (table["label"] == 0)]
    with pytest.raises(ValueError, match="'select' has 8 real and 0 fake rows"):
        train.train(tiny_model(), only_real, root, FAST, tmp_path)
    with pytest.raises(ValueError, match="tune_layernorm"):
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
