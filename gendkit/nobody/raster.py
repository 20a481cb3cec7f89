"""Z-buffer rasterizers: solid triangles, and soft lines of sub-pixel width. Numba, one core.

Source: the textbook edge-function rasterizer with a z-buffer; lines by coverage (as Wu 1991) with a depth test: own.
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
def draw_lines(samples, depth, screen, half, colour, alpha, order, first, bias, soft):
    """Blend lines of sub-pixel width over a picture, in the given order (far to near), with soft edges.

    Every pixel centre between the ends on the longer axis is met once, so joints are not drawn twice.

    Args:
        samples: (H, W, 4) float32, blended in place: light of the lines so far, and the share of what lies behind
        them that still shows. depth: (H, W) float32 of the solid surfaces.
        screen: (V, 3) float32 x, y in pixels and depth. half: (V,) half width in pixels.
        colour: (V, 3) float32. alpha: (V,) opacity. order: (M,) segments to draw; segment s joins vertices
        first[s] and first[s] + 1. bias: a line may lie this far behind a surface. soft: range of the fading.
    """
    h, w = depth.shape
    for s in order:
        a = first[s]
        b = a + 1
        dx, dy = screen[b, 0] - screen[a, 0], screen[b, 1] - screen[a, 1]
        flat = abs(dx) >= abs(dy)
        if not flat:
            dx, dy = dy, dx
        if dx == 0:
            continue
        ma = screen[a, 0] if flat else screen[a, 1]
        ca = screen[a, 1] if flat else screen[a, 0]
        mb = ma + dx
        low, high = min(ma, mb), max(ma, mb)
        slant = np.sqrt(1 + (dy / dx) ** 2)
        n_major, n_cross = (w, h) if flat else (h, w)
        for i in range(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), n_major)):
            t = (i - ma) / dx
            centre = ca + t * dy
            z = screen[a, 2] + t * (screen[b, 2] - screen[a, 2])
            r = half[a] + t * (half[b] - half[a])
            thin = min(1.0, 2 * r)
            wide = max(r, 0.5) * slant
            opacity = (alpha[a] + t * (alpha[b] - alpha[a])) * thin
            if opacity < 0.004:
                continue
            j0 = max(int(np.ceil(centre - wide - 0.5)), 0)
            j1 = min(int(np.floor(centre + wide + 0.5)), n_cross - 1)
            for j in range(j0, j1 + 1):
                y, x = (j, i) if flat else (i, j)
                front = (depth[y, x] + bias - z) / soft
                if front <= 0:
                    continue
                cover = min(1.0, wide + 0.5 - abs(j - centre)) * opacity * min(front, 1.0)
                if cover <= 0:
                    continue
                for c in range(3):
                    value = colour[a, c] + t * (colour[b, c] - colour[a, c])
                    samples[y, x, c] += cover * (value - samples[y, x, c])
                samples[y, x, 3] *= 1 - cover
