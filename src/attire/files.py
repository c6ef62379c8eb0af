"""Files on disk: told apart by content, written whole or not at all, and read by exactly the path that is given."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from pydantic_core import from_json


def regular(path: Path) -> Path:
    """`path`, if it is a file; raises `OSError` for anything else: a pipe could block, and a device never end."""
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "it is a pipe or device, not a file", str(path))
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error.

    The temporary file is removed on an error, so `path` holds the old content or the new one, never half of it; after
    a power cut too where it is `durable`, which costs a sync of the disk. Its permissions are those that this process
    gives to new files, also where a library (safetensors) writes files that their owner alone may read. What polars
    says of the disk is raised as `OSError`, as Python says it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            yield temporary
        except pl.exceptions.PolarsError as error:
            if code := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
            raise
        temporary.chmod(mode)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(path: Path) -> None:
    """Remove what killed processes left when they were replacing `path`; no other one may be at it."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        temporary.unlink()


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
        table.write_parquet(temporary.absolute())


class LockedError(Exception):
    """Another process holds a lock."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file `path` as a lock, which ends with this process, however it ends.

    Raises `LockedError` at once where another process, or another call in this one, holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LockedError(str(path)) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is released: whoever waits for this file sees that it is gone
        lock.release()


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises `ValueError` for whatever cannot be parsed, `OSError` where it cannot be read.

    Python's own reader ends in `RecursionError` where a file is nested deep, and passes on text that no file can hold.
    """
    try:
        return from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(str(error).replace("recursion limit exceeded", "nested too deep")) from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The table at that path; polars alone would take `[`, `*` and `?` in it for patterns, and `~` for a home."""
    return pl.read_parquet(path.absolute(), columns=None if columns is None else list(columns), glob=False)


def read_ndjson(path: Path, schema_overrides: Mapping[str, Any]) -> pl.DataFrame:
    """The table of the JSON objects, one in each line, at that path; all of them say what columns there are."""
    with path.open("rb") as file:  # polars has no other way to a path with `[`
        return pl.read_ndjson(file, schema_overrides=dict(schema_overrides), infer_schema_length=None)


def read_parquet_metadata(path: Path) -> dict[str, str]:
    """What was written beside the table at that path."""
    return pl.read_parquet_metadata(path.absolute())


def scan_parquet(paths: Sequence[Path]) -> pl.LazyFrame:
    """The tables at those paths, one after the other, read when they are collected."""
    return pl.scan_parquet([path.absolute() for path in paths], glob=False)
