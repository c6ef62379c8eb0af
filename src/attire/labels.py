"""Labels of products, and the arrays that training and scoring read.

The label of one (product, key) is `Known`, `Unknown` (no loss, no score) or `NotApplicable` (the category rules the key
out: never a class). "No collar" is an ordinary value: observed absence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from attire.parents import with_ancestors
from attire.taxonomy import Taxonomy

Number = TypeVar("Number", np.bool_, np.float32)


@dataclass(frozen=True, slots=True)
class Known:
    """One or more values are known."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no label."""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The product's category rules the key out."""


Label = Known | Unknown | NotApplicable


class State(IntEnum):
    """The three kinds of label as numbers, for `Targets.state`."""

    UNKNOWN = 0
    KNOWN = 1
    NOT_APPLICABLE = 2


class Targets(NamedTuple):
    """Labels of B products as arrays (numpy or torch).

    category: int64[B], index of the category, -1 if unknown
    hot:      bool[B, K], multi-hot: True at each stated value (also on keys that the category rules out)
    state:    int8[B, A], a `State` per key
    """

    category: Any
    hot: Any
    state: Any


def label(taxonomy: Taxonomy, key: str, category: str | None, values: Sequence[str]) -> Label:
    """The label of one (product, key)."""
    if category is not None and category not in taxonomy.keys[key].applies_to:
        return NotApplicable()
    return Known(tuple(values)) if values else Unknown()


def encode(
    taxonomy: Taxonomy, categories: Sequence[str | None], labels: Sequence[Mapping[str, Sequence[str]]]
) -> Targets:
    """Encode the labels of N products as numpy arrays; raises `KeyError` for a word that is not in the taxonomy."""
    category = np.array([-1 if c is None else taxonomy.category_index[c] for c in categories], dtype=np.int64)
    hot = np.zeros((len(labels), taxonomy.width), dtype=bool)
    cells = [
        (row, taxonomy.column_index[key, value])
        for row, attributes in enumerate(labels)
        for key, values in attributes.items()
        for value in values
    ]
    if cells:
        hot[tuple(np.array(cells).T)] = True
    state = np.where(labelled(taxonomy, hot), State.KNOWN, State.UNKNOWN).astype(np.int8)
    with_category = category >= 0
    state[with_category] = np.where(
        taxonomy.applies[category[with_category]], state[with_category], np.int8(State.NOT_APPLICABLE)
    )
    return Targets(category, hot, state)


def labelled(taxonomy: Taxonomy, hot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[N, A]: whether each key has any value set in `hot` (bool[N, K])."""
    return np.logical_or.reduceat(hot, taxonomy.starts, axis=1) if taxonomy.keys else np.zeros((len(hot), 0), bool)


def rolled_up(taxonomy: Taxonomy, columns: NDArray[Number]) -> NDArray[Number]:
    """[N, K]: each value together with all values that are kinds of it, from an array with a column per value.

    Probabilities are added, so that the column of Blue has the probability of any blue; marks are joined.
    """
    together = columns.copy() if len(taxonomy.ancestors) else columns
    for column, ancestor in taxonomy.ancestors:
        together[:, ancestor] += columns[:, column]
    return together


def coarsened(taxonomy: Taxonomy, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[N, K]: the marked values replaced by their roots, Navy Blue by Blue."""
    moved = np.flatnonzero(taxonomy.roots != np.arange(taxonomy.width))
    coarse = marks.copy()
    coarse[:, moved] = False
    for column in moved:
        coarse[:, taxonomy.roots[column]] |= marks[:, column]
    return coarse


def contradicts(answer: Collection[str], stated: Collection[str], parents: Mapping[str, str]) -> bool:
    """Whether an answer contains a value that is neither among the stated values of the field nor their ancestor.

    Leaving out stated values is no contradiction, and neither is a coarser value: an answer Blue for what is stated to
    be Navy Blue. If no values are stated, nothing is contradicted. `parents` are those of the key's values.

    >>> contradicts(["red"], ["red", "blue"], {}), contradicts(["red", "green"], ["red"], {})
    (False, True)
    >>> contradicts(["blue"], ["navy"], {"navy": "blue"}), contradicts(["navy"], ["blue"], {"navy": "blue"})
    (False, True)
    """
    return bool(stated) and not set(answer) <= with_ancestors(stated, parents)


def contradicted(taxonomy: Taxonomy, hot: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[N, A]: `contradicts` for every (product, key), from stated (`hot`) and answered (`chosen`) bool[N, K]."""
    return labelled(taxonomy, hot) & labelled(taxonomy, chosen & ~rolled_up(taxonomy, hot))
