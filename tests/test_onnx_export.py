"""ONNX export: the same scores on real crops, any batch, preprocessing facts, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_model import tiny, tiny_dinov3

from gendkit import adapters, onnx_export, score
from gendkit import model as gend
from gendkit.commands import export as command

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def crops():
    """Eight real crops: the true five points of clips of Nobody's Faces."""
    pytest.importorskip("cv2")
    return onnx_export.nobody_crops(8)


def detector_of(model, name="tiny", threshold=None) -> score.Detector:
    processor = gend.GenDImageProcessor.from_spec(model.encoder.spec)
    return score.Detector(name, model, processor, 1.3, threshold, "")


def test_crops_are_faces_of_the_report_people(crops):
    assert [crop.shape for crop in crops] == [(256, 256, 3)] * 8
    assert all(crop.dtype == np.uint8 and crop.std() > 10 for crop in crops)
    assert len({crop.tobytes() for crop in crops}) == 8


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, crops):
    """The command's answer on the embedded detector, and its file."""
    out = tmp_path_factory.mktemp("onnx") / "detector.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "nobody_crops", lambda scale: crops)
        assert command.main(["embedded", "--out", str(out)]) == 0
    return out


def test_the_embedded_detector_scores_alike_in_batches_of_any_size(embedded, crops):
    detector = score.load("embedded", device="cpu")
    found = onnx_export.parity(embedded, detector, crops)
    assert found["n"] == 8 and found["difference"] < onnx_export.TOLERANCE
    assert found["high"] - found["low"] > 0.1  # a constant would agree, too
    # against the formula, from the detector's logits
    pixels = detector.processor(crops)["pixel_values"]
    with torch.no_grad():
        logits = detector.model(pixels).logits.double().numpy()
    wanted = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    for size in (1, 3, 8):
        got = onnx_export.run(embedded, pixels, batch_size=size)
        np.testing.assert_allclose(got, wanted, atol=onnx_export.TOLERANCE)
    assert got.dtype == np.float32 and got.shape == (8,)


def test_the_file_says_how_pixels_are_made_and_holds_no_path(embedded):
    facts = onnx_export.facts_of(embedded)
    detector = score.load("embedded", device="cpu")
    assert facts["classes"] == {"0": "real", "1": "fake"}
    pixels = facts["pixels"]
    assert (pixels["image_size"], pixels["resize"], pixels["crop_scale"]) == (128, "shortest", 1.3)
    assert pixels["image_mean"] == detector.processor.image_mean
    assert facts["threshold"] == detector.threshold
    content = onnx.load(embedded)
    assert b"gendkit/model.py" not in embedded.read_bytes()
    (inputs,), (outputs,) = content.graph.input, content.graph.output
    batch, *rest = inputs.type.tensor_type.shape.dim
    assert batch.dim_param == "batch" and [d.dim_value for d in rest] == [3, 128, 128]
    assert (inputs.name, outputs.name) == ("pixel_values", "p_fake")
    onnx.checker.check_model(content, full_check=True)


@pytest.mark.parametrize("make", [tiny, tiny_dinov3])
def test_random_networks_of_other_families(make, tmp_path, crops):
    model = make()
    detector = detector_of(model, threshold={"value": 0.25, "rule": "a test"})
    with torch.no_grad():  # scores that differ between crops, around 0.5
        model.head.linear.weight.mul_(200)
        logits = model(detector.processor(crops)["pixel_values"]).logits
        model.head.linear.bias.sub_(logits.mean(0))
    onnx_export.export(detector, tmp_path / "tiny.onnx")
    found = onnx_export.parity(tmp_path / "tiny.onnx", detector, crops)
    assert found["difference"] < onnx_export.TOLERANCE
    assert found["high"] - found["low"] > 0.01
    assert onnx_export.facts_of(tmp_path / "tiny.onnx")["threshold"]["value"] == 0.25


def test_parity_sees_another_model(embedded, crops):
    detector = score.load("embedded", device="cpu")
    with torch.no_grad():
        detector.model.head.linear.bias.add_(torch.tensor([0.0, 0.01]))
    assert onnx_export.parity(embedded, detector, crops)["difference"] > onnx_export.TOLERANCE


def test_wrong_input_is_refused(embedded, tmp_path, crops, monkeypatch):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 64, 64\), expected \(N, 3, 128, 128\)"):
        onnx_export.run(embedded, np.zeros((2, 3, 64, 64)))
    with pytest.raises(ValueError, match="no crops"):
        onnx_export.parity(embedded, detector_of(tiny()), [])
    with pytest.raises(FileNotFoundError, match="gendkit export"):
        onnx_export.run(tmp_path / "none.onnx", np.zeros((1, 3, 28, 28)))
    tuned = detector_of(tiny())
    tuned = replace(tuned, model=adapters.tune(tuned.model))
    with pytest.raises(ValueError, match="merge"):
        onnx_export.export(tuned, tmp_path / "a.onnx")
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(ValueError, match="more than the 1,000"):
        onnx_export.export(detector_of(tiny()), tmp_path / "a.onnx")
    monkeypatch.setattr(onnx_export.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"gendkit\[onnx\]"):
        onnx_export.export(detector_of(tiny()), tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_a_foreign_file_is_refused(tmp_path):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [value], [other])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="not written by gendkit export"):
        onnx_export.facts_of(tmp_path / "x.onnx")


def test_the_command_prints_hash_and_difference_and_fails_where_scores_differ(
    embedded, tmp_path, crops, capsys, monkeypatch
):
    from PIL import Image

    Image.fromarray(crops[0]).save(tmp_path / "face.png")
    out = tmp_path / "again.onnx"

    def copied(detector, path, opset):
        path.write_bytes(embedded.read_bytes())
        return onnx_export.facts_of(path)

    monkeypatch.setattr(onnx_export, "export", copied)
    words = ["embedded", "--out", str(out), "--crops", str(tmp_path / "face.png")]
    assert command.main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n"] == 1 and facts["difference"] < 1e-4 and len(facts["sha256"]) == 64
    assert facts["bytes"] == embedded.stat().st_size
    assert command.main([*words, "--overwrite", "--tolerance", "-1"]) == 1
    captured = capsys.readouterr()
    assert "do not use" in captured.err and facts["sha256"] in captured.out
    for wrong in ([*words], ["embedded", "--out", str(tmp_path)]):
        with pytest.raises(SystemExit) as left:
            command.main(wrong)
        assert left.value.code == 2
    assert command.main(["nothing", "--out", str(tmp_path / "b.onnx")]) == 1
    assert "gendkit export:" in capsys.readouterr().err
