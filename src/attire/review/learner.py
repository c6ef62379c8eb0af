"""Starts `attire learn` in the background, and says how far it is; the page stays usable meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attire.catalog.review_version import reviewed_in
from attire.errors import ConfigError
from attire.inference.run_record import Record, record_path
from attire.records import read_as
from attire.review.learn_status import LOG, MADE, LearnStatus, Outcome, is_running, read_status
from attire.review.options import Options
from attire.review.store.events import Store
from attire.storage import storing

if TYPE_CHECKING:  # it imports torch
    from attire.bundle import ModelBundle

NICER = 5  # than the page, which should answer at once
SHOWN = {  # figures of the page, with their titles
    "attribute_iou": "attribute IoU",
    "coverage_95": "filled fields",
    "precision_95": "precision of filled fields",
    "category_accuracy": "category accuracy",
}


@dataclass(frozen=True, slots=True)
class LearnView:
    """What the page shows about learning.

    status: of the last run, None if it does not concern this bundle any more. waiting: decisions that the bundle has
    not learned from. outcome: what a finished run made, if the page does not show its predictions yet. log: the file
    with the whole story of a failed run.
    """

    status: LearnStatus | None
    waiting: int
    outcome: Outcome | None
    log: Path
    shown: dict[str, str] = field(default_factory=lambda: SHOWN)

    @property
    def state(self) -> str:
        """One of idle, running, finished and failed."""
        return "idle" if self.status is None else self.status.state


class Learner:
    """Learns from the decisions of one page's catalog, starting from the bundle that made its predictions."""

    def __init__(self, catalog: Path, options: Options, bundle: ModelBundle) -> None:
        """`bundle` is the one of `options`."""
        self.catalog, self.options, self._bundle = catalog, options, bundle
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._began = datetime.now(UTC)

    def view(self, store: Store) -> LearnView:
        """What the page shows."""
        status = self._status()
        if status is not None and status.state != "running" and status.start != self._bundle.digest:
            status = None  # the page shows what it made already, or it started from another bundle
        outcome = None if status is None else status.outcome
        return LearnView(status, self._waiting(store), outcome, self.catalog / LOG)

    def start(self) -> None:
        """Start a run; raises `ConfigError` if one is at work, `StorageError` if it cannot write."""
        with storing(self.catalog), self._starting:
            if is_running(self.catalog) or (self._process is not None and self._process.poll() is None):
                raise ConfigError("Learning is already under way, started by another reviewer or on the command line.")
            self._began = datetime.now(UTC)
            with (self.catalog / LOG).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - this program itself
                    [*self._command()], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICER)

    def _command(self) -> Iterator[str]:
        folder = self.catalog.absolute() / MADE
        numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
        yield from (sys.executable, "-m", "attire", "learn", str(self.catalog.absolute()))
        yield from (
            "--bundle",
            str(self._bundle.path.absolute()),
            "--out",
            str(folder / f"{max(numbers, default=0) + 1:03d}"),
        )
        if self.options.store is not None:
            yield from ("--store", self.options.store)
        yield from self._promise()

    def _promise(self) -> Iterator[str]:
        """The options of the promise for which the page's fields were filled."""
        try:
            promise = read_as(record_path(self.options.predictions), Record).settings.promise
        except (OSError, ValueError):  # not written by `attire predict`
            return
        if promise is not None:
            keys = (f"{key}={precision}" for key, precision in promise.keys.items())
            yield from ("--precision", str(promise.precision), *keys)
            yield from ("--confidence", str(promise.confidence), "--scope", promise.scope)

    def _status(self) -> LearnStatus | None:
        """The status of the last run, also while it has not written one yet."""
        status, process = read_status(self.catalog), self._process
        if process is None or (status is not None and status.began >= self._began):
            return status
        if process.poll() is None:
            return LearnStatus(state="running", began=self._began, start=self._bundle.digest, step="starting")
        return LearnStatus(state="failed", began=self._began, start=self._bundle.digest, error=self._last_line())

    def _last_line(self) -> str:
        lines = (self.catalog / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "it ended at once"

    def _waiting(self, store: Store) -> int:
        """The number of decisions that the bundle has not learned from; all if that is not known."""
        return sum(
            decision.decided and (decision.product, decision.at) not in self._learned
            for decision in store.held().values()
        )

    @cached_property
    def _learned(self) -> set[tuple[str, datetime]]:
        """Product and time of the decisions that were in the catalog which the bundle learned from."""
        reviewed = reviewed_in(self.catalog, self._bundle.provenance.get("catalog"))
        return {(id, at) for id, at in reviewed.select("id", "at").iter_rows()}
