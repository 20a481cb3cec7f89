"""Ours beside the published figures: what is filled, from what, and what is refused."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendkit import benchmarks, evaluate, metrics, official, paper, report
from gendkit.commands import report as command
from gendkit.report import kit, runs

FIXTURES = Path(__file__).parent / "data"


def scores(dataset, n=40, shift=3.0, seed=0, methods=("fake",), role="report"):
    """Made-up frame scores of one set: a real and one fake a method for each of n people."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n):
        for method in ("real", *methods):
            label = int(method != "real")
            z = rng.normal() + shift * label
            rows.append(
                {"dataset": dataset, "method": method, "compression": "", "video_id": f"{person:03}",
                 "role": role, "source_id": f"{person:03}", "label": label, "frame": 0,
                 "p_fake": 1 / (1 + math.exp(1 - z))}
            )  # fmt: skip
    return pd.DataFrame(rows)


def written(tmp_path, table, name="scores.csv", **facts):
    evaluate.write_scores(table, tmp_path / name, **facts)
    return tmp_path / name


def row(filled, table, name, column):
    part = filled[(filled["table"] == table) & (filled["row"] == name)]
    return part[part["column"] == column].iloc[0]


# --- what the kit gives by itself ------------------------------------------------------------


def test_what_the_kit_derives_equals_what_was_published():
    filled = report.fill()
    own = filled[filled["ours"].notna()]
    assert len(own) >= 120
    assert set(own["verdict"]) == {"equal", "ours only"}
    assert set(own.loc[own["verdict"] == "ours only", "row"]) == {"UADFV", "DFDC", "KoDF"}
    assert row(filled, "parameters", "PE-L", "trained")["ours"] == 106_498


def test_a_wrong_figure_is_found(monkeypatch):
    known = dict(kit.values())
    known["parameters", "PE-L", "trained"] = (106_499, "miscounted")
    monkeypatch.setattr(kit, "values", lambda: known)
    assert row(report.fill(), "parameters", "PE-L", "trained")["verdict"] == "differs"


def test_kit_names_only_figures_that_exist():
    figures = set(map(tuple, paper.read()[["table", "row", "column"]].to_numpy()))
    assert set(kit.values()) <= figures


def test_file_bytes_is_the_size_of_a_real_file(tmp_path):
    import torch
    from safetensors.torch import save_file

    shapes = {"b.weight": (3, 5), "a": (2,), "long.name.of.a.tensor": (1, 4, 4)}
    save_file({k: torch.zeros(s) for k, s in shapes.items()}, tmp_path / "x", {"format": "pt"})
    assert kit.file_bytes(shapes) == (tmp_path / "x").stat().st_size


def test_parity_with_the_official_code():
    gaps = report.parity(FIXTURES)
    assert set(gaps.index) == {"alignment", "uniformity", "frame AUROC", "frame mAP", "frame EER"}
    assert gaps.max() < 1e-9


# --- what a run is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, profile, rows",
    [
        ("wacv-LN+L2+UnAl-seed0", "full", ("CLIP LN+L2+UnAl", "GenD CLIP")),
        ("wacv-PE_L-LN+L2-seed1", "", ("PE LN+L2", "GenD PE")),
        ("wacv-PE_L-LN+L2+UnAl-seed1", "", ("PE LN+L2+UnAl",)),
        ("wacv-DINOv3L-LN-seed2", "", ("DINOv3 LN",)),
        ("wacv-Baseline-seed4", "", ("CLIP Baseline",)),
        ("wacv-unpaired-LN-seed00", "", ("unpaired",)),
        ("yermandy/GenD_DINOv3_L", "", ("GenD DINOv3",)),
        ("GenD_CLIP--CDFv2-example", "", ("GenD CLIP",)),
        ("wacv-LN+L2+UnAl-seed0", "fast", ()),  # the embedded encoder on Nobody's Faces
        ("wacv-LN-noaug-seed0", "", ()),
        ("wacv-NoLN-L2-seed0", "", ()),
        ("wacv-LN+L2+UnAl-seed0-jpeg40", "", ()),
        ("nobody-LN-seed0", "", ()),
        ("Effort", "", ("Effort",)),
        ("my model", "", ()),
    ],
)
def test_identify(name, profile, rows):
    assert runs.identify(name, profile)[0] == rows


@pytest.mark.parametrize(
    "dataset, key",
    [("CDFv2", "CDFv2"), ("CDFv3-x1.3-th0.5-all", "CDFv3"), ("UADFD", "UADFV"), ("FF", "FF++"),
     ("PolyGlotFake", "PGF"), ("DFDCP", None), ("nobody", None)],
)  # fmt: skip
def test_benchmark_of(dataset, key):
    assert runs.benchmark_of(dataset) == key


