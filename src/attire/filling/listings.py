"""What a feed and the model together say about each product, in the words of a shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field

from attire.catalog.feed_row import Row
from attire.filling.feed_editor import Words
from attire.filling.survey import known
from attire.references.mapping import Mapping, Target, forms
from attire.taxonomy import CATEGORY, Taxonomy, key_label

SIZE = "size"  # a key that is passed on as it is


@dataclass(slots=True)
class Listing:
    """A product for a shop. fields: the values of each of the shop's columns, without repeats."""

    id: str
    title: str
    image: str
    size: Words
    category: Target | None = None
    fields: dict[str, list[Target]] = field(default_factory=dict)


@dataclass(slots=True)
class _Product:
    """The own words of a product, those of its first row that has them."""

    title: str = ""
    images: list[str] = field(default_factory=list)
    words: dict[str, Words] = field(default_factory=dict)


class Listings:
    """Products in the words of a shop. `unmapped` counts the products of each own word that the mapping lacks."""

    def __init__(self, taxonomy: Taxonomy, mapping: Mapping) -> None:
        self.taxonomy, self.mapping = taxonomy, mapping
        self.unmapped: Counter[str] = Counter()
        self.keys = tuple(dict.fromkeys((CATEGORY, *taxonomy.keys, *mapping.keys, SIZE)))

    def of(self, rows: Iterable[Row], edits: MappingOf[int, MappingOf[str, Words]]) -> Iterator[Listing]:
        """The products of the rows, with what was filled (`edits`), in the order of the feed."""
        products: dict[str, _Product] = {}
        for row in rows:
            if not row.id:
                continue
            product = products.setdefault(row.id, _Product())
            product.title = product.title or row.title
            product.images += row.images
            cells = edits.get(row.number, {})
            for key in self.keys:
                stated = ((row.category,) if row.category else ()) if key == CATEGORY else row.labels.get(key, ())
                if words := cells.get(key) or stated:
                    product.words.setdefault(key, words)
        for id, product in products.items():
            yield self._listing(id, product)

    def _listing(self, id: str, product: _Product) -> Listing:
        image = next((name for name in product.images if name.startswith(("https://", "http://"))), "")
        listing = Listing(id, product.title, image, product.words.get(SIZE, ()))
        for key, words in product.words.items():
            if key == CATEGORY:
                listing.category = self._category(words[0])
            elif key in self.mapping.keys:
                self._add(listing, key, words)
            elif key != SIZE:
                self.unmapped[f"the key {key}"] += 1
        return listing

    def _category(self, word: str) -> Target | None:
        target = _found(self.mapping.category_of, self._forms(CATEGORY, word))
        if target is None:
            self.unmapped[f"category '{word}'"] += 1
        return target if target and target.name else None

    def _add(self, listing: Listing, key: str, words: Words) -> None:
        columns = self.mapping.values_of[key]
        for word in words:
            spelled = self._forms(key, word)
            found = {column: target for column, by_form in columns.items() if (target := _found(by_form, spelled))}
            if columns and not found:
                self.unmapped[f"{key_label(key)} '{word}'"] += 1
            for column, target in found.items():
                values = listing.fields.setdefault(column, [])
                if target.name and target.name not in [value.name for value in values]:
                    values.append(target)

    def _forms(self, key: str, word: str) -> list[str]:
        """The forms of the word, and of the value that it is a spelling of."""
        value = known(self.taxonomy, key, word) if key == CATEGORY or key in self.taxonomy.keys else None
        exact, loose = zip(*map(forms, [word] if value is None else [word, value]), strict=True)
        return [*exact, *loose]


def _found(targets: MappingOf[str, Target], spelled: Iterable[str]) -> Target | None:
    return next((targets[form] for form in spelled if form in targets), None)
