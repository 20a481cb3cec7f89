"""Benchmarks run on tiny input and say what they measured; nothing here is about speed itself."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from gendkit import backbones, bench, bench_baselines, bench_data, losses, video
from gendkit.commands import bench as command

FEW = bench_data.DataSize(
    n_clips=2, n_frames=3, long=40, sampled=5, side=64, n_faces=5, n_extracted=2, passes=1
)
SMALL = bench.Size(n_images=1, passes=1, n_crops=16, epochs=1, batch_size=8, data=FEW)


def sane(part, *keys):
    for side in ("kit", "baseline"):
        assert part[side]["what"]
        for key in keys:
            assert math.isfinite(part[side][key]) and part[side][key] > 0, (side, key)
    for key in keys:
        assert part["ratio"][key] == pytest.approx(part["kit"][key] / part["baseline"][key])


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return bench.write_crops(tmp_path_factory.mktemp("crops"), SMALL)


def test_decode_gives_equal_pixels():
    result = bench.run(["decode"], SMALL)
    part = result["parts"]["decode"]
    sane(part, "images_per_second", "cpu_ms")
    assert part["equal"] is True and "6 frames of 2 clips; pixels equal" in part["note"]
    assert "decode: video.read_frames" in bench.table(result)
    assert json.loads(json.dumps(result)) == result


def test_decode_says_so_when_pixels_differ(monkeypatch):
    read = bench_baselines.seek_frames
    monkeypatch.setattr(bench_baselines, "seek_frames", lambda path, n: read(path, n)[::-1])
    part = bench.run(["decode"], SMALL)["parts"]["decode"]
    assert part["equal"] is False and "PIXELS DIFFER" in part["note"]


def test_sampling_of_a_long_film_gives_equal_pixels_and_a_verdict():
    result = bench.run(["sampling"], SMALL)
    part = result["parts"]["sampling"]
    sane(part, "images_per_second", "cpu_ms")
    assert part["equal"] is True and part["ratio_near"] > 0 and part["expected"] == 8
    assert "5 of 40 frames of a generated 64 x 32 film, a key frame every 250" in part["note"]
    for ratio, word in ((8.0, "met"), (7.99, "MISSED")):
        part["ratio"]["images_per_second"] = ratio
        assert f"expected at least 8: {word}" in bench.table(result)


def test_the_film_has_the_frames_and_key_frames_it_says(tmp_path):
    import av

    for gop, n_keys in ((bench_data.FAR, 1), (bench_data.NEAR, 4)):
        path = bench_data.film(tmp_path / f"{gop}.mp4", 40, 64, gop)
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        assert len(packets) == 40 and sum(p.is_keyframe for p in packets) == n_keys
    frames = video.read_frames(path).astype(int)
    assert frames.shape == (40, 32, 64, 3)
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 1  # no two frames alike


def test_landmarks_in_batches_are_those_of_each_frame_alone(monkeypatch):
    pytest.importorskip("face_alignment")
    part = bench.run(["batches"], SMALL)["parts"]["batches"]
    sane(part, "images_per_second", "cpu_ms")
    assert part["equal"] is True and part["note"] == "5 frames, boxes given; landmarks equal."
    from gendkit.faces import FaceEngine

    alone = FaceEngine.landmarks
    monkeypatch.setattr(FaceEngine, "landmarks", lambda *a: [p + 1 for p in alone(*a)])
    part = bench.run(["batches"], SMALL)["parts"]["batches"]
    assert part["equal"] is False and "LANDMARKS DIFFER in 5 faces" in part["note"]


@pytest.mark.parametrize("workers", [1, 2])
def test_extraction_is_timed_without_its_start(workers, monkeypatch):
    """Clips of 3 frames take 0.1 s each and a start 2 s: 4 clips first, then 6."""
    from gendkit import extract

    def run(table, out, **settings):
        assert settings["workers"] == workers and settings["n_frames"] == 3
        speed = {"seconds": 2 + 0.1 * len(table), "n_frames": 3 * len(table)}
        return extract.ExtractReport(table, table, out, speed)

    monkeypatch.setattr(extract, "run", run)
    found = bench_data.extract_speed(FEW, workers)
    assert found["images_per_second"] == pytest.approx(30)
    assert found["start_s"] == pytest.approx(2) and str(workers) in found["what"]


def test_workers_are_compared_one_thread_each(monkeypatch):
    calls = []

    def child(task, settings, threads=0):
        calls.append((task, threads))
        two = task == "extract_2"
        return {"what": task, "images_per_second": 20.0 if two else 16.0, "start_s": 3.0}

    monkeypatch.setattr(bench, "_child", child)
    result = bench.run(["workers"], SMALL)
    assert calls == [("extract_2", 1), ("extract_1", 1)]
    assert result["parts"]["workers"]["ratio"] == {"images_per_second": 1.25}
    assert "expected at least 1.5: MISSED" in bench.table(result)


def test_seeking_finds_every_frame(tmp_path, rng):
    frames = rng.integers(0, 255, (30, 32, 32, 3), dtype=np.uint8)
    path = video.write_video(tmp_path / "noise.mp4", frames, gop=7)
    order = [29, 0, 13, 14, 6, 7]
    expected = video.read_frames(path, order)
    assert np.array_equal(bench_baselines.seek_frames(path, order), expected)
    with pytest.raises(ValueError, match="no frame 30"):
        bench_baselines.seek_frames(path, [30])


@pytest.mark.parametrize(
    ("task", "parameters", "gflop"),
    [
        ("light_fan", (1e6, 4e6), (0.5, 2.0)),
        ("fan", (6.2e6, 6.3e6), (16.0, 17.0)),
        ("embedded", (2e6, 4e6), (0.1, 1.0)),
        ("clip_b32", (8.7e7, 8.9e7), (8.6, 8.9)),
    ],
)
def test_networks_have_the_size_that_is_printed(task, parameters, gflop):
    """FAN(1) has 6.2 million parameters and 16.5 GFLOP, CLIP's ViT-B/32 87.8 million and 8.7 GFLOP."""
    if task == "fan":
        pytest.importorskip("face_alignment")
    found = bench.measure(task, {"n_images": 1, "passes": 1})
    assert parameters[0] < found["parameters"] < parameters[1]
    assert gflop[0] < found["gflop"] < gflop[1]
    assert found["images_per_second"] > 0 and found["peak_mib"] > 50


