"""From a model to a scores table, and from a scores table to every number, with intervals.

A scores table has one row per crop: the manifest key, role, source_id, label, frame and p_fake, the
probability of fake in [0, 1]. Everything else is computed from it, with no model and no GPU.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gendkit import curves, metrics, repro
from gendkit.manifest import KEY

if TYPE_CHECKING:
    import torch

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
COLUMNS = [*KEY, "role", "source_id", "label", "frame", "p_fake"]
POOLED, MEAN = "pooled", "mean over methods"
ALL_SETS, MEAN_SETS, WORST_SET = "all sets", "mean over sets", "worst set"
FPRS = (0.001, 0.01, 0.05)  # where the hit rate is read


def unwrap(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the detector inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def processor_of(model: "torch.nn.Module") -> Callable:
    """Return the preprocessing that the encoder of a detector was trained with."""
    from gendkit.backbones import preprocess

    return preprocess(unwrap(model).encoder.spec)


def score(
    model: "torch.nn.Module",
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int = 32,
    device: str = "auto",
    processor: Callable | None = None,
    transform: Transform | None = None,
    seed: int = 0,
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
        transform: Called with every decoded crop, (H, W, 3) uint8, and a generator of its own;
            returns the image to score (H', W', 3) uint8: a corruption, for a robustness test, as
            `lambda image, rng: transforms.corrupt(image, "jpeg", 3, rng)`.
        seed: Of these generators. Each depends on the seed and its row only, so batches, threads and
            the order of the rows change nothing; a real and its fakes get different ones.

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
    logits = _forward(model, table, root, batch_size, device, processor, "logits", transform, seed)
    p_fake = probability(logits)
    bad = np.flatnonzero(~np.isfinite(p_fake))
    if bad.size:
        from gendkit.datasets import row_name

        raise ValueError(
            f"{bad.size} of {len(table)} scores are not finite, first {row_name(table, bad[0])}; "
            "the weights are damaged or the training diverged: reload or retrain the model"
        )
    return table.reindex(columns=COLUMNS[:-1]).assign(p_fake=p_fake)


def cache_features(
    model: "torch.nn.Module",
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int = 32,
    device: str = "auto",
    processor: Callable | None = None,
    transform: Transform | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Encode every crop once: for a linear probe, angles or maps.

    Args:
        model: Detector.
        table: Frame manifest.
        root: Folder that the paths are relative to.
        batch_size: Crops per forward pass.
        device: "auto", "cpu", "cuda" or "mps".
        processor: Preprocessing; by default the one of the model's encoder.
        transform: Corruption or augmentation of every crop; see `score`.
        seed: Of its chance; see `score`.

    Returns:
        features (N, D) float32, in the row order of the table, not normalised.
    """
    table = table.reset_index(drop=True)
    return _forward(model, table, root, batch_size, device, processor, "features", transform, seed)


def _forward(
    model: "torch.nn.Module",
    table: pd.DataFrame,
    root: str | Path,
    batch_size: int,
    device: str,
    processor: Callable | None,
    field: str,
    transform: Transform | None,
    seed: int,
) -> np.ndarray:
    """Return one field of the model's output for every row, (N, ...) float32."""
    import torch

    from gendkit.datasets import CropDataset

    if table.empty:
        raise ValueError("the table has no rows; give at least one crop")
    by = [name for name in [*KEY, "frame", "path"] if name in table.columns]
    order = table.sort_values(by, kind="stable").index.to_numpy()
    prepare = processor or processor_of(model)
    data = CropDataset(table, root, prepare, transform, seed, paired=False)
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


def probability(logits: "torch.Tensor | np.ndarray") -> np.ndarray:
    """Turn logits (B, 2) into P(fake), (B,) float64."""
    import torch

    logits = torch.as_tensor(logits).detach().cpu().double()
    return torch.softmax(logits, dim=-1)[:, 1].numpy()


