"""The labelled photos of a catalog that are most like a photo, and what is stated about them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import kept_for_test
from attire.catalog.store import Catalog
from attire.embeddings import cached_embeddings, catalog_embeddings
from attire.labels import labelled
from attire.neighbours.search import make_search
from attire.neighbours.vectors import photo_vectors, require_vectors
from attire.pixels.content_cache import rows_of
from attire.taxonomy import CATEGORY

SHOWN = 5  # photos
SPARE = 4  # times as many are looked up at first, because several may be of one group
WORKERS = 1  # processes that decode photos that have no embedding yet


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled photo that is like another one.

    photo: its number among those of product `id`, from 0. similarity: cosine, at most 1. values: what is stated of the
    asked key.
    """

    id: str
    photo: int
    path: Path
    similarity: float
    values: tuple[str, ...]


class LabelledPhotos:
    """The photos of a catalog's products, as a bundle sees them. Their number is the `len`.

    Products of the test split and of the judged random sample are not among them, so that nobody learns or chooses
    from their labels.
    """

    def __init__(self, bundle: ModelBundle, catalog: Catalog, *, compute: bool = False) -> None:
        """Take the photos with cached embeddings; with `compute`, embed the others first (minutes for thousands).

        Raises the errors of `require_vectors`, and `MissingExtraError` for many photos without usearch.
        """
        require_vectors(bundle)
        self.catalog, self._bundle = catalog, bundle
        network, name = bundle.placed_network, bundle.spec.network.backbone
        self._cache = (
            catalog_embeddings(catalog, network, name, bundle.preprocess, WORKERS)
            if compute
            else cached_embeddings(catalog, network, name, bundle.preprocess)
        )
        self._targets = catalog.targets()
        self._groups, groups = np.unique(catalog.products["group"].to_numpy(), return_inverse=True)
        digests, hidden = catalog.photo_digests(), catalog.audited | kept_for_test(catalog)
        self._digests = digests
        self._groups_of_photo: dict[str, set[int]] = defaultdict(set)
        for row, photos in enumerate(digests):
            for photo in photos:
                self._groups_of_photo[photo].add(int(groups[row]))
        photos = [
            (row, number, photo)
            for row, (id, views) in enumerate(zip(catalog.ids, digests, strict=True))
            if id not in hidden
            for number, photo in enumerate(views)
        ]
        place = self._places([photo for _, _, photo in photos])
        kept = [(*photo[:2], at) for photo, at in zip(photos, place.tolist(), strict=True) if at >= 0]
        table = np.array(kept, dtype=np.int64).reshape(-1, 3)
        self._product, self._number = table[:, 0], table[:, 1]
        self._group = groups[self._product]
        if len(table):
            assert self._cache is not None
            self._search = make_search(photo_vectors(bundle, self._cache.embeddings[table[:, 2]]))

    def __len__(self) -> int:
        return len(self._product)

    def nearest_to(self, sha256: Sequence[str], key: str, count: int = SHOWN) -> list[list[Neighbour]]:
        """For each photo of the catalog, by its SHA-256: the most similar ones with a label of `key`, one per group.

        `key` may be `CATEGORY`. Products of the photo's own group are left out, because variants of an item share what
        is stated. The list is empty for a photo without a cached embedding. Raises `TaxonomyError` for an unknown key.
        """
        found: list[list[Neighbour]] = [[] for _ in sha256]
        places = self._places(sha256)
        known = np.flatnonzero(places >= 0)
        if len(known) and self._cache is not None:
            features = self._cache.embeddings[places[known]]
            photos = [sha256[i] for i in known.tolist()]
            for i, nearest in zip(known.tolist(), self.nearest(features, photos, key, count), strict=True):
                found[i] = nearest
        return found

    def nearest(
        self, features: NDArray[np.float32], sha256: Sequence[str | None], key: str, count: int = SHOWN
    ) -> list[list[Neighbour]]:
        """The same for photos of which the network's features are given, float32[Q, F]; `sha256` may be None."""
        allowed = self._labelled(key)[self._product]
        if not allowed.any():
            return [[] for _ in sha256]
        vectors = photo_vectors(self._bundle, features)
        own = [self._groups_of_photo.get(photo or "", set()) for photo in sha256]
        found: list[list[Neighbour]] = [[] for _ in sha256]
        pending, wanted, most = list(range(len(vectors))), SPARE * count, int(allowed.sum())
        while pending:
            rows, similarity = self._search.nearest(vectors[pending], min(wanted, most), allowed)
            for query, places, cosines in zip(pending, rows, similarity, strict=True):
                found[query] = self._one_per_group(places, cosines, own[query], key, count)
            pending = [query for query in pending if len(found[query]) < count] if wanted < most else []
            wanted *= SPARE
        return found

    def _one_per_group(
        self, rows: NDArray[np.int64], similarity: NDArray[np.float32], own: set[int], key: str, count: int
    ) -> list[Neighbour]:
        seen, neighbours = set(own), []
        for row, cosine in zip(rows.tolist(), similarity.tolist(), strict=True):
            group = int(self._group[row])
            if row < 0 or group in seen:
                continue
            seen.add(group)
            neighbours.append(self._neighbour(row, cosine, key))
            if len(neighbours) == count:
                break
        return neighbours

    def _neighbour(self, row: int, similarity: float, key: str) -> Neighbour:
        product, number = int(self._product[row]), int(self._number[row])
        (paths,) = self.catalog.photo_paths(np.array([product]))
        taxonomy = self.catalog.taxonomy
        if key == CATEGORY:
            values: tuple[str, ...] = (taxonomy.categories[self._targets.category[product]],)
        else:
            marks = self._targets.hot[product, taxonomy.columns[key]]
            values = tuple(value for value, marked in zip(taxonomy.keys[key].values, marks, strict=True) if marked)
        return Neighbour(self.catalog.ids[product], number, paths[number], similarity, values)

    def _labelled(self, key: str) -> NDArray[np.bool_]:
        """bool[N]: the products with a label of the key that their category does not rule out."""
        if key == CATEGORY:
            return np.asarray(self._targets.category >= 0)
        self.catalog.taxonomy.key(key)
        return np.asarray(self._targets.hot[:, self.catalog.taxonomy.columns[key]].any(axis=1))

    def _places(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """int64[Q]: the row of each photo in the cache, -1 without an embedding."""
        if self._cache is None:
            return np.full(len(sha256), -1)
        return rows_of(self._cache.entries, sha256)


def opinion(neighbours: Sequence[Neighbour]) -> str:
    """What most of the photos state, as a sentence; "" without any.

    >>> photos = [Neighbour(id, 0, Path(), 0.9, (value,)) for id, value in (("p1", "V-Neck"), ("p2", "V-Neck"))]
    >>> opinion([*photos, Neighbour("p3", 0, Path(), 0.8, ("Round Neck",))])
    '2 of the 3 most similar photos state V-Neck.'
    """
    if not neighbours:
        return ""
    counts = Counter(value for neighbour in neighbours for value in neighbour.values)
    value, count = counts.most_common(1)[0]
    return f"{count} of the {len(neighbours)} most similar photos state {value}."


def sha256_of(photo: Path | bytes) -> str:
    """The SHA-256 of a photo's content, by which a catalog knows it."""
    return hashlib.sha256(photo if isinstance(photo, bytes) else photo.read_bytes()).hexdigest()
