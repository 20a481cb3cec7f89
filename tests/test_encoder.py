"""The encoder's recipe: losses by hand, how it starts, a run that resumes, an export that loads."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionModel

pytest.importorskip("cv2")
pytest.importorskip("numba")

from small_footage import write_footage  # noqa: E402

from gendkit import backbones  # noqa: E402
from gendkit.pretrain import encoder, targets  # noqa: E402
from gendkit.pretrain.pool import Pool  # noqa: E402

PEOPLE = [0, 40, *range(1, 9)] * 2
WIDTH, UNITS = targets.FREE + 104 + 8, 2 * 104 + 16


@pytest.fixture(autouse=True, scope="module")
def small():
    """A network of one layer, hardly wider than its filters and energies need."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("hidden_size", WIDTH),
            ("intermediate_size", UNITS),
            ("num_hidden_layers", 1),
            ("projection_dim", WIDTH),
        ):
            patch.setitem(encoder.ARCHITECTURE, name, value)
        yield


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    write_footage(folder, PEOPLE, n_plain=4)
    pool = Pool(folder)
    batch = pool.batch(np.random.default_rng(0), 32)
    torch.manual_seed(0)
    net = encoder.Pretrainer(pool.moments())
    net.calibrate([batch])
    return net, batch


@pytest.fixture
def batch(calibrated):
    return calibrated[1]


@pytest.fixture
def model(calibrated):
    return copy.deepcopy(calibrated[0])


def test_every_target_has_a_loss_and_a_weight(model, batch):
    losses = model(batch)
    assert set(losses) == set(encoder.WEIGHTS)
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())


def test_an_answer_of_zero_explains_nothing(model, batch):
    """Targets are measured in units of their variance, so the mean as an answer costs one."""
    for head in (model.dense[1], *model.whole.values()):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    losses = model(batch)
    for name in (*encoder.PATCH_TARGETS, *(f"twin_{n}" for n in targets.TRACES), "landmarks"):
        assert losses[name].item() == pytest.approx(1, abs=0.06)
    people = batch["pose"][batch["pose"].isfinite().all(1)]
    mean, std = model.pose_mean, model.pose_std
    assert losses["pose"].item() == pytest.approx(float((((people - mean) / std) ** 2).mean()))
    score = model.score([batch])
    assert score["bands"] == pytest.approx(1 - losses["bands"].item(), abs=1e-4)


def test_dense_loss_by_hand(model, batch):
    model.eval()
    pixels = (batch["images"] - model.mean) / model.std
    with torch.no_grad():
        answer = model.dense(model.vision(pixel_values=pixels).last_hidden_state[:, 1:])
        losses = model(batch)
    maps = batch["maps"][..., 1:4]  # soft, noise, code
    mean, std = maps.flatten(0, 1).mean(0), maps.flatten(0, 1).std(0) + 1e-3
    at = targets.N_TEXTURE + 1  # after the texture and the coverage
    wanted = ((answer[..., at : at + 3] - (maps - mean) / std) ** 2).mean()
    torch.testing.assert_close(losses["processing"], wanted, rtol=1e-4, atol=1e-5)


def test_twin_losses_by_hand(model, batch):
    model.eval()
    pixels = (batch["images"] - model.mean) / model.std
    with torch.no_grad():
        answer = model.dense(model.vision(pixel_values=pixels).last_hidden_state[:, 1:])
        losses = model(batch)
    places = {"coverage": slice(0, 1), "processing": slice(1, 4), "cast": slice(4, 7)}
    for name, place in places.items():
        maps = batch["maps"][..., place]
        std = batch["maps"].flatten(0, 1).std(0)[place] + 1e-3  # the mean cancels out
        told = answer[..., targets.N_TEXTURE :][..., place]
        apart = (told[::2] - told[1::2]) - (maps[::2] - maps[1::2]) / std
        wanted = (apart**2).mean() / 2
        torch.testing.assert_close(losses[f"twin_{name}"], wanted, rtol=1e-4, atol=1e-5)


def test_what_both_twins_get_wrong_is_no_twin_loss(model, batch):
    model.eval()
    with torch.no_grad():
        before = model(batch)
        model.dense[1].bias += 3
        after = model(batch)
    for name in targets.TRACES:
        assert after[name] > before[name] + 1
        torch.testing.assert_close(after[f"twin_{name}"], before[f"twin_{name}"])


