"""The format of the contest that the original method was made for: `,category,id,filename,attributes`.

`attributes` is a Python dict literal of lists and repeats the category under `vertical`, which is left out.
"""

from __future__ import annotations

import ast
from pathlib import Path

from attire.catalog.rows import Row
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Faults, read_csv, require

CATEGORY_KEY = "vertical"


def read(feed: Path, options: SourceOptions) -> list[Row]:
    """All rows; raises `FeedError` for missing columns, and for all unreadable rows together."""
    rows, faults = [], Faults(feed)
    for number, cells in read_csv(feed, options.encoding, ","):
        require(feed, list(cells), ["category", "id", "filename", "attributes"])
        try:
            content = ast.literal_eval(cells["attributes"])
            labels = {key: tuple(dict.fromkeys(values)) for key, values in content.items() if key != CATEGORY_KEY}
        except (ValueError, SyntaxError, AttributeError, TypeError) as error:
            faults.add(number, f"attributes is not a dict of lists: {error}.")
            continue
        rows.append(Row(number, cells["id"], cells["category"], labels, (cells["filename"],)))
    faults.raise_if_any()
    return rows
