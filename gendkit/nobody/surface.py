"""What a picture shows at every pixel: material codes, and a table of surface samples that the shaders read.

The picture is shaded in passes: triangles are drawn into a depth buffer, every covered pixel becomes one row of a
table, each material's shader turns its rows into light. A new material needs a code here and a shader.

Source: deferred shading (Deering et al. 1988); percentage-closer shadows (Reeves et al. 1987); put together by us.
"""

import numba
import numpy as np

# material codes of faces; CLOTH is skin below the collar, the others come from the mesh
SKIN, EYE, TEETH, TONGUE, LASH, HAIR, CLOTH, FRAME, LENS, HAT = range(10)

# columns of the table of samples
NORMAL, POSITION, VIEW, NEUTRAL, EYE_AXIS = 0, 3, 6, 9, 12  # three numbers each
TEXEL = 15  # two: column and row in the textures
LIT = 17  # share of the key light that arrives, 0 to 1
COLLAR = 18  # height of the collar above the point, in units: cloth where positive
LID_ABOVE, LID_BELOW = (
    19,
    20,
)  # way in the picture to the next edge of an opening (eye, mouth), units, at most FAR
ATTRIBUTES = 21  # from here on the columns of Mesh.extra
LIP, INSIDE, EAR, AMBIENT, LEVEL, COVER = (ATTRIBUTES + k for k in range(6))

SHADOW_SIZE, SHADOW_WIDTH = 288, 5.2  # texels; units
FAR = 1.0


@numba.njit(cache=True)
def smooth(a, b, x):
    """0 below a, 1 above b, smooth between."""
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True)
def _shadow(p, n, right, up, key, depth_map):
    """Share of the key that arrives: a tent-weighted window of depth comparisons that are soft in depth too."""
    size = depth_map.shape[0]
    k = size / SHADOW_WIDTH
    # leave the surface along its normal: no surface shades itself
    qx, qy, qz = p[0] + 0.03 * n[0], p[1] + 0.03 * n[1], p[2] + 0.03 * n[2]
    x = (qx * right[0] + qy * right[1] + qz * right[2] + 2.6) * k
    y = (qx * up[0] + qy * up[1] + qz * up[2] + 3.0) * k
    z = -(qx * key[0] + qy * key[1] + qz * key[2]) - 0.035
    reach = 3.4
    shaded = 0  # five looks first: most points are wholly lit or wholly shaded
    for k in range(5):
        i = int(x + (0.0, -3.0, 3.0, 3.0, -3.0)[k] + 0.5)
        j = int(y + (0.0, -3.0, -3.0, 3.0, 3.0)[k] + 0.5)
        inside = 0 <= i < size and 0 <= j < size
        d = z - depth_map[j, i] if inside else -1.0
        shaded += 1 if d > 0.05 else (0 if d < 0 else 10)
    if shaded == 0 or shaded == 5:
        return 1.0 - shaded / 5
    total, lit = 0.0, 0.0
    for j in range(int(np.ceil(y - reach)), int(np.floor(y + reach)) + 1):
        wy = 1 - abs(j - y) / reach
        for i in range(int(np.ceil(x - reach)), int(np.floor(x + reach)) + 1):
            w = wy * (1 - abs(i - x) / reach)
            total += w
            if i < 0 or j < 0 or i >= size or j >= size:
                lit += w
                continue
            lit += w * (1 - min(max((z - depth_map[j, i]) / 0.05, 0.0), 1.0))
    return lit / total


@numba.njit(cache=True)
def gather(
    face,
    weights,
    faces,
    material,
    position,
    normal,
    uv,
    neutral,
    extra,
    eye_axis,
    camera_z,
    collar,
    key,
    right,
    up,
    shadow_map,
):
    """Make the table of samples.

    Args:
        face: (H, W) int32 and weights: (H, W, 3) float32 of the depth buffer. faces: (F, 3); material: (F,) uint8.
        position, normal, uv, neutral, extra, eye_axis: per vertex, see ``render.Mesh``.
        camera_z: distance of the camera. collar: height of the collar at the throat, in units.
        key, right, up: (3,) axes of the shadow map; shadow_map: (n, n) float32.

    Returns:
        pixel (P,) int64 flat index, kind (P,) uint8 material, rows (P, K) float32.
    """
    h, w = face.shape
    total = 0
    for y in range(h):
        for x in range(w):
            if face[y, x] >= 0:
                total += 1
    n_extra = extra.shape[1]
    pixel = np.empty(total, np.int64)
    kind = np.empty(total, np.uint8)
    rows = np.zeros((total, ATTRIBUTES + n_extra), np.float32)
    n, p, v = np.zeros(3), np.zeros(3), np.zeros(3)
    r = 0
    for y in range(h):
        for x in range(w):
            f = face[y, x]
            if f < 0:
                continue
            row = rows[r]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            wa, wb, wc = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
            m = material[f]
            s = 0.0
            for k in range(3):
                n[k] = wa * normal[a, k] + wb * normal[b, k] + wc * normal[c, k]
                p[k] = wa * position[a, k] + wb * position[b, k] + wc * position[c, k]
                row[NEUTRAL + k] = wa * neutral[a, k] + wb * neutral[b, k] + wc * neutral[c, k]
                row[EYE_AXIS + k] = wa * eye_axis[a, k] + wb * eye_axis[b, k] + wc * eye_axis[c, k]
                s += n[k] * n[k]
            s = np.sqrt(s) + 1e-9
            v[0], v[1], v[2] = -p[0], -p[1], camera_z - p[2]
            sv = np.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
            nv = 0.0
            for k in range(3):
                n[k] /= s
                v[k] /= sv
                nv += n[k] * v[k]
            if nv < 0 and m != EYE:  # a smooth normal never looks away from the camera
                for k in range(3):
                    n[k] -= nv * v[k]
            for k in range(3):
                row[NORMAL + k], row[POSITION + k], row[VIEW + k] = n[k], p[k], v[k]
            for k in range(2):
                row[TEXEL + k] = wa * uv[a, k] + wb * uv[b, k] + wc * uv[c, k]
            for k in range(n_extra):
                row[ATTRIBUTES + k] = wa * extra[a, k] + wb * extra[b, k] + wc * extra[c, k]
            facing = n[0] * key[0] + n[1] * key[1] + n[2] * key[2]
            row[LIT] = _shadow(p, n, right, up, key, shadow_map) if facing > -0.35 else 0.0
            row[LID_ABOVE], row[LID_BELOW] = FAR, FAR
            row[COLLAR] = collar + 0.62 * smooth(0.45, 1.35, abs(row[NEUTRAL])) - row[NEUTRAL + 1]
            pixel[r] = y * w + x
            kind[r] = CLOTH if m == SKIN and row[COLLAR] > 0 else m
            r += 1
    return pixel, kind, rows


