"""Where the words of one taxonomy are in another one: unchanged, renamed, moved or merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from attire.spellings import fold
from attire.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class WordPlaces:
    """The index in the taxonomy `new` of each category, key and value of `old`; -1 for those that it lacks.

    A word of `old` that is a title or an alias in `new` is the word that it stands for. categories: int64[C]; keys:
    int64[A]; values: int64[K], columns; of `old`.
    """

    old: Taxonomy
    new: Taxonomy
    categories: NDArray[np.int64]
    keys: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def between(cls, old: Taxonomy, new: Taxonomy) -> Self:
        """Find the words of `old` in `new`."""
        found = new.category_spellings.words
        names = {name: i for i, name in enumerate(new.keys)}
        pairs = (new.label_named(key, value) for key, value in old.column_index)

        def array(places: list[int]) -> NDArray[np.int64]:
            return np.array(places, dtype=np.int64)

        return cls(
            old,
            new,
            array([new.category_index.get(found.get(fold(word), ""), -1) for word in old.categories]),
            array([names.get(new.key_named(key) or "", -1) for key in old.keys]),
            array([-1 if pair is None else new.column_index[pair] for pair in pairs]),
        )

    @property
    def new_words(self) -> tuple[list[str], list[str], list[str]]:
        """The categories, keys, and values of other keys (`key: value`) that only `new` has."""
        categories, keys, values = (set(places.tolist()) for places in (self.categories, self.keys, self.values))
        added = {key for i, key in enumerate(self.new.keys) if i not in keys}
        return (
            [word for i, word in enumerate(self.new.categories) if i not in categories],
            [key for key in self.new.keys if key in added],
            [f"{k}: {v}" for (k, v), i in self.new.column_index.items() if i not in values and k not in added],
        )

    @property
    def lost_words(self) -> tuple[list[str], list[str], list[str]]:
        """The categories, keys, and values of other keys (`key: value`) that only `old` has."""
        lost = {key for key, place in zip(self.old.keys, self.keys.tolist(), strict=True) if place < 0}
        pairs = zip(self.old.column_index, self.values.tolist(), strict=True)
        categories = zip(self.old.categories, self.categories.tolist(), strict=True)
        return (
            [word for word, place in categories if place < 0],
            [key for key in self.old.keys if key in lost],
            [f"{key}: {value}" for (key, value), place in pairs if place < 0 and key not in lost],
        )

    def unchanged(self, key: str) -> bool:
        """Whether the key of `new` is one key of `old`, with the same values in the same order, arity and parents.

        Names may differ.
        """
        number = list(self.new.keys).index(key)
        sources = np.flatnonzero(self.keys == number)
        if len(sources) != 1:
            return False
        name = list(self.old.keys)[sources[0]]
        old, new = self.old.keys[name], self.new.keys[key]
        columns = self.new.columns[key]
        same = np.array_equal(self.values[self.old.columns[name]], np.arange(columns.start, columns.stop))
        renamed = {new.spellings.words.get(fold(v)): new.spellings.words.get(fold(p)) for v, p in old.parents.items()}
        return bool(same and old.arity == new.arity and renamed == new.parents)
