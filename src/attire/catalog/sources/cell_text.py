"""One cell as a word, or as the values of an attribute key; and JSON as cells."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from attire.catalog.sources.options import SourceOptions
from attire.errors import shown

WORDS = (str, int, float, Decimal, date, time, timedelta)  # a bool is an int, a datetime is a date


def word(column: str, cell: object, options: SourceOptions) -> str:
    """A cell as one word, stripped; "" where nobody said. Raises `ValueError` for what is none: a list, say, or bytes.

    A spreadsheet's number column holds 3.0 where a person wrote 3.
    """
    if cell is None or cell != cell:  # nan is what differs from itself
        return ""
    if not isinstance(cell, WORDS) or cell in (math.inf, -math.inf):
        raise ValueError(f"{shown(column)}: expected one word, got {reprlib.repr(cell)}.")
    try:
        text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    except ValueError:  # Python's guard against numbers that take long to write
        raise ValueError(f"{shown(column)}: the number has too many digits.") from None
    return "" if text in options.empty else text


def words(column: str, cell: object, options: SourceOptions) -> tuple[str, ...]:
    """The words of a cell that may hold several, as a list or joined by the separator; in their order, each once."""
    if cell == "":  # most cells of a wide table
        return ()
    parts = cell.split(options.separator) if isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    return tuple(dict.fromkeys(found for part in parts if (found := word(column, part, options))))


def parse_json(text: str) -> Any:
    """`text` as JSON; raises `ValueError` that says what is wrong with it, two values of one name included."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno:,}.") from None
    except RecursionError:
        raise ValueError("the lists or objects of the JSON are nested too deeply.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # Python would keep the last
        doubled = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"a JSON object names '{shown(doubled)}' more than once.")
    return content


def _number(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's guard against numbers that take long to read or write
        raise ValueError(f"a number has {len(digits):,} digits.") from None
