"""Counts of what became of the fields of a feed, the report with a row per field, and the edits of the feed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attire.filling.feed_editor import Report, RowEdit
from attire.filling.outcomes import Outcome, Status
from attire.score.drift import Drift
from attire.spreadsheets import csv_batches, safe_table
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
    drift: how the answers compare with those at the bundle's calibration; None for a bundle that has no record of them.
    """

    out: Path
    report: Path
    products: int
    unread: Mapping[str, int]
    keys: tuple[KeyCounts, ...]
    without_column: tuple[str, ...]
    unmapped: Mapping[str, int]
    left_out: Mapping[str, int]
    drift: Drift | None = field(default=None, compare=False, repr=False)


class Tally:
    """Counts outcomes and writes the report, while the edits of the feed are read."""

    def __init__(self, outcomes: Iterable[Outcome], columns: Mapping[str, str], report: Path) -> None:
        self.columns, self.path = columns, report
        self.unread: Counter[str] = Counter()
        self._outcomes = outcomes
        self._counts: Counter[tuple[str, Status]] = Counter()
        self._replaced: Counter[str] = Counter()

    def edits(self) -> Iterator[RowEdit]:
        """The edits of the feed, row by row. The report is complete after the last one."""
        block: list[tuple[object, ...]] = []
        with self.path.open("wb") as file:
            _table(block).write_csv(file)
            for row, outcomes in groupby(self._outcomes, key=lambda outcome: outcome.row):
                cells = {}
                for outcome in outcomes:
                    block.append(self._counted(outcome))
                    if outcome.value:
                        cells[self.columns[outcome.key]] = outcome.value
                if len(block) >= BLOCK:
                    _table(block).write_csv(file, include_header=False)
                    block = []
                if cells:
                    yield RowEdit(row, cells)
            _table(block).write_csv(file, include_header=False)

    def report(self) -> Report:
        """The report, which may be read after all edits."""
        rows = (row for table in csv_batches(self.path, REPORT) for row in table.iter_rows())
        return Report([*REPORT], rows)

    def _counted(self, outcome: Outcome) -> tuple[object, ...]:
        """Count the outcome; returns its row of the report."""
        if outcome.status == Status.UNREADABLE:
            self.unread[_kind(outcome.reason)] += 1
        self._counts[outcome.key, outcome.status] += 1
        self._replaced[outcome.key] += outcome.status == Status.SUSPECT and bool(outcome.value)
        return (
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


def _table(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    """Rows of the report, safe to open in a spreadsheet."""
    return safe_table(pl.DataFrame(rows, REPORT, orient="row"))


def _kind(reason: str) -> str:
    """The reason of the first photo, without the photo's name."""
    first = reason.split("; ", 1)[0]
    return first.partition(": ")[2] or first


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)
