"""Whether a promised precision is kept, judged on the filled fields of a key or a category that have a label."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from attire.score.intervals import wilson


class Verdict(StrEnum):
    """What filled fields say about a promised precision.

    KEPT: they are right at least as often as promised. NOT_SHOWN: less often, but by no more than chance can do.
    BROKEN: the whole 95% interval of their precision (Wilson) is below the promise. FEW: at least as often as promised,
    but they are so few that at the promised precision not even one wrong answer is expected.
    """

    KEPT = "kept"
    NOT_SHOWN = "not shown to be kept"
    BROKEN = "broken"
    FEW = "too few to tell"


class KeyPromise(NamedTuple):
    """The precision that is promised for the filled fields of a key.

    precision: None for a key that is held back: none of its fields is filled. reason: why, as a short clause.
    """

    precision: float | None
    reason: str = ""


def judge(filled: int, right: int, promised: float) -> Verdict:
    """What `right` of `filled` fields say about a promised precision.

    >>> print(*(judge(200, right, 0.95) for right in (192, 188, 176)), judge(12, 12, 0.95), sep="; ")
    kept; not shown to be kept; broken; too few to tell
    """
    _, high = wilson(right, filled)
    if high < promised:
        return Verdict.BROKEN
    if right < promised * filled:
        return Verdict.NOT_SHOWN
    return Verdict.KEPT if filled * (1 - promised) >= 1 else Verdict.FEW


def chances(filled: int, promised: float) -> dict[Verdict, float]:
    """The probability of each verdict if each answer is right with exactly the promised probability (binomial)."""
    probability = binom.pmf(np.arange(filled + 1), filled, promised)
    chance = dict.fromkeys(Verdict, 0.0)
    for right in np.flatnonzero(probability > 1e-12).tolist():
        chance[judge(filled, right, promised)] += float(probability[right])
    return chance
