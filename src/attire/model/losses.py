"""Losses: of the attributes over the flat value axis, as a visible registry, and of the category.

Each attribute loss is built from the recipe, the taxonomy and the labels of train (what it counts, it counts there,
once), and takes logits float32[B, K] and `Targets` of B products to a scalar. A batch that carries no loss gives 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Recipe
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.model.unlabelled import UNLABELLED, known_cells, value_frequency
from attire.taxonomy import Taxonomy

TINY = torch.finfo(torch.float32).tiny  # where zero would have a power whose slope is infinite


class Softmax(nn.Module):
    """Softmax cross entropy within each key of arity one, mean binary cross entropy within each key of arity many.

    The mean over the pairs (product, key) whose label is known; unknown and inapplicable labels carry no loss. Labels
    of arity one are smoothed over their key's values (Szegedy et al., "Rethinking the Inception Architecture", 2016).
    """

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, _train: Targets) -> None:
        super().__init__()
        self.layout, self.smoothing = ValueLayout(taxonomy), recipe.label_smoothing

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
    """A loss of each cell (product, value), averaged over those that the recipe's policy lets carry loss."""

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> None:
        super().__init__()
        self.carrying = UNLABELLED[recipe.unlabelled](recipe, taxonomy, train)

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        """The loss of each cell, float32[B, K]; `hot` is float32[B, K] of zeros and ones."""
        raise NotImplementedError

    def all_cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        """The mean of `cells`."""
        return self.cells(logits, hot).mean()

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        logits, hot = logits.float(), targets.hot.to(torch.float32)
        carrying = self.carrying(logits.detach(), targets)
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
    """Binary cross entropy where a value that holds weighs its inverse frequency in train ** `weighted_bce.power`.

    What the original's authors wanted and had no time for. Frequencies are of known labels, except under the policy
    `negative`, which counts an unlabelled product as one without the value.
    """

    weight: Tensor

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> None:
        super().__init__(recipe, taxonomy, train)
        everything = recipe.unlabelled == "negative"
        counted = torch.ones_like(train.hot) if everything else known_cells(ValueLayout(taxonomy), train)
        frequency = value_frequency(train.hot, counted)
        weight = torch.where(frequency > 0, frequency, 1) ** -recipe.weighted_bce.power
        self.register_buffer("weight", weight, persistent=False)

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, hot, pos_weight=self.weight, reduction="none")


class Focal(Binary):
    """Binary cross entropy times (1 - probability of the truth) ** gamma: what is learned already counts for little.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. With an `alpha`, values that hold weigh alpha and
    the others 1 - alpha. The paper divides by the number of objects instead of the number of cells.
    """

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> None:
        super().__init__(recipe, taxonomy, train)
        self.focal = recipe.focal

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        gamma, alpha = self.focal.gamma, self.focal.alpha
        cells = _focused(logits * (2 * hot - 1), gamma)
        return cells if alpha is None else cells * torch.where(hot > 0, alpha, 1 - alpha)


class Asymmetric(Binary):
    """Focal loss with an exponent for values that hold and a greater one for the many that do not.

    What does not hold is taken for learned once its probability is below `clip`. Ridnik et al., "Asymmetric Loss For
    Multi-Label Classification", ICCV 2021. The paper adds cells up; here as in all losses they are averaged.
    """

    def __init__(self, recipe: Recipe, taxonomy: Taxonomy, train: Targets) -> None:
        super().__init__(recipe, taxonomy, train)
        self.asl = recipe.asl

    def cells(self, logits: Tensor, hot: Tensor) -> Tensor:
        asl = self.asl
        if asl.clip:
            shifted = (logits.sigmoid() - asl.clip).clamp(min=TINY)
            absent = shifted**asl.gamma_negative * -torch.log1p(-shifted)
        else:
            absent = _focused(-logits, asl.gamma_negative)
        return torch.where(hot > 0, _focused(logits, asl.gamma_positive), absent)


LOSSES: dict[str, Callable[[Recipe, Taxonomy, Targets], nn.Module]] = {
    "asl": Asymmetric,
    "bce": BCE,
    "focal": Focal,
    "softmax": Softmax,
    "weighted_bce": WeightedBCE,
}


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
