"""Measure the embedded models against what they are meant to reach: `make models-report`.

Trains the detector anew with several seeds, beside it the probe, full fine-tuning, plain LayerNorm runs on
paired and unpaired people, and the texture baseline; scores the report people of both sets; measures the
landmark network. Every AUROC is the mean of the seeds with a 95 % bootstrap interval over people; the seeds
are not resampled. Probe and texture baseline know no seed and run once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import adapters, baselines, evaluate, extract, manifest, model, repro, train
from gendkit.pretrain.detector import FEATURE_SCALE, RECIPE, start_head
from gendkit.resample import Sample, estimate, sample

SEEN = ("DF", "F2F", "FS", "NT")
N_FRAMES = 3
MAX_SECONDS = 90.0
FULL = {"learning_rate": 3e-4, "min_learning_rate": 3e-5}
_EXAMPLES = """examples:
  gendkit weights report                           a rerun loads what is finished
  gendkit weights report --seeds 1 --work _build/once --out _build/once.json
"""


@dataclass(frozen=True)
class Bar:
    """One thing the models are meant to reach.

    Attributes:
        what: In words.
        value: Measured.
        low: Lower end of its interval, or NaN.
        high: Upper end, or NaN.
        bound: What it should be, or NaN where the value is only reported.
        above: Whether it should lie above the bound, or below.
    """

    what: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    bound: float = float("nan")
    above: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None if there is none."""
        if np.isnan(self.bound):
            return None
        return self.value >= self.bound if self.above else self.value <= self.bound

    def line(self) -> str:
        """One line of the printed table."""
        interval = "" if np.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        bound = "" if np.isnan(self.bound) else f"{'>=' if self.above else '<='} {self.bound:.3f}"
        return f"{self.what:<62} {self.value:7.3f}{interval:<17} {bound:<9} {verdict}".rstrip()


@dataclass(frozen=True)
class Sets:
    """Crops of both sets.

    Attributes:
        nobody: Crops of Nobody's Faces, all roles.
        root: Folder of their paths.
        other: Crops of the second set.
        other_root: Folder of theirs.
    """

    nobody: pd.DataFrame
    root: Path
    other: pd.DataFrame
    other_root: Path


def crops(workers: int = 2) -> Sets:
    """Extract (or find in the cache) the crops of both sets."""
    folder = repro.data_dir()
    own = extract.run(folder / "nobody" / "manifest.csv", n_frames=N_FRAMES, workers=workers)
    other = extract.run(folder / "nobody-x" / "manifest.csv", n_frames=N_FRAMES, workers=workers)
    return Sets(own.crops, own.folder, other.crops, other.folder)


@dataclass(frozen=True)
class Runs:
    """The scores of one way to train, over all seeds.

    Attributes:
        own: On Nobody's Faces.
        other: On the second set.
        seconds: Training time of the slowest seed.
    """

    own: Sample
    other: Sample
    seconds: float


def repeat(name: str, seeds: int, sets: Sets, fit: Callable[[int], tuple[Callable, float]]) -> Runs:
    """Train with every seed and score the report people of both sets.

    Args:
        name: For the progress line.
        seeds: Number of seeds.
        sets: Crops.
        fit: Takes a seed; gives a function (table, folder) -> scores, and the seconds of training.

    Returns:
        The scores, and the time of the slowest seed.
    """
    own, other, seconds = [], [], []
    report = sets.nobody[sets.nobody["role"] == "report"]
    for seed in range(seeds):
        score, spent = fit(seed)
        own.append(score(report, sets.root))
        other.append(score(sets.other, sets.other_root))
        seconds.append(spent)
        print(f"{name}, seed {seed}: trained {spent:.0f} s", file=sys.stderr, flush=True)
    return Runs(sample(own), sample(other), max(seconds))


def tuned(
    how: str, table: pd.DataFrame, root: Path, work: Path, **changes: object
) -> Callable[[int], tuple[Callable, float]]:
    """Make the training function of one way to tune, for `repeat`.

    Args:
        how: See `adapters.tune`; "start" leaves it at the head from the linear probe.
        table: Crops with the roles fit and select.
        root: Folder of their paths.
        work: Folder of the runs.
        **changes: Of the recipe (`train.TrainConfig`).
    """

    def fit(seed: int) -> tuple[Callable, float]:
        repro.seed_all(seed)
        detector = model.build("embedded", head="LinearNorm", feature_scale=FEATURE_SCALE)
        begun = time.monotonic()
        start_head(detector, table[table["role"] == "fit"], root)
        spent = time.monotonic() - begun
        if how != "start":
            config = replace(RECIPE, seed=seed, **changes)
            result = train.train(adapters.tune(detector, how), table, root, config, work)
            detector, spent = result.model, spent + result.seconds
        return lambda rows, folder: evaluate.score(detector, rows, folder), spent

    return fit


