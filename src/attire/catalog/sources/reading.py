"""Read feeds as tables: the columns, and the cells of each row with the row's number in the file."""

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
from attire.catalog.sources.options import SourceOptions
from attire.catalog.sources.workbook import read_sheet
from attire.errors import FeedError, did_you_mean, listed, shown
from attire.files import regular, scan_parquet
from attire.progress import track
from attire.spellings import stray, unfit

Cells = dict[str, Any]
BATCH = 10_000  # rows of a Parquet file in memory at once
LONGEST_ID = 1_000  # characters: databases index ids, and URLs contain them
UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")  # databases and text files reject these
NO_TEXT = {  # first bytes of files that are not text
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"PK\x03\x04": "a zip archive or a workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "a workbook (.xls)",
    b"PAR1": "a Parquet file",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A feed with known columns and rows that are read lazily, as (number, cells or the row's fault)."""

    feed: Path
    columns: Sequence[str]
    cells: Iterator[tuple[int, Cells | ValueError]]

    def require(self, wanted: Sequence[str]) -> None:
        """Raise `FeedError` unless all `wanted` columns exist."""
        if missing := [name for name in wanted if name not in self.columns]:
            hints = " ".join(f"No column '{shown(name)}'{did_you_mean(name, self.columns)}" for name in missing)
            columns = f"It has: {shown(', '.join(self.columns))}."
            raise FeedError(f"{self.feed}: {hints} {columns} Map columns with --id, --image, --category, ...")

    def rows(self, row: Callable[[int, Cells], Row]) -> Iterator[Row]:
        """Yield `row(number, cells)` for every row.

        If `row` raises `ValueError`, no more rows are yielded, and after the last row a `FeedError` lists all faults.
        """
        empty = True
        faults: list[str] = []
        for number, cells in track(self.cells, f"reading {self.feed.name}", "rows"):
            try:
                if isinstance(cells, ValueError):
                    raise cells
                checked = _checked(row(number, cells))
            except ValueError as error:
                faults.append(f"row {number}: {error}")
                continue
            empty = False
            if not faults:
                yield checked
        if faults:
            raise FeedError(f"{self.feed}: {len(faults):,} of its rows cannot be read:\n  {listed(faults)}", faults)
        if empty:
            raise FeedError(f"{self.feed} has no rows.")


def _checked(row: Row) -> Row:
    """Return `row`; raises `ValueError` if a text cannot be stored, or a word contains the separator."""
    if len(row.id) > LONGEST_ID:
        raise ValueError(f"the id '{shown(row.id)}' is too long: expected at most {LONGEST_ID:,}. Is a quote missing?")
    if row.category and (reason := unfit(row.category)):
        raise ValueError(f"category='{shown(row.category)}' {reason}. Change it in the feed.")
    for key, words in row.labels.items():
        if words and (reason := unfit(key)):
            raise ValueError(f"the key '{shown(key)}' {reason}. Rename it.")
        for word in words:
            if reason := unfit(word):
                raise ValueError(f"{shown(key)}='{shown(word)}' {reason}. Change it in the feed.")
    for name, text in (("id", row.id), ("group", row.group), *(("image", image) for image in row.images)):
        if reason := stray(text):
            raise ValueError(f"{name}='{shown(text)}' {reason}. Is the encoding of the feed right?")
    if match := UNWRITABLE.search(row.title):
        raise ValueError(f"title='{shown(row.title)}' {stray(match[0])}. Is the encoding of the feed right?")
    return row


def read_table(feed: Path, options: SourceOptions) -> Table:
    """Read CSV, TSV, JSON Lines, Parquet or .xlsx, by suffix."""
    encoding, delimiter = options.encoding, options.delimiter
    readers: dict[str, Callable[[], Table]] = {
        ".csv": lambda: read_csv(feed, encoding, delimiter=delimiter or ","),
        ".tsv": lambda: read_csv(feed, encoding, delimiter=delimiter or "\t"),
        ".jsonl": lambda: _read_json_lines(feed, encoding),
        ".ndjson": lambda: _read_json_lines(feed, encoding),
        ".parquet": lambda: _read_parquet(feed),
        ".xlsx": lambda: _read_workbook(feed, options.sheet),
    }
    if feed.suffix.lower() not in readers:
        raise FeedError(
            f"{feed}: '{feed.suffix}' is not a feed format. Expected an uncompressed file: {', '.join(readers)}."
        )
    return readers[feed.suffix.lower()]()


def read_csv(feed: Path, encoding: str, *, delimiter: str = ",", open_end: bool = False) -> Table:
    """Read a CSV with a header; a column without a name (such as a data frame's index) is skipped.

    `open_end`: the last column is free text that may contain unquoted delimiters.
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
        fault = f"the header is one cell, '{shown(header[0])}'"
        raise FeedError(f"{feed}: {fault}. Is its delimiter a {name}? Then add --delimiter '{other}'.")
    if repeated := [name for name, count in Counter(filter(None, header)).items() if count > 1]:
        raise FeedError(f"{feed}: the header names {shown(', '.join(sorted(repeated)))} more than once. Rename one.")

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
    """The column names; raises `FeedError` for one with invalid characters."""
    columns = list(names)
    for name in columns:
        if reason := stray(name):
            hint = "Is the encoding right? Try --encoding utf-16-le." if "\0" in name else "Rename it."
            raise FeedError(f"{feed}: the column '{shown(name)}' {reason}. {hint}")
    return columns


def read_text(feed: Path, encoding: str) -> str:
    """Read a text file; raises `FeedError` if it cannot be read or is not in `encoding`."""
    try:
        content = regular(feed).read_bytes()
    except OSError as error:
        raise _unreadable(feed, error) from None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = len(content) - len(error.object) + error.start  # the codec does not count the byte order mark
        raise FeedError(
            f"{feed}: line {line} is not {error.encoding}: byte {byte:,} is 0x{content[byte]:02x}. "
            "Save it as UTF-8, or name its encoding (spreadsheets often write --encoding cp1252 or utf-16)."
        ) from None
    except LookupError:
        raise FeedError(f"'{encoding}' is not an encoding. Try utf-8-sig, cp1252 or utf-16.") from None


def _text_lines(feed: Path, encoding: str) -> Iterator[str]:
    """Yield lines with their line ends, which a quoted cell may contain."""
    try:
        with regular(feed).open("rb") as file:
            start = file.read(8)
        if kind := next((kind for magic, kind in NO_TEXT.items() if start.startswith(magic)), ""):
            raise FeedError(f"{feed} is {kind}, not text. Save it in the format of its suffix.")
        with feed.open(encoding=encoding, newline="") as file:
            yield from file
    except (OSError, LookupError, UnicodeError) as error:
        read_text(feed, encoding)  # raises an error with the position, which an incremental decoder does not know
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
        reason = f"no line of it is a JSON object:\n  {listed(faults)}" if faults else "it is empty"
        raise FeedError(f"{feed}: expected a JSON object per line, but {reason}.", faults)
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


def _read_workbook(feed: Path, name: str) -> Table:
    sheet = read_sheet(feed, name)
    return Table(feed, _columns(feed, sheet.columns), iter(sheet.rows))


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
        raise FeedError(f"{feed} is not a readable Parquet file: {reason}") from None
