"""From a table of crops to tensors: one dataset, one paired and one plain batch sampler."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import BatchSampler, Dataset

from gendkit import manifest

_SHOWN = ["dataset", "source_id"]  # with frame and face: what a real and its fakes share


def row_name(table: pd.DataFrame, index: int) -> str:
    """Name one row of a table for an error message.

    Args:
        table: A manifest.
        index: Position of the row, counted from 0.

    Returns:
        For example "row 12 (nobody/DF/c23/003_007 frame 4, crops/DF/003_007/0004.png)".
    """
    row = table.iloc[index]
    key = "/".join(str(row[name]) for name in manifest.KEY)
    frame = f" frame {row['frame']}" if "frame" in table.columns else ""
    return f"row {index} ({key}{frame}, {row['path']})"


def to_pixels(processor: Callable, images: Sequence[np.ndarray]) -> torch.Tensor:
    """Run a processor and return its tensor, whatever the kind of processor.

    Args:
        processor: Callable on a list of (H, W, 3) uint8 RGB images that returns a (B, 3, S, S)
            tensor, or a mapping that holds one under "pixel_values" (image processors do).
        images: B images; the sizes may differ.

    Returns:
        (B, 3, S, S) float32.
    """
    out = processor(list(images))
    if hasattr(out, "keys"):
        out = out["pixel_values"]
    if not isinstance(out, torch.Tensor):
        out = torch.from_numpy(np.stack([np.asarray(image) for image in out]))
    return out.float()


class CropDataset(Dataset):
    """Face crops of a frame manifest as training or scoring samples.

    A sample is {"pixel_values": (3, S, S) float32, "labels": 0 or 1, "index": row position}.
    The random draws of the augmentation come from (seed, epoch, what the row shows), never from a
    global generator: workers, threads, batch composition and a restart change nothing.
    A batch is decoded and augmented by as many threads as torch has.

    Args:
        table: Frame manifest, one row per crop. Its row order is the sample order.
        root: Folder that the column `path` is relative to.
        processor: See `to_pixels`; crop spec and normalisation of the backbone.
        augment: `transforms.Augment` or any callable (image, rng) -> image; None for none.
        seed: Seed of the augmentation.
        paired: A real and its fakes (same dataset, source_id and frame) get the same draw, so
            geometry and camera effects cannot tell them apart.

    Raises:
        ValueError: If the table is empty, a label is not 0 or 1, or a file is not an image.
        FileNotFoundError: If a crop is missing; the message names the row.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        root: str | Path,
        processor: Callable,
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        seed: int = 0,
        paired: bool = True,
    ) -> None:
        if len(table) == 0:
            raise ValueError(
                "the table has no rows; expected one row per crop (run the extraction)"
            )
        labels = table["label"].to_numpy()
        wrong = np.flatnonzero(~np.isin(labels, (0, 1)))
        if wrong.size:
            raise ValueError(
                f"{row_name(table, wrong[0])} has label {labels[wrong[0]]}; "
                "labels are 0 (real) and 1 (fake): fix the manifest"
            )
        self.table = table.reset_index(drop=True)
        self.processor, self.augment = processor, augment
        self.seed, self.paired, self.epoch = seed, paired, 0
        self.labels = labels.astype(np.int64)
        self.paths = [manifest.resolve(root, path) for path in self.table["path"]]
        for index, path in enumerate(self.paths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{row_name(self.table, index)}: no file under {root}; "
                    "check root, or run the extraction again"
                )
        self._keys = self._draw_keys()

    def _draw_keys(self) -> list[str]:
        names = list(_SHOWN) if self.paired else [*manifest.KEY, "path"]
        names += [name for name in ("frame", "face") if name in self.table.columns]
        return ["\n".join(map(str, row)) for row in self.table[names].itertuples(index=False)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentation draws are used."""
        self.epoch = int(epoch)

    def image(self, index: int) -> np.ndarray:
        """Decode one crop.

        Args:
            index: Row position.

        Returns:
            (H, W, 3) uint8 RGB; read only, copy before you change it.

        Raises:
            ValueError: If the file is not an image.
        """
        try:
            with Image.open(self.paths[index]) as file:
                return np.asarray(file.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(
                f"{row_name(self.table, index)} is not a readable image ({error}); "
                "delete it and run the extraction again"
            ) from error

    def rng(self, index: int) -> np.random.Generator:
        """Return the generator of one row in this epoch (equal for a real and its fakes)."""
        text = f"{self.seed}\n{self.epoch}\n{self._keys[index]}"
        return np.random.default_rng(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
        )

    def __len__(self) -> int:
        return len(self.paths)

    def _made(self, index: int) -> np.ndarray:
        """Return one crop, decoded and augmented."""
        image = self.image(index)
        return image if self.augment is None else self.augment(image, self.rng(index))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        # torch's loader calls this once per batch: one processor call instead of B.
        indices = [int(index) for index in indices]
        # Pillow lets other threads run while it works. In a loader's worker torch has one thread.
        n_threads = min(torch.get_num_threads(), len(indices))
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads) as pool:
                images = list(pool.map(self._made, indices))
        else:
            images = [self._made(index) for index in indices]
        pixels = to_pixels(self.processor, images)
        return [
            {"pixel_values": pixel, "labels": int(self.labels[index]), "index": int(index)}
            for pixel, index in zip(pixels, indices, strict=True)
        ]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a table of {len(self)} rows")
        return self.__getitems__([index % len(self)])[0]


class FeatureDataset(Dataset):
    """Features computed once, in the place of pixels: for a head on a frozen encoder.

    Args:
        features: (N, D) float32, or (K, N, D): K versions of each, taken in turn by epoch.
        labels: (N,) 0 or 1.

    Raises:
        ValueError: If the two do not fit.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        if features.ndim not in (2, 3) or features.shape[-2] != len(labels):
            raise ValueError(
                f"got features {features.shape} and {len(labels)} labels, expected (N, D) or "
                "(K, N, D) with one label per N"
            )
        values = torch.from_numpy(features)
        self.features, self.labels = values[None] if values.ndim == 2 else values, labels
        self.version = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the version of the features."""
        self.version = int(epoch) % len(self.features)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        label = int(self.labels[index])
        return {"pixel_values": self.features[self.version, index], "labels": label, "index": index}


class _EpochSampler(BatchSampler):
    """Batches as a pure function of (seed, epoch), so that a restart repeats them."""

    def __init__(self, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed, self.epoch, self.drop_last = batch_size, seed, 0, True

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another epoch gives another order."""
        self.epoch = int(epoch)

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])


