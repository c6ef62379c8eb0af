"""A catalog's photos, decoded once: upright RGB bytes in one file that is mapped and read at random.

CATALOG/cache/photos-PX/
    pixels.u8      uint8[height, width, 3] of every photo, end to end
    index.bin      an `ENTRY` for each of them
    manifest.json  how much of both counts, written last: what stands behind it is of a run that was killed

Photos are scaled so that their shorter side has PX, and never enlarged: whatever way a network's input of up to PX is
framed, it loses nothing. They are kept by content, so that filling again decodes only what is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from attire.catalog.store import Catalog
from attire.errors import CatalogError, ConfigError, PhotoError
from attire.files import read_json, replace_text
from attire.photos.image import open_photo
from attire.progress import tracking

PIXELS, INDEX, MANIFEST = "pixels.u8", "index.bin", "manifest.json"
ENTRY = np.dtype([("sha256", "S64"), ("offset", "<i8"), ("height", "<i4"), ("width", "<i4"), ("crc32", "<u4")])
CHUNK = 256  # photos between two manifests: what a killed run loses at most
SAMPLE = 16  # photos that are compared with their checksum when a cache is opened

Entries = NDArray[np.void]


class PhotoCache:
    """A cache on disk, opened for reading; may travel to worker processes, each of which maps the file for itself."""

    def __init__(self, folder: Path, px: int, entries: Entries) -> None:
        self.folder, self.px, self.entries = folder, px, entries

    @classmethod
    def open(cls, folder: Path) -> PhotoCache:
        """Read and verify; raises `CatalogError` where it is damaged or not what its manifest says."""
        try:
            manifest = read_json(folder / MANIFEST)
            if manifest["format"] != 1:
                raise ValueError(f"it has format {manifest['format']}, expected 1")
            cache = cls(folder, manifest["px"], _entries(folder, manifest))
            cache._compare(np.unique(np.linspace(0, len(cache) - 1, SAMPLE).astype(int)) if len(cache) else ())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CatalogError(
                f"the photo cache {folder} is damaged ({error}): attire train --cache (or ingest --cache-px) makes it "
                "anew, attire train --no-cache does without."
            ) from None
        return cache

    def rows(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """int64[N]: the entry of each photo, -1 where it is missing."""
        wanted = np.array(sha256, dtype="S64")
        if not len(self):
            return np.full(len(wanted), -1)
        order = np.argsort(self.entries["sha256"])
        found = order[np.searchsorted(self.entries["sha256"], wanted, sorter=order).clip(max=len(self) - 1)]
        return np.where(self.entries["sha256"][found] == wanted, found, -1)

    @property
    def size(self) -> int:
        """Bytes of pixels."""
        last = self.entries[-1:]
        return int((last["offset"] + last["height"].astype(np.int64) * last["width"] * 3).sum())

    def pixels(self, offset: int, height: int, width: int) -> NDArray[np.uint8]:
        """uint8[height, width, 3], mapped from disk."""
        return self._mapped[offset : offset + height * width * 3].reshape(height, width, 3)

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}

    @cached_property
    def _mapped(self) -> NDArray[np.uint8]:
        return np.memmap(self.folder / PIXELS, np.uint8, "r")

    def _compare(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        for _, offset, height, width, crc32 in self.entries[list(rows)].tolist():
            if zlib.crc32(self.pixels(offset, height, width).data) != crc32:
                raise ValueError(f"{PIXELS} holds other photos than {INDEX} says")


class CachedPhotos:
    """Some photos of a cache, one for each view of a dataset, as upright RGB images."""

    def __init__(self, cache: PhotoCache, sha256: Sequence[str]) -> None:
        """Raises `CatalogError` where the cache lacks one."""
        rows = cache.rows(sha256)
        if (rows < 0).any():
            raise CatalogError(f"the photo cache {cache.folder} lacks {(rows < 0).sum():,} photos: --cache adds them.")
        self.cache, self.views = cache, cache.entries[rows]

    def __getitem__(self, view: int) -> Image.Image:
        _, offset, height, width, _ = self.views[view].item()
        return Image.frombuffer("RGB", (width, height), self.cache.pixels(offset, height, width), "raw", "RGB", 0, 1)


def cached_px(catalog: Catalog) -> list[int]:
    """The px of the caches beside `catalog`, ascending, also of damaged ones."""
    manifests = (catalog.path / "cache").glob(f"photos-*/{MANIFEST}")
    return sorted(int(manifest.parent.name.removeprefix("photos-")) for manifest in manifests)


def caches(catalog: Catalog) -> list[PhotoCache]:
    """The caches beside `catalog`, smallest px first; raises `CatalogError` for a damaged one."""
    return [PhotoCache.open(_folder(catalog, px)) for px in cached_px(catalog)]


def cache_photos(catalog: Catalog, px: int) -> PhotoCache:
    """Decode the photos of `catalog` for training, their shorter side scaled to `px`, into a cache beside it.

    Photos that the cache has already are kept, and a damaged cache is made again. If several processes call this at
    once, one works and the others wait. Raises `ConfigError` for a `px` below 1, and `CatalogError` if the cache cannot
    be written (what was done is kept), or if a photo has changed since it was ingested.
    """
    if px < 1:
        raise ConfigError(f"px={px}: expected the px of the shorter side of cached photos, for instance 256.")
    folder = _folder(catalog, px)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            cache = _usable(folder, px)
            paths = dict(zip(catalog.photos["sha256"], catalog.photos["path"], strict=True))
            lacking = cache.rows(list(paths)) < 0
            new = [
                (sha256, catalog.path / paths[sha256]) for sha256, is_new in zip(paths, lacking, strict=True) if is_new
            ]
            if new:
                _add(cache, new)
                cache = PhotoCache.open(folder)
            return cache
    except OSError as error:
        raise CatalogError(
            f"cannot write the photo cache {folder}: {error.strerror or error}. Free space, or do without --cache; "
            "what was done is kept, and the same command goes on from there."
        ) from error


def _folder(catalog: Catalog, px: int) -> Path:
    return catalog.path / "cache" / f"photos-{px}"


def _entries(folder: Path, manifest: Mapping[str, Any]) -> Entries:
    """The index as far as `manifest` reaches; raises `ValueError` where it or the pixels' file is another."""
    with (folder / INDEX).open("rb") as file:
        content = file.read(manifest["photos"] * ENTRY.itemsize)
    if zlib.crc32(content) != manifest["index_crc32"]:
        raise ValueError(f"{INDEX} is not what was written")
    if (size := (folder / PIXELS).stat().st_size) < manifest["bytes"]:
        raise ValueError(f"{PIXELS} has {size:,} bytes, expected {manifest['bytes']:,}")
    return np.frombuffer(content, ENTRY)


