"""The form that every notebook of the book has. Each rule returns problems, in words that name the repair."""

import ast
import re
import sys
from pathlib import Path

import jupytext

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
import nbrun  # noqa: E402

CLOSING = [
    "What to remember",
    "Limits and misuse",
    "Exercises",
    "Solutions",
    "Further reading",
    "Next",
]
BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "book" / "references.bib"
ALWAYS = ["profile", "seed", "data_dir", "out_dir"]
PARAMETER = re.compile(r"^([a-z_][a-z0-9_]*): (str|int|float|bool|list) = (\S.*?)  # (\S.*)$")
ABSOLUTE = re.compile(
    r"""["'](/(home|Users|root|work|tmp|content|mnt|data|opt|var)\b|[A-Za-z]:[\\/])"""
)
MAX_CELL_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_WHY_WORDS = 20, 10, 12, 120


def _cells(path: Path) -> list[tuple[str, str, list[str]]]:
    return nbrun.cells(path)


def _code(path: Path) -> list[tuple[int, str, list[str]]]:
    """(number, source, tags) of each code cell."""
    code = [(s, t) for kind, s, t in _cells(path) if kind == "code"]
    return [(n, s, t) for n, (s, t) in enumerate(code, 1)]


def _prose(path: Path) -> str:
    """All Markdown with the code blocks in it blanked, code cells as a mark."""
    parts = [s if kind == "markdown" else "\n<code cell>\n" for kind, s, _ in _cells(path)]
    return re.sub(r"```.*?```", "", "\n\n".join(parts), flags=re.DOTALL)


def _runnable(source: str) -> ast.Module | None:
    """Syntax tree of a cell, with notebook magics read as comments; None if it is no Python."""
    try:
        return ast.parse(re.sub(r"^(\s*)([%!])", r"\1pass  # \2", source, flags=re.MULTILINE))
    except SyntaxError:
        return None


def head(path: Path) -> list[str]:
    """Title with the chapter's number, table with time, level and needs, the two bold openings."""
    kind, first, _ = _cells(path)[0]
    number = int(path.stem[:2])
    problems = []
    if kind != "markdown" or not re.match(rf"# {number}\. \S", first):
        problems.append(f"the first cell must begin with '# {number}. Title'")
    table = re.search(r"^\|(.+)\|\s*\n\|[-:| ]+\|", first, re.MULTILINE)
    words = [w.strip() for w in table.group(1).split("|")] if table else []
    for word in ("time", "level", "needs"):
        if word not in words:
            problems.append(
                f"the first cell needs a table '| time | … | level | … | needs | … |': no {word}"
            )
    for opening in ("You will learn", "Why it matters"):
        if f"**{opening}" not in first:
            problems.append(f"the first cell needs a paragraph that begins with **{opening}**")
    if "@@" in "".join(source for _, source, _ in _cells(path)):
        problems.append(
            "@@ stands where a measured number belongs; fill it in from the status page"
        )
    why = re.search(r"\*\*Why it matters\.?\*\*(.*)", first, re.DOTALL)
    if why and len(why.group(1).split()) > MAX_WHY_WORDS:
        problems.append(
            f"'Why it matters' has {len(why.group(1).split())} words, at most {MAX_WHY_WORDS}"
        )
    return problems


