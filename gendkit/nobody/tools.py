"""Teach the networks that forge faces: some for everybody, some for one group of people; kept in a cache.

Everything is taught on rendered people that the benchmark never shows (seeds from 500,000), then, for a group, on the
reels of its members. One core, fixed seeds, safetensors caches named by a hash of their settings: a run that was
killed goes on where it was. Source: own.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gendkit.forge.networks import (
    FaceSwapper,
    Generator,
    Inpainter,
    MouthRenderer,
    Upsampler,
    repeatable,
)
from gendkit.repro import atomic_path

from . import lessons

FIRST_SEED = 500_000  # of the people in the general lessons; no benchmark has these
VERSION = 2  # raise it when the recipe changes, so that old caches are not used
PEOPLE_A_PART = 20
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Steps:
    """How long each network is taught, in steps."""

    upsampler: int = 200
    inpainter: int = 260
    generator: int = 170
    swapper: int = 140
    renderer: int = 140
    group_swapper: int = 140
    group_renderer: int = 110


@dataclass(frozen=True)
class General:
    """The networks that everybody shares; the last two are the start of each group's own."""

    upsampler: Upsampler
    inpainter: Inpainter
    generator: Generator
    swapper: FaceSwapper
    renderer: MouthRenderer


@dataclass(frozen=True)
class GroupTools:
    """What a group's forgeries need; people are numbered as their reels were given."""

    swapper: FaceSwapper
    renderer: MouthRenderer


def general(
    folder: str | Path,
    seed: int = 0,
    people: int = 160,
    frames: int = 4,
    steps: Steps | None = None,
    progress: Progress = print,
) -> General:
    """Render people and teach the shared networks, or load what is already in the folder.

    Args:
        folder: for the caches; made when missing.
        seed: of the first person (added to 500,000) and of the networks.
        people: how many to render.
        frames: pictures of each.
        steps: how long to teach.
        progress: called with a line of text now and then.

    Returns:
        The networks, ready for use.

    Raises:
        ValueError: a number out of range.
        OSError: the folder cannot be written.
    """
    if people < 2 or frames < 1 or not 0 <= seed < 400_000:
        raise ValueError(
            f"people is {people}, frames {frames}, seed {seed}; expected at least 2, at least 1, and 0 to 399,999."
        )
    steps, folder = steps or Steps(), Path(folder)
    known = {"version": VERSION, "seed": seed, "people": people, "frames": frames}
    footage = None

    def lesson() -> lessons.Footage:
        nonlocal footage
        if footage is None:
            footage = _footage(folder, seed, people, frames, progress)
        return footage

    def taught(name: str, make: Callable[[], nn.Module], teach: Callable) -> nn.Module:
        count = getattr(steps, name)
        return _cached(
            folder,
            name,
            {**known, "steps": count},
            seed,
            make,
            lambda m, say: teach(m, lesson(), count, say),
            progress,
        )

    return General(
        taught("upsampler", Upsampler, lessons.teach_upsampler),
        taught("inpainter", Inpainter, lessons.teach_inpainter),
        taught("generator", Generator, lessons.teach_generator),
        taught("swapper", lambda: FaceSwapper(1), lessons.teach_many),
        taught("renderer", lambda: MouthRenderer(1), lessons.teach_renderer),
    )


def group(
    folder: str | Path,
    reels: list[tuple[np.ndarray, np.ndarray]],
    seed: int,
    general: General,
    steps: Steps | None = None,
    progress: Progress = print,
) -> GroupTools:
    """Teach a group's swapper and mouth renderer on the reels of its people, or load them.

    Args:
        folder: for the caches.
        reels: for each person frames (N, H, W, 3) uint8 RGB and landmarks (N, 68, 2) in pixels.
        seed: of the networks.
        general: the shared networks, from which the group's start.
        steps: how long to teach.
        progress: called with a line of text now and then.

    Returns:
        The group's networks.

    Raises:
        ValueError: fewer than two people, or a reel of another shape.
        OSError: the folder cannot be written.
    """
    steps, folder = steps or Steps(), Path(folder)
    _check_reels(reels)
    known = {"version": VERSION, "seed": seed, "people": len(reels), "reels": _digest(reels),
             "start": _state_digest(general.swapper) + _state_digest(general.renderer)}  # fmt: skip
    cuts: list[lessons.Footage] = []

    def footage() -> lessons.Footage:
        if not cuts:
            cuts.append(
                lessons.join([lessons.cut_faces(f, p, k) for k, (f, p) in enumerate(reels)])
            )
        return cuts[0]

    def taught(name: str, make: Callable[[], nn.Module], teach: Callable) -> nn.Module:
        count = getattr(steps, f"group_{name}")
        return _cached(
            folder, f"group-{name}", {**known, "steps": count}, seed, make,
            lambda m, say: teach(m, footage(), count, say), progress,
        )  # fmt: skip

    return GroupTools(
        taught("swapper", lambda: start_swapper(general.swapper, len(reels)), lessons.teach_group),
        taught(
            "renderer", lambda: start_renderer(general.renderer, len(reels)), lessons.teach_renderer
        ),
    )


