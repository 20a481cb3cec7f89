"""Figures of the paper's tables."""

import pandas as pd
import pytest

from gendkit import plots, report
from gendkit.plots import tables


def years():
    rows = [
        (2019, "DFD", "GenD CLIP", 97.0),
        (2020, "CDFv2", "GenD PE", 95.0),
        (2020, "DFDC", "GenD PE", 82.2),
    ]
    return pd.DataFrame(rows, columns=["year", "benchmark", "model", "auroc"])


def filled():
    verdicts = ["agrees", "not run", "equal"]
    return pd.DataFrame(
        {"row": ["CDFv2", "DFD", "PE-L"], "column": ["GenD PE"] * 2 + ["trained"],
         "published": ["95.0 (S)", "97.0 (S)", "106498 (V)"], "ours": ["94.8", "", "106498"],
         "profile": ["full", "", ""], "rests on": ["scores.csv", "needs scores", "PEFT"],
         "verdict": verdicts}
    )  # fmt: skip


def test_published_years_draws_every_figure_and_names_every_benchmark():
    fig = plots.published_years(years(), title="T")
    drawn = [t for t in fig.data if t.mode == "markers"]
    assert sum(len(t.x) for t in drawn) == 3
    assert {a.text for a in fig.layout.annotations} == {"DFD", "CDFv2<br>DFDC"}
    mean = next(t for t in fig.data if t.mode == "lines")
    assert list(mean.y) == pytest.approx([97.0, 88.6])
    assert "3 published figures · 3 benchmarks" in fig.layout.title.subtitle.text
    assert fig.layout.meta["alt"].startswith("T.")


def test_comparison_tints_and_signs_ours_by_the_verdict():
    fig = plots.comparison(filled(), title="T")
    cells = fig.data[0].cells
    assert list(cells["values"][3]) == ["= 94.8", "–", "= 106498"]
    tints = cells.fill.color[3]
    assert tints[0] == tints[2] != tints[1]
    assert "1 agrees" in fig.layout.title.subtitle.text


def test_every_verdict_of_the_report_has_a_tint():
    assert set(tables.COLORS) == set(report.VERDICTS)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: plots.published_years(years().drop(columns="year")), "year"),
        (lambda: plots.published_years(years().iloc[:0]), "with rows"),
        (lambda: plots.comparison(filled().drop(columns="verdict")), "verdict"),
        (lambda: plots.comparison(filled().assign(verdict="fine")), "got verdict 'fine'"),
    ],
)
def test_bad_input_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
