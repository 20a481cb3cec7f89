"""``gendkit test``: every number of a set of scores, from a file, run, model or named experiment."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = """examples:
  gendkit test scores.csv                               a scores file: the table, no model
  gendkit test --from _build/out/runs/example           a run of gendkit train
  gendkit test --from RUN --data my/manifest.csv --out results
  gendkit test --model yermandy/GenD_CLIP_L_14 --data my/manifest.csv
  gendkit test nobody-LN+L2+UnAl-seed0-jpeg60           a run that only tests, by its name
  gendkit test wacv-LN+L2+UnAl-seed0-jpeg60 --data GenD_root --groups CDF
  gendkit test test_predictions.csv --format official --level frame --threshold oracle
  gendkit test metric_dict_best.pickle --format deepfakebench

A name stands for its weights, its test data and its corruption of the crops (gendkit experiments
show NAME). Weights of another run are read from --from RUN, else from _build/out/runs/THAT_RUN: train
it first. Its threshold comes from that run's clean select crops.

The accuracies need a threshold. It is chosen on the rows of the role select where there are any
(--threshold select), or given as a number; oracle takes that of the test set's own equal error
rate, which no user of a detector can know: its columns are named so.
"""


def _threshold(text: str) -> float | str:
    if text in ("select", "oracle"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number in [0, 1], select or oracle")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit test",
        description="AUROC with intervals, AP, EER, TPR at fixed FPR, W1 and accuracies of a set.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scores",
        nargs="?",
        metavar="SCORES|NAME",
        help="a scores file, or the name of an experiment",
    )
    parser.add_argument("--from", dest="run", type=Path, help="folder that gendkit train wrote")
    parser.add_argument("--model", help="a released model's id, a folder, or embedded")
    parser.add_argument(
        "--data",
        type=Path,
        help="manifest (.csv) of videos or crops, whose report rows are scored; with the name of an "
        "official run the folder that holds its lists",
    )
    parser.add_argument(
        "--profile",
        choices=("fast", "demo", "full"),
        help="of a NAME (default: fast for the kit's own runs, full for official ones)",
    )
    parser.add_argument(
        "--groups", nargs="+", metavar="GROUP", help="of a NAME: only these test groups"
    )
    parser.add_argument(
        "--format",
        choices=("kit", "official", "deepfakebench"),
        default="kit",
        help="of SCORES: the kit's, test_predictions.csv of GenD, DeepfakeBench's pickle (kit)",
    )
    parser.add_argument(
        "--reals",
        action="append",
        default=[],
        metavar="SET=SOURCE",
        help="give a set without reals those of another: DFDM=CDFv2/Celeb-real; may be repeated",
    )
    parser.add_argument(
        "--level", choices=("video", "frame"), default="video", help="what is counted (video)"
    )
    parser.add_argument(
        "--aggregate", choices=("mean", "median"), default="mean", help="frames to video (mean)"
    )
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="VALUE|select|oracle",
        help="for the accuracies (default: select where there are select rows, else oracle)",
    )
    parser.add_argument("--n-frames", type=int, help="frames a video, where crops must be made")
    parser.add_argument("--n-bootstrap", type=int, default=1000, help="resamples (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    parser.add_argument("--out", type=Path, help="folder for table, curves and scores")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Test from the command line.

    Args:
        argv: Words after `gendkit test`; None takes them from the command line.

    Returns:
        0 if the table was made, 1 if it could not be, 2 for wrong use (argparse exits with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    args.name = _name_of(args.scores)
    if args.name is None and args.scores is not None:
        args.scores = Path(args.scores)
    given = [args.scores is not None, args.run is not None, args.model is not None]
    if args.name is not None and args.model is not None:
        parser.error(
            "a NAME brings its weights; leave --model out, or give --model and --data alone"
        )
    if args.name is None and sum(given) != 1:
        parser.error("give one of SCORES, NAME, --from RUN and --model MODEL")
    if args.name is None and (args.profile or args.groups):
        parser.error("--profile and --groups belong to the NAME of an experiment")
    if (
        args.name is None
        and args.scores is not None
        and args.data is not None
        and args.format != "deepfakebench"
    ):
        parser.error("--data needs a model: --from RUN or --model MODEL; SCORES are scored already")
    if args.model is not None and args.data is None:
        parser.error("--model needs --data MANIFEST, the videos or crops to score")
    if args.scores is None and args.format != "kit":
        parser.error("--format says what SCORES is; runs and models write the kit's own format")
    if wrong := [text for text in args.reals if not all(text.partition("="))]:
        parser.error(f"--reals {wrong[0]}: expected SET=SOURCE, as DFDM=CDFv2/Celeb-real")
    for name in ("n_bootstrap", "n_frames"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    try:
        return _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit test: {error}", file=sys.stderr)
        return 1


def _name_of(text: str | None) -> str | None:
    """Say if a word names an experiment: no such file, and not what a file's name looks like."""
    if text is None or Path(text).exists() or Path(text).suffix in (".csv", ".pickle", ".pkl"):
        return None
    return None if "/" in text else text


