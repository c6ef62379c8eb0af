"""The Kaggle layout of the Myntra catalog: `styles.csv`, and `styles/ID.json` with `data.articleAttributes`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from attire.catalog.feed_row import Row
from attire.catalog.sources.cell_text import parse_json, word
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.reading import Cells, read_csv, read_text
from attire.errors import FeedError, shown

COLUMN_KEYS = {"gender": "ideal_for", "baseColour": "colour", "usage": "usage"}


def read(feed: Path, options: SourceOptions) -> Iterator[Row]:
    """Yield all rows of `feed` (styles.csv or its folder); raises `FeedError` with all faults."""
    styles = feed / "styles.csv" if feed.is_dir() else feed
    table = read_csv(styles, options.encoding, open_end=True)  # 22 titles in Kaggle's file contain an unquoted comma
    table.require(["id", "articleType", "productDisplayName", *COLUMN_KEYS])

    def row(number: int, cells: Cells) -> Row:
        id = cells["id"].strip()
        labels = {key: word(column, cells[column], options) for column, key in COLUMN_KEYS.items()}
        for name, cell in _article_attributes(styles.parent / "styles", id, options.encoding).items():
            key, text = re.sub(r"\W+", "_", name.lower()).strip("_"), word(name, cell, options)
            if text and labels.get(key, "") not in ("", text):
                both = f"'{shown(text)}', but {shown(key)} is already '{shown(labels[key])}'"
                raise ValueError(f"{shown(id)}.json: '{shown(name)}' says {both}.")
            labels[key] = labels.get(key) or text
        return Row(
            number=number,
            id=id,
            category=word("articleType", cells["articleType"], options),
            labels={key: (text,) for key, text in labels.items() if text},
            images=(f"{id}.jpg",),
            title=word("productDisplayName", cells["productDisplayName"], options),
        )

    return table.rows(row)


def _article_attributes(folder: Path, id: str, encoding: str) -> Mapping[str, object]:
    name = f"{id}.json"
    if PurePath(name).name != name:
        raise ValueError(f"id='{shown(id)}' cannot be a file name, as in styles/ID.json.")
    try:
        content = parse_json(read_text(folder / name, encoding))
        return dict(content["data"]["articleAttributes"])
    except FeedError as error:
        raise ValueError(str(error)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{shown(name)} has no data.articleAttributes: {error}") from None
