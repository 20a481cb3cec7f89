"""A small canvas for what lies behind a head: flat shapes in layers of depth, each put out of focus by a disc.

A lens spreads a point that is out of focus over a disc, in linear light. Bright points therefore become bright discs,
which no Gaussian blur shows. Shapes are drawn at half the size of the picture, since all of them lose their detail.

Source: own (the circle of confusion of a thin lens).
"""

from dataclasses import dataclass, field

import numba
import numpy as np

INNER, MARGIN = 128, 16  # pixels of the canvas that are shown, and around them
SIDE = INNER + 2 * MARGIN
MAX_RADIUS = MARGIN - 2.0  # larger discs would wrap round the canvas
_NEAR = 0.25  # metres; what is nearer to the camera is cut off


@numba.njit(cache=True)
def _over(layer, y, x, cover, colour):
    keep = 1.0 - cover
    for c in range(3):
        layer[y, x, c] = layer[y, x, c] * keep + cover * colour[c]
    layer[y, x, 3] = layer[y, x, 3] * keep + cover


@numba.njit(cache=True)
def _draw_ellipses(layer, shapes, colours):
    side = layer.shape[0]
    for k in range(len(shapes)):
        cx, cy, a, b, turn = shapes[k]
        cos, sin, reach = np.cos(turn), np.sin(turn), max(a, b) + 1.0
        for y in range(max(0, int(cy - reach)), min(side, int(cy + reach) + 2)):
            for x in range(max(0, int(cx - reach)), min(side, int(cx + reach) + 2)):
                dx, dy = x - cx, y - cy
                u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
                cover = 0.5 + (1.0 - np.sqrt(u * u + v * v)) * min(a, b)
                if cover > 0.0:
                    _over(layer, y, x, min(1.0, cover) * colours[k, 3], colours[k])


@numba.njit(cache=True)
def _draw_polygons(layer, corners, counts, colours):
    side = layer.shape[0]
    for k in range(len(corners)):
        n, p = counts[k], corners[k]
        if n < 3:
            continue
        area = 0.0
        for i in range(n):
            j = (i + 1) % n
            area += p[i, 0] * p[j, 1] - p[j, 0] * p[i, 1]
        sign = 1.0 if area > 0 else -1.0
        low_y, high_y = p[:n, 1].min(), p[:n, 1].max()
        low_x, high_x = p[:n, 0].min(), p[:n, 0].max()
        for y in range(int(max(0.0, low_y - 1)), int(min(side - 1.0, high_y + 1)) + 1):
            for x in range(int(max(0.0, low_x - 1)), int(min(side - 1.0, high_x + 1)) + 1):
                cover = 1.0
                for i in range(n):
                    j = (i + 1) % n
                    ex, ey = p[j, 0] - p[i, 0], p[j, 1] - p[i, 1]
                    length = np.sqrt(ex * ex + ey * ey)
                    if length > 1e-6:
                        d = sign * (ex * (y - p[i, 1]) - ey * (x - p[i, 0])) / length
                        cover = min(cover, d + 0.5)
                if cover > 0.0:
                    _over(layer, y, x, min(1.0, cover) * colours[k, 3], colours[k])


@dataclass
class Layer:
    """Everything at one distance; later shapes cover earlier ones.

    Attributes:
        pixels: (SIDE, SIDE, 4) float32, linear light times cover, and cover.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE, 4), np.float32))

    def ellipses(self, shapes: np.ndarray, colours: np.ndarray) -> None:
        """Draw ellipses.

        Args:
            shapes: (N, 5) centre x, centre y, half axes a and b, turn. The shown picture spans 0 to 1; turn in radians.
            colours: (N, 3) or (N, 4) linear light and cover.
        """
        shapes = np.array(shapes, np.float64).reshape(-1, 5)
        shapes[:, :2] = MARGIN - 0.5 + shapes[:, :2] * INNER
        shapes[:, 2:4] = np.maximum(shapes[:, 2:4] * INNER, 0.3)
        _draw_ellipses(self.pixels, shapes, _with_cover(colours, len(shapes)))

    def polygons(self, corners: np.ndarray, colours: np.ndarray, counts=None) -> None:
        """Draw convex polygons.

        Args:
            corners: (N, K, 2) x and y; the shown picture spans 0 to 1.
            colours: (N, 3) or (N, 4) linear light and cover. counts: (N,) corners in use; None: all.
        """
        corners = MARGIN - 0.5 + np.asarray(corners, np.float64) * INNER
        if counts is None:
            counts = np.full(len(corners), corners.shape[1])
        _draw_polygons(self.pixels, corners, counts, _with_cover(colours, len(corners)))

    def boxes(self, boxes: np.ndarray, colours: np.ndarray) -> None:
        """Draw upright boxes (N, 4): left, top, right, bottom; the shown picture spans 0 to 1."""
        b = np.asarray(boxes, np.float64).reshape(-1, 4)
        self.polygons(b[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], colours)

    def fill(self, colour: np.ndarray) -> None:
        """Cover everything with a colour (3,) or a picture (SIDE, SIDE, 3)."""
        self.pixels[..., :3], self.pixels[..., 3] = colour, 1.0

    def shade(self, light: np.ndarray) -> None:
        """Multiply with a light (SIDE, SIDE) or (SIDE, SIDE, 3)."""
        light = np.asarray(light, np.float32)
        self.pixels[..., :3] *= light if light.ndim == 3 else light[..., None]


def _with_cover(colours: np.ndarray, n: int) -> np.ndarray:
    colours = np.broadcast_to(np.asarray(colours, np.float32), (n, np.shape(colours)[-1]))
    if colours.shape[1] == 3:
        colours = np.concatenate([colours, np.ones((n, 1), np.float32)], 1)
    return np.ascontiguousarray(colours)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel of a layer, each (SIDE, SIDE) float32; the shown picture spans 0 to 1."""
    at = (np.arange(SIDE, dtype=np.float32) + 0.5 - MARGIN) / INNER
    return np.meshgrid(at, at)


