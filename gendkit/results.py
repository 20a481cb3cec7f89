"""Stored results: scores of many trained runs, video by video, and tables with intervals from them.

A store is a folder with two files. `nobody.csv` has a row for each video of the report people of
Nobody's Faces and of the second set, and a column of P(fake) for each run; `runs.json` says of each
run what was trained, on what and how long. `gendkit experiments run` fills it, a run at a time.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gendkit import metrics, repro, resample

if TYPE_CHECKING:
    from gendkit.experiments import Experiment

SCORES, RUNS = "nobody.csv", "runs.json"
KEYS = [*metrics.KEY, "source_id", "label"]
SEEN = ("DF", "F2F", "FS", "NT")  # the manipulations with fit videos
SETS = ("nobody", "nobody-x")
# group -> (set, manipulations)
Groups = Mapping[str, tuple[str, Sequence[str]]]
_SEED = re.compile(r"-seed\d+$")


def store_dir(store: str | Path = "") -> Path:
    """Find the store: the given folder, or `results` in the data folder."""
    return Path(store) if store else repro.data_dir() / "results"


def runs(pattern: str = "*", store: str | Path = "") -> pd.DataFrame:
    """List stored runs.

    Args:
        pattern: Of run names, with `*` and `?`; or the name of a group (a run without its seed).
        store: Folder of the store; "" for `results` in the data folder.

    Returns:
        One row per run, its name as index: group, family, tune, head, alignment, uniformity, seed,
        epochs, best_epoch, select_auroc, n_fit, n_trained, adapter_bytes, seconds (training),
        head_seconds (encoding the fit crops once and the linear probe), crops, weights (hashes)
        and commit.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If no stored run fits.
    """
    known = _facts(store)
    names = _matching([pattern], known)
    table = pd.DataFrame([{"run": name, **_row(known[name])} for name in names])
    return table.set_index("run")


def _row(facts: dict[str, Any]) -> dict[str, Any]:
    settings = facts["settings"]
    recipe = settings["recipe"] or {}
    return {
        "group": facts["group"],
        "family": facts["family"],
        "tune": settings["tune"],
        "head": settings["head"],
        **{name: settings["losses"][name] for name in ("alignment", "uniformity")},
        "seed": recipe.get("seed", 0),
        "epochs": recipe.get("epochs", 0),
        **{name: facts[name] for name in ("best_epoch", "select_auroc", "n_fit", "n_trained")},
        **{name: facts[name] for name in ("adapter_bytes", "seconds", "head_seconds")},
        **{name: facts[name] for name in ("crops", "weights", "commit")},
    }


def scores(name: str, store: str | Path = "") -> pd.DataFrame:
    """Give the scores of one run, a row per video, as `metrics` and `evaluate.report` take them.

    Args:
        name: Of a stored run; a group's name gives its seed 0.
        store: As in `runs`.

    Returns:
        dataset, method, compression, video_id, source_id, role ("report"), label, p_fake.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If the run is not stored.
    """
    known = _facts(store)
    chosen = name if name in known else f"{name}-seed0"
    if chosen not in known:
        raise ValueError(_unknown(name, known))
    table = _matrix(store)
    out = table[KEYS].assign(p_fake=table[chosen])
    out.insert(KEYS.index("label"), "role", "report")
    return out


def sample(pattern: str, dataset: str = "nobody", store: str | Path = "") -> resample.Sample:
    """Give the stored scores of a group of runs on one set, ready to be resampled by person.

    Args:
        pattern: As in `runs`; all that fit count as seeds of one thing.
        dataset: "nobody" or "nobody-x".
        store: As in `runs`.

    Raises:
        FileNotFoundError, ValueError: As `scores`.
    """
    names = _matching([pattern], _facts(store))
    return _samples(names, _matrix(store), dataset)


def groups_of(store: str | Path = "") -> dict[str, tuple[str, tuple[str, ...]]]:
    """Give the groups of videos that a table reports by default.

    Returns:
        "seen": manipulations of Nobody's Faces with fit videos, "unseen": those without,
        "nobody-x": all of the second set; each (set, manipulations).
    """
    table = _matrix(store)
    fakes = table[table["label"] == 1]
    of = {name: tuple(sorted(set(part["method"]))) for name, part in fakes.groupby("dataset")}
    unseen = tuple(method for method in of["nobody"] if method not in SEEN)
    seen = tuple(method for method in of["nobody"] if method in SEEN)
    groups = {"seen": ("nobody", seen), "unseen": ("nobody", unseen)}
    return groups | {name: (name, methods) for name, methods in of.items() if name != "nobody"}


def each_method(dataset: str = "nobody", store: str | Path = "") -> dict[str, tuple[str, tuple]]:
    """Give a group for every manipulation of a set, those with fit videos first."""
    table = _matrix(store)
    rows = (table["dataset"] == dataset) & (table["label"] == 1)
    methods = sorted(set(table["method"][rows]), key=lambda m: (m not in SEEN, m))
    return {method: (dataset, (method,)) for method in methods}


def table(
    patterns: str | Sequence[str],
    groups: Groups | None = None,
    how: str = "mean",
    n_bootstrap: int = resample.N_DRAWS,
    seed: int = 0,
    store: str | Path = "",
) -> pd.DataFrame:
    """AUROC of groups of runs on groups of videos, with 95 % intervals over people.

    Runs that differ in the seed alone are averaged, in every draw of people; the draws are the
    same for all rows of one set.

    Args:
        patterns: As in `runs`, one or several; rows come in their order.
        groups: Group -> (set, manipulations); None for `groups_of`.
        how: Over the manipulations of a group: "mean", "pooled" or "worst" (`resample.estimate`).
        n_bootstrap: Draws of people.
        seed: Of the draws.
        store: As in `runs`.

    Returns:
        One row per group of runs and group of videos: run, group, dataset, n_seeds, auroc, low,
        high, sd (standard deviation over the seeds; NaN for one).

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If nothing fits, or a manipulation is not in the set.
    """
    matrix, groups = _matrix(store), groups or groups_of(store)
    rows = []
    for run, names in _by_group(patterns, store).items():
        samples = {s: _samples(names, matrix, s) for s in {s for s, _ in groups.values()}}
        for group, (dataset, methods) in groups.items():
            one = samples[dataset]
            value, low, high = resample.estimate([(1, one, methods)], seed, n_bootstrap, how)
            facts = {"run": run, "group": group, "dataset": dataset, "n_seeds": len(names)}
            spread = _spread(one, methods, how)
            rows.append(facts | {"auroc": value, "low": low, "high": high, "sd": spread})
    return pd.DataFrame(rows)


def difference(
    a: str,
    b: str,
    groups: Groups | None = None,
    how: str = "mean",
    n_bootstrap: int = resample.N_DRAWS,
    seed: int = 0,
    store: str | Path = "",
) -> pd.DataFrame:
    """AUROC of runs a minus AUROC of runs b, people drawn once for both, seeds averaged.

    Args:
        a: Pattern of runs, as in `runs`; all that fit count as seeds of one thing.
        b: The same for the others.
        groups, how, n_bootstrap, seed, store: As in `table`.

    Returns:
        One row per group of videos: group, dataset, a, b (AUROCs), difference, low, high.

    Raises:
        FileNotFoundError, ValueError: As `table`.
    """
    known, matrix, groups = _facts(store), _matrix(store), groups or groups_of(store)
    names = [_matching([pattern], known) for pattern in (a, b)]
    rows = []
    for group, (dataset, methods) in groups.items():
        left, right = (_samples(of, matrix, dataset) for of in names)
        terms = [(1, left, methods), (-1, right, methods)]
        value, low, high = resample.estimate(terms, seed, n_bootstrap, how)
        first, second = (_value(one, methods, how) for one in (left, right))
        facts = {"group": group, "dataset": dataset, "a": first, "b": second}
        rows.append(facts | {"difference": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def stale(store: str | Path = "") -> dict[str, list[str]]:
    """Find stored runs that are not what the kit would run today.

    Args:
        store: As in `runs`.

    Returns:
        Run -> what has changed: the settings of its experiment, the videos, the encoder. Runs that
        are up to date are left out.

    Raises:
        FileNotFoundError: If there is no store, no data or no encoder.
    """
    now = _now()
    found = {name: _changes(name, facts, now) for name, facts in _facts(store).items()}
    return {name: changes for name, changes in found.items() if changes}


def _now() -> dict[str, Any]:
    """Hash the videos and the encoder as they are."""
    top = repro.data_dir()
    return {
        "videos": {name: repro.sha256(top / name / "manifest.csv") for name in SETS},
        "weights": repro.sha256(top / "weights" / "encoder" / "model.safetensors"),
    }


def _changes(name: str, facts: dict[str, Any], now: dict[str, Any]) -> list[str]:
    from gendkit import experiments

    try:
        settings = _settings(experiments.get(name))
    except ValueError:
        return ["there is no such experiment any more"]
    before = _kept(facts["settings"])
    changes = [f"setting {key}" for key in settings if settings[key] != before.get(key)]
    return changes + [what for what in now if now[what] != facts[what]]


def _settings(experiment: "Experiment") -> dict[str, Any]:
    """Give all that the weights of a run depend on, beside data and encoder."""
    view = json.loads(json.dumps(experiment.view()))  # as it is read back
    if experiment.tune == "probe":
        view["recipe"] = None  # the head is fitted, not trained in epochs
    return _kept(view)


def _kept(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what changes no weight."""
    from gendkit.recipe import NEUTRAL

    recipe = settings["recipe"] and {
        k: v for k, v in settings["recipe"].items() if k not in NEUTRAL
    }
    return {**settings, "recipe": recipe}


