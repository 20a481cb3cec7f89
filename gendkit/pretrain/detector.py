"""Train the embedded detector: GenD in small, on the fit people of Nobody's Faces.

    gendkit weights detector --out data/weights/detector

Writes the LayerNorm adapter with its head, the threshold that was fixed on the select people, and the
figures for the card. Chapters 0 and 10 load it; chapters 6 and 7 train their own in front of the reader. It is trained
twice as long as `RECIPE`, which keeps to 90 seconds on two processor cores; a run that was stopped goes on from
its last finished epoch.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from gendkit import adapters, calibration, evaluate, extract, model, repro, train

# The paper's augmentation blurs and codes again what a small encoder reads; see data/weights/LOG.md.
RECIPE = train.TrainConfig(epochs=4, learning_rate=1e-2, min_learning_rate=1e-3, augment=False)
EPOCHS = 8  # of the embedded detector
FEATURE_SCALE = 10.0  # normalised features times this go into the head


def start_head(detector: torch.nn.Module, fit_rows: pd.DataFrame, root: str | Path) -> float:
    """Start the head of a detector from the linear probe on its frozen encoder.

    Args:
        detector: Untuned detector; its head is overwritten.
        fit_rows: Crops of the role fit, reals and fakes.
        root: Folder that their paths are relative to.

    Returns:
        Balanced accuracy of the probe on these crops (`adapters.init_head`).

    Raises:
        ValueError: If a class is missing or there is no crop.
        FileNotFoundError: If a crop is missing.
    """
    features = evaluate.cache_features(detector, fit_rows, root)
    return adapters.init_head(detector, features, fit_rows["label"])


def run(out: str | Path, work: str | Path, n_frames: int, seed: int) -> pd.DataFrame:
    """Extract crops, start the head from the linear probe, tune, calibrate, save.

    Args:
        out: Folder for adapter_config.json, adapter_model.safetensors, gend_config.json,
            threshold.json, scores.csv (of the select videos, so that any threshold can be counted)
            and metrics.json.
        work: Folder for the run; a rerun goes on there.
        n_frames: Frames per video.
        seed: Seed of the run.

    Returns:
        AUROC with intervals on the report people (`evaluate.report`).
    """
    out, work = Path(out), Path(work)
    videos = repro.data_dir() / "nobody" / "manifest.csv"
    print("1/3 crops", flush=True)
    extraction = extract.run(videos, n_frames=n_frames, workers=2)
    crops, crops_dir = extraction.crops, extraction.folder
    repro.seed_all(seed)
    detector = model.build("embedded", head="LinearNorm", feature_scale=FEATURE_SCALE)
    print("2/3 head from the linear probe", flush=True)
    start_head(detector, crops[crops["role"] == "fit"], crops_dir)
    print(f"3/3 {EPOCHS} epochs", flush=True)
    config = replace(RECIPE, epochs=EPOCHS, seed=seed)
    result = train.train(adapters.tune(detector), crops, crops_dir, config, work / "runs")
    adapters.save_adapter(result.model, out)
    (out / "adapter_model.safetensors").chmod(0o644)  # safetensors makes it private

    scores = evaluate.score(result.model, crops[crops["role"] != "fit"], crops_dir)
    threshold = calibration.calibrate(scores, seed=seed)
    repro.write_json(out / "threshold.json", threshold | {"n_frames": n_frames})
    with repro.atomic_path(out / "scores.csv") as temporary:
        scores[scores["role"] == "select"].to_csv(temporary, index=False)
    table = evaluate.report(scores, seed=seed)
    repro.write_json(out / "metrics.json", table.to_dict("records"))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights detector",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", default="data/weights/detector", help="folder of the adapter")
    parser.add_argument("--work", default="_build/detector", help="folder for the run")
    parser.add_argument("--n-frames", type=int, default=3, help="frames per video (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default 0)")
    args = parser.parse_args(argv)
    print(run(args.out, args.work, args.n_frames, args.seed).round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
