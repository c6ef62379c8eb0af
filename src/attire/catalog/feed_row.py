"""One row of a feed, as its source spells it: what every source yields and ingest checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """A product, or one more photo of a product already seen (several rows may share an id).

    `number` is where a person finds the row in the feed: the line of a CSV (the header is line 1), the line of a JSON
    Lines file, the row of a Parquet file, the n-th photo of a folder. Words are the feed's own, stripped, not yet
    checked against a taxonomy. An empty string, or no word for a key, means that the feed does not say.
    """

    number: int
    id: str
    category: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    title: str = ""
    group: str = ""
