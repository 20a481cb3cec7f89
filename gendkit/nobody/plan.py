"""Who is in a set and who does what: sets, people, roles, groups, partners, as data. Source: own."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import heads

REAL = "real"
SEEN = ("DF", "F2F", "FS", "NT")
UNSEEN = ("Poisson", "SBI", "Morph", "SuperRes", "Inpaint", "Talk", "Whole")
METHODS = SEEN + UNSEEN
TAKES_FACE = ("DF", "FS", "Poisson", "Morph")  # another person's face comes in
TAKES_MOTION = ("F2F", "NT", "Talk")  # another person's movement comes in
NEEDS_GROUP = ("DF", "NT")
NEEDS_GENERAL = ("SuperRes", "Inpaint", "Whole")
GROUP_SIZE = 6
FIT, SELECT = 72 / 120, 16 / 120  # shares of people; the rest is for the report


@dataclass(frozen=True)
class SetSpec:
    """What one set is.

    Attributes:
        name: of the set and its folder. letter: first letter of its people's names.
        domain: of lights, places and cameras. first_seed: of its people.
        n_identities: people by default. least: fewest people that fill every role.
        report_only: all people have the role "report". crf, compression: H.264 quality and its label.
    """

    name: str
    letter: str
    domain: str
    first_seed: int
    n_identities: int
    least: int
    report_only: bool
    crf: int
    compression: str


SETS = {
    "nobody": SetSpec("nobody", "n", "nobody", 0, 120, 10, False, 23, "c23"),
    # Coarse, as c40 of FaceForensics++ is; CRF 40 itself leaves little of a face at 256 pixels.
    "nobody-x": SetSpec("nobody-x", "x", "nobody-x", 250_000, 24, 2, True, 32, "c32"),
}
SEEDS = (
    200_000  # people of a set have seeds below first_seed + SEEDS; networks train on 500,000 and up
)


@dataclass(frozen=True)
class Settings:
    """Everything that the frames of a set depend on, besides the code.

    Attributes:
        set_name: key of ``SETS``. n_identities: people. n_frames: of a clip. n_reel: frames of a
            person that a group's networks learn from. seed: added to the seeds of people.
        methods: manipulations, in the order of ``METHODS``. effort: share of the training steps of the
            networks, in (0, 1]; below 1 for trials only.
    """

    set_name: str = "nobody"
    n_identities: int = 120
    n_frames: int = 16
    n_reel: int = 40
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    effort: float = 1.0

    @property
    def spec(self) -> SetSpec:
        """The set."""
        return SETS[self.set_name]


@dataclass(frozen=True)
class Person:
    """One person of a set: name such as "n007", seed of the identity, role, group, place in the group."""

    name: str
    seed: int
    role: str
    group: int
    place: int


@dataclass(frozen=True)
class Group:
    """People of one role who lend each other faces and movements; nobody else does."""

    number: int
    role: str
    people: tuple[Person, ...]

    def partner(self, person: Person, method: str, attempt: int = 0) -> Person | None:
        """Who lends a face or a movement to ``person``; None where a method takes nothing.

        Args:
            person: whose clip is forged. method: manipulation. attempt: from 0; after every second
                failure the next person of the group is asked.

        Returns:
            The partner, never the person.
        """
        if method not in TAKES_FACE + TAKES_MOTION:
            return None
        others = len(self.people) - 1
        # A face comes from the neighbour, a movement from the one after, so that two people leave traces.
        step = (0 if method in TAKES_FACE else 1) + attempt // 2
        return self.people[(person.place + 1 + step % others) % len(self.people)]


def roles(spec: SetSpec, n: int) -> list[str]:
    """Role of each of n people: 60 % fit, 13 % select (two at least), 27 % report; or report only."""
    if spec.report_only:
        return ["report"] * n
    fit, select = round(n * FIT), max(2, round(n * SELECT))
    return ["fit"] * fit + ["select"] * select + ["report"] * (n - fit - select)


@lru_cache(maxsize=4)
def groups(settings: Settings) -> tuple[Group, ...]:
    """Deal the people of a set into groups of about six, never across roles.

    A forger chooses a donor who resembles the target; so people stand in order of sex and skin tone before
    they are dealt.

    Args:
        settings: of the set.

    Returns:
        The groups; every person is in exactly one.
    """
    spec, n = settings.spec, settings.n_identities
    digits = max(3, len(str(n - 1)))
    dealt: list[Group] = []
    all_roles = roles(spec, n)
    for role in dict.fromkeys(all_roles):
        numbers = [k for k in range(n) if all_roles[k] == role]
        numbers.sort(key=lambda k: _likeness(spec.first_seed + settings.seed + k))
        # Two groups at least where there are people enough: unpaired lists need people who are not linked.
        least = 2 if len(numbers) >= GROUP_SIZE else 1
        for part in _parts(numbers, max(least, round(len(numbers) / GROUP_SIZE))):
            people = tuple(
                Person(
                    f"{spec.letter}{k:0{digits}d}",
                    spec.first_seed + settings.seed + k,
                    role,
                    len(dealt),
                    place,
                )
                for place, k in enumerate(part)
            )
            dealt.append(Group(len(dealt), role, people))
    return tuple(dealt)


def _likeness(seed: int) -> tuple[bool, float, int]:
    traits = heads.make_identity(seed).traits
    return traits["gender"] > 0.5, traits["tone"], seed


def _parts(items: Sequence[int], n: int) -> list[list[int]]:
    """Cut into n runs of nearly equal length."""
    edges = [round(k * len(items) / n) for k in range(n + 1)]
    return [list(items[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def methods_of(settings: Settings, role: str) -> tuple[str, ...]:
    """Manipulations of a person's clip: the seen ones for all, the unseen ones for the report only."""
    return tuple(m for m in settings.methods if m in SEEN or role == "report")


