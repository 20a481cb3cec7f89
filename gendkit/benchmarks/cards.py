"""The card of each dataset: FaceForensics++, which is trained on, and the 14 that are tested."""

from gendkit.benchmarks import early, recent
from gendkit.benchmarks.groups import nearest
from gendkit.benchmarks.schema import SOURCES, UNKNOWN, Card, Fact, Part

__all__ = ["CARDS", "SOURCES", "UNKNOWN", "Card", "Fact", "Part", "card"]

# The training set first, then in the order of `BENCHMARKS`.
CARDS: dict[str, Card] = {
    one.key: one
    for one in (
        *(early.FF, early.UADFV, early.DFD, early.FSH, early.CDFV2, early.DFDC, early.FFIW),
        *(recent.KODF, recent.FAVC, recent.DFDM, recent.PGF, recent.IDF),
        *(recent.DSV1, recent.DSV2, recent.CDFV3),
    )
}


def card(name: str) -> Card:
    """Find the card of a dataset by any of its names, capitals or not.

    Args:
        name: Short name, full name, alias or name of its official lists.

    Raises:
        ValueError: If there is none; names those most like it.
    """
    names = {
        other.lower(): one
        for one in CARDS.values()
        for other in (one.folder, *one.aliases, one.name, one.key)
    }
    if name.lower() in names:
        return names[name.lower()]
    known = [n for one in CARDS.values() for n in (one.key, one.name, *one.aliases)]
    raise ValueError(
        f"got dataset {name!r}, expected one of {', '.join(CARDS)}{nearest(name, known)}"
    )