def canonical(name: str) -> str:
    """Give the name under which a run is stored.

    A frozen encoder knows no seed, so it has one run, without a seed in its name; another run
    whose name has no seed is its seed 0, where there is one.
    """
    from gendkit import experiments

    group, names = _SEED.sub("", name), set(experiments.names(source="kit"))
    if group in names and experiments.get(group).tune == "probe":
        return group
    return f"{name}-seed0" if group == name and f"{name}-seed0" in names else name


def _read(store: str | Path, name: str) -> Path:
    path = store_dir(store) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"got no stored results at {path}; restore data/results of the checkout, name the "
            "folder that holds them, or make some: gendkit experiments run PATTERN"
        )
    return path


def _facts(store: str | Path) -> dict[str, dict[str, Any]]:
    return repro.read_json(_read(store, RUNS))


def _matrix(store: str | Path) -> pd.DataFrame:
    text = {name: str for name in KEYS[:-1]}
    return pd.read_csv(_read(store, SCORES), dtype=text, keep_default_na=False)


def _unknown(what: str, known: Iterable[str]) -> str:
    groups = ", ".join(dict.fromkeys(_SEED.sub("", name) for name in known))
    return (
        f"got {what!r}, which is not stored; stored are {groups}. "
        f"Train it with: gendkit experiments run {what}"
    )


