"""Run every notebook of the book and build its HTML, which opens from disk with no network.

    python book/build.py                         the fast profile into _build/html
    python book/build.py --only 04               one notebook; the others become short notes
    python book/build.py --only 04 -p seed=1     with another parameter; unknown names are refused
    python book/build.py --profile full          parameters from notebooks/params/full

jupyter-book is not allowed to execute anything: it exits 0 on a failing cell and reuses results that an edit of
gendkit has made wrong. papermill runs the notebooks first (nbrun.py), then the pages are built with every warning
as an error.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from nbfigures import FigureError, publish  # noqa: E402
from nbrun import BUILD, PROFILES, ROOT, BookError, Run, run_notebook  # noqa: E402
from pages import (  # noqa: E402
    REFERENCE,
    over_budget,
    reference,
    status_page,
    with_reference,
    with_repository,
)

THEBE = re.compile(
    r"<script>const THEBE_JS_URL.*?</script>"
    r"|<script[^>]*sphinx-thebe\.js[^>]*></script>"
    r"|<link[^>]*sphinx-thebe\.css[^>]*/>",
    re.DOTALL,
)
# Cards of data and weights, which live beside what they describe, are pages of the book as well.
CARDS = {
    "book/card_nobody": "data/nobody/README.md",
    "book/card_encoder": "data/weights/encoder.md",
    "book/card_landmarks": "data/weights/landmarks.md",
    "book/card_detector": "data/weights/detector.md",
    "book/card_log": "data/weights/LOG.md",
    "book/card_results": "data/results/README.md",
}
GENERATED = ("book/status", REFERENCE, *CARDS)  # pages that the build writes itself


def toc(path: Path = ROOT / "book" / "_toc.yml") -> list[str]:
    """Pages of the book in reading order, without suffix."""
    content = yaml.safe_load(path.read_text("utf-8"))
    chapters = [c["file"] for part in content["parts"] for c in part["chapters"]]
    return [content["root"], *chapters]


def notebooks(pages: Sequence[str], only: Sequence[str] = (), folder: Path = ROOT) -> list[Path]:
    """The notebooks among the pages, as .ipynb paths; `only` keeps those that start with one of its words."""
    found = [folder / f"{page}.ipynb" for page in pages if page.startswith("notebooks/")]
    for word in only:
        if not any(n.stem.startswith(word) for n in found):
            known = ", ".join(n.stem for n in found)
            raise BookError(f"--only {word}: no such notebook in book/_toc.yml; known: {known}")
    return [n for n in found if not only or any(n.stem.startswith(w) for w in only)]


def title(notebook: Path) -> str:
    """First heading of a notebook."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        match = re.search(r"^# (.+)$", cell.source, re.MULTILINE)
        if cell.cell_type == "markdown" and match:
            return match.group(1)
    raise BookError(f"notebooks/{notebook.name} has no title (# ...) in its first cell")


def stage(
    pages: Sequence[str],
    runs: Sequence[Run],
    profile: str,
    build: Path = BUILD,
    repository: str = "",
) -> Path:
    """Lay out the source tree that jupyter-book reads: book pages and executed notebooks."""
    source = build / "src"
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    shutil.copytree(
        ROOT / "book",
        source / "book",
        ignore=shutil.ignore_patterns("__pycache__", "*.py", "offline", "_static"),
    )
    shutil.copytree(ROOT / "book" / "_static", source / "_static")
    by_name = {run.name: run for run in runs}
    for notebook in notebooks(pages):
        target = source / "notebooks" / notebook.name
        if run := by_name.get(notebook.stem):
            executed = nbformat.read(run.path, as_version=4)
            nbformat.write(publish(executed, notebook.stem), target)
        else:
            text = f"# {title(notebook)}\n\nNot part of this build (`--only`)."
            note = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
            nbformat.write(note, target)
    (source / "book" / "status.md").write_text(status_page(runs, profile), "utf-8")
    for page in CARDS.keys() & set(pages):
        shutil.copyfile(ROOT / CARDS[page], source / f"{page}.md")
    if REFERENCE in pages:
        for page, text in reference().items():
            (source / f"{page}.md").write_text(text, "utf-8")
    for name, change in {
        "_toc.yml": with_reference,
        "_config.yml": lambda config: with_repository(config, repository),
    }.items():
        path = source / "book" / name
        content = change(yaml.safe_load(path.read_text("utf-8")))
        path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return source


