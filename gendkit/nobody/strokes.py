"""Hairs and creases drawn into the textures of a person. Source: own."""

import numba
import numpy as np


@numba.njit(cache=True)
def draw_hairs(skin, start, end, bend, width, colour, alpha):
    """Draw hairs: bent lines that thin out and fade towards their end.

    Args:
        skin: (H, W, 4) float32 albedo and gloss, changed in place.
        start, end: (N, 2) column and row of root and tip. bend: (N,) sideways bow as a share of the length.
        width: (N,) half width at the root, texels. colour: (N, 3) linear. alpha: (N,) in [0, 1].
    """
    h, w = skin.shape[0], skin.shape[1]
    cover = np.zeros((64, 64), np.float32)
    for k in range(start.shape[0]):
        x0, y0, x1, y1 = start[k, 0], start[k, 1], end[k, 0], end[k, 1]
        if max(abs(x1 - x0), abs(y1 - y0)) > 50:
            continue
        n = int(max(abs(x1 - x0), abs(y1 - y0)) * 1.5) + 2
        left, top = int(min(x0, x1) - 5), int(min(y0, y1) - 5)
        right, low = min(int(max(x0, x1) + 6), left + 63), min(int(max(y0, y1) + 6), top + 63)
        for i in range(n):
            t = i / (n - 1)
            x = x0 + (x1 - x0) * t - (y1 - y0) * bend[k] * t * (1 - t)
            y = y0 + (y1 - y0) * t + (x1 - x0) * bend[k] * t * (1 - t)
            r = width[k] * (1 - 0.7 * t)
            fade = 1 - 0.6 * t * t
            for q in range(max(int(y - r - 1), top), min(int(y + r + 2), low) + 1):
                for p in range(max(int(x - r - 1), left), min(int(x + r + 2), right) + 1):
                    d = np.sqrt((p - x) ** 2 + (q - y) ** 2)
                    c = fade * min(max(r + 0.5 - d, 0.0), 1.0)
                    if c > cover[q - top, p - left]:
                        cover[q - top, p - left] = c
        for q in range(top, low + 1):
            for p in range(left, right + 1):
                a = alpha[k] * cover[q - top, p - left]
                cover[q - top, p - left] = 0
                if a > 0 and 0 <= q < h and 0 <= p < w:
                    for c in range(3):
                        skin[q, p, c] = skin[q, p, c] * (1 - a) + colour[k, c] * a
                    skin[q, p, 3] *= 1 - 0.7 * a


@numba.njit(cache=True)
def press_groove(height, points, depth, width):
    """Press a crease into a height map.

    Args:
        height: (H, W) float32, units, changed in place: a groove with soft banks along the line.
        points: (N, 2) column and row along the line, less than half a width apart.
        depth: (N,) units at each point. width: half width of the groove, texels.
    """
    h, w = height.shape
    reach = width * 3.2
    left = max(int(points[:, 0].min() - reach), 0)
    right = min(int(points[:, 0].max() + reach) + 1, w - 1)
    top = max(int(points[:, 1].min() - reach), 0)
    low = min(int(points[:, 1].max() + reach) + 1, h - 1)
    if right < left or low < top:
        return
    field = np.zeros((low - top + 1, right - left + 1), np.float32)
    for k in range(points.shape[0]):
        x, y = points[k, 0], points[k, 1]
        for q in range(max(int(y - reach), top), min(int(y + reach) + 1, low) + 1):
            for p in range(max(int(x - reach), left), min(int(x + reach) + 1, right) + 1):
                d2 = ((p - x) ** 2 + (q - y) ** 2) / (width * width)
                f = depth[k] * np.exp(-d2)
                if f > field[q - top, p - left]:
                    field[q - top, p - left] = f
    for q in range(top, low + 1):
        for p in range(left, right + 1):
            height[q, p] -= field[q - top, p - left]
