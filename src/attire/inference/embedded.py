"""An engine that looks a catalog's photos up in its cache of embeddings, and computes the heads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.embeddings import catalog_embeddings
from attire.engines.engine import Floats, Ids
from attire.engines.ranking import TORCH
from attire.errors import CatalogError
from attire.inference.decoding import ProductPhotos
from attire.model.backbone import fastest_precision


class EmbeddedEngine:
    """Answers as the engine `torch` does, up to rounding, a thousand products a second.

    Photos that the cache lacks are embedded first. For products of this catalog only, and for bundles with one network
    and pooled features (not `csra`).
    """

    name = TORCH

    def __init__(self, bundle: ModelBundle, catalog: Catalog, workers: int = 0) -> None:
        network = bundle.placed_network
        backbone = bundle.spec.network.backbone
        cache = catalog_embeddings(catalog, network, backbone, bundle.preprocess, workers)
        self.heads = network.heads
        self.device = next(network.parameters()).device
        self.half = fastest_precision() == "bf16-mixed"
        self.embeddings = cache.embeddings
        digests = [digest for photos in catalog.photo_digests() for digest in photos]
        paths = (path.absolute() for photos in catalog.photo_paths() for path in photos)
        self._row_of: dict[Path, int] = dict(zip(paths, cache.rows(digests).tolist(), strict=True))

    def inputs(self, products: Iterable[ProductPhotos]) -> Iterator[ProductPhotos | NDArray[Any]]:
        """Each product, followed by the embedding float32[F] of each photo.

        Raises `CatalogError` for a photo of another catalog.
        """
        for product in products:
            yield product
            for photo in product.photos:
                row = self._row_of.get(photo.absolute()) if isinstance(photo, Path) else None
                if row is None:
                    raise CatalogError(f"product '{product.id}' has a photo that is not in the catalog's cache.")
                yield self.embeddings[row]

    def logits(self, embeddings: NDArray[Any]) -> tuple[Floats, Floats]:
        """As `Engine.logits`, for embeddings float32[B, F]."""
        return self._logits(embeddings, None)

    def titled_logits(self, embeddings: NDArray[Any] | None, text: Ids) -> tuple[Floats, Floats]:
        """As `TitleEngine.titled_logits`, for embeddings float32[B, F]."""
        return self._logits(embeddings, text)

    def _logits(self, embeddings: NDArray[Any] | None, text: Ids | None) -> tuple[Floats, Floats]:
        features = None if embeddings is None else torch.from_numpy(np.ascontiguousarray(embeddings)).to(self.device)
        titles = None if text is None else torch.from_numpy(text).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.heads(features, titles)
        return logits.category.float().cpu().numpy(), logits.attributes.float().cpu().numpy()
