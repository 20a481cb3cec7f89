"""Form, pairs, parameters and a headless run of every notebook; broken ones must be found."""

import json
import shutil
import sys
from pathlib import Path

import jupytext
import nbformat
import notebook_rules
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import nbfigures  # noqa: E402
import nbrun  # noqa: E402

from gendkit import repro  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures_nb"
SOURCES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
GOOD = FIXTURES / "99_good.py"
MAX_EXECUTED_MB, MAX_PEAK_MB = 2, 4096


def name(path: Path) -> str:
    return path.stem


# --- the notebooks of the book ---------------------------------------------------------------


def test_there_are_notebooks_and_the_book_shows_all_of_them():
    in_book = {n.stem for n in build.notebooks(build.toc())}
    assert in_book == {p.stem for p in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_source_and_generated_notebook_have_the_same_cells(path):
    nbrun.check_pair(path)


@pytest.mark.parametrize("path", SOURCES, ids=name)
@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_notebook_keeps_the_form(path, suffix):
    if not path.with_suffix(suffix).is_file():
        pytest.fail(f"{path.with_suffix(suffix).name} is missing; run: make notebooks")
    assert notebook_rules.problems(path.with_suffix(suffix)) == []


def test_every_profile_file_belongs_to_a_notebook_and_its_keys_are_known():
    for file in sorted((ROOT / "notebooks" / "params").glob("*/*")):
        assert file.parent.name in nbrun.PROFILES, f"unknown profile: {file.parent.name}"
        if file.name == ".gitkeep":
            continue
        notebook = ROOT / "notebooks" / f"{file.stem}.ipynb"
        assert file.suffix == ".yml" and notebook.is_file(), f"no notebook for {file.name}"
        values = nbrun.parameters(notebook, file.parent.name)
        assert set(yaml.safe_load(file.read_text("utf-8")) or {}) <= set(values)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_notebook_has_parameters_of_the_larger_profiles(path):
    for profile in ("demo", "full"):
        file = ROOT / "notebooks" / "params" / profile / f"{path.stem}.yml"
        assert file.is_file() and yaml.safe_load(file.read_text("utf-8")), file


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_notebook_runs(path):
    """The very run that the book shows: `make book` reuses it as long as nothing changes."""
    run = nbrun.run_notebook(path.with_suffix(".ipynb"))
    executed = nbformat.read(run.path, as_version=4)
    code = [c for c in executed.cells if c.cell_type == "code"]
    assert code and all(c.execution_count for c in code if c.source.strip())
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    shown = nbfigures.publish(executed, path.stem)  # every figure has alt text, nothing is blank
    size_mb = len(nbformat.writes(shown).encode()) / 1e6
    assert size_mb <= MAX_EXECUTED_MB, f"{size_mb:.1f} MB; show fewer points or smaller pictures"
    assert run.seconds > 0
    assert 0 < run.peak_mb <= MAX_PEAK_MB


# --- the checks bite -------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path):
    """A good notebook with its pair in a folder of its own, and a small build of the cheap parts."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(GOOD, folder)
    write_pair(folder / GOOD.name)
    return folder / GOOD.with_suffix(".ipynb").name


def write_pair(source: Path) -> None:
    content = jupytext.read(source)
    content.metadata = {"kernelspec": content.metadata["kernelspec"]}
    nbformat.write(content, source.with_suffix(".ipynb"))


def change(notebook: Path, old: str, new: str) -> None:
    source = notebook.with_suffix(".py")
    text = source.read_text("utf-8")
    assert old in text, f"the fixture has no {old!r}"
    source.write_text(text.replace(old, new, 1), "utf-8")
    write_pair(source)


def test_the_good_notebook_is_good(notebook):
    assert notebook_rules.problems(notebook) == []
    assert notebook_rules.problems(notebook.with_suffix(".py")) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("# # 99. A", "# # A", "must begin with '# 99. Title'"),
        ("| needs | 00 |", "|", "no needs"),
        ("**You will learn**", "You learn", "**You will learn**"),
        ("fast 0:05", "fast @@", "fill it in"),
        ("A check that never", "A check " + "that never " * 70, "at most 120"),
        ("# ## A circle", "# # A circle", "exactly one"),
        ("# ## A sphere", "# ### A sphere", "3 to 6 H2"),
        ("# ## Limits and misuse", "# ## Limits", "last H2 headings"),
        ("# - A check needs a case that fails.\n", "", "3 to 5 bullets"),
        ('# %% tags=["parameters"]', "# %%", "tagged `parameters`"),
        (
            "seed: int = 0  # base seed",
            'seed: "int | None" = 0  # base seed',
            "name: type = literal",
        ),
        ("# points on the circle", "# 0 = none", "second '='"),
        ("n_points: int = 40", "n_points: int = 40.0", "says int"),
        ("data_dir: str", "data_folder: str", "begin with profile"),
        ("n_points: int = 40", "n_points: int = 20 + 20", "must be a literal"),
        ('# %% tags=["setup"]', "# %%", "tagged `setup`"),
        ('if "google.colab" in sys.modules:', "if False:", "Colab"),
        ("**Change** (1 min)", "**Change**", "Change"),
        ("answer = None  # your turn", "raise NotImplementedError", "answer = None"),
        ("assert twice[-1] == 4 * np.pi", "print(twice)", "asserts its own result"),
        ('tags=["hide-cell", "solution"]', 'tags=["solution"]', "hide-cell"),
        ("figure\n\n# %%", "figure\n" + "x = 1\n" * 20 + "\n# %%", "at most 20"),
        ("figure\n\n# %%", "def f():\n" + "    y = 1\n" * 10 + "\n# %%", "at most 10"),
        ("sphere.show()", "sphere.show()\n# !ls", "setup cell"),
        ("sphere.show()", "sphere.show()\nu = 'https://example.org'", "no network"),
        ('Path(out_dir or "../_build/out")', 'Path("/home/me/out")', "absolute path"),
        ("from pathlib import Path\n", "from pathlib import *\n", "star"),
        ("# The same in three dimensions.", "# {cite}`wang2020`", "MyST"),
        ("# The same in three dimensions.", "# ![](x.png)", "alt text"),
        (" [@wang2020alignment]", "", "without a key"),
        ("[@wang2020alignment]", "[@wang2020]", "no entry wang2020 "),
    ],
)
def test_a_broken_notebook_is_found(notebook, old, new, found):
    change(notebook, old, new)
    problems = notebook_rules.problems(notebook.with_suffix(".py"))
    assert any(found in p for p in problems), problems


def test_outputs_in_the_committed_notebook_are_found(notebook):
    content = nbformat.read(notebook, as_version=4)
    content.cells[1].execution_count = 3
    nbformat.write(content, notebook)
    assert any("clear them" in p for p in notebook_rules.problems(notebook))


def test_an_edit_of_only_one_of_the_pair_is_found(notebook):
    source = notebook.with_suffix(".py")
    source.write_text(source.read_text("utf-8") + "\n# %%\nprint(1)\n", "utf-8")
    with pytest.raises(nbrun.BookError, match="jupytext --to ipynb --update"):
        nbrun.run_notebook(notebook, build=notebook.parent / "_build")


def test_unknown_parameters_are_refused(notebook, tmp_path):
    with pytest.raises(nbrun.BookError, match="no parameter n_point; did you mean n_points"):
        nbrun.parameters(notebook, "fast", {"n_point": "3"})
    profile = notebook.parent / "params" / "demo"
    profile.mkdir(parents=True)
    (profile / "99_good.yml").write_text("turn: 2\n", "utf-8")
    with pytest.raises(nbrun.BookError, match="99_good.yml.*no parameter turn"):
        nbrun.parameters(notebook, "demo", folder=notebook.parent / "params")


def test_parameters_have_the_declared_type(notebook):
    given = nbrun.parameters(notebook, "fast", {"n_points": "12", "turns": "2e0", "data_dir": "1"})
    assert given == {"n_points": 12, "turns": 2.0, "data_dir": "1"}
    assert nbrun.parameters(notebook, "demo") == {"profile": "demo"}
    for wrong in ({"n_points": "1.5"}, {"n_points": "many"}, {"turns": "fast"}):
        with pytest.raises(nbrun.BookError, match="must be"):
            nbrun.parameters(notebook, "fast", wrong)


def test_run_reuse_and_every_reason_to_run_again(notebook, tmp_path):
    root, out = tmp_path, tmp_path / "_build"
    (root / "gendkit").mkdir()
    (root / "gendkit" / "a.py").write_text("x = 1\n", "utf-8")
    first = nbrun.run_notebook(notebook, root=root, build=out)
    assert not first.reused and first.seconds > 0 and first.peak_mb > 20
    assert (out / "out" / "fast" / "99_good" / "length.txt").read_text() == "1.000\n"
    assert nbrun.run_notebook(notebook, root=root, build=out).reused

    key = nbrun.dependency_key(notebook, first.parameters, root)
    assert key == first.key
    (root / "gendkit" / "__pycache__").mkdir()
    (root / "gendkit" / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert nbrun.dependency_key(notebook, first.parameters, root) == key
    (root / "gendkit" / "a.py").write_text("x = 2\n", "utf-8")
    changed = nbrun.dependency_key(notebook, first.parameters, root)
    assert changed != key
    (root / "data").mkdir()
    (root / "data" / "m.csv").write_text("1\n", "utf-8")
    assert nbrun.dependency_key(notebook, first.parameters, root) != changed
    assert nbrun.dependency_key(notebook, {"seed": 1}, root) != nbrun.dependency_key(
        notebook, {}, root
    )
    before = nbrun.dependency_key(notebook, {}, root)
    change(notebook, "mean length {length", "length {length")
    assert nbrun.dependency_key(notebook, {}, root) != before

    copy = out / "runs" / "fast" / "99_good.ipynb"
    record = json.loads(copy.with_suffix(".json").read_text("utf-8"))
    record["key"] = nbrun.dependency_key(notebook, first.parameters, root)
    copy.with_suffix(".json").write_text(json.dumps(record), "utf-8")
    assert nbrun.run_notebook(notebook, root=root, build=out).reused
    copy.write_text(copy.read_text("utf-8") + " ", "utf-8")  # somebody touched the executed copy
    assert not nbrun.run_notebook(notebook, root=root, build=out).reused


def test_a_failing_cell_is_named_and_its_copy_kept(notebook, tmp_path):
    change(notebook, "mean length {length:.3f}", "{1 / 0}")
    with pytest.raises(nbrun.BookError) as error:
        nbrun.run_notebook(notebook, root=tmp_path, build=tmp_path / "_build")
    text = str(error.value)
    assert "99_good.ipynb, code cell 5" in text and "ZeroDivisionError" in text
    copy = tmp_path / "_build" / "runs" / "fast" / "99_good.ipynb"
    assert "ZeroDivisionError" in copy.read_text("utf-8")
    assert not copy.with_suffix(".json").exists()  # so it is never reused


def test_the_fast_profile_has_no_network(notebook, tmp_path):
    change(
        notebook,
        "rng = np",
        'import socket\nsocket.create_connection(("203.0.113.1", 80), 2)\nrng = np',
    )
    with pytest.raises(
        nbrun.BookError, match="cell 2 .*203.0.113.1: the fast profile has no network"
    ):
        nbrun.run_notebook(notebook, root=tmp_path, build=tmp_path / "_build")


def test_a_folder_named_by_the_reader_is_never_emptied(notebook, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "keep.txt").write_text("x", "utf-8")
    nbrun.run_notebook(
        notebook, overrides={"out_dir": "../mine"}, root=tmp_path, build=tmp_path / "b"
    )
    assert sorted(p.name for p in mine.iterdir()) == ["keep.txt", "length.txt"]


# --- figures ---------------------------------------------------------------------------------


def one_output(data: dict, metadata: dict | None = None) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("display_data", data, metadata=metadata or {})
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])


def html_of(content: nbformat.NotebookNode) -> str:
    return content.cells[0].outputs[0].data["text/html"]


def test_a_figure_becomes_html_with_its_alt_text():
    layout = {"meta": {"alt": 'a "b" & c', "caption": "n < 5"}, "height": 300}
    data = [{"type": "scatter", "text": "</script><b>"}]
    shown = nbfigures.publish(
        one_output({nbfigures.PLOTLY: {"data": data, "layout": layout}}), "01_x"
    )
    text = html_of(shown)
    assert 'role="img" aria-label="a &quot;b&quot; &amp; c"' in text and "height:300px" in text
    assert '<script src="../_static/plotly.min.js"></script>' in text
    assert "</script><b>" not in text and "n &lt; 5" in text
    assert "frames:[]" in text
    assert set(shown.cells[0].outputs[0].data) == {"text/html"}


def test_an_animation_keeps_its_frames():
    figure = {"data": [], "layout": {"meta": {"alt": "x"}}, "frames": [{"name": "7", "data": []}]}
    text = html_of(nbfigures.publish(one_output({nbfigures.PLOTLY: figure}), "01_x"))
    assert 'frames:[{"name":"7","data":[]}]' in text


def test_the_title_of_a_figure_is_text_of_the_page_where_it_wraps():
    title = {"text": "Long & true", "subtitle": {"text": "32 videos"}}
    template = {"layout": {"margin": {"t": 80, "b": 95}}}
    layout = {"meta": {"alt": "x"}, "height": 420, "title": title, "template": template}
    data = {nbfigures.PLOTLY: {"data": [], "layout": layout}}
    text = html_of(nbfigures.publish(one_output(data), "01_x"))
    assert (
        '<p class="gendkit-title">Long &amp; true</p><p class="gendkit-facts">32 videos</p>' in text
    )
    assert '"margin":{"t":25,"b":95}' in text and "height:365px" in text
    assert '"title"' not in text and layout["title"] is title


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({nbfigures.PLOTLY: {"data": [], "layout": {}}}, "no alt text"),
        ({"image/png": "aGk="}, "no alt text"),
        ({nbfigures.WIDGET: {"model_id": "1"}}, "blank"),
    ],
)
def test_what_a_reader_could_not_see_is_refused(data, found):
    with pytest.raises(nbfigures.FigureError, match=f"notebooks/01_x, code cell 1: .*{found}"):
        nbfigures.publish(one_output(data), "01_x")


def test_a_key_becomes_a_citation_of_the_book():
    text = "Wang and Isola [@wang2020alignment]: see [a link](x.md) and me@example.org"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    shown = nbfigures.publish(notebook, "01_x").cells[0].source
    assert shown == text.replace("[@wang2020alignment]", "{cite}`wang2020alignment`")
    assert notebook.cells[0].source == text


def test_pictures_give_their_figure_its_height():
    """Two parts high and one wide: on a page of w pixels 2 (w - 20) + 40, whatever w is."""
    margin = {"l": 10, "r": 10, "t": 30, "b": 10}
    layout = {"meta": {"alt": "faces", "aspect": 2.0}, "height": 500, "margin": margin}
    text = html_of(
        nbfigures.publish(one_output({nbfigures.PLOTLY: {"data": [], "layout": layout}}), "01_x")
    )
    assert "height:calc(2.0000 * (100cqw - 20px) + 40px)" in text and '"height":500' not in text


def test_progress_stays_out_of_the_book(capfd):
    list(repro.progress(range(3), what="extract: nobody"))
    lines = capfd.readouterr().err
    assert lines.count("ETA") == 3
    for text, left in ((lines, None), (lines + "3 crops\n", "3 crops\n"), ("", "")):
        notebook = one_output({})
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        notebook.cells[0].outputs = [output]
        outputs = nbfigures.publish(notebook, "01_x").cells[0].outputs
        assert [o.text for o in outputs] == ([] if left is None else [left])


def test_a_picture_with_alt_text_is_shown():
    text = html_of(nbfigures.publish(one_output({"image/png": "aGk=\n"}, {"alt": "hi"}), "01_x"))
    assert 'alt="hi" src="data:image/png;base64,aGk="' in text


def test_injected_parameters_show_only_when_they_matter():
    tags = {"tags": ["injected-parameters"]}
    for source, n in (('# Parameters\nout_dir = "x"\n', 0), ("# Parameters\nseed = 3\n", 1)):
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, metadata=tags)])
        assert len(nbfigures.publish(content, "01_x").cells) == n
