"""Confidences that mean what they say, and thresholds above which answers are right as often as a team wants.

Everything is fitted on products that neither trained the network nor are used to judge it.
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
from attire.taxonomy import Taxonomy

PRECISIONS = (0.9, 0.95, 0.99)
PRECISION = 0.95  # unless a user wants another
TEMPERATURES = np.exp(np.arange(-1.5, 2.01, 0.02))
SHRINKAGE = 10.0  # how many nats of evidence move a key's log temperature by sqrt(0.2) from that of all keys
CAUTION = 4.0  # nats of evidence that a value's answers must bring to shift its log odds: 1 / variance of the shifts
NEWTON_STEPS = 30
EDGE = 1e-6  # how near to 0 and 1 log odds are told apart
ONE_SIDED_90 = 1.2816  # normal quantile
NEVER = 2.0  # a threshold that no confidence reaches
TIE = 1e-6  # nats by which a temperature of 1 is preferred to one of e, where the evidence does not tell

Floats = NDArray[np.float32]
Reals = NDArray[np.floating]
Temperature = Annotated[float, Field(gt=0)]


class SetAside(BaseModel):
    """What thresholds were fitted on: products that the network did not learn from, and as many of their answers as
    somebody had stated the key of. needed: precision -> so many answers as, at the precision seen, would have been
    enough to promise it; None where not even the surest are right so often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: int
    answers: int
    needed: dict[str, int | None]


class Calibration(BaseModel):
    """Temperatures of the category and of each key, and per wanted precision a threshold for each value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    category_temperature: Temperature
    temperature: tuple[Temperature, ...]  # [A]
    thresholds: dict[str, tuple[float, ...]]  # precision -> [K]; above 1 for a value that is never sure enough
    set_aside: SetAside | None = Field(default=None, exclude_if=operator.not_)  # older ones did not record it

    def scale(self, taxonomy: Taxonomy, category: Floats, attributes: Floats) -> tuple[Floats, Floats]:
        """Logits float32[N, C] and float32[N, K] whose probabilities are calibrated."""
        temperature = np.asarray(self.temperature, dtype=np.float32)[taxonomy.key_of_column]
        return category / np.float32(self.category_temperature), attributes / temperature

    def accepted(self, taxonomy: Taxonomy, decisions: Decisions, precision: float) -> NDArray[np.bool_]:
        """bool[N, A]: answers sure enough for `precision`."""
        self.check(precision)
        threshold = np.asarray(self.thresholds[str(precision)], dtype=np.float32)
        sure = confidence(taxonomy, decisions) >= threshold[_weakest(taxonomy, decisions)]
        return labelled(taxonomy, decisions.chosen) & sure

    @property
    def promised(self) -> tuple[str, ...]:
        """The precisions for which some answer can be sure enough."""
        return tuple(precision for precision, own in self.thresholds.items() if min(own, default=NEVER) <= 1)

    def shortfall(self, precision: float) -> str | None:
        """Why no answer at all is sure enough for `precision`, and what can be done; None where some can be.

        Raises `ConfigError` for a precision that was not fitted.
        """
        self.check(precision)
        if str(precision) in self.promised:
            return None
        said = f"Nothing is filled at {precision:.0%} precision: {self._evidence(precision)}"
        if self.promised:
            return f"{said} It can promise {' and '.join(f'{float(one):.0%}' for one in self.promised)}."
        return f"{said} It can promise no precision; --fill all fills every key that applies, for people to check."

    def _evidence(self, precision: float) -> str:
        if self.set_aside is None:
            return "the products that were set aside did not allow to promise it."
        products, answers = self.set_aside.products, self.set_aside.answers
        checked = f"{answers:,} answers of {products:,} products that were set aside for it could be checked"
        needed = self.set_aside.needed[str(precision)]
        if needed is None:
            return f"{checked}, and not even the surest were right so often: it takes better answers first."
        more = f", so {needed / answers:.1f} times as many products, or as much larger a share" if answers else ""
        return f"too few products were set aside to promise it. {checked}; it takes about {needed:,}{more}."

    def check(self, precision: float) -> None:
        """Raise `ConfigError` for a precision that was not fitted."""
        if str(precision) not in self.thresholds:
            raise ConfigError(f"precision {precision} was not fitted: this bundle has {', '.join(self.thresholds)}.")


def fit_temperatures(
    taxonomy: Taxonomy, truth: Targets, category: Floats, attributes: Floats
) -> tuple[float, tuple[float, ...]]:
    """The temperature of the category, and of each key (Guo et al., "On calibration of modern neural networks", 2017).

    A key's log temperature is drawn towards that of all keys together, so that a key with few labels follows the rest.
    """
    known = truth.category >= 0
    rows, true = np.flatnonzero(known), truth.category[known]
    category_loss = np.array([-log_softmax(category / np.float32(t))[rows, true].sum() for t in TEMPERATURES])
    loss = np.stack([_key_losses(taxonomy, truth, attributes / np.float32(t)) for t in TEMPERATURES])  # [T, A]
    log = np.log(TEMPERATURES)
    common = log[(loss.sum(axis=1) + TIE * log**2).argmin()]
    own = (loss + SHRINKAGE / 2 * (log - common)[:, None] ** 2).argmin(axis=0)
    best = int((category_loss + TIE * log**2).argmin())
    return float(TEMPERATURES[best]), tuple(float(TEMPERATURES[i]) for i in own)


def fit_thresholds(taxonomy: Taxonomy, truth: Targets, decisions: Decisions, precision: float) -> tuple[float, ...]:
    """Per value the confidence from which an answer is accepted: [K].

    Answers are ranked by confidence, corrected for values that are right more or less often than they claim: the log
    odds of a value's confidence are shifted by what its own answers say, drawn towards 0 so that a rare value is
    neither trusted nor condemned for a few pairs of luck. One threshold on the corrected confidence then serves all
    values: the lowest at which the precision of the accepted answers is at least `precision` by the lower end of its
    interval (Wilson 1927, one-sided 90%).
    """
    corrected, right, shift = _corrected(taxonomy, truth, decisions)
    threshold = _lowest_threshold(corrected, right, precision)
    if threshold == NEVER:
        return (NEVER,) * taxonomy.width
    return tuple(float(own) for own in _sigmoid(_log_odds(np.array(threshold)) - shift))


def fit_calibration(
    taxonomy: Taxonomy,
    rule: DecisionRule,
    truth: Targets,
    category: Floats,
    attributes: Floats,
    taught: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Fit both on logits float32[N, C] and float32[N, K] of products that the network has not learned from.

    taught: bool[A], the keys that it learned anything of; None for all.
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
    """How many answers like these it takes until the surest of them can be promised to be right at `precision`.

    The lower end of Wilson's interval for a share p of n answers reaches t < p once n is z^2 t (1 - t) / (p - t)^2. Of
    each number of surest answers we know p; the others grow with them. None where p is never above t.
    """
    variance = ONE_SIDED_90**2 * precision * (1 - precision)
    if not len(right):
        return math.ceil(variance / (1 - precision) ** 2)
    order, last_of_equals = _surest_first(confidence)
    right = right[order]
    n = np.arange(1, len(right) + 1)
    share = right.cumsum() / n
    above = last_of_equals & (share > precision)
    times = variance / (share[above] - precision) ** 2 / n[above]
    return math.ceil(times.min() * len(right)) if above.any() else None


def _key_losses(taxonomy: Taxonomy, truth: Targets, logits: Floats) -> NDArray[np.float64]:
    """float64[A]: negative log likelihood of what was stated, over the products whose label is known."""
    known = truth.state == State.KNOWN
    one = taxonomy.one[taxonomy.key_of_column]
    sign = np.where(truth.hot, 1, -1)
    loss = np.where(one, -log_softmax_within_keys(taxonomy, logits) * truth.hot, np.logaddexp(0, -sign * logits))
    per_pair = np.add.reduceat(loss, taxonomy.starts, axis=1, dtype=np.float64)
    return np.asarray((per_pair * known).sum(axis=0))


def _answers(
    taxonomy: Taxonomy, truth: Targets, decisions: Decisions
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Of each answered pair whose label is known: confidence, column of its least sure value, whether it is right."""
    answered = labelled(taxonomy, decisions.chosen) & labelled(taxonomy, truth.hot)
    right = ~contradicted(taxonomy, truth.hot, decisions.chosen)
    return (
        confidence(taxonomy, decisions)[answered],
        _weakest(taxonomy, decisions)[answered],
        right[answered],
    )


