"""Evidence: answers and labels, product by product. All figures, charts and examples of a report are made from it.

On disk it is three files, from which every figure can be recomputed:

taxonomy.toml     categories, keys and values
products.parquet  id, group, category (null if unknown), predicted (null without a readable photo), probability
pairs.parquet     a row per product and key with a label or an answer: see `Evidence.pairs`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.errors import ReportError
from attire.files import read_parquet
from attire.labels import Targets, encode
from attire.score.decisions import Accepted, Decisions
from attire.score.metrics import Matches, match
from attire.taxonomy import Taxonomy

TAXONOMY, PRODUCTS, PAIRS = "taxonomy.toml", "products.parquet", "pairs.parquet"
PRODUCT: dict[str, Any] = {
    "id": pl.String,
    "group": pl.String,
    "category": pl.String,
    "predicted": pl.String,
    "probability": pl.List(pl.Float32),  # of each category
    "filled": pl.Boolean,  # whether the category is; null without fitted thresholds, missing in earlier reports
}
PAIR: dict[str, Any] = {
    "id": pl.String,
    "key": pl.String,
    "applies": pl.Boolean,  # according to the predicted category
    "stated": pl.List(pl.String),
    "chosen": pl.List(pl.String),
    "probability": pl.List(pl.Float32),  # of each value of the key
    "confidence": pl.Float32,
    "filled": pl.Boolean,  # filled; null without fitted thresholds
    "coarse": pl.List(pl.String),  # filled in place of `chosen`; missing in earlier reports
    "iou": pl.Float64,  # null without a label
    "right": pl.Boolean,  # null without a label
    "spurious": pl.Boolean,
}


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Evidence:
    """Answers and labels of N products. `ids` and `groups` are in the order of the arrays' rows.

    accepted: the answers that are filled; None without fitted thresholds.
    """

    taxonomy: Taxonomy
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Targets
    decisions: Decisions
    accepted: Accepted | None = None

    @cached_property
    def matches(self) -> Matches:
        """Answers compared with labels: the input of the figures."""
        return match(self.taxonomy, self.truth, self.decisions, self.accepted)

    def of_products(self, ids: Sequence[str]) -> Evidence:
        """The evidence on some of the products, in that order."""
        row_of = {id: row for row, id in enumerate(self.ids)}
        rows = np.array([row_of[id] for id in ids], dtype=np.int64)
        return Evidence(
            self.taxonomy,
            tuple(ids),
            tuple(self.groups[row] for row in rows),
            Targets(*(column[rows] for column in self.truth)),
            Decisions._make(column[rows] for column in self.decisions),
            None if self.accepted is None else Accepted._make(column[rows] for column in self.accepted),
        )

    def of_keys(self, names: Sequence[str]) -> Evidence:
        """The evidence on some of the keys, in that order."""
        every = list(self.taxonomy.keys)
        keys = np.array([every.index(name) for name in names], dtype=np.int64)
        columns = np.array([i for name in names for i in _columns(self.taxonomy, name)], dtype=np.int64)
        of_keys = {name: self.taxonomy.keys[name] for name in names}
        accepted = self.accepted
        return replace(
            self,
            taxonomy=Taxonomy(categories=self.taxonomy.categories, keys=of_keys),
            truth=self.truth._replace(hot=self.truth.hot[:, columns], state=self.truth.state[:, keys]),
            decisions=self.decisions._replace(
                probability=self.decisions.probability[:, columns],
                chosen=self.decisions.chosen[:, columns],
                applies=self.decisions.applies[:, keys],
            ),
            accepted=None
            if accepted is None
            else accepted._replace(keys=accepted.keys[:, keys], coarse=accepted.coarse[:, columns]),
        )

    def products(self) -> pl.DataFrame:
        """The table `products.parquet`: a row per product, with the columns of `PRODUCT`."""
        words = np.array([*self.taxonomy.categories, None], dtype=object)  # index -1 gives None
        return pl.DataFrame(
            {
                "id": self.ids,
                "group": self.groups,
                "category": words[self.truth.category].tolist(),
                "predicted": words[self.decisions.category].tolist(),
                "probability": self.decisions.category_probability.tolist(),
                "filled": [None] * len(self.ids) if self.accepted is None else self.accepted.category,
            },
            schema=PRODUCT,
        )

    def pairs(self) -> pl.DataFrame:
        """The table `pairs.parquet`, with the columns of `PAIR`.

        It has a row per product and key that has a label, was answered, or was left open.
        """
        m, ids = self.matches, np.array(self.ids, dtype=object)
        tables = [pl.DataFrame(schema=PAIR)]
        for i, (name, key) in enumerate(self.taxonomy.keys.items()):
            rows = np.flatnonzero(m.known[:, i] | m.predicted[:, i] | self.decisions.applies[:, i])
            columns, known = self.taxonomy.columns[name], m.known[rows, i]
            table = {
                "id": ids[rows].tolist(),
                "key": [name] * len(rows),
                "applies": self.decisions.applies[rows, i],
                "stated": _words(key.values, self.truth.hot[rows, columns]),
                "chosen": _words(key.values, self.decisions.chosen[rows, columns]),
                "probability": pl.Series(self.decisions.probability[rows, columns]).arr.to_list(),
                "confidence": m.confidence[rows, i],
                "filled": [None] * len(rows) if self.accepted is None else self.accepted.keys[rows, i],
                "coarse": None if self.accepted is None else _words(key.values, self.accepted.coarse[rows, columns]),
                "iou": _null_unless(known, m.iou[rows, i]),
                "right": _null_unless(known, m.right[rows, i]),
                "spurious": m.spurious[rows, i],
            }
            tables.append(pl.DataFrame(table, schema=PAIR))
        return pl.concat(tables)

    @classmethod
    def load(cls, folder: Path) -> Evidence:
        """Read the evidence of a report's directory; raises `ReportError` if it is missing or damaged."""
        for name in (TAXONOMY, PRODUCTS, PAIRS):
            if not (folder / name).is_file():
                raise ReportError(f"{folder} has no {name}: expected a directory written by 'attire evaluate --out'.")
        try:
            products, pairs = read_parquet(folder / PRODUCTS), read_parquet(folder / PAIRS)
            return _from_tables(Taxonomy.load(folder / TAXONOMY), products, pairs)
        except (pl.exceptions.PolarsError, OSError, KeyError, TypeError, ValueError) as error:
            raise ReportError(f"the evidence in {folder} is damaged ({error}): run 'attire evaluate' again.") from None


