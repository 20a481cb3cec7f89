"""Places outdoors and after dark, out of focus: foliage, streets, open land, night, a stage. Source: own."""

import numpy as np

from .defocus import Layer, Pinhole, compose, grid, ovals
from .setting import DARK, DAY, LAMP, LEAF, WALLS, Scenery, Wall, alike, colours, glow, slope


def _leaves(
    layer: Layer, rng: np.random.Generator, n: int, length: float, light: float, top: float
) -> None:
    """n leaves; those that face the sky are lighter, and the crown is lighter than what is below."""
    x, y = rng.uniform(-0.12, 1.12, n), rng.uniform(top, 1.12, n)
    order = np.argsort(rng.normal(0, 1, n) + 0.5 * y)
    long = length * np.exp(rng.normal(0, 0.3, n))
    shapes = ovals(x, y, long, long * rng.uniform(0.25, 0.6, n), rng.uniform(0, np.pi, n))
    tone = light * np.exp(-0.7 * (y - 0.4))[:, None]
    layer.ellipses(shapes[order], (alike(rng, LEAF, n, 0.5, 0.10) * tone)[order])


def foliage(rng: np.random.Generator, size: int) -> np.ndarray:
    """Trees and bushes at several depths, the sky shining through; (size, size, 3) float32 linear."""
    xx, yy = grid()
    far, middle, trunks = Layer(), Layer(), Layer()
    light = rng.uniform(0.7, 1.9)
    sky, green = DAY * rng.uniform(0.6, 1.1), LEAF * light * np.exp(rng.normal(0, 0.15, 3))
    mix = 1 / (1 + np.exp((yy - rng.uniform(-0.1, 0.45)) * 9))[..., None]
    far.fill(mix * sky + (1 - mix) * green)
    _leaves(far, rng, rng.integers(40, 110), 0.07, light * 1.1, rng.uniform(-0.1, 0.3))
    n = rng.integers(15, 90)  # gaps in the leaves, and glints
    y = rng.beta(1.4, 2.6, n)
    dots = ovals(rng.uniform(0, 1, n), y, *rng.uniform(0.003, 0.011, (2, n)))
    far.ellipses(dots, alike(rng, np.array([0.95, 1.0, 0.8]), n, 0.5) * rng.uniform(1.5, 5))
    if rng.random() < 0.5:
        for x in rng.uniform(0, 1, rng.integers(1, 4)):
            w, lean = rng.uniform(0.012, 0.05), rng.normal(0, 0.08)
            bark = alike(rng, np.array([0.09, 0.065, 0.045]), 1, 0.4)
            trunk = [
                [x - w, 1.2],
                [x + w, 1.2],
                [x + lean + w * 0.7, -0.2],
                [x + lean - w * 0.7, -0.2],
            ]
            trunks.polygons(np.array([trunk]), bark)
    if rng.random() < 0.75:
        _leaves(middle, rng, rng.integers(40, 170), 0.035, light * 1.2, rng.uniform(0.0, 0.65))
    blur = rng.uniform(9, 20)
    return compose(
        [(far, blur), (trunks, blur * 0.6), (middle, blur * rng.uniform(0.4, 0.6))], size
    )


def _facade(
    s: Scenery, wall: Wall, rng: np.random.Generator, u: float, long: float, lit: float | None
) -> None:
    """A house front: rows of windows, a shop below; ``lit`` is the share of windows with light, None by day."""
    high, storey, pitch = rng.uniform(6, 16), rng.uniform(2.9, 3.5), rng.uniform(1.5, 2.6)
    stone = WALLS[rng.integers(len(WALLS) - 1)] * rng.uniform(0.6, 1.0)
    night = lit is not None
    s.add(wall.box(u, 0, u + long, high), stone * (0.05 if night else 1))
    s.add(wall.box(u, 0, u + long, 2.9, 0.05), stone * (0.03 if night else 0.6))
    for a in np.arange(u + 0.4, u + long - 1.0, pitch):
        shop = DARK * rng.uniform(1, 6)
        if night:
            shop = LAMP * rng.uniform(0.15, 0.8) if rng.random() < 0.45 else stone * 0.02
        s.add(wall.box(a, 0.3, a + pitch * 0.8, 2.5, 0.06), shop)
        for v in np.arange(3.4, high - 1.5, storey):
            if night:
                glow = LAMP if rng.random() < 0.75 else DAY
                colour = glow * rng.uniform(0.3, 1.5) if rng.random() < lit else stone * 0.02
            else:
                s.add(wall.box(a - 0.1, v - 0.12, a + 1.1, v + 1.8, 0.05), stone * 1.3)
                colour = DAY * rng.uniform(0.05, 0.35)
            s.add(wall.box(a, v, a + 1.0, v + 1.7, 0.05), colour)