def _corrected(
    taxonomy: Taxonomy, truth: Targets, decisions: Decisions
) -> tuple[Reals, NDArray[np.bool_], NDArray[np.float64]]:
    """Of the same pairs: confidence as it is corrected for its value, and whether the answer is right; and by how much
    each value's log odds were shifted, float64[K]."""
    sure, column, right = _answers(taxonomy, truth, decisions)
    claimed = _log_odds(sure)
    shift = _shifts(claimed, column, right, taxonomy.width)
    return _sigmoid(claimed + shift[column]), right, shift


def _weakest(taxonomy: Taxonomy, decisions: Decisions) -> NDArray[np.int64]:
    """int64[N, A]: the column of each key's least sure chosen value; one of its others where none is chosen."""
    doubt = np.where(decisions.chosen, 1 - decisions.probability, np.float32(-1))
    return np.nonzero(likeliest(taxonomy, doubt))[1].reshape(len(doubt), len(taxonomy.keys))


def _shifts(log_odds: Reals, column: NDArray[np.int64], right: NDArray[np.bool_], width: int) -> NDArray[np.float64]:
    """float64[K]: what to add to the log odds of each value's answers; the penalised maximum likelihood, by Newton."""
    shift = np.zeros(width)
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(log_odds + shift[column])
        slope = np.bincount(column, right - p, width) - CAUTION * shift
        shift += np.clip(slope / (np.bincount(column, p * (1 - p), width) + CAUTION), -1, 1)
    return shift


def _lowest_threshold(confidence: Reals, right: NDArray[np.bool_], precision: float) -> float:
    """The lowest confidence at which enough of the answers at or above it are right, or `NEVER`."""
    order, last_of_equals = _surest_first(confidence)
    passing = np.flatnonzero(last_of_equals & (_wilson_low(right[order]) >= precision))
    return float(confidence[order[passing[-1]]]) if len(passing) else NEVER


def _surest_first(confidence: Reals) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order of falling confidence, and which places in it are the last of equal ones."""
    order = np.argsort(-confidence, kind="stable")
    return order, np.append(np.diff(confidence[order]) != 0, True)[: len(confidence)]


def _wilson_low(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lower end of the interval for the precision of the first 1, 2, ... answers."""
    n, z = np.arange(1, len(right) + 1), ONE_SIDED_90
    p = right.cumsum() / n
    return np.asarray((p + z * z / (2 * n) - z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n))


def _log_odds(probability: Reals) -> Reals:
    clipped = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(log_odds: Reals) -> Reals:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
