"""The class's notebooks: the solutions are gone, the exercises and everything else are there."""

import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
import exercises  # noqa: E402

SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_only_the_solutions_are_taken_out(source):
    chapter = jupytext.read(source)
    copy = exercises.without_solutions(chapter)
    tagged = [c.source for c in chapter.cells if "solution" in c.metadata.get("tags", [])]
    left = "\n".join(c.source for c in copy.cells)
    assert len(tagged) >= 3 and not any(text in left for text in tagged)
    assert "## Solutions" not in left and "## Exercises" in left
    assert "answer = None" in left and "## Further reading" in left
    others = [
        c.source
        for c in chapter.cells
        if "solution" not in c.metadata.get("tags", []) and "## Solutions" not in c.source
    ]
    assert all(text in left for text in others)
    nbformat.validate(copy)


def test_the_command_writes_the_same_bytes_twice(tmp_path, capsys):
    assert exercises.main(["--only", "00", "--out", str(tmp_path / "a")]) == 0
    assert exercises.main(["--only", "00", "--out", str(tmp_path / "b")]) == 0
    (first,) = (tmp_path / "a").iterdir()
    assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()
    assert "1 notebooks" in capsys.readouterr().out


def test_what_cannot_be_turned_is_named(tmp_path, capsys):
    assert exercises.main(["--only", "77", "--out", str(tmp_path)]) == 1
    assert "--only 77: no such chapter" in capsys.readouterr().err
    bare = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")])
    with pytest.raises(ValueError, match="no cell is tagged solution"):
        exercises.without_solutions(bare)
    lost = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("## Solutions\n\nRead this."),
            nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["solution"]}),
        ]
    )
    with pytest.raises(ValueError, match="would be lost: 'Read this.'"):
        exercises.without_solutions(lost)