def _usable(folder: Path, px: int) -> PhotoCache:
    """What stands in `folder`, emptied where it is damaged or unfinished from the start."""
    try:
        return PhotoCache.open(folder)
    except CatalogError:
        for name in (MANIFEST, INDEX, PIXELS):  # unlinked, not cut: another process may have it mapped
            (folder / name).unlink(missing_ok=True)
        for name in (INDEX, PIXELS):
            (folder / name).touch()
        return PhotoCache(folder, px, np.empty(0, ENTRY))


def _add(cache: PhotoCache, new: Sequence[tuple[str, Path]]) -> None:
    """Append photos (SHA-256, file), a chunk at a time: pixels, index, and then the manifest that counts them."""
    entries = cache.entries.tobytes()
    photos, offset, crc32 = len(cache), cache.size, zlib.crc32(entries)
    pool = ThreadPoolExecutor(os.cpu_count())  # threads suffice: Pillow decodes outside Python's lock
    with (
        (cache.folder / PIXELS).open("r+b") as pixels,
        (cache.folder / INDEX).open("r+b") as index,
        tracking("caching photos", len(new), "photos") as tracker,
        pool,
    ):
        pixels.truncate(offset)
        index.truncate(len(entries))
        pixels.seek(offset)
        index.seek(len(entries))
        for start in range(0, len(new), CHUNK):
            rows = []
            for sha256, photo in _decoded(pool, new[start : start + CHUNK], cache.px):
                rows.append((sha256, offset, *photo.shape[:2], zlib.crc32(photo.data)))
                pixels.write(photo.data)
                offset += photo.nbytes
                tracker.advance()
            content = np.array(rows, ENTRY).tobytes()
            index.write(content)
            _settle(pixels)
            _settle(index)
            photos, crc32 = photos + len(rows), zlib.crc32(content, crc32)
            manifest = {"format": 1, "px": cache.px, "photos": photos, "bytes": offset, "index_crc32": crc32}
            replace_text(cache.folder / MANIFEST, json.dumps(manifest, indent=1))


def _settle(file: BinaryIO) -> None:
    """On the disk before the manifest that counts it, also where the power fails."""
    file.flush()
    os.fsync(file.fileno())


def _decoded(
    pool: ThreadPoolExecutor, new: Sequence[tuple[str, Path]], px: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    digests, paths = zip(*new, strict=True)
    yield from zip(digests, pool.map(_shrunk, digests, paths, [px] * len(new)), strict=True)


def _shrunk(sha256: str, path: Path, px: int) -> NDArray[np.uint8]:
    """uint8[height, width, 3] of the photo, its shorter side at most `px`."""
    try:
        content = path.read_bytes()
        photo = open_photo(content, target_px=(px, px))
    except (PhotoError, OSError) as error:
        raise CatalogError(f"{path}: {error}. It was readable at ingest; run attire ingest again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CatalogError(f"{path} was changed since ingest; run attire ingest again.")
    scale = px / min(photo.size)
    if scale < 1:
        width, height = (max(px, round(side * scale)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(photo, dtype=np.uint8)