def choose_methods(names: Iterable[str]) -> tuple[str, ...]:
    """Put names of manipulations in order; "all" means all.

    Args:
        names: of ``METHODS``; "real" is always there and may be named.

    Returns:
        The manipulations, without "real", none twice.

    Raises:
        ValueError: for an unknown name, with the nearest known one, and where none is left.
    """
    names = list(names)
    for name in names:
        if name not in (*METHODS, REAL, "all"):
            folded = {m.lower(): m for m in METHODS}
            near = difflib.get_close_matches(name.lower(), folded, 1, 0.0)
            raise ValueError(
                f"no manipulation {name!r}, did you mean {folded[near[0]]!r}? known: {', '.join(METHODS)}"
            )
    chosen = tuple(m for m in METHODS if m in names or "all" in names)
    if not chosen:
        raise ValueError(f"no manipulation chosen; give some of {', '.join(METHODS)}, or all")
    return chosen


def check(settings: Settings) -> None:
    """Refuse settings that make no set.

    Args:
        settings: to check.

    Raises:
        ValueError: the message names the option of the command line.
    """
    if settings.set_name not in SETS:
        near = difflib.get_close_matches(settings.set_name, SETS, 1, 0.0)
        raise ValueError(
            f"no set {settings.set_name!r}, did you mean {near[0]!r}? known: {', '.join(SETS)}, all"
        )
    spec, n = settings.spec, settings.n_identities
    if n < spec.least:
        raise ValueError(
            f"--identities is {n}, expected at least {spec.least} for {spec.name}, so that every role "
            "has two people who can lend each other a face"
        )
    if settings.n_frames < 4:
        raise ValueError(f"--frames is {settings.n_frames}, expected at least 4")
    if not 0 <= settings.seed <= SEEDS - n:
        raise ValueError(
            f"--seed is {settings.seed}, expected 0 to {SEEDS - n} for {n} people (larger seeds belong to "
            "other sets and to the training worlds)"
        )
    if settings.n_reel < 2:
        raise ValueError(f"--reel is {settings.n_reel}, expected at least 2")
    if not 0 < settings.effort <= 1:
        raise ValueError(f"--effort is {settings.effort}, expected above 0 and at most 1")
