"""The recipes of the embedded models behind one command: `gendkit weights RECIPE ...`."""

import importlib
import sys
from collections.abc import Sequence

RECIPES = {
    "landmarks": "gendkit.nobody.train_landmarks",
    "encoder": "gendkit.nobody.train_encoder",
    "detector": "gendkit.nobody.train_detector",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one recipe.

    Args:
        argv: Name of the recipe, then its own options; None takes them from the command line.

    Returns:
        Exit status of the recipe; 2 if there is no such recipe.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in RECIPES:
        print(
            f"usage: gendkit weights {{{','.join(RECIPES)}}} [options; --help lists them]",
            file=sys.stderr,
        )
        return 0 if argv in (["-h"], ["--help"]) else 2
    return int(importlib.import_module(RECIPES[argv[0]]).main(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
