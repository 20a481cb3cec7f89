"""The files around the code agree: environment, README, licence, citation, continuous integration."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED_EXTRAS = re.search(r"^EXTRAS := (\S+)$", MAKEFILE, re.MULTILINE).group(1).split(",")


def pins() -> dict[str, Version]:
    """Package -> exact version, from constraints.txt."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in found, f"constraints.txt names {name} twice"
            found[canonicalize_name(name)] = Version(version)
    return found


def required(extras: list[str]) -> list[Requirement]:
    return [Requirement(r) for r in sum((EXTRAS[e] for e in extras), list(PROJECT["dependencies"]))]


# --- the environment -------------------------------------------------------------------------


def test_pyproject_has_lower_bounds_only():
    for need in required(list(EXTRAS)):
        operators = {s.operator for s in need.specifier}
        assert ">=" in operators, f"{need}: give the oldest version that works"
        if need.name != "jupyter-book":  # 2.x is another program
            assert operators == {">="}, f"{need}: exact versions belong to constraints.txt"


def test_every_installed_requirement_is_pinned_within_its_bounds():
    pinned = pins()
    for need in required(INSTALLED_EXTRAS):
        version = pinned.get(canonicalize_name(need.name))
        assert version, f"constraints.txt does not pin {need.name}"
        assert version in need.specifier, (
            f"constraints.txt has {need.name} {version}, not {need.specifier}"
        )
    assert pinned["torch"] == Version("2.13.0")


def test_pins_are_complete():
    """Everything that the pinned packages need is pinned, too, so an installation never moves."""
    pinned, missing = pins(), []
    todo, seen = [r.name for r in required(INSTALLED_EXTRAS)], set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        if name not in pinned:
            missing.append(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # the next test tells
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                todo.append(need.name)
    assert not missing, f"not in constraints.txt: {sorted(missing)}"


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(),
    reason="not the environment of make install",
)
def test_the_environment_is_the_pinned_one():
    different = []
    for name, version in pins().items():
        try:
            found = Version(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            different.append(f"{name} is missing")
            continue
        if found.public != version.public:
            different.append(f"{name} {found}, pinned {version}")
    assert not different, f"run: make install ({'; '.join(different)})"


def test_environment_yml_installs_the_same():
    content = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python = next(d for d in content["dependencies"] if str(d).startswith("python="))
    assert Version(python.split("=")[1]) in Requirement("p" + PROJECT["requires-python"]).specifier
    pip = next(d["pip"] for d in content["dependencies"] if isinstance(d, dict))
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED_EXTRAS)}]"]


def test_version_is_the_same_everywhere():
    import gendkit

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert gendkit.__version__ == PROJECT["version"] == citation["version"]


def test_citation_prefers_the_paper():
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["preferred-citation"]
    assert [a["family-names"] for a in paper["authors"]] == ["Yermakov", "Cech", "Matas", "Fritz"]
    assert paper["url"].endswith("2508.06248")


# --- README ----------------------------------------------------------------------------------


def test_every_path_in_the_map_of_the_readme_exists():
    block = re.search(r"^## Map\s+```text\n(.*?)```", README, re.MULTILINE | re.DOTALL).group(1)
    paths = [line.split()[0] for line in block.splitlines() if line.strip()]
    assert len(paths) > 8
    assert [p for p in paths if not (ROOT / p).exists()] == []
    top = {p.rstrip("/").split("/")[0] for p in paths}
    assert {"book", "notebooks", "gendkit", "data", "tests", "environment.yml"} <= top


def test_every_link_and_file_in_the_readme_exists():
    links = [t for t in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in t]
    files = re.findall(r"(?<![\w/])(?:tests|book|notebooks|gendkit|data)/[\w./-]+\.\w+", README)
    assert links and files
    assert [p for p in links + files if not (ROOT / p).exists()] == []


