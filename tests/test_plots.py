"""Figures: what is drawn, what they say about themselves, how large they are."""

import base64
import io
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from gendkit import plots

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], 30)
SCORES = np.clip(LABELS * 0.3 + RNG.uniform(0, 0.7, 60), 0, 1)


def videos():
    method = np.where(LABELS == 0, "real", np.where(np.arange(60) % 2, "DF", "NT"))
    return pd.DataFrame({"label": LABELS, "method": method, "p_fake": SCORES})


def report():
    return pd.DataFrame({
        "dataset": "toy", "method": ["DF", "NT", "pooled"], "level": "video", "n_real": 30,
        "n_fake": [15, 15, 30], "auroc": [0.8, 0.7, 0.75], "low": [0.7, 0.55, 0.66],
        "high": [0.9, 0.8, 0.83],
    })  # fmt: skip


def history():
    return pd.DataFrame({
        "epoch": [1.0, 2.0, 3.0], "step": [5, 10, 15], "loss": [0.9, 0.7, 0.6],
        "loss_uniformity": [-1.0, -1.1, -1.2], "select_auroc": [0.6, 0.9, 0.8],
        "select_map": [0.5, 0.7, 0.8],
    })  # fmt: skip


def timeline():
    return pd.DataFrame(
        {
            "method": ["real"] * 4 + ["FS"] * 4,
            "frame": [3, 1, 0, 2] * 2,
            "p_fake": np.arange(8) / 10,
        }
    )


def sphere_points(n):
    points = np.random.default_rng(1).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def image(height=40, width=60):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def angles():
    return SimpleNamespace(edges=np.linspace(0, 180, 13), within=np.full(12, 1 / 180),
                           between=np.full(12, 1 / 180), n={0: 20, 1: 30})  # fmt: skip


FIGURES = {
    "roc": lambda **k: plots.roc(videos(), **k),
    "forest": lambda **k: plots.forest(report(), **k),
    "score_histogram": lambda **k: plots.score_histogram(LABELS, SCORES, threshold=0.5, **k),
    "score_lines": lambda **k: plots.score_lines(timeline(), threshold=0.4, **k),
    "sphere": lambda **k: plots.sphere(sphere_points(60), LABELS, **k),
    "angle_histogram": lambda **k: plots.angle_histogram(angles(), **k),
    "training_curves": lambda **k: plots.training_curves(history(), **k),
    "contact_sheet": lambda **k: plots.contact_sheet([image()] * 7, list("abcdefg"), **k),
    "face_overlay": lambda **k: plots.face_overlay(
        image(), (5, 5, 30, 35), RNG.uniform(5, 35, (68, 2)), RNG.uniform(5, 35, (5, 2)), **k
    ),
    "calibration": lambda **k: plots.calibration(LABELS, SCORES, **k),
    "parameter_bars": lambda **k: plots.parameter_bars(
        {"norms": 104_450, "all": 10**8}, 10**8, **k
    ),
}
NO_AXES = {"sphere", "contact_sheet"}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_is(name):
    fig = FIGURES[name](title="The message", profile="demo", caption="seed 3")
    assert isinstance(fig, go.Figure) and fig.layout.title.text == "The message"
    subtitle = fig.layout.title.subtitle.text
    assert "profile demo" in subtitle and "seed 3" in subtitle
    assert any(character.isdigit() for character in subtitle.replace("seed 3", ""))  # n
    alt = fig.layout.meta["alt"]
    assert "The message" in alt and subtitle in alt and alt == plots.describe(fig)
    if name not in NO_AXES:
        axes = [a for a in fig.layout.to_plotly_json() if a.startswith(("xaxis", "yaxis"))]
        titled = [a for a in axes if fig.layout[a].title.text]
        # names of methods and of parameter groups need no axis title
        assert len(titled) == len(axes) - (name in ("forest", "parameter_bars"))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_small_and_complete(name):
    text = FIGURES[name]().to_json()
    assert len(text) < 100_000
    for trace in FIGURES[name]().data:
        for axis in (trace.x, trace.y):
            if isinstance(axis, np.ndarray) and axis.dtype.kind == "f":
                assert axis.dtype == np.float32
    go.Figure(FIGURES[name]().to_dict())  # what is written can be read


def linear(color):
    """sRGB text to linear light."""
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# Full deuteranopia and protanopia in linear RGB: Machado, Oliveira and Fernandes 2009, table 1.
BLIND = [
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
]


@pytest.mark.parametrize("matrix", [np.eye(3), *map(np.array, BLIND)])
def test_colours_stay_apart_for_the_colour_blind(matrix):
    assert (plots.REAL, plots.FAKE) == ("#0072B2", "#D55E00")
    shown = {name: matrix @ linear(c) for name, c in plots.METHOD_COLORS.items()}
    shown["fake"] = matrix @ linear(plots.FAKE)
    assert np.linalg.norm(shown["real"] - shown["fake"]) > 0.35
    for a, b in itertools.combinations(shown, 2):
        assert np.linalg.norm(shown[a] - shown[b]) > 0.08, (a, b)


