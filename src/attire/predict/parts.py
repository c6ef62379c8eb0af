"""The output in parts, so that a killed run goes on where it stopped: a Parquet file for so many products each."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attire.bundle import ModelBundle
from attire.files import replace_bytes, replace_text, scan_parquet
from attire.predict.blocks import Block
from attire.predict.output import SINKS, Format, Outcomes, to_table


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


class Parts:
    """A folder of finished parts of `size` products, numbered in their order, made by one kind of work."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        folder.mkdir(exist_ok=True)

    def resume(self, digest: str) -> dict[int, Counts]:
        """The parts that an earlier run of the work `digest` has left; parts of other work are removed."""
        record = self.folder / "work.json"
        if not record.is_file() or json.loads(record.read_text(encoding="utf-8")) != digest:
            for part in self._files():
                part.unlink()
            replace_text(record, json.dumps(digest))
        return {int(part.stem): _counts(part) for part in self._files()}

    def add(self, number: int, content: bytes) -> None:
        """Write a part, whole or not at all; one of the same number is replaced."""
        replace_bytes(self.folder / f"{number:06d}.parquet", content)

    def finish(self, out: Path, about: Mapping[str, Any]) -> None:
        """Put the parts together in `out`, streaming, and remove them."""
        temporary = self.folder / f"whole{out.suffix}"
        SINKS[out.suffix.lower()](scan_parquet(self._files()), temporary)
        temporary.replace(out)
        replace_text(out.with_name(f"{out.name}.json"), json.dumps(about, indent=1))
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.parquet"), key=lambda part: int(part.stem))


def encoded(table: pl.DataFrame, counts: Counts) -> bytes:
    """A part: the rows, and what they are of, as a Parquet file."""
    content = io.BytesIO()
    table.write_parquet(content, metadata={"counts": json.dumps(counts)})
    return content.getvalue()


def _counts(part: Path) -> Counts:
    return Counts(*json.loads(pl.read_parquet_metadata(part)["counts"]))
