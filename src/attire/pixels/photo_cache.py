"""A cache of decoded photos: upright RGB bytes in one file, memory-mapped for random access.

CATALOG/cache/photos-PX/ (see `content_cache`)
    pixels.u8      uint8[height, width, 3] of all photos, end to end
    index.bin      an `ENTRY` per photo
    manifest.json

Photos are scaled down so that their shorter side has PX pixels, and never enlarged, so any network input of up to PX
loses no detail.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, PhotoError
from attire.files import read_json
from attire.photos.folder import read_file
from attire.photos.image import open_photo
from attire.pixels.content_cache import (
    CHUNK,
    MANIFEST,
    Appender,
    Entries,
    cache_folder,
    make_empty,
    read_entries,
    rows_of,
)
from attire.progress import tracking

PIXELS = "pixels.u8"
ENTRY = np.dtype([("sha256", "S64"), ("offset", "<i8"), ("height", "<i4"), ("width", "<i4"), ("crc32", "<u4")])
SAMPLE = 16  # photos whose checksum is verified when a cache is opened


class PhotoCache:
    """A cache on disk, opened for reading. It can be pickled for worker processes, which map the file themselves."""

    def __init__(self, folder: Path, px: int, entries: Entries) -> None:
        self.folder, self.px, self.entries = folder, px, entries

    @classmethod
    def open(cls, folder: Path) -> PhotoCache:
        """Read and verify a cache; raises `CatalogError` if it is damaged or does not match its manifest."""
        try:
            manifest = read_json(folder / MANIFEST)
            entries = read_entries(folder, PIXELS, ENTRY, manifest)
            cache = cls(folder, manifest["px"], entries)
            present = np.flatnonzero(entries["sha256"] != b"")  # the others are erased
            sample = np.linspace(0, max(0, len(present) - 1), min(SAMPLE, len(present))).astype(int)
            cache._verify(present[np.unique(sample)])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CatalogError(
                f"the photo cache {folder} is damaged ({error}): rebuild it with attire train --cache (or ingest "
                "--cache), or train without it with --no-cache."
            ) from None
        return cache

    def rows(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """int64[N]: the entry of each photo, -1 if it is missing."""
        return rows_of(self.entries, sha256)

    @property
    def size(self) -> int:
        """Size of the pixels, in bytes."""
        last = self.entries[-1:]
        return int((last["offset"] + last["height"].astype(np.int64) * last["width"] * 3).sum())

    def pixels(self, offset: int, height: int, width: int) -> NDArray[np.uint8]:
        """uint8[height, width, 3], memory-mapped."""
        return self._mapped[offset : offset + height * width * 3].reshape(height, width, 3)

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}

    @cached_property
    def _mapped(self) -> NDArray[np.uint8]:
        return np.memmap(self.folder / PIXELS, np.uint8, "r")

    def _verify(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        for _, offset, height, width, crc32 in self.entries[list(rows)].tolist():
            if zlib.crc32(self.pixels(offset, height, width).data) != crc32:
                raise ValueError(f"{PIXELS} does not match its checksums")


class CachedPhotos:
    """The photos of a dataset, read from a cache as upright RGB images."""

    def __init__(self, cache: PhotoCache, sha256: Sequence[str]) -> None:
        """Raises `CatalogError` if the cache lacks a photo."""
        rows = cache.rows(sha256)
        if (rows < 0).any():
            raise CatalogError(
                f"the photo cache {cache.folder} lacks {(rows < 0).sum():,} photos: add them with --cache."
            )
        self.cache, self.views = cache, cache.entries[rows]

    def __getitem__(self, view: int) -> Image.Image:
        _, offset, height, width, _ = self.views[view].item()
        return Image.frombuffer("RGB", (width, height), self.cache.pixels(offset, height, width), "raw", "RGB", 0, 1)


def cached_px(catalog: Catalog) -> list[int]:
    """The px of the caches of `catalog`, ascending, including damaged ones."""
    manifests = cache_folder(catalog).glob(f"photos-*/{MANIFEST}")
    return sorted(int(manifest.parent.name.removeprefix("photos-")) for manifest in manifests)


def caches(catalog: Catalog) -> list[PhotoCache]:
    """Open the caches of `catalog`, smallest px first; raises `CatalogError` for a damaged one."""
    return [PhotoCache.open(_folder(catalog, px)) for px in cached_px(catalog)]


def cache_photos(catalog: Catalog | str | Path, px: int) -> PhotoCache:
    """Add all missing photos to the cache of `catalog` at `px`, and return it. A damaged cache is rebuilt.

    If several processes call this, one works and the others wait. Raises `CatalogError` if the cache cannot be written
    (finished work is kept), or if a photo was changed after ingest.
    """
    if px < 1:
        raise ConfigError(f"px={px}: expected the px of the shorter side of cached photos, for instance 256.")
    catalog = Catalog.of(catalog)
    folder = _folder(catalog, px)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            cache = _open_or_reset(folder, px)
            paths = dict(zip(catalog.photos["sha256"], catalog.photos["path"], strict=True))
            missing = cache.rows(list(paths)) < 0
            new = [
                (sha256, catalog.path / paths[sha256]) for sha256, is_new in zip(paths, missing, strict=True) if is_new
            ]
            if new:
                _add(cache, new)
                cache = PhotoCache.open(folder)
            return cache
    except OSError as error:
        raise CatalogError(
            f"cannot write the photo cache {folder}: {error.strerror or error}. Free space, or omit --cache; "
            "finished work is kept, and the same command continues from there."
        ) from error


def _folder(catalog: Catalog, px: int) -> Path:
    return cache_folder(catalog) / f"photos-{px}"


def _open_or_reset(folder: Path, px: int) -> PhotoCache:
    """Open the cache in `folder`; if it is damaged or missing, create an empty one."""
    try:
        return PhotoCache.open(folder)
    except CatalogError:
        make_empty(folder, PIXELS)
        return PhotoCache(folder, px, np.empty(0, ENTRY))


def _add(cache: PhotoCache, new: Sequence[tuple[str, Path]]) -> None:
    """Append photos (SHA-256, file), in chunks."""
    pool = ThreadPoolExecutor(os.cpu_count())  # threads are enough, because Pillow releases the GIL to decode
    with (
        Appender(cache.folder, PIXELS, cache.entries, cache.size) as appender,
        tracking("caching photos", len(new), "photos") as tracker,
        pool,
    ):
        for start in range(0, len(new), CHUNK):
            rows = []
            for sha256, photo in _decoded(pool, new[start : start + CHUNK], cache.px):
                offset = appender.write(photo.data)
                rows.append((sha256, offset, *photo.shape[:2], zlib.crc32(photo.data)))
                tracker.advance()
            appender.finish(np.array(rows, ENTRY), {"px": cache.px})


def _decoded(
    pool: ThreadPoolExecutor, new: Sequence[tuple[str, Path]], px: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    digests, paths = zip(*new, strict=True)
    yield from zip(digests, pool.map(_decode, digests, paths, [px] * len(new)), strict=True)


def open_ingested(path: Path, sha256: str, target_px: tuple[int, int]) -> Image.Image:
    """`open_photo` for a photo of a catalog; raises `CatalogError` if it is not the one that was ingested."""
    try:
        content = read_file(path)
        photo = open_photo(content, target_px)
    except (PhotoError, OSError) as error:
        raise CatalogError(f"{path}: {error}. It was readable at ingest; run attire ingest again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CatalogError(f"{path} was changed after ingest; run attire ingest again.")
    return photo


def _decode(sha256: str, path: Path, px: int) -> NDArray[np.uint8]:
    """uint8[height, width, 3] of the photo, its shorter side at most `px`."""
    photo = open_ingested(path, sha256, (px, px))
    scale = px / min(photo.size)
    if scale < 1:
        width, height = (max(px, round(side * scale)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(photo, dtype=np.uint8)
