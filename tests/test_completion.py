"""completion: the script knows every command and option, and works in a real bash."""

import shutil
import subprocess

import pytest

from gendkit import cli
from gendkit.commands import completion


@pytest.fixture(scope="module")
def found():
    return list(completion.nodes())


@pytest.fixture(scope="module")
def script(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("shell") / "gendkit.bash"
    path.write_text(completion.bash(found))
    return path


def complete(script, *words):
    """What bash offers for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=(gendkit {quoted}); COMP_CWORD={len(words)}; _gendkit; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=script.parent)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_every_command_is_walked(found):
    words = {node.words for node in found}
    assert {(name,) for name in cli.COMMANDS} <= words
    assert {("data", "verify"), ("nobody", "build"), ("experiments", "show")} <= words


def test_walking_runs_no_command_and_leaves_argparse_alone():
    import argparse

    before = argparse.ArgumentParser.parse_args
    parser = completion.parser_of("gendkit.commands.score")
    assert parser.prog == "gendkit score" and argparse.ArgumentParser.parse_args is before


bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@bash
@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["sc"], ["score"]),
        (["exp"], ["experiments", "explain-diff", "export"]),
        (["score", "--po"], ["--policy"]),
        (["score", "--policy", "l"], ["largest"]),
        (["score", "--policy", ""], ["largest", "central", "all"]),
        (["data", "v"], ["verify"]),
        (["experiments", "list", "--source", ""], ["official", "fixed", "kit"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["train", "example", "--pro"], ["--profile"]),
    ],
)
def test_bash_offers(script, words, some):
    offered = complete(script, *words)
    assert set(some) <= set(offered)
    assert all(one.startswith(words[-1]) for one in offered)


@bash
def test_bash_offers_files_where_files_belong(script):
    (script.parent / "clip one.mp4").touch()
    (script.parent / "clip.mp4").touch()
    assert "clip.mp4" in complete(script, "score", "cl")
    assert "clip.mp4" in complete(script, "calibrate", "--model", "cl")


def test_zsh_and_fish(found):
    assert "bashcompinit" in completion.zsh(found)
    fish = completion.fish(found).splitlines()
    assert any("seen_subcommand_from score" in line and "-l policy" in line for line in fish)
    assert all(line.count("'") - line.count("\\'") >= 2 for line in fish[1:])
    if shutil.which("fish"):
        text = "\n".join(fish)
        done = subprocess.run(["fish", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_command(capsys):
    assert completion.main(["bash"]) == 0
    assert "complete -o filenames -F _gendkit gendkit" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        completion.main(["tcsh"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(("word", "near"), [("scor", "score"), ("docter", "doctor")])
def test_an_unknown_command_suggests_the_nearest(word, near, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([word])
    assert stopped.value.code == 2
    assert f"did you mean: gendkit {near}" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_help_reads_alone(name):
    """Every command says what it does, and what each of its options is for."""
    parser = completion.parser_of(cli.COMMANDS[name][0])
    assert parser.description and len(parser.description) > 30
    assert "gendkit " in (parser.epilog or ""), f"{name} --help has no examples"
    todo = [parser]
    while todo:
        one = todo.pop()
        for action in one._actions:
            if isinstance(action, completion.argparse._SubParsersAction):
                todo += {id(p): p for p in action.choices.values()}.values()
            else:
                assert action.help, (
                    f"{one.prog}: {action.option_strings or action.dest} has no help"
                )
