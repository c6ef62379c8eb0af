"""Answers of a bundle in the words of a catalog whose taxonomy has changed since the bundle was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from attire.errors import CatalogError, first_few
from attire.score.decisions import Accepted, Decisions
from attire.taxonomy import Taxonomy
from attire.word_places import WordPlaces

Number = TypeVar("Number", np.bool_, np.float32)


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Translation:
    """Where the words of a bundle are in `taxonomy`.

    categories: int64[C], keys: int64[A], values: int64[K]: the index of each of the bundle's in `taxonomy`; -1 for keys
    that it no longer has, and their values. notes: sentences about words that only one side has.
    """

    taxonomy: Taxonomy
    categories: NDArray[np.int64]
    keys: NDArray[np.int64]
    values: NDArray[np.int64]
    notes: tuple[str, ...]

    @classmethod
    def between(cls, bundle: Taxonomy, catalog: Taxonomy, where: str) -> Translation:
        """Find each word of the bundle in the catalog's taxonomy, as a word, a title or an alias.

        The catalog may have more words, and two words of the bundle may have become one. A bundle that answers only the
        category needs only the categories.

        Raises `CatalogError` if the catalog lacks a category, or a value of a key that it has. `where` is the file of
        its taxonomy.
        """
        if not bundle.keys:
            catalog = Taxonomy(categories=catalog.categories, category_aliases=catalog.category_aliases)
        places = WordPlaces.between(bundle, catalog)
        categories, gone, values = places.lost_words
        if lost := [*categories, *values]:
            raise CatalogError(
                f"the bundle was trained with another taxonomy than {where}, which lacks words that it answers "
                f"({first_few(lost)}). Add them there, as words or as aliases, and ingest again; or evaluate the "
                "bundle on the catalog that it was trained on."
            )
        return cls(catalog, places.categories, places.keys, places.values, tuple(_notes(places, gone)))

    def decisions(self, decisions: Decisions) -> Decisions:
        """The same answers in the words of `taxonomy`. The probabilities of words that became one are added."""
        return Decisions(
            category=np.where(decisions.category < 0, -1, self.categories[decisions.category]),
            category_probability=_moved(decisions.category_probability, self.categories, len(self.taxonomy.categories)),
            probability=_moved(decisions.probability, self.values, self.taxonomy.width).clip(max=1),
            chosen=_moved(decisions.chosen, self.values, self.taxonomy.width),
            applies=_moved(decisions.applies, self.keys, len(self.taxonomy.keys)),
        )

    def accepted(self, accepted: Accepted) -> Accepted:
        """The same accepted answers, by the keys and values of `taxonomy`."""
        return accepted._replace(
            keys=_moved(accepted.keys, self.keys, len(self.taxonomy.keys)),
            coarse=_moved(accepted.coarse, self.values, self.taxonomy.width),
        )


def _moved(columns: NDArray[Number], places: NDArray[np.int64], width: int) -> NDArray[Number]:
    """[N, width]: each column at its place, none for -1. Columns at one place are added, or joined if they are bool."""
    moved = np.zeros((len(columns), width), dtype=columns.dtype)
    for column, place in zip(columns.T, places.tolist(), strict=True):
        if place >= 0:
            moved[:, place] += column
    return moved


def _notes(places: WordPlaces, gone: list[str]) -> list[str]:
    categories, values = set(places.categories.tolist()), set(places.values.tolist())
    new = [word for i, word in enumerate(places.new.categories) if i not in categories]
    new += [f"{key}: {value}" for (key, value), i in places.new.column_index.items() if i not in values]
    notes = []
    if new:
        notes.append(f"The bundle is older than words of the taxonomy, and cannot answer with them: {first_few(new)}.")
    if gone:
        notes.append(
            f"The taxonomy no longer has keys of the bundle, so answers on them do not count: {first_few(gone)}."
        )
    return notes
