"""Copy a bundle into a shelf as a new version, or go back to an earlier one, so that a kill at any moment changes
nothing or all of it."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attire.bundle import ModelBundle
from attire.errors import ShelfError
from attire.files import locked
from attire.shelf import VERSIONS, Shelf, ShelfEntry, add_entry, now, read_shelf, require_shelf, version_folder

WRITING, COPYING = ".writing.lock", ".copying"


def add_version(path: Path, bundle: ModelBundle, entry: ShelfEntry, compared_with: ShelfEntry | None) -> Shelf:
    """Copy and verify the bundle, and make it the present version.

    `entry.version` is replaced by the next number. Raises `ShelfError` if another version became the present one since
    `compared_with` was, and `BundleError` if the copy is not that bundle.
    """
    with _writing(path):
        shelf = read_shelf(path)
        if (shelf.present if shelf else None) != compared_with:
            raise ShelfError(
                f"version {shelf.present.version if shelf else '?'} of {path} became the present one while the bundle "
                "was compared with another. Promote again, to compare with that."
            )
        number = len(shelf.versions) + 1 if shelf else 1
        copy, folder = path / VERSIONS / COPYING, version_folder(path, number)
        for left in (copy, folder):  # of a killed promotion
            shutil.rmtree(left, ignore_errors=True)
        try:
            shutil.copytree(bundle.path, copy, copy_function=_copy, ignore=shutil.ignore_patterns(".*"))
            if ModelBundle.load(copy).digest != bundle.digest:
                raise ShelfError(f"{bundle.path} changed while it was promoted. Promote it again.")
            copy.rename(folder)
        except shutil.Error as error:
            raise ShelfError(f"cannot copy the bundle {bundle.path}: {error.args[0][0][-1]}.") from None
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        return add_entry(path, entry.model_copy(update={"version": number}))


def roll_back(path: Path, to: int | None, why: str, who: str) -> Shelf:
    """Make an earlier version the present one again: `to`, or the one that was present before the present one.

    Raises `ShelfError` if there is no such version, or if it is the present one, and `BundleError` if it is damaged.
    """
    require_shelf(path)
    with _writing(path):
        shelf = require_shelf(path)
        number = shelf.previous if to is None else to
        if number is None:
            raise ShelfError(f"{path} has no version before version {shelf.present.version}.")
        if not 1 <= number <= len(shelf.versions):
            raise ShelfError(f"{path} has no version {number}; it has versions 1 to {len(shelf.versions)}.")
        if number == shelf.present.version:
            raise ShelfError(f"version {number} of {path} is the present one already.")
        digest = ModelBundle.load(version_folder(path, number)).digest
        entry = ShelfEntry(
            action="rollback",
            version=number,
            digest=digest,
            who=who,
            when=now(),
            why=why,
            verdict=f"Rolled back from version {shelf.present.version}.",
        )
        return add_entry(path, entry)


def whoever() -> str:
    """The name of the account that runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the account has no name, as in some containers
        return "unknown"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    busy = ShelfError(f"another attire command is writing {path}: try again in a minute.")
    with locked(path / WRITING, busy):
        yield


def _copy(source: str, target: str) -> None:
    """Copy a file and let it survive a power failure, as `shelf.json` will, which names its folder."""
    shutil.copyfile(source, target)
    with Path(target).open("rb+") as file:
        os.fsync(file.fileno())
