"""The benchmark of Nobody's Faces: real clips, three forgeries of each, masks, landmarks, manifest. Source: own."""

import json
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import forge, manifest
from gendkit.repro import atomic_path, sha256, write_json
from gendkit.video import write_video

from . import camera as cameras
from . import heads, scene
from .actor import Actor
from .render import Light, View

METHODS = ("real", "FS", "NT", "SBI")
SHARES = {"fit": 0.55, "select": 0.1, "report": 0.35}
FPS = 25


@dataclass(frozen=True)
class Clip:
    """How one clip is filmed."""

    motion: scene.Motion
    light: Light
    view: View
    background: np.ndarray


def name(number: int) -> str:
    """Identity name of the benchmark, such as "n007"."""
    return f"n{number:03d}"


def roles(n: int) -> list[str]:
    """Role of each of n identities: 55 % fit, 10 % select, the rest report."""
    fit, select = round(n * SHARES["fit"]), max(2, round(n * SHARES["select"]))
    return ["fit"] * fit + ["select"] * select + ["report"] * (n - fit - select)


def partner(number: int, n: int, shift: int) -> int:
    """Another identity of the same role: the one ``shift`` places on, in a ring."""
    members = [k for k, role in enumerate(roles(n)) if role == roles(n)[number]]
    return members[(members.index(number) + 1 + shift % (len(members) - 1)) % len(members)]


