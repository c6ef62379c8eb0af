"""Trains the heads of a recipe on cached embeddings in a plain loop, without checkpoints, scores or moving averages.

For simulations that train dozens of networks on the same photos. Each product has one photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attire import Catalog, Recipe
from attire.embeddings import catalog_embeddings
from attire.labels import Targets
from attire.model.input_size import data_config
from attire.model.network import Heads, Logits, build_network
from attire.pixels.preprocess import Preprocess
from attire.training.backbone_defaults import with_backbone_defaults
from attire.training.initial_weights import initial_network
from attire.training.module import StageModule

from timm.optim import param_groups_weight_decay  # isort: skip  (after the operators that attire declares)


SMALL = {"trunk": 256, "colour": 64, "attributes": {"epochs": 8, "lr": 3e-3}}  # fields of a recipe
# From the logits, labels and catalog rows of a batch to a scalar.
LabelLoss = Callable[[Logits, Targets, Tensor], Tensor]


class QuickHeads:
    """The embeddings of a catalog's products, to train heads on."""

    def __init__(self, catalog: Catalog, recipe: Recipe, weights: Path) -> None:
        self.recipe, self.taxonomy = with_backbone_defaults(recipe), catalog.taxonomy
        network, _ = initial_network(self.recipe, catalog.taxonomy, weights, None)
        preprocess = Preprocess.for_backbone(data_config(network.backbone), self.recipe.input_px, recipe.fit)
        cache = catalog_embeddings(catalog, network, self.recipe.backbone, preprocess, 0)
        self.inputs = torch.from_numpy(np.array(cache[[photos[0] for photos in catalog.photo_digests()]]))

    def train(self, targets: Targets, rows: NDArray[np.int64], seed: int, loss_of: LabelLoss | None = None) -> Heads:
        """Heads trained on the products at `rows`. loss_of: in place of the recipe's loss."""
        recipe = self.recipe
        torch.manual_seed(seed)
        heads = build_network(recipe, self.taxonomy, "none", dropout=recipe.dropout, size_px=recipe.input_px).heads
        labels = Targets(*(torch.from_numpy(np.ascontiguousarray(column[rows])) for column in targets))
        inputs, stage = self.inputs[rows], recipe.attributes
        positions = torch.from_numpy(rows)
        module = StageModule(heads, heads, self.taxonomy, recipe, "attributes", labels)
        per_epoch = len(rows) // recipe.batch_size
        steps, generator = stage.epochs * per_epoch, torch.Generator().manual_seed(seed)
        warmup = round(recipe.warmup * steps)
        groups = param_groups_weight_decay(heads, recipe.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=stage.lr, betas=recipe.betas, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda s: (s + 1) / warmup if s < warmup else (1 + math.cos(math.pi * (s - warmup) / (steps - warmup))) / 2,
        )
        heads.train()
        for _ in range(stage.epochs):
            order = torch.randperm(len(rows), generator=generator)
            for batch in order[: per_epoch * recipe.batch_size].view(per_epoch, -1):
                logits, known = heads(inputs[batch]), Targets(*(column[batch] for column in labels))
                loss = module.loss(logits, known) if loss_of is None else loss_of(logits, known, positions[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        return heads.eval()

    def out_of_fold(
        self, targets: Targets, folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits float32[N, C] and float32[N, K]; each fold has rows to train on, and rows to answer."""
        category = np.zeros((len(self.inputs), len(self.taxonomy.categories)), np.float32)
        attributes = np.zeros((len(self.inputs), self.taxonomy.width), np.float32)
        for train, answered in folds:
            heads = self.train(targets, train, seed)
            with torch.inference_mode():
                logits = heads(self.inputs[answered])
            category[answered], attributes[answered] = logits.category.numpy(), logits.attributes.numpy()
        return category, attributes
