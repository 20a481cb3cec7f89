"""How clean and how hard the benchmark is: ``gendkit nobody report``. Source: own.

Prints the audits, the texture baseline per manipulation, and what the embedded face engine finds.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import audit, baselines, manifest, metrics, video
from gendkit.faces import FaceEngine, align_crop, choose, five_points
from gendkit.repro import progress

from .plan import SEEN

EVERY = 3  # every third frame is measured
DIFFICULTY = (0.60, 0.90)  # where the baseline must score on each manipulation
N_DETECT = 240  # frames shown to the detector


def textures(root: str | Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Measure every third frame of all clips, cut by the true landmarks of the real clip.

    Args:
        root: Folder with manifest.csv and landmarks.npz.

    Returns:
        One row per frame (the manifest's columns and `frame`) and features (N, 192) float32.

    Raises:
        FileNotFoundError: If the folder lacks one of the files.
        ValueError: If a source has no landmarks.
    """
    root = Path(root)
    table = manifest.read(root / "manifest.csv")
    points = _true_points(root, table)
    rows, features = [], []
    for row in progress(table.to_dict("records"), what="texture"):
        frames = range(0, int(row["n_frames"]), EVERY)
        images = video.read_frames(root / row["path"], frames)
        for frame, image in zip(frames, images, strict=True):
            five = five_points(points[row["source_id"]][frame])
            crop = align_crop(image, five, scale=1.3, size=baselines.SIDE)
            rows.append(row | {"frame": frame})
            features.append(baselines.texture_energies(crop))
    return pd.DataFrame(rows), np.stack(features)


