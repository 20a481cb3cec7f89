"""From a model to a scores table, and from a scores table to a report with intervals.

A scores table has one row per crop: the manifest key, role, source_id, label, frame and p_fake, the
probability of fake in [0, 1]. Everything else is computed from it, with no model and no GPU.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gendkit import metrics, repro
from gendkit.backbones import preprocess
from gendkit.datasets import CropDataset, row_name
from gendkit.manifest import KEY

COLUMNS = [*KEY, "role", "source_id", "label", "frame", "p_fake"]
POOLED, MEAN = "pooled", "mean over methods"


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """Return the detector inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def processor_of(model: torch.nn.Module) -> Callable:
    """Return the preprocessing that the encoder of a detector was trained with."""
    return preprocess(unwrap(model).encoder.spec)


def score(
    model: torch.nn.Module,
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int = 32,
    device: str = "auto",
    processor: Callable | None = None,
) -> pd.DataFrame:
    """Score every crop of a frame manifest.

    Crops are scored in the order of their key, not of the table, so a shuffled table gives the
    same numbers; the batch size changes them by float32 rounding only.

    Args:
        model: Detector whose output has `logits` (B, 2), class 1 = fake. It is moved to the
            device; its train/eval mode is restored.
        table: Frame manifest, one row per crop (needs the column `frame`).
        root: Folder that the paths are relative to.
        batch_size: Crops per forward pass.
        device: "auto", "cpu", "cuda" or "mps".
        processor: Preprocessing; by default the one of the model's encoder.

    Returns:
        Scores table (`COLUMNS`), in the row order of `table`, index 0..n-1.

    Raises:
        ValueError: If `frame` is missing, or a score is not finite (the message names the row).
        FileNotFoundError: If a crop is missing.
    """
    if "frame" not in table.columns:
        raise ValueError(
            "the table has no column frame, so it lists videos; score needs one row per crop: "
            "run the extraction and pass the manifest it writes"
        )
    table = table.reset_index(drop=True)
    logits = _forward(model, table, root, batch_size, device, processor, "logits")
    p_fake = probability(torch.from_numpy(logits))
    bad = np.flatnonzero(~np.isfinite(p_fake))
    if bad.size:
        raise ValueError(
            f"{bad.size} of {len(table)} scores are not finite, first {row_name(table, bad[0])}; "
            "the weights are damaged or the training diverged: reload or retrain the model"
        )
    return table.reindex(columns=COLUMNS[:-1]).assign(p_fake=p_fake)


def cache_features(
    model: torch.nn.Module,
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int = 32,
    device: str = "auto",
    processor: Callable | None = None,
) -> np.ndarray:
    """Encode every crop once: for a linear probe, angles or maps.

    Args:
        model: Detector.
        table: Frame manifest.
        root: Folder that the paths are relative to.
        batch_size: Crops per forward pass.
        device: "auto", "cpu", "cuda" or "mps".
        processor: Preprocessing; by default the one of the model's encoder.

    Returns:
        features (N, D) float32, in the row order of the table, not normalised.
    """
    table = table.reset_index(drop=True)
    return _forward(model, table, root, batch_size, device, processor, "features")


def _forward(
    model: torch.nn.Module,
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int,
    device: str,
    processor: Callable | None,
    field: str,
) -> np.ndarray:
    """Return one field of the model's output for every row, (N, ...) float32."""
    by = [name for name in [*KEY, "frame", "path"] if name in table.columns]
    order = table.sort_values(by, kind="stable").index.to_numpy()
    data = CropDataset(table, root, processor or processor_of(model), cache_mb=0)
    where, was_training = repro.device(device), model.training
    model.to(where).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = data.__getitems__(order[start : start + batch_size])
            pixels = torch.stack([sample["pixel_values"] for sample in batch]).to(where)
            parts.append(model(pixel_values=pixels)[field].float().cpu().numpy())
    model.train(was_training)
    values = np.concatenate(parts)
    out = np.empty_like(values)
    out[order] = values
    return out


