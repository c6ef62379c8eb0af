"""The labelled photos of a catalog that are most like a photo, and what is stated about them."""

from __future__ import annotations

import hashlib
import logging
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
from attire.errors import ConfigError, MissingExtraError
from attire.neighbours.search import make_search
from attire.neighbours.vectors import cached_vectors, photo_vectors, require_vectors
from attire.pixels.content_cache import rows_of
from attire.taxonomy import CATEGORY

logger = logging.getLogger(__name__)
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

    @property
    def stated(self) -> str:
        """The values as text."""
        return ", ".join(self.values)


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
        _, groups = np.unique(catalog.products["group"].to_numpy(), return_inverse=True)
        self._digests, hidden = catalog.photo_digests(), catalog.audited | kept_for_test(catalog)
        self._groups_of_photo: dict[str, set[int]] = defaultdict(set)
        for row, views in enumerate(self._digests):
            for photo in views:
                self._groups_of_photo[photo].add(int(groups[row]))
        photos = [
            (row, number, photo)
            for row, (id, views) in enumerate(zip(catalog.ids, self._digests, strict=True))
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
            self._search = make_search(cached_vectors(bundle, self._cache.embeddings, table[:, 2]))

    def __len__(self) -> int:
        return len(self._product)

    def nearest_of(self, id: str, number: int, key: str, count: int = SHOWN) -> list[Neighbour]:
        """As `nearest`, for a photo of a product of the catalog; empty if it has no cached embedding.

        Raises `CatalogError` for an unknown product.
        """
        (row,) = self.catalog.rows_of([id]).tolist()
        photos = self._digests[row][number : number + 1]
        places = self._places(photos)
        if self._cache is None or not (places >= 0).any():
            return []
        return self.nearest(self._cache.embeddings[int(places[0])], photos[0], key, count)

    def embedded(self, id: str, number: int) -> bool:
        """Whether a photo of a product has a cached embedding; raises `CatalogError` for an unknown product."""
        (row,) = self.catalog.rows_of([id]).tolist()
        return bool((self._places(self._digests[row][number : number + 1]) >= 0).any())

    def nearest(
        self, features: NDArray[np.float32], sha256: str | None, key: str, count: int = SHOWN
    ) -> list[Neighbour]:
        """The photos with a label of `key` that are most similar to one photo, at most one per group.

        features: what the bundle's network makes of the photo, float32[F]. sha256: of its file. Products of its own
        group are left out, because variants of an item share what is stated. `key` may be `CATEGORY`. Raises
        `TaxonomyError` for an unknown key.
        """
        allowed = self._labelled(key)[self._product]
        own, vector = self._groups_of_photo.get(sha256 or "", set()), photo_vectors(self._bundle, features[None])
        found: list[Neighbour] = []
        wanted, most = SPARE * count, int(allowed.sum())
        while most and len(found) < count:
            rows, similarity = self._search.nearest(vector, min(wanted, most), allowed)
            found = self._one_per_group(rows[0], similarity[0], own, key, count)
            if wanted >= most:
                break
            wanted *= SPARE
        return found

    def _one_per_group(
        self, rows: NDArray[np.int64], similarity: NDArray[np.float32], own: set[int], key: str, count: int
    ) -> list[Neighbour]:
        seen = set(own)
        neighbours: list[Neighbour] = []
        for row, cosine in zip(rows.tolist(), similarity.tolist(), strict=True):
            group = int(self._group[row])
            if row >= 0 and group not in seen and len(neighbours) < count:
                seen.add(group)
                neighbours.append(self._neighbour(row, cosine, key))
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
        """bool[N]: the products with a label of the key; raises `TaxonomyError` for an unknown one."""
        if key == CATEGORY:
            return np.asarray(self._targets.category >= 0)
        self.catalog.taxonomy.key(key)
        return np.asarray(self._targets.hot[:, self.catalog.taxonomy.columns[key]].any(axis=1))

    def _places(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """int64[Q]: the row of each photo in the cache, -1 without an embedding."""
        if self._cache is None:
            return np.full(len(sha256), -1)
        return rows_of(self._cache.entries, sha256)


def cached_photos(bundle: ModelBundle, catalog: Catalog) -> LabelledPhotos | None:
    """The labelled photos, without computing anything; None, and a logged reason, if there are none to search."""
    try:
        photos = LabelledPhotos(bundle, catalog)
    except (ConfigError, MissingExtraError) as error:
        logger.info("no similar photos are shown: %s", error)
        return None
    if not len(photos):
        logger.info(
            "no similar photos are shown, because %s has no embeddings of this bundle. Make them with 'attire explain "
            "%s PHOTO --catalog %s'.",
            catalog.path,
            bundle.path,
            catalog.path,
        )
    return photos if len(photos) else None


def opinion(neighbours: Sequence[Neighbour]) -> str:
    """What most of the photos state, as a sentence; "" without any.

    >>> photos = [Neighbour(id, 0, Path(), 0.9, (value,)) for id, value in (("p1", "V-Neck"), ("p2", "V-Neck"))]
    >>> opinion([*photos, Neighbour("p3", 0, Path(), 0.8, ("Round Neck",))])
    '2 of the 3 most similar photos state V-Neck.'
    """
    counts = Counter(value for neighbour in neighbours for value in neighbour.values)
    if not counts:
        return ""
    value, count = counts.most_common(1)[0]
    return f"{count} of the {len(neighbours)} most similar photos state {value}."


def sha256_of(photo: Path | bytes) -> str:
    """The SHA-256 of a photo's content, by which a catalog knows it."""
    return hashlib.sha256(photo if isinstance(photo, bytes) else photo.read_bytes()).hexdigest()
