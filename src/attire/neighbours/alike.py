"""Pairs of products with photos that a bundle can hardly tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.embeddings import catalog_embeddings
from attire.neighbours.labelled_photos import WORKERS
from attire.neighbours.search import make_search
from attire.neighbours.vectors import cached_vectors, require_vectors
from attire.progress import track

EACH = 8  # photos that are compared with each photo: the most similar ones
BLOCK = 512  # photos per step of the progress bar


def alike(bundle: ModelBundle, catalog: Catalog, similarity: float) -> NDArray[np.int64]:
    """int64[P, 2]: rows of products with photos of at least that cosine similarity, each pair once.

    Photos that the bundle has not looked at yet are embedded first. Raises the errors of `require_vectors`, and
    `MissingExtraError` for many photos without usearch.
    """
    require_vectors(bundle)
    cache = catalog_embeddings(catalog, bundle.placed_network, bundle.spec.network.backbone, bundle.preprocess, WORKERS)
    first: dict[str, int] = {}
    for row, photos in enumerate(catalog.photo_digests()):
        for photo in photos:
            first.setdefault(photo, row)
    owner = np.array(list(first.values()), dtype=np.int64)
    vectors = cached_vectors(bundle, cache.embeddings, cache.rows(list(first)))
    search, pairs = make_search(vectors), set()
    steps = range(0, len(vectors), BLOCK)
    for start in track(steps, "comparing photos", "steps", len(steps)):
        rows, cosine = search.nearest(vectors[start : start + BLOCK], EACH + 1)
        query, rank = np.nonzero(cosine >= similarity)
        a, b = owner[start + query], owner[rows[query, rank]]
        pairs |= {(min(pair), max(pair)) for pair in zip(a.tolist(), b.tolist(), strict=True) if pair[0] != pair[1]}
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