def probability(logits: torch.Tensor) -> np.ndarray:
    """Turn logits (B, 2) into P(fake), (B,) float64."""
    return torch.softmax(logits.detach().cpu().double(), dim=-1)[:, 1].numpy()


def check_roles(
    scores: pd.DataFrame, roles: Sequence[str] = ("report",), allow_seen: bool = False
) -> None:
    """Refuse to report on what the training or the choice of the checkpoint has seen.

    Args:
        scores: Scores table, ideally of all roles: then shared identities are found too.
        roles: Roles to be reported.
        allow_seen: Skip the check, to show how large the optimism is. Label such numbers.

    Raises:
        ValueError: If a role has no row, is "fit" or "select", or shares a source_id with them.
    """
    for role in roles:
        if not (scores["role"] == role).any():
            found = sorted(scores["role"].fillna("").unique())
            raise ValueError(f"no row has the role {role!r}; roles in this table: {found}")
    if allow_seen:
        return
    seen = sorted({"fit", "select"} & set(roles))
    if seen:
        raise ValueError(
            f"the role {seen[0]!r} was used to make or choose the model, so its AUROC is too "
            "high; report on the role 'report' (or pass allow_seen=True and label the number)"
        )
    names = scores["dataset"].astype(str) + "/" + scores["source_id"].astype(str)
    shared = sorted(
        set(names[scores["role"].isin(roles)]) & set(names[scores["role"].isin(["fit", "select"])])
    )
    if shared:
        raise ValueError(
            f"{len(shared)} source_id are on both sides of the split, first {shared[0]!r}; "
            "split by source_id again (manifest.split)"
        )


def report(
    scores: pd.DataFrame,
    roles: Sequence[str] = ("report",),
    how: str = "mean",
    level: str = "video",
    n_bootstrap: int = 1000,
    seed: int = 0,
    expected: pd.DataFrame | None = None,
    allow_seen: bool = False,
) -> pd.DataFrame:
    """AUROC with 95 % intervals: each manipulation against the reals, their mean, and all pooled.

    Intervals come from a bootstrap over source_id: frames of a video, and a real with its fakes,
    stay together. In the row "mean over methods" one draw is used for all methods, because they
    share their reals.

    Args:
        scores: Scores table (`score`).
        roles: Roles to report; see `check_roles`.
        how: Frames to video: "mean", "median" or "max".
        level: "video", or "frame" (the interval still counts sources, not frames).
        n_bootstrap: Number of resamples.
        seed: Seed of the resampling.
        expected: Manifest of all videos that should have a score; adds the column coverage, the
            share of its videos (reals and fakes of the row) that have one.
        allow_seen: See `check_roles`.

    Returns:
        One row per dataset, compression and method, then "mean over methods" and "pooled":
        dataset, compression, method, level, n_real, n_fake (videos or frames), auroc, low, high
        and, if asked, coverage.

    Raises:
        ValueError: If a role may not be reported, or one class is missing.
    """
    if level not in ("video", "frame"):
        raise ValueError(f"level {level!r}; expected 'video' or 'frame'")
    check_roles(scores, roles, allow_seen)
    chosen = scores[scores["role"].isin(roles)]
    units = metrics.video_scores(chosen, how=how) if level == "video" else chosen
    rows = []
    for (dataset, compression), part in units.groupby(["dataset", "compression"], sort=True):
        where = {"dataset": dataset, "compression": compression}
        reals, fakes = part[part["label"] == 0], part[part["label"] == 1]
        if reals.empty or fakes.empty:
            raise ValueError(
                f"{dataset}/{compression} has {len(reals)} real and {len(fakes)} fake {level}s; "
                "AUROC needs both classes: score reals and fakes together"
            )
        groups = {m: pd.concat([reals, f]) for m, f in fakes.groupby("method", sort=True)}
        for name, members in {**groups, POOLED: part}.items():
            value = metrics.bootstrap(members, n=n_bootstrap, seed=seed)
            rows.append(where | _row(name, level, members, value.value, value.low, value.high))
        mean = _mean_over_methods(groups, n_bootstrap, seed)
        rows.insert(len(rows) - 1, where | _row(MEAN, level, part, *mean))
    out = pd.DataFrame(rows)
    return out if expected is None else out.assign(coverage=_coverage(out, chosen, expected, roles))


