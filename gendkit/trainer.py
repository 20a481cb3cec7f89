"""The engine of a run: `transformers.Trainer` with GenD's loss, batches, schedule and records."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from gendkit import repro
from gendkit.adapters import active_head
from gendkit.losses import GenDLoss
from gendkit.model import GenDOutput
from gendkit.recipe import TrainConfig, best_epoch, learning_rate, stops_early, to_history

RECORD = "gendkit.json"  # beside each checkpoint: what it may be continued with


class GenDTrainer(Trainer):
    """`Trainer` with the GenD loss, batches and schedule; the rest is inherited.

    Under `torchrun` or `accelerate launch` every process takes its own batches of the one order
    that the sampler gives: process r of n the batches r, r + n, ... The terms on pairs see the
    crops of one process; gradients are averaged over processes. So n processes make the update
    that one process makes with `accumulate` n times as large.

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
        """Return batches as the sampler composes them, each process its share.

        Raises:
            ValueError: If an epoch has fewer batches than there are processes.
        """
        n_processes = self.accelerator.num_processes
        if len(self.sampler) < n_processes:
            raise ValueError(
                f"an epoch has {len(self.sampler)} batches of {self.sampler.batch_size} for "
                f"{n_processes} processes, expected at least one each; use a smaller batch_size, "
                "fewer processes or more crops"
            )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # alone, accelerate would only hold one batch more in memory
        return self.accelerator.prepare(loader) if n_processes > 1 else loader

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the recipe's schedule, per update."""
        per_epoch = num_training_steps / self.config.epochs
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: learning_rate(step, per_epoch, self.config) / self.config.learning_rate,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            # The stored rate is that of the stored schedule; more epochs may mean another one.
            schedule = self.lr_scheduler
            rates = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
            for group, (base, factor) in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = base * factor(schedule.last_epoch)

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
        """Add the loss parts (mean over processes) and the clock to what is logged."""
        now = time.perf_counter()
        if self._clock is None:
            before = [row["seconds"] for row in self.state.log_history if "seconds" in row]
            self._clock = (self._started, before[-1] if before else 0.0)
        if "loss" in logs and self._parts:
            means = torch.stack([torch.stack(v).float().mean() for v in self._parts.values()])
            means = self.accelerator.reduce(means, reduction="mean").tolist()
            logs |= {f"loss_{name}": value for name, value in zip(self._parts, means, strict=True)}
            self._parts.clear()
        super().log(logs | {"seconds": now - self._clock[0] + self._clock[1]}, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not isinstance(self.model, PeftModel):
            super()._save(output_dir, state_dict)
            return
        # PEFT's own save asks the network whether a vocabulary has changed, and renders a model
        # card, which takes longer than the rest; Trainer reads back only these two files.
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        save_file(tensors, folder / "adapter_model.safetensors")
        self.model.peft_config["default"].save_pretrained(str(folder))

    def floating_point_ops(self, inputs: dict) -> int:
        """Skip a count that nothing here reads."""
        return 0


class RunRecord(TrainerCallback):
    """Epoch numbers to sampler and crops, best weights and history to files, a line to the reader.

    Args:
        model: Detector whose tuned weights are kept.
        folder: Folder of the run.
        config: Settings.
        data: Fit samples with `set_epoch`.
        sampler: Batch sampler with `set_epoch`.
        facts: What a checkpoint may be continued with; stored beside it.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        config: TrainConfig,
        data: Any,
        sampler: Any,
        facts: dict[str, Any],
    ) -> None:
        self.model, self.folder, self.config = model, folder, config
        self.data, self.sampler, self.facts = data, sampler, facts

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell sampler and crops the epoch."""
        epoch = int((state.epoch or 0) + 1e-6)
        # Older versions of accelerate do not tell a batch sampler the epoch.
        for item in (self.data, self.sampler):
            item.set_epoch(epoch)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the weights of the best epoch, write the history, stop if nothing gets better."""
        history = to_history(state.log_history)
        control.should_training_stop |= stops_early(history, self.config)
        if not state.is_world_process_zero:
            return
        best = best_epoch(history, self.config)
        if best["step"] == state.global_step:
            with repro.atomic_path(weights_of(self.folder, best)) as temporary:
                save_file(tuned(self.model), temporary)
        with repro.atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
        last, n_epochs = history.iloc[-1], self.config.epochs
        stop = stops_early(history, self.config)
        if stop or len(history) * 10 // n_epochs > (len(history) - 1) * 10 // n_epochs:
            end = f"; stop: no better epoch in {self.config.patience}" if stop else ""
            print(
                f"epoch {len(history)}/{n_epochs}: loss {last['loss']:.4f}, select AUROC "
                f"{last['select_auroc']:.3f}, {last['seconds']:.0f} s{end}",
                flush=True,
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Complete the checkpoint, then remove weights that were beaten."""
        # Not before the checkpoint is written: a restart may repeat the epoch and choose otherwise.
        if not state.is_world_process_zero:
            return
        chosen = weights_of(self.folder, best_epoch(to_history(state.log_history), self.config))
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        with repro.atomic_path(checkpoint / chosen.name) as temporary:
            shutil.copyfile(chosen, temporary)
        repro.write_json(checkpoint / RECORD, self.facts)
        for path in self.folder.glob("weights-*.safetensors"):
            if path != chosen:
                path.unlink()


def weights_of(folder: Path, epoch: dict[str, float]) -> Path:
    """Name the file of one epoch's tuned weights."""
    return folder / f"weights-{epoch['step']:.0f}.safetensors"


def tuned(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy every parameter that is trained, on the CPU, by name."""
    return {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.named_parameters()
        if value.requires_grad
    }


class HeadOnly(nn.Module):
    """The head of a detector, fed with cached features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head = active_head(model)

    def forward(self, pixel_values: torch.Tensor) -> GenDOutput:
        """Map features (B, D) to logits."""
        return GenDOutput(logits=self.head(pixel_values), features=pixel_values)


def logger_callbacks(names: Sequence[str], folder: Path) -> list[TrainerCallback]:
    """Make the callbacks of the loggers beside history.csv; their packages load only here.

    Args:
        names: As in `TrainConfig.report_to`.
        folder: Folder of the run; TensorBoard writes to its folder tensorboard, W&B to wandb.
    """
    made: list[TrainerCallback] = []
    if "tensorboard" in names:
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        made.append(TensorBoardCallback(SummaryWriter(log_dir=str(folder / "tensorboard"))))
    if "wandb" in names:
        from transformers.integrations import WandbCallback

        made.append(WandbCallback())
    return made
