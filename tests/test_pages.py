"""What the build writes itself: the reference from docstrings, links to the repository, budgets."""

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import nbrun  # noqa: E402
import pages  # noqa: E402


def run_of(name: str, seconds: float) -> nbrun.Run:
    return nbrun.Run(name, Path("x"), "fast", {}, seconds, 1, "2026-01-02T03:04:05+00:00", {}, "k")


def test_every_public_module_says_in_one_line_what_it_is_and_has_a_page():
    found = pages.modules()
    assert {"losses", "metrics", "model", "adapters", "evaluate", "plots"} <= found.keys()
    assert not pages.NOT_IN_REFERENCE & found.keys()
    assert [name for name, line in found.items() if not line.endswith(".")] == []
    written = pages.reference()
    assert set(written) == {"book/api", *(f"book/api_{name}" for name in found)}
    assert "automodule:: gendkit.losses" in written["book/api_losses"]
    for name in found:
        assert f"(api_{name}.md)" in written["book/api"]


def test_the_reference_stands_below_its_overview():
    toc = {"root": "r", "parts": [{"chapters": [{"file": "book/api"}, {"file": "book/x"}]}]}
    first, second = pages.with_reference(toc)["parts"][0]["chapters"]
    assert {"file": "book/api_losses"} in first["sections"] and second == {"file": "book/x"}
    assert "sections" not in toc["parts"][0]["chapters"][0]


def test_links_to_the_repository_appear_when_its_address_is_known():
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text("utf-8"))
    assert pages.with_repository(config, "") == config
    found = pages.with_repository(config, "https://github.com/someone/gendkit.git")
    options = found["sphinx"]["config"]["html_theme_options"]
    assert options["repository_url"] == "https://github.com/someone/gendkit"
    assert options["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
    assert options["use_edit_page_button"] and options["use_issues_button"]
    elsewhere = pages.with_repository(config, "https://git.example.org/someone/gendkit")
    assert elsewhere["sphinx"]["config"]["html_theme_options"]["launch_buttons"] == {}
    for bad in ("github.com/someone/gendkit", "https://github.com/someone", "http://a/b/c"):
        with pytest.raises(nbrun.BookError, match="expected https://HOST/OWNER/NAME"):
            pages.with_repository(config, bad)


def test_what_is_over_its_budget_is_named():
    assert pages.over_budget([run_of("00_a", 80), run_of("01_b", 20)], "fast") == []
    (line,) = pages.over_budget([run_of("00_a", 91)], "fast")
    assert line == "over budget: 00_a took 91 s, at most 90 s in profile fast"
    many = [run_of(f"{n:02}_x", 89) for n in range(11)]
    (line,) = pages.over_budget(many, "fast")
    assert line == "over budget: all notebooks took 979 s, at most 900 s"
    assert pages.over_budget([run_of("00_a", 9999)], "full") == []
