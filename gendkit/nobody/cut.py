"""Crops of Nobody's Faces by the true landmarks: no detector, and a fake is cut exactly as its real."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import video
from gendkit.faces import align_crop, five_points


def true_crops(
    table: pd.DataFrame,
    root: str | Path,
    landmarks: str | Path,
    frames: Sequence[int] = (7,),
    size: int = 256,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Cut the same frames out of all videos, where the mesh says that the face is.

    Args:
        table: A manifest of videos, also of videos that a shortcut was planted in.
        root: Its folder.
        landmarks: The file landmarks.npz of the set that the videos come from.
        frames: Numbers of the frames.
        size: Side of the crops in pixels.

    Returns:
        One row per crop (the columns of the table and `frame`), and the crops (size, size, 3) uint8.

    Raises:
        ValueError: If a person has no landmarks in the file.
        VideoError: If a video cannot be read or has no such frame.
    """
    with np.load(landmarks, allow_pickle=False) as stored:
        wanted = sorted(set(table["source_id"]))
        if lacking := sorted(set(wanted) - set(stored.files)):
            raise ValueError(
                f"{landmarks} has no landmarks of {lacking[0]!r} ({len(lacking)} such people); give "
                "the landmarks.npz of the set that these videos were made from"
            )
        points = {name: stored[name] for name in wanted}
    rows, crops = [], []
    for row in table.to_dict("records"):
        images = video.read_frames(Path(root) / row["path"], list(frames))
        for frame, image in zip(frames, images, strict=True):
            five = five_points(points[row["source_id"]][frame])
            rows.append(row | {"frame": int(frame)})
            crops.append(align_crop(image, five, size=size))
    return pd.DataFrame(rows), crops
