"""``gendkit completion bash|zsh|fish``: a completion script, made from the commands' own parsers."""

import argparse
import importlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = """examples:
  eval "$(gendkit completion bash)"       for this shell; put the line into ~/.bashrc to keep it
  eval "$(gendkit completion zsh)"        likewise, in ~/.zshrc
  gendkit completion fish > ~/.config/fish/completions/gendkit.fish

The script is made once, so that pressing the tab key starts no Python. Make it again after an update.
"""


@dataclass
class Node:
    """What may follow a command.

    Attributes:
        words: The command and its action, as ("data", "verify").
        options: Option -> (help, the values it may take, whether it takes a value).
        values: What an argument without a dash may be: actions, or choices; empty for files.
        help: Value -> help.
    """

    words: tuple[str, ...]
    options: dict[str, tuple[str, tuple[str, ...], bool]] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    help: dict[str, str] = field(default_factory=dict)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit completion",
        description="Print a script that completes commands, options and their values.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print a completion script.

    Args:
        argv: Words after `gendkit completion`; None takes them from the command line.

    Returns:
        0; wrong use ends with 2 (argparse exits with it).
    """
    args = _parser().parse_args(argv)
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](list(nodes())), end="")
    return 0


def nodes() -> Iterator[Node]:
    """Walk over all commands and their actions; the first node is `gendkit` itself."""
    from gendkit import cli

    help_of = {name: text for name, (_, text) in cli.COMMANDS.items()}
    options = {name: (text, (), False) for name, text in _TOP.items()}
    yield Node((), options, tuple(help_of), help_of)
    for name, (module, _) in cli.COMMANDS.items():
        yield from _walk((name,), parser_of(module))


_TOP = {"--help": "show help and exit", "--version": "show the version and exit"}


def parser_of(module: str) -> argparse.ArgumentParser:
    """Take the parser of a command from its function main, without running the command.

    Args:
        module: Name of a module with main(argv).

    Returns:
        The parser that its main asks first.

    Raises:
        RuntimeError: If main ends without asking a parser.
    """
    main_of = importlib.import_module(module).main

    def stop(self: argparse.ArgumentParser, *args: object, **options: object) -> None:
        raise _FoundError(self)

    old = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = stop
    try:
        main_of([])
    except _FoundError as found:
        return found.args[0]
    finally:
        argparse.ArgumentParser.parse_args = old
    raise RuntimeError(f"{module}.main asks no parser; completion needs one")


class _FoundError(BaseException):
    """Carries a parser out of a command; no command catches it."""


def _walk(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Node]:
    node, below = Node(words), {}
    for action in parser._actions:
        values = tuple(map(str, action.choices or ()))
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            node.values = values
            node.help = {a.dest: a.help or "" for a in action._choices_actions}
        elif action.option_strings:
            text = "" if action.help == argparse.SUPPRESS else action.help or ""
            for name in action.option_strings:
                node.options[name] = (" ".join(text.split()), values, action.nargs != 0)
        elif values:
            node.values += values
    yield node
    for name, inner in below.items():
        yield from _walk((*words, name), inner)


def bash(found: Sequence[Node]) -> str:
    """Write the script for bash.

    Args:
        found: From `nodes`.
    """
    lines = [
        "# completion of gendkit for bash; made by: gendkit completion bash",
        "_gendkit() {",
        "  local cur prev node word k options='' values='' choices='' takes=''",
        '  cur="${COMP_WORDS[COMP_CWORD]}"; prev="${COMP_WORDS[COMP_CWORD-1]}"; node=""',
        "  for ((k = 1; k < COMP_CWORD; k++)); do",
        '    word="${COMP_WORDS[k]}"',
        '    case "$node $word" in',
    ]
    for one in found[1:]:
        before = " ".join(one.words[:-1])
        lines.append(f"      {shlex.quote(f'{before} {one.words[-1]}')}) node='{_name(one)}' ;;")
    lines += ["    esac", "  done", '  case "$node" in']
    for one in found:
        takes = " ".join(name for name, (_, _, value) in one.options.items() if value)
        lines.append(f"    '{_name(one)}')")
        lines.append(f"      options={shlex.quote(' '.join(one.options))}")
        lines.append(f"      values={shlex.quote(' '.join(one.values))}")
        lines.append(f"      takes={shlex.quote(takes)}")
        if chosen := {name: v for name, (_, v, _) in one.options.items() if v}:
            lines.append('      case "$prev" in')
            lines += [
                f"        {n}) choices={shlex.quote(' '.join(v))} ;;" for n, v in chosen.items()
            ]
            lines.append("      esac")
        lines.append("      ;;")
    lines += [
        "  esac",
        '  if [[ -n "$choices" ]]; then COMPREPLY=($(compgen -W "$choices" -- "$cur"))',
        '  elif [[ " $takes " == *" $prev "* ]]; then COMPREPLY=($(compgen -f -- "$cur"))',
        '  elif [[ "$cur" == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$cur"))',
        '  elif [[ -n "$values" ]]; then COMPREPLY=($(compgen -W "$values" -- "$cur"))',
        '  else COMPREPLY=($(compgen -f -- "$cur"))',
        "  fi",
        "}",
        "complete -o filenames -F _gendkit gendkit",
    ]
    return "\n".join(lines) + "\n"


def _name(node: Node) -> str:
    return " ".join(node.words)


def zsh(found: Sequence[Node]) -> str:
    """Write the script for zsh: that of bash, run by zsh's own bashcompinit.

    Args:
        found: From `nodes`.
    """
    start = "autoload -Uz compinit bashcompinit && compinit -u && bashcompinit\n"
    return start + bash(found)


def fish(found: Sequence[Node]) -> str:
    """Write the script for fish.

    Args:
        found: From `nodes`.
    """
    lines = ["# completion of gendkit for fish; made by: gendkit completion fish"]
    for node in found:
        when = _fish_place(node, found)
        for value in node.values:
            lines.append(
                f"complete -c gendkit {when} -f -a {_fish(value)}{_about(node.help, value)}"
            )
        for name, (text, values, takes) in node.options.items():
            flag = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            more = f" -x -a {_fish(' '.join(values))}" if values else " -r" if takes else ""
            lines.append(f"complete -c gendkit {when} {flag}{more} -d {_fish(text)}")
    return "\n".join(lines) + "\n"


def _fish_place(node: Node, found: Sequence[Node]) -> str:
    """Say after which words a completion applies: all of the node's, none of an action of its."""
    below = [one.words[-1] for one in found if one.words[:-1] == node.words and one.words]
    seen = [f"__fish_seen_subcommand_from {word}" for word in node.words]
    if below:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(below)}")
    return f"-n {_fish('; and '.join(seen))}"


def _about(texts: dict[str, str], value: str) -> str:
    return f" -d {_fish(texts[value])}" if texts.get(value) else ""


def _fish(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
