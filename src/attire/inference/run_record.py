"""Run settings and records: what an output was made with, stored in each chunk and next to the finished output."""

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
from attire.score.answer_counts import AnswerCounts, SavedCounts
from attire.score.promise import Promise, percent

SHOWN = 12  # digits of a digest in a message


class RunSettings(BaseModel):
    """Everything except the products that decides the output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attire: str
    bundle: str
    engine: str
    format: Format
    promise: Promise | None

    def differences(self, other: RunSettings) -> str:
        """Each setting that differs, with its value here and in `other`."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in type(self).model_fields)
        return ", ".join(
            f"{name} {_shown(earlier)} (now {_shown(now)})" for name, earlier, now in pairs if earlier != now
        )


class AnswersRecord(BaseModel):
    """What a model answered, as `predict` and `fill` record it; `answers` is None if an earlier attire wrote it."""

    model_config = ConfigDict(frozen=True)  # further fields are for people

    settings: RunSettings
    answers: SavedCounts | None = None


class Record(AnswersRecord):
    """The record of a finished output. `made_of` is the digest of the products, `sha256` that of the file."""

    made_of: str
    sha256: str
    products: int
    unread: int


def _shown(setting: Promise | str | None) -> str:
    if isinstance(setting, Promise):
        return f"{setting} with {percent(setting.confidence)} confidence"
    return str(setting)[:SHOWN]


def record_path(out: Path) -> Path:
    """The path of the record of `out`."""
    return out.with_name(f"{out.name}.json")


def write_record(
    out: Path, settings: RunSettings, made_of: str, answers: AnswerCounts, facts: Mapping[str, Any]
) -> None:
    """Write the record of the finished `out`; `facts` are its counts and further fields for people."""
    record = {
        **facts,
        "settings": settings.model_dump(),
        "made_of": made_of,
        "sha256": file_sha256(out),
        "answers": answers.saved().model_dump(),
    }
    replace_text(record_path(out), json.dumps(record, indent=1))


def finished_record(out: Path, settings: RunSettings) -> Record | None:
    """The record of `out`, None if `out` does not exist; raises `ConfigError` if it was made with other settings."""
    if not out.exists():
        return None
    path = record_path(out)
    try:
        record = read_as(path, Record)
    except FileNotFoundError:
        raise overwrite_error(out, f"was not written by attire predict: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise overwrite_error(
            out, f"has a record that is damaged or of another version, {path.name}: {error}"
        ) from None
    if record.settings != settings:
        raise overwrite_error(out, f"was made with other settings: {record.settings.differences(settings)}")
    if record.sha256 != file_sha256(out):
        raise overwrite_error(out, "was changed after attire predict finished it")
    return record


def overwrite_error(out: Path, reason: str) -> ConfigError:
    """The error for an existing `out` that would have to be replaced."""
    return ConfigError(f"{out} {reason}. Replace it with --overwrite, or choose another --out.")
