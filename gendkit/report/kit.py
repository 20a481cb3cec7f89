"""What this kit's own code gives for the published facts that need no scores: counts, settings, sizes.

Every value is derived from the objects that the kit runs with (configurations, networks on the meta
device, lists, experiments), never from the table that it is compared with.
"""

import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gendkit import (
    adapters,
    benchmarks,
    checkpoints,
    experiments,
    faces,
    losses,
    metrics,
    recipe,
    repro,
    specs,
    transforms,
)

Value = tuple[str, str, str, Any, str]  # table, row, column, value, how it was derived
ENCODERS = {
    "CLIP ViT-L/14": ("GenD CLIP", "clip-l14"),
    "PE-L": ("GenD PE", "pe-l"),
    "DINOv3 ViT-L/16": ("GenD DINOv3", "dinov3-l"),
}


@functools.cache
def values() -> dict[tuple[str, str, str], tuple[Any, str]]:
    """Derive every value that the kit can give by itself.

    Returns:
        (table, row, column) of `gendkit.paper` -> (number or text, how it was derived).
    """
    out = {}
    for part in (
        _objective,
        _training,
        _augmentation,
        _crops,
        _parameters,
        _checkpoints,
        _experiments,
        _groups,
        _robustness,
    ):
        out |= {(table, row, column): (value, how) for table, row, column, value, how in part()}
    return out


def file_bytes(tensors: dict[str, tuple[int, ...]]) -> int:
    """Compute the size of a safetensors file of float32 tensors, without making it.

    Args:
        tensors: Name -> shape.

    Returns:
        Bytes: eight for the length, the header (JSON, filled up to a multiple of eight), the data.

    Source: https://huggingface.co/docs/safetensors (format); the metadata is what transformers
    writes.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + 4 * math.prod(tensors[name])
        shape = list(tensors[name])
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    size = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + math.ceil(size / 8) * 8 + end


def parity(folder: str | Path) -> pd.Series:
    """Compare with what the official code gave on seeded random inputs.

    Args:
        folder: With losses.npz and metrics.json (`tests/data` of a checkout).

    Returns:
        Name of the number -> largest absolute difference over the stored inputs.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    import torch

    folder, gaps = Path(folder), {}
    terms = {"alignment": losses.AlignmentLoss(), "uniformity": losses.UniformityLoss()}
    with np.load(folder / "losses.npz", allow_pickle=False) as stored:
        for number in sorted(name[1:] for name in stored.files if name[0] == "z"):
            z, y = (torch.from_numpy(stored[f"{name}{number}"]) for name in "zy")
            for name, term in terms.items():
                gap = abs(float(term(z, y)) - float(stored[f"{name}{number}"]))
                gaps[name] = max(gaps.get(name, 0.0), gap)
    for one in repro.read_json(folder / "metrics.json"):
        labels, p_fake = one["labels"], np.asarray(one["probs"])[:, 1]
        ours = {
            "frame AUROC": metrics.auroc(labels, p_fake) - one["frame"]["auroc"],
            "frame mAP": metrics.average_precision(labels, p_fake) - one["frame"]["mAP"],
            "frame EER": metrics.eer(labels, p_fake)[0] - one["frame"]["eer"],
        }
        for name, gap in ours.items():
            gaps[name] = max(gaps.get(name, 0.0), abs(gap))
    return pd.Series(gaps, name="largest difference")


def _objective() -> Iterator[Value]:
    objective, how = losses.GenDLoss(), "defaults of losses.GenDLoss"
    for name, weight in objective.weights.items():
        yield "losses", name, "weight", weight, how
    yield "losses", "uniformity", "t", objective.uniformity.t, how
    yield "losses", "uniformity", "clamp", objective.uniformity.epsilon, how
    official = experiments.get("wacv-LN+L2+UnAl").losses
    yield "losses", "cross-entropy", "weight", official["cross_entropy"], "wacv-LN+L2+UnAl"


