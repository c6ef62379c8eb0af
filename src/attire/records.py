"""Read JSON and TOML documents, with short error messages."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from attire.files import read_json, regular

MAX_FAULTS = 3  # number of faults that a message lists

Record = TypeVar("Record", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raises `OSError` if it cannot be read and `ValueError` if it is invalid."""
    try:
        return tomllib.loads(regular(path).read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8: save it as UTF-8") from None
    except RecursionError:
        raise ValueError("its arrays or tables are nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python's limit on the number of digits
        raise ValueError("a number has too many digits") from None


def read_as(path: Path, kind: type[Record]) -> Record:
    """Parse a JSON file as a `kind`; raises `OSError`, or `ValueError` that says what is wrong."""
    return checked(read_json(path), kind)


def checked(content: Any, kind: type[Record]) -> Record:
    """Validate `content` as a `kind`; raises `ValueError` that says what is wrong."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(_summarise(error)) from None


def _summarise(error: ValidationError) -> str:
    """The location and message of the first faults on one line; pydantic's text has a paragraph for each."""
    faults = error.errors(include_url=False, include_context=False)
    texts = [
        ": ".join(filter(None, [".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")]))
        for fault in faults[:MAX_FAULTS]
    ]
    return "; ".join(texts) + (f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else "")
