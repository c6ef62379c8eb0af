"""Reads the products to predict from folders, archives and shards of photos, feeds or catalogs, also by URL."""

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
from attire.inference.stated_categories import known_categories, no_category
from attire.photos.archive import is_archive
from attire.photos.folder import is_photo, photos_below
from attire.photos.lookup import PhotoLookup, no_images
from attire.photos.remote import Remote, is_url
from attire.photos.shards import RANGE, expanded, identity, samples
from attire.taxonomy import Taxonomy

FEEDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx")
SLICE = 10_000  # products held as Python objects at once
FEED_COLUMNS: dict[str, Any] = {
    "number": pl.Int64,
    "id": pl.String,
    "images": pl.List(pl.String),
    "title": pl.String,
    "category": pl.String,
    "group": pl.String,
}


@dataclass(frozen=True, slots=True)
class Products:
    """The products to predict. Every iteration reads them again, one at a time, in the same order.

    marks: uint64[N], a hash of each product with its photos' sizes and times. Products of shards cannot be listed
    without reading them, so `marks` has one hash per shard there; `of_shards` reads the shards of given names.
    """

    read: Callable[[], Iterator[ProductPhotos]]
    marks: NDArray[np.uint64]
    shards: Sequence[str] = ()
    of_shards: Callable[[Sequence[str]], Iterator[ProductPhotos]] | None = None

    def __iter__(self) -> Iterator[ProductPhotos]:
        return self.read()

    @property
    def total(self) -> int | None:
        """The number of products, None if unknown."""
        return None if self.shards else len(self.marks)

    def digest(self, first: int = 0, last: int | None = None) -> str:
        """A digest of the products (or shards) from `first` to `last`; it changes if a product or a photo does."""
        return hashlib.sha256(self.marks[first:last].tobytes()).hexdigest()

    @classmethod
    def listed(cls, read: Callable[[], Iterator[ProductPhotos]]) -> Products:
        """From products that can be listed without opening their photos."""
        contents = (
            [product.id, [*map(_identity, product.photos)], product.faults, product.title, product.category]
            for product in read()
        )
        return cls(read, np.fromiter(map(_mark, contents), np.uint64))


def _mark(content: object) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(content).encode(), digest_size=8).digest())


