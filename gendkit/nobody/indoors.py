"""Places indoors, out of focus: living rooms, kitchens, libraries, offices, cafes, studios, corridors. Source: own."""

import numpy as np

from .defocus import Layer, Pinhole, compose, grid, ovals
from .setting import (
    DARK,
    DAY,
    LAMP,
    LEAF,
    WALLS,
    WHITE,
    WOOD,
    Scenery,
    Wall,
    alike,
    colours,
    glow,
    slope,
)


def _window(s: Scenery, wall: Wall, rng: np.random.Generator, u: float, wide: float) -> None:
    v0, v1 = rng.uniform(0.7, 1.0), rng.uniform(2.05, 2.4)
    power = rng.uniform(0.75, 1.7)
    s.add(wall.box(u - 0.07, v0 - 0.07, u + wide + 0.07, v1 + 0.07), WHITE * 0.8)
    horizon = rng.uniform(v0 + 0.1, v0 + 0.7)
    s.add(wall.box(u, v0, u + wide, v1), DAY * power)
    s.add(wall.box(u, v0, u + wide, horizon), alike(rng, LEAF, 1, 0.4)[0] * 2.2 * power)
    for _ in range(rng.integers(2, 6)):  # trees and houses outside
        a = rng.uniform(u, u + wide * 0.8)
        colour = alike(rng, LEAF * 2.5 if rng.random() < 0.6 else WHITE * 0.5, 1, 0.4)[0]
        top = min(v1, horizon + rng.uniform(0, 0.7))
        s.add(
            wall.box(a, horizon - 0.1, min(a + rng.uniform(0.1, 0.5), u + wide), top),
            colour * power,
        )
    for k in range(1, rng.integers(2, 4)):
        at = u + wide * k / 2
        s.add(wall.box(at - 0.03, v0, at + 0.03, v1), WHITE * 0.55)
    s.add(wall.box(u - 0.12, v0 - 0.12, u + wide + 0.12, v0 - 0.05, 0.1), WHITE * 0.9)
    if rng.random() < 0.6:  # curtains fall in folds
        cloth = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.7, 1.2)
        for left in (u - 0.3, u + wide - 0.1):
            for k in range(6):
                fold = cloth * (0.75 + 0.35 * np.sin(k * 2.1 + left))
                s.add(wall.box(left + k * 0.07, 0.1, left + k * 0.07 + 0.08, v1 + 0.15, 0.12), fold)


def _door(s: Scenery, wall: Wall, rng: np.random.Generator, u: float) -> None:
    colour = WHITE * 0.85 if rng.random() < 0.6 else alike(rng, WOOD, 1, 0.3)[0]
    s.add(wall.box(u - 0.09, 0, u + 0.99, 2.14), colour * 1.12)
    s.add(wall.box(u, 0, u + 0.9, 2.05), colour * 0.9)
    for v0, v1 in ((0.2, 0.9), (1.1, 1.9)):
        s.add(wall.box(u + 0.14, v0, u + 0.76, v1), colour * 0.76)
    s.add(wall.box(u + 0.79, 0.98, u + 0.88, 1.03, 0.04), WHITE * 0.35)


def _picture(s: Scenery, wall: Wall, rng: np.random.Generator, u: float) -> None:
    wide, high, v = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.75), rng.uniform(1.3, 1.6)
    frame = (DARK, WOOD, WHITE * 0.9)[rng.integers(3)]
    s.add(wall.box(u + 0.03, v - 0.05, u + wide + 0.04, v + high - 0.03), np.full(3, 0.06))
    s.add(wall.box(u, v, u + wide, v + high, 0.02), frame)
    s.add(wall.box(u + 0.03, v + 0.03, u + wide - 0.03, v + high - 0.03, 0.02), WHITE)
    a, b = u + 0.09, u + wide - 0.09
    split = v + high * rng.uniform(0.3, 0.6)
    above, below, spot = colours(rng, 3, (0.08, 0.55), 0.35)
    s.add(wall.box(a, split, b, v + high - 0.09, 0.02), above)
    s.add(wall.box(a, v + 0.09, b, split, 0.02), below)
    at = rng.uniform(a, b - 0.08)
    s.add(wall.box(at, split - 0.08, at + 0.08, split + 0.08, 0.02), spot)


