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
    field = np.full((y1 - y0, x1 - x0, 2), np.nan)
    for corners in triangles:
        t, s = target[corners], source[corners]
        edges = np.stack([t[1] - t[0], t[2] - t[0]], axis=1)
        if abs(np.linalg.det(edges)) < 1e-6:
            continue
        left, top, right, bottom = box_of(t, 0, (y1, x1))
        left, top = max(left, x0), max(top, y0)
        if left >= right or top >= bottom:
            continue
        y, x = np.mgrid[top:bottom, left:right]
        u, v = np.tensordot(np.linalg.inv(edges), np.stack([x - t[0, 0], y - t[0, 1]]), axes=1)
        inside = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
        place = s[0] + u[..., None] * (s[1] - s[0]) + v[..., None] * (s[2] - s[0])
        field[top - y0 : bottom - y0, left - x0 : right - x0][inside] = place[inside]
    empty = np.isnan(field[..., 0])
    if empty.all():
        return np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(float)
    if empty.any():
        rows, columns = ndimage.distance_transform_edt(
            empty, return_distances=False, return_indices=True
        )
        # Outside, keep moving at the pace of the target image: no smear.
        y, x = np.mgrid[y0:y1, x0:x1]
        shift = np.stack([x - (columns + x0), y - (rows + y0)], axis=-1)
        field = np.where(empty[..., None], field[rows, columns] + shift, field)
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


def with_forehead(points: np.ndarray) -> np.ndarray:
    """Add seven forehead points above the brows: (T, 68, 2) -> (T, 75, 2)."""
    up = points[:, 27] - points[:, 8]
    bases = (17, 18, 19, (21, 22), 24, 25, 26)
    heights = (0.10, 0.20, 0.26, 0.30, 0.26, 0.20, 0.10)
    added = [
        points[:, np.atleast_1d(b)].mean(1) + h * up for b, h in zip(bases, heights, strict=True)
    ]
    return np.concatenate([points, np.stack(added, 1)], 1)


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
    """Move mean and spread of the colours (Lab, over the whole clip) towards those that were there."""
    inside = [m > 0.5 for m in masks]
    a = np.concatenate([rgb_to_lab(p[i]) for p, i in zip(pasted, inside, strict=True)])
    b = np.concatenate([rgb_to_lab(o[i]) for o, i in zip(original, inside, strict=True)])
    if not len(a):
        return pasted
    gain = np.clip(b.std(0) / np.maximum(a.std(0), 1e-3), 0.6, 1.6)
    made = []
    for p in pasted:
        lab = rgb_to_lab(p)
        moved = (lab - a.mean(0)) * gain + b.mean(0)
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


def _mean_detail(parts: list[np.ndarray], masks: list[np.ndarray]) -> float:
    total = sum(float((np.abs(p @ LUMA) * m).sum()) for p, m in zip(parts, masks, strict=True))
    return total / max(sum(float(m.sum()) for m in masks), 1e-6)


def without_pose(points: np.ndarray) -> np.ndarray:
    """Bring eyes and nose of each frame to one place, sizes in face widths."""
    reference = points.mean(0) / face_width(points.mean(0))
    return np.stack([apply_similarity(similarity(p[RIGID], reference[RIGID]), p) for p in points])


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


def texture_model(
    textures: np.ndarray, codes: np.ndarray, wanted: np.ndarray, rank: int
) -> np.ndarray:
    """Re-synthesise textures (T, h, w, 3) for wanted mouth codes: low-rank ridge regression on the clip."""
    flat = textures.reshape(len(textures), -1)
    mean, code_mean = flat.mean(0), codes.mean(0)
    if len(flat) < 3:
        return textures.copy()
    rank = min(rank, len(flat) - 2)
    _, scale, axes = np.linalg.svd(codes - code_mean, full_matrices=False)
    inputs = (codes - code_mean) @ axes[:rank].T
    ridge = 0.02 * scale[0] ** 2 * np.eye(rank) + 1e-9 * np.eye(rank)
    weights = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (flat - mean))
    asked = (wanted - code_mean) @ axes[:rank].T
    # Stay within what the clip showed: a linear model runs away outside.
    asked = np.clip(asked, 1.2 * inputs.min(0), 1.2 * inputs.max(0))
    return (mean + asked @ weights).reshape(textures.shape).clip(0, 255)


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[..., 0] + 1j * points[..., 1]


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
