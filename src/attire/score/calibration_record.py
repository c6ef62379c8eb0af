"""The answers that a network gave on its calibration products, from which a bundle fits thresholds for any promise.

calibration.safetensors: the fields of `CalibrationRecord`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from attire.files import replacing
from attire.labels import Targets, contradicted, labelled
from attire.score.decisions import Decisions, applicability, confidence, least_confident, log_odds
from attire.taxonomy import Taxonomy

CALIBRATION = "calibration.safetensors"  # in a bundle
UNKNOWN = -1  # in `right` and `ruled_out`
DTYPES = {
    "key": np.int16,
    "column": np.int32,
    "log_odds": np.float32,
    "applicability": np.float32,
    "right": np.int8,
    "ruled_out": np.int8,
    "products": np.int64,
    "frequency": np.float32,
}


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class CalibrationRecord:
    """M answers on products that the network was not trained on, and how frequent each value is in each category.

    key:           int16[M], index of the key; A for the answer on the category
    column:        int32[M], column of the least confident value; K + index for the category
    log_odds:      float32[M], of the answer's confidence
    applicability: float32[M], probability that the key applies; 1 for the category
    right:         int8[M], 1 if the label agrees, 0 if it does not, -1 without a label
    ruled_out:     int8[M], 1 if the true category rules the key out, 0 if not, -1 for an unknown category
    products:      int64[1], their number
    frequency:     float32[C, K], of each value among the products of a category with a label of the key
    """

    key: NDArray[np.int16]
    column: NDArray[np.int32]
    log_odds: NDArray[np.float32]
    applicability: NDArray[np.float32]
    right: NDArray[np.int8]
    ruled_out: NDArray[np.int8]
    products: NDArray[np.int64]
    frequency: NDArray[np.float32]

    @classmethod
    def of(
        cls, taxonomy: Taxonomy, truth: Targets, decisions: Decisions, frequency: NDArray[np.float32]
    ) -> CalibrationRecord:
        """From the decisions on N products and their labels."""
        answered = labelled(taxonomy, decisions.chosen)
        key = np.nonzero(answered)[1]
        known, hot = truth.category >= 0, np.asarray(truth.hot, dtype=bool)
        right = np.where(labelled(taxonomy, hot), ~contradicted(taxonomy, hot, decisions.chosen), UNKNOWN)
        ruled_out = np.where(known[:, None], ~taxonomy.applies[truth.category], UNKNOWN)
        likeliest = decisions.category_probability[np.arange(len(known)), decisions.category]
        columns: dict[str, tuple[Any, Any]] = {  # of the keys, and of the category
            "key": (key, np.full(known.sum(), len(taxonomy.keys))),
            "column": (least_confident(taxonomy, decisions)[answered], taxonomy.width + decisions.category[known]),
            "log_odds": (log_odds(confidence(taxonomy, decisions)[answered]), log_odds(likeliest[known])),
            "applicability": (applicability(taxonomy, decisions)[answered], np.ones(known.sum())),
            "right": (right[answered], (decisions.category == truth.category)[known]),
            "ruled_out": (ruled_out[answered], np.zeros(known.sum())),
        }
        arrays = {name: np.concatenate(parts).astype(DTYPES[name]) for name, parts in columns.items()}
        return cls(**arrays, products=np.array([len(known)]), frequency=frequency)

    @property
    def checked(self) -> NDArray[np.bool_]:
        """bool[M]: the answers on fields with a label."""
        return np.asarray(self.right != UNKNOWN)

    def save(self, folder: Path) -> None:
        """Write `calibration.safetensors` into a folder, atomically."""
        with replacing(folder / CALIBRATION) as temporary:
            save_file({name: np.ascontiguousarray(getattr(self, name)) for name in DTYPES}, temporary)

    @classmethod
    def load(cls, folder: Path, taxonomy: Taxonomy) -> Self:
        """Read `calibration.safetensors`; raises `OSError` if it cannot be read and `ValueError` if it is damaged."""
        try:
            arrays = load_file(folder / CALIBRATION)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        length = len(arrays.get("key", ()))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(DTYPES, (length,))
        shapes |= {"products": (1,), "frequency": (len(taxonomy.categories), taxonomy.width)}
        expected = {name: (np.dtype(dtype), shapes[name]) for name, dtype in DTYPES.items()}
        if {name: (array.dtype, array.shape) for name, array in arrays.items()} != expected:
            raise ValueError(f"expected arrays {', '.join(DTYPES)} that fit the bundle's taxonomy")
        keys, columns = len(taxonomy.keys), taxonomy.width + len(taxonomy.categories)
        if length and not (0 <= arrays["key"].min() <= arrays["key"].max() <= keys):
            raise ValueError("key must be an index of a key")
        if length and not (0 <= arrays["column"].min() <= arrays["column"].max() < columns):
            raise ValueError("column must be an index of a value or category")
        if not all(np.isfinite(arrays[name]).all() for name in ("log_odds", "applicability", "frequency")):
            raise ValueError("it contains NaN or infinite values")
        return cls(**arrays)


def frequencies(taxonomy: Taxonomy, truth: Targets) -> NDArray[np.float32]:
    """float32[C, K]: share of each value among the products of a category that have a label of its key.

    Counts are smoothed by one product with the overall shares, so that no value is impossible in a category.
    """
    hot = np.asarray(truth.hot, dtype=np.float64)
    of_category = truth.category == np.arange(len(taxonomy.categories))[:, None]
    overall = _shares(taxonomy, hot.sum(axis=0, keepdims=True) + 1 / max(1, taxonomy.width))
    return _shares(taxonomy, of_category.astype(np.float64) @ hot + overall).astype(np.float32)


def _shares(taxonomy: Taxonomy, count: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows, K]: counts divided by their sum within each key."""
    if not taxonomy.keys:
        return count
    return np.asarray(count / np.add.reduceat(count, taxonomy.starts, axis=1)[:, taxonomy.key_of_column])
