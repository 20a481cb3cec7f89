"""Smooth noise in space, for textures without seams. Source: Perlin 1985 (value noise on a hashed lattice)."""

import numba
import numpy as np


@numba.njit(cache=True)
def _hash(x, y, z, seed):
    h = (x * 374761393 + y * 668265263 + z * 2147483647 + seed * 974711) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@numba.njit(cache=True)
def noise3(x, y, z, seed):
    """Smooth value noise in [0, 1) at a point of space."""
    xi, yi, zi = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - xi, y - yi, z - zi
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for dx in range(2):
        for dy in range(2):
            for dz in range(2):
                k = (u if dx else 1 - u) * (v if dy else 1 - v) * (w if dz else 1 - w)
                total += k * _hash(xi + dx, yi + dy, zi + dz, seed)
    return total


@numba.njit(cache=True)
def noise3_slope(x, y, z, seed, slope):
    """Value noise in [0, 1); its gradient is written to ``slope`` (3,)."""
    xi, yi, zi = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    a, b, c = x - xi, y - yi, z - zi
    u, v, w = a * a * (3 - 2 * a), b * b * (3 - 2 * b), c * c * (3 - 2 * c)
    du, dv, dw = 6 * a * (1 - a), 6 * b * (1 - b), 6 * c * (1 - c)
    total = 0.0
    slope[0], slope[1], slope[2] = 0.0, 0.0, 0.0
    for dx in range(2):
        fx, gx = (u, du) if dx else (1 - u, -du)
        for dy in range(2):
            fy, gy = (v, dv) if dy else (1 - v, -dv)
            for dz in range(2):
                fz, gz = (w, dw) if dz else (1 - w, -dw)
                h = _hash(xi + dx, yi + dy, zi + dz, seed)
                total += fx * fy * fz * h
                slope[0] += gx * fy * fz * h
                slope[1] += fx * gy * fz * h
                slope[2] += fx * fy * gz * h
    return total
