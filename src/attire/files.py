"""Files on disk: told apart by content, written whole or not at all, and read by exactly the path that is given."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error.

    The temporary file is removed on an error, so `path` holds the old content or the new one, never half of it; after
    a power cut too where it is `durable`, which costs a sync of the disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def replace_text(path: Path, text: str) -> None:
    """Write a text file, as UTF-8, whole or not at all."""
    replace_bytes(path, text.encode())


def replace_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table as a Parquet file, whole or not at all."""
    with replacing(path) as temporary:
        table.write_parquet(temporary)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The table at that path; polars alone would take `[`, `*` and `?` in it for patterns."""
    return pl.read_parquet(path, columns=None if columns is None else list(columns), glob=False)


def scan_parquet(paths: Sequence[Path]) -> pl.LazyFrame:
    """The tables at those paths, one after the other, read when they are collected."""
    return pl.scan_parquet(list(paths), glob=False)
