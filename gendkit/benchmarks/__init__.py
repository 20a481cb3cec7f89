"""The 14 benchmarks of the paper and its training set: facts, rights, trees, splits, lists.

`groups` holds the 50 official test groups, `cards` what is known of each set and from where,
`verify` compares a folder with the expected tree, `build` writes a manifest of it, and `paths`
writes the official path lists after an extraction. The last three load pandas when they are used.
"""

from gendkit.benchmarks.cards import CARDS, SOURCES, Card, Fact, Part, card
from gendkit.benchmarks.groups import (
    ABSENT,
    BENCHMARKS,
    CDFV3,
    CDFV3_METHODS,
    CDFV3_REALS,
    DEEPSPEAK_1,
    DEEPSPEAK_2,
    FAKEAVCELEB,
    FF,
    GROUPS,
    LANGUAGES,
    ROOT,
    Benchmark,
    cdfv3,
    get,
    label_of,
    lists,
    nearest,
)

__all__ = [
    "ABSENT",
    "BENCHMARKS",
    "CARDS",
    "CDFV3",
    "CDFV3_METHODS",
    "CDFV3_REALS",
    "DEEPSPEAK_1",
    "DEEPSPEAK_2",
    "FAKEAVCELEB",
    "FF",
    "GROUPS",
    "LANGUAGES",
    "ROOT",
    "SOURCES",
    "Benchmark",
    "Card",
    "Fact",
    "Part",
    "card",
    "cdfv3",
    "get",
    "label_of",
    "lists",
    "nearest",
]
