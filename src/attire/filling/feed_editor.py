"""What every editor of a feed format can do, and the edits that it applies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import polars as pl

Words = tuple[str, ...]
Edits = Mapping[int, Mapping[str, Words]]  # number of the row, as in `Row.number` -> column -> words of the cell


class FeedEditor(Protocol):
    """Changes single cells of a feed."""

    def refusal(self, row: int, column: str, words: Words) -> str:
        """Why the cell cannot hold `words`, as the predicate of a sentence about it; "" if it can."""
        ...

    def write(self, edits: Edits, report: pl.DataFrame, out: Path) -> None:
        """Write the feed with the edited cells to `out`. Formats with several sheets add the `report` as a sheet."""
        ...
