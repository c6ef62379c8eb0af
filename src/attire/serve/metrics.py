"""Prometheus metrics. With several workers (PROMETHEUS_MULTIPROC_DIR) each worker reports the sum of all."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
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
        self.reloads = Counter("attire_reloads", "Attempts to load a bundle", ["outcome"], registry=registry)

    def text(self) -> bytes:
        """Return all metrics in the exposition format."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
