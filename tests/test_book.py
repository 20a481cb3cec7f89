"""The book: its table of contents, its sources, and the built pages with their links and pictures."""

import functools
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import nbrun  # noqa: E402

HTML = ROOT / "_build" / "html"
MAX_PAGE_MB = 2


def why_no_book() -> str:
    """Reason not to test the built book; empty if it is there and shows the present sources."""
    page = HTML / "index.html"
    if not page.is_file():
        return "the book is not built; run: make book"
    sources = [p for f in ("book", "notebooks", "gendkit") for p in (ROOT / f).rglob("*.*")]
    sources = [p for p in sources if p.suffix in {".py", ".ipynb", ".md", ".yml", ".bib", ".css"}]
    if max(p.stat().st_mtime for p in sources) > page.stat().st_mtime:
        return "the built book is older than its sources; run: make book"
    return ""


# after `make book` (make test-book, .ci/run) there is no excuse
need_book = pytest.mark.skipif(
    bool(why_no_book()) and not os.environ.get("GENDKIT_REQUIRE_BOOK"), reason=why_no_book() or "-"
)


# --- sources ---------------------------------------------------------------------------------


def test_toc_names_every_page_once_and_every_page_exists():
    pages = build.toc()
    assert len(pages) == len(set(pages))
    for page in pages:
        if page.startswith("notebooks/"):
            assert (ROOT / f"{page}.py").is_file(), f"book/_toc.yml names {page}"
        elif page not in build.GENERATED:
            assert (ROOT / f"{page}.md").is_file(), f"book/_toc.yml names {page}"
    written = {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")}
    assert written <= set(pages), f"not in book/_toc.yml: {sorted(written - set(pages))}"


def test_chapters_are_in_order():
    numbers = [int(n.stem[:2]) for n in build.notebooks(build.toc())]
    assert numbers == sorted(numbers)


def test_every_citation_has_its_entry():
    text = (ROOT / "book" / "references.bib").read_text("utf-8")
    keys = re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE)
    assert len(keys) == len(set(keys))
    cited = set()
    for page in (ROOT / "book").glob("*.md"):
        for names in re.findall(r"\{cite\}`([^`]+)`", page.read_text("utf-8")):
            cited |= {n.strip() for n in names.split(",")}
    assert cited <= set(keys), f"no entry for {sorted(cited - set(keys))}"
    assert "yermakov2025gend" in cited


def test_pictures_of_the_pages_have_alt_text():
    for page in [ROOT / "README.md", *(ROOT / "book").glob("*.md")]:
        assert not re.search(r"!\[\s*\]\(", page.read_text("utf-8")), page.name


def test_the_book_asks_no_server_for_scripts():
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text("utf-8"))
    sphinx = config["sphinx"]["config"]
    assert "://" not in sphinx["mathjax_path"] and sphinx["nb_ipywidgets_js"] == {}
    assert config["execute"]["execute_notebooks"] == "off"


def test_status_page_shows_measured_numbers():
    run = nbrun.Run(
        "04_x", Path("x"), "fast", {}, 95.2, 812, "2026-01-02T03:04:05+00:00", {"torch": "2"}, "k"
    )
    text = build.status_page([run], "fast")
    assert "| [04_x](../notebooks/04_x.ipynb) | 95 (over budget) | 812 | 2026-01-02 03:04 |" in text
    assert "| all | 95 | 812 | |" in text and "| torch | 2 |" in text


def test_the_command_line_refuses_what_it_does_not_know(capsys):
    assert build.main(["--only", "55", "--no-html"]) == 1
    assert "--only 55: no such notebook" in capsys.readouterr().err
    assert build.main(["-p", "seed", "--no-html"]) == 1
    assert "expected NAME=VALUE" in capsys.readouterr().err


# --- a whole small book, built by the real command -------------------------------------------


