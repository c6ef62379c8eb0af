"""The output in chunks, so that a killed run goes on where it stopped: a Parquet file for so many products each.

Every chunk records the settings and products it was made from, and counts only for those.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.bundle import ModelBundle
from attire.errors import ConfigError
from attire.files import read_parquet_metadata, replace_bytes, replacing, scan_parquet
from attire.inference.output import SINKS, Format, Outcomes, to_table
from attire.inference.product_logits import LogitsTable
from attire.inference.run_record import RunSettings

METADATA_KEY = "attire"  # the entry of a Parquet file's metadata
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowBuilder:
    """How logits become rows."""

    bundle: ModelBundle
    format: Format
    precision: float | None

    def rows(self, logits: LogitsTable) -> pl.DataFrame:
        """The products' rows."""
        decisions = self.bundle.decide(logits.category, logits.attributes, logits.known)
        accepted = self.bundle.accepted(decisions, self.precision)
        return to_table(Outcomes(logits, decisions, accepted), self.bundle.taxonomy, self.format)


class Counts(NamedTuple):
    """Of the products in a chunk, or of all: `unread` have no answer, `known` a stated category, `titled` a title."""

    products: int
    unread: int
    known: int
    titled: int

    @classmethod
    def of(cls, logits: LogitsTable) -> Counts:
        """Of these products."""
        return cls(len(logits), len(logits) - len(logits.answered), logits.stated, logits.titled)

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        """Of all chunks together."""
        return cls(*(sum(column) for column in zip(cls(0, 0, 0, 0), *counts, strict=True)))


class Origin(NamedTuple):
    """What a chunk is made from: the settings, and the digest of its products."""

    settings: RunSettings
    products: str


class Chunks:
    """A folder of chunks of `size` products, numbered in their order; `origin` says what each is to be made of."""

    def __init__(self, folder: Path, size: int, origin: Callable[[int], Origin]) -> None:
        self.folder, self.size, self.origin = folder, size, origin

    def resume(self) -> dict[int, Counts]:
        """The chunks that earlier runs have left for these settings and products; others are removed."""
        self.folder.mkdir(exist_ok=True)
        found = self.found()
        others = [chunk for chunk in _files(self.folder) if int(chunk.stem) not in found]
        for chunk in others:
            chunk.unlink()
        if others:
            logger.info(
                "%s: %d chunks of an earlier run, of other options, products or photos, are made again",
                self.folder,
                len(others),
            )
        return found

    def found(self) -> dict[int, Counts]:
        """The chunks that are there and made of what they are to be made of, by number."""
        contents = {int(chunk.stem): _contents(chunk) for chunk in _files(self.folder)}
        return {number: known[1] for number, known in contents.items() if known and known[0] == self.origin(number)}

    def add(self, number: int, chunk: bytes) -> None:
        """Write a chunk, whole or not at all; one of the same number is replaced."""
        replace_bytes(self.folder / f"{number:06d}.parquet", chunk)

    def counts(self) -> Counts:
        """What is in all chunks together; raises `ConfigError` where one is missing or made of something else."""
        found = self.found()
        if [*found] != [*range(len(found))] or len(found) != len(_files(self.folder)):
            raise ConfigError(f"{self.folder} was changed while its chunks were made: run the command again.")
        return Counts.total(found.values())

    def join(self, out: Path) -> None:
        """Put the chunks together as `out`, streaming; raises `ConfigError` where one is damaged."""
        whole = self.folder / f"whole{out.suffix}"
        try:
            with replacing(whole) as temporary:
                SINKS[out.suffix.lower()](scan_parquet(_files(self.folder)), temporary)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"a chunk in {self.folder} is damaged ({error}): remove it, and run again.") from None
        whole.replace(out)


def begun(folder: Path, settings: RunSettings) -> bool:
    """Whether an earlier run has left chunks made with these settings."""
    return any(contents[0].settings == settings for contents in map(_contents, _files(folder)) if contents)


def encode(table: pl.DataFrame, origin: Origin, counts: Counts) -> bytes:
    """A chunk: the rows, what they are made of and how many products they are, as a Parquet file."""
    content = io.BytesIO()
    record = json.dumps([origin.settings.model_dump(), origin.products, counts])
    table.write_parquet(content, metadata={METADATA_KEY: record})
    return content.getvalue()


def _contents(chunk: Path) -> tuple[Origin, Counts] | None:
    """What a chunk records of itself; None if it cannot be read, or another version of attire wrote it."""
    try:
        settings, products, counts = json.loads(read_parquet_metadata(chunk)[METADATA_KEY])
        return Origin(RunSettings.model_validate(settings), products), Counts(*counts)
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError, TypeError, RecursionError):
        return None


def _files(folder: Path) -> list[Path]:
    return sorted(
        (chunk for chunk in folder.glob("*.parquet") if chunk.stem.isdecimal()), key=lambda chunk: int(chunk.stem)
    )