def assets() -> dict[str, Path]:
    """Scripts that the pages share: name under `_static` -> file of an installed package."""
    plotly = importlib.util.find_spec("plotly")
    try:
        mathjax = importlib.metadata.distribution("sphinx-mathjax-offline")
    except importlib.metadata.PackageNotFoundError as error:
        raise BookError("sphinx-mathjax-offline is not installed; run: make install") from error
    found = {
        "plotly.min.js": Path(plotly.origin).parent / "package_data" / "plotly.min.js",
        # the SVG variant with all extensions is one file and loads no fonts
        "mathjax/tex-svg-full.js": Path(
            str(mathjax.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"))
        ),
    }
    for name, path in found.items():
        if not path.is_file():
            raise BookError(f"{name} not found in the installed packages; run: make install")
    return found


def build_html(source: Path, build: Path = BUILD, strict: bool = True) -> Path:
    """Build the pages with jupyter-book, execution off.

    Args:
        source: Tree made by `stage`.
        build: Output goes to `<build>/html`, replaced only if the build succeeds.
        strict: Missing cross-references are errors, too; switched off for parts of a book.

    Returns:
        `<build>/html`.

    Raises:
        BookError: If jupyter-book reports any warning.
    """
    site = build / "site"
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    command += [
        "--config",
        "book/_config.yml",
        "--toc",
        "book/_toc.yml",
        "--path-output",
        str(site),
    ]
    # --all: pages that are not read again hide their errors; -W --keep-going: warnings are errors, all are shown
    command += ["--all", "-W", "--keep-going", *(["-n"] if strict else [])]
    log = build / "jupyter-book.log"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(command, cwd=source, stdout=stream, stderr=subprocess.STDOUT)
    if done.returncode:
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text("utf-8"))
        found = [s for s in text.splitlines() if re.search(r"WARNING|ERROR|Error:|Exception", s)]
        raise BookError("jupyter-book failed:\n" + "\n".join(found or text.splitlines()[-20:]))
    html = site / "_build" / "html"
    for page in html.rglob("*.html"):  # "run this cell" of the theme: unused, errs, names a server
        page.write_text(THEBE.sub("", page.read_text("utf-8")), "utf-8")
    for name, path in assets().items():
        (html / "_static" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, html / "_static" / name)
    target = build / "html"
    shutil.rmtree(target, ignore_errors=True)
    html.rename(target)
    shutil.rmtree(site, ignore_errors=True)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Run and build; returns 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=PROFILES, default="fast")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="run only these notebooks"
    )
    parser.add_argument(
        "-p",
        dest="set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a notebook parameter",
    )
    parser.add_argument("--force", action="store_true", help="run even what is unchanged")
    parser.add_argument("--no-html", action="store_true", help="run the notebooks, build no pages")
    parser.add_argument(
        "--keep-going", action="store_true", help="run the other notebooks when one fails"
    )
    parser.add_argument(
        "--repository",
        default=os.environ.get("GENDKIT_REPOSITORY", ""),
        metavar="URL",
        help="address for the links to source, issues and Colab (default: $GENDKIT_REPOSITORY)",
    )
    args = parser.parse_args(argv)
    try:
        bad = [text for text in args.set if "=" not in text]
        if bad:
            raise BookError(f"-p {bad[0]}: expected NAME=VALUE")
        if not args.no_html:
            assets()  # say what is missing before the notebooks run
        overrides = dict(text.split("=", 1) for text in args.set)
        pages = toc()
        runs: list[Run] = []
        failures: list[BookError] = []
        for notebook in notebooks(pages, args.only):
            try:
                run = run_notebook(notebook, args.profile, overrides, force=args.force)
            except BookError as error:
                if not args.keep_going:
                    raise
                print(f"{notebook.stem}: FAILED", flush=True)
                failures.append(error)
                continue
            how = f"unchanged, executed {run.finished}" if run.reused else "done"
            print(f"{run.name}: {run.seconds:.0f} s, {run.peak_mb:.0f} MB, {how}", flush=True)
            runs.append(run)
        for line in over_budget(runs, args.profile):
            print(line, flush=True)
        if failures:
            raise BookError("\n".join(str(error) for error in failures))
        if args.no_html:
            return 0
        source = stage(pages, runs, args.profile, repository=args.repository)
        html = build_html(source, strict=not args.only)
        print(f"The book is ready: open {(html / 'index.html').relative_to(ROOT)} in a browser.")
    except (BookError, FigureError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
