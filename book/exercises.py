"""Write the notebooks for a class: the same chapters without the solutions of their exercises.

    python book/exercises.py                     all chapters into _build/exercises
    python book/exercises.py --only 05 --out DIR

The source is the same file, so nothing has to be kept in step. The notebooks have no outputs and run as they are.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
from nbrun import BUILD, ROOT  # noqa: E402

HEADING = re.compile(r"^## Solutions\s*$", re.MULTILINE)


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take the solutions and their heading out of a notebook.

    Args:
        notebook: A chapter; it is not changed.

    Returns:
        A copy whose exercise cells are still there to be filled in.

    Raises:
        ValueError: If there is no solution, or the heading stands over something else.
    """
    kept, dropped = [], 0
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            dropped += 1
        elif cell.cell_type == "markdown" and HEADING.search(cell.source):
            before, after = HEADING.split(cell.source, maxsplit=1)
            if after.strip():
                raise ValueError(f"text below '## Solutions' would be lost: {after.strip()[:60]!r}")
            if before.strip():
                kept.append({**cell, "source": before.rstrip()})
        else:
            kept.append(cell)
    if not dropped:
        raise ValueError("no cell is tagged solution, so there is nothing to take out")
    metadata = {"kernelspec": notebook.metadata.get("kernelspec", {})}
    copy = nbformat.v4.new_notebook(metadata=metadata)
    for cell in kept:
        tags = cell["metadata"].get("tags", [])
        make = getattr(nbformat.v4, f"new_{cell['cell_type']}_cell")
        copy.cells.append(make(cell["source"], metadata={"tags": tags} if tags else {}))
    for number, cell in enumerate(copy.cells):
        cell["id"] = f"cell-{number}"  # the same bytes every time
    return copy


def write(only: Sequence[str], out: Path, folder: Path = ROOT / "notebooks") -> list[Path]:
    """Write the chapters whose name begins with one of the words (all, if there is none).

    Raises:
        ValueError: If a word fits no chapter, or a chapter cannot be turned.
    """
    sources = sorted(folder.glob("[0-9]*.py"))
    for word in only:
        if not any(s.stem.startswith(word) for s in sources):
            raise ValueError(
                f"--only {word}: no such chapter; known: {', '.join(s.stem for s in sources)}"
            )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sources:
        if only and not source.stem.startswith(tuple(only)):
            continue
        try:
            copy = without_solutions(jupytext.read(source))
        except ValueError as error:
            raise ValueError(f"{source.name}: {error}") from error
        target = out / f"{source.stem}.ipynb"
        nbformat.write(copy, target)
        written.append(target)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Write the notebooks; returns 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="only these chapters")
    parser.add_argument("--out", type=Path, default=BUILD / "exercises", help="folder")
    args = parser.parse_args(argv)
    try:
        written = write(args.only, args.out)
    except (ValueError, OSError) as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 1
    print(f"{len(written)} notebooks without solutions in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
