"""Pre-train the embedded encoder: `gendkit weights encoder --footage _build/footage`.

The class token learns what a picture shows and what filmed it; the patch tokens learn what the picture
is made of there, and where a part of it was processed. Pictures come as twins that differ only in what
was processed, and the difference of their answers counts as a target of its own. No forgery is ever
shown. Shards of `footage` that appear while training runs are taken up.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from gendkit import repro
from gendkit.pretrain import targets
from gendkit.pretrain.footage import FACTS
from gendkit.pretrain.pool import Pool
from gendkit.specs import CLIP_MEAN, CLIP_STD

ARCHITECTURE = {
    "hidden_size": 192,
    "intermediate_size": 576,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "projection_dim": 192,
    "image_size": targets.SIZE,
    "patch_size": targets.PATCH,
    "hidden_act": "gelu",
}
PATCH_TARGETS = targets.TEXTURE | targets.TRACES
WHOLE_TARGETS = ("landmarks", "camera", *FACTS)
WEIGHTS = {"bands": 1.0, "orientation": 0.5, "colour": 0.5, "coverage": 1.0, "processing": 0.5, "cast": 0.5,
           "twin_coverage": 2.0, "twin_processing": 1.0, "twin_cast": 1.0,
           "landmarks": 0.5, "camera": 0.5, "identity": 0.25, "expression": 0.25, "pose": 0.25, "light": 0.25,
           "person": 0.1}  # fmt: skip
TEMPERATURE = 0.1
STEEP = 2.0  # slope of the units that start as energies
MASKED = 0.15
_EXAMPLES = """examples:
  gendkit weights footage                          the samples, once; may run at the same time
  gendkit weights encoder --minutes 90             a line a minute: time spent, speed, what is told
  gendkit weights encoder --minutes 180 --resume   go on, up to 180 minutes in all
  gendkit weights encoder --start data/weights/encoder --out _build/next --work _build/next-run
                                                   a new run from trained weights
