"""The networks of a build: taught once, kept in files, loaded by whichever process needs them. Source: own."""

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from gendkit.forge.networks import FaceSwapper, MouthRenderer
from gendkit.repro import atomic_path

from . import tools

PEOPLE = 160  # in the lessons of the networks that all share


def general(folder: Path, effort: float = 1.0, say: Callable[[str], None] = print) -> tools.General:
    """Teach the networks that all groups share, or load them.

    Args:
        folder: of their files. effort: share of steps and people, in (0, 1]. say: takes a line now and then.

    Returns:
        The networks.
    """
    people = max(2, round(PEOPLE * effort))
    return tools.general(folder, people=people, steps=_steps(effort), progress=say)


def _steps(effort: float) -> tools.Steps:
    usual = tools.Steps()
    less = {f.name: max(8, round(getattr(usual, f.name) * effort)) for f in fields(usual)}
    return replace(usual, **less)


def group_file(folder: Path) -> Path:
    """The file that says that a group's networks are there."""
    return folder / "networks.safetensors"


def teach_group(
    folder: Path,
    reels: list[tuple[np.ndarray, np.ndarray]],
    seed: int,
    shared: tools.General,
    effort: float = 1.0,
    say: Callable[[str], None] = print,
) -> None:
    """Teach the networks of a group and keep them in one file.

    Args:
        folder: of the group; caches of a run that was killed are used. reels: frames and landmarks of each person.
        seed: of the networks. shared: from which they start. effort, say: as for `general`.
    """
    caches = folder / "caches"
    made = tools.group(caches, reels, seed, shared, steps=_steps(effort), progress=say)
    state = {f"swapper.{k}": v.contiguous() for k, v in made.swapper.state_dict().items()}
    state |= {f"renderer.{k}": v.contiguous() for k, v in made.renderer.state_dict().items()}
    with atomic_path(group_file(folder)) as path:
        save_file(state, str(path), metadata={"people": str(len(reels))})
    shutil.rmtree(caches)


@lru_cache(maxsize=2)
def load_group(folder: Path, people: int) -> tools.GroupTools:
    """Load a group's networks.

    Args:
        folder: as for `teach_group`. people: in the group.

    Returns:
        The networks, ready for use; people are numbered as their reels were.
    """
    state = load_file(str(group_file(folder)))
    swapper, renderer = FaceSwapper(people), MouthRenderer(people)
    for name, network in (("swapper", swapper), ("renderer", renderer)):
        own = {k.partition(".")[2]: v for k, v in state.items() if k.partition(".")[0] == name}
        network.load_state_dict(own)
        network.eval().requires_grad_(False)
    return tools.GroupTools(swapper, renderer)


@lru_cache(maxsize=1)
def load_general(folder: Path, effort: float = 1.0) -> tools.General:
    """Load the networks that all groups share (they are taught before any person is made)."""
    return general(folder, effort)
