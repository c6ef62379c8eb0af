"""The Kaggle layout of Myntra's catalog: `styles.csv` and `styles/ID.json` with `data.articleAttributes`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from attire.catalog.rows import Row
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Faults, decoded_lines, read_csv, require
from attire.errors import FeedError

COLUMN_KEYS = {"gender": "ideal_for", "baseColour": "colour", "usage": "usage"}


def read(feed: Path, options: SourceOptions) -> list[Row]:
    """All rows of `feed` (styles.csv or its folder); raises `FeedError` for all faults together."""
    table = feed / "styles.csv" if feed.is_dir() else feed
    rows, faults = [], Faults(table)
    for number, cells in read_csv(table, options.encoding, ","):
        require(table, list(cells), ["id", "articleType", "productDisplayName", *COLUMN_KEYS])
        try:
            attributes = _article_attributes(table.parent / "styles" / f"{cells['id']}.json", options)
        except FeedError as error:
            faults.add(number, str(error))
            continue
        said = {key: cells[column] for column, key in COLUMN_KEYS.items()} | attributes
        labels = {key: (str(word).strip(),) for key, word in said.items() if str(word).strip() not in options.empty}
        image = f"{cells['id']}.jpg"
        rows.append(Row(number, cells["id"], cells["articleType"], labels, (image,), cells["productDisplayName"]))
    faults.raise_if_any()
    return rows


def _article_attributes(path: Path, options: SourceOptions) -> dict[str, Any]:
    """Key in snake_case -> word."""
    try:
        attributes = json.loads("".join(decoded_lines(path, options.encoding)))["data"]["articleAttributes"]
        return {re.sub(r"\W+", "_", key.lower()).strip("_"): word for key, word in dict(attributes).items()}
    except (ValueError, KeyError, TypeError) as error:
        raise FeedError(f"{path.name} has no data.articleAttributes ({type(error).__name__}: {error}).") from None
