"""The title branch: from n-gram ids to a vector that is added to the features of the photo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture

PHOTO_DROPOUT = 0.1  # share of training products whose photo is dropped, so that only the title is seen


class Title(nn.Module):
    """Projected sum of n-gram embeddings: int[B, T] from `TitleReader` -> float32[B, width].

    As in fastText (Joulin et al., "Bag of Tricks for Efficient Text Classification", 2017), but with the sum instead
    of the mean: with the mean, titles learned too slowly beside photos and had little effect. Embeddings start at zero
    and nothing has a bias, so an n-gram never seen in training, and a missing title, add exactly nothing.
    """

    def __init__(self, architecture: Architecture, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(architecture.text_buckets, architecture.text_width, mode="sum", padding_idx=0)
        nn.init.zeros_(self.embedding.weight)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(architecture.text_width, width, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.dropout(self._sum(text)))
        return projected

    def _sum(self, text: Tensor) -> Tensor:
        """Sum of embeddings, float32[B, text_width]. Exported graphs have no EmbeddingBag, so there it is spelt out."""
        if torch.compiler.is_exporting():
            return (F.embedding(text, self.embedding.weight) * (text != 0).unsqueeze(2)).sum(1)
        summed: Tensor = self.embedding(text)
        return summed


class Kept(NamedTuple):
    """Which inputs a training step sees. photo, title: bool[B, 1]; a product without a title keeps its photo."""

    photo: Tensor
    title: Tensor


def drop_inputs(text: Tensor, title_dropout: float) -> Kept:
    """Drop titles at random, and a few photos, so that the network learns to use either alone; never drops both."""
    draw = torch.rand(len(text), 1, device=text.device)
    title = (text != 0).any(dim=1, keepdim=True) & (draw >= title_dropout)
    return Kept(~title | (draw < 1 - PHOTO_DROPOUT), title)
