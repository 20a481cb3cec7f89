"""Cut aligned faces out of frames, put them back, and map faces onto one canonical shape.

Two spaces of 96 x 96 pixels: the *aligned* face (moved, turned and scaled only) and the *canonical* face (every
landmark at one fixed place, the mouth a little open). Points are (x, y) in pixels, pixel centres at integers.
"""

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from gendkit import warp

SIDE = 96
INNER = slice(17, 68)  # brows, nose, eyes, mouth: the points that are aligned
# Mean landmarks of 1,456 rendered near-frontal heads and their mirror images, x then y.
# fmt: off
TEMPLATE = np.array([
    10.0, 23.4, 9.5, 35.1, 10.7, 47.6, 13.7, 59.7, 17.4, 69.6, 22.7, 76.8, 29.4, 82.7, 37.1, 87.0, 47.5, 89.0,
    57.9, 87.0, 65.6, 82.7, 72.3, 76.8, 77.6, 69.6, 81.3, 59.7, 84.3, 47.6, 85.5, 35.1, 85.0, 23.4,
    15.6, 16.7, 19.9, 13.7, 26.6, 11.8, 34.3, 13.4, 41.9, 16.2, 53.1, 16.2, 60.7, 13.4, 68.4, 11.8, 75.1, 13.7,
    79.4, 16.7, 47.5, 22.8, 47.5, 30.7, 47.5, 39.2, 47.5, 48.4, 38.9, 49.1, 42.6, 50.6, 47.5, 52.5, 52.4, 50.6,
    56.1, 49.1, 23.1, 25.1, 27.5, 23.9, 32.0, 23.6, 36.6, 25.8, 31.9, 27.2, 27.6, 27.2, 58.4, 25.8, 63.0, 23.6,
    67.5, 23.9, 71.9, 25.1, 67.4, 27.2, 63.1, 27.2, 33.4, 64.8, 39.0, 60.9, 44.4, 59.9, 47.5, 59.8, 50.6, 59.9,
    56.0, 60.9, 61.6, 64.8, 55.8, 71.4, 50.8, 72.9, 47.5, 73.3, 44.2, 72.9, 39.2, 71.4, 33.3, 65.4, 41.0, 64.8,
    47.5, 65.0, 54.0, 64.8, 61.7, 65.4, 53.8, 65.9, 47.5, 66.8, 41.2, 65.9,
]).reshape(68, 2)
# fmt: on


MIRROR = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1,
]  # fmt: skip


def _canonical() -> np.ndarray:
    """The template with the mouth and the eyes a little open, so that their insides have room; 75 points."""
    points = TEMPLATE.copy()
    points[55:60, 1] += 4
    points[65:68, 1] += 6
    points[[37, 38, 43, 44], 1] -= 1.5
    points[[40, 41, 46, 47], 1] += 1.0
    return warp.with_forehead(points[None])[0]


CANONICAL = _canonical()
TRIANGLES = warp.triangulate(CANONICAL)


def alignments(points: np.ndarray) -> list[tuple[complex, complex]]:
    """Similarities that bring landmarks (N, 68, 2) onto the template; see `warp.similarity`.

    Source: least-squares alignment of the inner points to a mean face, as the deepfakes tools do; points our own.
    """
    return [warp.similarity(p[INNER], TEMPLATE[INNER]) for p in points]


def window_grid(moves: list[tuple[complex, complex]], side: int, window=None) -> np.ndarray:
    """Where the pixels of aligned pictures lie in the frames.

    Args:
        moves: N similarities from frame to template.
        side: of the aligned picture in pixels.
        window: (x0, y0, x1, y1) part of the template that the picture shows; all of it when None.

    Returns:
        (N, side, side, 2) float64 positions (x, y).
    """
    x0, y0, x1, y1 = window or (-0.5, -0.5, SIDE - 0.5, SIDE - 0.5)
    cells = (np.arange(side) + 0.5) / side
    aligned = (x0 + cells * (x1 - x0)) + 1j * (y0 + cells * (y1 - y0))[:, None]
    z = np.stack([(aligned - b) / a for a, b in moves])
    return np.stack([z.real, z.imag], axis=-1)


