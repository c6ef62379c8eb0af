"""Whether a promised precision is kept, judged on the filled fields of a key or a category that have a label."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.score.intervals import wilson

KEPT, NOT_SHOWN, BROKEN, FEW = "kept", "not shown to be kept", "broken", "too few to tell"
Verdict = Literal["kept", "not shown to be kept", "broken", "too few to tell"]


class Promise(NamedTuple):
    """The precision that is promised for the filled fields of a key.

    precision: None for a key that is held back: none of its fields is filled. reason: why, as a short clause.
    """

    precision: float | None
    reason: str = ""


def judge(filled: int, right: int, promised: float) -> Verdict:
    """What `right` of `filled` fields say about a promised precision.

    `BROKEN`: the whole 95% interval of the precision (Wilson) is below the promise. `NOT_SHOWN`: the precision is
    below, but by no more than chance can do. `KEPT`: it is at or above the promise. `FEW`: so it is, but of so few
    fields that at the promised precision not even one wrong answer is expected.

    >>> judge(200, 192, 0.95), judge(200, 188, 0.95), judge(200, 176, 0.95), judge(12, 12, 0.95)
    ('kept', 'not shown to be kept', 'broken', 'too few to tell')
    """
    _, high = wilson(right, filled)
    if high < promised:
        return "broken"
    if right < promised * filled:
        return "not shown to be kept"
    return "kept" if filled * (1 - promised) >= 1 else "too few to tell"


def chances(filled: int, promised: float) -> dict[Verdict, float]:
    """The probability of each verdict if each answer is right with exactly the promised probability (binomial)."""
    probability = _binomial(filled, promised)
    chance: dict[Verdict, float] = {KEPT: 0.0, NOT_SHOWN: 0.0, BROKEN: 0.0, FEW: 0.0}
    for right in np.flatnonzero(probability > 1e-12).tolist():
        chance[judge(filled, right, promised)] += float(probability[right])
    return chance


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    """float64[n + 1]: the probability of each number of successes in `n` trials with 0 < p < 1."""
    log_factorial = np.append(0.0, np.log(np.arange(1, n + 1)).cumsum())
    k = np.arange(n + 1)
    chosen = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    return np.asarray(np.exp(chosen + k * math.log(p) + (n - k) * math.log1p(-p)))
