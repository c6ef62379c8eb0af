"""What every editor of a feed format can do, and the edits that it applies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from attire.filling.thumbnails import Thumbnail

Words = tuple[str, ...]


class RowEdit(NamedTuple):
    """New cells of a row. `row` is its number, as in `Row.number`; `cells` has the words of each changed column."""

    row: int
    cells: Mapping[str, Words]


class Report(NamedTuple):
    """The report as a table. `rows` may be read only after all edits.

    `thumbnails` yields the picture of each product with one of the given ids; None if no pictures are wanted.
    """

    columns: Sequence[str]
    rows: Iterable[Sequence[str | float | None]]
    thumbnails: Callable[[Sequence[str]], Iterator[tuple[str, Thumbnail | None]]] | None = None


class FeedEditor(Protocol):
    """Changes single cells of a feed."""

    def refusal(self, row: int, column: str, words: Words) -> str:
        """Why the cell cannot hold `words`, as the predicate of a sentence about it; "" if it can."""
        ...

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:
        """Write the feed with the edited cells to `out`. Formats with several sheets add the `report` as a sheet.

        The edits are in the order of the rows and are read one at a time, so that memory does not grow with them.
        """
        ...
