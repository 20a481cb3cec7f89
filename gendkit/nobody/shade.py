"""Shaders of skin, eyes, teeth and tongue.

A shader reads the rows of its material from the table of ``surface`` and writes linear light.

Source: highlights of two widths on skin after Weyrich et al. 2006; GGX distribution (Walter et al. 2007) with a cheap
visibility term after Karis 2013; Fresnel term of Schlick 1994; put together by us.
"""

import numba
import numpy as np

from .chart import TEXELS
from .heads import AXIS_Z
from .noise import noise3, noise3_slope
from .raster import sample
from .surface import (
    AMBIENT,
    COLLAR,
    EAR,
    EYE_AXIS,
    INSIDE,
    LID_ABOVE,
    LID_BELOW,
    LIP,
    LIT,
    NEUTRAL,
    NORMAL,
    TEXEL,
    VIEW,
    smooth,
)


@numba.njit(cache=True)
def highlight(nx, ny, nz, row, lights, k, roughness):
    """Mirror-like light of lamp k on a rough surface, before its Fresnel term (which is returned second)."""
    lx, ly, lz = lights[k, 0], lights[k, 1], lights[k, 2]
    nl = nx * lx + ny * ly + nz * lz
    if nl <= 0:
        return 0.0, 0.0
    hx, hy, hz = lx + row[VIEW], ly + row[VIEW + 1], lz + row[VIEW + 2]
    s = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    nh = max((nx * hx + ny * hy + nz * hz) / s, 0.0)
    lh = max((lx * hx + ly * hy + lz * hz) / s, 0.05)
    a2 = roughness**4
    d = nh * nh * (a2 - 1) + 1
    fresnel = 0.028 + 0.972 * (1 - lh) ** 5
    return nl * a2 / (4 * d * d * lh * lh * (roughness + 0.5)), fresnel


@numba.njit(cache=True)
def _slope(row, height, seed, rough, turn, out):
    """Gradient of the skin's fine relief at a sample, in the turned head's axes."""
    x, y, z = row[NEUTRAL], row[NEUTRAL + 1], row[NEUTRAL + 2]
    h, w = height.shape
    i, j = int(row[TEXEL] + 0.5), int(row[TEXEL + 1] + 0.5)
    gx, gy, gz = 0.0, 0.0, 0.0
    if 1 < i < w - 2 and 1 < j < h - 2:
        r = np.sqrt(x * x + (z - AXIS_Z) ** 2) + 1e-6
        du = 0.5 * (height[j, i + 1] - height[j, i - 1]) * w / (2 * np.pi * r)
        dy = 0.5 * (height[j - 1, i] - height[j + 1, i]) * TEXELS
        gx, gy, gz = du * (z - AXIS_Z) / r, dy, -du * x / r
    # turned axes, so that the noise's lattice shows on no flat part of the face
    p, q, s = 0.36 * x + 0.48 * y - 0.8 * z, 0.6 * y - 0.8 * x, 0.48 * x + 0.64 * y + 0.6 * z
    px, py, pz = 0.0, 0.0, 0.0
    for fine in range(2):
        rate, strength = (38.0, 0.09) if fine else (15.0, 0.018)
        noise3_slope(p * rate, q * rate, s * rate, seed + 40 + fine, out)
        strength *= rough
        px, py, pz = px + strength * out[0], py + strength * out[1], pz + strength * out[2]
    gx += 0.36 * px - 0.8 * py + 0.48 * pz
    gy += 0.48 * px + 0.6 * py + 0.64 * pz
    gz += -0.8 * px + 0.6 * pz
    for c in range(3):
        out[c] = turn[c, 0] * gx + turn[c, 1] * gy + turn[c, 2] * gz


