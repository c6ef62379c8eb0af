"""The product export of Shopify: a table with a row per variant and photo, of which the first row of each product
(`Handle`, or `URL handle` in the newer export) has the title, the category and the metafields.

Keys are the standard metafields, `Color (product.metafields.shopify.color-pattern)`, whose values are separated by
semicolons, and the options of variants, `Option1 Name` and `Option1 Value`. They are named after the column or option,
in lower case and with underscores: `sleeve_length_type`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.sources.cell_text import word, words
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, Table, read_table
from attire.errors import FeedError, did_you_mean, shown
from attire.references.matching import canonical
from attire.references.metafields import STANDARD, metafield
from attire.references.reference import PATH

VALUES = "; "  # between several values of a metafield
ROWS = "rows"  # name of the only cell of a grouped row: all rows of a product
OPTIONS = 3
SIZES = frozenset({"size", "shoe_size", "accessory_size", "ring_size", "cup_size"})  # of variants, not of a product
NOT_KEYS = frozenset({"title"})  # the option of a product without variants, "Default Title"


def key_name(name: str) -> str:
    """The key of a metafield or an option.

    >>> key_name("Sleeve length type")
    'sleeve_length_type'
    """
    return re.sub(r"\W+", "_", name.casefold()).strip("_")


@dataclass(frozen=True, slots=True)
class ExportColumns:
    """The columns of an export; "" for one that it does not have. `metafields` maps keys to columns."""

    handle: str
    title: str
    category: str
    type: str
    vendor: str
    photos: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    metafields: Mapping[str, str]

    @classmethod
    def of(cls, table: Table, options: SourceOptions) -> ExportColumns:
        """Raises `FeedError` if the table has no handles."""
        named = {column.casefold(): column for column in table.columns}

        def first(*names: str) -> str:
            return next((named[name] for name in names if name in named), "")

        handle = first("handle", "url handle")
        if not handle:
            raise FeedError(
                f"{table.feed} is not a product export of Shopify: expected a column 'Handle' or 'URL handle'. "
                f"It has: {shown(', '.join(table.columns))}."
            )
        pairs = [(first(f"option{n} name"), first(f"option{n} value")) for n in range(1, OPTIONS + 1)]
        return cls(
            handle=handle,
            title=first("title"),
            category=first("product category"),
            type=first("type"),
            vendor=first("vendor"),
            photos=tuple(
                named[name]
                for name in ("image src", "product image url", "variant image", "variant image url")
                if name in named
            ),
            options=tuple((name, value) for name, value in pairs if name and value),
            metafields=_metafields(table.columns, options),
        )


def _metafields(columns: Sequence[str], options: SourceOptions) -> dict[str, str]:
    """The columns of wanted metafields by key: without `options.keys`, those of the namespace `shopify`.

    Of two metafields of one name, the standard one has the name as its key, and the other its namespace before it.
    """
    fields = [(field, column) for column in columns if (field := metafield(column)) is not None]
    by_key: dict[str, tuple[str, bool]] = {}
    for field, column in sorted(fields, key=lambda pair: pair[0].namespace != STANDARD):
        key = key_name(field.name)
        if key in by_key:
            key = key_name(f"{field.namespace} {field.handle}")
        by_key.setdefault(key, (column, field.namespace == STANDARD))
    return {key: column for key, (column, standard) in by_key.items() if _wanted(key, options, default=standard)}


def _wanted(key: str, options: SourceOptions, *, default: bool) -> bool:
    """Whether a key is read: as `--keys` and `--ignore` say, and otherwise by default, but never sizes."""
    if key in map(key_name, options.ignore):
        return False
    if options.keys:
        return key in map(key_name, options.keys)
    return default and key not in SIZES


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """Yield a row per product, with the number of its first row, the photos of all rows, and the values of all options.

    A metafield outranks an option of the same name, since its values are those of Shopify's taxonomy. Raises
    `FeedError` for missing columns, with all unreadable rows, or for a key in `options.keys` that no product has.
    """
    table = read_table(feed, options)
    columns = ExportColumns.of(table, options)
    semicolons = options.model_copy(update={"separator": VALUES.strip()})
    one_photo = options.model_copy(update={"separator": "\n"})  # an address may contain any other separator
    seen = set(columns.metafields)

    def row(number: int, cells: Cells) -> Row:
        rows: list[Cells] = cells[ROWS]
        labels = _options(rows, columns, options)
        labels |= {
            key: found for key, column in columns.metafields.items() if (found := _words(rows, column, semicolons))
        }
        if columns.vendor and "vendor" in map(key_name, options.keys):
            labels["vendor"] = _words(rows, columns.vendor, one_photo)
        seen.update(labels)
        photos = (photo for one in rows for column in columns.photos for photo in _words([one], column, one_photo))
        return Row(
            number=number,
            id=word(columns.handle, rows[0].get(columns.handle), options.model_copy(update={"empty": ()})),
            category=category_name(_first(rows, columns.category, options)) or _first(rows, columns.type, options),
            labels={key: labels.get(key, ()) for key in {**columns.metafields, **labels}},
            images=tuple(dict.fromkeys(photos)),
            title=_first(rows, columns.title, options),
        )

    yield from replace(table, cells=_products(table.cells, columns.handle)).rows(row)
    if missing := [name for name in options.keys if key_name(name) not in seen]:
        known = seen | {key_name(field.name) for column in table.columns if (field := metafield(column))}
        hints = " ".join(f"'{shown(name)}'{did_you_mean(key_name(name), known)}" for name in missing)
        raise FeedError(f"{feed}: no metafield or option has the name {hints}")


def category_name(path: str) -> str:
    """The last part of a category's path.

    >>> category_name("Apparel & Accessories > Clothing > Dresses")
    'Dresses'
    """
    return path.rpartition(PATH.strip())[2].strip()


def category_paths(feed: Path, options: SourceOptions) -> dict[str, str]:
    """How the export writes each category: its most frequent path, by the canonical last part."""
    table = read_table(feed, options)
    column = ExportColumns.of(table, options).category
    counts = Counter(
        text
        for _, cells in table.cells
        if column and not isinstance(cells, ValueError) and (text := word(column, cells.get(column), options))
    )
    paths: dict[str, str] = {}
    for path, _ in counts.most_common():
        paths.setdefault(canonical(category_name(path)), path)
    return paths


def _products(rows: Iterator[tuple[int, Cells | ValueError]], handle: str) -> Iterator[tuple[int, Cells | ValueError]]:
    """Join the consecutive rows of each product; a faulty row stands alone."""
    first, group = 0, list[Cells]()
    for number, cells in rows:
        if group and (isinstance(cells, ValueError) or cells.get(handle) != group[0].get(handle)):
            yield first, {ROWS: group}
            group = []
        if isinstance(cells, ValueError):
            yield number, cells
            continue
        first = first if group else number
        group.append(cells)
    if group:
        yield first, {ROWS: group}


def _options(rows: Sequence[Cells], columns: ExportColumns, options: SourceOptions) -> dict[str, tuple[str, ...]]:
    """The values of all variants by option. Only the first row of a product names its options."""
    labels: dict[str, tuple[str, ...]] = {}
    for name_column, value_column in columns.options:
        key = key_name(_first(rows, name_column, options))
        if not key or key in NOT_KEYS or not _wanted(key, options, default=True):
            continue
        values = (word(value_column, cells.get(value_column), options) for cells in rows)
        labels[key] = tuple(dict.fromkeys(filter(None, values)))
    return labels


def _words(rows: Sequence[Cells], column: str, options: SourceOptions) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for cells in rows for text in words(column, cells.get(column, ""), options)))


def _first(rows: Sequence[Cells], column: str, options: SourceOptions) -> str:
    """The first word of the rows in a column."""
    return next((text for cells in rows if column and (text := word(column, cells.get(column), options))), "")
