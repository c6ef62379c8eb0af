"""Products keep their split when a changed catalog is split again: where they may be, and which of them moved."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attire.errors import first_ids

SPLIT_NAMES = ("train", "val", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """Numbers of products that kept their split, are new, are gone, and moved from one split to another."""

    kept: int
    new: int
    gone: int
    moved: Mapping[tuple[str, str], int]


def earlier_splits(ids: Sequence[str], split_of: Mapping[str, str]) -> NDArray[np.int64]:
    """int64[N]: the number of each product's split in `split_of`, -1 for new products."""
    number = {name: i for i, name in enumerate(SPLIT_NAMES)}
    return np.array([number[split_of[id]] if id in split_of else -1 for id in ids], dtype=np.int64)


def allowed_splits(
    before: NDArray[np.int64],
    group_of_product: NDArray[np.int64],
    shares: Mapping[str, float],
    earlier: Mapping[str, float],
) -> NDArray[np.bool_]:
    """bool[G, S]: the splits that each group may be in, by those of its products and the shares now and before.

    before: int64[N], `earlier_splits`; group_of_product: int64[N].
    """
    had = np.zeros((group_of_product.max(initial=-1) + 1, len(SPLIT_NAMES)), dtype=bool)
    had[group_of_product[before >= 0], before[before >= 0]] = True
    count = had.sum(axis=1)
    allowed = had.copy()
    allowed[count == 0] = [shares[name] > 0 for name in SPLIT_NAMES]
    allowed[count > 1] = [name == "train" for name in SPLIT_NAMES]
    allowed[had[:, 0] & (count == 1)] |= [shares[name] > earlier[name] for name in SPLIT_NAMES]
    return allowed


def changes_between(ids: Sequence[str], before: NDArray[np.int64], after: NDArray[np.int64], earlier: int) -> Changes:
    """Compare the splits of products, and log which moved and why.

    before: int64[N], `earlier_splits`; after: int64[N]; earlier: number of products before.
    """
    known = before >= 0
    pairs = Counter(zip(before[known].tolist(), after[known].tolist(), strict=True))
    moved = {(SPLIT_NAMES[a], SPLIT_NAMES[b]): count for (a, b), count in sorted(pairs.items()) if a != b}
    if len(joined := np.flatnonzero((before > 0) & (after == 0))):
        logger.warning(
            "%s products moved from val or test to train, because they are in one group with products of another "
            "split now: %s",
            f"{len(joined):,}",
            first_ids([ids[row] for row in joined.tolist()]),
        )
    for name, other in (("val", "test"), ("test", "val")):
        if count := moved.get(("train", name)):
            logger.warning(
                "%s products moved from train to %s (none from %s), because its share has grown. Models trained before "
                "have seen them, so score on %s only models that are trained from now on.",
                f"{count:,}",
                name,
                other,
                name,
            )
    present = int(known.sum())
    return Changes(present - sum(moved.values()), len(before) - present, earlier - present, moved)
