"""What to predict: folders, archives and shards of photos, a feed with photos elsewhere, or a catalog; also by URL."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from posixpath import splitext
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.catalog.feed_row import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.splits import Splits
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import ConfigError, FeedError, PhotoError
from attire.inference.decoding import Photo, ProductPhotos
from attire.inference.stated_categories import known_categories, unstated
from attire.photos.archive import is_archive
from attire.photos.folder import is_photo, photos_below
from attire.photos.index import PhotoIndex, find_photos
from attire.photos.remote import Remote, is_url
from attire.photos.shards import RANGE, expanded, identity, samples
from attire.taxonomy import Taxonomy

FEEDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
SLICE = 10_000  # products that are objects at once
SAID: dict[str, Any] = {  # of a feed's row
    "number": pl.Int64,
    "id": pl.String,
    "images": pl.List(pl.String),
    "title": pl.String,
    "category": pl.String,
}


@dataclass(frozen=True, slots=True)
class Products:
    """What is to be predicted: every iteration reads it anew, one product at a time, in the same order.

    `marks` uint64[N] tell each product, with its photos as they are now, from others. Where only reading all of it
    would list the products, they are those of `shards`: archives, of which `of_shards` reads some apart.
    """

    read: Callable[[], Iterator[ProductPhotos]]
    marks: NDArray[np.uint64]
    shards: Sequence[str] = ()
    of_shards: Callable[[Sequence[str]], Iterator[ProductPhotos]] | None = None

    def __iter__(self) -> Iterator[ProductPhotos]:
        return self.read()

    @property
    def total(self) -> int | None:
        """How many products there are, where that is known."""
        return None if self.shards else len(self.marks)

    def digest(self, first: int = 0, last: int | None = None) -> str:
        """Of all products (or archives), or of some in their order: equal for equal ones with unchanged photos."""
        return hashlib.sha256(self.marks[first:last].tobytes()).hexdigest()

    @classmethod
    def listed(cls, read: Callable[[], Iterator[ProductPhotos]]) -> Products:
        """Of products whose photos need not be opened to list them."""
        said = (
            [product.id, [*map(_identity, product.photos)], product.faults, product.title, product.category]
            for product in read()
        )
        return cls(read, np.fromiter(map(_mark, said), np.uint64))


def _mark(said: object) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(said).encode(), digest_size=8).digest())


def _identity(photo: Photo) -> tuple[object, ...]:
    """What tells a photo from others: a file by its place, size and time, anything else by its name."""
    if not isinstance(photo, Path):
        return (str(photo),)
    try:
        status = photo.stat()
    except OSError:
        return (str(photo), "cannot be read")
    return str(photo), status.st_size, status.st_mtime_ns


def read_products(
    source: str | Path,
    images: Sequence[str | Path] = (),
    *,
    feed_source: str = "table",
    options: SourceOptions | None = None,
    split: str | None = None,
    scratch: Path,
    categories_of: Taxonomy | None = None,
) -> Products:
    """The products in `source`, in a stable order.

    A directory with a manifest is a catalog (of which `split` names a part); another directory, or archives
    (`shard-{000..009}.tar` or `shards/*.tar`), are photos, a product each; anything else is a feed, whose photos are
    URLs or are looked up in `images`. All but a catalog may be URLs. Labels are not needed. With `categories_of` the
    categories that the source states are taken over, in that taxonomy's words; raises `FeedError` naming all rows with
    another word. `scratch` is for what must be fetched whole.
    """
    options = options or SourceOptions()
    local, remote = Path(source), Remote(options.schemes)
    if not is_url(source) and (local / MANIFEST).is_file():
        return _of_catalog(Catalog.load(local), split, categories_of)
    if split:
        raise ConfigError(f"--split {split} goes with a catalog, and {source} is none.")
    if images or (PurePosixPath(str(source).split("?")[0]).suffix.lower() in FEEDS and not local.is_dir()):
        feed = remote.fetch(str(source), scratch) if is_url(source) else local
        if not images and not feed.is_file():
            raise FeedError(_neither(source))
        return _of_feed(source, SOURCES[feed_source](feed, options), _Lookup(images, scratch, remote), categories_of)
    if categories_of is not None:
        raise unstated(source)
    if is_archive(source) or RANGE.search(str(source)) or ("*" in str(source) and not local.exists()):
        return _of_archives(expanded(str(source), remote), scratch, remote, options.title)
    if is_url(source):
        return _of_folder(source, [(name, remote.photo(url)) for name, url in remote.below(str(source))])
    if not local.is_dir():
        raise FeedError(_neither(source))
    return _of_folder(source, local)


def _neither(source: str | Path) -> str:
    what = "is neither" if Path(source).is_file() else "does not exist"
    return f"{source} {what}. Expected photos (a folder, archives or shards), a feed with --images, or a catalog."


def _of_catalog(catalog: Catalog, split: str | None, categories_of: Taxonomy | None) -> Products:
    products = catalog.products.select("id", "title", "category").with_row_index("number", 1)
    known = known_categories(catalog.path, products, categories_of)
    rows = catalog.rows_of(Splits.load(catalog)[split]) if split else np.arange(len(catalog))
    faults: dict[str, list[str]] = defaultdict(list)
    for photo in catalog.quarantine.filter(kind="photo").iter_rows(named=True):
        faults[photo["id"]].append(f"{photo['name']}: {photo['reason']}")

    def read() -> Iterator[ProductPhotos]:
        for start in range(0, len(rows), SLICE):
            some = rows[start : start + SLICE]
            said = products[some].select("id", "title", known=known.gather(some)).iter_rows()
            for (id, title, category), photos in zip(said, catalog.photo_paths(some), strict=True):
                yield ProductPhotos(id, photos, tuple(faults.get(id, ())), title, category)

    return Products.listed(read)


def _of_archives(archives: Sequence[str], scratch: Path, remote: Remote, title: str) -> Products:
    def read(some: Sequence[str] = archives) -> Iterator[ProductPhotos]:
        for sample in samples(some, scratch, remote, title):
            yield ProductPhotos(sample.id, sample.photos, title=sample.title)

    marks = np.array([_mark(said) for said in identity(archives, remote)], np.uint64)
    return Products(read, marks, archives, read)


def _of_folder(source: str | Path, photos: Path | Sequence[tuple[str, Photo]]) -> Products:
    """A product per photo: its id is the path without the suffix, where no other photo has the same."""

    def found() -> Iterator[tuple[str, str, Photo]]:
        for name, photo in photos_below(photos) if isinstance(photos, Path) else photos:
            if is_photo(name):
                yield name, splitext(name)[0], photo

    stems = np.sort(np.fromiter((hash(stem) for _, stem, _ in found()), np.int64))
    shared = frozenset(stems[1:][stems[1:] == stems[:-1]].tolist())

    def read() -> Iterator[ProductPhotos]:
        for name, stem, photo in found():
            yield ProductPhotos(name if hash(stem) in shared else stem, (photo,))

    products = Products.listed(read)
    if not products.total:
        raise FeedError(f"{source} holds no photo. Archives in it are read with {source}/*.tar.")
    return products


def _of_feed(source: str | Path, rows: Iterator[Row], lookup: _Lookup, categories_of: Taxonomy | None) -> Products:
    """One product per id; photos of several rows are put together, and the first title counts."""
    said = _columns(rows)
    if not lookup.sources and not said["images"].explode().str.contains("://", literal=True).any():
        raise FeedError(f"{source} needs --images for its photos: a folder, archives or a URL. None of them is a URL.")
    said = said.with_columns(known=known_categories(source, said, categories_of)).drop("number", "category")
    if not said["id"].is_unique().all():
        first_title = pl.col("title").filter(pl.col("title") != "").first().fill_null("")
        images_ = pl.col("images").explode().drop_nulls().unique(maintain_order=True)
        said = said.group_by("id", maintain_order=True).agg(images_, first_title, pl.col("known").drop_nulls().first())

    def read() -> Iterator[ProductPhotos]:
        for some in said.iter_slices(SLICE):
            for id, names, title, category in some.iter_rows():
                found: list[Photo] = []
                faults = []
                for name in names:
                    try:
                        found.append(lookup(name))
                    except PhotoError as error:
                        faults.append(f"{name}: {error}")
                yield ProductPhotos(id, found, tuple(faults), title, category)

    return Products.listed(read)


def _columns(rows: Iterator[Row]) -> pl.DataFrame:
    """What counts of a feed's rows, as columns: a million rows as objects would take ten times as much."""
    blocks = []
    while block := [(row.number, row.id, row.images, row.title, row.category) for row in islice(rows, SLICE)]:
        blocks.append(pl.DataFrame(block, SAID, orient="row"))
    return pl.concat(blocks)


class _Lookup:
    """Photos by the name that a feed gives them: a URL, a file below `images`, or a name below its remote folder."""

    def __init__(self, images: Sequence[str | Path], scratch: Path, remote: Remote) -> None:
        self.sources, self.remote = images, remote
        folders = [str(source) for source in images if is_url(source) and not is_archive(source)]
        if len(folders) > 1:
            raise ConfigError(f"--images has {len(folders)} remote folders, {' and '.join(folders)}: one is possible.")
        self.folder = folders[0].rstrip("/") if folders else None
        files = [
            remote.fetch(str(source), scratch / "archives") if is_url(source) else source
            for source in images
            if str(source) not in folders
        ]
        self.files = find_photos(files, scratch) if files else PhotoIndex([])

    def __call__(self, name: str) -> Photo:
        if is_url(name):
            return self.remote.photo(name)
        try:
            return self.files[name]
        except PhotoError:
            if self.folder is None:
                raise
        return self.remote.photo(f"{self.folder}/{name}")  # a name that leads nowhere is told when it is fetched
