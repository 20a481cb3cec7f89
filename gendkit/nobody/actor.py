"""A person ready to be filmed: shape, paint and hair put together, one call a frame. Source: own."""

import numpy as np

from . import heads, paint, render
from . import points as marks
from .pack import vertex_normals

LEVELS = 6  # hair shells


def _thickness(style: str, u: np.ndarray, y: np.ndarray, traits: dict[str, float]) -> np.ndarray:
    """Height of the hair above the scalp, in units."""
    top = np.clip((y - 0.2) / 1.2, 0, 1)
    front = np.exp(-((u / 0.9) ** 2))
    t = {
        "shaved": 0.012 + 0 * y,
        "buzz": 0.05 + 0.02 * top,
        "crop": 0.09 + 0.17 * top + 0.05 * front * top,
        "parted": 0.12 + 0.26 * top * (1 - 0.75 * np.exp(-(((u - traits["part"]) / 0.22) ** 2))),
        "afro": 0.36 + 0.20 * top,
        "long": 0.20 + 0.12 * top * (1 - 0.8 * np.exp(-(((u - traits["part"] * 0.6) / 0.15) ** 2))),
        "bob": 0.23 + 0.12 * top * (1 - 0.8 * np.exp(-(((u - traits["part"]) / 0.15) ** 2))),
        "back": 0.07 + 0.06 * top,
    }[style]
    return t * (traits["hair_volume"] if style not in ("shaved", "buzz") else 1)


