"""Where a source has the fields that can be filled, and how it writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.sources import SOURCES, SourceOptions, shopify, table
from attire.catalog.sources.reading import read_table
from attire.errors import ConfigError, FeedError, did_you_mean
from attire.taxonomy import CATEGORY, Taxonomy


@dataclass(frozen=True, slots=True)
class FeedLayout:
    """How a feed is read and written.

    rows: reads it again; labels: the names of keys, and of `CATEGORY`, in `Row.labels`; columns: the columns of their
    cells; separator: between several values of a cell;
    category_cells: how the feed writes a category, by its canonical name, if a cell has more than the name.
    """

    rows: Callable[[], Iterator[Row]]
    labels: Mapping[str, str]
    columns: Mapping[str, str]
    separator: str
    category_cells: Mapping[str, str] | None = None


def layout_of(source: str, feed: Path, options: SourceOptions, taxonomy: Taxonomy) -> FeedLayout:
    """The layout of a feed with columns that can be filled.

    Raises `ConfigError` for a source that has none, and `FeedError` if no column is one of the taxonomy.
    """
    if source not in LAYOUTS:
        raise ConfigError(
            f"attire fill reads the sources {' and '.join(LAYOUTS)}, not '{source}'{did_you_mean(source, LAYOUTS)}"
        )
    layout = LAYOUTS[source](feed, options, taxonomy)
    if not layout.columns:
        raise FeedError(
            f"{feed} has no column for the category or for any key of the bundle. Expected one of "
            f"{', '.join(taxonomy.keys)}."
        )
    return layout


def every_field(source: str, feed: Path, options: SourceOptions, taxonomy: Taxonomy) -> FeedLayout:
    """A layout with all keys of the taxonomy, for a file other than the feed; columns are the keys themselves.

    Raises `ConfigError` for an unknown source.
    """
    if source not in SOURCES:
        raise ConfigError(f"'{source}' is not a source ({', '.join(SOURCES)}){did_you_mean(source, SOURCES)}")
    keys = {key: key for key in (CATEGORY, *taxonomy.keys)}
    return FeedLayout(lambda: _named(SOURCES[source](feed, options), taxonomy), keys, keys, options.separator)


def _named(rows: Iterator[Row], taxonomy: Taxonomy) -> Iterator[Row]:
    """The rows with keys named as in the taxonomy, as far as it has them."""
    for row in rows:
        yield replace(row, labels={taxonomy.key_named(name) or name: words for name, words in row.labels.items()})


def _of_table(feed: Path, options: SourceOptions, taxonomy: Taxonomy) -> FeedLayout:
    read = read_table(feed, options)
    named = table.key_columns(read, options)
    if options.attributes:  # a key that an object lacks is a blank
        named = [key for key in options.keys or taxonomy.keys if key not in (*options.ignore, options.category)]
    keys = _keys(named, taxonomy)
    if options.category in read.columns:
        keys = {CATEGORY: options.category, **keys}
    return FeedLayout(lambda: table.read(feed, options), keys, keys, options.separator)


def _keys(names: Iterable[str], taxonomy: Taxonomy) -> dict[str, str]:
    """The names that are keys, their aliases or titles, by key. A key's own name comes first."""
    keys: dict[str, str] = {}
    for name in names:
        if (key := taxonomy.key_named(name)) is not None and (key not in keys or name == key):
            keys[key] = name
    return keys


def _of_shopify(feed: Path, options: SourceOptions, taxonomy: Taxonomy) -> FeedLayout:
    found = shopify.ExportColumns.of(read_table(feed, options), options)
    labels = _keys(found.metafields, taxonomy)
    columns = {key: found.metafields[name] for key, name in labels.items()}
    if found.category:
        labels, columns = {CATEGORY: "", **labels}, {CATEGORY: found.category, **columns}
    paths = shopify.category_paths(feed, options)
    return FeedLayout(lambda: shopify.read(feed, options), labels, columns, shopify.VALUES, paths)


LAYOUTS: dict[str, Callable[[Path, SourceOptions, Taxonomy], FeedLayout]] = {
    "table": _of_table,
    "shopify": _of_shopify,
}
