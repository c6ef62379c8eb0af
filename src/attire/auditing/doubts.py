"""How likely each label of a field is wrong, what it should be, and how many labels of the field are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.auditing.field_labels import FieldLabels
from attire.auditing.noise import Anchors, anchors, noise_matrix, posterior
from attire.score.intervals import wilson

SUSPICIOUS = 0.5  # probability from which a label is a suspect
LOWEST, HIGHEST = 0.002, 0.4  # of the noise rate that labels are judged by
PRIOR_ANCHORS = 20  # of the mean noise rate, for keys that are judged value by value
EITHER = np.eye(2, dtype=bool)  # present or absent: which values agree


class Doubts(NamedTuple):
    """What is doubted of M labels of a field of V values.

    wrong: float64[M], the probability that the label is wrong. proposed: bool[M, V], the values that are likelier.
    confidence: float64[M], of those. is_missing: bool[M], whether the stated values are right but one is missing.
    """

    wrong: NDArray[np.float64]
    proposed: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    is_missing: NDArray[np.bool_]


class NoiseRate(NamedTuple):
    """The estimated share of wrong labels of a key, and its 95% interval (Wilson).

    labels: number of known labels. suspected: of those that are likelier wrong than right. anchors: of those that the
    rate is counted on (`attire.auditing.noise`); of a key of arity many, each value is counted. The rate is nan, and
    the interval from 0 to 1, without anchors.
    """

    key: str
    labels: int
    suspected: int
    anchors: int
    rate: float
    low: float
    high: float


def count_anchors(field: FieldLabels, is_learned: NDArray[np.bool_]) -> Anchors:
    """The anchors among the labels that noise may be estimated from (bool[M])."""
    if not field.takes_many:
        stated, probability = field.stated[is_learned].argmax(axis=1), field.probability[is_learned]
        return anchors(stated, probability, field.agrees) if len(field.values) > 1 else Anchors(0, 0)
    found = [anchors(stated, both, EITHER) for stated, both in _questions(field, is_learned)]
    return Anchors(sum(part.number for part in found), sum(part.wrong for part in found))


def mean_rate(fields: Sequence[tuple[FieldLabels, Anchors]]) -> float:
    """The noise rate of all labels together: all are judged by it, because that of a single key is too uncertain."""
    labels = [(len(field.rows), found.rate) for field, found in fields if found.number]
    total = sum(count for count, _ in labels)
    mean = sum(count * rate for count, rate in labels) / total if total else 0.0
    return float(np.clip(mean, LOWEST, HIGHEST))


def doubts(field: FieldLabels, is_learned: NDArray[np.bool_], rate: float) -> Doubts:
    """Judge all labels of a field. is_learned: bool[M], those that noise may be estimated from; rate: `mean_rate`."""
    if not is_learned.any() or (len(field.values) < 2 and not field.takes_many):
        nothing = np.zeros(len(field.rows))
        return Doubts(nothing, field.stated.copy(), nothing, nothing > 0)
    return _of_many(field, is_learned, rate) if field.takes_many else _of_one(field, is_learned, rate)


def noise_rate(field: FieldLabels, found: Doubts, counted: Anchors) -> NoiseRate:
    """The noise rate of one key."""
    low, high = wilson(counted.wrong, counted.number)
    suspected = int((found.wrong >= SUSPICIOUS).sum())
    return NoiseRate(field.key, len(field.rows), suspected, counted.number, counted.rate, float(low), float(high))


def _of_one(field: FieldLabels, is_learned: NDArray[np.bool_], rate: float) -> Doubts:
    every, stated = np.arange(len(field.rows)), field.stated.argmax(axis=1)
    noise = noise_matrix(stated[is_learned], field.probability[is_learned], rate)
    true = posterior(stated, field.probability, noise)
    agrees = field.agrees[stated]
    others = np.where(agrees, -1, true)
    best = others.argmax(axis=1)
    proposed = np.zeros_like(field.stated)
    proposed[every, best] = True
    wrong = np.clip(1 - np.where(agrees, true, 0).sum(axis=1), 0, 1)
    return Doubts(wrong, proposed, np.maximum(others[every, best], 0), np.zeros(len(stated), dtype=bool))


def _of_many(field: FieldLabels, is_learned: NDArray[np.bool_], rate: float) -> Doubts:
    """Each value is a question of its own: is it there or not? Values that are left out are commoner than wrong ones.

    How often either happens is counted on the anchors of all values of the key.
    """
    wrong, count = np.full(2, rate * PRIOR_ANCHORS), np.full(2, float(PRIOR_ANCHORS))
    for stated, both in _questions(field, is_learned):
        for truth in (0, 1):
            rows = both.argmax(axis=1) == truth
            part = anchors(stated[rows], both[rows], EITHER)
            wrong[truth] += part.wrong
            count[truth] += part.number
    rates = np.clip(wrong / count, LOWEST, HIGHEST)
    noise = np.array([[1 - rates[0], rates[0]], [rates[1], 1 - rates[1]]])
    every = np.ones(len(field.rows), dtype=bool)
    present = np.column_stack([posterior(stated, both, noise)[:, 1] for stated, both in _questions(field, every)])
    # A coarser value that is left out, or stated beside its kind, is no fault.
    implied = (field.stated.astype(np.int64) @ field.agrees.astype(np.int64) > 0) & ~field.stated
    false = np.where(field.stated, 1 - present, 0)
    missing = np.where(field.stated | implied, 0, present)
    proposed = ~implied & (present > 1 / 2)
    nothing = ~proposed.any(axis=1)
    proposed[nothing, present[nothing].argmax(axis=1)] = True
    changed = proposed != field.stated
    sure = np.where(proposed, present, 1 - present)
    confidence = np.where(changed, sure, 1).min(axis=1, initial=1)
    return Doubts(
        np.maximum(false.max(axis=1), missing.max(axis=1)),
        proposed,
        confidence,
        missing.max(axis=1) > false.max(axis=1),
    )


def _questions(field: FieldLabels, rows: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each value: whether it is stated (int64[R]), and the probabilities that it is not and that it is."""
    stated, probability = field.stated[rows].astype(np.int64), field.probability[rows]
    return [
        (stated[:, column], np.column_stack([1 - probability[:, column], probability[:, column]]))
        for column in range(len(field.values))
    ]