@numba.njit(cache=True)
def shade_skin(
    rows, which, skin, height, colours, numbers, turn, lights, sky, albedo, irradiance, out
):
    """Skin and lips.

    Args:
        rows: (P, K) float32 table of samples. which: (N,) int64 rows to shade.
        skin, height, colours, numbers: of ``paint.Look``. turn: (3, 3) rotation of the head.
        lights: (L, 6), sky: (2, 3), see ``surface.diffuse``.
        albedo, irradiance, out: (P, 3) float32, filled in place: colour, light that falls in, highlights.
    """
    wrap = np.array([0.30, 0.16, 0.11])
    tint = np.array([0.72, 0.96, 1.0])  # red light goes round corners and through folds
    g = np.zeros(3)
    seed, age = int(numbers[7]), numbers[2]
    for r in which:
        row = rows[r]
        x, y = row[NEUTRAL], row[NEUTRAL + 1]
        lip, lines = 0.0, 0.5
        if row[LIP] > 0.01:
            edge = noise3(x * 14, y * 14, 2.0, seed + 42) - 0.5
            lip = smooth(0.12, 0.88, row[LIP] + 0.22 * edge)
            lines = noise3(x * 30, y * 5 + 0.6 * abs(x), 7.0, seed + 43)
        inside = smooth(0.10, 0.6, row[INSIDE])
        wet = smooth(0.045, 0.005, min(row[LID_BELOW], row[LID_ABOVE]))
        lit, ao = row[LIT] * (1 - 0.9 * inside), row[AMBIENT] * (1 - 0.9 * inside)
        tx, ty = row[TEXEL], row[TEXEL + 1]
        neck = 1 - 0.22 * smooth(-0.10, 0.0, row[COLLAR])
        for c in range(3):
            a = sample(skin, tx, ty, c) * neck
            a *= 1 - (0.30 if c else 0.12) * row[EAR]
            a = a * (1 - 0.9 * lip) + 0.9 * lip * colours[1, c] * (0.90 + 0.20 * lines)
            a *= 1 - wet * (0.06 if c == 0 else 0.26)
            a *= 1 - (0.35 + 0.5 * numbers[5]) * smooth(0.04, 0.005, row[LID_BELOW])  # lash roots
            a *= 1 - 0.55 * lip * smooth(0.0, 0.2, row[INSIDE])
            dark = 0.10 if c == 0 else 0.025
            albedo[r, c] = a * (1 - inside) + dark * inside
        rough = (0.55 + 0.5 * numbers[0] + 0.5 * age) * (1 - 0.7 * lip) * (1 - inside)
        _slope(row, height, seed, rough, turn, g)
        g[0] += 0.4 * lip * (lines - 0.5) * turn[0, 0]
        g[1] += 0.4 * lip * (lines - 0.5) * turn[1, 0]
        g[2] += 0.4 * lip * (lines - 0.5) * turn[2, 0]
        nx, ny, nz = row[NORMAL], row[NORMAL + 1], row[NORMAL + 2]
        d = g[0] * nx + g[1] * ny + g[2] * nz
        bx, by, bz = nx - (g[0] - d * nx), ny - (g[1] - d * ny), nz - (g[2] - d * nz)
        s = np.sqrt(bx * bx + by * by + bz * bz) + 1e-9
        bx, by, bz = bx / s, by / s, bz / s
        nv = max(bx * row[VIEW] + by * row[VIEW + 1] + bz * row[VIEW + 2], 0.0)
        gloss = max(sample(skin, tx, ty, 3), 0.0) * numbers[6]
        gloss = gloss * (1 - lip) + lip * (0.75 + 0.6 * numbers[5]) + 1.2 * wet
        gloss *= (1 - inside) * (0.25 + 0.75 * ao)
        sharp = 0.30 - 0.06 * lip - 0.08 * wet
        up = 0.5 + 0.5 * ny
        for c in range(3):
            a0 = ao ** tint[c]
            irradiance[r, c] = (sky[0, c] * up + sky[1, c] * (1 - up)) * a0
            mirror = 2 * nv * by - row[VIEW + 1]
            glow = 0.5 + 0.5 * mirror
            edge = 0.03 + 0.35 * (1 - nv) ** 5
            out[r, c] = gloss * edge * (sky[0, c] * glow + sky[1, c] * (1 - glow)) * ao
        for k in range(lights.shape[0]):
            d = bx * lights[k, 0] + by * lights[k, 1] + bz * lights[k, 2]
            first = k == 0
            seen = lit * (0.6 + 0.4 * ao) if first else (0.3 + 0.7 * ao if k == 1 else ao * ao)
            wide, fresnel = highlight(bx, by, bz, row, lights, k, 0.52)
            narrow, _ = highlight(bx, by, bz, row, lights, k, sharp)
            shine = gloss * fresnel * (0.44 * wide + 0.045 * narrow) * (lit if first else 0.6 * ao)
            for c in range(3):
                part = max((d + wrap[c]) / (1 + wrap[c]), 0.0)
                share = seen
                if c == 0 and first:
                    share = seen**0.7
                irradiance[r, c] += lights[k, 3 + c] * part * share
                out[r, c] += lights[k, 3 + c] * shine


