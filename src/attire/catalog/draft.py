"""A first taxonomy from a feed's own words, for people to correct."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from attire.catalog.rows import Row
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
    products = _products(rows)
    categories = _words(Counter(product.category for product in products if product.category))
    if not categories.counts:
        raise FeedError("no row names a category, so no taxonomy can be drafted: give --category COLUMN or --taxonomy.")
    category_of = {fold(word): word for word in categories.counts}
    said: dict[str, Counter[str]] = defaultdict(Counter)  # key -> spelling -> products
    carriers: dict[str, Counter[str]] = defaultdict(Counter)  # key -> category -> products
    several: set[str] = set()
    for product in products:
        category = category_of.get(fold(product.category))
        for key, spellings in product.labels.items():
            said[key].update(spellings)
            if len(spellings) > 1 and len({fold(word) for word in spellings}) > 1:
                several.add(key)
            if spellings and category:
                carriers[key][category] += 1
    values = {key: _words(spellings) for key, spellings in said.items() if spellings}
    keys = {
        key: Key(
            arity="many" if key in several else "one",
            categories=_where(carriers[key], categories.counts, min_share),
            values=tuple(words.counts),
            aliases=words.aliases,
        )
        for key, words in values.items()
    }
    return Draft(
        Taxonomy(categories=tuple(categories.counts), category_aliases=categories.aliases, keys=keys),
        {(key, word): n for key, words in {"": categories, **values}.items() for word, n in words.counts.items()},
        tuple(key for key in said if key not in values),
    )


def _products(rows: Sequence[Row]) -> Collection[Row]:
    """One row per product: what its first row leaves open, later ones may say."""
    products: dict[str, Row] = {}
    for row in rows:
        first = products.setdefault(row.id, row)
        if first is not row:
            labels = {key: first.labels.get(key) or row.labels.get(key, ()) for key in {**first.labels, **row.labels}}
            products[row.id] = replace(first, category=first.category or row.category, labels=labels)
    return products.values()


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
    return enough or tuple(name for name, _ in carriers.most_common(1))
