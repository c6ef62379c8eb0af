"""What a first reading of the feed finds: its products, the spelling of values, and the fields it states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import polars as pl

from attire.catalog.feed_row import Row
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy

BLOCK = 10_000  # rows held as Python objects at once
PRODUCTS: dict[str, Any] = {
    "id": pl.String,
    "category": pl.String,
    "title": pl.String,
    "image": pl.List(pl.String),
    "group": pl.String,
}


@dataclass(frozen=True, slots=True)
class Survey:
    """products: a row per row of the feed that has an id, with its category in the taxonomy's spelling, if known.

    rows: the number of rows of each product that has several. spellings: key -> value -> how the feed spells it most
    often. repeated: fields (id, key) that any of several rows of a product states.
    """

    products: pl.DataFrame
    rows: dict[str, int]
    spellings: dict[str, dict[str, str]]
    repeated: frozenset[tuple[str, str]]


def survey(rows: Callable[[], Iterator[Row]], labels: Mapping[str, str], taxonomy: Taxonomy) -> Survey:
    """Read `rows()`, twice if ids are repeated. `labels` maps keys, and `CATEGORY`, to their names there."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    blocks = [pl.DataFrame(schema=PRODUCTS)]
    remaining = rows()
    while block := list(islice(remaining, BLOCK)):
        for row in block:
            for key, label in labels.items():
                counts[key].update(stated_words(row, key, label))
        products = [
            (row.id, known(taxonomy, CATEGORY, row.category) or "", row.title, list(row.images), row.group)
            for row in block
            if row.id
        ]
        blocks.append(pl.DataFrame(products, PRODUCTS, orient="row"))
    table = pl.concat(blocks)
    several = dict(table.group_by("id").len().filter(pl.col("len") > 1).iter_rows())
    repeated = (
        frozenset(
            (row.id, key)
            for row in rows()
            if row.id in several
            for key, label in labels.items()
            if stated_words(row, key, label)
        )
        if several
        else frozenset()
    )
    category = pl.col("category").filter(pl.col("category") != "").first().over("id").fill_null("")
    spellings = {key: _most_frequent(taxonomy, key, counts[key]) for key in labels}
    return Survey(table.with_columns(category), several, spellings, repeated)


def stated_words(row: Row, key: str, label: str) -> tuple[str, ...]:
    """The words of the row for a key, or for `CATEGORY`, which has the name `label` there; empty for a blank."""
    if key == CATEGORY:
        return (row.category,) if row.category else ()
    return row.labels.get(label, ())


def known(taxonomy: Taxonomy, key: str, word: str) -> str | None:
    """The value of a key, or the category, with the spelling `word`; None if the taxonomy does not have it."""
    spellings = taxonomy.category_spellings if key == CATEGORY else taxonomy.keys[key].spellings
    return spellings.words.get(fold(word))


def _most_frequent(taxonomy: Taxonomy, key: str, counts: Counter[str]) -> dict[str, str]:
    """The most frequent word for each value that is stated; on a tie the taxonomy's own, else the first."""
    spellings: dict[str, str] = {}
    for word, count in counts.items():
        value = known(taxonomy, key, word)
        if value is None:
            continue
        best = spellings.setdefault(value, word)
        if count > counts[best] or (count == counts[best] and word == value):
            spellings[value] = word
    return spellings
