"""Imports inside the package go down only; the import is light; optional stays optional."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gendkit"

# The level of each module. A module may import modules of lower levels only.
LEVELS = {
    "repro": 0,
    "manifest": 0,
    "metrics": 0,
    "losses": 0,
    "transforms": 0,
    "specs": 0,
    "video": 1,
    "faces": 1,
    "fan": 1,
    "forge": 1,
    "pixels": 1,
    "warp": 0,
    "rates": 0,
    "audit": 2,
    "baselines": 1,
    "recipe": 1,
    "resample": 1,
    "pairing": 1,
    "datasets": 2,
    "backbones": 2,
    "benchmarks": 2,
    "model": 3,
    "layouts": 1,
    "tensors": 1,
    "adapters": 3,
    "checkpoints": 3,
    "hub": 3,
    "extract": 4,
    "evaluate": 4,
    "train": 5,
    "trainer": 5,
    "official": 5,
    "score": 5,
    "calibration": 5,
    "explain": 1,
    "score_page": 6,
    "doctor": 6,
    "robustness": 5,
    "bench": 6,
    "cards": 1,
    "publish": 6,
    "onnx_export": 6,
    "bench_baselines": 5,
    "bench_data": 5,
    "curves": 1,
    "compare": 5,
    "experiments": 5,
    "spheres": 0,
    "flow": 1,
    "spectra": 1,
    "attention": 3,
    "probing": 3,
    "movement": 7,
    "embed": 6,
    "plots": 6,
    "report": 6,
    "paper": 1,
    "decisions": 6,
    "results": 6,
    "app": 7,
    "commands": 7,
    "cli": 7,
}
# fan is the network that faces runs; adapters and hub build on the model
SAME_LEVEL = {
    ("faces", "fan"),
    ("adapters", "model"),
    ("hub", "model"),
    ("hub", "adapters"),
    ("hub", "checkpoints"),
    ("checkpoints", "model"),
    ("checkpoints", "adapters"),
    ("train", "trainer"),
    ("score", "calibration"),
    ("score_page", "plots"),
    ("commands", "cli"),  # shell completion walks the table of commands
    ("commands", "app"),
    ("bench_data", "bench_baselines"),
}
ALONE = {"plots"}  # takes tables and arrays, knows no other module
# The generator may use levels 0 to 3; the recipes of the embedded models (pretrain) may train and evaluate.
# Only cli may use either; pretrain may use the generator too.
OUTSIDE = {"nobody": 3, "pretrain": 5}

# Packages of the optional extras: imported inside the function that needs them, never at the top.
OPTIONAL = {"face_alignment", "dlib", "anny", "umap", "gradio", "distributed", "timm", "cv2",
            "onnx", "onnxruntime", "onnxscript"}  # fmt: skip
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "pandas",
    "sklearn",
    "scipy",
    "plotly",
    "umap",
    "av",
    "cv2",
}
MAX_CODE_LINES = 350  # "about 300", without docstrings, comments and blank lines


def module_files() -> list[Path]:
    """Every module of the package, the __init__ files included."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Dotted name inside the package: 'faces', 'nobody.render', '' for gendkit/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def gendkit_imports(path: Path, source: str | None = None) -> set[str]:
    """Names of gendkit modules that a file imports anywhere, also inside functions."""
    package = (
        name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    )
    package = [p for p in package if p]
    found = set()
    for node in ast.walk(ast.parse(source if source is not None else path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            targets = [a.name.split(".")[1:] for a in node.names if a.name.startswith("gendkit.")]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                start = package[: len(package) - node.level + 1]
            elif (node.module or "").split(".")[0] == "gendkit":
                start = []
            else:
                continue
            module = (node.module or "").split(".")
            base = start + (module if node.level else module[1:])
            base = [b for b in base if b]
            # `from gendkit import faces` names modules; `from gendkit.faces import X` does not
            targets = [base] if base else [[a.name] for a in node.names]
            if base == ["nobody"]:
                targets = [["nobody", a.name] for a in node.names]
        else:
            continue
        found |= {".".join(t) for t in targets if t and t != ["__version__"]}
    return found


def violations(name: str, imports: set[str]) -> list[str]:
    """What is wrong with the imports of one module; empty when all go down."""
    problems = []
    own = name.split(".")[0]
    for other in sorted({i.split(".")[0] for i in imports} - {own}):
        if other in OUTSIDE:
            if own != "cli" and (own, other) != ("pretrain", "nobody"):
                problems.append(f"{name} imports {other}: only cli may use it")
        elif other not in LEVELS:
            problems.append(f"{name} imports {other}, which has no level")
        elif own in OUTSIDE:
            if LEVELS[other] > OUTSIDE[own]:
                problems.append(f"{name} imports {other} (level {LEVELS[other]} > {OUTSIDE[own]})")
        elif own in ALONE:
            problems.append(f"{name} imports {other}; it must import no gendkit module")
        elif LEVELS[other] >= LEVELS[own] and (own, other) not in SAME_LEVEL:
            problems.append(
                f"{name} (level {LEVELS[own]}) imports {other} (level {LEVELS[other]}); "
                "imports go down only"
            )
    return problems


def test_every_module_has_a_level():
    names = {name_of(p).split(".")[0] for p in module_files()} - {"", *OUTSIDE}
    unknown = names - LEVELS.keys()
    assert not unknown, f"give these modules a level in {Path(__file__).name}: {sorted(unknown)}"


@pytest.mark.parametrize("path", module_files(), ids=lambda p: name_of(p) or "gendkit")
def test_imports_go_down_only(path):
    name = name_of(path)
    if not name:
        assert not gendkit_imports(path), "gendkit/__init__.py must import nothing of the package"
    elif name.split(".")[0] in LEVELS.keys() | OUTSIDE.keys():
        assert violations(name, gendkit_imports(path)) == []


@pytest.mark.parametrize(
    ("name", "line", "word"),
    [
        ("metrics", "from gendkit.video import probe", "go down only"),
        ("metrics", "from gendkit import losses", "go down only"),
        ("fan", "from gendkit import faces", "go down only"),
        ("faces", "from .nobody import heads", "only cli"),
        ("plots", "import gendkit.repro", "no gendkit module"),
        ("nobody.build", "from gendkit import train", "level 5"),
        ("nobody.build", "from gendkit.pretrain import pretext", "only cli"),
        ("pretrain.encoder", "from gendkit import plots", "level 6"),
        ("model", "from gendkit import pretrain", "only cli"),
        ("faces", "def f():\n    from gendkit.train import train", "go down only"),
    ],
)
def test_the_check_finds_a_wrong_import(name, line, word):
    path = PACKAGE / (name.replace(".", "/") + ".py")
    problems = violations(name, gendkit_imports(path, line))
    assert len(problems) == 1 and word in problems[0]


def test_the_check_accepts_what_is_allowed():
    assert not violations(
        "faces", gendkit_imports(PACKAGE / "faces.py", "from .fan import LightFAN")
    )
    path = PACKAGE / "nobody" / "build.py"
    assert not violations(
        "nobody.build", gendkit_imports(path, "from . import heads\nfrom ..video import probe")
    )
    assert gendkit_imports(path, "from . import heads\nfrom ..video import probe") == {
        "nobody.heads",
        "video",
    }


def top_level_imports(tree: ast.Module) -> set[str]:
    """Packages that importing the module loads: its imports outside functions."""
    found, todo = set(), list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        todo.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", module_files(), ids=lambda p: name_of(p) or "gendkit")
def test_optional_packages_are_imported_inside_functions(path):
    optional = OPTIONAL - {"cv2"} if name_of(path).split(".")[0] in OUTSIDE else OPTIONAL
    loaded = top_level_imports(ast.parse(path.read_text("utf-8"))) & optional
    assert not loaded, f"move the import of {sorted(loaded)} into the function that needs it"


def code_lines(source: str) -> int:
    """Lines of code: docstrings, comments and blank lines do not count."""
    tree = ast.parse(source)
    kept = {n for n, line in enumerate(source.splitlines(), 1) if line.strip()}
    kept -= {n for n, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("#")}
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            text = body[0].value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                kept -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(kept)


def test_code_lines_counts_code():
    assert (
        code_lines(
            '"""Doc\nmore."""\n\n# why\nx = """a\nb"""\n\ndef f():\n    "doc"\n    return 1\n'
        )
        == 4
    )


@pytest.mark.parametrize("path", module_files(), ids=lambda p: name_of(p) or "gendkit")
def test_modules_stay_small(path):
    n = code_lines(path.read_text("utf-8"))
    assert n <= MAX_CODE_LINES, f"{n} lines of code; split the module, one job each"


@pytest.mark.parametrize("module", ["gendkit", "gendkit.cli"])
def test_the_import_is_light(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"import {module} loads {done.stdout}"