def _matching(patterns: Sequence[str], known: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        fits = [
            n for n in known if {True} & {fnmatchcase(t, pattern) for t in (n, _SEED.sub("", n))}
        ]
        if not fits:
            raise ValueError(_unknown(pattern, known))
        found |= dict.fromkeys(fits)
    return list(found)


def _by_group(patterns: str | Sequence[str], store: str | Path) -> dict[str, list[str]]:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    out: dict[str, list[str]] = {}
    for name in _matching(patterns, _facts(store)):
        out.setdefault(_SEED.sub("", name), []).append(name)
    return out


def _samples(names: Sequence[str], matrix: pd.DataFrame, dataset: str) -> resample.Sample:
    rows = matrix[matrix["dataset"] == dataset].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"got set {dataset!r}, expected one of {sorted(set(matrix['dataset']))}")
    return resample.Sample(rows[["source_id", "method", "label"]], rows[list(names)].to_numpy().T)


def _value(one: resample.Sample, methods: Sequence[str], how: str) -> float:
    return float(resample.HOW[how](one, methods, np.ones((1, len(one.people)), int))[0])


def _spread(one: resample.Sample, methods: Sequence[str], how: str) -> float:
    if len(one.scores) < 2:
        return float("nan")
    seeds = [resample.Sample(one.videos, row[None]) for row in one.scores]
    return float(np.std([_value(s, methods, how) for s in seeds], ddof=1))


