"""Replace all files of a catalog at once: after a kill at any moment it has all of the old files, or all new ones.

New files are staged in a folder of their own. Renaming that folder is the single step that decides: before it, the
staged files are discarded; after it, whoever opens the folder next moves the remaining files into place.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attire.errors import CatalogError
from attire.files import LockedError, locked

MANIFEST = "manifest.json"  # moved last: until then it does not match the tables, and nobody opens a mixture
PURGE = "purge.json"  # what an interrupted purge has left to do
LOCK, STAGED, DECIDED = ".lock", ".staged", ".decided"
TRIES, PAUSE_S = 200, 0.01  # moving files into place takes milliseconds, so another process is waited for


@contextmanager
def writing(out: Path, *, purging: bool = False) -> Iterator[None]:
    """Hold the lock of the catalog, and finish what a killed process left. An empty new folder is removed again.

    Raises `CatalogError` if another process holds the lock, or if a purge was interrupted, unless `purging`.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        busy = CatalogError(f"another attire command is writing {out}: wait until it has finished.")
        with locked(out / LOCK, busy):
            finish(out)
            if not purging and (out / PURGE).exists():
                raise CatalogError(
                    f"{out}: a purge of products was interrupted. Finish it first: attire remove {out} --purge"
                )
            yield
    finally:
        if is_new:
            with suppress(OSError):  # it is no longer empty
                out.rmdir()


@contextmanager
def replacing_all(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, its files replace their namesakes in `folder`.

    A staged file without content removes its namesake. The caller holds the lock (`LOCK`).
    """
    staged = folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        yield staged
        _sync(staged)
        staged.rename(folder / DECIDED)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    _sync(folder)
    finish(folder)


def finish(folder: Path) -> None:
    """Move the remaining files of a decided replacement into place. The caller holds the lock."""
    decided = folder / DECIDED
    if not decided.is_dir():
        return
    files = (path for path in decided.rglob("*") if path.is_file())
    # A record (JSON) follows the tables that it describes.
    for file in sorted(files, key=lambda path: (path.name == MANIFEST, path.suffix == ".json", path)):
        target = folder / file.relative_to(decided)
        if file.stat().st_size:
            target.parent.mkdir(exist_ok=True)
            file.replace(target)
        else:
            target.unlink(missing_ok=True)
            file.unlink()
    shutil.rmtree(decided)


def settle(folder: Path) -> None:
    """Finish a decided replacement that a killed process left, or wait for the process that is at it.

    A reader calls this first. Raises `OSError` if the folder may not be written.
    """
    for _ in range(TRIES):
        if not (folder / DECIDED).is_dir():
            return
        try:
            with locked(folder / LOCK):
                finish(folder)
        except LockedError:
            time.sleep(PAUSE_S)


def _sync(folder: Path) -> None:
    """Let the names in the folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