@numba.njit(cache=True)
def shade_eye(rows, which, gaze, turn, colours, numbers, lights, sky, out):
    """Eyeballs: sclera, iris behind a clear cornea, and a film of tears.

    Args:
        gaze: (3,) direction of the eyes in head coordinates. The others: as in :func:`shade_skin`.
    """
    seed, open_pupil = int(numbers[7]), numbers[1]
    n, e = np.zeros(3), np.zeros(3)
    for r in which:
        row = rows[r]
        side = 1 if row[NEUTRAL] > 0 else 0
        gx, gy, gz = row[EYE_AXIS], row[EYE_AXIS + 1], row[EYE_AXIS + 2]
        s = np.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
        gx, gy, gz = gx / s, gy / s, gz / s
        # part of the direction that is square to the gaze, in head axes
        along = min(max(gx * gaze[0] + gy * gaze[1] + gz * gaze[2], -1.0), 1.0)
        ex, ey, ez = gx - along * gaze[0], gy - along * gaze[1], gz - along * gaze[2]
        length = np.sqrt(ex * ex + ey * ey + ez * ez) + 1e-9
        ang = np.arccos(along)
        # the cornea bulges: its normal leans outwards more than the ball's
        lean = ang + smooth(0.56, 0.44, ang) * (
            np.arcsin(min(1.45 * np.sin(min(ang, 0.6)), 0.95)) - ang
        )
        flat = ang * (1 - 1.5 * smooth(0.56, 0.46, ang))  # the iris is a shallow bowl
        for c in range(3):
            axis = turn[c, 0] * gaze[0] + turn[c, 1] * gaze[1] + turn[c, 2] * gaze[2]
            out_way = (turn[c, 0] * ex + turn[c, 1] * ey + turn[c, 2] * ez) / length
            n[c] = np.cos(lean) * axis + np.sin(lean) * out_way
            e[c] = np.cos(flat) * axis + np.sin(flat) * out_way
        px, py = ex / length, ey / length
        turned = 1.0 if side else -1.0
        fibre = 0.6 * noise3(px * 9 + 20, py * 9, ang * 7, seed + 50 + side)
        fibre += 0.4 * noise3(px * 22, py * 22, ang * 5 + 9, seed + 52 + side)
        spot = noise3(px * ang * 9 + 5, py * ang * 9, 1.0, seed + 54 + side)
        iris = smooth(0.515, 0.465, ang)
        pupil = smooth(open_pupil + 0.03, open_pupil - 0.02, ang)
        ring = smooth(0.38, 0.49, ang)
        core = smooth(open_pupil + 0.20, open_pupil + 0.03, ang + 0.10 * (fibre - 0.5))
        vein = noise3(gx * 21, gy * 30, gz * 21, seed + 56)
        vein = smooth(0.60, 0.80, vein) * smooth(0.55, 1.0, ang)
        corner = smooth(0.62, 0.95, turned * -gx)  # the inner corner is pink
        above, below = row[LID_ABOVE], row[LID_BELOW]
        lid = (1 - 0.62 * np.exp(-above / 0.045)) * (1 - 0.42 * np.exp(-below / 0.04))
        ball = 1 - 0.35 * smooth(0.55, 1.15, np.arccos(min(max(gz, -1.0), 1.0)))
        ao = (0.5 + 0.5 * row[AMBIENT]) * lid * ball
        lit = (0.25 + 0.75 * row[LIT]) * lid * (0.6 + 0.4 * ball)
        up = 0.5 + 0.5 * n[1]
        vy = row[VIEW + 1]
        nv = max(n[0] * row[VIEW] + n[1] * vy + n[2] * row[VIEW + 2], 0.0)
        mx, my, mz = 2 * nv * n[0] - row[VIEW], 2 * nv * n[1] - vy, 2 * nv * n[2] - row[VIEW + 2]
        film = 0.022 + 0.4 * (1 - nv) ** 5
        tear = np.exp(-(((below - 0.012) / 0.010) ** 2))
        for c in range(3):
            coat = colours[3, c] * (1 - vein * (0.05 if c == 0 else 0.30))
            coat *= 1 - corner * (0.15 if c == 0 else 0.45)
            coat *= 1 - (0.03 if c == 0 else 0.07) * smooth(0.6, 1.1, ang)
            i = colours[2, c] * (1 - core) + colours[6, c] * core
            i *= (0.45 + 1.1 * fibre) * (1 - 0.78 * ring) * (1 - 0.4 * smooth(0.68, 0.8, spot))
            a = (coat * (1 - iris) + i * iris) * (1 - pupil * iris) + 0.004 * pupil
            light = (sky[0, c] * up + sky[1, c] * (1 - up)) * ao
            for k in range(lights.shape[0]):
                d_ball = n[0] * lights[k, 0] + n[1] * lights[k, 1] + n[2] * lights[k, 2]
                d_iris = e[0] * lights[k, 0] + e[1] * lights[k, 1] + e[2] * lights[k, 2]
                d = d_ball * (1 - iris) + d_iris * iris
                d = max((d + 0.2) / 1.2, 0.0)
                light += lights[k, 3 + c] * d * (lit if k == 0 else ao * (0.35 if k > 1 else 0.8))
            glow = smooth(-0.3, 0.9, my)
            value = a * light + film * (sky[0, c] * glow + 0.3 * sky[1, c]) * lid
            for k in range(min(lights.shape[0], 2)):
                m = mx * lights[k, 0] + my * lights[k, 1] + mz * lights[k, 2]
                lamp = np.arccos(min(max(m, -1.0), 1.0))
                size = 0.24 if k == 0 else 0.26
                image = smooth(size + 0.10, size - 0.05, lamp) * smooth(0.0, 0.03, above)
                share = (0.30 + 0.70 * row[LIT]) if k == 0 else 0.8
                value += image * share * lights[k, 3 + c] * (1.5 if k == 0 else 1.0)
                value += tear * 0.35 * max(m, 0.0) ** 4 * lights[k, 3 + c] * share * 0.5
            out[r, c] = value + tear * 0.10 * sky[0, c]


