"""JSON and TOML documents from disk, read so that whatever is wrong with one is told in a few words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from attire.files import read_json, regular

MOST = 3  # faults that are told one by one

Record = TypeVar("Record", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML document at `path`; raises `OSError`, and `ValueError` for one that cannot be read."""
    try:
        return tomllib.loads(regular(path).read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8: save it as UTF-8") from None
    except RecursionError:
        raise ValueError("its arrays or tables are nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python's guard against numbers that take long to read
        raise ValueError("a number has too many digits") from None


def read_as(path: Path, kind: type[Record]) -> Record:
    """The JSON document at `path` as a `kind`; raises `OSError`, and `ValueError` that names what is wrong in it."""
    return checked(read_json(path), kind)


def checked(content: Any, kind: type[Record]) -> Record:
    """`content` as a `kind`; raises `ValueError` that names what is wrong in it."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(_in_short(error)) from None


def _in_short(error: ValidationError) -> str:
    """Where the first faults are, and what was expected there; pydantic's own text has a paragraph for each."""
    found = error.errors(include_url=False, include_context=False)
    told = [
        ": ".join(filter(None, [".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")]))
        for one in found[:MOST]
    ]
    return "; ".join(told) + (f"; and {len(found) - MOST} more" if len(found) > MOST else "")
