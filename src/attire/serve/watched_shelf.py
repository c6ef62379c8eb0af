"""Notice when a shelf gets another present version, so that a server follows it."""

from __future__ import annotations

import logging
from pathlib import Path

from attire.errors import ShelfError
from attire.shelf import HISTORY, read_shelf

logger = logging.getLogger(__name__)
CHECK_S = 1.0


class WatchedShelf:
    """The shelf at a path; a path of a bundle never changes by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._stat()
        self._present = self._read()

    def changed(self) -> bool:
        """Whether the present version is another one than at the last call, or than when this was made.

        A damaged history is logged, once, and counts as no change.
        """
        state = self._stat()
        if state == self._state:
            return False
        self._state, before, self._present = state, self._present, self._read() or self._present
        return self._present != before

    def _stat(self) -> tuple[int, int, int] | None:
        """What differs after a new entry; None for a bundle, or while the shelf is not reachable."""
        try:
            found = (self._path / HISTORY).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> int | None:
        try:
            shelf = read_shelf(self._path)
            return shelf.present.version if shelf else None
        except ShelfError as error:
            logger.error("the shelf is not followed until this is repaired: %s", error)
            return None