def look_up(images: np.ndarray | torch.Tensor, where: np.ndarray) -> np.ndarray:
    """Look up images (N, H, W, C) at positions (N, h, w, 2), cubic, edges repeated: float32 (N, h, w, C)."""
    images = torch.as_tensor(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    size = torch.tensor([images.shape[3] - 1, images.shape[2] - 1])
    grid = torch.as_tensor(np.ascontiguousarray(where)).float() / size * 2 - 1
    out = functional.grid_sample(images, grid, "bicubic", "border", align_corners=True)
    return out.permute(0, 2, 3, 1).contiguous().numpy()


def align(
    images: np.ndarray, moves: list[tuple[complex, complex]], side: int = SIDE, window=None
) -> np.ndarray:
    """Cut aligned faces out of frames, averaging four looks a pixel.

    Args:
        images: (N, H, W, C) frames. moves, side, window: see `window_grid`.

    Returns:
        (N, side, side, C) float32 in the frames' unit.
    """
    fine = look_up(images, window_grid(moves, 2 * side, window))
    n, _, _, c = fine.shape
    return fine.reshape(n, side, 2, side, 2, c).mean((2, 4))


def to_frame(
    pictures: np.ndarray,
    moves: list[tuple[complex, complex]],
    boxes: list[tuple[int, int, int, int]],
    window=None,
) -> list[np.ndarray]:
    """Bring aligned pictures back: for each frame the pixels of its box.

    Args:
        pictures: (N, side, side, C). moves, window: as they were cut. boxes: N boxes in the frames.

    Returns:
        N float32 arrays (h, w, C).
    """
    x0, y0, x1, y1 = window or (-0.5, -0.5, SIDE - 0.5, SIDE - 0.5)
    side, made = pictures.shape[1], []
    for picture, (a, b), box in zip(pictures, moves, boxes, strict=True):
        z = a * (np.arange(box[0], box[2]) + 1j * np.arange(box[1], box[3])[:, None]) + b
        where = np.stack([(z.real - x0) / (x1 - x0), (z.imag - y0) / (y1 - y0)], -1) * side - 0.5
        made.append(look_up(picture[None], where[None])[0])
    return made


def _weights(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (corner numbers) and barycentric weights of each canonical position (P, 2)."""
    best = np.full(len(grid), -np.inf)
    corners, weights = np.zeros((len(grid), 3), int), np.zeros((len(grid), 3))
    for triangle in TRIANGLES:
        p = CANONICAL[triangle]
        uv = np.linalg.solve(np.stack([p[1] - p[0], p[2] - p[0]], 1), (grid - p[0]).T).T
        bary = np.column_stack([1 - uv.sum(1), uv])
        inside = bary.min(1)
        better = inside > best
        best[better], weights[better] = inside[better], bary[better]
        corners[better] = triangle
    return corners, weights


_GRID = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).reshape(-1, 2).astype(float)
_CORNERS, _WEIGHTS = _weights(_GRID)


def canonical_grid(points: np.ndarray) -> np.ndarray:
    """Where the pixels of the canonical face lie in frames with landmarks (N, 68, 2): (N, 96, 96, 2)."""
    full = warp.with_forehead(np.asarray(points, np.float64))
    where = np.einsum("npkc,pk->npc", full[:, _CORNERS], _WEIGHTS)
    return where.reshape(len(points), SIDE, SIDE, 2)


def canonical_position(
    points: np.ndarray, boxes: list[tuple[int, int, int, int]], part: np.ndarray | None = None
) -> list[np.ndarray]:
    """For each pixel of a box in each frame, the place on the canonical face: N arrays (h, w, 2).

    Args:
        points: (N, 68, 2) landmarks. boxes: N boxes in pixels of the same frames.
        part: numbers of the points (of 75) that matter; all when None.
    """
    full = warp.with_forehead(np.asarray(points, np.float64))
    part = np.arange(len(CANONICAL)) if part is None else part
    triangles = warp.triangulate(CANONICAL[part])
    return [
        warp.affine_map(p[part], CANONICAL[part], triangles, box)
        for p, box in zip(full, boxes, strict=True)
    ]


def lay_down(
    pictures: np.ndarray, points: np.ndarray, boxes: list[tuple[int, int, int, int]]
) -> list[np.ndarray]:
    """Lay canonical pictures (N, 96, 96, C) onto landmarks (N, 68, 2): for each frame the pixels of its box.

    The map is worked out on every second pixel and smoothed, so that no triangle shows.
    """
    made = []
    for picture, p, (x0, y0, x1, y1) in zip(pictures, points, boxes, strict=True):
        coarse = (x0 // 2, y0 // 2, x1 // 2 + 2, y1 // 2 + 2)
        (where,) = canonical_position(p[None] / 2, [coarse])
        sigma = warp.face_width(p) / 160
        where = ndimage.gaussian_filter(where, (sigma, sigma, 0), mode="nearest")
        y, x = np.mgrid[y0:y1, x0:x1]
        cells = [y / 2 - coarse[1], x / 2 - coarse[0]]
        fine = [
            ndimage.map_coordinates(where[..., c], cells, order=1, mode="nearest") for c in (0, 1)
        ]
        made.append(look_up(picture[None], np.stack(fine, -1)[None])[0])
    return made


def alike(aligned: np.ndarray) -> np.ndarray:
    """Mean of aligned landmarks (N, 68, 2) and their mirror images: a person's shape without the pose's turn."""
    mean = aligned.mean(0)
    mirrored = mean[MIRROR] * [-1, 1] + [2 * TEMPLATE[27, 0], 0]
    return (mean + mirrored) / 2


MOUTH_WINDOW, MOUTH_SIDE = (19.5, 42.5, 75.5, 98.5), 64  # part of the template around the mouth
REGIONS = {  # name -> points whose hull is a region of the face
    "mouth and chin": np.r_[5:12, 31:36, 48:60],
    "nose": np.r_[27:36, 39, 42],
    "right eye and cheek": np.r_[1:4, 17:22, 31, 36:42, 48],
    "left eye and cheek": np.r_[13:16, 22:27, 35, 42:48, 54],
    "lower half": np.r_[2:15, 30:36],
}


def mouth_border(points: np.ndarray) -> np.ndarray:
    """Outline (16, 2) of what a mouth forgery may touch: under the nose, cheeks, above the chin's edge."""
    lip = points[warp.MOUTH].mean(0)
    return np.concatenate([lip + 0.86 * (points[3:14] - lip), lip + 0.85 * (points[31:36] - lip)])


def face_border(points: np.ndarray, rise: float) -> np.ndarray:
    """Outline (27, 2) of the inner face: jaw, and the brows raised by a share of the face's width."""
    up = points[27] - points[8]
    up = up / max(np.linalg.norm(up), 1e-9) * rise * warp.face_width(points)
    return np.concatenate([points[0:17], points[17:27] + up])


def hole(
    border: np.ndarray, grow: float, side: int, scale: float = 1.0, shift=(0.0, 0.0)
) -> np.ndarray:
    """Hard mask (side, side) of a hull grown by `grow` pixels.

    Args:
        border: (N, 2) points. grow: pixels. side: of the mask.
        scale, shift: a point p lies at (p - shift) * scale of the mask.
    """
    return (warp.hull_depth((border - shift) * scale, (0, 0, side, side)) > -grow).astype(
        np.float32
    )


def to_mouth_window(aligned: np.ndarray) -> np.ndarray:
    """Aligned points (..., 2) in pixels of the mouth picture."""
    x0, y0, x1, _ = MOUTH_WINDOW
    return (aligned - [x0, y0]) * (MOUTH_SIDE / (x1 - x0)) - 0.5


def mouth_places(aligned: np.ndarray) -> np.ndarray:
    """For each pixel of mouth pictures, its place on the neural texture in [-1, 1].

    Args:
        aligned: (N, 68, 2) aligned landmarks.

    Returns:
        (N, 64, 64, 2) float32; the texture covers the mouth window of the canonical face.
    """
    box = (0, 0, MOUTH_SIDE, MOUTH_SIDE)
    places = canonical_position(to_mouth_window(aligned), [box] * len(aligned), LOWER_FACE)
    return (to_mouth_window(np.stack(places)) / (MOUTH_SIDE - 1) * 2 - 1).astype(np.float32)


LOWER_FACE = np.r_[2:15, 29:36, 48:68]


def poses(aligned: np.ndarray) -> np.ndarray:
    """Aligned landmarks (N, 68, 2) as numbers of about unit size for a network: (N, 136) float32."""
    return ((aligned - TEMPLATE) / 6).reshape(len(aligned), -1).astype(np.float32)
