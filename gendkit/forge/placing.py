"""Bring a donor's face into the target's place: what the landmark swap and the Poisson swap share."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gendkit import warp

from .common import MAX_FOLD, ForgeError, cut

MAX_POSE_GAP = 0.20


@dataclass(frozen=True)
class Placed:
    """Donor faces in the target's place, one per frame.

    Attributes:
        pasted: (h, w, 3) float32 images, warped and matched in colour and detail.
        original: (h, w, 3) float32, what the target shows in the same box.
        depths: (h, w) distance in pixels to the border of the face, negative outside.
        holes: (h, w) in [0, 1]: 1 where the target must stay (inside of the mouth, closed lids).
        boxes: (x0, y0, x1, y1) in the target's pixels.
    """

    pasted: list[np.ndarray]
    original: list[np.ndarray]
    depths: list[np.ndarray]
    holes: list[np.ndarray]
    boxes: list[tuple[int, int, int, int]]


def place_faces(
    target: np.ndarray,
    points: np.ndarray,
    donor: np.ndarray,
    donor_points: np.ndarray,
    settings: dict[str, float],
    rng: np.random.Generator,
    reach: float = 0.0,
) -> Placed:
    """Warp the donor's nearest frames to the target's landmarks and match colour, light and detail.

    Args:
        target: (T, H, W, 3) uint8 RGB. points: (T, 68, 2).
        donor: (S, H', W', 3) uint8 RGB. donor_points: (S, 68, 2).
        settings: "height", "resolution", "colour", "light", "detail", "grain" and "jitter" of the clip.
        rng: source of the tracking noise.
        reach: how far the border goes beyond the ends of the brows, in parts of their distance to the nose.

    Returns:
        The placed faces.

    Raises:
        ForgeError: poses so different that the face would tear.
    """
    chosen = nearest_frames(donor_points, points)
    height = settings["height"]
    full, donor_full = warp.with_forehead(points, height), warp.with_forehead(donor_points, height)
    triangles = warp.triangulate(warp.mean_shape(np.concatenate([full, donor_full])))
    refuse_folds(full, donor_full[chosen], triangles)
    jitter = warp.tracking_noise(full.shape, settings["jitter"], full, rng)
    pasted, depths, holes, boxes = [], [], [], []
    lids = closed_lids(points)
    for t, s in enumerate(chosen):
        width = warp.face_width(points[t])
        ends = points[t, [17, 26]]
        outline = np.concatenate([full[t], ends + reach * (ends - points[t, 27])])
        box = warp.box_of(outline, 4, target.shape[1:])
        where = warp.affine_map(full[t] + jitter[t], donor_full[s], triangles, box)
        where = ndimage.gaussian_filter(where, (width / 80, width / 80, 0), mode="nearest")
        source = warp.lower_resolution(donor[s], width / warp.face_width(donor_points[s]))
        pasted.append(warp.lower_resolution(warp.resample(source, where), settings["resolution"]))
        depths.append(warp.hull_depth(outline, box))
        holes.append(kept_parts(points[t], lids[t], box))
        boxes.append(box)
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    inside = [(d > 0) * (1 - h) for d, h in zip(depths, holes, strict=True)]
    pasted = warp.match_colour(pasted, original, inside, settings["colour"])
    pasted = _match_light(
        pasted, original, inside, settings["light"], warp.face_width(points.mean(0))
    )
    pasted = warp.match_detail(pasted, original, inside, settings["detail"])
    pasted = warp.grain(pasted, original, inside, settings["grain"])
    return Placed(pasted, original, depths, holes, boxes)


def soft_border(
    placed: Placed, points: np.ndarray, height: float, shrink: float, feather: float
) -> list[np.ndarray]:
    """Masks (h, w) in [0, 1] with a soft border, softest on the forehead, where no edge of the face hides a seam.

    Args:
        placed: faces in their places. points: (T, 68, 2) of the target.
        height: share of the forehead that is covered. shrink, feather: in face widths.
    """
    masks = []
    for t, box in enumerate(placed.boxes):
        width, p = warp.face_width(points[t]), points[t]
        up = (p[27] - p[8]) / np.linalg.norm(p[27] - p[8])
        x, y = np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3]))
        brows = (p[17:27] @ up).max()
        above = (x * up[0] + y * up[1] - brows) / width
        mask = warp.smoothstep((placed.depths[t] / width - shrink) / feather)
        mask *= 1 - warp.smoothstep(above / (0.27 * height) * 1.15 - 0.1)
        masks.append(mask * (1 - placed.holes[t]))
    return masks


def nearest_frames(donor: np.ndarray, target: np.ndarray) -> list[int]:
    """Choose the donor frame of nearest pose and lids for each target frame; changing frame costs a little.

    Raises:
        ForgeError: the poses are too far apart.
    """
    cost = warp.shape_distance(donor[:, 17:], target[:, 17:]).T
    lids, wanted = warp.eye_openings(donor), warp.eye_openings(target)
    shut = np.abs(lids[None] - wanted[:, None]).max(-1)
    path = warp.smooth_path(cost + shut, 0.01)
    gaps = cost[np.arange(len(path)), path]
    if gaps.max() > MAX_POSE_GAP:
        t = int(gaps.argmax())
        raise ForgeError(
            f"donor and target differ too much in pose at target frame {t} (shape distance {gaps[t]:.2f}, at most "
            f"{MAX_POSE_GAP}): the face would tear. Use a donor within about 15 degrees of the target's pose."
        )
    return list(path)


def refuse_folds(target: np.ndarray, donor: np.ndarray, triangles: np.ndarray) -> None:
    """Raise `ForgeError` where landmarks (T, N, 2) of target or donor turn over a part of the face."""
    for t, (a, b) in enumerate(zip(target, donor, strict=True)):
        folds = warp.folded_share(a, triangles), warp.folded_share(b, triangles)
        if max(folds) > MAX_FOLD:
            raise ForgeError(
                f"landmarks fold over in target frame {t} (share of area: target {folds[0]:.2f}, "
                f"donor {folds[1]:.2f}; at most {MAX_FOLD}): the pose is too far from the front. "
                "Use frames with less yaw, or a donor within about 15 degrees of the target."
            )


def _match_light(
    pasted: list[np.ndarray],
    original: list[np.ndarray],
    masks: list[np.ndarray],
    amount: float,
    width: float,
) -> list[np.ndarray]:
    """Move the coarse shading towards the target's, so that no side of the border stands out."""
    made = []
    for p, o, m in zip(pasted, original, masks, strict=True):
        skin = (m > 0) & _usual(o, m) & _usual(p, m)
        coarse = [warp.masked_blur(image, skin, 0.12 * width) for image in (o, p)]
        made.append(p + amount * (coarse[0] - coarse[1]))
    return made