def commands(text: str) -> list[str]:
    """Command lines of the bash blocks and of the inline code of a Markdown text."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines()
    inline = re.findall(r"`((?:make|conda|gendkit) [^`]+)`", text)
    return [c.split("  #")[0].strip() for c in blocks + inline if c.strip()]


@pytest.mark.parametrize("page", ["README.md", "book/howto_run.md"])
def test_every_command_exists(page):
    text = (ROOT / page).read_text("utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", MAKEFILE, re.MULTILINE))
    found = commands(text)
    assert len(found) > 3
    for command in found:
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, f"{page}: {command}"
        elif words[0] == "conda":
            assert (ROOT / "environment.yml").is_file()
        elif words[0] == ".venv/bin/python":
            assert (ROOT / words[1]).is_file(), f"{page}: {command}"
        else:
            assert words[0] in (
                "cd",
                "chromium",
                ".venv/bin/gendkit",
                "../.venv/bin/papermill",
                "gendkit",
            ), command


def test_the_options_of_the_build_in_the_pages_are_real():
    shown = subprocess.run(
        [sys.executable, "book/build.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for page in ("README.md", "book/howto_run.md"):
        for command in commands((ROOT / page).read_text("utf-8")):
            if "book/build.py" in command:
                for option in re.findall(r"(?<=\s)--?[a-z-]+", command):
                    assert option in shown, f"{page}: {command}"


def test_no_measured_number_is_missing():
    """@@ marks a number that somebody must still measure."""
    pages = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
    assert [p.name for p in pages if "@@" in p.read_text("utf-8")] == []


# --- the command line and CI -----------------------------------------------------------------


def test_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"install", "book", "test", "test-book", "lint", "lab", "clean"} <= listed


def test_ci_does_the_same_for_users_and_here():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = [s.get("run") for s in workflow["jobs"]["check"]["steps"]]
    assert "bash .ci/run" in steps
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert "set -euo pipefail" in script
    assert re.findall(r"^make (\S+)$", script, re.MULTILINE) == [
        "lint",
        "test",
        "test-app",
        "book",
        "test-book",
    ]


def test_cli_is_thin_and_explains_itself(capsys):
    from gendkit import cli

    with pytest.raises(SystemExit) as done:
        cli.main(["--help"])
    assert done.value.code == 0
    assert {"extract", "nobody", "weights"} <= set(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as done:
        cli.main(["train-everything"])
    assert done.value.code == 2


def test_cli_says_what_is_missing(monkeypatch, capsys):
    from gendkit import cli

    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["nobody", "--out", "x"]) == 2
    assert "not part of this installation" in capsys.readouterr().err


def test_cli_forwards_to_the_generator(monkeypatch):
    import types

    from gendkit import cli

    seen = []
    module = types.SimpleNamespace(main=seen.append)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: seen.append(name) or module)
    assert cli.main(["weights", "encoder", "--minutes", "40"]) == 0
    assert seen == ["gendkit.pretrain.weights", ["encoder", "--minutes", "40"]]


SECRET_WORDS = re.compile(r"/work/|/root/|file:///opt|\.library")


def test_no_path_of_one_machine_is_committed():
    """Checks the text files of the repository; the words themselves stand in this test only."""
    found = []
    folders = ("book", "gendkit", "notebooks", "tests", ".ci", ".github")
    files = [p for f in folders for p in (ROOT / f).rglob("*")] + list(ROOT.glob("*"))
    for path in files:
        kinds = {
            ".py",
            ".md",
            ".yml",
            ".yaml",
            ".toml",
            ".txt",
            ".ipynb",
            ".cff",
            ".json",
            ".css",
            "",
        }
        if path.is_file() and path.suffix in kinds and path != Path(__file__).resolve():
            if "_build" not in path.parts and SECRET_WORDS.search(
                path.read_text("utf-8", "replace")
            ):
                found.append(path.relative_to(ROOT).as_posix())
    assert not found