def _shelf(s: Scenery, wall: Wall, rng: np.random.Generator, u: float, wide: float) -> None:
    wood = alike(rng, WOOD, 1, 0.35)[0] if rng.random() < 0.6 else WHITE * rng.uniform(0.5, 0.9)
    top = rng.uniform(1.9, 2.5)
    s.add(wall.box(u, 0, u + wide, top, 0.02), wood * 0.35)
    row = rng.uniform(0.29, 0.38)
    for v in np.arange(0.1, top - 0.2, row):
        x = u + 0.03
        while x < u + wide - 0.08:
            if rng.random() < 0.12:
                x += rng.uniform(0.05, 0.3)
                continue
            run = rng.integers(2, 7)  # volumes of one series look alike
            colour = colours(rng, 1, (0.025, 0.45), 0.5)
            for shade in alike(rng, colour, run, 0.12, 0.03):
                thick, high = rng.uniform(0.025, 0.06), row * rng.uniform(0.62, 0.88)
                if x + thick < u + wide - 0.03:
                    s.add(wall.box(x, v, x + thick, v + high, 0.12), shade)
                x += thick
        s.add(wall.box(u, v - 0.03, u + wide, v, 0.2), wood)
    for edge in (u, u + wide - 0.03):
        s.add(wall.box(edge, 0, edge + 0.03, top, 0.2), wood * 0.9)


def _sofa(s: Scenery, wall: Wall, rng: np.random.Generator, u: float) -> None:
    colour = colours(rng, 1, (0.05, 0.4), 0.3)[0]
    s.add(wall.box(u, 0.35, u + 2.0, 0.98, 0.3), colour * 0.8)
    for k in range(3):
        s.add(wall.box(u + k * 0.66 + 0.02, 0.45, u + k * 0.66 + 0.64, 0.92, 0.4), colour)
    for k, cushion in enumerate(colours(rng, 2, (0.08, 0.5), 0.45)):
        at = u + 0.2 + k * 1.2
        s.add(wall.box(at, 0.5, at + 0.42, 0.88, 0.45), cushion)


def _cupboard(s: Scenery, wall: Wall, rng: np.random.Generator, u: float, wide: float) -> None:
    """Kitchen: cupboards above and below a counter."""
    colour = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.7, 1.1)
    counter = alike(rng, WOOD if rng.random() < 0.5 else np.full(3, 0.2), 1, 0.3)[0]
    s.add(wall.box(u, 0.95, u + wide, 1.45, 0.02), WHITE * rng.uniform(0.5, 0.9))
    for v0, v1 in ((0.1, 0.88), (1.45, 2.2)):
        for k in range(int(wide / 0.5)):
            a = u + k * 0.5
            s.add(wall.box(a, v0, a + 0.5, v1, 0.3), colour * 0.55)
            s.add(wall.box(a + 0.015, v0 + 0.015, a + 0.485, v1 - 0.015, 0.3), colour)
            s.add(wall.box(a + 0.4, v0 + 0.3, a + 0.42, v0 + 0.45, 0.32), WHITE * 0.4)
    s.add(wall.box(u, 0.88, u + wide, 0.95, 0.32), counter)
    for colour in colours(rng, rng.integers(3, 9), (0.04, 0.6), 0.5):
        a = rng.uniform(u, u + wide)
        s.add(
            wall.box(a, 0.95, a + rng.uniform(0.06, 0.2), 0.95 + rng.uniform(0.1, 0.32), 0.2),
            colour,
        )


def _lamp(layer: Layer, rng: np.random.Generator) -> tuple[float, float]:
    """A standing lamp beside the head; returns where its shade is."""
    x, y = rng.choice([rng.uniform(0.02, 0.22), rng.uniform(0.78, 0.98)]), rng.uniform(0.15, 0.42)
    w, h = rng.uniform(0.06, 0.11), rng.uniform(0.08, 0.13)
    layer.boxes([[x - 0.008, y, x + 0.008, 1.2]], DARK[None])
    shade = [
        [x - w * 0.65, y - h],
        [x + w * 0.65, y - h],
        [x + w, y + h * 0.6],
        [x - w, y + h * 0.6],
    ]
    layer.polygons(np.array([shade]), LAMP[None] * rng.uniform(0.8, 1.6))
    layer.ellipses([[x, y, w * 0.4, h * 0.4, 0]], [[*LAMP * 3, 0.5]])
    return x, y