def plan(number: int, seed: int, n_frames: int) -> Clip:
    """Draw the real clip of an identity."""
    rng = np.random.default_rng([seed, number, 61])
    angles = np.clip(rng.normal(0, [0.20, 0.09, 0.06]), [-0.45, -0.2, -0.15], [0.45, 0.2, 0.15])
    return Clip(
        scene.motion(rng, n_frames, FPS, tuple(angles)),
        scene.light(rng),
        scene.view(rng, 256, (105, 158)),
        scene.background(rng),
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


def forgeries(
    number: int, n: int, seed: int, n_frames: int, frames: np.ndarray, points: np.ndarray
) -> dict:
    """Forge one real clip in every way.

    Args:
        number: target identity. n: identities in all. seed: of the benchmark. n_frames: of a clip.
        frames: (T, H, W, 3) uint8, as filmed. points: (T, 68, 2).

    Returns:
        method -> (donor number or None, ``forge.ForgedClip``).
    """
    target = plan(number, seed, n_frames)
    rng = np.random.default_rng([seed, number, 67])
    out = {}
    donor = partner(number, n, 0)
    mean = target.motion.angles.mean(0) + rng.normal(0, [0.05, 0.03, 0.03])
    donor_clip = Clip(
        scene.motion(rng, 24, FPS, tuple(mean)),
        scene.similar_light(rng, target.light),
        scene.view(rng, 256, (130, 165)),
        np.full((256, 256, 3), 0.2, np.float32),
    )
    clean, donor_points = shoot(Actor(heads.make_identity(seed + donor)), donor_clip)
    donor_frames = cameras.film(clean, cameras.draw(rng), rng)
    out["FS"] = (donor, forge.FORGERIES["FS"](frames, points, donor_frames, donor_points, rng))
    driver = partner(number, n, 3)
    driver_points = Actor.points(
        heads.make_identity(seed + driver),
        scene.motion(rng, n_frames, FPS, tuple(target.motion.angles.mean(0))),
        target.view,
    )
    out["NT"] = (driver, forge.FORGERIES["NT"](frames, points, driver_points, rng))
    out["SBI"] = (None, forge.FORGERIES["SBI"](frames, points, rng))
    return out


def _make(out: str, number: int, n: int, seed: int, n_frames: int, crf: int) -> list[dict]:
    root, me, role = Path(out), name(number), roles(n)[number]
    record = root / ".parts" / f"{me}.json"
    stamp = {"n": n, "seed": seed, "frames": n_frames, "crf": crf}
    if record.exists():
        known = json.loads(record.read_text())
        if known["stamp"] == stamp and all((root / r["path"]).exists() for r in known["rows"]):
            return known["rows"]
    who, clip = heads.make_identity(seed + number), plan(number, seed, n_frames)
    clean, points = shoot(Actor(who), clip)
    rng = np.random.default_rng([seed, number, 71])
    cam = cameras.draw(rng)
    frames = cameras.film(clean, cam, rng)
    made = {"real": (None, None), **forgeries(number, n, seed, n_frames, frames, points)}
    rows = []
    for method in METHODS:
        donor, forged = made[method]
        video_id = me if donor is None else f"{me}_{name(donor)}"
        path, mask_path = (
            f"{method}/{video_id}.mp4",
            f"masks/{method}/{video_id}.mp4" if forged else "",
        )
        for p in (path, mask_path):
            if p:
                (root / p).parent.mkdir(parents=True, exist_ok=True)
        images = frames if forged is None else forged.images
        write_video(root / path, images, fps=FPS, crf=crf)
        if forged:
            write_video(root / mask_path, forged.masks, fps=FPS, crf=18)
        rows.append(
            {
                "path": path,
                "dataset": "nobody",
                "method": method,
                "compression": f"c{crf}",
                "video_id": video_id,
                "source_id": me,
                "label": int(forged is not None),
                "role": role,
                "donor_id": "" if donor is None else name(donor),
                "mask_path": mask_path,
                "n_frames": n_frames,
                "sha256": sha256(root / path),
            }
        )
    angles = np.rad2deg(clip.motion.angles)
    t = who.traits
    key = clip.light.key / np.linalg.norm(clip.light.key)
    fact = {
        "identity_id": me,
        "role": role,
        "seed": seed + number,
        "gender": "female" if t["gender"] > 0.5 else "male",
        "age": round(t["age"], 2),
        "african": round(t["african"], 2),
        "asian": round(t["asian"], 2),
        "caucasian": round(t["caucasian"], 2),
        "skin_tone": round(t["tone"], 2),
        "hair": who.style,
        "hair_dark": round(t["hair_dark"], 2),
        "grey": round(t["grey"], 2),
        "beard": int(t["beard"]),
        "stubble": round(t["stubble"], 2),
        "glasses": "no",
        "yaw_min_deg": round(float(angles[:, 0].min()), 1),
        "yaw_max_deg": round(float(angles[:, 0].max()), 1),
        "pitch_mean_deg": round(float(angles[:, 1].mean()), 1),
        "roll_mean_deg": round(float(angles[:, 2].mean()), 1),
        "light_azimuth_deg": round(float(np.rad2deg(np.arctan2(key[0], key[2]))), 1),
        "light_height_deg": round(float(np.rad2deg(np.arcsin(key[1]))), 1),
        **{f"camera_{k}": round(v, 4) for k, v in cam.facts().items()},
    }
    with atomic_path(root / ".parts" / f"{me}.npz") as p, open(p, "wb") as f:
        np.savez(f, points=points)
    write_json(record, {"stamp": stamp, "rows": rows, "fact": fact})
    return rows


def build_benchmark(
    out: str | Path = "data/nobody",
    n_identities: int = 56,
    n_frames: int = 16,
    seed: int = 0,
    crf: int = 23,
    workers: int = 1,
) -> pd.DataFrame:
    """Render, forge, film and code the benchmark; what is already there is kept.

    Args:
        out: folder. n_identities: people. n_frames: of a clip. seed: of the first person, below 100,000.
        crf: H.264 quality. workers: processes.

    Returns:
        The manifest.

    Raises:
        ValueError: a bad number, or the folder cannot be written.
    """
    from .build import check_out

    if n_identities < 20:
        raise ValueError(
            f"--identities is {n_identities}, expected at least 20, so that every role has two people to swap"
        )
    if n_frames < 4 or workers < 1 or not 0 <= crf <= 51:
        raise ValueError(
            f"--frames {n_frames}, --workers {workers}, --crf {crf}: expected at least 4, at least 1, and 0 to 51"
        )
    if not 0 <= seed <= 100_000 - n_identities:
        raise ValueError(
            f"--seed is {seed}, expected 0 to {100_000 - n_identities} (larger seeds are the training worlds')"
        )
    root = check_out(out)
    stamp = {"n": n_identities, "seed": seed, "frames": n_frames, "crf": crf}
    if (root / "build.json").exists() and json.loads((root / "build.json").read_text()) == stamp:
        table = manifest.read(root / "manifest.csv")
        if all(
            (root / p).exists() and sha256(root / p) == s
            for p, s in zip(table["path"], table["sha256"], strict=True)
        ):
            print(
                f"benchmark: {root} is complete; remove {root / 'build.json'} to build it again",
                flush=True,
            )
            return table
    (root / ".parts").mkdir(exist_ok=True)
    start, rows = time.monotonic(), []
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_make, str(root), k, n_identities, seed, n_frames, crf)
            for k in range(n_identities)
        ]
        for done, job in enumerate(as_completed(jobs), 1):
            rows += job.result()
            left = (time.monotonic() - start) / done * (n_identities - done)
            print(f"identity {done}/{n_identities}, about {left / 60:.1f} min left", flush=True)
    facts, points = [], {}
    for k in range(n_identities):
        part = root / ".parts" / name(k)
        facts.append(json.loads(part.with_suffix(".json").read_text())["fact"])
        points[name(k)] = np.load(part.with_suffix(".npz"), allow_pickle=False)["points"]
    with atomic_path(root / "landmarks.npz") as p, open(p, "wb") as f:
        np.savez_compressed(f, **points)
    with atomic_path(root / "identities.csv") as p:
        pd.DataFrame(facts).to_csv(p, index=False)
    table = pd.DataFrame(rows)
    table["order"] = table["method"].map({m: k for k, m in enumerate(METHODS)})
    table = table.sort_values(["order", "video_id"]).drop(columns="order").reset_index(drop=True)
    manifest.write(table, root / "manifest.csv")
    table = manifest.validate(table, root)
    write_json(root / "build.json", stamp)
    shutil.rmtree(root / ".parts")
    return table
