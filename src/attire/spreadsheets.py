"""CSV files that are safe to open in a spreadsheet: cells are escaped so that no formula runs.

A cell that starts like a formula, such as `=HYPERLINK(...)` or `@SUM(1)`, gets a leading apostrophe, which makes it
text. Numbers and single characters are unchanged. The escaping is exactly reversible, also for cells that already
started with an apostrophe, so ids are restored unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

# Spreadsheets trim spaces and treat full-width signs (East Asian keyboards) like the ASCII ones.
FORMULA = r"^[ \t\r\n']*[=+\-@＝＋－＠](?s:.)"
BATCH = 10_000  # rows in memory at once
NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?$"

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def safe_text(text: str) -> str:
    """Escape a text so that a spreadsheet does not run it as a formula.

    >>> safe_text("=1+1"), safe_text("-5"), safe_text("it's")
    ("'=1+1", '-5', "it's")
    """
    return f"'{text}" if re.search(FORMULA, text) and not re.search(NUMBER, text) else text


def original_text(cell: str) -> str:
    """Undo `safe_text`.

    >>> original_text("'=1+1"), original_text("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and re.search(FORMULA, cell) else cell


def safe_table(rows: Rows) -> Rows:
    """Escape all text cells and column names of a table, as `safe_text` does."""
    text = pl.selectors.string()
    unsafe = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    escaped = rows.with_columns(pl.when(unsafe).then(text.str.replace("^", "'")).otherwise(text))
    return _rename_columns(escaped, safe_text)


def read_csv(path: Path) -> pl.DataFrame:
    """Read a CSV (literal path, every cell as text) and undo `safe_table`."""
    return _original(pl.read_csv(path.absolute(), infer_schema=False, glob=False))


def _original(rows: pl.DataFrame) -> pl.DataFrame:
    text = pl.selectors.string()
    escaped = text.str.starts_with("'") & text.str.contains(FORMULA)
    original = rows.with_columns(pl.when(escaped).then(text.str.slice(1)).otherwise(text))
    return _rename_columns(original, original_text)


def csv_batches(path: Path, schema: dict[Any, Any]) -> Iterator[pl.DataFrame]:
    """Read a CSV with these columns in batches, as `read_csv` does."""
    table = pl.scan_csv(path.absolute(), infer_schema=False, glob=False)
    for batch in table.collect_batches(chunk_size=BATCH):
        yield _original(batch).cast(schema)


def _rename_columns(rows: Rows, rename: Callable[[str], str]) -> Rows:
    return rows.rename({column: rename(column) for column in rows.collect_schema().names()})
