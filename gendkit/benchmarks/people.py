"""Deal people to roles, where fakes join two people and nobody may stand under two roles."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from gendkit.benchmarks.listed import DataError

_RESTARTS = 10


def deal(
    pairs: Iterable[tuple[str, str]],
    people: Iterable[str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Give each person one role, such that many fakes join two people of the same role.

    The sizes are the shares of the people, rounded. From several seeded starts, two people of
    different roles are exchanged as long as that keeps more fakes.

    Args:
        pairs: (person shown, donor of the face) for each fake; equal pairs count again.
        people: Everyone; those without a fake are dealt by the shares alone.
        shares: Role -> share of people, positive.
        seed: Of the starts.

    Returns:
        Person -> role; depends on the seed and the names only, not on their order.

    Raises:
        DataError: If there are fewer people than roles.

    Source: own; a split of DeepFakeDetection by actor. The leak it prevents: arXiv 2210.14457.
    """
    counts = Counter(tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1])
    linked = sorted({person for pair in counts for person in pair})
    alone = sorted(set(people) - set(linked))
    if len(linked) + len(alone) < len(shares):
        raise DataError(
            f"got {len(linked) + len(alone)} people for the roles {', '.join(shares)}; expected at "
            "least one for each: ask for fewer roles, or use another split"
        )
    rng = np.random.default_rng(seed)
    weight = np.zeros((len(linked), len(linked)))
    at = {person: k for k, person in enumerate(linked)}
    for (a, b), n in counts.items():
        weight[at[a], at[b]] = weight[at[b], at[a]] = n
    start = _roles(len(linked), shares)
    best, kept = start, -1.0
    for _ in range(_RESTARTS if len(linked) else 0):
        roles = _improve(rng.permutation(start), weight)
        value = float(weight[roles[:, None] == roles[None]].sum())
        if value > kept:
            best, kept = roles, value
    names = list(shares)
    dealt = dict(zip(linked, (names[k] for k in best), strict=True))
    rest = rng.permutation(_roles(len(alone), shares)) if alone else []
    return dealt | dict(zip(alone, (names[k] for k in rest), strict=True))


def _roles(n: int, shares: Mapping[str, float]) -> np.ndarray:
    """(n,) role numbers in order, by largest remainder; each role gets one where n allows."""
    exact = np.array(list(shares.values())) / sum(shares.values()) * n
    size = np.floor(exact).astype(int)
    for k in np.argsort(size - exact, kind="stable")[: n - size.sum()]:
        size[k] += 1
    while n >= len(size) and size.min() == 0:
        size[size.argmax()] -= 1
        size[size.argmin()] += 1
    return np.repeat(np.arange(len(size)), size)


def _improve(roles: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Exchange the two people that gain most, until nobody gains."""
    n_roles = roles.max() + 1
    while True:
        ties = weight @ np.eye(n_roles)[roles]  # (n, roles): fakes of a person with each role
        own = ties[np.arange(len(roles)), roles]
        # gain of an exchange of i and j; the pair's own fakes stay apart, hence twice their number
        gain = ties[:, roles] + ties[:, roles].T - own[:, None] - own[None] - 2 * weight
        gain[roles[:, None] == roles[None]] = 0
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        if gain[i, j] <= 0:
            return roles
        roles = roles.copy()
        roles[i], roles[j] = roles[j], roles[i]
