"""A table as an Excel workbook, in which no cell is run as a formula."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from xlsxwriter import Workbook

ROWS = 1_048_576  # limit of Excel
WIDTH = 22  # of a column, in characters


def write_workbook(table: pl.DataFrame, path: Path) -> None:
    """Write a table of texts and numbers as a workbook of one sheet; rows beyond the limit of Excel are left out."""
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with Workbook(str(path), options) as book:
        sheet = book.add_worksheet("suspects")
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, table.width - 1, WIDTH)
        sheet.write_row(0, 0, table.columns, book.add_format({"bold": True}))
        for number, row in enumerate(table.head(ROWS - 1).iter_rows(), 1):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(number, column, value)
        sheet.autofilter(0, 0, min(len(table), ROWS - 1), table.width - 1)
