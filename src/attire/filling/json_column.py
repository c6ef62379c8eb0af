"""Edits keys in a column of JSON objects, through the editor of the feed's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from attire.catalog.sources import SourceOptions
from attire.catalog.sources.reading import Table
from attire.errors import FeedError
from attire.filling.encoded_text import was_changed
from attire.filling.feed_editor import FeedEditor, Report, RowEdit, Words
from attire.filling.json_members import MemberEditor, kinds


class JsonColumn:
    """A `FeedEditor` for feeds whose keys are in the column `options.attributes`, as the text of a JSON object."""

    def __init__(self, editor: FeedEditor, read: Callable[[], Table], options: SourceOptions) -> None:
        """`editor` changes whole cells, and `read` reads the feed. Raises `FeedError` for a column of another type."""
        self.editor, self.read, self.options = editor, read, options
        table = read()
        self.feed: Path = table.feed
        for number, cells in table.cells:
            cell = None if isinstance(cells, ValueError) else cells.get(options.attributes)
            if cell is not None and not isinstance(cell, str):
                raise FeedError(
                    f"{self.feed}: row {number}: {options.attributes} is a {type(cell).__name__}, and attire fill "
                    "writes JSON objects as text. Save the column as text."
                )

    def refusal(self, row: int, column: str, words: Words) -> str:
        """Why the cell of the key cannot be changed: JSON can escape every character, so that any words fit."""
        if self._is_outer(column):
            return self.editor.refusal(row, column, words)
        return self.editor.refusal(row, self.options.attributes, ("{}",))

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:
        """Write the feed with the edited objects; all other members of an object stay as they are."""
        self.editor.write(self._cells(edits), report, out)

    def _is_outer(self, column: str) -> bool:
        return column == self.options.category

    def _cells(self, edits: Iterable[RowEdit]) -> Iterator[RowEdit]:
        """The same edits as new texts of the column."""
        rows = iter(self.read().cells)
        for row, words_of in edits:
            cells = next((cells for number, cells in rows if number == row), None)
            if cells is None or isinstance(cells, ValueError):
                raise was_changed(self.feed)
            outer = {column: words for column, words in words_of.items() if self._is_outer(column)}
            inner = {column: words for column, words in words_of.items() if column not in outer}
            if inner:
                text = self._editor(row).edited(self._object(cells), inner)
                outer = {**outer, self.options.attributes: (text,)}
            yield RowEdit(row, outer)

    def _object(self, cells: dict[str, Any]) -> str:
        cell = cells.get(self.options.attributes)
        return "{}" if cell is None or cell.strip() in self.options.empty else str(cell)

    def _editor(self, row: int) -> MemberEditor:
        def dumped(value: Any) -> str:
            text = json.dumps(value, ensure_ascii=False)
            return json.dumps(value) if self.editor.refusal(row, self.options.attributes, (text,)) else text

        return MemberEditor(self._kinds, self.options.separator, dumped)

    @cached_property
    def _kinds(self) -> dict[str, type]:
        rows = (cells for _, cells in self.read().cells if not isinstance(cells, ValueError))
        return dict(kinds(json.loads(self._object(cells)) for cells in rows))
