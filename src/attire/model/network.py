"""Backbone plus heads: from pixels to category and attribute logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from attire.model.heads import FusedHeads
from attire.taxonomy import Taxonomy


class Logits(NamedTuple):
    """category: float32[B, C]; attributes: float32[B, K]; both unnormalised."""

    category: Tensor
    attributes: Tensor


class Heads(nn.Module):
    """The category layer and the attribute heads, on features float32[B, F]."""

    def __init__(self, features: int, taxonomy: Taxonomy, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.category = nn.Linear(features, len(taxonomy.categories))
        self.attributes = FusedHeads(features, taxonomy, hidden, dropout)

    def forward(self, features: Tensor) -> Logits:
        return Logits(self.category(features), self.attributes(features))


class Network(nn.Module):
    """float32[B, 3, H, W] -> `Logits`.

    One backbone answers everything in one pass. With a `category_backbone` the category comes from a network of its
    own, as in the original method.
    """

    def __init__(self, backbone: nn.Module, heads: Heads, category_backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.heads, self.category_backbone = backbone, heads, category_backbone

    def forward(self, pixels: Tensor) -> Logits:
        logits: Logits = self.heads(self.backbone(pixels))
        if self.category_backbone is not None:
            return logits._replace(category=self.heads.category(self.category_backbone(pixels)))
        return logits
