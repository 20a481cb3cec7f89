"""The published figures: complete, sourced, and as they were written down."""

import re

import pandas as pd
import pytest

from gendkit import benchmarks, paper

# Rows (and of those found) of each table, counted by hand in the notes on the paper: by section.
SIZES = {
    "averages": (8, 5), "cells": (103, 40), "remeasured": (6, 6), "speed": (1, 1),  # 1.1, 1.2
    "version1": (15, 7), "benchmarks": (14, 11), "predecessor": (20, 20), "later": (9, 9),  # 1.3-1.6
    "ablation1": (10, 10), "ladder": (12, 0), "losses": (5, 5), "pairs": (3, 3),  # 2.1 to 2.3
    "years": (1, 0), "robustness": (9, 5), "sweep": (1, 0),  # 2.4, 2.5, 6
    "recipe": (36, 36), "augmentation": (13, 13), "crops": (13, 13),  # 3.1 to 3.3
    "parameters": (18, 18), "experiments": (17, 17), "groups": (21, 21), "checkpoints": (9, 9),
}  # fmt: skip
SPOTS = [
    ("averages", "GenD DINOv3", "mean of 14", "91.6", "S"),
    ("averages", "Effort", "mean of 14", "88.5", "S"),
    ("cells", "FF++ NT", "Effort", "84.6", "S"),
    ("cells", "DFDC", "GenD PE", "82.2", "S"),
    ("cells", "KoDF", "GenD DINOv3", "89.7", "S"),
    ("cells", "PGF", "ForAda", "87", "S"),
    ("remeasured", "GenD DINOv3", "CDFv2", "0.9156", "S"),
    ("version1", "LNCLIP-DF", "mean of 13", "94.2", "S"),
    ("predecessor", "LN-tuning", "DSv1", "83.57", "S"),
    ("later", "BlenD ensemble", "mean of its sets", "94.0", "V"),
    ("ablation1", "+ slerp", "CDFv2", "96.5", "S"),
    ("pairs", "paired - unpaired", "mean AUROC", "4.7", "S"),
    ("recipe", "learning rate", "version 3", "3e-4", "V"),
    ("recipe", "steps an epoch", "version 3", "900", "I"),
    ("recipe", "learning rate", "predecessor", "8e-5", "V"),
    ("augmentation", "blur", "highest sigma", "2", "V"),
    ("parameters", "PE-L", "trained", "106498", "V"),
    ("checkpoints", "GenD CLIP", "size", "1215928160", "V"),
    ("experiments", "paired", "runs", "240", "V"),
    ("groups", "PolyGlotFake", "lists", "89", "V"),
    ("benchmarks", "DSv2", "year", "2025", "V"),
]


def test_every_table_has_as_many_figures_as_were_counted():
    figures = paper.read()
    found = {
        name: (len(part), int((part["value"] != "").sum()))
        for name, part in figures.groupby("table")
    }
    assert found == SIZES
    assert set(paper.tables().index) == set(SIZES)


@pytest.mark.parametrize("table, row, column, value, tag", SPOTS)
def test_spot_checks(table, row, column, value, tag):
    part = paper.table(table)
    one = part[(part["row"] == row) & (part["column"] == column)]
    assert one[["value", "tag"]].to_numpy().tolist() == [[value, tag]]


def test_no_auroc_of_the_papers_tables_is_called_verified():
    figures = paper.read()
    own = figures[figures["table"].isin(["averages", "cells", "version1", "ablation1", "pairs"])]
    assert set(own["tag"]) == {"S", ""}


def test_every_figure_has_a_source_and_every_hole_none():
    figures = paper.read()
    assert ((figures["value"] == "") == (figures["source"] == "")).all()
    assert figures["number"].notna().sum() > 230
    text = figures[(figures["value"] != "") & figures["number"].isna()]
    assert set(text["unit"]) <= {"", "quality", "px", "sigma", "(kernel, sigma) px", "of the side"}


