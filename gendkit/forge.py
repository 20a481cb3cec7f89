"""Make forgeries from images and 68 landmarks, by the algorithms of the field, for teaching and measuring.

Use them on pictures of people who do not exist, or who agreed. Three families: a landmark face swap ("FS"), a mouth
re-synthesis ("NT") and a self-blend ("SBI"). All keep every pixel outside their mask unchanged, bit for bit, draw their
settings once per clip (so a clip is consistent in time) and match the fine detail of what they paste to what was there
before: else the resampling alone would give every forgery away.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from gendkit import warp

MAX_POSE_GAP = 0.16
MAX_FOLD = 0.10


class ForgeError(ValueError):
    """A forgery cannot be made from these pictures and landmarks; the message says why and what to try."""


@dataclass(frozen=True)
class Forged:
    """A forged image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) float32 in [0, 1], the share of forged material; 0 = pixel untouched.
    """

    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class ForgedClip:
    """A forged clip.

    Attributes:
        images: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) float32 in [0, 1]; 0 = pixel untouched.
        settings: the numbers drawn for this clip.
    """

    images: np.ndarray
    masks: np.ndarray
    settings: dict[str, float] = field(default_factory=dict)


def swap_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    donor: np.ndarray,
    donor_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Put the donor's face into the target clip (landmark face swap).

    For each target frame the donor frame of nearest pose is taken (with few changes of frame); its face is warped to
    the target's landmarks triangle by triangle at a somewhat lower resolution, as generators work,
    recoloured to the target's skin, sharpened towards its detail and blended with a soft border. The inside of an
    open mouth stays the target's.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        donor: (S, H', W', 3) uint8 RGB; more frames with more poses give better swaps.
        donor_landmarks: (S, 68, 2).
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the pasted face in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, faces too small, or poses so different that the face would tear.

    Source: FaceSwap (M. Kowalski) as used in FaceForensics++ (Roessler et al. 2019, section 3.1); colour transfer of
    Reinhard et al. 2001; choice of donor frames and matching of detail are our own.
    """
    target, points = _check(target, target_landmarks, strength, "target")
    donor, donor_points = _check(donor, donor_landmarks, strength, "donor")
    settings = {
        "feather": rng.uniform(0.02, 0.06),
        "shrink": rng.uniform(0.02, 0.07),
        "resolution": rng.uniform(0.30, 0.60),
        "colour": rng.uniform(0.4, 0.9),
        "light": rng.uniform(0.0, 0.4),
        "detail": rng.uniform(0.0, 0.3),
        "jitter": rng.uniform(0.001, 0.004),
    }
    chosen = _nearest_frames(donor_points, points)
    full, donor_full = warp.with_forehead(points), warp.with_forehead(donor_points)
    triangles = warp.triangulate(warp.mean_shape(np.concatenate([full, donor_full])))
    for t, s in enumerate(chosen):
        folds = (
            warp.folded_share(full[t], triangles),
            warp.folded_share(donor_full[s], triangles),
        )
        if max(folds) > MAX_FOLD:
            raise ForgeError(
                f"landmarks fold over in target frame {t} (share of area: target {folds[0]:.2f}, "
                f"donor {folds[1]:.2f}; at most {MAX_FOLD}): the pose is too far from the front. "
                "Use frames with less yaw, or a donor within about 15 degrees of the target."
            )
    jitter = warp.tracking_noise(full.shape, settings["jitter"], full, rng)
    pasted, masks, boxes = [], [], []
    for t, s in enumerate(chosen):
        width = warp.face_width(points[t])
        box = warp.box_of(full[t], 4, target.shape[1:])
        where = warp.affine_map(full[t] + jitter[t], donor_full[s], triangles, box)
        where = ndimage.gaussian_filter(where, (width / 80, width / 80, 0), mode="nearest")
        depth = warp.hull_depth(full[t], box) - settings["shrink"] * width
        mask = warp.smoothstep(depth / (settings["feather"] * width))
        mask *= 1 - warp.open_mouth(points[t], box)
        source = warp.lower_resolution(
            donor[s], warp.face_width(points[t]) / warp.face_width(donor_points[s])
        )
        pasted.append(warp.lower_resolution(warp.resample(source, where), settings["resolution"]))
        masks.append(mask)
        boxes.append(box)
    original = [_part(image, box) for image, box in zip(target, boxes, strict=True)]
    pasted = warp.match_colour(pasted, original, masks, settings["colour"])
    sigma = 0.12 * warp.face_width(points.mean(0))
    pasted = [
        p
        + settings["light"]
        * (warp.masked_blur(o, m > 0, sigma) - warp.masked_blur(p, m > 0, sigma))
        for p, o, m in zip(pasted, original, masks, strict=True)
    ]
    pasted = warp.match_detail(pasted, original, masks, settings["detail"])
    return _compose(target, pasted, masks, boxes, strength, settings)


