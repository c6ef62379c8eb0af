"""Calibration: temperatures that make confidences accurate, and thresholds that promise a precision.

Everything is fitted on the calibration set: products used neither to train the network nor to evaluate it.
"""

from __future__ import annotations

import math
import operator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from attire.config import DecisionRule
from attire.errors import ConfigError
from attire.labels import State, Targets, contradicted, labelled
from attire.score.decisions import (
    Decisions,
    abstain,
    confidence,
    decide,
    likeliest,
    log_softmax,
    log_softmax_within_keys,
)
from attire.score.intervals import wilson
from attire.taxonomy import Taxonomy

PRECISIONS = (0.9, 0.95, 0.99)
PRECISION = 0.95  # the default
SURE_CATEGORY = 0.9  # minimum confidence of a category to act on it; categories have no fitted threshold
TEMPERATURES = np.exp(np.arange(-1.5, 2.01, 0.02))  # the search grid
SHRINKAGE = 10.0  # prior precision of a key's log temperature: how strongly it is shrunk towards that of all keys
CAUTION = 4.0  # prior precision (1 / variance) of a value's shift in log odds: how strongly it is shrunk towards 0
NEWTON_STEPS = 30
EDGE = 1e-6  # probabilities are clipped to [EDGE, 1 - EDGE] before taking log odds
ONE_SIDED_90 = 1.2816  # normal quantile
NEVER = 2.0  # a threshold that no confidence reaches
TIE = 1e-6  # penalty (nats) on squared log temperature, so that without evidence the temperature is 1

Floats = NDArray[np.float32]
Reals = NDArray[np.floating]
Temperature = Annotated[float, Field(gt=0)]


class SetAside(BaseModel):
    """Size of the calibration set.

    products: number of products. answers: number of answers on keys with a known label. needed: precision -> estimated
    number of answers needed to promise it; None if even the most confident answers are not right that often.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: int
    answers: int
    needed: dict[str, int | None]


class Calibration(BaseModel):
    """Temperatures of the category and of each key, and for each precision a threshold per value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    category_temperature: Temperature
    temperature: tuple[Temperature, ...]  # [A]
    thresholds: dict[str, tuple[float, ...]]  # precision -> [K]; above 1 for a value that is never accepted
    set_aside: SetAside | None = Field(default=None, exclude_if=operator.not_)  # not recorded in older bundles

    def scale(self, taxonomy: Taxonomy, category: Floats, attributes: Floats) -> tuple[Floats, Floats]:
        """Divide logits float32[N, C] and float32[N, K] by their temperatures, which calibrates their probabilities."""
        temperature = np.asarray(self.temperature, dtype=np.float32)[taxonomy.key_of_column]
        return category / np.float32(self.category_temperature), attributes / temperature

    def accepted(self, taxonomy: Taxonomy, decisions: Decisions, precision: float) -> NDArray[np.bool_]:
        """bool[N, A]: the answers that are accepted at `precision`."""
        self.check(precision)
        threshold = np.asarray(self.thresholds[str(precision)], dtype=np.float32)
        passes = confidence(taxonomy, decisions) >= threshold[_least_confident(taxonomy, decisions)]
        return labelled(taxonomy, decisions.chosen) & passes

    @property
    def promised(self) -> tuple[str, ...]:
        """The precisions at which some answer can be accepted."""
        return tuple(precision for precision, values in self.thresholds.items() if min(values, default=NEVER) <= 1)

    def shortfall(self, precision: float) -> str | None:
        """Explain why no answer can be accepted at `precision` and what to do; None if some answers can be.

        Raises `ConfigError` for a precision that was not fitted.
        """
        self.check(precision)
        if str(precision) in self.promised:
            return None
        message = f"Nothing is filled at {precision:.0%} precision: {self._reason(precision)}"
        if self.promised:
            return f"{message} The bundle can promise {' and '.join(f'{float(p):.0%}' for p in self.promised)}."
        return f"{message} The bundle can promise no precision: use --fill all to fill every key for people to check."

    def _reason(self, precision: float) -> str:
        if self.set_aside is None:
            return "the calibration set was not enough to promise it."
        products, answers = self.set_aside.products, self.set_aside.answers
        needed = self.set_aside.needed[str(precision)]
        if needed is None:
            return (
                "even the most confident answers are not right that often "
                f"({answers:,} answers of {products:,} products were checked). The model has to improve first."
            )
        times = f"{needed / answers:.1f} times" if answers else ""
        advice = f" Use {times} as many products, or a calibration share {times} as large." if answers else ""
        return (
            f"the calibration set is too small. It has {answers:,} checked answers of {products:,} products, "
            f"and about {needed:,} are needed.{advice}"
        )

    def check(self, precision: float) -> None:
        """Raise `ConfigError` for a precision that was not fitted."""
        if str(precision) not in self.thresholds:
            raise ConfigError(f"precision {precision} was not fitted: this bundle has {', '.join(self.thresholds)}.")


