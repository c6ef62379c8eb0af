"""What a model answered for many products, as counts that add up: by value, by confidence, and what is filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from attire.labels import labelled
from attire.score.calibration_record import CalibrationRecord
from attire.score.decisions import Decisions, confidence, least_confident, log_odds
from attire.score.thresholds import Thresholds
from attire.taxonomy import CATEGORY, Taxonomy

BIN = 0.5  # width of a bin, in log odds of the confidence
BINS = 56  # half of them below a confidence of 0.5; log odds are limited to 13.8 (`decisions.EDGE`)
Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class AnswerCounts:
    """Counts of the answers for some products. A product has at most one answer for a key, and one for the category.

    words: the values of each key, and last, as `CATEGORY`, the categories; products: their number; squares: the sum
    over groups of the square of the group's number of products, which is `products` if no two are in one group;
    answers: int64[W, BINS] for all W words, by the least confident value of each answer and by the log odds of its
    confidence, filled or not; filled: int64[A + 1], answers of each key that are filled; expected: float64[A + 1], how
    many of those are right, by their confidences.
    """

    words: Words
    products: int
    squares: int
    answers: NDArray[np.int64]
    filled: NDArray[np.int64]
    expected: NDArray[np.float64]

    @classmethod
    def none(cls, taxonomy: Taxonomy) -> Self:
        """The counts of no products."""
        words = {key: tuple(rules.values) for key, rules in taxonomy.keys.items()} | {CATEGORY: taxonomy.categories}
        answers = np.zeros((sum(map(len, words.values())), BINS), dtype=np.int64)
        return cls(words, 0, 0, answers, np.zeros(len(words), dtype=np.int64), np.zeros(len(words)))

    @classmethod
    def of(
        cls,
        taxonomy: Taxonomy,
        decisions: Decisions,
        thresholds: Thresholds | None = None,
        groups: Iterable[str] = (),
    ) -> Self:
        """From decisions on N products, the thresholds for what is filled, and each product's group, "" if unknown."""
        none, products = cls.none(taxonomy), len(decisions.category)
        answered = labelled(taxonomy, decisions.chosen)
        category = decisions.category_probability[np.arange(products), decisions.category]
        columns, sure = taxonomy.width + decisions.category, log_odds(category)
        if taxonomy.keys:
            columns = np.append(least_confident(taxonomy, decisions)[answered], columns)
            sure = np.append(log_odds(confidence(taxonomy, decisions)[answered]), sure)
        filled, expected = none.filled, none.expected
        if thresholds is not None:
            accepted = thresholds.accepted(taxonomy, decisions)
            is_filled = np.column_stack([accepted.keys, accepted.category])
            right = thresholds.corrected(taxonomy, decisions, accepted)
            filled, expected = is_filled.sum(axis=0), (right * is_filled).sum(axis=0, dtype=np.float64)
        sizes = Counter(group for group in groups if group).values()
        squares = products - sum(sizes) + sum(size**2 for size in sizes)
        return cls(none.words, products, squares, _counted(columns, sure, len(none.answers)), filled, expected)

    @classmethod
    def of_record(cls, taxonomy: Taxonomy, record: CalibrationRecord, thresholds: Thresholds | None = None) -> Self:
        """From the answers on the products of a calibration."""
        none, products = cls.none(taxonomy), int(record.products[0])
        filled, expected = none.filled, none.expected
        if thresholds is not None:
            found = thresholds.filled_of(record)
            key = record.key[found.filled]
            filled = np.bincount(key, minlength=len(filled))
            expected = np.bincount(key, found.expected[found.filled], minlength=len(filled)).astype(np.float64)
        answers = _counted(record.column, record.log_odds, len(none.answers))
        return cls(none.words, products, products, answers, filled, expected)

    def __add__(self, other: AnswerCounts) -> AnswerCounts:
        return AnswerCounts(
            self.words,
            self.products + other.products,
            self.squares + other.squares,
            self.answers + other.answers,
            self.filled + other.filled,
            self.expected + other.expected,
        )

    @cached_property
    def columns(self) -> dict[str, slice]:
        """The rows of `answers` of each key."""
        stops = np.cumsum([len(values) for values in self.words.values()]).tolist()
        return {key: slice(stop - len(self.words[key]), stop) for key, stop in zip(self.words, stops, strict=True)}

    @property
    def independent(self) -> float:
        """The number of independent products that tell as much, if products of a group are alike (Kish, 1965)."""
        return self.products**2 / self.squares if self.squares else 0.0

    def saved(self) -> SavedCounts:
        """The counts in the form of files."""
        keys = {
            key: SavedKey(
                filled=int(filled),
                expected=float(expected),
                answers={
                    value: {str(number): int(row[number]) for number in np.flatnonzero(row)}
                    for value, row in zip(self.words[key], self.answers[rows], strict=True)
                },
            )
            for (key, rows), filled, expected in zip(self.columns.items(), self.filled, self.expected, strict=True)
        }
        return SavedCounts(products=self.products, squares=self.squares, keys=keys)


class SavedKey(BaseModel):
    """The counts of a key. answers: value -> number of the bin -> count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filled: NonNegativeInt
    expected: NonNegativeFloat
    answers: dict[str, dict[Annotated[str, Field(pattern=r"^\d{1,2}$")], NonNegativeInt]]


class SavedCounts(BaseModel):
    """`AnswerCounts` in the form of files, with all words, so that they can be read without the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: NonNegativeInt
    squares: NonNegativeInt
    keys: dict[str, SavedKey]

    def counts(self) -> AnswerCounts:
        """The counts; raises `ValueError` for a bin that does not exist."""
        words = {key: tuple(saved.answers) for key, saved in self.keys.items()}
        rows = [row for saved in self.keys.values() for row in saved.answers.values()]
        answers = np.zeros((len(rows), BINS), dtype=np.int64)
        for number, row in enumerate(rows):
            for name, count in row.items():
                if int(name) >= BINS:
                    raise ValueError(f"bin {name} of answers: expected 0 to {BINS - 1}")
                answers[number, int(name)] = count
        filled = np.array([saved.filled for saved in self.keys.values()], dtype=np.int64)
        expected = np.array([saved.expected for saved in self.keys.values()], dtype=np.float64)
        return AnswerCounts(words, self.products, self.squares, answers, filled, expected)


def _counted(rows: NDArray[np.integer], sure: NDArray[np.floating], words: int) -> NDArray[np.int64]:
    """int64[words, BINS]: the number of answers by row and by bin of their log odds."""
    bins = np.clip(np.floor(sure / BIN).astype(np.int64) + BINS // 2, 0, BINS - 1)
    return np.bincount(rows.astype(np.int64) * BINS + bins, minlength=words * BINS).reshape(words, BINS)