@functools.cache  # shared with test_browser.py
def small_repository(folder: Path) -> Path:
    """A repository with one notebook; `python book/build.py` there is the real build."""
    root = folder / "small"
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "notebooks").mkdir()
    shutil.copy(ROOT / "tests" / "fixtures_nb" / "99_good.py", root / "notebooks")
    chapters = [{"file": f} for f in ("notebooks/99_good", "book/status", "book/references")]
    parts = [{"caption": "Chapters", "chapters": chapters}]
    toc = {"format": "jb-book", "root": "book/index", "parts": parts}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc), "utf-8")
    text = "# Small\n\n[A chapter](../notebooks/99_good.ipynb), [status](status.md), $x^2$.\n"
    (root / "book" / "index.md").write_text(text, "utf-8")
    for page in (root / "book").glob("*.md"):
        if page.stem not in ("index", "references"):
            page.unlink()
    done = make_book(root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def small_book(tmp_path_factory) -> Path:
    return small_repository(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def small_html(small_book) -> Path:
    return small_book / "_build" / "html"


def make_book(root: Path, *options: str) -> subprocess.CompletedProcess:
    source = root / "notebooks" / "99_good.py"
    subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", "--update", str(source)],
        check=True,
    )
    return subprocess.run(
        [sys.executable, "book/build.py", *options],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_small_book_builds_and_is_complete(small_html):
    page = (small_html / "notebooks" / "99_good.html").read_text("utf-8")
    assert page.count('class="gendkit-plot"') == 2 and page.count("plotly.min.js") == 1
    assert "mean length 1.000" in page
    assert (small_html / "_static" / "plotly.min.js").stat().st_size > 1e6
    assert (small_html / "_static" / "mathjax" / "tex-svg-full.js").is_file()
    check_pages(small_html)


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("notebooks/99_good.py", "points /= np", "points /= 1 / 0 * np", "code cell 4"),
        ("notebooks/99_good.py", '"alt": "Random points on a sphere."', "", "no alt text"),
        ("book/index.md", "$x^2$", "[gone](nowhere.md)", "nowhere"),
    ],
)
def test_what_is_wrong_fails_the_build(small_book, small_html, file, old, new, found):
    path = small_book / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    try:
        done = make_book(small_book)
    finally:
        path.write_text(text, "utf-8")
    assert done.returncode == 1 and found in done.stderr, done.stderr


def test_a_part_of_the_book_is_built_with_notes_for_the_rest(tmp_path):
    pages = [p for p in build.toc() if p.startswith("notebooks/")]
    if not all((ROOT / f"{p}.ipynb").is_file() for p in pages):
        pytest.fail("run: make notebooks")
    source = build.stage(build.toc(), [], "fast", tmp_path)
    found = (source / f"{pages[0]}.ipynb").read_text("utf-8")
    assert "Not part of this build" in found
    assert (build.build_html(source, tmp_path, strict=False) / f"{pages[-1]}.html").is_file()


def test_a_misspelt_parameter_fails_the_build(small_book, small_html):
    done = make_book(small_book, "-p", "n_pionts=3")
    assert done.returncode == 1 and "did you mean n_points" in done.stderr
    params = small_book / "notebooks" / "params" / "fast"
    params.mkdir(parents=True)
    (params / "99_good.yml").write_text("n_pionts: 3\n", "utf-8")
    done = make_book(small_book)
    shutil.rmtree(params.parent)
    assert done.returncode == 1 and "did you mean n_points" in done.stderr


# --- the built pages -------------------------------------------------------------------------


class Page(HTMLParser):
    """Links, pictures, figures, scripts and ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.no_alt: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(given["href"])
        if tag == "img" and not (given.get("alt") or "").strip():
            self.no_alt.append(given.get("src", "")[:60])
        if "gendkit-plot" in (given.get("class") or "").split() and not given.get("aria-label"):
            self.no_alt.append(given.get("id", "figure"))


def pages_of(html: Path) -> dict[Path, Page]:
    found = [p for p in sorted(html.rglob("*.html")) if "_static" not in p.relative_to(html).parts]
    return {p.resolve(): Page(p) for p in found}


def check_pages(html: Path) -> None:
    pages, problems = pages_of(html), []
    for path, page in pages.items():
        name = path.relative_to(html.resolve()).as_posix()
        if path.stat().st_size > MAX_PAGE_MB * 1e6:
            problems.append(f"{name}: {path.stat().st_size / 1e6:.1f} MB, at most {MAX_PAGE_MB}")
        problems += [f"{name}: no alt text: {x}" for x in page.no_alt]
        for target in page.loads:
            if target.startswith(("http:", "https:", "//")):
                problems.append(f"{name}: loads {target} from the network")
            elif (
                not target.startswith("data:")
                and not (path.parent / unquote(urlsplit(target).path)).exists()
            ):
                problems.append(f"{name}: loads {target}, which does not exist")
        for target in page.links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not other.exists():
                problems.append(f"{name}: dead link {target}")
            elif (
                parts.fragment
                and other in pages
                and unquote(parts.fragment) not in pages[other].ids
            ):
                problems.append(f"{name}: no such place: {target}")
    assert len(pages) > 2 and not problems, "\n".join(problems)


@need_book
def test_built_book_has_no_dead_link_no_silent_picture_no_heavy_page():
    check_pages(HTML)


@need_book
def test_built_book_is_complete():
    for page in build.toc():
        assert (HTML / f"{page}.html").is_file(), f"{page} is not built; run: make book"
