"""Stored results: a store made by hand, tables against arithmetic, a stand-in training, kills, bad input."""

import dataclasses
import itertools
import json
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pytest
from tiny import FAST, TINY, make_crops

from gendkit import evaluate, experiments, metrics, repro, results
from gendkit.commands import experiments as command

PEOPLE = [f"n{k:03d}" for k in range(6)]
METHODS = ("DF", "NT", "SBI")
RUNS = ["nobody-LN-seed0", "nobody-LN-seed1", "nobody-baseline"]


def videos(seed, shift=0.2):
    """A real and a fake per method of every person, in two sets."""
    rng, rows = np.random.default_rng(seed), []
    for dataset, who, method in itertools.product(results.SETS, PEOPLE, ("real", *METHODS)):
        fake = int(method != "real")
        who = who if dataset == "nobody" else who.replace("n", "x")
        name = f"{who}_z" if fake else who
        p_fake = round(rng.uniform(0, 0.7) + shift * fake, 6)
        rows.append([dataset, method, "c23", name, who, fake, p_fake])
    table = pd.DataFrame(rows, columns=[*results.KEYS, "p_fake"])
    return table.sample(frac=1, random_state=seed)  # the order of the rows must not matter


def facts(name):
    run = experiments.get(name)
    return {
        "group": name.split("-seed")[0], "family": run.family, "settings": results._settings(run),
        "best_epoch": 3, "select_auroc": 0.7, "n_fit": 10, "n_trained": 5, "adapter_bytes": 99,
        "seconds": 1.5, "head_seconds": 0.5, "crops": "c", "commit": "abc", **results._now(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    for seed, name in enumerate(RUNS):
        results.add(name, videos(seed), facts(name), folder)
    return folder


def area(table, dataset, methods):
    """AUROC by counting pairs."""
    part = table[table["dataset"] == dataset]
    reals = part[part["method"] == "real"]["p_fake"].to_numpy()
    fakes = part[part["method"].isin(methods)]["p_fake"].to_numpy()
    return np.mean([(f > r) + (f == r) / 2 for f, r in itertools.product(fakes, reals)])


# Reading.


def test_runs_says_what_each_run_was(store):
    found = results.runs(store=store)
    assert list(found.index) == RUNS and list(found["seed"]) == [0, 1, 0]
    assert list(found["tune"]) == ["layernorm", "layernorm", "probe"]
    assert list(found["epochs"]) == [4, 4, 0] and set(found["adapter_bytes"]) == {99}
    assert list(results.runs("nobody-LN", store).index) == RUNS[:2]  # a group, without its seeds
    assert list(results.runs("*-seed1", store).index) == ["nobody-LN-seed1"]


def test_scores_come_back_as_evaluate_takes_them(store):
    found = results.scores("nobody-LN-seed1", store)
    wanted = videos(1).set_index(results.KEYS)["p_fake"]
    got = found.set_index(results.KEYS)["p_fake"]
    pd.testing.assert_series_equal(got.sort_index(), wanted.sort_index())
    table = evaluate.report(found, n_bootstrap=20)
    row = table[(table["dataset"] == "nobody") & (table["method"] == "NT")]
    assert row["auroc"].item() == pytest.approx(area(videos(1), "nobody", ["NT"]))
    assert metrics.bootstrap(found, n=20).n_groups == 12
    pd.testing.assert_frame_equal(
        results.scores("nobody-LN", store), results.scores("nobody-LN-seed0", store)
    )


def test_table_averages_methods_and_seeds(store):
    found = results.table(["nobody-LN", "nobody-baseline"], n_bootstrap=50, store=store)
    found = found.set_index(["run", "group"])
    assert list(found.loc["nobody-LN"].index) == ["seen", "unseen", "nobody-x"]
    each = [np.mean([area(videos(s), "nobody", [m]) for m in ("DF", "NT")]) for s in (0, 1)]
    row = found.loc["nobody-LN", "seen"]
    assert row["auroc"] == pytest.approx(np.mean(each))
    assert row["sd"] == pytest.approx(np.std(each, ddof=1)) and row["n_seeds"] == 2
    assert row["low"] < row["auroc"] < row["high"]
    assert found.loc[("nobody-LN", "unseen"), "auroc"] == pytest.approx(
        np.mean([area(videos(s), "nobody", ["SBI"]) for s in (0, 1)])
    )
    alone = found.loc["nobody-baseline", "nobody-x"]
    assert alone["n_seeds"] == 1 and np.isnan(alone["sd"])
    assert alone["auroc"] == pytest.approx(
        np.mean([area(videos(2), "nobody-x", [m]) for m in METHODS])
    )


def test_pooled_and_worst(store):
    groups = {"all": ("nobody", METHODS)}
    got = {
        how: results.table("nobody-baseline", groups, how, n_bootstrap=20, store=store)
        for how in ("mean", "pooled", "worst")
    }
    each = [area(videos(2), "nobody", [m]) for m in METHODS]
    wanted = {"mean": np.mean(each), "worst": min(each)}
    wanted["pooled"] = area(videos(2), "nobody", METHODS)
    assert {how: t["auroc"].item() for how, t in got.items()} == pytest.approx(wanted)


def test_difference_is_paired(store):
    found = results.difference("nobody-LN", "nobody-baseline", n_bootstrap=50, store=store)
    for row in found.itertuples():
        assert row.difference == pytest.approx(row.a - row.b) and row.low <= row.difference
        assert row.difference <= row.high
    none = results.difference("nobody-LN", "nobody-LN-seed?", n_bootstrap=50, store=store)
    assert (none[["difference", "low", "high"]] == 0).all(axis=None)
    single = results.table(["nobody-LN", "nobody-baseline"], n_bootstrap=50, store=store)
    value = single.pivot(index="group", columns="run", values="auroc").loc[found["group"]]
    np.testing.assert_allclose(found["a"], value["nobody-LN"])


def test_groups_of_the_store(store):
    assert results.groups_of(store) == {
        "seen": ("nobody", ("DF", "NT")),
        "unseen": ("nobody", ("SBI",)),
        "nobody-x": ("nobody-x", METHODS),
    }
    assert list(results.each_method("nobody-x", store)) == list(METHODS)
    one = results.sample("nobody-LN", "nobody-x", store)
    assert one.scores.shape == (2, 24) and list(one.people) == [f"x{k:03d}" for k in range(6)]


def test_what_is_not_stored_is_named(store, tmp_path):
    with pytest.raises(ValueError, match="stored are nobody-LN, nobody-baseline"):
        results.scores("nobody-lora", store)
    with pytest.raises(ValueError, match="gendkit experiments run nobody-full"):
        results.table("nobody-full", store=store)
    with pytest.raises(ValueError, match=r"got set 'mars', expected one of \['nobody', 'nobody-x'"):
        results.table("nobody-LN", {"x": ("mars", ("DF",))}, store=store)
    with pytest.raises(ValueError, match=r"no videos of \['Talk'\]"):
        results.table("nobody-LN", {"x": ("nobody", ("Talk",))}, store=store)
    with pytest.raises(FileNotFoundError, match="no stored results at .*runs.json; restore"):
        results.runs(store=tmp_path)


# Writing.


def test_the_order_of_adding_changes_no_byte(store, tmp_path):
    for seed, name in reversed(list(enumerate(RUNS))):
        results.add(name, videos(seed), facts(name), tmp_path)
    for name in (results.SCORES, results.RUNS):
        assert (tmp_path / name).read_bytes() == (store / name).read_bytes()


def test_a_run_that_is_added_again_is_replaced(tmp_path):
    for seed in (0, 5):
        results.add(RUNS[0], videos(seed), facts(RUNS[0]), tmp_path)
    results.add(RUNS[2], videos(1), facts(RUNS[2]), tmp_path)
    got = results.scores(RUNS[0], tmp_path).set_index(results.KEYS)["p_fake"].sort_index()
    pd.testing.assert_series_equal(got, videos(5).set_index(results.KEYS)["p_fake"].sort_index())


def test_a_kill_between_the_two_files_loses_one_run_only(tmp_path, monkeypatch):
    results.add(RUNS[0], videos(0), facts(RUNS[0]), tmp_path)

    def killed(path, data):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(repro, "write_json", killed)
        results.add(RUNS[1], videos(1), facts(RUNS[1]), tmp_path)
    assert list(results.runs(store=tmp_path).index) == RUNS[:1]
    assert len(results.table("nobody-LN", n_bootstrap=5, store=tmp_path)) == 3
    results.add(RUNS[1], videos(3), facts(RUNS[1]), tmp_path)
    got = results.scores(RUNS[1], tmp_path)
    assert got["p_fake"].sum() == pytest.approx(videos(3)["p_fake"].sum())


def test_add_refuses_other_videos_and_bad_scores(store):
    before = (store / results.SCORES).read_bytes()
    fewer = videos(0)
    fewer = fewer[fewer["source_id"] != "n003"]
    with pytest.raises(ValueError, match="scores of 48 other videos than the 44 of nobody-bitfit"):
        results.add("nobody-bitfit", fewer, {}, store)
    with pytest.raises(ValueError, match=r"expected P\(fake\) in \[0, 1\]"):
        results.add("nobody-bitfit", videos(0).assign(p_fake=1.5), {}, store)
    assert (store / results.SCORES).read_bytes() == before


def test_stale_names_what_has_changed(store, tmp_path):
    assert results.stale(store) == {}
    old = facts(RUNS[0])
    old["settings"] = {**old["settings"], "head": "LinearNorm"}
    results.add(RUNS[0], videos(0), {**old, "weights": "other"}, tmp_path)
    results.add("nobody-gone", videos(1), facts(RUNS[1]), tmp_path)
    assert results.stale(tmp_path) == {
        "nobody-LN-seed0": ["setting head", "weights"],
        "nobody-gone": ["there is no such experiment any more"],
    }


# Names.


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("nobody-LN", "nobody-LN-seed0"),
        ("nobody-LN-seed2", "nobody-LN-seed2"),
        ("nobody-baseline", "nobody-baseline"),
        ("nobody-baseline-seed2", "nobody-baseline"),  # a frozen encoder knows no seed
        ("nobody-cross-DF", "nobody-cross-DF-seed0"),
        ("nobody-paired-LN-seed1", "nobody-paired-LN-seed1"),
        ("nobody-sweep-A0.1-U0.5", "nobody-sweep-A0.1-U0.5"),
    ],
)
def test_each_run_is_stored_under_one_name(name, stored):
    assert results.canonical(name) == stored and results.canonical(stored) == stored


