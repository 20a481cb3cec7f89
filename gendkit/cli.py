"""The command `gendkit`: a thin door to the commands, each of which reads its own options."""

import argparse
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from gendkit import __version__

_EXAMPLES = """examples:
  gendkit doctor                                         is everything here that is needed?
  gendkit score clip.mp4 photo.png                       P(fake), with the threshold and where it comes from
  gendkit extract data/nobody/manifest.csv --n-frames 8  aligned face crops and their manifest
  gendkit train example                                  LayerNorm tuning on Nobody's Faces
  gendkit test --from _build/out/runs/example            its tables, with intervals
  gendkit experiments show wacv-LN+L2+UnAl-seed0         what an official run is
  gendkit COMMAND --help                                 options and examples of a command
"""

# name: (module with main(argv), what it does)
COMMANDS = {
    "score": ("gendkit.commands.score", "score images and videos"),
    "calibrate": ("gendkit.commands.calibrate", "threshold and temperature, kept with a model"),
    "app": ("gendkit.commands.app", "score images and videos in the browser"),
    "extract": ("gendkit.commands.extract", "videos or images to aligned face crops"),
    "data": ("gendkit.commands.data", "datasets: rights, checks of a folder, manifests, lists"),
    "audit": ("gendkit.audit", "what makes results on a set untrue: leaks, twins, shortcuts"),
    "train": ("gendkit.commands.train", "train a detector by a named experiment"),
    "test": ("gendkit.commands.test", "tables with intervals from a run or a scores file"),
    "experiments": ("gendkit.commands.experiments", "the paper's 803 runs and the kit's own"),
    "report": ("gendkit.commands.report", "the paper's tables, with your numbers beside them"),
    "explain-diff": ("gendkit.commands.explain_diff", "why two results are not the same"),
    "convert": ("gendkit.commands.convert", "released models in and out, adapters"),
    "publish": ("gendkit.commands.publish", "a folder for a model hub, with its model card"),
    "export": ("gendkit.commands.export", "a detector as an ONNX file, checked against it"),
    "doctor": ("gendkit.commands.doctor", "what is installed, what is missing, how to mend it"),
    "completion": ("gendkit.commands.completion", "completion for bash, zsh or fish"),
    "bench": ("gendkit.commands.bench", "speed and memory, each against a baseline"),
    "nobody": ("gendkit.nobody.build", "the generator of Nobody's Faces"),
    "weights": ("gendkit.pretrain.weights", "the recipes of the embedded models"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit",
        description="Find out how much a face looks like a deepfake, train detectors, and test them "
        "so that the numbers hold. Works offline on its own small data; the book in notebooks/ "
        "explains every step.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gendkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after `gendkit`; None takes them from the command line.

    Returns:
        Exit status: 0 done, 1 the work failed, 2 wrong use (with the reason on stderr).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in COMMANDS:
        if argv and (near := difflib.get_close_matches(argv[0], COMMANDS, n=1, cutoff=0.5)):
            _parser().error(f"unknown command {argv[0]!r}; did you mean: gendkit {near[0]}")
        _parser().parse_args(argv)  # --help, --version, or an error that names the commands
    command, module = argv[0], COMMANDS[argv[0]][0]
    try:
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not part of this installation of gendkit.")
        return int(importlib.import_module(module).main(argv[1:]) or 0)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit {command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
