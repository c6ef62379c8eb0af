"""Small pictures of products, from the first photo of each that can be read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from attire.errors import PhotoError
from attire.photos.folder import read_file
from attire.photos.image import open_photo
from attire.photos.lookup import PhotoLookup
from attire.progress import track

SIDE_PX, QUALITY = 96, 80


class Thumbnail(NamedTuple):
    """A picture as JPEG, with its size in px."""

    jpeg: bytes
    width: int
    height: int


def thumbnails(
    ids: Sequence[str], images: Mapping[str, Sequence[str]], find: PhotoLookup
) -> Iterator[tuple[str, Thumbnail | None]]:
    """The thumbnail of each product; None if it has no readable photo. `images` has the names of its photos."""

    def thumbnail(id: str) -> Thumbnail | None:
        for name in images[id]:
            try:
                photo = find(name)
                return _thumbnail(read_file(photo) if isinstance(photo, Path) else photo.read())
            except PhotoError:  # the report has the reason if there is no other photo
                continue
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from track(zip(ids, pool.map(thumbnail, ids), strict=True), "making thumbnails", "photos", len(ids))


def _thumbnail(content: bytes) -> Thumbnail:
    picture = open_photo(content, target_px=(SIDE_PX, SIDE_PX))
    picture.thumbnail((SIDE_PX, SIDE_PX))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY)
    return Thumbnail(jpeg.getvalue(), *picture.size)
