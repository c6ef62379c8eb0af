"""What to predict: a folder of photos, a feed with photos elsewhere, or a catalog."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from attire.catalog.archives import PhotoIndex, find_photos
from attire.catalog.rows import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.splits import Splits
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import ConfigError, FeedError, PhotoError
from attire.predict.logits import ProductPhotos


def read_products(
    source: Path,
    images: Sequence[str | Path] = (),
    *,
    feed_source: str = "table",
    options: SourceOptions | None = None,
    split: str | None = None,
    unpack_to: Path,
) -> list[ProductPhotos]:
    """The products in `source`, in a stable order.

    A directory with a manifest is a catalog (of which `split` names a part); another directory, or an archive, is
    photos, a product each; anything else is a feed, whose photos are looked up in `images`. Labels are not needed.
    """
    if (source / MANIFEST).is_file():
        return _of_catalog(Catalog.open(source), split)
    if split:
        raise ConfigError(f"--split {split} goes with a catalog, and {source} is none.")
    if images:
        rows = SOURCES[feed_source](source, options or SourceOptions())
        return _of_feed(rows, find_photos(images, unpack_to))
    if not source.is_dir() and source.suffix.lower() not in (".tar", ".gz", ".tgz", ".zip"):
        what = "needs --images DIR for its photos" if source.is_file() else "does not exist"
        raise FeedError(f"{source} {what}. Expected a folder of photos, a feed with --images, or a catalog.")
    index = find_photos([source], unpack_to)
    if not index.photos:
        raise FeedError(f"{source} holds no photo.")
    stems = Counter(str(Path(name).with_suffix("")) for name, _ in index.photos)
    ids = (stem if stems[stem := str(Path(name).with_suffix(""))] == 1 else name for name, _ in index.photos)
    return [ProductPhotos(id, [path]) for id, (_, path) in zip(ids, index.photos, strict=True)]


def _of_catalog(catalog: Catalog, split: str | None) -> list[ProductPhotos]:
    ids = Splits.read(catalog)[split] if split else catalog.ids
    paths = catalog.photo_paths()
    faults: dict[str, list[str]] = defaultdict(list)
    for photo in catalog.quarantine.filter(kind="photo").iter_rows(named=True):
        faults[photo["id"]].append(f"{photo['name']}: {photo['reason']}")
    rows = catalog.rows_of(ids).tolist()
    return [ProductPhotos(id, paths[row], tuple(faults[id])) for id, row in zip(ids, rows, strict=True)]


def _of_feed(rows: Sequence[Row], index: PhotoIndex) -> list[ProductPhotos]:
    """One product per id; photos of several rows are put together."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        names.setdefault(row.id, {}).update(dict.fromkeys(row.images))
    products = []
    for id, images in names.items():
        found, faults = [], []
        for name in images:
            try:
                found.append(index[name])
            except PhotoError as error:
                faults.append(f"{name}: {error}")
        products.append(ProductPhotos(id, found, tuple(faults)))
    return products
