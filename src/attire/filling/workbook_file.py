"""Edits single cells of an Excel workbook. Formulas, their stored results, charts and other sheets stay as they are.

Libraries that read a workbook and write it again lose parts of it (stored results of formulas, shapes, comments), so
only the XML of the edited cells is changed.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryFile

from attire.catalog.sources import SourceOptions
from attire.catalog.sources.workbook import read_sheet
from attire.errors import FeedError
from attire.filling.feed_editor import Report, RowEdit, Words
from attire.filling.report_sheet import ReportSheet
from attire.filling.workbook_parts import CHARACTERS, WorkbookParts, text_cell
from attire.filling.workbook_styles import Colouring
from attire.filling.xml_places import Element, elements, spliced

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
CELL_AND_FORMULA = frozenset({"c", "f"})


class WorkbookFile:
    """A `FeedEditor` for .xlsx."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        """Raises `FeedError` for a workbook whose XML cannot be edited."""
        self.separator = options.separator
        self.name = options.sheet
        self.sheet = read_sheet(feed, self.name)._replace(rows=iter(()))  # they would hold all cells in memory
        try:
            self.parts = WorkbookParts(feed)
            self.part = self.parts.sheet_part(self.sheet.name)
            self._document = self.parts[self.part]
            self._rows = _numbered(elements(self._document, frozenset({"row"})))
        except (ValueError, LookupError, StopIteration, zipfile.BadZipFile) as error:
            raise FeedError(f"{feed} cannot be edited: {error}. Save it again in Excel as .xlsx.") from None
        self._cells = lru_cache(maxsize=1000)(self._cells_of)

    def _cells_of(self, row: int) -> dict[int, Element]:
        """The cells of a row by column; their positions are those in the row. A formula is a child of its cell."""
        content = self._document[self._rows[row].start : self._rows[row].stop]
        cells = {}
        column = 0
        for cell in elements(content, CELL_AND_FORMULA):
            if cell.name == "c":
                reference = cell.attribute("r")
                column = column_number(reference.rstrip("0123456789")) if reference else column + 1
                cells[column] = cell
        return cells

    @cached_property
    def _merged(self) -> frozenset[tuple[int, int]]:
        """The hidden cells of merged ranges, all but the first of each, in the columns of the feed."""
        columns = frozenset(self.sheet.columns.values())
        return frozenset(
            (row, column)
            for first_row, first_column, last_row, last_column in self.sheet.merged
            for row in range(first_row, last_row + 1)
            for column in columns.intersection(range(first_column, last_column + 1))
            if (row, column) != (first_row, first_column)
        )

    @cached_property
    def _numeric(self) -> frozenset[str]:
        """The columns that have more numbers than other cells."""
        counts: Counter[tuple[str, bool]] = Counter()
        for _, cells in read_sheet(self.parts.path, self.name).rows:
            for column, cell in cells.items():
                if cell != "":
                    counts[column, isinstance(cell, int | float) and not isinstance(cell, bool)] += 1
        return frozenset(column for column in self.sheet.columns if counts[column, True] > counts[column, False])

    def refusal(self, row: int, column: str, words: Words) -> str:
        """Why the cell cannot hold `words`: it may have a formula, be hidden in a merged range, or be too small."""
        if len(self.separator.join(words)) > CHARACTERS:
            return f"would have more than {CHARACTERS:,} characters"
        place = self.sheet.columns[column]
        cell = self._cells(row).get(place)
        if cell is not None and cell.children:
            return "has a formula"
        return "is hidden in merged cells" if (row, place) in self._merged else ""

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:
        """Write the workbook with the edited cells coloured, and the report as a further sheet."""
        colouring = Colouring(self.parts)
        content = memoryview(self._document)
        with TemporaryFile(dir=out.parent) as document:  # on the disk, because both versions would fill the memory
            end = 0
            for row, words_of in edits:
                document.write(content[end : self._rows[row].start])
                document.write(self._row(row, words_of, colouring))
                end = self._rows[row].stop
            document.write(content[end:])
            colouring.apply()
            ReportSheet(self.parts, report).add()
            self.parts.save(out, {self.part: document} if end else {})

    def _row(self, number: int, words_of: Mapping[str, Words], colouring: Colouring) -> bytes:
        """The row's XML with its edited cells."""
        row, cells = self._rows[number], self._cells(number)
        changed: dict[tuple[int, int], bytes] = {}
        for column, words in sorted(words_of.items(), key=lambda item: self.sheet.columns[item[0]]):
            place = self.sheet.columns[column]
            text, style = self.separator.join(words), _style(cells.get(place))
            start = f'<{row.prefix}c r="{letters(place)}{number}" s="{colouring(style)}" '
            is_number = column in self._numeric and NUMBER.fullmatch(text)
            content = f"><{row.prefix}v>{text}</{row.prefix}v>" if is_number else text_cell(text, row.prefix)
            if place in cells:
                at = cells[place].start, cells[place].stop
            else:  # before the next cell, and after other new cells there
                following = min((other for other in cells if other > place), default=None)
                position = row.inner - row.start if following is None else cells[following].start
                at = position, position
            changed[at] = changed.get(at, b"") + f"{start}{content}</{row.prefix}c>".encode()
        return spliced(self._document[row.start : row.stop], changed)


def _numbered(rows: list[Element]) -> dict[int, Element]:
    """The rows by their number: a row without one follows the row before it."""
    numbered, number = {}, 0
    for row in rows:
        number = int(row.attribute("r") or number + 1)
        numbered[number] = row
    return numbered


def _style(cell: Element | None) -> int:
    return int(cell.attribute("s") or 0) if cell else 0


def column_number(name: str) -> int:
    """The position of a column.

    >>> column_number("A"), column_number("AA"), letters(28)
    (1, 27, 'AB')
    """
    number = 0
    for letter in name:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def letters(column: int) -> str:
    """The name of a column."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