def test_free_channels_start_empty(model, batch):
    pixels = (batch["images"] - model.mean) / model.std
    with torch.no_grad():
        embedded = model.vision.embeddings(pixels)[:, 1:]  # patches, without the class token
    assert not embedded[..., -targets.FREE :].any()
    assert (embedded[..., : -targets.FREE].std((0, 1)) > 0.5).all()


def test_energy_units_answer_with_the_size_of_their_group(model):
    mlp = model.vision.encoder.layers[0].mlp
    generator = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(50, WIDTH, generator=generator)
    with torch.no_grad():
        energies = mlp(x)[:, -targets.FREE :]
        small = mlp(x / 1000)[:, -targets.FREE :]
    groups = targets.energy_groups()
    steep = 2 * x
    exact = steep * torch.erf(steep / 2**0.5)  # gelu(v) + gelu(-v)
    for free, group in enumerate(groups):
        torch.testing.assert_close(energies[:, free], exact[:, group].mean(1))
        size = steep[:, group].abs().mean(1)  # the sum of |x| over the group, up to a factor
        assert (energies[:, free] - size).abs().max() < 0.35 and size.mean() > 5
        square = (0.8 * (steep[:, group] / 1000) ** 2).mean(1)
        torch.testing.assert_close(small[:, free], square, rtol=0.01, atol=1e-8)
    with torch.no_grad():  # other channels do not reach them, nor do they reach others
        other = x.clone()
        other[:, 104:] = 0
        torch.testing.assert_close(mlp(other)[:, -targets.FREE :][:, :28], energies[:, :28])
        mlp.fc2.weight[-targets.FREE :] = 0
        mlp.fc1.weight[208:] = 0
        torch.testing.assert_close(mlp(x), mlp.fc2.bias.expand(50, -1))


def test_person_loss_by_hand(model):
    rng = np.random.default_rng(0)
    pooled = torch.from_numpy(rng.normal(size=(16, WIDTH))).float()
    loss, found = model._person(pooled, 3)  # the last four rows show nobody
    keys = model.person(pooled).detach().numpy()[:12:2].astype(float)  # first twins
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    terms, hits = [], 0
    for i in range(6):
        partner = i + 1 if i % 2 == 0 else i - 1
        scores = {j: float(keys[i] @ keys[j]) / 0.1 for j in range(6) if j != i}
        terms.append(np.log(sum(np.exp(s) for s in scores.values())) - scores[partner])
        hits += max(scores, key=scores.get) == partner
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(found) == pytest.approx(hits / 6)
    same = pooled[:12].clone()
    same[2::4] = same[::4]  # the other film
    assert float(model._person(same, 3)[1]) == 1


