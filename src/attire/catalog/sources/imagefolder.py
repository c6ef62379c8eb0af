"""A folder per category, a photo per product; nothing is known of attributes."""

from __future__ import annotations

from pathlib import Path

from attire.catalog.archives import SUFFIXES
from attire.catalog.rows import Row
from attire.catalog.sources.options import SourceOptions
from attire.errors import FeedError


def read(feed: Path, _options: SourceOptions) -> list[Row]:
    """A row per photo; the id is its path without suffix. Raises `FeedError` where there is none."""
    if not feed.is_dir():
        raise FeedError(f"{feed} is not a folder. Expected one with a sub-folder of photos for each category.")
    photos = sorted(path.relative_to(feed) for path in feed.rglob("*") if path.suffix.lower() in SUFFIXES)
    inside = [path for path in photos if len(path.parts) > 1]
    if not inside:
        raise FeedError(f"{feed} has no photo in a sub-folder. Expected CATEGORY/PHOTO.jpg.")
    return [
        Row(number, path.with_suffix("").as_posix(), path.parts[0], {}, (path.as_posix(),))
        for number, path in enumerate(inside, 1)
    ]
