"""`gendkit train`: a named experiment from its data to scores, in one folder."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendkit import repro

if TYPE_CHECKING:
    import pandas as pd

    from gendkit.experiments import Experiment

_EXAMPLES = """examples:
  gendkit train example                                   the embedded encoder on Nobody's Faces
  gendkit train example --set epochs=5 --set learning_rate=5e-3 --seed 1
  gendkit train nobody-LN+L2+UnAl --data my/crops/manifest.csv --out runs/mine
  gendkit train wacv-LN+L2+UnAl-seed0 --data GenD_root    the official run, with its lists
  gendkit train wacv-LN+L2+UnAl --profile fast            the same rung, small, on Nobody's Faces
  torchrun --nproc-per-node=8 -m gendkit.commands.train wacv-LN+L2+UnAl-seed0 --data GenD_root

A run that was killed goes on when the same line is given again. Its folder then holds run.json,
history.csv, adapter/ (what was tuned), threshold.json (fixed on select), scores.csv (select and
report crops) and summary.json;
gendkit test --from FOLDER makes the tables. Experiments: gendkit experiments list.
"""
# What --set takes beside the fields of TrainConfig.
EXTRA = {"backbone": str, "head": str, "tune": str, "n_frames": int, "init_head": bool}
_LOSSES = ("alignment", "uniformity", "label_smoothing")


class UsageError(ValueError):
    """The command was called wrongly."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit train",
        description="Train a detector by a named experiment, choose the epoch, score, summarise.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="name of an experiment")
    parser.add_argument(
        "--profile",
        choices=("fast", "demo", "full"),
        help="size of the run (default: fast for the kit's own runs, full for official ones)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"change a field of TrainConfig, or one of {', '.join(EXTRA)}; may be repeated",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="manifest (.csv) of videos or crops with roles, or the folder of the official lists",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the run (default: _build/out/runs/NAME)"
    )
    parser.add_argument("--seed", type=int, help="seed of order, augmentation and dropout")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="checkpoint to start from")
    parser.add_argument("--workers", type=int, default=2, help="processes of the extraction (2)")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after `gendkit train`; None takes them from the command line.

    Returns:
        0 done, 1 the run failed, 2 wrong usage (the reason is on stderr).
    """
    args = _parser().parse_args(argv)
    try:
        # Only the summary may stand on stdout when a program reads it.
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            summary, text = run(args)
    except UsageError as error:
        print(f"gendkit train: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"gendkit train: {error}", file=sys.stderr)
        return 1
    if _is_main():
        print(json.dumps(summary, sort_keys=True) if args.json else text)
    return 0


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Do what the parsed command line asks for.

    Returns:
        The summary as plain data and as text.

    Raises:
        UsageError: For an unknown name or setting, or an experiment that trains nothing.
        ValueError, OSError, ImportError: If the run cannot be done.
    """
    experiment, init_head = _experiment(args)
    from gendkit import adapters, train

    config = experiment.recipe
    _check_early(args, config)
    crops, root = _crops(args, experiment)
    repro.seed_all(config.seed)
    model = experiment.build()
    if init_head:
        fit = crops[crops["role"] == "fit"]
        adapters.init_head(model, train.cache_features(model, fit, root), fit["label"].to_numpy())
    out = args.out or repro.out_dir() / "runs" / experiment.name
    result = train.train(model, crops, root, config, out, resume=args.resume)
    if not _is_main():
        return {}, ""
    return _record(args, experiment, result, crops, root, out)


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _experiment(args: argparse.Namespace) -> tuple["Experiment", bool]:
    """Find the experiment, size it, and apply --set and --seed."""
    from gendkit import experiments, recipe

    try:
        found = experiments.get(args.name)
        changes = recipe.parse_settings(args.settings, EXTRA)
        if args.seed is not None:
            if changes.get("seed", args.seed) != args.seed:
                raise ValueError(f"--seed {args.seed} and --set seed={changes['seed']} disagree")
            changes["seed"] = args.seed
        profile = args.profile or ("fast" if found.source == "kit" else "full")
        args.profile, sized = profile, found.at(profile)
        if not sized.trains:
            raise ValueError(
                f"{found.name} trains nothing, it tests {found.weights}; "
                f"use: gendkit test {found.name}"
            )
        init_head = changes.pop("init_head", sized.backbone == "embedded")
        sized = _changed(sized, changes)
        _ = sized.recipe  # its own checks
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    return sized, init_head


