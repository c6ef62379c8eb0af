"""What to predict: a folder of photos, a feed with photos elsewhere, or a catalog."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attire.catalog.archives import PhotoIndex, find_photos
from attire.catalog.check import Problem, summarise
from attire.catalog.rows import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.splits import Splits
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import ConfigError, FeedError, PhotoError, TaxonomyError
from attire.predict.logits import ProductPhotos
from attire.taxonomy import Taxonomy


def read_products(
    source: Path,
    images: Sequence[str | Path] = (),
    *,
    feed_source: str = "table",
    options: SourceOptions | None = None,
    split: str | None = None,
    unpack_to: Path,
    categories_of: Taxonomy | None = None,
) -> list[ProductPhotos]:
    """The products in `source`, in a stable order.

    A directory with a manifest is a catalog (of which `split` names a part); another directory, or an archive, is
    photos, a product each; anything else is a feed, whose photos are looked up in `images`. Labels are not needed.
    With `categories_of` the categories that the source states are taken over, in that taxonomy's words; raises
    `FeedError` naming all rows with another word.
    """
    products, stated = _read(source, images, feed_source, options, split, unpack_to)
    return products if categories_of is None else _with_categories(source, products, stated, categories_of)


def _read(
    source: Path,
    images: Sequence[str | Path],
    feed_source: str,
    options: SourceOptions | None,
    split: str | None,
    unpack_to: Path,
) -> tuple[list[ProductPhotos], list[Row]]:
    """The products, and the feed's rows (for a catalog a row for each product, counted from 1), if there are any."""
    if (source / MANIFEST).is_file():
        catalog = Catalog.open(source)
        named = zip(catalog.ids, catalog.products["category"].to_list(), strict=True)
        return _of_catalog(catalog, split), [Row(n, id, category or "") for n, (id, category) in enumerate(named, 1)]
    if split:
        raise ConfigError(f"--split {split} goes with a catalog, and {source} is none.")
    if images:
        rows = SOURCES[feed_source](source, options or SourceOptions())
        return _of_feed(rows, find_photos(images, unpack_to)), rows
    if not source.is_dir() and source.suffix.lower() not in (".tar", ".gz", ".tgz", ".zip"):
        what = "needs --images DIR for its photos" if source.is_file() else "does not exist"
        raise FeedError(f"{source} {what}. Expected a folder of photos, a feed with --images, or a catalog.")
    index = find_photos([source], unpack_to)
    if not index.photos:
        raise FeedError(f"{source} holds no photo.")
    stems = Counter(str(Path(name).with_suffix("")) for name, _ in index.photos)
    ids = (stem if stems[stem := str(Path(name).with_suffix(""))] == 1 else name for name, _ in index.photos)
    return [ProductPhotos(id, [path]) for id, (_, path) in zip(ids, index.photos, strict=True)], []


def _of_catalog(catalog: Catalog, split: str | None) -> list[ProductPhotos]:
    ids = Splits.read(catalog)[split] if split else catalog.ids
    paths = catalog.photo_paths()
    faults: dict[str, list[str]] = defaultdict(list)
    for photo in catalog.quarantine.filter(kind="photo").iter_rows(named=True):
        faults[photo["id"]].append(f"{photo['name']}: {photo['reason']}")
    titles = catalog.products["title"].to_list()
    rows = catalog.rows_of(ids).tolist()
    return [ProductPhotos(id, paths[row], tuple(faults[id]), titles[row]) for id, row in zip(ids, rows, strict=True)]


def _of_feed(rows: Sequence[Row], index: PhotoIndex) -> list[ProductPhotos]:
    """One product per id; photos of several rows are put together, and the first title counts."""
    names: dict[str, dict[str, None]] = {}
    titles: dict[str, str] = {}
    for row in rows:
        names.setdefault(row.id, {}).update(dict.fromkeys(row.images))
        titles[row.id] = titles.get(row.id) or row.title
    products = []
    for id, images in names.items():
        found, faults = [], []
        for name in images:
            try:
                found.append(index[name])
            except PhotoError as error:
                faults.append(f"{name}: {error}")
        products.append(ProductPhotos(id, found, tuple(faults), titles[id]))
    return products


def _with_categories(
    source: Path, products: Sequence[ProductPhotos], rows: Sequence[Row], taxonomy: Taxonomy
) -> list[ProductPhotos]:
    """The products with the category that their rows state, if they do."""
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
    return [replace(product, category=stated.get(product.id)) for product in products]