def fit_temperatures(
    taxonomy: Taxonomy, truth: Targets, category: Floats, attributes: Floats
) -> tuple[float, tuple[float, ...]]:
    """Fit temperatures of the category and of each key (Guo et al., "On calibration of modern neural networks", 2017).

    A key's log temperature is shrunk towards that of all keys together, so that a key with few labels follows the rest.
    """
    known = truth.category >= 0
    rows, true = np.flatnonzero(known), truth.category[known]
    category_loss = np.array([-log_softmax(category / np.float32(t))[rows, true].sum() for t in TEMPERATURES])
    loss = np.stack([_key_losses(taxonomy, truth, attributes / np.float32(t)) for t in TEMPERATURES])  # [T, A]
    log = np.log(TEMPERATURES)
    common = log[(loss.sum(axis=1) + TIE * log**2).argmin()]
    best_of_keys = (loss + SHRINKAGE / 2 * (log - common)[:, None] ** 2).argmin(axis=0)
    best = int((category_loss + TIE * log**2).argmin())
    return float(TEMPERATURES[best]), tuple(float(TEMPERATURES[i]) for i in best_of_keys)


def fit_thresholds(taxonomy: Taxonomy, truth: Targets, decisions: Decisions, precision: float) -> tuple[float, ...]:
    """Fit the lowest confidence at which an answer is accepted, for each value: [K].

    First, confidences are corrected for values that are right more or less often than claimed: the log odds of each
    value are shifted by the record of its own answers, shrunk towards 0 so that luck with a few answers of a rare value
    changes little. Then one threshold on the corrected confidence is chosen for all values: the lowest one where the
    lower end of the interval of the accepted answers' precision (Wilson 1927, one-sided 90%) is at least `precision`.
    """
    corrected, right, shift = _corrected(taxonomy, truth, decisions)
    threshold = _lowest_threshold(corrected, right, precision)
    if threshold == NEVER:
        return (NEVER,) * taxonomy.width
    return tuple(float(value) for value in _sigmoid(_log_odds(np.array(threshold)) - shift))


