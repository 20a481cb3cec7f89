"""Geometry and texture tools for forgeries: similarity, piecewise-affine warp, soft masks, colour, sharpness.

Points are (x, y) in pixels with pixel centres at integers; boxes are (x0, y0, x1, y1), x1 and y1 not included.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, Delaunay

_RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_WHITE = np.array([0.9505, 1.0, 1.089])
RIGID = np.r_[27:48]  # nose and eyes: points that expressions move little
MOUTH = slice(48, 68)
_STILL = np.r_[0, 16, 27:36, 36, 39, 42, 45]  # points that no expression moves much
# How far each point follows an expression: brows and lips wholly, the chin partly, the rest not.
_FREEDOM = np.zeros(68)
_FREEDOM[5:12] = (0.2, 0.5, 0.7, 0.8, 0.7, 0.5, 0.2)
_FREEDOM[17:27] = _FREEDOM[48:68] = 1.0
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """Find the rotation, scale and shift that bring points closest to others (least squares).

    Args:
        source: (N, 2) points in pixels.
        target: (N, 2) points in pixels.

    Returns:
        (a, b): a point z = x + iy goes to a z + b; use `apply_similarity`.

    Source: own; the closed form of 2-D Procrustes analysis in complex numbers.
    """
    z, w = _complex(source), _complex(target)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    return a, w.mean() - a * z.mean()


def apply_similarity(transform: tuple[complex, complex], points: np.ndarray) -> np.ndarray:
    """Move points (..., 2) by a transform of `similarity`."""
    z = transform[0] * _complex(points) + transform[1]
    return np.stack([z.real, z.imag], axis=-1)


def shape_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare shapes regardless of place, size and in-plane rotation.

    Args:
        a: (S, N, 2) shapes.
        b: (T, N, 2) shapes.

    Returns:
        (S, T) distances in [0, 1]: the sine of the angle between the centred shapes (0 = same shape).
    """
    z, w = _complex(a), _complex(b)
    z, w = z - z.mean(1, keepdims=True), w - w.mean(1, keepdims=True)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    return np.sqrt(np.clip(1 - np.abs(z.conj() @ w.T) ** 2, 0, 1))


def triangulate(points: np.ndarray) -> np.ndarray:
    """Triangles (K, 3) of point numbers by Delaunay's rule, all turning the same way."""
    triangles = Delaunay(points).simplices
    flipped = _areas(points, triangles) < 0
    triangles[flipped] = triangles[flipped][:, ::-1]
    return triangles


def folded_share(points: np.ndarray, triangles: np.ndarray) -> float:
    """Share of the triangulated area that is turned over, in [0, 1]."""
    areas = _areas(points, triangles)
    return float(-areas[areas < 0].sum() / max(np.abs(areas).sum(), 1e-9))


