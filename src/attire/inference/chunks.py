"""Chunks: the output in Parquet files of some products each, so that a killed run resumes after the last one.

Every chunk records the settings and products it was made from, and is reused for those only.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attire.bundle import ModelBundle
from attire.errors import ConfigError
from attire.files import read_parquet, read_parquet_metadata, replace_bytes, replacing, scan_parquet
from attire.inference.output import SINKS, Format, Outcomes, to_table
from attire.inference.product_logits import LogitsTable
from attire.inference.run_record import RunSettings
from attire.photos.shards import UniqueIds
from attire.score.answer_counts import AnswerCounts, SavedCounts
from attire.score.decisions import with_coarse
from attire.score.promise import Promise
from attire.taxonomy import Taxonomy

METADATA_KEY, ANSWERS_KEY = "attire", "attire-answers"  # keys in the Parquet file's metadata
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowBuilder:
    """Turns logits into rows of the output."""

    bundle: ModelBundle
    format: Format
    promise: Promise | None

    def rows(self, logits: LogitsTable) -> pl.DataFrame:
        """The rows of these products."""
        decisions = self.bundle.decide(logits.category, logits.attributes, logits.known)
        accepted = self.bundle.accepted(decisions, self.promise, logits.known)
        answers = with_coarse(self.bundle.taxonomy, decisions, accepted.coarse)
        return to_table(Outcomes(logits, answers, accepted), self.bundle.taxonomy, self.format)

    def counts(self, logits: LogitsTable) -> AnswerCounts:
        """What the model answers for these products, to find drift."""
        return self.bundle.answer_counts(logits.category, logits.attributes, self.promise, logits.groups)


class Counts(NamedTuple):
    """Number of products, of those without an answer (`unread`), with a known category, and with a title."""

    products: int
    unread: int
    known: int
    titled: int

    @classmethod
    def of(cls, logits: LogitsTable) -> Counts:
        """The counts of these products."""
        return cls(len(logits), len(logits) - len(logits.answered), logits.stated, logits.titled)

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        """The sum of `counts`."""
        return cls(*(sum(column) for column in zip(cls(0, 0, 0, 0), *counts, strict=True)))


class Origin(NamedTuple):
    """What a chunk is made from: the settings and the digest of its products."""

    settings: RunSettings
    products: str


class Chunks:
    """A folder of numbered chunks of `size` products; `origin` returns what the chunk of a number must be made from."""

    def __init__(self, folder: Path, size: int, origin: Callable[[int], Origin]) -> None:
        self.folder, self.size, self.origin = folder, size, origin

    def resume(self) -> dict[int, Counts]:
        """Return the usable chunks of earlier runs, by number, and remove the others."""
        self.folder.mkdir(exist_ok=True)
        usable = self.usable()
        outdated = [chunk for chunk in _files(self.folder) if int(chunk.stem) not in usable]
        for chunk in outdated:
            chunk.unlink()
        if outdated:
            logger.info(
                "%s: %d chunks of an earlier run had other options, products or photos and are computed again",
                self.folder,
                len(outdated),
            )
        return usable

    def usable(self) -> dict[int, Counts]:
        """The counts of each chunk in the folder that has the right origin, by number."""
        headers = {int(chunk.stem): _header(chunk) for chunk in _files(self.folder)}
        return {number: header[1] for number, header in headers.items() if header and header[0] == self.origin(number)}

    def add(self, number: int, chunk: bytes) -> None:
        """Write a chunk atomically, replacing one of the same number."""
        replace_bytes(self.folder / f"{number:06d}.parquet", chunk)

    def make_ids_unique(self, archives: Sequence[str]) -> None:
        """Rename products whose id an earlier archive has, if each chunk was made from one of `archives` alone."""
        ids = UniqueIds()
        for number, archive in enumerate(archives):
            chunk = self.folder / f"{number:06d}.parquet"
            names = read_parquet(chunk, ["id"])["id"].unique(maintain_order=True).to_list()
            renamed = {name: unique for name in names if (unique := ids(name, archive)) != name}
            if renamed and (header := _header(chunk)) is not None:
                renamed_rows = read_parquet(chunk).with_columns(pl.col("id").replace(renamed))
                self.add(number, encode(renamed_rows, *header, _answers(chunk)))

    def counts(self) -> Counts:
        """The sum over all chunks; raises `ConfigError` if one is missing or has another origin."""
        usable = self.usable()
        if [*usable] != [*range(len(usable))] or len(usable) != len(_files(self.folder)):
            raise ConfigError(f"{self.folder} was changed while its chunks were written: run the command again.")
        return Counts.total(usable.values())

    def answers(self, taxonomy: Taxonomy) -> AnswerCounts:
        """The answers in all chunks."""
        return sum((_answers(chunk) for chunk in _files(self.folder)), AnswerCounts.none(taxonomy))

    def join(self, out: Path) -> None:
        """Stream all chunks into `out`; raises `ConfigError` if one is damaged."""
        joined = self.folder / f"joined{out.suffix}"
        try:
            with replacing(joined) as temporary:
                SINKS[out.suffix.lower()](scan_parquet(_files(self.folder)), temporary)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(
                f"a chunk in {self.folder} is damaged ({error}): delete it and run the command again."
            ) from None
        joined.replace(out)


def has_chunks(folder: Path, settings: RunSettings) -> bool:
    """Whether an earlier run left chunks made with these settings."""
    return any(header[0].settings == settings for header in map(_header, _files(folder)) if header)


def encode(table: pl.DataFrame, origin: Origin, counts: Counts, answers: AnswerCounts) -> bytes:
    """A chunk as a Parquet file: the rows, with their origin and counts as metadata."""
    content = io.BytesIO()
    header = json.dumps([origin.settings.model_dump(), origin.products, counts])
    table.write_parquet(content, metadata={METADATA_KEY: header, ANSWERS_KEY: answers.saved().model_dump_json()})
    return content.getvalue()


def _header(chunk: Path) -> tuple[Origin, Counts] | None:
    """The origin and counts that a chunk records; None if it is damaged or of another version of attire."""
    try:
        metadata = read_parquet_metadata(chunk)
        settings, products, counts = json.loads(metadata[METADATA_KEY])
        SavedCounts.model_validate_json(metadata[ANSWERS_KEY])
        return Origin(RunSettings.model_validate(settings), products), Counts(*counts)
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError, TypeError, RecursionError):
        return None


def _answers(chunk: Path) -> AnswerCounts:
    return SavedCounts.model_validate_json(read_parquet_metadata(chunk)[ANSWERS_KEY]).counts()


def _files(folder: Path) -> list[Path]:
    return sorted(
        (chunk for chunk in folder.glob("*.parquet") if chunk.stem.isdecimal()), key=lambda chunk: int(chunk.stem)
    )
