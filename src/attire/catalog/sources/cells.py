"""One cell as a word, or as the values of an attribute key."""

from __future__ import annotations

from attire.catalog.sources.options import SourceOptions


def word(column: str, cell: object, options: SourceOptions) -> str:
    """A cell as one word, stripped; "" where nobody said. Raises `ValueError` for a list or a dict.

    A spreadsheet's number column holds 3.0 where a person wrote 3.
    """
    if cell is None or cell != cell:  # nan is what differs from itself
        return ""
    if isinstance(cell, list | tuple | dict):
        raise ValueError(f"{column}: expected one word, got {cell!r}.")
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    return "" if text in options.empty else text


def words(column: str, cell: object, options: SourceOptions) -> tuple[str, ...]:
    """The words of a cell that may hold several, as a list or joined by the separator; in their order, each once."""
    if cell == "":  # most cells of a wide table
        return ()
    parts = cell.split(options.separator) if isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    return tuple(dict.fromkeys(found for part in parts if (found := word(column, part, options))))
