"""Shaders of what a person wears: hair and cloth.

A shader reads the rows of its material from the table of ``surface`` and writes linear light. Numba keeps compiled code
per file: after a change in another module that is called from here, save this file again.

Source: Kajiya and Kay 1989 for hair; put together by us.
"""

import numba
import numpy as np

from .surface import (
    AMBIENT,
    CLOTH,
    COLLAR,
    COVER,
    HAT,
    LEVEL,
    LIP,
    LIT,
    NEUTRAL,
    NORMAL,
    VIEW,
    diffuse,
    smooth,
)


@numba.njit(cache=True)
def _weave(kind, thread, across):
    """Brightness of the yarn at a place of the cloth: 0 plain, 1 knit, 2 ribs."""
    if kind > 1.5:
        rib = 0.5 + 0.5 * np.cos(thread * 42.0)
        stitch = 0.5 + 0.5 * np.sin(across * 70.0 + 3.0 * rib)
        return 0.72 + 0.30 * rib + 0.08 * stitch
    if kind > 0.5:
        slope = abs(((thread * 9.0) % 1.0) - 0.5)
        return 0.82 + 0.20 * np.cos((across * 14.0 + 2.0 * slope) * 2 * np.pi)
    return 0.97 + 0.05 * np.sin(thread * 90.0) * np.sin(across * 95.0)


@numba.njit(cache=True)
def _folds(x, y, z):
    """Height of soft folds at a place of space, about -1 to 1."""
    a = np.sin(4.1 * x + 2.3 * np.sin(1.7 * y + 0.8) + 1.1 * z)
    b = np.sin(6.7 * y - 3.1 * x + 1.9 * np.sin(2.2 * z + x))
    return 0.6 * a + 0.4 * b


@numba.njit(cache=True)
def _fold_normal(row, depth):
    """Tilt the normal of a row, in place, as folds of a depth in units would."""
    x, y, z = row[NEUTRAL], row[NEUTRAL + 1], row[NEUTRAL + 2]
    h, e = _folds(x, y, z), 0.02
    gx = (_folds(x + e, y, z) - h) / e * depth
    gy = (_folds(x, y + e, z) - h) / e * depth
    gz = (_folds(x, y, z + e) - h) / e * depth
    d = gx * row[NORMAL] + gy * row[NORMAL + 1] + gz * row[NORMAL + 2]
    row[NORMAL] -= gx - d * row[NORMAL]
    row[NORMAL + 1] -= gy - d * row[NORMAL + 1]
    row[NORMAL + 2] -= gz - d * row[NORMAL + 2]
    size = np.sqrt(row[NORMAL] ** 2 + row[NORMAL + 1] ** 2 + row[NORMAL + 2] ** 2) + 1e-9
    for k in range(3):
        row[NORMAL + k] /= size


@numba.njit(cache=True)
def shade_cloth(rows, which, colours, numbers, lights, sky, out):
    """Cloth below the collar: plain, striped, ribbed or with a front panel; with folds.

    Args:
        rows: (P, K) float32 table of samples. which: (N,) int64 rows to shade.
        colours, numbers: of ``paint.Look``. lights: (L, 6), sky: (2, 3), see ``surface.diffuse``.
        out: (P, 3) float32 linear light, filled in place.
    """
    light = np.zeros(3)
    kind = int(numbers[3])
    for r in which:
        row = rows[r]
        x, y, collar = row[NEUTRAL], row[NEUTRAL + 1], row[COLLAR]
        stripe = 0.0
        if kind == 1:
            stripe = 0.9 * smooth(0.30, 0.40, abs((y * 5.0) % 1.0 - 0.5))
        elif kind == 2:
            stripe = 0.10 * (1 + np.sin(x * 42.0))
        elif kind == 3:
            stripe = smooth(0.03, 0.0, abs(x) - 0.12)
        yarn = _weave(0.0, x, y) * (0.80 + 0.20 * smooth(0.0, 0.25, collar))
        _fold_normal(row, 0.055)
        diffuse(row, lights, sky, 0.15, row[LIT], row[AMBIENT], light)
        for c in range(3):
            albedo = (colours[4, c] * (1 - stripe) + colours[5, c] * stripe) * yarn
            out[r, c] = albedo * light[c] + 0.02 * sky[0, c] * row[AMBIENT]


