"""app: the page in a real browser, with real clicks: give files, score, look, move the threshold, save, stop."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendkit import repro, video
from gendkit.app import examples

BROWSER = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium here; install it (Debian: apt-get install chromium)"
)
ROOT = Path(__file__).resolve().parents[1]
WAIT = 120_000


class App:
    """The command itself, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._before = before.ru_utime + before.ru_stime
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gendkit.cli", "app", "--max-mb", "1", "--max-seconds", "60"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        self.seconds = time.monotonic() - start
        assert line.startswith("gendkit app: http://127.0.0.1:"), line
        self.url = line.split(": ", 1)[1].strip()
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        self.cpu_seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def left(self) -> list[Path]:
        """Files in the app's folders."""
        return [p for p in self.folder.rglob("gendkit-app-*/**/*") if p.is_file()]

    def end(self) -> int:
        """Ask it to end, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    pytest.importorskip("gradio", reason="pip install 'gendkit[app]'")
    running = App(tmp_path_factory.mktemp("app"))
    yield running
    assert running.end() == 0
    assert list(running.folder.glob("gendkit*")) == [], "files are left after the end"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as session:
        found = session.chromium.launch(
            executable_path=BROWSER, args=["--disable-background-networking", *as_root]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A clip, a picture with an unusual name, and text that says it is a video."""
    folder = tmp_path_factory.mktemp("given")
    clip = examples.path(examples.names()[1])
    shutil.copy(clip, folder / "swap.mp4")
    Image.fromarray(video.read_frames(clip, [0])[0]).save(folder / "ein <b>Bild<b> 顔.png")
    (folder / "text.mp4").write_text("not a video\n" * 20)
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "large.png")
    return folder


