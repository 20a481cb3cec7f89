"""The recipe of a run as data: settings, rows, learning rate per update, history, choice of the epoch."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gendkit import metrics
from gendkit.manifest import KEY

METRICS = {"auroc": metrics.auroc, "map": metrics.average_precision}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run.

    The defaults are the fast profile, for the small embedded encoder; `paper()` gives the
    paper's, for large ones.

    Attributes:
        epochs: Passes over the fit rows (paper: 30).
        batch_size: Crops per device and step (paper: 128).
        accumulate: Steps whose gradients are added before an update (paper: 1). The terms on
            pairs see one step's crops only.
        learning_rate: Peak (paper: 3e-4).
        min_learning_rate: Start of the warm-up and floor of each cosine (paper: 1e-5).
        warmup_epochs: Linear warm-up, once (paper: 1).
        cycle_epochs: Length of a cosine cycle, then a restart (paper: 10); 0 = one cycle for
            all that follows the warm-up.
        weight_decay: AdamW, not on biases and norms (paper: 0).
        alignment: Weight of the alignment loss (paper: 0.1).
        uniformity: Weight of the uniformity loss (paper: 0.5).
        label_smoothing: Of the cross-entropy (paper: 0).
        paired: Batches hold each fake with its real, under the same augmentation draw. The
            official sampler is the random one (False).
        augment: Official augmentation of the fit crops (paper: True).
        select_metric: Chooses the epoch by the select videos: "auroc" or "map" (paper: map).
        precision: "fp32" or "bf16" (paper: bf16).
        max_grad_norm: Gradient clipping; 0 = none.
        seed: Of order, augmentation and dropout.

    Source: arXiv:2508.06248; the resolved configuration of its runs in github.com/yermandy/GenD
    at e03532d.
    """

    epochs: int = 8
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-2
    min_learning_rate: float = 1e-3
    warmup_epochs: float = 1.0
    cycle_epochs: float = 0.0
    weight_decay: float = 0.0
    alignment: float = 0.1
    uniformity: float = 0.5
    label_smoothing: float = 0.0
    paired: bool = True
    augment: bool = True
    select_metric: str = "auroc"
    precision: str = "fp32"
    max_grad_norm: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.accumulate < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"epochs {self.epochs}, accumulate {self.accumulate}, learning_rate "
                f"{self.learning_rate}: the first two must be >= 1, the rate > 0"
            )
        if self.select_metric not in METRICS or self.precision not in ("fp32", "bf16"):
            raise ValueError(
                f"select_metric {self.select_metric!r} and precision {self.precision!r}; "
                "expected 'auroc' or 'map', and 'fp32' or 'bf16'"
            )

    @classmethod
    def paper(cls, **changes: Any) -> "TrainConfig":
        """Return the settings of the paper, with changes."""
        paper = cls(
            epochs=30,
            batch_size=128,
            learning_rate=3e-4,
            min_learning_rate=1e-5,
            cycle_epochs=10.0,
            paired=False,
            select_metric="map",
            precision="bf16",
        )
        return replace(paper, **changes)


def learning_rate(step: int, steps_per_epoch: float, config: TrainConfig) -> float:
    """Give the learning rate of one update: warm-up, then cosine with warm restarts and a floor.

    Args:
        step: Updates done before this one.
        steps_per_epoch: Updates per epoch.
        config: Settings.

    Source: the schedule of github.com/yermandy/GenD at e03532d; Loshchilov and Hutter,
    arXiv:1608.03983, equation 5.
    """
    low, high = config.min_learning_rate, config.learning_rate
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return low + (high - low) * step / warmup
    cycle = (config.cycle_epochs or max(config.epochs - config.warmup_epochs, 1)) * steps_per_epoch
    phase = ((step - warmup) % cycle) / cycle
    return low + (high - low) * (1 + math.cos(math.pi * phase)) / 2


def to_history(log: list[dict[str, float]]) -> pd.DataFrame:
    """Turn Trainer's log into one row per epoch."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log:
        if "loss" in entry or "eval_loss" in entry:
            named = {name.replace("eval_", "select_"): value for name, value in entry.items()}
            rows.setdefault(int(entry["step"]), {}).update(named)
    table = pd.DataFrame(list(rows.values()))
    speed = [name for name in table.columns if "per_second" in name or "runtime" in name]
    first = ["epoch", "step", "loss"]
    table = table.drop(columns=[*speed, "grad_norm"], errors="ignore")
    return table[first + [name for name in table.columns if name not in first]]


def best_epoch(history: pd.DataFrame, config: TrainConfig) -> dict[str, float]:
    """Return the row of the epoch with the highest select score, the first if several."""
    return history.loc[history[f"select_{config.select_metric}"].idxmax()].to_dict()


def by_role(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the fit rows and the select rows, each with an index 0..n-1.

    Args:
        table: Frame manifest.

    Raises:
        ValueError: If one of the two lacks a class.
    """
    parts = []
    for role in ("fit", "select"):
        part = table[table["role"] == role].reset_index(drop=True)
        counts = [int((part["label"] == label).sum()) for label in (0, 1)]
        if 0 in counts:
            raise ValueError(
                f"the role {role!r} has {counts[0]} real and {counts[1]} fake rows; it needs both: "
                "give roles with manifest.split"
            )
        parts.append(part)
    return parts


def run_fingerprint(
    model: torch.nn.Module, table: pd.DataFrame, root: Path, config: TrainConfig
) -> str:
    """Hash all that the trained weights depend on: settings, rows and crops, start weights.

    Args:
        model: Detector as it is before training, plain or wrapped by PEFT.
        table: Rows that are read.
        root: Folder of the crops.
        config: Settings.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    names = [*KEY, "source_id", "label", "role", "path", *(["frame"] if "frame" in table else [])]
    digest.update(table[names].to_csv(index=False).encode())
    for path in table["path"]:
        digest.update((Path(root) / path).read_bytes())
    detector = model.get_base_model() if hasattr(model, "get_base_model") else model
    settings = detector.config.to_dict()
    for name in ("transformers_version", "_name_or_path"):
        settings.pop(name, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    tuned = {name for name, value in model.named_parameters() if value.requires_grad}
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {name in tuned}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
