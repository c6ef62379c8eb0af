"""Photos as files: which names are photos', what lies below a folder, and opening only what is a file."""

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
MAX_FILE_BYTES = 512 * 2**20  # a studio's uncompressed photo of 80 megapixels; what is larger is none


def is_photo(name: str) -> bool:
    """Whether the name is a photo's."""
    return splitext(name)[1].lower() in SUFFIXES


def text_of(name: str) -> str:
    r"""A file's name as text: bytes that are not UTF-8 are written as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def photos_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path within the folder, as text with slashes; file) of each photo, in a stable order.

    Links to folders are not followed, which is logged. Raises `CatalogError` for a folder that cannot be listed.
    """

    def stop(error: OSError) -> None:
        raise CatalogError(f"the folder {error.filename} cannot be listed: {error.strerror}.")

    folder = folder.resolve()
    for where, folders, files in os.walk(folder, onerror=stop):
        folders.sort()
        for linked in (path for name in folders if (path := Path(where, name)).is_symlink()):
            logger.warning("%s is a link to a folder, which is not followed: its photos are left out", linked)
        inside = "" if where == str(folder) else f"{Path(where).relative_to(folder).as_posix()}/"
        for file in sorted(files):
            if is_photo(file):
                yield text_of(f"{inside}{file}"), Path(where, file)


def open_regular(path: Path) -> IO[bytes]:
    """The file, opened; raises `PhotoError` for what is no regular file: a pipe or device could block or never end."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise PhotoError("not found") from None
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PhotoError("no regular file")
    return file


def read_file(path: Path) -> bytes:
    """The content of a photo's file; raises `PhotoError` with the reason alone."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise PhotoError(f"too large: {size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
        try:
            return file.read()
        except OSError as error:
            raise PhotoError(f"cannot be read: {error.strerror}") from None
