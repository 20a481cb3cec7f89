"""score: real clips of Nobody's Faces through the real engine; every bad file gets a reason."""

import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gendkit import evaluate, faces, hub, manifest, model, repro, score, video
from gendkit.commands import score as command

NOBODY = repro.data_dir() / "nobody"


@pytest.fixture(scope="module")
def detector():
    return score.load(device="cpu")


@pytest.fixture(scope="module")
def engine():
    return faces.FaceEngine(device="cpu")


@pytest.fixture(scope="module")
def clips():
    """A real and a face swap of one person the detector was not trained on."""
    table = manifest.read(NOBODY / "manifest.csv")
    table = table[table["role"] == "report"]
    fake = table[table["method"] == "FS"].iloc[0]
    real = table[(table["method"] == "real") & (table["source_id"] == fake["source_id"])].iloc[0]
    return {"real": NOBODY / real["path"], "FS": NOBODY / fake["path"]}


@pytest.fixture(scope="module")
def still(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("stills") / "ein Bild é.png"
    Image.fromarray(video.read_frames(clips["FS"], [0])[0]).save(path)
    return path


@pytest.fixture(scope="module")
def pair(clips, tmp_path_factory):
    """Two people side by side."""
    path = tmp_path_factory.mktemp("pairs") / "two.png"
    images = [video.read_frames(clips[name], [0])[0] for name in ("real", "FS")]
    Image.fromarray(np.concatenate(images, axis=1)).save(path)
    return path


def run(files, detector, engine, **options):
    return list(score.score_files(files, detector, engine, **options))


def test_a_clip_against_the_steps_in_the_open(clips, detector, engine):
    (result,) = run([clips["FS"]], detector, engine, n_frames=3)
    n_total = video.probe(clips["FS"]).n_frames
    numbers = video.sample(n_total, n=3)
    images = video.read_frames(clips["FS"], numbers)
    found = [faces.choose(candidates) for candidates in engine(images)]
    crops = [faces.align_crop(i, f.points) for i, f in zip(images, found, strict=True)]
    processor = model.GenDImageProcessor.from_spec(detector.model.encoder.spec)
    with torch.inference_mode():
        p_fake = evaluate.probability(detector.model(**processor(crops)).logits)
    np.testing.assert_allclose([f.p_fake for f in result.faces], p_fake, atol=1e-6)
    assert result.p_fake == pytest.approx(p_fake.mean(), abs=1e-6)
    assert [f.frame for f in result.faces] == list(numbers)
    assert (result.status, result.n_frames, result.n_faces) == ("ok", 3, 3)
    assert result.call == ("fake" if result.p_fake >= detector.threshold["value"] else "real")
    (median,) = run([clips["FS"]], detector, engine, n_frames=3, aggregate="median")
    assert median.p_fake == pytest.approx(np.median(p_fake), abs=1e-6)


def test_a_still_is_one_frame(still, clips, detector, engine):
    (result,) = run([still], detector, engine)
    assert result.n_frames == 1 and len(result.faces) == 1 and result.path == str(still)
    assert result.p_fake == result.faces[0].p_fake
    x0, y0, x1, y1 = result.faces[0].box
    assert 0 < x1 - x0 < 400 and 0 < y1 - y0 < 400


def test_several_faces(pair, detector, engine):
    if len(engine([np.asarray(Image.open(pair))])[0]) != 2:
        pytest.fail("the picture of two people must have two faces")
    (one,) = run([pair], detector, engine)
    assert one.n_several == 1 and len(one.faces) == 1
    assert "several faces in 1 of 1 frames (largest)" in one.message
    (both,) = run([pair], detector, engine, policy="all")
    assert [f.face for f in both.faces] == [0, 1]
    assert both.p_fake == max(f.p_fake for f in both.faces)


def test_bad_files_get_a_reason_and_the_others_a_score(tmp_path, still, detector, engine):
    Image.new("RGB", (160, 120), (90, 120, 90)).save(tmp_path / "wall.png")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 50)
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(still.read_bytes()[:2000])
    (tmp_path / "bare").mkdir()
    names = ["wall.png", "empty.mp4", "text.mp4", "text.png", "cut.png", "bare", "nothing.png"]
    results = run([*(tmp_path / n for n in names), still], detector, engine)
    assert [r.status for r in results] == [
        "no_face", "empty", "unreadable", "unreadable", "unreadable", "empty", "missing", "ok"
    ]  # fmt: skip
    assert all(r.message and r.p_fake is None and r.call is None for r in results[:-1])
    assert "no face found" in results[0].message and "0 bytes" in results[1].message
    assert results[-1].p_fake is not None


@pytest.mark.parametrize("mode", ["RGBA", "L", "CMYK", "P"])
def test_kinds_of_images(tmp_path, still, detector, engine, mode):
    kind = "jpg" if mode == "CMYK" else "png"
    path = tmp_path / f"image.{kind}"
    Image.open(still).convert(mode).save(path)
    (result,) = run([path], detector, engine)
    assert result.status == "ok" and 0 <= result.p_fake <= 1


