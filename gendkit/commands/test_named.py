"""`gendkit test NAME`: a named experiment's weights on its test data, with its corruption."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendkit import repro

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from gendkit.experiments import Experiment


def scores_of(args: argparse.Namespace) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Score what an experiment tests.

    Args:
        args: Of `gendkit test`: name, profile, run, data, groups, n_frames, device, seed.

    Returns:
        Scores table, each test group as a dataset of its own where the data are lists, with the
        select rows of the run whose weights are tested; and what to record.

    Raises:
        ValueError: If there is no such experiment or group, or its weights are a third party's.
        FileNotFoundError: If weights, lists or frames are missing; says how to get them.
    """
    from gendkit import evaluate, experiments, score

    found = experiments.get(args.name)
    profile = args.profile or ("fast" if found.source == "kit" else "full")
    if found.weights.startswith("third-party:"):
        raise ValueError(
            f"{found.name} tests {found.weights.removeprefix('third-party:')}, a checkpoint of "
            "another project that this kit cannot load. Score the frames with that project's own "
            "code, write one row a frame as test_predictions.csv, then: gendkit test "
            "test_predictions.csv --format official"
        )
    run = found.at(profile)
    _check_groups(args, run)
    if args.run is None and run.weights and not run.weights.startswith("run:"):
        model, known = run.weights, None
    else:
        model = args.run or _run_folder(run, profile)
        known = _select_rows(model)
    crops, root = _crops(args, run)
    detector = score.load(model, args.device)
    scores = evaluate.score(
        detector.model,
        crops,
        root,
        device=args.device,
        processor=lambda images: detector.processor(images)["pixel_values"],
        transform=_corruption(run),
        seed=args.seed,
    )
    if run.data.kind == "lists":
        scores = _by_group(scores, crops)
    if known is not None:
        import pandas as pd

        scores = pd.concat([scores, known], ignore_index=True)
    facts = {
        "experiment": run.name,
        "profile": profile,
        "weights": str(model),
        "corruption": run.view()["corruption"],
    }
    return scores, facts


def _check_groups(args: argparse.Namespace, run: "Experiment") -> None:
    known = list(run.data.test)
    if unknown := [group for group in args.groups or () if group not in known]:
        raise ValueError(
            f"{run.name} has no test group {unknown[0]!r}; expected some of {', '.join(known)}"
        )


def _run_folder(run: "Experiment", profile: str) -> Path:
    """Find the finished run whose weights are tested: another's, or the experiment's own."""
    tested = run.weights.removeprefix("run:") or run.name
    folder = repro.out_dir() / "runs" / tested
    if not (folder / "run.json").is_file():
        data = "" if run.data.kind == "nobody" else " --data ROOT"
        raise FileNotFoundError(
            f"{run.name} tests the weights of the run {tested}, which is not in {folder}; train it "
            f"first: gendkit train {tested} --profile {profile}{data}, or give --from RUN"
        )
    stored = repro.read_json(folder / "run.json").get("profile", profile)
    if stored != profile:
        raise ValueError(
            f"{folder} was trained with the profile {stored}, asked is {profile}; give --profile "
            f"{stored}, or --from RUN, the folder of a run of that profile"
        )
    return folder


def _select_rows(folder: Path) -> "pd.DataFrame | None":
    """Read the clean select scores of a run: a threshold is set before anything is corrupted."""
    from gendkit import evaluate

    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no run.json; expected a folder that a finished gendkit train wrote"
        )
    if not (folder / "scores.csv").is_file():
        return None
    known = evaluate.read_scores(folder / "scores.csv")
    return known[known["role"] == "select"]


def _crops(args: argparse.Namespace, run: "Experiment") -> tuple["pd.DataFrame", Path]:
    """Return the crops to score, role report, and the folder of their paths."""
    import pandas as pd

    from gendkit.commands import train

    data = run.data
    groups = {name: data.test[name] for name in args.groups or data.test}
    n_frames = args.n_frames or data.n_frames
    if args.data is not None and args.data.is_file():
        crops, root = train._read_or_extract([args.data], n_frames, 2)
        return crops[crops["role"] == "report"].reset_index(drop=True), root
    if data.kind == "nobody":
        top = args.data or repro.data_dir()
        names = dict.fromkeys(name for part in groups.values() for name in part)
        crops, root = train._read_or_extract([top / name for name in names], n_frames, 2)
        return crops[crops["role"] == "report"].reset_index(drop=True), root
    if args.data is None:
        raise ValueError(
            f"{run.name} is an official run and needs its data: pass --data ROOT, the folder that "
            f"holds its lists ({next(iter(groups.values()))[0]}, ...) and the frames they name"
        )
    parts = []
    for group, lists in groups.items():
        table = train.read_lists(args.data, {"report": lists})
        parts.append(table.assign(group=group))
    crops = pd.concat(parts, ignore_index=True)
    shared = crops.groupby("path", sort=False)["group"].agg("\n".join)
    crops = crops.drop_duplicates("path").drop(columns="group")
    return crops.assign(groups=crops["path"].map(shared)).reset_index(drop=True), args.data


def _corruption(run: "Experiment") -> "Callable[[np.ndarray, Any], np.ndarray] | None":
    from gendkit import transforms

    if run.corruption is None:
        return None
    name, level = run.corruption
    return lambda image, rng: transforms.corrupt(image, name, level, rng)


def _by_group(scores: "pd.DataFrame", crops: "pd.DataFrame") -> "pd.DataFrame":
    """Give every test group its rows, as a dataset; a frame of two groups stands in both."""
    dealt = scores.assign(dataset=crops["groups"].str.split("\n"))
    return dealt.explode("dataset", ignore_index=True)
