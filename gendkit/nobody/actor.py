"""A person ready to be filmed: shape, paint, hair and clothes put together, one call a frame. Source: own."""

import numpy as np

from . import cloth, hair, heads, paint, render, scalp, wear
from . import points as marks
from .pack import vertex_normals
from .surface import HAT


class Actor:
    """One person in front of the camera.

    Args:
        identity: who.
    """

    def __init__(self, identity: heads.Identity) -> None:
        self.identity = identity
        self.look = paint.bake(identity)
        longest = hair.CUTS[identity.style].length[1]
        scalp.paint_scalp(self.look.skin, identity, longest, paint.Y_TOP, paint.Y_BOTTOM)
        self.shape = heads.neutral_shape(identity)
        p, (neutral, _, _) = heads.default_pack(), heads.average()
        sheet = cloth.join(
            cloth.hat(identity, self.shape)
            + cloth.garment(identity, self.shape, self.look.colours[4])
        )
        hat = heads.HATS[int(identity.traits["hat"])]
        lines = wear.glasses(identity, self.shape)
        if hat != "scarf":
            lines += hair.strands(identity, self.shape, cloth.RIMS.get(hat))
        self.lines = hair.join(lines)
        solid = p.material != render.LASH
        n = len(neutral)
        more = len(sheet.points)
        self.solid_faces = np.concatenate([p.faces[solid], sheet.faces + n]).astype(np.int32)
        material = np.r_[p.material[solid], np.full(len(sheet.faces), HAT, np.uint8)]
        self.casting = np.concatenate([sheet.points, wear.shades(self.lines)])
        extra_faces = n + more + np.arange(3 * ((len(self.casting) - more) // 3)).reshape(-1, 3)
        skin = np.concatenate([p.faces[p.material == render.SKIN], sheet.faces + n, extra_faces])
        extra = np.concatenate([p.attributes, np.zeros((n, 2))], 1)
        self.mesh = render.Mesh(
            self.solid_faces,
            material,
            np.zeros((0, 3), np.int32),
            np.ascontiguousarray(p.faces[~solid]),
            np.concatenate([_texels(neutral), np.zeros((more, 2), np.float32)]),
            np.concatenate([neutral, sheet.points]).astype(np.float32),
            np.concatenate([extra, sheet.extra]).astype(np.float32),
            np.concatenate([_eye_axes(neutral), np.zeros((more, 3), np.float32)]),
            np.ascontiguousarray(skin, dtype=np.int32),
        )

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
        posed = np.concatenate([base, heads.pose(self.casting, self.casting, angles)])
        normal = vertex_normals(posed, self.solid_faces)
        g = np.array(
            [np.sin(gaze[0]) * np.cos(gaze[1]), np.sin(gaze[1]), np.cos(gaze[0]) * np.cos(gaze[1])]
        )
        image = render.render(
            self.mesh,
            self.look,
            posed,
            normal,
            g,
            light,
            view,
            background,
        )
        worn = wear.pose(self.lines, angles)
        lamps = light.lamps() * np.repeat([1, render.EXPOSURE], 3)
        sky = np.stack([light.sky_rgb, light.ground_rgb]) * render.EXPOSURE
        layer = worn.draw(posed, self.solid_faces, view, lamps, sky)
        image = image * layer[..., 3:] + layer[..., :3]
        return render.encode(image), marks.landmarks(base, view.project)


def _texels(neutral: np.ndarray) -> np.ndarray:
    """Column and row (V, 2) float32 in the painted textures."""
    c = heads.cylinder(neutral)
    column = (c[:, 0] / (2 * np.pi) + 0.5) * paint.WIDTH - 0.5
    row = (paint.Y_TOP - c[:, 1]) / (paint.Y_TOP - paint.Y_BOTTOM) * paint.HEIGHT - 0.5
    return np.stack([column, row], 1).astype(np.float32)


def _eye_axes(neutral: np.ndarray) -> np.ndarray:
    """Unit direction (V, 3) float32 from the middle of its eye for vertices of the eyeballs, else 0."""
    part = heads.default_pack().part
    out = np.zeros((len(neutral), 3), np.float32)
    for eye in (1, 2):
        k = np.flatnonzero(part == eye)
        d = neutral[k] - neutral[k].mean(0)
        out[k] = d / np.linalg.norm(d, axis=1, keepdims=True)
    return out
