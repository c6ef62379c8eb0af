"""Threads for what computes beside the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from attire.serve.fairness import FairQueue

T = TypeVar("T")
Job = tuple[Callable[[], Any], Future[Any]]


def once(job: Callable[..., T], *args: object) -> T:
    """Run a job that computes in a thread that ends with it, and wait for it.

    OpenMP keeps threads for every thread that has ever computed. Where they are more than the cores, all of them sleep
    as soon as they wait for each other, and a lone photo takes a tenth longer, or more (docs/experiments.md).
    """
    with ThreadPoolExecutor(1, "once") as thread:
        return thread.submit(job, *args).result()


class FairThreads:
    """A fixed number of threads, for whose time clients take turns."""

    def __init__(self, threads: int, name: str) -> None:
        self._queue = FairQueue[Job]()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, client: str, cost: float, job: Callable[[], T]) -> Future[T]:
        """Run a job when it is the client's turn; one that is cancelled before is never run. `cost`: in any unit."""
        answer: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the threads are closed")
            self._queue.put(client, cost, (job, answer))
            self._changed.notify()
        return answer

    def stop(self) -> None:
        """Give up what waits, and take nothing more."""
        with self._changed:
            self._closed = True
            while self._queue:
                self._queue.get()[1].cancel()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for what runs, after `stop`."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            job, answer = found
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(job())
                except BaseException as error:
                    answer.set_exception(error)
            del job, answer, found  # else it would keep a photo until the next one comes

    def _next(self) -> Job | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return self._queue.get() if self._queue else None