def test_the_record_names_the_model(tmp_path):
    run = report.load(written(tmp_path, scores("CDFv2"), model="yermandy/GenD_PE_L"))
    assert run.rows == ("GenD PE",)
    assert re.match(r"scores.csv [0-9a-f]{12}", run.provenance)
    trained = {"experiment": "wacv-Baseline-seed0", "profile": "full"}
    run = report.load(written(tmp_path, scores("CDFv2"), "b.csv", **trained))
    assert (run.rows, run.profile) == (("CLIP Baseline",), "full")
    unknown = report.load(written(tmp_path, scores("CDFv2"), "c.csv"))
    assert unknown.rows == () and "--as NAME" in unknown.note


def test_find_takes_files_runs_and_folders(tmp_path):
    (tmp_path / "run").mkdir()
    written(tmp_path / "run", scores("CDFv2"))
    single = written(tmp_path, scores("DFD"), "dfd.csv")
    official.write_predictions(scores("FFIW"), tmp_path / "test_predictions.csv")
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n")
    found = report.find([tmp_path, single])
    assert found == [single, tmp_path / "run", tmp_path / "test_predictions.csv"]
    assert report.load(found[1]).sets.keys() == {"CDFv2"}
    assert report.load(found[2], "GenD PE").sets.keys() == {"FFIW"}
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        report.find([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no scores file"):
        report.find([tmp_path / "empty"])


def test_bad_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no row has the role 'report'"):
        report.load(written(tmp_path, scores("CDFv2", role="select")))
    twice = pd.concat([scores("CDFv2"), scores("Celeb-DF-v2")])
    with pytest.raises(ValueError, match="CDFv2 stands there twice"):
        report.load(written(tmp_path, twice, "twice.csv"))
    with pytest.raises(ValueError, match="n_bootstrap=0"):
        report.fill([], n_bootstrap=0)


# --- filling ---------------------------------------------------------------------------------


def test_a_cell_is_filled_by_its_own_data_only(tmp_path):
    table = scores("CDFv2", shift=2.4)
    run = report.load(written(tmp_path, table), "GenD PE")
    filled = report.fill([run], n_bootstrap=200)
    cell = row(filled, "cells", "CDFv2", "GenD PE")
    videos = metrics.video_scores(table)
    assert cell["ours"] == pytest.approx(100 * metrics.auroc(videos["label"], videos["p_fake"]))
    assert cell["low"] < cell["ours"] < cell["high"]
    assert (cell["n_real"], cell["n_fake"], cell["n_runs"]) == (40, 40, 1)
    assert row(filled, "cells", "CDFv2", "GenD CLIP")["verdict"] == "not run"
    assert row(filled, "cells", "DFD", "GenD PE")["verdict"] == "not run"
    mean = row(filled, "averages", "GenD PE", "mean of 14")
    assert mean["verdict"] == "not run" and "UADFV (not scored)" in mean["why"]
    assert (filled["n_runs"] > 0).sum() == 1


def test_the_interval_is_that_of_a_bootstrap_over_sources(tmp_path):
    table = scores("CDFv2", shift=1.0, n=60)
    run = report.load(written(tmp_path, table), "GenD PE")
    cell = row(report.fill([run], n_bootstrap=2000), "cells", "CDFv2", "GenD PE")
    other = metrics.bootstrap(metrics.video_scores(table), n=2000, seed=1)
    assert cell["low"] == pytest.approx(100 * other.low, abs=1.0)
    assert cell["high"] == pytest.approx(100 * other.high, abs=1.0)


def test_seeds_are_averaged_and_draws_shared(tmp_path):
    seeds = [scores("CDFv2", shift=2, seed=k) for k in range(2)]
    files = [written(tmp_path, t, f"{k}.csv") for k, t in enumerate(seeds)]
    filled = report.fill([report.load(f, "GenD PE") for f in files], n_bootstrap=50)
    cell = row(filled, "cells", "CDFv2", "GenD PE")
    alone = [metrics.auroc(t["label"], t["p_fake"]) for t in seeds]
    assert cell["ours"] == pytest.approx(100 * np.mean(alone)) and cell["n_runs"] == 2


def test_faceforensics_by_method_and_their_mean(tmp_path):
    table = scores("FF", methods=("DF", "F2F", "FS", "NT"), shift=1.5)
    filled = report.fill([report.load(written(tmp_path, table), "GenD PE")], n_bootstrap=50)
    videos = metrics.video_scores(table)
    expected = {}
    for method in ("DF", "F2F", "FS", "NT"):
        part = videos[videos["method"].isin(["real", method])]
        expected[method] = 100 * metrics.auroc(part["label"], part["p_fake"])
        assert row(filled, "cells", f"FF++ {method}", "GenD PE")["ours"] == pytest.approx(
            expected[method]
        )
    mean = row(filled, "cells", "FF++ mean", "GenD PE")
    assert mean["ours"] == pytest.approx(np.mean(list(expected.values())))
    assert (mean["n_real"], mean["n_fake"]) == (40, 160)


def fourteen(shift, seed=0):
    names = [one.key for one in benchmarks.BENCHMARKS]
    return pd.concat([scores(name, 12, shift, seed + k) for k, name in enumerate(names)])


def test_the_mean_of_14_needs_all_and_then_is_the_mean(tmp_path):
    table = fourteen(2.0)
    run = report.load(written(tmp_path, table), "wacv-LN+L2+UnAl-seed0")
    filled = report.fill([run], n_bootstrap=50)
    alone = [metrics.auroc(part["label"], part["p_fake"]) for _, part in table.groupby("dataset")]
    for name, published in (("averages", "GenD CLIP"), ("ladder", "CLIP LN+L2+UnAl")):
        cell = row(filled, name, published, "mean of 14")
        assert cell["ours"] == pytest.approx(100 * np.mean(alone))
    assert row(filled, "ladder", "CLIP LN+L2+UnAl", "mean of 14")["verdict"] == "ours only"


def test_paired_less_unpaired(tmp_path):
    named = {"wacv-paired-LN-seed00": 2.5, "wacv-unpaired-LN-seed00": 1.5}
    loaded = [
        report.load(written(tmp_path, fourteen(shift), f"{k}.csv"), name)
        for k, (name, shift) in enumerate(named.items())
    ]
    filled = report.fill(loaded, n_bootstrap=100)
    sides = [row(filled, "pairs", name, "mean AUROC")["ours"] for name in ("paired", "unpaired")]
    gap = row(filled, "pairs", "paired - unpaired", "mean AUROC")
    assert gap["ours"] == pytest.approx(sides[0] - sides[1]) and gap["low"] > 0
    only = report.fill(loaded[:1], n_bootstrap=10)
    assert row(only, "pairs", "paired - unpaired", "mean AUROC")["verdict"] == "not run"


def test_a_set_without_reals_says_where_they_come_from(tmp_path):
    table = scores("DFDM")
    fakes = pd.concat([table[table["label"] == 1], scores("DFD")])
    filled = report.fill([report.load(written(tmp_path, fakes), "GenD PE")], n_bootstrap=10)
    why = row(filled, "cells", "DFDM", "GenD PE")["why"]
    assert "--reals DFDM=CDFv2/Celeb-real" in why


def test_what_the_paper_has_not_stands_apart(tmp_path):
    table = pd.concat([scores("nobody"), scores("CDFv2")])
    filled = report.fill([report.load(written(tmp_path, table, "mine.csv"))], n_bootstrap=10)
    assert row(filled, report.OTHER, "nobody", "mine")["verdict"] == "other data"
    assert row(filled, "cells", "CDFv2", "mine")["verdict"] == "ours only"
    assert (filled.loc[filled["published"] != "", "n_runs"] == 0).all()


@pytest.mark.parametrize(
    "value, low, high, verdict",
    [("95", 92.8, 94.6, "agrees"), ("95", 92.8, 94.4, "below"), ("95.0", 95.06, 96, "above"),
     ("95.0", 94, 94.96, "agrees"), ("", 1, 2, "ours only")],
)  # fmt: skip
def test_the_verdict_respects_how_a_figure_was_rounded(value, low, high, verdict):
    figure = {"value": value, "number": float(value or "nan")}
    assert report._verdict(figure, low, high) == verdict


# --- output ----------------------------------------------------------------------------------


def test_write_and_read_back(tmp_path):
    run = report.load(written(tmp_path, scores("CDFv2")), "GenD PE")
    filled = report.fill([run], n_bootstrap=20)
    out = report.write(filled, tmp_path / "out", files=[run.provenance])
    table = pd.read_csv(out / "report.csv", keep_default_na=False)
    assert list(table.columns) == report.COLUMNS and len(table) == len(filled)
    text = (out / "report.md").read_text("utf-8")
    assert "| CDFv2 | GenD PE | 95.0 (S) |" in text and "not run" in text
    readable = report.readable(filled)
    assert set(readable["verdict"]) <= set(report.VERDICTS)


def test_the_command(tmp_path, capsys):
    path = written(tmp_path, scores("CDFv2"))
    base = [str(path), "--as", "GenD PE", "--n-bootstrap", "20"]
    assert command.main([*base, "--out", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr().out
    assert "(cells)" in shown and "(recipe)" not in shown and "95.0 (S)" in shown
    assert (tmp_path / "o" / "report.json").is_file()
    assert command.main([*base, "--table", "averages", "--json"]) == 0
    assert '"mean of 14"' in capsys.readouterr().out
    assert command.main(["--table", "losses"]) == 0
    assert "equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--as", "GenD PE"], "give scores files too"),
        (["--n-bootstrap", "0"], "expected at least 1"),
        (["--table", "cell"], "expected some of averages"),
        (["FILE", "--as", "GenD"], "is no model of the paper"),
    ],
)
def test_wrong_use_is_explained(tmp_path, capsys, words, said):
    path = str(written(tmp_path, scores("CDFv2")))
    with pytest.raises(SystemExit) as stop:
        command.main([path if word == "FILE" else word for word in words])
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_a_missing_file_is_1(tmp_path, capsys):
    assert command.main([str(tmp_path / "none.csv")]) == 1
    assert "no file or folder" in capsys.readouterr().err
