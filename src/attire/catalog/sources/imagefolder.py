"""A folder per category, a photo per product; nothing is known of attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attire.catalog.rows import Row
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, Table
from attire.errors import FeedError
from attire.photos.folder import SUFFIXES


def read(feed: Path, _options: SourceOptions) -> Iterator[Row]:
    """A row per photo, its id the path without suffix; raises `FeedError` for all photos that have no category."""
    if not feed.is_dir():
        raise FeedError(f"{feed} is not a folder. Expected one with a sub-folder of photos for each category.")
    photos = sorted(path.relative_to(feed) for path in feed.rglob("*") if path.suffix.lower() in SUFFIXES)
    seen: dict[str, Path] = {}

    def row(number: int, cells: Cells) -> Row:
        photo: Path = cells["photo"]
        if len(photo.parts) == 1:
            raise ValueError(f"{photo} is in no sub-folder. Expected CATEGORY/{photo}.")
        name = photo.with_suffix("").as_posix()
        if (other := seen.setdefault(name, photo)) != photo:
            raise ValueError(f"{photo} and {other.name} would be one product, '{name}'. Rename one.")
        return Row(number, name, photo.parts[0], images=(photo.as_posix(),))

    return Table(feed, ["photo"], ((number, {"photo": photo}) for number, photo in enumerate(photos, 1))).rows(row)
