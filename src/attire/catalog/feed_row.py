"""One row of a feed: what every source yields and `ingest` checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """A product, or another photo of an earlier product (several rows may share an id).

    `number` locates the row in the feed: the line of a CSV (the header is line 1) or JSON Lines file, the row of a
    Parquet file, or the position of the photo in a folder. Words are as in the feed, stripped, and not yet checked
    against a taxonomy. An empty string, or no words for a key, means unknown.
    """

    number: int
    id: str
    category: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    title: str = ""
    group: str = ""
