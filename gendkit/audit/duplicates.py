"""Near-duplicates: pictures that two sources or two roles share, also after another coding."""

from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest, video
from gendkit.repro import progress

SIDE = 32  # pixels of the grey copy that is hashed
WAVES = 12  # a hash has WAVES x WAVES bits, one per slow wave of the picture
BANDS = 12  # parts of a hash; two hashes with fewer differing bits than parts agree in one part
FRAMES = 2  # of each video
# Differing bits of 144 up to which two pictures are called the same. Measured on Nobody's Faces:
# coding at CRF 40 or darkening changes at most 6, other people differ in 42 or more. Source: own.
MAX_DISTANCE = 10


def cosine_hash(image: np.ndarray) -> np.ndarray:
    """Describe a picture by 144 bits that coding, scaling and brightness hardly change.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (144,) bool: which of the 12 x 12 slowest waves (DCT) of a small grey copy are above their
        median.

    Source: own; the family is described in Zauner 2010, "Implementation and benchmarking of
        perceptual image hash functions".
    """
    from PIL import Image
    from scipy.fft import dctn

    grey = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    waves = dctn(np.asarray(grey, dtype=np.float32), norm="ortho")[:WAVES, :WAVES].ravel()
    return waves > np.median(waves)


def near_duplicates(
    table: pd.DataFrame, root: str | Path, max_distance: int = MAX_DISTANCE
) -> pd.DataFrame:
    """Find groups of alike pictures that come from more than one source or stand under two roles.

    A real and its fakes look alike by design; they are one source and no finding. Frames of all
    videos are compared by hash, through parts of hashes they share, so time grows with the number
    of videos and not with its square.

    Args:
        table: A manifest of videos.
        root: Folder that its paths are relative to.
        max_distance: Differing bits of 144 up to which two pictures count as the same, 0 to 11.

    Returns:
        One row per group: severity ("error" where roles differ, else "warning"), roles, sources,
        videos (tuples), distance (largest number of differing bits between linked pictures).

    Raises:
        ValueError: If max_distance is outside 0 to 11.
        ManifestError: If the manifest is not valid or a file is missing.
        VideoError: If a file cannot be read.
    """
    if not 0 <= max_distance < BANDS:
        raise ValueError(f"got max_distance={max_distance}, expected 0 to {BANDS - 1}")
    table = manifest.validate(table, root)
    hashes, owner = _hashes(table, Path(root))
    unique, number = np.unique(hashes, axis=0, return_inverse=True)
    links = _links(unique, max_distance)
    return _crossing(table, owner, number.ravel(), links, len(unique))


def _hashes(table: pd.DataFrame, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (M, 144) of a few frames of each video, and the row each came from."""
    hashes, owner = [], []
    for row, path in enumerate(progress(table["path"], what="near-duplicates")):
        n_frames = (
            int(table["n_frames"].iloc[row])
            if "n_frames" in table
            else video.probe(root / path).n_frames
        )
        for image in video.read_frames(root / path, video.sample(n_frames, n=FRAMES)):
            hashes.append(cosine_hash(image))
            owner.append(row)
    return np.stack(hashes), np.array(owner)


def _links(hashes: np.ndarray, max_distance: int) -> dict[tuple[int, int], int]:
    """Pairs of hashes that are close: (i, j) -> differing bits. Close ones agree in one band."""
    links: dict[tuple[int, int], int] = {}
    for band in np.split(hashes, BANDS, axis=1):
        _, part = np.unique(band, axis=0, return_inverse=True)
        order = np.argsort(part.ravel(), kind="stable")
        starts = np.flatnonzero(np.diff(part.ravel()[order])) + 1
        for bucket in np.split(order, starts):
            for k, first in enumerate(bucket[:-1]):
                others = bucket[k + 1 :]
                distances = (hashes[first] != hashes[others]).sum(axis=1)
                for other, distance in zip(others, distances, strict=True):
                    if distance <= max_distance:
                        links[int(first), int(other)] = int(distance)
    return links


def _crossing(
    table: pd.DataFrame,
    owner: np.ndarray,
    number: np.ndarray,
    links: dict[tuple[int, int], int],
    n_unique: int,
) -> pd.DataFrame:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(links), dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(n_unique, n_unique))
    _, cluster = connected_components(graph, directed=False)
    widest = np.zeros(cluster.max() + 1, dtype=int)
    for (one, _), distance in links.items():
        widest[cluster[one]] = max(widest[cluster[one]], distance)
    sources = (table["dataset"] + "/" + table["source_id"]).to_numpy()
    roles, videos = table["role"].to_numpy(), manifest.video_key(table).to_numpy()
    rows = []
    for group, members in pd.Series(owner).groupby(cluster[number]):
        members = members.unique()
        names = sorted(set(sources[members]))
        under = sorted(set(roles[members]) - {""})
        if len(names) > 1 or len(under) > 1:
            severity = "error" if len(under) > 1 else "warning"
            seen = tuple(sorted(set(videos[members])))
            rows.append((severity, tuple(under), tuple(names), seen, int(widest[group])))
    columns = ["severity", "roles", "sources", "videos", "distance"]
    return pd.DataFrame(rows, columns=columns).sort_values("severity").reset_index(drop=True)
