"""A shelf: numbered versions of a model, one of which is the present one.

    shelf/shelf.json        the history, oldest entry first; the last entry names the present version; written last
          versions/0001/    a bundle, which never changes
          evaluations/      reports of the present version and of the last candidate

This module reads the history and adds to it. `attire.promotion` decides what is added. Whoever takes a bundle's path
takes that of a shelf too, and gets the present version (`present_bundle`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from attire.errors import ShelfError
from attire.files import replace_text
from attire.records import read_as

HISTORY, VERSIONS, EVALUATIONS = "shelf.json", "versions", "evaluations"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FigureChange(_Frozen):
    """A headline figure of the version that was present, None for the first one, and of its successor."""

    before: float | None
    after: float | None


class ShelfEntry(_Frozen):
    """Why a version became the present one.

    digest: of its bundle. when: UTC, ISO 8601. verdict: what the comparison with the version before found, as
    sentences. forced: it was promoted although the comparison refused it. catalog and split: what was compared on.
    """

    action: Literal["promote", "rollback"]
    version: int = Field(ge=1)
    digest: str
    who: str
    when: str
    why: str = ""
    verdict: str = ""
    forced: bool = False
    catalog: str | None = None
    split: str | None = None
    figures: dict[str, FigureChange] = Field(default_factory=dict)


class Shelf(_Frozen):
    """The content of `shelf.json`."""

    format: Literal[1] = 1
    history: tuple[ShelfEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _numbered(self) -> Shelf:
        promoted = [entry.version for entry in self.history if entry.action == "promote"]
        if promoted != list(range(1, len(promoted) + 1)):
            raise ValueError("promoted versions must be numbered 1, 2, 3, …")
        if unknown := {entry.version for entry in self.history} - set(promoted):
            raise ValueError(f"version {min(unknown)} was never promoted")
        return self

    @property
    def present(self) -> ShelfEntry:
        """The entry of the present version."""
        return self.history[-1]

    @property
    def versions(self) -> tuple[ShelfEntry, ...]:
        """The promotions, one for each version: version n is `versions[n - 1]`."""
        return tuple(entry for entry in self.history if entry.action == "promote")

    @property
    def previous(self) -> int | None:
        """The version that was present before the present one; None if there was no other.

        Rollbacks are undone step by step: after 1, 2, 3 and a rollback to 2 it is 1, not 3.
        """
        stack: list[int] = []
        for entry in self.history:
            if entry.version in stack:
                del stack[stack.index(entry.version) :]
            stack.append(entry.version)
        return stack[-2] if len(stack) > 1 else None


def read_shelf(path: Path) -> Shelf | None:
    """The shelf in the directory `path`; None if there is none yet. Raises `ShelfError` if it is damaged."""
    file = path / HISTORY
    try:
        return read_as(file, Shelf)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ShelfError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ShelfError(
            f"{file} is damaged: {error}. Restore it from a backup; the bundles in {path / VERSIONS} are still there."
        ) from None


def require_shelf(path: Path) -> Shelf:
    """The shelf in the directory `path`; raises `ShelfError` if there is none."""
    shelf = read_shelf(path)
    if shelf is None:
        raise ShelfError(
            f"{path} is not a shelf: it has no {HISTORY}. Expected a directory that `attire promote --shelf` wrote."
        )
    return shelf


def add_entry(path: Path, entry: ShelfEntry) -> Shelf:
    """Append to the history, atomically. The caller holds the shelf's lock, and the version's bundle is in place."""
    shelf = read_shelf(path)
    grown = Shelf(history=(*(shelf.history if shelf else ()), entry))
    replace_text(path / HISTORY, grown.model_dump_json(indent=1) + "\n")
    return grown


def version_folder(path: Path, version: int) -> Path:
    """The directory of a version's bundle."""
    return path / VERSIONS / f"{version:04d}"


def present_bundle(path: Path) -> Path:
    """The bundle of a shelf's present version; `path` itself if it is no shelf. Raises `ShelfError` if it is damaged.

    Cheap enough to be called every second: it reads one small file.
    """
    shelf = read_shelf(path)
    return path if shelf is None else version_folder(path, shelf.present.version)


def now() -> str:
    """The present time for `ShelfEntry.when`."""
    return datetime.now(UTC).isoformat(timespec="seconds")
