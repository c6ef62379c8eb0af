"""Photos of archives as a stream, a product at a time: nothing is unpacked, and an archive may lie at an address.

A tar (or zip) of photos has a product per photo. One with sidecars beside its photos is a WebDataset shard: members
that follow each other and share their path up to the first dot are a sample, whose key is the product's id.
"""

from __future__ import annotations

import glob
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path, PurePosixPath

from attire.errors import CatalogError, ConfigError
from attire.photos.archive import Member, members
from attire.photos.folder import is_photo
from attire.photos.remote import Remote, is_url

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_ARCHIVES = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """What an archive holds of a product; an empty `title` is none."""

    id: str
    photos: tuple[Member, ...]
    title: str


def expanded(pattern: str, remote: Remote) -> list[str]:
    """The archives that `shard-{000000..000009}.tar` or `shards/*.tar` stands for, in order.

    A file of exactly that name goes before the pattern. Raises `CatalogError` where there is none.
    """
    if not is_url(pattern) and Path(pattern).is_file():
        return [pattern]
    if found := RANGE.search(pattern):
        first, last = found.groups()
        if int(last) - int(first) >= MAX_ARCHIVES:
            raise ConfigError(f"{pattern} stands for more than {MAX_ARCHIVES:,} archives.")
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [name for number in numbers for name in expanded(RANGE.sub(number, pattern, count=1), remote)]
    if "*" not in pattern:
        return [pattern]
    names = remote.matching(pattern) if is_url(pattern) else _files_matching(pattern)
    if not names:
        raise CatalogError(f"{pattern} stands for no file.")
    return names


def _files_matching(pattern: str) -> list[str]:
    """Only `*` is a pattern: brackets and question marks stand for themselves."""
    return sorted(glob.glob(glob.escape(pattern).replace("[*]", "*")))  # noqa: PTH207


def identity(archives: Sequence[str], remote: Remote) -> list[tuple[str, str]]:
    """What tells the archives from others: name, and size and time. Raises `CatalogError` for one that is not there."""
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
    """The products of all archives in order; `title` names the field of a sample's .json that holds one.

    Remote zip archives are fetched to `scratch`. Raises `CatalogError` for an archive that is damaged or stops coming.
    No two products have the same id.
    """
    seen: set[int] = set()  # hashes: a million ids would be a hundred times as large
    for archive in archives:
        for key, group in groupby(members(archive, scratch, remote), lambda member: _key(member.name)):
            for sample in _of_group(key, list(group), title):
                id = next(id for id in _ids(sample, archive) if hash(id) not in seen)
                seen.add(hash(id))
                yield Sample(id, sample.photos, sample.title)


def _ids(sample: Sample, archive: str) -> Iterator[str]:
    """The ids that a product may have, the best first."""
    yield sample.id
    if sample.photos:
        yield sample.photos[0].name
    stem = PurePosixPath(archive.split("?")[0]).stem
    yield f"{stem}/{sample.id}"
    yield from (f"{stem}/{sample.id} ({number})" for number in count(2))


def _key(name: str) -> str:
    """As WebDataset has it: the path, up to the first dot of the file's name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}" if folder else file.partition(".")[0]


def _of_group(key: str, group: Sequence[Member], title: str) -> Iterator[Sample]:
    """One sample where there are sidecars, else a product per photo, named by its path without the suffix if it can."""
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
                said = json.loads(member.content)
                if isinstance(said, dict) and isinstance(said.get(title), str):
                    said[title].encode()  # a lone surrogate is no text
                    return str(said[title]).strip()
            except (ValueError, RecursionError):
                continue
    return ""
