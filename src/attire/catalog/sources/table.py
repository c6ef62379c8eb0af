"""A table in a shop's own format: CSV, TSV, JSON Lines, Parquet or .xlsx, with a column per key or one JSON column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.sources.cell_text import parse_json, word, words
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, Table, read_table


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """Yield all rows; raises `FeedError` for missing columns, or with all unreadable rows."""
    table = read_table(feed, options)
    keys = key_columns(table, options)
    any_word = options.model_copy(update={"empty": ()})  # "NA" is a valid id

    def row(number: int, cells: Cells) -> Row:
        labels = (
            _attributes(cells, options) if options.attributes else {key: cells[key] for key in keys if key in cells}
        )
        return Row(
            number=number,
            id=word(options.id, cells.get(options.id), any_word),
            category=word(options.category, cells.get(options.category), options),
            labels={key: words(key, cell, options) for key, cell in labels.items()},
            images=words(options.image, cells.get(options.image), options),
            title=word(options.title, cells.get(options.title), options),
            group=word(options.group, cells.get(options.group), options),
        )

    return table.rows(row)


def key_columns(table: Table, options: SourceOptions) -> list[str]:
    """The columns that are attribute keys; raises `FeedError` if a requested column is missing."""
    optional = [options.category, options.title, options.group]
    defaults = {SourceOptions.model_fields[name].default for name in ("category", "title", "group")}
    wanted = [options.id, options.image, *(name for name in optional if name not in defaults)]
    if options.attributes:
        table.require([*wanted, options.attributes])
        return []
    table.require([*wanted, *options.keys, *options.ignore])
    other_columns = {options.id, options.image, *optional, *options.ignore}
    return list(options.keys) or [name for name in table.columns if name not in other_columns]


def _attributes(cells: Cells, options: SourceOptions) -> dict[str, object]:
    """The content of the JSON column, with keys in the order of the cell."""
    cell = cells.get(options.attributes)
    if cell is None or (isinstance(cell, str) and cell.strip() in options.empty):
        return {}
    try:
        content = parse_json(cell) if isinstance(cell, str) else cell
    except ValueError as error:
        raise ValueError(f"{options.attributes}: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{options.attributes}: expected a JSON object, got {type(content).__name__}.")
    return {
        key: cell for key, cell in content.items() if key not in options.ignore and key in (options.keys or content)
    }
