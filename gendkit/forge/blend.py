"""Self-blended images ("SBI")."""

import numpy as np
from scipy import ndimage

from gendkit import warp

from .common import Forged, ForgedClip, check, compose, cut, first


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
    pasted copy is changed here, never the background, so that real and fake differ inside the mask alone. The copy
    moves less where it is transparent, for there features would show twice.
    """
    target, points = check(target, target_landmarks, strength, "target")
    ratio = float(rng.choice([0.5, 0.75, 1.0, 1.0]))
    # A half-transparent copy that lies elsewhere would show every eye twice.
    move = 1.0 if ratio == 1 else 0.1
    settings = {
        "ratio": ratio,
        "scale": float(np.exp(move * rng.uniform(-0.05, 0.05))),
        "shift_x": move * rng.uniform(-0.03, 0.03),
        "shift_y": move * rng.uniform(-0.02, 0.02),
        "feather": rng.uniform(0.05, 0.12),
        "shrink": rng.uniform(-0.01, 0.06),
        "wobble": rng.uniform(0.01, 0.03),
        "red": rng.uniform(-6, 6),
        "green": rng.uniform(-4, 4),
        "blue": rng.uniform(-6, 6),
        "contrast": rng.uniform(0.92, 1.08),
        "saturation": rng.uniform(0.85, 1.15),
        "blur": rng.uniform(0.5, 1.4),
        "sharpen": rng.uniform(0.0, 0.4),
        "grain": rng.uniform(0.0, 0.25),
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
        # The mask's deformation travels with the face.
        cells = [32 + 20 * (grid[..., k] - centre[k]) / width for k in (1, 0)]
        bump = ndimage.map_coordinates(wobble, cells, order=1, mode="nearest")
        depth = warp.hull_depth(full[t], box) / width - settings["shrink"] + bump
        masks.append(warp.smoothstep(depth / settings["feather"]) * (depth > 0))
        # Where old and new are mixed the copy hardly moves: no brow is seen twice.
        ramp = warp.smoothstep((depth - 0.4 * settings["feather"]) / 0.12)[..., None]
        moved = (grid - centre - shift) / settings["scale"] + centre
        copy = warp.resample(target[t], grid + ramp * (moved - grid))
        copy = ndimage.gaussian_filter(copy, (settings["blur"] * mean_width / 130,) * 2 + (0,))
        grey = copy @ warp.LUMA
        copy = grey[..., None] + settings["saturation"] * (copy - grey[..., None])
        middle = (grey * masks[-1]).sum() / max(masks[-1].sum(), 1e-6)
        copy = middle + settings["contrast"] * (copy - middle)
        pasted.append(copy + np.array([settings[c] for c in ("red", "green", "blue")]))
        boxes.append(box)
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    pasted = warp.match_detail(pasted, original, masks, settings["sharpen"])
    pasted = warp.grain(pasted, original, masks, settings["grain"])
    return compose(target, pasted, masks, boxes, strength * settings["ratio"], settings)


def self_blend(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> Forged:
    """Self-blend one face: `self_blend_clip` for a single image (H, W, 3) and landmarks (68, 2)."""
    args = (target, target_landmarks)
    return first(self_blend_clip(*(np.asarray(a)[None] for a in args), rng, strength))
