"""Find photos in folders and archives by the names used in a feed."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import splitext
from typing import Any, NamedTuple

import numpy as np
from numpy.dtypes import StringDType

from attire.errors import CatalogError, PhotoError, PhotoMissingError
from attire.files import replacing
from attire.photos.archive import looks_like_archive, members
from attire.photos.folder import is_photo, photos_below
from attire.photos.remote import Remote
from attire.progress import track

BLOCK = 10_000  # photos held as Python objects at once
BY_CONTENT = re.compile("[0-9a-f]{64}")  # the name of a photo that is named by its content, without its suffix
BOMB_BYTES, BOMB_RATIO = 2**30, 100  # photos are already compressed, so an archive hardly makes them smaller


class Listed(NamedTuple):
    """A photo in a source: its path within the source, with slashes, and its file, or None and the fault."""

    name: str
    file: Path | None
    fault: str = ""


class PhotoIndex:
    """Photos by name. Raises `PhotoError` for a name of several photos, and `PhotoMissingError` for one of no photo."""

    def __init__(self, sources: Iterable[tuple[str, Iterable[Listed]]]) -> None:
        """`sources`: the path of each folder or archive, and its photos.

        Stored as arrays of text and hashes of base names, because a dictionary would take ten times the memory.
        """
        self._sources: list[PurePosixPath] = []
        blocks: list[np.ndarray[Any, Any]] = [np.empty((0, 3), StringDType())]
        name_hashes, source_of = array("q"), array("i")
        for number, (source, listed) in enumerate(sources):
            self._sources.append(PurePosixPath(source))
            photos = iter(listed)
            while block := [(name, str(file or ""), fault) for name, file, fault in islice(photos, BLOCK)]:
                blocks.append(np.array(block, StringDType()))
                source_of.extend([number] * len(block))
                for name, *_ in block:
                    name_hashes.extend(map(hash, _base_names(name)))
        self._photos = np.concatenate(blocks)
        self._source_of = np.frombuffer(source_of, np.int32)
        hashes = np.frombuffer(name_hashes, np.int64)
        self._order = hashes.argsort(kind="stable").astype(np.int32)  # 2n hashes, two per photo
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return ((name, Path(file)) for name, file, fault in self._photos if not fault)

    def __getitem__(self, name: str) -> Path:
        """The photo with the given path; the suffix and leading folders may be omitted.

        The paths are compared from the end, and must agree over the length of the shorter one.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        candidates = self._with_base_name(wanted.name)
        matches = {row: score for row in candidates if (score := self._agreement(wanted, row))}
        if not matches:
            hint = f": {self._display_path(candidates[0])} is in another folder" if candidates else ""
            raise PhotoMissingError(f"not found in --images{hint}")
        best = [row for row, score in matches.items() if score == max(matches.values())]
        if len({(file, fault) for _, file, fault in self._photos[best]}) > 1:
            names = ", ".join(sorted(self._display_path(row) for row in best)[:3])
            raise PhotoError(f"{len(best)} photos have this name ({names}): give more of the path in the feed")
        _, file, fault = self._photos[best[0]]
        if fault:
            raise PhotoError(fault)
        return Path(file)

    def _with_base_name(self, base_name: str) -> list[int]:
        """The photos with this base name, or if there are none, those with this base name without suffix, in order."""
        wanted = hash(base_name)
        rows: list[int] = []
        for position in range(int(self._hashes.searchsorted(wanted)), len(self._hashes)):
            if self._hashes[position] != wanted:
                break
            rows.append(int(self._order[position]) // 2)
        names = [(*_base_names(self._photos[row, 0]), row) for row in dict.fromkeys(rows)]
        return [row for full, _, row in names if full == base_name] or [
            row for _, stem, row in names if stem == base_name
        ]

    def _agreement(self, wanted: PurePosixPath, row: int) -> int:
        """How many path components agree, from the end; 0 if a folder that both paths have differs."""
        inner = PurePosixPath(self._photos[row, 0]).parts
        full = (*self._sources[self._source_of[row]].parts, *inner)
        pairs = zip(reversed(wanted.parts[:-1]), reversed(full[:-1]), strict=False)
        count = 1
        for left, right in pairs:
            if left != right:
                break
            count += 1
        return count if count >= min(len(wanted.parts), len(inner)) else 0

    def _display_path(self, row: int) -> str:
        name: str = self._photos[row, 0]
        return name if len(self._sources) == 1 else str(self._sources[self._source_of[row]] / name)


def find_photos(sources: Sequence[str | Path], unpack_to: Path) -> PhotoIndex:
    """Index all photos in folders and archives. Archives are unpacked to `unpack_to`, except photos already there."""
    listed: list[tuple[str, Iterable[Listed]]] = []
    for source in map(Path, sources):
        if source.is_dir():
            photos = (_as_listed(name, file) for name, file in photos_below(source))
            listed.append((source.resolve().as_posix(), photos))
        elif source.is_file() and looks_like_archive(source):
            listed.append((source.resolve().as_posix(), _unpacked(source, unpack_to)))
        else:
            fault = "is not a folder or a tar or zip archive" if source.exists() else "does not exist"
            raise CatalogError(f"--images {source} {fault}. Expected folders, .tar, .tar.gz or .zip files of photos.")
    return PhotoIndex(listed)


def remove_unlisted(folder: Path, files: Iterable[Path]) -> int:
    """Remove photos that `keep_photo` wrote to `folder` and that are not among `files`.

    Returns their number. Files that killed calls left unfinished are removed, too.
    """
    for unfinished in folder.glob("??/.*.tmp"):
        unfinished.unlink()
    count, listed = 0, {file.name for file in files if file.is_relative_to(folder)}
    for file in folder.glob("??/*"):
        if BY_CONTENT.fullmatch(file.stem) and file.name not in listed:
            file.unlink()
            count += 1
    return count


def _as_listed(name: str, file: Path) -> Listed:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return Listed(name, None, "the file name is not UTF-8: rename it")
    return Listed(name, file)


def _unpacked(archive: Path, folder: Path) -> Iterator[Listed]:
    """Unpack the photos of an archive to `folder`, named by their content, so that no photo overwrites another."""
    size, total = archive.stat().st_size, 0
    for member in track(members(str(archive), folder, Remote()), f"unpacking {archive.name}", "files"):
        if not is_photo(member.name):
            continue
        if isinstance(member.content, str):
            yield Listed(member.name, None, member.content)
            continue
        total += len(member.content)
        if total > max(BOMB_BYTES, BOMB_RATIO * size):
            raise CatalogError(f"{archive} unpacks to more than {BOMB_RATIO} times its size: a decompression bomb?")
        yield Listed(member.name, keep_photo(folder, member.content, splitext(member.name)[1].lower()))


def keep_photo(folder: Path, content: bytes, suffix: str) -> Path:
    """Write a photo to `folder`, named by its content; returns its file."""
    digest = hashlib.sha256(content).hexdigest()
    file = folder / digest[:2] / f"{digest}{suffix}"
    if not file.is_file() or file.stat().st_size != len(content):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, durable=False) as temporary:
            temporary.write_bytes(content)
    return file


def _base_names(name: str) -> tuple[str, str]:
    """The base name, and the base name without its suffix."""
    base = name.rpartition("/")[2]
    return base, splitext(base)[0]
