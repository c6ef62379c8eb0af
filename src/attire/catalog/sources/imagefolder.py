"""A folder per category, with one photo per product and no attribute labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from attire.catalog.feed_row import Row
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, Table
from attire.errors import FeedError, shown
from attire.photos.folder import photos_below


def read(feed: Path, _options: SourceOptions) -> Iterator[Row]:
    """Yield a row per photo, with the path without suffix as id; raises `FeedError` for photos without a category."""
    if not feed.is_dir():
        raise FeedError(f"{feed} is not a folder. Expected one with a sub-folder of photos for each category.")
    photos = sorted(PurePosixPath(name) for name, _ in photos_below(feed))
    seen: dict[str, PurePosixPath] = {}

    def row(number: int, cells: Cells) -> Row:
        photo: PurePosixPath = cells["photo"]
        path = shown(str(photo))
        if len(photo.parts) == 1:
            raise ValueError(f"{path} is in no sub-folder. Expected CATEGORY/{path}.")
        name = str(photo.with_suffix(""))
        if (other := seen.setdefault(name, photo)) != photo:
            raise ValueError(f"{path} and {shown(other.name)} would be one product, '{shown(name)}'. Rename one.")
        return Row(number, name, photo.parts[0], images=(str(photo),))

    return Table(feed, ["photo"], ((number, {"photo": photo}) for number, photo in enumerate(photos, 1))).rows(row)
