"""A contact sheet of people: `gendkit nobody sheet`. Source: own."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from gendkit.repro import atomic_path, progress

from . import camera, film, plan, scene
from .actor import Actor
from .heads import make_identity

BOX = (140, 165)  # side of a face's box, pixels of 256: larger than in clips


def portrait(person: plan.Person, domain: str = "nobody") -> np.ndarray:
    """Take one picture of a person, as the camera of their clip sees them.

    Args:
        person: who. domain: of lights, places and cameras.

    Returns:
        (256, 256, 3) uint8 RGB; equal for equal seed, code and versions.
    """
    rng = film.generator(person, "portrait")
    clip = film.real_clip(person, n_frames=2, domain=domain)
    mood = clip.motion.expressions[0] | {"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05}
    view = scene.view(rng, film.SIZE, BOX)
    actor = Actor(make_identity(person.seed))
    clean, _ = actor.frame(
        mood, tuple(clip.motion.gaze[0]), clip.motion.angles[0], clip.light, view, clip.background
    )
    return camera.film(clean[None], camera.draw(rng, domain), rng)[0]


def sheet(people: Iterable[plan.Person], n_columns: int = 8, side: int = 192) -> np.ndarray:
    """Lay portraits out in a grid.

    Args:
        people: who; their number must fill the rows. n_columns: portraits in a row. side: of each, pixels.

    Returns:
        (rows * side, n_columns * side, 3) uint8 RGB.

    Raises:
        ValueError: the number of people does not fill the rows.
    """
    people = list(people)
    if not people or len(people) % n_columns:
        raise ValueError(
            f"{len(people)} people do not fill rows of {n_columns}; give a multiple of {n_columns}"
        )
    cells = [
        np.asarray(Image.fromarray(portrait(one)).resize((side, side), Image.Resampling.LANCZOS))
        for one in progress(people, what="portraits")
    ]
    rows = [np.concatenate(cells[k : k + n_columns], 1) for k in range(0, len(cells), n_columns)]
    return np.concatenate(rows)


def write(path: str | Path, n_people: int = 64, **layout: int) -> None:
    """Write a sheet of the first people of the benchmark as JPEG, atomically.

    Args:
        path: file. n_people: how many. layout: further arguments of `sheet`.
    """
    people = sorted(
        (one for group in plan.groups(plan.Settings()) for one in group.people),
        key=lambda one: one.seed,
    )
    image = Image.fromarray(sheet(people[:n_people], **layout))
    with atomic_path(path) as temporary:
        image.save(temporary, "JPEG", quality=90, optimize=True)
