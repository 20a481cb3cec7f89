"""From a run or a model to a folder for a model hub: weights, processor, threshold, model card.

The folder is loaded back before anything is said to be done. Nothing leaves this machine but by
`upload`.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch

from gendkit import backbones, cards, hub, repro, tensors
from gendkit.model import GenDForImageClassification

KINDS = ("full", "adapter")
FREE = {"nobody", "nobody-x"}  # with the embedded encoder: everything is CC0
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "tuned.safetensors",
                  "gend_config.json", "carried.safetensors")  # fmt: skip
_TOLERANCE = 1e-6
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_LIMITS = (
    "It looks at single aligned faces, not at sound, not at motion between frames, and only at faces "
    "that the face detector found.",
    "It was measured on the sets above and nothing else: manipulations, cameras and coding that they "
    "do not hold can make it fail in both directions.",
    "A threshold carries over to other data only as far as that data is like the set it was chosen on.",
    "Do not accuse anybody with a score, and do not decide about a person by it.",
)


def write(
    source: str | Path,
    out: str | Path,
    kind: str = "full",
    *,
    licence: str | None = None,
    repo_id: str | None = None,
    base: str | None = None,
    notes: str | Path | None = None,
) -> dict[str, Any]:
    """Write a folder that is ready for a model hub, and load it back.

    Args:
        source: Folder of a run of `gendkit train`, of a detector or of an adapter; or "embedded".
        out: Folder to write; an existing one is replaced as a whole.
        kind: "full": the whole detector, which loads by itself with transformers' Auto classes and
            pipeline. "adapter": what was tuned; the base encoder is loaded beside it.
        licence: Identifier of the hub, as "mit". None: "cc0-1.0" where encoder and data are the
            kit's own, else there is no answer and it must be given.
        repo_id: owner/name on the hub, for the title.
        base: For an adapter from a whole detector: its untuned encoder, as in `hub.to_adapter`.
        notes: Markdown file that is added to the card.

    Returns:
        folder, kind, files (name -> bytes, sha256), n_parameters, difference (largest difference
        of P(fake) between the source and what was loaded back, over four random inputs).

    Raises:
        ValueError: If an argument is out of range, the licence is not known, or the folder does
            not give the scores of the source.
        FileNotFoundError: If the source is none, or the base of an adapter cannot be had.
    """
    from gendkit import score

    if kind not in KINDS:
        raise ValueError(f"got kind {kind!r}, expected one of {', '.join(KINDS)}")
    if repo_id is not None and not tensors.is_repo_id(repo_id):
        raise ValueError(
            f"got repo_id {repo_id!r}, expected owner/name, as yermandy/GenD_CLIP_L_14"
        )
    text = None if notes is None else Path(notes).read_text(encoding="utf-8")
    home = _home(source)
    detector = score.load("embedded" if str(source) == "embedded" else home, device="cpu")
    place = home / "adapter" if (home / "adapter").is_dir() else home
    backbone = detector.model.config.backbone
    if base is None:
        inside = backbone if Path(backbone).is_dir() else None
        base = inside or hub.base_beside(place, detector.model)
    record = _record(home, place)
    title = (repo_id or Path(out).name).rpartition("/")[2]
    licence = _licence(licence, backbone, record)
    if text is None and str(source) == "embedded":
        text = (home.parent / "detector.md").read_text(encoding="utf-8")
    with repro.atomic_path(out) as folder:
        if kind == "full":
            hub.save(detector.model, folder)
        else:
            _write_adapter(place, folder, base)
        detector.processor.save_pretrained(str(folder))
        if detector.threshold is not None:
            repro.write_json(folder / "threshold.json", detector.threshold)
        _without_paths(folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors makes its files private
        files = _files(folder)
        facts = _card_facts(detector, record, title, kind, licence, files, text or "")
        (folder / "README.md").write_text(cards.render(facts), encoding="utf-8", newline="\n")
        difference = _difference(detector.model, folder, kind, base)
        files = _files(folder)
    return {
        "folder": str(out),
        "kind": kind,
        "licence": licence,
        "files": files,
        "n_parameters": sum(p.numel() for p in detector.model.parameters()),
        "difference": difference,
    }


def upload(
    folder: str | Path, repo_id: str, private: bool = False, api: Any = None, message: str = ""
) -> str:
    """Put a folder on the hub, as one commit; the repository is made if it is not there.

    Args:
        folder: What `write` wrote.
        repo_id: owner/name.
        private: Make a new repository private.
        api: As `huggingface_hub.HfApi` (the default), which takes the token from HF_TOKEN or from
            `hf auth login`.
        message: Of the commit.

    Returns:
        Address of the model.

    Raises:
        ValueError: If repo_id has another form, or there is no token.
        FileNotFoundError: If the folder has no card.
        OSError: If the hub refuses.
    """
    folder = Path(folder)
    if not tensors.is_repo_id(repo_id):
        raise ValueError(f"got repo_id {repo_id!r}, expected owner/name")
    if not (folder / "README.md").is_file():
        raise FileNotFoundError(f"{folder} has no README.md; write the folder with gendkit publish")
    if api is None:
        from huggingface_hub import HfApi, get_token

        if get_token() is None:
            raise ValueError(
                "no token for the hub; set HF_TOKEN to one with the right to write, or run "
                "`hf auth login` once. --dry-run writes the folder and uploads nothing"
            )
        api = HfApi()
    made = api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
    api.upload_folder(
        repo_id=repo_id,
        repo_type="model",
        folder_path=str(folder),
        commit_message=message or f"Upload of {folder.name} by gendkit",
    )
    return str(made)


def _home(source: str | Path) -> Path:
    """Return the folder that the source means."""
    if str(source) == "embedded":
        return repro.data_dir() / "weights" / "detector"
    folder = Path(source)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{source} is no folder; expected a run of gendkit train, a detector or an adapter. A "
            f"model of the hub: `gendkit convert {source} FOLDER --to gendkit` first."
        )
    if not (folder / "adapter").is_dir():
        hub.kind_of(folder)
    return folder


def _record(home: Path, place: Path) -> dict[str, Any]:
    """Collect what lies beside the weights: run, report rows, sets of the scores, what was tuned."""
    run = repro.read_json(home / "run.json") if (home / "run.json").is_file() else None
    report, sets = [], {}
    if (home / "summary.json").is_file():
        report = repro.read_json(home / "summary.json").get("report", [])
    elif (home / "metrics.json").is_file():
        report = repro.read_json(home / "metrics.json")
    datasets = {row["dataset"] for row in report}
    if (home / "scores.csv").is_file():
        from gendkit.evaluate import read_scores

        scores = read_scores(home / "scores.csv")
        datasets |= set(scores["dataset"])
        for role, rows in scores.groupby("role"):
            methods = rows.groupby("dataset")["method"].unique()
            sets[role] = "; ".join(f"{name}: {', '.join(sorted(m))}" for name, m in methods.items())
    found = {"run": run, "report": report, "sets": sets, "datasets": datasets}
    return found | _tuned(place)


def _tuned(place: Path) -> dict[str, Any]:
    """Say what an adapter's file tunes and how many numbers it holds; None where there is none."""
    if not (place / "gend_config.json").is_file():
        return {"tune": None, "n_trained": None}
    files = [place / name for name in _ADAPTER_FILES[1:3] if (place / name).is_file()]
    count = sum(value.numel() for value in tensors.read_file(files[0]).values())
    return {
        "tune": repro.read_json(place / "gend_config.json").get("how", "layernorm"),
        "n_trained": count,
    }


