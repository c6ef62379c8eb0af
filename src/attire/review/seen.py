"""Labelled photos that are similar to that of a product, with what is stated or decided of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.review.store.events import Decision

if TYPE_CHECKING:
    from attire.bundle import ModelBundle
    from attire.neighbours.labelled_photos import LabelledPhotos, Neighbour

Decisions = Mapping[tuple[str, str], Decision]
NOTHING = "No photo with a label for this is known."
NOT_EMBEDDED = (
    "The model has not looked at this photo or at the labelled ones yet. Stop the page, and start it once with "
    "--embed: it looks at each photo of the catalog, which takes minutes for thousands."
)


class Seen:
    """Finds similar photos; the first question takes seconds. Without a bundle there are none."""

    def __init__(self, catalog: Catalog, bundle: ModelBundle | None, *, embed: bool = False) -> None:
        """With `embed`, the photos that the bundle has not looked at yet are embedded now."""
        self._catalog, self._bundle = catalog, bundle
        self._lock = threading.Lock()
        self._photos: LabelledPhotos | None = self._open(compute=True) if embed else None

    def like(self, product: str, key: str, decisions: Callable[[list[str]], Decisions]) -> tuple[list[Neighbour], str]:
        """The labelled photos that are most similar to the product's first one, and a sentence about them.

        The sentence is what most of them state, or why there are none. `decisions` returns the decisions on the fields
        of products, which count instead of what the feed states.

        Raises `CatalogError` for an unknown product or without a bundle, `TaxonomyError` for an unknown key, and the
        errors of `LabelledPhotos`.
        """
        from attire.neighbours.labelled_photos import opinion  # imports torch

        with self._lock:
            if self._photos is None:
                self._photos = self._open(compute=False)
            found = self._photos.nearest_of(product, 0, key)
            embedded = self._photos.embedded(product, 0)
        if not found:
            return [], NOTHING if embedded and len(self._photos) else NOT_EMBEDDED
        decided = as_decided(found, key, decisions([neighbour.id for neighbour in found]))
        return decided, opinion(decided)

    def _open(self, *, compute: bool) -> LabelledPhotos:
        from attire.neighbours.labelled_photos import LabelledPhotos  # imports torch

        if self._bundle is None:
            raise CatalogError("similar photos need a model. Start the page with attire review ... --bundle BUNDLE.")
        return LabelledPhotos(self._bundle, self._catalog, compute=compute)


def as_decided(neighbours: list[Neighbour], key: str, decisions: Decisions) -> list[Neighbour]:
    """The photos with the values that reviewers decided, in place of those of the feed."""
    decided = {
        product: decision.values for (product, name), decision in decisions.items() if name == key and decision.decided
    }
    return [replace(neighbour, values=decided.get(neighbour.id, neighbour.values)) for neighbour in neighbours]
