"""Erase photos from the caches of decoded photos and embeddings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from attire.catalog.store import Catalog
from attire.pixels import embedding_cache, photo_cache
from attire.pixels.content_cache import Entries, cache_folder, forget
from attire.storage import storing


def forget_photos(catalog: Catalog, sha256: Collection[str]) -> int:
    """Erase photos from all caches that the catalog uses, also for other catalogs that share them.

    Returns the number of erased entries. A process that writes a cache is waited for. Raises `StorageError` if a cache
    cannot be written.
    """
    caches = cache_folder(catalog)
    kinds = [
        ("photos-*", photo_cache.PIXELS, photo_cache.ENTRY, _pixels),
        ("embeddings-*", embedding_cache.EMBEDDINGS, embedding_cache.ENTRY, _embeddings),
    ]
    erased = 0
    for pattern, data, entry, spans in kinds:
        for folder in sorted(path for path in caches.glob(pattern) if path.is_dir()):
            with storing(folder), FileLock(folder / "lock"):
                erased += forget(folder, data, entry, list(sha256), spans)
    return erased


def _pixels(entries: Entries, _: Mapping[str, Any]) -> NDArray[np.int64]:
    size = entries["height"].astype(np.int64) * entries["width"] * 3
    return np.stack([entries["offset"], entries["offset"] + size], axis=1)


def _embeddings(entries: Entries, manifest: Mapping[str, Any]) -> NDArray[np.int64]:
    size = embedding_cache.row_bytes(manifest)
    starts = np.arange(len(entries), dtype=np.int64) * size
    return np.stack([starts, starts + size], axis=1)
