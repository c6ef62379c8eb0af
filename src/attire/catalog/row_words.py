"""Resolve the words of one row of a feed in a taxonomy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from attire.catalog.feed_row import Row
from attire.errors import TaxonomyError, shown
from attire.taxonomy import CATEGORY, Taxonomy

KEY = "@key"  # stands for an unknown key among unknown words; no key can have this name
COMPARISONS = 20_000_000  # budget of word comparisons for "did you mean" hints: about 2 seconds


@dataclass(frozen=True, slots=True)
class CheckedProduct:
    """A product in the words of the taxonomy. `row` is the first row with its id; None if the feed does not name it.

    `unresolved` has the words of keys (and `CATEGORY`) without a label here, because one of them is not known.
    `retired` has words that the taxonomy retired: they are no labels, and the other words of the cell are.
    """

    row: int | None
    id: str
    group: str
    category: str | None
    labels: dict[str, tuple[str, ...]]
    images: tuple[str, ...]
    title: str
    unresolved: dict[str, tuple[str, ...]] = field(default_factory=dict)
    retired: dict[str, tuple[str, ...]] = field(default_factory=dict)


class UnknownWord(NamedTuple):
    """A word of a product that is not in the taxonomy: a value of `key`, or a category (`CATEGORY`) or key (`KEY`)."""

    key: str
    word: str
    id: str


class _Word(NamedTuple):
    """What a text means: a word, or nothing, with the fault; a retired word means nothing and is no fault."""

    word: str | None
    fault: str = ""
    is_retired: bool = False


class _Words:
    """Looks up the words of a feed in a taxonomy, with a cache: a feed repeats its words, misspelt ones too."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._cache: dict[tuple[str, str], _Word] = {}
        self._keys: dict[str, str | None] = {}
        self._comparisons = 0

    def find(self, key: str, text: str) -> _Word:
        """The value of `key`, or the category (`CATEGORY`), with the spelling `text`."""
        if (key, text) not in self._cache:
            self._cache[key, text] = self._look_up(key, text)
        return self._cache[key, text]

    def key_named(self, column: str) -> str | None:
        """The key with that name, alias or title."""
        if column not in self._keys:
            self._keys[column] = self.taxonomy.key_named(column)
        return self._keys[column]

    def _look_up(self, key: str, text: str) -> _Word:
        taxonomy, hint = self.taxonomy, self._comparisons < COMPARISONS
        if taxonomy.is_retired(key, text):
            return _Word(None, is_retired=True)
        try:
            return _Word(
                taxonomy.category(text, hint=hint) if key == CATEGORY else taxonomy.value(key, text, hint=hint)
            )
        except TaxonomyError as error:
            self._comparisons += len(taxonomy.categories if key == CATEGORY else taxonomy.keys[key].values)
            return _Word(None, f"{error} Add it or an alias in taxonomy.toml.")


class RowReader:
    """Resolves the words of rows. With `leave_out`, unknown words are collected instead of being faults; with
    `keep_misfits`, so are fields with several values of a key that takes one, and keys that are unknown keep their
    words."""

    def __init__(self, taxonomy: Taxonomy, *, leave_out: bool, keep_misfits: bool = False) -> None:
        self.taxonomy, self.leave_out, self.keep_misfits = taxonomy, leave_out, keep_misfits
        self.words = _Words(taxonomy)
        self.unknown: set[UnknownWord] = set()
        self.several: list[tuple[str, str]] = []

    def product(self, row: Row, *, may_lack_photos: bool) -> tuple[CheckedProduct, list[str]]:
        """The row in the words of the taxonomy, as far as they are known, and its faults."""
        unresolved: dict[str, tuple[str, ...]] = {}
        retired: dict[str, tuple[str, ...]] = {}
        faults = [
            "the id is empty. Every product needs one." if not row.id else "",
            "it names no photo." if not row.images and not may_lack_photos else "",
        ]
        category, fault, is_retired = self.words.find(CATEGORY, row.category) if row.category else _Word(None)
        if is_retired:
            retired[CATEGORY] = (row.category,)
        elif fault and self.leave_out:
            self.unknown.add(UnknownWord(CATEGORY, row.category, row.id))
            unresolved[CATEGORY] = (row.category,)
        else:
            faults.append(fault)
        labels: dict[str, tuple[str, ...]] = {}
        for name, texts in self._by_key(row, unresolved, retired).items():
            found = {text: self.words.find(name, text) for text in texts}
            missing = {text for text, word in found.items() if word.fault}
            if missing and self.leave_out:
                self.unknown.update(UnknownWord(name, text, row.id) for text in missing)
                unresolved[name] = texts  # the other values too: the unknown word may be another word for any value
                continue
            faults += [found[text].fault for text in texts if text in missing]
            values = tuple(dict.fromkeys(word.word for word in found.values() if word.word is not None))
            if len(values) > 1 and self.taxonomy.keys[name].arity == "one":
                if self.keep_misfits:
                    self.several.append((name, row.id))
                    unresolved[name] = texts
                    continue
                several = "', '".join(values)
                faults.append(f"{name} takes one value, got '{shown(several)}'. Set arity = \"many\" in taxonomy.toml?")
            elif values:
                labels[name] = values
            if without_label := tuple(text for text, word in found.items() if word.is_retired):
                retired[name] = without_label
        product = CheckedProduct(
            row.number, row.id, row.group, category, labels, row.images, row.title, unresolved, retired
        )
        return product, [fault for fault in faults if fault]

    def _by_key(
        self, row: Row, unresolved: dict[str, tuple[str, ...]], retired: dict[str, tuple[str, ...]]
    ) -> dict[str, tuple[str, ...]]:
        """The texts of each key; several columns may name one key. Columns that name none go to the other arguments."""
        texts_of: dict[str, tuple[str, ...]] = {}
        for column, texts in row.labels.items():
            if not texts:
                continue
            name = self.words.key_named(column)
            if name is not None:
                texts_of[name] = tuple(dict.fromkeys((*texts_of.get(name, ()), *texts)))
            elif column in self.taxonomy.retired_keys:
                retired[column] = texts
            elif self.leave_out:  # otherwise it is reported once for the whole feed
                self.unknown.add(UnknownWord(KEY, column, row.id))
                if self.keep_misfits:
                    unresolved[column] = texts
        return texts_of
