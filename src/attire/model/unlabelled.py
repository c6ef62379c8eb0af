"""Which cells (product, value) carry a binary loss where a key has no label.

A policy answers bool[B, K] for a batch, or None where every cell carries loss. A key that does not apply to the
category is not a missing label: `ignore` leaves it out, `selective` knows that none of its values holds, and
`negative` does as the original, which did not distinguish the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attire.config import Recipe
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.taxonomy import Taxonomy


class Policy(nn.Module):
    """What a key without a label means to a binary loss. `train`: the labels of all products of the train split."""

    def __init__(self, taxonomy: Taxonomy, train: Targets) -> None:  # noqa: ARG002 - some policies count labels
        super().__init__()
        self.layout = ValueLayout(taxonomy)

    def counted(self, targets: Targets) -> Tensor:
        """bool[N, K]: the cells among which a value's frequency is counted."""
        return known_cells(self.layout, targets)


class Ignore(Policy):
    """Only the values of known keys carry loss."""

    def forward(self, _logits: Tensor, targets: Targets) -> Tensor:
        return known_cells(self.layout, targets)


class Negative(Policy):
    """Everything carries loss: a value without a label counts as absent (the original)."""

    def counted(self, targets: Targets) -> Tensor:
        return torch.ones_like(targets.hot)

    def forward(self, _logits: Tensor, _targets: Targets) -> None:
        return None


class Selective(Policy):
    """An unlabelled value counts as absent, unless it may well be there: then it carries no loss.

    It may be there if it is common (its prior exceeds `prior`), or if the network finds it likely: in each batch, the
    `likely` likeliest unlabelled values per product on average are left out. After Ben-Baruch et al., "Multi-label
    Classification with Partial Annotations using Class-aware Selective Loss", CVPR 2022. They estimate priors with a
    separate network, because their annotators looked at some classes more than at others. Here a key is labelled with
    all its values or not at all, so a value's share among its key's known labels serves. A value stated for a key that
    does not apply to the category is a contradiction and carries no loss either.
    """

    common: Tensor

    def __init__(self, taxonomy: Taxonomy, train: Targets, prior: float = 0.05, likely: int = 5) -> None:
        super().__init__(taxonomy, train)
        self.likely = likely
        frequency = value_frequency(train.hot, self.counted(train))
        common = frequency.nan_to_num(torch.inf) > prior  # a key without any label may have any value
        self.register_buffer("common", common, persistent=False)

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        state: Tensor = targets.state.index_select(1, self.layout.key_of_column)
        unlabelled = state == State.UNKNOWN
        candidates = logits.masked_fill(~unlabelled, -torch.inf).flatten()
        likeliest = candidates.topk(min(self.likely * len(logits), len(candidates))).indices
        likely = torch.zeros_like(candidates, dtype=torch.bool).index_fill(0, likeliest, True).view_as(unlabelled)
        contradiction: Tensor = (state == State.NOT_APPLICABLE) & targets.hot
        return ~(unlabelled & (self.common | likely)) & ~contradiction


UNLABELLED: dict[str, type[Policy]] = {"ignore": Ignore, "negative": Negative, "selective": Selective}


def create_policy(recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> Policy:
    """The recipe's policy for keys without a label."""
    policy = recipe.unlabelled
    return UNLABELLED[policy.name](taxonomy, train, **policy.model_dump(exclude={"name"}))


def known_cells(layout: ValueLayout, targets: Targets) -> Tensor:
    """bool[B, K]: the values of keys whose label is known."""
    known: Tensor = (targets.state == State.KNOWN).index_select(1, layout.key_of_column)
    return known


def value_frequency(hot: Tensor, counted: Tensor) -> Tensor:
    """float32[K]: each value's frequency among the `counted` cells, both bool[N, K]; nan where none is counted."""
    frequency: Tensor = (hot & counted).sum(0) / counted.sum(0)
    return frequency