def test_planned_takes_patterns_and_names_each_run_once():
    assert results.planned(["nobody-LN*", "nobody-LN-seed?"]) == [
        f"nobody-{rung}-seed{seed}" for rung in ("LN", "LN+L2", "LN+L2+UnAl") for seed in range(3)
    ]
    assert len(results.planned(["nobody-sweep-*"])) == 9
    assert len(results.planned(["nobody-cross-*"])) == 12
    for pattern in ("wacv-LN", "nobody-clip-l14", "nothing", "*-jpeg*"):
        with pytest.raises(ValueError, match="no experiment of the kit that trains the embedded"):
            results.planned([pattern])


# Training, on crops and an encoder in miniature.


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    CLIPVisionModel(CLIPVisionConfig(**TINY)).save_pretrained(folder)
    return folder


@pytest.fixture
def small(tmp_path, backbone, monkeypatch):
    """Experiments on tiny crops; returns the crops and the names of what was trained."""
    from gendkit import model, train

    parts = []
    for name in results.SETS:
        root, table = make_crops(tmp_path / name)
        if name == "nobody-x":
            table = table[table["role"] == "report"]
        parts += [table.assign(dataset=name).reset_index(drop=True), root]
    crops, whole, build, trained = results.Crops(*parts), experiments.get, model.build, []

    def get(name):
        run, small = whole(name), {"epochs": 2, "batch_size": 8, "learning_rate": 3e-2}
        small["min_learning_rate"] = FAST.min_learning_rate
        return dataclasses.replace(run, training={**run.training, **small})

    def watched(tuned, table, root, config, out):
        trained.append(sorted(set(table["method"])))
        return real(tuned, table, root, config, out)

    real = train.train
    monkeypatch.setattr(train, "train", watched)
    monkeypatch.setattr(experiments, "get", get)
    monkeypatch.setattr(
        model,
        "build",
        lambda name, *a, **k: build(backbone if name == "embedded" else name, *a, **k),
    )
    monkeypatch.setattr(results.Crops, "extract", classmethod(lambda cls, workers: crops))
    return crops, trained


