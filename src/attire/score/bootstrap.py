"""How far a figure would move with other products of the same kind: percentile bootstrap intervals over groups."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from attire.progress import track

LEVEL = 0.95
Name = TypeVar("Name", bound=Hashable)
_CELLS = 8_000_000  # weights in memory at once
_STEP = 50  # resamples between two movements of the progress bar


class Interval(NamedTuple):
    """A figure's `LEVEL` interval; nan where the figure is nan in every resample."""

    low: float
    high: float


def intervals(
    figures: Callable[[NDArray[np.float32]], dict[Name, NDArray[np.float64]]],
    groups: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[Name, Interval]:
    """An interval for each figure that `figures` computes from weights (float32[N products, R] -> float64[R] each).

    Groups are drawn, not products: photos of one product in two colours are not independent evidence. `groups` names
    the group of each of the N products.
    """
    names, group_of_product = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, min(_STEP, _CELLS // max(1, len(groups))))
    drawn: dict[Name, list[NDArray[np.float64]]] = {}
    blocks = [min(step, resamples - start) for start in range(0, resamples, step)]
    for size in track(blocks, "resampling", "blocks", len(blocks)):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        for name, values in figures(counts.T.astype(np.float32)[group_of_product]).items():
            drawn.setdefault(name, []).append(values)
    return {name: _interval(np.concatenate(values)) for name, values in drawn.items()}


def _interval(values: NDArray[np.float64]) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
