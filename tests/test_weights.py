"""`gendkit weights`: the shipped files are well, and every fault is found and named."""

import json
import os
import shutil
import types

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

pytest.importorskip("cv2")
pytest.importorskip("numba")

from gendkit import adapters, fan, model, repro  # noqa: E402
from gendkit.pretrain import encoder, stock, weights  # noqa: E402

CARD = """# A card
| | |
|---|---|
| recipe | `gendkit weights {name} --minutes 3` |
| licence | CC0 1.0 |

3 minutes on two cores.
"""


def put_encoder(folder, seed: int) -> None:
    small = {"hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 3, "projection_dim": 12}
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in small.items():
            patch.setitem(encoder.ARCHITECTURE, key, value)
        vision = CLIPVisionModel(CLIPVisionConfig(**encoder.ARCHITECTURE))
        encoder.export(types.SimpleNamespace(vision=vision), folder, {"seed": seed})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder like data/weights, of tiny networks."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    light = fan.LightFAN((4, 4, 4, 4), (0, 0, 0, 0), 4)
    fan.save_light_fan(light, root / "landmarks.safetensors")
    put_encoder(root / "encoder", 0)
    detector = model.build(str(root / "encoder"), head="LinearNorm")
    adapters.save_adapter(adapters.tune_layernorm(detector), root / "detector")
    for path in root.rglob("*.safetensors"):
        path.chmod(0o644)
    for name in ("landmarks", "encoder", "detector"):
        (root / f"{name}.md").write_text(CARD.format(name=name))
    stock.write_hashes(root)
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "weights")


def one_fault(root) -> str:
    faults = stock.verify(root)
    assert len(faults) == 1, faults
    return faults[0]


def change(path, name: str, value: float) -> None:
    state = load_file(path)
    with fan.safe_open(str(path), framework="pt") as file:
        header = file.metadata()
    state[name].view(-1)[0] = value
    save_file(state, str(path), metadata=header)
    path.chmod(0o644)


def test_the_shipped_weights_are_well():
    assert stock.verify() == []


def test_a_sound_folder_is_well(root):
    assert stock.verify(root) == []


def test_list_of_hashes_names_every_file_but_cards(root):
    known = repro.read_json(root / "hashes.json")
    files = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert known.keys() == {f for f in files if not f.endswith(".md")} - {"hashes.json"}
    path = root / "encoder" / "model.safetensors"
    entry = known["encoder/model.safetensors"]
    assert entry == {"bytes": path.stat().st_size, "sha256": repro.sha256(path)}


def test_a_flipped_byte_is_found(root):
    path = root / "detector" / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "sha256" in (fault := one_fault(root)) and "restore it" in fault
    assert fault.startswith("detector/adapter_model.safetensors")


def test_a_cut_file_is_found(root):
    path = root / "encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    faults = stock.verify(root)
    assert any("bytes, expected" in f for f in faults)
    assert any("not readable as safetensors" in f for f in faults)


def test_missing_and_unknown_files_are_found(root):
    (root / "encoder" / "config.json").rename(root / "encoder" / "other.json")
    faults = stock.verify(root)
    assert [f.split(":")[0] for f in faults] == ["encoder/config.json", "encoder/other.json"]
    assert "missing; restore it" in faults[0] and "not in hashes.json; remove it" in faults[1]
    (root / "encoder" / "other.json").rename(root / "encoder" / "config.json")
    (root / "landmarks.safetensors").unlink()
    stock.write_hashes(root)
    assert "gendkit weights landmarks" in one_fault(root)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_found(root, value):
    change(root / "landmarks.safetensors", "out.weight", value)
    stock.write_hashes(root)
    fault = one_fault(root)
    assert fault.startswith("landmarks.safetensors: NaN or infinity in 1 tensors, out.weight")


def test_too_large_files_are_found(root):
    save_file({"a": torch.zeros(2_000_001)}, root / "landmarks.safetensors")
    (root / "landmarks.safetensors").chmod(0o644)
    save_file(
        {"a": torch.zeros(12_000_001, dtype=torch.float16)},
        root / "encoder" / "model.safetensors",
    )
    (root / "encoder" / "model.safetensors").chmod(0o644)
    stock.write_hashes(root)
    assert stock.verify(root) == [
        "landmarks.safetensors: 8.0 MB, at most 8 are shipped; store float16 or train a smaller one",
        "encoder/model.safetensors: 24.0 MB, at most 24 are shipped; store float16 or train a "
        "smaller one",
        "encoder/model.safetensors: 12000001 parameters, at most 12000000; train a smaller one",
    ]


