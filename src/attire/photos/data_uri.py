"""Small pictures as data URIs, for pages that are a single file."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path

from PIL import Image

from attire.errors import PhotoError
from attire.photos.image import open_photo

QUALITY = 72  # JPEG


def thumbnail(photo: Path, side_px: int) -> str:
    """A JPEG whose longer side is `side_px` at most, as a data URI; "" if the photo can no longer be opened."""
    try:
        return data_uri(open_photo(photo, target_px=(side_px, side_px)), side_px)
    except PhotoError:
        return ""


def data_uri(picture: Image.Image, side_px: int) -> str:
    """The picture as a JPEG whose longer side is `side_px` at most, as a data URI."""
    small = picture.copy()
    small.thumbnail((side_px, side_px))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"
