"""What the heads of single keys are trained on: the inputs of the last layers of a frozen network, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.labels import State, Targets
from attire.model.network import Heads
from attire.pixels.dataset import DrawSampler, EmbeddingDataset
from attire.taxonomy import Taxonomy
from attire.training.data import Subset
from attire.training.folds import divide
from attire.training.linear_probe import Floats

FOLDS = 5  # parts of a key's products, each answered by a head that learned the others
MANY = 1000  # labels from which 3 parts are enough
BATCH = 256


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the heads of a network read of N products, and what they answer.

    features: float32[N, F], the inputs of the last layers, those of the colour branch at the end; category: float32[N,
    C], logits.
    """

    features: Floats
    category: Floats

    @classmethod
    def read(cls, heads: Heads, examples: EmbeddingDataset) -> Inputs:
        """From the embeddings of products, and their titles if the network reads them."""
        features, category = [], []
        layers = [heads.attributes, *([] if heads.colour is None else [heads.colour.values])]
        seen: list[Tensor] = []
        hooks = [layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for layer in layers]
        with torch.inference_mode():
            for inputs, _, *text in DataLoader(examples, BATCH, sampler=DrawSampler(len(examples), None)):
                logits = heads.eval()(inputs, *text)
                if heads.colour is not None:
                    seen.reverse()  # colours are read first
                features.append(torch.cat(seen, dim=1).numpy())
                category.append(logits.category.numpy())
                seen.clear()
        for hook in hooks:
            hook.remove()
        return cls(np.concatenate(features), np.concatenate(category))


@dataclass(frozen=True, slots=True)
class KeyLabels:
    """The products of train with a label of one key: their rows in `Inputs`, ids and targets.

    `taxonomy` has this key only, and so do `targets`. unlabelled: rows of other products to which the key applies.
    """

    taxonomy: Taxonomy
    rows: NDArray[np.int64]
    unlabelled: NDArray[np.int64]
    ids: list[str]
    targets: Targets

    @classmethod
    def of(cls, catalog: Catalog, train: Subset, key: str) -> KeyLabels:
        """Raises `CatalogError` if no product of train has a label of the key."""
        taxonomy = catalog.taxonomy
        number, columns = list(taxonomy.keys).index(key), taxonomy.columns[key]
        state = train.targets.state[:, number]
        rows = np.flatnonzero(state == State.KNOWN)
        unlabelled = np.flatnonzero((state == State.UNKNOWN) & (train.targets.category >= 0))
        if not len(rows):
            raise CatalogError(
                f"{catalog.path}: no product of the train split has a label for {key}. Add labels first."
            )
        targets = Targets(
            train.targets.category[rows],
            train.targets.hot[rows, columns],
            train.targets.state[rows, number : number + 1],
        )
        alone = Taxonomy(categories=taxonomy.categories, keys={key: taxonomy.keys[key]})
        return cls(alone, rows, unlabelled, [train.ids[row] for row in rows.tolist()], targets)

    def folds(self, catalog: Catalog, seed: int) -> Iterator[NDArray[np.int64]]:
        """The products with a label in parts of whole groups; none if they are a single group."""
        groups = catalog.products["group"].gather(catalog.rows_of(self.ids)).n_unique()
        if groups < 2:
            return
        place = {id: i for i, id in enumerate(self.ids)}
        for _, held_out in divide(catalog, self.ids, min(FOLDS if len(self.ids) < MANY else 3, groups), seed):
            yield np.array([place[id] for id in held_out], dtype=np.int64)
