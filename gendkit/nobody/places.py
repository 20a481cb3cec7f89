"""Places behind a head, out of focus. Every one is drawn from the generator it is given; nothing is photographed.

Source: own.
"""

from collections.abc import Callable

import numpy as np

from .indoors import cafe, corridor, office, room, studio
from .outdoors import field, foliage, night, stage, street

Place = Callable[[np.random.Generator, int], np.ndarray]
PLACES: dict[str, dict[Place, float]] = {
    "nobody": {room: 0.42, office: 0.10, studio: 0.16, cafe: 0.09, foliage: 0.12, street: 0.11},
    "nobody-x": {night: 0.3, corridor: 0.25, field: 0.27, stage: 0.18},
}


def draw(rng: np.random.Generator, size: int = 256, domain: str = "nobody") -> np.ndarray:
    """Draw a place.

    Args:
        rng: random generator. size: side of the square picture, pixels.
        domain: "nobody" or "nobody-x"; the two share no kind of place.

    Returns:
        (size, size, 3) float32 linear light, in [0, 1.3].

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in PLACES:
        raise ValueError(f"domain is {domain!r}, expected one of {', '.join(PLACES)}")
    kinds, shares = zip(*PLACES[domain].items(), strict=True)
    return kinds[rng.choice(len(kinds), p=np.array(shares) / sum(shares))](rng, size)
