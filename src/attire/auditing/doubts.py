"""How likely each label of a field is wrong, what it should be, and how many labels of the field are wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.auditing.field_labels import FieldLabels
from attire.auditing.noise import noise_matrix, posterior
from attire.score.intervals import wilson

SUSPICIOUS = 0.5  # probability from which a label is a suspect


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
    """The estimated share of wrong labels of a key, with its 95% interval (Wilson) for that number of labels."""

    key: str
    labels: int
    suspected: int
    rate: float
    low: float
    high: float


def doubts(field: FieldLabels, is_learned: NDArray[np.bool_]) -> Doubts:
    """Judge all labels of a field. is_learned: bool[M], those that noise may be estimated from."""
    if not is_learned.any():
        nothing = np.zeros(len(field.rows))
        return Doubts(nothing, field.stated.copy(), nothing, nothing > 0)
    return _of_many(field, is_learned) if field.takes_many else _of_one(field, is_learned)


def noise_rate(field: FieldLabels, found: Doubts) -> NoiseRate:
    """The share of wrong labels: the mean probability that one is wrong."""
    wrong, labels = found.wrong[~found.is_missing].sum(), len(field.rows)
    low, high = wilson(wrong, labels)
    rate = wrong / labels if labels else np.nan
    return NoiseRate(field.key, labels, int((found.wrong >= SUSPICIOUS).sum()), float(rate), float(low), float(high))


def _of_one(field: FieldLabels, is_learned: NDArray[np.bool_]) -> Doubts:
    every, stated = np.arange(len(field.rows)), field.stated.argmax(axis=1)
    noise = noise_matrix(stated[is_learned], field.probability[is_learned])
    true = posterior(stated, field.probability, noise)
    agrees = field.agrees[stated]
    others = np.where(agrees, -1, true)
    best = others.argmax(axis=1)
    proposed = np.zeros_like(field.stated)
    proposed[every, best] = True
    wrong = np.clip(1 - np.where(agrees, true, 0).sum(axis=1), 0, 1)
    return Doubts(wrong, proposed, np.maximum(others[every, best], 0), np.zeros(len(stated), dtype=bool))


def _of_many(field: FieldLabels, is_learned: NDArray[np.bool_]) -> Doubts:
    """Each value is a question of its own: is it there or not?"""
    present = np.empty_like(field.probability)
    for column in range(len(field.values)):
        stated, probability = field.stated[:, column].astype(np.int64), field.probability[:, column]
        both = np.column_stack([1 - probability, probability])
        noise = noise_matrix(stated[is_learned], both[is_learned])
        present[:, column] = posterior(stated, both, noise)[:, 1]
    # A coarser value that is left out, or stated beside its kind, is no fault.
    implied = (field.stated.astype(np.int64) @ field.agrees.astype(np.int64) > 0) & ~field.stated
    false = np.where(field.stated, 1 - present, 0)
    missing = np.where(field.stated | implied, 0, present)
    proposed = np.where(implied, False, present > 1 / 2)
    nothing = ~proposed.any(axis=1)
    proposed[nothing, present[nothing].argmax(axis=1)] = True
    changed = proposed != field.stated
    sure = np.where(proposed, present, 1 - present)
    confidence = np.where(changed, sure, 1).min(axis=1)
    wrong = np.maximum(false.max(axis=1), missing.max(axis=1))
    return Doubts(wrong, proposed, confidence, missing.max(axis=1) > false.max(axis=1))