@numba.njit(cache=True)
def shade_hat(rows, which, lights, sky, out):
    """Hats and garments that are meshes of their own; colour, weave and thread come with the vertices.

    Args:
        rows, which, lights, sky, out: as in :func:`shade_cloth`.
    """
    light = np.zeros(3)
    for r in which:
        row = rows[r]
        kind, thread = row[LEVEL], row[COVER]
        yarn = _weave(kind, thread, row[NEUTRAL + 1])
        if kind < 0.5:
            _fold_normal(row, 0.03)
        diffuse(row, lights, sky, 0.2, row[LIT], row[AMBIENT], light)
        facing = (
            row[NORMAL] * row[VIEW]
            + row[NORMAL + 1] * row[VIEW + 1]
            + row[NORMAL + 2] * row[VIEW + 2]
        )
        fuzz = 0.05 * (1 - max(facing, 0.0)) ** 3
        for c in range(3):
            out[r, c] = row[LIP + c] * yarn * light[c] + fuzz * sky[0, c] * row[AMBIENT]


@numba.njit(cache=True)
def light_strands(points, first, tint, open_, lights, sky, camera, centre, out):
    """Light on hair at every vertex of its strands: along the strand (Kajiya-Kay) and with the form of the head.

    Args:
        points: (V, 3) posed. first: (S,) first vertex of every segment. tint: (V, 3) albedo. open_: (V,) share of light
        that reaches the place. lights: (L, 6), sky: (2, 3), see ``surface.diffuse``. camera: (3,) place of the camera.
        centre: (3,) posed middle of the head.
        out: (V, 3) float32 linear light, filled in place.
    """
    n = first.shape[0]
    for i in range(n):
        s = first[i]
        _light_strand(points, s, s, tint, open_, lights, sky, camera, centre, out)
        if i + 1 == n or first[i + 1] != s + 1:  # the end takes the direction of its last segment
            _light_strand(points, s, s + 1, tint, open_, lights, sky, camera, centre, out)


@numba.njit(cache=True)
def _light_strand(points, s, v, tint, open_, lights, sky, camera, centre, out):
    p = points[v]
    tx, ty, tz = (
        points[s + 1, 0] - points[s, 0],
        points[s + 1, 1] - points[s, 1],
        points[s + 1, 2] - points[s, 2],
    )
    size = np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
    tx, ty, tz = tx / size, ty / size, tz / size
    # hair hangs below the head as a round column: the outward direction there is level
    nx, nz = p[0] - centre[0], p[2] - centre[2]
    ny = max(p[1] - centre[1], 0.0)
    size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    nx, ny, nz = nx / size, ny / size, nz / size
    vx, vy, vz = camera[0] - p[0], camera[1] - p[1], camera[2] - p[2]
    size = np.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / size, vy / size, vz / size
    up = 0.5 + 0.5 * ny
    r = (sky[0, 0] * up + sky[1, 0] * (1 - up)) * open_[v]
    g = (sky[0, 1] * up + sky[1, 1] * (1 - up)) * open_[v]
    b = (sky[0, 2] * up + sky[1, 2] * (1 - up)) * open_[v]
    sr, sg, sb = 0.0, 0.0, 0.0
    for k in range(lights.shape[0]):
        lx, ly, lz = lights[k, 0], lights[k, 1], lights[k, 2]
        along = tx * lx + ty * ly + tz * lz
        form = nx * lx + ny * ly + nz * lz
        wrapped = max((form + 0.35) / 1.35, 0.0)
        share = open_[v]
        d = (0.55 * wrapped + 0.45 * wrapped * np.sqrt(max(1 - along * along, 0.0))) * share
        r += lights[k, 3] * d
        g += lights[k, 4] * d
        b += lights[k, 5] * d
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        size = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        # the cuticle tilts the white sheen to the root and the coloured one to the tip
        th = (tx * hx + ty * hy + tz * hz) / size
        white = max(1 - (th - 0.10) ** 2, 0.0) ** 60
        warm = max(1 - (th + 0.12) ** 2, 0.0) ** 14
        mask = share * wrapped * open_[v]
        sr += lights[k, 3] * mask * (0.030 * white + 0.35 * tint[v, 0] * warm)
        sg += lights[k, 4] * mask * (0.030 * white + 0.35 * tint[v, 1] * warm)
        sb += lights[k, 5] * mask * (0.030 * white + 0.35 * tint[v, 2] * warm)
    out[v, 0] = tint[v, 0] * r + sr
    out[v, 1] = tint[v, 1] * g + sg
    out[v, 2] = tint[v, 2] * b + sb


def _cloth(s, which: np.ndarray) -> None:
    shade_cloth(s.rows, which, s.look.colours, s.look.numbers, s.lights, s.sky, s.out)


def _hat(s, which: np.ndarray) -> None:
    shade_hat(s.rows, which, s.lights, s.sky, s.out)


# material code -> function of the frame (``render.Scene``) and the rows to shade
SHADERS = {CLOTH: _cloth, HAT: _hat}
