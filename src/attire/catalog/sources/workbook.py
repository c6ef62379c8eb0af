"""Read a sheet of an Excel workbook (.xlsx) as a table. Formulas are not run: their stored results are read."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from attire.errors import FeedError, MissingExtraError, did_you_mean, shown
from attire.files import regular

LARGEST = 2**31  # bytes of all parts of a workbook together, so that a small file cannot fill the memory


class Sheet(NamedTuple):
    """A sheet with a header. `columns` maps names to positions (A is 1), `rows` yields (row number, cells by name).

    `merged` lists ranges of merged cells as (first row, first column, last row, last column), all counted from 1.
    """

    name: str
    columns: dict[str, int]
    rows: Iterator[tuple[int, dict[str, Any]]]
    merged: list[tuple[int, int, int, int]]


def read_sheet(feed: Path, wanted: str = "") -> Sheet:
    """Read the sheet `wanted`, by default the first visible one; its first row that is not empty is the header.

    Raises `FeedError`.
    """
    calamine = _calamine()
    with _faults(feed):
        workbook = calamine.load_workbook(_checked(feed))
        sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
        name = wanted or next((s.name for s in sheets if s.visible == calamine.SheetVisibleEnum.Visible), "")
        if not name:
            raise FeedError(f"{feed} has no visible sheet with cells.")
        if name not in (names := [sheet.name for sheet in sheets]):
            hint = did_you_mean(name, names)
            raise FeedError(f"{feed} has no sheet '{shown(name)}'{hint} It has: {shown(', '.join(names))}.")
        sheet = workbook.get_sheet_by_name(name)
        rows = enumerate(_from_the_top(sheet), 1)
        merged = [
            (top + 1, left + 1, end + 1, right + 1) for (top, left), (end, right) in sheet.merged_cell_ranges or ()
        ]
        header: list[object] = next((cells for _, cells in rows if any(cell != "" for cell in cells)), [])
    names = [str(cell).strip() for cell in header]
    if not any(names):
        raise FeedError(f"{feed}: the sheet '{shown(name)}' is empty: expected a header and a row per product.")
    if repeated := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise FeedError(f"{feed}: the header names {shown(', '.join(sorted(repeated)))} more than once. Rename one.")

    def cells() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in rows:
            if any(cell != "" for cell in row):
                yield number, {name: cell for name, cell in zip(names, row, strict=True) if name}

    columns = {name: place for place, name in enumerate(names, 1) if name}
    return Sheet(name, columns, cells(), merged)


def _from_the_top(sheet: Any) -> Iterator[list[Any]]:
    """The rows from A1, wherever the cells begin, one at a time."""
    left = [""] * (sheet.start[1] if sheet.start else 0)
    return ([*left, *row] for row in sheet.iter_rows())


def _calamine() -> Any:
    try:
        import python_calamine
    except ImportError:
        raise MissingExtraError("reading an Excel workbook", "excel") from None
    return python_calamine


def _checked(feed: Path) -> Path:
    """The path; raises `FeedError` for a workbook that is too large unpacked."""
    with zipfile.ZipFile(regular(feed)) as parts:
        size = sum(part.file_size for part in parts.infolist())
    if size > LARGEST:
        raise FeedError(f"{feed} has {size / 2**30:.1f} GiB unpacked, expected at most {LARGEST / 2**30:.0f}.")
    return feed.absolute()


@contextmanager
def _faults(feed: Path) -> Iterator[None]:
    """Raise `FeedError` if the workbook cannot be read."""
    calamine = _calamine()
    try:
        yield
    except OSError as error:
        raise FeedError(f"cannot read {feed}: {error.strerror or error}.") from None
    except (calamine.CalamineError, zipfile.BadZipFile, ValueError) as error:
        fix = "Save it in Excel as .xlsx, without a password."
        raise FeedError(f"{feed} is not a readable workbook: {error}. {fix}") from None
