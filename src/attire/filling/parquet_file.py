"""Edits single cells of a Parquet file. The types of the columns stay as they are."""

from __future__ import annotations

import shutil
from array import array
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attire.catalog.sources import SourceOptions
from attire.files import read_parquet, read_parquet_metadata
from attire.filling.feed_editor import Report, RowEdit, Words

SCHEMA = "ARROW:schema"  # metadata that the writer adds itself


class ParquetFile:
    """A `FeedEditor` for Parquet."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        self.feed, self.separator = feed, options.separator
        self._refusals: dict[tuple[str, Words], str] = {}

    @cached_property
    def _types(self) -> dict[str, pl.DataType]:
        return dict(pl.read_parquet_schema(self.feed.absolute()))

    def refusal(self, row: int, column: str, words: Words) -> str:  # noqa: ARG002
        """Why the cell cannot hold `words`: the type of its column may not allow them."""
        if (column, words) not in self._refusals:
            try:
                self._series(column, [words])
                reason = ""
            except (pl.exceptions.PolarsError, TypeError, ValueError):
                reason = f"does not fit the type of the column, {self._types[column]}"
            self._refusals[column, words] = reason
        return self._refusals[column, words]

    def _series(self, column: str, cells: list[Words]) -> pl.Series:
        """The cells in the type of the column; raises an error if one does not fit."""
        type = self._types[column]
        if isinstance(type, pl.List):
            return pl.Series([list(words) for words in cells], dtype=pl.List(pl.String)).cast(type, strict=True)
        texts = pl.Series([self.separator.join(words) for words in cells], dtype=pl.String)
        return texts if type == pl.Null else texts.cast(type, strict=True)

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:  # noqa: ARG002
        """Write the feed with the edited cells, or a copy of the file if there are none."""
        rows_of: dict[str, array[int]] = defaultdict(lambda: array("L"))
        words_of: dict[str, list[Words]] = defaultdict(list)
        for row, cells in edits:
            for column, words in cells.items():
                rows_of[column].append(row - 1)
                words_of[column].append(words)
        if not rows_of:
            shutil.copyfile(self.feed, out)
            return
        table = read_parquet(self.feed)
        for column, rows in rows_of.items():
            places = pl.Series(np.frombuffer(rows, np.uint64)).cast(pl.UInt32)
            values = self._series(column, words_of.pop(column))
            table = table.with_columns(_replaced(table[column], places, values).alias(column))
        kept: dict[str, Any] = {name: text for name, text in read_parquet_metadata(self.feed).items() if name != SCHEMA}
        table.write_parquet(out.absolute(), metadata=kept)


def _replaced(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    """The column with `values` in `rows`; works for every type, which `Series.scatter` does not."""
    order = pl.Series(range(len(column)), dtype=pl.UInt32)
    place = pl.DataFrame({"order": order}).join(
        pl.DataFrame({"order": rows, "place": pl.Series(range(len(column), len(column) + len(rows)), dtype=pl.UInt32)}),
        on="order",
        how="left",
        maintain_order="left",
    )
    extended = pl.concat([column.cast(values.dtype) if column.dtype == pl.Null else column, values.alias(column.name)])
    return extended.gather(place.select(pl.coalesce("place", "order")).to_series())
