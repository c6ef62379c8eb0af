"""The words of a shop that own words are matched with: its categories, its columns, and the values of each column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from attire.references.mapping import Target
from attire.references.matching import age, canonical, gender, listed_names, nearest, spaced, spelled
from attire.references.metafields import attribute_id, column_of
from attire.references.reference import Category, Reference, Shop

AGE_GROUPS = ("newborn", "infant", "toddler", "kids", "adult")
GENDER_WORDS = ("male", "female", "unisex")
# Google's columns for attributes, with the canonical names of keys that they are filled from. Those with listed values
# are chosen by the values of a key instead.
GOOGLE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "color": ("color", "basecolor", "maincolor"),
    "gender": (),
    "age_group": (),
    "material": ("material", "fabric"),
    "pattern": ("pattern", "print"),
}
GOOGLE_VALUES = {"gender": GENDER_WORDS, "age_group": AGE_GROUPS}


class Categories:
    """Categories of a shop, found by path or name. Of several with one name, the one with the shortest path counts."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self.all = list(categories)
        self._forms, self._depths = [spaced(category.name) for category in self.all], [one.depth for one in self.all]
        self._paths: dict[str, list[Category]] = defaultdict(list)
        self._names: dict[str, list[Category]] = defaultdict(list)
        self._parts: dict[str, list[Category]] = defaultdict(list)
        for category in self.all:
            self._paths[canonical(category.path)].append(category)
            self._names[canonical(category.name)].append(category)
            for part in listed_names(category.name):
                self._parts[canonical(part)].append(category)

    def named(self, words: Iterable[str]) -> Category | None:
        """The category with one of the paths or names.

        None if there is none, or if others could be meant: several with paths of one length, or one above them whose
        name lists it, such as "Coats & Jackets" besides "Activewear > Jackets".
        """
        for form in map(canonical, words):
            if len(exact := self._paths.get(form, [])) == 1:
                return exact[0]
            if (found := _highest(self._names.get(form, []))) is not None:
                others = (other for other in self._parts.get(form, []) if other.depth < found.depth)
                return found if all(found.path.startswith(other.path) for other in others) else None
        return None

    def listing(self, words: Iterable[str]) -> Category | None:
        """The category whose name lists one of the names among others, such as "Shirts & Tops"."""
        forms = [form for form in map(canonical, words) if form not in self._names]
        return next((found for form in forms if (found := _highest(self._parts.get(form, [])))), None)

    def candidates(self, word: str) -> list[Category]:
        """The categories with the most similar names."""
        return [self.all[position] for position in nearest(word, self._forms, self._depths)]


def _highest(categories: Sequence[Category]) -> Category | None:
    """The category with the shortest path, None if several have it."""
    least = min((category.depth for category in categories), default=0)
    highest = [category for category in categories if category.depth == least]
    return highest[0] if len(highest) == 1 else None


class Vocabulary:
    """The words of one shop in a reference."""

    def __init__(self, reference: Reference, shop: Shop) -> None:
        self.reference, self.shop = reference, shop
        self.categories = Categories(reference.categories[shop].values())
        self._shopify = Categories(reference.categories["shopify"].values()) if shop == "google" else None
        self.targets = cache(self._targets_of)
        self.by_form = cache(self._by_form_of)
        self.kind = cache(self._kind_of)

    def category(self, words: Sequence[str]) -> Category | None:
        """The category with one of the names, for Google also by way of Shopify's category of that name."""
        return self.categories.named(words) or self._by_shopify(words) or self.categories.listing(words)

    def _by_shopify(self, words: Sequence[str]) -> Category | None:
        found = self._shopify.named(words) if self._shopify else None
        id = self.reference.google_of.get(found.id, "") if found else ""
        return self.reference.categories["google"].get(id)

    def columns(self, categories: Sequence[str], least: float = 0.0) -> dict[str, str]:
        """The columns that products of these categories (ids) may have, with their names for people.

        least: the share of the categories that must have the column.

        All columns of Shopify, if the reference has no attributes of these categories.
        """
        if self.shop == "google":
            return {column: column for column in GOOGLE_COLUMNS}
        known = self.reference.categories["shopify"]
        counts = Counter(id for category in categories if category in known for id in known[category].attributes)
        attributes = [
            attribute
            for id, count in counts.items()
            if count >= least * len(categories) and (attribute := self.reference.attributes.get(id))
        ]
        return {
            column: attribute.name
            for attribute in (attributes if counts else self.reference.attributes.values())
            if (column := column_of(attribute))
        }

    def _targets_of(self, column: str) -> tuple[Target, ...] | None:
        """The values of a column; None if it takes any text, or is not known."""
        if self.shop == "google":
            values = GOOGLE_VALUES.get(column)
            return None if values is None else tuple(Target(name=value) for value in values)
        attribute = self.reference.attributes.get(attribute_id(column))
        return None if attribute is None else tuple(Target(id=value.id, name=value.name) for value in attribute.values)

    def free(self, column: str) -> bool:
        """Whether the column is known, and takes any text."""
        return self.shop == "google" and column in GOOGLE_COLUMNS and column not in GOOGLE_VALUES

    def _by_form_of(self, column: str) -> dict[str, Target]:
        """The values of a column by canonical form."""
        forms: dict[str, Target] = {}
        for target in self.targets(column) or ():
            for form in spelled([target.name]):
                forms.setdefault(form, target)
        return forms

    def _kind_of(self, column: str) -> str:
        """`gender` or `age` for a column whose values name people, else ""."""
        names = [target.name for target in self.targets(column) or ()]
        if {"male", "female"} <= set(map(gender, names)):
            return "gender"
        return "age" if {"adult", "kids"} <= set(map(age, names)) else ""