def mouth_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    driver_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Make the target's mouth follow another clip's mouth (mouth re-synthesis).

    The lower faces of the clip are brought to one shape; a linear texture model (mean and a few principal components,
    driven by the mouth's shape) is fitted to them and re-synthesises the texture for each wanted shape, as a neural
    texture renderer would; the result is warped into place and blended around the mouth.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        driver_landmarks: (S, 68, 2) landmarks whose mouth movement is copied; resampled to T frames.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the new mouth in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, face too small, or folded landmarks.

    Source: in the spirit of NeuralTextures (Thies et al. 2019), of which FaceForensics++ changes the mouth only; the
    linear texture model stands in for the network and is our own.
    """
    target, points = _check(target, target_landmarks, strength, "target")
    driver = _check_points(driver_landmarks, "driver")
    settings = {
        "feather": rng.uniform(0.05, 0.11),
        "rank": float(rng.integers(2, 5)),
        "own": rng.uniform(0.0, 0.3),
        "resolution": rng.uniform(0.25, 0.45),
        "detail": rng.uniform(0.0, 0.2),
        "jitter": rng.uniform(0.001, 0.003),
    }
    wanted = warp.copy_mouth(points, driver)
    shape = (
        warp.mean_shape(points)
        * warp.face_width(points.mean(0))
        / warp.face_width(warp.mean_shape(points))
    )
    shape = shape - shape[_lower_face()].min(0) + 12
    region = _lower_face()
    triangles = warp.triangulate(shape[region])
    size = np.ceil(shape[region].max(0) + 13).astype(int)
    canvas = (0, 0, int(size[0]), int(size[1]))
    textures = np.stack(
        [
            warp.resample(image, warp.affine_map(shape[region], p[region], triangles, canvas))
            for image, p in zip(target, points, strict=True)
        ]
    )
    made = warp.texture_model(
        textures, _mouth_code(points), _mouth_code(wanted), int(settings["rank"])
    )
    # A renderer remembers: part of each frame's own texture comes through.
    made = (1 - settings["own"]) * made + settings["own"] * textures
    jitter = warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    pasted, masks, boxes = [], [], []
    for t in range(len(target)):
        width = warp.face_width(points[t])
        place = (wanted[t] + jitter[t])[region]
        fold = warp.folded_share(place, triangles)
        if fold > MAX_FOLD:
            raise ForgeError(
                f"mouth landmarks fold over in frame {t} (share of area {fold:.2f}, at most {MAX_FOLD}): the driver's "
                "movement does not fit this pose. Use a driver with less movement or a target nearer to the front."
            )
        border = _mouth_border(points[t])
        box = warp.box_of(border, 4, target.shape[1:])
        where = warp.affine_map(place, shape[region], triangles, box)
        where = ndimage.gaussian_filter(where, (width / 80, width / 80, 0), mode="nearest")
        pasted.append(warp.lower_resolution(warp.resample(made[t], where), settings["resolution"]))
        depth = warp.hull_depth(border, box)
        masks.append(warp.smoothstep(depth / (settings["feather"] * width)))
        boxes.append(box)
    original = [_part(image, box) for image, box in zip(target, boxes, strict=True)]
    pasted = warp.match_detail(pasted, original, masks, settings["detail"])
    return _compose(target, pasted, masks, boxes, strength, settings)


def self_blend_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Blend a slightly changed copy of the face over itself (self-blended images).

    The copy is shifted and scaled by a few per cent, its colours and its sharpness change a little, and it is blended
    with a deformed mask at a drawn ratio: the traces that all blending methods share, with no second person.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        rng: source of the clip's settings; equal state gives equal clips.
        strength: factor on the blend ratio in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes or face too small.

    Source: Shiohara and Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images", sections 3.1 to 3.3; only the
    pasted copy is changed here, never the background, so that real and fake differ inside the mask alone.
    """
    target, points = _check(target, target_landmarks, strength, "target")
    settings = {
        "ratio": float(rng.choice([0.75, 1.0, 1.0, 1.0])),
        "scale": float(np.exp(rng.uniform(-0.05, 0.05))),
        "shift_x": rng.uniform(-0.03, 0.03),
        "shift_y": rng.uniform(-0.02, 0.02),
        "feather": rng.uniform(0.03, 0.10),
        "shrink": rng.uniform(-0.01, 0.10),
        "wobble": rng.uniform(0.01, 0.04),
        "red": rng.uniform(-16, 16),
        "green": rng.uniform(-16, 16),
        "blue": rng.uniform(-16, 16),
        "contrast": rng.uniform(0.85, 1.15),
        "saturation": rng.uniform(0.7, 1.3),
        "blur": rng.uniform(0.5, 2.0),
        "sharpen": rng.uniform(0.0, 0.5),
        "jitter": rng.uniform(0.0005, 0.002),
    }
    parts = (np.r_[0:68], np.r_[17:68], np.r_[2:15, 27:68])
    part = parts[rng.choice(3, p=[0.6, 0.2, 0.2])]
    full = warp.with_forehead(points) if len(part) == 68 else points[:, part]
    jitter = warp.tracking_noise((len(points), 1, 2), settings["jitter"], points, rng)
    mean_width = warp.face_width(points.mean(0))
    wobble = warp.smooth_noise((64, 64), 8, rng) * settings["wobble"]
    pasted, masks, boxes = [], [], []
    for t in range(len(target)):
        width, centre = warp.face_width(points[t]), points[t].mean(0)
        box = warp.box_of(full[t], 4 + 0.04 * width, target.shape[1:])
        grid = np.stack(np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3])), -1)
        shift = width * np.array([settings["shift_x"], settings["shift_y"]]) + jitter[t, 0]
        where = (grid - centre - shift) / settings["scale"] + centre
        copy = warp.resample(target[t], where)
        # The mask's deformation travels with the face.
        cells = [32 + 20 * (grid[..., k] - centre[k]) / width for k in (1, 0)]
        bump = ndimage.map_coordinates(wobble, cells, order=1, mode="nearest")
        depth = warp.hull_depth(full[t], box) / width - settings["shrink"] + bump
        masks.append(warp.smoothstep(depth / settings["feather"]) * (depth > 0))
        copy = ndimage.gaussian_filter(copy, (settings["blur"] * mean_width / 130,) * 2 + (0,))
        grey = copy @ warp.LUMA
        copy = grey[..., None] + settings["saturation"] * (copy - grey[..., None])
        middle = (grey * masks[-1]).sum() / max(masks[-1].sum(), 1e-6)
        copy = middle + settings["contrast"] * (copy - middle)
        pasted.append(copy + np.array([settings[c] for c in ("red", "green", "blue")]))
        boxes.append(box)
    original = [_part(image, box) for image, box in zip(target, boxes, strict=True)]
    pasted = warp.match_detail(pasted, original, masks, settings["sharpen"])
    return _compose(target, pasted, masks, boxes, strength * settings["ratio"], settings)


