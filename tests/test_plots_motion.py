"""The animated sphere: frames that draw what was given, small enough for a page."""

import json

import numpy as np
import pytest

from gendkit import plots


def frames(n_frames=20, n=60):
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(n_frames, n, 3))
    return xyz / np.linalg.norm(xyz, axis=2, keepdims=True), np.arange(n) % 2


def test_every_frame_holds_its_points_and_every_step_finds_its_frame():
    xyz, y = frames()
    readings = {"U": np.linspace(0, -2, 20)}
    fig = plots.sphere_motion(xyz, y, range(0, 200, 10), readings, title="T", profile="demo")
    assert [f.name for f in fig.frames] == [str(k) for k in range(0, 200, 10)]
    for k, frame in enumerate(fig.frames):
        assert list(frame.traces) == [1, 2]
        for label, trace in enumerate(frame.data):
            np.testing.assert_allclose(trace.x, xyz[k, y == label, 0], atol=1e-6)
            assert (
                trace.x.dtype == np.float32 and fig.data[label + 1].name == ("real", "fake")[label]
            )
    steps = fig.layout.sliders[0].steps
    assert [s.args[0][0] for s in steps] == [f.name for f in fig.frames]
    assert steps[-1].label == "step 190 · U -2.00"
    assert fig.layout.updatemenus[0].buttons[0].method == "animate"
    assert "30 real points" in fig.layout.meta["alt"] and "profile demo" in fig.layout.meta["alt"]


def test_a_film_is_small():
    xyz, y = frames()
    text = plots.sphere_motion(xyz, y, range(20)).to_json()
    assert len(text) < 80_000 and json.loads(text)["frames"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :, :2], y, range(20)), "expected \\(T, N, 3\\)"),
        (lambda x, y: (x, y + 1, range(20)), "of 0 and 1"),
        (lambda x, y: (x, y, range(3)), "3 steps"),
        (lambda x, y: (np.repeat(x, 2, axis=0), y, range(40)), "at most 20"),
        (lambda x, y: (2 * x, y, range(20)), "length 1"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        plots.sphere_motion(*change(*frames()))
