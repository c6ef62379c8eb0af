"""A shop's own table: CSV, TSV, JSON Lines or Parquet, a column per key or one JSON column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attire.catalog.rows import Row
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Faults, read_cells, require
from attire.errors import FeedError


def read(feed: Path, options: SourceOptions) -> list[Row]:
    """All rows; raises `FeedError` for missing columns, and for all unreadable rows together."""
    rows: list[Row] = []
    keys: list[str] = []
    faults = Faults(feed)
    for number, cells in read_cells(feed, options.encoding):
        if not rows and not faults.lines:
            keys = _keys(feed, list(cells), options)
        elif feed.suffix.lower() in (".jsonl", ".ndjson"):
            keys += [name for name in _keys(feed, list(cells), options) if name not in keys]
        try:
            labels = {key: _words(cells.get(key), options) for key in keys}
            if options.attributes:
                labels = {key: _words(value, options) for key, value in _attributes(cells[options.attributes]).items()}
        except ValueError as error:
            faults.add(number, f"{options.attributes}: {error}")
            continue
        rows.append(
            Row(
                number=number,
                id=_text(cells[options.id]),
                category=_one(cells.get(options.category), options),
                labels={key: words for key, words in labels.items() if words},
                images=_words(cells[options.image], options),
                title=_text(cells.get(options.title)),
                group=_text(cells.get(options.group)),
            )
        )
    faults.raise_if_any()
    if not rows:
        raise FeedError(f"{feed} has a header but no row.")
    return rows


def _keys(feed: Path, columns: list[str], options: SourceOptions) -> list[str]:
    """The columns that are attribute keys."""
    defaults = SourceOptions()
    chosen = [name for name in ("category", "title", "group") if getattr(options, name) != getattr(defaults, name)]
    wanted = [options.id, options.image, *(getattr(options, name) for name in chosen)]
    require(
        feed, columns, [*wanted, *([options.attributes] if options.attributes else []), *options.keys, *options.ignore]
    )
    if options.attributes:
        return []
    taken = {options.id, options.image, options.category, options.title, options.group, *options.ignore}
    return list(options.keys) or [name for name in columns if name and name not in taken]


def _attributes(cell: Any) -> Mapping[str, Any]:
    content = json.loads(cell or "{}") if isinstance(cell, str | None) else cell
    if not isinstance(content, Mapping):
        raise ValueError(f"expected a JSON object, got {type(content).__name__}.")
    return content


def _words(cell: Any, options: SourceOptions) -> tuple[str, ...]:
    """The values in one cell, in their order, each once."""
    parts = cell if isinstance(cell, list | tuple) else _text(cell).split(options.separator)
    words = (_text(part) for part in parts)
    return tuple(dict.fromkeys(word for word in words if word not in options.empty))


def _one(cell: Any, options: SourceOptions) -> str:
    word = _text(cell)
    return "" if word in options.empty else word


def _text(cell: Any) -> str:
    """A cell as a word: 3.0 of a spreadsheet's number column is "3"."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
