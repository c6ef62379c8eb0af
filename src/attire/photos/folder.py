"""Photos as files: recognise names, list folders, and open regular files only."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from posixpath import splitext
from typing import IO

from attire.errors import CatalogError, PhotoError

logger = logging.getLogger(__name__)
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
MAX_FILE_BYTES = 512 * 2**20  # enough for an uncompressed studio photo of 80 megapixels


def is_photo(name: str) -> bool:
    """Whether the name has the suffix of a photo."""
    return splitext(name)[1].lower() in SUFFIXES


def text_of(name: str) -> str:
    r"""A file name as valid text: bytes that are not UTF-8 are escaped, as in `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def photos_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (path within the folder, as text with slashes; file) for each photo, in a stable order.

    Links to folders are skipped with a warning. Raises `CatalogError` for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise CatalogError(f"the folder {error.filename} cannot be listed: {error.strerror}.")

    folder = folder.resolve()
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        for link in (path for name in folders if (path := Path(parent, name)).is_symlink()):
            logger.warning("%s is a link to a folder and is not followed: its photos are left out", link)
        prefix = "" if parent == str(folder) else f"{Path(parent).relative_to(folder).as_posix()}/"
        for file in sorted(files):
            if is_photo(file):
                yield text_of(f"{prefix}{file}"), Path(parent, file)


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file; raises `PhotoError` for anything else: a pipe or device could block or never end."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise PhotoError("not found") from None
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PhotoError("not a regular file")
    return file


def read_file(path: Path) -> bytes:
    """Read the file of a photo; raises `PhotoError` with the reason, without the photo's name."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise PhotoError(f"too large: {size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
        try:
            return file.read()
        except OSError as error:
            raise PhotoError(f"cannot be read: {error.strerror}") from None
