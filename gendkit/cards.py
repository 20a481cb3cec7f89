"""Model cards: what a detector is, what it was trained on, how well it does, and what it is not for.

A card is written from records only (the run, its report, its threshold). What no record holds is
said to be missing; nothing is filled in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PIPELINE = "image-classification"
TAGS = ("deepfake-detection", "gend", "arxiv:2508.06248")
_SUMMARY_ROWS = ("mean over methods", "pooled")


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from.

    Attributes:
        title: Name of the model.
        kind: "full" (the whole detector) or "adapter" (what was tuned).
        licence: Identifier of the hub, as "mit" or "cc0-1.0".
        model: backbone, head, tune, n_total, n_trained (None where unknown), feature_dim.
        base: Hub id of the base encoder, or "" where it has none.
        preprocessing: image_size, image_mean, image_std, resize, resample, crop_scale.
        files: Name -> bytes and sha256.
        threshold: As stored with the model, or None.
        threshold_text: The same in a sentence (`calibration.explain`).
        report: Rows of `evaluate.report`; empty where nothing was measured.
        run: run.json of `gendkit train`, or None.
        sets: Role -> the datasets and methods of its scores, in words.
        limits: Sentences.
        code: Version, and commit if known, of the gendkit that wrote the card.
        notes: Markdown of the author, added at the end.
    """

    title: str
    kind: str
    licence: str
    model: Mapping[str, Any]
    base: str
    preprocessing: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    threshold: Mapping[str, Any] | None
    threshold_text: str
    report: Sequence[Mapping[str, Any]] = ()
    run: Mapping[str, Any] | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    code: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""


def render(facts: CardFacts) -> str:
    """Write the card: YAML front matter for the hub, then Markdown for people.

    Args:
        facts: What is known.

    Returns:
        Text of README.md.
    """
    parts = [
        f"---\n{front_matter(facts)}\n---",
        f"# {facts.title}",
        _what(facts),
        _use(facts),
        _scores(facts),
        _threshold(facts),
        _training(facts),
        _limits(facts),
        _provenance(facts),
    ]
    if facts.notes:
        parts.append(f"## Notes of the author\n\n{demote(facts.notes.strip())}")
    return "\n\n".join(parts) + "\n"