def _training() -> Iterator[Value]:
    import torch

    paper, column = recipe.TrainConfig.paper(), "version 3"
    named = {
        "weight decay": paper.weight_decay,
        "learning rate": paper.learning_rate,
        "lowest learning rate": paper.min_learning_rate,
        "warm-up": paper.warmup_epochs,
        "cosine cycle": paper.cycle_epochs,
        "epochs": paper.epochs,
        "patience": paper.patience,
        "batch size": paper.batch_size,
        "precision": {"bf16": "bf16-mixed"}.get(paper.precision, paper.precision),
        "selection": {"map": "mAP"}.get(paper.select_metric, paper.select_metric),
    }
    for row, value in named.items():
        yield "recipe", row, column, value, "recipe.TrainConfig.paper()"
    rates = [recipe.learning_rate(step, 1, paper) for step in range(paper.epochs)]
    restarts = [n for n in range(2, len(rates)) if rates[n] > rates[n - 1]]
    for row, epoch in zip(("first restart", "second restart"), restarts, strict=False):
        yield "recipe", row, column, epoch, "recipe.learning_rate, epochs counted from 0"
    default = torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).defaults["betas"]
    for number, beta in enumerate(default, 1):
        yield "recipe", f"beta {number}", column, beta, "torch.optim.AdamW"
    run = experiments.get("wacv-LN+L2+UnAl-seed0")
    yield "recipe", "validation lists", column, len(run.data.val), f"experiments, {run.name}"
    yield "recipe", "test groups", column, len(run.data.test), f"experiments, {run.name}"
    yield "recipe", "frames a training video", column, run.data.n_frames, f"experiments, {run.name}"
    seeds = experiments.names("wacv-LN+L2+UnAl-seed[0-9]", source="official")
    yield "recipe", "seeds", column, len(seeds), "experiments wacv-LN+L2+UnAl-seed*"
    for encoder, name in (("CLIP", "clip-l14"), ("PE", "pe-l"), ("DINOv3", "dinov3-l")):
        size = specs.REGISTRY[name][0].image_size
        yield "recipe", f"resolution {encoder}", column, size, "gendkit.specs"


def _augmentation() -> Iterator[Value]:
    a, how = transforms.Augment(), "defaults of transforms.Augment"
    named = {
        ("horizontal flip", "probability"): a.flip,
        ("affine", "rotation"): a.degrees,
        ("affine", "translation"): a.translate,
        ("affine", "lowest scale"): a.scale[0],
        ("affine", "highest scale"): a.scale[1],
        ("blur", "probability"): a.blur,
        ("blur", "kernel"): a.blur_kernel,
        ("blur", "lowest sigma"): a.blur_sigma[0],
        ("blur", "highest sigma"): a.blur_sigma[1],
        ("colour jitter", "brightness"): a.brightness,
        ("colour jitter", "contrast"): a.contrast,
    }
    if a.jpeg_quality is not None:
        named["jpeg", "lowest quality"], named["jpeg", "highest quality"] = a.jpeg_quality
    for (row, column), value in named.items():
        yield "augmentation", row, column, value, how


def _crops() -> Iterator[Value]:
    import inspect

    scale = inspect.signature(faces.align_crop).parameters["scale"].default
    yield "crops", "scale", "value", scale, "default of faces.align_crop"
    points = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
    for name, (x, y) in zip(points, faces.TEMPLATE, strict=True):
        yield "crops", f"template {name}", "value", f"({x:g}, {y:g})", "faces.TEMPLATE"


def _parameters() -> Iterator[Value]:
    for row, (_, name) in ENCODERS.items():
        tensors = checkpoints.official_tensors(name)
        size = {key: math.prod(shape) for key, shape in tensors.items()}
        targets = re.compile(specs.REGISTRY[name][0].layernorm_targets)
        norms = sum(
            n for key, n in size.items() if targets.fullmatch(_module(key)) and "linear" not in key
        )
        head = sum(n for key, n in size.items() if key.startswith("model.linear"))
        how = "shapes of the released layout (checkpoints.official_tensors)"
        total = sum(size.values())
        yield "parameters", row, "total", total, how
        yield "parameters", row, "LayerNorm", norms, how
        yield "parameters", row, "head", head, how
        trained, route = norms + head, how
        if name != "pe-l":  # PE needs timm to be built; its shapes are known without
            trained, route = _counted(name), "PEFT on the meta device (adapters.count_trainable)"
        yield "parameters", row, "trained", trained, route
        yield "parameters", row, "share", round(100 * trained / total, 4), route
        if "visual_projection.weight" in " ".join(tensors):
            key = next(key for key in tensors if key.endswith("visual_projection.weight"))
            yield "parameters", row, "unused projection", size[key], how
    yield "parameters", "Baseline, NoLN", "trained", _counted("clip-l14", "probe"), route


def _module(key: str) -> str:
    """Name of the module of a released tensor, as the LayerNorm patterns of the kit expect it."""
    name = key.removeprefix("feature_extractor.").rpartition(".")[0]
    return re.sub(r"^backbone\.(norm|attn_pool\.norm)$", r"vision.\1", name)


def _counted(name: str, how: str = "layernorm") -> int:
    import torch

    from gendkit import model

    with torch.device("meta"):
        tuned = adapters.tune(model.build(name, pretrained=False), how)
    return adapters.count_trainable(tuned)[0]


