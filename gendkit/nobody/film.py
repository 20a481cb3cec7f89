"""Shooting: what a camera sees of a person, as plain draws from a seed. Source: own.

A real clip, a clip of a donor, a driver's landmarks and the reel that a group's networks learn from. Every draw has a
generator of its own, made of the person's seed, a number that names the draw, and the attempt; so no draw depends on
which others were made, nor on the number of people or processes.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import camera as cameras
from . import heads, scene
from .actor import Actor
from .plan import Person
from .render import Light, View

FPS = 25
SIZE = 256
GLASSES_LEVELS = 24  # grey levels by which a frame of glasses differs from what is behind it
DONOR_FRAMES = 12
# What a generator is for; the numbers keep the draws of one seed apart.
STREAMS = {"clip": 61, "partner": 67, "camera": 71, "reel": 73, "forgery": 79, "portrait": 83}
POSE_STEP = (0.05, 0.03, 0.03)  # how far a donor's mean pose lies from the target's, radians
POSE_LIMIT = (0.45, 0.20, 0.15)


@dataclass(frozen=True)
class Clip:
    """How one clip is filmed.

    Attributes:
        motion: what the head does. light, view: as in ``render``. background: (256, 256, 3) float32 linear.
    """

    motion: scene.Motion
    light: Light
    view: View
    background: np.ndarray


@dataclass(frozen=True)
class Footage:
    """What came out of a camera.

    Attributes:
        frames: (T, 256, 256, 3) uint8 RGB. points: (T, 68, 2) float32, true landmarks in pixels.
        camera: with which it was filmed.
    """

    frames: np.ndarray
    points: np.ndarray
    camera: cameras.Camera


def generator(person: Person, stream: str, *more: int) -> np.random.Generator:
    """Make the generator of one draw: the same for the same person, stream and numbers."""
    return np.random.default_rng([person.seed, STREAMS[stream], *more])


def real_clip(person: Person, n_frames: int, domain: str = "nobody") -> Clip:
    """Draw how the real clip of a person is filmed.

    Args:
        person: who. n_frames: T. domain: of lights and places.

    Returns:
        The clip.
    """
    rng = generator(person, "clip")
    angles = np.clip(rng.normal(0, [0.20, 0.09, 0.06]), np.negative(POSE_LIMIT), POSE_LIMIT)
    return Clip(
        scene.motion(rng, n_frames, FPS, tuple(angles)),
        scene.light(rng, domain),
        scene.view(rng, SIZE, (105, 158)),
        scene.background(rng, SIZE, domain),
    )


def shoot(actor: Actor, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Render a clip: clean frames (T, 256, 256, 3) uint8 and landmarks (T, 68, 2) float32."""
    m = clip.motion
    out = [
        actor.frame(
            m.expressions[k], tuple(m.gaze[k]), m.angles[k], clip.light, clip.view, clip.background
        )
        for k in range(len(m.expressions))
    ]
    return np.stack([a for a, _ in out]), np.stack([b for _, b in out])


def real_footage(person: Person, n_frames: int, domain: str = "nobody") -> Footage:
    """Film the real clip of a person.

    Args:
        person: who. n_frames: T. domain: of lights, places and cameras.

    Returns:
        The footage, before coding; the same for the same seed, code and versions.
    """
    clean, points = shoot(
        Actor(heads.make_identity(person.seed)), real_clip(person, n_frames, domain)
    )
    rng = generator(person, "camera")
    camera = cameras.draw(rng, domain)
    return Footage(cameras.film(clean, camera, rng), points, camera)