def add(name: str, videos: pd.DataFrame, facts: dict[str, Any], store: str | Path = "") -> None:
    """Put one run into a store, atomically: killed at any moment, the store is as before or whole.

    Args:
        name: Of the run; stored already, it is replaced.
        videos: `KEYS` and p_fake, a row per video; the same videos as those stored.
        facts: What `runs.json` says of it, for `repro.write_json`.
        store: As in `runs`; made if it does not exist.

    Raises:
        ValueError: If a score is out of [0, 1], or the store holds other videos.
    """
    metrics.checked(videos["label"], videos["p_fake"])
    videos = videos.sort_values(KEYS[:-2], kind="stable").reset_index(drop=True)
    folder = store_dir(store)
    known, matrix = {}, videos[KEYS]
    if (folder / RUNS).is_file():
        known, matrix = _facts(store), _matrix(store)
        if not matrix[KEYS].equals(videos[KEYS]):
            raise ValueError(
                f"{folder} holds scores of {len(matrix)} other videos than the {len(videos)} of "
                f"{name}; move it away, and run what it held again"
            )
    known = dict(sorted({**known, name: facts}.items()))
    columns = {run: videos["p_fake"] if run == name else matrix[run] for run in known}
    matrix = pd.concat([matrix[KEYS], pd.DataFrame(columns)], axis=1)
    # The scores first: a column without its facts is no run, and is written over.
    with repro.atomic_path(folder / SCORES) as temporary:
        matrix.to_csv(temporary, index=False, float_format="%.6g")
    repro.write_json(folder / RUNS, known)


