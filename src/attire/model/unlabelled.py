"""Which cells (product, value) carry a binary loss where nobody labelled the key.

Each policy is built from the recipe, the taxonomy and the labels of train, and answers bool[B, K] for a batch, or None
where every cell carries loss. A key that the category rules out is not a missing label: `ignore` leaves it out,
`selective` knows that none of its values holds, and `negative` does as the original, which knew of no such thing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attire.config import Recipe
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.taxonomy import Taxonomy


class Ignore(nn.Module):
    """Only the values of known keys carry loss."""

    def __init__(self, _recipe: Recipe, taxonomy: Taxonomy, _train: Targets) -> None:
        super().__init__()
        self.layout = ValueLayout(taxonomy)

    def forward(self, _logits: Tensor, targets: Targets) -> Tensor:
        return known_cells(self.layout, targets)


class Negative(nn.Module):
    """Everything carries loss, so that a value that nobody stated counts as absent (the original)."""

    def __init__(self, _recipe: Recipe, _taxonomy: Taxonomy, _train: Targets) -> None:
        super().__init__()

    def forward(self, _logits: Tensor, _targets: Targets) -> None:
        return None


class Selective(nn.Module):
    """An unlabelled value counts as absent, unless it may well be there: then it carries no loss.

    It may be there if it is common (its prior exceeds `selective.prior`), or if the network finds it likely: of each
    batch, the `selective.likely` likeliest unlabelled values per product on average are left out. After Ben-Baruch et
    al., "Multi-label Classification with Partial Annotations using Class-aware Selective Loss", CVPR 2022. They
    estimate priors with a network of its own, for their annotators looked at some classes more than at others. Here a
    key is labelled with all its values or not at all, so a value's share among its key's known labels serves. A value
    stated for a key that the category rules out contradicts itself and carries no loss either.
    """

    common: Tensor

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> None:
        super().__init__()
        self.layout, self.likely = ValueLayout(taxonomy), recipe.selective.likely
        known = known_cells(self.layout, train)
        prior = value_frequency(train.hot, known).nan_to_num(
            torch.inf
        )  # of a key that nobody ever labelled we know nothing
        self.register_buffer("common", prior > recipe.selective.prior, persistent=False)

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        state: Tensor = targets.state.index_select(1, self.layout.key_of_column)
        unlabelled = state == State.UNKNOWN
        doubt = logits.masked_fill(~unlabelled, -torch.inf).flatten()
        likeliest = doubt.topk(min(self.likely * len(logits), len(doubt))).indices
        likely = torch.zeros_like(doubt, dtype=torch.bool).index_fill(0, likeliest, True).view_as(unlabelled)
        contradicted: Tensor = (state == State.NOT_APPLICABLE) & targets.hot
        return ~(unlabelled & (self.common | likely)) & ~contradicted


UNLABELLED: dict[str, Callable[[Recipe, Taxonomy, Targets], nn.Module]] = {
    "ignore": Ignore,
    "negative": Negative,
    "selective": Selective,
}


def known_cells(layout: ValueLayout, targets: Targets) -> Tensor:
    """bool[B, K]: the values of keys whose label is known."""
    known: Tensor = (targets.state == State.KNOWN).index_select(1, layout.key_of_column)
    return known


def value_frequency(hot: Tensor, counted: Tensor) -> Tensor:
    """float32[K]: how often each value holds among the `counted` cells, both bool[N, K]; nan where none is counted."""
    frequency: Tensor = (hot & counted).sum(0) / counted.sum(0)
    return frequency