"""


class Pretrainer(nn.Module):
    """The encoder with the heads of the pretext.

    Args:
        moments: Mean and standard deviation of each whole-picture target but landmarks.
    """

    def __init__(self, moments: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Build encoder and heads; statistics are filled by `calibrate`."""
        super().__init__()
        self.vision = CLIPVisionModel(CLIPVisionConfig(**ARCHITECTURE))
        width, n_patch = ARCHITECTURE["hidden_size"], sum(PATCH_TARGETS.values())
        self.dense = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_patch))
        sizes = {"landmarks": 136} | {name: len(mean) for name, (mean, _) in moments.items()}
        self.whole = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        self.person = nn.Linear(width, 64)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1))
        self.register_buffer("dense_mean", torch.zeros(n_patch))
        self.register_buffer("dense_std", torch.ones(n_patch))
        for name, size in sizes.items():
            mean, std = moments.get(name, (torch.zeros(size), torch.ones(size)))
            self.register_buffer(f"{name}_mean", mean.float())
            self.register_buffer(f"{name}_std", std.float())

    @torch.no_grad()
    def calibrate(self, batches: list[dict[str, torch.Tensor]]) -> None:
        """Set target statistics and the first layer's filters from a few batches.

        Args:
            batches: See `Pool.batch`.

        Raises:
            ValueError: If the encoder is too narrow for the filters (`targets.patch_filters`).
        """
        images = torch.cat([b["images"] for b in batches])
        dense = torch.cat([torch.cat([b["texture"], b["maps"]], -1) for b in batches]).flatten(0, 1)
        self.dense_mean.copy_(dense.mean(0))
        self.dense_std.copy_(dense.std(0) + 1e-3)
        points = torch.cat([b["landmarks"] for b in batches])
        points = points[points.isfinite().all(1)]
        self.landmarks_mean.copy_(points.mean(0))
        self.landmarks_std.copy_(points.std(0) + 1e-3)
        weight = self.vision.embeddings.patch_embedding.weight
        weight.copy_(targets.patch_filters((images - self.mean) / self.std, len(weight)))
        position = self.vision.embeddings.position_embedding.weight
        position.mul_(10)  # as loud as the patches
        position[:, -targets.FREE :] = 0
        self._start_energies()

    def _start_energies(self) -> None:
        """Let the first block's MLP add the energies of the groups of filters to the free channels.

        Two units with opposite weights answer to size, whatever the sign: gelu(x) + gelu(-x) is about
        0.8 x^2 for small and |x| for large x. A free channel gets the mean over its group, with x the
        answer of a filter times `STEEP`. Source: own.
        """
        mlp = self.vision.encoder.layers[0].mlp
        width, unit = mlp.fc1.in_features, 0
        for group, filters in enumerate(targets.energy_groups()):
            free = width - targets.FREE + group
            mlp.fc2.weight[free] = 0
            for channel in filters:
                for sign in (-1.0, 1.0):
                    mlp.fc1.weight[unit] = 0
                    mlp.fc1.weight[unit, channel] = sign * STEEP
                    mlp.fc2.weight[:, unit] = 0
                    mlp.fc2.weight[free, unit] = 1 / len(filters)
                    unit += 1

    def forward(
        self, batch: dict[str, torch.Tensor], masked: float = 0.0
    ) -> dict[str, torch.Tensor]:
        """Give the loss of each group of targets.

        Args:
            batch: See `Pool.batch`.
            masked: Share of patches blanked in every second pair of twins; they must be told from the rest.

        Returns:
            Mean squared errors in units of the variance. "twin_*" is half the mean squared error in the
            difference between twins, of what was processed: what both twins show cancels out. "person"
            is the cross-entropy of finding the other film of the same person in the batch.
        """
        images = (batch["images"] - self.mean) / self.std
        if masked > 0:  # the same patches of both twins
            drop = torch.rand(len(images) // 2, 1, targets.GRID, targets.GRID, device=images.device)
            drop[::2] = 1.0
            drop = drop.repeat_interleave(2, 0)
            drop = functional.interpolate((drop < masked).float(), scale_factor=targets.PATCH)
            images = images * (1 - drop)
        output = self.vision(pixel_values=images)
        wanted = torch.cat([batch["texture"], batch["maps"]], -1)
        guess = self.dense(output.last_hidden_state[:, 1:]).float()
        miss = guess - (wanted - self.dense_mean) / self.dense_std
        error = miss**2
        parts = error.split(list(PATCH_TARGETS.values()), dim=-1)
        losses = {name: part.mean() for name, part in zip(PATCH_TARGETS, parts, strict=True)}
        traces = list(targets.TRACES)
        apart = ((miss[::2] - miss[1::2]) ** 2)[..., -sum(targets.TRACES.values()) :]
        for name, part in zip(traces, apart.split(list(targets.TRACES.values()), -1), strict=True):
            losses[f"twin_{name}"] = part.mean() / 2
        for name, head in self.whole.items():
            truth = (batch[name] - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_std")
            valid = truth.isfinite().all(1)
            answer = head(output.pooler_output[valid]).float()
            losses[name] = ((answer - truth[valid]) ** 2).mean()
        losses["person"], _ = self._person(output.pooler_output, len(batch["people"]))
        return losses

    def _person(self, pooled: torch.Tensor, n_people: int) -> tuple[torch.Tensor, torch.Tensor]:
        """InfoNCE between the first twins of each person's films, and the share that found each other."""
        keys = self.person(pooled[: 4 * n_people : 2]).float()
        keys = functional.normalize(keys, dim=-1)
        likeness = (keys @ keys.T / TEMPERATURE).fill_diagonal_(float("-inf"))
        partner = torch.arange(2 * n_people, device=pooled.device) ^ 1
        found = (likeness.argmax(1) == partner).float().mean()
        return functional.cross_entropy(likeness, partner), found

    @torch.no_grad()
    def score(self, batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Measure on held-out people.

        Returns:
            Explained variance (1 - error / variance) of each target; for "person" the share of
            films whose nearest neighbour in the batch is the other one of that person.
        """
        self.eval()
        rows = []
        for batch in batches:
            losses = self(batch)
            pooled = self.vision(
                pixel_values=(batch["images"] - self.mean) / self.std
            ).pooler_output
            _, found = self._person(pooled, len(batch["people"]))
            rows.append({k: 1 - float(v) for k, v in losses.items()} | {"person": float(found)})
        self.train()
        return {name: round(float(np.mean([r[name] for r in rows])), 4) for name in rows[0]}


def export(model: Pretrainer, folder: Path, facts: dict[str, Any]) -> None:
    """Write the encoder as float16 in the transformers layout, with its preprocessing and provenance.

    Args:
        model: What was trained.
        folder: Target, replaced as a whole.
        facts: Written to `provenance.json`.
    """
    state = {k: v.detach().cpu().half().contiguous() for k, v in model.vision.state_dict().items()}
    config = {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        **ARCHITECTURE,
    }
    size = targets.SIZE
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "do_convert_rgb": True,
    }
    with repro.atomic_path(folder) as temporary:
        temporary.mkdir()
        save_file(state, temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "model.safetensors").chmod(0o644)  # safetensors makes it private
        repro.write_json(temporary / "config.json", config)
        repro.write_json(temporary / "preprocessor_config.json", processor)
        repro.write_json(temporary / "provenance.json", facts)


def train(
    footage: Path,
    out: Path,
    minutes: float = 90.0,
    *,
    work: Path = Path("_build/encoder"),
    resume: bool = False,
    seed: int = 0,
    batch: int = 64,
    peak: float = 2e-3,
    export_every: float = 10.0,
    device: str = "auto",
    compiled: bool = False,
    start: Path | None = None,
) -> dict[str, float]:
    """Run the recipe for a budget of minutes of training.

    Args:
        footage: Folder of shards.
        out: Where the encoder is exported, also on the way.
        minutes: Training time in all, earlier runs of the same checkpoint included.
        work: Where the checkpoint is kept.
        resume: Go on from the checkpoint.
        seed: Of all randomness.
        batch: Pictures a step, a multiple of 4 (twins of two films of each person).
        peak: Highest learning rate.
        export_every: Minutes between exports and checkpoints.
        device: See `repro.device`.
        start: Folder of an encoder to start from; None starts from filters measured on the footage.
        compiled: Compile the encoder first (needs a C++ compiler; 15 % faster on a processor core).

    Returns:
        See `Pretrainer.score`.

    Raises:
        FileNotFoundError: If there is no shard, no checkpoint to resume, or no encoder to start from.
        ValueError: If the batch is no multiple of 4.
        FloatingPointError: If the loss is not finite.
    """
    if batch < 4 or batch % 4:
        raise ValueError(
            f"--batch is {batch}, expected a multiple of 4: twins of two films of each person"
        )
    if start is not None and not (start / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"No model.safetensors in {start}; --start needs a folder that this recipe exported"
        )
    checkpoint = work / "checkpoint.pt"
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"No checkpoint at {checkpoint} to resume; run without --resume.")
    pool = Pool(footage)
    if not pool.identities:
        raise FileNotFoundError(
            f"No footage-*.npz in {footage}; make them with: gendkit weights footage --out {footage}"
        )
    record = repro.provenance(recipe="gendkit.pretrain.encoder")
    where = repro.device(device)
    repro.seed_all(seed)
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu") if resume else None
    step, spent = (saved["step"], saved["seconds"]) if saved else (0, 0.0)
    rng = np.random.default_rng([seed, step])
    held = Pool(footage, held_out=True)
    held = held if len(held.identities) > 1 else pool
    fixed = np.random.default_rng(seed)
    val = [{k: v.to(where) for k, v in held.batch(fixed, batch).items()} for _ in range(8)]
    model = Pretrainer(saved["moments"] if saved else pool.moments())
    if saved:
        model.load_state_dict(saved["model"])
    else:
        model.calibrate([pool.batch(rng, batch) for _ in range(16)])
        if start is not None:
            model.vision.load_state_dict(
                CLIPVisionModel.from_pretrained(start).float().state_dict()
            )
    model.to(where).train()
    if compiled:
        model.vision.compile()
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
    started, shown, kept = time.monotonic() - spent, spent, spent
    mean: dict[str, float] = {}

    def keep() -> dict[str, float]:
        score = model.score(val)
        seconds = time.monotonic() - started
        moments = {n: (getattr(model, f"{n}_mean").cpu(), getattr(model, f"{n}_std").cpu())
                   for n in WHOLE_TARGETS if n != "landmarks"}  # fmt: skip
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "moments": moments,
                 "step": step, "seconds": seconds}  # fmt: skip
        with repro.atomic_path(checkpoint) as temporary:
            torch.save(state, temporary)
        numbers = {"steps": step, "samples": step * batch, "pictures": len(pool), "seed": seed,
                   "identities": len(pool.identities), "minutes": round(seconds / 60, 1),
                   "explained_variance": score}  # fmt: skip
        export(model, out, record | numbers)
        print(f"exported to {out}: {json.dumps(numbers)}", flush=True)
        return score

    while (elapsed := time.monotonic() - started) < minutes * 60:
        share = elapsed / (minutes * 60)
        rate = peak * min(1.0, (step + 1) / 150) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        drawn = {k: v.to(where) for k, v in pool.batch(rng, batch).items()}
        with torch.autocast(where.type, dtype=torch.bfloat16):
            losses = model(drawn, masked=MASKED)
        loss = sum(WEIGHTS[name] * value for name, value in losses.items())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss is {loss.item()} at step {step}; lower --peak.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        for name, value in losses.items():
            mean[name] = 0.97 * mean.get(name, value.item()) + 0.03 * value.item()
        if elapsed - shown > 60:
            shown = elapsed
            pool.refresh()
            told = " ".join(f"{name} {1 - value:.3f}" for name, value in mean.items())
            print(f"{elapsed / 60:5.1f} of {minutes:.0f} min, step {step}, {step * batch / elapsed:.0f} samples/s, "
                  f"{len(pool)} in the pool, R2: {told}", flush=True)  # fmt: skip
        if elapsed - kept > export_every * 60:
            kept = elapsed
            keep()
    return keep()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights encoder",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--footage", type=Path, default=Path("_build/footage"), help="folder of the samples"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/weights/encoder"), help="folder of the encoder"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("_build/encoder"), help="folder of the checkpoint"
    )
    parser.add_argument("--minutes", type=float, default=90.0, help="training time in all")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch", type=int, default=64, help="pictures a step, a multiple of 4 (default 64)"
    )
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--export-every", type=float, default=10.0, help="minutes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--start", type=Path, help="folder of an encoder to start from, as this recipe exports it"
    )
    parser.add_argument("--compiled", action="store_true", help="compile the encoder first")
    options = vars(parser.parse_args(argv))
    score = train(options.pop("footage"), options.pop("out"), **options)
    print(json.dumps(score))
    return 0


if __name__ == "__main__":
    sys.exit(main())