@dataclass(frozen=True)
class Pinhole:
    """Where the camera stands in a room; x to the right, y up, z forward, in metres.

    Attributes:
        height: of the camera. yaw, pitch: radians, to the right and up. zoom: focal length per side of the picture.
    """

    height: float
    yaw: float
    pitch: float
    zoom: float

    def project(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners (N, 4, 3) to polygons (N, 5, 2), with the number of corners in use (N,)."""
        p = np.asarray(corners, np.float64) - [0.0, self.height, 0.0]
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, z = p[..., 0] * cos - p[..., 2] * sin, p[..., 0] * sin + p[..., 2] * cos
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        y, z = p[..., 1] * cos - z * sin, p[..., 1] * sin + z * cos
        seen = np.stack([x, y, z], -1)
        out, counts = np.zeros((len(seen), 5, 2)), np.zeros(len(seen), np.int64)
        whole = (z > _NEAR).all(1)
        out[whole, :4] = self._flat(seen[whole])
        counts[whole] = 4
        for k in np.flatnonzero(~whole & (z > _NEAR).any(1)):
            cut = _cut(seen[k])
            counts[k] = len(cut)
            out[k, : len(cut)] = self._flat(cut)
        return out, counts

    def _flat(self, p: np.ndarray) -> np.ndarray:
        k = self.zoom / p[..., 2]
        return np.stack([0.5 + p[..., 0] * k, 0.5 - p[..., 1] * k], -1)


def _cut(polygon: np.ndarray) -> np.ndarray:
    """Cut off what is nearer than the near plane."""
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] > _NEAR:
            kept.append(a)
        if (a[2] > _NEAR) != (b[2] > _NEAR):
            kept.append(a + (b - a) * (_NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept)


def disc_blur(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Spread every pixel over a disc, slightly brighter at its rim, as lenses show it.

    Args:
        pixels: (SIDE, SIDE, C) float32. radius: in pixels of the canvas; below 0.7 nothing is done.

    Returns:
        Same shape, float32.
    """
    from scipy.fft import irfft2, rfft2

    if radius < 0.7:
        return pixels
    radius = min(radius, MAX_RADIUS)
    at = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE)).astype(np.float32)
    d = np.hypot(at[:, None], at[None, :])
    disc = np.clip(radius + 0.5 - d, 0, 1) * (0.85 + 0.3 * np.minimum(d / radius, 1) ** 2)
    transfer = rfft2(disc / disc.sum())[..., None]
    out = irfft2(rfft2(pixels, axes=(0, 1)) * transfer, s=pixels.shape[:2], axes=(0, 1))
    return np.maximum(out, 0).astype(np.float32)


def compose(layers: list[tuple[Layer, float]], size: int, top: float = 1.3) -> np.ndarray:
    """Put layers out of focus and over each other.

    Args:
        layers: from far to near, each with its disc's radius in pixels of a picture with side 256.
        size: side of the picture. top: largest value.

    Returns:
        (size, size, 3) float32 linear, in [0, top].
    """
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for layer, radius in layers:
        soft = disc_blur(layer.pixels, radius * INNER / 256)
        image = image * (1 - np.minimum(soft[..., 3:], 1)) + soft[..., :3]
    image = image[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.clip(resize(image, size, size), 0, top)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale an image (H, W, C) bilinearly; pixel centres are aligned by area, so that nothing shifts."""
    for axis, n in ((0, height), (1, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(n) + 0.5) * old / n - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), old - 2)
        t = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = np.take(image, low, axis) * (1 - t) + np.take(image, low + 1, axis) * t
    return image


def ovals(x, y, a, b, turn=0.0) -> np.ndarray:
    """Ellipses (N, 5) for `Layer.ellipses` from numbers or arrays (N,)."""
    return np.stack(np.broadcast_arrays(x, y, a, b, turn), -1).reshape(-1, 5).astype(np.float64)
