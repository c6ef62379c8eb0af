"""Reading feeds row by row, with the row's number as a person finds it, and every fault at once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from attire.errors import FeedError, did_you_mean

Cells = dict[str, Any]
SHOWN = 20


class Faults:
    """Collects the faults of a feed, to raise them together."""

    def __init__(self, feed: Path) -> None:
        self.feed = feed
        self.lines: list[str] = []

    def add(self, row: int, fault: str) -> None:
        self.lines.append(f"row {row}: {fault}")

    def raise_if_any(self) -> None:
        """Raise `FeedError` with all of them; the message shows the first ones."""
        if self.lines:
            more = f"\n  ... and {len(self.lines) - SHOWN:,} more" if len(self.lines) > SHOWN else ""
            shown = "\n  ".join(self.lines[:SHOWN])
            raise FeedError(f"{self.feed}: {len(self.lines):,} rows cannot be read:\n  {shown}{more}", self.lines)


def read_cells(feed: Path, encoding: str) -> Iterator[tuple[int, Cells]]:
    """(row number, cell by column) from CSV, TSV, JSON Lines or Parquet, by suffix."""
    readers = {
        ".csv": lambda: read_csv(feed, encoding, ","),
        ".tsv": lambda: read_csv(feed, encoding, "\t"),
        ".jsonl": lambda: _read_json_lines(feed, encoding),
        ".ndjson": lambda: _read_json_lines(feed, encoding),
        ".parquet": lambda: _read_parquet(feed),
    }
    if feed.suffix.lower() not in readers:
        raise FeedError(f"{feed}: '{feed.suffix}' is not a feed's suffix. Expected one of {', '.join(readers)}.")
    return readers[feed.suffix.lower()]()


def read_csv(feed: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, Cells]]:
    """Rows of a CSV with a header; a row's number is the line on which it starts."""
    faults = Faults(feed)
    lines = iter(decoded_lines(feed, encoding))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise FeedError(f"{feed} is empty: expected a header and a row per product.")
        if doubled := {name for name in header if header.count(name) > 1}:
            raise FeedError(f"{feed}: the header names {', '.join(sorted(doubled))} more than once. Rename one.")
        while True:
            number = reader.line_num + 1
            row = next(reader, None)
            if row is None:
                break
            if len(row) == len(header):
                yield number, dict(zip(header, row, strict=True))
            elif row:
                faults.add(number, f"{len(row)} cells, expected {len(header)}. Is a quote or a '{delimiter}' missing?")
    except csv.Error as error:
        faults.add(reader.line_num, f"{error}. Is a quote missing?")
    faults.raise_if_any()


def decoded_lines(feed: Path, encoding: str) -> list[str]:
    """The lines of a text file, ends kept; raises `FeedError` where they are not in `encoding`."""
    content = read_bytes(feed)
    try:
        return list(io.StringIO(content.decode(encoding), newline=""))  # splitlines() would also split at U+2028
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FeedError(
            f"{feed}: line {line} is not {error.encoding}: byte {error.start:,} is 0x{content[error.start]:02x}. "
            "Save it as UTF-8, or name its encoding (--encoding cp1252 is common for spreadsheets)."
        ) from None
    except LookupError:
        raise FeedError(f"'{encoding}' is not an encoding. Try utf-8-sig, cp1252 or utf-16.") from None


def read_bytes(feed: Path) -> bytes:
    """The file's content; raises `FeedError` where it cannot be read."""
    try:
        return feed.read_bytes()
    except OSError as error:
        raise FeedError(f"cannot read {feed}: {error.strerror}.") from None


def require(feed: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `FeedError` unless all of `wanted` are among `columns`."""
    missing = [name for name in wanted if name not in columns]
    if missing:
        hints = " ".join(f"No column '{name}'{did_you_mean(name, columns)}" for name in missing)
        raise FeedError(
            f"{feed}: {hints} It has: {', '.join(columns)}. Map columns with --id, --image, ... or --columns."
        )


def _read_json_lines(feed: Path, encoding: str) -> Iterator[tuple[int, Cells]]:
    faults = Faults(feed)
    for number, line in enumerate(decoded_lines(feed, encoding), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                faults.add(number, f"not JSON: {error.msg} at column {error.colno}.")
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                faults.add(number, f"expected a JSON object, got {type(row).__name__}.")
    faults.raise_if_any()


def _read_parquet(feed: Path) -> Iterator[tuple[int, Cells]]:
    read_bytes(feed)
    try:
        table = pl.read_parquet(feed)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FeedError(f"{feed} is not a Parquet file that can be read: {error}") from None
    yield from enumerate(table.iter_rows(named=True), 1)
