"""What places are built of: colours, walls in space, light that falls off; metres and linear light. Source: own."""

from dataclasses import dataclass

import numpy as np

from .defocus import Layer, Pinhole, grid

WALLS = np.array(
    [
        [0.62, 0.55, 0.44],
        [0.65, 0.65, 0.63],
        [0.32, 0.33, 0.35],
        [0.30, 0.36, 0.28],
        [0.24, 0.32, 0.42],
        [0.42, 0.24, 0.17],
        [0.06, 0.08, 0.12],
        [0.55, 0.41, 0.36],
        [0.48, 0.38, 0.20],
        [0.10, 0.10, 0.11],
    ]
)
WOOD, WHITE, DARK = (
    np.array([0.30, 0.17, 0.09]),
    np.array([0.68, 0.66, 0.62]),
    np.array([0.03, 0.03, 0.035]),
)
DAY, LAMP, LEAF = (
    np.array([0.80, 0.92, 1.06]),
    np.array([1.25, 0.88, 0.48]),
    np.array([0.10, 0.19, 0.045]),
)


def colours(
    rng: np.random.Generator, n: int, value: tuple[float, float], saturation: float
) -> np.ndarray:
    """n random colours (n, 3): values spread evenly in logarithm, hues all round."""
    hue = rng.uniform(0, 2 * np.pi, (n, 1)) + np.array([0, 2.1, 4.2])
    c = 1 + saturation * rng.uniform(0.2, 1, (n, 1)) * np.cos(hue)
    return c * np.exp(rng.uniform(*np.log(value), (n, 1)))


def alike(
    rng: np.random.Generator, colour: np.ndarray, n: int, spread: float, hue: float = 0.06
) -> np.ndarray:
    """n colours (n, 3) like one colour: brightness varies by ``spread``, hue by ``hue`` (logarithms)."""
    return colour * np.exp(rng.normal(0, spread, (n, 1)) + rng.normal(0, hue, (n, 3)))


@dataclass(frozen=True)
class Wall:
    """A plane that stands upright: u runs along it, v is the height."""

    origin: tuple[float, float]  # x and z where u is 0
    along: tuple[float, float]  # unit vector of u in x and z

    def box(self, u0: float, v0: float, u1: float, v1: float, out: float = 0.0) -> np.ndarray:
        """Corners (4, 3) of a box on the wall, ``out`` metres in front of it."""
        x, z = self.origin
        ax, az = self.along
        x, z = x + out * az, z - out * ax  # towards the room, for walls that run left to right
        return np.array(
            [[x + u * ax, v, z + u * az] for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]
        )


class Scenery:
    """Boxes in space, drawn in the order in which they were added."""

    def __init__(self, camera: Pinhole) -> None:
        self.camera, self.corners, self.colours = camera, [], []

    def add(self, corners: np.ndarray, colour: np.ndarray) -> None:
        """Add one flat shape (4, 3) of one colour (3,)."""
        self.corners.append(corners)
        self.colours.append(colour)

    def draw(self, layer: Layer) -> None:
        """Draw what was added, and forget it."""
        polygons, counts = self.camera.project(np.array(self.corners))
        layer.polygons(polygons, np.array(self.colours), counts)
        self.corners, self.colours = [], []


def glow(x: float, y: float, reach: float) -> np.ndarray:
    xx, yy = grid()
    return 1 / (1 + ((xx - x) ** 2 + (yy - y) ** 2) / reach**2)


def slope(rng: np.random.Generator, depth: float) -> np.ndarray:
    """Light that falls off across the picture, mean about 1."""
    xx, yy = grid()
    turn = rng.uniform(0, 2 * np.pi)
    return np.exp(depth * ((xx - 0.5) * np.cos(turn) + (yy - 0.5) * np.sin(turn)))