def matches_of_both(a: Evidence, b: Evidence) -> Matches:
    """The answers of two models to the same products, those of `a` first, compared with the labels."""
    accepted = None
    if a.accepted is not None and b.accepted is not None:
        accepted = Accepted._make(np.concatenate(sides) for sides in zip(a.accepted, b.accepted, strict=True))
    return match(
        a.taxonomy,
        Targets._make(np.concatenate(sides) for sides in zip(a.truth, b.truth, strict=True)),
        Decisions._make(np.concatenate(sides) for sides in zip(a.decisions, b.decisions, strict=True)),
        accepted,
        copies=2,
    )


def _columns(taxonomy: Taxonomy, key: str) -> range:
    columns = taxonomy.columns[key]
    return range(columns.start, columns.stop)


def _words(words: tuple[str, ...], marks: NDArray[np.bool_]) -> list[list[str]]:
    return [[words[i] for i in np.flatnonzero(row)] for row in marks]


def _null_unless(known: NDArray[np.bool_], values: NDArray[Any]) -> list[Any]:
    return [value if is_known else None for value, is_known in zip(values.tolist(), known, strict=True)]


def _from_tables(taxonomy: Taxonomy, products: pl.DataFrame, pairs: pl.DataFrame) -> Evidence:
    """Rebuild the arrays from the tables of `Evidence.products` and `Evidence.pairs`."""
    ids, n = products["id"].to_list(), len(products)
    row_of = {id: row for row, id in enumerate(ids)}
    key_of = {key: i for i, key in enumerate(taxonomy.keys)}
    stated: list[dict[str, list[str]]] = [{} for _ in ids]
    chosen = np.zeros((n, taxonomy.width), dtype=bool)
    probability = np.zeros((n, taxonomy.width), dtype=np.float32)
    applies, accepted = np.zeros((2, n, len(taxonomy.keys)), dtype=bool)
    coarse = np.zeros_like(chosen)
    if "coarse" not in pairs.columns:
        pairs = pairs.with_columns(coarse=None)
    for id, key, key_applies, truth, answer, probabilities, filled, coarse_words in pairs.select(
        "id", "key", "applies", "stated", "chosen", "probability", "filled", "coarse"
    ).iter_rows():
        row = row_of[id]
        stated[row][key] = truth
        chosen[row, [taxonomy.column_index[key, value] for value in answer]] = True
        coarse[row, [taxonomy.column_index[key, value] for value in coarse_words or ()]] = True
        probability[row, taxonomy.columns[key]] = probabilities
        applies[row, key_of[key]], accepted[row, key_of[key]] = key_applies, bool(filled)
    category = [-1 if word is None else taxonomy.category_index[word] for word in products["predicted"].to_list()]
    category_probability = np.array(products["probability"].to_list(), dtype=np.float32)
    filled_column = products["filled"] if "filled" in products.columns else pl.Series([True] * n)
    category_filled = filled_column.fill_null(True).to_numpy().astype(bool)
    return Evidence(
        taxonomy,
        tuple(ids),
        tuple(products["group"].to_list()),
        encode(taxonomy, products["category"].to_list(), stated),
        Decisions(
            category=np.array(category, dtype=np.int64),
            category_probability=category_probability.reshape(n, len(taxonomy.categories)),
            probability=probability,
            chosen=chosen,
            applies=applies,
        ),
        Accepted(category_filled, accepted, coarse) if pairs["filled"].null_count() < len(pairs) else None,
    )
