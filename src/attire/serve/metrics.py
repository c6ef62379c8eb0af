"""Prometheus metrics. With several workers (PROMETHEUS_MULTIPROC_DIR) each worker reports the sum of all."""

from __future__ import annotations

import os

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from attire.score.answer_counts import BIN, BINS, AnswerCounts
from attire.score.decisions import sigmoid
from attire.score.drift import Drift
from attire.taxonomy import key_label

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
# At edges of the bins in which answers are counted, so that the buckets are exact.
CONFIDENCES = tuple(round(float(sigmoid(np.array(odds))), 4) for odds in (0, 1, 2, 3, 4, 5, 6, 7))
_LEVELS = sigmoid((np.arange(BINS) - BINS / 2 + 0.5) * BIN).tolist()  # the middle of each bin
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("attire_requests", "Answered requests", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "attire_request_seconds",
            "Seconds from the first byte of a request to the last byte of its answer",
            ["route"],
            registry=registry,
            buckets=LATENCY_S,
        )
        self.photos = Counter("attire_photos", "Photos by outcome (used, refused)", ["outcome"], registry=registry)
        self.batch = Histogram("attire_batch_photos", "Photos per batch", registry=registry, buckets=BATCHES)
        self.engine_seconds = Counter("attire_engine_seconds", "Seconds spent in the engine", registry=registry)
        self.waiting = Gauge(
            "attire_photos_admitted",
            "Photos that are admitted and not yet answered",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.bundle = Gauge(
            "attire_bundle",
            "1 if this bundle version answers (with several workers: in that process)",
            ["version"],
            registry=registry,
            multiprocess_mode="liveall",
        )
        self.products = Counter("attire_products", "Products that were answered", registry=registry)
        self.fields = Counter(
            "attire_fields",
            "Fields of answered products by outcome (filled, left open, not applicable) at the server's own precision, "
            "with predicted categories",
            ["key", "outcome"],
            registry=registry,
        )
        self.values = Counter(
            "attire_values",
            "Answers, filled or not, by their least certain value",
            ["key", "value"],
            registry=registry,
        )
        self.confidence = Histogram(
            "attire_confidence",
            "Confidence of the answers, filled or not",
            ["key"],
            registry=registry,
            buckets=CONFIDENCES,
        )
        self.drift = Gauge(
            "attire_drift",
            "1 if the answers of the last products (with several workers: of any) differ from those at calibration",
            ["key"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.doubt = Gauge(
            "attire_promise_in_doubt",
            "1 if that speaks against the promised precision",
            ["key"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.drift_checks = Counter("attire_drift_checks", "Comparisons with the calibration", registry=registry)
        self.reloads = Counter("attire_reloads", "Attempts to load a bundle", ["outcome"], registry=registry)

    def count_answers(self, counts: AnswerCounts, fill_all: bool) -> None:
        """Count the answers for some products; with `fill_all` every answer is filled."""
        self.products.inc(counts.products)
        for number, (key, rows) in enumerate(counts.columns.items()):
            label, answers = key_label(key), counts.answers[rows]
            answered = int(answers.sum())
            filled = answered if fill_all else int(counts.filled[number])
            self.fields.labels(label, "filled").inc(filled)
            self.fields.labels(label, "left open").inc(answered - filled)
            self.fields.labels(label, "not applicable").inc(counts.products - answered)
            for value in np.flatnonzero(answers.sum(axis=1)):
                self.values.labels(label, counts.words[key][value]).inc(int(answers[value].sum()))
            confidence = self.confidence.labels(label)
            for level, count in zip(_LEVELS, answers.sum(axis=0), strict=True):
                for _ in range(count):
                    confidence.observe(level)

    def show_drift(self, drift: Drift) -> None:
        """Set the gauges of each key."""
        for key in drift.keys:
            self.drift.labels(key.key).set(key.alarm)
            self.doubt.labels(key.key).set(key.doubted)
        self.drift_checks.inc()

    def text(self) -> bytes:
        """Return all metrics in the exposition format."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