def test_a_truncated_clip_is_partial(tmp_path, clips, detector, engine):
    whole = clips["FS"].read_bytes()
    results = []
    for share in (0.6, 0.8):
        path = tmp_path / f"cut{share}.mp4"
        path.write_bytes(whole[: int(share * len(whole))])
        results += run([path], detector, engine, n_frames=2)
    for result in results:
        assert result.status in ("partial", "unreadable") and result.message
        assert (result.p_fake is None) == (result.status == "unreadable")


def test_folders(tmp_path, still, detector, engine):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.png"):
        (tmp_path / name).write_bytes(still.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    results = run([tmp_path], detector, engine)
    assert [r.path for r in results] == [str(tmp_path / n) for n in ("b.png", "sub/a.png")]
    assert results[0].p_fake == results[1].p_fake
    assert not list(tmp_path.rglob("*.csv"))  # nothing is written


def test_a_broken_model_or_engine_is_said(still, detector, engine):
    class Nothing:
        logits = torch.full((1, 2), float("nan"))

    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixel_values):
            return Nothing

    from dataclasses import replace

    (result,) = run([still], replace(detector, model=Broken()), engine)
    assert result.status == "unreadable" and "not finite" in result.message

    def fails(images):
        raise ValueError("the points give no crop")

    (result,) = run([still], detector, fails)
    assert result.status == "unreadable" and "the points give no crop" in result.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "mask"}, "expected one of largest, central, all"),
        ({"aggregate": "max"}, "expected one of mean, median"),
        ({"n_frames": 0}, "whole number"),
        ({"n_frames": 2.5}, "whole number"),
    ],
)
def test_bad_settings(still, detector, engine, options, message):
    with pytest.raises(ValueError, match=message):
        score.score_files([still], detector, engine, **options)
    for files in ([], str(still)):
        with pytest.raises(ValueError, match="expected a list"):
            score.score_files(files, detector, engine)


def test_models(tmp_path, detector, still, engine):
    assert detector.threshold == repro.read_json(
        repro.data_dir() / "weights" / "detector" / "threshold.json"
    )
    assert "real people" in detector.limits
    hub.save(detector.model, tmp_path / "own")
    own = score.load(tmp_path / "own", device="cpu")
    assert own.threshold is None and own.crop_scale == detector.crop_scale == 1.3
    first, second = (run([still], one, engine)[0] for one in (detector, own))
    assert second.p_fake == pytest.approx(first.p_fake, abs=1e-6) and second.call is None
    repro.write_json(tmp_path / "own" / "threshold.json", {"value": 0.0, "rule": "everything"})
    assert run([still], score.load(tmp_path / "own", device="cpu"), engine)[0].call == "fake"
    with pytest.raises((ValueError, FileNotFoundError)):
        score.load(tmp_path / "nothing")


def test_a_run_brings_its_threshold(tmp_path, detector, tiny_scores):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(repro.data_dir() / "weights" / "detector", folder / "adapter")
    (folder / "adapter" / "threshold.json").unlink()
    evaluate.write_scores(tiny_scores, folder / "scores.csv")
    assert score.load(folder, device="cpu").threshold == evaluate.select_threshold(tiny_scores)


def test_interpreted_decoding_gives_the_same_landmarks(clips, engine):
    import face_alignment

    images = video.read_frames(clips["real"], [0, 5])
    compiled = face_alignment.utils._get_preds_fromhm
    with score.interpreted():
        assert not hasattr(face_alignment.utils._get_preds_fromhm, "py_func")
        plain = engine(images)
    assert face_alignment.utils._get_preds_fromhm is compiled  # as it was
    for a, b in zip(plain, engine(images), strict=True):
        np.testing.assert_array_equal(a[0].landmarks, b[0].landmarks)


def test_seen_gets_the_crops_that_were_judged(clips, detector, engine):
    got = []
    (result,) = run(
        [clips["FS"]], detector, engine, n_frames=2, seen=lambda *pair: got.append(pair)
    )
    ((told, crops),) = got
    assert told == result and len(crops) == len(result.faces) == 2
    again = score.score_crops(detector, crops)
    np.testing.assert_allclose(again, [f.p_fake for f in result.faces], atol=1e-9)
    assert run(["nothing.png"], detector, engine, seen=lambda *pair: got.append(pair))
    assert len(got) == 1  # not for what has no score


def test_the_stored_temperature_is_used_and_moves_no_call(still, detector, engine):
    from dataclasses import replace

    (plain,) = run([still], detector, engine)
    warm = {**detector.threshold, "temperature": {"value": 2.0, "share_fake": 0.8}}
    (result,) = run([still], replace(detector, threshold=warm), engine)
    odds = math.sqrt(plain.p_fake / (1 - plain.p_fake))
    assert result.calibrated == pytest.approx(odds / (1 + odds))
    assert (result.p_fake, result.call) == (plain.p_fake, plain.call)
    cold = {k: v for k, v in detector.threshold.items() if k != "temperature"}
    assert run([still], replace(detector, threshold=cold), engine)[0].calibrated is None


