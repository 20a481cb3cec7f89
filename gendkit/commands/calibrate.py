"""``gendkit calibrate SCORES``: choose threshold and temperature on select, keep them with a model."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  gendkit calibrate _build/out/runs/example/scores.csv          show both, store nothing
  gendkit calibrate _build/out/runs/example/scores.csv --model _build/out/runs/example
  gendkit calibrate scores.csv --rule fpr=0.05 --model models/mine
  gendkit calibrate scores.csv --json | jq .temperature.value

A scores file is what gendkit train and gendkit test --out write: a row a frame, with its role. Only
the rows of the role select are used: nothing may be chosen on what is reported. With --model the
choice is written to FOLDER/threshold.json, where gendkit score --model FOLDER finds it.

rules:
  eer        the equal error rate: as many reals are called fake as fakes are called real
  fpr=0.05   the lowest threshold at which at most 5 % of the reals are called fake
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit calibrate",
        description="Choose a detector's threshold and temperature on the rows of the role select.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scores", type=Path, metavar="SCORES", help="a scores file (.csv)")
    parser.add_argument("--rule", default="eer", help="eer or fpr=SHARE (default eer)")
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="detector, adapter or run to store it with"
    )
    parser.add_argument(
        "--level", choices=("video", "frame"), default="video", help="what is counted (video)"
    )
    parser.add_argument(
        "--aggregate", choices=("mean", "median"), default="mean", help="frames to video (mean)"
    )
    parser.add_argument("--n-bootstrap", type=int, default=1000, help="resamples (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate from the command line.

    Args:
        argv: Words after `gendkit calibrate`; None takes them from the command line.

    Returns:
        0 if both were found (and stored), 1 if not, 2 for wrong use (argparse exits with it).
    """
    from gendkit import calibration

    parser = _parser()
    args = parser.parse_args(argv)
    if args.n_bootstrap < 1:
        parser.error(f"--n-bootstrap is {args.n_bootstrap}; expected at least 1")
    try:
        calibration.parse_rule(args.rule)
    except ValueError as error:
        parser.error(f"--rule: {error}")
    try:
        return _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit calibrate: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    from gendkit import calibration, evaluate, repro

    scores = evaluate.read_scores(args.scores)
    found = calibration.calibrate(
        scores, args.rule, args.aggregate, args.level, args.n_bootstrap, args.seed
    )
    stored = None
    if args.model is not None:
        facts = {"scores_sha256": repro.sha256(args.scores), "n_bootstrap": args.n_bootstrap}
        stored = calibration.store(found, args.model, **facts, seed=args.seed)
    if args.json:
        print(json.dumps(found | {"stored": stored and str(stored)}, indent=2))
    else:
        print(_text(found, calibration.parse_rule(args.rule), stored))
    return 0


def _text(found: dict[str, Any], budget: float | None, stored: Path | None) -> str:
    from gendkit import calibration

    heat, unit = found["temperature"], f"{found['level']}s"
    low, high = found["fpr_interval"]
    lines = [
        f"threshold    {found['value']:.4f}, 95 % interval {found['low']:.4f} to "
        f"{found['high']:.4f} ({found['n_people']} people resampled)",
        f"  rule       {found['rule']} of {', '.join(found['datasets'])}",
        f"  reals      {found['false_alarms']} of {found['n_real']} {unit} called fake: "
        f"{found['fpr']:.1%}, 95 % interval {low:.1%} to {high:.1%}",
        f"  fakes      {found['hits']} of {found['n_fake']} {unit} found: {found['tpr']:.1%}, "
        f"95 % interval {found['tpr_interval'][0]:.1%} to {found['tpr_interval'][1]:.1%}",
        f"temperature  {heat['value']:.3f}, 95 % interval {heat['low']:.3f} to {heat['high']:.3f}",
        f"  log loss   {heat['log_loss_before']:.4f} before, {heat['log_loss']:.4f} after, on the "
        f"same {unit}, of which {heat['share_fake']:.0%} are fake",
    ]
    if heat["at_limit"]:
        lines.append(
            "  The temperature is at the end of its range: the scores say nothing here, or "
            "separate the classes without an error; do not read calibrated scores."
        )
    if budget is not None and high > budget:
        count = f"; {calibration.needed(budget)} reals without an alarm would" if budget else ""
        lines.append(
            f"  The budget of {budget:.1%} is kept here, but {found['n_real']} reals do not show "
            f"that it is kept elsewhere (up to {high:.1%}){count}."
        )
    lines.append(f"stored in {stored}" if stored else "not stored: give --model FOLDER to keep it")
    return "\n".join(lines)
