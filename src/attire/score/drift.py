"""Whether a model answers new products as it did at its calibration, and what that says about its promise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.score.answer_counts import AnswerCounts
from attire.score.calibration_record import CalibrationRecord
from attire.score.promise import Promise
from attire.score.thresholds import Thresholds
from attire.score.two_samples import holm, less_sure, shares_differ
from attire.taxonomy import CATEGORY, Taxonomy, key_label

ERROR = 0.01  # the probability of any alarm, over all keys, if nothing has changed
LEAST = 30  # answers that it takes to say that nothing is seen to have changed
MOST = 100_000  # products on each side; with more, differences would be found that do not matter


class Verdict(StrEnum):
    """What the answers for a key say. An alarm is one of the last two."""

    FEW = "too few to tell"
    AS_BEFORE = "as before"
    OTHER = "other answers"
    LESS_SURE = "less sure"


class Reference(NamedTuple):
    """What new answers are compared with.

    precision: float[A + 1], the measured precision of what was filled, nan where it is not known; promised: float[A +
    1], nan where nothing is.
    """

    counts: AnswerCounts
    precision: NDArray[np.float64]
    promised: NDArray[np.float64]

    @classmethod
    def of_record(
        cls,
        taxonomy: Taxonomy,
        record: CalibrationRecord,
        thresholds: Thresholds,
        promise: Promise,
        variety: float = 1.0,
    ) -> Reference:
        """The answers at calibration, and their precision where they have labels.

        variety: as many independent products for each product (`AnswerCounts.independent`).
        """
        counts = AnswerCounts.of_record(taxonomy, record, thresholds)
        counts = replace(counts, squares=round(counts.products / variety))
        found = thresholds.filled_of(record)
        checked = found.filled & record.checked
        right = np.bincount(record.key[checked], found.right[checked] == 1, len(counts.words))
        with np.errstate(invalid="ignore"):
            precision = right / np.bincount(record.key[checked], minlength=len(counts.words))
        promised = [np.nan if key in thresholds.held_back else promise.of_key(key) for key in counts.words]
        return cls(counts, precision, np.array(promised))


@dataclass(frozen=True, slots=True)
class KeyDrift:
    """The answers for one key, or the category, at the reference and now.

    answers: their numbers; answered, filled: shares of the products; sureness: the probability that an answer is surer
    now than one for the same value was, less that of the opposite (-1 to 1); value: the value whose share of the
    products changed most clearly, "" for no answer, and value_shares that share; p_sureness, p_shares: p-values of the
    two tests; expected: the precision to be expected of what is filled now, nan if nothing is; promised: nan if nothing
    is.
    """

    key: str
    answers: tuple[int, int]
    answered: tuple[float, float]
    filled: tuple[float, float]
    sureness: float
    p_sureness: float
    value: str
    value_shares: tuple[float, float]
    p_shares: float
    expected: float
    promised: float
    verdict: Verdict

    @property
    def alarm(self) -> bool:
        """Whether the answers changed beyond chance."""
        return self.verdict in (Verdict.OTHER, Verdict.LESS_SURE)

    @property
    def doubted(self) -> bool:
        """Whether the change speaks against the promise: answers are less sure, or expected to be right less often."""
        promised = self.filled[1] > 0 and not np.isnan(self.promised)
        return self.alarm and promised and (self.verdict == Verdict.LESS_SURE or self.expected < self.promised)


@dataclass(frozen=True, slots=True)
class Drift:
    """A comparison of answers: `before` are those of the reference. error: the probability of any alarm by chance."""

    before: AnswerCounts
    now: AnswerCounts
    keys: tuple[KeyDrift, ...]
    error: float = ERROR

    @property
    def alarms(self) -> tuple[KeyDrift, ...]:
        """The keys whose answers changed beyond chance."""
        return tuple(key for key in self.keys if key.alarm)

    @property
    def doubted(self) -> tuple[KeyDrift, ...]:
        """The keys whose promise should not be relied on before some of their filled fields were checked."""
        return tuple(key for key in self.alarms if key.doubted)

    def facts(self) -> list[dict[str, Any]]:
        """What changed beyond chance, for records."""
        return [
            {
                "key": key.key,
                "verdict": key.verdict.value,
                "promise": "in doubt" if key.doubted else "expected to hold",
                "expected_precision": None if np.isnan(key.expected) else round(key.expected, 4),
            }
            for key in self.alarms
        ]


def find_drift(reference: Reference, now: AnswerCounts, error: float = ERROR) -> Drift:
    """Compare the answers of each key and the category with the reference.

    Two tests for each: whether answers are less sure than they were for the same value (`less_sure`), and whether any
    value, or no answer at all, has another share of the products (`shares_differ`, corrected for the number of values).
    Holm's method over all of them keeps the probability of any false alarm below `error`. Products of a group count as
    one if their number of groups is known (`AnswerCounts.independent`).

    Surer answers are no alarm: at calibration each product is answered by a network that has learned from a part of
    the others, so the model that has learned from all of them is a little surer of new ones.

    The expected precision is the measured one plus the change of the mean confidence of what is filled (difference of
    confidences, Guillory et al., 2021). It believes the confidences, which photos of another kind may mislead.
    """
    before = reference.counts
    assert before.words == now.words
    scales = [min(counts.independent, MOST) / max(counts.products, 1) for counts in (before, now)]
    tests = [_tests(before, now, rows, scales, key) for key, rows in before.columns.items()]
    rejected = holm(np.array([[test.p_sureness, test.p_shares] for test in tests]).ravel(), error).reshape(-1, 2)
    mean = [counts.expected / np.where(counts.filled > 0, counts.filled, np.nan) for counts in (before, now)]
    expected = np.clip(mean[1] + np.where(np.isnan(reference.precision), 0, reference.precision - mean[0]), 0, 1)
    keys = []
    for number, (key, rows) in enumerate(before.columns.items()):
        test, answers = tests[number], (int(before.answers[rows].sum()), int(now.answers[rows].sum()))
        surely, other = rejected[number]
        verdict = (
            Verdict.LESS_SURE
            if surely
            else Verdict.OTHER
            if other
            else Verdict.FEW
            if min(answers) < LEAST
            else Verdict.AS_BEFORE
        )
        products = (max(_population(before, key), 1), max(_population(now, key), 1))
        keys.append(
            KeyDrift(
                key_label(key),
                answers,
                (answers[0] / products[0], answers[1] / products[1]),
                (float(before.filled[number] / products[0]), float(now.filled[number] / products[1])),
                test.sureness,
                test.p_sureness,
                test.value,
                test.shares,
                test.p_shares,
                float(expected[number]),
                float(reference.promised[number]),
                verdict,
            )
        )
    return Drift(before, now, tuple(keys), error)


class _Tests(NamedTuple):
    sureness: float
    p_sureness: float
    value: str
    shares: tuple[float, float]
    p_shares: float


def _population(counts: AnswerCounts, key: str) -> int:
    """The number of products that may have an answer: at calibration, the category of some may be unknown."""
    return int(counts.answers[counts.columns[key]].sum()) if key == CATEGORY else counts.products


def _tests(before: AnswerCounts, now: AnswerCounts, rows: slice, scales: list[float], key: str) -> _Tests:
    pairs = [
        (counts.answers[rows] * scale, _population(counts, key) * scale)
        for counts, scale in zip((before, now), scales, strict=True)
    ]
    (first, of_first), (second, of_second) = pairs
    sureness, p_sureness = less_sure(first, second)
    outcomes = [
        np.rint(np.append(answers.sum(axis=1), of - answers.sum())).astype(np.int64)
        for answers, of in ((first, of_first), (second, of_second))
    ]
    p = shares_differ(outcomes[0], outcomes[0].sum(), outcomes[1], outcomes[1].sum())
    clearest = int(p.argmin())
    shares = [counts[clearest] / max(1, counts.sum()) for counts in outcomes]
    return _Tests(
        sureness,
        p_sureness,
        (*now.words[key], "")[clearest],
        (float(shares[0]), float(shares[1])),
        min(1.0, float(p[clearest]) * int((outcomes[0] + outcomes[1] > 0).sum())),
    )
