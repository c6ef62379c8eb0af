"""Policies for unlabelled keys: which cells (product, value) carry a binary loss if a key has no label.

A policy returns bool[B, K] for a batch, or None if every cell carries loss. A key that does not apply to the category
is not unlabelled: `ignore` leaves it out, `selective` counts all its values as absent, and `negative` does not
distinguish the two, like the original.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attire.config import Recipe
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.taxonomy import Taxonomy


class Policy(nn.Module):
    """How a binary loss treats keys without a label. `train`: the labels of the train split."""

    def __init__(self, taxonomy: Taxonomy, train: Targets) -> None:  # noqa: ARG002 - some policies use it
        super().__init__()
        self.layout = ValueLayout(taxonomy)

    def counted(self, targets: Targets) -> Tensor:
        """bool[N, K]: the cells from which value frequencies are computed."""
        return known_cells(self.layout, targets)


class Ignore(Policy):
    """Only the values of keys with a known label carry loss."""

    def forward(self, _logits: Tensor, targets: Targets) -> Tensor:
        return known_cells(self.layout, targets)


class Negative(Policy):
    """All cells carry loss: an unlabelled value counts as absent (the original)."""

    def counted(self, targets: Targets) -> Tensor:
        return torch.ones_like(targets.hot)

    def forward(self, _logits: Tensor, _targets: Targets) -> None:
        return None


class Selective(Policy):
    """An unlabelled value counts as absent, unless it is likely to be present: then it carries no loss.

    A value is likely if it is common (its prior exceeds `prior`), or if its logit is among the highest: in each batch
    of B products, the `likely` * B unlabelled cells with the highest logits carry no loss. After Ben-Baruch et al.,
    "Multi-label Classification with Partial Annotations using Class-aware Selective Loss", CVPR 2022, who estimate
    priors with a separate network because their annotators looked for some classes more than for others. Here a key is
    labelled with all its values or not at all, so the prior is a value's frequency among known labels of its key.
    A value stated for a key that does not apply to the category is a contradiction and carries no loss.
    """

    common: Tensor

    def __init__(self, taxonomy: Taxonomy, train: Targets, prior: float = 0.05, likely: int = 5) -> None:
        super().__init__(taxonomy, train)
        self.likely = likely
        frequency = value_frequency(train.hot, self.counted(train))
        common = frequency.nan_to_num(torch.inf) > prior  # any value is likely for a key without any label
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
    """The policy of a recipe for keys without a label."""
    policy = recipe.unlabelled
    return UNLABELLED[policy.name](taxonomy, train, **policy.model_dump(exclude={"name"}))


def known_cells(layout: ValueLayout, targets: Targets) -> Tensor:
    """bool[B, K]: the values of keys with a known label."""
    known: Tensor = (targets.state == State.KNOWN).index_select(1, layout.key_of_column)
    return known


def value_frequency(hot: Tensor, counted: Tensor) -> Tensor:
    """float32[K]: each value's frequency among the `counted` cells (bool[N, K]), nan if there are none."""
    frequency: Tensor = (hot & counted).sum(0) / counted.sum(0)
    return frequency
