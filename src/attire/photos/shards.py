"""Stream products from archives, without unpacking them. An archive may be at an address.

A tar (or zip) of photos has one product per photo. With sidecars it is a WebDataset shard: consecutive members that
share their path up to the first dot form a sample, and its key is the product's id.
"""

from __future__ import annotations

import glob
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, groupby
from pathlib import Path, PurePosixPath

from attire.errors import CatalogError, ConfigError
from attire.photos.archive import Member, members
from attire.photos.folder import is_photo
from attire.photos.remote import Remote, is_url

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_ARCHIVES = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The photos of one product in an archive, and its title ("" if unknown)."""

    id: str
    photos: tuple[Member, ...]
    title: str


def expanded(pattern: str, remote: Remote) -> list[str]:
    """Expand a pattern such as `shard-{000000..000009}.tar` or `shards/*.tar` to archives, in order.

    An existing file with exactly that name takes precedence. Raises `CatalogError` if nothing matches.
    """
    if not is_url(pattern) and Path(pattern).is_file():
        return [pattern]
    if match := RANGE.search(pattern):
        first, last = match.groups()
        if int(last) - int(first) >= MAX_ARCHIVES:
            raise ConfigError(f"{pattern} matches more than {MAX_ARCHIVES:,} archives.")
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [name for number in numbers for name in expanded(RANGE.sub(number, pattern, count=1), remote)]
    if "*" not in pattern:
        return [pattern]
    names = remote.matching(pattern) if is_url(pattern) else _files_matching(pattern)
    if not names:
        raise CatalogError(f"{pattern} matches no file.")
    return names


def _files_matching(pattern: str) -> list[str]:
    """Expand `*`; brackets and question marks are literal."""
    return sorted(glob.glob(glob.escape(pattern).replace("[*]", "*")))  # noqa: PTH207


def identity(archives: Sequence[str], remote: Remote) -> list[tuple[str, str]]:
    """The name of each archive with its size and time, to detect changes; raises `CatalogError` if one is missing."""
    stamps = []
    for archive in archives:
        if is_url(archive):
            stamps.append((archive, json.dumps(remote.stamp(archive))))
        elif Path(archive).is_file():
            status = Path(archive).stat()
            stamps.append((str(Path(archive).resolve()), f"{status.st_size} {status.st_mtime_ns}"))
        else:
            raise CatalogError(f"{archive} does not exist. Expected .tar, .tar.gz or .zip files of photos.")
    return stamps


def samples(archives: Sequence[str], scratch: Path, remote: Remote, title: str = "title") -> Iterator[Sample]:
    """Yield the products of all archives in order, with unique ids. `title` is the title field in a sample's .json.

    Remote zip archives are downloaded to `scratch`. Raises `CatalogError` for an archive that is damaged or ends early.
    """
    ids = UniqueIds()
    for archive in archives:
        own: set[int] = set()
        for key, group in groupby(members(archive, scratch, remote), lambda member: _key(member.name)):
            for sample in _samples_of_group(key, list(group), title):
                names = [sample.id, *(photo.name for photo in sample.photos[:1])]
                numbered = (f"{sample.id} ({number})" for number in count(2))
                id = next(id for id in chain(names, numbered) if hash(id) not in own)
                own.add(hash(id))
                yield Sample(ids(id, archive), sample.photos, sample.title)


class UniqueIds:
    """Makes ids that are unique within each archive unique over all: a repeated one gets the name of its archive."""

    def __init__(self) -> None:
        self._seen: set[int] = set()  # hashes, because a million ids would take much more memory

    def __call__(self, id: str, archive: str) -> str:
        """The id of a product; archives come in order."""
        named = f"{PurePosixPath(archive.split('?')[0]).stem}/{id}"
        candidates = chain([id, named], (f"{named} ({number})" for number in count(2)))
        unique = next(id for id in candidates if hash(id) not in self._seen)
        self._seen.add(hash(unique))
        return unique


def _key(name: str) -> str:
    """The WebDataset key: the path up to the first dot of the file name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}" if folder else file.partition(".")[0]


def _samples_of_group(key: str, group: Sequence[Member], title: str) -> Iterator[Sample]:
    """One sample if there are sidecars, else a product per photo, with the path without suffix as id if unique."""
    photos = [member for member in group if is_photo(member.name)]
    if len(photos) < len(group):
        yield Sample(key, tuple(photos), _title(group, title))
        return
    stems = Counter(str(PurePosixPath(photo.name).with_suffix("")) for photo in photos)
    for photo in photos:
        stem = str(PurePosixPath(photo.name).with_suffix(""))
        yield Sample(stem if stems[stem] == 1 else photo.name, (photo,), "")


def _title(group: Sequence[Member], title: str) -> str:
    for member in group:
        if member.name.endswith(".json") and isinstance(member.content, bytes):
            try:
                content = json.loads(member.content)
                if isinstance(content, dict) and isinstance(content.get(title), str):
                    content[title].encode()  # raises for lone surrogates
                    return str(content[title]).strip()
            except (ValueError, RecursionError):
                continue
    return ""
