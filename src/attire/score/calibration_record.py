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
from attire.score.decisions import (
    Decisions,
    applicability,
    coarse_values,
    confidence,
    least_confident,
    log_odds,
    with_coarse,
)
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
COARSE_DTYPES = {"coarse_column": np.int32, "coarse_log_odds": np.float32, "coarse_right": np.int8}


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

    coarse_column, coarse_log_odds and coarse_right, [M] each, are the same of the coarser answer (`coarse_values`), or
    of the answer itself if there is none. The file has them only if some answer has a coarser one.
    """

    key: NDArray[np.int16]
    column: NDArray[np.int32]
    log_odds: NDArray[np.float32]
    applicability: NDArray[np.float32]
    right: NDArray[np.int8]
    ruled_out: NDArray[np.int8]
    products: NDArray[np.int64]
    frequency: NDArray[np.float32]
    coarse_column: NDArray[np.int32]
    coarse_log_odds: NDArray[np.float32]
    coarse_right: NDArray[np.int8]

    @classmethod
    def of(
        cls, taxonomy: Taxonomy, truth: Targets, decisions: Decisions, frequency: NDArray[np.float32]
    ) -> CalibrationRecord:
        """From the decisions on N products and their labels."""
        answered = labelled(taxonomy, decisions.chosen)
        key = np.nonzero(answered)[1]
        known, hot = truth.category >= 0, np.asarray(truth.hot, dtype=bool)
        ruled_out = np.where(known[:, None], ~taxonomy.applies[truth.category], UNKNOWN)
        likeliest = decisions.category_probability[np.arange(len(known)), decisions.category]
        columns: dict[str, tuple[Any, Any]] = {  # of the keys, and of the category
            "key": (key, np.full(known.sum(), len(taxonomy.keys))),
            "applicability": (applicability(taxonomy, decisions.category_probability)[answered], np.ones(known.sum())),
            "ruled_out": (ruled_out[answered], np.zeros(known.sum())),
        }
        coarse = with_coarse(taxonomy, decisions, coarse_values(taxonomy, decisions))
        for prefix, answers in (("", decisions), ("coarse_", coarse)):
            right = np.where(labelled(taxonomy, hot), ~contradicted(taxonomy, hot, answers.chosen), UNKNOWN)
            columns |= {
                f"{prefix}column": (
                    least_confident(taxonomy, answers)[answered],
                    taxonomy.width + answers.category[known],
                ),
                f"{prefix}log_odds": (log_odds(confidence(taxonomy, answers)[answered]), log_odds(likeliest[known])),
                f"{prefix}right": (right[answered], (answers.category == truth.category)[known]),
            }
        dtypes = DTYPES | COARSE_DTYPES
        arrays = {name: np.concatenate(parts).astype(dtypes[name]) for name, parts in columns.items()}
        return cls(**arrays, products=np.array([len(known)]), frequency=frequency)

    @property
    def checked(self) -> NDArray[np.bool_]:
        """bool[M]: the answers on fields with a label."""
        return np.asarray(self.right != UNKNOWN)

    @property
    def has_coarse(self) -> bool:
        """Whether some answer has a coarser one."""
        return not np.array_equal(self.coarse_log_odds, self.log_odds)

    def save(self, folder: Path) -> None:
        """Write `calibration.safetensors` into a folder, atomically."""
        names = [*DTYPES, *(COARSE_DTYPES if self.has_coarse else ())]
        with replacing(folder / CALIBRATION) as temporary:
            save_file({name: np.ascontiguousarray(getattr(self, name)) for name in names}, temporary)

    @classmethod
    def load(cls, folder: Path, taxonomy: Taxonomy) -> Self:
        """Read `calibration.safetensors`; raises `OSError` if it cannot be read and `ValueError` if it is damaged."""
        try:
            arrays = load_file(folder / CALIBRATION)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        length, dtypes = len(arrays.get("key", ())), DTYPES | COARSE_DTYPES
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(dtypes, (length,))
        shapes |= {"products": (1,), "frequency": (len(taxonomy.categories), taxonomy.width)}
        if not COARSE_DTYPES.keys() & arrays.keys():
            arrays |= {name: arrays[fine] for name in COARSE_DTYPES if (fine := name.removeprefix("coarse_")) in arrays}
        expected = {name: (np.dtype(dtype), shapes[name]) for name, dtype in dtypes.items()}
        if {name: (array.dtype, array.shape) for name, array in arrays.items()} != expected:
            raise ValueError(f"expected arrays {', '.join(DTYPES)} that fit the bundle's taxonomy")
        keys, columns = len(taxonomy.keys), taxonomy.width + len(taxonomy.categories)
        if length and not (0 <= arrays["key"].min() <= arrays["key"].max() <= keys):
            raise ValueError("key must be an index of a key")
        for name in ("column", "coarse_column"):
            if length and not (0 <= arrays[name].min() <= arrays[name].max() < columns):
                raise ValueError(f"{name} must be an index of a value or category")
        finite = [name for name, dtype in dtypes.items() if dtype is np.float32]
        if not all(np.isfinite(arrays[name]).all() for name in finite):
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
