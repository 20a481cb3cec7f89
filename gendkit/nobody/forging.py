"""The forgeries of one person's clip: who lends what, which algorithm runs, what if one refuses. Source: own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gendkit import forge
from gendkit.forge import learned

from . import film
from .plan import METHODS, TAKES_FACE, TAKES_MOTION, Group, Person

MAX_ATTEMPTS = 6
# Which shared network a learned forgery runs: attribute of ``tools.General`` and the function that uses it.
GENERAL = {
    "SuperRes": ("upsampler", learned.super_resolve_clip),
    "Inpaint": ("inpainter", learned.inpaint_clip),
}


@dataclass(frozen=True)
class Forgery:
    """One forged clip.

    Attributes:
        method: manipulation. partner: who lent a face or a movement, or None. attempt: the one that worked.
        clip: images, masks and settings.
    """

    method: str
    partner: Person | None
    attempt: int
    clip: forge.ForgedClip


@dataclass
class Forger:
    """Forges the clip of one person in every way.

    Attributes:
        person, group: the target and who may lend to it. footage, clip: its real clip, as filmed and as planned.
        domain: of cameras and lights.
        group_tools: gives the group's networks (`tools.GroupTools`). general_tools: gives the shared ones
            (`tools.GeneralTools`). Both are called only when a method needs them.
    """

    person: Person
    group: Group
    footage: film.Footage
    clip: film.Clip
    domain: str
    group_tools: Callable[[], Any]
    general_tools: Callable[[], Any]
    _donors: dict[tuple[int, int], film.Footage] = field(default_factory=dict)

    def make(self, method: str) -> Forgery:
        """Forge by one method; a refused clip is tried again with another clip of the partner, then another partner.

        Args:
            method: of ``plan.METHODS``.

        Returns:
            The forgery.

        Raises:
            forge.ForgeError: when every attempt was refused; the message names person and method.
        """
        refused: forge.ForgeError | None = None
        for attempt in range(MAX_ATTEMPTS):
            partner = self.group.partner(self.person, method, attempt)
            rng = film.generator(self.person, "forgery", METHODS.index(method), attempt)
            try:
                made = self._forge(method, partner, attempt, rng)
                self._check(made)
            except forge.ForgeError as error:
                refused = error
                continue
            return Forgery(method, partner, attempt, made)
        raise forge.ForgeError(
            f"{method} of {self.person.name} was refused {MAX_ATTEMPTS} times, last because: {refused} "
            "Use another --seed, or leave the method out with --methods."
        )

    def _forge(
        self, method: str, partner: Person | None, attempt: int, rng: np.random.Generator
    ) -> forge.ForgedClip:
        target = (self.footage.frames, self.footage.points)
        if method == "DF":
            swapper = self.group_tools().swapper
            return learned.autoencoder_clip(*target, swapper, partner.place, rng, over=self._over)
        if method in TAKES_FACE:
            donor = self._donor(partner, attempt)
            return forge.FORGERIES[method](*target, donor.frames, donor.points, rng)
        if method in TAKES_MOTION:
            driver = film.driver_points(self.person, partner, self.clip, attempt)
            if method == "NT":
                renderer = self.group_tools().renderer
                return learned.mouth_clip(*target, driver, renderer, self.person.place, rng)
            return forge.FORGERIES[method](*target, driver, rng)
        if method == "Whole":
            return learned.whole_clip(*target, self.general_tools().generator, rng, over=self._over)
        if method in GENERAL:
            network, function = GENERAL[method]
            return function(*target, getattr(self.general_tools(), network), rng)
        return forge.FORGERIES[method](*target, rng)

    @cached_property
    def _over(self) -> np.ndarray | None:
        return film.glasses_over(self.person, self.clip)

    def _donor(self, donor: Person, attempt: int) -> film.Footage:
        key = (donor.seed, attempt)
        if key not in self._donors:
            self._donors[key] = film.donor_footage(
                self.person, donor, self.clip, self.domain, attempt
            )
        return self._donors[key]

    def _check(self, made: forge.ForgedClip) -> None:
        changed = (made.images != self.footage.frames).any(-1)
        if not changed.any(axis=(1, 2)).all():
            raise forge.ForgeError("a frame came back unchanged.")
        if (changed & (made.masks == 0)).any():
            raise forge.ForgeError("a pixel outside the mask was changed.")
