"""Light, view and shading of heads in linear light: numba, one core, deterministic.

Source: deferred shading, a shadow map, light that spreads in skin by a blur; put together by us (see ``shade``).
"""

from dataclasses import dataclass, field

import numpy as np

from . import lashes, shade, shade_wear
from .raster import rasterize
from .surface import (
    EYE,
    LASH,  # noqa: F401  (for callers)
    SHADOW_SIZE,
    SHADOW_WIDTH,
    SKIN,
    TEETH,
    TONGUE,
    gather,
    measure_openings,
    resolve,
)

EXPOSURE = 1.25  # of the head; the background has its own
PIVOT, CONTRAST = 0.20, 1.12  # of the film: greys that stay, steepness there


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

    def lamps(self) -> np.ndarray:
        """(3, 6) float64 unit directions and colours: key, fill, and a rim from behind, opposite to the key."""
        back = np.array([-0.85 if self.key[0] > 0 else 0.85, 0.35, -0.55])
        pairs = (
            (self.key, self.key_rgb),
            (self.fill, self.fill_rgb),
            (back, 0.5 * self.key_rgb + 0.5 * self.sky_rgb),
        )
        return np.array([np.concatenate([d / np.linalg.norm(d), rgb]) for d, rgb in pairs])

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


@dataclass(frozen=True)
class Scene:
    """What all shaders of a frame share.

    Attributes:
        rows: (P, K) float32 table of ``surface``. look: ``paint.Look``. gaze: (3,) direction of the eyes.
        turn: (3, 3) rotation of the head. lights: (L, 6) float64 directions and colours, the key first.
        sky: (2, 3) from above and below. albedo, irradiance: (P, 3) float32, zero where light does not spread.
        out: (P, 3) float32 linear light, filled by the shaders.
    """

    rows: np.ndarray
    look: object
    gaze: np.ndarray
    turn: np.ndarray
    lights: np.ndarray
    sky: np.ndarray
    albedo: np.ndarray
    irradiance: np.ndarray
    out: np.ndarray


def _skin(s: Scene, which: np.ndarray) -> None:
    k, light = s.look, (s.turn, s.lights, s.sky, s.albedo, s.irradiance, s.out)
    shade.shade_skin(s.rows, which, k.skin, k.height, k.colours, k.numbers, *light)


def _eye(s: Scene, which: np.ndarray) -> None:
    k, light = s.look, (s.lights, s.sky, s.out)
    shade.shade_eye(s.rows, which, s.gaze, s.turn, k.colours, k.numbers, *light)


def _teeth(s: Scene, which: np.ndarray) -> None:
    seed, age = int(s.look.numbers[7]), float(s.look.numbers[2])
    shade.shade_teeth(s.rows, which, seed, age, s.turn, s.lights, s.sky, s.out)


def _tongue(s: Scene, which: np.ndarray) -> None:
    shade.shade_tongue(s.rows, which, int(s.look.numbers[7]), s.lights, s.sky, s.out)


# material code -> function of the scene and the rows to shade
SHADERS = {SKIN: _skin, EYE: _eye, TEETH: _teeth, TONGUE: _tongue, **shade_wear.SHADERS}


def _spread(scene: Scene, pixel: np.ndarray, which: np.ndarray, size: int, scale: float) -> None:
    """Let light spread in the skin: blur what falls in, red farthest. Source: after Borshukov and Lewis 2003."""
    from scipy.ndimage import gaussian_filter

    low = pixel[which] // size // 2 * (size // 2) + pixel[which] % size // 2
    n = (size // 2) ** 2
    count = np.bincount(low, minlength=n).astype(np.float32)
    shape = (size // 2, size // 2)
    for c, (reach, share) in enumerate(((0.050, 0.80), (0.022, 0.62), (0.014, 0.5))):
        own = scene.irradiance[which, c]
        total = np.bincount(low, own, minlength=n).astype(np.float32)
        sigma = reach * scale / 2
        blurred = gaussian_filter(total.reshape(shape), sigma, truncate=2.5)
        weight = gaussian_filter(count.reshape(shape), sigma, truncate=2.5)
        soft = (blurred / np.maximum(weight, 1e-3)).reshape(-1)[low]
        scene.out[which, c] += scene.albedo[which, c] * (own * (1 - share) + soft * share)


def _rotation(neutral: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) that turns the neutral head best onto the posed one (Kabsch 1976)."""
    head = np.flatnonzero((neutral[:, 1] > -0.9) & (neutral[:, 2] < 0.8))[::7]
    a, b = neutral[head].astype(float), positions[head].astype(float)
    u, _, v = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    return (u @ flip @ v).T


def _shadow_frame(light: Light) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    key = light.key / np.linalg.norm(light.key)
    right = np.cross([0, 1.0, 0], key)
    right /= np.linalg.norm(right)
    return key, right, np.cross(key, right)


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
    scale = 2 * view.scale
    lash = lashes.cover(look.lashes, screen, depth, scale)
    key, right, up = _shadow_frame(light)
    k = SHADOW_SIZE / SHADOW_WIDTH
    side = np.stack(
        [(positions @ right + 2.6) * k, (positions @ up + 3.0) * k, -(positions @ key)], 1
    )
    shadow_map = rasterize(side.astype(np.float32), mesh.smooth, (SHADOW_SIZE, SHADOW_SIZE))[0]
    pixel, kind, rows = gather(
        face,
        weights,
        mesh.faces,
        mesh.material,
        positions,
        normals,
        mesh.uv,
        mesh.neutral,
        mesh.extra,
        mesh.gaze_frame,
        view.distance,
        float(look.numbers[4]),
        key,
        right,
        up,
        shadow_map,
    )
    background = np.ascontiguousarray(background, np.float32)
    if not len(pixel):
        return background
    measure_openings(pixel, kind, rows, size, scale)
    empty = [np.zeros((len(rows), 3), np.float32) for _ in range(3)]
    scene = Scene(
        rows,
        look,
        np.asarray(gaze, np.float64),
        _rotation(mesh.neutral, positions),
        light.lamps() * np.repeat([1, EXPOSURE], 3),
        np.stack([light.sky_rgb, light.ground_rgb]) * EXPOSURE,
        *empty,
    )
    for material, shader in SHADERS.items():
        which = np.flatnonzero(kind == material)
        if len(which):
            shader(scene, which)
        if material == SKIN and len(which):
            _spread(scene, pixel, which, size, scale)
    lash_rgb = 0.10 * look.colours[0] * scene.sky[0] + 0.003
    return resolve(scene.out, pixel, lash, lash_rgb, background)


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to uint8 with a film-like curve: straight in the shadows, a long shoulder that never clips.

    Args:
        linear: (...) any float; below 0 counts as 0.

    Returns:
        uint8 of the same shape; monotone, 255 only for infinitely bright light.
    """
    x = PIVOT * (np.maximum(linear, 0) / PIVOT) ** CONTRAST
    x = x / (1 + x**2.2) ** (1 / 2.2)
    return np.round(x ** (1 / 2.2) * 255).astype(np.uint8)
