"""What the kit is measured against: the same work, written as a careful person would without it.

Nothing here is used elsewhere, and nothing here imports the parts of the kit that it is compared with.
"""

import io
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from gendkit import repro

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)


def seek_frames(path: str | Path, indices: Sequence[int]) -> np.ndarray:
    """Read frames by number: seek to the key frame before each, decode up to it.

    Args:
        path: Video with a constant frame rate.
        indices: Frame numbers from 0.

    Returns:
        (n, H, W, 3) uint8 RGB.

    Raises:
        ValueError: If a frame is not found.
    """
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = 1 / (stream.average_rate * stream.time_base)
        first = stream.start_time or 0
        for index in indices:
            target = first + round(index * step)
            container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts >= target:
                    images.append(frame.to_ndarray(format="rgb24"))
                    break
            else:
                raise ValueError(f"{path}: no frame {index}; its frame rate may vary")
    return np.stack(images)


def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flip, turn, shift, enlarge, blur, change brightness and contrast, and code as JPEG."""
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    width, height = image.size
    angle, scale = math.radians(rng.uniform(-10, 10)), rng.uniform(0.9, 1.1)
    right, down = round(rng.uniform(-0.1, 0.1) * width), round(rng.uniform(-0.1, 0.1) * height)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = width / 2 + right, height / 2 + down
    matrix = (cos, -sin, width / 2 - cos * x + sin * y, sin, cos, height / 2 - sin * x - cos * y)
    image = image.transform(image.size, Image.Transform.AFFINE, matrix)
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.9, 1.1))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.9, 1.1))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(40, 101)))
    return Image.open(buffer).convert("RGB")


class Crops(Dataset):
    """PNG crops, decoded, augmented and normalised one by one.

    Args:
        rows: Paths and labels.
        size: Side of the network's input in pixels.
        rng: Source of chance; None for no augmentation.
    """

    def __init__(
        self, rows: Sequence[tuple[Path, int]], size: int, rng: np.random.Generator | None
    ) -> None:
        self.rows, self.size, self.rng = list(rows), size, rng
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.rows[index]
        with Image.open(path) as file:
            image = file.convert("RGB")
        if self.rng is not None:
            image = augment(image, self.rng)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
        return pixels.sub_(self.mean).div_(self.std), label


def loss_of(logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy + 0.1 alignment + 0.5 uniformity on unit features."""
    squared = F.pdist(F.normalize(features, dim=1)).pow(2)
    i, j = torch.triu_indices(len(labels), len(labels), 1)
    alignment = squared[labels[i] == labels[j]].mean()
    uniformity = squared.mul(-2).exp().mean().clamp(min=1e-6).log()
    return F.cross_entropy(logits, labels) + 0.1 * alignment + 0.5 * uniformity


class Detector(nn.Module):
    """The embedded encoder with a head on scaled unit features; LayerNorms and head train."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPVisionModel

        folder = repro.data_dir() / "weights" / "encoder"
        self.encoder = CLIPVisionModel.from_pretrained(folder).float()
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)
        self.encoder.requires_grad_(False)
        for module in self.encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give logits (B, 2) and features (B, D)."""
        features = self.encoder(pixel_values=pixels).pooler_output
        return self.head(10 * F.normalize(features, dim=1)), features


def train(manifest: Path, epochs: int, batch_size: int) -> tuple[int, float, float]:
    """Train, choose the epoch by the AUROC on the select crops, keep its weights in a file.

    Args:
        manifest: Manifest of crops.
        epochs: Passes over the fit crops.
        batch_size: Crops per step.

    Returns:
        Number of images trained on, seconds, and CPU seconds of the whole loop.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    table = pd.read_csv(manifest)
    rows = {
        role: [(manifest.parent / path, int(label)) for path, label in part.to_numpy()]
        for role, part in table.groupby("role")[["path", "label"]]
    }
    torch.manual_seed(0)
    model = Detector()
    start, busy = time.perf_counter(), time.process_time()
    side = model.encoder.config.image_size
    fit = Crops(rows["fit"], side, np.random.default_rng(0))
    loader = DataLoader(fit, batch_size, shuffle=True, drop_last=True)
    held = DataLoader(Crops(rows["select"], side, None), batch_size)
    tuned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(tuned.values(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader), 1e-3)
    best, n = -1.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(epochs):
            model.train()
            for pixels, labels in loader:
                optimizer.zero_grad()
                loss = loss_of(*model(pixels), labels)
                if not torch.isfinite(loss):
                    raise ValueError(f"the loss is {loss.item()}")
                loss.backward()
                optimizer.step()
                schedule.step()
                n += len(labels)
            value = roc_auc_score(*_select_scores(model, held))
            state: dict[str, Any] = {name: tensor.detach() for name, tensor in tuned.items()}
            torch.save({"model": state, "optimizer": optimizer.state_dict()}, f"{folder}/last.pt")
            if value > best:
                best = value
                torch.save(state, f"{folder}/best.pt")
        model.load_state_dict(torch.load(f"{folder}/best.pt", weights_only=True), strict=False)
        return n, time.perf_counter() - start, time.process_time() - busy


@torch.no_grad()
def _select_scores(model: nn.Module, held: DataLoader) -> tuple[np.ndarray, np.ndarray]:
    model.eval()
    parts = [(labels, model(pixels)[0].softmax(dim=1)[:, 1]) for pixels, labels in held]
    labels, scores = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return labels, scores
