"""The 803 official runs, from seven families.

Source: github.com/yermandy/GenD at e03532d. Names, order and settings are its own; the rules that
make them are written anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gendkit.benchmarks import FF, GROUPS, lists
from gendkit.experiments.settings import (
    CLIP,
    DINO,
    LAYERNORMS,
    NO_AUGMENTATIONS,
    PE,
    PE_ARGS,
    VAL_NO_CELEB,
    WACV,
    loss,
    resolve,
)

SIZES = {
    "examples": 5,
    "third-party": 8,
    "base": 23,
    "seeded": 115,
    "sweep": 100,
    "paired": 240,
    "robustness": 312,
}
WEIGHTS = (0.0, 0.1, 0.5, 1.0, 5.0)  # of the sweep, each of both terms
JPEG = (100, 80, 60, 40, 20, 10)
BLUR = ((0, 0.0), (5, 0.5), (7, 1.0), (11, 1.5), (13, 2.0), (19, 3.0))
RESIZE = (224, 112, 64)
INTERPOLATIONS = 6
NOISE = (0.0, 0.01, 0.03, 0.05, 0.1, 0.2)
ROBUST = ("wacv-LN+L2+UnAl", "wacv-PE_L-LN+L2")  # the runs whose robustness is tested
RELEASED = {
    "GenD_CLIP": ("yermandy/GenD_CLIP_L_14", CLIP),
    "GenD_PE": ("yermandy/GenD_PE_L", PE),
    "GenD_DINO": ("yermandy/GenD_DINOv3_L", DINO),
}


@dataclass(frozen=True)
class Run:
    """An official run before it is translated.

    Args:
        name: Official name.
        family: Key of `SIZES`.
        settings: Resolved settings.
        tests: Group -> lists.
        weights: As `Experiment.weights`.
        model: Settings that describe the tested model where `settings` do not: runs that only
            test get their model from elsewhere. None: `settings` do. Empty: not in the kit.
        corruption: As `Experiment.corruption`.
    """

    name: str
    family: str
    settings: dict[str, Any]
    tests: dict[str, tuple[str, ...]]
    weights: str = ""
    model: dict[str, Any] | None = None
    corruption: tuple[str, int] | None = None


def every() -> Iterator[Run]:
    """Yield all official runs, in the official order."""
    yield from _examples()
    yield from _third_party()
    base = dict(_base())
    for name, settings in base.items():
        yield Run(name, "base", settings, GROUPS)
    yield from _seeded(base)
    yield from _sweep(base)
    yield from _paired(base)
    yield from _robustness(base)


def _examples() -> Iterator[Run]:
    demo = list(lists("FF/test", *FF))
    tests = {"CDFv2": lists("CDFv2/test", "Celeb-real", "Celeb-synthesis", "YouTube-real")}
    few = {"n_test_groups": 3, "max_epochs": 1}  # a plain list of three files, no groups
    training = resolve(
        few,
        run_dir="runs/example",
        unfreeze_layers=LAYERNORMS[CLIP],
        loss=loss(1.0),
        trn_files=demo,
        val_files=demo,
        batch_size=2,
        mini_batch_size=2,
    )
    yield Run("example-training", "examples", training, tests)
    settings = resolve(run_dir="runs/test", n_test_groups=3)
    yield Run("example-test", "examples", settings, tests, "run:example-training", training)
    for name, (checkpoint, backbone) in RELEASED.items():
        settings = resolve(few, run_dir="runs/test", checkpoint=checkpoint)
        model = {"backbone": backbone, "head": "LinearNorm"}
        yield Run(f"{name}--CDFv2-example", "examples", settings, tests, checkpoint, model)


def _third_party() -> Iterator[Run]:
    paths = {
        "Effort-tmp": "weights/effort/effort_clip_L14_trainOn_FaceForensic.pth",
        "ForAda-tmp": "weights/forensics_adapter/ForensicsAdapter.pth",
    }
    for name, path in paths.items():
        settings = resolve(run_dir="runs/test", checkpoint=path)
        yield Run(name, "third-party", settings, GROUPS, f"third-party:{path}", {})
    path = "weights/FS-VFM/FS-VFM-ViT-L.pth"
    for zoom in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5):
        settings = resolve(
            run_dir="runs/test",
            checkpoint=path,
            custom_preprocessing={
                "zoom_factor": zoom,
                "image_size": None,
                "flip_left_right": False,
            },
            batch_size=1024,
            mini_batch_size=1024,
        )
        name = f"FS-VFM-{zoom}-bilinear"
        yield Run(name, "third-party", settings, GROUPS, f"third-party:{path}", {})


def _base() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the 23 rungs: the ladder on three backbones, and what each backbone has besides."""
    weightings = {
        "wacv": (CLIP, ()),
        "wacv-PE_L": (PE, ((1.0, 0.5), (1.0, 0.1), (0.5, 0.0), (1.0, 0.0))),
        "wacv-DINOv3L": (DINO, ((0.5, 0.5), (0.1, 0.5))),
    }
    paper = {"head": "LinearNorm", "loss": loss(1.0, uniformity=0.5, alignment=0.1)}
    for prefix, (backbone, pairs) in weightings.items():
        frozen = {"backbone": backbone, "loss": loss(1.0)}
        if backbone == PE:
            frozen["backbone_args"] = PE_ARGS
        tuned = {**frozen, "unfreeze_layers": LAYERNORMS[backbone]}
        yield f"{prefix}-Baseline", resolve(WACV, frozen)
        yield f"{prefix}-LN", resolve(WACV, tuned)
        yield f"{prefix}-LN-noaug", resolve(WACV, tuned, augmentations=None)
        yield f"{prefix}-LN+L2", resolve(WACV, tuned, head="LinearNorm")
        yield f"{prefix}-LN+L2+UnAl", resolve(WACV, tuned, paper)
        if backbone == CLIP:
            yield f"{prefix}-NoLN-L2", resolve(WACV, frozen, head="LinearNorm")
            yield f"{prefix}-NoLN-L2+UnAl", resolve(WACV, frozen, paper)
        for uniformity, alignment in pairs:
            weights = loss(1.0, uniformity=uniformity, alignment=alignment)
            name = f"{prefix}-LN+L2+UA-U{uniformity}-A{alignment}"
            yield name, resolve(WACV, tuned, head="LinearNorm", loss=weights)


