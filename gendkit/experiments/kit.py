"""The kit's own runs on Nobody's Faces, of the same families as the paper's.

All use the embedded encoder and the recipe of the embedded detector (`TrainConfig()`, four epochs,
no augmentation), so each trains in a minute or two on two cores, except the family "backbones",
which takes the paper's encoders and recipe.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gendkit.experiments.core import FROZEN, NORM_SCALE, Data, Experiment, nobody
from gendkit.experiments.families import BLUR, INTERPOLATIONS, JPEG, NOISE, RESIZE, resize_level
from gendkit.experiments.settings import PAPER
from gendkit.specs import REGISTRY

SEEDS = range(3)
EPOCHS = 4  # as in gendkit/pretrain/detector.py
SEEN = ("DF", "F2F", "FS", "NT")  # the manipulations with fit videos
PAIRED_SEEDS = range(5)
PAPER_LOSS = {"alignment": 0.1, "uniformity": 0.5}
NO_LOSS = {"alignment": 0.0, "uniformity": 0.0}
LORA = {"target_modules": "attention", "rank": 4, "alpha": 8}

# rung -> head, what is tuned, loss weights, further settings
LADDER: dict[str, tuple[str, str, Mapping[str, float], Mapping[str, Any]]] = {
    "baseline": ("linear", "probe", NO_LOSS, FROZEN),
    "LN": ("linear", "layernorm", NO_LOSS, {}),
    "LN+L2": ("LinearNorm", "layernorm", NO_LOSS, {}),
    "LN+L2+UnAl": ("LinearNorm", "layernorm", PAPER_LOSS, {}),
}


def every() -> Iterator[Experiment]:
    """Yield the kit's own runs."""
    yield _run(
        "example",
        "examples",
        *LADDER["LN+L2+UnAl"][:3],
        note="The shortest run that shows the whole way: three epochs.",
        epochs=3,
    )
    yield from _ladder()
    yield from _sweep()
    yield from _paired()
    yield from _cross()
    yield from _robustness()
    yield from _tuning()
    yield from _backbones()


def _run(
    name: str,
    family: str,
    head: str,
    tune: str,
    losses: Mapping[str, float],
    *,
    note: str = "",
    data: Data | None = None,
    tune_options: Mapping[str, Any] | None = None,
    **training: Any,
) -> Experiment:
    return Experiment(
        name=name,
        family=family,
        source="kit",
        backbone="embedded",
        head=head,
        tune=tune,
        tune_options=tune_options or {},
        model_options={"feature_scale": NORM_SCALE} if head == "LinearNorm" else {},
        losses={"cross_entropy": 1.0, "label_smoothing": 0.0, **losses},
        training={
            "augment": False,
            "epochs": EPOCHS,
            **losses,
            **training,
        },  # see data/weights/LOG.md
        data=data or nobody(),
        note=note,
    )


def _ladder() -> Iterator[Experiment]:
    for rung, (head, tune, losses, more) in LADDER.items():
        yield from _seeded(f"nobody-{rung}", "ladder", head, tune, losses, **more)


def _sweep() -> Iterator[Experiment]:
    head, tune, _, _ = LADDER["LN+L2+UnAl"]
    for alignment in (0.0, 0.1, 0.5):
        for uniformity in (0.0, 0.5, 1.0):
            name = f"nobody-sweep-A{alignment}-U{uniformity}"
            losses = {"alignment": alignment, "uniformity": uniformity}
            note = "A is the alignment weight, U the uniformity weight, as in the paper."
            yield _run(name, "sweep", head, tune, losses, note=note)


def _paired() -> Iterator[Experiment]:
    """Yield plain LayerNorm runs on two lists of equal size, as in the paper.

    Both use the random sampler: paired batches exist only where pairs do.
    """
    head, tune, losses, _ = LADDER["LN"]
    for kind in ("paired", "unpaired"):
        people = "their own reals" if kind == "paired" else "reals of other people"
        note = f"Trains on 36 fakes and {people} (data/nobody/{kind}.csv), random sampler."
        for seed in PAIRED_SEEDS:
            yield _run(
                f"nobody-{kind}-LN-seed{seed}",
                "paired",
                head,
                tune,
                losses,
                note=note,
                data=nobody(kind),
                paired=False,
                seed=seed,
            )


