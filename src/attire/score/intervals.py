"""How much a figure would vary with other products of the same kind: bootstrap over groups, Wilson's interval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attire.progress import track

LEVEL = 0.95
RESAMPLES = 1000
TWO_SIDED_95 = 1.959964  # quantile of the normal distribution
Name = TypeVar("Name", bound=Hashable)
_MAX_WEIGHTS = 8_000_000  # in memory at once
_STEP = 50  # resamples per update of the progress bar


class Interval(NamedTuple):
    """A figure's `LEVEL` interval; nan if the figure is nan in every resample."""

    low: float
    high: float


def intervals(
    figures: Callable[[NDArray[np.float32]], dict[Name, NDArray[np.float64]]],
    groups: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[Name, Interval]:
    """Compute an interval for each figure.

    `figures` maps product weights float32[N, R] of R resamples to float64[R] for each figure. `groups` is the group of
    each of the N products. Whole groups are resampled, because one product in two colours is not independent evidence.
    Without `resamples`, all intervals are nan.
    """
    if not resamples:
        return dict.fromkeys(figures(np.ones((len(groups), 1), np.float32)), Interval(np.nan, np.nan))
    names, group_of_product = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, min(_STEP, _MAX_WEIGHTS // max(1, len(groups))))
    samples: dict[Name, list[NDArray[np.float64]]] = {}
    blocks = [min(step, resamples - start) for start in range(0, resamples, step)]
    for size in track(blocks, "resampling", "blocks", len(blocks)):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        for name, values in figures(counts.T.astype(np.float32)[group_of_product]).items():
            samples.setdefault(name, []).append(values)
    return {name: _interval(np.concatenate(values)) for name, values in samples.items()}


def wilson(right: ArrayLike, n: ArrayLike, z: float = TWO_SIDED_95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of a share `right` / `n` (Wilson, 1927), element by element; 0 to 1 where `n` is 0.

    >>> [round(float(end), 3) for end in wilson(95, 100)]
    [0.888, 0.978]
    """
    right, n = np.asarray(right, np.float64), np.asarray(n, np.float64)
    evidence, count = n > 0, np.maximum(n, 1)
    share, spread = right / count, z * z / count
    middle, half = share + spread / 2, z * np.sqrt(share * (1 - share) / count + spread / (4 * count))
    low, high = np.maximum(0, (middle - half) / (1 + spread)), np.minimum(1, (middle + half) / (1 + spread))
    return np.where(evidence, low, 0), np.where(evidence, high, 1)


def _interval(values: NDArray[np.float64]) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