class Page:
    """A page and what it asked for."""

    def __init__(self, browser, app, width=1280, height=1000, theme="light"):
        self.app = app
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.elsewhere, self.errors = [], []
        self.page.on("request", self._asked)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("dialog", lambda d: (self.errors.append(d.message), d.dismiss()))
        self.page.goto(app.url)
        self.page.wait_for_selector("#gk-start", timeout=WAIT)

    def _asked(self, request):
        if not request.url.startswith((self.app.url, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def upload(self, *paths):
        self.page.set_input_files("#gk-upload input[type=file]", [str(p) for p in paths])
        for path in paths:
            self.page.wait_for_selector(f"#gk-upload >> text={path.stem[:6]}", timeout=WAIT)

    def score(self) -> str:
        # a refusal is too quick to see the button disabled, so wait for another last line
        self.page.evaluate("document.querySelector('#gk-state .gk-status').dataset.old = 1")
        self.page.click("#gk-start")
        self.page.wait_for_selector(
            "#gk-state .gk-status:not([data-old]):not(.gk-wait)", timeout=WAIT
        )
        self.page.wait_for_selector("#gk-start:not([disabled])", timeout=WAIT)
        return self.page.inner_text("#gk-state")

    def tab(self, name):
        tab = self.page.get_by_role("tab", name=name, exact=True)
        if tab.is_visible():
            tab.click()
        else:  # a narrow page keeps the rest in a menu
            self.page.locator(".overflow-menu > button").first.click()
            self.page.locator(".overflow-dropdown button", has_text=name).click()

    def rows(self) -> list[list[str]]:
        rows = self.page.locator("#gk-table tbody tr")
        return [r.locator("td").all_inner_texts() for r in rows.all()]

    def close(self):
        self.context.close()
        assert self.elsewhere == [], f"the page asks elsewhere: {self.elsewhere}"
        assert self.errors == []


@pytest.fixture
def page(browser, app):
    opened = Page(browser, app)
    yield opened
    opened.close()


def test_the_start_is_short(app):
    """In seconds of work, not of the clock: other processes must not fail this."""
    assert app.cpu_seconds < 20, f"{app.cpu_seconds:.1f} s of work, {app.seconds:.1f} s in all"


def test_give_score_look_and_save(page, given, tmp_path):
    page.upload(given / "swap.mp4", given / "ein <b>Bild<b> 顔.png")
    assert "2 of 2 files scored" in page.score()
    clip, still = page.rows()
    assert clip[0] == "swap.mp4" and clip[1] == "ok" and clip[2] in ("fake", "real")
    frames_and_faces = slice(6, 9)  # after the calibrated score
    assert clip[frames_and_faces] == ["8"] * 3 and still[frames_and_faces] == ["1"] * 3
    assert "Bild" in still[0] and "顔" in still[0]
    assert page.app.left() == [], "files are left after a request"
    assert page.page.locator("#gk-upload >> text=swap").count() == 0  # the field is empty again
    assert "no proof" in page.page.inner_text("#gk-meaning")

    page.tab("Frames")
    frames = page.page.locator("#gk-frames img")
    assert frames.count() == 9
    assert frames.first.evaluate("i => i.complete && i.naturalWidth") == 256
    assert all(i.get_attribute("alt") for i in frames.all())
    page.tab("Crops")
    assert page.page.locator("#gk-crops img").count() == 9
    page.tab("Over time")
    page.page.wait_for_selector("#gk-time .js-plotly-plot .scatterlayer .point", timeout=WAIT)
    assert page.page.locator("#gk-time .scatterlayer .point").count() == 9

    page.tab("Save")
    for name in ("gendkit-report.html", "gendkit-scores.csv", "gendkit-scores.json"):
        with page.page.expect_download() as saved:
            page.page.click(f"a[download='{name}']")
        saved.value.save_as(tmp_path / name)
    data = json.loads((tmp_path / "gendkit-scores.json").read_text("utf-8"))
    assert [f"{f['mean']:.3f}" for f in data["files"]] == [clip[3], still[3]]
    assert len((tmp_path / "gendkit-scores.csv").read_text("utf-8").splitlines()) == 10
    report = page.context.new_page()
    report.goto((tmp_path / "gendkit-report.html").as_uri())
    assert report.locator("img").count() == 18 and "Do not decide" in report.inner_text("body")
    assert page.app.left() == []


def test_bad_files_show_a_message_and_good_ones_a_score(page, given):
    page.upload(given / "text.mp4", given / "swap.mp4")
    assert "1 of 2 files scored" in page.score()
    bad, good = page.rows()
    assert bad[1] == "refused" and "this is text" in bad[-1]
    assert good[1] == "ok"
    page.upload(given / "text.mp4")
    assert "0 of 1 file scored" in page.score()
    assert page.app.left() == []
    assert "nothing to score" in page.score()


def test_a_file_that_is_too_large_is_refused_by_the_page(page, given):
    page.page.set_input_files("#gk-upload input[type=file]", str(given / "large.png"))
    page.page.wait_for_selector("text=/maximum|too large|exceed/i", timeout=WAIT)
    page.page.reload()
    page.page.wait_for_selector("#gk-start", timeout=WAIT)
    page.upload(given / "swap.mp4")
    assert "1 of 1 file scored" in page.score()
    for _ in range(200):  # what came of it goes when nothing more comes
        if not page.app.left():
            break
        time.sleep(0.1)
    assert page.app.left() == []


def test_examples_settings_and_threshold(page):
    page.page.locator("#gk-examples input").nth(0).check()
    page.page.click("#gk-settings button")
    page.page.locator("#gk-settings >> text=Maximum frames").wait_for()
    page.page.locator("#gk-settings input[type=number]").first.fill("3")
    page.page.locator("#gk-settings input[type=number]").first.press("Tab")
    assert "1 of 1 file scored" in page.score()
    assert page.rows()[0][6] == "3"
    page.tab("Threshold")
    page.page.wait_for_selector("#gk-rates >> text=Counted at", timeout=WAIT)
    page.page.wait_for_selector("#gk-curve .scatterlayer path.js-line", timeout=WAIT)
    stored = repro.read_json(repro.data_dir() / "weights" / "detector" / "threshold.json")
    found = f"{round(100 * stored['hits'] / stored['n_fake'], 1):.0f} of these"
    page.page.wait_for_selector(f"#gk-worth >> text={found}", timeout=WAIT)
    number = page.page.locator("#gk-cut input[type=number]")
    number.fill("0")
    number.press("Tab")
    counted = f"{stored['n_real']} of {stored['n_real']} reals called"
    page.page.wait_for_selector(f"#gk-rates >> text={counted}", timeout=WAIT)
    page.page.wait_for_selector("#gk-calls td:text-is('fake')", timeout=WAIT)
    share = page.page.locator("#gk-share input")
    share.fill("10")
    share.press("Tab")
    page.page.wait_for_selector("#gk-worth >> text=1,000 are fakes", timeout=WAIT)


def test_an_own_folder_can_be_named(page, tmp_path):
    page.page.click("#gk-model input")
    page.page.get_by_role("option", name="own folder").click()
    page.page.wait_for_selector("#gk-folder textarea, #gk-folder input", timeout=WAIT)
    page.page.locator("#gk-folder textarea, #gk-folder input").first.fill(str(tmp_path / "no"))
    page.page.locator("#gk-examples input").nth(0).check()
    assert "is no folder on this computer" in page.score()


def test_stop_ends_the_work_with_what_is_there(page):
    for k in range(4):
        page.page.locator("#gk-examples input").nth(k).check()
    page.page.click("#gk-settings button")
    page.page.locator("#gk-settings input[type=number]").first.fill("16")
    page.page.locator("#gk-settings input[type=number]").first.press("Tab")
    page.page.click("#gk-start")
    page.page.wait_for_selector("#gk-state >> text=/1 of 4/", timeout=WAIT)
    page.page.click("#gk-stop")
    page.page.wait_for_selector("#gk-start:not([disabled])", timeout=WAIT)
    states = [row[1] for row in page.rows()]
    assert len(states) == 4 and states[-1] == "stopped"
    assert "stopped by hand" in page.rows()[-1][-1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_narrow_page_reads_well(browser, app, theme):
    page = Page(browser, app, 390, 844, theme)
    page.page.locator("#gk-examples input").nth(0).check()
    page.score()
    for name in ("Scores", "Frames", "Crops", "Over time", "Threshold", "Save"):
        page.tab(name)
        page.page.wait_for_timeout(300)
        wide = page.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 392, f"{name} is {wide} pixels wide"
    colors = page.page.evaluate(CONTRAST)
    assert min(colors.values()) >= 4.5, colors
    page.close()


# contrast of text to its ground by the formula of WCAG 2
CONTRAST = """() => {
    const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b; };
    const ground = e => { for (; e; e = e.parentElement) {
        const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c) && c != 'transparent') return c; } return 'rgb(255, 255, 255)'; };
    const out = {};
    for (const id of ['#gk-head p', '#gk-state .gk-status', '#gk-head h1', 'a.gk-save']) {
        const e = document.querySelector(id);
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        out[id] = (a + .05) / (b + .05);
    }
    return out;
}"""