def _cross() -> Iterator[Experiment]:
    """Yield the top rung, trained on one manipulation and tested on all.

    As many updates as with all four: a pass over one of them is 2.5 times shorter.
    """
    head, tune, losses, _ = LADDER["LN+L2+UnAl"]
    for method in SEEN:
        yield from _seeded(
            f"nobody-cross-{method}",
            "cross",
            head,
            tune,
            losses,
            note=f"Trains, and chooses the epoch, on reals and {method} alone; as many updates as "
            "nobody-LN+L2+UnAl.",
            data=nobody(methods=(method,)),
            epochs=10,
            warmup_epochs=2.5,
        )


def _seeded(name: str, *what: Any, note: str = "", **more: Any) -> Iterator[Experiment]:
    """Yield a run, and the same with each seed."""
    yield _run(name, *what, note=f"{note} The same as {name}-seed0.".lstrip(), **more)
    for seed in SEEDS:
        yield _run(f"{name}-seed{seed}", *what, note=note, seed=seed, **more)


def _robustness() -> Iterator[Experiment]:
    """Yield the official grid on the top rung, one seed."""
    levels = {f"jpeg{quality}": ("jpeg", level) for level, quality in enumerate(JPEG)}
    levels |= {f"blur-{k}-{s}": ("blur", level) for level, (k, s) in enumerate(BLUR)}
    levels |= {
        f"resize-{size}-{number}": ("resize", resize_level(size, number))
        for size in RESIZE
        for number in range(INTERPOLATIONS)
    }
    levels |= {f"noise-{sigma}": ("noise", level) for level, sigma in enumerate(NOISE)}
    head, _, losses, _ = LADDER["LN+L2+UnAl"]
    tested = "nobody-LN+L2+UnAl-seed0"
    for mark, corruption in levels.items():
        yield Experiment(
            name=f"{tested}-{mark}",
            family="robustness",
            source="kit",
            backbone="embedded",
            head=head,
            tune=None,
            data=nobody(),
            losses={"cross_entropy": 1.0, "label_smoothing": 0.0, **losses},
            model_options={"feature_scale": NORM_SCALE},
            weights=f"run:{tested}",
            corruption=corruption,
            note=f"Only tests {tested}, on corrupted crops.",
        )


def _tuning() -> Iterator[Experiment]:
    head, _, losses, _ = LADDER["LN+L2+UnAl"]
    note = "nobody-LN+L2+UnAl with another part tuned, at a rate that this part bears."
    # Peak rates: at 1e-2 full tuning does not learn and LoRA learns and forgets again.
    kinds: dict[str, dict[str, Any]] = {
        "probe": {**FROZEN},
        "bitfit": {},
        "lora": {"tune_options": LORA, "learning_rate": 3e-3, "min_learning_rate": 3e-4},
        "full": {"learning_rate": 3e-4, "min_learning_rate": 3e-5},
    }
    for kind, more in kinds.items():
        yield from _seeded(f"nobody-{kind}", "tuning", head, kind, losses, note=note, **more)


def _backbones() -> Iterator[Experiment]:
    for backbone in REGISTRY:
        data = nobody()
        yield Experiment(
            name=f"nobody-{backbone}",
            family="backbones",
            source="kit",
            backbone=backbone,
            head="LinearNorm",
            tune="layernorm",
            losses={"cross_entropy": 1.0, "label_smoothing": 0.0, **PAPER_LOSS},
            training={**PAPER, **PAPER_LOSS, "seed": 0},
            data=Data(data.kind, data.train, data.val, data.test, n_frames=16),
            note="The paper's recipe on Nobody's Faces. Needs the weights of the encoder; a GPU helps.",
        )
