"""The page of the book on access to data, written from the cards: no fact and no link of its own."""

import re

from gendkit.benchmarks.cards import CARDS, SOURCES, Card, Fact

_LINK = re.compile(r"((?:github|huggingface|kaggle)\.co?m?/|sites\.google\.com/)[^\s,]+")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")
_INTRO = """\
# Data access

None of these sets is shipped with this book: they show real people, and each release has terms of its own.
This page says what is known of each of the fifteen sets of the paper, and from where. "Unknown" means that
nothing reliable was found. Terms change: read those of the release itself before you ask for it.

This page is written from `gendkit.benchmarks` by `python -m gendkit.benchmarks.page`; a test compares the
two. The same facts on the command line:

```
gendkit data list
gendkit data show CDFv2
gendkit data verify FF++ ROOT
gendkit data manifest FF++ ROOT --out ROOT/manifest.csv
```

`verify` compares a folder with the expected tree and names what is missing; chapter 13 goes the whole way,
from the folder to the report. Videos are counted where the release says how many there are.
"""


def markdown() -> str:
    """Write the page.

    Returns:
        Markdown: what all sets have in common, a table, and a section for each set.
    """
    parts = [_INTRO, _table(), *map(_section, CARDS.values())]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _table() -> str:
    lines = ["| set | year | videos | how to get | manifest |", "|---|---|---:|---|---|"]
    for card in CARDS.values():
        counts = [part.count for part in card.parts]
        videos = "unknown" if None in counts or not counts else f"{sum(counts):,}"
        cells = [f"[{card.key}](#{_anchor(card)})", card.year.text, videos]
        cells += [card.access[0].text, _splits(card)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _splits(card: Card) -> str:
    from gendkit.benchmarks.build import SPLITS

    return ", ".join(SPLITS.get(card.key, ())) or "by hand"


def _anchor(card: Card) -> str:
    return "data-" + re.sub(r"[^a-z0-9]+", "-", card.key.lower().replace("+", "p"))


def _section(card: Card) -> str:
    from gendkit.benchmarks.build import NEEDS

    title = card.name if card.name == card.key else f"{card.key}: {card.name}"
    lines = [f"({_anchor(card)})=", f"## {title}", ""]
    for heading, facts in card.facts().items():
        if len(facts) == 1:
            lines.append(f"* **{heading.capitalize()}.** {_cited(facts[0])}")
        else:
            lines.append(f"* **{heading.capitalize()}.**")
            lines += [f"  * {_cited(fact)}" for fact in facts]
    if card.key in NEEDS:
        lines.append(f"* **Manifest.** No builder; needed: {NEEDS[card.key]}.")
    lines += ["", "Expected below its folder:", "", "```"]
    for part in card.parts:
        count = f"{part.count} videos" if part.count else "number unknown"
        lines.append(f"{part.folders[0]}/  {part.method}, {count}")
    lines += [places[0] for places in card.files]
    if card.compressions:
        lines.append(f"{{c}} is one of {', '.join(card.compressions)}")
    return "\n".join([*lines, "```"])


def _cited(fact: Fact) -> str:
    text = fact.text.replace("*", r"\*").replace("_", r"\_").rstrip(".")
    if not fact.source:
        return f"{text}."
    source = SOURCES[fact.source]
    address = _address(source)
    return f"{text} ({f'[{source}]({address})' if address else source})."


def _address(source: str) -> str:
    """Address of a source, as far as its text names one."""
    if match := _LINK.search(source):
        return f"https://{match[0]}"
    match = _ARXIV.search(source)
    return f"https://arxiv.org/abs/{match[1]}" if match else ""


if __name__ == "__main__":
    print(markdown(), end="")
