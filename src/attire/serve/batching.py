"""Dynamic batching: what waits, from whichever request, goes through the engine together.

One thread computes, for an engine has one GPU or all cores anyway. While it computes, photos gather, so that batches
grow with load by themselves; an idle engine takes what there is at once.
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
Row = tuple[Floats, Floats]  # logits float32[C] and float32[K] of one photo


class FullError(Exception):
    """No room for the request's photos among those that are `waiting`; try again in `retry_after_s` seconds."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting, self.retry_after_s = waiting, retry_after_s


@dataclass(slots=True, eq=False)
class _Photo:
    """pixels: uint8[3, H, W]; text: int32[T] for an engine that is asked with titles."""

    engine: Engine
    pixels: Bytes
    text: Ids | None
    answer: Future[Row] = field(default_factory=Future)

    def fits(self, other: _Photo) -> bool:
        """Whether one call can answer both: after a reload two engines may be in use for a moment."""
        return self.engine is other.engine and (self.text is None) == (other.text is None)


class Batcher:
    """Answers photos of all requests, in batches; clients take turns."""

    def __init__(self, metrics: Metrics, *, max_batch: int, capacity: int) -> None:
        self.max_batch = max_batch
        self._metrics = metrics
        self._admitted = Room(capacity)
        self._photos_per_s = 0.0  # while it is busy, smoothed
        self._waiting = FairQueue[_Photo]()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @contextmanager
    def admit(self, client: str, photos: int) -> Iterator[None]:
        """Room for a request's photos, from before they are decoded until they are answered; raises `FullError`."""
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
        """The logits of photos uint8[3, H, W] with the ids of their titles, to come; a cancelled one is not computed.

        They queue together, so that the engine does not start on the first of them alone.
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
        """Answer what waits, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            wanted = [photo for photo in batch if photo.answer.set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)

    def _next(self) -> list[_Photo]:
        """The next batch; empty once it is closed and nothing waits."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[_Photo] = []
            while self._waiting and len(batch) < self.max_batch and (not batch or batch[0].fits(self._waiting.first)):
                batch.append(self._waiting.get())
            return batch

    def _answer(self, batch: Sequence[_Photo]) -> None:
        start = time.perf_counter()
        try:
            category, attributes = _compute(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame: the others are answered
                for photo in batch:
                    self._answer([photo])
                return
            logger.exception("the engine failed")
            batch[0].answer.set_exception(error)
            return
        took = time.perf_counter() - start
        self._metrics.batch.observe(len(batch))
        self._metrics.engine_seconds.inc(took)
        speed = len(batch) / max(took, 1e-6)
        self._photos_per_s = speed if not self._photos_per_s else 0.9 * self._photos_per_s + 0.1 * speed
        for row, photo in enumerate(batch):
            if np.isfinite(category[row]).all() and np.isfinite(attributes[row]).all():
                photo.answer.set_result((category[row], attributes[row]))
            else:
                photo.answer.set_exception(ArithmeticError("the network's answer is not a number"))


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
