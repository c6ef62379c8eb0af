"""Answers laid beside the truth, product by product: what every figure, chart and thumbnail is made from.

On disk it is three files, from which every figure can be computed again:

taxonomy.toml     the words
products.parquet  id, group, category (null where nobody said), predicted (null without a readable photo), probability
pairs.parquet     a row per product and key that somebody stated or the model answered: see `Evidence.pairs`
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.errors import ReportError
from attire.files import read_parquet
from attire.labels import Targets, encode
from attire.score.decisions import Decisions
from attire.score.metrics import Matches, match
from attire.taxonomy import Taxonomy

TAXONOMY, PRODUCTS, PAIRS = "taxonomy.toml", "products.parquet", "pairs.parquet"
PRODUCT: dict[str, Any] = {
    "id": pl.String,
    "group": pl.String,
    "category": pl.String,
    "predicted": pl.String,
    "probability": pl.List(pl.Float32),  # of each category
}
PAIR: dict[str, Any] = {
    "id": pl.String,
    "key": pl.String,
    "applies": pl.Boolean,  # by the predicted categories
    "stated": pl.List(pl.String),
    "chosen": pl.List(pl.String),
    "probability": pl.List(pl.Float32),  # of each value of the key
    "confidence": pl.Float32,
    "filled": pl.Boolean,  # sure enough for 95% precision; null where no threshold was fitted
    "iou": pl.Float64,  # null where nobody stated a value, as `right`
    "right": pl.Boolean,
    "spurious": pl.Boolean,
}


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Evidence:
    """N products: `ids` and `groups` in the order of the arrays' rows.

    accepted: bool[N, A], the answers sure enough for 95% precision; None where no threshold was fitted.
    """

    taxonomy: Taxonomy
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Targets
    decisions: Decisions
    accepted: NDArray[np.bool_] | None = None

    @cached_property
    def matches(self) -> Matches:
        """What the figures are computed from."""
        return match(self.taxonomy, self.truth, self.decisions, self.accepted)

    def products(self) -> pl.DataFrame:
        """A row per product."""
        words = np.array([*self.taxonomy.categories, None], dtype=object)  # -1 reads the last one
        return pl.DataFrame(
            {
                "id": self.ids,
                "group": self.groups,
                "category": words[self.truth.category].tolist(),
                "predicted": words[self.decisions.category].tolist(),
                "probability": self.decisions.category_probability.tolist(),
            },
            schema=PRODUCT,
        )

    def pairs(self) -> pl.DataFrame:
        """A row per (product, key) that somebody stated or the model answered or left open; the columns of `PAIR`."""
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
                "probability": self.decisions.probability[rows, columns].tolist(),
                "confidence": m.confidence[rows, i],
                "filled": [None] * len(rows) if self.accepted is None else self.accepted[rows, i],
                "iou": _where(known, m.iou[rows, i]),
                "right": _where(known, m.right[rows, i]),
                "spurious": m.spurious[rows, i],
            }
            tables.append(pl.DataFrame(table, schema=PAIR))
        return pl.concat(tables)

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        """The evidence in a report's directory; raises `ReportError` where it is missing or cannot be read."""
        for name in (TAXONOMY, PRODUCTS, PAIRS):
            if not (folder / name).is_file():
                raise ReportError(f"{folder} has no {name}: expected a directory that 'attire evaluate --out' wrote.")
        try:
            products, pairs = read_parquet(folder / PRODUCTS), read_parquet(folder / PAIRS)
            return _assemble(Taxonomy.read(folder / TAXONOMY), products, pairs)
        except (pl.exceptions.PolarsError, OSError, KeyError, TypeError, ValueError) as error:
            raise ReportError(f"the evidence in {folder} is damaged ({error}): run 'attire evaluate' again.") from None


def _words(words: tuple[str, ...], marks: NDArray[np.bool_]) -> list[list[str]]:
    return [[words[i] for i in np.flatnonzero(row)] for row in marks]


def _where(known: NDArray[np.bool_], values: NDArray[Any]) -> list[Any]:
    return [value if there else None for value, there in zip(values.tolist(), known, strict=True)]


def _assemble(taxonomy: Taxonomy, products: pl.DataFrame, pairs: pl.DataFrame) -> Evidence:
    """The arrays that `Evidence.products` and `Evidence.pairs` tell of."""
    ids, n = products["id"].to_list(), len(products)
    row_of = {id: row for row, id in enumerate(ids)}
    key_of = {key: i for i, key in enumerate(taxonomy.keys)}
    stated: list[dict[str, list[str]]] = [{} for _ in ids]
    chosen = np.zeros((n, taxonomy.width), dtype=bool)
    probability = np.zeros((n, taxonomy.width), dtype=np.float32)
    applies, accepted = np.zeros((2, n, len(taxonomy.keys)), dtype=bool)
    for id, key, is_said, truth, answer, likely, filled in pairs.select(
        "id", "key", "applies", "stated", "chosen", "probability", "filled"
    ).iter_rows():
        row = row_of[id]
        stated[row][key] = truth
        chosen[row, [taxonomy.column_index[key, value] for value in answer]] = True
        probability[row, taxonomy.columns[key]] = likely
        applies[row, key_of[key]], accepted[row, key_of[key]] = is_said, bool(filled)
    category = [-1 if word is None else taxonomy.category_index[word] for word in products["predicted"].to_list()]
    likely_category = np.array(products["probability"].to_list(), dtype=np.float32)
    return Evidence(
        taxonomy,
        tuple(ids),
        tuple(products["group"].to_list()),
        encode(taxonomy, products["category"].to_list(), stated),
        Decisions(
            category=np.array(category, dtype=np.int64),
            category_probability=likely_category.reshape(n, len(taxonomy.categories)),
            probability=probability,
            chosen=chosen,
            applies=applies,
        ),
        accepted if pairs["filled"].null_count() < len(pairs) else None,
    )
