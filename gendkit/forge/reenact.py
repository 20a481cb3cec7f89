"""Reenactment by warping ("F2F") and lip motion ("Talk")."""

import numpy as np
from scipy import ndimage

from gendkit import warp

from . import lips
from .common import MAX_FOLD, ForgedClip, ForgeError, check, check_points, compose, cut

CHIN = slice(4, 13)


def reenact_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    driver_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Give the target's face the expressions of another clip (expression reenactment).

    What the driver's brows, lids, lips and chin do, relative to their rest, is added to the target's rest in the
    target's own pose; the whole face is warped there, triangle by triangle. What shows between the lips comes from
    the target's own frame whose mouth opens as far, or is painted where there is none.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        driver_landmarks: (S, 68, 2), S at least 2; resampled to T frames.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the new face in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, a face too small, a driver of one frame, or landmarks that fold over.

    Source: Thies et al. 2016, "Face2Face". The real tool fits a 3-D face model with its light and renders it, so that
    wrinkles and shading follow the expression; here pixels only move.
    """
    target, points = check(target, target_landmarks, strength, "target")
    driver = _check_driver(driver_landmarks)
    settings = {
        "feather": rng.uniform(0.03, 0.07),
        "resolution": rng.uniform(0.30, 0.65),
        "detail": rng.uniform(0.0, 0.4),
        "grain": rng.uniform(0.0, 0.3),
        "jitter": rng.uniform(0.0005, 0.002),
        "height": warp.bare_forehead(target, points),
    }
    wanted = warp.copy_expression(points, driver)
    jitter = warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    jitter[:, :17] = 0
    old = _fenced(points, points, settings["height"])
    new = _fenced(points, wanted + jitter, settings["height"])
    triangles = warp.triangulate(warp.mean_shape(old))
    sources = lips.retrieve(points, wanted)
    made, masks, boxes = [], [], []
    for t, s in enumerate(sources):
        width = warp.face_width(points[t])
        _refuse_fold(new[t], triangles, t)
        box = warp.box_of(old[t], 4, target.shape[1:])
        where = warp.affine_map(new[t], old[t], triangles, box)
        where = ndimage.gaussian_filter(where, (width / 80, width / 80, 0), mode="nearest")
        image = warp.resample(target[t], where)
        image = _show_inside(image, target[s], points[s], new[t], box)
        made.append(warp.lower_resolution(image, settings["resolution"]))
        masks.append(warp.smoothstep(warp.hull_depth(old[t], box) / (settings["feather"] * width)))
        boxes.append(box)
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    made = warp.match_detail(made, original, masks, settings["detail"])
    made = warp.grain(made, original, masks, settings["grain"])
    return compose(target, made, masks, boxes, strength, settings)


def talk_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    driver_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Make the target's lips say what another clip's lips say (lip motion only).

    For each frame the clip's own frame with the nearest lip shape is looked up; its lower face is warped to this
    frame's pose and to the wanted lips, at the low resolution of lip-sync networks, and blended around the mouth.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        driver_landmarks: (S, 68, 2), S at least 2, whose lips are copied; resampled to T frames.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the new mouth in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, a face too small, a driver of one frame, or landmarks that fold over.

    Source: the task of Prajwal et al. 2020, "Wav2Lip", by the re-timing of Bregler et al. 1997, "Video Rewrite". The
    real tool paints the lower face with a network that listens to speech; here lips are copied, and no sound is used.
    """
    target, points = check(target, target_landmarks, strength, "target")
    driver = _check_driver(driver_landmarks)
    settings = {
        "feather": rng.uniform(0.06, 0.12),
        "resolution": rng.uniform(0.25, 0.50),
        "detail": rng.uniform(0.0, 0.3),
        "grain": rng.uniform(0.0, 0.15),
        "jitter": rng.uniform(0.001, 0.003),
    }
    wanted = warp.copy_mouth(points, driver)
    jitter = warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    region = lips.LOWER_FACE
    triangles = warp.triangulate(warp.mean_shape(points)[region])
    sources = _nearest_lips(points, wanted)
    made, masks, still, boxes = [], [], [], []
    for t, s in enumerate(sources):
        width = warp.face_width(points[t])
        place = wanted[t] + jitter[t]
        _refuse_fold(place[region], triangles, t)
        outline = lips.border(points[t])
        box = warp.box_of(outline, 4, target.shape[1:])
        where = warp.affine_map(place[region], points[s][region], triangles, box)
        where = ndimage.gaussian_filter(where, (width / 80, width / 80, 0), mode="nearest")
        image = warp.resample(target[s], where)
        image = _show_inside(image, target[s], points[s], place, box)
        made.append(warp.lower_resolution(image, settings["resolution"]))
        depth = warp.hull_depth(outline, box)
        masks.append(warp.smoothstep(depth / (settings["feather"] * width)))
        still.append((depth > 0) & (warp.hull_depth(_around_lips(points[t], place), box) < 0))
        boxes.append(box)
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    sigma = 0.10 * warp.face_width(points.mean(0))
    # The head has turned since: the skin around the lips says how the light has changed.
    made = [
        image + warp.masked_blur(before - image, where, sigma)
        for image, before, where in zip(made, original, still, strict=True)
    ]
    made = warp.match_detail(made, original, masks, settings["detail"])
    made = warp.grain(made, original, masks, settings["grain"])
    return compose(target, made, masks, boxes, strength, settings)


def _check_driver(landmarks: np.ndarray) -> np.ndarray:
    driver = check_points(landmarks, "driver")
    if len(driver) < 2:
        raise ForgeError(
            "the driver has one frame; expected at least 2, for only a clip shows what is movement."
        )
    return driver


def _refuse_fold(place: np.ndarray, triangles: np.ndarray, t: int) -> None:
    fold = warp.folded_share(place, triangles)
    if fold > MAX_FOLD:
        raise ForgeError(
            f"landmarks fold over in frame {t} (share of area {fold:.2f}, at most {MAX_FOLD}): the driver's "
            "movement does not fit this pose. Use a driver with less movement or a target nearer to the front."
        )


def _fenced(points: np.ndarray, moved: np.ndarray, height: float) -> np.ndarray:
    """Add points that stay, on the forehead and around the chin, so that the warp ends there: (T, 84, 2)."""
    forehead = warp.with_forehead(points, height)[:, 68:]
    chin, nose = points[:, CHIN], points[:, 30:31]
    reach = np.array([0.06, 0.14, 0.22, 0.28, 0.30, 0.28, 0.22, 0.14, 0.06])
    fence = chin + reach[:, None] * (chin - nose)
    return np.concatenate([moved, forehead, fence], 1)


def _show_inside(
    image: np.ndarray,
    source: np.ndarray,
    points: np.ndarray,
    place: np.ndarray,
    box: tuple[int, int, int, int],
) -> np.ndarray:
    hole = warp.open_mouth(place, box)
    if not hole.any():
        return image
    shown = lips.inside(source, points, place, box)
    return image + hole[..., None] * (shown - image)


def _nearest_lips(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Choose for each frame the own frame with the nearest lip shape and pose: (T,) int; few changes."""
    have, asked = (warp.without_pose(p)[:, warp.MOUTH] for p in (points, wanted))
    lip = np.abs(have[None] - asked[:, None]).mean((-1, -2))
    pose = warp.shape_distance(points[:, :48], points[:, :48])
    return warp.smooth_path(lip + 0.3 * pose, 0.004)


def _around_lips(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    both = np.concatenate([points[warp.MOUTH], place[warp.MOUTH]])
    return both.mean(0) + 1.15 * (both - both.mean(0))
