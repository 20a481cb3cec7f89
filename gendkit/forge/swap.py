"""The landmark face swap ("FS")."""

import numpy as np

from gendkit import warp

from .common import Forged, ForgedClip, check, compose, first
from .placing import place_faces, soft_border


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
    the target's landmarks triangle by triangle, recoloured to the target's skin and light and blended with a soft
    border that ends where a fringe or a hat begins. The inside of an open mouth and closed lids stay the target's.

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
    Reinhard et al. 2001; choice of donor frames and matching of detail are our own. The real tool fits a 3-D model of
    the face, so that it also turns the donor's head; here a donor frame of that pose must exist.
    """
    target, points = check(target, target_landmarks, strength, "target")
    donor, donor_points = check(donor, donor_landmarks, strength, "donor")
    settings = {
        "feather": rng.uniform(0.05, 0.10),
        "shrink": rng.uniform(0.01, 0.05),
        "resolution": rng.uniform(0.32, 0.65),
        "colour": rng.uniform(0.8, 1.0),
        "light": rng.uniform(0.6, 0.95),
        "detail": rng.uniform(0.0, 0.45),
        "grain": rng.uniform(0.0, 0.35),
        "jitter": rng.uniform(0.001, 0.004),
        "height": warp.bare_forehead(target, points),
    }
    placed = place_faces(target, points, donor, donor_points, settings, rng, reach=0.15)
    masks = soft_border(placed, points, *(settings[k] for k in ("height", "shrink", "feather")))
    return compose(target, placed.pasted, masks, placed.boxes, strength, settings)


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
    return first(swap_clip(*(np.asarray(a)[None] for a in args), rng, strength))
