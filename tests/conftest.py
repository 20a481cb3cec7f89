"""Shared by all tests: no network, one thread, tiny tables."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch load
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import ipaddress  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402

DATA = Path(__file__).parent / "data"


class NetworkBlockedError(RuntimeError):
    """A test tried to reach the network."""


def _is_local(sock: socket.socket, address: object) -> bool:
    if sock.family == getattr(socket, "AF_UNIX", None):
        return True
    host = address[0] if isinstance(address, tuple) and address else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuse every connection and look-up that leaves this machine (unless marked network)."""
    if request.node.get_closest_marker("network"):
        yield
        return
    hint = "mark it with pytest.mark.network, or use the files under tests/data"

    def guard(name):
        real = getattr(socket.socket, name)

        def call(self, *args):
            # sendto is (data, address) or (data, flags, address)
            if not _is_local(self, args[-1]):
                raise NetworkBlockedError(f"this test tried to reach {args[-1]!r}; {hint}")
            return real(self, *args)

        return call

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guard(name))
    real_lookup = socket.getaddrinfo

    def lookup(host, *args, **kwargs):
        if host not in (None, "", "localhost", b"localhost"):
            try:
                ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
            except ValueError:
                raise NetworkBlockedError(f"this test looked up {host!r}; {hint}") from None
        return real_lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield


@pytest.fixture(autouse=True)
def _one_thread():
    """Keep torch at one thread, where a test has loaded it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def data() -> Path:
    """The folder of committed test data."""
    return DATA


@pytest.fixture
def image(rng) -> np.ndarray:
    """A smooth colour image (48, 64, 3) uint8 with a gradient and a disc; nobody's face."""
    y, x = np.mgrid[:48, :64]
    base = np.stack([x * 3, y * 4, x + y], axis=-1).astype(float)
    base[(x - 40) ** 2 + (y - 20) ** 2 < 100] = (200, 60, 30)
    return np.clip(base + rng.normal(0, 2, base.shape), 0, 255).round().astype(np.uint8)


@pytest.fixture
def tiny_manifest() -> pd.DataFrame:
    """Eight sources, one real and two fakes each (FS with a neighbour as donor), three roles."""
    rows = []
    for i in range(8):
        role = "fit" if i < 4 else "select" if i < 6 else "report"
        donor = i + 1 if i % 2 == 0 else i - 1
        for method in ("real", "FS", "NT"):
            rows.append({
                "path": f"{method}/{i:03d}.mp4", "dataset": "toy", "method": method,
                "compression": "c23", "video_id": f"{i:03d}", "source_id": f"{i:03d}",
                "label": int(method != "real"), "role": role,
                "donor_id": f"{donor:03d}" if method == "FS" else "",
            })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def tiny_scores(tiny_manifest, rng) -> pd.DataFrame:
    """Four frame scores for every video of `tiny_manifest`; fakes score higher on average."""
    frames = tiny_manifest.loc[tiny_manifest.index.repeat(4)].reset_index(drop=True)
    frames["frame"] = np.tile(np.arange(4), len(tiny_manifest))
    logit = 1.2 * (2 * frames["label"] - 1) + rng.normal(0, 1.5, len(frames))
    frames["p_fake"] = 1 / (1 + np.exp(-logit))
    return frames