def check_scores(scores: pd.DataFrame, what: str = "the scores table") -> pd.DataFrame:
    """Check a scores table once, at the border.

    Args:
        scores: One row per frame (or per video, without the column frame).
        what: Its name in the message.

    Returns:
        The same table.

    Raises:
        ValueError: If it is no table or empty, lacks a column, has a label outside {0, 1}, a score
            that is NaN or outside [0, 1], or one frame twice; names the first bad row.
    """
    if not isinstance(scores, pd.DataFrame):
        raise ValueError(f"{what}: got {type(scores).__name__}, expected a table (DataFrame)")
    wanted = [name for name in COLUMNS if name != "frame"]
    missing = [name for name in wanted if name not in scores.columns]
    if missing:
        raise ValueError(f"{what} lacks the columns {missing}; expected {COLUMNS}")
    if scores.empty:
        raise ValueError(f"{what} has no rows; score at least one real and one fake")
    try:
        metrics.checked(scores["label"], scores["p_fake"], both=False)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error
    unit = [*KEY, *(name for name in ("frame", "face") if name in scores.columns)]
    if "frame" in unit and (twice := scores.duplicated(unit).to_numpy()).any():
        first = int(np.flatnonzero(twice)[0])
        name = "/".join(str(value) for value in scores[unit].iloc[first])
        raise ValueError(
            f"{what}: row {first} ({name}) is there twice ({twice.sum()} such rows); keep one row "
            "per frame: drop_duplicates, or give the videos different ids"
        )
    return scores


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
    chosen, units = _units(scores, roles, how, level, allow_seen)
    rows = []
    for where, groups, part in _sets(units, level):
        for name, members in {**groups, POOLED: part}.items():
            value = metrics.bootstrap(members, n=n_bootstrap, seed=seed)
            rows.append(where | _row(name, level, members, value.value, value.low, value.high))
        mean = _mean_auroc(groups, n_bootstrap, seed)
        rows.insert(len(rows) - 1, where | _row(MEAN, level, part, *mean))
    out = pd.DataFrame(rows)
    return out if expected is None else out.assign(coverage=_coverage(out, chosen, expected, roles))


