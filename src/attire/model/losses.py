"""Losses: of the attributes over the flat value axis, as a visible registry, and of the category.

An attribute loss takes logits float32[B, K] and `Targets` of B products to a scalar; a batch that carries no loss gives
0. `create_loss` builds the one that a recipe names, with its parameters; what it counts, it counts in train, once.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Recipe
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.model.unlabelled import Policy, create_policy, value_frequency
from attire.taxonomy import Taxonomy

TINY = torch.finfo(torch.float32).tiny  # where zero would have a power whose slope is infinite


class Softmax(nn.Module):
    """Softmax cross entropy within each key of arity one, mean binary cross entropy within each key of arity many.

    The mean over the pairs (product, key) whose label is known; unknown and inapplicable labels carry no loss. Labels
    of arity one are smoothed over their key's values (Szegedy et al., "Rethinking the Inception Architecture", 2016).
    """

    def __init__(self, taxonomy: Taxonomy, smoothing: float = 0.0) -> None:
        super().__init__()
        self.layout, self.smoothing = ValueLayout(taxonomy), smoothing

    @classmethod
    def create(cls, recipe: Recipe, taxonomy: Taxonomy, _train: Targets) -> Self:
        return cls(taxonomy, recipe.label_smoothing)

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        layout, known = self.layout, targets.state == State.KNOWN
        hot = targets.hot[:, layout.padded] & layout.real  # [B, A, V]
        padded = logits.float()[:, layout.padded]
        log_p = padded.masked_fill(~layout.real, -torch.inf).log_softmax(-1).masked_fill(~layout.real, 0)
        values = layout.real.sum(-1)
        one = -(1 - self.smoothing) * (log_p * hot).sum(-1) - self.smoothing * log_p.sum(-1) / values
        many = F.binary_cross_entropy_with_logits(padded, hot.to(padded), reduction="none")
        many = (many * layout.real).sum(-1) / values
        per_pair = torch.where(layout.one, one, many)
        loss: Tensor = (per_pair * known).sum() / known.sum().clamp(min=1)
        return loss


class Binary(nn.Module):
    """A loss for each cell (product, value), averaged over the cells that `policy` lets carry loss."""

    def __init__(self, policy: Policy, train: Targets) -> None:  # noqa: ARG002 - some losses count labels
        super().__init__()
        self.policy = policy

    @classmethod
    def create(cls, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> Self:
        return cls(create_policy(recipe, taxonomy, train), train, **recipe.loss.model_dump(exclude={"name"}))

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        """The loss of each cell, float32[B, K]; `hot` is the multi-hot label, float32[B, K]."""
        raise NotImplementedError

    def all_cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        """The mean of `cells`."""
        return self.cells(logits, hot).mean()

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        logits, hot = logits.float(), targets.hot.to(torch.float32)
        carrying = self.policy(logits.detach(), targets)
        if carrying is None:
            return self.all_cells(logits, hot)
        loss: Tensor = torch.where(carrying, self.cells(logits, hot), 0).sum() / carrying.sum().clamp(min=1)
        return loss


class BCE(Binary):
    """Binary cross entropy; under the policy `negative` over all values of all keys of all products (the original)."""

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, hot, reduction="none")

    def all_cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, hot)  # the original's own call: equal to the last bit


class WeightedBCE(Binary):
    """Binary cross entropy where a positive label weighs its value's frequency in train ** -`power`.

    What the original's authors wanted and had no time for. Frequencies are among known labels, except under the policy
    `negative`, which counts an unlabelled product as one without the value.
    """

    weight: Tensor

    def __init__(self, policy: Policy, train: Targets, power: float = 1.0) -> None:
        super().__init__(policy, train)
        frequency = value_frequency(train.hot, policy.counted(train))
        weight = torch.where(frequency > 0, frequency, 1) ** -power
        self.register_buffer("weight", weight, persistent=False)

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, hot, pos_weight=self.weight, reduction="none")


class Focal(Binary):
    """Binary cross entropy times (1 - probability of the truth) ** gamma, so that easy cells count for little.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. With an `alpha`, positive labels weigh alpha and
    negative ones 1 - alpha. The paper divides by the number of objects instead of the number of cells.
    """

    def __init__(self, policy: Policy, train: Targets, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__(policy, train)
        self.gamma, self.alpha = gamma, alpha

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        cells = _focused(logits * (2 * hot - 1), self.gamma)
        return cells if self.alpha is None else cells * torch.where(hot > 0, self.alpha, 1 - self.alpha)


class Asymmetric(Binary):
    """Focal loss with one exponent for positive labels and a greater one for the many negative ones.

    A negative label carries no loss once its probability is below `clip`. Ridnik et al., "Asymmetric Loss For
    Multi-Label Classification", ICCV 2021. The paper adds cells up; here, as in all losses, they are averaged.
    """

    def __init__(
        self,
        policy: Policy,
        train: Targets,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        clip: float = 0.05,
    ) -> None:
        super().__init__(policy, train)
        self.gamma_positive, self.gamma_negative, self.clip = gamma_positive, gamma_negative, clip

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        if self.clip:
            shifted = (logits.sigmoid() - self.clip).clamp(min=TINY)
            negative = shifted**self.gamma_negative * -torch.log1p(-shifted)
        else:
            negative = _focused(-logits, self.gamma_negative)
        return torch.where(hot > 0, _focused(logits, self.gamma_positive), negative)


LOSSES: dict[str, type[Softmax | Binary]] = {
    "asl": Asymmetric,
    "bce": BCE,
    "focal": Focal,
    "softmax": Softmax,
    "weighted_bce": WeightedBCE,
}


def create_loss(recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> nn.Module:
    """The recipe's attribute loss. `train`: the labels of all products of the train split."""
    return LOSSES[recipe.loss.name].create(recipe, taxonomy, train)


def category_loss(logits: Tensor, category: Tensor, class_weight: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross entropy of smoothed labels; products of unknown category (-1) carry no loss."""
    if bool((category < 0).all()):
        return logits.sum() * 0
    return F.cross_entropy(logits.float(), category, class_weight, ignore_index=-1, label_smoothing=smoothing)


def balanced_weight(category: Tensor, classes: int, balance: float = 1.0) -> Tensor:
    """float32[C]: frequency ** -balance of each category, 1 on average over products; 0 for an absent category."""
    count = torch.bincount(category[category >= 0], minlength=classes).to(torch.float32)
    weight = torch.where(count > 0, count.clamp(min=1) ** -balance, 0)
    return weight * count.sum() / (weight * count).sum().clamp(min=1e-12)


def _focused(evidence: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma * -log(p) for p = sigmoid(`evidence`), with a finite slope however sure the network is."""
    return (gamma * F.logsigmoid(-evidence)).exp() * -F.logsigmoid(evidence)