@numba.njit(cache=True)
def measure_openings(pixel, kind, rows, width, scale):
    """Fill LID_ABOVE and LID_BELOW of eyes, teeth and tongue, and of the skin next to eyes.

    Args:
        pixel, kind, rows: of :func:`gather`. width: of the picture, pixels. scale: pixels per unit.
    """
    height = pixel[-1] // width + 1
    index = np.full(height * width, -1, np.int64)
    for r in range(pixel.shape[0]):
        index[pixel[r]] = r
    near = int(0.05 * scale) + 1
    reach = int(0.25 * scale) + 1
    for r in range(pixel.shape[0]):
        m = kind[r]
        if m != EYE and m != TEETH and m != TONGUE:
            continue
        for way in (-1, 1):
            column = LID_ABOVE if way < 0 else LID_BELOW
            for k in range(1, reach):
                at = pixel[r] + way * k * width
                if at < 0 or at >= index.shape[0] or index[at] < 0:
                    break
                other = index[at]
                if m == EYE and kind[other] != EYE:
                    rows[r, column] = (k - 0.5) / scale
                    if kind[other] == SKIN and k == 1:
                        back = LID_BELOW if way > 0 else LID_ABOVE
                        for j in range(near):
                            skin_at = at + way * j * width
                            if skin_at < 0 or skin_at >= index.shape[0] or index[skin_at] < 0:
                                break
                            if kind[index[skin_at]] != SKIN:
                                break
                            rows[index[skin_at], back] = (j + 0.5) / scale
                    break
                if m != EYE and kind[other] == SKIN and rows[other, INSIDE] < 0.5:
                    rows[r, column] = (k - 0.5) / scale
                    break


@numba.njit(cache=True)
def diffuse(row, lights, sky, wrap, lit, ambient, out):
    """Light that falls on a matt point.

    Args:
        row: of the table. lights: (L, 6) float64 direction to the light and its colour, the key first.
        sky: (2, 3) colour from above and from below. wrap: how far light bends round the form, 0 to 1.
        lit: share of the key that arrives. ambient: share of the sky that is seen. out: (3,) filled in place.
    """
    up = 0.5 + 0.5 * row[NORMAL + 1]
    for c in range(3):
        out[c] = (sky[0, c] * up + sky[1, c] * (1 - up)) * ambient
    for k in range(lights.shape[0]):
        d = 0.0
        for c in range(3):
            d += row[NORMAL + c] * lights[k, c]
        d = max((d + wrap) / (1 + wrap), 0.0)
        if k == 0:
            d *= lit * (0.55 + 0.45 * ambient)
        else:
            d *= 0.35 + 0.65 * ambient if k == 1 else ambient * ambient
        for c in range(3):
            out[c] += lights[k, 3 + c] * d


@numba.njit(cache=True)
def resolve(light, pixel, lash, lash_rgb, background):
    """Put shaded samples, lashes and background together and average 2 x 2 samples to a pixel.

    Args:
        light: (P, 3) float32 and pixel: (P,) flat index of the samples. lash: (2 H, 2 W) cover in [0, 1].
        lash_rgb: (3,) colour of lashes. background: (H, W, 3) float32.

    Returns:
        (H, W, 3) float32.
    """
    h, w = background.shape[:2]
    out = np.zeros((h, w, 3), np.float32)
    free = np.full((h, w), 4, np.int64)
    for r in range(pixel.shape[0]):
        y, x = pixel[r] // (2 * w), pixel[r] % (2 * w)
        a = lash[y, x]
        free[y // 2, x // 2] -= 1
        for c in range(3):
            out[y // 2, x // 2, c] += 0.25 * (light[r, c] * (1 - a) + a * lash_rgb[c])
    for y in range(h):
        for x in range(w):
            for c in range(3):
                out[y, x, c] += 0.25 * free[y, x] * background[y, x, c]
    return out