def _run(args: argparse.Namespace) -> int:
    from gendkit import evaluate, official

    scores, facts = _scores(args)
    for text in args.reals:
        dataset, _, source = text.partition("=")
        scores = official.borrow_reals(scores, dataset, source)
    threshold = _choose(args, scores)
    number = threshold["value"] if threshold["kind"] != "oracle" else None
    how, level = args.aggregate, args.level
    table = evaluate.measure(
        scores,
        how=how,
        level=level,
        threshold=number,
        n_bootstrap=args.n_bootstrap,
        seed=args.seed,
    )
    result = {
        **facts,
        "reals": args.reals,
        "level": level,
        "aggregate": how if level == "video" else None,
        "threshold": threshold,
        "n_bootstrap": args.n_bootstrap,
        "seed": args.seed,
        "table": _plain(table),
    }
    if args.out is not None:
        _write(args.out, scores, table, result, number)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(_text(table, threshold, result))
    return 0


def _scores(args: argparse.Namespace) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the scores, with select rows where there are any, and where they come from."""
    from gendkit import evaluate, official

    if args.name is not None:
        from gendkit.commands import test_named

        return test_named.scores_of(args)
    if args.scores is not None:
        scores = official.read(args.scores, args.format, args.data)
        return scores, {"file": str(args.scores), "format": args.format}
    if args.run is None:
        return _scored(args, args.model, args.n_frames or 32), {"model": args.model}
    if not (args.run / "run.json").is_file():
        raise FileNotFoundError(
            f"{args.run} has no run.json; expected a folder that a finished gendkit train wrote"
        )
    stored = args.run / "scores.csv"
    known = evaluate.read_scores(stored) if stored.is_file() else None
    if args.data is None:
        if known is None:
            raise FileNotFoundError(
                f"{args.run} has no scores.csv; let gendkit train finish, or give --data MANIFEST"
            )
        return known, {"run": str(args.run)}
    scores = _scored(args, args.run, args.n_frames or _frames_of(args.run))
    if known is not None and not (scores["role"] == "select").any():
        import pandas as pd

        # the threshold, and the check of what the choice of the epoch has seen, need these
        scores = pd.concat([scores, known[known["role"] == "select"]], ignore_index=True)
    return scores, {"run": str(args.run), "data": str(args.data)}


def _frames_of(run: Path) -> int:
    from gendkit import repro

    return int(repro.read_json(run / "run.json").get("n_frames", 32))


def _scored(args: argparse.Namespace, model: str | Path, n_frames: int) -> "pd.DataFrame":
    """Score the report and select rows of a manifest; make the crops where it lists videos."""
    from gendkit import evaluate, extract, manifest, score

    table, root = manifest.read(args.data), args.data.parent
    held = table[table["role"].isin(["select", "report"])]
    evaluate.check_roles(table)
    detector = score.load(model, args.device)
    if "frame" not in held.columns:
        done = extract.run(held, root=root, n_frames=n_frames, scale=detector.crop_scale)
        held, root = done.crops, done.folder
    return evaluate.score(
        detector.model,
        held,
        root,
        device=args.device,
        processor=lambda crops: detector.processor(crops)["pixel_values"],
    )


def _choose(args: argparse.Namespace, scores: "pd.DataFrame") -> dict[str, Any]:
    from gendkit import evaluate

    asked = args.threshold
    if asked is None:
        asked = "select" if (scores["role"] == "select").any() else "oracle"
    if asked == "select":
        found = evaluate.select_threshold(scores, how=args.aggregate, level=args.level)
        return {"kind": "select", **found}
    if asked == "oracle":
        rule = "equal error rate of each tested set itself, which no user can know"
        return {"kind": "oracle", "value": None, "rule": rule}
    return {"kind": "given", "value": asked, "rule": "given on the command line"}


def _plain(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as JSON data; what is not known is None."""
    missing = table.astype(object).where(table.notna(), None)
    return missing.to_dict("records")