def front_matter(facts: CardFacts) -> str:
    """Give the YAML that the hub reads: licence, tags, base model, task, metrics (model-index).

    Each AUROC of the report is one result; its name says level and 95 % interval.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=PIPELINE,
            dataset_type=row["dataset"],
            dataset_name=f"{row['dataset']}, {row['method']} ({row['compression']})",
            dataset_config=row["method"],
            dataset_split="report",
            metric_type="roc_auc",
            metric_name=f"AUROC, {row['level']} level, 95 % interval {_interval(row)}",
            metric_value=round(float(row["auroc"]), 6),
        )
        for row in facts.report
    ]
    more = {}
    if facts.base:
        relation = "adapter" if facts.kind == "adapter" else "finetune"
        more = {"base_model": facts.base, "base_model_relation": relation}
    data = ModelCardData(
        license=facts.licence,
        library_name="gendkit",
        pipeline_tag=PIPELINE,
        tags=list(TAGS),
        metrics=["roc_auc"] if results else None,
        model_name=facts.title if results else None,
        eval_results=results or None,
        **more,
    )
    return data.to_yaml().strip()


def demote(text: str, levels: int = 2) -> str:
    """Move the headings of a Markdown text down, so that it fits below a heading.

    Args:
        text: Markdown; lines inside fenced code stay as they are.
        levels: How far; no heading goes below the sixth level.
    """
    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (found := re.match(r"(#{1,6})(?= )", line)):
            line = "#" * min(6, len(found[1]) + levels) + line[found.end() :]
        lines.append(line)
    return "\n".join(lines)


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['low']:.3f} to {row['high']:.3f}"


def _rows(pairs: Sequence[tuple[str, Any]]) -> str:
    body = "\n".join(f"| {name} | {value} |" for name, value in pairs if value not in (None, ""))
    return f"| | |\n|---|---|\n{body}"


def _what(facts: CardFacts) -> str:
    model, seen = facts.model, facts.preprocessing
    trained = "not recorded"
    if model["n_trained"] is not None:
        share = model["n_trained"] / model["n_total"]
        trained = f"{model['n_trained']:,} of {model['n_total']:,} parameters ({share:.4%})"
    how = {"shortest": "shortest edge, then a centre crop", "exact": "both edges"}[seen["resize"]]
    facts_of_it = [
        ("task", "is an aligned face crop a deepfake? Class 0 is real, class 1 is fake"),
        ("base encoder", facts.base or model["backbone"]),
        ("head", f"{model['head']}, two classes, on {model['feature_dim']} features"),
        ("tuned", model["tune"]),
        ("trained", trained),
        ("input", f"{seen['image_size']} x {seen['image_size']} pixels, {how}, {seen['resample']}"),
        (
            "crop",
            f"aligned by five points, margin {seen['crop_scale']} (`gendkit.faces.align_crop`)",
        ),
        ("licence", facts.licence),
    ]
    return (
        "A deepfake detector of the GenD kind (arXiv 2508.06248): a pre-trained vision encoder of "
        "which little is tuned, and a small head.\n\n" + _rows(facts_of_it)
    )


def _use(facts: CardFacts) -> str:
    if facts.kind == "adapter":
        where = "" if facts.base else (
            " It belongs on an encoder that no hub holds: give its folder as `base=`, unless it is "
            "the one that gendkit carries."
        )  # fmt: skip
        return (
            "## Use\n\nOnly what was tuned is here; the base encoder is loaded beside it and checked by "
            f"hash.{where}\n\n```python\nimport gendkit\n\n"
            'detector = gendkit.from_pretrained("FOLDER")  # this folder\n```\n\n'
            "`gendkit score clip.mp4 --model FOLDER` finds the faces, cuts and scores them."
        )
    return (
        "## Use\n\nThe package `gendkit` holds the classes; of its requirements torch, transformers, "
        "NumPy, Pillow and safetensors are enough to load and score.\n\n"
        "```python\nimport gendkit.model  # makes the model type known to transformers\n"
        "from transformers import pipeline\n\n"
        'classify = pipeline("image-classification", model="FOLDER")  # this folder\n'
        'classify("aligned_face.png")  # [{"label": "fake", "score": ...}, {"label": "real", ...}]\n'
        "```\n\n`AutoModelForImageClassification` and `AutoImageProcessor` read the folder, too. "
        "The crop is part of the model: `gendkit score clip.mp4 --model FOLDER` finds, aligns and "
        "cuts the faces as they were in training."
    )


def _scores(facts: CardFacts) -> str:
    if not facts.report:
        return (
            "## Measured\n\nNothing: no report was stored with this model. Do not trust its scores "
            "before you have measured it on data like yours (`gendkit test`)."
        )
    rows = [
        f"| {row['dataset']} | {row['method']} | {row['compression']} | {row['n_real']} | "
        f"{row['n_fake']} | {row['auroc']:.3f} | {_interval(row)} |"
        for row in sorted(facts.report, key=_order)
    ]
    level = facts.report[0]["level"]
    return (
        f"## Measured\n\nAUROC at {level} level on the role *report*, with a 95 % interval from a "
        "bootstrap over sources (a real and its fakes stay together). One run: chance between runs "
        "is not in the interval.\n\n"
        "| set | method | coding | reals | fakes | AUROC | interval |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(rows)
    )


def _order(row: Mapping[str, Any]) -> tuple:
    last = _SUMMARY_ROWS.index(row["method"]) + 1 if row["method"] in _SUMMARY_ROWS else 0
    return row["dataset"], row["compression"], last


def _threshold(facts: CardFacts) -> str:
    name = "`threshold.json`: " if facts.threshold else ""
    return f"## Threshold\n\n{name}{facts.threshold_text}"


def _training(facts: CardFacts) -> str:
    run = facts.run
    if run is None:
        return (
            "## Training\n\nNo run record (`run.json` of `gendkit train`) was stored with this model, "
            "so data and recipe are not stated here"
            + ("; see the notes below." if facts.notes else ".")
        )
    config, losses = run["config"], (run.get("view") or {}).get("losses") or {}
    rule = f"{config['learning_rate']:g} to {config['min_learning_rate']:g}"
    pairs = [
        ("experiment", f"`{run['experiment']}`, profile {run['profile']}"),
        *((f"videos of the role {role}", text) for role, text in facts.sets.items()),
        ("crops", f"{run['n_fit']:,} to fit, {run['n_select']:,} to select the epoch"),
        ("frames a video", run.get("n_frames")),
        ("loss", ", ".join(f"{name} {weight:g}" for name, weight in losses.items())),
        ("optimiser", f"AdamW, rate {rule}, weight decay {config['weight_decay']:g}"),
        ("epochs", f"{config['epochs']}, epoch {run['best']['epoch']:.0f} taken"),
        ("batch", f"{config['batch_size']}, {'pairs' if config['paired'] else 'random'}"),
        ("augmentation", "the paper's" if config["augment"] else "none"),
        ("seed", config["seed"]),
        ("time", f"{run['seconds']:.0f} s of training on {run['n_processes']} process(es)"),
    ]
    settings = "\n".join(f"{name}: {value}" for name, value in sorted(config.items()))
    return (
        f"## Training\n\n{_rows(pairs)}\n\n<details><summary>All settings</summary>\n\n"
        f"```text\n{settings}\n```\n\n</details>"
    )


def _limits(facts: CardFacts) -> str:
    return "## Limits and misuse\n\n" + "\n".join(f"* {text}" for text in facts.limits)


def _provenance(facts: CardFacts) -> str:
    versions = (facts.run or {}).get("code", {}).get("versions") or {}
    code = (facts.run or {}).get("code", {})
    state = " with changes not committed" if code.get("dirty") else ""
    pairs = [
        ("trained with", ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))),
        ("commit of the training code", f"{code['commit']}{state}" if code.get("commit") else ""),
        ("fingerprint of the run", (facts.run or {}).get("fingerprint", "")),
        ("card written by", f"gendkit {facts.code['version']}"),
    ]
    listed = "\n".join(
        f"| `{name}` | {file['bytes']:,} | `{file['sha256']}` |"
        for name, file in sorted(facts.files.items())
    )
    return (
        f"## Provenance\n\n{_rows(pairs)}\n\n| file | bytes | sha256 |\n|---|---|---|\n{listed}\n\n"
        "Method: Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across "
        "Benchmarks*, [arXiv 2508.06248](https://arxiv.org/abs/2508.06248)."
    )