def _identity(photo: Photo) -> tuple[object, ...]:
    """What identifies a photo: path, size and time of a file, the name of anything else."""
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

    A directory with a manifest is a catalog, of which `split` selects a split. Any other directory, and archives
    (`shard-{000..009}.tar` or `shards/*.tar`), hold photos, one product each. Anything else is a feed, whose photos are
    URLs or are looked up in `images`. All except a catalog may be URLs. Labels are not needed. With `categories_of`,
    products have the category in the source, in that taxonomy's spelling; raises `FeedError` naming all rows with
    another one. `scratch` is a folder for downloads.
    """
    options = options or SourceOptions()
    local, remote = Path(source), Remote(options.schemes)
    if not is_url(source) and (local / MANIFEST).is_file():
        return _of_catalog(Catalog.load(local), split, categories_of)
    if split:
        raise ConfigError(f"--split {split} needs a catalog, but {source} is not one.")
    if images or (PurePosixPath(str(source).split("?")[0]).suffix.lower() in FEEDS and not local.is_dir()):
        feed = remote.fetch(str(source), scratch) if is_url(source) else local
        if not images and not feed.is_file():
            raise FeedError(_not_a_source(source))
        lookup = PhotoLookup(images, scratch, scratch / "archives", remote)
        return _of_feed(source, SOURCES[feed_source](feed, options), lookup, categories_of)
    if categories_of is not None:
        raise no_category(source)
    if is_archive(source) or RANGE.search(str(source)) or ("*" in str(source) and not local.exists()):
        return _of_archives(expanded(str(source), remote), scratch, remote, options.title)
    if is_url(source):
        return _of_folder(source, [(name, remote.photo(url)) for name, url in remote.below(str(source))])
    if not local.is_dir():
        raise FeedError(_not_a_source(source))
    return _of_folder(source, local)


def _not_a_source(source: str | Path) -> str:
    if Path(source).is_file():
        return f"{source} is not a photo folder, archive, feed or catalog. A feed of another type needs --images."
    return f"{source} does not exist. Expected a photo folder, archives or shards, a feed with --images, or a catalog."


def _of_catalog(catalog: Catalog, split: str | None, categories_of: Taxonomy | None) -> Products:
    products = catalog.products.select("id", "title", "category", "group").with_row_index("number", 1)
    known = known_categories(catalog.path, products, categories_of)
    rows = catalog.rows_of(Splits.load(catalog)[split]) if split else np.arange(len(catalog))
    faults: dict[str, list[str]] = defaultdict(list)
    for photo in catalog.quarantine.filter(kind="photo").iter_rows(named=True):
        faults[photo["id"]].append(f"{photo['name']}: {photo['reason']}")

    def read() -> Iterator[ProductPhotos]:
        for start in range(0, len(rows), SLICE):
            block = rows[start : start + SLICE]
            texts = products[block].select("id", "title", "group", known=known.gather(block)).iter_rows()
            for (id, title, group, category), photos in zip(texts, catalog.photo_paths(block), strict=True):
                yield ProductPhotos(id, photos, tuple(faults.get(id, ())), title, category, group)

    return Products.listed(read)


def _of_archives(archives: Sequence[str], scratch: Path, remote: Remote, title: str) -> Products:
    def read(shards: Sequence[str] = archives) -> Iterator[ProductPhotos]:
        for sample in samples(shards, scratch, remote, title):
            yield ProductPhotos(sample.id, sample.photos, title=sample.title)

    marks = np.array([_mark(content) for content in identity(archives, remote)], np.uint64)
    return Products(read, marks, archives, read)


def _of_folder(source: str | Path, photos: Path | Sequence[tuple[str, Photo]]) -> Products:
    """One product per photo. Its id is the path without the suffix, or with it if two photos differ only in that."""

    def named_photos() -> Iterator[tuple[str, str, Photo]]:
        for name, photo in photos_below(photos) if isinstance(photos, Path) else photos:
            if is_photo(name):
                yield name, splitext(name)[0], photo

    stems = np.sort(np.fromiter((hash(stem) for _, stem, _ in named_photos()), np.int64))
    shared = frozenset(stems[1:][stems[1:] == stems[:-1]].tolist())

    def read() -> Iterator[ProductPhotos]:
        for name, stem, photo in named_photos():
            yield ProductPhotos(name if hash(stem) in shared else stem, (photo,))

    products = Products.listed(read)
    if not products.total:
        raise FeedError(f"{source} contains no photo. To read archives in it, use {source}/*.tar.")
    return products


def _of_feed(source: str | Path, rows: Iterator[Row], lookup: PhotoLookup, categories_of: Taxonomy | None) -> Products:
    """One product per id, with the photos of all its rows and the first title."""
    table = _columns(rows)
    if not lookup.sources and not table["images"].explode().str.contains("://", literal=True).any():
        raise no_images(source)
    table = table.with_columns(known=known_categories(source, table, categories_of)).drop("number", "category")
    if not table["id"].is_unique().all():
        first_title = pl.col("title").filter(pl.col("title") != "").first().fill_null("")
        images_ = pl.col("images").explode().drop_nulls().unique(maintain_order=True)
        table = table.group_by("id", maintain_order=True).agg(
            images_, first_title, pl.col("group").first(), pl.col("known").drop_nulls().first()
        )

    def read() -> Iterator[ProductPhotos]:
        for block in table.iter_slices(SLICE):
            for id, names, title, group, category in block.iter_rows():
                photos: list[Photo] = []
                faults = []
                for name in names:
                    try:
                        photos.append(lookup(name))
                    except PhotoError as error:
                        faults.append(f"{name}: {error}")
                yield ProductPhotos(id, photos, tuple(faults), title, category, group)

    return Products.listed(read)


def _columns(rows: Iterator[Row]) -> pl.DataFrame:
    """The needed fields of a feed's rows as columns, which take a tenth of the memory of row objects."""
    blocks = []
    while block := [
        (row.number, row.id, row.images, row.title, row.category, row.group) for row in islice(rows, SLICE)
    ]:
        blocks.append(pl.DataFrame(block, FEED_COLUMNS, orient="row"))
    return pl.concat(blocks)
