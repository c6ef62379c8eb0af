"""Figures that score answers against labels. A figure without evidence is nan, never 0.

A (product, key) pair is known if it has a label, even if the product's category rules the key out. The IoU of a known
pair is |chosen and stated| / |chosen or stated|, so it is 0 if the key was left open or predicted not to apply.

Every figure takes a weight per product. Weights of 1 give the plain figure; a bootstrap resample is a set of weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.labels import Targets, coarsened, contradicted, labelled
from attire.score.decisions import Accepted, Decisions, confidence, with_coarse
from attire.taxonomy import Taxonomy

MIN_LABELS = 10  # known pairs a key needs to count in macro IoU
BINS = 15  # confidence bins of ECE
MIN_POSITIVES = 5  # products a value needs to count in mAP

FIGURES = {
    "category_accuracy": "share of products whose category is right",
    "category_f1": "F1 of each category that occurs, averaged over categories",
    "attribute_iou": "IoU averaged over known (product, key) pairs",
    "macro_iou": f"IoU of each key with at least {MIN_LABELS} known pairs, averaged over keys",
    "original_iou": "the original method's figure: per product, the IoU summed over keys both stated and predicted, "
    "divided by the number of predicted keys",
    "spurious_rate": "share of predicted (product, key) pairs whose key does not apply to the product's category",
    "coverage_95": "share of known pairs that are filled at 95% precision",
    "precision_95": "share of filled pairs whose values, or kinds of them, were all stated",
    "category_coverage": "share of products whose category is filled",
    "category_precision": "share of filled categories that are right",
    "ece": f"expected calibration error: mean distance between confidence and precision over {BINS} bins of answered "
    "pairs; resampling can only increase it, so with few products its interval may lie above it",
    "map": f"average precision of each value with at least {MIN_POSITIVES} products, averaged over values",
}
# Only if a value of the taxonomy has a parent.
COARSE_FIGURES = {
    "coarse_iou": "attribute IoU with each value replaced by its last ancestor, so that Navy Blue for Blue is right",
}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Ranking(NamedTuple):
    """Products with a known label of one key, ordered by decreasing probability of one of its values."""

    column: int
    rows: NDArray[np.int64]
    hits: Bools  # whether the value was stated
    ends: NDArray[np.int64]  # the last position of each run of equal probabilities


class Matches(NamedTuple):
    """Answers compared with labels, product by product: the input of every figure."""

    true_category: Bools  # [N, C], one-hot; all False if the category is unknown
    category: Bools  # [N, C], one-hot predicted category; all False if the true one is unknown
    known: Bools  # [N, A]
    predicted: Bools  # [N, A]
    iou: Floats  # [N, A], 0 if not known
    coarse_iou: Floats | None  # [N, A], the same of coarse values; None if no value has a parent
    exact: Bools  # [N, A], known, and the chosen values are exactly the stated ones
    right: Bools  # [N, A], known, predicted, and not contradicted
    confidence: NDArray[np.float32]  # [N, A]
    filled: Bools | None  # [N, A], known, and accepted; None without fitted thresholds
    filled_right: Bools  # [N, A], filled, and what is filled, coarser values included, is not contradicted
    filled_confidence: NDArray[np.float32]  # [N, A], that of what is filled
    category_filled: Bools | None  # [N], the category is known and accepted; None without fitted thresholds
    spurious: Bools  # [N, A], predicted, but the true category rules the key out
    counted: Bools  # [A], the key has enough labels for macro IoU
    rankings: tuple[Ranking, ...]


def match(
    taxonomy: Taxonomy, truth: Targets, decisions: Decisions, accepted: Accepted | None = None, copies: int = 1
) -> Matches:
    """Compare the decisions on N products with their labels. accepted: the answers that are filled.

    copies: how many answers there are to each product, so that its labels count once.
    """
    hot, chosen = np.asarray(truth.hot, dtype=bool), decisions.chosen
    known, predicted = labelled(taxonomy, hot), labelled(taxonomy, chosen)
    answers = decisions if accepted is None else with_coarse(taxonomy, decisions, accepted.coarse)
    filled = known & predicted & (False if accepted is None else accepted.keys)
    categories = np.arange(len(taxonomy.categories))
    has_category = truth.category >= 0
    rules_out = np.zeros(known.shape, dtype=bool)
    rules_out[has_category] = ~taxonomy.applies[truth.category[has_category]]
    return Matches(
        true_category=truth.category[:, None] == categories,
        category=(decisions.category[:, None] == categories) & has_category[:, None],
        known=known,
        predicted=predicted,
        iou=_iou(taxonomy, hot, chosen),
        coarse_iou=_iou(taxonomy, *(coarsened(taxonomy, marks) for marks in (hot, chosen)))
        if len(taxonomy.ancestors)
        else None,
        exact=known & ~labelled(taxonomy, hot ^ chosen),
        right=known & predicted & ~contradicted(taxonomy, hot, chosen),
        confidence=confidence(taxonomy, decisions),
        filled=None if accepted is None else filled,
        filled_right=filled & ~contradicted(taxonomy, hot, answers.chosen),
        filled_confidence=confidence(taxonomy, answers),
        category_filled=None if accepted is None else has_category & accepted.category & (decisions.category >= 0),
        spurious=predicted & rules_out,
        rankings=tuple(
            _rank(column, np.flatnonzero(known[:, taxonomy.key_of_column[column]]), hot, decisions.probability)
            for column in np.flatnonzero(hot.sum(axis=0) >= MIN_POSITIVES * copies)
        ),
        counted=known.sum(axis=0) >= MIN_LABELS * copies,
    )


def headline(matches: Matches) -> dict[str, float]:
    """All `FIGURES`, and `COARSE_FIGURES` if a value has a parent, with equal weights."""
    return {name: float(value[0]) for name, value in weighted(matches, _ones(matches)).items()}


def weighted(matches: Matches, weights: NDArray[np.floating]) -> dict[str, Floats]:
    """The figures of `headline` as float64[R], for R sets of product weights (float[N, R]).

    Which keys and values have enough labels to count does not depend on the weights.
    """
    m = matches
    true, right = m.true_category.T @ weights, (m.true_category & m.category).T @ weights
    f1 = _ratio(2 * right, np.where(true > 0, true + m.category.T @ weights, 0))
    agreed = np.where(m.predicted, m.iou, 0).sum(axis=1) / np.maximum(m.predicted.sum(axis=1), 1)
    with_label, with_category = m.known.any(axis=1), m.true_category.any(axis=1)
    known, predicted = m.known.sum(axis=1) @ weights, np.where(with_category, m.predicted.sum(axis=1), 0)
    return {
        "category_accuracy": _ratio(right.sum(axis=0), true.sum(axis=0)),
        "category_f1": _mean(f1),
        "attribute_iou": _ratio(m.iou.sum(axis=1) @ weights, known),
        **({} if m.coarse_iou is None else {"coarse_iou": _ratio(m.coarse_iou.sum(axis=1) @ weights, known)}),
        "macro_iou": _mean(key_iou(m, weights)[m.counted]),
        "original_iou": _ratio(np.where(with_label, agreed, 0) @ weights, with_label @ weights),
        "spurious_rate": _ratio(m.spurious.sum(axis=1) @ weights, predicted @ weights),
        **_confidence_figures(m, weights),
        "map": _mean(_average_precisions(m, weights)),
    }


def key_iou(matches: Matches, weights: NDArray[np.floating]) -> Floats:
    """float64[A, R]: the IoU of each key, for R sets of product weights (float[N, R])."""
    return _ratio(matches.iou.T @ weights, matches.known.T @ weights)


def key_filling(matches: Matches, weights: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Coverage and precision of the filled fields of each key, float64[A, R] each, for R sets of product weights.

    Both are nan without fitted thresholds.
    """
    m = matches
    if m.filled is None:
        undefined = np.full((m.known.shape[1], weights.shape[1]), np.nan)
        return undefined, undefined
    filled = m.filled.T @ weights
    return _ratio(filled, m.known.T @ weights), _ratio(m.filled_right.T @ weights, filled)


