"""Watches what the server answers: counts for Prometheus, and the drift of the last products."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from attire.score.answer_counts import AnswerCounts
from attire.score.drift import ERROR, Drift, find_drift
from attire.serve.live_bundle import Model
from attire.serve.metrics import Metrics
from attire.serve.settings import Settings

TOGETHER = 50  # products that are counted at once, which is cheaper than one by one
BLOCKS = 4  # of a window: it moves by one of them at a time
logger = logging.getLogger(__name__)


class AnswerWatch:
    """Counts the answers for each product, and compares those of a sliding window with the bundle's calibration.

    With several workers each has its own window, and the probability of a false alarm is divided between them.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._compare = ThreadPoolExecutor(1, "drift")  # it takes a tenth of a second, in which requests must not wait
        self._model: Model | None = None
        self._logits: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._blocks: deque[AnswerCounts] = deque(maxlen=BLOCKS)
        self._block: AnswerCounts | None = None
        self._alarmed: frozenset[str] = frozenset()

    def add(self, model: Model, category: NDArray[np.float32], attributes: NDArray[np.float32]) -> None:
        """Take the mean logits of one product, float32[C] and float32[K]."""
        if model is not self._model:
            self.count()
            self._model, self._block = model, None
            self._blocks.clear()
        self._logits.append((category, attributes))
        if len(self._logits) == TOGETHER:
            self.count()

    def count(self) -> None:
        """Count the products that were not counted yet, and compare the window if another block of it is full."""
        if self._model is None or not self._logits:
            return
        bundle, promise = self._model.bundle, self._settings.promise
        category, attributes = (np.stack(rows) for rows in zip(*self._logits, strict=True))
        counts = bundle.answer_counts(category, attributes, promise)
        self._logits = []
        self._metrics.count_answers(counts, fill_all=promise is None or bundle.calibration is None)
        self._block = counts if self._block is None else self._block + counts
        if self._block.products < self._settings.drift_window / BLOCKS:
            return
        self._blocks.append(self._block)
        self._block = None
        if len(self._blocks) == BLOCKS and (reference := bundle.reference(promise)) is not None:
            window = sum(list(self._blocks)[1:], self._blocks[0])
            error = ERROR / self._settings.workers
            self._compare.submit(lambda: self._show(find_drift(reference, window, error)))

    def close(self) -> None:
        """Wait for the comparison that is running."""
        self._compare.shutdown()

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
