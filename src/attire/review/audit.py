"""How often the values that the model filled are right, measured on the random sample that people have judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from attire.labels import contradicts
from attire.review.data import CATEGORY
from attire.review.queues import Queues
from attire.review.store.events import Held, Store
from attire.taxonomy import SEPARATOR

Z = 1.959964  # 95%, two-sided
CONFIDENCES = (0.0, 0.8, 0.9, 0.95, 0.99)
ENOUGH = 10  # judged fields below which a key has no line of its own


@dataclass(frozen=True, slots=True)
class Measured:
    """`right` of `judged` fields, in which the model had a mean confidence of `promised`; `of` were filled in all."""

    title: str
    judged: int
    right: int
    promised: float
    of: int

    @property
    def precision(self) -> float:
        return self.right / self.judged if self.judged else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the precision."""
        return wilson(self.right, self.judged)


@dataclass(frozen=True, slots=True)
class Audit:
    """Measured precision of filled values: of all, of those above a confidence, where the feed is silent, by key.

    The category is counted by itself, in `keys`: no threshold was applied to it.
    """

    sampled: int
    judged: int
    overall: Measured
    confidences: tuple[Measured, ...]
    feed: tuple[Measured, ...]
    keys: tuple[Measured, ...]


def wilson(right: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Wilson, 1927); (0, 1) without evidence.

    >>> [round(end, 3) for end in wilson(95, 100)]
    [0.888, 0.978]
    """
    if not n:
        return 0.0, 1.0
    share, spread = right / n, Z * Z / n
    middle, half = share + spread / 2, Z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def audit(queues: Queues, store: Store) -> Audit:
    """Figures from every decided field of the sample.

    A filled field is right where what the reviewer says does not contradict it, as the feed's labels count in an
    evaluation. One that was cleared counts as wrong: what a person cannot see should not have been filled.
    """
    sample = queues.sample()
    held = store.held(sample["product"].unique().to_list())
    verdicts = [
        None if (said := held.get((product, key))) is None or not said.decided else _right(said, answer)
        for product, key, answer in sample.select("product", "key", "answer").iter_rows()
    ]
    rows = sample.with_columns(right=pl.Series(verdicts, dtype=pl.Boolean))
    filled = queues.fields.filter(pl.col("answer").is_not_null())
    attributes, every = rows.filter(pl.col("key") != CATEGORY), filled.filter(pl.col("key") != CATEGORY)

    def measured(title: str, condition: pl.Expr) -> Measured:
        return _measured(title, attributes.filter(condition), int(every.select(condition.sum()).item()))

    of = dict(filled.group_by("key").len().iter_rows())
    keys = [_measured(part["key"][0], part, of[part["key"][0]]) for part in rows.partition_by("key")]
    return Audit(
        len(rows),
        len(rows) - rows["right"].null_count(),
        _measured("all filled values", attributes, len(every)),
        tuple(measured(f"{low:.0%} or more" if low else "any", pl.col("confidence") >= low) for low in CONFIDENCES),
        (
            measured("the feed is silent", pl.col("stated").is_null()),
            measured("the feed agrees", pl.col("stated").is_not_null() & ~pl.col("contradicts")),
            measured("the feed says otherwise", pl.col("contradicts")),
        ),
        tuple(sorted((one for one in keys if one.judged >= ENOUGH), key=lambda one: (one.precision, one.title))),
    )


def _measured(title: str, fields: pl.DataFrame, of: int) -> Measured:
    judged = fields.filter(pl.col("right").is_not_null())
    promised = judged["confidence"].mean()
    mean = promised if isinstance(promised, float) else math.nan
    return Measured(title, len(judged), int(judged["right"].sum()), mean, of)


def _right(said: Held, answer: str) -> bool:
    return said.state == "known" and not contradicts(answer.split(SEPARATOR), said.values)
