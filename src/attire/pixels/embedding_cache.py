"""A cache of a frozen backbone's embeddings, memory-mapped, with one row per photo.

CATALOG/cache/embeddings-DIGEST/ (see `content_cache`)
    embeddings.f4  those of all photos, end to end: F numbers each, float32 or float16
    index.bin      an `ENTRY` per photo
    manifest.json

DIGEST stands for all that decides what the embedding of a photo is; the manifest spells it out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from attire.files import read_json
from attire.pixels.content_cache import CHUNK, MANIFEST, Appender, Entries, make_empty, read_entries, rows_of
from attire.storage import storing

logger = logging.getLogger(__name__)

EMBEDDINGS = "embeddings.f4"  # also of another dtype, which the manifest has
FLOAT32, FLOAT16 = "<f4", "<f2"
ENTRY = np.dtype([("sha256", "S64"), ("crc32", "<u4")])
DAMAGE = (OSError, ValueError, KeyError, TypeError)  # what reading a damaged or missing cache raises

Embed = Callable[[Sequence[str]], Iterable[NDArray[np.float32]]]


class EmbeddingCache:
    """A cache on disk, opened for reading."""

    def __init__(self, folder: Path, width: int, entries: Entries, dtype: str) -> None:
        self.folder, self.width, self.entries, self.dtype = folder, width, entries, np.dtype(dtype)

    @classmethod
    def open(cls, folder: Path) -> EmbeddingCache:
        """Open a cache; raises one of `DAMAGE` if it does not match its manifest."""
        manifest = read_json(folder / MANIFEST)
        entries = read_entries(folder, EMBEDDINGS, ENTRY, manifest)
        cache = cls(folder, manifest["width"], entries, manifest.get("dtype", FLOAT32))
        if cache.bytes != manifest["bytes"]:
            raise ValueError(f"width {manifest['width']} does not fit {manifest['bytes']:,} bytes")
        return cache

    @property
    def bytes(self) -> int:
        """Size of the embeddings."""
        return len(self) * self.width * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, sha256: Sequence[str]) -> NDArray[Any]:
        """A copy of the embedding of each photo [N, F]; raises `KeyError` if one is missing."""
        return self.embeddings[self.rows(sha256)]

    def rows(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """int64[N]: the row of each photo in `embeddings`; raises `KeyError` if one is missing."""
        rows = rows_of(self.entries, sha256)
        if (rows < 0).any():
            raise KeyError(f"{self.folder} lacks {(rows < 0).sum():,} photos")
        return rows

    def missing(self, sha256: Sequence[str]) -> list[str]:
        """Those photos that have no embedding, each once; raises `ValueError` if that of another one is damaged."""
        photos, crc32 = list(dict.fromkeys(sha256)), self.entries["crc32"]
        rows = rows_of(self.entries, photos)
        for row in rows[rows >= 0].tolist():
            if zlib.crc32(self.embeddings[row].data) != crc32[row]:
                raise ValueError(f"{EMBEDDINGS} does not match its checksums")
        return [photo for photo, row in zip(photos, rows.tolist(), strict=True) if row < 0]

    @cached_property
    def embeddings(self) -> NDArray[Any]:
        """All embeddings [photos, F], mapped from the file."""
        return np.memmap(self.folder / EMBEDDINGS, self.dtype, "r", shape=(len(self), self.width))


def cache_embeddings(
    parent: Path, identity: Mapping[str, Any], sha256: Sequence[str], embed: Embed, dtype: str = FLOAT32
) -> EmbeddingCache:
    """Add the embeddings of those photos that the cache lacks, and return it. A damaged cache is made again.

    `identity` is all that decides the embedding of a photo: caches of different ones lie side by side in `parent`.
    `embed` yields the embeddings of the photos it is called with, in their order, as batches float32[B, F]. They are
    saved as `dtype` ("<f4" or "<f2"), in chunks: after an error or a kill, the next call embeds only the rest. If
    several processes call this, one works and the others wait. Raises `StorageError` if the cache cannot be written.
    """
    folder = embedding_folder(parent, identity)
    with suppress(*DAMAGE):  # without the lock, which needs a folder that can be written
        cache = EmbeddingCache.open(folder)
        if not cache.missing(sha256):
            return cache
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            cache, new = _open_or_reset(folder, sha256, dtype)
            if new:
                _add(cache, new, embed(new), identity)
                cache = EmbeddingCache.open(folder)
            return cache


def row_bytes(manifest: Mapping[str, Any]) -> int:
    """Size of one embedding in the cache with that manifest."""
    return int(manifest["width"] * np.dtype(manifest.get("dtype", FLOAT32)).itemsize)


def embedding_folder(parent: Path, identity: Mapping[str, Any]) -> Path:
    """The folder of the cache for `identity`, which need not exist."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return parent / f"embeddings-{digest[:16]}"


def _open_or_reset(folder: Path, sha256: Sequence[str], dtype: str) -> tuple[EmbeddingCache, list[str]]:
    """Open the cache in `folder`, or create an empty one if it is damaged or missing; and the photos that it lacks."""
    try:
        cache = EmbeddingCache.open(folder)
        return cache, cache.missing(sha256)
    except DAMAGE as error:
        if (folder / MANIFEST).exists():
            logger.warning("the embedding cache %s is damaged (%s): it is made again", folder, error)
        make_empty(folder, EMBEDDINGS)
        cache = EmbeddingCache(folder, 0, np.empty(0, ENTRY), dtype)
        return cache, cache.missing(sha256)


def _add(
    cache: EmbeddingCache, new: Sequence[str], batches: Iterable[NDArray[np.float32]], identity: Mapping[str, Any]
) -> None:
    """Append the embeddings of photos, in chunks of whole batches."""
    with Appender(cache.folder, EMBEDDINGS, cache.entries, cache.bytes) as appender:
        rows: list[tuple[str, int]] = []
        done = 0
        for batch in batches:
            for photo, embedding in zip(
                new[done : done + len(batch)], np.ascontiguousarray(batch, cache.dtype), strict=True
            ):
                appender.write(embedding.data)
                rows.append((photo, zlib.crc32(embedding.data)))
            done += len(batch)
            if len(rows) >= CHUNK or done == len(new):
                appender.finish(
                    np.array(rows, ENTRY), {"width": batch.shape[1], "dtype": cache.dtype.str, "made_by": identity}
                )
                rows = []