def test_run_trains_what_is_missing_and_stores_it(small, tmp_path, capsys):
    crops, trained = small
    store, work = tmp_path / "store", tmp_path / "work"
    names = ["nobody-baseline", "nobody-LN-seed0", "nobody-cross-NT"]
    words = ["run", *names, "--store", str(store), "--work", str(work), "--json"]
    assert command.main(words) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["added"] == ["nobody-baseline", "nobody-LN-seed0", "nobody-cross-NT-seed0"]
    # The frozen encoder is not trained in epochs; the cross run sees reals and NT alone.
    assert trained == [["DF", "NT", "real"], ["NT", "real"]]
    found = results.runs(store=store)
    assert list(found.loc[done["added"], "n_fit"]) == [36, 36, 24]
    assert list(found.loc[done["added"], "epochs"]) == [0, 2, 2]
    assert found["adapter_bytes"].min() > 500 and found["select_auroc"].between(0, 1).all()
    stored = results.scores("nobody-LN-seed0", store)
    assert len(stored) == 12 and set(stored["dataset"]) == set(results.SETS)

    # What is stored is what the trained model says.
    from gendkit import adapters

    again = adapters.load_adapter(work / "adapters" / "nobody-LN-seed0")
    rows = crops.own[crops.own["role"] == "report"]
    wanted = metrics.video_scores(evaluate.score(again, rows, crops.root, device="cpu"))
    mine = stored[stored["dataset"] == "nobody"].merge(wanted, on=metrics.KEY)
    np.testing.assert_allclose(mine["p_fake_x"], mine["p_fake_y"], atol=2e-6)

    # A second call trains nothing; a changed crop makes all runs stale; --again trains them.
    assert command.main(words) == 0 and len(trained) == 2
    assert json.loads(capsys.readouterr().out)["added"] == []
    first = crops.root / crops.own["path"].iloc[0]
    first.write_bytes((crops.root / crops.own["path"].iloc[2]).read_bytes())
    crops.__dict__.pop("digest")
    assert command.main([*words[:2], "--store", str(store), "--work", str(work)]) == 0
    text = capsys.readouterr().out
    assert "nobody-baseline: stale (crops), left as it is; train it again with --again" in text
    assert command.main([*words[:2], "--store", str(store), "--work", str(work), "--again"]) == 0
    text = capsys.readouterr().out
    assert "stale (crops), trained again" in text and "1 runs added" in text


