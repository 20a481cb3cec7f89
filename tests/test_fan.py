"""The light landmark network: cost, interface, file format, and the crops it is made for."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from gendkit import fan
from gendkit.fan import LightFAN, fan_box, find_weights, landmark_square, load_light_fan

WEIGHTS = "weights/landmarks.safetensors"


@pytest.fixture(scope="module")
def model() -> LightFAN:
    torch.manual_seed(0)
    return LightFAN().eval()


def test_interface_of_fan(model):
    images = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        out = model(images)
    assert isinstance(out, list)
    assert out[-1].shape == (2, 68, 64, 64)
    # each heatmap is a probability times the area of a blob
    area = 2 * np.pi * fan.SIGMA**2
    assert out[-1].sum((2, 3)).numpy() == pytest.approx(np.full((2, 68), area), rel=1e-4)
    # the same order of values as the logits, whose highest cell is what is decoded
    with torch.no_grad():
        logits = model.logits(images)
    assert torch.equal(logits.flatten(2).argmax(-1), out[-1].flatten(2).argmax(-1))


def test_cost_of_one_face(model):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 256, 256))
    assert 0.2e9 < counter.get_total_flops() <= 2e9
    assert sum(p.numel() for p in model.parameters()) <= 3e6


def test_a_perfect_heatmap_peaks_at_one():
    cells = torch.arange(64.0)
    blob = -((cells[:, None] - 30) ** 2 + (cells[None] - 20) ** 2) / (2 * fan.SIGMA**2)

    class Perfect(LightFAN):
        def logits(self, images):
            return blob.expand(len(images), 68, 64, 64)

    assert Perfect()(torch.zeros(1, 3, 256, 256))[-1].max().item() == pytest.approx(1, abs=0.01)


def test_faces_of_a_batch_do_not_mix(model):
    images = torch.rand(3, 3, 256, 256)
    with torch.no_grad():
        together = model(images)[-1]
        alone = torch.cat([model(image[None])[-1] for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 1, 256, 256), (1, 256, 256, 3)])
def test_wrong_shape_is_named(model, shape):
    with pytest.raises(ValueError, match=r"expected \(B, 3, 256, 256\).*FaceEngine"):
        model(torch.zeros(shape))


def test_wrong_design_is_named():
    with pytest.raises(ValueError, match=r"LightFAN\(\)"):
        LightFAN(widths=(8, 8))


def test_file_round_trip_is_half_the_size(model, tmp_path):
    small = LightFAN((4, 6, 8, 8), (1, 0, 1, 0), 6).eval()
    path = fan.save_light_fan(small, tmp_path / "w.safetensors", recipe="test")
    again = load_light_fan(path)
    assert not again.training
    images = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        assert torch.allclose(again.logits(images), small.logits(images), atol=2e-2)
    n_bytes = fan.save_light_fan(model, tmp_path / "full.safetensors").stat().st_size
    assert n_bytes < 2.2 * sum(p.numel() for p in model.parameters())
    assert n_bytes <= 8e6


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gendkit weights landmarks"):
        load_light_fan(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_light_fan(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="expected 'LightFAN'"):
        load_light_fan(tmp_path / "other.safetensors")
    header = {"model": "LightFAN", "config": "{}"}
    save_file({"a": torch.zeros(1)}, str(tmp_path / "empty.safetensors"), metadata=header)
    with pytest.raises(ValueError, match="does not fit its header"):
        load_light_fan(tmp_path / "empty.safetensors")


def test_missing_official_weights_say_where_from_and_where_to(tmp_path, monkeypatch):
    pytest.importorskip("face_alignment")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        find_weights("official")
    text = str(caught.value)
    assert "2DFAN4-11f355bf06.pth.tar" in text and "https://" in text and str(tmp_path) in text
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / fan.OFFICIAL_FILE).write_bytes(b"")
    assert find_weights("official") == folder / fan.OFFICIAL_FILE
    with pytest.raises(FileNotFoundError, match="'embedded', 'official' or an existing file"):
        find_weights("nonsense")


def test_missing_package_says_how_to_install():
    with pytest.raises(ImportError, match=r'pip install "gendkit\[faces\]"'):
        fan.need("no_such_package_here")


def test_fan_box_undoes_the_arithmetic_of_face_alignment():
    box = fan_box(np.array([120.0, 90.0]), 200.0)
    # as face_alignment 1.5.0 turns a box into a square
    width, height = box[2] - box[0], box[3] - box[1]
    center = np.array([box[2] - width / 2, box[3] - height / 2 - 0.12 * height])
    assert center == pytest.approx([120, 90])
    assert 200 * (width + height) / 195 == pytest.approx(200)


def test_landmark_square_holds_the_landmarks():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform([40, 60], [140, 180], (68, 2))
    center, side = landmark_square(landmarks)
    assert (np.abs(landmarks - center) < side / 2).all()
    assert landmark_square(np.zeros((68, 2)))[1] > 0


def test_embedded_weights_are_trained_and_small():
    path = find_weights("embedded")
    assert path.as_posix().endswith(WEIGHTS)
    model = load_light_fan(path)
    assert path.stat().st_size <= 8e6
    moved = dict(model.named_buffers())["stem.0.1.running_mean"].abs().sum()
    assert moved > 0