def test_methods_have_fixed_colours():
    assert plots.method_color("DF") == plots.METHOD_COLORS["DF"]
    assert plots.method_color("blend-7") == plots.method_color("blend-7")
    colors = {t.name: t.line.color for t in plots.roc(videos()).data if t.name}
    assert colors == {name: plots.method_color(name) for name in ("DF", "NT")}


def test_roc_equals_a_slow_loop():
    fig = plots.roc({"a": ([0, 0, 1, 1, 1], [0.1, 0.5, 0.5, 0.9, 0.9])})
    curve = fig.data[1]
    points = {(0.0, 0.0)}
    for threshold in (0.9, 0.5, 0.1):
        tpr = np.mean([s >= threshold for s in (0.5, 0.9, 0.9)])
        fpr = np.mean([s >= threshold for s in (0.1, 0.5)])
        points.add((fpr, tpr))
    drawn = set(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
    assert drawn == {tuple(np.float32(p).tolist()) for p in points}
    area = np.trapezoid(curve.y, curve.x)
    assert area == pytest.approx((1 + 1 + 1 + 1 + 0.5 + 1) / 6, abs=1e-6)


def test_forest_draws_values_intervals_and_chance():
    fig = plots.forest(report())
    assert [t.y[0] for t in fig.data] == ["DF", "NT", "pooled"]
    first = fig.data[0]
    assert first.x[0] + first.error_x.array[0] == pytest.approx(0.9)
    assert first.x[0] - first.error_x.arrayminus[0] == pytest.approx(0.7)
    assert [s.x0 for s in fig.layout.shapes] == [0.5]
    assert "30 real videos" in fig.layout.title.subtitle.text
    two = pd.concat([report(), report().assign(dataset="other")])
    assert plots.forest(two).data[0].y[0] == "toy · DF"
    assert plots.auroc_table is plots.forest
    with pytest.raises(ValueError, match=r"missing \['low'\]"):
        plots.forest(report().drop(columns="low"))


def test_histogram_shares_sum_to_one_per_class():
    fig = plots.score_histogram(LABELS, SCORES, n_bins=7)
    assert [t.name for t in fig.data] == ["real", "fake"]
    assert [t.marker.color for t in fig.data] == [plots.REAL, plots.FAKE]
    assert all(t.y.sum() == pytest.approx(1, abs=1e-6) for t in fig.data)
    assert "30 real videos · 30 fake videos" in fig.layout.title.subtitle.text
    one = plots.score_histogram([1], [0.7])
    assert "1 fake video " in one.layout.title.subtitle.text + " "


def test_sphere_points_and_sampling():
    points = sphere_points(5000)
    labels = np.arange(5000) % 2
    names = [f"crop {i}" for i in range(5000)]
    fig = plots.sphere(points, labels, names=names)
    wire, real, fake = fig.data
    assert wire.mode == "lines" and (real.name, fake.name) == ("real", "fake")
    assert real.marker.symbol != fake.marker.symbol
    assert len(real.x) + len(fake.x) == 2000 == plots.MAX_POINTS
    subtitle = fig.layout.title.subtitle.text
    assert "2,000 of 5,000 shown" in subtitle and "2,500 real crops" in subtitle
    row = int(real.text[3].removeprefix("crop "))
    np.testing.assert_allclose([real.x[3], real.y[3], real.z[3]], points[row], atol=1e-6)
    assert labels[row] == 0
    lines = np.stack([wire.x, wire.y, wire.z], axis=1)
    lengths = np.linalg.norm(lines[~np.isnan(lines).any(axis=1)], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert len(fig.to_json()) < 150_000
    with pytest.raises(ValueError, match="unit vectors"):
        plots.sphere(points * 2, labels)
    with pytest.raises(ValueError, match="expected two equal"):
        plots.sphere(points, labels[:-1])


def test_score_lines_go_in_frame_order():
    fig = plots.score_lines(timeline(), threshold=0.4)
    real, fake = fig.data
    assert (real.name, fake.name) == ("real", "FS") and real.line.color == plots.REAL
    assert real.x.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(real.y, [0.2, 0.1, 0.3, 0.0], atol=1e-6)
    assert [s.y0 for s in fig.layout.shapes] == [0.4]
    assert "2 videos · 8 frames" in fig.layout.title.subtitle.text
    with pytest.raises(ValueError, match="method.*frame.*p_fake"):
        plots.score_lines(timeline().drop(columns="frame"))


def test_a_table_may_stand_for_labels_and_scores():
    for draw in (plots.score_histogram, plots.calibration):
        assert draw(videos()).to_json() == draw(LABELS, SCORES).to_json()
    with pytest.raises(ValueError, match="table with the columns label and p_fake"):
        plots.calibration([0, 1])


def test_names_of_a_filtered_table_are_taken_by_position():
    names = pd.Series(["a", "b"], index=[7, 3])
    fig = plots.sphere(sphere_points(2), [0, 1], names)
    assert [t.text for t in fig.data[1:]] == [("a",), ("b",)]


def test_training_curves_mark_the_chosen_epoch():
    fig = plots.training_curves(history())
    star = next(t for t in fig.data if t.name == "chosen epoch")
    assert (star.x[0], star.y[0]) == (2, np.float32(0.9))
    assert "chosen: epoch 2" in fig.layout.title.subtitle.text
    assert {"loss", "loss: uniformity", "select auroc"} <= {t.name for t in fig.data}
    fig = plots.training_curves(history(), metric="map")
    assert next(t for t in fig.data if t.name == "chosen epoch").x[0] == 3
    with pytest.raises(ValueError, match="select_auroc"):
        plots.training_curves(history().drop(columns="select_auroc"))


def decode(uri):
    kind, data = uri.removeprefix("data:").split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def test_images_are_packed_small_or_exact():
    picture = image(300, 200)
    kind, small = decode(plots.data_uri(picture, max_side=100))
    assert kind == "image/jpeg" and small.size == (67, 100)
    kind, exact = decode(plots.data_uri(picture, max_side=300, kind="png"))
    assert kind == "image/png" and np.array_equal(np.asarray(exact), picture)
    for wrong in (picture.astype(float), picture[..., 0], picture[:0]):
        with pytest.raises(ValueError, match="uint8 RGB"):
            plots.data_uri(wrong)
    with pytest.raises(ValueError, match="'jpeg' or 'png'"):
        plots.data_uri(picture, kind="gif")


def test_contact_sheet_places_every_image_with_its_caption():
    fig = plots.contact_sheet([image() for _ in range(5)], list("abcde"), n_columns=3)
    assert len(fig.layout.images) == 5 and "5 images" in fig.layout.title.subtitle.text
    assert [round(i.x - 0.02) for i in fig.layout.images] == [0, 1, 2, 0, 1]
    assert len({i.y for i in fig.layout.images}) == 2
    assert [a.text for a in fig.layout.annotations] == list("abcde")
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1]  # first row on top
    assert "5 images" in fig.layout.meta["alt"]
    shape = (fig.layout.yaxis.range[0], fig.layout.xaxis.range[1])
    assert fig.layout.meta["aspect"] == pytest.approx(shape[0] / shape[1])
    with pytest.raises(ValueError, match="2 images and 1 captions"):
        plots.contact_sheet([image()] * 2, ["a"])


def test_face_overlay_uses_pixel_coordinates():
    fig = FIGURES["face_overlay"]()
    picture = fig.layout.images[0]
    # pixel centres are integers, so 60 x 40 pixels cover -0.5 to 59.5 and -0.5 to 39.5
    assert (picture.x, picture.y, picture.sizex, picture.sizey) == (-0.5, -0.5, 60, 40)
    assert tuple(fig.layout.xaxis.range) == (-0.5, 59.5)
    assert tuple(fig.layout.yaxis.range) == (39.5, -0.5)
    shown = {t.name: t for t in fig.data}
    assert len(shown["landmarks"].x) == 68 and len(shown["five points"].x) == 5
    assert shown["box"].x.tolist() == [5, 30, 30, 5, 5]
    assert plots.face_overlay(image()).data == ()


def test_calibration_equals_explicit_bins():
    fig = plots.calibration(LABELS, SCORES, n_bins=4)
    observed = next(t for t in fig.data if t.name == "observed")
    for k, (x, y) in enumerate(zip(observed.x, observed.y, strict=True)):
        inside = (SCORES >= k / 4) & (SCORES < (k + 1) / 4)
        assert x == pytest.approx(SCORES[inside].mean(), abs=1e-6)
        assert y == pytest.approx(LABELS[inside].mean(), abs=1e-6)
        assert observed.text[k] == str(inside.sum())
    # Wilson's interval for 0 of 10: 0 to 0.2775
    fig = plots.calibration([0] * 10 + [1], [0.05] * 10 + [0.95])
    assert fig.data[1].error_y.array[0] == pytest.approx(0.2775, abs=1e-4)
    assert fig.data[1].error_y.arrayminus[0] == pytest.approx(0, abs=1e-6)


def test_parameter_bars_print_exact_counts():
    fig = FIGURES["parameter_bars"]()
    assert fig.data[0].text[0] == "104,450 (0.104%)" and fig.layout.xaxis.type == "log"
    assert "100,000,000" in fig.layout.title.subtitle.text
    with pytest.raises(ValueError, match=r"drop \['none'\]"):
        plots.parameter_bars({"none": 0}, 10)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="0 reals and 2 fakes"):
        plots.roc({"a": ([1, 1], [0.1, 0.2])})
    with pytest.raises(ValueError, match="score fakes too"):
        plots.roc(videos()[lambda t: t["label"] == 0])
    with pytest.raises(ValueError, match="finite"):
        plots.score_histogram([0, 1], [0.1, float("nan")])
    with pytest.raises(ValueError, match="labels must be 0"):
        plots.calibration([0, 2], [0.1, 0.2])