def _plant(layer: Layer, rng: np.random.Generator) -> None:
    """A pot plant at one side: leaves on stalks, lighter where they face up."""
    x, y = rng.choice([rng.uniform(-0.02, 0.2), rng.uniform(0.8, 1.02)]), rng.uniform(0.75, 1.05)
    n, reach = rng.integers(14, 50), rng.uniform(0.18, 0.45)
    turn = rng.normal(-np.pi / 2, 0.75, n)
    far = reach * rng.uniform(0.35, 1, n)
    length, slim = rng.uniform(0.03, 0.10), rng.uniform(0.12, 0.5)
    colour = alike(rng, LEAF * rng.uniform(0.5, 1.6), n, 0.35)
    pot = alike(rng, WALLS[rng.integers(len(WALLS))], 1, 0.3)[0]
    dx, dy, spread = np.cos(turn), np.sin(turn), np.exp(rng.normal(0, 0.25, (2, n)))
    stalks = ovals(x + far * dx / 2, y + far * dy / 2, far / 2, 0.004, turn)
    leaves = ovals(
        x + far * dx,
        y + far * dy,
        length * spread[0],
        length * slim * spread[1],
        turn + rng.normal(0, 0.5, n),
    )
    layer.ellipses(stalks, colour * 0.6)
    layer.polygons(
        np.array([[[x - 0.09, y], [x + 0.09, y], [x + 0.07, y + 0.3], [x - 0.07, y + 0.3]]]),
        pot[None],
    )
    layer.ellipses(leaves, colour)


def _walls(
    rng: np.random.Generator, deep: tuple[float, float]
) -> tuple[Scenery, list[Wall], float]:
    """A camera in a box of a room: the back wall, and a side wall on the left or on the right."""
    back, side = rng.uniform(*deep), rng.uniform(0.9, 2.4)
    left = rng.random() < 0.5
    yaw = rng.uniform(0, 0.5) * (-1 if left else 1)
    s = Scenery(
        Pinhole(rng.uniform(1.25, 1.6), yaw, rng.uniform(-0.06, 0.1), rng.uniform(1.0, 1.6))
    )
    walls = [Wall((-6.0, back), (1.0, 0.0))]
    walls.append(Wall((-side, -1.0), (0.0, 1.0)) if left else Wall((side, back), (0.0, -1.0)))
    return s, walls, back


def _paint_room(
    s: Scenery, walls: list[Wall], colour: np.ndarray, rng: np.random.Generator
) -> None:
    floor = alike(rng, WOOD if rng.random() < 0.6 else np.full(3, 0.25), 1, 0.3)[0]
    high = rng.uniform(2.5, 3.0)
    x0, z1 = walls[0].origin
    ground = np.array([[x0, 0, -1.0], [x0 + 12, 0, -1.0], [x0 + 12, 0, z1], [x0, 0, z1]])
    s.add(ground, floor)
    s.add(ground + [0, high, 0], WHITE * 0.85)
    other = colour if rng.random() < 0.7 else WHITE * 0.9
    for wall, paint in zip(walls, (colour, other * rng.uniform(0.6, 0.9)), strict=True):
        long = 12.0 if wall is walls[0] else z1 + 1
        s.add(wall.box(0, 0, long, high), paint)
        s.add(wall.box(0, 0, long, 0.1, 0.01), WHITE * 0.7)


def room(rng: np.random.Generator, size: int) -> np.ndarray:
    """A living room, kitchen or library by day or by lamp light; (size, size, 3) float32 linear."""
    s, walls, back = _walls(rng, (1.6, 4.2))
    colour = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.75, 1.1)
    _paint_room(s, walls, colour, rng)
    layer = Layer()
    kind = rng.choice(["living", "library", "kitchen"], p=[0.55, 0.25, 0.2])
    half = 0.5 / s.camera.zoom * back
    centre = 6.0 + back * np.tan(s.camera.yaw)
    u = centre - half - rng.uniform(0.2, 0.8)
    if kind == "library":
        _shelf(s, walls[0], rng, u, 2 * half + 1.5)
    elif kind == "kitchen":
        _cupboard(s, walls[0], rng, u, 2 * half + 1.5)
    while kind == "living" and u < centre + half + 0.3:
        thing = rng.choice(["window", "door", "picture", "shelf", "bare"])
        wide = rng.uniform(0.7, 1.5)
        if thing == "window":
            _window(s, walls[0], rng, u, wide)
        elif thing == "door":
            _door(s, walls[0], rng, u)
        elif thing == "picture":
            _picture(s, walls[0], rng, u)
        elif thing == "shelf":
            _shelf(s, walls[0], rng, u, wide)
        u += wide + rng.uniform(0.25, 0.7)
    if rng.random() < 0.6:  # something on the side wall
        put = _window if rng.random() < 0.5 else _shelf
        at = back + 1 - rng.uniform(1.4, 2.6) if walls[1].along[1] > 0 else rng.uniform(0.4, 1.4)
        put(s, walls[1], rng, at, rng.uniform(0.8, 1.4))
    if kind == "living" and rng.random() < 0.4:
        _sofa(s, walls[0], rng, centre - 1 + rng.uniform(-0.8, 0.8))
    s.draw(layer)
    evening = rng.random() < 0.35
    light = slope(rng, rng.uniform(0.2, 0.9)) * rng.uniform(0.45, 1.0)
    light = light[..., None] * np.exp(rng.normal(0, 0.05, 3))
    near = Layer()
    if evening or rng.random() < 0.25:
        x, y = _lamp(near, rng)
        light = 0.45 * light + glow(x, y, rng.uniform(0.15, 0.3))[..., None] * LAMP * 0.9
    layer.shade(light)
    if rng.random() < 0.45:
        _plant(near, rng)
    blur = rng.uniform(3, 10)
    return compose([(layer, blur), (near, blur * rng.uniform(0.5, 0.85))], size)


