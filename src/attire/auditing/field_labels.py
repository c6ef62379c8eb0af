"""The labels of each field beside calibrated probabilities: the input of confident learning, one field at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.labels import State
from attire.parents import with_ancestors
from attire.score.calibration import Calibration, fit_temperatures
from attire.score.decisions import log_softmax, log_softmax_within_keys, sigmoid
from attire.taxonomy import CATEGORY, Taxonomy
from attire.training.fold_answers import OutOfFold


class Probabilities(NamedTuple):
    """Calibrated probabilities of N products: category float64[N, C], values float64[N, K] given that a key applies."""

    category: NDArray[np.float64]
    values: NDArray[np.float64]


class FieldLabels(NamedTuple):
    """The labels of a field of V values, for M products that have one.

    key: `CATEGORY` for the category. rows: int64[M], positions in the answers. stated: bool[M, V]. probability:
    float64[M, V]. agrees: bool[V, V], whether a value (column) does not contradict a stated one (row): it is the same,
    or one is a kind of the other.
    """

    key: str
    values: tuple[str, ...]
    takes_many: bool
    rows: NDArray[np.int64]
    stated: NDArray[np.bool_]
    probability: NDArray[np.float64]
    agrees: NDArray[np.bool_]


def calibrated(taxonomy: Taxonomy, answers: OutOfFold) -> Probabilities:
    """Probabilities with temperatures that are fitted on all products that may be learned from."""
    learned = answers.at(answers.is_learned)
    category, temperature = fit_temperatures(taxonomy, learned.truth, learned.category, learned.attributes)
    calibration = Calibration(category_temperature=category, temperature=temperature)
    of_category, logits = calibration.scale(taxonomy, answers.category, answers.attributes)
    one = taxonomy.one[taxonomy.key_of_column]
    within = np.exp(log_softmax_within_keys(taxonomy, logits)) if taxonomy.keys else logits
    values = np.where(one, within, sigmoid(logits))
    return Probabilities(np.exp(log_softmax(of_category)).astype(np.float64), values.astype(np.float64))


def field_labels(taxonomy: Taxonomy, answers: OutOfFold, probabilities: Probabilities) -> Iterator[FieldLabels]:
    """The category, and every key, with those products that have a known label of it."""
    truth = answers.truth
    rows = np.flatnonzero(truth.category >= 0)
    size = len(taxonomy.categories)
    yield FieldLabels(
        CATEGORY,
        taxonomy.categories,
        False,
        rows,
        np.eye(size, dtype=bool)[truth.category[rows]],
        probabilities.category[rows],
        np.eye(size, dtype=bool),
    )
    for number, (name, key) in enumerate(taxonomy.keys.items()):
        rows, columns = np.flatnonzero(truth.state[:, number] == State.KNOWN), taxonomy.columns[name]
        yield FieldLabels(
            name,
            key.values,
            key.arity == "many",
            rows,
            np.asarray(truth.hot[rows, columns], dtype=bool),
            probabilities.values[rows, columns],
            _agreement(taxonomy, name),
        )


def _agreement(taxonomy: Taxonomy, name: str) -> NDArray[np.bool_]:
    key = taxonomy.keys[name]
    coarser = [[other in with_ancestors([value], key.parents) for other in key.values] for value in key.values]
    related = np.array(coarser, dtype=bool)
    return np.asarray(related | related.T)
