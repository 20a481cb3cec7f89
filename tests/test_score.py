"""score: real clips of Nobody's Faces through the real engine; every bad file gets a reason."""

import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

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


@pytest.mark.parametrize(("k", "n"), [(0, 5), (4, 16), (7, 7), (1, 1000)])
def test_interval_solves_the_equation_of_wilson(k, n):
    low, high = score.interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for end in (low, high):
        if end not in (0.0, 1.0):  # there |k / n - p| is z standard errors of p
            error = abs(k / n - end) / math.sqrt(end * (1 - end) / n)
            assert error == pytest.approx(norm.ppf(0.975), abs=1e-9)
    for bad in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="n >= 1"):
            score.interval(*bad)


def test_explain(detector):
    text = score.explain(detector.threshold)
    assert "4 of 16" in text and "25%" in text and "10% to 49%" in text and "select" in text
    assert "no file is called" in score.explain(None)
    assert "not recorded" in score.explain({"value": 0.5, "rule": "mine"})


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
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
