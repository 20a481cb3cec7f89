"""What the embedded encoder must tell about a crop, patch by patch, and how its first layer starts.

Source: log energies as dense targets in the spirit of MaskFeat (arXiv 2112.09133); the rest own.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from gendkit.pretrain.traces import KINDS

TEMPLATE = np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)])
SCALE = 1.3
FRAME = 256
SIZE, PATCH = 128, 16
GRID = SIZE // PATCH
TEXTURE = {"bands": 36, "orientation": 4, "colour": 12}  # numbers a patch, from the picture itself
TRACES = {"coverage": 1, "processing": 3, "cast": 3}  # numbers a patch, from what was done to it
SIGMAS = (0.7, 1.4, 2.8)  # pixels; bands lie between a picture and its copies blurred by these
N_TEXTURE = sum(TEXTURE.values())
_YCRCB = torch.tensor(
    [[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]]
)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Reduce 68 landmarks (68, 2) to eye centres, nose tip and mouth corners (5, 2)."""
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit the similarity that takes source to target in the least-squares sense.

    Args:
        source: (N, 2) points.
        target: (N, 2) points.

    Returns:
        (2, 3) float matrix.

    Source: own (points as complex numbers: w = a z + b).
    """
    z, w = source @ np.array([1, 1j]), target @ np.array([1, 1j])
    zc, wc = z - z.mean(), w - w.mean()
    a = np.vdot(zc, wc) / np.vdot(zc, zc).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


@dataclass
class Crop:
    """What the detector would see.

    Args:
        image: (SIZE, SIZE, 3) uint8 RGB.
        maps: (GRID * GRID, 7) float32, see `traces.process`, mean over each patch.
        landmarks: (68, 2) float32 in crop units around the centre, or NaN for a picture without a face.
    """

    image: np.ndarray
    maps: np.ndarray
    landmarks: np.ndarray


def crop(
    image: np.ndarray,
    maps: np.ndarray,
    landmarks: np.ndarray | None,
    rng: np.random.Generator,
    jitter: float = 1.0,
) -> Crop:
    """Cut what the detector would see: five-point similarity crop, margin 1.3, with jitter.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (H, W, 7) float32, cut along.
        landmarks: (68, 2) in pixels, or None for a random square of a picture without a face.
        rng: Random source.
        jitter: 0 gives the detector's crop exactly; 1 turns by 4 degrees, scales by 6 % and shifts by 3 %
            of the crop (standard deviations).

    Returns:
        The crop, its maps and its landmarks.

    Source: official GenD code, commit e03532d (template and margin).
    """
    turn = np.exp(1j * np.deg2rad(rng.normal(0, 4 * jitter)) + rng.normal(0, 0.06 * jitter))
    if landmarks is None:
        turn *= np.exp(1j * rng.uniform(-np.pi, np.pi)) * rng.uniform(1.0, 1.6)
        matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    else:
        target = ((TEMPLATE - 0.5) / SCALE + 0.5) * FRAME
        matrix = similarity(five_points(landmarks), target)
    shift = rng.normal(0, 0.03 * jitter * FRAME, 2)
    rotate = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    matrix = np.concatenate(
        [rotate @ matrix[:, :2], rotate @ (matrix[:, 2:] - FRAME / 2) + FRAME / 2], axis=1
    )
    matrix[:, 2] += shift
    border = cv2.BORDER_REFLECT if landmarks is None else cv2.BORDER_CONSTANT
    out = cv2.warpAffine(image, matrix, (FRAME, FRAME), flags=cv2.INTER_LINEAR, borderMode=border)
    small = np.asarray(Image.fromarray(out).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    quarter = (FRAME // 4, FRAME // 4)
    halves = [np.ascontiguousarray(maps[..., :4]), np.ascontiguousarray(maps[..., 4:])]
    halves = [cv2.warpAffine(m, matrix / 4, quarter, borderMode=border) for m in halves]
    low = np.concatenate(halves, axis=-1).reshape(GRID, quarter[0] // GRID, GRID, -1, len(KINDS))
    low = low.mean((1, 3)).reshape(GRID * GRID, len(KINDS))
    if landmarks is None:
        points = np.full((68, 2), np.nan)
    else:
        points = (landmarks @ matrix[:, :2].T + matrix[:, 2]) / FRAME - 0.5
    return Crop(small, low.astype(np.float32), points.astype(np.float32))


@lru_cache(maxsize=16)
def _blur(sigma: float, size: int) -> torch.Tensor:
    """Give the (size, size) matrix that blurs a column, mirrored at its ends."""
    radius = int(3 * sigma + 0.5)
    t = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-(t**2) / (2 * sigma**2))
    eye = functional.pad(torch.eye(size, dtype=torch.float64)[:, None], (radius, radius), "reflect")
    return functional.conv1d(eye, (kernel / kernel.sum()).view(1, 1, -1))[:, 0].T.contiguous()


def _gauss(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (..., H, H): two matrix products are many times faster here than a depthwise convolution."""
    matrix = _blur(sigma, x.shape[-1]).to(x)
    return matrix @ x @ matrix.T


def _per_patch(x: torch.Tensor, cells: int) -> torch.Tensor:
    """(B, C, GRID * cells, GRID * cells) -> (B, GRID * GRID, C * cells * cells)."""
    return functional.pixel_unshuffle(x, cells).flatten(2).transpose(1, 2)


