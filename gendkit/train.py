"""Train a detector by the GenD recipe, on `transformers.Trainer`.

One call trains, resumes after a kill, or loads a finished run: the folder of a run is named by a
hash of all it depends on (settings, crops, start weights, number of processes).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import default_collate
from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from gendkit import metrics, repro
from gendkit.datasets import (
    CropDataset,
    FeatureDataset,
    PairedBatchSampler,
    RandomBatchSampler,
)
from gendkit.evaluate import cache_features, probability, processor_of, unwrap
from gendkit.recipe import (
    METRICS,
    RESUMABLE,
    TrainConfig,
    best_epoch,
    by_role,
    check_loggers,
    data_fingerprint,
    learning_rate,
    run_fingerprint,
    start_fingerprint,
    stops_early,
    to_history,
)
from gendkit.trainer import (
    RECORD,
    GenDTrainer,
    HeadOnly,
    RunRecord,
    logger_callbacks,
    tuned,
    weights_of,
)
from gendkit.transforms import Augment

__all__ = [
    "GenDTrainer",
    "TrainConfig",
    "TrainResult",
    "cache_features",
    "learning_rate",
    "run_fingerprint",
    "train",
]

_FILE = "trainer_state.json"  # Trainer writes it last


@dataclass(frozen=True)
class TrainResult:
    """What a run gives.

    Attributes:
        model: The model passed in, now with the weights of the chosen epoch.
        history: One row per epoch: epoch, step, loss and its parts, learning_rate,
            select_loss, select_auroc, select_map, seconds since the start.
        seconds: Training time in all, over restarts.
        best: The row of `history` that was chosen.
        folder: Where the run lies: run.json, history.csv, weights.safetensors.
        loaded: True if the run was finished before and only loaded now.
    """

    model: nn.Module
    history: pd.DataFrame
    seconds: float
    best: dict[str, float]
    folder: Path
    loaded: bool


def train(
    model: nn.Module,
    table: pd.DataFrame,
    root: str | Path,
    config: TrainConfig | None = None,
    out: str | Path = "runs",
    processor: Callable | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: str | Path | None = None,
) -> TrainResult:
    """Train a detector on the fit rows, choose the epoch on the select videos, or load the run.

    A run killed at any moment goes on from its last finished epoch when the same call is made
    again, and on a CPU ends with the same weights as an unbroken run. If the encoder has no
    trainable weight and there is no augmentation, features are computed once; with augmentation
    the encoder runs in every epoch, unless `TrainConfig.feature_draws` says otherwise.

    Started by `torchrun` or `accelerate launch`, all processes train together
    (`trainer.GenDTrainer`); `out` must then be a folder that all of them see.

    Args:
        model: Detector; what has requires_grad is trained (`adapters.tune` sets it).
        table: Frame manifest with the roles fit and select; other rows are not read.
        root: Folder that the paths are relative to.
        config: Settings; None for the fast profile.
        out: Folder of runs; this run gets a folder named by its fingerprint.
        processor: Preprocessing; by default the one of the model's encoder.
        callbacks: Further callbacks of `transformers.Trainer`.
        resume: Checkpoint to start from, of any run with the same data, start weights and
            settings (epochs, patience, select_metric and the loggers may differ): its folder, or
            a folder of a run that kept checkpoints (the newest is taken). None starts afresh. A
            run that was started so, and then killed, goes on from its own last epoch.

    Returns:
        TrainResult; its model is the one passed in, in eval mode.

    Raises:
        ValueError: If a role lacks a class, nothing is trainable, the loss is not finite, or the
            checkpoint belongs to another run, or if the processes of a distributed run have read
            different crops, start weights or settings.
        FileNotFoundError: If there is no checkpoint where `resume` points.
        ImportError: If a logger's package is missing.

    Source: arXiv:2508.06248, training details.
    """
    config, root = config or TrainConfig(), Path(root)
    check_loggers(config.report_to)
    fit, select = by_role(table)
    n_trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    if n_trained == 0:
        raise ValueError("no parameter has requires_grad; call adapters.tune(model) first")
    rows, world = pd.concat([fit, select]), int(os.environ.get("WORLD_SIZE", "1"))
    facts = {
        "config": json.loads(json.dumps(asdict(config))),
        "data": data_fingerprint(rows, root),
        "start": start_fingerprint(model),
        "world": world,
    }
    given = None if resume is None else _given_checkpoint(Path(resume), facts)
    resumed = "" if given is None else hashlib.sha256((given / _FILE).read_bytes()).hexdigest()
    key = run_fingerprint(facts["data"], facts["start"], config, world, resumed)
    folder = Path(out) / f"run-{key[:12]}"
    if (folder / "run.json").is_file():
        return _load(model, folder)
    if world > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    repro.seed_all(config.seed)
    trainer, run = _prepare(
        model, fit, select, root, config, folder, processor or processor_of(model), facts
    )
    _check_processes(gather_object([key]))
    is_main = trainer.is_world_process_zero()
    for callback in (
        run,
        *callbacks,
        *(logger_callbacks(config.report_to, folder) if is_main else ()),
    ):
        trainer.add_callback(callback)
    if is_main:
        _sweep(folder / "checkpoints", world)
    trainer.accelerator.wait_for_everyone()
    checkpoint = _last(folder / "checkpoints")
    if checkpoint is None and given is not None:
        checkpoint = given
        if is_main:
            _take_best(given, folder, config)
    if checkpoint is not None and is_main:
        print(f"going on from {checkpoint.name} of {folder.name}", flush=True)
    if checkpoint is not None and _is_over(checkpoint, config):
        trainer.state = TrainerState.load_from_json(str(checkpoint / _FILE))
    else:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if is_main:
        history = to_history(trainer.state.log_history)
        best = best_epoch(history, config)
        chosen = weights_of(folder, best)
        if chosen.is_file():  # not if an earlier attempt was killed right below
            chosen.replace(folder / "weights.safetensors")
        record = {
            "fingerprint": key,
            "config": asdict(config),
            "best": best,
            "seconds": float(history["seconds"].iloc[-1]),
            "n_fit": len(fit),
            "n_select": len(select),
            "n_trained": n_trained,
            "n_processes": world,
            "stopped_early": len(history) < config.epochs,
            "resumed_from": resumed,
        }
        with repro.atomic_path(folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
        repro.write_json(folder / "run.json", repro.provenance(**record))
        if config.keep_checkpoints == 1:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return replace(_load(model, folder, quiet=True), loaded=False)


def _check_processes(fingerprints: Sequence[str]) -> None:
    """Refuse to train when the processes of one run have not read the same."""
    if len(set(fingerprints)) > 1:
        raise ValueError(
            f"{len(fingerprints)} processes have {len(set(fingerprints))} different runs "
            f"({', '.join(sorted({key[:12] for key in fingerprints}))}): their crops, start weights "
            "or settings differ. Finish writing the crops before the start, and seed all processes "
            "alike before the model is built"
        )


def _prepare(
    model: nn.Module,
    fit: pd.DataFrame,
    select: pd.DataFrame,
    root: Path,
    config: TrainConfig,
    folder: Path,
    processor: Callable,
    facts: dict[str, Any] | None = None,
) -> tuple[GenDTrainer, RunRecord]:
    data, held, network = _samples(model, fit, select, root, config, processor)
    sampler = (
        PairedBatchSampler(fit, config.batch_size, config.seed)
        if config.paired
        else RandomBatchSampler(len(fit), config.batch_size, config.seed)
    )
    where = repro.device("auto").type
    # transformers 4 sets this for a bf16 run and leaves it to every later run of the process
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if config.precision == "bf16" else "no"
    args = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bf16",
        use_cpu=where == "cpu",
        seed=config.seed,
        optim="adamw_torch",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        save_total_limit=config.keep_checkpoints or None,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        run_name=folder.name,
        disable_tqdm=True,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=where == "cuda",
    )

    def compute_metrics(prediction: Any) -> dict[str, float]:
        frames = select.assign(p_fake=probability(torch.from_numpy(prediction.predictions)))
        videos = metrics.video_scores(frames)
        return {
            name: metric(videos["label"].to_numpy(), videos["p_fake"].to_numpy())
            for name, metric in METRICS.items()
        }

    trainer = GenDTrainer(
        config=config,
        sampler=sampler,
        model=network,
        args=args,
        train_dataset=data,
        eval_dataset=held,
        data_collator=default_collate,
        compute_metrics=compute_metrics,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, RunRecord(model, folder, config, data, sampler, facts or {})


def _samples(
    model: nn.Module,
    fit: pd.DataFrame,
    select: pd.DataFrame,
    root: Path,
    config: TrainConfig,
    processor: Callable,
) -> tuple[Any, Any, nn.Module]:
    """Return fit samples, select samples and the network that they go through."""
    augment = Augment() if config.augment else None
    crops = CropDataset(fit, root, processor, augment, config.seed, config.paired)
    frozen = not any(value.requires_grad for value in unwrap(model).encoder.parameters())
    encodes = not frozen or (config.augment and not config.feature_draws)
    if frozen and encodes and os.environ.get("RANK", "0") == "0":
        print(
            "the encoder is frozen, but augment=True changes every crop anew in every epoch, as in "
            "the official runs, so the encoder runs in every epoch; feature_draws=K encodes K "
            "versions of each crop once, augment=False one",
            flush=True,
        )
    if encodes:
        return crops, CropDataset(select, root, processor), model
    if config.augment:
        n_draws = min(config.feature_draws, config.epochs)
        features = np.stack([_encode(model, crops, draw) for draw in range(n_draws)])
    else:
        features = cache_features(model, fit, root, processor=processor)
    held = cache_features(model, select, root, processor=processor)
    return (
        FeatureDataset(features, fit["label"].to_numpy()),
        FeatureDataset(held, select["label"].to_numpy()),
        HeadOnly(model),
    )


def _encode(model: nn.Module, crops: CropDataset, epoch: int, batch_size: int = 32) -> np.ndarray:
    """Return the features (N, D) float32 of one epoch's augmented crops."""
    where, was_training = repro.device("auto"), model.training
    crops.set_epoch(epoch)
    model.to(where).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), batch_size):
            batch = crops.__getitems__(range(start, min(start + batch_size, len(crops))))
            pixels = torch.stack([sample["pixel_values"] for sample in batch]).to(where)
            parts.append(model(pixel_values=pixels).features.float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return True


def _sweep(folder: Path, world: int) -> None:
    """Remove checkpoints that a kill left half written."""
    ranks = ["rng_state.pth"] if world == 1 else [f"rng_state_{r}.pth" for r in range(world)]
    for path in folder.glob("checkpoint-*"):
        if not _whole(path) or not all((path / name).is_file() for name in ranks):
            shutil.rmtree(path, ignore_errors=True)


def _last(folder: Path) -> Path | None:
    return max(filter(_whole, folder.glob("checkpoint-*")), key=_number, default=None)


def _is_over(checkpoint: Path, config: TrainConfig) -> bool:
    """Tell whether early stopping had ended the run that wrote this checkpoint."""
    state = TrainerState.load_from_json(str(checkpoint / _FILE))
    return stops_early(to_history(state.log_history), config)


def _given_checkpoint(path: Path, facts: dict[str, Any]) -> Path:
    """Find the checkpoint that the caller means, and refuse one of another run."""
    inside = [folder for folder in (path, path / "checkpoints") if folder.is_dir()]
    found = path if _whole(path) else next(filter(None, map(_last, inside)), None)
    if found is None:
        raise FileNotFoundError(
            f"no checkpoint in {path}: expected a folder with {_FILE}, or a run that kept its "
            "checkpoints (keep_checkpoints=0); check the path"
        )
    if not (found / RECORD).is_file():
        raise FileNotFoundError(
            f"{found} has no {RECORD}: it was not written by this kit, or the run was killed while "
            "it was written; take an earlier checkpoint"
        )
    there = repro.read_json(found / RECORD)
    wrong = [
        f"{name} is {there['config'].get(name)!r} there and {value!r} here"
        for name, value in facts["config"].items()
        if name not in RESUMABLE and there["config"].get(name) != value
    ]
    names = {"data": "the crops or their rows", "start": "the start weights", "world": "processes"}
    wrong += [f"{what} differ" for name, what in names.items() if there[name] != facts[name]]
    if wrong:
        raise ValueError(
            f"{found} belongs to another run: {'; '.join(wrong)}. Use the same settings and data; "
            f"only {', '.join(RESUMABLE)} may change"
        )
    state = TrainerState.load_from_json(str(found / _FILE))
    if state.epoch >= facts["config"]["epochs"]:
        raise ValueError(
            f"{found} has done {state.epoch:.0f} epochs and epochs is "
            f"{facts['config']['epochs']}; raise epochs, or take an earlier checkpoint"
        )
    return found


def _take_best(checkpoint: Path, folder: Path, config: TrainConfig) -> None:
    """Copy the best weights up to a checkpoint into the folder of the run that goes on from it."""
    state = TrainerState.load_from_json(str(checkpoint / _FILE))
    best = best_epoch(to_history(state.log_history), config)
    source = weights_of(checkpoint, best)
    if not source.is_file():
        raise ValueError(
            f"{checkpoint} does not hold the weights of epoch {best['epoch']:.0f}, the best by "
            f"{config.select_metric!r} so far; keep the select_metric it was made with"
        )
    with repro.atomic_path(weights_of(folder, best)) as temporary:
        shutil.copyfile(source, temporary)


def _load(model: nn.Module, folder: Path, quiet: bool = False) -> TrainResult:
    facts = repro.read_json(folder / "run.json")
    history = pd.read_csv(folder / "history.csv", dtype=str).astype(float).astype({"step": int})
    weights, wanted = load_file(folder / "weights.safetensors"), set(tuned(model))
    if set(weights) != wanted:
        raise ValueError(
            f"{folder}/weights.safetensors holds other tensors than the model trains, for example "
            f"{sorted(set(weights) ^ wanted)[0]}; delete the folder to train again"
        )
    model.load_state_dict(weights, strict=False)
    if not quiet:
        print(
            f"loaded the finished run {folder.name} ({len(history)} epochs, select AUROC "
            f"{facts['best']['select_auroc']:.3f}); nothing was trained",
            flush=True,
        )
    return TrainResult(model.eval(), history, facts["seconds"], facts["best"], folder, True)