def office(rng: np.random.Generator, size: int) -> np.ndarray:
    """An open office: a strip of windows, ceiling panels, partitions, screens; (size, size, 3) float32 linear."""
    s, walls, back = _walls(rng, (5.0, 9.0))
    _paint_room(s, walls, WHITE * rng.uniform(0.5, 0.9), rng)
    centre, half = 6.0 + back * np.tan(s.camera.yaw), 0.6 / s.camera.zoom * back
    glass = rng.random() < 0.65
    for u in np.arange(centre - half, centre + half, 1.25):
        if glass:
            _window(s, walls[0], rng, u, 1.1)
        elif rng.random() < 0.5:
            _picture(s, walls[0], rng, u)
    for z in np.arange(1.5, back, 1.4):  # light panels in the ceiling
        for x in (-1.8, 0.2, 2.2):
            panel = np.array(
                [[x, 2.5, z], [x + 1, 2.5, z], [x + 1, 2.5, z + 0.5], [x, 2.5, z + 0.5]]
            )
            s.add(panel, np.array([2.2, 2.3, 2.3]))
    for z in sorted(rng.uniform(2.0, back, rng.integers(3, 8)), reverse=True):
        desk = Wall((0.0, z), (1.0, 0.0))
        u = rng.uniform(-2.5, 2.0) + z * np.tan(s.camera.yaw)
        grey = alike(rng, np.array([0.2, 0.22, 0.25]), 1, 0.4, 0.12)[0]
        s.add(desk.box(u, 0.1, u + 1.6, rng.uniform(1.05, 1.35)), grey)
        s.add(desk.box(u + 0.3, 1.0, u + 0.85, 1.38, 0.1), DARK)
        if rng.random() < 0.7:
            shown = alike(rng, np.array([0.25, 0.33, 0.42]), 1, 0.6, 0.25)[0]
            s.add(desk.box(u + 0.33, 1.03, u + 0.82, 1.35, 0.1), shown)
    layer, near = Layer(), Layer()
    s.draw(layer)
    layer.shade(slope(rng, 0.4) * rng.uniform(0.5, 0.95))
    if rng.random() < 0.35:
        _plant(near, rng)
    blur = rng.uniform(4, 10)
    return compose([(layer, blur), (near, blur * 0.6)], size)


def studio(rng: np.random.Generator, size: int) -> np.ndarray:
    """A paper or cloth backdrop with a lit spot; (size, size, 3) float32 linear."""
    layer = Layer()
    colour = colours(rng, 1, (0.05, 0.6), 0.22)[0]
    xx, yy = grid()
    spot = glow(rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.7), rng.uniform(0.35, 0.8))
    light = rng.uniform(0.25, 0.7) + spot
    for _ in range(int(rng.random() < 0.4) * rng.integers(3, 8)):  # folds of hanging cloth
        at, wide = rng.uniform(0, 1) + 0.08 * (yy - 0.5), rng.uniform(0.02, 0.09)
        light = light * (1 + rng.uniform(-0.2, 0.2) * np.exp(-(((xx - at) / wide) ** 2)))
    layer.fill(colour * light[..., None])
    return compose([(layer, rng.uniform(4, 10))], size)