def _changed(experiment: "Experiment", changes: dict[str, Any]) -> "Experiment":
    from gendkit import adapters, backbones, model

    known = {"head": model.HEADS, "tune": adapters.KINDS}
    for name, values in known.items():
        if name in changes and changes[name] not in values:
            raise ValueError(f"{name}={changes[name]!r}: expected one of {', '.join(values)}")
    parts = {name: changes.pop(name) for name in ("backbone", *known) if name in changes}
    if "backbone" in parts:
        backbones.config_of(parts["backbone"])
    if "tune" in parts:
        parts["tune_options"] = {}
    if "n_frames" in changes:
        parts["data"] = replace(experiment.data, n_frames=changes.pop("n_frames"))
        if parts["data"].n_frames < 1:
            raise ValueError(f"n_frames is {parts['data'].n_frames}; expected at least 1")
    losses = {name: changes[name] for name in _LOSSES if name in changes}
    return replace(
        experiment,
        **parts,
        losses={**experiment.losses, **losses},
        training={**experiment.training, **changes},
    )


def _check_early(args: argparse.Namespace, config: Any) -> None:
    """Refuse what would fail only after the crops are made."""
    from gendkit import recipe

    recipe.check_loggers(config.report_to)
    if args.resume is not None and not args.resume.is_dir():
        raise FileNotFoundError(f"--resume {args.resume}: no such folder; check the path")
    if args.data is not None and not args.data.exists():
        raise FileNotFoundError(f"--data {args.data}: no such file or folder; check the path")