# ---------------------------------------------------------------- the command


def test_command_prints_scores_and_limits(still, clips, capsys, tmp_path):
    status = command.main([str(still), str(clips["real"]), "--n-frames", "2"])
    out = capsys.readouterr().out
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"{still}: P(fake) 0.") and "called" in lines[0]
    assert "2 faces in 2 of 2 frames" in lines[1]
    assert "false-positive rate" in out and "not the chance" in out and "real people" in out


def test_command_goes_on_after_a_bad_file(still, capsys, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    assert command.main([str(tmp_path / "x.mp4"), str(still)]) == 1
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert "no score (empty)" in first and "P(fake)" in second


def test_command_json_and_csv(still, clips, capsys):
    files = [str(still), "nowhere.png"]
    assert command.main([*files, "--json", "--threshold", "0"]) == 1
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert facts["model"] == "embedded" and facts["threshold"]["value"] == 0
    first, second = facts["files"]
    assert first["call"] == "fake" and first["faces"][0]["p_fake"] == first["p_fake"]
    assert second["status"] == "missing" and second["p_fake"] is None
    assert len(facts["notes"]) == 3
    assert command.main([*files, "--csv"]) == 1
    done = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [r["status"] for r in rows] == ["ok", "missing"] and rows[1]["p_fake"] == ""
    assert float(rows[0]["p_fake"]) == first["p_fake"] and "not the chance" in done.err


def test_command_faces(pair, capsys):
    assert command.main([str(pair), "--policy", "all", "--faces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" box ")[0] for line in lines[1:3]] == [
        "  frame 0 face 0",
        "  frame 0 face 1",
    ]
    assert command.main([str(pair), "nowhere.png", "--policy", "all", "--faces", "--csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [r["face"] for r in rows] == ["0", "1", ""] and rows[2]["status"] == "missing"
    assert float(rows[0]["x1"]) > float(rows[0]["x0"])


def test_command_explain_writes_a_page_for_each_scored_file(still, tmp_path, capsys, monkeypatch):
    from gendkit import score_page

    monkeypatch.setattr(  # fewer places of the square: the arithmetic has its own tests
        score_page.explain, "occlusion", lambda f, crop: _occlusion(f, crop, size=128, stride=128)
    )
    words = [str(still), str(still), "nowhere.png", "--explain", "--out", str(tmp_path / "pages")]
    assert command.main([*words, "--json"]) == 1
    files = json.loads(capsys.readouterr().out)["files"]
    assert files[2]["page"] is None
    pages = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert pages == ["ein_Bild_é-2.html", "ein_Bild_é.html", "plotly.min.js"]
    text = (tmp_path / "pages" / "ein_Bild_é.html").read_text("utf-8")
    for part in ("The crops that were judged", "random orders", "it is no proof", "real people"):
        assert part in text
    assert "Score over time" not in text  # one frame
    assert "<script src=" in text and "https://" not in text.split("<body>")[0]


def _occlusion(score, crop, **options):
    from gendkit import explain

    heat = np.zeros(crop.shape[:2])
    size = options["size"]
    heat[:size, :size] = score([crop])[0] - score([explain.fill_of(crop)])[0]
    return heat


def test_a_name_cannot_break_the_page(still, detector, engine, tmp_path):
    from gendkit import score_page

    text = score_page._page("<b>x</b>.png", [score_page._limits(detector)])
    assert "<b>x" not in text and "&lt;b&gt;x" in text
    assert score_page._free(tmp_path, "../../etc/passwd").parent == tmp_path
    with pytest.raises(ValueError, match="one crop a face"):
        score_page.write(run([still], detector, engine)[0], [], detector, tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "--out", "x"], "add --explain"),
        ([], "required: FILE"),
        (["a.png", "--n-frames", "0"], "expected at least 1"),
        (["a.png", "--threshold", "2"], r"in \[0, 1\]"),
        (["a.png", "--json", "--csv"], "not allowed"),
        (["a.png", "--policy", "mask"], "invalid choice"),
    ],
)
def test_command_wrong_use(words, message, capsys):
    import re

    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2 and re.search(message, capsys.readouterr().err)


def test_command_unknown_model(still, capsys):
    assert command.main([str(still), "--model", "no-such-model"]) == 1
    assert "no-such-model" in capsys.readouterr().err


def test_command_detector_settings(still, capsys):
    assert command.main([str(still), "--det-threshold", "1000"]) == 1
    assert "no face found" in capsys.readouterr().out
    assert command.main([str(still), "--detector", "eyes"]) == 1
    assert "expected one of ('dlib'" in capsys.readouterr().err


def test_command_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0 and "gendkit score photo.png clip.mp4" in capsys.readouterr().out