def per_key(taxonomy: Taxonomy, matches: Matches) -> dict[str, NDArray[Any]]:
    """Figures of each key, columns of length A: known and predicted pairs, IoU, accuracy, spurious rate, mAP.

    Accuracy is the share of known pairs with exactly the stated values. The coarse IoU is nan for a key whose values
    have no parents.
    """
    m = matches
    known, predicted = m.known.sum(axis=0), m.predicted.sum(axis=0)
    with_category = m.predicted[m.true_category.any(axis=1)].sum(axis=0)
    key_of_ranking = taxonomy.key_of_column[np.array([r.column for r in m.rankings], dtype=np.int64)]
    ap = _average_precisions(m, _ones(m))[:, 0]
    has_parents = np.array([bool(key.parents) for key in taxonomy.keys.values()], dtype=bool)
    return {
        "known": known,
        "predicted": predicted,
        "iou": _ratio(m.iou.sum(axis=0), known),
        "coarse_iou": _ratio((m.iou if m.coarse_iou is None else m.coarse_iou).sum(axis=0), known * has_parents),
        "accuracy": _ratio(m.exact.sum(axis=0), known),
        "spurious_rate": _ratio(m.spurious.sum(axis=0), with_category),
        "map": np.array([_mean(ap[key_of_ranking == key]) for key in range(len(taxonomy.keys))]),
    }


