"""Feeds as tables: columns, and cells row by row with the row's number as a person finds it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.feed_row import Row
from attire.catalog.sources.cell_text import parse_json
from attire.errors import FeedError, did_you_mean, listed, shown
from attire.files import regular, scan_parquet
from attire.progress import track
from attire.taxonomy import stray, unfit

Cells = dict[str, Any]
BATCH = 10_000  # rows of a Parquet file that are in memory at once
LONGEST_ID = 1_000  # characters: databases index ids, and URLs carry them
UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")  # what databases and files of text refuse
NO_TEXT = {  # how files start that are no text, whatever their name says
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PK\x03\x04": "a zip archive or a workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "a workbook (.xls)",
    b"PAR1": "a Parquet file",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A feed whose columns are known and whose rows are yet to be read: (number, cells or what is wrong with them)."""

    feed: Path
    columns: Sequence[str]
    cells: Iterator[tuple[int, Cells | ValueError]]

    def require(self, wanted: Sequence[str]) -> None:
        """Raise `FeedError` unless all of `wanted` are columns."""
        if missing := [name for name in wanted if name not in self.columns]:
            hints = " ".join(f"No column '{shown(name)}'{did_you_mean(name, self.columns)}" for name in missing)
            there = f"It has: {shown(', '.join(self.columns))}."
            raise FeedError(f"{self.feed}: {hints} {there} Map columns with --id, --image, --category, ...")

    def rows(self, row: Callable[[int, Cells], Row]) -> Iterator[Row]:
        """`row(number, cells)` of every row, one at a time.

        Once all are read raises `FeedError` with those for which `row` raised `ValueError`; none is yielded after one.
        """
        empty = True
        faults: list[str] = []
        for number, cells in track(self.cells, f"reading {self.feed.name}", "rows"):
            try:
                if isinstance(cells, ValueError):
                    raise cells
                found = _checked(row(number, cells))
            except ValueError as error:
                faults.append(f"row {number}: {error}")
                continue
            empty = False
            if not faults:
                yield found
        if faults:
            raise FeedError(f"{self.feed}: {len(faults):,} of its rows cannot be read:\n  {listed(faults)}", faults)
        if empty:
            raise FeedError(f"{self.feed} has no row.")


def _checked(row: Row) -> Row:
    """`row`, unless a text in it could not be stored, or a word could not be told from two in a table of attire's."""
    if len(row.id) > LONGEST_ID:
        raise ValueError(f"the id '{shown(row.id)}' is too long: expected at most {LONGEST_ID:,}. Is a quote missing?")
    if row.category and (reason := unfit(row.category)):
        raise ValueError(f"category='{shown(row.category)}' {reason}. Write it otherwise.")
    for key, words in row.labels.items():
        if words and (reason := unfit(key)):
            raise ValueError(f"the key '{shown(key)}' {reason}. Rename it.")
        for word in words:
            if reason := unfit(word):
                raise ValueError(f"{shown(key)}='{shown(word)}' {reason}. Write it otherwise.")
    for name, text in (("id", row.id), ("group", row.group), *(("image", image) for image in row.images)):
        if reason := stray(text):
            raise ValueError(f"{name}='{shown(text)}' {reason}. Is the encoding of the feed right?")
    if found := UNWRITABLE.search(row.title):
        raise ValueError(f"title='{shown(row.title)}' {stray(found[0])}. Is the encoding of the feed right?")
    return row


def read_table(feed: Path, encoding: str, delimiter: str = "") -> Table:
    """CSV, TSV, JSON Lines or Parquet, by suffix; `delimiter` overrules that of the first two."""
    readers: dict[str, Callable[[], Table]] = {
        ".csv": lambda: read_csv(feed, encoding, delimiter=delimiter or ","),
        ".tsv": lambda: read_csv(feed, encoding, delimiter=delimiter or "\t"),
        ".jsonl": lambda: _read_json_lines(feed, encoding),
        ".ndjson": lambda: _read_json_lines(feed, encoding),
        ".parquet": lambda: _read_parquet(feed),
    }
    if feed.suffix.lower() not in readers:
        raise FeedError(
            f"{feed}: '{feed.suffix}' is not a feed's suffix. Expected one of {', '.join(readers)}, not compressed."
        )
    return readers[feed.suffix.lower()]()