@pytest.mark.parametrize("task", ["train_kit", "train_plain"])
def test_both_sides_train_on_the_same_crops(crops, task):
    settings = {**asdict(SMALL), "folder": str(crops.parent)}
    found = bench.measure(task, settings)
    assert found["images_per_second"] > 0 and found["cpu_ms"] > 0 and found["peak_mib"] > 50


def test_a_pair_runs_in_processes_of_its_own(crops):
    result = bench.run(["training"], SMALL)
    sane(result["parts"]["training"], "images_per_second", "cpu_ms", "peak_mib")


def test_the_plain_loop_trains_what_the_kit_trains(crops):
    model = bench_baselines.Detector()
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("norm" in name or name.startswith("head") for name in trained)
    n = sum(p.numel() for p in model.parameters() if p.requires_grad)
    norms = backbones.layernorm_modules(backbones.load("embedded")).values()
    assert n == sum(p.numel() for norm in norms for p in norm.parameters()) + 2 * 192 + 2
    # the same objective and the same input
    torch.manual_seed(0)
    features, logits = torch.randn(8, 5), torch.randn(8, 2)
    labels = torch.tensor([0, 1] * 4)
    expected, _ = losses.GenDLoss(0.1, 0.5)(logits, features, labels)
    assert bench_baselines.loss_of(logits, features, labels).item() == pytest.approx(
        expected.item(), abs=1e-5
    )
    path = next(crops.parent.glob("*.png"))
    pixels, _ = bench_baselines.Crops([(path, 0)], 128, None)[0]
    prepare = backbones.preprocess(backbones.load("embedded").spec)
    torch.testing.assert_close(pixels, prepare(np.asarray(Image.open(path)))[0], atol=1e-5, rtol=0)


def test_the_plain_augmentation_keeps_size_and_kind(image, rng):
    out = bench_baselines.augment(Image.fromarray(image), rng)
    assert out.size == (image.shape[1], image.shape[0]) and out.mode == "RGB"


def test_errors_name_the_parts(capsys):
    with pytest.raises(
        ValueError, match="expected some of landmarks, encoder, training, decode, sampling"
    ):
        bench.run(["speed"])
    with pytest.raises(RuntimeError, match="measuring 'train_kit' failed: .*manifest.csv"):
        bench._child("train_kit", {"folder": "/nowhere"})
    assert command.main(["speed"]) == 2
    assert "unknown part 'speed'" in capsys.readouterr().err


def test_the_command_prints_json_and_a_table(tmp_path, monkeypatch, capsys):
    run = bench.run
    monkeypatch.setattr(bench, "run", lambda parts, size: run(parts, SMALL))
    assert command.main(["decode", "--json", "--out", str(tmp_path / "b.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "b.json").read_text("utf-8"))
    assert command.main(["decode"]) == 0
    assert "ratio" in capsys.readouterr().out