@dataclass(frozen=True)
class Crops:
    """The crops of both sets, and what is computed from them once for all runs.

    Attributes:
        own: Frame manifest of Nobody's Faces, index 0..n-1.
        root: Folder of its paths.
        other: Frame manifest of the second set.
        other_root: Folder of its paths.
    """

    own: pd.DataFrame
    root: Path
    other: pd.DataFrame
    other_root: Path

    @classmethod
    def extract(cls, workers: int = 2, n_frames: int = 3) -> "Crops":
        """Extract the crops, or find them in the cache."""
        from gendkit import extract

        found = [
            extract.run(
                repro.data_dir() / name / "manifest.csv", n_frames=n_frames, workers=workers
            )
            for name in SETS
        ]
        own, other = (one.crops.reset_index(drop=True) for one in found)
        return cls(own, found[0].folder, other, found[1].folder)

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits, of all rows and the bytes of their crops."""
        import hashlib

        from gendkit.recipe import data_fingerprint

        parts = [(self.own, self.root), (self.other, self.other_root)]
        return hashlib.sha256("".join(data_fingerprint(*p) for p in parts).encode()).hexdigest()

    @cached_property
    def features(self) -> tuple[np.ndarray, float]:
        """(N, D) features of all crops of `own` by the embedded encoder (fit rows; else NaN), and seconds."""
        from gendkit import evaluate, model

        begun = time.monotonic()
        fit = self.own[self.own["role"] == "fit"]
        found = evaluate.cache_features(model.build("embedded"), fit, self.root)
        out = np.full((len(self.own), found.shape[1]), np.nan, np.float32)
        out[fit.index] = found
        return out, time.monotonic() - begun

    def rows(self, experiment: "Experiment") -> pd.DataFrame:
        """Give the rows of the roles fit and select that an experiment learns from."""
        from gendkit import manifest

        rows = experiment.data.narrow(self.own[self.own["role"] != "report"])
        (listed,) = experiment.data.train
        if listed != "nobody/manifest.csv":
            named = pd.MultiIndex.from_frame(manifest.read(repro.data_dir() / listed)[metrics.KEY])
            inside = pd.MultiIndex.from_frame(rows[metrics.KEY]).isin(named)
            rows = rows[(rows["role"] != "fit") | inside]
        return rows


def run(
    patterns: Sequence[str],
    store: str | Path = "",
    work: str | Path = "_build/experiments",
    workers: int = 2,
    again: bool = False,
) -> list[str]:
    """Train the experiments that are not stored yet, one after the other, and store their scores.

    A run that is stored but stale is named and left as it is, unless `again`. Killed, the same
    call goes on: with the run that was under way, from its last finished epoch.

    Args:
        patterns: Names of experiments of the kit on the embedded encoder, with `*` and `?`.
        store: As in `runs`.
        work: Folder of the trainings.
        workers: Processes of the extraction.
        again: Also train what is stored and stale.

    Returns:
        Names of the runs that were added.

    Raises:
        ValueError: If a pattern fits nothing that can be stored.
    """
    names = planned(patterns)
    crops, now = Crops.extract(workers), _now()
    done = _facts(store) if (store_dir(store) / RUNS).is_file() else {}
    now["crops"] = crops.digest
    old = {name: _changes(name, done[name], now) for name in names if name in done}
    for name, changes in old.items():
        advice = "trained again" if again else "left as it is; train it again with --again"
        state = f"stale ({', '.join(changes)}), {advice}" if changes else "stored"
        print(f"{name}: {state}", flush=True)
    todo = [name for name in names if name not in done or (again and old[name])]
    for number, name in enumerate(todo, 1):
        videos, facts = train(name, crops, Path(work))
        add(name, videos, facts | now, store)
        spent = f"{facts['seconds']:.0f} s, select AUROC {facts['select_auroc']:.3f}"
        print(f"{name}: {spent} ({number} of {len(todo)})", flush=True)
    return todo


def planned(patterns: Sequence[str]) -> list[str]:
    """Give the names under which the experiments that fit are stored, each once, in their order."""
    from gendkit import experiments

    found: dict[str, None] = {}
    for pattern in patterns:
        names = [n for n in experiments.names(source="kit") if fnmatchcase(n, pattern)]
        fits = [n for n in names if (e := experiments.get(n)).trains and e.backbone == "embedded"]
        if not fits:
            raise ValueError(
                f"no experiment of the kit that trains the embedded encoder fits {pattern!r}; "
                "list them with: gendkit experiments list --source kit"
            )
        found |= dict.fromkeys(canonical(name) for name in fits)
    return list(found)


def train(name: str, crops: Crops, work: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train one experiment and score the report videos of both sets.

    The head starts from the linear probe on the frozen encoder. Where the encoder stays frozen,
    that probe is the run: there are no epochs.

    Args:
        name: As `canonical` gives it.
        crops: Of both sets.
        work: Folder of the trainings.

    Returns:
        The videos (`KEYS`, p_fake), and the facts for `add`.
    """
    from gendkit import adapters, evaluate, experiments
    from gendkit import train as training

    experiment = experiments.get(name)
    rows, (features, head_seconds) = crops.rows(experiment), crops.features
    fit = rows[rows["role"] == "fit"]
    repro.seed_all(experiment.recipe.seed)
    begun = time.monotonic()
    model = experiment.build(
        start=lambda plain: adapters.init_head(plain, features[fit.index], fit["label"])
    )
    head_seconds += time.monotonic() - begun
    if experiment.tune == "probe":
        select = evaluate.score(model, rows[rows["role"] == "select"], crops.root)
        chosen, seconds = metrics.video_scores(select), 0.0
        best = {"epoch": 0, "select_auroc": metrics.auroc(chosen["label"], chosen["p_fake"])}
    else:
        result = training.train(model, rows, crops.root, experiment.recipe, work)
        model, best, seconds = result.model, result.best, result.seconds
    held = crops.own[crops.own["role"] == "report"]
    report = [(held, crops.root), (crops.other, crops.other_root)]
    videos = [metrics.video_scores(evaluate.score(model, *part)) for part in report]
    adapter = adapters.save_adapter(model, work / "adapters" / name)
    facts = {
        "group": _SEED.sub("", name),
        "family": experiment.family,
        "settings": _settings(experiment),
        "best_epoch": int(best["epoch"]),
        "select_auroc": best["select_auroc"],
        "n_fit": len(fit),
        "n_trained": adapters.count_trainable(model)[0],
        "adapter_bytes": sum(path.stat().st_size for path in adapter.iterdir()),
        "seconds": round(float(seconds), 1),
        "head_seconds": round(head_seconds, 1),
    }
    return pd.concat(videos, ignore_index=True)[[*KEYS, "p_fake"]], facts | _provenance()


def _provenance() -> dict[str, Any]:
    """Say by what code and on what machine, without the date."""
    facts = repro.provenance()
    named = ("python", "numpy", "peft", "scikit-learn", "torch", "transformers")
    versions = {k: v for k, v in facts["code"]["versions"].items() if k in named}
    machine = {
        k: facts["machine"].get(k) for k in ("system", "processor", "n_cpu", "threads", "gpu")
    }
    code = {"commit": facts["code"]["commit"], "dirty": facts["code"]["dirty"]}
    return {**code, "versions": versions, "machine": machine}
