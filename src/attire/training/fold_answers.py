"""Answers to products by networks that have not learned their groups: one network for each fold of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.labels import Targets
from attire.model.backbone import weights_digest
from attire.model.input_size import data_config
from attire.model.network import Network
from attire.pixels.preprocess import Preprocess
from attire.training.backbone_defaults import with_backbone_defaults
from attire.training.calibrate import Answers
from attire.training.data import RunData
from attire.training.folds import EarlierFold, fold_folder
from attire.training.initial_weights import initial_network
from attire.training.network_training import NetworkTraining
from attire.training.stage_folder import StageFolder
from attire.training.supervision import STAGES, stages_to_train, taught_by
from attire.training.trainer import first_process


def fold_answers(
    data: RunData,
    start: Network,
    preprocess: Preprocess,
    record: Mapping[str, Any],
    out: Path,
    *,
    earlier: Sequence[EarlierFold] = (),
    freeze_batch_norm: bool = False,
) -> list[Answers]:
    """The answers to the products of each fold of `data`, of a network that is trained from `start` on the other folds.

    It goes on from where the network of the `earlier` fold has ended, if there is one (see `divide_again`).
    The networks are kept in `out`/fold-N with `record`, so that an interrupted run resumes; raises `ConfigError` if
    they have another record. In other processes than the first one, the list is empty.
    """
    recipe = data.recipe
    stages = [name for name in STAGES if getattr(recipe, name).epochs]
    answers = []
    for number, parts in enumerate(data.folds, 1):
        network, folder, learned = copy.deepcopy(start), fold_folder(out, number), parts.train.learned
        if earlier:
            earlier[number - 1].folder.load_result(network)
            learned = learned | earlier[number - 1].learned
        training = NetworkTraining(
            network,
            recipe,
            data.catalog.taxonomy,
            preprocess,
            data.examples(network, preprocess, parts),
            freeze_batch_norm=freeze_batch_norm,
            title=f"fold {number} of {len(data.folds)}: ",
        )
        if first_process():
            for name in stages:
                StageFolder(folder, name).begin(record, resume=True)
            learned.save(folder)
        training.run(folder, stages)
        answers += training.held_out_answers()
    return answers


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Logits for N products by networks that have not learned their groups, and the labels that the others learned.

    row:        int64[N], the product's row in the catalog
    fold:       int64[N], from 1
    truth:      the labels, `Targets` of N products
    category:   float32[N, C]
    attributes: float32[N, K]
    is_learned: bool[N], false for products that nothing is learned from (`Catalog.audited`)
    """

    row: NDArray[np.int64]
    fold: NDArray[np.int64]
    truth: Targets
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]
    is_learned: NDArray[np.bool_]

    def at(self, rows: NDArray[Any]) -> OutOfFold:
        """The products at these positions, or where a mask is true."""
        return OutOfFold(
            self.row[rows],
            self.fold[rows],
            Targets(*(column[rows] for column in self.truth)),
            self.category[rows],
            self.attributes[rows],
            self.is_learned[rows],
        )

    def of(self, catalog: Catalog) -> OutOfFold:
        """The same answers beside the labels of a catalog with the same products."""
        return replace(self, truth=Targets(*(column[self.row] for column in catalog.targets())))


def out_of_fold(
    catalog: Catalog,
    splits: Splits,
    recipe: Recipe,
    folds: int,
    out: Path,
    *,
    weights: str | Path | None = None,
    workers: int = 1,
    cache: bool | None = None,
) -> OutOfFold:
    """Answers to all products of train and val with a readable photo, in their order in the catalog.

    The folds divide train and val together, and keep groups together. The networks are kept in `out`. Raises
    `CatalogError` if there are fewer groups than folds, or no labels to learn.
    """
    recipe = with_backbone_defaults(recipe)
    torch.manual_seed(recipe.seed)
    start, origin = initial_network(recipe, catalog.taxonomy, weights, None)
    data = RunData.of_all(catalog, splits, recipe, folds, cache, workers)
    taught = taught_by(data.whole.train.targets, catalog.taxonomy, None)
    stages_to_train(catalog, recipe, "both", taught, None)
    preprocess = Preprocess.for_backbone(data_config(start.backbone), recipe.input_px, recipe.fit)
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "weights": origin,
        "weights_sha256": weights_digest(start.backbone),
        "catalog": catalog.digest,
        "splits": splits.digest,
        "folds": folds,
    }
    answers = fold_answers(data, start, preprocess, record, out)
    held_out = [parts.calibration for parts in data.folds if parts.calibration is not None]
    ids = [id for subset in held_out for id in subset.ids]
    found = OutOfFold(
        catalog.rows_of(ids),
        np.repeat(np.arange(1, folds + 1), [len(subset.ids) for subset in held_out]),
        Targets(*map(np.concatenate, zip(*(part.truth for part in answers), strict=True))),
        np.concatenate([part.category for part in answers]),
        np.concatenate([part.attributes for part in answers]),
        np.array([id not in catalog.audited for id in ids]),
    )
    return found.at(np.argsort(found.row))
