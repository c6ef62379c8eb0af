"""Products that share a photo or have nearly the same one, and what they state differently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from attire.catalog.duplicates import near_duplicates
from attire.catalog.store import Catalog, Product
from attire.labels import contradicts
from attire.taxonomy import CATEGORY, Taxonomy

Pairs = NDArray[np.int64]  # [P, 2], rows of products, the lower one first; each pair once


def shared_photos(catalog: Catalog, *, only_first: bool = False) -> Pairs:
    """Pairs of products that have the same photo, each product with the first one that has it.

    only_first: look at the first photo of each product, because many products share a size chart.
    """
    owners: dict[str, list[int]] = defaultdict(list)
    for row, photos in enumerate(_photos(catalog, only_first)):
        for photo in dict.fromkeys(photos):
            owners[photo].append(row)
    return _pairs((rows[0], other) for rows in owners.values() for other in rows[1:])


def nearly_shared_photos(catalog: Catalog, *, only_first: bool = False) -> Pairs:
    """Pairs of products of which a photo is nearly the same (`near_duplicates`)."""
    photos = catalog.photos.unique("sha256", maintain_order=True)
    digests = photos["sha256"].to_list()
    owner: dict[str, int] = {}
    for row, views in enumerate(_photos(catalog, only_first)):
        for photo in views:
            owner.setdefault(photo, row)
    pairs = near_duplicates(photos["phash"].to_list(), photos["thumb"].to_list())
    rows = ((owner.get(digests[a], -1), owner.get(digests[b], -1)) for a, b in pairs.tolist())
    return _pairs((a, b) for a, b in rows if a != b and min(a, b) >= 0)


def contradictions(taxonomy: Taxonomy, products: Sequence[Product]) -> list[str]:
    """The keys, and `CATEGORY`, of which two of the products cannot both be right.

    Both must state something that the other one does not, and that is no kind of it: {hood, zip} and {hood} go
    together, Navy Blue and its parent Blue too.
    """
    found = []
    for key in (CATEGORY, *taxonomy.keys):
        parents, stated = taxonomy.parents(key), {tuple(sorted(stated_of(product, key))) for product in products}
        if any(contradicts(a, b, parents) and contradicts(b, a, parents) for a, b in combinations(stated, 2)):
            found.append(key)
    return found


def stated_of(product: Product, key: str) -> tuple[str, ...]:
    """The values that are stated of a key or `CATEGORY`; empty if it is unknown."""
    if key == CATEGORY:
        return (product.category,) if product.category else ()
    return product.labels.get(key, ())


def _photos(catalog: Catalog, only_first: bool) -> list[Sequence[str]]:
    """The SHA-256 of the photos of each product."""
    return [views[:1] if only_first else views for views in catalog.photo_digests()]


def _pairs(pairs: Iterator[tuple[int, int]]) -> Pairs:
    return np.array(sorted({(min(pair), max(pair)) for pair in pairs}), dtype=np.int64).reshape(-1, 2)
