"""Baselines that see no photo. A model that does not beat them has learned nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.labels import Targets
from attire.score.decisions import Decisions, likeliest
from attire.taxonomy import Taxonomy

MODE, MODE_WITHIN_CATEGORY = "mode", "mode_within_category"
MODE_WITHIN_PREDICTED = "mode_within_predicted_category"


def baselines(taxonomy: Taxonomy, train: Targets, truth: Targets, predicted: NDArray[np.int64]) -> dict[str, Decisions]:
    """Fit the baselines on `train` and answer for the products of `truth`.

    None reads the attribute labels of `truth`. The second one is given the true categories, the third one those that
    the model `predicted` (int64[N], -1 without an answer): it is what a table with one value per category would give
    in the place of the model's answers on attributes.
    """
    return {
        MODE: mode(taxonomy, train, len(truth.category)),
        MODE_WITHIN_CATEGORY: mode_within_category(taxonomy, train, truth.category),
        MODE_WITHIN_PREDICTED: mode_within_predicted(taxonomy, train, predicted),
    }


def mode(taxonomy: Taxonomy, train: Targets, products: int) -> Decisions:
    """Answer every product with the most frequent category and the most frequent value of each key.

    A key without labels in `train` is left open.
    """
    category = np.bincount(train.category[train.category >= 0], minlength=len(taxonomy.categories))
    probability, chosen = _most_frequent(taxonomy, train.hot.sum(axis=0, keepdims=True))
    first_row = np.zeros(products, dtype=np.int64)
    return Decisions(
        category=np.full(products, category.argmax()),
        category_probability=(category / max(category.sum(), 1)).astype(np.float32)[None][first_row],
        probability=probability[first_row],
        chosen=chosen[first_row],
        applies=np.ones((products, len(taxonomy.keys)), dtype=bool),
    )


def mode_within_category(taxonomy: Taxonomy, train: Targets, category: NDArray[np.int64]) -> Decisions:
    """Answer each key that applies with its most frequent value among train products of the same category.

    `category` is the true category of each product, int64[N], -1 if unknown. The key's overall mode is used for
    products without a category, and if the category has no labels of the key in `train`.
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


def mode_within_predicted(taxonomy: Taxonomy, train: Targets, predicted: NDArray[np.int64]) -> Decisions:
    """`mode_within_category`, given predicted categories; a product without one has no answers, as from the model."""
    answers = mode_within_category(taxonomy, train, predicted)
    has_answer = predicted[:, None] >= 0
    return answers._replace(chosen=answers.chosen & has_answer, applies=answers.applies & has_answer)


def _most_frequent(taxonomy: Taxonomy, count: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Share of each value within its key, and the most frequent value of each labelled key. count: int64[rows, K]."""
    total = np.add.reduceat(count, taxonomy.starts, axis=1)[:, taxonomy.key_of_column]
    share = (count / np.maximum(total, 1)).astype(np.float32)
    return share, likeliest(taxonomy, share) & (total > 0)
