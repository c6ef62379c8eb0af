"""Deal groups of products over splits, so that each split gets its share of the products and of each mark.

A *mark* of a product is its category or a value it has; a group has the marks of its products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attire.catalog.store import Catalog
from attire.progress import tracking


def marks_of(catalog: Catalog) -> NDArray[np.bool_]:
    """bool[N, C + K]: each product's category and stated values, which the splits should share evenly."""
    targets = catalog.targets()
    category = targets.category[:, None] == np.arange(len(catalog.taxonomy.categories))
    return np.concatenate([category, targets.hot], axis=1)


def deal(
    marks: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    shares: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int64]:
    """int64[G]: the split of each group, one of its `allowed` ones; groups with one allowed split are not dealt.

    marks: bool[G, M]; sizes: int64[G], in products; allowed: bool[G, S]; shares: float64[S], of all products.

    Iterative stratification counts groups, not products. So groups that would fill a tenth of a split are placed first,
    each where most room is left, and the sizes of the others are added to their marks. About 45 s for a million groups.
    """
    rng = np.random.RandomState(seed)
    target = shares * sizes.sum()
    large = sizes > max(1, 0.1 * target[shares > 0].min())
    is_dealt = allowed.sum(axis=1) > 1
    splits: NDArray[np.int64] = allowed.argmax(axis=1)  # of groups that are not dealt
    room = target - _sums(splits, sizes * ~is_dealt, len(shares))
    order = rng.permutation(np.flatnonzero(is_dealt))
    order = order[np.argsort(-sizes[order], kind="stable")]
    for group in order[large[order]]:
        splits[group] = np.where(allowed[group], room, -np.inf).argmax()
        room[splits[group]] -= sizes[group]
    small, kept = ~large, ~large & ~is_dealt
    dealt = order[small[order]]
    if len(dealt):
        # What the splits should have of the small groups, and lack.
        room = (target - _sums(splits, sizes * large, len(shares))).clip(min=0)
        part = room / room.sum()
        all_marks = np.hstack([marks, sizes[:, None] >= 2 ** np.arange(1, int(sizes[small].max()).bit_length())])
        had = np.stack([all_marks[kept & (splits == split)].sum(axis=0) for split in range(len(shares))])
        lacking = part * small.sum() - _sums(splits, kept, len(shares))
        lacking_marks = np.outer(part, all_marks[small].sum(axis=0)) - had
        with tracking("splitting"):
            splits[dealt] = stratify(all_marks[dealt], allowed[dealt], lacking, lacking_marks, rng)
    return splits


def stratify(
    marks: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    lacking: NDArray[np.float64],
    lacking_marks: NDArray[np.float64],
    rng: np.random.RandomState,
) -> NDArray[np.int64]:
    """int64[G]: a split for each group, so that the splits get what they lack, less than nothing if they have too much.

    marks: bool[G, M]; allowed: bool[G, S]; lacking: float64[S], groups; lacking_marks: float64[S, M], groups by mark.

    Iterative stratification (Sechidis et al., "On the Stratification of Multi-Label Data", 2011): the groups of the
    mark that the fewest groups have are dealt first, each to the split that lacks the mark most.
    """
    lacking, lacking_marks = lacking.copy(), lacking_marks.copy()
    splits = np.zeros(len(marks), dtype=np.int64)
    is_left, counts = np.ones(len(marks), dtype=bool), marks.sum(axis=0)

    def place(group: int, wanted: NDArray[np.float64]) -> None:
        wanted = np.where(allowed[group], wanted, -np.inf)
        best = np.flatnonzero(wanted == wanted.max())
        best = best[lacking[best] == lacking[best].max()]
        split = splits[group] = _one_of(best, rng)
        is_left[group] = False
        lacking[split] -= 1
        lacking_marks[split, marks[group]] -= 1

    while counts.any():
        mark = _one_of(np.flatnonzero(counts == counts[counts > 0].min()), rng)
        groups = np.flatnonzero(marks[:, mark] & is_left)
        for group in groups.tolist():
            place(group, lacking_marks[:, mark])
        counts -= marks[groups].sum(axis=0)
    for group in np.flatnonzero(is_left).tolist():  # without any mark
        place(group, lacking)
    return splits


def _one_of(places: NDArray[np.int64], rng: np.random.RandomState) -> int:
    return int(places[rng.choice(len(places)) if len(places) > 1 else 0])


def _sums(splits: NDArray[np.int64], counts: NDArray[np.int64] | NDArray[np.bool_], length: int) -> NDArray[np.float64]:
    """float64[S]: the sum of the counts of each split's groups."""
    return np.bincount(splits, counts, length).astype(np.float64)