def start_swapper(general: FaceSwapper, people: int) -> FaceSwapper:
    """A swapper for new people: the encoder and one copy of the decoder each."""
    swapper = FaceSwapper(people)
    swapper.encoder.load_state_dict(general.encoder.state_dict())
    for decoder in swapper.decoders:
        decoder.load_state_dict(general.decoders[0].state_dict())
    return swapper


def start_renderer(general: MouthRenderer, people: int) -> MouthRenderer:
    """A renderer for new people: the network, and one copy of the mean texture each."""
    renderer = MouthRenderer(people)
    renderer.network.load_state_dict(general.network.state_dict())
    with torch.no_grad():
        renderer.textures.copy_(general.textures.mean(0).expand_as(renderer.textures))
    return renderer


def _check_reels(reels: list) -> None:
    if len(reels) < 2:
        raise ValueError(f"{len(reels)} reels; expected at least 2 people to swap.")
    for k, (images, points) in enumerate(reels):
        images, points = np.asarray(images), np.asarray(points)
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"reel {k} is {images.dtype} {images.shape}; expected uint8 (N, H, W, 3) RGB."
            )
        if points.shape != (len(images), 68, 2) or not np.isfinite(points).all():
            raise ValueError(
                f"landmarks of reel {k} are {points.shape}; expected finite ({len(images)}, 68, 2)."
            )


def _digest(reels: list) -> str:
    found = hashlib.sha256()
    for images, points in reels:
        found.update(np.ascontiguousarray(images).tobytes())
        found.update(np.ascontiguousarray(points, np.float32).tobytes())
    return found.hexdigest()


def _state_digest(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _path(folder: Path, name: str, settings: dict) -> Path:
    text = json.dumps(settings, sort_keys=True).encode()
    return folder / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}.safetensors"


def _load(path: Path, progress: Progress) -> dict[str, Tensor] | None:
    """Read a cache; None when there is none, or when it is damaged (and said so)."""
    if not path.exists():
        return None
    try:
        return load_file(str(path))
    except (SafetensorError, ValueError) as error:
        progress(f"tools: {path.name} is damaged ({error}); it is made again")
        return None


def _save(state: dict[str, Tensor], path: Path) -> None:
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, str(temporary))


def _cached(
    folder: Path,
    name: str,
    settings: dict,
    seed: int,
    make: Callable[[], nn.Module],
    teach: Callable[[nn.Module, Callable], None],
    progress: Progress,
) -> nn.Module:
    path = _path(folder, name, settings)
    state = _load(path, progress)
    with repeatable(seed):
        network = make().to(memory_format=torch.channels_last)
        if state is not None and _fits(network, state):
            network.load_state_dict(state)
        else:
            begun = time.monotonic()

            def say(step: int, loss: float) -> None:
                progress(
                    f"tools: {name} step {step}, loss {loss:.4f}, {time.monotonic() - begun:.0f} s"
                )

            teach(network, say)
            _save(network.state_dict(), path)
            progress(f"tools: {name} ready after {time.monotonic() - begun:.0f} s")
    return network.eval().requires_grad_(False)


def _fits(network: nn.Module, state: dict[str, Tensor]) -> bool:
    wanted = {k: v.shape for k, v in network.state_dict().items()}
    return wanted == {k: v.shape for k, v in state.items()}


def _footage(
    folder: Path, seed: int, people: int, frames: int, progress: Progress
) -> lessons.Footage:
    """Render and cut the people of the general lessons, in parts of twenty."""
    parts, begun = [], time.monotonic()
    for first in range(0, people, PEOPLE_A_PART):
        numbers = range(first, min(first + PEOPLE_A_PART, people))
        settings = {"version": VERSION, "seed": seed, "people": list(numbers), "frames": frames}
        path = _path(folder, "footage", settings)
        state = _load(path, progress)
        if state is None or set(state) != {f.name for f in fields(lessons.Footage)}:
            made = [
                lessons.cut_faces(*lessons.shoot_person(FIRST_SEED + seed + k, frames), k)
                for k in numbers
            ]
            state = {
                f.name: torch.from_numpy(getattr(lessons.join(made), f.name))
                for f in fields(lessons.Footage)
            }
            _save(state, path)
            progress(
                f"tools: rendered {numbers[-1] + 1}/{people} people, {time.monotonic() - begun:.0f} s"
            )
        parts.append(lessons.Footage(**{k: v.numpy() for k, v in state.items()}))
    return lessons.join(parts)
