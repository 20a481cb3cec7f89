"""Light, view and shading of heads in linear light: numba, one core, deterministic.

Source: wrapped diffuse light with more wrap in red (a cheap stand-in for scattering in skin), Blinn-Phong highlights,
Kajiya-Kay highlights on hair, a shadow map; put together by us.
"""

from dataclasses import dataclass, field

import numba
import numpy as np

from .raster import lash_cover, rasterize, rasterize_hair, sample

SKIN, EYE, TEETH, TONGUE, LASH, HAIR = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Light:
    """Key and fill light from far away, and a sky; linear light, directions point to the source.

    Attributes:
        key, key_rgb, fill, fill_rgb, sky_rgb, ground_rgb: (3,) float64 each.
    """

    key: np.ndarray
    key_rgb: np.ndarray
    fill: np.ndarray
    fill_rgb: np.ndarray
    sky_rgb: np.ndarray
    ground_rgb: np.ndarray

    def vector(self) -> np.ndarray:
        """All 18 numbers, float32."""
        return np.concatenate(
            [self.key, self.key_rgb, self.fill, self.fill_rgb, self.sky_rgb, self.ground_rgb]
        ).astype(np.float32)


@dataclass(frozen=True)
class View:
    """Where the head is in the picture.

    Attributes:
        scale: pixels per unit at the eyes. centre: (2,) pixel of the point between the eyes of an unturned head.
        distance: of the camera, in units. size: of the square picture, pixels.
    """

    scale: float
    centre: tuple[float, float]
    distance: float = 14.0
    size: int = 256

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) units to (N, 2) pixels."""
        k = self.scale / (1 - points[:, 2] / self.distance)
        return np.stack([self.centre[0] + points[:, 0] * k, self.centre[1] - points[:, 1] * k], 1)


@dataclass(frozen=True)
class Mesh:
    """What the shader knows of every vertex; constant over a clip.

    Attributes:
        faces: (F, 3) int32 solid triangles; material: (F,) uint8.
        shells: (S, 3) int32 hair triangles; lashes: (L, 3) int32.
        uv: (V, 2) float32 texture column and row. neutral: (V, 3).
        extra: (V, 6) lip, inside, ear, ambient, level, cover.
        gaze_frame: (V, 3) float32 for eyeballs: unit direction from the eye's centre, else 0.
    """

    faces: np.ndarray
    material: np.ndarray
    shells: np.ndarray
    lashes: np.ndarray
    uv: np.ndarray
    neutral: np.ndarray
    extra: np.ndarray
    gaze_frame: np.ndarray
    smooth: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))


@numba.njit(cache=True)
def _shadow(p, right, up, key, depth_map, soft):
    n = depth_map.shape[0]
    k = n / 5.2
    x = (p[0] * right[0] + p[1] * right[1] + p[2] * right[2] + 2.6) * k
    y = (p[0] * up[0] + p[1] * up[1] + p[2] * up[2] + 3.0) * k
    z = -(p[0] * key[0] + p[1] * key[1] + p[2] * key[2])
    lit = 0.0
    count = 0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            i, j = int(x + dx * soft + 0.5), int(y + dy * soft + 0.5)
            count += 1
            if i < 0 or j < 0 or i >= n or j >= n or depth_map[j, i] > z - 0.10:
                lit += 1
    return lit / count


@numba.njit(cache=True)
def _smooth(a, b, x):
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True)
def _shade(
    face,
    weights,
    faces,
    material,
    pos,
    normal,
    uv,
    neutral,
    extra,
    eye_dir,
    gaze,
    skin,
    hair,
    colours,
    numbers,
    lights,
    camera_z,
    shadow_map,
    right,
    up,
    lash,
    background,
    seed,
):
    h, w = face.shape
    out = np.zeros((h // 2, w // 2, 3), np.float32)
    key, key_rgb, fill, fill_rgb, sky, ground = (
        lights[0],
        lights[1],
        lights[2],
        lights[3],
        lights[4],
        lights[5],
    )
    n, p, v = np.zeros(3), np.zeros(3), np.zeros(3)
    alb, col, hk, at = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(6)
    wrap = np.array([0.42, 0.22, 0.16])
    for y in range(h):
        for x in range(w):
            f = face[y, x]
            if f < 0:
                for c in range(3):
                    out[y // 2, x // 2, c] += 0.25 * background[y // 2, x // 2, c]
                continue
            wa, wb, wc = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
            ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
            m = material[f]
            s, sv = 0.0, 0.0
            for c in range(3):
                n[c] = wa * normal[ia, c] + wb * normal[ib, c] + wc * normal[ic, c]
                p[c] = wa * pos[ia, c] + wb * pos[ib, c] + wc * pos[ic, c]
                s += n[c] * n[c]
            s = np.sqrt(s) + 1e-9
            v[0], v[1], v[2] = -p[0], -p[1], camera_z - p[2]
            sv = np.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
            nv, ndk, ndf, sh = 0.0, 0.0, 0.0, 0.0
            for c in range(3):
                n[c] /= s
                v[c] /= sv
                nv += n[c] * v[c]
            if nv < 0 and m != 1:
                for c in range(3):
                    n[c] = n[c] - 1.0 * nv * v[c]
                nv = 0.0
            for c in range(3):
                ndk += n[c] * key[c]
                ndf += n[c] * fill[c]
                hk[c] = key[c] + v[c]
                sh += hk[c] ** 2
            sh = np.sqrt(sh) + 1e-9
            ndh = 0.0
            for c in range(3):
                ndh += n[c] * hk[c] / sh
            ndh = max(ndh, 0.0)
            for k in range(6):
                at[k] = wa * extra[ia, k] + wb * extra[ib, k] + wc * extra[ic, k]
            tx = wa * uv[ia, 0] + wb * uv[ib, 0] + wc * uv[ic, 0]
            ty = wa * uv[ia, 1] + wb * uv[ib, 1] + wc * uv[ic, 1]
            qx = wa * neutral[ia, 0] + wb * neutral[ib, 0] + wc * neutral[ic, 0]
            qy = wa * neutral[ia, 1] + wb * neutral[ib, 1] + wc * neutral[ic, 1]
            ao = at[3]
            lit = _shadow(p, right, up, key, shadow_map, 1.1)
            spec, rim = 0.0, 0.0
            if m == 0:
                collar = numbers[4] + 0.62 * _smooth(0.45, 1.35, abs(qx)) - qy
                if collar > 0:  # cloth
                    kind = int(numbers[3])
                    stripe = 0.0
                    if kind == 1:
                        stripe = 1.0 if (qy * 7.0) % 1.0 < 0.4 else 0.0
                    elif kind == 2:
                        stripe = 0.18 * (1 + np.sin(qx * 42.0))
                    elif kind == 3 and abs(qx) < 0.35 + 0.1 * collar:
                        stripe = 1.0
                    edge = 0.72 + 0.28 * _smooth(0.0, 0.07, collar)
                    for c in range(3):
                        alb[c] = (colours[4, c] * (1 - stripe) + colours[5, c] * stripe) * edge
                    rim = 0.03
                else:
                    lip = _smooth(0.3, 0.8, at[0])
                    inside = _smooth(0.15, 0.7, at[1])
                    for c in range(3):
                        a = sample(skin, tx, ty, c)
                        a *= 1 - 0.30 * _smooth(-0.12, 0.0, collar)
                        a = a * (1 - 0.92 * lip) + 0.92 * lip * colours[1, c] * (
                            0.88 + 0.24 * sample(hair, tx * 1.0, 300 + 2.0 * ty % 200, 0)
                        )
                        alb[c] = a
                    alb[1] *= 1 - 0.16 * at[2]
                    alb[2] *= 1 - 0.18 * at[2]
                    if inside > 0:
                        alb[0] = alb[0] * (1 - inside) + 0.16 * inside
                        alb[1] = alb[1] * (1 - inside) + 0.035 * inside
                        alb[2] = alb[2] * (1 - inside) + 0.03 * inside
                        lit *= 1 - 0.8 * inside
                        ao *= 1 - 0.7 * inside
                    gloss = sample(skin, tx, ty, 3) * numbers[6]
                    gloss = gloss * (1 - lip) + lip * (1.1 + 0.5 * numbers[5])
                    gloss *= 1 - inside
                    spec = gloss * (0.055 * ndh**12 + 0.085 * ndh**42)
                    rim = 0.05 * gloss * (1 - max(nv, 0.0)) ** 3
            elif m == 1:
                gx = wa * eye_dir[ia, 0] + wb * eye_dir[ib, 0] + wc * eye_dir[ic, 0]
                gy = wa * eye_dir[ia, 1] + wb * eye_dir[ib, 1] + wc * eye_dir[ic, 1]
                gz = wa * eye_dir[ia, 2] + wb * eye_dir[ib, 2] + wc * eye_dir[ic, 2]
                g = np.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
                gx, gy, gz = gx / g, gy / g, gz / g
                ang = np.arccos(min(max(gx * gaze[0] + gy * gaze[1] + gz * gaze[2], -1.0), 1.0))
                azim = np.arctan2(gy - gaze[1], gx - gaze[0])
                fib = 0.75 + 0.5 * sample(hair, 200 + 60 * (azim + 3.2), 300.0, 0)
                iris = 1 - _smooth(0.44, 0.50, ang)
                pupil = 1 - _smooth(0.17, 0.21, ang)
                ring = _smooth(0.33, 0.47, ang)
                for c in range(3):
                    i = (
                        colours[2, c]
                        * fib
                        * (1 - 0.7 * ring)
                        * (1.25 - 0.5 * _smooth(0.2, 0.4, ang))
                    )
                    a = colours[3, c] * (
                        1 - 0.10 * _smooth(0.55, 1.0, ang) * (0.0 if c == 0 else 1.0)
                    )
                    alb[c] = (a * (1 - iris) + i * iris) * (1 - pupil) + 0.006 * pupil
                ao = 0.45 + 0.55 * at[3]
                lid = 1 - 0.55 * _smooth(0.02, 0.42, gy)
                ao *= lid
                lit = (0.35 + 0.65 * lit) * lid
                spec = (0.9 * ndh**260 + 0.05 * ndh**30) * lid
                rim = 0.02
            elif m == 2:
                alb[0], alb[1], alb[2] = 0.60, 0.49, 0.37
                ao = 0.30 + 0.3 * at[3]
                lit *= 0.45
                spec = 0.10 * ndh**40
            elif m == 3:
                alb[0], alb[1], alb[2] = 0.30, 0.10, 0.09
                ao = 0.30
                lit *= 0.4
                spec = 0.05 * ndh**20
            else:  # hair
                level = at[4]
                strand = sample(hair, tx, ty, 2)
                dark = (0.38 + 0.62 * _smooth(0.0, 0.8, level)) * (0.55 + 0.45 * strand)
                for c in range(3):
                    alb[c] = colours[0, c] * dark * 1.15
                # light along strands: highlight where the strand is square to the half vector
                tdx, tdy, tdz = 0.15 * n[0], -1.0, 0.3 * n[2]
                d = tdx * n[0] + tdy * n[1] + tdz * n[2]
                tdx, tdy, tdz = tdx - d * n[0], tdy - d * n[1], tdz - d * n[2]
                tl = np.sqrt(tdx**2 + tdy**2 + tdz**2) + 1e-9
                th = (tdx * hk[0] + tdy * hk[1] + tdz * hk[2]) / (tl * sh)
                shine = np.sqrt(max(1 - th * th, 0.0))
                spec = (0.035 + 0.05 * strand * strand) * shine**50 * level * (1 - 0.6 * numbers[1])
                ao = (0.45 + 0.55 * level) * (0.6 + 0.4 * at[3])
                lit = 0.25 + 0.75 * lit
                rim = 0.01
            amb = 0.5 + 0.5 * n[1]
            spec *= max(lit, 0.0)
            for c in range(3):
                wr = wrap[c] if m == 0 else 0.25
                dk = max((ndk + wr) / (1 + wr), 0.0)
                soft = lit ** (0.75 if c == 0 else 1.0) if m == 0 else lit
                df = max((ndf + wr) / (1 + wr), 0.0)
                a0 = ao ** (0.75 if c == 0 else 1.0) if m == 0 else ao
                light = (
                    key_rgb[c] * dk * soft * (0.55 + 0.45 * a0)
                    + fill_rgb[c] * df * (0.35 + 0.65 * a0)
                    + (sky[c] * amb + ground[c] * (1 - amb)) * a0
                )
                col[c] = alb[c] * light + key_rgb[c] * spec + rim * sky[c] * 2 * a0
                if lash[y, x] > 0:
                    col[c] *= 1 - lash[y, x]
                out[y // 2, x // 2, c] += 0.25 * col[c]
    return out


def render(
    mesh: Mesh,
    look,
    positions: np.ndarray,
    normals: np.ndarray,
    gaze: np.ndarray,
    light: Light,
    view: View,
    background: np.ndarray,
) -> np.ndarray:
    """Draw one frame.

    Args:
        mesh: constant part. look: ``paint.Look``. positions, normals: (V, 3) float32 after pose.
        gaze: (3,) unit direction of the eyes in head coordinates. light, view: see there.
        background: (size, size, 3) float32 linear.

    Returns:
        (size, size, 3) float32 linear light, supersampled twice.
    """
    size = view.size * 2
    xy = view.project(positions) * 2 + 0.5
    screen = np.concatenate([xy, view.distance - positions[:, 2:]], 1).astype(np.float32)
    depth, face, weights = rasterize(screen, mesh.faces, (size, size))
    rasterize_hair(
        screen, mesh.shells, mesh.uv, mesh.extra, look.hair, len(mesh.faces), depth, face, weights
    )
    lash = lash_cover(screen, mesh.lashes, depth, np.float32(look.numbers[2]))
    key = light.key / np.linalg.norm(light.key)
    right = np.cross([0, 1.0, 0], key)
    right /= np.linalg.norm(right)
    up = np.cross(key, right)
    k = 224 / 5.2
    side = np.stack(
        [(positions @ right + 2.6) * k, (positions @ up + 3.0) * k, -(positions @ key)], 1
    )
    shadow_map = rasterize(side.astype(np.float32), mesh.smooth, (224, 224))[0]
    faces = np.concatenate([mesh.faces, mesh.shells])
    material = np.concatenate([mesh.material, np.full(len(mesh.shells), HAIR, np.uint8)])
    lights = np.stack(
        [
            key,
            light.key_rgb,
            light.fill / np.linalg.norm(light.fill),
            light.fill_rgb,
            light.sky_rgb,
            light.ground_rgb,
        ]
    )
    return _shade(
        face,
        weights,
        faces,
        material,
        positions,
        normals,
        mesh.uv,
        mesh.neutral,
        mesh.extra,
        mesh.gaze_frame,
        np.asarray(gaze, np.float64),
        look.skin,
        look.hair,
        look.colours,
        look.numbers,
        lights,
        view.distance,
        shadow_map,
        right,
        up,
        lash,
        np.ascontiguousarray(background, np.float32),
        0,
    )


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to uint8 with a soft shoulder and gamma 2.2."""
    x = np.maximum(linear, 0)
    x = np.where(x > 0.7, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)), x)
    return np.round(x ** (1 / 2.2) * 255).astype(np.uint8)