class Actor:
    """One person in front of the camera.

    Args:
        identity: who.
    """

    def __init__(self, identity: heads.Identity) -> None:
        self.identity = identity
        self.look = paint.bake(identity)
        self.shape = heads.neutral_shape(identity)
        p, (neutral, _, _) = heads.default_pack(), heads.average()
        n_base = len(neutral)
        c = heads.cylinder(neutral)
        skin = p.faces[p.material == render.SKIN]
        wild = np.ptp(c[skin, 0], axis=1) > 2
        line = np.interp(
            np.abs(c[:, 0]),
            np.deg2rad([0, 50, 75, 88, 93, 104, 130, 180]),
            [0.6, 0.35, -0.45, -0.75, -0.2, -0.2, -1.2, -1.6],
        )
        grows = (p.part == 0) & (p.attributes[:, 2] < 0.25) & (c[:, 1] > line)
        cap = skin[grows[skin].all(1) & (~wild | (neutral[skin, 1].min(1) > 0.6))]
        self.cap = np.unique(cap)
        at = np.full(n_base, -1)
        at[self.cap] = np.arange(len(self.cap))
        levels = (np.arange(LEVELS) + 1) / LEVELS
        self.lift = _thickness(identity.style, c[self.cap, 0], c[self.cap, 1], identity.traits)
        self.levels = levels
        shells = [at[cap] + n_base + k * len(self.cap) for k in range(LEVELS)]
        neutrals = [neutral] + [neutral[self.cap]] * LEVELS
        extra = np.concatenate([p.attributes, np.zeros((n_base, 2))], 1)
        extras = [extra]
        for v in levels:
            e = extra[self.cap].copy()
            e[:, 0], e[:, 4], e[:, 5] = 0, v, 1
            extras.append(e)
        self._hanging(neutrals, extras, shells, levels)
        neutral_all = np.concatenate(neutrals).astype(np.float32)
        cc = heads.cylinder(neutral_all)
        uv = np.stack(
            [
                (cc[:, 0] / (2 * np.pi) + 0.5) * paint.WIDTH - 0.5,
                (paint.Y_TOP - cc[:, 1]) / (paint.Y_TOP - paint.Y_BOTTOM) * paint.HEIGHT - 0.5,
            ],
            1,
        )
        solid = p.material != render.LASH
        eyes = np.zeros((len(neutral_all), 3), np.float32)
        for part in (1, 2):
            k = np.nonzero(p.part == part)[0]
            d = neutral[k] - neutral[k].mean(0)
            eyes[k] = d / np.linalg.norm(d, axis=1, keepdims=True)
        self.solid_faces = p.faces[solid]
        shell_faces = np.concatenate(shells[::-1]).astype(np.int32)
        self.mesh = render.Mesh(
            np.ascontiguousarray(p.faces[solid]),
            np.ascontiguousarray(p.material[solid]),
            shell_faces,
            np.ascontiguousarray(p.faces[~solid]),
            uv.astype(np.float32),
            neutral_all,
            np.concatenate(extras).astype(np.float32),
            eyes,
            np.ascontiguousarray(skin, dtype=np.int32),
        )

    def _hanging(self, neutrals: list, extras: list, shells: list, levels: np.ndarray) -> None:
        """Hair that hangs from the sides and the back of the head: sheets round the head's axis."""
        self.hang = np.zeros((0, 3), np.float32)
        if self.identity.style not in ("long", "bob"):
            return
        long = self.identity.style == "long"
        rng = np.random.default_rng([self.identity.seed, 31])
        start = rng.uniform(62, 74) if long else rng.uniform(56, 68)
        u = np.deg2rad(np.linspace(start, 360 - start, 41))
        y = np.linspace(0.75, -2.9 if long else rng.uniform(-1.75, -1.2), 18)
        c = heads.cylinder(self.shape)
        p = heads.default_pack()
        scalp = (p.part == 0) & (p.attributes[:, 2] < 0.25) & (np.abs(c[:, 1] - 0.25) < 0.35)
        sides = np.interp(np.pi - np.abs(np.pi - u), *_profile(np.abs(c[scalp, 0]), c[scalp, 2]))
        uu, yy = np.meshgrid(u, y)
        grid = np.arange(uu.size).reshape(uu.shape)
        tri = np.concatenate(
            [
                np.stack([grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:]], -1).reshape(-1, 3),
                np.stack([grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 3),
            ]
        )
        wave = 0.03 * np.sin(uu * 7 + rng.uniform(0, 6)) + 0.02 * np.sin(uu * 17 + yy * 2)
        fall = np.clip((0.75 - yy) / 1.4, 0, 1)
        volume = self.identity.traits["hair_volume"]
        parts = []
        for v in levels[1::2]:
            r = sides[None] + (0.10 + 0.26 * volume * v) * (0.45 + 0.55 * fall) + wave * fall
            r = r * (1 - 0.10 * np.clip((-yy - 0.9) / 1.5, 0, 1))
            x, z = r * np.sin(uu), heads.AXIS_Z + r * np.cos(uu)
            q = np.stack([x, yy, z], -1).reshape(-1, 3)
            n0 = sum(len(a) for a in neutrals)
            parts.append(q)
            neutrals.append(q)
            e = np.zeros((len(q), 6))
            edge = np.minimum((uu - u[0]), (u[-1] - uu)) / 0.10
            bottom = (yy - y[-1]) / (0.45 if long else 0.15)
            e[:, 0], e[:, 3], e[:, 4] = 1, 0.9, v
            e[:, 5] = (np.clip(0.25 + edge, 0, 1) * np.clip(0.15 + bottom, 0, 1)).reshape(-1)
            extras.append(e)
            shells.append(tri + n0)
        self.hang = np.concatenate(parts).astype(np.float32)

    @staticmethod
    def points(identity: heads.Identity, motion, view: render.View) -> np.ndarray:
        """Landmarks (T, 68, 2) float32 of a person's motion, without pictures."""
        shape, neutral = heads.neutral_shape(identity), heads.average()[0]
        return np.stack(
            [
                marks.landmarks(heads.pose(heads.express(shape, e), neutral, a), view.project)
                for e, a in zip(motion.expressions, motion.angles, strict=True)
            ]
        )

    def frame(
        self,
        expression: dict[str, float],
        gaze: tuple[float, float],
        angles,
        light: render.Light,
        view: render.View,
        background: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Film one moment.

        Args:
            expression: facial action -> weight. gaze: yaw and pitch of the eyes in radians, relative to the head.
            angles: yaw, pitch, roll of the head in radians. light, view: see ``render``.
            background: (size, size, 3) float32 linear.

        Returns:
            image (size, size, 3) uint8 RGB, landmarks (68, 2) float32.
        """
        neutral = heads.average()[0]
        base = heads.pose(heads.express(self.shape, expression), neutral, angles)
        normal = vertex_normals(base, self.solid_faces)
        cap = base[self.cap]
        out = normal[self.cap]
        shells = [cap + out * (self.lift * v)[:, None] for v in self.levels]
        positions, normals = [base, *shells], [normal] + [out] * LEVELS
        if len(self.hang):
            hang = heads.pose(self.hang, self.hang, angles)
            positions.append(hang)
            d = self.hang - [0, 0, heads.AXIS_Z]
            d[:, 1] = 0.0
            d /= np.linalg.norm(d, axis=1, keepdims=True)
            normals.append((d @ heads.rotation(*angles).T).astype(np.float32))
        g = np.array(
            [np.sin(gaze[0]) * np.cos(gaze[1]), np.sin(gaze[1]), np.cos(gaze[0]) * np.cos(gaze[1])]
        )
        image = render.render(
            self.mesh,
            self.look,
            np.concatenate(positions).astype(np.float32),
            np.concatenate(normals).astype(np.float32),
            g,
            light,
            view,
            background,
        )
        return render.encode(image), marks.landmarks(base, view.project)


def _profile(angle: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.linspace(0.7, np.pi, 14)
    mid, top = [], []
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        k = (angle >= a) & (angle < b)
        if k.any():
            mid.append((a + b) / 2)
            top.append(radius[k].max())
    return np.array(mid), np.array(top)