def _street(rng: np.random.Generator, lit: float | None) -> tuple[Scenery, Layer, float]:
    """House fronts on both sides and across, pavement, sky."""
    wide, end = rng.uniform(3, 7), rng.uniform(18, 40)
    camera = Pinhole(1.6, rng.uniform(-0.6, 0.6), rng.uniform(0.02, 0.16), rng.uniform(0.9, 1.6))
    s, layer = Scenery(camera), Layer()
    xx, yy = grid()
    night = lit is not None
    sky = np.array([0.010, 0.013, 0.03]) if night else DAY * rng.uniform(0.6, 1.15)
    layer.fill(sky * (0.75 + 0.4 * yy[..., None]))
    dim = 0.06 if night else 1.0
    ground = np.array([[-40, 0, 0.3], [40, 0, 0.3], [40, 0, 60], [-40, 0, 60.0]])
    s.add(ground, np.full(3, 0.2) * dim)
    s.add(ground * [wide * 0.6 / 40, 1, 1], np.array([0.10, 0.10, 0.11]) * dim)
    across = Wall((-40.0, end), (1.0, 0.0))
    for u in np.arange(0, 80, 11.0):
        _facade(s, across, rng, u, 10.8, lit)
    sides = (Wall((-wide, 0.5), (0.0, 1.0)), Wall((wide, end), (0.0, -1.0)))
    for wall in sides:
        for u in np.arange(0, end - 4, 8.5):
            _facade(s, wall, rng, u, 8.3, lit)
    return s, layer, wide


def street(rng: np.random.Generator, size: int) -> np.ndarray:
    """A street by day: house fronts, cars, trees, glints; (size, size, 3) float32 linear."""
    s, layer, wide = _street(rng, None)
    for z in sorted(rng.uniform(5, 16, rng.integers(1, 5)), reverse=True):  # parked cars
        car, u = Wall((0.0, z), (1.0, 0.0)), rng.choice([-1, 1]) * wide * rng.uniform(0.4, 0.7)
        paint = colours(rng, 1, (0.03, 0.5), 0.4)[0]
        s.add(car.box(u - 0.9, 0.3, u + 0.9, 0.95), paint)
        s.add(car.box(u - 0.7, 0.95, u + 0.7, 1.45), DAY * 0.15)
        s.add(car.box(u - 0.7, 1.4, u + 0.7, 1.5), paint)
        s.add(car.box(u - 0.85, 0.62, u - 0.6, 0.75, 0.1), np.array([2.0, 1.8, 1.5]))
        s.add(car.box(u + 0.6, 0.62, u + 0.85, 0.75, 0.1), np.array([2.0, 1.8, 1.5]))
    s.draw(layer)
    near = Layer()
    if rng.random() < 0.5:
        x, n = rng.choice([rng.uniform(-0.05, 0.2), rng.uniform(0.8, 1.05)]), 60
        w = rng.uniform(0.01, 0.025)
        near.boxes([[x - w, 0.3, x + w, 1.2]], np.array([[0.06, 0.05, 0.04]]))
        crown = ovals(
            x + rng.normal(0, 0.11, n),
            rng.uniform(0.05, 0.25) + rng.normal(0, 0.13, n),
            *rng.uniform(0.02, 0.05, (2, n)),
        )
        near.ellipses(crown, alike(rng, LEAF * 1.3, n, 0.4))
    layer.shade(slope(rng, 0.6) * rng.uniform(0.6, 1.05))
    blur = rng.uniform(5, 12)
    return compose([(layer, blur), (near, blur * 0.6)], size)


def night(rng: np.random.Generator, size: int) -> np.ndarray:
    """A street at night: lit windows, lamps, cars and signs as discs; (size, size, 3) float32 linear."""
    s, layer, _ = _street(rng, rng.uniform(0.15, 0.5))
    s.draw(layer)
    layer.shade(np.full((1, 1), rng.uniform(0.5, 1.3)))
    lights = Layer()
    n = rng.integers(18, 70)
    hues = np.array(
        [[1.2, 0.75, 0.3], [1.3, 0.12, 0.06], [1.0, 1.0, 1.05], [0.15, 0.9, 0.5], [0.2, 0.4, 1.3]]
    )
    colour = hues[rng.choice(5, n, p=[0.45, 0.2, 0.2, 0.07, 0.08])]
    x, y = rng.uniform(-0.05, 1.05, n), 0.5 + rng.normal(0, 0.14, n)
    dot = rng.uniform(0.004, 0.010, n)
    lights.ellipses(
        ovals(x, y, dot, dot),
        colour * np.exp(rng.normal(1.3, 0.7, (n, 1))),
    )
    blur = rng.uniform(7, 13)
    return compose([(layer, blur), (lights, blur * rng.uniform(0.9, 1.4))], size)