def test_patches_of_every_second_pair_of_twins_are_blanked_alike(model, batch):
    seen = []
    model.vision.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    torch.manual_seed(0)
    model(batch, masked=0.25)
    model(batch, masked=0.0)
    masked, whole = seen
    kept, changed = ((torch.arange(len(whole)) // 2 % 2 == k) for k in (0, 1))
    torch.testing.assert_close(masked[kept], whole[kept])
    patches = masked[changed].unflatten(2, (8, 16)).unflatten(4, (8, 16))
    blank = patches.abs().sum((1, 3, 5)) == 0
    same = (masked == whole)[changed].unflatten(2, (8, 16)).unflatten(4, (8, 16))
    assert (blank ^ same.all(5).all(3).all(1)).all() and 0.2 < blank.float().mean() < 0.3
    assert (blank[::2] == blank[1::2]).all() and (blank[0] != blank[2]).any()


def test_recipe_runs_resumes_and_exports_a_loadable_encoder(tmp_path, capsys):
    write_footage(tmp_path / "footage", PEOPLE, n_plain=4)
    options = {"batch": 8, "work": tmp_path / "work", "export_every": 0.0, "device": "cpu"}
    out = tmp_path / "encoder"
    score = encoder.train(tmp_path / "footage", out, 0.01, **options)
    assert set(score) == set(encoder.WEIGHTS)
    assert all(np.isfinite(v) and v <= 1 for v in score.values())
    first = json.loads((out / "provenance.json").read_text())
    assert first["recipe"] == "gendkit.pretrain.encoder" and first["steps"] > 0
    assert first["samples"] == 8 * first["steps"] and first["identities"] == 8
    assert capsys.readouterr().out.count("exported to") >= 2  # on the way as well

    write_footage(tmp_path / "footage", PEOPLE, index=1)
    encoder.train(tmp_path / "footage", out, 0.001, resume=True, **options)  # the budget is spent
    assert json.loads((out / "provenance.json").read_text())["steps"] == first["steps"]
    before = torch.load(tmp_path / "work" / "checkpoint.pt", weights_only=True)["seconds"]
    options["export_every"] = 1.0
    encoder.train(tmp_path / "footage", out, before / 60 + 0.01, resume=True, **options)
    second = json.loads((out / "provenance.json").read_text())
    assert second["steps"] > first["steps"] and second["pictures"] > first["pictures"]
    saved = torch.load(tmp_path / "work" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == second["steps"] and saved["seconds"] >= before + 0.6

    ours = backbones.load(out)
    assert ours.spec.image_size == 128 and ours.spec.feature_dim == WIDTH
    pixels = backbones.preprocess(ours.spec)(np.full((256, 256, 3), 90, np.uint8))
    theirs = CLIPVisionModel.from_pretrained(out).float().eval()
    with torch.no_grad():
        features = ours(pixels)
        torch.testing.assert_close(theirs(pixel_values=pixels).pooler_output, features)
    assert features.isfinite().all()
    trained = {k.removeprefix("vision."): v for k, v in saved["model"].items()}
    for name, value in ours.vision.state_dict().items():
        torch.testing.assert_close(value, trained[name].half().float())


def test_resumed_weights_are_those_that_were_saved(tmp_path):
    write_footage(tmp_path / "footage", PEOPLE)
    options = {"batch": 8, "work": tmp_path / "work", "device": "cpu"}
    encoder.train(tmp_path / "footage", tmp_path / "out", 0.002, **options)
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    encoder.train(tmp_path / "footage", tmp_path / "out", 0.0, resume=True, seed=5, **options)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_a_run_may_start_from_an_exported_encoder(tmp_path):
    write_footage(tmp_path / "footage", PEOPLE)
    options = {"batch": 8, "work": tmp_path / "work", "device": "cpu"}
    folder = tmp_path / "first"
    encoder.train(tmp_path / "footage", folder, 0.0, **options)
    assert encoder.main(
        ["--footage", str(tmp_path / "footage"), "--out", str(tmp_path / "next"), "--minutes", "0",
         "--work", str(tmp_path / "w"), "--batch", "8", "--seed", "5", "--start", str(folder)]
    ) == 0  # fmt: skip
    first = load_file(folder / "model.safetensors")
    then = load_file(tmp_path / "next" / "model.safetensors")
    assert first.keys() == then.keys()
    assert all(torch.equal(value, then[name]) for name, value in first.items())
    heads = [
        torch.load(tmp_path / work / "checkpoint.pt", weights_only=True)["model"]["dense.1.weight"]
        for work in ("work", "w")
    ]
    assert (heads[0] != heads[1]).any()  # seed 5: only the encoder was taken


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    n = 2 * len(PEOPLE)
    texture = np.full((n, 64, targets.N_TEXTURE), np.nan, np.float16)
    write_footage(tmp_path / "footage", PEOPLE, texture=texture)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0; lower --peak"):
        encoder.train(tmp_path / "footage", tmp_path / "out", 0.01, work=tmp_path / "w", batch=8)
    assert not (tmp_path / "out").exists()


def test_recipe_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="gendkit weights footage --out"):
        encoder.train(tmp_path, tmp_path / "out", 0.01)
    write_footage(tmp_path / "footage", PEOPLE)
    with pytest.raises(FileNotFoundError, match="without --resume"):
        encoder.train(tmp_path / "footage", tmp_path / "out", work=tmp_path / "w", resume=True)
    with pytest.raises(FileNotFoundError, match="--start needs a folder that this recipe exported"):
        encoder.train(tmp_path / "footage", tmp_path / "out", start=tmp_path / "none")
    with pytest.raises(ValueError, match="--batch is 34, expected a multiple of 4"):
        encoder.train(tmp_path / "footage", tmp_path / "out", batch=34)
    assert not (tmp_path / "out").exists()
