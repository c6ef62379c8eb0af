"""A cache of embeddings in the catalog's directory: a file for each (content, backbone, preprocessing)."""

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
    """The file of one set of embeddings: float32[N, F], for the photos of all products end to end."""

    def __init__(self, catalog: Catalog, backbone: str, preprocess: Preprocess) -> None:
        """`backbone` identifies the architecture and the weights."""
        content = json.dumps([catalog.digest, backbone, preprocess.model_dump()])
        self.path = catalog.path / "cache" / f"embeddings-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npy"

    def read(self, photos: int) -> NDArray[np.float32] | None:
        """The embeddings of that number of photos, memory-mapped, or None if they must be computed."""
        if not self.path.exists():
            return None
        try:
            embeddings: NDArray[np.float32] = np.load(self.path, mmap_mode="c", allow_pickle=False)
            if embeddings.ndim != 2 or len(embeddings) != photos:
                raise ValueError(f"its shape is {embeddings.shape}, expected {photos:,} rows")
        except (OSError, EOFError, ValueError) as error:
            logger.warning("%s is damaged (%s): it is computed again", self.path, error)
            return None
        return embeddings

    def write(self, embeddings: NDArray[np.float32]) -> None:
        """Save `embeddings` atomically."""
        self.path.parent.mkdir(exist_ok=True)
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.save(file, embeddings, allow_pickle=False)