def _usual(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Say which pixels (h, w) are about as bright as most under the mask: skin, not glasses or brows."""
    light = image @ warp.LUMA
    middle = np.median(light[mask > 0]) if (mask > 0).any() else 0.0
    spread = np.median(np.abs(light[mask > 0] - middle)) if (mask > 0).any() else 0.0
    return np.abs(light - middle) < max(15.0, 4 * spread)


def closed_lids(points: np.ndarray) -> np.ndarray:
    """Share (T, 2) in [0, 1] of each lid that must stay the target's: no open eye makes a good blink."""
    openings = warp.eye_openings(points)
    usual = np.quantile(openings, 0.8, axis=0)
    return 1 - warp.smoothstep((openings / np.maximum(usual, 1e-6) - 0.5) / 0.3)


def kept_parts(points: np.ndarray, lids: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Soft mask (h, w) of what stays the target's: inside of an open mouth, lids (2,) that close."""
    return np.maximum(warp.open_mouth(points, box), kept_lids(points, lids, box))


def kept_lids(points: np.ndarray, lids: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Soft mask (h, w) of the lids (2,) that close."""
    kept = np.zeros((box[3] - box[1], box[2] - box[0]))
    width = warp.face_width(points)
    for share, eye in zip(lids, (points[36:42], points[42:48]), strict=True):
        if share > 0:
            middle = eye.mean(0)
            wide = np.concatenate(
                [middle + 1.3 * (eye - middle) + [0, k * 0.07 * width] for k in (-1, 1)]
            )
            depth = warp.hull_depth(wide, box) / (0.05 * width)
            kept = np.maximum(kept, share * warp.smoothstep(depth))
    return kept
