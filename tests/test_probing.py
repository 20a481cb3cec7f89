"""Probes on features whose content is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import make_crops, tiny_model

from gendkit import backbones, evaluate, probing


def table(n_people=30):
    rows = [
        {"dataset": "toy", "method": m, "compression": "c23", "video_id": f"p{p}", "source_id": f"p{p}",
         "role": ("fit", "select", "report")[p % 3], "label": int(m != "real"), "frame": f}
        for p in range(n_people) for m in ("real", "DF") for f in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_both_vectors_in_one_pass(tmp_path):
    root, crops = make_crops(tmp_path / "crops")
    model = tiny_model(tune="")
    both = evaluate.cache_features(probing.TokenMean(model.encoder), crops, root)
    np.testing.assert_allclose(both[:, :16], evaluate.cache_features(model, crops, root), atol=1e-6)
    prepare = backbones.preprocess(model.encoder.spec)
    from PIL import Image

    image = np.asarray(Image.open(root / crops.path[0]))
    with torch.inference_mode():
        mean = model.encoder.tokens(prepare([image])).mean(1)[0].numpy()
    np.testing.assert_allclose(both[0, 16:], mean, atol=1e-5)


def test_anatomy_adds_up_and_knows_clip():
    with torch.device("meta"):
        parts = probing.anatomy(backbones.load("clip-l14", pretrained=False))
    names = ["patch layer", "positions, class token", "LayerNorms", "attention", "MLPs"]
    assert parts[names].sum() == parts["parameters"] == 303_179_776
    assert parts["LayerNorms"] == 102_400 and parts["LayerNorm layers"] == 50
    assert parts["tokens"] == 257
    assert parts["patch layer"] == 3 * 14 * 14 * 1024


def test_path_learns_what_is_there_and_overfits_when_let():
    crops = table()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(crops), 40))
    features[:, 0] += 4 * crops.label
    path = probing.regularisation_path(features, crops, [1e-3, 10.0], n_bootstrap=20)
    assert list(path.role) == ["fit", "select"] * 2
    fit = path[path.role == "fit"].auroc.to_numpy()
    assert fit[1] >= fit[0] and path.norm.iloc[-1] > path.norm.iloc[0]
    assert path[path.role == "select"].auroc.max() > 0.75
    assert ((path.low <= path.auroc) & (path.auroc <= path.high)).all()


def test_attributes_that_are_there_and_not_there():
    rng = np.random.default_rng(0)
    n = 90
    yaw, glasses = rng.normal(size=n), rng.random(n) < 0.3
    inside = np.c_[2 * yaw, glasses + 0.1 * rng.normal(size=n), rng.normal(size=(n, 5))]
    targets = pd.DataFrame({"yaw": yaw, "glasses": glasses})
    found = probing.attribute_probes(
        {"inside": inside, "noise": rng.normal(size=(n, 7))}, targets, np.arange(n) // 3, n_bootstrap=100
    ).set_index(["attribute", "features"])  # fmt: skip
    assert found.value["yaw", "inside"] > 0.95 and found.value["glasses", "inside"] > 0.95
    assert abs(found.value["yaw", "noise"]) < 0.2
    # without the training mean taken off, this one would lie far below one half
    assert found.low["glasses", "noise"] < 0.5 < found.high["glasses", "noise"] + 0.1
    assert found.n_yes["glasses", "noise"] == glasses.sum()


def test_unpredictable_yes_no_is_at_chance_not_below():
    rng = np.random.default_rng(1)
    values = []
    for _ in range(8):
        targets = pd.DataFrame({"x": rng.permutation(np.arange(60) < 15)})
        noise = {"noise": rng.normal(size=(60, 4))}
        values.append(
            probing.attribute_probes(noise, targets, np.arange(60), n_bootstrap=2).value[0]
        )
    # 8 draws of an AUROC with standard deviation near 0.09
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_variance_shares_of_a_made_up_layout():
    crops = table(12)
    rng = np.random.default_rng(0)
    person = pd.factorize(crops.source_id)[0]
    code = rng.normal(size=12)
    shares = probing.variance_shares((code[person])[:, None], crops)
    assert shares["person"] == pytest.approx(1)
    shares = probing.variance_shares(crops.label.to_numpy(float)[:, None], crops)
    assert shares["real or fake"] == pytest.approx(1)
    mixed = np.c_[code[person], crops.label, crops.frame, rng.normal(size=len(crops))]
    shares = probing.variance_shares(mixed, crops)
    assert shares.sum() == pytest.approx(1) and (shares > -1e-12).all()
    assert shares["manipulation"] == pytest.approx(0, abs=1e-12)  # one manipulation is the class


def test_per_person_keeps_the_order_asked_for():
    means = probing.per_person(np.array([[1.0], [3.0], [7.0]]), ["b", "b", "a"], ["b", "a"])
    assert means.index.tolist() == ["b", "a"] and means[0].tolist() == [2.0, 7.0]


def test_bad_input():
    with pytest.raises(ValueError, match="both 0 and 1"):
        probing.fit_probe(np.ones((4, 2)), np.zeros(4, int))
    with pytest.raises(ValueError, match="strength=0"):
        probing.fit_probe(np.eye(4), np.array([0, 1, 0, 1]), 0)
    with pytest.raises(ValueError, match="expected equal"):
        probing.probe_scores(None, np.ones((3, 2)), table())
    targets = pd.DataFrame({"a": [True] * 12})
    with pytest.raises(ValueError, match="same 'a'"):
        probing.attribute_probes({"x": np.ones((12, 2))}, targets, range(12))
    with pytest.raises(ValueError, match="one row per person"):
        probing.attribute_probes({"x": np.ones((5, 2))}, targets, range(12))
