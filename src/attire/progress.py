"""Progress on stderr: a bar on a terminal, otherwise a line every 30 seconds for log files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from attire.terminal import Console

SHORT_S = 2.0  # shorter work prints no line
LINE_S = 30.0  # between two log lines

Item = TypeVar("Item")
Listener = Callable[[str, int, int | None], None]  # what is done, finished units, their total
_listeners: list[Listener] = []


class Tracker:
    """Counts finished units of `total` (None if unknown) and shows the progress."""

    def __init__(self, what: str, total: int | None, unit: str, done: int, console: Console) -> None:
        self.what, self.total, self.unit, self.done, self.console = what, total, unit, done, console
        self._before, self._began = done, time.monotonic()
        self._last_line = self._began - LINE_S + SHORT_S  # print the first line early
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
        """Count `count` more units as done."""
        self.done += count
        self.tell()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - self._last_line >= LINE_S:
            self._last_line = time.monotonic()
            self.say(f"{self.what}: {self.state()}")

    def tell(self) -> None:
        """Tell listeners how far it is."""
        for listener in _listeners:
            listener(self.what, self.done, self.total)

    def describe(self, what: str) -> None:
        """Change the description of the work."""
        self.what = what
        if self._bar is not None:
            self._bar.update(self._task, description=what)

    def say(self, line: str) -> None:
        """Print a permanent line."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def state(self) -> str:
        """The count, the speed, and the time left.

        >>> Tracker("reading", 10, "rows", 10, Console(stderr=True)).state()
        '10 of 10 rows'
        """
        seconds = time.monotonic() - self._began
        count = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        speed = (self.done - self._before) / seconds if seconds > 0 else 0.0
        texts = [f"{count} {self.unit}"]
        if speed:
            texts.append(f"{speed:,.0f} {self.unit}/s" if speed >= 1 else f"{1 / speed:,.0f} s each")
            if self.total is not None and self.done < self.total:
                texts.append(f"{_clock((self.total - self.done) / speed)} left")
        return ", ".join(texts)

    def close(self, finished: bool) -> None:
        """Remove the bar, and print a summary line if the work was `finished` and not short."""
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._began
        if finished and seconds >= SHORT_S:
            count = f"{self.done:,} {self.unit} in " if self.done else ""
            self.say(f"{self.what}: {count}{_clock(seconds)}")


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell `listener` about all progress within the block, beside showing it."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def tracking(what: str, total: int | None = None, unit: str = "", *, done: int = 0) -> Iterator[Tracker]:
    """Show the progress of a block with `total` units of work, `done` of them finished by an earlier run."""
    tracker = Tracker(what, total, unit, done, Console(stderr=True))
    tracker.tell()
    finished = False
    try:
        yield tracker
        finished = True
    finally:
        tracker.close(finished)


def track(items: Iterable[Item], what: str, unit: str, total: int | None = None, *, done: int = 0) -> Iterator[Item]:
    """Yield `items` and show the progress."""
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
    minutes, secs = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{secs:02d}" if minutes >= 60 else f"{minutes}:{secs:02d}"