def field(rng: np.random.Generator, size: int) -> np.ndarray:
    """Open land: sky with clouds, hills, a line of trees, grass or sand; (size, size, 3) float32 linear."""
    xx, yy = grid()
    layer = Layer()
    horizon, dusk = rng.uniform(0.35, 0.7), rng.random() < 0.4
    low = np.array([1.2, 0.7, 0.4]) if dusk else np.array([0.9, 0.95, 1.0])
    high = np.array([0.18, 0.22, 0.42]) if dusk else np.array([0.28, 0.48, 0.85])
    mix = np.clip(yy / horizon, 0, 1)[..., None] ** 1.5
    layer.fill((mix * low + (1 - mix) * high) * rng.uniform(0.55, 1.0))
    n = rng.integers(0, 40)
    x, y = rng.uniform(-0.1, 1.1, n), rng.uniform(0, horizon, n)
    cloud = ovals(x, y, rng.uniform(0.04, 0.2, n), rng.uniform(0.01, 0.05, n))
    layer.ellipses(cloud, np.array([*low * 1.1, 0.35]))
    for k in range(rng.integers(1, 4)):  # hills, hazier when farther
        haze = 0.6 - 0.2 * k
        base = horizon + 0.02 * k
        x, wide, high = rng.uniform([-0.2, 0.3, 0.12], [1.2, 0.7, 0.24], (3, 3)).T
        hill = ovals(x, base + 0.12, wide, high)
        layer.ellipses(hill, haze * low * 0.5 + (1 - haze) * LEAF)
    sand = rng.random() < 0.3
    ground = np.array([0.5, 0.4, 0.26]) if sand else LEAF * rng.uniform(1.2, 2.6)
    ground = ground * (0.45 if dusk else 0.9)
    strips = np.linspace(horizon + 0.03, 1.2, 14)
    for y0, colour in zip(strips, alike(rng, ground, 14, 0.13, 0.03), strict=True):
        layer.boxes([[-0.2, y0, 1.2, 1.3]], colour[None])
    trees = Layer()
    n = rng.integers(0, 90)
    wide, high = rng.uniform(0.015, 0.06, (2, n))
    foot = horizon + 0.04 + rng.normal(0, 0.008, n)
    crown = ovals(rng.uniform(-0.1, 1.1, n), foot - 0.8 * high, wide, high)
    trees.ellipses(crown, alike(rng, LEAF * (0.3 if dusk else 0.9), n, 0.4))
    blur = rng.uniform(4, 10)
    return compose([(layer, blur), (trees, blur * 0.8)], size)


def stage(rng: np.random.Generator, size: int) -> np.ndarray:
    """A dark hall with coloured lamps and a wall of light; (size, size, 3) float32 linear."""
    layer, lamps = Layer(), Layer()
    a, b = colours(rng, 2, (0.1, 0.5), 0.95)
    xx, yy = grid()
    left, right = (glow(rng.uniform(*r), rng.uniform(0, 1), 0.4) for r in ((-0.2, 0.4), (0.6, 1.2)))
    layer.fill(0.01 + left[..., None] * a + right[..., None] * b)
    for x in np.arange(rng.uniform(-0.1, 0.1), 1.1, rng.uniform(0.09, 0.2)):  # panels
        layer.boxes([[x, -0.2, x + 0.012, 1.2]], np.array([[0.01, 0.01, 0.012]]))
    if rng.random() < 0.6:
        for x, y in rng.uniform([0, 0.1], [0.85, 0.6], (rng.integers(1, 4), 2)):
            layer.boxes(
                [[x, y, x + rng.uniform(0.1, 0.25), y + 0.05]], colours(rng, 1, (0.5, 1.3), 0.9)
            )
    n = rng.integers(3, 12)
    row = rng.uniform(0.02, 0.25)
    dots = ovals(np.linspace(0, 1, n), row, 0.012, 0.012)
    lamps.ellipses(dots, (a if rng.random() < 0.5 else b) * rng.uniform(6, 25))
    blur = rng.uniform(5, 12)
    return compose([(layer, blur), (lamps, blur)], size)
