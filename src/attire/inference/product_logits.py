"""Logits of products: of one, and of many as the rows of two arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from attire.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class ProductLogits:
    """Mean logits over a product's readable photos: float32[C] and float32[K], or None where it has none.

    `faults` names each photo that could not be used, with the reason. `known` is the category that needs no network;
    `titled` products came with a title.
    """

    id: str
    category: NDArray[np.float32] | None
    attributes: NDArray[np.float32] | None
    faults: tuple[str, ...]
    known: str | None = None
    titled: bool = False


@dataclass(frozen=True, slots=True)
class LogitsTable:
    """N products in their order, M of which have logits.

    ids and faults: of each product, as `ProductLogits` has them; answered: int64[M], the places of the M among the N;
    category: float32[M, C] and attributes: float32[M, K]; known: int64[M], the known category, -1 where there is none;
    stated and titled: how many of the N came with a category and with a title.
    """

    ids: list[str]
    faults: list[tuple[str, ...]]
    answered: NDArray[np.int64]
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]
    known: NDArray[np.int64]
    stated: int
    titled: int

    @classmethod
    def take(cls, found: Iterable[ProductLogits], most: int, taxonomy: Taxonomy) -> LogitsTable:
        """The next `most` of `found`, or as many as there are left.

        Rows are filled as products come: thousands of small arrays that are kept for long would lie between the large
        ones of an engine, whose room could then not be used again, and memory would grow with the number of products.
        """
        category = np.empty((most, len(taxonomy.categories)), np.float32)
        attributes = np.empty((most, taxonomy.width), np.float32)
        ids, faults = [], []
        answered: list[int] = []
        known: list[int] = []
        stated = titled = 0
        for place, product in enumerate(islice(found, most)):
            ids.append(product.id)
            faults.append(product.faults)
            stated += product.known is not None
            titled += product.titled
            if product.category is not None:
                category[len(answered)], attributes[len(answered)] = product.category, product.attributes
                known.append(-1 if product.known is None else taxonomy.category_index[product.known])
                answered.append(place)
        rows, places, categories = len(answered), np.array(answered, np.int64), np.array(known, np.int64)
        return cls(ids, faults, places, category[:rows], attributes[:rows], categories, stated, titled)

    def __len__(self) -> int:
        return len(self.ids)
