"""Curves and tables of the report: precision against coverage, reliability diagrams, confusion matrices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.labels import Targets
from attire.score.decisions import Decisions
from attire.score.metrics import BINS, Bools, Floats, Matches
from attire.taxonomy import Taxonomy

GROUPED = 6  # keys from which on they are divided into three groups


class Curve(NamedTuple):
    """One point per distinct confidence, the highest first; float64[points] each."""

    coverage: Floats  # share of known pairs that are filled
    precision: Floats  # share of filled pairs that are right


class Bins(NamedTuple):
    """Answers grouped by confidence into `BINS` bins of equal width; nan for an empty bin."""

    answers: NDArray[np.int64]
    confidence: Floats  # mean
    precision: Floats

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al., 2017); nan without answers."""
        gap = np.nansum(self.answers * np.abs(self.confidence - self.precision))
        return float(gap / self.answers.sum()) if self.answers.any() else float("nan")


def precision_coverage(matches: Matches) -> Curve:
    """Precision and coverage for every threshold on the confidence, the same threshold for all keys."""
    answered = matches.known & matches.predicted
    order = np.argsort(-matches.confidence[answered], kind="stable")
    confidence, right = matches.confidence[answered][order], matches.right[answered][order]
    ends = np.flatnonzero(np.append(np.diff(confidence) != 0, True)[: len(confidence)])
    return Curve((ends + 1) / max(1, matches.known.sum()), right.cumsum()[ends] / (ends + 1))


def reliability(confidence: NDArray[np.floating], right: Bools) -> Bins:
    """Bin N answers by confidence. confidence: float[N] in [0, 1]; right: bool[N]."""
    bin_of = np.minimum(confidence * BINS, BINS - 1).astype(np.int64)
    count = np.bincount(bin_of, minlength=BINS)
    divisor = np.where(count > 0, count, np.nan)
    return Bins(
        count,
        np.bincount(bin_of, weights=confidence, minlength=BINS) / divisor,
        np.bincount(bin_of, weights=right, minlength=BINS) / divisor,
    )


def key_reliability(matches: Matches) -> Bins:
    """Reliability of the answered pairs with a known label."""
    answered = matches.known & matches.predicted
    return reliability(matches.confidence[answered], matches.right[answered])


def filled_reliability(matches: Matches) -> list[tuple[NDArray[np.int64], Bins]]:
    """Reliability of the filled pairs by groups of keys: those with the most labels, fewer, and the fewest.

    Each group comes with the labels of its keys, int64[keys], in descending order. Fewer than `GROUPED` keys are one
    group; keys without filled pairs are in none. Empty without thresholds.
    """
    if matches.filled is None or not matches.filled.any():
        return []
    known = matches.known.sum(axis=0)
    filled = np.flatnonzero(matches.filled.any(axis=0))
    by_labels = filled[np.argsort(-known[filled], kind="stable")]
    groups = np.array_split(by_labels, 3 if len(filled) >= GROUPED else 1)
    return [
        (known[keys], reliability(matches.filled_confidence[:, keys][pairs], matches.filled_right[:, keys][pairs]))
        for keys, pairs in ((keys, matches.filled[:, keys]) for keys in groups)
    ]


def category_reliability(truth: Targets, decisions: Decisions) -> Bins:
    """Reliability of the category, over answered products with a known category."""
    answered = (truth.category >= 0) & (decisions.category >= 0)
    right = truth.category[answered] == decisions.category[answered]
    return reliability(decisions.category_probability[answered].max(axis=1, initial=0), right)


def category_confusion(truth: Targets, decisions: Decisions) -> NDArray[np.int64]:
    """int64[C, C + 1]: products by true and predicted category; the last column counts products without an answer."""
    categories = decisions.category_probability.shape[1]
    known = truth.category >= 0
    count = np.zeros((categories, categories + 1), dtype=np.int64)
    np.add.at(count, (truth.category[known], decisions.category[known]), 1)
    return count


def key_confusion(taxonomy: Taxonomy, truth: Targets, decisions: Decisions, key: str) -> NDArray[np.int64]:
    """int64[V, V + 1]: known pairs by stated and chosen value; the last column counts pairs left open.

    For a key with several values, cells off the diagonal count chosen values that were not stated.
    """
    stated, chosen = truth.hot[:, taxonomy.columns[key]].astype(bool), decisions.chosen[:, taxonomy.columns[key]]
    wrong = stated.T.astype(np.int64) @ (chosen & ~stated)
    right = np.diag((stated & chosen).sum(axis=0))
    return np.column_stack([wrong + right, (stated & ~chosen.any(axis=1, keepdims=True)).sum(axis=0)])


def iou_by_category(matches: Matches) -> tuple[Floats, NDArray[np.int64]]:
    """IoU of each key within each true category float64[C, A], nan without known pairs, and their count int64[C, A]."""
    count = matches.true_category.T.astype(np.int64) @ matches.known
    total = matches.true_category.T @ matches.iou
    return np.where(count > 0, total, np.nan) / np.maximum(count, 1), count
