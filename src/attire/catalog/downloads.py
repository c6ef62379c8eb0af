"""Photos at URLs: downloaded once into the catalog's folder of photos, named by their content.

downloads.parquet has the file of each URL, and its stamp (ETag, Last-Modified), with which a later request asks for a
newer version only. It is no part of a version of the catalog: without it, the photos are downloaded again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attire.errors import PhotoError
from attire.files import read_parquet, replace_parquet
from attire.photos.image import photo_header
from attire.photos.index import keep_photo
from attire.photos.remote import FETCHERS, Download, RemotePhoto
from attire.progress import tracking

DOWNLOADS = "downloads.parquet"
COLUMNS: dict[str, Any] = {"url": pl.String, "path": pl.String, "stamp": pl.String}
SAVED = 100  # photos between two saves, the most that a killed ingest downloads again
logger = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """A downloaded photo: its path in the catalog, and the stamp of its version."""

    path: str
    stamp: str


class Downloads:
    """The downloaded photos of the catalog `root`. Those of an unfinished ingest are listed in the folder `work`."""

    def __init__(self, root: Path, photos: Path, work: Path, *, refetch: bool) -> None:
        """`photos` is the folder for the files. `refetch` asks for newer versions of photos that are known."""
        self.root, self.photos, self.work, self.refetch = root, photos, work, refetch
        chunks = sorted(work.glob("downloads-*.parquet"))
        self._next = len(chunks)
        self._kept: dict[str, _Kept] = {}
        for file in (root / DOWNLOADS, *chunks):
            for url, path, stamp in _rows(file):
                if (root / path).is_file():
                    self._kept[url] = _Kept(path, stamp)

    def gather(self, photos: Mapping[str, RemotePhoto]) -> tuple[dict[str, Path], dict[str, PhotoError]]:
        """The files of the photos (name -> file), downloaded if they are not known; and the fault of each other one.

        If a known photo cannot be asked for again, the known version stays.
        """
        distinct = {photo.url: photo for photo in photos.values()}
        wanted = [photo for url, photo in distinct.items() if self.refetch or url not in self._kept]
        faults: dict[str, PhotoError] = {}
        changed = silent = 0
        stamps = {url: kept.stamp for url, kept in self._kept.items()}
        with self._saving() as new, tracking("downloading photos", len(wanted), "photos") as tracker:
            for photo, result in _fetched(wanted, stamps):
                tracker.advance()
                before = self._kept.get(photo.url)
                if isinstance(result, Download):
                    try:
                        kept = self._keep(result)
                    except PhotoError as error:
                        result = error
                    else:
                        changed += before is not None and before.path != kept.path
                        self._kept[photo.url] = new[photo.url] = kept
                        if len(new) == SAVED:
                            self._save(new)
                if isinstance(result, PhotoError):
                    silent += before is not None
                    faults[photo.url] = result
        if wanted:
            logger.info(
                "photos at URLs: %s asked for, %s known before have changed, %s failed",
                *(f"{count:,}" for count in (len(wanted), changed, len(faults))),
            )
        if silent:
            logger.warning("%s photos could not be asked for again, and stay as they were", f"{silent:,}")
        files = {
            name: self.root / self._kept[photo.url].path for name, photo in photos.items() if photo.url in self._kept
        }
        return files, {name: faults[photo.url] for name, photo in photos.items() if name not in files}

    def write(self, folder: Path, used: Iterable[str]) -> None:
        """Write downloads.parquet with the photos that the catalog uses, by path: unusable ones are fetched again.

        Without any, the file has no content, which stands for its removal (`replacing_all`).
        """
        paths = frozenset(used)
        used_downloads = {url: kept for url, kept in sorted(self._kept.items()) if kept.path in paths}
        if used_downloads:
            replace_parquet(folder / DOWNLOADS, _table(used_downloads))
        else:
            (folder / DOWNLOADS).touch()

    def _keep(self, download: Download) -> _Kept:
        """Write the photo to the folder; raises `PhotoError` for anything but a photo, such as a page of text."""
        format, _, _ = photo_header(download.content)
        suffix = ".jpeg" if format == "MPO" else f".{format.lower()}"
        file = keep_photo(self.photos, download.content, suffix)
        return _Kept(file.relative_to(self.root).as_posix(), download.stamp)

    @contextmanager
    def _saving(self) -> Iterator[dict[str, _Kept]]:
        """Yield a dict of new photos that is saved at the end, also of an interrupted run."""
        new: dict[str, _Kept] = {}
        try:
            yield new
        finally:
            self._save(new)

    def _save(self, new: dict[str, _Kept]) -> None:
        if new:
            self.work.mkdir(parents=True, exist_ok=True)
            replace_parquet(self.work / f"downloads-{self._next:06d}.parquet", _table(new))
            self._next += 1
            new.clear()


def _table(kept: Mapping[str, _Kept]) -> pl.DataFrame:
    return pl.DataFrame([(url, *photo) for url, photo in kept.items()], COLUMNS, orient="row")


def _rows(file: Path) -> Iterable[tuple[str, str, str]]:
    """The rows of a table of downloads; none if it cannot be read."""
    try:
        return read_parquet(file).select([*COLUMNS]).rows()
    except (OSError, pl.exceptions.PolarsError):
        return ()


def _fetched(
    photos: Iterable[RemotePhoto], stamps: Mapping[str, str]
) -> Iterator[tuple[RemotePhoto, Download | PhotoError | None]]:
    """Each photo with what its download gave, as soon as it is there; None if it is still the version of its stamp.

    At most twice `FETCHERS` photos are in memory.
    """

    def fetch(photo: RemotePhoto) -> Download | PhotoError | None:
        try:
            return photo.download(stamps.get(photo.url, ""))
        except PhotoError as error:
            return error

    remaining = iter(photos)
    with ThreadPoolExecutor(FETCHERS, "fetch") as pool:
        running = {pool.submit(fetch, photo): photo for photo in islice(remaining, 2 * FETCHERS)}
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    photo = running.pop(future)
                    running |= {pool.submit(fetch, following): following for following in islice(remaining, 1)}
                    yield photo, future.result()
        finally:
            for future in running:
                future.cancel()
