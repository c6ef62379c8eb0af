"""Measure the images/s of engines, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the engines are opened by what calls this module
    from attire.engines.engine import Engine

BATCH, ROUNDS = 32, 4  # photos per batch; batches per engine, after one warm-up batch


def images_per_s(
    engines: Mapping[str, Engine],
    pixels: NDArray[np.uint8],
    batch: int = BATCH,
    measured: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """The best of `ROUNDS` batches for each engine. Batches of `batch` repeat the photos in `pixels` uint8[N, 3, H, W].

    Engines take turns, so that other load on the machine slows all of them alike. `measured` is called after each
    batch, of which there are `ROUNDS` + 1 for each engine.
    """
    photos = pixels[np.arange(batch) % len(pixels)]
    best = dict.fromkeys(engines, float("inf"))
    for attempt in range(ROUNDS + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.logits(photos)
            if attempt:
                best[name] = min(best[name], time.perf_counter() - start)
            measured()
    return {name: batch / seconds for name, seconds in best.items()}


def batch_within(engines: Mapping[str, Engine], pixels: NDArray[np.uint8], seconds: float) -> int:
    """The number of photos, 1 to `BATCH`, for which `images_per_s` takes about `seconds`; warms the engines up."""
    each = 0.0
    for engine in engines.values():
        engine.logits(pixels[:1])
        start = time.perf_counter()
        engine.logits(pixels[:1])
        each += time.perf_counter() - start
    return max(1, min(BATCH, int(seconds / (ROUNDS + 1) / max(each, 1e-6))))
