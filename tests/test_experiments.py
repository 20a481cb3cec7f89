"""All 803 official names and settings, the traps and their corrections, the kit's runs, the command."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from gendkit import experiments
from gendkit.commands import experiments as command
from gendkit.experiments import explain, families, kit, settings
from gendkit.recipe import TrainConfig
from gendkit.transforms import CORRUPTIONS, INTERPOLATIONS

ROOT = Path(__file__).resolve().parents[1]
with gzip.open(Path(__file__).parent / "data" / "experiments.json.gz") as file:
    OFFICIAL = json.load(file)
# The defaults of the official Config class, for settings that a run does not write down.
OFFICIAL_DEFAULTS = {
    "seed": 42,
    "head": "linear",
    "unfreeze_layers": [],
    "max_epochs": 1,
    "early_stopping_patience": -1,
    "lr": 3e-4,
    "lr_scheduler": "cosine",
    "num_epochs_in_cycle": 1,
}
KIT_BACKBONE = {
    "openai/clip-vit-large-patch14": "clip-l14",
    "vit_pe_core_large_patch14_336": "pe-l",
    "facebook/dinov3-vitl16-pretrain-lvd1689m": "dinov3-l",
}


def every(source):
    """All experiments of a source."""
    return [experiments.get(name) for name in experiments.names(source=source)]


# The official table, both directions.


def test_the_official_names_are_these_in_this_order():
    assert len(OFFICIAL) == 803
    assert experiments.names(source="official") == list(OFFICIAL)


def test_every_setting_is_the_official_one():
    wrong = []
    for name, expected in OFFICIAL.items():
        found = experiments.get(name).settings
        wrong += [
            f"{name}.{key}: {found.get(key, 'absent')!r}, official {expected.get(key, 'absent')!r}"
            for key in {**expected, **found}
            if key not in found or key not in expected or found[key] != expected[key]
        ]
    assert not wrong, f"{len(wrong)} settings differ, the first: {wrong[:5]}"


def test_the_families_have_their_sizes():
    counts = {
        family: len(experiments.names(family=family, source="official"))
        for family in families.SIZES
    }
    assert counts == families.SIZES
    assert sum(counts.values()) == 803


def test_the_package_holds_rules_and_not_the_table():
    sources = sum(
        path.stat().st_size
        for path in (ROOT / "gendkit" / "experiments").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    assert not list((ROOT / "gendkit" / "experiments").rglob("*.json*"))
    assert sources < 100_000 < len(json.dumps(OFFICIAL))


# What an official run means here.


@pytest.mark.parametrize("family", ["base", "seeded", "sweep", "paired"])
def test_training_runs_map_to_the_kit(family):
    for name in experiments.names(family=family, source="official"):
        run, official = experiments.get(name), {**OFFICIAL_DEFAULTS, **OFFICIAL[name]}
        recipe, loss = run.recipe, official["loss"]
        assert run.trains and not run.weights
        assert run.backbone == KIT_BACKBONE[official["backbone"]], name
        assert run.head == official["head"], name
        assert run.tune == ("layernorm" if official["unfreeze_layers"] else "probe"), name
        assert recipe.epochs == official["max_epochs"]
        assert recipe.batch_size == official["batch_size"] and recipe.accumulate == 1
        assert recipe.learning_rate == official["lr"]
        assert recipe.min_learning_rate == official["min_lr"]
        assert recipe.warmup_epochs == official["warmup_epochs"]
        assert recipe.cycle_epochs == official["num_epochs_in_cycle"]
        assert recipe.patience == official["early_stopping_patience"]
        assert recipe.augment == (official["augmentations"] is not None)
        assert recipe.seed == official["seed"]
        assert not recipe.paired
        assert (recipe.uniformity, recipe.alignment) == (
            loss["uniformity"],
            loss["alignment_labels"],
        )
        assert run.losses == {
            "cross_entropy": loss["ce_labels"],
            "label_smoothing": loss["label_smoothing"],
            "uniformity": loss["uniformity"],
            "alignment": loss["alignment_labels"],
        }
        assert list(run.data.train) == official["trn_files"]
        assert list(run.data.val) == official["val_files"]
        assert len(run.data.test) == official["n_test_groups"] == 50


def test_the_top_rung_has_the_recipe_of_the_paper():
    run = experiments.get("wacv-LN+L2+UnAl-seed3")
    assert run.recipe == TrainConfig.paper(seed=3)
    assert experiments.get("wacv-LN-noaug").recipe == TrainConfig.paper(
        seed=42, augment=False, alignment=0.0, uniformity=0.0
    )


def test_the_official_augmentation_is_the_one_that_the_kit_has():
    from gendkit.transforms import Augment

    official = OFFICIAL["wacv-LN"]["augmentations"]
    assert official == settings.AUGMENTATIONS
    ours = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(Augment()).items()}
    names = {
        "flip": "random_horizontal_flip",
        "degrees": "random_affine_degrees",
        "scale": "random_affine_scale",
        "blur": "gaussian_blur_prob",
        "blur_kernel": "gaussian_blur_kernel_size",
        "blur_sigma": "gaussian_blur_sigma",
        "brightness": "color_jitter_brightness",
        "contrast": "color_jitter_contrast",
        "jpeg_quality": "jpeg_quality",
    }
    assert {name: ours[name] for name in names} == {n: official[key] for n, key in names.items()}
    assert [ours["translate"]] * 2 == official["random_affine_translate"]
    assert official["resize"] is None and official["gaussian_noise_sigma"] == 0.0


def test_the_example_of_the_official_readme():
    training, test = experiments.get("example-training"), experiments.get("example-test")
    assert training.recipe.batch_size == 2 and training.recipe.epochs == 1
    assert training.recipe.cycle_epochs == 1.0  # cosine without restarts over all epochs
    assert len(training.data.test["CDFv2"]) == 3
    assert not test.trains and test.weights == "run:example-training"
    assert test.recipe is None


@pytest.mark.parametrize(
    ("name", "weights", "backbone"),
    [
        ("GenD_CLIP--CDFv2-example", "yermandy/GenD_CLIP_L_14", "clip-l14"),
        ("GenD_PE--CDFv2-example", "yermandy/GenD_PE_L", "pe-l"),
        ("GenD_DINO--CDFv2-example", "yermandy/GenD_DINOv3_L", "dinov3-l"),
    ],
)
def test_released_models_say_their_own_backbone(name, weights, backbone):
    run = experiments.get(name)
    assert (run.weights, run.backbone, run.head) == (weights, backbone, "LinearNorm")
    assert run.settings["backbone"] == "openai/clip-vit-large-patch14"  # what is written there
    assert "config.json" in run.note


def test_robustness_runs_test_the_run_in_their_name():
    for name in experiments.names(family="robustness", source="official"):
        run = experiments.get(name)
        tested = experiments.get(run.weights.removeprefix("run:"))
        assert name.startswith(f"{tested.name}-") and tested.trains
        assert (run.backbone, run.head) == (tested.backbone, tested.head)
        assert run.settings["seed"] == 0 and not run.trains


def test_a_corruption_is_the_cell_of_the_grid_that_the_settings_say():
    filters = list(INTERPOLATIONS)
    seen = {"jpeg": set(), "resize": set(), "noise": set(), None: set()}
    for run in every("official"):
        if run.family != "robustness":
            continue
        augment = run.settings["test_augmentations"]
        expected = None
        if augment["jpeg_quality"] != 100 and augment["jpeg_quality"][0] < 100:
            expected = ("jpeg", {"quality": augment["jpeg_quality"][0]})
        elif augment["resize"]:
            number = augment["resize_interpolation"]
            expected = ("resize", {"size": augment["resize"], "interpolation": filters[number]})
        elif augment["gaussian_noise_sigma"]:
            expected = ("noise", {"sigma": augment["gaussian_noise_sigma"]})
        found = run.corruption and (
            run.corruption[0],
            CORRUPTIONS[run.corruption[0]][run.corruption[1]],
        )
        assert found == expected, run.name
        seen[run.corruption and run.corruption[0]].add(run.corruption)
    # blur (all levels), JPEG at 100 and noise at 0 leave the crops as they are
    assert {key: len(cells) for key, cells in seen.items()} == {
        "jpeg": 5,
        "resize": 18,
        "noise": 5,
        None: 1,
    }


# Traps.


def test_blur_is_skipped_officially_and_done_when_fixed():
    name = "wacv-PE_L-LN+L2-seed4-blur-13-2.0"
    run, fixed = experiments.get(name), experiments.get(f"{name}-fixed")
    assert run.corruption is None and "Trap: gaussian_blur_prob is 0" in run.note
    assert fixed.corruption == ("blur", 4)
    assert CORRUPTIONS["blur"][4] == {"kernel": 13, "sigma": 2.0}
    assert fixed.source == "fixed" and fixed.weights == run.weights
    assert experiments.difference(run, fixed) == {
        "test_augmentations.gaussian_blur_prob": (0.0, 1.0)
    }


def test_all_blurs_but_none_are_fixed():
    names = experiments.names("*-blur-*", source="official")
    fixed = experiments.names("*-blur-*", source="fixed")
    assert len(names) == 60 and len(fixed) == 50
    assert set(names) - {name.removesuffix("-fixed") for name in fixed} == {
        name for name in names if name.endswith("-blur-0-0.0")
    }


def test_the_letters_of_the_sweep_are_swapped():
    for name in experiments.names(family="sweep", source="official"):
        first, second = map(float, re.search(r"-A([\d.]+)-U([\d.]+)-", name).groups())
        run = experiments.get(name)
        assert (run.recipe.uniformity, run.recipe.alignment) == (first, second)
        assert f"uniformity is {first}, alignment {second}" in run.note
        if first == second:
            with pytest.raises(ValueError, match="nothing in .* needs to be corrected"):
                experiments.get(f"{name}-fixed")
            continue
        fixed = experiments.get(f"{name}-fixed")
        assert (fixed.recipe.alignment, fixed.recipe.uniformity) == (first, second)
        assert experiments.difference(run, fixed) == {
            "loss.uniformity": (first, second),
            "loss.alignment_labels": (second, first),
        }


def test_third_party_paths_fall_through_officially():
    for name, wanted in (("Effort-tmp", "weights/Effort"), ("ForAda-tmp", "weights/ForAda")):
        run, fixed = experiments.get(name), experiments.get(f"{name}-fixed")
        assert wanted not in run.settings["checkpoint"] and wanted in run.note
        assert wanted in fixed.settings["checkpoint"]
        assert list(experiments.difference(run, fixed)) == ["checkpoint"]
    assert "YAML" in experiments.get("ForAda-tmp-fixed").note
    assert not experiments.names("FS-VFM*", source="fixed")  # its path is right


def test_the_ignored_image_size_changes_nothing():
    names = experiments.names("wacv-PE_L-Baseline*", source="official")
    assert len(names) == 6
    for name in names:
        assert "image_size=224" in experiments.get(name).note
        assert experiments.difference(name, f"{name}-fixed") == {}


def test_no_other_run_is_fixed():
    fixed = experiments.names(source="fixed")
    assert len(fixed) == 50 + 80 + 2 + 6
    for name in fixed:
        run = experiments.get(name.removesuffix("-fixed"))
        assert "Trap:" in run.note and experiments.get(name).note.startswith(
            f"Corrects {run.name}."
        )
    trapped = {run.name for run in every("official") if "Trap:" in run.note}
    equal = {
        name
        for name in experiments.names(family="sweep", source="official")
        if len(set(re.search(r"-A([\d.]+)-U([\d.]+)-", name).groups())) == 1
    }
    assert trapped == {name.removesuffix("-fixed") for name in fixed} | equal


def test_runs_that_cannot_learn_from_the_terms_say_so():
    for name in experiments.names("wacv-NoLN-L2+UnAl*"):
        if not name.endswith("-fixed"):
            assert "no gradient" in experiments.get(name).note


# Comparing.


def test_difference_knows_the_defaults():
    assert experiments.difference("wacv-LN+L2", "wacv-LN+L2+UnAl") == {
        "loss.uniformity": (0.0, 0.5),
        "loss.alignment_labels": (0.0, 0.1),
    }
    assert experiments.difference("wacv-LN", "wacv-LN+L2") == {"head": ("linear", "LinearNorm")}
    assert experiments.difference("wacv-LN", "wacv-LN-seed0")["seed"] == (42, 0)
    assert experiments.difference("wacv-LN", "wacv-LN") == {}


def test_difference_with_a_run_of_the_kit_compares_what_is_run():
    found = experiments.difference("wacv-LN+L2-seed0", "nobody-LN+L2-seed0")
    assert found["backbone"] == ("clip-l14", "embedded")
    assert found["recipe.learning_rate"] == (3e-4, 1e-2)
    assert "head" not in found and "tune" not in found and "recipe.seed" not in found


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match=re.escape("nearest: wacv-LN+L2+UnAl")):
        experiments.get("wacv-LN+L2+UnA1")
    with pytest.raises(ValueError, match="gendkit experiments list"):
        experiments.get("????")


def test_names_are_filtered():
    assert experiments.names("wacv-LN") == experiments.names("*wacv-LN*")
    assert experiments.names("wacv-PE_L-*-seed0", family="seeded") == [
        name
        for name in OFFICIAL
        if re.fullmatch(r"wacv-PE_L-.*-seed0", name) and "sweep" not in name and "jpeg" not in name
    ]
    with pytest.raises(ValueError, match="got family 'bass', expected one of examples"):
        experiments.names(family="bass")
    with pytest.raises(ValueError, match="got source 'ours', expected one of official"):
        experiments.names(source="ours")


def test_what_a_caller_changes_does_not_reach_the_table():
    run = experiments.get("wacv-LN")
    run.settings["loss"]["ce_labels"] = 7.0
    run.settings["trn_files"].clear()
    assert experiments.get("wacv-LN").settings == OFFICIAL["wacv-LN"]
    assert experiments.get("wacv-DINOv3L-LN").settings == OFFICIAL["wacv-DINOv3L-LN"]


# The kit's own runs.


def test_the_ladder_on_nobody():
    rungs = {}
    for rung in ("baseline", "LN", "LN+L2", "LN+L2+UnAl"):
        runs = [experiments.get(f"nobody-{rung}-seed{seed}") for seed in range(3)]
        assert [run.recipe.seed for run in runs] == [0, 1, 2]
        assert experiments.difference(f"nobody-{rung}", runs[0]) == {}
        rungs[rung] = runs[0]
    assert [(r.head, r.tune, r.recipe.alignment, r.recipe.uniformity) for r in rungs.values()] == [
        ("linear", "probe", 0.0, 0.0),
        ("linear", "layernorm", 0.0, 0.0),
        ("LinearNorm", "layernorm", 0.0, 0.0),
        ("LinearNorm", "layernorm", 0.1, 0.5),
    ]


def test_every_run_of_the_kit_has_its_data_and_its_recipe():
    for run in every("kit"):
        assert run.data.kind == "nobody" and run.note + run.family
        for manifest in (*run.data.train, *run.data.val, *sum(run.data.test.values(), ())):
            assert (ROOT / "data" / manifest).is_file(), f"{run.name}: {manifest}"
        if run.trains:
            assert run.recipe.alignment == run.losses["alignment"]
            assert run.recipe.uniformity == run.losses["uniformity"]
        else:
            assert experiments.get(run.weights.removeprefix("run:")).trains


def test_runs_that_are_compared_have_the_recipe_of_the_embedded_detector():
    from gendkit.pretrain import detector

    assert kit.EPOCHS == detector.RECIPE.epochs
    for seed in range(3):
        run = experiments.get(f"nobody-LN+L2+UnAl-seed{seed}")
        assert run.recipe == replace(detector.RECIPE, seed=seed)
        assert run.model_options == {"feature_scale": detector.FEATURE_SCALE}
    for run in every("kit"):
        if run.family in ("ladder", "sweep", "paired"):
            kept = {"learning_rate": 1e-2, "min_learning_rate": 1e-3, "epochs": 4, "augment": False}
            assert {name: getattr(run.recipe, name) for name in kept} == kept, run.name


def test_cross_runs_see_one_manipulation_and_make_as_many_updates():
    whole = experiments.get("nobody-LN+L2+UnAl-seed1").recipe
    rows = pd.DataFrame(
        [[r, m, int(m != "real")] for r in ("fit", "select", "report") for m in ("real", *kit.SEEN)],
        columns=["role", "method", "label"],
    )  # fmt: skip
    for method in kit.SEEN:
        run = experiments.get(f"nobody-cross-{method}-seed1")
        assert experiments.difference(run.name, f"nobody-cross-{method}-seed0") == {
            "recipe.seed": (1, 0)
        }
        assert run.recipe.epochs * (1 + 1) == whole.epochs * (
            1 + len(kit.SEEN)
        )  # passes over 72 people
        assert run.recipe.warmup_epochs * 2 == whole.warmup_epochs * 5
        kept = run.data.narrow(rows)
        learns = kept[kept["role"] != "report"]
        assert sorted(set(learns["method"])) == sorted(["real", method]) and len(learns) == 4
        assert len(kept[kept["role"] == "report"]) == 5  # all of them are tested
        assert f"role fit, reals and {method} only" in "\n".join(explain.runs(run))
    assert len(experiments.get("nobody-LN").data.narrow(rows)) == len(rows)


def test_exposure_says_what_a_run_has_seen_of_a_test_group():
    found = experiments.get("wacv-LN+L2+UnAl-seed0").exposure()
    assert len(found) == 50
    assert {found[g] for g in ("FF", "FF-NT", "FSh")} == {"in-domain"}  # FSh: made from FF++ videos
    seen = ("DeepSpeak-1.1", "DeepSpeak-2.0", "FFIW", "CDFv3-TF-EDTalk", "CDF", "DFDM")
    assert {found[g] for g in seen} == {"selection-seen"}  # DFDM borrows the reals of Celeb-DF v2
    assert {found[g] for g in ("DFD", "DFDC", "KoDF", "UADFD", "PolyGlotFake")} == {"unseen"}
    assert experiments.get("nobody-LN").exposure() == {"nobody": "in-domain", "nobody-x": "unseen"}
    run = "wacv-paired-FAVC-PE_L-LN-seed00"
    assert experiments.get(run).exposure()["FakeAVCeleb"] == "in-domain"
    assert experiments.get(run).exposure()["FF"] != "in-domain"


@pytest.mark.parametrize("kind", ["bitfit", "lora", "full"])
def test_each_way_to_tune_has_its_seeds(kind):
    assert experiments.difference(f"nobody-{kind}", f"nobody-{kind}-seed0") == {}
    found = experiments.difference(f"nobody-{kind}-seed2", "nobody-LN+L2+UnAl-seed2")
    rates = {"recipe.learning_rate", "recipe.min_learning_rate"}
    options = {f"tune_options.{name}" for name in kit.LORA}
    assert set(found) - rates - options == {"tune"}


def test_paired_and_unpaired_differ_in_the_list_alone():
    for seed in range(5):
        found = experiments.difference(
            f"nobody-paired-LN-seed{seed}", f"nobody-unpaired-LN-seed{seed}"
        )
        assert found == {"data.train": (["nobody/paired.csv"], ["nobody/unpaired.csv"])}
        assert not experiments.get(f"nobody-paired-LN-seed{seed}").recipe.paired


def test_the_robustness_grid_of_the_kit_is_the_whole_grid():
    cells = [run.corruption for run in every("kit") if run.family == "robustness"]
    assert sorted(cells) == sorted(
        (name, level) for name, grid in CORRUPTIONS.items() for level in range(len(grid))
    )
    run = experiments.get("nobody-LN+L2+UnAl-seed0-resize-112-3")
    assert run.view()["corruption"] == {
        "name": "resize",
        "level": 10,
        "size": 112,
        "interpolation": "bicubic",
    }


def test_each_way_to_tune_and_each_backbone_has_a_run():
    from gendkit import adapters, backbones

    tuned = {
        experiments.get(f"nobody-{kind}").tune for kind in adapters.KINDS if kind != "layernorm"
    }
    assert tuned | {"layernorm"} == set(adapters.KINDS)
    for name in backbones.REGISTRY:
        run = experiments.get(f"nobody-{name}")
        assert run.backbone == name and run.recipe == TrainConfig.paper(seed=0)


@pytest.mark.parametrize(
    ("kind", "tuned"),
    [
        ("probe", "probe"),
        ("bitfit", "bitfit"),
        ("lora", "lora"),
        ("full", "full"),
        ("LN", "layernorm"),
        ("baseline", "probe"),
    ],
)
def test_a_run_builds_its_detector(kind, tuned):
    from gendkit import adapters, model

    run = experiments.get(f"nobody-{kind}")
    detector = run.build(pretrained=False)
    base = detector.get_base_model() if hasattr(detector, "get_base_model") else detector
    trained, total = adapters.count_trainable(detector)
    assert base.config.head == run.head and base.config.uniformity == run.losses["uniformity"]
    other = model.build(run.backbone, run.head, pretrained=False)
    other = adapters.tune(other, tuned, **(kit.LORA if kind == "lora" else {}))
    assert (trained, total) == adapters.count_trainable(other)
    assert (trained == total) == (kind == "full")


def test_a_run_that_only_tests_builds_nothing():
    with pytest.raises(ValueError, match="load its weights: yermandy/GenD_PE_L"):
        experiments.get("GenD_PE--CDFv2-example").build()


# Profiles.


def test_the_example_trains_in_the_fast_profile():
    run = experiments.get("example")
    assert run.at("fast") == run
    assert run.backbone == "embedded" and run.recipe == TrainConfig(epochs=3, augment=False)


def test_an_official_rung_can_be_run_small():
    run = experiments.get("wacv-LN-noaug-seed2")
    small = run.at("fast")
    assert (small.backbone, small.head, small.tune) == ("embedded", "linear", "layernorm")
    assert small.recipe == TrainConfig(
        seed=2, augment=False, alignment=0.0, uniformity=0.0, paired=False
    )
    assert small.data.kind == "nobody" and small.settings == run.settings
    assert run.at("full") == run
    demo = run.at("demo")
    assert demo.backbone == "clip-b16" and demo.data.train == ("nobody/manifest.csv",)
    assert demo.recipe == replace(run.recipe, seed=2)
    unpaired = experiments.get("wacv-unpaired-FAVC-PE_L-LN-seed07").at("fast")
    assert unpaired.data.train == ("nobody/unpaired.csv",)


def test_a_run_of_the_kit_can_be_run_large():
    full = experiments.get("nobody-LN+L2+UnAl-seed1").at("full")
    assert full.backbone == "clip-l14" and full.model_options == {}
    assert full.recipe == TrainConfig.paper(seed=1)  # its batches too are the paper's
    assert experiments.get("nobody-dinov3-l").at("full").backbone == "dinov3-l"


def test_profiles_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="got profile 'quick', expected one of fast, demo, full"):
        experiments.get("example").at("quick")
    with pytest.raises(ValueError, match="tests yermandy/GenD_PE_L, which has no fast version"):
        experiments.get("GenD_PE--CDFv2-example").at("fast")


# In words.


def test_the_kit_says_what_it_runs_and_what_it_cannot():
    for run in (*every("official"), *every("fixed"), *every("kit")):
        does, lacks = explain.runs(run), explain.cannot(run)
        assert bool(does) == (run.family != "third-party")
        assert bool(lacks) == (run.source != "kit" or run.backbone != "embedded")
    assert (
        "run Effort: its code and weights are not in the kit"
        in explain.cannot(experiments.get("Effort-tmp-fixed"))[0]
    )
    text = "\n".join(explain.runs(experiments.get("wacv-DINOv3L-LN+L2+UnAl-seed1")))
    for part in ("dinov3-l", "0.1 alignment + 0.5 uniformity", "30 epochs", "seed 1", "50 groups"):
        assert part in text
    text = "\n".join(explain.runs(experiments.get("wacv-LN+L2+UnAl-seed0-blur-7-1.0-fixed")))
    assert "blur, kernel 7, sigma 1.0" in text


# The command.


def test_list_as_text_and_json(capsys):
    assert command.main(["list", "wacv-*", "--family", "base"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 23 + 1 + 1 and lines[0].startswith("wacv-Baseline ")
    assert command.main(["list", "--source", "official", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["count"] == 803
    assert [row["name"] for row in facts["experiments"]] == list(OFFICIAL)


def test_list_that_finds_nothing(capsys):
    assert command.main(["list", "no-such-run"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "no experiment fits" in err
    assert command.main(["list", "--family", "bass"]) == 2
    assert "got family 'bass'" in capsys.readouterr().err


def test_show_as_text_and_json(capsys):
    assert command.main(["show", "Effort-tmp"]) == 0
    text = capsys.readouterr().out
    assert "Trap:" in text and "runs nothing of this" in text and "not in the kit" in text
    assert "run it" not in text
    for name, call in {
        "nobody-LN": "train nobody-LN",
        "wacv-LN": "train wacv-LN --data ROOT",
        "wacv-LN+L2+UnAl-seed0-resize-224-0": "test wacv-LN+L2+UnAl-seed0-resize-224-0 --data ROOT",
    }.items():
        assert command.main(["show", name]) == 0
        assert capsys.readouterr().out.endswith(f"run it: gendkit {call}\n")
    assert command.main(["show", "wacv-LN+L2+UnAl-seed0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["settings"] == OFFICIAL["wacv-LN+L2+UnAl-seed0"]
    assert facts["kit"]["recipe"]["learning_rate"] == 3e-4
    assert len(facts["kit"]["data"]["test"]) == 50


def test_diff_as_text_and_json(capsys):
    pair = ["wacv-LN+L2", "wacv-LN+L2+UnAl"]
    assert command.main(["diff", *pair]) == 0
    assert "loss.uniformity: 0.0 -> 0.5\n" in capsys.readouterr().out
    assert command.main(["diff", *pair, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["differs"]["loss.alignment_labels"] == [0.0, 0.1]
    assert command.main(["diff", "wacv-LN", "wacv-LN"]) == 0
    assert capsys.readouterr().out.startswith("no setting differs")


def test_show_of_an_unknown_name(capsys):
    assert command.main(["show", "exampel"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "nearest: example" in err


def test_wrong_words_exit_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["shew"])
    assert stop.value.code == 2
    assert "examples:" not in capsys.readouterr().out


def test_a_reader_that_stops_early_is_no_error():
    code = "from gendkit.commands.experiments import main; raise SystemExit(main(['list']))"
    pipe = f'"{sys.executable}" -c "{code}" | head -n 1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split()[0] == "example-training" and done.stdout.split()[-1] == "0"
    assert done.stderr == ""


def test_the_import_is_light():
    code = (
        "import sys; from gendkit import benchmarks, experiments; experiments.names(); "
        "experiments.get('wacv-LN'); "
        "print(sorted({'torch', 'pandas', 'transformers', 'peft', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
