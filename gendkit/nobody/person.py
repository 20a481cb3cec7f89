"""One person's part of a set: filmed, forged, coded and recorded. Source: own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gendkit.repro import atomic_path, sha256, write_json
from gendkit.video import write_video

from . import film, truth
from .coding import write_alike
from .forging import Forger, Forgery
from .plan import Group, Person, Settings, methods_of

MASK_CRF = 26  # a mask is smooth: read at 127 it agrees with the one before coding by 99 %


def record_path(work: Path, person: Person) -> Path:
    """Where the record of a finished person lies; it is written last."""
    return work / "people" / f"{person.name}.json"


def make(
    work: Path,
    person: Person,
    group: Group,
    settings: Settings,
    group_tools: Callable[[], Any],
    general_tools: Callable[[], Any],
) -> None:
    """Make all clips of a person.

    Args:
        work: folder of the build; clips go to ``work/clips``. person, group, settings: see ``plan``.
        group_tools, general_tools: see ``forging.Forger``.

    Raises:
        forge.ForgeError: a forgery that cannot be made.
    """
    domain = settings.spec.domain
    clip = film.real_clip(person, settings.n_frames, domain)
    footage = film.real_footage(person, settings.n_frames, domain)
    forger = Forger(person, group, footage, clip, domain, group_tools, general_tools)
    made = [forger.make(method) for method in methods_of(settings, person.role)]
    rows = _write(work, person, settings, footage.frames, made)
    forgeries = [truth.forgery_row(person, settings, forgery) for forgery in made]
    points = record_path(work, person).with_suffix(".npy")
    with atomic_path(points) as path:
        np.save(path, np.round(footage.points, 2).astype(np.float32))
    identity = truth.identity_row(person, settings, clip, footage)
    write_json(
        record_path(work, person), {"clips": rows, "forgeries": forgeries, "identity": identity}
    )


def _write(
    work: Path, person: Person, settings: Settings, real: np.ndarray, made: list[Forgery]
) -> list[dict[str, Any]]:
    """Code the real clip, its fakes and their masks; give their rows."""
    clips = work / "clips"
    rows = [truth.clip_row(person, settings, forgery, "", "") for forgery in (None, *made)]
    images = [real, *(forgery.clip.images for forgery in made)]
    paths = [clips / row["path"] for row in rows]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_alike(paths, images, fps=film.FPS, crf=settings.spec.crf)
    for row, path, forgery in zip(rows, paths, (None, *made), strict=True):
        row["sha256"] = sha256(path)
        if forgery is not None:
            mask = clips / row["mask_path"]
            # Brought to full range, so that half of the strongest change is always at grey 127.
            full = forgery.clip.masks / forgery.clip.masks.max()
            write_video(mask, full, fps=film.FPS, crf=MASK_CRF)
            row["mask_sha256"] = sha256(mask)
    return rows