def cafe(rng: np.random.Generator, size: int) -> np.ndarray:
    """A cafe or bar: a dim wall, shelves of bottles, strings of warm bulbs; (size, size, 3) float32 linear."""
    s, walls, back = _walls(rng, (3.0, 6.0))
    _paint_room(s, walls, alike(rng, WOOD, 1, 0.4)[0] * 0.7, rng)
    centre, half = 6.0 + back * np.tan(s.camera.yaw), 0.6 / s.camera.zoom * back
    start, stop = centre - half, centre + half
    if rng.random() < 0.5:  # a window on one side, bottles on the other
        wide = rng.uniform(1.0, 2.0)
        at = centre + rng.uniform(-0.8, 0.4) * half
        _window(s, walls[0], rng, at, wide)
        start, stop = (at + wide + 0.4, stop) if at < centre else (start, at - 0.4)
        stop = max(start, stop)  # a wide window may leave no room for bottles
    for v in np.arange(1.2, 2.3, rng.uniform(0.32, 0.45)):
        s.add(walls[0].box(start, v - 0.04, stop, v, 0.2), WOOD * 0.5)
        n = int(rng.uniform(4, 9) * abs(stop - start))
        at = rng.uniform(start, stop, n)
        for a, colour in zip(at, colours(rng, n, (0.03, 0.6), 0.55), strict=True):
            s.add(walls[0].box(a, v, a + 0.07, v + rng.uniform(0.15, 0.28), 0.2), colour)
    layer, bulbs = Layer(), Layer()
    s.draw(layer)
    light = np.full((1, 1, 3), rng.uniform(0.15, 0.4)) * [1.1, 1.0, 0.85]
    n = rng.integers(4, 13)
    x = np.sort(rng.uniform(-0.05, 1.05, n))
    y = rng.uniform(0.05, 0.3) + 0.12 * np.sin(3.1 * x) + rng.normal(0, 0.03, n)
    for a, b in zip(x, y, strict=True):
        light = light + 0.35 * glow(a, b, 0.12)[..., None] * LAMP
    layer.shade(light)
    bulb = ovals(x, y, 0.012, 0.014)
    bulbs.ellipses(bulb, LAMP * rng.uniform(4, 14))
    blur = rng.uniform(5, 11)
    return compose([(layer, blur), (bulbs, blur * 1.1)], size)


def corridor(rng: np.random.Generator, size: int) -> np.ndarray:
    """A long corridor with doors and ceiling lights; (size, size, 3) float32 linear."""
    end, wide, high = rng.uniform(8, 20), rng.uniform(0.9, 1.6), rng.uniform(2.4, 2.9)
    s = Scenery(
        Pinhole(1.5, rng.uniform(-0.25, 0.25), rng.uniform(-0.03, 0.08), rng.uniform(0.9, 1.5))
    )
    tint = np.exp(rng.normal(0, 0.12, 3)) * rng.uniform(0.5, 1.0)
    paint = WALLS[rng.integers(5)]
    floor = np.array([[-wide, 0, 0.3], [wide, 0, 0.3], [wide, 0, end], [-wide, 0, end]])
    s.add(floor, alike(rng, np.full(3, 0.18), 1, 0.4, 0.1)[0] * tint)
    s.add(floor + [0, high, 0], WHITE * 0.6 * tint)
    back = Wall((-wide, end), (1.0, 0.0))
    s.add(back.box(0, 0, 2 * wide, high), paint * 0.7 * tint)
    if rng.random() < 0.6:
        s.add(back.box(wide - 0.5, 0.1, wide + 0.5, 2.1), DAY * rng.uniform(0.8, 2))
    for wall in (Wall((-wide, 0.3), (0.0, 1.0)), Wall((wide, end), (0.0, -1.0))):
        s.add(wall.box(0, 0, end, high), paint * rng.uniform(0.7, 1.0) * tint)
        s.add(wall.box(0, 0, end, 1.0, 0.01), paint * rng.uniform(0.3, 0.8) * tint)
        door = alike(rng, WOOD, 1, 0.4)[0] * tint
        for u in np.arange(rng.uniform(0.5, 2), end - 1.2, rng.uniform(2.2, 3.5)):
            s.add(wall.box(u - 0.08, 0, u + 1.0, 2.15, 0.02), door * 1.5)
            s.add(wall.box(u, 0, u + 0.92, 2.08, 0.02), door)
    for z in np.arange(1.5, end, rng.uniform(1.8, 3)):
        tube = [[-0.3, high - 0.02, z], [0.3, high - 0.02, z], [0.3, high - 0.02, z + 0.8]]
        s.add(np.array([*tube, [-0.3, high - 0.02, z + 0.8]]), np.array([2.4, 2.6, 2.4]))
    layer = Layer()
    s.draw(layer)
    layer.shade(slope(rng, 0.5))
    return compose([(layer, rng.uniform(4, 10))], size)
