"""A taxonomy from Shopify's published one: only the categories that a feed has, with their attributes and values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from attire.catalog.feed_row import Row
from attire.catalog.sources.shopify import SIZES, key_name
from attire.errors import TaxonomyError
from attire.references.matching import canonical, spelled
from attire.references.reference import Attribute, Category, Reference
from attire.references.vocabulary import Categories
from attire.spellings import fold, unfit
from attire.taxonomy import Key, Taxonomy

MANY = "feature"  # attributes with this in their name have several values


def taxonomy_for(reference: Reference, rows: Sequence[Row]) -> Taxonomy:
    """The part of Shopify's taxonomy that the rows need.

    Categories are matched by full path or name, the most frequent first. Keys and words of the feed that match without
    regard to number and British spelling become aliases. A key takes several values if a product in the feed has
    several, or if it is about features. Sizes are left out, because those of variants differ. Raises `TaxonomyError` if
    the reference has no attributes, or no category of the feed.
    """
    if not reference.attributes:
        raise TaxonomyError(
            "--taxonomy has no attributes. Give Shopify's attributes too: taxonomy.json, or attributes.json besides "
            "categories.json, or attributes.yml and values.yml besides categories/*.yml."
        )
    met = _categories(reference, rows)
    names = _unique_names([category for category, _ in met])
    attributes: dict[str, Attribute] = {}
    applies: dict[str, list[str]] = defaultdict(list)
    for (category, _), name in zip(met, names, strict=True):
        for id in category.attributes:
            attribute = reference.attributes.get(id)
            if attribute is not None and attribute.values and key_name(attribute.name) not in SIZES:
                key = key_name(attribute.name)
                attributes[key] = attribute
                applies[key].append(name)
    key_aliases = _key_aliases(rows, attributes)
    stated: dict[str, set[str]] = defaultdict(set)
    several = set()
    for row in rows:
        for name, words in row.labels.items():
            key = key_aliases.get(name, name)
            stated[key].update(words)
            if len(words) > 1:
                several.add(key)
    keys = {
        key: _key(attribute, applies[key], stated[key], many=key in several) for key, attribute in attributes.items()
    }
    aliases = {
        word: name
        for (_, words), name in zip(met, names, strict=True)
        for word in words
        if fold(word) not in map(fold, names)
    }
    return Taxonomy(categories=tuple(names), category_aliases=aliases, keys=keys, key_aliases=key_aliases)


def _categories(reference: Reference, rows: Iterable[Row]) -> list[tuple[Category, list[str]]]:
    """The categories that the rows name, the most frequent first, each with the feed's words for it."""
    known = Categories(reference.categories["shopify"].values())
    counts = Counter(word for _, word in {(row.id, row.category) for row in rows if row.category})
    found: dict[str, tuple[Category, list[str]]] = {}
    for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if (category := known.named([word])) is not None:
            found.setdefault(category.id, (category, []))[1].append(word)
    if not found:
        raise TaxonomyError(
            "no category of the feed is one of --taxonomy, by its full path or its name. Use a taxonomy.toml instead, "
            "or no --taxonomy, which drafts one from the feed."
        )
    return [*found.values()]


def _unique_names(categories: Sequence[Category]) -> list[str]:
    """The names of the categories; those that share a name are named by their paths."""
    counts = Counter(fold(category.name) for category in categories)
    return [category.name if counts[fold(category.name)] == 1 else category.path for category in categories]


def _key_aliases(rows: Iterable[Row], attributes: Mapping[str, Attribute]) -> dict[str, str]:
    """The keys of the feed that are others in the taxonomy: `colour` is `color`."""
    by_form = {canonical(attribute.name): key for key, attribute in attributes.items()}
    names = dict.fromkeys(name for row in rows for name, words in row.labels.items() if words)
    pairs = ((name, by_form.get(canonical(name))) for name in names if name not in attributes)
    return {name: key for name, key in pairs if key is not None}


def _key(attribute: Attribute, categories: Sequence[str], stated: Iterable[str], *, many: bool) -> Key:
    values: dict[str, str] = {}
    for value in attribute.values:
        if not unfit(value.name):
            values.setdefault(fold(value.name), value.name)
    by_form = {form: value for value in values.values() for form in spelled([value])}
    aliases: dict[str, str] = {}
    for word in sorted(stated):
        match = by_form.get(canonical(word))
        if match is not None and fold(word) not in {*values, *map(fold, aliases)}:
            aliases[word] = match
    return Key(
        arity="many" if many or MANY in attribute.name.casefold() else "one",
        categories=tuple(categories),
        values=tuple(values.values()),
        title=attribute.name,
        aliases=aliases,
    )