def sections(path: Path) -> list[str]:
    """One H1; three to six H2 of content; then the six closing H2 in their order."""
    text = _prose(path)
    problems = []
    if len(re.findall(r"^# \S", text, re.MULTILINE)) != 1:
        problems.append("a notebook has exactly one '# ' heading")
    found = re.findall(r"^## (.+?)\s*$", text, re.MULTILINE)
    if found[-len(CLOSING) :] != CLOSING:
        problems.append(f"the last H2 headings must be {CLOSING}, found {found[-len(CLOSING) :]}")
    content = [h for h in found if h not in CLOSING]
    if not 3 <= len(content) <= 6:
        problems.append(f"3 to 6 H2 sections of content expected, found {len(content)}: {content}")
    for name, low, high in (("What to remember", 3, 5), ("Further reading", 3, 6)):
        body = re.search(rf"^## {name}\s*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        n = len(re.findall(r"^[-*] \S", body.group(1), re.MULTILINE)) if body else 0
        if not low <= n <= high:
            problems.append(f"'{name}' needs {low} to {high} bullets ('- …'), found {n}")
        if name == "Further reading" and body:
            problems += _citations(body.group(1))
    return problems


def _citations(text: str) -> list[str]:
    """Every item names its entry in the bibliography, and the entry is there."""
    known = set(re.findall(r"^@\w+\{([^,]+),", BIBLIOGRAPHY.read_text("utf-8"), re.MULTILINE))
    problems = []
    for item in re.findall(r"^[-*] (\S.*)", text, re.MULTILINE):
        keys = re.findall(r"\[@([^\]]+)\]", item)
        if not keys:
            problems.append(
                f"further reading without a key of references.bib ([@key]): {item[:60]}"
            )
        problems += [f"no entry {key} in references.bib" for key in keys if key not in known]
    return problems


def parameters(path: Path) -> list[str]:
    """One cell tagged parameters, first of the code cells, in the form that papermill can read."""
    code = _code(path)
    tagged = [(n, s) for n, s, tags in code if "parameters" in tags]
    if len(tagged) != 1 or tagged[0][0] != 1:
        return ["exactly one cell tagged `parameters` expected, the first code cell"]
    problems, names = [], []
    for line in tagged[0][1].splitlines():
        match = PARAMETER.match(line)
        if not match:
            problems.append(f"parameters: write 'name: type = literal  # help', got: {line}")
            continue
        names.append(match.group(1))
        if line.count("=") != 1 or match.group(3).count("#"):
            problems.append(f"parameters: papermill skips a line with a second '=' or '#': {line}")
        try:
            value = ast.literal_eval(match.group(3))
        except (ValueError, SyntaxError):
            problems.append(f"parameters: the default must be a literal: {line}")
            continue
        if type(value).__name__ != match.group(2):
            problems.append(
                f"parameters: {match.group(1)} says {match.group(2)}, default is {value!r}"
            )
    if names[:4] != ALWAYS:
        problems.append(f"parameters: begin with {', '.join(ALWAYS)}; found {', '.join(names[:4])}")
    if len(names) > MAX_PARAMETERS:
        problems.append(f"parameters: {len(names)} of them, at most {MAX_PARAMETERS}")
    if path.suffix == ".ipynb":
        seen = set(nbrun.declared(path))
        if seen != set(names):
            problems.append(f"parameters: papermill does not see {sorted(set(names) - seen)}")
    return problems


def setup(path: Path) -> list[str]:
    """The second code cell is tagged setup and says what to do on Colab."""
    code = _code(path)
    if len(code) < 2 or "setup" not in code[1][2] or sum("setup" in t for _, _, t in code) != 1:
        return ["the second code cell, and only it, must be tagged `setup`"]
    if "google.colab" not in code[1][1] and "find_spec" not in code[1][1]:
        return ["the setup cell must install gendkit on Colab: if 'google.colab' in sys.modules: …"]
    return []


def exercises(path: Path) -> list[str]:
    """Predict, change and build with their minutes, a stub; for each a solution that asserts."""
    text = _prose(path)
    problems = []
    body = re.search(r"^## Exercises\s*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    for word in ("Predict", "Change", "Build"):
        form = rf"^(### |\d\. \*\*){word}\b.*\(\d+ min\)"
        if not re.search(form, body.group(1) if body else "", re.MULTILINE):
            problems.append(f"'## Exercises' needs an item '1. **{word}** (5 min). …'")
    stubs = [s for _, s, tags in _code(path) if "exercise" in tags]
    if not stubs:
        problems.append("at least one code cell tagged `exercise` expected, as a place to work")
    if any("answer = None" not in s for s in stubs):
        problems.append("an exercise cell is a stub that runs: answer = None  # your turn")
    solutions = [(n, s, tags) for n, s, tags in _code(path) if "solution" in tags]
    if len(solutions) < 3:
        problems.append(f"three code cells tagged `solution` expected, found {len(solutions)}")
    for n, source, tags in solutions:
        if "hide-cell" not in tags:
            problems.append(f"code cell {n}: a solution is tagged `hide-cell`, too")
        tree = _runnable(source)
        if tree and not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
            problems.append(f"code cell {n}: a solution asserts its own result")
    return problems


def code(path: Path) -> list[str]:
    """Short cells, short functions, no shell, no network, no absolute path, no cell that gives up."""
    problems = []
    for n, source, tags in _code(path):
        where = f"code cell {n}"
        lines = [s for s in source.splitlines() if s.strip() and not s.lstrip().startswith("#")]
        if len(lines) > MAX_CELL_LINES and not {"setup", "parameters"} & set(tags):
            problems.append(f"{where}: {len(lines)} lines of code, at most {MAX_CELL_LINES}")
        if "setup" not in tags and re.search(r"^\s*(# )?[!%]\w", source, re.MULTILINE):
            problems.append(f"{where}: shell or magic commands (! %) belong to the setup cell")
        if "setup" not in tags and re.search(r"https?://", source):
            problems.append(f"{where}: no network in code; the fast profile runs offline")
        if ABSOLUTE.search(source):
            problems.append(f"{where}: absolute path; use data / … or out / …")
        tree = _runnable(source)
        if tree is None:
            problems.append(f"{where}: not valid Python")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    problems.append(
                        f"{where}: function {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}; "
                        "it belongs to gendkit, with a test"
                    )
            if isinstance(node, ast.Name) and node.id in ("NotImplementedError", "NotImplemented"):
                problems.append(f"{where}: a stub must run; write answer = None")
            if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
                problems.append(f"{where}: no star imports")
    return problems


def prose(path: Path) -> list[str]:
    """Plain Markdown that reads the same in JupyterLab, Colab and the book; pictures have alt text."""
    text = "\n\n".join(s for kind, s, _ in _cells(path) if kind == "markdown")
    problems = []
    if re.search(r"^(```|:::)\{", text, re.MULTILINE) or re.search(
        r"\{(cite|doc|ref|numref)\}`", text
    ):
        problems.append("no MyST directives or roles in a notebook: Colab shows them raw")
    if re.search(r"!\[\s*\]\(", text):
        problems.append("a picture has no alt text: ![what it shows](file)")
    return problems


def hygiene(path: Path) -> list[str]:
    """The committed .ipynb has no outputs, no counts and no metadata but the kernel."""
    notebook = jupytext.read(path)
    problems = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and (cell.get("outputs") or cell.get("execution_count")):
            problems.append("outputs or execution counts: clear them, then run make notebooks")
            break
    extra = set(notebook.metadata) - {"kernelspec", "jupytext"}
    if path.suffix == ".ipynb" and extra:
        problems.append(f"metadata besides the kernel: {sorted(extra)}")
    return problems


RULES = [head, sections, parameters, setup, exercises, code, prose, hygiene]


def problems(path: Path) -> list[str]:
    """Everything that is wrong with the form of a notebook (.py or .ipynb); empty for a good one."""
    return [f"{path.name}: {text}" for rule in RULES for text in rule(path)]