@numba.njit(cache=True)
def shade_teeth(rows, which, seed, age, turn, lights, sky, out):
    """Teeth and gums.

    Args:
        seed: of the person. age: 0 to 1, older teeth are darker. The others: as in :func:`shade_skin`.
    """
    edges = np.array([0.0, 0.135, 0.240, 0.355, 0.465, 0.575, 0.74, 0.90])
    for r in which:
        row = rows[r]
        x, y, z = row[NEUTRAL], row[NEUTRAL + 1], row[NEUTRAL + 2]
        t = np.arctan2(abs(x) / 0.58, (z + 0.2) / 0.53)
        s = 0.57 * t  # way along the row of teeth from its middle
        k = 0
        while k < 6 and s > edges[k + 1]:
            k += 1
        wide = edges[k + 1] - edges[k]
        f = (s - edges[k]) / wide * 2 - 1  # -1 to 1 across the tooth
        ident = noise3(k * 3.1 + (0.5 if x > 0 else 9.5), 1.5, 0.5, seed + 60)
        middle = -1.157 + 0.045 * t  # where the rows meet
        upper = y > middle
        gum = middle + (0.140 if upper else -0.125) * (1 - 0.16 * f * f) * (0.95 + 0.1 * ident)
        pink = smooth(-0.012, 0.012, (y - gum) if upper else (gum - y))
        gap = smooth(0.80, 1.0, abs(f)) * (1 - pink)
        v = (
            (y - middle) / 0.13 * (1.0 if upper else -1.0)
        )  # 1 at the gum, below 0 at the biting edge
        back = smooth(0.25, 1.25, t)
        shade = (1 - 0.85 * back) * (1 - 0.72 * np.exp(-row[LID_ABOVE] / 0.045))
        if not upper:
            shade *= 0.7
        side = turn[0, 0] * f * 0.35 * (1.0 if x > 0 else -1.0)
        nx, ny, nz = row[NORMAL] + side, row[NORMAL + 1] - 0.25 * v, row[NORMAL + 2]
        q = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
        nx, ny, nz = nx / q, ny / q, nz / q
        warm = 0.5 * age + 0.35 * ident + 0.25 * max(v, 0.0)
        for c in range(3):
            ivory = 0.80 * (1 - warm * (0.06 if c == 0 else (0.13 if c == 1 else 0.32)))
            ivory *= 0.98 if c == 0 else (0.93 if c == 1 else 0.82)
            ivory *= 1 - 0.80 * gap
            flesh = 0.36 if c == 0 else (0.13 if c == 1 else 0.12)
            a = ivory * (1 - pink) + flesh * pink
            light = (sky[0, c] * 0.7 + sky[1, c] * 0.3) * 0.8 + 0.10 * lights[0, 3 + c]
            shine = 0.0
            for j in range(min(lights.shape[0], 2)):
                d = nx * lights[j, 0] + ny * lights[j, 1] + nz * lights[j, 2]
                seen = row[LIT] * 0.75 + 0.1 if j == 0 else 0.7
                light += lights[j, 3 + c] * max((d + 0.3) / 1.3, 0.0) * seen
                spec, fresnel = highlight(nx, ny, nz, row, lights, j, 0.30)
                shine += lights[j, 3 + c] * spec * fresnel * seen * (1 - gap)
            out[r, c] = (a * light + 0.5 * shine) * shade


