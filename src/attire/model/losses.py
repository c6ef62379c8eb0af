"""Losses over the flat value axis. Each takes logits float32[B, K], `Targets` of B products and a `ValueLayout`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from attire.labels import State, Targets
from attire.model.heads import ValueLayout

Loss = Callable[[Tensor, Targets, ValueLayout], Tensor]


def softmax(logits: Tensor, targets: Targets, layout: ValueLayout) -> Tensor:
    """Softmax cross entropy within each key of arity one, mean binary cross entropy within each key of arity many.

    The mean over the pairs (product, key) whose label is known; unknown and inapplicable labels carry no loss.
    """
    known = targets.state == State.KNOWN
    hot = targets.hot[:, layout.padded] & layout.real  # [B, A, V]
    padded = logits.float()[:, layout.padded]
    log_p = padded.masked_fill(~layout.real, -torch.inf).log_softmax(-1).masked_fill(~layout.real, 0)
    one = -(log_p * hot).sum(-1)
    many = F.binary_cross_entropy_with_logits(padded, hot.to(padded), reduction="none")
    many = (many * layout.real).sum(-1) / layout.real.sum(-1)
    per_pair = torch.where(layout.one, one, many)
    loss: Tensor = (per_pair * known).sum() / known.sum().clamp(min=1)
    return loss


def bce(logits: Tensor, targets: Targets, _layout: ValueLayout) -> Tensor:
    """Binary cross entropy over all values of all keys; an unlabelled key counts as all-negative (the original)."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets.hot.to(torch.float32))


LOSSES: dict[str, Loss] = {"bce": bce, "softmax": softmax}


def category_loss(logits: Tensor, category: Tensor, class_weight: Tensor) -> Tensor:
    """Class-weighted cross entropy; products of unknown category (-1) carry no loss."""
    if bool((category < 0).all()):
        return logits.sum() * 0
    return F.cross_entropy(logits.float(), category, weight=class_weight, ignore_index=-1)


def balanced_weight(category: Tensor, classes: int, balance: float = 1.0) -> Tensor:
    """float32[C]: frequency ** -balance of each category, 1 on average over products; 0 for an absent category."""
    count = torch.bincount(category[category >= 0], minlength=classes).to(torch.float32)
    weight = torch.where(count > 0, count.clamp(min=1) ** -balance, 0)
    return weight * count.sum() / (weight * count).sum().clamp(min=1e-12)
