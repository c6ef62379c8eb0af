"""Tests whether two samples of answers come from the same distribution, from counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import hypergeom, norm

Counts = NDArray[np.integer] | NDArray[np.floating]


def shares_differ(first: Counts, of_first: int, second: Counts, of_second: int) -> NDArray[np.float64]:
    """float64[V]: two-sided p-values of Fisher's exact test, for each of V counts of `of_first` and `of_second`."""
    total, together = of_first + of_second, first + second
    below = hypergeom.cdf(second, total, together, of_second)
    above = hypergeom.sf(second - 1, total, together, of_second)
    return np.asarray(np.minimum(1, 2 * np.minimum(below, above)))


def less_sure(first: Counts, second: Counts) -> tuple[float, float]:
    """Whether answers are less sure in the second sample than in the first, value by value: the effect and a p-value.

    first, second: counts [V, B] of the answers, by value and bin of confidence. The effect is the probability that an
    answer of the second sample is surer than one of the first of the same value, less that of the opposite: -1 to 1.

    This is the one-sided rank sum test stratified by value (van Elteren, 1960), so that other shares of the values do
    not count as other confidences. Many answers may share the highest bin, so that a rank sum is far from normal; its
    tail is computed by a saddlepoint approximation (Lugannani and Rice, 1980), with the answers of the second sample
    drawn from both, and the variance of draws without replacement.
    """
    n, m = first.sum(axis=1), second.sum(axis=1)
    both = (n > 0) & (m > 0)
    if not both.any():
        return 0.0, 1.0
    first, second, n, m = first[both], second[both], n[both], m[both]
    share = (first + second) / (n + m)[:, None]
    rank = np.cumsum(share, axis=1) - share / 2 - 0.5  # the middle rank of each bin, from -0.5 to 0.5
    weight = ((n + m) / (n + m + 1))[:, None]
    surer = (rank * second).sum(axis=1)
    effect = float((2 * surer * (n + m) / n).sum() / m.sum())
    scores = -weight * rank * np.sqrt(n / np.maximum(n + m - 1, 1))[:, None]
    observed = -float((weight[:, 0] * surer).sum())
    return effect, _tail(scores, share, m, observed) if observed >= 0 else 1 - _tail(-scores, share, m, -observed)


def _tail(scores: NDArray[np.float64], share: NDArray[np.float64], draws: Counts, observed: float) -> float:
    """P(S >= observed) of the sum S of independent scores of mean 0, `draws` of them from each row's `share`."""
    variance = float((draws * (share * scores**2).sum(axis=1)).sum())
    top = np.where(share > 0, scores, -np.inf).max(axis=1, keepdims=True)
    if observed <= 1e-6 * np.sqrt(variance):
        return 0.5

    def tilted(t: float) -> tuple[float, float, float]:
        """The cumulant generating function at t, and its first two derivatives."""
        masses = share * np.exp(t * np.minimum(scores - top, 0))
        total = masses.sum(axis=1, keepdims=True)
        mean = (masses * scores).sum(axis=1) / total[:, 0]
        square = (masses * scores**2).sum(axis=1) / total[:, 0]
        value = (draws * (np.log(total[:, 0]) + t * top[:, 0])).sum()
        return float(value), float((draws * mean).sum()), float((draws * (square - mean**2)).sum())

    if observed >= float((draws * top[:, 0]).sum()) - 1e-9:  # all draws have the highest score
        return float(np.exp((draws * np.log((share * (scores == top)).sum(axis=1))).sum()))
    high = 1 / np.sqrt(variance)
    while tilted(high)[1] < observed:
        high *= 2
    t = float(brentq(lambda t: tilted(t)[1] - observed, 0, high))
    value, _, second = tilted(t)
    root = np.sqrt(max(0.0, 2 * (t * observed - value)))
    u = t * np.sqrt(second)
    if root < 1e-3 or u < 1e-3:
        return float(norm.sf(observed / np.sqrt(variance)))
    return float(np.clip(norm.sf(root) + norm.pdf(root) * (1 / u - 1 / root), 0, 1))


def holm(p: NDArray[np.float64], error: float) -> NDArray[np.bool_]:
    """Which of the hypotheses are rejected, so that with probability 1 - `error` no true one is (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    passed = p[order] <= error / np.arange(len(p), 0, -1)
    count = len(p) if passed.all() else int(passed.argmin())
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[:count]] = True
    return rejected
