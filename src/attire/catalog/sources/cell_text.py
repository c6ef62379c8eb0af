"""Convert cells to words, and parse JSON."""

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
    """Convert a cell to one stripped word; "" means unknown. Raises `ValueError` for other types, such as a list.

    A whole float such as 3.0 becomes "3", because spreadsheets store numbers as floats.
    """
    if cell is None or cell != cell:  # NaN differs from itself
        return ""
    if not isinstance(cell, WORDS) or cell in (math.inf, -math.inf):
        raise ValueError(f"{shown(column)}: expected one word, got {reprlib.repr(cell)}.")
    try:
        text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    except ValueError:  # Python's limit on the number of digits
        raise ValueError(f"{shown(column)}: the number has too many digits.") from None
    return "" if text in options.empty else text


def words(column: str, cell: object, options: SourceOptions) -> tuple[str, ...]:
    """The distinct words of a cell, in order. The cell may be a list or a text with separators."""
    if cell == "":  # fast path for most cells of a wide table
        return ()
    items = cell.split(options.separator) if isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    return tuple(dict.fromkeys(text for item in items if (text := word(column, item, options))))


def parse_json(text: str) -> Any:
    """Parse `text` as JSON; raises `ValueError` for invalid JSON, including repeated names in an object."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno:,}.") from None
    except RecursionError:
        raise ValueError("the lists or objects of the JSON are nested too deeply.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # Python would silently keep the last value
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"a JSON object names '{shown(repeated)}' more than once.")
    return content


def _number(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's limit on the number of digits
        raise ValueError(f"a number has {len(digits):,} digits.") from None