def per_category(matches: Matches) -> dict[str, NDArray[Any]]:
    """Figures of each category, columns of length C.

    Of the category itself: products, predicted products, precision, recall, F1. Of the attributes of its products:
    known pairs, IoU, spurious rate.
    """
    m = matches
    true, predicted, right = m.true_category.sum(axis=0), m.category.sum(axis=0), (m.true_category & m.category).sum(0)
    known = m.known.sum(axis=1) @ m.true_category
    return {
        "products": true,
        "predicted": predicted,
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, true),
        "f1": _ratio(2 * right, np.where(true > 0, true + predicted, 0)),
        "known": known,
        "iou": _ratio(m.iou.sum(axis=1) @ m.true_category, known),
        "spurious_rate": _ratio(m.spurious.sum(axis=1) @ m.true_category, m.predicted.sum(axis=1) @ m.true_category),
    }


def _confidence_figures(m: Matches, weights: NDArray[np.floating]) -> dict[str, Floats]:
    """Figures of filled fields and categories, and ece (Guo et al., 2017), as float64[R]."""
    total, undefined = m.known.sum(axis=1) @ weights, np.full(weights.shape[1], np.nan)
    answered = m.known & m.predicted
    bin_of = np.minimum(m.confidence * BINS, BINS - 1).astype(np.int64)
    gap = sum(
        np.abs(np.where(answered & (bin_of == b), m.confidence - m.right, 0).sum(axis=1) @ weights) for b in range(BINS)
    )
    filled = undefined if m.filled is None else m.filled.sum(axis=1) @ weights
    category = undefined if m.category_filled is None else m.category_filled @ weights
    right_category = (m.true_category & m.category).any(axis=1)
    return {
        "coverage_95": undefined if m.filled is None else _ratio(filled, total),
        "precision_95": undefined if m.filled is None else _ratio(m.filled_right.sum(axis=1) @ weights, filled),
        "category_coverage": (
            undefined if m.category_filled is None else _ratio(category, m.true_category.sum(axis=1) @ weights)
        ),
        "category_precision": (
            undefined if m.category_filled is None else _ratio((m.category_filled & right_category) @ weights, category)
        ),
        "ece": _ratio(np.asarray(gap), answered.sum(axis=1) @ weights),
    }


def _rank(column: np.integer, rows: NDArray[np.int64], hot: Bools, probability: NDArray[np.float32]) -> Ranking:
    rows = rows[np.argsort(-probability[rows, column], kind="stable")]
    ends = np.flatnonzero(np.append(np.diff(probability[rows, column]) != 0, True))
    return Ranking(int(column), rows, hot[rows, column], ends)


def _average_precisions(matches: Matches, weights: NDArray[np.floating]) -> Floats:
    """float64[values, R]: sum over distinct probabilities of (increase in recall) x precision, as in scikit-learn."""
    averages = np.full((len(matches.rankings), weights.shape[1]), np.nan)
    for i, (_, rows, hits, ends) in enumerate(matches.rankings):
        weight = weights[rows]
        above = weight.cumsum(axis=0)[ends]
        right = (weight * hits[:, None]).cumsum(axis=0)[ends]
        precision = right / np.where(above > 0, above, 1)
        averages[i] = _ratio((np.diff(right, axis=0, prepend=0) * precision).sum(axis=0), right[-1])
    return averages


def _iou(taxonomy: Taxonomy, hot: Bools, chosen: Bools) -> Floats:
    """float64[N, A]: intersection over union of stated and chosen values, 0 for a key without a label."""
    both, either = _count(taxonomy, hot & chosen), _count(taxonomy, hot | chosen)
    return np.where(labelled(taxonomy, hot), both / np.maximum(either, 1), 0)


def _count(taxonomy: Taxonomy, marks: Bools) -> NDArray[np.int64]:
    """int64[N, A]: number of marked values of each key, from bool[N, K]."""
    return np.add.reduceat(marks, taxonomy.starts, axis=1, dtype=np.int64)


def _ones(matches: Matches) -> Floats:
    return np.ones((len(matches.known), 1))


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> Floats:
    """The quotient; nan where the denominator is 0."""
    defined = np.asarray(denominator) > 0
    return np.where(defined, numerator, np.nan) / np.where(defined, denominator, 1)


def _mean(values: Floats) -> Floats:
    """Mean over the first axis, ignoring nan."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))
