"""Keeps the status of a run up to date while it works."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

from attire.progress import heard_by
from attire.review.learn_status import LearnStatus, Outcome, write_status

EVERY_S = 0.5  # between two writes of the progress


class Reporter:
    """Writes the status of a catalog's run; hears all progress within its `with` block."""

    def __init__(self, catalog: Path, began: datetime, start: str) -> None:
        self._catalog, self._stack, self._written = catalog, ExitStack(), 0.0
        self._status = LearnStatus(state="running", began=began, start=start)

    def __enter__(self) -> Self:
        self._stack.enter_context(heard_by(self._hear))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def step(self, what: str) -> None:
        """Begin a step."""
        self._write(step=what, done=0, total=0)

    def finish(self, outcome: Outcome) -> None:
        """The run is finished."""
        self._write(state="finished", step="", done=0, total=0, outcome=outcome)

    def fail(self, reason: str) -> None:
        """The run ends with an error."""
        self._write(state="failed", error=reason)

    def _hear(self, what: str, done: int, total: int | None) -> None:
        if what != self._status.step or time.monotonic() - self._written >= EVERY_S:
            self._write(step=what, done=done, total=total or 0)

    def _write(self, **changes: object) -> None:
        self._written = time.monotonic()
        self._status = self._status.model_copy(update=changes)
        write_status(self._catalog, self._status)
