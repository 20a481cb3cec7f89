"""Look into coded clips: format, masks, differences of fake and real, near duplicates. Source: own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit.video import VideoError

SIZE, FPS, CODEC, PIXELS = 256, 25.0, "h264", "yuv420p"
TOUCHED = 24  # grey level of a coded mask below which a pixel was not touched
BORDER = 8  # pixels around the mask that coding may blur into
MOST_OUTSIDE = 4.0  # grey levels, mean: what two codings of one background differ by
LEAST_SHARE, MOST_SHARE = 0.002, 0.60  # of the frame that a mask covers


@dataclass
class Seen:
    """What was seen in the clips of one person.

    Attributes:
        name: dataset and person. format_faults, mask_faults: sentences. fingerprint: (256,) bool of the first
            real frame, None where it could not be read. inside, outside: mean difference of each fake
            and its real in grey levels, inside its mask and away from it.
    """

    name: str
    format_faults: list[str] = field(default_factory=list)
    mask_faults: list[str] = field(default_factory=list)
    fingerprint: np.ndarray | None = None
    inside: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)


def examine(folder: Path, rows: pd.DataFrame, areas: dict[str, str], n_frames: int) -> Seen:
    """Decode all clips of one person and compare them.

    Args:
        folder: of the set. rows: of the manifest, of one person. areas: path of a fake -> share of the frame
            that its mask covered before coding. n_frames: of every clip.

    Returns:
        What was seen.
    """
    first = rows.iloc[0]
    seen = Seen(f"{first['dataset']} {first['source_id']}")
    rows = rows.sort_values("label", kind="stable")
    real = None
    for row in rows.itertuples():
        luma = _luma(folder / row.path, n_frames, seen.format_faults)
        if luma is None:
            continue
        if row.label == 0:
            real, seen.fingerprint = luma, fingerprint(luma[0])
            continue
        mask = _luma(folder / row.mask_path, n_frames, seen.format_faults)
        if mask is not None and real is not None:
            _compare(seen, f"{folder.name}/{row.path}", real, luma, mask, areas.get(row.path))
    return seen


def _luma(path: Path, n_frames: int, faults: list[str]) -> np.ndarray | None:
    """Brightness (T, H, W) uint8 of a clip; what is wrong with it goes to ``faults``."""
    import av

    name = "/".join(path.parts[-3:])
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            form = (stream.codec_context.name, stream.codec_context.pix_fmt)
            rate = float(stream.average_rate or 0)
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
    except (av.FFmpegError, OSError, IndexError, VideoError) as error:
        faults.append(f"{name} cannot be decoded ({type(error).__name__})")
        return None
    shapes = {frame.shape for frame in frames}
    wanted = (n_frames, {(SIZE, SIZE)}, FPS, (CODEC, PIXELS))
    if (len(frames), shapes, rate, form) != wanted:
        faults.append(
            f"{name} has {len(frames)} frames, {shapes}, {rate} a second, {form}; expected {wanted}"
        )
        return None
    return np.stack(frames)


def _compare(
    seen: Seen, name: str, real: np.ndarray, fake: np.ndarray, mask: np.ndarray, area: str | None
) -> None:
    from scipy.ndimage import maximum_filter

    faults = seen.mask_faults
    white = mask > 127
    share = white.mean(axis=(1, 2))
    if share.min() < LEAST_SHARE or share.max() > MOST_SHARE:
        faults.append(
            f"{name}: the mask covers {share.min():.3f} to {share.max():.3f} of the frames"
        )
        return
    if area is not None and abs(share.mean() - float(area)) > 0.004 + 0.08 * float(area):
        faults.append(
            f"{name}: the mask covers {share.mean():.3f}, the table says {float(area):.3f}"
        )
    edge = np.concatenate([white[:, 0], white[:, -1], white[..., 0], white[..., -1]], 1).mean()
    if edge > 0.1:
        faults.append(f"{name}: the mask runs out of the frame")
    some = slice(None, None, 5)
    difference = np.abs(real[some].astype(np.int16) - fake[some])
    around = (1, 2 * BORDER + 1, 2 * BORDER + 1)
    away = maximum_filter(mask[some], around) <= TOUCHED
    inside, outside = difference[white[some]].mean(), difference[away].mean()
    seen.inside.append(float(inside))
    seen.outside.append(float(outside))
    if outside > MOST_OUTSIDE or inside <= outside:
        faults.append(
            f"{name}: differs from its real by {inside:.1f} grey levels inside the mask and {outside:.1f} outside; "
            f"expected more inside, and at most {MOST_OUTSIDE:g} outside"
        )


def fingerprint(luma: np.ndarray) -> np.ndarray:
    """Hash what a picture (H, W) uint8 looks like: (256,) bool, whether each of 16 x 16 cells is darker than the next.

    Source: difference hash, a common technique (N. Krawetz, "Kind of Like That", 2013).
    """
    edges = [
        np.linspace(0, n, k + 1).astype(int)[:-1] for n, k in zip(luma.shape, (16, 17), strict=True)
    ]
    small = np.add.reduceat(np.add.reduceat(luma.astype(np.float64), edges[0], 0), edges[1], 1)
    small /= np.outer(*(np.diff([*e, n]) for e, n in zip(edges, luma.shape, strict=True)))
    return (small[:, :-1] < small[:, 1:]).ravel()


def near_duplicates(shots: Sequence[tuple[str, np.ndarray]], near: int) -> list[str]:
    """Find pairs of pictures whose fingerprints differ in fewer than ``near`` bits.

    Args:
        shots: name and fingerprint of each picture. near: bits.

    Returns:
        One sentence a pair.
    """
    if not shots:
        return []
    bits = np.packbits(np.stack([f for _, f in shots]), axis=1)
    found = []
    for k in range(len(shots) - 1):
        distance = np.bitwise_count(bits[k + 1 :] ^ bits[k]).sum(1)
        found += [
            f"{shots[k][0]} and {shots[k + 1 + j][0]} look alike (differ in {distance[j]} of {bits.shape[1] * 8} bits)"
            for j in np.flatnonzero(distance < near)
        ]
    return found
