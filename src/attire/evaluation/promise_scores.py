"""Filled fields by key and by category: how many, how many are right, and what was promised for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attire.score.metrics import Floats, Matches, key_iou
from attire.score.verdicts import KeyPromise


def key_promises(matches: Matches, promises: Sequence[KeyPromise]) -> dict[str, list[Any]]:
    """Columns of length A for `KeyScores`. promises: that of each key; none if no precision was promised."""
    filled, right = _by_key(matches)
    return {
        "filled": filled,
        "right_filled": right,
        "promised": _precisions(promises, len(filled)).tolist(),
        "held_back": [promise.reason for promise in promises] or [""] * len(filled),
    }


def category_promises(matches: Matches, promises: Sequence[KeyPromise]) -> dict[str, list[Any]]:
    """Columns of length C for `CategoryScores`. `promised` is the mean promise of the category's filled fields."""
    categories = matches.true_category.shape[1]
    if matches.filled is None:
        return {"filled": [None] * categories, "right_filled": [None] * categories, "promised": [np.nan] * categories}
    of_category = matches.true_category.T.astype(np.int64)
    count = of_category @ matches.filled  # int64[C, A]
    promised = np.where(count > 0, count * _precisions(promises, count.shape[1]), 0).sum(axis=1)
    filled = count.sum(axis=1)
    return {
        "filled": filled.tolist(),
        "right_filled": (of_category @ matches.filled_right).sum(axis=1).tolist(),
        "promised": np.where(filled > 0, promised / np.maximum(filled, 1), np.nan).tolist(),
    }


def filled_category(matches: Matches, promise: KeyPromise) -> dict[str, Any] | None:
    """The fields of `FilledCategory`; None without fitted thresholds."""
    if matches.category_filled is None:
        return None
    right = (matches.true_category & matches.category).any(axis=1)
    return {
        "known": int(matches.true_category.any(axis=1).sum()),
        "filled": int(matches.category_filled.sum()),
        "right_filled": int((matches.category_filled & right).sum()),
        "promised": np.nan if promise.precision is None else promise.precision,
        "held_back": promise.reason,
    }


def advantage(matches: Matches, lookup: Matches, weights: NDArray[np.floating]) -> Floats:
    """float64[A, R]: by how much the IoU of each key is above that of `lookup` (`MODE_WITHIN_PREDICTED`)."""
    return key_iou(matches, weights) - key_iou(lookup, weights)


def _by_key(matches: Matches) -> tuple[list[Any], list[Any]]:
    """Filled fields with a label and those that are right, by key; None without fitted thresholds."""
    if matches.filled is None:
        unknown = [None] * matches.known.shape[1]
        return unknown, unknown
    return matches.filled.sum(axis=0).tolist(), matches.filled_right.sum(axis=0).tolist()


def _precisions(promises: Sequence[KeyPromise], keys: int) -> Floats:
    """float64[A]: nan for a key without a promise."""
    precisions = [np.nan if promise.precision is None else promise.precision for promise in promises]
    return np.array(precisions or [np.nan] * keys, dtype=np.float64)
