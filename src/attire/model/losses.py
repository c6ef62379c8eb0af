"""Losses of the attributes, in the registry `LOSSES`, and of the category.

An attribute loss maps logits float32[B, K] and the `Targets` of B products to a scalar, 0 if no label carries loss.
`create_loss` builds the loss of a recipe; class frequencies are those of the train split.
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

TINY = torch.finfo(torch.float32).tiny  # a power of 0 would have an infinite gradient


class Softmax(nn.Module):
    """Softmax cross entropy for keys of arity one, mean binary cross entropy for keys of arity many.

    The mean over all (product, key) with a known label; unknown and inapplicable labels carry no loss. Labels of arity
    one are smoothed over their key's values (Szegedy et al., "Rethinking the Inception Architecture", 2016).
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
    """A loss per cell (product, value), averaged over the cells that carry loss according to `policy`."""

    def __init__(self, policy: Policy, train: Targets) -> None:  # noqa: ARG002 - some losses use it
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
        mask = self.policy(logits.detach(), targets)
        if mask is None:
            return self.all_cells(logits, hot)
        loss: Tensor = torch.where(mask, self.cells(logits, hot), 0).sum() / mask.sum().clamp(min=1)
        return loss


class BCE(Binary):
    """Binary cross entropy; with the policy `negative` over all values of all keys (the original method)."""

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, hot, reduction="none")

    def all_cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, hot
        )  # the same call as in the original: equal to the last bit


class WeightedBCE(Binary):
    """Binary cross entropy in which a positive label has the weight (frequency of its value in train) ** -`power`.

    The original's authors planned this but did not implement it. Frequencies are among known labels, except with the
    policy `negative`, which counts an unlabelled product as one without the value.
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
    """Binary cross entropy times (1 - probability of the true label) ** gamma, which reduces the weight of easy cells.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. With `alpha`, positive labels have the weight alpha
    and negative ones 1 - alpha. The paper divides by the number of objects instead of the number of cells.
    """

    def __init__(self, policy: Policy, train: Targets, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__(policy, train)
        self.gamma, self.alpha = gamma, alpha

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        cells = _focal(logits * (2 * hot - 1), self.gamma)
        return cells if self.alpha is None else cells * torch.where(hot > 0, self.alpha, 1 - self.alpha)


class Asymmetric(Binary):
    """Focal loss with a larger exponent for the many negative labels than for positive ones.

    A negative label carries no loss once its probability is below `clip`. Ridnik et al., "Asymmetric Loss For
    Multi-Label Classification", ICCV 2021. The paper sums over cells; all losses here average.
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
            negative = _focal(-logits, self.gamma_negative)
        return torch.where(hot > 0, _focal(logits, self.gamma_positive), negative)


LOSSES: dict[str, type[Softmax | Binary]] = {
    "asl": Asymmetric,
    "bce": BCE,
    "focal": Focal,
    "softmax": Softmax,
    "weighted_bce": WeightedBCE,
}


def create_loss(recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> nn.Module:
    """The attribute loss of a recipe. `train`: the labels of the train split."""
    return LOSSES[recipe.loss.name].create(recipe, taxonomy, train)


def category_loss(logits: Tensor, category: Tensor, class_weight: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross entropy with label smoothing; products of unknown category (-1) carry no loss."""
    if bool((category < 0).all()):
        return logits.sum() * 0
    return F.cross_entropy(logits.float(), category, class_weight, ignore_index=-1, label_smoothing=smoothing)


def balanced_weight(category: Tensor, classes: int, balance: float = 1.0) -> Tensor:
    """float32[C]: class weights frequency ** -balance, 1 on average over products, 0 for an absent category."""
    count = torch.bincount(category[category >= 0], minlength=classes).to(torch.float32)
    weight = torch.where(count > 0, count.clamp(min=1) ** -balance, 0)
    return weight * count.sum() / (weight * count).sum().clamp(min=1e-12)


def _focal(evidence: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma * -log(p) for p = sigmoid(`evidence`), with a finite gradient for any logit."""
    return (gamma * F.logsigmoid(-evidence)).exp() * -F.logsigmoid(evidence)