def fit_calibration(
    taxonomy: Taxonomy,
    rule: DecisionRule,
    truth: Targets,
    category: Floats,
    attributes: Floats,
    taught: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Fit temperatures and thresholds on logits float32[N, C] and float32[N, K] of the calibration set.

    taught: bool[A], the keys with labels in training; None for all.
    """
    category_temperature, temperature = fit_temperatures(taxonomy, truth, category, attributes)
    scaled = Calibration(category_temperature=category_temperature, temperature=temperature, thresholds={})
    decisions = decide(taxonomy, rule, *scaled.scale(taxonomy, category, attributes))
    decisions = decisions if taught is None else abstain(taxonomy, decisions, taught)
    fitted = {str(precision): fit_thresholds(taxonomy, truth, decisions, precision) for precision in PRECISIONS}
    corrected, right, _ = _corrected(taxonomy, truth, decisions)
    set_aside = SetAside(
        products=len(truth.category),
        answers=len(right),
        needed={str(precision): answers_needed(corrected, right, precision) for precision in PRECISIONS},
    )
    return scaled.model_copy(update={"thresholds": fitted, "set_aside": set_aside})


def answers_needed(confidence: Reals, right: NDArray[np.bool_], precision: float) -> int | None:
    """Estimate how many answers like these are needed before some of them can be accepted at `precision`.

    The lower end of Wilson's interval for a share p of n answers reaches t < p at n = z^2 t (1 - t) / (p - t)^2. The
    share p is known for the n most confident answers, for each n; all other answers are assumed to grow in proportion.
    Returns None if p is never above t.
    """
    variance = ONE_SIDED_90**2 * precision * (1 - precision)
    if not len(right):
        return math.ceil(variance / (1 - precision) ** 2)
    order, last_of_equals = _most_confident_first(confidence)
    right = right[order]
    n = np.arange(1, len(right) + 1)
    share = right.cumsum() / n
    above = last_of_equals & (share > precision)
    factors = variance / (share[above] - precision) ** 2 / n[above]
    return math.ceil(factors.min() * len(right)) if above.any() else None


def _key_losses(taxonomy: Taxonomy, truth: Targets, logits: Floats) -> NDArray[np.float64]:
    """float64[A]: negative log likelihood of the stated values, summed over the products with a known label."""
    known = truth.state == State.KNOWN
    one = taxonomy.one[taxonomy.key_of_column]
    sign = np.where(truth.hot, 1, -1)
    loss = np.where(one, -log_softmax_within_keys(taxonomy, logits) * truth.hot, np.logaddexp(0, -sign * logits))
    per_pair = np.add.reduceat(loss, taxonomy.starts, axis=1, dtype=np.float64)
    return np.asarray((per_pair * known).sum(axis=0))


def _answers(
    taxonomy: Taxonomy, truth: Targets, decisions: Decisions
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Confidence, column of the least confident value, and correctness of each answer with a known label."""
    answered = labelled(taxonomy, decisions.chosen) & labelled(taxonomy, truth.hot)
    right = ~contradicted(taxonomy, truth.hot, decisions.chosen)
    return (
        confidence(taxonomy, decisions)[answered],
        _least_confident(taxonomy, decisions)[answered],
        right[answered],
    )


def _corrected(
    taxonomy: Taxonomy, truth: Targets, decisions: Decisions
) -> tuple[Reals, NDArray[np.bool_], NDArray[np.float64]]:
    """Corrected confidence and correctness of each answer with a known label, and the shifts of log odds float64[K]."""
    confidences, column, right = _answers(taxonomy, truth, decisions)
    log_odds = _log_odds(confidences)
    shift = _fit_shifts(log_odds, column, right, taxonomy.width)
    return _sigmoid(log_odds + shift[column]), right, shift


def _least_confident(taxonomy: Taxonomy, decisions: Decisions) -> NDArray[np.int64]:
    """int64[N, A]: the column of each key's least confident chosen value; any of its columns if none is chosen."""
    doubt = np.where(decisions.chosen, 1 - decisions.probability, np.float32(-1))
    return np.nonzero(likeliest(taxonomy, doubt))[1].reshape(len(doubt), len(taxonomy.keys))


def _fit_shifts(
    log_odds: Reals, column: NDArray[np.int64], right: NDArray[np.bool_], width: int
) -> NDArray[np.float64]:
    """float64[K]: shift of the log odds of each value's answers, by penalised maximum likelihood (Newton's method)."""
    shift = np.zeros(width)
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(log_odds + shift[column])
        slope = np.bincount(column, right - p, width) - CAUTION * shift
        shift += np.clip(slope / (np.bincount(column, p * (1 - p), width) + CAUTION), -1, 1)
    return shift


def _lowest_threshold(confidence: Reals, right: NDArray[np.bool_], precision: float) -> float:
    """The lowest confidence such that the answers at or above it reach `precision`, or `NEVER`."""
    order, last_of_equals = _most_confident_first(confidence)
    low, _ = wilson(right[order].cumsum(), np.arange(1, len(right) + 1), ONE_SIDED_90)
    passing = np.flatnonzero(last_of_equals & (low >= precision))
    return float(confidence[order[passing[-1]]]) if len(passing) else NEVER


def _most_confident_first(confidence: Reals) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order by decreasing confidence, and a mask of the positions that are the last of equal confidences."""
    order = np.argsort(-confidence, kind="stable")
    return order, np.append(np.diff(confidence[order]) != 0, True)[: len(confidence)]


def _log_odds(probability: Reals) -> Reals:
    clipped = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(log_odds: Reals) -> Reals:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
