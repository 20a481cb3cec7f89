"""The gradient-domain swap ("Poisson") and its solver."""

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from gendkit import warp

from .common import ForgedClip, check, compose
from .placing import place_faces


def poisson_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    donor: np.ndarray,
    donor_landmarks: np.ndarray,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Put the donor's face into the target clip by its gradients (Poisson image editing).

    Faces are placed as in `swap_clip`; then, frame by frame, the picture inside the mask is the one whose gradients
    are closest to the placed face's and whose border is the target's: the seam vanishes, colours flow in from it.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        donor: (S, H', W', 3) uint8 RGB.
        donor_landmarks: (S, 68, 2).
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the new face in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, faces too small, or poses so different that the face would tear.

    Source: Perez, Gangnet and Blake 2003, "Poisson Image Editing", sections 2 and 3 (importing gradients). Without
    the mixed gradients of their section 3, which would let the target's brows shine through; each frame is solved
    alone, where video tools also tie neighbouring frames together.
    """
    target, points = check(target, target_landmarks, strength, "target")
    donor, donor_points = check(donor, donor_landmarks, strength, "donor")
    settings = {
        "shrink": rng.uniform(0.03, 0.08),
        "resolution": rng.uniform(0.32, 0.65),
        "colour": rng.uniform(0.8, 1.0),
        "light": rng.uniform(0.6, 0.95),
        "detail": rng.uniform(0.0, 0.45),
        "grain": rng.uniform(0.0, 0.35),
        "jitter": rng.uniform(0.001, 0.004),
        "height": 0.9 * warp.bare_forehead(target, points),
    }
    placed = place_faces(target, points, donor, donor_points, settings, rng)
    made, masks = [], []
    for t, depth in enumerate(placed.depths):
        inside = depth > settings["shrink"] * warp.face_width(points[t])
        hole = placed.holes[t][..., None]
        guide = placed.pasted[t] + hole * (placed.original[t] - placed.pasted[t])
        made.append(fill(placed.original[t], guide, inside))
        masks.append(inside * (1 - placed.holes[t]))
    return compose(target, made, masks, placed.boxes, strength, settings)


def fill(background: np.ndarray, guide: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Solve Poisson's equation: inside, gradients of the guide; outside, the background.

    Args:
        background: (h, w, C) float.
        guide: (h, w, C) float.
        inside: (h, w) bool; pixels at the edge of the picture count as outside, for they have no four neighbours.

    Returns:
        (h, w, C) float32, equal to the background outside.

    Source: Perez et al. 2003, equation 7, solved for the difference to the guide by sparse elimination.
    """
    inside = inside.copy()
    inside[[0, -1]] = inside[:, [0, -1]] = False
    made = background.astype(np.float32)
    n = int(inside.sum())
    if n == 0:
        return made
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(n)
    gap = np.where(inside[..., None], 0.0, background.astype(np.float64) - guide)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    joined = [(a[k], b[k]) for a, b in pairs for k in [(a >= 0) & (b >= 0)]]
    rows = np.concatenate([part for a, b in joined for part in (a, b)])
    columns = np.concatenate([part for a, b in joined for part in (b, a)])
    matrix = sparse.csc_matrix((np.full(len(rows), -1.0), (rows, columns)), (n, n))
    matrix = matrix + 4 * sparse.identity(n, format="csc")
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]])
    around = ndimage.convolve(gap, cross[..., None], mode="constant")[inside]
    solver = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    made[inside] = guide[inside] + solver.solve(around)
    return made
