"""Append-only caches of what is made from photos, keyed by the photo's SHA-256, so that only new photos cost anything.

FOLDER/DATA           the data of all photos, end to end
FOLDER/index.bin      an entry per photo, in the order of the data; its field `sha256` is the photo's SHA-256
FOLDER/manifest.json  the valid length of both files, written last; data beyond it comes from a killed run

Entries stay, because other catalogs may use them, unless `forget` erases them: then their data and their SHA-256 are
zeros, and all others keep their place, which running processes may have mapped.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from attire.catalog.store import Catalog
from attire.files import read_json, remove_temporary, replace_bytes, replace_text

INDEX, MANIFEST = "index.bin", "manifest.json"
CHUNK = 256  # photos between two manifests, the most that a killed run loses
FOLDER = "ATTIRE_CACHE"  # environment variable

Entries = NDArray[np.void]


def cache_folder(catalog: Catalog) -> Path:
    """The folder of all caches: that in the environment variable `ATTIRE_CACHE`, or `cache` in the catalog."""
    shared = os.environ.get(FOLDER)
    return Path(shared) if shared else catalog.path / "cache"


def rows_of(entries: Entries, sha256: Sequence[str]) -> NDArray[np.int64]:
    """int64[N]: the entry of each photo, -1 if it is missing."""
    wanted = np.array(sha256, dtype="S64")
    if not len(entries):
        return np.full(len(wanted), -1)
    order = np.argsort(entries["sha256"])
    rows = order[np.searchsorted(entries["sha256"], wanted, sorter=order).clip(max=len(entries) - 1)]
    return np.where(entries["sha256"][rows] == wanted, rows, -1)


def read_entries(folder: Path, data: str, entry: np.dtype[np.void], manifest: Mapping[str, Any]) -> Entries:
    """Read the index up to the length in `manifest`; raises `ValueError` if a file does not match the manifest."""
    if manifest["format"] != 1:
        raise ValueError(f"it has format {manifest['format']}, expected 1")
    with (folder / INDEX).open("rb") as file:
        content = file.read(manifest["photos"] * entry.itemsize)
    if zlib.crc32(content) != manifest["index_crc32"]:
        raise ValueError(f"{INDEX} does not match its checksum")
    if (size := (folder / data).stat().st_size) < manifest["bytes"]:
        raise ValueError(f"{data} has {size:,} bytes, expected {manifest['bytes']:,}")
    return np.frombuffer(content, entry)


def make_empty(folder: Path, data: str) -> None:
    """Start an empty cache in `folder`, in place of what is there."""
    for name in (MANIFEST, INDEX, data):  # unlinked, not truncated, because another process may have it mapped
        (folder / name).unlink(missing_ok=True)
    for name in (INDEX, data):
        (folder / name).touch()


def forget(
    folder: Path,
    data: str,
    entry: np.dtype[np.void],
    sha256: Sequence[str],
    spans: Callable[[Entries, Mapping[str, Any]], NDArray[np.int64]],
) -> int:
    """Erase photos from a cache, and what killed runs left in it; returns the number of erased entries.

    spans: int64[N, 2], where the data of each entry begins and ends. A damaged cache is emptied. The index is written
    before the data is erased, so that after a kill nobody reads erased data, and the next call erases the rest.
    """
    for name in (MANIFEST, INDEX):
        remove_temporary(folder / name)
    try:
        manifest = read_json(folder / MANIFEST)
        entries = read_entries(folder, data, entry, manifest).copy()
        places = spans(entries, manifest)
    except (OSError, ValueError, KeyError, TypeError):
        make_empty(folder, data)
        return 0
    found = rows_of(entries, sorted(set(sha256)))
    found = found[found >= 0]
    if len(found):
        entries["sha256"][found] = b""
        content = entries.tobytes()
        (folder / MANIFEST).unlink()  # until it is written again, the cache counts as missing
        replace_bytes(folder / INDEX, content)
        replace_text(folder / MANIFEST, json.dumps({**manifest, "index_crc32": zlib.crc32(content)}, indent=1))
    with (folder / data).open("r+b") as file:
        for start, end in places[entries["sha256"] == b""].tolist():
            file.seek(start)
            file.write(bytes(end - start))
        file.truncate(manifest["bytes"])
        _sync(file)
    return len(found)


class Appender:
    """Adds photos to a cache: `write` their data, then `finish` them with their entries. For use in `with`."""

    def __init__(self, folder: Path, data: str, entries: Entries, size: int) -> None:
        """`entries` are those that the cache has, `size` the bytes of their data."""
        self.folder, self.data, self.size = folder, data, size
        self._index, self._photos = entries.tobytes(), len(entries)
        self._crc32 = zlib.crc32(self._index)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._data_file = stack.enter_context((self.folder / self.data).open("r+b"))
            self._index_file = stack.enter_context((self.folder / INDEX).open("r+b"))
            for file, size in ((self._data_file, self.size), (self._index_file, len(self._index))):
                file.truncate(size)
                file.seek(size)
            self._files = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def write(self, content: memoryview) -> int:
        """Append the data of one photo, and return where it starts."""
        start = self.size
        self._data_file.write(content)
        self.size += content.nbytes
        return start

    def finish(self, entries: Entries, facts: Mapping[str, Any]) -> None:
        """Count the photos written since the last call, with their `entries`. The manifest records `facts`, too."""
        content = entries.tobytes()
        self._index_file.write(content)
        _sync(self._data_file)
        _sync(self._index_file)
        self._photos, self._crc32 = self._photos + len(entries), zlib.crc32(content, self._crc32)
        lengths = {"photos": self._photos, "bytes": self.size, "index_crc32": self._crc32}
        replace_text(self.folder / MANIFEST, json.dumps({"format": 1, **facts, **lengths}, indent=1))


def _sync(file: BinaryIO) -> None:
    """Flush to disk, so that after a power failure the manifest never counts missing data."""
    file.flush()
    os.fsync(file.fileno())
