"""Open, verify and hash every photo of a feed, in parallel and only once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.duplicates import fingerprint
from attire.catalog.store import TABLES
from attire.errors import PhotoError
from attire.files import read_parquet, replace_parquet
from attire.photos.folder import read_file
from attire.photos.image import open_photo, photo_header
from attire.progress import tracking

DECODE_PX = (256, 256)  # enough to verify the file and compute its fingerprint
CHUNK = 1000  # photos between two saves, the most that a killed ingest loses

Facts = dict[str, Any]  # a row of the photos table


class PhotoFacts:
    """Facts of photos by path, saved in `folder` while an ingest runs, so that no photo is opened twice.

    A photo counts as known if its size and modification time are unchanged.
    """

    def __init__(self, folder: Path, known: pl.DataFrame | None) -> None:
        self.folder = folder
        chunks = [read_parquet(chunk) for chunk in sorted(folder.glob("photos-*.parquet"))]
        tables = [*chunks, *([] if known is None else [known])]
        self._known = {row["path"]: row for table in tables for row in table.iter_rows(named=True)}
        self._next = len(chunks)

    def gather(self, photos: Mapping[str, Path], root: Path) -> tuple[list[Facts], dict[str, str]]:
        """Facts of the readable photos in `photos` (name -> file), and the fault of each other photo by name.

        Paths are stored relative to `root` if the photo is below it.
        """
        facts: list[Facts] = []
        faults: dict[str, str] = {}
        new: dict[str, Path] = {}
        for name, path in photos.items():
            stored = relative_path(path, root)
            before = self._known.get(stored)
            if before is not None and (before["bytes"], before["modified_ns"]) == _stamp(path):
                facts.append({**before, "name": name})
            else:
                new[name] = path
        for chunk in _opened(new, root):
            good = [result for result in chunk.values() if isinstance(result, dict)]
            self._save(good)
            facts += good
            faults |= {name: result for name, result in chunk.items() if isinstance(result, str)}
        return facts, faults

    def forget(self) -> None:
        """Remove the intermediate files, once the catalog contains the facts."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)  # including unfinished files of killed runs

    def _save(self, facts: Sequence[Facts]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        chunk = self.folder / f"photos-{self._next:05d}.parquet"
        replace_parquet(chunk, pl.DataFrame(list(facts), schema=TABLES["photos"]))
        self._next += 1


def _opened(photos: Mapping[str, Path], root: Path) -> Iterator[dict[str, Facts | str]]:
    """The facts or fault of each photo, in chunks. Threads are enough, because Pillow releases the GIL to decode."""
    jobs = [(name, path, root) for name, path in photos.items()]
    with tracking("opening photos", len(jobs), "photos") as tracker, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(jobs), CHUNK):
            chunk = {}
            for name, result in pool.map(_facts_or_fault, jobs[start : start + CHUNK]):
                chunk[name] = result
                tracker.advance()
            yield chunk


def _facts_or_fault(job: tuple[str, Path, Path]) -> tuple[str, Facts | str]:
    name, path, root = job
    try:
        return name, _facts(name, path, root)
    except PhotoError as error:
        return name, str(error)
    except OSError as error:
        return name, f"cannot be read: {error.strerror}"


def _facts(name: str, path: Path, root: Path) -> Facts:
    size, modified = _stamp(path)
    content = read_file(path)
    phash, thumb = fingerprint(open_photo(content, target_px=DECODE_PX))
    format, width, height = photo_header(content)
    return {
        "name": name,
        "path": relative_path(path, root),
        "bytes": size,
        "modified_ns": modified,
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": format,
        "width": width,
        "height": height,
        "phash": phash,
        "thumb": thumb,
    }


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time. A photo with an equal stamp counts as unchanged."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def relative_path(path: Path, root: Path) -> str:
    """The path relative to `root` if it is below it, so that a catalog can be moved; else absolute."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path.absolute())
