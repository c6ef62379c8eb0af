"""Measure the speed of engines on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from attire.engines.engine import Engine

BATCH, ROUNDS = 32, 4  # photos per batch; batches per engine, after one warm-up batch


def images_per_s(engines: Mapping[str, Engine], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """The best of `ROUNDS` batches for each engine. Batches of `BATCH` repeat the photos in `pixels` uint8[N, 3, H, W].

    Engines take turns, so that other load on the machine slows all of them alike.
    """
    batch = pixels[np.arange(BATCH) % len(pixels)]
    best = dict.fromkeys(engines, float("inf"))
    for attempt in range(ROUNDS + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.logits(batch)
            if attempt:
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: BATCH / seconds for name, seconds in best.items()}
