"""What is reached without looking at a photo: a model that does not beat these has learned nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.labels import Targets
from attire.score.decisions import Decisions, likeliest
from attire.taxonomy import Taxonomy

MODE, MODE_WITHIN_CATEGORY = "mode", "mode_within_category"


def baselines(taxonomy: Taxonomy, train: Targets, truth: Targets) -> dict[str, Decisions]:
    """Both baselines, fitted on `train`, for the products of `truth`, whose labels the second one may not read but
    whose categories it is given."""
    return {
        MODE: mode(taxonomy, train, len(truth.category)),
        MODE_WITHIN_CATEGORY: mode_within_category(taxonomy, train, truth.category),
    }


def mode(taxonomy: Taxonomy, train: Targets, products: int) -> Decisions:
    """The same answer for every product: the most frequent category, and the most frequent value of every key.

    A key without a label in `train` stays open.
    """
    category = np.bincount(train.category[train.category >= 0], minlength=len(taxonomy.categories))
    probability, chosen = _most_frequent(taxonomy, train.hot.sum(axis=0, keepdims=True))
    same = np.zeros(products, dtype=np.int64)
    return Decisions(
        category=np.full(products, category.argmax()),
        category_probability=(category / max(category.sum(), 1)).astype(np.float32)[None][same],
        probability=probability[same],
        chosen=chosen[same],
        applies=np.ones((products, len(taxonomy.keys)), dtype=bool),
    )


def mode_within_category(taxonomy: Taxonomy, train: Targets, category: NDArray[np.int64]) -> Decisions:
    """Given the true category of each product (int64[N], -1 where not known): the most frequent value, among train
    products of that category, of each key that applies to it.

    Where the category has no label of a key in `train`, and for products without a category, the key's overall mode.
    """
    of_category = train.category == np.arange(len(taxonomy.categories))[:, None]
    count = of_category.astype(np.int64) @ train.hot.astype(np.int64)
    labels = np.add.reduceat(count, taxonomy.starts, axis=1)[:, taxonomy.key_of_column]
    overall = train.hot.sum(axis=0)
    # The last row, which index -1 reads, is for products without a category.
    probability, chosen = _most_frequent(taxonomy, np.vstack([np.where(labels > 0, count, overall), overall]))
    applies = np.vstack([taxonomy.applies, np.ones((1, len(taxonomy.keys)), dtype=bool)])
    chosen &= applies[:, taxonomy.key_of_column]
    return Decisions(
        category=category,
        category_probability=np.eye(len(taxonomy.categories) + 1, len(taxonomy.categories), dtype=np.float32)[category],
        probability=probability[category],
        chosen=chosen[category],
        applies=applies[category],
    )


def _most_frequent(taxonomy: Taxonomy, count: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Share of each value within its key, and the likeliest value of each key with any; count: int64[rows, K]."""
    total = np.add.reduceat(count, taxonomy.starts, axis=1)[:, taxonomy.key_of_column]
    share = (count / np.maximum(total, 1)).astype(np.float32)
    return share, likeliest(taxonomy, share) & (total > 0)
