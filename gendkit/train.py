"""Train a detector by the GenD recipe, on `transformers.Trainer`.

One call trains, resumes after a kill, or loads a finished run: the folder of a run is named by a
hash of all it depends on (settings, crops, start weights).
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, default_collate
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from gendkit import metrics, repro
from gendkit.datasets import CropDataset, FeatureDataset, PairedBatchSampler, RandomBatchSampler
from gendkit.evaluate import cache_features, probability, processor_of, unwrap
from gendkit.losses import GenDLoss
from gendkit.model import GenDOutput, active_head
from gendkit.recipe import (
    METRICS,
    TrainConfig,
    best_epoch,
    by_role,
    learning_rate,
    run_fingerprint,
    to_history,
)
from gendkit.transforms import Augment


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


class GenDTrainer(Trainer):
    """`Trainer` with the GenD loss, batches and schedule; the rest is inherited.

    Args:
        config: Settings.
        sampler: Batch sampler with `set_epoch`.
        **kwargs: Of `transformers.Trainer`.
    """

    def __init__(self, *, config: TrainConfig, sampler: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.sampler = config, sampler
        self.objective = GenDLoss(config.alignment, config.uniformity, config.label_smoothing)
        # The loss is a mean over one step's crops, so Trainer must divide by the accumulation.
        self.model_accepts_loss_kwargs = False
        self._parts: dict[str, list[torch.Tensor]] = {}
        self._clock: tuple[float, float] | None = None  # start, seconds of earlier attempts

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and keep the time."""
        self._started = time.perf_counter()
        return super().train(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        """Return batches as the sampler composes them."""
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the recipe's schedule, per update."""
        per_epoch = num_training_steps / self.config.epochs
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: learning_rate(step, per_epoch, self.config) / self.config.learning_rate,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return cross-entropy + alignment + uniformity of one batch."""
        out = model(pixel_values=inputs["pixel_values"])
        try:
            loss, parts = self.objective(out.logits.float(), out.features.float(), inputs["labels"])
        except ValueError as error:
            rows = inputs["index"].tolist()
            raise ValueError(
                f"update {self.state.global_step}, fit rows {rows}: {error}"
            ) from error
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(torch.as_tensor(value).detach())
        return (loss, out) if return_outputs else loss

    def prediction_step(self, model: nn.Module, inputs: dict, *_: Any, **__: Any) -> tuple:
        """Return (cross-entropy, logits, labels): a last batch may hold one class only."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            logits = model(pixel_values=inputs["pixel_values"]).logits.float()
            loss = nn.functional.cross_entropy(logits, inputs["labels"])
        return loss, logits, inputs["labels"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the loss parts and the clock to what is logged."""
        now = time.perf_counter()
        if self._clock is None:
            before = [row["seconds"] for row in self.state.log_history if "seconds" in row]
            self._clock = (self._started, before[-1] if before else 0.0)
        if "loss" in logs:
            for name, values in self._parts.items():
                logs[f"loss_{name}"] = float(torch.stack(values).float().mean())
            self._parts.clear()
        super().log(logs | {"seconds": now - self._clock[0] + self._clock[1]}, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if isinstance(self.model, PeftModel):
            # By default PEFT asks the network at every save whether a vocabulary has changed.
            self.model.save_pretrained(
                output_dir, state_dict=state_dict, save_embedding_layers=False
            )
        else:
            super()._save(output_dir, state_dict)

    def floating_point_ops(self, inputs: dict) -> int:
        """Skip a count that nothing here reads."""
        return 0


class _Run(TrainerCallback):
    """Epoch numbers to sampler and crops, best weights and history to files, a line to the reader."""

    def __init__(
        self, model: nn.Module, folder: Path, config: TrainConfig, data: Any, sampler: Any
    ):
        self.model, self.folder, self.config = model, folder, config
        self.data, self.sampler = data, sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = int((state.epoch or 0) + 1e-6)
        # Older versions of accelerate do not tell a batch sampler the epoch.
        for item in (self.data, self.sampler):
            item.set_epoch(epoch)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        history = to_history(state.log_history)
        best = best_epoch(history, self.config)
        if best["step"] == state.global_step:
            with repro.atomic_path(_weights_of(self.folder, best)) as temporary:
                save_file(_tuned(self.model), temporary)
        with repro.atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
        last, n_epochs = history.iloc[-1], self.config.epochs
        if len(history) * 10 // n_epochs > (len(history) - 1) * 10 // n_epochs:
            print(
                f"epoch {len(history)}/{n_epochs}: loss {last['loss']:.4f}, select AUROC "
                f"{last['select_auroc']:.3f}, {last['seconds']:.0f} s",
                flush=True,
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Not before the checkpoint is written: a restart may repeat the epoch and choose otherwise.
        if state.is_world_process_zero:
            best = best_epoch(to_history(state.log_history), self.config)
            for path in self.folder.glob("weights-*.safetensors"):
                if path != _weights_of(self.folder, best):
                    path.unlink()


def _weights_of(folder: Path, epoch: dict[str, float]) -> Path:
    return folder / f"weights-{epoch['step']:.0f}.safetensors"


def _tuned(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.named_parameters()
        if value.requires_grad
    }


class _HeadOnly(nn.Module):
    """The head of a detector, fed with cached features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head = active_head(model)

    def forward(self, pixel_values: torch.Tensor) -> GenDOutput:
        return GenDOutput(logits=self.head(pixel_values), features=pixel_values)


def train(
    model: nn.Module,
    table: pd.DataFrame,
    root: str | Path,
    config: TrainConfig | None = None,
    out: str | Path = "runs",
    processor: Callable | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Train a detector on the fit rows, choose the epoch on the select videos, or load the run.

    A run killed at any moment goes on from its last finished epoch when the same call is made
    again, and on a CPU ends with the same weights as an unbroken run. If the encoder has no
    trainable weight and there is no augmentation, features are computed once.

    Args:
        model: Detector; what has requires_grad is trained (`model.tune_layernorm` sets it).
        table: Frame manifest with the roles fit and select; other rows are not read.
        root: Folder that the paths are relative to.
        config: Settings; None for the fast profile.
        out: Folder of runs; this run gets a folder named by its fingerprint.
        processor: Preprocessing; by default the one of the model's encoder.
        callbacks: Further callbacks of `transformers.Trainer`.

    Returns:
        TrainResult; its model is the one passed in, in eval mode.

    Raises:
        ValueError: If a role lacks a class, nothing is trainable, or the loss is not finite.

    Source: arXiv:2508.06248, training details.
    """
    config, root = config or TrainConfig(), Path(root)
    fit, select = by_role(table)
    n_trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    if n_trained == 0:
        raise ValueError("no parameter has requires_grad; call model.tune_layernorm(model) first")
    key = run_fingerprint(model, pd.concat([fit, select]), root, config)
    folder = Path(out) / f"run-{key[:12]}"
    if (folder / "run.json").is_file():
        return _load(model, folder)
    repro.seed_all(config.seed)
    trainer, run = _prepare(
        model, fit, select, root, config, folder, processor or processor_of(model)
    )
    for callback in (run, *callbacks):
        trainer.add_callback(callback)
    checkpoint = _last_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        print(f"going on from {checkpoint.name} of {folder.name}", flush=True)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.is_world_process_zero():
        history = to_history(trainer.state.log_history)
        best = best_epoch(history, config)
        chosen = _weights_of(folder, best)
        if chosen.is_file():  # not if an earlier attempt was killed right below
            chosen.replace(folder / "weights.safetensors")
        facts = {
            "fingerprint": key,
            "config": asdict(config),
            "best": best,
            "seconds": float(history["seconds"].iloc[-1]),
            "n_fit": len(fit),
            "n_select": len(select),
            "n_trained": n_trained,
        }
        repro.write_json(folder / "run.json", repro.provenance(**facts))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return replace(_load(model, folder, quiet=True), loaded=False)


def _prepare(
    model: nn.Module,
    fit: pd.DataFrame,
    select: pd.DataFrame,
    root: Path,
    config: TrainConfig,
    folder: Path,
    processor: Callable,
) -> tuple[GenDTrainer, _Run]:
    frozen = not any(value.requires_grad for value in unwrap(model).encoder.parameters())
    if frozen and not config.augment:
        data, held = (
            FeatureDataset(
                cache_features(model, part, root, processor=processor), part["label"].to_numpy()
            )
            for part in (fit, select)
        )
        network: nn.Module = _HeadOnly(model)
    else:
        augment = Augment() if config.augment else None
        data = CropDataset(fit, root, processor, augment, config.seed, config.paired)
        held, network = CropDataset(select, root, processor), model
    sampler = (
        PairedBatchSampler(fit, config.batch_size, config.seed)
        if config.paired
        else RandomBatchSampler(len(fit), config.batch_size, config.seed)
    )
    where = repro.device("auto").type
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
        save_total_limit=1,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
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
    return trainer, _Run(model, folder, config, data, sampler)


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint; remove what a kill left half written."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in found:
        try:
            # Trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
        except (FileNotFoundError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def _load(model: nn.Module, folder: Path, quiet: bool = False) -> TrainResult:
    facts = repro.read_json(folder / "run.json")
    history = pd.read_csv(folder / "history.csv", dtype=str).astype(float).astype({"step": int})
    weights, wanted = load_file(folder / "weights.safetensors"), set(_tuned(model))
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