_SHORT = {
    "ap": "AP", "map": "mAP", "eer": "EER", "tpr@fpr=0.001": "TPR@0.1%", "tpr@fpr=0.01": "TPR@1%",
    "tpr@fpr=0.05": "TPR@5%", "w1": "W1", "accuracy": "acc", "balanced_accuracy": "bal. acc",
    "f1": "F1", "oracle_accuracy": "oracle acc", "oracle_balanced_accuracy": "oracle bal. acc",
    "oracle_f1": "oracle F1",
}  # fmt: skip


def _text(table: "pd.DataFrame", threshold: dict[str, Any], result: dict[str, Any]) -> str:
    import pandas as pd

    oracle = threshold["kind"] == "oracle"
    named = table["dataset"] + (("/" + table["compression"]).where(table["compression"] != "", ""))
    shown = {"set": named, "method": table["method"], "real": table["n_real"]}
    shown |= {"fake": table["n_fake"]}
    ends = zip(table["auroc"], table["low"], table["high"], strict=True)
    shown["AUROC (95 %)"] = [
        f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")
        for value, low, high in ends
    ]
    for name, short in _SHORT.items():
        if name in table and (oracle or not name.startswith("oracle")):
            shown[short] = [f"{value:.3f}" for value in table[name]]
    lines = [pd.DataFrame(shown).to_string(index=False), ""]
    per = f"{result['level']}s" + (
        f", {result['aggregate']} over frames" * bool(result["aggregate"])
    )
    lines.append(
        f"Counted: {per}. Intervals: bootstrap over sources, {result['n_bootstrap']} draws."
    )
    lines.append("mAP is the mean over both classes, as the official code logs it.")
    if (few := int(table["n_real"].min())) < 1000:
        lines.append(
            f"TPR@0.1% allows no false alarm where there are under 1000 reals (here {few})."
        )
    if oracle:
        lines.append(f"Accuracies are an oracle's: threshold at the {threshold['rule']}.")
    else:
        lines.append(f"Accuracies at the threshold {threshold['value']:.4f}: {threshold['rule']}.")
    return "\n".join(lines)


def _write(
    out: Path,
    scores: "pd.DataFrame",
    table: "pd.DataFrame",
    result: dict[str, Any],
    threshold: float | None,
) -> None:
    from gendkit import curves, evaluate, metrics, repro

    with repro.atomic_path(out / "table.csv") as temporary:
        table.to_csv(temporary, index=False)
    repro.write_json(out / "result.json", result | repro.provenance())
    facts = {name: value for name, value in result.items() if name != "table"}
    evaluate.write_scores(scores, out / "scores.csv", test=facts)
    report = scores[scores["role"] == "report"]
    video = result["level"] == "video"
    units = metrics.video_scores(report, how=result["aggregate"]) if video else report
    for (dataset, compression), part in units.groupby(["dataset", "compression"]):
        y_true, y_score = part["label"].to_numpy(), part["p_fake"].to_numpy()
        at = metrics.eer(y_true, y_score)[1] if threshold is None else threshold
        name = f"{dataset}-{compression}" if compression else dataset
        curves.write(y_true, y_score, out / "curves" / name, at)