def _crops(args: argparse.Namespace, experiment: "Experiment") -> tuple["pd.DataFrame", Path]:
    """Return the frame manifest with roles and the folder its paths are relative to."""
    data = experiment.data
    if args.data is not None and args.data.is_file():
        crops, root = _read_or_extract([args.data], data.n_frames, args.workers)
        return data.narrow(crops), root
    if data.kind == "lists":
        if args.data is None:
            raise ValueError(
                f"{experiment.name} is an official run and needs its data: pass --data ROOT, the "
                f"folder that holds {data.train[0]} and the {len({*data.train, *data.val}) - 1} "
                "other lists with the frames they name, or --profile fast for a small version on "
                "Nobody's Faces"
            )
        return read_lists(args.data, {"fit": data.train, "select": data.val}), args.data
    top = repro.data_dir() if args.data is None else args.data
    groups = {"fit": data.train, "select": data.val, "report": next(iter(data.test.values()), ())}
    tables = {name: top / name for names in groups.values() for name in names}
    missing = [str(path) for path in tables.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(_looked_for(missing, f"{experiment.name} reads manifests"))
    crops, root = _read_or_extract(list(tables.values()), data.n_frames, args.workers)
    wanted = [
        crops[(crops["role"] == role) & crops["table"].isin([str(tables[n]) for n in names])]
        for role, names in groups.items()
    ]
    import pandas as pd

    return data.narrow(pd.concat(wanted, ignore_index=True)), root


def _read_or_extract(
    paths: Sequence[Path], n_frames: int, workers: int
) -> tuple["pd.DataFrame", Path]:
    """Read manifests of crops; make crops of those that list videos. Adds the column table."""
    import pandas as pd

    from gendkit import extract, manifest

    parts = []
    for path in paths:
        crops, folder = manifest.read(path), path.parent
        if "frame" not in crops.columns:
            with _in_turn():
                done = extract.run(path, n_frames=n_frames, workers=workers)
            crops, folder = done.crops, done.folder
        parts.append((crops.assign(table=str(path)), folder.resolve()))
    if len(parts) == 1:
        return parts[0]
    root = Path(os.path.commonpath([folder for _, folder in parts]))
    for k, (crops, folder) in enumerate(parts):
        inside = folder.relative_to(root).as_posix()
        parts[k] = (crops.assign(path=[f"{inside}/{path}" for path in crops["path"]]), folder)
    return pd.concat([crops for crops, _ in parts], ignore_index=True), root


@contextlib.contextmanager
def _in_turn() -> Iterator[None]:
    """Let the processes of one run extract one after the other: the first works, the rest find it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    import fcntl

    with (repro.cache_dir() / "extract.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_lists(root: Path, lists: dict[str, Sequence[str]]) -> "pd.DataFrame":
    """Read official list files into a frame manifest.

    Args:
        root: Folder that the names of the lists are relative to. A line of a list names a frame,
            `.../<dataset>/<source>/<video>/<frame>`, relative to this folder or to the list's.
        lists: Role -> names of lists.

    Returns:
        Frame manifest; paths are relative to `root`. A frame named twice in one role stands once.
        The label is read off the source folder, as the official code does.

    Raises:
        FileNotFoundError: If lists or frames are missing; names the files that were looked for.
        ValueError: If a list is empty or a line leaves the folder.

    Source: github.com/yermandy/GenD at e03532d, README and src/utils/files.py.
    """
    import pandas as pd

    from gendkit import benchmarks, evaluate, official

    names = list(dict.fromkeys(name for part in lists.values() for name in part))
    missing = [str(root / name) for name in names if not (root / name).is_file()]
    if missing:
        raise FileNotFoundError(_looked_for(missing, f"{len(names)} official lists are needed"))
    parts = []
    for role, part in lists.items():
        frames = list(dict.fromkeys(frame for name in part for frame in _lines(root, name)))
        lost = [str(root / frame) for frame in frames if not (root / frame).is_file()]
        if lost:
            raise FileNotFoundError(
                _looked_for(lost, f"the {len(part)} lists for {role} name {len(frames)} frames", 20)
            )
        labels = [benchmarks.label_of(frame) for frame in frames]
        table = official.table_of(frames, labels, [0.0] * len(frames)).assign(role=role)
        parts.append(table[[n for n in (*evaluate.COLUMNS, "path") if n != "p_fake"]])
    return pd.concat(parts, ignore_index=True)


def _lines(root: Path, name: str) -> Iterator[str]:
    from gendkit import manifest

    lines = [line.strip() for line in (root / name).read_text("utf-8").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"{root / name} names no frame; expected one path a line")
    beside = Path(name).parent.as_posix()
    for line in lines:
        manifest.resolve(root, line)  # refuses to leave the folder
        inside = f"{beside}/{line}"
        # the frame stands beside its list, or under the root
        yield inside if not (root / line).is_file() and (root / inside).is_file() else line


def _looked_for(missing: Sequence[str], what: str, most: int = 100) -> str:
    more = f"\n  ... and {len(missing) - most} more" if len(missing) > most else ""
    files = "".join(f"\n  {path}" for path in missing[:most])
    return (
        f"{what}, but {len(missing)} files are missing; put them there or correct --data. "
        f"Looked for:{files}{more}"
    )


def _record(
    args: argparse.Namespace,
    experiment: "Experiment",
    result: Any,
    crops: "pd.DataFrame",
    root: Path,
    out: Path,
) -> tuple[dict[str, Any], str]:
    """Score; write run.json, history.csv, adapter/, threshold.json, scores.csv, summary.json."""
    from gendkit import adapters, evaluate

    adapters.save_adapter(result.model, out / "adapter")
    with repro.atomic_path(out / "history.csv") as temporary:
        result.history.to_csv(temporary, index=False)
    held = crops[crops["role"] != "fit"]
    scores = evaluate.score(result.model, held, root)
    facts = {
        "experiment": experiment.name,
        "profile": args.profile,
        "run": result.folder.name,
        "adapter": "adapter",
        "n_frames": experiment.data.n_frames,
    }
    evaluate.write_scores(scores, out / "scores.csv", **facts)
    threshold = evaluate.select_threshold(scores)
    repro.write_json(out / "threshold.json", threshold)
    done = repro.read_json(result.folder / "run.json")
    summary = facts | {
        "folder": str(out),
        "epochs": len(result.history),
        "best_epoch": int(result.best["epoch"]),
        "select_auroc": result.best["select_auroc"],
        "select_map": result.best["select_map"],
        "threshold": threshold["value"],
        "seconds": round(result.seconds, 1),
        "loaded": result.loaded,
        **{name: done[name] for name in ("n_fit", "n_select", "n_trained", "stopped_early")},
    }
    table = None
    if (scores["role"] == "report").any():
        table = evaluate.report(scores, seed=experiment.recipe.seed)
        known = table.astype(object).where(table.notna(), None)  # JSON has no NaN
        summary["report"] = known.to_dict("records")
    repro.write_json(out / "summary.json", summary)
    repro.write_json(out / "run.json", {**done, **facts, "view": experiment.view()})
    return summary, _text(summary, table)


def _text(summary: dict[str, Any], table: Any) -> str:
    again = "loaded, nothing was trained" if summary["loaded"] else f"{summary['seconds']} s"
    lines = [
        f"{summary['experiment']} ({summary['profile']}): {summary['n_trained']} parameters on "
        f"{summary['n_fit']} crops, {summary['epochs']} epochs, {again}",
        f"best epoch {summary['best_epoch']}: select AUROC {summary['select_auroc']:.3f}, "
        f"mAP {summary['select_map']:.3f}, threshold {summary['threshold']:.3f} (equal error rate "
        "of select)",
    ]
    if table is not None:
        lines += ["", "AUROC on report, 95 % interval over sources:"]
        lines.append(table.round(3).to_string(index=False))
    lines += ["", f"everything is in {summary['folder']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
