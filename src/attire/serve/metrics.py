"""What Prometheus reads. With several workers (PROMETHEUS_MULTIPROC_DIR) any of them tells the sum of all."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("attire_requests", "Answered requests", ["route", "status"], registry=own)
        self.seconds = Histogram(
            "attire_request_seconds", "From first byte in to last byte out", ["route"], registry=own, buckets=LATENCY_S
        )
        self.photos = Counter("attire_photos", "Photos by what became of them", ["outcome"], registry=own)
        self.batch = Histogram("attire_batch_photos", "Photos the engine saw at once", registry=own, buckets=BATCHES)
        self.engine_seconds = Counter("attire_engine_seconds", "Time within the engine", registry=own)
        self.waiting = Gauge(
            "attire_photos_admitted", "Admitted, not yet answered", registry=own, multiprocess_mode="livesum"
        )
        self.bundle = Gauge(
            "attire_bundle",
            "1: it answers (with several workers, in that process)",
            ["version"],
            registry=own,
            multiprocess_mode="liveall",
        )
        self.reloads = Counter("attire_reloads", "Attempts to load a bundle", ["outcome"], registry=own)

    def text(self) -> bytes:
        """In the exposition format."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