FORGERIES: dict[str, Callable[..., ForgedClip]] = {
    "FS": swap_clip,
    "NT": mouth_clip,
    "SBI": self_blend_clip,
}


def swap(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    donor: np.ndarray,
    donor_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> Forged:
    """Swap one face: `swap_clip` for single images (H, W, 3) and landmarks (68, 2)."""
    args = (target, target_landmarks, donor, donor_landmarks)
    return _first(swap_clip(*(np.asarray(a)[None] for a in args), rng, strength))


def mouth(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    driver_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> Forged:
    """Change one mouth: `mouth_clip` for a single image (H, W, 3) and landmarks (68, 2)."""
    args = (target, target_landmarks, driver_landmarks)
    return _first(mouth_clip(*(np.asarray(a)[None] for a in args), rng, strength))


def self_blend(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> Forged:
    """Self-blend one face: `self_blend_clip` for a single image (H, W, 3) and landmarks (68, 2)."""
    args = (target, target_landmarks)
    return _first(self_blend_clip(*(np.asarray(a)[None] for a in args), rng, strength))


def _first(clip: ForgedClip) -> Forged:
    return Forged(clip.images[0], clip.masks[0])


def _check(
    images: np.ndarray, landmarks: np.ndarray, strength: float, who: str
) -> tuple[np.ndarray, np.ndarray]:
    images, points = np.asarray(images), _check_points(landmarks, who)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ForgeError(
            f"{who} is {images.dtype} {images.shape}; expected uint8 (T, H, W, 3) RGB. "
            "For one image use the function without _clip."
        )
    if len(images) != len(points):
        raise ForgeError(
            f"{who} has {len(images)} images and {len(points)} landmark sets; give one per image."
        )
    if not 0 <= strength <= 1:
        raise ForgeError(f"strength is {strength}; expected a number in [0, 1].")
    height, width = images.shape[1:3]
    for t, p in enumerate(points):
        if warp.face_width(p) < 24:
            raise ForgeError(
                f"the {who} face in frame {t} is {warp.face_width(p):.0f} pixels wide; at least 24 are needed. "
                "Use a larger picture or check the order of the landmarks."
            )
        centre = p.mean(0)
        if not (0 <= centre[0] < width and 0 <= centre[1] < height):
            raise ForgeError(
                f"the {who} face in frame {t} has its centre at {centre.round(1)}, outside the "
                f"{width}x{height} image; landmarks are (x, y) in pixels of this image."
            )
    return images, points


def _check_points(landmarks: np.ndarray, who: str) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2) or len(points) == 0:
        raise ForgeError(
            f"{who} landmarks are {points.shape}; expected (T, 68, 2): 68 points (x, y) in iBUG order."
        )
    if not np.isfinite(points).all():
        raise ForgeError(f"{who} landmarks hold NaN or infinity; drop frames without a face first.")
    return points


def _nearest_frames(donor: np.ndarray, target: np.ndarray) -> list[int]:
    """Choose the donor frame of nearest pose for each target frame; changing frame costs a little."""
    cost = warp.shape_distance(donor[:, 17:], target[:, 17:]).T
    path = warp.smooth_path(cost, 0.01)
    gaps = cost[np.arange(len(path)), path]
    if gaps.max() > MAX_POSE_GAP:
        t = int(gaps.argmax())
        raise ForgeError(
            f"donor and target differ too much in pose at target frame {t} (shape distance {gaps[t]:.2f}, at most "
            f"{MAX_POSE_GAP}): the face would tear. Use a donor within about 15 degrees of the target's pose."
        )
    return list(path)


def _part(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return image[box[1] : box[3], box[0] : box[2]].astype(np.float32)


def _compose(
    target: np.ndarray,
    pasted: list[np.ndarray],
    masks: list[np.ndarray],
    boxes: list[tuple[int, int, int, int]],
    strength: float,
    settings: dict[str, float],
) -> ForgedClip:
    images, full = target.copy(), np.zeros(target.shape[:3], np.float32)
    for t, (x0, y0, x1, y1) in enumerate(boxes):
        alpha = (masks[t] * strength).astype(np.float32)
        alpha[alpha < 1 / 255] = 0
        before = target[t, y0:y1, x0:x1]
        mixed = before + alpha[..., None] * (pasted[t] - before)
        mixed = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
        images[t, y0:y1, x0:x1] = np.where(alpha[..., None] > 0, mixed, before)
        full[t, y0:y1, x0:x1] = alpha
    return ForgedClip(images, full, {k: float(v) for k, v in settings.items()})


def _lower_face() -> np.ndarray:
    return np.r_[2:15, 31:36, 48:68]


def _mouth_border(points: np.ndarray) -> np.ndarray:
    """Outline of what a mouth forgery may touch: under the nose, cheeks, above the chin's edge."""
    lip = points[warp.MOUTH].mean(0)
    return np.concatenate([lip + 0.86 * (points[3:14] - lip), lip + 0.85 * (points[31:36] - lip)])


def _mouth_code(points: np.ndarray) -> np.ndarray:
    """Mouth shapes without pose, in face widths: (T, 40)."""
    moved = warp.without_pose(points)
    return moved[:, warp.MOUTH].reshape(len(points), -1)
