"""Mouths: what shows between the lips, and which part of a face a mouth forgery may touch."""

import numpy as np

from gendkit import warp

INNER = slice(60, 68)
LOWER_FACE = np.r_[2:15, 31:36, 48:68]
_FAN = np.array([[0, k, k + 1] for k in range(1, 7)])
_SHUT = 0.02


def opening(points: np.ndarray) -> np.ndarray:
    """How far the mouth is open, in face widths: (T, 68, 2) -> (T,)."""
    gap = np.linalg.norm(points[:, 66] - points[:, 62], axis=1)
    return gap / np.array([warp.face_width(p) for p in points])


def retrieve(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Choose for each frame the clip's own frame whose mouth opens as wanted: (T,) int; few changes.

    Args:
        points: (T, 68, 2) of the clip. wanted: (T, 68, 2) what its mouths shall do.

    Source: the mouth retrieval of Thies et al. 2016, "Face2Face", section 7, by opening alone.
    """
    have, asked = opening(points), opening(wanted)
    cost = np.abs(have[None] - asked[:, None])
    cost = cost + 0.5 * np.clip(0.7 * asked[:, None] - have[None], 0, None)
    return warp.smooth_path(cost + 0.01 * (1 - np.eye(len(points))), 0.01)


def inside(
    image: np.ndarray, points: np.ndarray, place: np.ndarray, box: tuple[int, int, int, int]
) -> np.ndarray:
    """Show what lies between the lips of a frame at another place; a dark mouth with a hint of teeth if it is shut.

    Args:
        image: (H, W, 3) frame to look into. points: (68, 2) of this frame.
        place: (68, 2) where the mouth shall be. box: part of the picture to fill.

    Returns:
        (h, w, 3) float32; only the part between the lips is meant to be used.
    """
    if opening(points[None])[0] >= _SHUT:
        where = warp.affine_map(place[INNER], points[INNER], _FAN, box)
        return warp.resample(image, where)
    skin = _colour(image, points[[2, 14, 30]].mean(0))
    up, low = place[62], place[66]
    down = (low - up) / max(float(np.linalg.norm(low - up)), 1e-6)
    x, y = np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3]))
    depth = ((x - up[0]) * down[0] + (y - up[1]) * down[1]) / warp.face_width(place)
    teeth = warp.smoothstep(1.5 - depth / 0.03)[..., None]
    light = float(skin @ warp.LUMA)
    dark, pale = light * np.array([0.28, 0.15, 0.14]), light * np.array([0.80, 0.76, 0.70])
    return (dark + teeth * (pale - dark)).astype(np.float32)


def border(points: np.ndarray) -> np.ndarray:
    """Outline (N, 2) of what a mouth forgery may touch: under the nose, cheeks, above the chin's edge."""
    lip = points[warp.MOUTH].mean(0)
    return np.concatenate([lip + 0.86 * (points[3:14] - lip), lip + 0.85 * (points[31:36] - lip)])


def _colour(image: np.ndarray, point: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = warp.box_of(point[None], 3, image.shape)
    return image[y0:y1, x0:x1].reshape(-1, 3).mean(0)
