"""Pages and settings of the book that the build writes itself: run times, the library's reference, the address."""

import ast
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from nbrun import ROOT, BookError, Run

BUDGET_S = {"fast": 90, "demo": 1200, "full": None}
BUDGET_ALL_S = {"fast": 900, "demo": None, "full": None}
PACKAGE = ROOT / "gendkit"
# Left out of the reference: commands explain themselves with --help; app, recipes, speed tests are run, not called.
NOT_IN_REFERENCE = {
    "app",
    "bench",
    "bench_baselines",
    "bench_data",
    "cli",
    "commands",
    "nobody",
    "pretrain",
}
REFERENCE = "book/api"


def status_page(runs: Sequence[Run], profile: str) -> str:
    """Markdown of the page that says what each notebook cost, measured in the runs shown in the book."""
    budget = BUDGET_S[profile]
    lines = [
        "# Run time and memory",
        "",
        "This page is written by the build, from the very runs whose outputs the book shows.",
        "Memory is the largest resident memory of the notebook's process with its workers.",
        f"Profile: {profile}; {os.cpu_count()} CPU cores,"
        f" {platform.system()} {platform.machine()}.",
        "",
        "| notebook | seconds | peak MB | finished (UTC) |",
        "|---|---:|---:|---|",
    ]
    for run in runs:
        late = " (over budget)" if budget and run.seconds > budget else ""
        lines.append(
            f"| [{run.name}](../notebooks/{run.name}.ipynb) | {run.seconds:.0f}{late} | {run.peak_mb:.0f} "
            f"| {run.finished[:16].replace('T', ' ')} |"
        )
    if runs:
        total, peak = sum(r.seconds for r in runs), max(r.peak_mb for r in runs)
        lines.append(f"| all | {total:.0f} | {peak:.0f} | |")
        lines += ["", "| software | version |", "|---|---|"]
        lines += [f"| {name} | {version} |" for name, version in runs[0].versions.items()]
    if budget:
        lines += ["", f"Budget in this profile: {budget} seconds a notebook on two cores."]
    return "\n".join(lines) + "\n"


def over_budget(runs: Sequence[Run], profile: str) -> list[str]:
    """What took longer than it may: a line for each notebook, one for all together."""
    one, every = BUDGET_S[profile], BUDGET_ALL_S[profile]
    found = [
        f"over budget: {run.name} took {run.seconds:.0f} s, at most {one} s in profile {profile}"
        for run in runs
        if one and run.seconds > one
    ]
    total = sum(run.seconds for run in runs)
    if every and total > every:
        found.append(f"over budget: all notebooks took {total:.0f} s, at most {every} s")
    return found


def modules() -> dict[str, str]:
    """Public modules of the library with the first line of what each says of itself."""
    found = {}
    for path in sorted(PACKAGE.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        name = path.stem
        if file.suffix != ".py" or not file.is_file() or name.startswith("_"):
            continue
        if name not in NOT_IN_REFERENCE:
            text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
            found[name] = text.splitlines()[0] if text else ""
    return found


def reference() -> dict[str, str]:
    """Pages of the library's reference, made from its docstrings by Sphinx.

    Returns:
        Page (without suffix) -> Markdown; the first is the overview.
    """
    every = modules()
    lines = [
        "# The library",
        "",
        "Each chapter calls the small package `gendkit`; these pages are made from its docstrings.",
        "",
        "| module | |",
        "|---|---|",
    ]
    lines += [f"| [`{name}`](api_{name}.md) | {line} |" for name, line in every.items()]
    lines += ["", "Commands explain themselves: `gendkit --help`."]
    pages = {REFERENCE: "\n".join(lines) + "\n"}
    for name in every:
        directive = f"```{{eval-rst}}\n.. automodule:: gendkit.{name}\n   :members:\n```\n"
        pages[f"{REFERENCE}_{name}"] = f"# {name}\n\n{directive}"
    return pages


def with_reference(toc: Mapping[str, Any]) -> dict[str, Any]:
    """The table of contents with the reference's pages below its overview, if the book has one."""
    parts = []
    for part in toc["parts"]:
        chapters = [dict(chapter) for chapter in part["chapters"]]
        for chapter in chapters:
            if chapter["file"] == REFERENCE:
                chapter["sections"] = [{"file": f"{REFERENCE}_{name}"} for name in modules()]
        parts.append({**part, "chapters": chapters})
    return {**toc, "parts": parts}


def with_repository(config: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The book's settings with links to the repository: source, edit, issue, and Colab for GitHub.

    Args:
        config: Content of `_config.yml`.
        url: https address of the repository; empty leaves the settings as they are.

    Raises:
        BookError: If the address is not https://HOST/OWNER/NAME.
    """
    if not url:
        return dict(config)
    parts = urlsplit(url)
    path = parts.path.strip("/").removesuffix(".git")
    if parts.scheme != "https" or not parts.netloc or path.count("/") != 1:
        raise BookError(f"--repository {url}: expected https://HOST/OWNER/NAME")
    colab = "https://colab.research.google.com" if parts.netloc == "github.com" else ""
    merged = yaml.safe_load(yaml.safe_dump(dict(config)))
    address = f"https://{parts.netloc}/{path}"
    merged["repository"]["url"] = address
    merged["launch_buttons"]["colab_url"] = colab
    for button in ("edit_page", "repository", "issues"):
        merged["html"][f"use_{button}_button"] = True
    options = merged["sphinx"]["config"]["html_theme_options"]
    options["launch_buttons"] = {"colab_url": colab} if colab else {}
    options |= {"repository_url": address, "repository_branch": merged["repository"]["branch"]}
    options |= {f"use_{b}_button": True for b in ("edit_page", "repository", "issues")}
    return merged
