"""Dynamic batching: photos of different requests go through the engine together.

One thread computes, because an engine uses one GPU or all cores anyway. Photos that arrive meanwhile form the next
batch, so batches grow with the load; an idle engine starts at once. A batch is only as large as the engine computes in
about `BATCH_S`: a client with one photo waits for the running batch, however many photos others have queued.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from attire.engines.engine import Bytes, Engine, Floats, Ids, TitleEngine
from attire.serve.fairness import FairQueue, Room
from attire.serve.metrics import Metrics

logger = logging.getLogger(__name__)
BATCH_S = 0.4
Row = tuple[Floats, Floats]  # logits float32[C] and float32[K] of one photo


class FullError(Exception):
    """The queue is full: `waiting` photos are admitted. Try again in `retry_after_s` seconds."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting, self.retry_after_s = waiting, retry_after_s


@dataclass(slots=True, eq=False)
class _Photo:
    """A queued photo: `pixels` are uint8[3, H, W]; `text` is int32[T] for an engine that reads titles."""

    engine: Engine
    pixels: Bytes
    text: Ids | None
    answer: Future[Row] = field(default_factory=Future)

    def fits(self, other: _Photo) -> bool:
        """Return whether both photos can share a batch; after a reload two engines may be in use for a moment."""
        return self.engine is other.engine and (self.text is None) == (other.text is None)


class Batcher:
    """Computes photos of all requests in batches; clients take turns."""

    def __init__(self, metrics: Metrics, *, max_batch: int, capacity: int, batch_s: float = BATCH_S) -> None:
        self.max_batch, self.batch_s = max_batch, batch_s
        self._metrics = metrics
        self._admitted = Room(capacity)
        self._photos_per_s = 0.0  # smoothed, while busy
        self._waiting = FairQueue[_Photo]()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @contextmanager
    def admit(self, client: str, photos: int) -> Iterator[None]:
        """Reserve room for a request's photos from decoding until the answer; raises `FullError`."""
        with self._changed:
            if not self._admitted.take(client, photos):
                waiting = self._admitted.taken
                raise FullError(waiting, min(30, math.ceil(waiting / self._photos_per_s) if self._photos_per_s else 1))
        self._metrics.waiting.inc(photos)
        try:
            yield
        finally:
            with self._changed:
                self._admitted.give(client, photos)
            self._metrics.waiting.dec(photos)

    def submit(self, client: str, engine: Engine, photos: Sequence[tuple[Bytes, Ids | None]]) -> list[Future[Row]]:
        """Queue photos uint8[3, H, W] with the token ids of their titles; returns futures of their logits.

        The photos are queued together, so that the engine does not start with the first one alone. A cancelled future
        is not computed.
        """
        queued = [_Photo(engine, *photo) for photo in photos]
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            for photo in queued:
                self._waiting.put(client, 1, photo)
            self._changed.notify()
        return [photo.answer for photo in queued]

    def close(self) -> None:
        """Compute the queued photos, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            running = [photo for photo in batch if photo.answer.set_running_or_notify_cancel()]
            if running:
                self._answer(running)

    def _next_batch(self) -> list[_Photo]:
        """Wait for the next batch; empty after `close` when the queue is empty."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[_Photo] = []
            limit = self._limit()
            while self._waiting and len(batch) < limit and (not batch or batch[0].fits(self._waiting.first)):
                batch.append(self._waiting.get())
            return batch

    def _limit(self) -> int:
        """How many photos the engine computes in `batch_s`, as far as its speed is known."""
        if not self._photos_per_s:
            return self.max_batch
        return max(1, min(self.max_batch, int(self.batch_s * self._photos_per_s)))

    def _answer(self, batch: Sequence[_Photo]) -> None:
        start = time.perf_counter()
        try:
            category, attributes = _compute(batch)
        except Exception as error:
            if len(batch) > 1:  # one photo may have caused it: retry each alone
                for photo in batch:
                    self._answer([photo])
                return
            logger.exception("the engine failed")
            batch[0].answer.set_exception(error)
            return
        seconds = time.perf_counter() - start
        self._metrics.batch.observe(len(batch))
        self._metrics.engine_seconds.inc(seconds)
        speed = len(batch) / max(seconds, 1e-6)
        self._photos_per_s = speed if not self._photos_per_s else 0.9 * self._photos_per_s + 0.1 * speed
        for row, photo in enumerate(batch):
            if np.isfinite(category[row]).all() and np.isfinite(attributes[row]).all():
                photo.answer.set_result((category[row], attributes[row]))
            else:
                photo.answer.set_exception(ArithmeticError("the network's output is not a number"))


def _compute(batch: Sequence[_Photo]) -> tuple[Floats, Floats]:
    pixels, text = (
        np.stack([photo.pixels for photo in batch]),
        [photo.text for photo in batch if photo.text is not None],
    )
    engine = batch[0].engine
    if not text:
        return engine.logits(pixels)
    assert isinstance(engine, TitleEngine)
    return engine.titled_logits(pixels, np.stack(text))
