"""Draft a taxonomy from the words of a feed, for people to correct."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attire.catalog.feed_row import Row
from attire.errors import FeedError
from attire.spellings import fold
from attire.taxonomy import Key, Taxonomy


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted taxonomy.

    `counts[key, value]` and `counts["", category]` are numbers of products, as `Taxonomy.to_toml` takes them.
    `unlabelled` are keys of the feed without any label; the taxonomy omits them.
    """

    taxonomy: Taxonomy
    counts: dict[tuple[str, str], int]
    unlabelled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Words:
    """`counts` of words, the most frequent first; `aliases` from other spellings to words."""

    counts: dict[str, int]
    aliases: dict[str, str]


def draft_taxonomy(rows: Sequence[Row], *, min_share: float = 0.05) -> Draft:
    """Draft a taxonomy: categories and values by frequency, keys in the order of the feed.

    A key applies to a category if at least `min_share` of the category's products have a label for it, and has arity
    many if any product has several values. Of spellings that differ only in case, spaces or punctuation, the most
    frequent becomes the word and the others aliases. Raises `FeedError` if no row names a category.
    """
    categories = _words(Counter(word for _, word in {(row.id, row.category) for row in rows if row.category}))
    if not categories.counts:
        raise FeedError("no row names a category, so no taxonomy can be drafted: give --category COLUMN or --taxonomy.")
    canonical = {fold(word): word for word in categories.counts}
    category_of = {row.id: canonical[fold(row.category)] for row in reversed(rows) if row.category}
    rows_of: dict[str, list[Row]] = {}
    for row in rows:
        for key, words in row.labels.items():
            rows_of.setdefault(key, []).extend([row] if words else [])
    keys: dict[str, Key] = {}
    values: dict[str, _Words] = {}
    for key, labelled in rows_of.items():
        if not labelled:
            continue
        # A set, because rows of one product may repeat a word; if they contradict each other, both words count.
        pairs = {(row.id, word) for row in labelled for word in row.labels[key]}
        values[key] = _words(Counter(word for _, word in pairs))
        counts = Counter(category_of[id] for id in {id for id, _ in pairs} if id in category_of)
        several = any(len({fold(word) for word in row.labels[key]}) > 1 for row in labelled)
        keys[key] = Key(
            arity="many" if several else "one",
            categories=_applicable_categories(counts, categories.counts, min_share),
            values=tuple(values[key].counts),
            aliases=values[key].aliases,
        )
    return Draft(
        Taxonomy(categories=tuple(categories.counts), category_aliases=categories.aliases, keys=keys),
        {(key, word): n for key, words in {"": categories, **values}.items() for word, n in words.counts.items()},
        tuple(key for key in rows_of if key not in values),
    )


def extend(taxonomy: Taxonomy, draft: Taxonomy) -> Taxonomy:
    """`taxonomy`, itself a draft, with what only `draft` has: categories, keys and values, after the existing ones.

    Existing words keep their order and spelling. A key that is of arity many in either is so in the result, and applies
    to the categories to which it applies in either.
    """
    categories, category_aliases = _appended(
        taxonomy.categories, taxonomy.category_aliases, draft.categories, draft.category_aliases
    )
    spelled = {fold(alias): name for alias, name in category_aliases.items()} | {
        fold(name): name for name in categories
    }
    keys = dict(taxonomy.keys)
    for name, new in draft.keys.items():
        old = keys.get(name, Key(categories=(), values=new.values, aliases=new.aliases))
        values, aliases = _appended(old.values, old.aliases, new.values, new.aliases)
        keys[name] = Key(
            arity="many" if "many" in (old.arity, new.arity) else "one",
            categories=tuple(dict.fromkeys((*old.categories, *(spelled[fold(name)] for name in new.categories)))),
            values=values,
            aliases=aliases,
        )
    return Taxonomy(categories=categories, category_aliases=category_aliases, keys=keys)


def _appended(
    words: tuple[str, ...], aliases: Mapping[str, str], new: tuple[str, ...], new_aliases: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """`words` and `aliases` with the `new` words that are not yet spelled, and their aliases."""
    spelled = {fold(word) for word in (*words, *aliases)}
    added = tuple(word for word in new if fold(word) not in spelled)
    return (*words, *added), {**aliases, **{alias: word for alias, word in new_aliases.items() if word in added}}


def _words(counts: Counter[str]) -> _Words:
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for spelling, count in counts.items():
        spellings[fold(spelling)][spelling] = count
    ranked = sorted(
        (sorted(variants, key=lambda word: (-variants[word], word)) for variants in spellings.values()),
        key=lambda words: (-sum(counts[word] for word in words), words[0]),
    )
    return _Words(
        {first: sum(counts[word] for word in (first, *others)) for first, *others in ranked},
        {other: first for first, *others in ranked for other in others},
    )


def _applicable_categories(labelled: Counter[str], products: Mapping[str, int], min_share: float) -> tuple[str, ...]:
    """Categories in which enough products have a label for a key; if none has enough, the one with the most."""
    enough = tuple(name for name, count in products.items() if labelled[name] and labelled[name] >= min_share * count)
    return enough or ((max(products, key=lambda name: labelled[name]),) if labelled else ())
