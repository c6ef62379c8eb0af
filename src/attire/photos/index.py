"""Finding photos by the name that a feed gives them, in folders and archives."""

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

from attire.errors import CatalogError, PhotoError
from attire.files import replacing
from attire.photos.archive import looks_like_archive, members
from attire.photos.folder import is_photo, photos_below
from attire.photos.remote import Remote
from attire.progress import track

BLOCK = 10_000  # photos that are objects at once
UNPACKED = re.compile("[0-9a-f]{64}")  # the name of an unpacked photo, without its suffix
BOMB_BYTES, BOMB_RATIO = 2**30, 100  # photos are compressed already, so an archive makes them little smaller


class Listed(NamedTuple):
    """A photo of a source: its path within the source, with slashes; and its file, or why there is none."""

    name: str
    file: Path | None
    fault: str = ""


class PhotoIndex:
    """Photos by name. Raises `PhotoError` for a name that leads nowhere or to several photos."""

    def __init__(self, sources: Iterable[tuple[str, Iterable[Listed]]]) -> None:
        """`sources`: the path of each folder or archive, and its photos.

        They are held as arrays of text, and hashes of base names: a dictionary would take ten times as much.
        """
        self._sources: list[PurePosixPath] = []
        blocks: list[np.ndarray[Any, Any]] = [np.empty((0, 3), StringDType())]
        ends, of_source = array("q"), array("i")
        for number, (source, listed) in enumerate(sources):
            self._sources.append(PurePosixPath(source))
            photos = iter(listed)
            while block := [(name, str(file or ""), fault) for name, file, fault in islice(photos, BLOCK)]:
                blocks.append(np.array(block, StringDType()))
                of_source.extend([number] * len(block))
                for name, *_ in block:
                    ends.extend(map(hash, _ends(name)))
        self._photos = np.concatenate(blocks)
        self._of_source = np.frombuffer(of_source, np.int32)
        hashes = np.frombuffer(ends, np.int64)
        self._order = hashes.argsort(kind="stable").astype(np.int32)  # of 2n ends, two of each photo
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return ((name, Path(file)) for name, file, fault in self._photos if not fault)

    def __getitem__(self, name: str) -> Path:
        """The photo of that path; the suffix may be left out, and so may folders that both paths start with.

        A feed's path that is longer than the photo's within its source, or shorter, has to agree as far as both go.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        ending = self._ending(wanted.name)
        found = {row: agreed for row in ending if (agreed := self._agreement(wanted, row))}
        if not found:
            others = f": {self._shown(ending[0])} is in another folder" if ending else ""
            raise PhotoError(f"not found in --images{others}")
        best = [row for row, agreed in found.items() if agreed == max(found.values())]
        if len({(file, fault) for _, file, fault in self._photos[best]}) > 1:
            names = ", ".join(sorted(self._shown(row) for row in best)[:3])
            raise PhotoError(f"{len(best)} photos have this name ({names}): give more of the path in the feed")
        _, file, fault = self._photos[best[0]]
        if fault:
            raise PhotoError(fault)
        return Path(file)

    def _ending(self, end: str) -> list[int]:
        """The photos with that base name, or if there is none, those that have it without their suffix, in order."""
        wanted = hash(end)
        rows: list[int] = []
        for at in range(int(self._hashes.searchsorted(wanted)), len(self._hashes)):
            if self._hashes[at] != wanted:
                break
            rows.append(int(self._order[at]) // 2)
        bases = [(_ends(self._photos[row, 0]), row) for row in dict.fromkeys(rows)]
        return [row for ends, row in bases if ends[0] == end] or [row for ends, row in bases if ends[1] == end]

    def _agreement(self, wanted: PurePosixPath, row: int) -> int:
        """How many parts of the paths agree, from the end; 0 where a folder differs that both have."""
        within = PurePosixPath(self._photos[row, 0]).parts
        whole = (*self._sources[self._of_source[row]].parts, *within)
        pairs = zip(reversed(wanted.parts[:-1]), reversed(whole[:-1]), strict=False)
        agreed = 1
        for left, right in pairs:
            if left != right:
                break
            agreed += 1
        return agreed if agreed >= min(len(wanted.parts), len(within)) else 0

    def _shown(self, row: int) -> str:
        name: str = self._photos[row, 0]
        return name if len(self._sources) == 1 else str(self._sources[self._of_source[row]] / name)


def find_photos(sources: Sequence[str | Path], unpack_to: Path) -> PhotoIndex:
    """All photos below folders, and in archives, which are unpacked to `unpack_to` (only what is not there yet)."""
    listed: list[tuple[str, Iterable[Listed]]] = []
    for source in map(Path, sources):
        if source.is_dir():
            photos = (_as_listed(name, file) for name, file in photos_below(source))
            listed.append((source.resolve().as_posix(), photos))
        elif source.is_file() and looks_like_archive(source):
            listed.append((source.resolve().as_posix(), _unpacked(source, unpack_to)))
        else:
            what = "is neither a folder nor a tar or zip archive" if source.exists() else "does not exist"
            raise CatalogError(f"--images {source} {what}. Expected folders, .tar, .tar.gz or .zip files of photos.")
    return PhotoIndex(listed)


def remove_unlisted(folder: Path, index: PhotoIndex) -> None:
    """Remove what earlier calls of `find_photos` have unpacked to `folder` and `index` does not list."""
    listed = {file.name for _, file in index if file.is_relative_to(folder)}
    for file in folder.glob("??/*"):
        if UNPACKED.fullmatch(file.stem) and file.name not in listed:
            file.unlink()


def _as_listed(name: str, file: Path) -> Listed:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return Listed(name, None, "the name of its file is not UTF-8: rename it")
    return Listed(name, file)


def _unpacked(archive: Path, folder: Path) -> Iterator[Listed]:
    """Photos of an archive as files in `folder`, named by their content: no photo takes the place of another."""
    size, total = archive.stat().st_size, 0
    for member in track(members(str(archive), folder, Remote()), f"unpacking {archive.name}", "files"):
        if not is_photo(member.name):
            continue
        if isinstance(member.content, str):
            yield Listed(member.name, None, member.content)
            continue
        total += len(member.content)
        if total > max(BOMB_BYTES, BOMB_RATIO * size):
            raise CatalogError(f"{archive} unpacks to more than {BOMB_RATIO} times its size, so it is not read on.")
        digest = hashlib.sha256(member.content).hexdigest()
        file = folder / digest[:2] / f"{digest}{splitext(member.name)[1].lower()}"
        if not file.is_file() or file.stat().st_size != len(member.content):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file, durable=False) as temporary:
                temporary.write_bytes(member.content)
        yield Listed(member.name, file)


def _ends(name: str) -> tuple[str, str]:
    """The base name, and the base name without its suffix."""
    base = name.rpartition("/")[2]
    return base, splitext(base)[0]
