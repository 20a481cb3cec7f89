"""The recipe as data: settings from text, checks, early stopping, history."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from gendkit import recipe
from gendkit.recipe import TrainConfig


def test_settings_are_read_as_the_type_of_their_field():
    pairs = ["epochs=3", "learning_rate = 1e-3", "augment=No", "paired=1", "precision=bf16"]
    pairs += ["report_to=tensorboard, wandb", "head=linear", "n_frames=4"]
    settings = recipe.parse_settings(pairs, {"head": str, "n_frames": int})
    assert settings == {
        "epochs": 3,
        "learning_rate": 1e-3,
        "augment": False,
        "paired": True,
        "precision": "bf16",
        "report_to": ("tensorboard", "wandb"),
        "head": "linear",
        "n_frames": 4,
    }
    assert type(settings["epochs"]) is int and settings["augment"] is False
    assert recipe.parse_settings(["report_to="]) == {"report_to": ()}
    assert recipe.parse_settings([]) == {}


def test_every_field_can_be_set_to_its_own_default():
    for field in fields(TrainConfig):
        text = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        assert recipe.parse_settings([f"{field.name}={text}"]) == {field.name: field.default}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["learningrate=1"], "unknown setting 'learningrate'; did you mean 'learning_rate'"),
        (["min_lr=1"], "the official 'min_lr' is 'min_learning_rate' here"),
        (["max_epochs=1"], "the official 'max_epochs' is 'epochs' here"),
        (["early_stopping_patience=1"], "is 'patience' here"),
        (["zzz=1"], "known settings: accumulate, alignment"),
        (["epochs=1.5"], "epochs='1.5': expected a whole number"),
        (["weight_decay=much"], "weight_decay='much': expected a number"),
        (["paired="], "paired='': expected true or false"),
        (["epochs=1", "epochs=2"], "'epochs' is given twice"),
        (["=2"], "expected key=value"),
        (["epochs"], "expected key=value"),
    ],
)
def test_bad_settings_are_named(pairs, message):
    with pytest.raises(ValueError) as error:
        recipe.parse_settings(pairs)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patience": -1}, "patience is -1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm is inf"),
        ({"workers": -2}, "workers is -2"),
        ({"min_learning_rate": 1.0}, "floor must be at most the peak"),
        ({"report_to": ("mlflow",)}, "'mlflow'; expected some of tensorboard, wandb"),
        ({"learning_rate": float("nan")}, "the rate > 0"),
    ],
)
def test_bad_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def test_the_paper_never_stops_early():
    paper = TrainConfig.paper()
    assert paper.patience == paper.epochs == 30 and TrainConfig().patience == 0
    falling = pd.DataFrame({"select_map": np.linspace(1, 0, 30)})
    assert not recipe.stops_early(falling, paper)


def test_patience_counts_epochs_since_the_first_best():
    config = TrainConfig(patience=2)
    scores = [0.5, 0.7, 0.6, 0.7, 0.8]
    history = pd.DataFrame({"select_auroc": scores})
    assert [recipe.stops_early(history[:n], config) for n in range(6)] == [
        False,
        False,
        False,
        False,
        True,  # epoch 4 only equals epoch 2
        False,
    ]
    assert not recipe.stops_early(history[:4], replace(config, patience=0))


def test_history_has_one_row_an_epoch_in_one_order():
    first = {"loss": 1.0, "epoch": 1.0, "step": 6, "learning_rate": 0.1, "grad_norm": 2.0}
    held = {"eval_loss": 0.5, "eval_auroc": 0.9, "epoch": 1.0, "step": 6, "eval_runtime": 1.0}
    end = {"train_runtime": 3.0, "epoch": 1.0, "step": 6}
    table = recipe.to_history([first, held, end])
    assert table.columns.tolist() == [
        "epoch",
        "step",
        "loss",
        "learning_rate",
        "select_auroc",
        "select_loss",
    ]
    assert table["select_auroc"].tolist() == [0.9]
    shuffled = recipe.to_history([dict(reversed(first.items())), dict(reversed(held.items()))])
    pd.testing.assert_frame_equal(table, shuffled)
    twice = recipe.to_history([first, held, {**first, "step": 12}, {**held, "step": 12}])
    assert recipe.best_epoch(twice, TrainConfig())["step"] == 6


def test_a_logger_that_is_there_passes(monkeypatch):
    monkeypatch.setattr(recipe.util, "find_spec", lambda name: name == "tensorboardX" or None)
    recipe.check_loggers(["tensorboard"])
    with pytest.raises(ImportError, match="report_to='wandb' needs the package wandb"):
        recipe.check_loggers(["tensorboard", "wandb"])
