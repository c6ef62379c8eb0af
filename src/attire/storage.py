"""A disk that is full or must not be written to, told in a sentence whichever library met it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attire.errors import AttireError, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
FORBIDDEN = (errno.EACCES, errno.EPERM)
SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's words, which do not tell why


def not_written(what: str, error: OSError) -> str:
    """The sentence about an output that could not be written, and that goes on when the command is called again."""
    at = f" ({error.filename})" if error.filename else ""
    return (
        f"cannot write {what}: {error.strerror or error}{at}. Free space or choose another --out; "
        "what was done is kept, and the same command goes on from there."
    )


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Raise `StorageError` about `place` where a disk that is full or must not be written to ends the block."""
    try:
        yield
    except AttireError:
        raise
    except Exception as error:
        if (fault := storage_fault(error, place)) is None:
            raise
        raise StorageError(fault) from error


def storage_fault(error: BaseException | None, place: Path | None = None) -> str | None:
    """A sentence about the disk or the right to write that is behind `error`, None where it is something else.

    Libraries in other languages tell of it in the text of their own errors (safetensors, polars), or only in what those
    were raised from (torch). `place` is named where nobody says which file it was.
    """
    while error is not None:
        number = getattr(error, "errno", None) or _named(str(error))
        if number in FULL or number in FORBIDDEN:
            name = getattr(error, "filename2", None) or getattr(error, "filename", None) or place
            reason = f"{name or 'a file'}: {os.strerror(number)}"
            if number in FORBIDDEN:
                return f"cannot read or write {reason}. Give this user the right to it, or choose another place."
            return f"cannot write {reason}. Free space, or choose another place; what was finished is kept."
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _named(text: str) -> int | None:
    """The number of the fault that a text tells of, mostly in the system's words."""
    if SHORT.search(text):
        return errno.ENOSPC
    return next((number for number in (*FULL, *FORBIDDEN) if os.strerror(number) in text), None)
