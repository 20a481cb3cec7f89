"""What the embedded encoder is trained to see: a generic pretext on clean pictures, no forgery in it.

A picture goes through a random camera (colour cast, blur, noise, JPEG; each may vary smoothly over the
whole picture) and is cropped as the detector crops faces. From the result the encoder must tell

* for each patch, what the picture is made of there: log energies of three high-pass bands in Y, Cr, Cb,
  energies of four orientations, mean colours, and the local blur, noise, JPEG level and cast;
* for the whole crop, what it shows (landmarks, identity, expression, head pose, light), how good the
  picture is on average and how uneven.

No picture is ever warped in part, pasted into or blended with another one, and the maps over which the
camera varies know nothing of the face.

Source: log energies as dense targets in the spirit of MaskFeat (arXiv 2112.09133); the rest own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

TEMPLATE = np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)])
SCALE = 1.3
FRAME = 256
SIZE, PATCH = 128, 16
GRID = SIZE // PATCH
GROUPS = {"bands": 36, "orientation": 4, "colour": 12, "camera": 3, "cast": 3}
N_DENSE = sum(GROUPS.values())
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


def smooth_map(rng: np.random.Generator, size: int = FRAME) -> np.ndarray:
    """Draw a random smooth field over the whole picture.

    Args:
        rng: Random source.
        size: Side in pixels.

    Returns:
        (size, size) float32 in [0, 1]: gentle slopes, or blobs anywhere with soft borders.
    """
    import cv2

    cells = int(rng.integers(2, 6))
    field = rng.normal(size=(cells, cells)).astype(np.float32)
    field = cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    steep = np.float32(np.exp(rng.uniform(0.3, 2.5)))
    return 1.0 / (1.0 + np.exp(-steep * (field - np.float32(rng.normal(0, 0.4)))))


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    import cv2

    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]


class Camera:
    """A random generic camera: colour, blur, noise and JPEG, constant or varying smoothly.

    Args:
        rng: Random source; also fills a bank of noise that later pictures cut from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Fill the noise bank."""
        import cv2

        fine = rng.normal(size=(1024, 1024, 3)).astype(np.float32)
        coarse = cv2.GaussianBlur(fine, (0, 0), 0.8)
        self._bank = (fine, coarse / coarse.std())

    def __call__(
        self, image: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Film one picture.

        Args:
            image: (H, H, 3) uint8 RGB, clean.
            rng: Random source.

        Returns:
            (H, H, 3) uint8 RGB, and (H, H, 6) float32 maps of local blur, noise and JPEG level,
            each about in [0, 1], and of the local colour cast of R, G, B (mean zero).
        """
        import cv2

        size = image.shape[0]
        x = image.astype(np.float32)
        if rng.random() < 0.8:
            gain = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.04, 3)).astype(np.float32)
            x = 255 * np.clip(x * gain / 255, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.15)))
        levels = np.zeros((size, size, 6), np.float32)
        blur = abs(rng.normal(0, 0.7))
        if blur > 0.2:
            x = cv2.GaussianBlur(x, (0, 0), blur)
        levels[..., 0] = blur**2
        if rng.random() < 0.6:
            weight, extra = smooth_map(rng, size), rng.uniform(0.6, 3.0)
            x += weight[..., None] * (cv2.GaussianBlur(x, (0, 0), extra) - x)
            levels[..., 0] += (weight * extra) ** 2
        levels[..., 0] = np.log1p(np.sqrt(levels[..., 0])) / 1.4
        if rng.random() < 0.85:  # mixed light, uneven white balance
            shift = np.float32(rng.normal(0, 8) + rng.normal(0, 8, 3)) / 10
            cast = (smooth_map(rng, size) - np.float32(0.5))[..., None] * shift
            levels[..., 3:] = cast - cast.mean((0, 1))
            x += 10 * cast * (0.3 + x / 180)
        amount = np.float32(abs(rng.normal(0, 2.5)))
        if rng.random() < 0.5:
            amount = amount + smooth_map(rng, size) * np.float32(rng.uniform(2, 12))
        bank = self._bank[int(rng.integers(2))]
        top, left = rng.integers(0, 1024 - size, 2)
        grey = np.float32(rng.random())
        noise = bank[top : top + size, left : left + size]
        noise = (1 - grey) * noise + grey * noise[..., :1]
        x += np.asarray(amount)[..., None] * noise
        levels[..., 1] = np.log1p(amount) / 2.5
        y = np.clip(x + 0.5, 0, 255).astype(np.uint8)
        if rng.random() < 0.9:
            y, levels[..., 2] = self._code(y, rng)
        return y, levels

    def _code(self, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        q = rng.integers(35, 99, 2)
        first = _jpeg(y, int(q[0]))
        if rng.random() < 0.6:
            return first, np.float32((100 - q[0]) / 60)
        weight = smooth_map(rng, y.shape[0])
        second = _jpeg(y, int(q[1]))
        mixed = first + weight[..., None] * (second.astype(np.float32) - first)
        level = ((100 - q[0]) * (1 - weight) + (100 - q[1]) * weight) / 60
        return np.clip(mixed + 0.5, 0, 255).astype(np.uint8), level.astype(np.float32)


@dataclass
class Sample:
    """One training picture.

    Args:
        image: (SIZE, SIZE, 3) uint8 RGB crop.
        camera: (GRID, GRID, 6) float32 local blur, noise, JPEG level and cast.
        landmarks: (68, 2) float32 in crop units around the centre, or NaN for a picture without a face.
    """

    image: np.ndarray
    camera: np.ndarray
    landmarks: np.ndarray


def crop(
    image: np.ndarray,
    maps: np.ndarray,
    landmarks: np.ndarray | None,
    rng: np.random.Generator,
    jitter: float = 1.0,
) -> Sample:
    """Cut what the detector would see: five-point similarity crop, margin 1.3, with jitter.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (H, W, 6) float32, cut along.
        landmarks: (68, 2) in pixels, or None for a random square of a picture without a face.
        rng: Random source.
        jitter: 0 gives the detector's crop exactly.

    Source: official GenD code, commit e03532d (template and margin).
    """
    import cv2

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
    halves = [maps[..., :3], maps[..., 3:]]
    halves = [cv2.warpAffine(m, matrix / 4, quarter, borderMode=border) for m in halves]
    low = np.concatenate(halves, axis=-1).reshape(GRID, quarter[0] // GRID, GRID, -1, 6)
    low = low.mean((1, 3))
    if landmarks is None:
        points = np.full((68, 2), np.nan)
    else:
        points = (landmarks @ matrix[:, :2].T + matrix[:, 2]) / FRAME - 0.5
    return Sample(small, low.astype(np.float32), points.astype(np.float32))


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


def dense_targets(images: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Compute what each patch must tell.

    Args:
        images: (B, 3, SIZE, SIZE) float in [0, 1].
        camera: (B, GRID, GRID, 6) float levels.

    Returns:
        (B, GRID * GRID, N_DENSE) float, in the order of `GROUPS`, not standardised.
    """
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 would drown the fine bands
        return _dense_targets(images.float(), camera)


def _dense_targets(images: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    ycc = torch.einsum("oc,bchw->bohw", _YCRCB.to(images), images)
    levels = [ycc, *(_gauss(ycc, sigma) for sigma in (0.7, 1.4, 2.8))]
    bands = torch.cat([(a - b) ** 2 for a, b in zip(levels[:-1], levels[1:], strict=True)], 1)
    bands = torch.log(functional.avg_pool2d(bands, PATCH // 2) + 1e-6)
    luma = functional.pad(levels[1][:, :1], (1, 1, 1, 1), mode="reflect")
    here = luma[:, :, 1:-1, 1:-1]
    steps = (luma[:, :, 1:-1, 2:], luma[:, :, 2:, 1:-1], luma[:, :, 2:, 2:], luma[:, :, 2:, :-2])
    edges = torch.cat([(step - here) ** 2 for step in steps], 1)
    edges = torch.log(functional.avg_pool2d(edges, PATCH) + 1e-6)
    colour = functional.avg_pool2d(ycc, PATCH // 2)
    parts = [_per_patch(bands, 2), _per_patch(edges, 1), _per_patch(colour, 2)]
    return torch.cat([*parts, camera.flatten(1, 2)], dim=-1)


def patch_filters(images: torch.Tensor, width: int) -> torch.Tensor:
    """Make first-layer filters that show fine structure as loudly as coarse.

    Half are whitened principal components of the patches; a third those of their high-passed luma, the
    rest those of their high-passed chroma. Without them high frequencies reach the encoder a million
    times weaker than low ones.

    Args:
        images: (N, 3, SIZE, SIZE) float, normalised as the encoder sees them.
        width: Number of filters.

    Returns:
        (width, 3, PATCH, PATCH) float; each answers with variance one on these images.

    Source: own.
    """
    patches = functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1).double()
    patches = patches - patches.mean(0)
    cov = patches.T @ patches / len(patches)
    side = PATCH * PATCH
    eye = torch.eye(side, dtype=torch.float64).view(side, 1, PATCH, PATCH)
    high = (
        (eye - _gauss(eye, 1.0)).view(side, side).T.contiguous()
    )  # row i: what pixel i keeps of each
    mix = _YCRCB.double()
    luma = torch.kron(mix[:1], high)
    chroma = torch.kron(mix[1:], high)
    n_luma, n_chroma = width // 3, width - width // 2 - width // 3
    views: Sequence[tuple[torch.Tensor, int]] = (
        (torch.eye(3 * side, dtype=torch.float64), width // 2),
        (luma, n_luma),
        (chroma, n_chroma),
    )
    filters = []
    for view, count in views:
        values, vectors = torch.linalg.eigh(view @ cov @ view.T)
        top = vectors[:, -count:].T @ view
        filters.append(top / (values[-count:].clamp_min(1e-9).sqrt()[:, None] + 1e-6))
    return torch.cat(filters).view(width, 3, PATCH, PATCH).float()