@numba.njit(cache=True)
def shade_tongue(rows, which, seed, lights, sky, out):
    """The tongue. Arguments: as in :func:`shade_teeth`."""
    for r in which:
        row = rows[r]
        x, y, z = row[NEUTRAL], row[NEUTRAL + 1], row[NEUTRAL + 2]
        bumps = noise3(x * 45, y * 45, z * 45, seed + 61) - 0.5
        nx, ny, nz = row[NORMAL], row[NORMAL + 1] + 0.2 * bumps, row[NORMAL + 2]
        back = smooth(0.15, -0.5, z)
        shade = 0.6 * (1 - 0.9 * back) * (1 - 0.85 * np.exp(-row[LID_ABOVE] / 0.10))
        for c in range(3):
            a = (0.42 if c == 0 else (0.15 if c == 1 else 0.12)) * (1 + 0.25 * bumps)
            light = (0.6 * sky[0, c] + 0.2 * sky[1, c]) * 0.7
            shine = 0.0
            for j in range(min(lights.shape[0], 2)):
                d = nx * lights[j, 0] + ny * lights[j, 1] + nz * lights[j, 2]
                seen = row[LIT] * 0.7 + 0.1 if j == 0 else 0.6
                light += lights[j, 3 + c] * max((d + 0.3) / 1.3, 0.0) * seen
                spec, fresnel = highlight(nx, ny, nz, row, lights, j, 0.5)
                shine += lights[j, 3 + c] * spec * fresnel * seen
            out[r, c] = (a * light + 0.7 * shine) * shade
