"""Catalogs with labels that are made wrong on purpose, for simulations of label errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire import Catalog
from attire.catalog.store import TABLES
from attire.labels import State, Targets
from attire.taxonomy import Taxonomy


class Flips(NamedTuple):
    """A catalog with wrong labels, and which fields of its N products were flipped: bool[N, A + 1], category last."""

    catalog: Catalog
    flipped: NDArray[np.bool_]


def flip(catalog: Catalog, rate: float, seed: int, confusion: NDArray[np.float64] | None = None) -> Flips:
    """Replace the value of `rate` of all known fields (of arity one) and categories by another one.

    The other value is drawn uniformly, or by `confusion`: float64[K + C, K + C], the mean probability of each value and
    category (columns) among products stated with one (rows).
    """
    rng = np.random.default_rng(seed)
    taxonomy, truth = catalog.taxonomy, catalog.targets()
    spans = [*taxonomy.columns.values(), slice(taxonomy.width, taxonomy.width + len(taxonomy.categories))]
    stated = np.concatenate([truth.hot, np.eye(len(taxonomy.categories), dtype=bool)[truth.category]], axis=1)
    stated[truth.category < 0, taxonomy.width :] = False
    is_one = np.append(taxonomy.one, True)
    known = np.column_stack([truth.state == State.KNOWN, truth.category >= 0]) & is_one
    flipped = known & (rng.random(known.shape) < rate)
    new = stated.copy()
    for field, span in enumerate(spans):
        rows = np.flatnonzero(flipped[:, field])
        if span.stop - span.start < 2:
            flipped[rows, field] = False
            continue
        old = stated[rows, span].argmax(axis=1)
        weight = np.ones((len(rows), span.stop - span.start)) if confusion is None else confusion[span, span][old]
        weight = weight + 1e-9
        weight[np.arange(len(rows)), old] = 0
        cumulated = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        drawn = (rng.random((len(rows), 1)) > cumulated[:, :-1]).sum(axis=1)
        new[rows, span] = np.eye(span.stop - span.start, dtype=bool)[drawn]
    return Flips(relabelled(catalog, new[:, : taxonomy.width], new[:, taxonomy.width :].argmax(axis=1)), flipped)


def relabelled(catalog: Catalog, hot: NDArray[np.bool_], category: NDArray[np.int64]) -> Catalog:
    """The same products with other labels, in memory only. hot: bool[N, K]; category: int64[N]."""
    taxonomy, ids = catalog.taxonomy, np.array(catalog.ids)
    words = list(taxonomy.column_index)
    rows, columns = np.nonzero(hot)
    copy = Catalog(catalog.path, taxonomy, catalog.digest)
    copy.labels = pl.DataFrame(
        {
            "id": ids[rows],
            "key": [words[column][0] for column in columns],
            "value": [words[column][1] for column in columns],
        },
        TABLES["labels"],
    )
    names = pl.Series("category", [taxonomy.categories[i] for i in category])
    copy.products = catalog.products.with_columns(names)
    return copy


def confusion_of(
    taxonomy: Taxonomy, truth: Targets, category: NDArray[np.float64], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64[K + C, K + C] for `flip`, from probabilities float64[N, C] and float64[N, K]."""
    stated = np.concatenate([truth.hot, np.eye(len(taxonomy.categories), dtype=bool)[truth.category]], axis=1)
    known = np.repeat(truth.state == State.KNOWN, np.bincount(taxonomy.key_of_column), axis=1)
    known = np.concatenate([known, np.ones_like(category, dtype=bool)], axis=1)
    both = np.concatenate([probability, category], axis=1)
    marks = (stated & known).astype(np.float64)
    return np.asarray(marks.T @ both / np.maximum(marks.sum(axis=0), 1)[:, None])