def _units(
    scores: pd.DataFrame, roles: Sequence[str], how: str, level: str, allow_seen: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the roles, and what is counted: their videos, or the rows themselves."""
    if level not in ("video", "frame"):
        raise ValueError(f"level {level!r}; expected 'video' or 'frame'")
    check_scores(scores)
    check_roles(scores, roles, allow_seen)
    chosen = scores[scores["role"].isin(roles)]
    return chosen, metrics.video_scores(chosen, how=how) if level == "video" else chosen


def _sets(
    units: pd.DataFrame, level: str
) -> Iterator[tuple[dict[str, str], dict[str, pd.DataFrame], pd.DataFrame]]:
    """Yield for every dataset and compression: its names, each method with the reals, all of it."""
    for (dataset, compression), part in units.groupby(["dataset", "compression"], sort=True):
        reals, fakes = part[part["label"] == 0], part[part["label"] == 1]
        if reals.empty or fakes.empty:
            raise ValueError(
                f"{dataset}/{compression} has {len(reals)} real and {len(fakes)} fake {level}s; "
                "AUROC needs both classes: score both, or borrow the reals of another set "
                "(official.borrow_reals, gendkit test --reals)"
            )
        groups = {m: pd.concat([reals, f]) for m, f in fakes.groupby("method", sort=True)}
        yield {"dataset": dataset, "compression": compression}, groups, part


def _row(
    method: str, level: str, part: pd.DataFrame, value: float, low: float, high: float
) -> dict:
    counts = {"n_real": int((part["label"] == 0).sum()), "n_fake": int((part["label"] == 1).sum())}
    return {"method": method, "level": level, **counts, "auroc": value, "low": low, "high": high}


def _mean_auroc(groups: dict[str, pd.DataFrame], n: int, seed: int) -> tuple[float, float, float]:
    """Mean AUROC over groups; each resample of the sources is used for all of them."""
    sources = sorted(set().union(*(part["source_id"] for part in groups.values())))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sources), np.full(len(sources), 1 / len(sources)), size=n)
    counts = np.vstack([np.ones(len(sources), int), drawn])
    values = np.zeros(len(counts))
    for part in groups.values():
        labels, p_fake = part["label"].to_numpy(), part["p_fake"].to_numpy()
        columns = np.searchsorted(sources, part["source_id"])
        step = max(1, 2_000_000 // len(part))  # bounds the memory of the weights
        with np.errstate(invalid="ignore"):  # a resample without one of the classes has no AUROC
            for at in range(0, len(counts), step):
                weights = counts[at : at + step, columns]
                values[at : at + step] += metrics.weighted_auroc(labels, p_fake, weights)
    values /= len(groups)
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def summary(y_true: Any, y_score: Any, threshold: float | None = None) -> dict[str, float]:
    """Compute every number of the kit for one set of scores.

    Args:
        y_true: (N,) labels 0 or 1.
        y_score: (N,) P(fake).
        threshold: Fixed beforehand; adds the accuracies at it. The oracle's are always there.

    Returns:
        auroc, ap (fakes), map (mean of both classes, as the official code logs it), eer,
        tpr@fpr=0.001, =0.01, =0.05, w1; if a threshold is given, accuracy, balanced_accuracy, f1;
        oracle_threshold (the set's own EER) and oracle_accuracy, oracle_balanced_accuracy,
        oracle_f1.

    Raises:
        ValueError: For one class, NaN, scores outside [0, 1], unequal shapes, no finite threshold.
    """
    out = {
        "auroc": metrics.auroc(y_true, y_score),
        "ap": metrics.average_precision(y_true, y_score, "fake"),
        "map": metrics.average_precision(y_true, y_score),
        "eer": metrics.eer(y_true, y_score)[0],
        **{f"tpr@fpr={fpr}": metrics.tpr_at_fpr(y_true, y_score, fpr) for fpr in FPRS},
        "w1": metrics.w1(y_true, y_score),
    }
    if threshold is not None:
        for name in ("accuracy", "balanced_accuracy", "f1"):
            out[name] = getattr(metrics, name)(y_true, y_score, threshold)
    return out | metrics.oracle_accuracies(y_true, y_score)


def measure(
    scores: pd.DataFrame,
    roles: Sequence[str] = ("report",),
    how: str = "mean",
    level: str = "video",
    threshold: float | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    expected: pd.DataFrame | None = None,
    allow_seen: bool = False,
) -> pd.DataFrame:
    """Compute the table of `report` with every number of `summary` beside the AUROC.

    Args:
        scores: Scores table (`score`).
        roles: Roles to report; see `check_roles`.
        how: Frames to video: "mean", "median" or "max".
        level: "video" or "frame".
        threshold: For the accuracies, chosen elsewhere (`select_threshold`); None leaves only those
            of the oracle.
        n_bootstrap: Number of resamples for the interval of the AUROC.
        seed: Seed of the resampling.
        expected: As for `report`.
        allow_seen: See `check_roles`.

    Returns:
        The rows of `report` with the columns of `summary`. The row "mean over methods" holds the
        mean of each column, and no oracle_threshold. With several sets (dataset and compression)
        three rows follow: "mean over sets" (of their pooled values; dataset "all sets"), "worst
        set" (the one with the lowest AUROC; no interval), and "pooled" (dataset "all sets": all
        scores against one another, which a threshold that shifts between sets lowers).

    Raises:
        ValueError: As `report` and `summary`.
    """
    table = report(scores, roles, how, level, n_bootstrap, seed, expected, allow_seen)
    _, units = _units(scores, roles, how, level, allow_seen)

    def values(part: pd.DataFrame) -> dict[str, float]:
        return summary(part["label"], part["p_fake"], threshold)

    rows, wholes, names = [], {}, []
    for where, groups, part in _sets(units, level):
        each = [values(members) for members in groups.values()]
        rows += [*each, _mean(each), values(part)]
        names.append(where)
        wholes["/".join(where.values())] = part.assign(
            source_id=where["dataset"] + "/" + part["source_id"].astype(str)
        )
    numbers = pd.DataFrame(rows).drop(columns="auroc")
    out = pd.concat([table, numbers], axis=1)
    if len(wholes) == 1:
        return out
    pooled = metrics.bootstrap(units, n=n_bootstrap, seed=seed)
    each = [values(part) for part in wholes.values()]
    worst = int(np.argmin([one["auroc"] for one in each]))
    worst_part, worst_auroc = list(wholes.values())[worst], each[worst]["auroc"]
    all_sets = {"dataset": ALL_SETS, "compression": ""}
    mean = _mean_auroc(wholes, n_bootstrap, seed)
    more = [
        all_sets | _row(MEAN_SETS, level, units, *mean) | _mean(each),
        names[worst] | _row(WORST_SET, level, worst_part, worst_auroc, *[np.nan] * 2) | each[worst],
        all_sets
        | _row(POOLED, level, units, pooled.value, pooled.low, pooled.high)
        | values(units),
    ]
    return pd.concat([out, pd.DataFrame(more)], ignore_index=True)


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return mean | {"oracle_threshold": float("nan")}


def select_threshold(
    scores: pd.DataFrame, how: str = "mean", level: str = "video", fpr: float | None = None
) -> dict[str, Any]:
    """Choose the threshold on the rows of the role select, which nothing is reported on.

    Args:
        scores: Scores table with rows of the role select.
        how: Frames to video, as for `report`.
        level: "video" or "frame".
        fpr: Share of select reals that may be called fake, in [0, 1); the lowest threshold that
            keeps it is taken. None: the equal error rate.

    Returns:
        value, rule (text), level, how, and what the threshold did there: n_real, n_fake,
        false_alarms, hits (counts) and fpr.

    Raises:
        ValueError: If there is no select row or one class of it, or fpr is out of range.
    """
    if not (scores["role"] == "select").any():
        raise ValueError(
            "no row has the role 'select', so there is nothing to choose a threshold on; score the "
            "select rows too, or give the threshold as a number"
        )
    _, units = _units(scores, ("select",), how, level, allow_seen=True)
    y_true, y_score = units["label"].to_numpy(), units["p_fake"].to_numpy()
    if fpr is None:
        value, rule = metrics.eer(y_true, y_score)[1], "equal error rate"
    else:
        if not 0 <= fpr < 1:
            raise ValueError(f"got fpr={fpr}, expected a share in [0, 1); 5 % is 0.05")
        rates = curves.fpr_fnr(y_true, y_score)
        kept = rates.loc[rates["fpr"] <= fpr, "threshold"].to_numpy()
        # where every score gives too many alarms, a threshold just above the highest gives none
        value = kept[-1] if len(kept) > 1 else float(np.nextafter(y_score.max(), 2))
        rule = f"at most {fpr:.3g} of the reals called fake"
    counts = metrics.confusion(y_true, y_score, value)
    return {
        "value": float(value),
        "rule": f"{rule} on the {level}s of the role select",
        "level": level,
        "how": how,
        "n_real": int(counts[0].sum()),
        "n_fake": int(counts[1].sum()),
        "false_alarms": int(counts[0, 1]),
        "hits": int(counts[1, 1]),
        "fpr": float(counts[0, 1] / counts[0].sum()),
    }


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
    check_scores(scores)
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
        ValueError: If it is no CSV table or empty, a column is missing, a label is not 0 or 1, a
            score is not in [0, 1], or a frame is there twice; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no scores file {path}; write one with evaluate.write_scores")
    # p_fake is read as text: pandas' own float parsers may lose the last bit.
    text = dict.fromkeys([*KEY, "role", "source_id", "label", "p_fake"], str)
    try:
        scores = pd.read_csv(path, dtype=text, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV table in UTF-8 ({error}); write it again") from error
    missing = [name for name in COLUMNS if name not in scores.columns]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; expected {COLUMNS}")
    values = np.array([_number(value) for value in scores["p_fake"]])
    _refuse(path, scores, "p_fake", (values >= 0) & (values <= 1), "a probability in [0, 1]")
    _refuse(path, scores, "label", scores["label"].isin(["0", "1"]), "0 (real) or 1 (fake)")
    whole = scores.assign(p_fake=values, label=scores["label"].astype("int64"))
    return check_scores(whole, str(path))


def _refuse(path: Path, scores: pd.DataFrame, name: str, good: Any, expected: str) -> None:
    bad = np.flatnonzero(~np.asarray(good, dtype=bool))
    if bad.size:
        raise ValueError(
            f"{path}, line {bad[0] + 2}: {name} is {scores[name].iloc[bad[0]]!r} ({bad.size} such "
            f"lines); expected {expected}"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
