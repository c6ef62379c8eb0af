"""Predictions in the long format, read one product at a time in the order of the feed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attire.files import scan_parquet
from attire.inference.output import NOT_APPLICABLE
from attire.score.decisions import UNSURE
from attire.taxonomy import CATEGORY, SEPARATOR

BATCH = 20_000  # rows in memory at once
COLUMNS = (
    "id",
    "category",
    "category_confidence",
    "category_alternatives",
    "key",
    "values",
    "confidence",
    "alternatives",
    "reason",
)
NO_PHOTO = "the row names no photo"


class Guess(NamedTuple):
    """The model's answer for a field; `values` is empty if it is not sure, and then `reason` says why."""

    values: tuple[str, ...]
    confidence: float | None
    best: str
    best_confidence: float | None
    reason: str


class Product:
    """The guesses for one product, and why it has none (`fault`)."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        _, *category, key, _, _, _, reason = rows[0]
        self._by_key = {row[4]: row[5:] for row in rows if row[4] is not None}
        self._by_key[CATEGORY] = (*category, None)
        self.fault = "" if key is not None else reason.removeprefix("unreadable: ") or NO_PHOTO

    def __getitem__(self, key: str) -> Guess:
        """The guess for a key, or for `CATEGORY`."""
        return _guess(*self._by_key[key])


class Predictions:
    """Predictions by product, for the rows of a feed in their order.

    The file has the products in the order of their first rows. Only those with rows still to come are kept.
    """

    def __init__(self, file: Path, keys: Collection[str], rows: Mapping[str, int]) -> None:
        """`keys` are read, and `rows` is the number of rows of each product that has several."""
        wanted = pl.col("key").is_null() | pl.col("key").is_in(list(keys))
        batches = scan_parquet([file]).select(COLUMNS).filter(wanted).collect_batches(chunk_size=BATCH)
        self._products = groupby((row for batch in batches for row in batch.iter_rows()), key=lambda row: row[0])
        self._waiting: dict[str, tuple[Product, int]] = {}
        self._rows = rows

    def __getitem__(self, id: str) -> Product:
        """The product of the next row."""
        if id in self._waiting:
            product, left = self._waiting.pop(id)
        else:
            found, rows = next(self._products)
            assert found == id, f"expected predictions for '{id}', got '{found}'"
            product, left = Product(list(rows)), self._rows.get(id, 1)
        if left > 1:
            self._waiting[id] = product, left - 1
        return product


def _guess(values: str | None, confidence: float | None, alternatives: str | None, reason: str | None) -> Guess:
    if values is not None:
        return Guess(tuple(values.split(SEPARATOR)), confidence, "", None, "")
    if reason == NOT_APPLICABLE:
        return Guess((), None, "", None, NOT_APPLICABLE)
    others = json.loads(alternatives or "[]")
    if not others:
        return Guess((), None, "", None, UNSURE)
    return Guess((), None, others[0]["value"], others[0]["confidence"], UNSURE)