def test_the_sources_disagree_where_they_do():
    part = paper.table("cells")
    twice = part[part.duplicated(["row", "column"], keep=False)]
    assert set(zip(twice["row"], twice["value"], strict=True)) == {
        ("DFD", "97.0"), ("DFD", "96.5"), ("FFIW", "92.8"), ("FFIW", "94.5")
    }  # fmt: skip


def test_the_cells_cover_the_14_benchmarks():
    rows = set(paper.table("cells")["row"])
    assert {one.key for one in benchmarks.BENCHMARKS} <= rows
    assert {r for r in rows if r.startswith("FF++")} == {
        *(f"FF++ {m}" for m in ("DF", "F2F", "FS", "NT")),
        "FF++ mean",
    }


def test_sums_inside_the_figures_hold():
    """Facts that were written down apart agree with each other."""
    runs = paper.table("experiments").set_index("row")["number"]
    families = ["examples", "third-party", "base", "seeded", "sweep", "paired", "robustness"]
    assert runs[families].sum() == runs["all"] == 803
    p = paper.table("parameters").pivot_table(index="row", columns="column", values="number")
    encoders = p.loc[["CLIP ViT-L/14", "PE-L", "DINOv3 ViT-L/16"]]
    assert (encoders["LayerNorm"] + encoders["head"] == encoders["trained"]).all()
    assert ((100 * encoders["trained"] / encoders["total"]).round(4) == encoders["share"]).all()
    pairs = paper.table("pairs").set_index("row")["number"]
    assert pairs["paired"] - pairs["unpaired"] == pytest.approx(pairs["paired - unpaired"])
    part = paper.table("cells").set_index(["row", "column"])["number"]
    for method in ("GenD PE", "Effort", "ForAda"):
        mean = part.loc[[(f"FF++ {m}", method) for m in ("DF", "F2F", "FS", "NT")]].mean()
        assert part.loc["FF++ mean", method].item() == pytest.approx(mean, abs=0.06)


def test_a_copy_is_given():
    mine = paper.read()
    mine.loc[0, "value"] = "0"
    assert paper.read().loc[0, "value"] != "0"


def folder(tmp_path, line="t,a,b,1,,V,s,", listed="t,T,cited,"):
    (tmp_path / "tables.csv").write_text(f"table,title,filled_by,needs\n{listed}\n")
    (tmp_path / "x.csv").write_text("table,row,column,value,unit,tag,source,note\n" + line + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "line, listed, words",
    [
        ("t,a,b,1,,X,s,", "t,T,cited,", "x.csv, line 2: the tag is none of"),
        ("t,a,b,1,,,s,", "t,T,cited,", "a value needs a tag"),
        ("t,a,b,1,,V,,", "t,T,cited,", "a value needs a source"),
        ("t,a,b,1,,V,s,\nt,a,b,2,,V,s,", "t,T,cited,", "line 3: table, row, column and source"),
        ("u,a,b,1,,V,s,", "t,T,cited,", "do not name the same tables: ['t', 'u']"),
        ("t,a,b,1,,V,s,", "t,T,guessed,", "filled_by is 'guessed'"),
    ],
)
def test_broken_tables_are_refused(tmp_path, line, listed, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        paper.read(folder(tmp_path, line, listed))


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got table 'cell', expected one of"):
        paper.table("cell")
    with pytest.raises(FileNotFoundError, match="GENDKIT_DATA"):
        paper.read(tmp_path)
    (folder(tmp_path) / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="x.csv has the columns"):
        paper.read(tmp_path)


def test_a_good_folder_is_read(tmp_path):
    found = paper.read(folder(tmp_path, "t,a,b,96.0,%,S,s,n"))
    assert isinstance(found, pd.DataFrame)
    assert found.loc[0, "value"] == "96.0" and found.loc[0, "number"] == 96.0
