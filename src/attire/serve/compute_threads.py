"""Threads for computation outside the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from attire.serve.fairness import FairQueue

T = TypeVar("T")
Job = tuple[Callable[[], Any], Future[Any]]


def once(job: Callable[..., T], *args: object) -> T:
    """Run `job` in a temporary thread and wait for its result.

    OpenMP keeps a thread pool for every thread that has ever computed. With more threads than cores they sleep whenever
    they wait for each other, and a single photo takes at least a tenth longer (docs/experiments.md).
    """
    with ThreadPoolExecutor(1, "once") as thread:
        return thread.submit(job, *args).result()


class FairThreads:
    """A fixed number of threads that clients take turns to use."""

    def __init__(self, threads: int, name: str) -> None:
        self._queue = FairQueue[Job]()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, client: str, cost: float, job: Callable[[], T]) -> Future[T]:
        """Run `job` when it is the client's turn, unless its future is cancelled before. `cost` may have any unit."""
        answer: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the threads are closed")
            self._queue.put(client, cost, (job, answer))
            self._changed.notify()
        return answer

    def stop(self) -> None:
        """Cancel queued jobs and accept no new ones."""
        with self._changed:
            self._closed = True
            while self._queue:
                self._queue.get()[1].cancel()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for running jobs, after `stop`."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (item := self._next_job()) is not None:
            job, answer = item
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(job())
                except BaseException as error:
                    answer.set_exception(error)
            del job, answer, item  # otherwise the last photo stays in memory until the next job

    def _next_job(self) -> Job | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return self._queue.get() if self._queue else None
