"""Spectra: waves of known size land in their ring; a blurred copy loses what theory says."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gendkit import spectra


def grey(values):
    return np.repeat(np.clip(np.round(values), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("cycles", [0.1, 0.24, 0.4])
def test_a_wave_lands_in_its_ring(cycles):
    x = np.arange(128)
    wave = 128 + 60 * np.sin(2 * np.pi * cycles * x)[None, :] * np.ones((128, 1))
    power = spectra.radial_power(grey(wave), n_bins=32)
    assert abs(spectra.frequencies(32)[power.argmax()] - cycles) < 1 / 64


def test_white_noise_is_flat_with_its_variance():
    noise = 128 + 10 * np.random.default_rng(0).normal(size=(128, 128))
    power = np.exp(spectra.radial_power(grey(noise), 32)) - spectra.FLOOR
    # rings of few frequencies scatter more; the mean holds to some per cent
    assert power[4:].mean() == pytest.approx(100, rel=0.08)


def crops(tmp_path):
    rng, rows = np.random.default_rng(1), []
    for person in range(5):
        face = gaussian_filter(128 + 60 * rng.normal(size=(96, 96)), 0.8)
        soft = gaussian_filter(face, 1.0)
        for method, image in (("real", face), ("DF", soft), ("NT", face)):
            path = f"{method}{person}.png"
            Image.fromarray(grey(image)).save(tmp_path / path)
            rows.append({"path": path, "dataset": "toy", "source_id": f"p{person}", "frame": 0,
                         "method": method, "label": int(method != "real")})  # fmt: skip
    return pd.DataFrame(rows)


def test_change_against_the_transfer_function_of_a_blur(tmp_path):
    table = crops(tmp_path)
    power = spectra.spectra(table, tmp_path, n_bins=16)
    change = spectra.paired_change(table, power, n_bootstrap=50)
    blurred = change[(change.method == "DF") & (change.frequency.between(0.08, 0.2))]
    # power of a Gaussian blur of sigma 1: exp(-(2 pi f)^2); rings have a width
    expected = -((2 * np.pi * blurred.frequency) ** 2)
    np.testing.assert_allclose(blurred.change, expected, rtol=0.15, atol=0.05)
    same = change[change.method == "NT"]
    assert (same.change == 0).all() and (same.low == 0).all() and (same.n_people == 5).all()
    assert (change.low <= change.change).all() and (change.change <= change.high).all()


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="square crop"):
        spectra.radial_power(np.zeros((64, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="at most 22 bins"):
        spectra.radial_power(np.zeros((64, 64, 3), np.uint8), n_bins=32)
    table = crops(tmp_path)
    with pytest.raises(ValueError, match="equal numbers"):
        spectra.paired_change(table, np.zeros((3, 4)))
    with pytest.raises(ValueError, match="same frame of its real"):
        spectra.paired_change(table[table.label == 1], np.zeros((10, 4)), methods=["DF"])
