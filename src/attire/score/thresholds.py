"""Thresholds: how sure an answer must be to be filled, so that a promise about its key is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from attire.labels import labelled
from attire.score.calibration_record import UNKNOWN, CalibrationRecord
from attire.score.decisions import (
    Accepted,
    Decisions,
    applicability,
    coarse_values,
    confidence,
    least_confident,
    log_odds,
    sigmoid,
    with_coarse,
)
from attire.score.promise import Promise
from attire.taxonomy import CATEGORY, Taxonomy

SPURIOUS = 0.005  # maximum share of filled fields whose key does not apply to the product
CAUTION = 4.0  # prior precision (1 / variance) of a value's shift in log odds: how strongly it is shrunk towards 0
NEWTON_STEPS = 30
STEP = 1.02  # each threshold that is tested accepts about this many times as many answers as the one before
NEVER = math.inf  # a minimum that no answer reaches
ROUNDING = 1e-4  # log odds are stored as float32

Reals = NDArray[np.floating]


class HeldBack(NamedTuple):
    """A key that is never filled: its number of checked answers, and how many it takes for the promise.

    needed: None if even its most confident answers are not right that often.
    """

    checked: int
    needed: int | None

    @property
    def missing(self) -> float:
        """How many more checked answers it takes; infinite if no number is enough."""
        return math.inf if self.needed is None else self.needed - self.checked

    def __str__(self) -> str:
        if self.needed is None:
            return f"{self.checked:,} checked answers, and not even the most confident are right that often"
        return f"{self.checked:,} checked answers, about {self.missing:,} more are needed"


class FilledAnswers(NamedTuple):
    """Which of the M answers of a calibration are filled, how likely they are right, and whether they are.

    filled: bool[M]; expected: float[M]; right: int8[M], as in the record, of the coarser value if that is filled.
    """

    filled: NDArray[np.bool_]
    expected: Reals
    right: NDArray[np.int8]


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Thresholds:
    """When an answer is filled: if its log odds, shifted for its value, reach the minimum of its key, and if its key is
    likely enough to apply. If they do not, but those of the coarser answer do, that one is filled.

    shift:        float[K + C], of each value and category
    minimum:      float[A + 1], of each key and the category; infinite if it is held back
    gate:         minimum probability that the key applies
    held_back:    key -> why nothing is filled; `CATEGORY` for the category
    coarse_shift: float[K + C], of values as coarser answers; None if those are never filled
    """

    shift: Reals
    minimum: Reals
    gate: float
    held_back: dict[str, HeldBack]
    coarse_shift: Reals | None = None

    @property
    def all_held_back(self) -> bool:
        """Whether no key can be filled."""
        return not np.isfinite(self.minimum[:-1]).any()

    def accepted(self, taxonomy: Taxonomy, decisions: Decisions) -> Accepted:
        """The answers that are filled."""
        likeliest = decisions.category_probability[np.arange(len(decisions.category)), decisions.category]
        category = log_odds(likeliest) + self.shift[taxonomy.width :][decisions.category] >= self.minimum[-1] - ROUNDING
        coarse = np.zeros(decisions.chosen.shape, dtype=bool)
        if not taxonomy.keys:
            return Accepted(category, np.zeros((len(category), 0), dtype=bool), coarse)
        possible = labelled(taxonomy, decisions.chosen) & (
            applicability(taxonomy, decisions.category_probability) >= self.gate
        )
        filled = possible & self._sure(taxonomy, decisions, self.shift)
        if self.coarse_shift is not None:
            values = coarse_values(taxonomy, decisions)
            sure = self._sure(taxonomy, with_coarse(taxonomy, decisions, values), self.coarse_shift)
            coarse = values & (possible & sure & ~filled)[:, taxonomy.key_of_column]
            filled |= labelled(taxonomy, coarse)
        return Accepted(category, filled, coarse)

    def corrected(self, taxonomy: Taxonomy, decisions: Decisions, accepted: Accepted) -> Reals:
        """float[N, A + 1]: how likely the answers of each key and the category are right, corrected for their values.

        Of an answer that is filled as a coarser value, that of the coarser value.
        """
        likeliest = decisions.category_probability[np.arange(len(decisions.category)), decisions.category]
        category = log_odds(likeliest) + self.shift[taxonomy.width :][decisions.category]
        if not taxonomy.keys:
            return sigmoid(category[:, None])
        keys = _shifted(taxonomy, decisions, self.shift)
        if self.coarse_shift is not None:
            coarse = _shifted(taxonomy, with_coarse(taxonomy, decisions, accepted.coarse), self.coarse_shift)
            keys = np.where(labelled(taxonomy, accepted.coarse), coarse, keys)
        return sigmoid(np.column_stack([keys, category]))

    def filled_of(self, record: CalibrationRecord) -> FilledAnswers:
        """What is filled of the answers of a calibration."""
        minimum = self.minimum[record.key] - ROUNDING
        shifted, right = record.log_odds + self.shift[record.column], record.right
        filled = fine = shifted >= minimum
        if self.coarse_shift is not None:
            coarse = record.coarse_log_odds + self.coarse_shift[record.coarse_column]
            filled = fine | (coarse >= minimum)
            shifted, right = np.where(fine, shifted, coarse), np.where(fine, right, record.coarse_right)
        return FilledAnswers(filled & (record.applicability >= self.gate), sigmoid(shifted), right)

    def _sure(self, taxonomy: Taxonomy, decisions: Decisions, shift: Reals) -> NDArray[np.bool_]:
        """bool[N, A]: whether answers reach the minimum of their key."""
        return np.asarray(_shifted(taxonomy, decisions, shift) >= self.minimum[:-1] - ROUNDING)


def fit_thresholds(taxonomy: Taxonomy, record: CalibrationRecord, promise: Promise) -> Thresholds:
    """Fit thresholds that keep `promise`, from the answers of a calibration.

    First, confidences are corrected for values that are right more or less often than claimed: the log odds of each
    value are shifted by the record of its own answers, shrunk towards 0 so that luck with a few answers of a rare value
    changes little. Then each key gets the lowest threshold on the corrected confidence that passes a test
    (`fixed_sequence`); finer and coarser answers share it, so that the promise is about what is filled, whichever of
    them it is. Fields whose key does not apply have no label, so they are limited to a share of `SPURIOUS` by a
    threshold on the probability that the key applies.
    """
    promise.check(taxonomy)
    width = taxonomy.width + len(taxonomy.categories)
    shift = _fit_shifts(record.column, record.log_odds, record.right, width)
    corrected = surest = sigmoid(record.log_odds + shift[record.column])
    coarse_shift = None
    if record.has_coarse:
        coarse_shift = _fit_shifts(record.coarse_column, record.coarse_log_odds, record.coarse_right, width)
        surest = np.maximum(corrected, sigmoid(record.coarse_log_odds + coarse_shift[record.coarse_column]))
    minimum = _minimums(taxonomy, record, corrected, surest, record.checked, promise)
    filled = (record.key < len(taxonomy.keys)) & (surest >= minimum[record.key]) & (record.ruled_out >= 0)
    gate = _gate(record.applicability[filled], record.ruled_out[filled] == 1)
    passing = record.checked & (record.applicability >= gate)
    minimum = _minimums(taxonomy, record, corrected, surest, passing, promise)
    held_back = {
        key: _held_back(surest, record, number, promise, key)
        for number, key in enumerate([*taxonomy.keys, CATEGORY])
        if minimum[number] > 1
    }
    return Thresholds(shift, np.where(minimum > 1, NEVER, log_odds(minimum)), gate, held_back, coarse_shift)


def fixed_sequence(
    confidence: Reals,
    right: NDArray[np.bool_],
    precision: float,
    error: float,
    coarse: tuple[Reals, NDArray[np.bool_]] | None = None,
) -> float:
    """The lowest confidence such that answers at or above it are right with `precision`, or infinity.

    coarse: a confidence for each answer, at least as high, and whether it is right, as the coarser value that is filled
    where only this confidence reaches the threshold.

    It is too low with a probability of at most `error`: thresholds are tested in a fixed order, each with an exact
    binomial test at the level `error`, until one fails (fixed-sequence testing in Learn then Test, Angelopoulos et al.,
    2021, section 2.3). The order does not depend on `right`: the first threshold is the one where the confidences
    themselves promise the clearest result, and the next ones accept more and more answers.
    """
    filled, expected, exact = np.ones(len(right), dtype=np.int64), confidence, right
    if coarse is not None:  # filled from the coarse confidence on; from its own, the finer value takes its place
        filled = np.append(filled, np.zeros_like(filled))
        expected = np.append(coarse[0], confidence - coarse[0])
        exact = np.append(coarse[1].astype(np.int64), right.astype(np.int64) - coarse[1])
        confidence = np.append(coarse[0], confidence)
    order, last_of_equals = _highest_first(confidence)
    confidence, n, right = confidence[order], filled[order].cumsum(), exact[order].cumsum()
    enough = n >= _least_answers(precision, error)
    candidates = np.flatnonzero(last_of_equals & enough)
    if not len(candidates):
        return NEVER
    steps = np.floor(np.log(n[candidates]) / math.log(STEP))
    candidates = candidates[np.append(np.diff(steps) != 0, True)]
    mean = expected[order].cumsum()[candidates] / n[candidates]
    start = int(((mean - precision) * np.sqrt(n[candidates])).argmax())
    candidates = candidates[start:]
    passed = binom.sf(right[candidates] - 1, n[candidates], precision) <= error
    count = len(passed) if passed.all() else int(passed.argmin())
    return float(confidence[candidates[count - 1]]) if count else NEVER


def _shifted(taxonomy: Taxonomy, decisions: Decisions, shift: Reals) -> Reals:
    """float[N, A]: log odds of the answers, shifted for their values."""
    return np.asarray(log_odds(confidence(taxonomy, decisions)) + shift[least_confident(taxonomy, decisions)])


def _least_answers(precision: float, error: float) -> int:
    """The number of answers that pass the test if all are right; fewer cannot."""
    return math.ceil(math.log(error) / math.log(precision))


def _minimums(
    taxonomy: Taxonomy,
    record: CalibrationRecord,
    corrected: Reals,
    surest: Reals,
    usable: NDArray[np.bool_],
    promise: Promise,
) -> NDArray[np.float64]:
    """float64[A + 1]: the minimum of the corrected confidence for each key and the category."""
    keys = len(taxonomy.keys)

    def lowest(answers: NDArray[np.bool_], precision: float) -> float:
        chosen = answers & usable
        coarse = (surest[chosen], record.coarse_right[chosen] == 1) if (surest > corrected)[chosen].any() else None
        return fixed_sequence(corrected[chosen], record.right[chosen] == 1, precision, 1 - promise.confidence, coarse)

    category = lowest(record.key == keys, promise.of_key(CATEGORY))
    if promise.scope == "average":
        return np.append(np.full(keys, lowest(record.key < keys, promise.precision)), category)
    by_key = [lowest(record.key == number, promise.of_key(key)) for number, key in enumerate(taxonomy.keys)]
    return np.append(by_key, category)


def _gate(applicability: Reals, ruled_out: NDArray[np.bool_]) -> float:
    """The lowest probability such that of the answers at or above it, at most `SPURIOUS` are on keys ruled out."""
    order, last_of_equals = _highest_first(applicability)
    share = ruled_out[order].cumsum() / np.arange(1, len(order) + 1)
    passing = np.flatnonzero(last_of_equals & (share <= SPURIOUS))
    return float(applicability[order[passing[-1]]]) if len(passing) else 1.0 if len(order) else 0.0


def _held_back(surest: Reals, record: CalibrationRecord, number: int, promise: Promise, key: str) -> HeldBack:
    answers = record.checked & (record.key == number)
    checked, right = int(answers.sum()), record.coarse_right[answers] == 1
    needed = answers_needed(surest[answers], right, promise.of_key(key), promise.confidence)
    # The sequence of tests asks for a little more than a single interval.
    return HeldBack(checked, None if needed is None else max(needed, math.ceil(1.1 * checked)))


def answers_needed(confidence: Reals, right: NDArray[np.bool_], precision: float, surety: float) -> int | None:
    """Estimate how many answers like these are needed before some of them can be accepted at `precision`.

    The lower end of Wilson's interval (1927) for a share p of n answers reaches t < p at n = z^2 t (1 - t) / (p - t)^2,
    where z is the normal quantile of `surety`. The share p is known for the n most confident answers, for each n; all
    other answers are assumed to grow in proportion. Returns None if p is never above t, and never less than it takes if
    all are right.
    """
    variance = NormalDist().inv_cdf(surety) ** 2 * precision * (1 - precision)
    least = _least_answers(precision, 1 - surety)
    if not len(right):
        return least
    order, last_of_equals = _highest_first(confidence)
    n = np.arange(1, len(right) + 1)
    share = right[order].cumsum() / n
    above = last_of_equals & (share > precision)
    factors = variance / (share[above] - precision) ** 2 / n[above]
    return max(least, math.ceil(factors.min() * len(right))) if above.any() else None


def _highest_first(scores: Reals) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order by decreasing score, and a mask of the positions that are the last of equal scores."""
    order = np.argsort(-scores, kind="stable")
    return order, np.append(np.diff(scores[order]) != 0, True)[: len(order)]


def _fit_shifts(
    column: NDArray[np.int32], log_odds: NDArray[np.float32], right: NDArray[np.int8], width: int
) -> NDArray[np.float64]:
    """float64[width]: shift of the log odds of each value's answers, by penalised maximum likelihood (Newton)."""
    checked = right != UNKNOWN
    log_odds, column, right = log_odds[checked], column[checked], right[checked]
    shift = np.zeros(width)
    for _ in range(NEWTON_STEPS):
        p = sigmoid(log_odds + shift[column])
        slope = np.bincount(column, right - p, width) - CAUTION * shift
        shift += np.clip(slope / (np.bincount(column, p * (1 - p), width) + CAUTION), -1, 1)
    return shift
