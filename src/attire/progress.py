"""How far work has come: a bar on a terminal, and a line now and then where there is none, so that a log file has it.

All of it goes to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from attire.terminal import Console

SHORT_S = 2.0  # work that is done sooner leaves no line
LINE_S = 30.0  # between two lines of a log

Item = TypeVar("Item")


class Tracker:
    """Counts what is done of `total` (None where only the end will tell) and shows it."""

    def __init__(self, what: str, total: int | None, unit: str, done: int, console: Console) -> None:
        self.what, self.total, self.unit, self.done, self.console = what, total, unit, done, console
        self._before, self._began = done, time.monotonic()
        self._said = self._began - LINE_S + SHORT_S  # so that the first line comes early
        self._bar: Progress | None = None
        if console.is_terminal or console.is_jupyter:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), _Count(self))
            spinner = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(
                *(spinner if total is None else columns), TimeElapsedColumn(), console=console, transient=True
            )
            self._task = self._bar.add_task(what, total=total, completed=done)
            self._bar.start()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - self._said >= LINE_S:
            self._said = time.monotonic()
            self.say(f"{self.what}: {self.state()}")

    def describe(self, what: str) -> None:
        """Show another name of the work from now on."""
        self.what = what
        if self._bar is not None:
            self._bar.update(self._task, description=what)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def state(self) -> str:
        """How much is done, how fast, and how long the rest will take.

        >>> Tracker("reading", 10, "rows", 10, Console(stderr=True)).state()
        '10 of 10 rows'
        """
        seconds = time.monotonic() - self._began
        count = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        speed = (self.done - self._before) / seconds if seconds > 0 else 0.0
        said = [f"{count} {self.unit}"]
        if speed:
            said.append(f"{speed:,.0f} {self.unit}/s" if speed >= 1 else f"{1 / speed:,.0f} s each")
            if self.total is not None and self.done < self.total:
                said.append(f"{_clock((self.total - self.done) / speed)} left")
        return ", ".join(said)

    def close(self, finished: bool) -> None:
        """Take the bar away, and leave a line about what took its time and was `finished`."""
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._began
        if finished and seconds >= SHORT_S:
            count = f"{self.done:,} {self.unit} in " if self.done else ""
            self.say(f"{self.what}: {count}{_clock(seconds)}")


@contextmanager
def tracking(what: str, total: int | None = None, unit: str = "", *, done: int = 0) -> Iterator[Tracker]:
    """Show work of `total` units, of which an earlier run has `done` some, until the block ends."""
    tracker = Tracker(what, total, unit, done, Console(stderr=True))
    finished = False
    try:
        yield tracker
        finished = True
    finally:
        tracker.close(finished)


def track(items: Iterable[Item], what: str, unit: str, total: int | None = None, *, done: int = 0) -> Iterator[Item]:
    """`items`, shown one by one as they are done."""
    with tracking(what, total, unit, done=done) as tracker:
        for item in items:
            yield item
            tracker.advance()


class _Count(ProgressColumn):
    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self.tracker = tracker

    def render(self, task: Task) -> Text:  # noqa: ARG002
        return Text(self.tracker.state())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