def texture(sets: Sets) -> Callable[[int], tuple[Callable, float]]:
    """Make the texture baseline's training function: all seen manipulations together."""
    rows = sets.nobody[sets.nobody["role"] == "fit"]

    def fit(seed: int) -> tuple[Callable, float]:
        begun = time.monotonic()
        fitted = baselines.fit(baselines.texture_features(rows, sets.root), rows["label"])

        def score(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
            features = baselines.texture_features(table, folder)
            return table.assign(p_fake=baselines.score(fitted, features))

        return score, time.monotonic() - begun

    return fit


def among(table: pd.DataFrame, list_file: Path) -> pd.DataFrame:
    """Keep the fit crops of the videos that a list names, and all crops of the other roles."""
    key = ["dataset", "method", "compression", "video_id"]
    named = pd.MultiIndex.from_frame(manifest.read(list_file)[key])
    return table[(table["role"] != "fit") | pd.MultiIndex.from_frame(table[key]).isin(named)]


def landmarks() -> list[Bar]:
    """Measure the landmark network on the report people's real clips."""
    from gendkit.faces import FaceEngine
    from gendkit.pretrain.check_landmarks import check

    found = check(repro.data_dir() / "nobody", FaceEngine(), "report", n_frames=8)
    return [
        Bar("landmarks: mean error / distance of the outer eye corners, %", 100 * found["nme"],
            bound=3.5, above=False),
        Bar("landmarks: frames with an error above 10 %, %", 100 * found["failures"],
            bound=1.0, above=False),
    ]  # fmt: skip


def run(work: Path, seeds: int = 3, workers: int = 2) -> list[Bar]:
    """Train and measure everything.

    Args:
        work: Folder of the runs; a rerun loads what is finished.
        seeds: Seeds of every training.
        workers: Processes of the extraction.

    Returns:
        All bars, in the order they are printed.

    Raises:
        ValueError: If seeds or workers is not positive.
    """
    for name, value in (("seeds", seeds), ("workers", workers)):
        if value < 1:
            raise ValueError(f"--{name} is {value}, expected at least 1")
    sets = crops(workers)
    lists = repro.data_dir() / "nobody"
    table, root = sets.nobody, sets.root
    plain = {"alignment": 0.0, "uniformity": 0.0, "paired": False}
    baseline = repeat("texture baseline", 1, sets, texture(sets))
    probe = repeat("probe", 1, sets, tuned("start", table, root, work))
    gend = repeat("LayerNorm tuning", seeds, sets, tuned("layernorm", table, root, work))
    full = repeat("full fine-tuning", seeds, sets, tuned("full", table, root, work, **FULL))
    pairs = [
        repeat(kind, seeds, sets, tuned("layernorm", among(table, lists / f"{kind}.csv"), root, work, **plain))
        for kind in ("paired", "unpaired")
    ]  # fmt: skip
    return [*_bars(baseline, probe, gend, full, *pairs), *landmarks()]


def _bars(
    baseline: Runs, probe: Runs, gend: Runs, full: Runs, paired: Runs, unpaired: Runs
) -> list[Bar]:
    unseen = [m for m in gend.own.methods if m not in SEEN]
    every = gend.other.methods
    seconds = "GenD: slowest training, s (2 cores, nothing else running)"

    def mean(what: str, bound: float, *terms: tuple[float, Sample, Sequence[str]]) -> Bar:
        return Bar(what, *estimate(terms), bound=bound)

    nan = float("nan")
    return [
        mean("GenD: mean AUROC, seen manipulations", 0.88, (1, gend.own, SEEN)),
        mean("GenD: mean AUROC, unseen manipulations", 0.80, (1, gend.own, unseen)),
        mean("GenD: mean AUROC, nobody-x", 0.70, (1, gend.other, every)),
        Bar(seconds, gend.seconds, bound=MAX_SECONDS, above=False),
        mean("texture baseline: seen", nan, (1, baseline.own, SEEN)),
        mean("texture baseline: unseen", nan, (1, baseline.own, unseen)),
        mean("texture baseline: nobody-x", nan, (1, baseline.other, every)),
        mean("GenD minus texture baseline, unseen", 0.0, (1, gend.own, unseen), (-1, baseline.own, unseen)),
        mean("GenD minus texture baseline, nobody-x", 0.0, (1, gend.other, every), (-1, baseline.other, every)),
        mean("linear probe: seen", nan, (1, probe.own, SEEN)),
        mean("linear probe: unseen", nan, (1, probe.own, unseen)),
        mean("GenD minus linear probe, seen", 0.08, (1, gend.own, SEEN), (-1, probe.own, SEEN)),
        mean("full fine-tuning: seen", nan, (1, full.own, SEEN)),
        mean("full fine-tuning: unseen", nan, (1, full.own, unseen)),
        mean("GenD minus full fine-tuning, unseen", nan, (1, gend.own, unseen), (-1, full.own, unseen)),
        mean("paired people (36 + 36 videos): unseen", nan, (1, paired.own, unseen)),
        mean("paired minus unpaired, unseen", 0.0, (1, paired.own, unseen), (-1, unpaired.own, unseen)),
        *(mean(f"GenD: {m}", nan, (1, gend.own, [m])) for m in gend.own.methods),
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; a missed bar is no failure of the command."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights report",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the extraction")
    parser.add_argument(
        "--work", type=Path, default=Path("_build/models-report"), help="folder of the runs"
    )
    parser.add_argument("--out", type=Path, help="also write the numbers to this JSON file")
    args = parser.parse_args(argv)
    bars = run(args.work, args.seeds, args.workers)
    print(f"mean of {args.seeds} seeds, 95 % bootstrap intervals over people")
    print("\n".join(bar.line() for bar in bars))
    if args.out:
        rows = [bar.__dict__ | {"met": bar.met} for bar in bars]
        rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        repro.write_json(args.out, repro.provenance(seeds=args.seeds, bars=rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
