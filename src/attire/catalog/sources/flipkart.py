"""The Flipkart contest format, for which the original method was made: `,category,id,filename,attributes`.

`attributes` is a Python dict literal of lists. Its key `vertical` repeats the category and is skipped.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from attire.catalog.feed_row import Row
from attire.catalog.sources.cell_text import word, words
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, read_csv

CATEGORY_KEY = "vertical"


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """Yield all rows; raises `FeedError` for missing columns, or with all unreadable rows."""
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
        with warnings.catch_warnings(action="ignore"):  # about invalid escape sequences
            tree = ast.parse(literal.strip(), mode="eval").body
            content = ast.literal_eval(tree)
    except SyntaxError as error:
        raise ValueError(f"attributes is not a Python literal: {error.msg}.") from None
    except (MemoryError, RecursionError):
        raise ValueError("attributes cannot be read: it is nested too deeply.") from None
    except (ValueError, TypeError):
        raise ValueError("attributes is not a Python literal of strings, numbers, lists and dicts.") from None
    if not isinstance(tree, ast.Dict):
        raise ValueError(f"attributes: expected a dict of lists, got {type(content).__name__}.")
    if len(content) < len(tree.keys):
        raise ValueError("attributes contains a key more than once.")
    if not all(isinstance(key, str) for key in content):
        raise ValueError("attributes: expected strings as keys.")
    return dict(content)
