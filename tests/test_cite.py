"""The page on citing agrees with the citation record and the bibliography."""

import re
from pathlib import Path

import yaml

from gendkit import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "cite.md").read_text("utf-8")
BIB = (ROOT / "book" / "references.bib").read_text("utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def entry(key: str, text: str) -> dict[str, str]:
    """Fields of one BibTeX entry."""
    body = re.search(rf"@\w+\{{{key},\n(.*?)\n\}}", text, re.DOTALL).group(1)
    return dict(re.findall(r"(\w+) = \{(.*)\}", body))


def test_the_paper_is_the_one_of_the_citation_record():
    paper, record = entry("yermakov2025gend", PAGE), CITATION["preferred-citation"]
    assert paper["title"] == record["title"] and int(paper["year"]) == record["year"]
    names = [f"{a['family-names']}, {a['given-names']}" for a in record["authors"]]
    assert paper["author"].split(" and ") == names
    assert paper["url"] == record["url"] and paper["howpublished"].split(":")[1] in record["url"]


def test_the_kit_is_cited_in_its_version():
    kit = entry("gendkit", PAGE)
    assert kit["title"] == CITATION["title"] and kit["version"] == __version__
    assert kit["version"] == CITATION["version"]
    assert kit["author"].strip("{}") == CITATION["authors"][0]["name"]


def test_every_key_of_the_page_is_in_the_bibliography():
    keys = re.findall(r"\{cite\}`(\w+)`", PAGE)
    assert len(keys) >= 5
    for key in keys:
        assert entry(key, BIB)["title"], key
    assert entry("yermakov2025gend", BIB)["title"] == entry("yermakov2025gend", PAGE)["title"]
