"""Pre-train the embedded encoder: `gendkit weights encoder --renders _build/renders`.

Input: `shard-*.npz` with `images` (n, 256, 256, 3) uint8 clean renders, `landmarks` (n, 68, 2),
`identity_id` (n,), and the numbers behind each picture: `identity`, `expression`, `pose`, `light`. Shards
that appear while training runs are picked up. The pretext is in `pretext`; no forgery is ever shown.
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
from gendkit.pretrain import pretext
from gendkit.pretrain.pictures import FACTS, Renders, Source
from gendkit.specs import CLIP_MEAN, CLIP_STD

ARCHITECTURE = {
    "hidden_size": 192,
    "intermediate_size": 576,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "projection_dim": 192,
    "image_size": pretext.SIZE,
    "patch_size": pretext.PATCH,
    "hidden_act": "gelu",
}


class Pretrainer(nn.Module):
    """The encoder with the heads of the pretext.

    Args:
        sizes: Length of each whole-picture target by name.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        """Build encoder and heads; statistics are filled by `calibrate`."""
        super().__init__()
        self.vision = CLIPVisionModel(CLIPVisionConfig(**ARCHITECTURE))
        width = ARCHITECTURE["hidden_size"]
        self.dense = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, pretext.N_DENSE))
        self.whole = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1))
        self.register_buffer("dense_mean", torch.zeros(pretext.N_DENSE))
        self.register_buffer("dense_std", torch.ones(pretext.N_DENSE))
        self.register_buffer("points_mean", torch.zeros(136))
        self.register_buffer("points_std", torch.ones(136))

    @torch.no_grad()
    def calibrate(self, batches: list[dict[str, torch.Tensor]]) -> None:
        """Set target statistics and the first layer's filters from a few batches."""
        images = torch.cat([b["images"] for b in batches])
        dense = torch.cat([pretext.dense_targets(b["images"], b["camera"]) for b in batches])
        self.dense_mean.copy_(dense.flatten(0, 1).mean(0))
        self.dense_std.copy_(dense.flatten(0, 1).std(0) + 1e-3)
        points = torch.cat([b["landmarks"] for b in batches])
        points = points[points.isfinite().all(1)]
        self.points_mean.copy_(points.mean(0))
        self.points_std.copy_(points.std(0) + 1e-3)
        weight = self.vision.embeddings.patch_embedding.weight
        weight.copy_(pretext.patch_filters((images - self.mean) / self.std, len(weight)))
        self.vision.embeddings.position_embedding.weight.mul_(10)  # as loud as the patches

    def forward(self, batch: dict[str, torch.Tensor], masked: float) -> dict[str, torch.Tensor]:
        """Give the mean squared error of each group of targets, in units of its variance.

        Args:
            batch: See `Source.batch`.
            masked: Share of patches blanked in every second picture; they must be told from the rest.
        """
        images = (batch["images"] - self.mean) / self.std
        if masked > 0:
            drop = torch.rand(len(images), 1, pretext.GRID, pretext.GRID, device=images.device)
            drop[::2] = 1.0
            drop = functional.interpolate((drop < masked).float(), scale_factor=pretext.PATCH)
            images = images * (1 - drop)
        output = self.vision(pixel_values=images)
        wanted = pretext.dense_targets(batch["images"], batch["camera"])
        error = (self.dense(output.last_hidden_state[:, 1:]).float() - self._dense(wanted)) ** 2
        parts = error.split(list(pretext.GROUPS.values()), dim=-1)
        losses = {name: part.mean() for name, part in zip(pretext.GROUPS, parts, strict=True)}
        points = (batch["landmarks"] - self.points_mean) / self.points_std
        levels = self._dense(wanted)[..., -6:]  # how good the picture is, and how uneven
        levels = torch.cat([levels[..., :3].mean(1), levels.std(1)], dim=-1)
        truths = {"landmarks": points, "levels": levels} | {name: batch[name] for name in FACTS}
        for name, head in self.whole.items():
            truth = truths[name]
            valid = truth.isfinite().all(1)
            guess = head(output.pooler_output[valid]).float()
            losses[name] = ((guess - truth[valid]) ** 2).mean()
        return losses

    def _dense(self, wanted: torch.Tensor) -> torch.Tensor:
        return (wanted - self.dense_mean) / self.dense_std


WEIGHTS = {"bands": 1.0, "orientation": 0.5, "colour": 0.5, "camera": 1.0, "cast": 2.0, "landmarks": 0.5,
           "identity": 0.25, "expression": 0.25, "pose": 0.25, "light": 0.25, "levels": 1.5}  # fmt: skip


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
    size = pretext.SIZE
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


