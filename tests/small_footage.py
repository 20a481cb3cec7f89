"""Tiny synthetic renders and footage for the tests of `gendkit.pretrain`."""

from pathlib import Path

import numpy as np

from gendkit.pretrain import targets
from gendkit.pretrain.footage import CAMERA


def points(rng: np.random.Generator) -> np.ndarray:
    """68 points (68, 2) whose five main ones are the template, turned and scaled."""
    turn = rng.uniform(150, 190) * np.exp(1j * rng.normal(0, 0.1))
    five = turn * ((targets.TEMPLATE - 0.5) @ [1, 1j]) + 128 + 128j + rng.normal(0, 5)
    five = np.stack([five.real, five.imag], axis=1)
    out = rng.uniform(70, 190, (68, 2))
    out[36:42], out[42:48] = five[0], five[1]
    out[[30, 48, 54]] = five[2:]
    return out


def picture(rng: np.random.Generator) -> np.ndarray:
    """A (256, 256, 3) uint8 picture of coloured squares."""
    return np.kron(rng.integers(30, 226, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def facts(identities: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers behind pictures; the first one of `identity` is the number of the person."""
    n = len(identities)
    identity = np.column_stack([identities, rng.normal(size=(n, 2))])
    sizes = {"expression": 4, "pose": 3, "light": 2}
    return {"identity": identity.astype(np.float32)} | {
        name: rng.normal(size=(n, size)).astype(np.float32) for name, size in sizes.items()
    }


def write_renders(folder: Path, index: int = 0, n: int = 2) -> Path:
    """Write `shard-*.npz` as the generator does."""
    rng = np.random.default_rng([7, index])
    folder.mkdir(parents=True, exist_ok=True)
    who = np.arange(n) + n * index
    path = folder / f"shard-{index:05d}.npz"
    np.savez(
        path,
        images=np.stack([picture(rng) for _ in range(n)]),
        landmarks=np.stack([points(rng) for _ in range(n)]).astype(np.float32),
        identity_id=who,
        **facts(who, rng),
    )
    return path


def write_footage(
    folder: Path, identities: list[int], index: int = 0, n_plain: int = 0, **columns: np.ndarray
) -> Path:
    """Write `footage-*.npz`: twins for each identity named, then twins without a person.

    Twins (rows 2k and 2k + 1) share everything but images, maps and texture; the last number of `camera`
    counts the films.
    """
    rng = np.random.default_rng([8, index])
    folder.mkdir(parents=True, exist_ok=True)
    who = np.array([*identities, *[-1] * n_plain])
    films, cells, size = len(who), targets.GRID**2, targets.SIZE
    camera = rng.random((films, len(CAMERA))).astype(np.float32)
    camera[:, -1] = 1000 * index + np.arange(films)
    shared = {
        "landmarks": rng.normal(0, 0.2, (films, 136)).astype(np.float32),
        "camera": camera,
        "identity_id": who,
    } | facts(who, rng)
    for name in ("landmarks", "identity", "expression", "pose", "light"):
        shared[name][who < 0] = np.nan
    n = 2 * films
    table = {
        "images": rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        "maps": rng.random((n, cells, 7)).astype(np.float16),
        "texture": rng.normal(size=(n, cells, targets.N_TEXTURE)).astype(np.float16),
    } | {name: np.repeat(values, 2, axis=0) for name, values in shared.items()}
    path = folder / f"footage-00-{index:05d}.npz"
    np.savez(path, **(table | columns))
    return path
