"""The Kaggle layout of Myntra's catalog: `styles.csv` and `styles/ID.json` with `data.articleAttributes`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from attire.catalog.rows import Row
from attire.catalog.sources.cells import word
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, read_csv, read_text
from attire.errors import FeedError

COLUMN_KEYS = {"gender": "ideal_for", "baseColour": "colour", "usage": "usage"}


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """All rows of `feed` (styles.csv or its folder); raises `FeedError` for all faults together."""
    styles = feed / "styles.csv" if feed.is_dir() else feed
    table = read_csv(styles, options.encoding, open_end=True)  # 22 titles in Kaggle's file hold a comma, unquoted
    table.require(["id", "articleType", "productDisplayName", *COLUMN_KEYS])

    def row(number: int, cells: Cells) -> Row:
        id = cells["id"].strip()
        said = {key: cells[column] for column, key in COLUMN_KEYS.items()}
        for name, cell in _article_attributes(styles.parent / "styles" / f"{id}.json", options.encoding).items():
            key = re.sub(r"\W+", "_", name.lower()).strip("_")
            if said.setdefault(key, cell) != cell:
                raise ValueError(f"{id}.json: '{name}' says {cell!r}, but {key} is already {said[key]!r}.")
        return Row(
            number=number,
            id=id,
            category=word("articleType", cells["articleType"], options),
            labels={key: (text,) for key, cell in said.items() if (text := word(key, cell, options))},
            images=(f"{id}.jpg",),
            title=word("productDisplayName", cells["productDisplayName"], options),
        )

    return table.rows(row)


def _article_attributes(path: Path, encoding: str) -> Mapping[str, object]:
    try:
        content = json.loads(read_text(path, encoding))
        return dict(content["data"]["articleAttributes"])
    except FeedError as error:
        raise ValueError(str(error)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} has no data.articleAttributes ({type(error).__name__}: {error}).") from None
