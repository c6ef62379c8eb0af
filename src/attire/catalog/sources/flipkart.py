"""The format of the contest that the original method was made for: `,category,id,filename,attributes`.

`attributes` is a Python dict literal of lists and repeats the category under `vertical`, which is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from attire.catalog.rows import Row
from attire.catalog.sources.cells import word, words
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, read_csv

CATEGORY_KEY = "vertical"


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """All rows; raises `FeedError` for missing columns, and for all unreadable rows together."""
    table = read_csv(feed, options.encoding)
    table.require(["category", "id", "filename", "attributes"])

    def row(number: int, cells: Cells) -> Row:
        return Row(
            number=number,
            id=cells["id"].strip(),
            category=word("category", cells["category"], options),
            labels={
                key: words(key, values if isinstance(values, list) else [values], options)
                for key, values in _attributes(cells["attributes"]).items()
                if key != CATEGORY_KEY
            },
            images=words("filename", [cells["filename"]], options),
        )

    return table.rows(row)


def _attributes(literal: str) -> dict[str, object]:
    try:
        content = ast.literal_eval(literal)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"attributes is not a Python literal: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"attributes: expected a dict of lists, got {type(content).__name__}.")
    return {str(key): values for key, values in content.items()}