class RandomBatchSampler(_EpochSampler):
    """Plain shuffled batches without the incomplete last one, as in the official training.

    Args:
        n_rows: Number of samples.
        batch_size: Samples per batch.
        seed: Seed of the order.

    Raises:
        ValueError: If there are fewer samples than one batch needs.

    Source: shuffle and drop_last of the official train loader (arXiv:2508.06248, code).
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        if not 1 <= batch_size <= n_rows:
            raise ValueError(
                f"batch_size {batch_size} with {n_rows} samples; expected 1 to {n_rows}"
            )
        self.n_rows = n_rows

    def __len__(self) -> int:
        return self.n_rows // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = self._generator().permutation(self.n_rows)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()


class PairedBatchSampler(_EpochSampler):
    """Batches with as many reals as fakes, every fake beside the real it was made from.

    The first half of a batch are reals, the second half their fakes in the same order. Methods
    take turns, so their counts in a batch differ by at most one; a method with fewer pairs is
    repeated until all methods have the same share of the epoch. A real is drawn again for each
    of its fakes. The incomplete last batch is left out.

    Args:
        table: Frame manifest; pairs are rows of equal dataset, compression,
            source_id and frame.
        batch_size: Even number of samples per batch.
        seed: Seed of the order.

    Raises:
        ValueError: If batch_size is odd, no pair exists, or there are too few pairs for a batch.

    Source: own; that pairs matter is a finding of arXiv:2508.06248.
    """

    def __init__(self, table: pd.DataFrame, batch_size: int, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        if batch_size < 2 or batch_size % 2:
            raise ValueError(f"batch_size {batch_size}; a paired batch needs an even number >= 2")
        table = table.reset_index(drop=True)
        pairs = manifest.pairs(table)
        # A raw real beside a compressed fake would teach the codec.
        coded = table["compression"].to_numpy()
        pairs = pairs[coded[pairs["real"].to_numpy(int)] == coded[pairs["fake"].to_numpy(int)]]
        if len(pairs) == 0:
            raise ValueError(
                "no fake has a real of the same dataset, compression, source_id and frame; "
                "fill source_id in the manifest, or train with paired=False"
            )
        pairs = pairs.assign(method=table["method"].to_numpy()[pairs["fake"].to_numpy(int)])
        self._pairs = {
            method: group[["real", "fake"]].to_numpy() for method, group in pairs.groupby("method")
        }
        self._per_method = max(len(rows) for rows in self._pairs.values())
        if len(self) == 0:
            raise ValueError(
                f"batch_size {batch_size} needs {batch_size // 2} pairs, the table has "
                f"{self._per_method * len(self._pairs)}; use a smaller batch_size"
            )

    def __len__(self) -> int:
        return self._per_method * len(self._pairs) // (self.batch_size // 2)

    def __iter__(self) -> Iterator[list[int]]:
        rng = self._generator()
        columns = []
        for method in rng.permutation(sorted(self._pairs)):
            rows = self._pairs[method]
            n_rounds = -(-self._per_method // len(rows))
            order = np.concatenate([rng.permutation(len(rows)) for _ in range(n_rounds)])
            columns.append(rows[order[: self._per_method]])
        # (n, methods, 2) -> rows in turn: method a, b, c, a, b, c, ...
        queue = np.stack(columns, axis=1).reshape(-1, 2)
        half = self.batch_size // 2
        for batch in range(len(self)):
            chunk = queue[batch * half : (batch + 1) * half]
            yield [*chunk[:, 0].tolist(), *chunk[:, 1].tolist()]
