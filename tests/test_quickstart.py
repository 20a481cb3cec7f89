"""The quickstart of the README: its lines are counted, run as they stand, and say what they should."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gendkit import cli, repro, video

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SECTION = re.search(r"^## Score a file\n(.*?)^## ", README, re.MULTILINE | re.DOTALL).group(1)
PYTHON = re.findall(r"^```python\n(.*?)```", SECTION, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^\.venv/bin/gendkit ([^#\n]*)", SECTION, re.MULTILINE)
CLIP = "data/nobody/FS/n000_n036.mp4"


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with a photo and the data folder, as a checkout has it."""
    (tmp_path / "data").symlink_to(repro.data_dir(), target_is_directory=True)
    Image.fromarray(video.read_frames(ROOT / CLIP, [0])[0]).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repro, "out_dir", lambda path="": _made(tmp_path / "out"))
    return tmp_path


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def lines(block):
    return [line for line in block.splitlines() if line.strip()]


def test_five_lines_for_an_image_and_ten_for_a_video():
    assert len(PYTHON) == 2
    assert len(lines(PYTHON[0])) <= 5 and len(lines(PYTHON[1])) <= 10
    assert (ROOT / CLIP).is_file()


def test_the_lines_for_an_image(there, capsys):
    exec(compile(PYTHON[0], "README image", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("ok 0.") and "FaceScore(frame=0" in out


def test_the_lines_for_a_video(there, capsys):
    exec(compile(PYTHON[1], "README video", "exec"), {})
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 10  # eight frames with a face, the score, the explanation
    assert "Threshold" in out[-1] and "not the chance" in out[-1] and "real people" in out[-1]


def test_every_command_is_one_and_parses(capsys):
    assert {words.split()[0] for words in SHELL} <= set(cli.COMMANDS)
    from gendkit.commands import completion

    for words in SHELL:
        name, *rest = words.split()
        parser = completion.parser_of(cli.COMMANDS[name][0])
        parser.parse_args(rest)  # exits where an option is wrong


def test_the_plain_score_command(there, capsys):
    words = next(w for w in SHELL if w.strip() == f"score {CLIP}")
    assert cli.main(words.split()) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{CLIP}: P(fake) 0.") and "called" in out and "false-positive" in out


def test_the_explain_command_writes_a_page(there, capsys):
    words = next(w for w in SHELL if "--explain" in w)
    assert cli.main([*words.split(), "--n-frames", "2"]) == 0
    page = there / "out" / "score" / "n000_n036.html"
    assert f"page: {page}" in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert "it is no proof" in text and "random orders" in text or "cannot be tested" in text
    assert text.count("<figure>") == 4 and "http" not in re.sub(r"<script.*?</script>", "", text)
    assert (page.parent / "plotly.min.js").is_file()
    shutil.rmtree(page.parent)
