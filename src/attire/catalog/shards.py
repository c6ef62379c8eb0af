"""Photos of archives as a stream, a product at a time: nothing is unpacked, and an archive may lie behind a URL.

A tar (or zip) of photos has a product per photo. One with sidecars beside its photos is a WebDataset shard: members
that follow each other and share their path up to the first dot are a sample, whose key is the product's id.
"""

from __future__ import annotations

import glob
import json
import re
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePosixPath

from attire.catalog.archives import SUFFIXES
from attire.catalog.remote import ATTEMPTS, MAX_BYTES, WAIT_S, fetch, is_url, matching, open_url, stamp
from attire.errors import CatalogError, PhotoError

ARCHIVES = (".tar", ".gz", ".tgz", ".zip")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
DAMAGE = (tarfile.TarError, EOFError, zlib.error, OSError)
SIDECAR_BYTES = 2**20  # a larger sidecar is a sample's other data


@dataclass(frozen=True, slots=True)
class ArchivePhoto:
    """A photo that was read from an archive, or why it could not be."""

    name: str
    content: bytes | str

    def read(self) -> bytes:
        """Its bytes; raises `PhotoError` with the reason where there are none."""
        if isinstance(self.content, str):
            raise PhotoError(self.content)
        return self.content


@dataclass(frozen=True, slots=True)
class Sample:
    """What an archive holds of a product; an empty `title` is none."""

    id: str
    photos: tuple[ArchivePhoto, ...]
    title: str


Member = tuple[str, bytes | str]  # name; content, or why it cannot be read


def is_archive(source: str | Path) -> bool:
    """Whether the name is an archive's."""
    return PurePosixPath(str(source).split("?")[0]).suffix.lower() in ARCHIVES


def expanded(pattern: str) -> list[str]:
    """The archives that `shard-{000000..000009}.tar` or `shards/*.tar` stands for, in order."""
    if found := RANGE.search(pattern):
        first, last = found.groups()
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [name for number in numbers for name in expanded(RANGE.sub(number, pattern, count=1))]
    if "*" not in pattern:
        return [pattern]
    names = matching(pattern) if is_url(pattern) else sorted(glob.glob(pattern))  # noqa: PTH207
    if not names:
        raise CatalogError(f"{pattern} stands for no file.")
    return names


def identity(archives: Sequence[str]) -> list[tuple[str, str]]:
    """What tells the archives from others: name, and size and time. Raises `CatalogError` for one that is not there."""
    stamps = []
    for archive in archives:
        if is_url(archive):
            stamps.append((archive, json.dumps(stamp(archive))))
        elif Path(archive).is_file():
            status = Path(archive).stat()
            stamps.append((str(Path(archive).resolve()), f"{status.st_size} {status.st_mtime_ns}"))
        else:
            raise CatalogError(f"{archive} does not exist. Expected .tar, .tar.gz or .zip files of photos.")
    return stamps


def samples(archives: Sequence[str], scratch: Path, title: str = "title") -> Iterator[Sample]:
    """The products of all archives in order; `title` names the field of a sample's .json that holds one.

    Remote zip archives are fetched to `scratch`, for their table of contents is at their end. Raises `CatalogError` for
    an archive that is damaged or stops coming. No two products have the same id.
    """
    seen: set[int] = set()  # hashes: a million ids would be a hundred times as large
    for archive in archives:
        for key, members in groupby(_members(archive, scratch), lambda member: _key(member[0])):
            for sample in _of_group(key, list(members), title):
                id = sample.id if hash(sample.id) not in seen else sample.photos[0].name if sample.photos else sample.id
                seen.add(hash(sample.id))
                yield Sample(id, sample.photos, sample.title)


def _key(name: str) -> str:
    """As WebDataset has it: the path, up to the first dot of the file's name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}" if folder else file.partition(".")[0]


def _of_group(key: str, members: Sequence[Member], title: str) -> Iterator[Sample]:
    """One sample where there are sidecars, else a product per photo, named by its path without the suffix if it can."""
    photos = [ArchivePhoto(*member) for member in members if _is_photo(member[0])]
    if len(photos) < len(members):
        yield Sample(key, tuple(photos), _title(members, title))
        return
    stems = Counter(str(PurePosixPath(photo.name).with_suffix("")) for photo in photos)
    for photo in photos:
        stem = str(PurePosixPath(photo.name).with_suffix(""))
        yield Sample(stem if stems[stem] == 1 else photo.name, (photo,), "")


def _title(members: Sequence[Member], title: str) -> str:
    for name, content in members:
        if name.endswith(".json") and isinstance(content, bytes):
            try:
                said = json.loads(content)
            except ValueError:
                continue
            if isinstance(said, dict) and isinstance(said.get(title), str):
                return str(said[title]).strip()
    return ""


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _members(archive: str, scratch: Path) -> Iterator[Member]:
    """Photos and sidecars of one archive. A URL that breaks off is opened again, and what was read is passed over."""
    if PurePosixPath(archive.split("?")[0]).suffix.lower() == ".zip":
        path = fetch(archive, scratch) if is_url(archive) else Path(archive)
        yield from _of_zip(path)
        if is_url(archive):
            path.unlink()
        return
    done = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            for member in islice(_of_tar(archive), done, None):
                yield member
                done += 1
            return
        except FileNotFoundError:
            raise CatalogError(f"{archive} does not exist.") from None
        except DAMAGE as error:
            if not is_url(archive):
                raise CatalogError(f"{archive} is damaged: {error}. Fetch the archive again.") from None
            fault: Exception = error
        except Exception as error:  # each service has exceptions of its own
            if not is_url(archive):
                raise
            fault = error
        time.sleep(WAIT_S * attempt)
    raise CatalogError(f"{archive} breaks off: {fault}. Call again, and it goes on from there; or fetch it again.")


def _of_tar(archive: str) -> Iterator[Member]:
    source = open_url(archive) if is_url(archive) else Path(archive).open("rb")  # noqa: SIM115
    with closing(source), tarfile.open(fileobj=source, mode="r|*") as tar:
        while member := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep each header until the end
            name = member.name.removeprefix("./")
            if not member.isreg() or PurePosixPath(name).name.startswith("."):
                continue
            fault = _too_large(name, member.size)
            content = None if fault else tar.extractfile(member)
            yield name, fault if content is None else content.read()


def _of_zip(archive: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                name = entry.filename
                if entry.is_dir() or PurePosixPath(name).name.startswith("."):
                    continue
                try:
                    yield name, _too_large(name, entry.file_size) or file.read(entry)
                except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                    yield name, f"cannot be unpacked: {error}"
    except zipfile.BadZipFile as error:
        raise CatalogError(f"{archive} is damaged: {error}. Fetch the archive again.") from None


def _too_large(name: str, size: int) -> str:
    limit = MAX_BYTES if _is_photo(name) else SIDECAR_BYTES
    return f"too large: {size:,} bytes, at most {limit:,} are read" if size > limit else ""
