"""Embeddings computed once and kept beside the catalog, a file for each (content, backbone, preprocessing)."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
from numpy.typing import NDArray

from attire.catalog.store import Catalog
from attire.files import replacing
from attire.pixels.preprocess import Preprocess

logger = logging.getLogger(__name__)


class EmbeddingCache:
    """The file of one set of embeddings: float32[N, F], every photo of the catalog's products end to end."""

    def __init__(self, catalog: Catalog, backbone: str, preprocess: Preprocess) -> None:
        """`backbone` identifies architecture and weights."""
        content = json.dumps([catalog.digest, backbone, preprocess.model_dump()])
        self.path = catalog.path / "cache" / f"embeddings-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npy"

    def read(self, photos: int) -> NDArray[np.float32] | None:
        """The embeddings of so many photos, mapped read-only from disk, or None where they are yet to be computed."""
        if not self.path.exists():
            return None
        try:
            found: NDArray[np.float32] = np.load(self.path, mmap_mode="c", allow_pickle=False)
            if found.ndim != 2 or len(found) != photos:
                raise ValueError(f"its shape is {found.shape}, expected {photos:,} rows")
        except (OSError, EOFError, ValueError) as error:
            logger.warning("%s is damaged (%s): it is computed again", self.path, error)
            return None
        return found

    def write(self, embeddings: NDArray[np.float32]) -> None:
        """Keep `embeddings`, whole or not at all."""
        self.path.parent.mkdir(exist_ok=True)
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.save(file, embeddings, allow_pickle=False)
