"""Tests of `gendkit extract`: options, exit codes and output, with a stand-in for the face engine."""

import json

import pytest
from test_extract import TWO, RedSquares, clip, data, mask_clip  # noqa: F401 (data is a fixture)

from gendkit import extract, manifest, video
from gendkit.commands import extract as command
from gendkit.faces import DETECTORS, POLICIES


@pytest.fixture
def engine(monkeypatch):
    """Red squares in place of every FaceEngine; the list holds the settings asked for."""
    asked = []

    def make(**settings):
        asked.append(settings)
        return RedSquares()

    monkeypatch.setattr(extract, "FaceEngine", make)
    monkeypatch.setattr(extract, "_describe", lambda engine, settings: dict(engine.settings))
    return asked


def test_the_parser_knows_what_the_modules_know():
    assert command._RULES == video.RULES and command._POLICIES == POLICIES
    assert command._DETECTORS == DETECTORS


def test_a_manifest_becomes_crops(data, tmp_path, engine, capsys):  # noqa: F811
    out = tmp_path / "out"
    source = str(data / "manifest.csv")
    assert command.main([source, "--out", str(out), "-n", "4", "--size", "32"]) == 0
    told = capsys.readouterr()
    assert "32 of 32 frames gave a crop, 100.0%; 32 crops" in told.out
    assert "32 frames of 8 videos" in told.err and "frames a second" in told.err
    for stage in ("decode", "detect", "landmarks", "align", "write"):
        assert f"{stage} " in told.err
    assert len(manifest.read(out / "manifest.csv")) == 32
    assert command.main([source, "--out", str(out), "-n", "4", "--size", "32"]) == 0
    assert "everything was done before" in capsys.readouterr().err


def test_json_is_alone_on_stdout(data, tmp_path, engine, capsys):  # noqa: F811
    video.write_video(data / "FS/002.mp4", clip(squares=()), crf=12)
    words = [str(data / "manifest.csv"), "-o", str(tmp_path / "out"), "-n", "4", "--json"]
    assert command.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_crops"] == 28 and found["status"] == {"ok": 7, "no_face": 1}
    assert [row["path"] for row in found["not_ok"]] == ["FS/002.mp4"]
    assert found["speed"]["n_videos"] == 8 and set(found["speed"]["stages"]) == {
        "decode", "detect", "landmarks", "align", "write"
    }  # fmt: skip
    assert command.main([*words, "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"rule": "fixed_num_frames", "n_frames": 32}),
        (["-m", "at_least", "-n", "5"], {"rule": "at_least", "n_frames": 5}),
        (["--mode", "at_least", "--num-frames", "-1"], {"rule": "all"}),
        (["--rule", "fixed_stride", "--stride", "3"],
         {"rule": "fixed_stride", "stride": 3, "limit": None}),
        (["--rule", "fixed_stride", "-n", "9"], {"rule": "fixed_stride", "stride": 1, "limit": 9}),
        (["--rule", "fixed_stride", "-n", "-1"],
         {"rule": "fixed_stride", "stride": 1, "limit": None}),
    ],
)  # fmt: skip
def test_the_frames_options_of_the_official_detector(words, expected):
    assert command._frames(command._parser().parse_args(["x.mp4", *words])) == expected


def test_every_option_reaches_the_extraction(tmp_path, monkeypatch):
    given = {}

    def run(source, out, **options):
        given.update(options, source=source, out=out)
        raise ValueError("stop here")

    monkeypatch.setattr(extract, "run", run)
    words = "v/ --out o --rule at_least -n 7 --det-thres 0.1 --detector retinaface --upsample 1"
    words += " --detect-size 0 --landmarks official --refine --mask-folder m --track --device cpu"
    words += " --scale 1.5 --target-size none --workers 3 --redo --method DF --root r"
    assert command.main(words.split()) == 1
    assert given["source"] == ["v/"] and str(given["out"]) == "o" and str(given["root"]) == "r"
    assert given["engine"] == {
        "detector": "retinaface", "landmarks": "official", "device": "cpu", "threshold": 0.1,
        "upsample": 1, "detect_size": None, "refine": True,
    }  # fmt: skip
    wanted = {"rule": "at_least", "n_frames": 7, "scale": 1.5, "size": None, "policy": "mask",
              "workers": 3, "track": True, "cluster": None, "redo": True, "method": "DF"}  # fmt: skip
    assert {name: given[name] for name in wanted} == wanted and str(given["mask_folder"]) == "m"


def test_defaults_are_those_of_run():
    """So that the command finds what a notebook has extracted."""
    import inspect

    args = command._parser().parse_args(["x.csv"])
    known = {k: p.default for k, p in inspect.signature(extract.run).parameters.items()}
    for name in ("scale", "size", "workers", "method", "track", "cluster", "redo"):
        assert getattr(args, name) == known[name], name
    engine = {k: p.default for k, p in inspect.signature(extract.FaceEngine).parameters.items()}
    for name, value in command._engine(args).items():
        assert value == engine[name], name


def test_masks_from_the_command_line(tmp_path, engine):
    video.write_video(tmp_path / "v" / "a.mp4", clip(4, TWO), crf=12)
    video.write_video(tmp_path / "m" / "a_mask.mp4", mask_clip())
    words = [str(tmp_path / "v"), "-o", str(tmp_path / "o"), "--mask-folder", str(tmp_path / "m")]
    assert command.main([*words, "--rule", "all"]) == 0
    crops = manifest.read(tmp_path / "o" / "manifest.csv")
    assert [float(box.split()[0]) < 48 for box in crops["box"]] == [True] * 4
    assert '"policy": "mask"' in (tmp_path / "o" / "provenance.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.csv", "b.csv"], "give it alone"),
        (["a.mp4", "--workers", "2", "--cluster", "tcp://x:1"], "has its own workers"),
        (["a.mp4", "--mask-folder", "m", "--policy", "largest"], "goes with --policy mask"),
        (["a.mp4", "-n", "0"], "not a number of frames"),
        (["a.mp4", "--size", "256,128"], "crops are square"),
        (["a.mp4", "--rule", "random"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_use_exits_with_2(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_work_that_fails_exits_with_1(data, tmp_path, engine, capsys):  # noqa: F811
    assert command.main([str(tmp_path / "none.mp4"), "-o", str(tmp_path / "o")]) == 1
    assert "check the path" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command.main([str(tmp_path / "empty"), "-o", str(tmp_path / "o")]) == 1
    source, out = str(data / "manifest.csv"), str(tmp_path / "crops")
    assert command.main([source, "-o", out, "-n", "2"]) == 0
    assert command.main([source, "-o", out, "-n", "3"]) == 1
    assert "n_frames: there 2, asked 3" in capsys.readouterr().err