def _checkpoints() -> Iterator[Value]:
    how = "checkpoints.official_tensors"
    for row, name in ENCODERS.values():
        tensors = checkpoints.official_tensors(name)
        yield "checkpoints", row, "tensors", len(tensors), how
        size = file_bytes(tensors)
        if row == "GenD CLIP":
            yield "checkpoints", row, "size", size, "names and shapes, safetensors' format"
        else:
            gigabytes = round(4 * sum(map(math.prod, tensors.values())) / 1e9, 3)
            yield "checkpoints", row, "size", gigabytes, "parameters times 4"
    shape = tensors["model.linear.weight"]
    yield "checkpoints", "all", "head weight", " x ".join(map(str, shape)), how


def _experiments() -> Iterator[Value]:
    how, official = "gendkit.experiments", experiments.names(source="official")
    runs = [experiments.get(name) for name in official]
    families = [run.family for run in runs]
    for family in dict.fromkeys(families):
        yield "experiments", family, "runs", families.count(family), how
    yield "experiments", "all", "runs", len(official), how
    rebuttal = sum(families.count(name) for name in ("base", "seeded", "sweep"))
    yield "experiments", "wacv_rebuttal.py", "runs", rebuttal, how
    base = [run.backbone for run in runs if run.family == "base"]
    for row, name in (("CLIP", "clip-l14"), ("PE", "pe-l"), ("DINOv3", "dinov3-l")):
        yield "experiments", f"base {row}", "runs", base.count(name), how
    kinds = [_kind(run.name) for run in runs if run.family == "robustness"]
    for kind in dict.fromkeys(kinds):
        yield "experiments", kind, "runs", kinds.count(kind), how
    paired = [run.name for run in runs if run.family == "paired"]
    seeds = {re.search(r"seed(\d+)$", name)[1] for name in paired if re.search(r"seed\d+$", name)}
    yield "experiments", "paired seeds", "runs", len(seeds), how


def _kind(name: str) -> str:
    return next((k for k in ("jpeg", "blur", "resize", "noise") if k in name.lower()), "other")


def _groups() -> Iterator[Value]:
    groups, how = benchmarks.GROUPS, "benchmarks.GROUPS"
    young = [name for name in groups if name.startswith("CDFv3")]
    yield "groups", "all", "groups", len(groups), how
    yield "groups", "CDFv3 and its parts", "groups", len(young), how
    yield "groups", "others", "groups", len(groups) - len(young), how
    methods = benchmarks.CDFV3_METHODS
    yield "groups", "CDFv3", "methods", sum(map(len, methods.values())), "benchmarks.CDFV3_METHODS"
    for kind, names in methods.items():
        yield "groups", f"CDFv3-{kind}", "methods", len(names), "benchmarks.CDFV3_METHODS"
    lists = ("CDFv3", "PolyGlotFake", "DeepSpeak-1.1", "DeepSpeak-2.0", "KoDF", "FakeAVCeleb")
    for name in (*lists, "FF", "IDForge-v1"):
        yield "groups", name, "lists", len(groups[name]), how
    glot = [name.rpartition("/")[2] for name in groups["PolyGlotFake"]]
    reals = sum(name.startswith("real") for name in glot)
    yield "groups", "PolyGlotFake", "lists of reals", reals, how
    yield "groups", "PolyGlotFake", "lists of fakes", len(glot) - reals, how
    n, absent = len(benchmarks.LANGUAGES), len(benchmarks.ABSENT)
    yield "groups", "PolyGlotFake", "possible fakes", n * (n - 1) * 2, f"{absent} of them absent"
    fakes = [name for name in groups["DFDM"] if "/DFDM/" in name]
    yield "groups", "DFDM", "sources of fakes", len(fakes), how
    for one in benchmarks.BENCHMARKS:
        yield "benchmarks", one.key, "year", one.year, "benchmarks.BENCHMARKS"


def _robustness() -> Iterator[Value]:
    levels, how = transforms.CORRUPTIONS, "transforms.CORRUPTIONS"
    yield "robustness", "jpeg", "levels", " ".join(str(x["quality"]) for x in levels["jpeg"]), how
    blur = " ".join(f"({x['kernel']}, {x['sigma']:g})" for x in levels["blur"])
    yield "robustness", "blur", "levels", blur, how
    sizes = dict.fromkeys(x["size"] for x in levels["resize"])
    yield "robustness", "resize", "levels", " ".join(map(str, sizes)), how
    kinds = {x["interpolation"] for x in levels["resize"]}
    yield "robustness", "resize interpolations", "levels", len(kinds), how
    yield "robustness", "noise", "levels", " ".join(f"{x['sigma']:g}" for x in levels["noise"]), how