def donor_footage(
    person: Person, donor: Person, target: Clip, domain: str = "nobody", attempt: int = 0
) -> Footage:
    """Film a donor in a pose and a light like the target's, as a forger would choose them.

    Args:
        person: the target. donor: who lends the face. target: the target's clip. domain: of lights and
            cameras. attempt: from 0; a later attempt draws another clip, nearer to the target's pose.

    Returns:
        The footage, with a camera of its own.
    """
    rng = generator(person, "partner", donor.seed, attempt)
    clip = Clip(
        scene.motion(rng, DONOR_FRAMES, FPS, _near_pose(target, rng, attempt)),
        scene.similar_light(rng, target.light, domain),
        scene.view(rng, SIZE, (130, 165)),
        _plain(),
    )
    clean, points = shoot(Actor(lent_face(donor, person)), clip)
    camera = cameras.draw(rng, domain)
    return Footage(cameras.film(clean, camera, rng), points, camera)


def lent_face(donor: Person, target: Person | None = None) -> heads.Identity:
    """Who a person is when they lend their face: no hat, and the target's glasses, so that no half frame is left.

    Args:
        donor: who lends. target: who wears the glasses; None for no glasses.

    Returns:
        The identity.
    """
    identity = heads.make_identity(donor.seed)
    worn = {"glasses": 0.0, "hat": 0.0}
    if target is not None:
        traits = heads.make_identity(target.seed).traits
        worn |= {name: traits[name] for name in ("glasses", "glasses_shade")}
    return replace(identity, traits=identity.traits | worn)


def glasses_over(person: Person, clip: Clip) -> np.ndarray | None:
    """Find the pixels that glasses cover in a real clip, as a segmentation network of a forger would.

    Args:
        person: who. clip: their real clip.

    Returns:
        (T, 256, 256) float32 in [0, 1], 1 where a frame is; None for a person without glasses.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    identity = heads.make_identity(person.seed)
    if not identity.traits["glasses"]:
        return None
    without = replace(identity, traits=identity.traits | {"glasses": 0.0})
    pictures = [shoot(Actor(one), clip)[0].astype(np.float32) for one in (identity, without)]
    changed = np.abs(pictures[0] - pictures[1]).mean(-1) > GLASSES_LEVELS
    wide = maximum_filter(changed.astype(np.float32), (1, 3, 3))
    return gaussian_filter(wide, (0, 0.8, 0.8))


def driver_points(person: Person, driver: Person, target: Clip, attempt: int = 0) -> np.ndarray:
    """Landmarks (T, 68, 2) float32 of another person's talk in a pose like the target's.

    Args:
        person: the target. driver: who moves. target: the target's clip. attempt: as in `donor_footage`.
    """
    rng = generator(person, "partner", driver.seed, attempt, 1)
    n_frames = len(target.motion.expressions)
    motion = scene.motion(rng, n_frames, FPS, _near_pose(target, rng, attempt))
    return Actor.points(heads.make_identity(driver.seed), motion, target.view)


def reel(person: Person, n_frames: int, domain: str = "nobody") -> Footage:
    """Film a person in many poses, expressions and lights with one camera: what networks learn the person from.

    Args:
        person: who. n_frames: pictures, each drawn anew. domain: of lights and camera.

    Returns:
        The footage; it shows no moment of the person's real clip.
    """
    rng = generator(person, "reel")
    actor, names = Actor(lent_face(person)), heads.action_names()
    shots = []
    for _ in range(n_frames):
        mood, gaze = scene.expression(rng, names), tuple(rng.normal(0, [0.12, 0.06]))
        angles = np.clip(rng.normal(0, [0.22, 0.10, 0.06]), -0.5, 0.5)
        light, view = scene.light(rng, domain), scene.view(rng, SIZE, (130, 165))
        shots.append(actor.frame(mood, gaze, angles, light, view, _plain()))
    clean, points = (np.stack([shot[k] for shot in shots]) for k in (0, 1))
    camera = cameras.draw(rng, domain)
    return Footage(cameras.film(clean, camera, rng), points, camera)


def _near_pose(target: Clip, rng: np.random.Generator, attempt: int) -> tuple[float, ...]:
    return tuple(target.motion.angles.mean(0) + 0.6**attempt * rng.normal(0, POSE_STEP))


def _plain() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), 0.2, np.float32)