def _split(seed: int) -> dict[str, Any]:
    folder = f"FF-x1.3-th0.5-all/subset/random-32-frames/split-{seed}/train"
    return {"trn_files": list(lists(folder, *FF)), "seed": seed}


def _seeded(base: dict[str, dict[str, Any]]) -> Iterator[Run]:
    """Yield five seeds of each rung; a seed has its own 32 frames of every video."""
    for seed in range(5):
        for name, settings in base.items():
            yield Run(f"{name}-seed{seed}", "seeded", resolve(settings, _split(seed)), GROUPS)


def _sweep(base: dict[str, dict[str, Any]]) -> Iterator[Run]:
    """Yield the sweep of both weights. Trap: "A" is followed by uniformity, "U" by alignment."""
    for first in WEIGHTS:
        for second in WEIGHTS:
            weights = loss(1.0, uniformity=first, alignment=second)
            for name, settings in base.items():
                if "UnAl" in name:
                    settings = resolve(settings, _split(0), loss=weights)
                    name = f"{name}-sweep-A{first}-U{second}-seed0"
                    yield Run(name, "sweep", settings, GROUPS)


def _paired(base: dict[str, dict[str, Any]]) -> Iterator[Run]:
    """Yield 20 splits of three training sets, with each fake's own real (paired) or another."""
    training_sets = {
        "": ("FF-x1.3-th0.5-all", FF, {}),
        "CDFv2-": (
            "CDFv3-x1.3-th0.5-all",
            ("Celeb-DF-v2", "Celeb-real"),
            {"val_files": list(VAL_NO_CELEB)},
        ),
        "FAVC-": ("FakeAVCeleb", ("fake", "real"), {}),
    }
    for mark, (folder, names, changes) in training_sets.items():
        for kind in ("paired", "unpaired"):
            for seed in range(20):
                split = f"{folder}/subset/paired-unpaired/split-{seed}/{kind}/train"
                changes = {**changes, "trn_files": list(lists(split, *names)), "seed": seed}
                for rung in ("wacv-LN", "wacv-PE_L-LN"):
                    name = rung.replace("wacv-", f"wacv-{kind}-{mark}") + f"-seed{seed:02d}"
                    yield Run(name, "paired", resolve(base[rung], changes), GROUPS)


def _robustness(base: dict[str, dict[str, Any]]) -> Iterator[Run]:
    """Yield the tests of two runs, five seeds each, on corrupted crops.

    Trap: blurring is switched off by a probability of 0, so the blur runs see clean crops.
    """
    for seed in range(5):
        for quality in JPEG:
            changes = {"jpeg_quality": [quality, quality]}
            level = ("jpeg", JPEG.index(quality)) if quality < 100 else None  # 100 is skipped
            yield from _tests(base, seed, f"jpeg{quality}", changes, level)
    for seed in range(5):
        for kernel, sigma in BLUR:
            changes = {"gaussian_blur_kernel_size": kernel, "gaussian_blur_sigma": [sigma, sigma]}
            yield from _tests(base, seed, f"blur-{kernel}-{sigma}", changes, None)
    for seed in range(5):
        for size in RESIZE:
            for number in range(INTERPOLATIONS):
                changes = {"resize": size, "resize_interpolation": number}
                level = ("resize", resize_level(size, number))
                yield from _tests(base, seed, f"resize-{size}-{number}", changes, level)
    for sigma in NOISE:
        level = ("noise", NOISE.index(sigma)) if sigma > 0 else None
        changes = {"gaussian_noise_sigma": sigma}
        yield from _tests(base, 0, f"gaussian_noise-{sigma}", changes, level)


def resize_level(size: int, number: int) -> int:
    """Give the level of `transforms.CORRUPTIONS["resize"]`: filter by filter, sizes inside.

    Args:
        size: One of `RESIZE`.
        number: Pillow's number of the filter.
    """
    return number * len(RESIZE) + RESIZE.index(size)


def _tests(
    base: dict[str, dict[str, Any]],
    seed: int,
    mark: str,
    changes: dict[str, Any],
    corruption: tuple[str, int] | None,
) -> Iterator[Run]:
    for rung in ROBUST:
        settings = resolve(
            run_dir="runs/test-aug-robustness",
            seed=0,
            test_augmentations={**NO_AUGMENTATIONS, **changes},
        )
        tested = f"{rung}-seed{seed}"
        name = f"{tested}-{mark}"
        yield Run(name, "robustness", settings, GROUPS, f"run:{tested}", base[rung], corruption)
