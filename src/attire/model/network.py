"""Backbone plus heads: from pixels (and a title) to category and attribute logits."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attire.config import Architecture
from attire.model.backbone import SCRATCH, MultiScale, create_backbone, feature_width, without_pooling
from attire.model.heads import HEADS, pooled
from attire.model.text import Title, drop_inputs
from attire.taxonomy import Taxonomy


class Logits(NamedTuple):
    """category: float32[B, C]; attributes: float32[B, K]; both unnormalised."""

    category: Tensor
    attributes: Tensor


class Heads(nn.Module):
    """The category layer and the attribute heads, behind the trunk if there is one.

    On features float32[B, F], or float32[B, F, h, w] where the architecture is `spatial`.

    A title (int[B, T], where the architecture reads one) is added to what the trunk makes of the features, before its
    nonlinearity. Photo and title are terms of one sum: of what is missing there is no term.
    """

    def __init__(
        self,
        features: int,
        taxonomy: Taxonomy,
        architecture: Architecture,
        dropout: float = 0.0,
        text_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = architecture.trunk or features
        self.trunk = _trunk(features, width, dropout) if architecture.trunk else nn.Sequential()
        self.activation = nn.Sequential(nn.GELU(), nn.Dropout(dropout)) if architecture.trunk else nn.Sequential()
        self.text = Title(architecture, width, dropout) if architecture.text == "title" else None
        self.category = nn.Linear(width, len(taxonomy.categories))
        self.attributes = HEADS[architecture.head](width, taxonomy, architecture, dropout)
        self.text_dropout = text_dropout

    def forward(self, features: Tensor | None, text: Tensor | None = None) -> Logits:
        """`features=None` answers from the title alone, `text=None` from the photo alone."""
        joined = self.trunk(features) if text is None else self._with_title(features, text)
        joined = self.activation(joined)
        return Logits(self.category(pooled(joined)), self.attributes(joined))

    def _with_title(self, features: Tensor | None, text: Tensor) -> Tensor:
        assert self.text is not None, "this architecture reads no title"
        title: Tensor = self.text(text)
        if features is None:
            return title
        photo: Tensor = self.trunk(features)
        if not self.training:
            return photo + title
        kept = drop_inputs(text, self.text_dropout)
        return photo * kept.photo + title * kept.title


class Network(nn.Module):
    """float32[B, 3, H, W], and a title int[B, T] where the architecture reads one -> `Logits`.

    One backbone answers everything in one pass. With a `category_backbone` the category comes from a network of its
    own, as in the original method.
    """

    def __init__(
        self, backbone: nn.Module, heads: Heads, category_backbone: nn.Module | None = None, *, flip: bool = False
    ) -> None:
        super().__init__()
        self.backbone, self.heads, self.category_backbone, self.flip = backbone, heads, category_backbone, flip

    def features(self, pixels: Tensor) -> Tensor:
        """What the heads see. Training photos are mirrored at random, so there one view is enough."""
        if not self.flip or self.backbone.training:
            features: Tensor = self.backbone(pixels)
            return features
        both: Tensor = self.backbone(torch.cat([pixels, pixels.flip(3)]))
        seen, mirrored = both.view(2, -1, *both.shape[1:]).unbind()
        mean: Tensor = (seen + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2
        return mean

    def forward(self, pixels: Tensor | None, text: Tensor | None = None) -> Logits:
        """`pixels=None` answers from the title alone."""
        logits: Logits = self.heads(None if pixels is None else self.features(pixels), text)
        if self.category_backbone is not None:
            return logits._replace(category=self.heads.category(pooled(self.category_backbone(pixels))))
        return logits


def build_network(
    architecture: Architecture,
    taxonomy: Taxonomy,
    weights: str | Path | None = SCRATCH,
    dropout: float = 0.0,
    text_dropout: float = 0.0,
) -> Network:
    """The network of one backbone, with the backbone's `weights` (see `create_backbone`) and random heads."""
    backbone = build_backbone(architecture, weights)
    heads = Heads(feature_width(backbone), taxonomy, architecture, dropout, text_dropout)
    return Network(backbone, heads, flip=architecture.flip)


def build_backbone(architecture: Architecture, weights: str | Path | None = SCRATCH) -> nn.Module:
    """The backbone with the architecture's pooling, or without any for heads that look at positions."""
    backbone = create_backbone(architecture.backbone, weights)
    if architecture.spatial:
        return without_pooling(backbone)
    return MultiScale(backbone) if architecture.pooling == "multiscale" else backbone


def _trunk(features: int, width: int, dropout: float) -> nn.Module:
    """The norm puts features of all scales on one; it has no parameters of its own, for the layer after it has them."""
    return nn.Sequential(nn.BatchNorm1d(features, affine=False), nn.Dropout(dropout), nn.Linear(features, width))