def test_the_command_refuses_what_it_cannot_store(capsys):
    assert command.main(["run", "wacv-LN"]) == 2
    assert "gendkit experiments list --source kit" in capsys.readouterr().err


# What the repository ships.


def test_the_shipped_results_are_whole_and_up_to_date():
    known = results.runs()
    matrix = pd.read_csv(results.store_dir() / results.SCORES)
    assert list(matrix.columns) == [*results.KEYS, *known.index]
    counts = matrix.groupby("dataset")["source_id"].nunique()
    assert counts.to_dict() == {"nobody": 32, "nobody-x": 24}
    for name in known.index:
        assert matrix[name].between(0, 1).all() and results.canonical(name) == name
    assert results.stale() == {}
    size = sum(path.stat().st_size for path in results.store_dir().iterdir())
    assert size < 1_000_000, f"data/results has {size} bytes; it must stay under 1 MB"


def test_the_shipped_results_hold_what_the_chapters_read():
    have = set(results.runs().index)
    wanted = ["nobody-baseline", "nobody-LN-*", "nobody-LN+L2-*", "nobody-LN+L2+UnAl-*"]
    wanted += [f"nobody-{kind}-LN-*" for kind in ("paired", "unpaired")]
    for pattern in wanted:
        n = len([name for name in have if fnmatchcase(name, pattern)])
        assert n == (1 if pattern == "nobody-baseline" else 3), pattern