@torch.no_grad()
def check(model: Pretrainer, batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Give the explained variance (1 - error / variance) of each target on held-out identities."""
    model.eval()
    rows = [model(batch, masked=0.0) for batch in batches]
    model.train()
    return {name: 1 - float(np.mean([float(r[name]) for r in rows])) for name in rows[0]}


def train(
    renders: Path,
    out: Path,
    minutes: float = 40.0,
    *,
    work: Path = Path("_build/encoder"),
    resume: bool = False,
    seed: int = 0,
    batch: int = 64,
    peak: float = 2e-3,
    export_every: float = 10.0,
    device: str = "auto",
) -> dict[str, float]:
    """Run the recipe for a budget of minutes of training.

    Args:
        renders: Folder of shards.
        out: Where the encoder is exported, also on the way.
        minutes: Training time in all, earlier runs of the same checkpoint included.
        work: Where the checkpoint is kept.
        resume: Go on from the checkpoint.
        seed: Of all randomness.
        batch: Pictures a step.
        peak: Highest learning rate.
        export_every: Minutes between exports and checkpoints.
        device: See `repro.device`.

    Returns:
        Explained variance by target on held-out identities.

    Raises:
        FileNotFoundError: If there is no shard, or no checkpoint to resume.
    """
    data = Renders(renders)
    if not data.images:
        raise FileNotFoundError(
            f"No shard-*.npz in {renders}; make them with: gendkit nobody training --out {renders}"
        )
    record = repro.provenance(recipe="gendkit.pretrain.encoder")
    where = repro.device(device)
    repro.seed_all(seed)
    checkpoint = work / "checkpoint.pt"
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"No checkpoint at {checkpoint} to resume; run without --resume.")
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu") if resume else None
    step, spent, samples = (
        (saved[k] for k in ("step", "seconds", "samples")) if saved else (0, 0.0, 0)
    )
    source = Source(data, seed + step)
    if saved:
        source.moments = {n: (a.numpy(), b.numpy()) for n, (a, b) in saved["moments"].items()}
    sizes = {"landmarks": 136, "levels": 9} | {n: len(m[0]) for n, m in source.moments.items()}
    model = Pretrainer(sizes)
    held = Source(data, seed + 1_000_003)
    held.moments, held.share = source.moments, 0.0
    val_rows = data.rows(True) if len(data.rows(True)) else data.rows(False)[:8]
    val = [held.batch(held.draw(val_rows, batch)) for _ in range(4)]
    if saved:
        model.load_state_dict(saved["model"])
    else:
        model.calibrate([source.batch(source.draw(data.rows(False), batch)) for _ in range(16)])
    model.to(where).train()
    val = [{k: v.to(where) for k, v in b.items()} for b in val]
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
    rows, started, shown, kept = data.rows(False), time.monotonic() - spent, 0.0, spent
    mean: dict[str, float] = {}

    def keep(score: dict[str, float]) -> None:
        moments = {n: tuple(map(torch.from_numpy, m)) for n, m in source.moments.items()}
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "moments": moments,
        }
        state |= {"step": step, "seconds": time.monotonic() - started, "samples": samples}
        with repro.atomic_path(checkpoint) as temporary:
            torch.save(state, temporary)
        numbers = {"steps": step, "samples": samples, "pictures": len(data.images), "seed": seed,
                   "identities": len(set(data.identities)), "minutes": round(state["seconds"] / 60, 1),
                   "explained_variance": {k: round(v, 4) for k, v in score.items()}}  # fmt: skip
        export(model, out, record | numbers)
        print(f"exported to {out}: {json.dumps(numbers)}", flush=True)

    while (elapsed := time.monotonic() - started) < minutes * 60:
        share = elapsed / (minutes * 60)
        rate = peak * min(1.0, (step + 1) / 150) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        drawn = {k: v.to(where) for k, v in source.batch(source.draw(rows, batch)).items()}
        with torch.autocast(where.type, dtype=torch.bfloat16):
            losses = model(drawn, masked=0.3)
        loss = sum(WEIGHTS[name] * value for name, value in losses.items())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss is {loss.item()} at step {step}; lower --peak.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, samples = step + 1, samples + batch
        for name, value in losses.items():
            mean[name] = 0.97 * mean.get(name, value.item()) + 0.03 * value.item()
        if elapsed - shown > 60:
            shown = elapsed
            added = data.refresh()
            rows = data.rows(False)
            told = " ".join(f"{name} {1 - value:.3f}" for name, value in mean.items())
            speed = samples / max(elapsed, 1)
            print(f"{elapsed / 60:5.1f} of {minutes:.0f} min, step {step}, {speed:.0f} pictures/s, "
                  f"{len(data.images)} renders (+{added} shards), R2: {told}", flush=True)  # fmt: skip
        if elapsed - kept > export_every * 60:
            kept = elapsed
            keep(check(model, val))
    score = check(model, val)
    keep(score)
    return score


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights encoder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--renders", type=Path, default=Path("_build/renders"))
    parser.add_argument("--out", type=Path, default=Path("data/weights/encoder"))
    parser.add_argument("--work", type=Path, default=Path("_build/encoder"))
    parser.add_argument("--minutes", type=float, default=40.0, help="training time in all")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--export-every", type=float, default=10.0, help="minutes")
    parser.add_argument("--device", default="auto")
    options = vars(parser.parse_args(argv))
    score = train(options.pop("renders"), options.pop("out"), **options)
    print(json.dumps({name: round(value, 4) for name, value in score.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
