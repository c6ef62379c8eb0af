"""How a feed's columns map to what attire needs; the same fields as flags and as a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from attire.errors import ConfigError


class SourceOptions(BaseModel):
    """Names of columns, and how cells are written. Only `table` looks at all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = "id"
    image: str = "image"
    category: str = "category"
    title: str = "title"
    group: str = "group"
    attributes: str = ""  # a column that holds all attributes as a JSON object, instead of a column per key
    keys: tuple[str, ...] = ()  # columns that are attribute keys; empty: all that are nothing else
    ignore: tuple[str, ...] = ()  # columns that are not
    separator: str = "|"  # between several values, or several photos, in one cell
    empty: tuple[str, ...] = ("", "NA", "N/A", "null")  # words that mean that nobody said; "none" is a value
    encoding: str = "utf-8-sig"

    @classmethod
    def read(cls, path: str | Path) -> SourceOptions:
        """From a TOML file; raises `ConfigError` naming each fault."""
        try:
            return cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the column mapping {path}: {error}.") from None
        except ValidationError as error:
            faults = "\n  ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"{path}:\n  {faults}\n  Fields: {', '.join(cls.model_fields)}.") from None
