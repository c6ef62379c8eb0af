"""Watches what the server answers: counts for Prometheus, and the drift of the last products."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from attire.score.answer_counts import AnswerCounts
from attire.score.drift import ERROR, Drift, find_drift
from attire.serve.live_bundle import Model
from attire.serve.metrics import Metrics
from attire.serve.settings import Settings

TOGETHER = 50  # products that are counted at once, which is cheaper than one by one
BLOCKS = 4  # of a window: it moves by one of them at a time
Logits = tuple[NDArray[np.float32], NDArray[np.float32]]
logger = logging.getLogger(__name__)


class AnswerWatch:
    """Counts the answers for each product, and compares those of a sliding window with the bundle's calibration.

    With several workers each has its own window, and the probability of a false alarm is divided between them.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._model: Model | None = None
        self._logits: list[Logits] = []
        # Counting takes milliseconds and a comparison a tenth of a second, in which requests must not wait.
        self._thread = ThreadPoolExecutor(1, "drift")
        self._counted: Model | None = None  # from here on: used by the thread only
        self._block: AnswerCounts | None = None
        self._blocks: deque[AnswerCounts] = deque(maxlen=BLOCKS)
        self._alarmed: frozenset[str] = frozenset()

    def add(self, model: Model, category: NDArray[np.float32], attributes: NDArray[np.float32]) -> None:
        """Take the mean logits of one product, float32[C] and float32[K]."""
        if model is not self._model:
            self.count()
            self._model = model
        self._logits.append((category, attributes))
        if len(self._logits) == TOGETHER:
            self.count()

    def count(self) -> Future[None]:
        """Count the products that were not counted yet, and compare the window if another block of it is full."""
        logits, self._logits = self._logits, []
        return self._thread.submit(self._count, self._model, logits)

    def close(self) -> None:
        """Wait for what is being counted."""
        self._thread.shutdown()

    def _count(self, model: Model | None, logits: list[Logits]) -> None:
        if model is None or not logits:
            return
        if model is not self._counted:
            self._counted, self._block = model, None
            self._blocks.clear()
        bundle, promise = model.bundle, self._settings.promise
        category, attributes = (np.stack(rows) for rows in zip(*logits, strict=True))
        counts = bundle.answer_counts(category, attributes, promise)
        self._metrics.count_answers(counts, fill_all=promise is None or bundle.calibration is None)
        self._block = counts if self._block is None else self._block + counts
        if self._block.products < self._settings.drift_window / BLOCKS:
            return
        self._blocks.append(self._block)
        self._block = None
        if len(self._blocks) == BLOCKS and (reference := bundle.reference(promise)) is not None:
            window = sum(list(self._blocks)[1:], self._blocks[0])
            self._show(find_drift(reference, window, ERROR / self._settings.workers))

    def _show(self, drift: Drift) -> None:
        """Set the gauges, and log alarms that are new."""
        self._metrics.show_drift(drift)
        alarmed = frozenset(key.key for key in drift.alarms)
        if new := sorted(alarmed - self._alarmed):
            logger.warning(
                "drift: over the last %d products, the answers for %s changed beyond chance",
                drift.now.products,
                ", ".join(new),
            )
        self._alarmed = alarmed
