"""The morph of two faces ("Morph")."""

import numpy as np
from scipy import ndimage

from gendkit import warp

from .common import ForgedClip, check, compose, cut
from .placing import Placed, closed_lids, kept_parts, nearest_frames, refuse_folds, soft_border

INNER = slice(17, 68)


def morph_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    donor: np.ndarray,
    donor_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Mix the target's face half and half with the donor's, in shape and in texture (face morph).

    Brows, eyes, nose and mouth move to the mean of both faces, jaw and forehead stay the target's; both faces are
    warped there and averaged at the clip's ratio. Eyeballs and the inside of the mouth are the target's alone, for
    landmarks do not say where the irises and teeth are.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        donor: (S, H', W', 3) uint8 RGB.
        donor_landmarks: (S, 68, 2).
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the morph in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, faces too small, or poses so different that the face would tear.

    Source: the landmark morph of Ferrara, Franco and Maltoni 2014, "The Magic Passport", with the triangulation of
    the usual open tools. Made to fool a passport check with one touched-up still; here nobody retouches, and the
    clip moves.
    """
    target, points = check(target, target_landmarks, strength, "target")
    donor, donor_points = check(donor, donor_landmarks, strength, "donor")
    settings = {
        "ratio": rng.uniform(0.4, 0.6),
        "feather": rng.uniform(0.06, 0.12),
        "shrink": rng.uniform(0.0, 0.03),
        "colour": rng.uniform(0.8, 1.0),
        "light": rng.uniform(0.6, 0.95),
        "resolution": rng.uniform(0.40, 0.80),
        "detail": rng.uniform(0.0, 0.4),
        "grain": rng.uniform(0.0, 0.2),
        "jitter": rng.uniform(0.001, 0.003),
        "height": min(warp.bare_forehead(target, points), warp.bare_forehead(donor, donor_points)),
    }
    height, ratio = settings["height"], settings["ratio"]
    chosen = nearest_frames(donor_points, points)
    full = warp.with_forehead(points, height)
    donor_full = warp.with_forehead(donor_points, height)[chosen]
    triangles = warp.triangulate(warp.mean_shape(np.concatenate([full, donor_full])))
    refuse_folds(full, donor_full, triangles)
    middle = mean_faces(full, donor_full, ratio)
    jitter = warp.tracking_noise(full.shape, settings["jitter"], full, rng)
    lids = closed_lids(points)
    own, other, shares, boxes = [], [], [], []
    for t, s in enumerate(chosen):
        width = warp.face_width(points[t])
        box = warp.box_of(full[t], 4, target.shape[1:])
        own.append(_bring(target[t], full[t], middle[t], triangles, box))
        source = warp.lower_resolution(donor[s], width / warp.face_width(donor_points[s]))
        other.append(_bring(source, donor_full[t], middle[t] + jitter[t], triangles, box))
        kept = np.maximum(kept_parts(middle[t], lids[t], box), _eyeballs(middle[t], box))
        shares.append(ratio * (1 - kept))
        boxes.append(box)
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    depths = [warp.hull_depth(p, box) for p, box in zip(full, boxes, strict=True)]
    inside = [(d > 0).astype(float) for d in depths]
    other = warp.match_colour(other, own, inside, settings["colour"])
    sigma = 0.12 * warp.face_width(points.mean(0))
    mixed = []
    for a, b, share, m in zip(own, other, shares, inside, strict=True):
        light = warp.masked_blur(a, m, sigma) - warp.masked_blur(b, m, sigma)
        both = a + share[..., None] * (b + settings["light"] * light - a)
        mixed.append(warp.lower_resolution(both, settings["resolution"]))
    mixed = warp.match_detail(mixed, original, inside, settings["detail"])
    mixed = warp.grain(mixed, original, inside, settings["grain"])
    placed = Placed(mixed, original, depths, [np.zeros_like(d) for d in depths], boxes)
    masks = soft_border(placed, points, height, settings["shrink"], settings["feather"])
    return compose(target, mixed, masks, boxes, strength, settings)


def mean_faces(target: np.ndarray, donor: np.ndarray, ratio: float) -> np.ndarray:
    """Move the inner points of faces (T, N, 2) a share of the way to the donor's; jaw and forehead stay."""
    middle = target.copy()
    for t in range(len(target)):
        fit = warp.similarity(donor[t][INNER], target[t][INNER])
        moved = warp.apply_similarity(fit, donor[t][INNER])
        middle[t, INNER] += ratio * (moved - target[t, INNER])
    return middle


def _bring(
    image: np.ndarray,
    points: np.ndarray,
    place: np.ndarray,
    triangles: np.ndarray,
    box: tuple[int, int, int, int],
) -> np.ndarray:
    where = warp.affine_map(place, points, triangles, box)
    blur = warp.face_width(points) / 80
    return warp.resample(image, ndimage.gaussian_filter(where, (blur, blur, 0), mode="nearest"))


def _eyeballs(points: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((box[3] - box[1], box[2] - box[0]))
    for eye in (points[36:42], points[42:48]):
        wide = eye.mean(0) + 1.2 * (eye - eye.mean(0))
        if np.linalg.matrix_rank(wide - wide[0], tol=0.5) == 2:
            depth = warp.hull_depth(wide, box) / warp.face_width(points)
            mask = np.maximum(mask, warp.smoothstep(depth / 0.015 + 0.5))
    return mask
