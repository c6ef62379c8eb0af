"""Clear messages for full disks and missing permissions, whichever library raised the error."""

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
SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's message, which does not give the reason


def not_written(what: str, error: OSError) -> str:
    """A message for an output that could not be written and that the same command can resume."""
    at = f" ({error.filename})" if error.filename else ""
    return (
        f"cannot write {what}: {error.strerror or error}{at}. Free space or choose another --out; "
        "finished work is kept, and the same command continues from there."
    )


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Raise `StorageError` if the block fails because the disk is full or may not be written to."""
    try:
        yield
    except AttireError:
        raise
    except Exception as error:
        if (message := storage_fault(error, place)) is None:
            raise
        raise StorageError(message) from error


def storage_fault(error: BaseException | None, place: Path | None = None) -> str | None:
    """A message if a full disk or a missing permission caused `error`, else None.

    Compiled libraries report the cause only in the text of their errors (safetensors, polars), or only in the error
    they were raised from (torch). The message names `place` if the error names no file.
    """
    while error is not None:
        number = getattr(error, "errno", None) or _errno_in(str(error))
        if number in FULL or number in FORBIDDEN:
            name = getattr(error, "filename2", None) or getattr(error, "filename", None) or place
            reason = f"{name or 'a file'}: {os.strerror(number)}"
            if number in FORBIDDEN:
                return f"cannot read or write {reason}. Give this user access, or choose another path."
            return f"cannot write {reason}. Free space, or choose another path; finished work is kept."
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _errno_in(text: str) -> int | None:
    """The error number whose system message is in `text`."""
    if SHORT.search(text):
        return errno.ENOSPC
    return next((number for number in (*FULL, *FORBIDDEN) if os.strerror(number) in text), None)
