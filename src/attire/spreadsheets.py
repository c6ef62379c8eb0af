"""CSV for people: what a spreadsheet would run as a formula is written so that it does not, and read back as it was.

A cell that starts like a formula, as `=HYPERLINK(...)` or `@SUM(1)`, gets an apostrophe in front, by which it is text.
Numbers and lone signs stay as they are. The rule can be undone exactly, also for cells that started with an apostrophe
before, so that ids come back as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl

# Programs trim spaces and take the wide signs of East Asian keyboards for the narrow ones.
FORMULA = r"^[ \t\r\n']*[=+\-@＝＋－＠](?s:.)"
NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?$"

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def safe_text(text: str) -> str:
    """The text as a cell in which no formula runs.

    >>> safe_text("=1+1"), safe_text("-5"), safe_text("it's")
    ("'=1+1", '-5', "it's")
    """
    return f"'{text}" if re.search(FORMULA, text) and not re.search(NUMBER, text) else text


def original_text(cell: str) -> str:
    """What `safe_text` was given.

    >>> original_text("'=1+1"), original_text("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and re.search(FORMULA, cell) else cell


def safe_table(rows: Rows) -> Rows:
    """`rows` with all text, and the names of columns, as cells in which no formula runs."""
    text = pl.selectors.string()
    unsafe = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    return _renamed(rows.with_columns(pl.when(unsafe).then(text.str.replace("^", "'")).otherwise(text)), safe_text)


def read_csv(path: Path) -> pl.DataFrame:
    """The CSV at exactly that path, every cell as text, as it was before `safe_table`."""
    rows, text = pl.read_csv(path.absolute(), infer_schema=False, glob=False), pl.selectors.string()
    safe = text.str.starts_with("'") & text.str.contains(FORMULA)
    return _renamed(rows.with_columns(pl.when(safe).then(text.str.slice(1)).otherwise(text)), original_text)


def _renamed(rows: Rows, name: Callable[[str], str]) -> Rows:
    return rows.rename({column: name(column) for column in rows.collect_schema().names()})
