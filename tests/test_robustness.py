"""Levels, sweeps and bands against plain arithmetic."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import tiny_model

from gendkit import evaluate, metrics, robustness, transforms

RNG = np.random.default_rng(0)


def image(seed=0, side=40):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def rows(people=6):
    return pd.DataFrame([
        {"path": f"{method}{k}.png", "dataset": "toy", "method": method, "compression": "c23",
         "video_id": str(k), "source_id": str(k), "role": "report", "label": int(method != "real"),
         "frame": 0}
        for k in range(people) for method in ("real", "DF")
    ])  # fmt: skip


def brightness(images):
    return {"bright": np.array([i.mean() / 255 for i in images]), "half": np.full(len(images), 0.5)}


def test_the_grid_is_the_papers():
    levels = robustness.grid()
    assert levels["value"][levels["corruption"] == "jpeg"].tolist() == [100, 80, 60, 40, 20, 10]
    assert levels["value"][levels["corruption"] == "resize"].tolist() == [224, 112, 64]
    assert levels["value"][levels["harmless"]].tolist() == [0.0, 0.0]
    assert len(robustness.grid(["resize"], None)) == 18
    for row in levels.to_dict("records"):
        options = transforms.CORRUPTIONS[row["corruption"]][row["level"]]
        assert row["value"] in options.values() and row["filter"] in (*options.values(), "")
    with pytest.raises(ValueError, match="'fog'"):
        robustness.grid(["fog"])
    with pytest.raises(ValueError, match="interpolation='cubic'"):
        robustness.grid(["resize"], "cubic")


def test_conditions_do_what_their_name_says():
    made = robustness.conditions(robustness.grid())
    assert {"jpeg 40", "blur 0.5", "resize 64 bilinear", "noise 0.01"} <= set(made)
    assert "noise 0" not in made and len(made) == 6 + 5 + 3 + 5
    one = image()
    np.testing.assert_array_equal(made["jpeg 40"](one, RNG), transforms.jpeg(one, 40))
    assert made["resize 64 bilinear"](one, RNG).shape == (64, 64, 3)


def test_a_sweep_scores_the_changed_images():
    table = rows()
    images = [image(k) for k in range(len(table))]
    changes = {"dark": lambda i, rng: i // 2, "noise": lambda i, rng: transforms.noise(i, 0.1, rng)}
    found = robustness.sweep(images, table, [brightness], changes)
    assert found["condition"].unique().tolist() == ["clean", "dark", "noise"]
    dark = found[(found["condition"] == "dark") & (found["model"] == "bright")]["p_fake"]
    np.testing.assert_allclose(dark, [(i // 2).mean() / 255 for i in images])
    alone = robustness.sweep(images, table, [brightness], {"noise": changes["noise"]})
    both = [t[t["condition"] == "noise"]["p_fake"].tolist() for t in (found, alone)]
    assert both[0] == both[1]
    with pytest.raises(ValueError, match="3 images and 12 rows"):
        robustness.sweep(images[:3], table, [brightness], {})
    with pytest.raises(ValueError, match="untouched"):
        robustness.sweep(images, table, [brightness], {"clean": changes["dark"]})
    with pytest.raises(ValueError, match="bad under 'clean'"):
        robustness.sweep(images, table, [lambda i: {"bad": np.full(len(i), 2.0)}], {})


def test_curves_against_metrics():
    table, rng = rows(30), np.random.default_rng(0)
    parts = []
    for condition, lift in (("clean", 0.3), ("weak", 0.1), ("gone", 0.0)):
        p_fake = np.clip(0.3 + lift * table["label"] + rng.uniform(0, 0.4, len(table)), 0, 1)
        parts.append(table.assign(p_fake=p_fake, model="m", condition=condition))
    found = robustness.curves(pd.concat(parts), 200).set_index("condition")
    areas = [metrics.auroc(p["label"], p["p_fake"]) for p in parts]
    assert found["auroc"].tolist() == pytest.approx(areas)
    assert found.loc["clean", ["change", "change_low", "change_high", "lost"]].tolist() == [0] * 4
    assert found.loc["weak", "change"] == pytest.approx(areas[1] - areas[0])
    assert found.loc["weak", "change_low"] < areas[1] - areas[0] < found.loc["weak", "change_high"]
    assert found.loc["weak", "lost"] == pytest.approx((areas[0] - areas[1]) / (areas[0] - 0.5))
    with pytest.raises(ValueError, match="'clean'"):
        robustness.curves(parts[1], 10)


def test_harmless_levels_take_the_clean_values():
    levels = robustness.grid(["noise"])
    names = ["clean", *robustness.conditions(levels)]
    found = pd.DataFrame({"model": ["b"] * 6 + ["a"] * 6, "condition": names * 2,
                          "auroc": np.arange(12) / 12})  # fmt: skip
    placed = robustness.on_grid(levels, found)
    assert placed["model"].tolist() == ["b"] * 6 + ["a"] * 6
    assert placed["auroc"].tolist() == found["auroc"].tolist()
    assert placed["value"].tolist()[:6] == [0, 0.01, 0.03, 0.05, 0.1, 0.2]
    with pytest.raises(ValueError, match="jpeg 10"):
        robustness.on_grid(robustness.grid(["jpeg"]), found)


def test_encode_and_decode_equal_evaluate(tmp_path):
    table, model = rows(3), tiny_model(tune="").train()
    for k, path in enumerate(table["path"]):
        Image.fromarray(image(k)).save(tmp_path / path)
    images = robustness.decode(table, tmp_path)
    np.testing.assert_array_equal(images[1], image(1))
    found = robustness.encode(model, images, batch_size=4)
    assert model.training
    scores = evaluate.score(model, table, tmp_path, device="cpu")["p_fake"]
    np.testing.assert_allclose(found["p_fake"], scores, atol=1e-6)
    features = evaluate.cache_features(model, table, tmp_path, device="cpu")
    np.testing.assert_allclose(found["features"], features, atol=1e-5)
    with pytest.raises(ValueError, match="no images"):
        robustness.encode(model, [])


def test_bands_add_up_and_move_between_images():
    real, fake, sigmas = image(1), image(2), (1.0, 2.0, 4.0)
    parts = robustness.bands(real, sigmas)
    assert parts.shape == (4, 40, 40, 3)
    np.testing.assert_allclose(parts.sum(axis=0), real, atol=1e-3)
    none, one, every = robustness.transplant(real, fake, [[], [1], range(4)], sigmas)
    np.testing.assert_array_equal(none, real)
    np.testing.assert_array_equal(every, fake)
    wanted = real + robustness.bands(fake.astype(float) - real, sigmas)[1]
    np.testing.assert_allclose(one, np.clip(wanted, 0, 255), atol=0.51)
    energies = robustness.band_energies(real, sigmas)
    np.testing.assert_allclose(
        energies, [np.mean(p.astype(float) ** 2) for p in parts[:-1]], rtol=1e-5
    )
    with pytest.raises(ValueError, match="increasing"):
        robustness.bands(real, (2.0, 1.0))
    with pytest.raises(ValueError, match="from 0 to 3"):
        robustness.transplant(real, fake, [[4]], sigmas)
    with pytest.raises(ValueError, match="one size"):
        robustness.transplant(real, fake[:20], [[0]], sigmas)


@pytest.mark.parametrize("sigma", [0.8, 2.0])
def test_half_power_is_where_a_blurred_wave_has_half_its_energy(sigma):
    wave = np.cos(2 * np.pi * robustness.half_power(sigma) * np.arange(4001))
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(wave, sigma, truncate=8)[1000:3000]
    assert np.mean(blurred**2) == pytest.approx(np.mean(wave[1000:3000] ** 2) / 2, rel=0.02)
    with pytest.raises(ValueError, match="positive"):
        robustness.half_power(0)