def box_of(points: np.ndarray, margin: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Box around points with a margin in pixels, clipped to an image of `shape` (H, W, ...)."""
    low = np.floor(points.min(0) - margin).astype(int)
    high = np.ceil(points.max(0) + margin).astype(int) + 1
    x0, y0 = np.clip(low, 0, (shape[1], shape[0]))
    x1, y1 = np.clip(high, (x0, y0), (shape[1], shape[0]))
    return int(x0), int(y0), int(x1), int(y1)


def affine_map(
    target: np.ndarray, source: np.ndarray, triangles: np.ndarray, box: tuple[int, int, int, int]
) -> np.ndarray:
    """Say for every pixel of a box where to look in the source image (piecewise affine).

    Args:
        target: (N, 2) points where things shall be.
        source: (N, 2) the same points in the source image.
        triangles: (K, 3) numbers of points.
        box: part of the target image to fill.

    Returns:
        (h, w, 2) source positions (x, y); pixels outside all triangles follow the nearest one inside.

    Source: own; the warp of landmark face swapping (FaceSwap, Kowalski; FaceForensics++ section 3.1).
    """
    x0, y0, x1, y1 = box
    columns, rows = np.arange(x0, x1), np.arange(y0, y1)[:, None]
    t, s = target[triangles], source[triangles]
    edges = t[:, 1:] - t[:, :1]
    solid = np.abs(np.linalg.det(edges)) >= 1e-6
    t, s, edges = t[solid], s[solid], edges[solid]
    # Shares of the second and third corner: linear in x and y.
    slopes = np.linalg.inv(edges)
    offsets = -np.einsum("ki,kij->kj", t[:, 0], slopes)
    low = np.clip(np.floor(t.min(1)).astype(int) - (x0, y0), 0, None)
    high = np.ceil(t.max(1)).astype(int) + 1 - (x0, y0)
    owner = np.full((y1 - y0, x1 - x0), -1)
    for k, ((left, top), (right, bottom)) in enumerate(zip(low, high, strict=True)):
        if left >= min(right, owner.shape[1]) or top >= min(bottom, owner.shape[0]):
            continue
        x, y = columns[left:right], rows[top:bottom]
        u, v = (slopes[k, 0, j] * x + slopes[k, 1, j] * y + offsets[k, j] for j in (0, 1))
        inside = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
        owner[top:bottom, left:right][inside] = k
    empty = owner < 0
    if empty.all():
        return np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(float)
    steps = slopes @ (s[:, 1:] - s[:, :1])
    starts = s[:, 0] - np.einsum("ki,kij->kj", t[:, 0], steps)
    field = columns[:, None] * steps[owner, 0] + rows[..., None] * steps[owner, 1] + starts[owner]
    if empty.any():
        near_row, near_column = ndimage.distance_transform_edt(
            empty, return_distances=False, return_indices=True
        )
        # Outside, keep moving at the pace of the target image: no smear.
        shift = np.stack([columns - x0 - near_column, rows - y0 - near_row], axis=-1)
        field = np.where(empty[..., None], field[near_row, near_column] + shift, field)
    return field


def resample(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Look up an image (H, W, C) at positions (h, w, 2) with cubic splines; float32 (h, w, C), edges repeated."""
    points = field.reshape(-1, 2)
    x0, y0, x1, y1 = box_of(points, 8, image.shape)
    if x0 >= x1 or y0 >= y1:
        x0, y0, x1, y1 = 0, 0, image.shape[1], image.shape[0]
    part = image[y0:y1, x0:x1].astype(np.float32)
    where = [field[..., 1] - y0, field[..., 0] - x0]
    planes = [
        ndimage.map_coordinates(part[..., c], where, order=3, mode="nearest")
        for c in range(part.shape[2])
    ]
    return np.stack(planes, axis=-1)


def hull_depth(points: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Distance in pixels from each pixel of a box to the border of the convex hull; negative outside."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[y0:y1, x0:x1]
    lines = ConvexHull(points).equations
    depth = -(lines[:, 0, None, None] * x + lines[:, 1, None, None] * y + lines[:, 2, None, None])
    return depth.min(0)


def smoothstep(value: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 (at 0 and below) to 1 (at 1 and above)."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise blurred by `sigma` pixels, scaled back to unit standard deviation."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return noise / max(noise.std(), 1e-9)


def rgb_to_lab(image: np.ndarray) -> np.ndarray:
    """Turn sRGB in [0, 255] (..., 3) into CIE L*a*b* (D65). Source: IEC 61966-2-1, CIE 15."""
    value = np.clip(image, 0, 255) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """Turn CIE L*a*b* (..., 3) back into sRGB in [0, 255], clipped."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, (116 * f - 16) * 27 / 24389) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_RGB_TO_XYZ).T, 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * value


def bands(image: np.ndarray, sigmas: tuple[float, ...] = (0.7, 1.4)) -> list[np.ndarray]:
    """Split off the fine detail of an image (H, W, C) in octaves: differences of Gaussian blurs."""
    levels = [np.asarray(image, np.float32)]
    levels += [ndimage.gaussian_filter(levels[0], (s, s, 0)) for s in sigmas]
    return [a - b for a, b in zip(levels[:-1], levels[1:], strict=True)]


def lower_resolution(image: np.ndarray, factor: float) -> np.ndarray:
    """Take away the detail (H, W, C) that an image `factor` times as large could not hold (nothing from 1 up)."""
    if factor >= 1:
        return image.astype(np.float32)
    sigma = 0.45 * np.sqrt(1 / factor**2 - 1)
    return ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))


def masked_blur(image: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Blur (H, W, C) by `sigma` pixels, looking only at pixels where mask (H, W) > 0."""
    weight = ndimage.gaussian_filter(mask.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(image * mask[..., None], (sigma, sigma, 0))
    return total / np.maximum(weight, 1e-6)[..., None]


def smooth_path(cost: np.ndarray, price: float) -> np.ndarray:
    """Choose one column per row of a cost table (T, S) at least total cost, each change costing `price`: (T,) int.

    Source: own; the algorithm of Viterbi 1967.
    """
    total, back = cost[0], []
    for row in cost[1:]:
        best = int(total.argmin())
        stay = total <= total[best] + price
        back.append(np.where(stay, np.arange(len(total)), best))
        total = np.where(stay, total, total[best] + price) + row
    path = [int(total.argmin())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1])


def face_width(points: np.ndarray) -> float:
    """Face size in pixels that changes little with yaw or expression: brows to chin, about one face width."""
    return float(np.linalg.norm(points[8] - points[[21, 22]].mean(0)) * 1.15)


def with_forehead(points: np.ndarray, height: float = 1.0) -> np.ndarray:
    """Add seven forehead points above the brows, a share of the usual height up: (T, 68, 2) -> (T, 75, 2)."""
    up = points[:, 27] - points[:, 8]
    bases = (17, 18, 19, (21, 22), 24, 25, 26)
    heights = height * np.array([0.10, 0.20, 0.26, 0.30, 0.26, 0.20, 0.10])
    added = [
        points[:, np.atleast_1d(b)].mean(1) + h * up for b, h in zip(bases, heights, strict=True)
    ]
    return np.concatenate([points, np.stack(added, 1)], 1)


def bare_forehead(images: np.ndarray, points: np.ndarray) -> float:
    """Say how far above the brows the skin is bare: fringes, hats and the rims of glasses end it.

    Args:
        images: (T, H, W, 3) uint8 RGB.
        points: (T, 68, 2).

    Returns:
        Share of the height of `with_forehead`, in [0.2, 1]: the median of up to five frames.

    Source: own; colours (Lab) above the brows against those of cheeks and nose.
    """
    steps = np.linspace(0.3, 1.0, 8)
    found = []
    for t in np.unique(np.linspace(0, len(points) - 1, 5).astype(int)):
        p = points[t]
        soft = ndimage.gaussian_filter(
            images[t].astype(np.float32), (0.015 * face_width(p),) * 2 + (0,)
        )
        cheeks = [0.6 * p[a] + 0.4 * p[b] for a, b in ((31, 2), (31, 3), (35, 14), (35, 13))]
        skin = rgb_to_lab(_pick(soft, np.stack([*cheeks, p[28], p[29]])))
        share = 1.0
        for step in steps:
            colours = rgb_to_lab(_pick(soft, with_forehead(points[t : t + 1], step)[0, 69:74]))
            apart = (colours[:, None] - skin[None]) * (0.6, 1, 1)
            if (np.linalg.norm(apart, axis=-1).min(1) > 14).sum() >= 2:
                share = max(step - 0.2, 0.2)
                break
        found.append(share)
    return float(np.median(found))


def _pick(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of the pixels nearest to points (N, 2); outside, those of the edge."""
    x, y = points.round().astype(int).T
    return image[np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)]


def eye_openings(points: np.ndarray) -> np.ndarray:
    """Height of each eye's opening in face widths: (T, 68, 2) -> (T, 2)."""
    pairs = (((37, 41), (38, 40)), ((43, 47), (44, 46)))
    height = [
        np.mean([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in eye], 0)
        for eye in pairs
    ]
    return np.stack(height, 1) / np.array([[face_width(p)] for p in points])


def mean_shape(points: np.ndarray) -> np.ndarray:
    """Mean of shapes (T, N, 2) after bringing eyes and nose together: (N, 2)."""
    moved = [apply_similarity(similarity(p[RIGID], points[0][RIGID]), p) for p in points]
    return np.mean(moved, axis=0)


def tracking_noise(
    shape: tuple[int, ...], amount: float, points: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Tracking noise (T, N, 2) in pixels: smooth in time, most of it shared by all points."""
    n_frames = shape[0]
    noise = rng.standard_normal((n_frames + 8, *shape[1:])) * 0.5
    noise += rng.standard_normal((n_frames + 8, 1, 2))
    noise = ndimage.gaussian_filter1d(noise, 1.0, axis=0)[4:-4]
    return noise * amount * np.mean([face_width(p) for p in points])


def open_mouth(points: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Soft mask of the inside of the mouth; 0 everywhere while the lips are closed."""
    width = face_width(points)
    inner = points[60:68]
    gap = np.linalg.norm(points[66] - points[62]) / width
    if gap < 0.02 or np.linalg.matrix_rank(inner - inner[0], tol=0.5) < 2:
        return np.zeros((box[3] - box[1], box[2] - box[0]))
    return smoothstep(hull_depth(inner, box) / (0.012 * width)) * min(1, gap / 0.02 - 1)


def match_colour(
    pasted: list[np.ndarray], original: list[np.ndarray], masks: list[np.ndarray], amount: float
) -> list[np.ndarray]:
    """Move median and spread of the colours (Lab, over the clip) towards those that were there.

    Medians and quartiles, not means: glasses, brows and beards shall not colour the skin.
    """
    inside = [m > 0.5 for m in masks]
    a = np.concatenate([rgb_to_lab(p[i]) for p, i in zip(pasted, inside, strict=True)])
    b = np.concatenate([rgb_to_lab(o[i]) for o, i in zip(original, inside, strict=True)])
    if not len(a):
        return pasted
    (a_low, a_middle, a_high), (b_low, b_middle, b_high) = (
        np.quantile(x, (0.25, 0.5, 0.75), axis=0) for x in (a, b)
    )
    gain = np.clip((b_high - b_low) / np.maximum(a_high - a_low, 1e-3), 0.8, 1.25)
    made = []
    for p in pasted:
        lab = rgb_to_lab(p)
        moved = (lab - a_middle) * gain + b_middle
        made.append(lab_to_rgb(lab + amount * (moved - lab)).astype(np.float32))
    return made


def match_detail(
    pasted: list[np.ndarray], original: list[np.ndarray], masks: list[np.ndarray], amount: float
) -> list[np.ndarray]:
    """Scale the fine detail, octave by octave, towards the strength it had there (mean over the clip)."""
    split = [bands(p) for p in pasted]
    before = [bands(o) for o in original]
    made = [p.copy() for p in pasted]
    for k in range(len(split[0])):
        have = _mean_detail([s[k] for s in split], masks)
        want = _mean_detail([s[k] for s in before], masks)
        gain = np.clip(want / max(have, 1e-6), 0.4, 3.0) ** amount
        for image, s in zip(made, split, strict=True):
            image += (gain - 1) * s[k]
    return made


def grain(
    pasted: list[np.ndarray], original: list[np.ndarray], masks: list[np.ndarray], amount: float
) -> list[np.ndarray]:
    """Put the noise that was there back onto what is pasted, as a second camera or coder would add its own.

    The finest octave of the original is clipped at one and a half times its usual size: noise
    passes, lines do not.
    """
    made = []
    for p, o, m in zip(pasted, original, masks, strict=True):
        fine = bands(o, (1.0,))[0]
        inside = m > 0.5
        limit = 1.5 * np.median(np.abs(fine[inside])) / 0.6745 if inside.any() else 0.0
        made.append(p + amount * np.clip(fine, -limit, limit))
    return made


def _mean_detail(parts: list[np.ndarray], masks: list[np.ndarray]) -> float:
    total = sum(float((np.abs(p @ LUMA) * m).sum()) for p, m in zip(parts, masks, strict=True))
    return total / max(sum(float(m.sum()) for m in masks), 1e-6)


def without_pose(points: np.ndarray) -> np.ndarray:
    """Bring eyes and nose of each frame to one place, sizes in face widths."""
    reference = points.mean(0) / face_width(points.mean(0))
    return np.stack([apply_similarity(similarity(p[RIGID], reference[RIGID]), p) for p in points])


def copy_expression(points: np.ndarray, driver: np.ndarray) -> np.ndarray:
    """Give the target's landmarks the driver's expression and keep the target's identity and pose.

    Args:
        points: (T, 68, 2) of the target.
        driver: (S, 68, 2); resampled to T frames.

    Returns:
        (T, 68, 2): brows, lips and chin moved from the target's median as the driver's are from the driver's; lids
        close where the driver's do. The target's own points come back when it drives itself.

    Source: own; the transfer of expressions in Thies et al. 2016, "Face2Face", section 6, with displacements of
    landmarks in place of a 3-D model's weights.
    """
    picks = np.linspace(0, len(driver) - 1, len(points)).round().astype(int)
    own, ways = _without_view(points)
    other = _without_view(driver)[0]
    moves = (other - np.median(other, 0))[picks] - (own - np.median(own, 0))
    # What no landmark can tell from a turn of the head: lips that all go sideways, a jaw's outline that slides.
    moves[:, MOUTH, 0] -= moves[:, MOUTH, 0].mean(1, keepdims=True)
    moves[:, :17, 0] = 0
    moves[:, :17, 1] = moves[:, 7:10, 1].mean(1, keepdims=True)
    new = own + moves * _FREEDOM[:, None]
    _part_lips(new, own)
    _close_lids(new, own, other, picks)
    wanted = [(n - way[2]) @ np.linalg.inv(way[:2]) for n, way in zip(new, ways, strict=True)]
    moved = (np.abs(new - own) > 1e-9).any(-1, keepdims=True)
    return np.where(moved, np.stack(wanted), points)


def _without_view(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring all frames to one upright view by affine maps (T, 3, 2) of still points; sizes in face widths."""
    shape = mean_shape(points)
    across = shape[45] - shape[36]
    level = np.array([[0, 0], [np.linalg.norm(across) / face_width(shape), 0]])
    upright = apply_similarity(similarity(shape[[36, 45]], level), shape)
    ones = np.ones((len(points), len(_STILL), 1))
    ways = [
        np.linalg.lstsq(p, upright[_STILL], rcond=None)[0]
        for p in np.concatenate([points[:, _STILL], ones], -1)
    ]
    moved = [p @ way[:2] + way[2] for p, way in zip(points, ways, strict=True)]
    return np.stack(moved), np.stack(ways)


def _part_lips(new: np.ndarray, own: np.ndarray) -> None:
    """Keep lips from crossing, and from opening far wider than this mouth ever did."""
    limit = 1.4 * _opening(own[:, MOUTH]).max() + 0.05
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        gap = new[:, lower, 1] - new[:, upper, 1]
        low = np.minimum(own[:, lower, 1] - own[:, upper, 1], 0.0)
        excess = gap - np.clip(gap, low, np.maximum(limit, low))
        for inner, outer, side in ((upper, upper - 11, 0.5), (lower, 124 - lower, -0.5)):
            new[:, inner, 1] += side * excess
            new[:, outer, 1] += side * excess


def _close_lids(new: np.ndarray, own: np.ndarray, other: np.ndarray, picks: np.ndarray) -> None:
    """Lower the upper lids where the driver's lids are clearly lower than usual."""
    have, asked = eye_openings(own), eye_openings(other)
    ratio = (asked / np.median(asked, 0))[picks].mean(1, keepdims=True)
    wanted = np.where(ratio < 0.85, np.minimum(have, ratio * np.median(have, 0)), have)
    factor = wanted / np.maximum(have, 1e-9)
    for side, pairs in enumerate((((37, 41), (38, 40)), ((43, 47), (44, 46)))):
        for upper, lower in pairs:
            lid = own[:, upper] - own[:, lower]
            new[:, upper] = own[:, lower] + factor[:, side, None] * lid


def copy_mouth(points: np.ndarray, driver: np.ndarray) -> np.ndarray:
    """Give the target's landmarks the driver's mouth movement: (T, 68, 2)."""
    picks = np.linspace(0, len(driver) - 1, len(points)).round().astype(int)
    own, other = without_pose(points), without_pose(driver)[picks]
    if len(points) > 1:
        move = other[:, MOUTH] - other[:, MOUTH].mean(0)
        new = own[:, MOUTH].mean(0) + move
    else:
        inner = other[:, MOUTH] - other[:, MOUTH].mean(1, keepdims=True)
        new = own[:, MOUTH].mean(1, keepdims=True) + inner
        new = 0.4 * own[:, MOUTH] + 0.6 * new
    # Lips cannot show teeth that the clip never showed: limit the opening to a little more than seen.
    limit = 1.3 * _opening(own[:, MOUTH]).max() + 0.03
    opening = _opening(new)
    factor = np.minimum(1, limit / np.maximum(opening, 1e-9))[:, None]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        middle = (new[:, upper - 48] + new[:, lower - 48]) / 2
        for k in (upper - 48, lower - 48):
            new[:, k] = middle + factor * (new[:, k] - middle)
    wanted = points.copy()
    for t in range(len(points)):
        back = similarity(own[t][RIGID], points[t][RIGID])
        wanted[t, MOUTH] = apply_similarity(back, new[t])
    return wanted


def _opening(mouth_points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(mouth_points[:, 66 - 48] - mouth_points[:, 62 - 48], axis=-1)


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[..., 0] + 1j * points[..., 1]


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