def _true_points(root: Path, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Landmarks (T, 68, 2) of each source, from its real clip."""
    reals = table[table["method"] == "real"]
    with np.load(root / "landmarks.npz", allow_pickle=False) as stored:
        lacking = set(reals["video_id"]) - set(stored.files)
        if lacking:
            raise ValueError(
                f"{root / 'landmarks.npz'} lacks {min(lacking)!r}; build the set again"
            )
        return {
            source: stored[name]
            for source, name in zip(reals["source_id"], reals["video_id"], strict=True)
        }


def own_difficulty(frames: pd.DataFrame, features: np.ndarray) -> dict[str, metrics.Estimate]:
    """Train and test the texture baseline on one manipulation at a time, on other people.

    Args:
        frames: From `textures`.
        features: From `textures`.

    Returns:
        Method -> AUROC of videos, with its interval over people.
    """
    found = {}
    for method in _methods(frames):
        keep = _pairs(frames, method)
        part = frames[keep]
        found[method] = _estimate(part, baselines.cross_scores(features[keep], part))
    return found


def transfer(
    frames: pd.DataFrame, features: np.ndarray, tests: dict[str, tuple[pd.DataFrame, np.ndarray]]
) -> dict[str, dict[str, metrics.Estimate]]:
    """Train the texture baseline on the fit people and the seen manipulations, test elsewhere.

    Args:
        frames: From `textures`, of the set to train on.
        features: Its features.
        tests: Name of a set -> its frames and features; rows of role "report" are read.

    Returns:
        Set -> method -> AUROC of videos, with its interval over people.
    """
    train = (frames["role"] == "fit") & frames["method"].isin(("real", *SEEN))
    model = baselines.fit(features[train], frames["label"][train])
    found: dict[str, dict[str, metrics.Estimate]] = {}
    for name, (others, values) in tests.items():
        found[name] = {}
        for method in _methods(others[others["role"] == "report"]):
            keep = _pairs(others, method) & (others["role"] == "report").to_numpy()
            scores = baselines.score(model, values[keep])
            found[name][method] = _estimate(others[keep], scores)
    return found


def _methods(frames: pd.DataFrame) -> list[str]:
    return [name for name in frames["method"].unique() if name != "real"]


def _pairs(frames: pd.DataFrame, method: str) -> np.ndarray:
    """Rows of a method and of the reals of the same people."""
    fakes = frames["method"] == method
    reals = (frames["method"] == "real") & frames["source_id"].isin(frames["source_id"][fakes])
    return (fakes | reals).to_numpy()


def _estimate(frames: pd.DataFrame, scores: np.ndarray) -> metrics.Estimate:
    return metrics.bootstrap(metrics.video_scores(frames.assign(p_fake=scores)))


def detection(root: str | Path, n_frames: int = N_DETECT, seed: int = 0) -> dict[str, float]:
    """Run the embedded face engine on frames drawn from all clips.

    Args:
        root: Folder with manifest.csv and landmarks.npz.
        n_frames: Frames to look at; half of them of reals.
        seed: Seed of the draw.

    Returns:
        n_frames, detected (share with a face), n_real_frames (reals with a face) and nme: mean
        distance of found to true landmarks of those reals over the distance of the outer eye corners.
    """
    root = Path(root)
    table = manifest.read(root / "manifest.csv")
    points = _true_points(root, table)
    rng, engine = np.random.default_rng(seed), FaceEngine()
    errors, n_seen, n_found = [], 0, 0
    for is_real in (True, False):
        clips = table[(table["method"] == "real") == is_real].to_dict("records")
        for index in rng.permutation(max(n_frames // 2, 1)) % len(clips):
            clip = clips[index]
            frame = int(rng.integers(clip["n_frames"]))
            face = choose(engine(video.read_frames(root / clip["path"], [frame]))[0])
            n_seen, n_found = n_seen + 1, n_found + (face is not None)
            if is_real and face is not None:
                errors.append(_normalised_error(face.landmarks, points[clip["source_id"]][frame]))
    return {
        "n_frames": n_seen,
        "detected": n_found / n_seen,
        "n_real_frames": len(errors),
        "nme": float(np.mean(errors)) if errors else float("nan"),
    }


def _normalised_error(found: np.ndarray, true: np.ndarray) -> float:
    eyes = np.linalg.norm(true[36] - true[45])
    return float(np.linalg.norm(found - true, axis=1).mean() / eyes)


def report(root: str | Path, cross: str | Path | None = None) -> dict:
    """Measure a built benchmark.

    Args:
        root: Folder of the set.
        cross: Folder of the cross-domain set (nobody-x), or None.

    Returns:
        Plain data: audits (one row per set and probe), own and transfer (AUROC, low, high, n_videos),
        detection.
    """
    root = Path(root)
    folders = {root.name: root} | ({} if cross is None else {Path(cross).name: Path(cross)})
    audits = pd.concat([_audits(name, folder) for name, folder in folders.items()])
    sets = {name: textures(folder) for name, folder in folders.items()}
    frames, features = sets[root.name]
    own = {f"{name}/{k}": v for name, one in sets.items() for k, v in own_difficulty(*one).items()}
    moved = transfer(frames, features, sets)
    return {
        "audits": audits.to_dict("records"),
        "own": {name: _plain(one) for name, one in own.items()},
        "transfer": {f"{s}/{m}": _plain(e) for s, part in moved.items() for m, e in part.items()},
        "detection": {name: detection(folder) for name, folder in folders.items()},
    }


def _audits(name: str, root: Path) -> pd.DataFrame:
    table = manifest.read(root / "manifest.csv")
    found = audit.as_table(audit.probes(table, root, by="method"))
    found.insert(0, "set", name)
    return found


def _plain(estimate: metrics.Estimate) -> dict[str, float]:
    return {
        "auroc": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n_videos": estimate.n_videos,
    }


def show(facts: dict) -> str:
    """Write a report as text.

    Args:
        facts: From `report`.

    Returns:
        Lines to print.
    """
    audits = pd.DataFrame(facts["audits"]).drop(columns=["strongest"])
    lines = ["Shortcut probes (cross-validated AUROC, 95 % interval; clean holds 0.5)"]
    lines.append(audits.round(3).to_string(index=False))
    lines.append("\nTexture baseline, trained and tested on one manipulation (other people)")
    for name, one in facts["own"].items():
        inside = DIFFICULTY[0] <= one["auroc"] <= DIFFICULTY[1]
        mark = "" if inside else f"  <- outside {DIFFICULTY[0]:.2f} to {DIFFICULTY[1]:.2f}"
        lines.append(_line(name, one) + mark)
    lines.append("\nTexture baseline, trained on the seen manipulations of the fit people")
    lines += [_line(name, one) for name, one in facts["transfer"].items()]
    for name, one in facts["detection"].items():
        lines.append(
            f"\n{name}: the embedded engine finds a face in {one['detected']:.1%} of "
            f"{one['n_frames']} frames; landmarks of {one['n_real_frames']} real frames: "
            f"NME {one['nme']:.4f}"
        )
    return "\n".join(lines)


def _line(name: str, one: dict[str, float]) -> str:
    return (
        f"  {name:<22} {one['auroc']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
        f"  {one['n_videos']} videos"
    )
