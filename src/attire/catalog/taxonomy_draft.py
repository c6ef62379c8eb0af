"""A first taxonomy from a feed's own words, for people to correct."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attire.catalog.feed_row import Row
from attire.errors import FeedError
from attire.taxonomy import Key, Taxonomy, fold


@dataclass(frozen=True, slots=True)
class Draft:
    """`counts[key, value]` and `counts["", category]` are numbers of products, in the form `Taxonomy.to_toml` takes.

    `unlabelled` are keys of the feed that no product carries; the taxonomy is without them.
    """

    taxonomy: Taxonomy
    counts: dict[tuple[str, str], int]
    unlabelled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Words:
    """Words from the commonest to the rarest with their counts, and other spellings -> word."""

    counts: dict[str, int]
    aliases: dict[str, str]


def draft_taxonomy(rows: Sequence[Row], *, min_share: float = 0.05) -> Draft:
    """Categories and values by how often they occur, keys in the feed's order.

    A key applies to a category where at least `min_share` of its products carry it, and takes several values if any
    product has several. Spellings that differ only in case, spaces or punctuation are one word, the commonest, with the
    others as aliases. Raises `FeedError` where no row names a category.
    """
    categories = _words(Counter(word for _, word in {(row.id, row.category) for row in rows if row.category}))
    if not categories.counts:
        raise FeedError("no row names a category, so no taxonomy can be drafted: give --category COLUMN or --taxonomy.")
    canonical = {fold(word): word for word in categories.counts}
    category_of = {row.id: canonical[fold(row.category)] for row in reversed(rows) if row.category}
    carried_by: dict[str, list[Row]] = {}
    for row in rows:
        for key, words in row.labels.items():
            carried_by.setdefault(key, []).extend([row] if words else [])
    keys: dict[str, Key] = {}
    values: dict[str, _Words] = {}
    for key, carrying in carried_by.items():
        if not carrying:
            continue
        # Pairs, for rows of one product may repeat each other; where they contradict each other, both words count.
        said = {(row.id, word) for row in carrying for word in row.labels[key]}
        values[key] = _words(Counter(word for _, word in said))
        carriers = Counter(category_of[id] for id in {id for id, _ in said} if id in category_of)
        several = any(len({fold(word) for word in row.labels[key]}) > 1 for row in carrying)
        keys[key] = Key(
            arity="many" if several else "one",
            categories=_where(carriers, categories.counts, min_share),
            values=tuple(values[key].counts),
            aliases=values[key].aliases,
        )
    return Draft(
        Taxonomy(categories=tuple(categories.counts), category_aliases=categories.aliases, keys=keys),
        {(key, word): n for key, words in {"": categories, **values}.items() for word, n in words.counts.items()},
        tuple(key for key in carried_by if key not in values),
    )


def _words(said: Counter[str]) -> _Words:
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for spelling, count in said.items():
        spellings[fold(spelling)][spelling] = count
    ranked = sorted(
        (sorted(found, key=lambda word: (-found[word], word)) for found in spellings.values()),
        key=lambda words: (-sum(said[word] for word in words), words[0]),
    )
    return _Words(
        {first: sum(said[word] for word in (first, *others)) for first, *others in ranked},
        {other: first for first, *others in ranked for other in others},
    )


def _where(carriers: Counter[str], products: Mapping[str, int], min_share: float) -> tuple[str, ...]:
    """Categories in which enough products carry a key; where none has enough, the one in which most do."""
    enough = tuple(name for name, count in products.items() if carriers[name] and carriers[name] >= min_share * count)
    return enough or ((max(products, key=lambda name: carriers[name]),) if carriers else ())
