"""The same faces at several margins, for asking what the margin does to a detector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import manifest, video
from gendkit.faces import FaceEngine, align_crop, choose


def crops_at_scales(
    table: pd.DataFrame,
    root: str | Path,
    scales: Sequence[float],
    n_frames: int = 1,
    engine: Any = None,
    size: int = 256,
) -> tuple[pd.DataFrame, dict[float, list[np.ndarray]]]:
    """Find each face once and cut it at several margins; nothing is written.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.
        scales: Margins, see `gendkit.faces.align_crop`.
        n_frames: Evenly spaced frames of each video.
        engine: None for `FaceEngine()`, or any object that works like it. Of several faces the
            largest is taken.
        size: Side of the crops in pixels.

    Returns:
        One row per frame with a face (the video's row and frame), and for each scale the crops
        (size, size, 3) uint8 RGB in the same order.

    Raises:
        ValueError: If no scale is given, or one is not positive.
        ManifestError: If the manifest is not valid or a file is missing.
        VideoError: If a video cannot be read.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"got scales={list(scales)}, expected positive numbers, as [1.0, 1.3]")
    table, root = manifest.validate(table, root), Path(root)
    engine = engine or FaceEngine()
    rows: list[dict] = []
    crops: dict[float, list[np.ndarray]] = {scale: [] for scale in scales}
    for row in table.to_dict("records"):
        path = root / row["path"]
        numbers = video.sample(video.probe(path).n_frames, n=n_frames)
        images = video.read_frames(path, numbers)
        for number, image, found in zip(numbers, images, engine(images), strict=True):
            face = choose(found)
            if face is None:
                continue
            rows.append({**row, "frame": number})
            for scale in scales:
                crops[scale].append(align_crop(image, face.points, scale, size))
    return pd.DataFrame(rows), crops
