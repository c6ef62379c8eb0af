"""File helpers: hashes, atomic writes, locks, and reading by literal path (no glob patterns)."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from pydantic_core import from_json


def regular(path: Path) -> Path:
    """Return `path` if it is a regular file, else raise `OSError`: a pipe could block, and a device might never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or device, not a file", str(path))
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and move it to `path` when the block ends without an error.

    The temporary file is removed on an error, so `path` holds either the old or the new content, never half of it. With
    `durable` this also holds after a power failure, at the cost of a disk sync. The file gets the default permissions
    of the process, even if a library (safetensors) makes its files private. Disk errors of polars are raised as
    `OSError`.
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
    """Remove temporary files that killed processes left next to `path`. No process may be writing `path`."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        temporary.unlink()


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    replace_bytes(path, text.encode())


def replace_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table as a Parquet file atomically."""
    with replacing(path) as temporary:
        table.write_parquet(temporary.absolute())


class LockedError(Exception):
    """Another process holds a lock."""


@contextmanager
def locked(path: Path, refusal: Exception | None = None, *, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock on the file `path`. It is released when the process ends, however it ends.

    Raises `refusal`, or `LockedError` without one, after `wait_s` if another process, or another call in this one,
    holds the lock.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise refusal or LockedError(str(path)) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release, so that waiting processes see that the file is gone
        lock.release()


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end, with those of the same prefix that killed processes left.

    No other process may be using this prefix in `parent`.
    """
    for left in parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
        yield Path(folder)


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises `ValueError` for invalid content and `OSError` if the file cannot be read.

    Python's `json` raises `RecursionError` on deep nesting, and lets lone surrogates through.
    """
    try:
        return from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(str(error).replace("recursion limit exceeded", "nested too deep")) from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a Parquet table. The path is literal: polars would expand `[`, `*`, `?` and `~`."""
    return pl.read_parquet(path.absolute(), columns=None if columns is None else list(columns), glob=False)


def read_ndjson(path: Path, schema_overrides: Mapping[str, Any]) -> pl.DataFrame:
    """Read a file of JSON objects, one per line, as a table. The columns are inferred from all lines."""
    with path.open("rb") as file:  # a file object, because polars would expand `[` in a path
        return pl.read_ndjson(file, schema_overrides=dict(schema_overrides), infer_schema_length=None)


def read_parquet_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a Parquet file."""
    return pl.read_parquet_metadata(path.absolute())


def scan_parquet(paths: Sequence[Path]) -> pl.LazyFrame:
    """Scan Parquet files lazily as one table, in the order of `paths`."""
    return pl.scan_parquet([path.absolute() for path in paths], glob=False)
