"""What is known about every clip, as rows of tables: people, forgeries, clips. Source: own."""

import hashlib
import json
from typing import Any

import numpy as np

from . import film, heads
from .forging import Forgery
from .plan import REAL, Person, Settings


def frames_hash(frames: np.ndarray) -> str:
    """Hash pictures (T, H, W, 3) uint8 before coding; equal hashes mean equal pixels."""
    shape = json.dumps(frames.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(frames).tobytes()).hexdigest()


def clip_row(
    person: Person, settings: Settings, forgery: Forgery | None, sha256: str, mask_sha256: str
) -> dict[str, Any]:
    """Row of the manifest.

    Args:
        person: of the real clip. settings: of the set. forgery: None for the real clip itself.
        sha256, mask_sha256: of the coded clip and of its mask ("" for a real).

    Returns:
        Columns of ``schema.MANIFEST``.
    """
    method, video_id = REAL, person.name
    donor = forgery.partner if forgery else None
    if forgery:
        method, video_id = forgery.method, video_name(person, donor)
    return {
        "path": f"{method}/{video_id}.mp4",
        "dataset": settings.set_name,
        "method": method,
        "compression": settings.spec.compression,
        "video_id": video_id,
        "source_id": person.name,
        "label": int(forgery is not None),
        "role": person.role,
        "donor_id": donor.name if donor else "",
        "mask_path": f"masks/{method}/{video_id}.mp4" if forgery else "",
        "n_frames": settings.n_frames,
        "sha256": sha256,
        "mask_sha256": mask_sha256,
    }


def video_name(person: Person, partner: Person | None) -> str:
    """Name of a forged clip: target, and who lent a face or a movement, such as "n001_n004"."""
    return person.name if partner is None else f"{person.name}_{partner.name}"


def forgery_row(person: Person, settings: Settings, forgery: Forgery) -> dict[str, Any]:
    """Row of the forgeries: columns of ``schema.FORGERIES``."""
    masks = forgery.clip.masks
    peak = float(masks.max())
    drawn = {k: round(float(v), 4) for k, v in forgery.clip.settings.items()}
    return {
        "dataset": settings.set_name,
        "method": forgery.method,
        "video_id": video_name(person, forgery.partner),
        "source_id": person.name,
        "donor_id": forgery.partner.name if forgery.partner else "",
        "attempt": forgery.attempt,
        "opacity": round(peak, 4),
        "area": round(float((masks > peak / 2).mean()), 5),
        "frames_sha256": frames_hash(forgery.clip.images),
        "settings": json.dumps(drawn, sort_keys=True),
    }


def identity_row(
    person: Person, settings: Settings, clip: film.Clip, footage: film.Footage
) -> dict[str, Any]:
    """Row of the people: columns of ``schema.IDENTITIES``, and the camera's."""
    angles = np.rad2deg(clip.motion.angles)
    key = clip.light.key / np.linalg.norm(clip.light.key)
    return {
        "identity_id": person.name,
        "dataset": settings.set_name,
        "role": person.role,
        "group": person.group,
        "seed": person.seed,
        **heads.attributes(heads.make_identity(person.seed)),
        "yaw_min_deg": round(float(angles[:, 0].min()), 1),
        "yaw_max_deg": round(float(angles[:, 0].max()), 1),
        "pitch_mean_deg": round(float(angles[:, 1].mean()), 1),
        "roll_mean_deg": round(float(angles[:, 2].mean()), 1),
        "light_azimuth_deg": round(float(np.rad2deg(np.arctan2(key[0], key[2]))), 1),
        "light_height_deg": round(float(np.rad2deg(np.arcsin(key[1]))), 1),
        **{f"camera_{k}": _plain(v) for k, v in footage.camera.facts().items()},
        "frames_sha256": frames_hash(footage.frames),
    }


def _plain(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, int | float | np.number) else value