def texture(images: torch.Tensor) -> torch.Tensor:
    """Measure what each patch is made of.

    Args:
        images: (B, 3, SIZE, SIZE) float in [0, 1].

    Returns:
        (B, GRID * GRID, N_TEXTURE) float, in the order of `TEXTURE`, not standardised: log energies of
        three high-pass bands in Y, Cr, Cb and of four orientations in Y, mean colours.
    """
    ycc = torch.einsum("oc,bchw->bohw", _YCRCB.to(images), images)
    levels = [ycc, *(_gauss(ycc, sigma) for sigma in SIGMAS)]
    bands = torch.cat([(a - b) ** 2 for a, b in zip(levels[:-1], levels[1:], strict=True)], 1)
    bands = torch.log(functional.avg_pool2d(bands, PATCH // 2) + 1e-6)
    luma = functional.pad(levels[1][:, :1], (1, 1, 1, 1), mode="reflect")
    here = luma[:, :, 1:-1, 1:-1]
    steps = (luma[:, :, 1:-1, 2:], luma[:, :, 2:, 1:-1], luma[:, :, 2:, 2:], luma[:, :, 2:, :-2])
    edges = torch.cat([(step - here) ** 2 for step in steps], 1)
    edges = torch.log(functional.avg_pool2d(edges, PATCH) + 1e-6)
    colour = functional.avg_pool2d(ycc, PATCH // 2)
    parts = [_per_patch(bands, 2), _per_patch(edges, 1), _per_patch(colour, 2)]
    return torch.cat(parts, dim=-1)


QUARTER = PATCH // 2
FREE = 32  # channels that start empty, for the energies
LUMA_EACH, CHROMA_EACH = 6, 2  # filters for a band in a quarter of a patch


def patch_filters(images: torch.Tensor, width: int) -> torch.Tensor:
    """Make first-layer filters that show fine structure as loudly as coarse.

    Most are the first principal components of a high-pass band (three of luma, the two finer of each chroma)
    in a quarter of the patch; they come in groups, see `energy_groups`. Without these, high frequencies
    reach the encoder far weaker than low ones. The rest are whitened principal components of the whole
    patch, and `FREE` channels stay empty for the energies of the groups.

    Args:
        images: (N, 3, SIZE, SIZE) float, normalised as the encoder sees them.
        width: Number of channels, more than the groups and `FREE` take (136).

    Returns:
        (width, 3, PATCH, PATCH) float: the groups, the whole-patch components, then `FREE` empty filters.
        Each but the empty ones answers with variance one on these images.

    Raises:
        ValueError: If there are too few channels.

    Source: own.
    """
    taken = FREE + sum(map(len, energy_groups()))
    if width <= taken:
        raise ValueError(
            f"got {width} channels, expected more than {taken}: the band filters and the empty "
            "channels take so many; make hidden_size larger"
        )
    patches = functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1).double()
    patches = patches - patches.mean(0)
    cov = patches.T @ patches / len(patches)
    side = PATCH * PATCH
    eye = torch.eye(side, dtype=torch.float64).view(side, 1, PATCH, PATCH)
    levels = [eye, *(_gauss(eye, sigma) for sigma in SIGMAS)]
    bands = [(a - b).view(side, side).T for a, b in zip(levels[:-1], levels[1:], strict=True)]
    filters = []
    for channel, mix in enumerate(_YCRCB.double()):
        for band in bands if channel == 0 else bands[:2]:
            view = torch.kron(mix[None], band.contiguous())
            for rows in _quarters():
                count = LUMA_EACH if channel == 0 else CHROMA_EACH
                filters.append(_components(view[rows], cov, count))
    filters.append(_components(torch.eye(3 * side, dtype=torch.float64), cov, width - taken))
    weights = torch.cat(filters).view(-1, 3, PATCH, PATCH).float()
    return torch.cat([weights, weights.new_zeros(FREE, *weights.shape[1:])])


def energy_groups() -> list[list[int]]:
    """Give the filters of each band in each quarter of a patch, by their place in `patch_filters`.

    Returns:
        28 groups of channels: three bands of luma, then two of each chroma (Cr, Cb), finest first,
        each in four quarters of the patch, row by row.
    """
    sizes = [LUMA_EACH] * 12 + [CHROMA_EACH] * 16
    ends = np.cumsum(sizes)
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _components(view: torch.Tensor, cov: torch.Tensor, count: int) -> torch.Tensor:
    """Find the first principal components of what a view (M, D) shows of patches: (count, D).

    Each answers with variance one to patches of covariance cov (D, D).
    """
    values, vectors = torch.linalg.eigh(view @ cov @ view.T)
    top = vectors[:, -count:].T @ view
    return top / (values[-count:].clamp_min(1e-9).sqrt()[:, None] + 1e-6)


def _quarters() -> list[torch.Tensor]:
    """Give the pixels of each quarter of a patch, row by row, as places in the flattened patch."""
    at = torch.arange(PATCH * PATCH).view(PATCH, PATCH)
    halves = (slice(0, QUARTER), slice(QUARTER, PATCH))
    return [at[rows, columns].flatten() for rows in halves for columns in halves]