def test_other_formats_are_found(root):
    torch.save({"a": torch.zeros(1)}, root / "encoder" / "model.pt")
    (root / "encoder" / "model.pt").chmod(0o644)
    stock.write_hashes(root)
    assert "must be safetensors" in one_fault(root)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_private_file_is_found(root):
    root.chmod(0o755)
    (root / "landmarks.safetensors").chmod(0o600)
    assert "chmod a+r" in one_fault(root)
    root.chmod(0o700)  # a private folder: nobody else comes here
    assert stock.verify(root) == []


def test_a_missing_card_is_found(root):
    (root / "encoder.md").unlink()
    assert one_fault(root) == "encoder.md: missing; write the card of encoder/model.safetensors"


@pytest.mark.parametrize(
    ("cut", "what"),
    [
        ("gendkit weights", "the recipe"),
        ("3 minutes", "the time it took"),
        ("two cores", "the hardware"),
        ("| licence |", "the licence"),
    ],
)
def test_a_card_that_leaves_something_out_is_found(root, cut, what):
    path = root / "landmarks.md"
    text = CARD.format(name="landmarks").replace("--minutes 3", "")
    assert cut in text
    path.write_text(text.replace(cut, "-"))
    assert f"does not name {what}" in one_fault(root)


def test_a_card_of_other_weights_is_found(root):
    card = root / "encoder.md"
    digest = repro.sha256(root / "encoder" / "model.safetensors")
    card.write_text(card.read_text() + f"sha256 {digest}\n")
    assert stock.verify(root) == []
    card.write_text(card.read_text() + f"sha256 {'ab' * 32}\n")
    assert "sha256 abababababab..., which no file here has" in one_fault(root)


def test_a_detector_of_another_encoder_is_found(root):
    put_encoder(root / "encoder", seed=1)
    stock.write_hashes(root)
    assert "was tuned on other weights" in one_fault(root)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"bytes": 1}}'])
def test_a_broken_list_is_found(root, text):
    (root / "hashes.json").write_text(text)
    assert "write it with: gendkit weights hashes" in one_fault(root)
    (root / "hashes.json").unlink()
    assert one_fault(root).startswith("hashes.json: missing")


def test_a_list_that_cannot_be_written_leaves_the_old_one(root, monkeypatch):
    before = (root / "hashes.json").read_bytes()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repro, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        stock.write_hashes(root)
    assert (root / "hashes.json").read_bytes() == before
    assert not list(root.glob(".*"))


def test_command_lists(root, capsys):
    assert weights.main(["list", "--root", str(root), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [r["name"] for r in rows] == ["landmarks", "encoder", "detector"]
    light = fan.load_light_fan(root / "landmarks.safetensors")
    assert rows[0]["parameters"] == sum(p.numel() for p in light.parameters())
    for row in rows:
        assert row["licence"] == "CC0 1.0" and row["sha256"] == repro.sha256(root / row["file"])
        assert row["bytes"] == (root / row["file"]).stat().st_size and row["purpose"]
    assert weights.main(["list", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert all(r["file"] in out and r["sha256"][:12] in out for r in rows)


def test_command_verifies_with_its_exit_status(root, capsys):
    assert weights.main(["verify", "--root", str(root)]) == 0
    assert capsys.readouterr().out == "all is well\n"
    (root / "encoder.md").unlink()
    assert weights.main(["verify", "--root", str(root)]) == 1
    assert capsys.readouterr().out.startswith("encoder.md: missing")
    assert weights.main(["verify", "--root", str(root), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_command_writes_the_list(root, capsys):
    (root / "hashes.json").unlink()
    assert weights.main(["hashes", "--root", str(root)]) == 0
    assert weights.main(["verify", "--root", str(root)]) == 0


def test_command_says_what_is_missing(tmp_path, capsys):
    assert weights.main(["verify", "--root", str(tmp_path / "none")]) == 1
    assert "expected an existing folder" in capsys.readouterr().err
    assert weights.main(["encoder", "--renders", str(tmp_path)]) == 1
    assert "gendkit nobody training --out" in capsys.readouterr().err
    landmarks = ["landmarks", "--renders", str(tmp_path), "--work", str(tmp_path / "w")]
    assert weights.main(landmarks) == 1
    assert "gendkit nobody training --out" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        weights.main(["everything"])
    assert done.value.code == 2


@pytest.mark.parametrize("name", [*weights.RECIPES, "list", "verify", "hashes"])
def test_every_recipe_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as done:
        weights.main([name, "--help"])
    assert done.value.code == 0
    assert f"usage: gendkit weights {name}" in capsys.readouterr().out
