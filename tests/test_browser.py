"""The built book in a real browser, from disk, with the network off."""

import os
import re
import shutil
from pathlib import Path

import pytest
from test_book import HTML, ROOT, make_book, need_book, small_book, small_html  # noqa: F401

BROWSER = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium here; install it (Debian: apt-get install chromium)"
)
# software WebGL, for the 3D figures on machines without a graphics card
ARGS = ["--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as session:
        found = session.chromium.launch(executable_path=BROWSER, args=ARGS + as_root)
        yield found
        found.close()


def look(browser, path: Path) -> dict:
    """Open a page from disk, network off, and say what a reader would meet."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    errors, requests = [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("requestfailed", lambda r: errors.append(f"failed: {r.url}"))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else requests.append(r.url),
    )
    start = path.resolve().as_uri()
    page.goto(start, wait_until="load")
    if (
        'http-equiv="refresh"' in path.read_text("utf-8").lower()
    ):  # index.html leads to the first page
        page.wait_for_url(lambda url: url != start, wait_until="load")
    n_math = page.locator(".math").count()
    if n_math:
        page.wait_for_function(
            "document.querySelectorAll('mjx-container').length > 0", timeout=60_000
        )
        page.evaluate("MathJax.startup.promise.then(() => true)")
    n_plots = page.locator(".gendkit-plot").count()
    drawn = ".gendkit-plot.js-plotly-plot"
    if n_plots:
        page.wait_for_function(
            f"document.querySelectorAll('{drawn}').length == {n_plots}", timeout=60_000
        )
        page.wait_for_timeout(500)
    found = {
        "errors": errors,
        "requests": requests,
        "n_math": n_math,
        "n_formulas": page.locator("mjx-container svg").count(),
        "bad_formulas": page.locator("[data-mml-node=merror]").count(),
        "n_plots": n_plots,
        "empty_plots": page.evaluate(EMPTY_PLOTS),
        "wide": page.evaluate("document.documentElement.scrollWidth > innerWidth + 2"),
        "title": page.title(),
    }
    # the same page as a reader with a phone at night meets it
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(300)
    found["dark"] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    found["wide_on_phone"] = page.evaluate("document.documentElement.scrollWidth > innerWidth + 2")
    found["empty_on_phone"] = page.evaluate(EMPTY_PLOTS)
    context.close()
    return found


# a figure counts as drawn when it has traces, points or pixels, not only axes
EMPTY_PLOTS = """() => [...document.querySelectorAll('.gendkit-plot')].filter(div => {
    const box = div.getBoundingClientRect();
    const marks = div.querySelectorAll(
        '.trace, .plot path, .barlayer path, .heatmaplayer image, .imagelayer image, .hm image, '
        + '.violinlayer path, .boxlayer path, .indicatorlayer text, .table, .pielayer path'
    ).length;
    const canvases = [...div.querySelectorAll('.gl-container canvas, canvas')].filter(c => c.width > 1);
    const text = div.textContent.includes('WebGL is not supported');
    return box.width < 50 || box.height < 50 || text || (marks == 0 && canvases.length == 0);
}).map(div => div.id)"""


def assert_readable(found: dict, name: str) -> None:
    assert found["errors"] == [], f"{name}: {found['errors']}"
    assert found["requests"] == [], f"{name} asks the network: {found['requests']}"
    assert found["n_formulas"] >= found["n_math"], f"{name}: formulas without a picture"
    assert found["bad_formulas"] == 0, f"{name}: a formula has an error"
    assert found["empty_plots"] == [], f"{name}: empty figures {found['empty_plots']}"
    assert not found["wide"], f"{name} scrolls sideways"
    assert not found["wide_on_phone"], f"{name} scrolls sideways at 390 pixels"
    assert found["empty_on_phone"] == [], f"{name}: empty on a phone {found['empty_on_phone']}"
    assert max(map(int, re.findall(r"\d+", found["dark"])[:3])) < 90, f"{name}: not dark at night"


def test_figures_and_formulas_of_a_small_book_show_offline(browser, small_html):  # noqa: F811
    found = look(browser, small_html / "notebooks" / "99_good.html")
    assert found["n_plots"] == 2 and found["n_math"] == 2
    assert_readable(found, "99_good")
    assert_readable(look(browser, small_html / "index.html"), "index")


def test_the_check_sees_what_is_broken(browser, small_html, tmp_path):  # noqa: F811
    broken = tmp_path / "html"
    shutil.copytree(small_html, broken)
    (broken / "_static" / "mathjax" / "tex-svg-full.js").write_text("throw Error('no')", "utf-8")
    page = broken / "notebooks" / "99_good.html"
    text = page.read_text("utf-8").replace('class="math', 'class="was-math')
    page.write_text(text.replace('"type":"scatter"', '"type":"scatter","visible":false'), "utf-8")
    found = look(browser, page)
    assert any("no" in e for e in found["errors"])
    assert found["empty_plots"] == ["99_good-figure-1"]
    with_request = '<img src="https://example.org/x.png"></body>'
    page.write_text(page.read_text("utf-8").replace("</body>", with_request), "utf-8")
    assert look(browser, page)["requests"] == ["https://example.org/x.png"]


@need_book
def test_every_page_of_the_book_reads_well_offline(browser):
    pages = [p for p in sorted(HTML.rglob("*.html")) if "_static" not in p.relative_to(HTML).parts]
    assert {p.stem for p in pages} >= {p.stem for p in (ROOT / "notebooks").glob("[0-9]*.py")}
    for path in pages:
        name = path.relative_to(HTML).as_posix()
        found = look(browser, path)
        assert_readable(found, name)
        assert found["n_plots"] or not name.startswith("notebooks/"), f"{name} shows no figure"
