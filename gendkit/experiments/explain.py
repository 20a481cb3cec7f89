"""Say in words what the kit runs for an experiment, and what it cannot."""

from gendkit.experiments.core import Experiment, corruption_of

_TUNED = {
    "layernorm": "the LayerNorms and the head are tuned",
    "lora": "low-rank updates and the head are tuned",
    "bitfit": "the biases and the head are tuned",
    "probe": "the head alone is tuned, the encoder is frozen",
    "full": "everything is tuned",
}
_METRICS = {"auroc": "AUROC", "map": "mAP"}
_DETECTORS = {"Effort": "Effort", "ForAda": "the Forensics Adapter", "FS-VFM": "FS-VFM"}


def runs(experiment: Experiment) -> list[str]:
    """Say what the kit does, a line for each part.

    Returns:
        Lines; empty if the kit does nothing of it.
    """
    if experiment.backbone is None:
        return []
    lines = _training(experiment) if experiment.trains else [_loading(experiment)]
    if (corruption := corruption_of(experiment)) is not None:
        options = ", ".join(
            f"{key} {value}" for key, value in corruption.items() if key not in ("name", "level")
        )
        lines.append(f"corrupts every test crop: {corruption['name']}, {options}")
    tests = experiment.data.test
    if experiment.data.kind == "nobody":
        sets = " and ".join(tests)
        lines.append(f"tests on {sets} (role report), {experiment.data.n_frames} frames a clip")
    else:
        n_lists = sum(len(paths) for paths in tests.values())
        groups = "1 group" if len(tests) == 1 else f"{len(tests)} groups"
        lines.append(f"tests on {groups} ({n_lists} lists), each scored apart")
    return lines


def cannot(experiment: Experiment) -> list[str]:
    """Say what the kit lacks for a run; empty if it lacks nothing."""
    if experiment.backbone is None:
        name = experiment.name.removesuffix("-fixed")
        detector = next(text for key, text in _DETECTORS.items() if name.startswith(key))
        return [
            f"run {detector}: its code and weights are not in the kit. Run it elsewhere; "
            "the kit reads the scores it gives (test_predictions.csv of the official code)"
        ]
    lines = []
    if experiment.data.kind == "lists":
        lines.append(
            "bring the lists and crops: they belong to the gated dataset yermandy/GenD, "
            "or are made from your own videos"
        )
        if experiment.trains:
            lines.append(
                "repeat the random numbers of the official loader and augmentation: "
                "an equal seed gives other draws"
            )
    if experiment.backbone != "embedded":
        what = experiment.weights if "/" in experiment.weights else experiment.backbone
        lines.append(f"bring the weights of {what}: they are downloaded, or read from a folder")
        if experiment.backbone.startswith("pe-"):
            lines.append('load this encoder without timm: pip install "gendkit[pe]"')
    return lines


def _training(experiment: Experiment) -> list[str]:
    recipe, losses = experiment.recipe, experiment.losses
    terms = [f"{losses['cross_entropy']} cross-entropy"]
    terms += [f"{losses[name]} {name}" for name in ("alignment", "uniformity") if losses[name]]
    cycle = f"cycles of {recipe.cycle_epochs:g} epochs" if recipe.cycle_epochs else "one cycle"
    data = experiment.data
    if data.kind == "nobody":
        what = f", reals and {', '.join(data.methods)} only" if data.methods else ""
        read = (
            f"on {data.train[0]} (role fit{what}), the epoch chosen on {data.val[0]} (role select)"
        )
    else:
        read = f"on {len(data.train)} lists, the epoch chosen on {len(data.val)} lists"
    options = ", ".join(f"{name} {value}" for name, value in experiment.tune_options.items())
    return [
        f"trains {experiment.backbone} with a {experiment.head} head: {_TUNED[experiment.tune]}"
        + (f" ({options})" if options else ""),
        f"{read} by video {_METRICS[recipe.select_metric]}",
        f"loss: {' + '.join(terms)}",
        f"{recipe.epochs} epochs in batches of {recipe.batch_size * recipe.accumulate}, AdamW, "
        f"learning rate {recipe.learning_rate:g} to {recipe.min_learning_rate:g}, "
        f"{recipe.warmup_epochs:g} epoch of warm-up, cosine in {cycle}, {recipe.precision}, "
        f"seed {recipe.seed}, augmentation {'on' if recipe.augment else 'off'}, "
        f"{'paired' if recipe.paired else 'random'} batches",
    ]


def _loading(experiment: Experiment) -> str:
    weights = experiment.weights
    if weights.startswith("run:"):
        return f"loads the weights that the run {weights.removeprefix('run:')} has trained"
    return f"loads the released model {weights}"
