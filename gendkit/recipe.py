"""The recipe of a run as data: settings, rows, learning rate per update, history, choice of the epoch."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import util
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gendkit import metrics
from gendkit.manifest import KEY

METRICS = {"auroc": metrics.auroc, "map": metrics.average_precision}
# Loggers that Trainer knows, and the packages of which one must be there.
LOGGERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}
# Fields that change no weight, so a run is the same run whatever they are.
NEUTRAL = ("keep_checkpoints", "report_to", "workers")
# Fields that a run may change when it goes on from a checkpoint.
RESUMABLE = (*NEUTRAL, "epochs", "patience", "select_metric")
# What the official configuration calls our fields.
_OFFICIAL = {
    "lr": "learning_rate",
    "min_lr": "min_learning_rate",
    "max_epochs": "epochs",
    "num_epochs_in_cycle": "cycle_epochs",
    "early_stopping_patience": "patience",
    "alignment_labels": "alignment",
    "num_workers": "workers",
    "augmentations": "augment",
}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


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
        patience: Stop after so many epochs without a better select score; 0 = never (paper: 30,
            which never fires within 30 epochs).
        keep_checkpoints: How many checkpoints a run keeps while it trains, and whether any stay
            when it is finished: 1 keeps the last one while training and none afterwards, n > 1
            keeps the last n for good, 0 keeps all for good.
        report_to: Loggers beside history.csv: "tensorboard", "wandb".
        workers: Processes that decode and augment crops; 0 does it in the training process.
        feature_draws: Only where the encoder is frozen and augment is on. 0 encodes every crop
            again in every epoch, as the official runs do. K > 0 encodes K augmented versions of
            every crop once and takes version (epoch modulo K): with K = epochs the same run.

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
    patience: int = 0
    keep_checkpoints: int = 1
    report_to: tuple[str, ...] = ()
    workers: int = 0
    feature_draws: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "report_to", tuple(self.report_to))
        if self.epochs < 1 or self.accumulate < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"epochs {self.epochs}, accumulate {self.accumulate}, learning_rate "
                f"{self.learning_rate}: the first two must be >= 1, the rate > 0"
            )
        floor = ("min_learning_rate", "warmup_epochs", "cycle_epochs", "weight_decay", "alignment",
                 "uniformity", "max_grad_norm", "seed", "patience", "keep_checkpoints", "workers",
                 "feature_draws")  # fmt: skip
        for name in floor:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a number >= 0")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is above learning_rate "
                f"{self.learning_rate}; the floor must be at most the peak: lower it too"
            )
        unknown = [name for name in self.report_to if name not in LOGGERS]
        if unknown:
            raise ValueError(
                f"report_to {unknown[0]!r}; expected some of {', '.join(LOGGERS)} (a CSV file is "
                "always written)"
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
            patience=30,
        )
        return replace(paper, **changes)


def parse_settings(pairs: Iterable[str], extra: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read settings as the command line gives them.

    Args:
        pairs: Texts "key=value". A list of names is separated by commas.
        extra: Keys beside the fields of `TrainConfig`, with their types (str, int, float, bool).

    Returns:
        Key to value, of the field's type.

    Raises:
        ValueError: For an unknown key (the nearest known ones are named), a value of another
            type, a key given twice, or a text without "=".
    """
    known: dict[str, Any] = {field.name: field.type for field in fields(TrainConfig)}
    known |= extra or {}
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        key, text = key.strip(), text.strip()
        if not sign or not key:
            raise ValueError(f"got the setting {pair!r}, expected key=value, such as epochs=2")
        if key not in known:
            raise ValueError(f"unknown setting {key!r}; {_nearest(key, known)}")
        if key in out:
            raise ValueError(f"the setting {key!r} is given twice; keep one")
        out[key] = _typed(key, text, known[key])
    return out


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    if _OFFICIAL.get(key) in known:
        return f"the official {key!r} is {_OFFICIAL[key]!r} here"
    near = difflib.get_close_matches(key, list(known), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known settings: {', '.join(sorted(known))}"


def _typed(key: str, text: str, kind: Any) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        raise ValueError(f"{key}={text!r}: expected true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{key}={text!r}: expected {what}") from None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_loggers(names: Iterable[str]) -> None:
    """Refuse a logger whose package is not installed, before anything is computed.

    Args:
        names: As in `TrainConfig.report_to`.

    Raises:
        ImportError: With the line that installs the package.
    """
    for name in names:
        if not any(util.find_spec(package) for package in LOGGERS[name]):
            raise ImportError(
                f"report_to={name!r} needs the package {LOGGERS[name][0]}, which is not installed; "
                f"run: pip install {LOGGERS[name][0]}  (or leave it out: history.csv is always "
                "written)"
            )


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
    """Turn Trainer's log into one row per epoch, the columns in one order whatever the log's."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log:
        if "loss" in entry or "eval_loss" in entry:
            named = {name.replace("eval_", "select_"): value for name, value in entry.items()}
            rows.setdefault(int(entry["step"]), {}).update(named)
    table = pd.DataFrame(list(rows.values()))
    speed = [name for name in table.columns if "per_second" in name or "runtime" in name]
    first = ["epoch", "step", "loss"]
    table = table.drop(columns=[*speed, "grad_norm"], errors="ignore")
    return table[first + sorted(name for name in table.columns if name not in first)]


def best_epoch(history: pd.DataFrame, config: TrainConfig) -> dict[str, float]:
    """Return the row of the epoch with the highest select score, the first if several."""
    return history.loc[history[f"select_{config.select_metric}"].idxmax()].to_dict()


def stops_early(history: pd.DataFrame, config: TrainConfig) -> bool:
    """Tell whether the last `patience` epochs brought no better select score."""
    if config.patience == 0 or len(history) == 0:
        return False
    scores = history[f"select_{config.select_metric}"].to_numpy()
    return len(scores) - 1 - int(scores.argmax()) >= config.patience


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
    data: str, start: str, config: TrainConfig, world: int = 1, resumed: str = ""
) -> str:
    """Hash all that the trained weights depend on: crops, start weights, settings.

    Args:
        data: Of `data_fingerprint`.
        start: Of `start_fingerprint`.
        config: Settings; those that change no weight are left out.
        world: Number of processes that train together.
        resumed: Hash of the checkpoint that the run was told to go on from.

    Returns:
        64 hexadecimal digits.
    """
    settings = {k: v for k, v in asdict(config).items() if k not in NEUTRAL}
    text = json.dumps([data, start, settings, world, resumed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def data_fingerprint(table: pd.DataFrame, root: Path) -> str:
    """Hash what is trained on.

    Args:
        table: Rows that are read.
        root: Folder of the crops.

    Returns:
        64 hexadecimal digits, of the rows and the bytes of their crops.
    """
    names = [*KEY, "source_id", "label", "role", "path", *(["frame"] if "frame" in table else [])]
    digest = hashlib.sha256(table[names].to_csv(index=False).encode())
    for path in table["path"]:
        digest.update((Path(root) / path).read_bytes())
    return digest.hexdigest()


def start_fingerprint(model: torch.nn.Module) -> str:
    """Hash what the training starts from.

    Args:
        model: Detector as it is before training, plain or wrapped by PEFT.

    Returns:
        64 hexadecimal digits, of configuration, weights and which of them train.
    """
    detector = model.get_base_model() if hasattr(model, "get_base_model") else model
    settings = detector.config.to_dict()
    for name in ("transformers_version", "_name_or_path"):
        settings.pop(name, None)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    tuned = {name for name, value in model.named_parameters() if value.requires_grad}
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {name in tuned}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
