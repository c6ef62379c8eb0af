"""How fast engines compute on this machine, beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from attire.engines.engine import Engine

BATCH, ROUNDS = 32, 4  # photos; batches of each engine after one to warm up


def images_per_s(engines: Mapping[str, Engine], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Of each engine: its best of `ROUNDS` batches of `BATCH` photos, repeated from `pixels` (uint8[N, 3, H, W]).

    Engines take turns, so that whatever else the machine does slows all of them.
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
