"""Corrects a precision that was measured against labels of which some are wrong.

People judge a random sample of the filled fields. Their share of right answers is taken separately for the fields whose
answer agrees with the label and for those whose answer contradicts it, and weighted by how many filled fields there are
of each kind: double sampling (Tenenbein, "A double sampling scheme for estimating from binomial data with
misclassifications", JASA 65, 1970). So a hundred judged fields say more than they would alone, because the labels,
though not always right, say of all fields which of the two kinds they are.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from attire.score.intervals import TWO_SIDED_95, wilson


class Stratum(BaseModel):
    """Filled fields of one kind: all of them, those that people judged, and those whose answer they found right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filled: int
    judged: int
    right: int


class CorrectedPrecision(BaseModel):
    """The precision of filled fields: as measured against the labels, and corrected for wrong labels.

    value, low, high: the corrected precision with its 95% interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: float
    value: float
    low: float
    high: float
    agreeing: Stratum
    contradicting: Stratum

    @property
    def judged(self) -> int:
        """Number of judged fields."""
        return self.agreeing.judged + self.contradicting.judged


def corrected_precision(agreeing: Stratum, contradicting: Stratum) -> CorrectedPrecision | None:
    """Estimate the precision from fields whose answer agrees with the label and fields whose answer contradicts it.

    The interval adds up the uncertainty of the two shares, from the distances to the ends of their Wilson intervals
    (Zou, Huang and Zhang, "A note on confidence interval estimation for a linear function of binomial proportions",
    Computational Statistics and Data Analysis 53, 2009), and that of the number of fields of each kind (Tenenbein).

    None if people judged no field of a kind that occurs: nothing is known about its labels.

    >>> kinds = Stratum(filled=1872, judged=112, right=111), Stratum(filled=128, judged=8, right=4)
    >>> print(*(f"{name} {share:.3f}" for name, share in corrected_precision(*kinds) if isinstance(share, float)))
    measured 0.936 value 0.960 low 0.918 high 0.980
    """
    kinds = [kind for kind in (agreeing, contradicting) if kind.filled]
    total = sum(kind.filled for kind in kinds)
    if not kinds or not all(kind.judged for kind in kinds):
        return None
    weights, shares = [kind.filled / total for kind in kinds], [kind.right / kind.judged for kind in kinds]
    value = sum(weight * share for weight, share in zip(weights, shares, strict=True))
    # The variance of the weights: that of a share that takes the value of each kind with the probability of that kind.
    spread = sum(weight * (share - value) ** 2 for weight, share in zip(weights, shares, strict=True)) / total
    below = above = TWO_SIDED_95**2 * spread
    for kind, weight, share in zip(kinds, weights, shares, strict=True):
        low, high = wilson(kind.right, kind.judged)
        below += (weight * (share - float(low))) ** 2
        above += (weight * (float(high) - share)) ** 2
    return CorrectedPrecision(
        measured=agreeing.filled / total,
        value=value,
        low=max(0.0, value - math.sqrt(below)),
        high=min(1.0, value + math.sqrt(above)),
        agreeing=agreeing,
        contradicting=contradicting,
    )
