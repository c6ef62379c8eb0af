"""Logits of one product, and of many products in arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from attire.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class ProductLogits:
    """Mean logits over a product's readable photos, float32[C] and float32[K], or None if there is no readable photo.

    faults: each photo that could not be used, with the reason; known: the category if it is known; titled: whether the
    product has a title; group: "" if it is not known.
    """

    id: str
    category: NDArray[np.float32] | None
    attributes: NDArray[np.float32] | None
    faults: tuple[str, ...]
    known: str | None = None
    titled: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True)
class LogitsTable:
    """N products in order, M of which have logits.

    ids and faults: as in `ProductLogits`; answered: int64[M], the positions of products with logits; category:
    float32[M, C]; attributes: float32[M, K]; known: int64[M], the known category or -1; stated and titled: how many of
    the N products have a known category and a title; groups: those of the M products, "" where it is not known.
    """

    ids: list[str]
    faults: list[tuple[str, ...]]
    answered: NDArray[np.int64]
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]
    known: NDArray[np.int64]
    stated: int
    titled: int
    groups: tuple[str, ...] = ()

    @classmethod
    def take(cls, products: Iterable[ProductLogits], limit: int, taxonomy: Taxonomy) -> LogitsTable:
        """The next `limit` products, or fewer if there are no more.

        Logits are copied into two large arrays at once. Thousands of small arrays would fragment the memory between the
        large ones of an engine, so that memory would grow with the number of products.
        """
        category = np.empty((limit, len(taxonomy.categories)), np.float32)
        attributes = np.empty((limit, taxonomy.width), np.float32)
        ids, faults = [], []
        answered: list[int] = []
        known: list[int] = []
        groups: list[str] = []
        stated = titled = 0
        for position, product in enumerate(islice(products, limit)):
            ids.append(product.id)
            faults.append(product.faults)
            stated += product.known is not None
            titled += product.titled
            if product.category is not None:
                category[len(answered)], attributes[len(answered)] = product.category, product.attributes
                known.append(-1 if product.known is None else taxonomy.category_index[product.known])
                groups.append(product.group)
                answered.append(position)
        rows, positions, categories = len(answered), np.array(answered, np.int64), np.array(known, np.int64)
        return cls(
            ids, faults, positions, category[:rows], attributes[:rows], categories, stated, titled, tuple(groups)
        )

    def __len__(self) -> int:
        return len(self.ids)
