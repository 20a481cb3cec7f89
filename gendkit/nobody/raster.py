"""Z-buffer rasterizers: solid triangles, hair shells cut by a strand texture, lash cover. Numba, one core.

Source: the textbook edge-function rasterizer with a z-buffer; alpha-tested shells for hair: own.
"""

import numba
import numpy as np


@numba.njit(cache=True)
def rasterize(screen, faces, size):
    """Nearest triangle per pixel.

    Args:
        screen: (V, 3) float32 x, y in pixels (centres at integers) and depth (smaller is nearer).
        faces: (F, 3) int32.
        size: (height, width).

    Returns:
        depth (H, W) float32 (inf where empty), face (H, W) int32 (-1 where empty), weights (H, W, 3) float32.
    """
    h, w = size
    depth = np.full((h, w), np.inf, np.float32)
    face = np.full((h, w), -1, np.int32)
    weights = np.zeros((h, w, 3), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = screen[faces[f, 0]], screen[faces[f, 1]], screen[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        x0 = max(int(np.ceil(min(a[0], b[0], c[0]))), 0)
        x1 = min(int(np.floor(max(a[0], b[0], c[0]))), w - 1)
        y0 = max(int(np.ceil(min(a[1], b[1], c[1]))), 0)
        y1 = min(int(np.floor(max(a[1], b[1], c[1]))), h - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                z = wa * a[2] + wb * b[2] + wc * c[2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    face[y, x] = f
                    weights[y, x, 0] = wa
                    weights[y, x, 1] = wb
                    weights[y, x, 2] = wc
    return depth, face, weights


@numba.njit(cache=True)
def sample(tex, x, y, c):
    """Bilinear value of channel c of a texture (H, W, C) at column x and row y, clamped at the border."""
    h, w = tex.shape[0], tex.shape[1]
    x = min(max(x, 0.0), w - 1.001)
    y = min(max(y, 0.0), h - 1.001)
    i, j = int(x), int(y)
    u, v = x - i, y - j
    return (tex[j, i, c] * (1 - u) + tex[j, i + 1, c] * u) * (1 - v) + (
        tex[j + 1, i, c] * (1 - u) + tex[j + 1, i + 1, c] * u
    ) * v


@numba.njit(cache=True)
def rasterize_hair(screen, faces, uv, extra, hair, first, depth, face, weights):
    """Add hair shells to a z-buffer; a pixel is kept where the strands are higher than the shell."""
    h, w = depth.shape
    for f in range(faces.shape[0]):
        fa, fb, fc = faces[f, 0], faces[f, 1], faces[f, 2]
        a, b, c = screen[fa], screen[fb], screen[fc]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        x0 = max(int(np.ceil(min(a[0], b[0], c[0]))), 0)
        x1 = min(int(np.floor(max(a[0], b[0], c[0]))), w - 1)
        y0 = max(int(np.ceil(min(a[1], b[1], c[1]))), 0)
        y1 = min(int(np.floor(max(a[1], b[1], c[1]))), h - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                z = wa * a[2] + wb * b[2] + wc * c[2]
                if z >= depth[y, x]:
                    continue
                tx = wa * uv[fa, 0] + wb * uv[fb, 0] + wc * uv[fc, 0]
                ty = wa * uv[fa, 1] + wb * uv[fb, 1] + wc * uv[fc, 1]
                level = wa * extra[fa, 4] + wb * extra[fb, 4] + wc * extra[fc, 4]
                free = (
                    wa * extra[fa, 0] + wb * extra[fb, 0] + wc * extra[fc, 0]
                )  # 1 on hanging hair
                cover = wa * extra[fa, 5] + wb * extra[fb, 5] + wc * extra[fc, 5]
                cover *= free + (1 - free) * sample(hair, tx, ty, 1)
                if (
                    cover * (0.30 + 0.95 * sample(hair, tx, ty, 0))
                    <= 0.10 + (0.72 - 0.14 * free) * level
                ):
                    continue
                depth[y, x] = z
                face[y, x] = first + f
                weights[y, x, 0] = wa
                weights[y, x, 1] = wb
                weights[y, x, 2] = wc


@numba.njit(cache=True)
def lash_cover(screen, faces, depth, strength):
    """Darkness (H, W) float32 that lashes in front of the depth buffer lay over each pixel."""
    h, w = depth.shape
    out = np.zeros((h, w), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = screen[faces[f, 0]], screen[faces[f, 1]], screen[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        for y in range(
            max(int(np.ceil(min(a[1], b[1], c[1]))), 0),
            min(int(np.floor(max(a[1], b[1], c[1]))), h - 1) + 1,
        ):
            for x in range(
                max(int(np.ceil(min(a[0], b[0], c[0]))), 0),
                min(int(np.floor(max(a[0], b[0], c[0]))), w - 1) + 1,
            ):
                wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
                wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                if wa * a[2] + wb * b[2] + wc * c[2] < depth[y, x] + 0.01:
                    out[y, x] = max(out[y, x], strength)
    return out
