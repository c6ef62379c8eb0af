"""The output in parts, so that a killed run goes on where it stopped: a Parquet file for so many products each.

Every part says which work and which products it was made of, and counts only for those.
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
from attire.predict.blocks import Block
from attire.predict.output import SINKS, Format, Outcomes, to_table
from attire.predict.record import Work

MADE = "attire"  # the entry of a Parquet file's metadata
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answering:
    """How logits become rows."""

    bundle: ModelBundle
    format: Format
    precision: float | None

    def table(self, found: Block) -> pl.DataFrame:
        """The products' rows."""
        decisions = self.bundle.decide(found.category, found.attributes, found.known)
        accepted = self.bundle.accepted(decisions, self.precision)
        return to_table(Outcomes(found, decisions, accepted), self.bundle.taxonomy, self.format)


class Counts(NamedTuple):
    """Of the products in a part, or of all: `unread` have no answer, `known` a stated category, `titled` a title."""

    products: int
    unread: int
    known: int
    titled: int

    @classmethod
    def of(cls, found: Block) -> Counts:
        """Of these products."""
        return cls(len(found), len(found) - len(found.answered), found.stated, found.titled)

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        """Of all parts together."""
        return cls(*(sum(column) for column in zip(cls(0, 0, 0, 0), *counts, strict=True)))


class Origin(NamedTuple):
    """What a part is made of: the work, and the digest of its products."""

    work: Work
    products: str


class Parts:
    """A folder of parts of `size` products, numbered in their order; `origin` says what each is to be made of."""

    def __init__(self, folder: Path, size: int, origin: Callable[[int], Origin]) -> None:
        self.folder, self.size, self.origin = folder, size, origin

    def resume(self) -> dict[int, Counts]:
        """The parts that earlier runs have left of this very work and these products; others are removed."""
        self.folder.mkdir(exist_ok=True)
        found = self.found()
        others = [part for part in _files(self.folder) if int(part.stem) not in found]
        for part in others:
            part.unlink()
        if others:
            logger.info(
                "%s: %d parts of an earlier run, of other options, products or photos, are made again",
                self.folder,
                len(others),
            )
        return found

    def found(self) -> dict[int, Counts]:
        """The parts that are there and made of what they are to be made of, by number."""
        said = {int(part.stem): _said(part) for part in _files(self.folder)}
        return {number: known[1] for number, known in said.items() if known and known[0] == self.origin(number)}

    def add(self, number: int, part: bytes) -> None:
        """Write a part, whole or not at all; one of the same number is replaced."""
        replace_bytes(self.folder / f"{number:06d}.parquet", part)

    def counts(self) -> Counts:
        """What is in all parts together; raises `ConfigError` where one is missing or made of something else."""
        found = self.found()
        if [*found] != [*range(len(found))] or len(found) != len(_files(self.folder)):
            raise ConfigError(f"{self.folder} was changed while its parts were made: run the command again.")
        return Counts.total(found.values())

    def join(self, out: Path) -> None:
        """Put the parts together as `out`, streaming; raises `ConfigError` where one is damaged."""
        whole = self.folder / f"whole{out.suffix}"
        try:
            with replacing(whole) as temporary:
                SINKS[out.suffix.lower()](scan_parquet(_files(self.folder)), temporary)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"a part in {self.folder} is damaged ({error}): remove it, and run again.") from None
        whole.replace(out)


def begun(folder: Path, work: Work) -> bool:
    """Whether an earlier run has left parts of that work."""
    return any(said[0].work == work for said in map(_said, _files(folder)) if said)


def encoded(table: pl.DataFrame, origin: Origin, counts: Counts) -> bytes:
    """A part: the rows, what they are made of and how many products they are, as a Parquet file."""
    content = io.BytesIO()
    table.write_parquet(content, metadata={MADE: json.dumps([origin.work.model_dump(), origin.products, counts])})
    return content.getvalue()


def _said(part: Path) -> tuple[Origin, Counts] | None:
    """What a part says of itself; None where it cannot be read, or was written by another attire."""
    try:
        work, products, counts = json.loads(read_parquet_metadata(part)[MADE])
        return Origin(Work.model_validate(work), products), Counts(*counts)
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError, TypeError, RecursionError):
        return None


def _files(folder: Path) -> list[Path]:
    return sorted((part for part in folder.glob("*.parquet") if part.stem.isdecimal()), key=lambda part: int(part.stem))
