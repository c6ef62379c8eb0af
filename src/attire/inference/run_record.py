"""What made an output: kept in each of its chunks and, once it is finished, in a record beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from attire.errors import ConfigError
from attire.files import file_sha256, replace_text
from attire.inference.output import Format
from attire.records import read_as

SHOWN = 12  # digits of a digest in a message


class RunSettings(BaseModel):
    """Everything but the products that decides what is predicted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attire: str
    bundle: str
    engine: str
    format: Format
    precision: float | None

    def differences(self, other: RunSettings) -> str:
        """How it was here and is in `other`, of all that is not equal."""
        ours, theirs = self.model_dump(), other.model_dump()
        return ", ".join(
            f"{name} {str(ours[name])[:SHOWN]} (now {str(theirs[name])[:SHOWN]})"
            for name in ours
            if ours[name] != theirs[name]
        )


class Record(BaseModel):
    """Of a finished output. `made_of` is the digest of the products, `sha256` that of the file."""

    model_config = ConfigDict(frozen=True)  # whatever else stands there is for people

    settings: RunSettings
    made_of: str
    sha256: str
    products: int
    unread: int


def record_path(out: Path) -> Path:
    """Where the record of `out` stands."""
    return out.with_name(f"{out.name}.json")


def write_record(out: Path, settings: RunSettings, made_of: str, about: Mapping[str, Any]) -> None:
    """Write the record of the finished `out`; `about` has its counts, and whatever else people want to know."""
    record = {**about, "settings": settings.model_dump(), "made_of": made_of, "sha256": file_sha256(out)}
    replace_text(record_path(out), json.dumps(record, indent=1))


def finished_record(out: Path, settings: RunSettings) -> Record | None:
    """The record of a finished `out`, None where nothing is there; raises `ConfigError` where it was made otherwise."""
    if not out.exists():
        return None
    path = record_path(out)
    try:
        record = read_as(path, Record)
    except FileNotFoundError:
        raise kept(out, f"was not written by attire predict, for there is no {path.name}") from None
    except (OSError, ValueError) as error:
        raise kept(out, f"has a record that is damaged or of another version, {path.name}: {error}") from None
    if record.settings != settings:
        raise kept(out, f"is finished and was made otherwise: {record.settings.differences(settings)}")
    if record.sha256 != file_sha256(out):
        raise kept(out, "was changed after attire predict had finished it")
    return record


def kept(out: Path, reason: str) -> ConfigError:
    """The refusal to replace `out`."""
    return ConfigError(f"{out} {reason}. --overwrite replaces it, another --out keeps it.")
