"""What to predict: folders, archives and shards of photos, a feed with photos elsewhere, or a catalog; also by URL."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from attire.catalog.archives import SUFFIXES, PhotoIndex, find_photos, photos_below
from attire.catalog.check import Problem, summarise
from attire.catalog.remote import RemotePhoto, below, fetch, is_url
from attire.catalog.rows import Row
from attire.catalog.shards import RANGE, expanded, identity, is_archive, samples
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.splits import Splits
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import ConfigError, FeedError, PhotoError, TaxonomyError
from attire.predict.decode import Photo, ProductPhotos
from attire.taxonomy import Taxonomy

FEEDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class Products:
    """What is to be predicted: every iteration reads it anew, one product at a time, in the same order.

    `digest` tells it from other work; `total` is None where only reading all of it would tell. Archives can be read
    apart: `shards` are their names, and `of_shards` reads some of them.
    """

    read: Callable[[], Iterator[ProductPhotos]]
    digest: str
    total: int | None
    shards: Sequence[str] = ()
    of_shards: Callable[[Sequence[str]], Iterator[ProductPhotos]] | None = None

    def __iter__(self) -> Iterator[ProductPhotos]:
        return self.read()

    @classmethod
    def listed(cls, read: Callable[[], Iterator[ProductPhotos]]) -> Products:
        """Of products whose photos need not be opened to list them."""
        content, total = hashlib.sha256(), 0
        for product in read():
            photos = [str(photo) for photo in product.photos]
            content.update(json.dumps([product.id, photos, product.faults, product.title, product.category]).encode())
            total += 1
        return cls(read, content.hexdigest(), total)


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
    local = Path(source)
    if not is_url(source) and (local / MANIFEST).is_file():
        catalog = Catalog.open(local)
        named = zip(catalog.ids, catalog.products["category"].to_list(), strict=True)
        rows = [Row(number, id, category or "") for number, (id, category) in enumerate(named, 1)]
        known = {} if categories_of is None else _categories(source, rows, categories_of)
        return Products.listed(lambda: _of_catalog(catalog, split, known))
    if split:
        raise ConfigError(f"--split {split} goes with a catalog, and {source} is none.")
    if images or (PurePosixPath(str(source).split("?")[0]).suffix.lower() in FEEDS and not local.is_dir()):
        feed = fetch(str(source), scratch) if is_url(source) else local
        if not images and not feed.is_file():
            raise FeedError(_neither(source))
        rows = SOURCES[feed_source](feed, options)
        known = {} if categories_of is None else _categories(source, rows, categories_of)
        return _of_feed(source, rows, images, scratch, known)
    if categories_of is not None:
        raise FeedError(f"{source} states no category. Name its column with --category, or leave out --known-category.")
    if is_archive(source) or RANGE.search(str(source)) or ("*" in str(source) and not local.exists()):
        return _of_archives(expanded(str(source)), scratch, options.title)
    if is_url(source):
        return _of_folder(source, [(name, RemotePhoto(url)) for name, url in below(str(source))])
    if not local.is_dir():
        raise FeedError(_neither(source))
    return _of_folder(source, local)


def _neither(source: str | Path) -> str:
    what = "is neither" if Path(source).is_file() else "does not exist"
    return f"{source} {what}. Expected photos (a folder, archives or shards), a feed with --images, or a catalog."


def _of_catalog(catalog: Catalog, split: str | None, known: Mapping[str, str]) -> Iterator[ProductPhotos]:
    ids = Splits.read(catalog)[split] if split else catalog.ids
    faults: dict[str, list[str]] = defaultdict(list)
    for photo in catalog.quarantine.filter(kind="photo").iter_rows(named=True):
        faults[photo["id"]].append(f"{photo['name']}: {photo['reason']}")
    paths = catalog.photo_paths()
    titles = catalog.products["title"].to_list()
    for id, row in zip(ids, catalog.rows_of(ids).tolist(), strict=True):
        yield ProductPhotos(id, paths[row], tuple(faults.get(id, ())), titles[row], known.get(id))


def _of_archives(archives: Sequence[str], scratch: Path, title: str) -> Products:
    def read(some: Sequence[str] = archives) -> Iterator[ProductPhotos]:
        for sample in samples(some, scratch, title):
            yield ProductPhotos(sample.id, sample.photos, title=sample.title)

    digest = hashlib.sha256(json.dumps(identity(archives)).encode()).hexdigest()
    return Products(read, digest, None, archives, read)


def _of_folder(source: str | Path, photos: Path | Sequence[tuple[str, Photo]]) -> Products:
    """A product per photo: its id is the path without the suffix, where no other photo has the same."""

    def read() -> Iterator[ProductPhotos]:
        listed = photos_below(photos) if isinstance(photos, Path) else photos
        found = ((name, photo) for name, photo in listed if PurePosixPath(name).suffix.lower() in SUFFIXES)
        for _, folder in groupby(found, lambda photo: PurePosixPath(photo[0]).parent):
            several = list(folder)  # photos of one stem lie in one folder
            stems = Counter(str(PurePosixPath(name).with_suffix("")) for name, _ in several)
            for name, photo in several:
                stem = str(PurePosixPath(name).with_suffix(""))
                yield ProductPhotos(stem if stems[stem] == 1 else name, (photo,))

    products = Products.listed(read)
    if not products.total:
        raise FeedError(f"{source} holds no photo. Archives in it are read with {source}/*.tar.")
    return products


def _of_feed(
    source: str | Path, rows: Sequence[Row], images: Sequence[str | Path], scratch: Path, known: Mapping[str, str]
) -> Products:
    """One product per id; photos of several rows are put together, and the first title counts."""
    names: dict[str, dict[str, None]] = {}
    titles: dict[str, str] = {}
    for row in rows:
        names.setdefault(row.id, {}).update(dict.fromkeys(row.images))
        titles[row.id] = titles.get(row.id) or row.title
    if not images and not any(is_url(name) for images_ in names.values() for name in images_):
        raise FeedError(f"{source} needs --images for its photos: a folder, archives or a URL. None of them is a URL.")
    lookup = _Lookup(images, scratch)

    def read() -> Iterator[ProductPhotos]:
        for id, wanted in names.items():
            found: list[Photo] = []
            faults = []
            for name in wanted:
                try:
                    found.append(lookup(name))
                except PhotoError as error:
                    faults.append(f"{name}: {error}")
            yield ProductPhotos(id, found, tuple(faults), titles[id], known.get(id))

    return Products.listed(read)


class _Lookup:
    """Photos by the name that a feed gives them: a URL, a file below `images`, or a name below its remote folder."""

    def __init__(self, images: Sequence[str | Path], scratch: Path) -> None:
        folders = [str(source) for source in images if is_url(source) and not is_archive(source)]
        if len(folders) > 1:
            raise ConfigError(f"--images has {len(folders)} remote folders, {' and '.join(folders)}: one is possible.")
        self.folder = folders[0].rstrip("/") if folders else None
        files = [
            fetch(str(source), scratch / "archives") if is_url(source) else source
            for source in images
            if str(source) not in folders
        ]
        self.files = find_photos(files, scratch) if files else PhotoIndex([])

    def __call__(self, name: str) -> Photo:
        if is_url(name):
            return RemotePhoto(name)
        try:
            return self.files[name]
        except PhotoError:
            if self.folder is None:
                raise
        return RemotePhoto(f"{self.folder}/{name}")  # a name that leads nowhere is told when it is fetched


def _categories(source: str | Path, rows: Sequence[Row], taxonomy: Taxonomy) -> dict[str, str]:
    """The category of each product whose rows state one."""
    stated: dict[str, str] = {}
    problems = []
    for row in rows:
        if not row.category:
            continue
        try:
            category = taxonomy.category(row.category)
        except TaxonomyError as error:
            problems.append(Problem(row.number, str(error)))
            continue
        if stated.setdefault(row.id, category) != category:
            problems.append(Problem(row.number, f"id '{row.id}' is also said to be '{stated[row.id]}'. Mend a row."))
    if problems:
        raise FeedError(
            f"{source}: {len(problems):,} {'problem' if len(problems) == 1 else 'problems'} with its categories; "
            f"nothing was predicted.\n{summarise(problems)}\nMend the feed, or leave out --known-category.",
            [str(problem) for problem in problems],
        )
    if not stated:
        raise FeedError(f"{source} states no category. Name its column with --category, or leave out --known-category.")
    return stated
