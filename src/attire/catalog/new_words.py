"""Words of a feed that the taxonomy does not have: the list that people choose from when they extend taxonomy.toml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attire.catalog.row_words import COMPARISONS, KEY, UnknownWord
from attire.errors import closest, shown
from attire.taxonomy import CATEGORY, Taxonomy, key_label
from attire.toml_text import quoted

NEW_WORDS = "new-words.toml"
LISTED = 10  # words in a message
HEADING = """\
# Words that the feeds state and taxonomy.toml does not have. The products are in the catalog, without these labels.
# Add each word to taxonomy.toml, as a value or as an alias of a value, and ingest again with --update.
# A line is: the word, the number of products, and the nearest known word ("" if none is near).
"""


class NewWord(NamedTuple):
    """An unknown word (`key` may be `CATEGORY` or `KEY`), the number of products, and the nearest known word or ""."""

    key: str
    word: str
    products: int
    nearest: str


def proposal(unknown: Iterable[UnknownWord], taxonomy: Taxonomy) -> list[NewWord]:
    """The unknown words, the most frequent first."""
    budget, words = COMPARISONS, []
    counts = Counter((key, word) for key, word, _ in set(unknown))
    for (key, word), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        spellings = _spellings(key, taxonomy)
        match = closest(word, spellings) if budget > 0 else None
        budget -= len(spellings)
        words.append(NewWord(key, word, count, spellings[match] if match is not None else ""))
    return words


def to_toml(words: Sequence[NewWord]) -> str:
    """The words as TOML; "" if there are none."""
    lines = []
    for name, key in (("categories", CATEGORY), ("keys", KEY)):
        lines += _array(name, [entry for entry in words if entry.key == key])
    values = [entry for entry in words if entry.key not in (CATEGORY, KEY)]
    if values:
        lines.append("\n[values]")
    for key in dict.fromkeys(entry.key for entry in values):
        lines += _array(quoted(key), [entry for entry in values if entry.key == key])
    return HEADING + "\n".join([*lines, ""]) if lines else ""


def summary(words: Sequence[NewWord]) -> str:
    """The most frequent words, one per line."""
    lines = []
    for key, word, count, nearest in words[:LISTED]:
        name = "a key" if key == KEY else key_label(key)
        hint = f", nearest '{shown(nearest)}'" if nearest else ""
        lines.append(f"  {name}: '{shown(word)}' ({count:,} {'product' if count == 1 else 'products'}{hint})")
    if len(words) > LISTED:
        lines.append(f"  ... and {len(words) - LISTED:,} more")
    return "\n".join(lines)


def _spellings(key: str, taxonomy: Taxonomy) -> dict[str, str]:
    """Every spelling that is known, with its word."""
    if key == KEY:
        return {name: name for name in taxonomy.keys}
    words = taxonomy.categories if key == CATEGORY else taxonomy.keys[key].values
    return {**dict(taxonomy.other_spellings(key)), **{word: word for word in words}}


def _array(name: str, words: Sequence[NewWord]) -> list[str]:
    lines = (f"    [{quoted(entry.word)}, {entry.products}, {quoted(entry.nearest)}]," for entry in words)
    return [f"{name} = [", *lines, "]"] if words else []
