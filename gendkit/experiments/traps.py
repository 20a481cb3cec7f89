"""Where the official code does not do what a run's name says: the notes, and the corrected runs."""

import re
from collections.abc import Callable
from dataclasses import replace

from gendkit.experiments.families import BLUR, WEIGHTS, Run
from gendkit.experiments.settings import loss
from gendkit.transforms import INTERPOLATIONS

_SWEEP = re.compile(r"-sweep-A([\d.]+)-U([\d.]+)-")
_BLUR = re.compile(r"-blur-(\d+)-([\d.]+)$")
_RESIZE = re.compile(r"-resize-(\d+)-(\d)$")
_REAL_PATHS = {
    "Effort-tmp": "weights/Effort/effort_clip_L14_trainOn_FaceForensic.pth",
    "ForAda-tmp": "weights/ForAda/ForensicsAdapter.pth",
}


def note_of(run: Run) -> str:
    """Say what a reader must know about an official run; empty if its name says it all.

    Source: read in github.com/yermandy/GenD at e03532d.
    """
    return " ".join(_NOTES[run.family](run))


def fix_of(run: Run) -> tuple[Run, str] | None:
    """Give the run that the name of an official run promises.

    Args:
        run: An official run.

    Returns:
        The corrected run, called NAME-fixed, and what was corrected; None if nothing is wrong.
    """
    make = _FIXES.get(run.family)
    fixed = make(run) if make else None
    if fixed is None:
        return None
    changed, text = fixed
    return replace(changed, name=f"{run.name}-fixed"), text


def _examples(run: Run) -> list[str]:
    if run.name == "example-training":
        return ["Trains and chooses the epoch on the few test lists that come with the code."]
    if run.name == "example-test":
        return [
            "Only tests. The model is that of example-training, named on the command line "
            "(--from_exp); its training settings are not used."
        ]
    return [
        "Only tests. The settings name CLIP L/14 whatever is released: "
        f"the config.json of {run.weights} decides."
    ]


def _third_party(run: Run) -> list[str]:
    if run.name not in _REAL_PATHS:
        return []
    wanted = "/".join(_REAL_PATHS[run.name].split("/")[:2])
    return [
        f"Trap: the official code knows this detector by {wanted!r} in the path, which this path "
        f"lacks, so it builds GenD instead. {run.name}-fixed has a path that it knows."
    ]


def _is_pe_baseline(run: Run) -> bool:
    return run.name.startswith("wacv-PE_L-Baseline")


def _rung(run: Run) -> list[str]:
    notes = []
    if run.family == "base":
        notes.append(
            f"Template of {run.name}-seed0 to -seed4: here with the default seed 42 "
            "and the lists of FF/train."
        )
    if "NoLN" in run.name and "UnAl" in run.name:
        notes.append(
            "Nothing before the features is tuned, so alignment and uniformity have no gradient: "
            f"apart from chance the run is {run.name.replace('+UnAl', '')}."
        )
    if _is_pe_baseline(run):
        notes.append(
            "Trap: the official file passes image_size=224, which is no setting and is ignored. "
            "No harm: img_size is 224 by default."
        )
    return notes


def _sweep(run: Run) -> list[str]:
    first, second = _SWEEP.search(run.name).groups()
    notes = [
        "Trap: in names of the sweep A is followed by the uniformity weight and U by the alignment "
        f"weight, the reverse of the paper's letters. Here uniformity is {first}, "
        f"alignment {second}."
    ]
    if first != second:
        notes.append(f"{run.name}-fixed has the weights that this name says.")
    if "NoLN" in run.name:
        notes.append(
            "Nothing before the features is tuned, so both terms have no gradient: "
            f"apart from chance all {len(WEIGHTS) ** 2} of these runs are one."
        )
    return notes


def _paired(run: Run) -> list[str]:
    notes = ["The lists of the splits are not published."]
    if re.match(r"wacv-(un)?paired-PE_L", run.name):
        asked = run.name.replace("-LN-", "-LN+L2-")
        notes.append(f"The official launch script asks for {asked}, which is not registered.")
    return notes


def _robustness(run: Run) -> list[str]:
    tested = run.weights.removeprefix("run:")
    notes = [
        f"Only tests. The model is that of {tested}, named on the command line (--from_exp), "
        "whatever backbone and head the settings say."
    ]
    if (found := _BLUR.search(run.name)) and found[1] != "0":
        notes.append(
            "Trap: gaussian_blur_prob is 0, so the official code skips the blur and scores clean "
            f"crops. {run.name}-fixed blurs."
        )
    elif found := _RESIZE.search(run.name):
        filters = list(INTERPOLATIONS)
        notes.append(
            f"Interpolation {found[2]} is Pillow's {filters[int(found[2])]}; "
            "the comment in the official launch script numbers the filters otherwise."
        )
    elif run.corruption is None:
        notes.append("At this level the official code leaves the corruption out: clean crops.")
    return notes


def _fix_third_party(run: Run) -> tuple[Run, str] | None:
    if run.name not in _REAL_PATHS:
        return None
    path = _REAL_PATHS[run.name]
    text = f"The checkpoint lies where the official code looks for it: {path}."
    if run.name.startswith("ForAda"):
        text += (
            " The official code still stops: it derives the path of a YAML file from a file name "
            "that its module no longer has."
        )
    settings = {**run.settings, "checkpoint": path}
    return replace(run, settings=settings, weights=f"third-party:{path}"), text


def _fix_rung(run: Run) -> tuple[Run, str] | None:
    if not _is_pe_baseline(run):
        return None
    return run, "Passes img_size=224 under its right name. Its settings are the official ones."


def _fix_sweep(run: Run) -> tuple[Run, str] | None:
    first, second = map(float, _SWEEP.search(run.name).groups())
    if first == second:
        return None
    settings = {**run.settings, "loss": loss(1.0, uniformity=second, alignment=first)}
    return replace(run, settings=settings), f"Alignment is {first}, uniformity {second}."


def _fix_robustness(run: Run) -> tuple[Run, str] | None:
    found = _BLUR.search(run.name)
    if not found or found[1] == "0":
        return None
    kernel, sigma = int(found[1]), float(found[2])
    blurred = {**run.settings["test_augmentations"], "gaussian_blur_prob": 1.0}
    settings = {**run.settings, "test_augmentations": blurred}
    text = f"Every test crop is blurred: window {kernel}, standard deviation {sigma}."
    return replace(run, settings=settings, corruption=("blur", BLUR.index((kernel, sigma)))), text


_NOTES: dict[str, Callable[[Run], list[str]]] = {
    "examples": _examples,
    "third-party": _third_party,
    "base": _rung,
    "seeded": _rung,
    "sweep": _sweep,
    "paired": _paired,
    "robustness": _robustness,
}
_FIXES: dict[str, Callable[[Run], tuple[Run, str] | None]] = {
    "third-party": _fix_third_party,
    "base": _fix_rung,
    "seeded": _fix_rung,
    "sweep": _fix_sweep,
    "robustness": _fix_robustness,
}
