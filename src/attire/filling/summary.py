"""Counts of what became of the fields of a feed, and the report with a row per field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attire.filling.feed_editor import Edits, Words
from attire.filling.outcomes import Outcome, Status
from attire.taxonomy import SEPARATOR, key_label

BLOCK = 10_000  # outcomes held as Python objects at once
REPORT: dict[str, Any] = {
    "row": pl.Int64,
    "id": pl.String,
    "key": pl.String,
    "status": pl.String,
    "value": pl.String,
    "confidence": pl.Float64,
    "best_guess": pl.String,
    "best_guess_confidence": pl.Float64,
    "stated": pl.String,
    "reason": pl.String,
}


class KeyCounts(NamedTuple):
    """Numbers of fields of one key.

    blank is the sum of filled, left_open and not_applicable; replaced is a part of suspected_wrong.
    """

    key: str
    blank: int
    filled: int
    left_open: int
    not_applicable: int
    suspected_wrong: int
    replaced: int


@dataclass(frozen=True, slots=True)
class FillSummary:
    """What `fill` did.

    out, report: the filled feed, and the table with a row per blank or suspected field. products: number of products.
    unread: rows of products without a readable photo, which are left as they are, by reason. keys: counts by key.
    without_column: keys of the bundle that the feed has no column for. unmapped, left_out: of a file for a shop, the
    number of products by own word that the mapping lacks, and by what is not written because of the shop's limits.
    """

    out: Path
    report: Path
    products: int
    unread: Mapping[str, int]
    keys: tuple[KeyCounts, ...]
    without_column: tuple[str, ...]
    unmapped: Mapping[str, int]
    left_out: Mapping[str, int]


class Tally:
    """Collects outcomes as a report, counts and edits."""

    def __init__(self, outcomes: Iterable[Outcome], columns: Mapping[str, str]) -> None:
        self.columns = columns
        self.unread: Counter[str] = Counter()
        self._edits: dict[int, dict[str, Words]] = {}
        self._counts: Counter[tuple[str, Status]] = Counter()
        self._replaced: Counter[str] = Counter()
        blocks = [pl.DataFrame(schema=REPORT)]
        remaining = iter(outcomes)
        while block := list(islice(remaining, BLOCK)):
            blocks.append(pl.DataFrame(list(self._rows(block)), REPORT, orient="row"))
        self.report = pl.concat(blocks)

    @property
    def edits(self) -> Edits:
        """The edits of the feed."""
        return self._edits

    def _rows(self, outcomes: Iterable[Outcome]) -> Iterator[tuple[object, ...]]:
        """Count the outcomes, and yield their rows of the report."""
        for outcome in outcomes:
            if outcome.status == Status.UNREADABLE:
                self.unread[_kind(outcome.reason)] += 1
            self._counts[outcome.key, outcome.status] += 1
            if outcome.value:
                self._edits.setdefault(outcome.row, {})[self.columns[outcome.key]] = outcome.value
                self._replaced[outcome.key] += outcome.status == Status.SUSPECT
            yield (
                outcome.row,
                outcome.id,
                key_label(outcome.key),
                outcome.status.value,
                SEPARATOR.join(outcome.value),
                _rounded(outcome.confidence),
                outcome.guess,
                _rounded(outcome.guess_confidence),
                SEPARATOR.join(outcome.stated),
                outcome.reason,
            )

    def keys(self) -> Iterator[KeyCounts]:
        """The counts of each key with a column, the category first."""
        for key in self.columns:
            filled, left_open, not_applicable, suspects = (
                self._counts[key, status]
                for status in (Status.FILLED, Status.LEFT_OPEN, Status.NOT_APPLICABLE, Status.SUSPECT)
            )
            blank = filled + left_open + not_applicable
            replaced = self._replaced[key]
            yield KeyCounts(key_label(key), blank, filled, left_open, not_applicable, suspects, replaced)


def _kind(reason: str) -> str:
    """The reason of the first photo, without the photo's name."""
    first = reason.split("; ", 1)[0]
    return first.partition(": ")[2] or first


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)
