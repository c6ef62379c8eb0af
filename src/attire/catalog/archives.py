"""Finding photos by the name that a feed gives them: in folders, tar and zip archives."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from posixpath import splitext
from typing import IO, Any

import numpy as np
from numpy.dtypes import StringDType
from rich.progress import track

from attire.errors import CatalogError, PhotoError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
BLOCK = 10_000  # photos that are objects at once


class PhotoIndex:
    """Photos by name. Raises `PhotoError` for a name that leads nowhere or to several photos."""

    def __init__(self, photos: Iterable[tuple[str, Path]]) -> None:
        """`photos`: (path within its folder or archive, with slashes; the file) of each photo.

        They are held as arrays of text, and hashes of base names: a dictionary would take ten times as much.
        """
        blocks: list[np.ndarray[Any, Any]] = [np.empty((0, 2), StringDType())]
        ends = array("q")
        photos = iter(photos)
        while block := [(name, str(path)) for name, path in islice(photos, BLOCK)]:
            blocks.append(np.array(block, StringDType()))
            for name, _ in block:
                ends.extend(map(hash, _ends(name)))
        self._photos = np.concatenate(blocks)
        hashes = np.frombuffer(ends, np.int64)
        self._order = hashes.argsort(kind="stable").astype(np.int32)  # of 2n ends, two of each photo
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return ((name, Path(path)) for name, path in self._photos)

    def __getitem__(self, name: str) -> Path:
        """The photo of that path, or the only one whose path ends alike; the suffix may be left out."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        found = self._ending(wanted.name)
        if not found:
            raise PhotoError("not found in --images")
        if len(found) == 1:
            return Path(found[0][1])
        agreement = [_common_end(wanted, PurePosixPath(name)) for name, _ in found]
        best = [photo for photo, n in zip(found, agreement, strict=True) if n == max(agreement)]
        if len({path for _, path in best}) > 1:
            names = ", ".join(sorted(name for name, _ in best)[:3])
            raise PhotoError(f"{len(best)} photos have this name ({names}): give more of the path in the feed")
        return Path(best[0][1])

    def _ending(self, end: str) -> list[tuple[str, str]]:
        """The photos with that base name, with or without suffix, in their order."""
        wanted = hash(end)
        found: list[tuple[str, str]] = []
        for at in range(int(self._hashes.searchsorted(wanted)), len(self._hashes)):
            if self._hashes[at] != wanted:
                break
            name, path = self._photos[self._order[at] // 2]
            if end in _ends(name):
                found.append((name, path))
        return found


def find_photos(sources: Sequence[str | Path], unpack_to: Path) -> PhotoIndex:
    """All photos below folders, and in archives, which are unpacked to `unpack_to` (only what is not there yet)."""
    photos: list[Iterator[tuple[str, Path]]] = []
    for source in map(Path, sources):
        if source.is_dir():
            photos.append(photos_below(source))
        elif source.is_file() and (tarfile.is_tarfile(source) or zipfile.is_zipfile(source)):
            photos.append(_unpacked(source, unpack_to / source.name.replace(".", "_")))
        else:
            what = "is neither a folder nor a tar or zip archive" if source.exists() else "does not exist"
            raise CatalogError(f"--images {source} {what}. Expected folders, .tar, .tar.gz or .zip files of photos.")
    return PhotoIndex(chain.from_iterable(photos))


def photos_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path within the folder, file) of each photo, in a stable order."""
    folder = folder.resolve()
    for where, folders, files in os.walk(folder):
        folders.sort()
        inside = "" if where == str(folder) else f"{Path(where).relative_to(folder).as_posix()}/"
        for file in sorted(files):
            if splitext(file)[1].lower() in SUFFIXES:
                yield f"{inside}{file}", Path(where, file)


def _unpacked(archive: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Photos of an archive as files in `folder`; a file is there only once it is complete."""
    try:
        for name, size, modified, content in track(_members(archive), description=f"unpacking {archive.name}"):
            target = folder / _safe(name)
            if not target.is_file() or target.stat().st_size != size:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}.tmp")
                with content, temporary.open("wb") as file:
                    shutil.copyfileobj(content, file)
                os.utime(temporary, (modified, modified))
                temporary.replace(target)
            yield name, target
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise CatalogError(f"--images {archive} is damaged: {error}. Fetch the archive again.") from None


def _members(archive: Path) -> Iterator[tuple[str, int, float, IO[bytes]]]:
    """(name, bytes, modification time, content) of each photo; links and other suffixes are passed over."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                if not entry.is_dir() and Path(entry.filename).suffix.lower() in SUFFIXES:
                    yield entry.filename, entry.file_size, 0.0, file.open(entry)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None and Path(member.name).suffix.lower() in SUFFIXES:
                yield member.name, member.size, float(member.mtime), content


def _safe(name: str) -> Path:
    """A relative path below the target, whatever an archive's author wrote."""
    return Path(*[part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")])


def _ends(name: str) -> tuple[str, str]:
    """The base name, and the base name without its suffix."""
    base = name.rpartition("/")[2]
    return base, splitext(base)[0]


def _common_end(a: PurePosixPath, b: PurePosixPath) -> int:
    """How many folders above the base name agree."""
    agreed = 0
    for left, right in zip(reversed(a.parts[:-1]), reversed(b.parts[:-1]), strict=False):
        if left != right:
            break
        agreed += 1
    return agreed
