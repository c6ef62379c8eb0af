"""Measures the precision of filled values on the random sample that people have judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from attire.labels import contradicts
from attire.review.queues import Queues
from attire.review.store.events import Decision, Store
from attire.score.intervals import wilson
from attire.taxonomy import CATEGORY, SEPARATOR

CONFIDENCES = (0.0, 0.8, 0.9, 0.95, 0.99)
ENOUGH = 10  # judged fields that a key needs for its own row


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured precision: `right` of `judged` fields.

    promised: the model's mean confidence in the judged fields. filled: all filled fields, judged or not.
    """

    title: str
    judged: int
    right: int
    promised: float
    filled: int

    @property
    def precision(self) -> float:
        return self.right / self.judged if self.judged else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the precision."""
        low, high = wilson(self.right, self.judged)
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Audit:
    """The measured precision of filled values: overall, above a confidence, by the feed's label, and by key.

    Categories are counted only in `keys`, because no threshold was applied to them.
    """

    sampled: int
    judged: int
    overall: Measured
    confidences: tuple[Measured, ...]
    feed: tuple[Measured, ...]
    keys: tuple[Measured, ...]


def audit(queues: Queues, store: Store) -> Audit:
    """Measure the precision on every decided field of the sample.

    A filled field is right if it does not contradict the reviewer's values, the same rule as in an evaluation. A
    cleared field counts as wrong: a value that a person cannot see should not have been filled.
    """
    sample = queues.sample()
    decisions = store.held(sample["product"].unique().to_list())
    taxonomy = queues.data.catalog.taxonomy
    verdicts = [
        _is_right(decision, answer, taxonomy.parents(key))
        if (decision := decisions.get((product, key))) and decision.decided
        else None
        for product, key, answer in sample.select("product", "key", "answer").iter_rows()
    ]
    rows = sample.with_columns(right=pl.Series(verdicts, dtype=pl.Boolean))
    filled = queues.fields.filter(pl.col("answer").is_not_null())
    sampled_keys, filled_keys = (fields.filter(pl.col("key") != CATEGORY) for fields in (rows, filled))

    def measure(title: str, condition: pl.Expr) -> Measured:
        return _measure(title, sampled_keys.filter(condition), int(filled_keys.select(condition.sum()).item()))

    counts = dict(filled.group_by("key").len().iter_rows())
    keys = [_measure(group["key"][0], group, counts[group["key"][0]]) for group in rows.partition_by("key")]
    return Audit(
        len(rows),
        len(rows) - rows["right"].null_count(),
        _measure("all filled values", sampled_keys, len(filled_keys)),
        tuple(measure(f"{low:.0%} or more" if low else "any", pl.col("confidence") >= low) for low in CONFIDENCES),
        (
            measure("no label in the feed", pl.col("stated").is_null()),
            measure("the feed agrees", pl.col("stated").is_not_null() & ~pl.col("suspect")),
            measure("the feed differs", pl.col("suspect")),
        ),
        tuple(sorted((row for row in keys if row.judged >= ENOUGH), key=lambda row: (row.precision, row.title))),
    )


def _measure(title: str, fields: pl.DataFrame, filled: int) -> Measured:
    judged = fields.filter(pl.col("right").is_not_null())
    promised = judged["confidence"].mean()
    mean = promised if isinstance(promised, float) else math.nan
    return Measured(title, len(judged), int(judged["right"].sum()), mean, filled)


def _is_right(decision: Decision, answer: str, parents: Mapping[str, str]) -> bool:
    return decision.state == "known" and not contradicts(answer.split(SEPARATOR), decision.values, parents)
