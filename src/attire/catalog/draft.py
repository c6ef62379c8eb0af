"""A first taxonomy from a feed's own words, for people to correct."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attire.catalog.rows import Row
from attire.errors import FeedError
from attire.taxonomy import Key, Taxonomy, fold

MIN_SHARE = 0.05  # a key applies to a category where at least this share of its products carry it


@dataclass(frozen=True, slots=True)
class Draft:
    """`counts[key, value]` and `counts["", category]` are numbers of rows; the form `Taxonomy.to_toml` takes."""

    taxonomy: Taxonomy
    counts: dict[tuple[str, str], int]


def draft_taxonomy(rows: Sequence[Row], min_share: float = MIN_SHARE) -> Draft:
    """Categories and values by how often they occur, keys in the feed's order; keys that nobody filled are left out.

    Spellings that differ only in case, spaces or punctuation are one word, the commonest, with the others as aliases. A
    key takes several values if any product has several. Raises `FeedError` where no row names a category.
    """
    categories, category_aliases, category_count = _words(row.category for row in rows if row.category)
    if not categories:
        raise FeedError("no row names a category, so no taxonomy can be drafted: give --category COLUMN or --taxonomy.")
    category_of = {fold(word): word for word in categories}
    carriers: dict[str, Counter[str]] = defaultdict(Counter)
    words: dict[str, list[str]] = {}
    several: set[str] = set()
    for row in rows:
        for key, values in row.labels.items():
            words.setdefault(key, []).extend(values)
            if len({fold(value) for value in values}) > 1:
                several.add(key)
            if row.category and values:
                carriers[key][category_of[fold(row.category)]] += 1
    keys, counts = {}, {("", word): count for word, count in category_count.items()}
    for key, said in words.items():
        values, aliases, value_count = _words(said)
        applies = tuple(c for c in categories if carriers[key][c] and carriers[key][c] >= min_share * category_count[c])
        if values:
            keys[key] = Key(
                arity="many" if key in several else "one",
                # A key carried everywhere by a few only still applies somewhere: where most of its labels are.
                categories=applies or tuple(word for word, _ in carriers[key].most_common(1)),
                values=values,
                aliases=aliases,
            )
            counts |= {(key, word): count for word, count in value_count.items()}
    return Draft(Taxonomy(categories=categories, category_aliases=category_aliases, keys=keys), counts)


def _words(said: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str], dict[str, int]]:
    """Words from the commonest to the rarest, other spellings -> word, and how often each word was said."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for word in said:
        spellings[fold(word)][word] += 1
    chosen = {folded: min(found, key=lambda word: (-found[word], word)) for folded, found in spellings.items()}
    count = {chosen[folded]: found.total() for folded, found in spellings.items()}
    words = tuple(sorted(count, key=lambda word: (-count[word], word)))
    aliases = {
        word: chosen[folded] for folded, found in spellings.items() for word in sorted(found) if word != chosen[folded]
    }
    return words, aliases, count
