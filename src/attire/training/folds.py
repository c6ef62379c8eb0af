"""The folds of a run, and how a later run continues them without training on what they answer.

RUN/fold-N/learned.safetensors  the photos that the fold's network was trained on, in this run and those it continues
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.files import read_json
from attire.learned import Learned
from attire.training.stage_folder import StageFolder


class EarlierFold(NamedTuple):
    """A fold of an earlier run: the folder of its network, and what that was trained on."""

    folder: StageFolder
    learned: Learned


def fold_folder(out: Path, number: int) -> Path:
    """The folder of the fold `number`, from 1, in the run `out`."""
    return out / f"fold-{number}"


def earlier_folds(bundle: ModelBundle) -> tuple[EarlierFold, ...]:
    """The folds of the run that made `bundle`; none unless all of them lie beside it and record what they learned."""
    count = bundle.provenance.get("recipe", {}).get("folds", 0)
    folds = []
    for number in range(1, count + 1):
        folder = StageFolder(fold_folder(bundle.path.parent, number), "attributes")
        try:
            record = read_json(folder.record)
            same = all(bundle.provenance.get(name) == value for name, value in record.items())
            if not same or not folder.finished:
                return ()
            folds.append(EarlierFold(folder, Learned.load(folder.out)))
        except (OSError, ValueError, AttributeError):
            return ()
    return tuple(folds)


def divide(catalog: Catalog, ids: Sequence[str], folds: int, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """For each of `folds` parts of `ids`: the products of the other parts, and its own; groups stay together.

    Raises `CatalogError` if there are fewer groups than folds.
    """
    group, groups = shuffled_groups(catalog, ids, seed)
    if len(groups) < folds:
        raise CatalogError(
            f"{catalog.path}: the train split has {len(groups):,} groups of products, too few for {folds} folds. Use "
            "fewer (--set folds=2), or no calibration (--set folds=0), or ingest more products."
        )
    return _parts(ids, group, {name: number % folds for number, name in enumerate(groups.tolist())}, folds)


def divide_again(
    catalog: Catalog, ids: Sequence[str], earlier: Sequence[EarlierFold], seed: int
) -> Iterator[tuple[list[str], list[str]]]:
    """`divide` for networks that continue those of `earlier`: no product is in the part of one that learned its group.

    A group stays in its part, and new groups are dealt evenly. A group that all networks learned, because groups have
    become one, is in no part: it is trained on, but never used to calibrate.
    """
    group, groups = shuffled_groups(catalog, ids, seed)
    learned = np.stack([in_learned_groups(catalog, fold.learned) for fold in earlier])
    rows = dict(zip(catalog.products["group"].to_list(), range(len(catalog)), strict=True))  # any product of the group
    fold_of: dict[str, int] = {}
    sizes = np.zeros(len(earlier), np.int64)
    free = {name: np.flatnonzero(~learned[:, rows[name]]) for name in groups.tolist()}
    for name in sorted(free, key=lambda name: len(free[name])):  # those without a choice first
        if len(free[name]):
            fold_of[name] = int(free[name][sizes[free[name]].argmin()])
            sizes[fold_of[name]] += 1
    return _parts(ids, group, fold_of, len(earlier))


def _parts(
    ids: Sequence[str], group: dict[str, str], fold_of: dict[str, int], folds: int
) -> Iterator[tuple[list[str], list[str]]]:
    for number in range(folds):
        yield (
            [id for id in ids if fold_of.get(group[id]) != number],
            [id for id in ids if fold_of.get(group[id]) == number],
        )


def shuffled_groups(catalog: Catalog, ids: Sequence[str], seed: int) -> tuple[dict[str, str], NDArray[np.str_]]:
    """The group of each product of the catalog, and the groups of `ids` in random order."""
    group = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
    return group, np.random.default_rng(seed).permutation(sorted({group[id] for id in ids}))
