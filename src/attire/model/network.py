"""The network: a backbone and heads that map pixels (and a title) to category and attribute logits."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attire.config import Architecture
from attire.model.backbone import SCRATCH, create_backbone, without_pooling
from attire.model.colour import COLOURS, ColourHead, Colours
from attire.model.heads import HEADS, pooled
from attire.model.input_size import data_config
from attire.model.joined import SEPARATOR, Joined
from attire.model.layout import Layout, laid_out
from attire.model.multiscale import MultiScale, default_pooling, feature_width
from attire.model.text import Title, drop_inputs
from attire.taxonomy import Taxonomy


class Logits(NamedTuple):
    """category: float32[B, C]; attributes: float32[B, K]; both unnormalised."""

    category: Tensor
    attributes: Tensor


class Heads(nn.Module):
    """The category layer and the attribute heads, after the trunk if the architecture has one.

    Input: features float32[B, F], or float32[B, F, h, w] for a `spatial` architecture, and a title int[B, T] if the
    architecture reads titles. The title is added to the trunk's output before its activation; a missing photo or
    title simply adds nothing to that sum. With a colour branch, the last `COLOURS` features are for it alone; it adds
    to the attribute logits.
    """

    def __init__(
        self,
        features: int,
        taxonomy: Taxonomy,
        architecture: Architecture,
        dropout: float = 0.0,
        text_dropout: float = 0.0,
        layout: Layout = (),
    ) -> None:
        super().__init__()
        create = HEADS[architecture.head]
        width = architecture.trunk or features
        self.trunk = _trunk(features, width, dropout) if architecture.trunk else nn.Sequential()
        self.activation = nn.Sequential(nn.GELU(), nn.Dropout(dropout)) if architecture.trunk else nn.Sequential()
        self.text = Title(architecture, width, dropout) if architecture.text == "title" else None
        self.category = nn.Linear(width, len(taxonomy.categories))
        self.attributes = laid_out(taxonomy, layout, lambda part: create(width, part, architecture, dropout))
        self.colour = ColourHead(taxonomy, architecture, dropout, layout) if architecture.colour else None
        self.text_dropout = text_dropout

    def joined(self, features: Tensor) -> Tensor:
        """What the last layers see of a photo alone, from its features without those of the colours."""
        joined: Tensor = self.activation(self.trunk(features))
        return joined

    def forward(self, features: Tensor | None, text: Tensor | None = None) -> Logits:
        """`features=None` answers from the title alone, `text=None` from the photo alone."""
        colours = None
        if self.colour is not None and features is not None:
            features, colours = features[:, :-COLOURS], self.colour(features[:, -COLOURS:])
        photo = None if features is None else self.trunk(features)
        if text is not None:
            assert self.text is not None, "this architecture reads no title"
            title: Tensor = self.text(text)
            if photo is not None and self.training:
                kept = drop_inputs(text, self.text_dropout)
                photo, title = photo * kept.photo, title * kept.title
                colours = None if colours is None else colours * kept.photo
            photo = title if photo is None else photo + title
        joined = self.activation(photo)
        attributes = self.attributes(joined)
        return Logits(self.category(pooled(joined)), attributes if colours is None else attributes + colours)


class Network(nn.Module):
    """Pixels float32[B, 3, H, W], and a title int[B, T] if the architecture reads titles -> `Logits`.

    One backbone computes everything in one pass. With a `category_backbone`, the category is computed by a separate
    network, as in the original method. `flip` averages the features of each photo and its mirror image (test-time
    flip). `colours` adds features of the photo's colours.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Heads,
        category_backbone: nn.Module | None = None,
        *,
        flip: bool = False,
        colours: Colours | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.heads, self.category_backbone, self.flip = backbone, heads, category_backbone, flip
        self.colours = colours

    def features(self, pixels: Tensor) -> Tensor:
        """Input of the heads: features of the backbone, then those of the colours if there is a colour branch."""
        return self.with_colours(self._backbone_features(pixels), pixels)

    def with_colours(self, features: Tensor, pixels: Tensor) -> Tensor:
        """`features` of the backbone, followed by those of the colours if there is a colour branch."""
        return features if self.colours is None else torch.cat([features, self.colours(pixels)], dim=1)

    def _backbone_features(self, pixels: Tensor) -> Tensor:
        """Training uses one view: its photos are already mirrored at random."""
        if not self.flip or self.backbone.training:
            features: Tensor = self.backbone(pixels)
            return features
        both: Tensor = self.backbone(torch.cat([pixels, pixels.flip(3)]))
        plain, mirrored = both.view(2, -1, *both.shape[1:]).unbind()
        mean: Tensor = (plain + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2
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
    size_px: tuple[int, int] | None = None,
    layout: Layout = (),
) -> Network:
    """A network with one backbone (`weights` and `size_px` as in `create_backbone`) and randomly initialised heads."""
    backbone = build_backbone(architecture, weights, size_px)
    heads = Heads(feature_width(backbone), taxonomy, architecture, dropout, text_dropout, layout)
    config = data_config(backbone)
    colours = Colours(config["mean"], config["std"]) if architecture.colour else None
    return Network(backbone, heads, flip=architecture.flip, colours=colours)


def build_backbone(
    architecture: Architecture, weights: str | Path | None = SCRATCH, size_px: tuple[int, int] | None = None
) -> nn.Module:
    """The backbone with the architecture's pooling, or without pooling for heads that need a map.

    For names of several backbones, their features side by side.
    """
    if SEPARATOR in architecture.backbone:
        names = architecture.backbone.split(SEPARATOR)
        parts = [architecture.model_copy(update={"backbone": name}) for name in names]
        return Joined([build_backbone(part, weights, size_px) for part in parts])
    backbone = create_backbone(architecture.backbone, weights, size_px)
    if architecture.spatial:
        return without_pooling(backbone, size_px)
    pooling = default_pooling(backbone) if architecture.pooling == "auto" else architecture.pooling
    return backbone if pooling == "last" else MultiScale(backbone, own=pooling == "both")


def _trunk(features: int, width: int, dropout: float) -> nn.Module:
    """Normalise features of different scales, then project them. The linear layer makes an affine norm unnecessary."""
    return nn.Sequential(nn.BatchNorm1d(features, affine=False), nn.Dropout(dropout), nn.Linear(features, width))