def read_csv(feed: Path, encoding: str, *, delimiter: str = ",", open_end: bool = False) -> Table:
    """A CSV with a header; a column without a name (a data frame's index, say) is not read.

    `open_end`: the last column is free text whose delimiters nobody quoted.
    """
    reader = csv.reader(_text_lines(feed, encoding), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise FeedError(f"{feed}: the header cannot be read: {error}. Is a quote missing?") from None
    if not any(header):
        raise FeedError(f"{feed} is empty: expected a header and a row per product.")
    if len(header) == 1 and (other := next((mark for mark in ";\t|," if mark in header[0]), "")):
        name = "tab" if other == "\t" else f"'{other}'"
        there = f"the header is one cell, '{shown(header[0])}'"
        raise FeedError(f"{feed}: {there}. Is its delimiter a {name}? Then add --delimiter '{other}'.")
    if doubled := [name for name, count in Counter(filter(None, header)).items() if count > 1]:
        raise FeedError(f"{feed}: the header names {shown(', '.join(sorted(doubled)))} more than once. Rename one.")

    def cells() -> Iterator[tuple[int, Cells | ValueError]]:
        while True:
            number = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, ValueError(f"{error}. Is a quote missing?")
                continue
            if open_end and len(row) > len(header):
                row[len(header) - 1 :] = [delimiter.join(row[len(header) - 1 :])]
            if len(row) == len(header):
                yield number, dict(zip(header, row, strict=True))
            elif row:
                hint = f"Is a {delimiter!r} missing, or one outside quotes?"
                yield number, ValueError(f"{len(row)} cells, expected {len(header)}. {hint}")

    return Table(feed, _columns(feed, filter(None, header)), cells())


def _columns(feed: Path, names: Iterable[str]) -> list[str]:
    """The names; raises `FeedError` for one that cannot be a key."""
    columns = list(names)
    for name in columns:
        if reason := stray(name):
            hint = "Is the encoding right? Try --encoding utf-16-le." if "\0" in name else "Rename it."
            raise FeedError(f"{feed}: the column '{shown(name)}' {reason}. {hint}")
    return columns


def read_text(feed: Path, encoding: str) -> str:
    """The text of a file; raises `FeedError` where it cannot be read or is not in `encoding`."""
    try:
        content = regular(feed).read_bytes()
    except OSError as error:
        raise _unreadable(feed, error) from None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = len(content) - len(error.object) + error.start  # the codec does not count a byte order mark
        raise FeedError(
            f"{feed}: line {line} is not {error.encoding}: byte {byte:,} is 0x{content[byte]:02x}. "
            "Save it as UTF-8, or name its encoding (spreadsheets often write --encoding cp1252 or utf-16)."
        ) from None
    except LookupError:
        raise FeedError(f"'{encoding}' is not an encoding. Try utf-8-sig, cp1252 or utf-16.") from None


def _text_lines(feed: Path, encoding: str) -> Iterator[str]:
    """Lines with their ends, which a cell in quotes may contain."""
    try:
        with regular(feed).open("rb") as file:
            start = file.read(8)
        if kind := next((kind for magic, kind in NO_TEXT.items() if start.startswith(magic)), ""):
            raise FeedError(f"{feed} is {kind}, not text. Save it as its name says.")
        with feed.open(encoding=encoding, newline="") as file:
            yield from file
    except (OSError, LookupError, UnicodeError) as error:
        read_text(feed, encoding)  # a decoder of parts does not know the place in the file: this one says it
        raise FeedError(f"{feed}: {error}. Try --encoding utf-16-le or utf-16-be.") from None


def _unreadable(feed: Path, error: OSError) -> FeedError:
    return FeedError(f"cannot read {feed}: {error.strerror or error}.")


def _read_json_lines(feed: Path, encoding: str) -> Table:
    faults: list[str] = []
    columns: dict[str, None] = {}
    for number, cells in _json_lines(feed, encoding):
        if isinstance(cells, dict):
            columns.update(dict.fromkeys(cells))
        else:
            faults.append(f"row {number}: {cells}")
    if not columns:
        wrong = f"no line of it is a JSON object:\n  {listed(faults)}" if faults else "it is empty"
        raise FeedError(f"{feed}: expected a JSON object per line, but {wrong}.", faults)
    return Table(feed, list(columns), _json_lines(feed, encoding))


def _json_lines(feed: Path, encoding: str) -> Iterator[tuple[int, Cells | ValueError]]:
    for number, line in enumerate(_text_lines(feed, encoding), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            yield number, error
            continue
        yield number, row if isinstance(row, dict) else ValueError(f"expected a JSON object, got {type(row).__name__}.")


def _read_parquet(feed: Path) -> Table:
    with _parquet_faults(feed):
        table = scan_parquet([regular(feed)])

    def cells() -> Iterator[tuple[int, Cells | ValueError]]:
        with _parquet_faults(feed):
            batches = table.collect_batches(chunk_size=BATCH)
            yield from enumerate((row for batch in batches for row in batch.iter_rows(named=True)), 1)

    with _parquet_faults(feed):
        return Table(feed, _columns(feed, table.collect_schema().names()), cells())


@contextmanager
def _parquet_faults(feed: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unreadable(feed, error) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).partition("\n")[0]
        raise FeedError(f"{feed} is not a Parquet file that can be read: {reason}") from None
