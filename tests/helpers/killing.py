"""Kill an ingest, without its process, at one of the moments at which it moves a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Moves before: facts of photos, 4 tables, taxonomy (2), version (2), new words, manifest; and the deciding one.
DECIDED_AT = 12


class KilledError(BaseException):
    """Nothing may handle it, as nothing can handle a kill."""


@contextmanager
def killed_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, the move with this number (from 0) raises `KilledError`, and nothing is cleaned up after it."""
    moves = 0

    def dying(name: str) -> Any:
        move = getattr(Path, name)

        def wrapper(self: Path, target: Path) -> Path:
            nonlocal moves
            if moves == moment:
                patch.setattr(Path, "unlink", lambda *_, **__: None)
                patch.setattr(shutil, "rmtree", lambda *_, **__: None)
                raise KilledError
            moves += 1
            return Path(move(self, target))

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(Path, name, dying(name))
        yield