def _row(
    method: str, level: str, part: pd.DataFrame, value: float, low: float, high: float
) -> dict:
    counts = {"n_real": int((part["label"] == 0).sum()), "n_fake": int((part["label"] == 1).sum())}
    return {"method": method, "level": level, **counts, "auroc": value, "low": low, "high": high}


def _mean_over_methods(
    groups: dict[str, pd.DataFrame], n: int, seed: int
) -> tuple[float, float, float]:
    """Mean AUROC over methods; each resample of the sources is used for all of them."""
    sources = sorted(set().union(*(part["source_id"] for part in groups.values())))
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(sources), np.full(len(sources), 1 / len(sources)), size=n)
    columns = {m: np.searchsorted(sources, part["source_id"]) for m, part in groups.items()}

    def mean(times: np.ndarray) -> float:
        values = []
        for method, part in groups.items():
            rows = np.repeat(np.arange(len(part)), times[columns[method]])
            label = part["label"].to_numpy()[rows]
            if len(np.unique(label)) < 2:
                return float("nan")  # a resample without one of the classes has no AUROC
            values.append(metrics.auroc(label, part["p_fake"].to_numpy()[rows]))
        return float(np.mean(values))

    low, high = np.nanquantile([mean(times) for times in counts], [0.025, 0.975])
    return mean(np.ones(len(sources), int)), float(low), float(high)


def _coverage(
    out: pd.DataFrame, scores: pd.DataFrame, expected: pd.DataFrame, roles: Sequence[str]
) -> list[float]:
    def videos(table: pd.DataFrame, row: pd.Series) -> set[tuple]:
        keep = (table["dataset"] == row["dataset"]) & (table["compression"] == row["compression"])
        if row["method"] not in (POOLED, MEAN):
            keep &= (table["method"] == row["method"]) | (table["label"] == 0)
        return set(table.loc[keep, KEY].itertuples(index=False, name=None))

    expected = expected[expected["role"].isin(roles)]
    shares = []
    for _, row in out.iterrows():
        wanted = videos(expected, row)
        shares.append(len(wanted & videos(scores, row)) / len(wanted) if wanted else float("nan"))
    return shares


def write_scores(scores: pd.DataFrame, path: str | Path, **facts: object) -> None:
    """Write a scores table in full precision, with a provenance record beside it.

    Args:
        scores: Scores table.
        path: CSV file; the record goes to the same name with the ending .json.
        **facts: Anything to record: model, profile, frames rule, crop scale.
    """
    path = Path(path)
    with repro.atomic_path(path) as temporary:
        scores.to_csv(temporary, index=False)
    record = repro.provenance(**facts) | {"n_rows": len(scores), "sha256": repro.sha256(path)}
    repro.write_json(path.with_suffix(".json"), record)


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a scores table; the numbers come back bit by bit, ids stay text.

    Args:
        path: CSV file written by `write_scores`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a column is missing, or a score is not in [0, 1]; names the row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no scores file {path}; write one with evaluate.write_scores")
    # p_fake is read as text: pandas' own float parsers may lose the last bit.
    text = dict.fromkeys([*KEY, "role", "source_id", "p_fake"], str)
    scores = pd.read_csv(path, dtype=text, keep_default_na=False)
    missing = [name for name in COLUMNS if name not in scores.columns]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; expected {COLUMNS}")
    values = np.array([_number(value) for value in scores["p_fake"]])
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if bad.size:
        raise ValueError(
            f"{path}, line {bad[0] + 2}: p_fake is {scores['p_fake'].iloc[bad[0]]!r}; "
            "expected a probability in [0, 1]"
        )
    return scores.assign(p_fake=values)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