def _licence(given: str | None, backbone: str, record: dict[str, Any]) -> str:
    if given is not None:
        if not _LICENCE.fullmatch(given):
            raise ValueError(
                f"got licence {given!r}, expected an identifier of the hub in small letters, as mit, "
                "cc0-1.0, cc-by-nc-4.0 or other"
            )
        return given
    if backbone == "embedded" and record["datasets"] and record["datasets"] <= FREE:
        return "cc0-1.0"
    trained = ", ".join(sorted(record["datasets"])) or "data that no record names"
    raise ValueError(
        f"the licence is not known: base encoder {backbone!r}, {trained}. Give it (--license ID, as "
        "mit or cc-by-nc-4.0) after reading the terms of the encoder and of the data (gendkit data "
        "show NAME), which may bind the weights"
    )


def _write_adapter(place: Path, folder: Path, base: str | Path | None) -> None:
    if hub.kind_of(place) != "adapter":
        hub.to_adapter(place, folder, base=base)
        return
    folder.mkdir(parents=True)
    for name in _ADAPTER_FILES:
        if (place / name).is_file():
            (folder / name).write_bytes((place / name).read_bytes())


def _without_paths(folder: Path) -> None:
    """Keep folder names, not the places of this machine, in what is shared."""
    for path in folder.glob("*.json"):
        repro.write_json(path, _bare(repro.read_json(path)))


def _bare(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _bare(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_bare(value) for value in data]
    is_path = isinstance(data, str) and (os.path.isabs(data) or os.path.isdir(data))
    return Path(data).name if is_path and data not in backbones.names() else data


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return {p.name: {"bytes": p.stat().st_size, "sha256": repro.sha256(p)} for p in paths}


def _card_facts(
    detector: Any,
    record: dict[str, Any],
    title: str,
    kind: str,
    licence: str,
    files: dict[str, Any],
    notes: str,
) -> cards.CardFacts:
    from gendkit import __version__, score

    config, processor = detector.model.config, detector.processor
    spec, run = config.encoder["spec"], record["run"] or {}
    names = ("image_size", "resize", "resample", "crop_scale")
    return cards.CardFacts(
        title=title,
        kind=kind,
        licence=licence,
        model={
            "backbone": _bare(config.backbone),
            "head": config.head,
            "tune": (run.get("view") or {}).get("tune") or record["tune"],
            "n_total": sum(p.numel() for p in detector.model.parameters()),
            "n_trained": run.get("n_trained") or record["n_trained"],
            "feature_dim": spec["feature_dim"],
        },
        base=f"{spec['hub_id']}{'.fb' if spec['family'] == 'pe' else ''}" if spec["hub_id"] else "",
        preprocessing={name: getattr(processor, name) for name in names},
        files=files,
        threshold=detector.threshold,
        threshold_text=score.explain(detector.threshold),
        report=record["report"],
        run=record["run"],
        sets=record["sets"],
        limits=(score.MEANING, *filter(None, [detector.limits]), *_LIMITS),
        code={"version": __version__},
        notes=notes,
    )


def _difference(model: GenDForImageClassification, folder: Path, kind: str, base: Any) -> float:
    """Load the folder as its reader does; return the largest difference of P(fake)."""
    if kind == "full":
        again = GenDForImageClassification.from_pretrained(folder)
    else:
        again = hub.from_pretrained(folder, base=base)
    size = model.encoder.spec.image_size
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = [part(pixels).logits.softmax(-1)[:, 1] for part in (model, again)]
    difference = float((scores[0] - scores[1]).abs().max())
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"the folder gives other scores than the source: they differ by {difference:.1e}, "
            f"expected at most {_TOLERANCE}; nothing was written. Please report this model's layout"
        )
    return difference
