"""The title branch: from n-gram ids to what a title adds to the features of the photo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture

PHOTO_DROPOUT = 0.1  # share of training products that are known by their title alone


class Title(nn.Module):
    """int[B, T], as `TitleReader` gives them -> float32[B, width]: the sum of n-gram embeddings, projected.

    As in fastText (Joulin et al., "Bag of Tricks for Efficient Text Classification", 2017), which takes the mean:
    divided by the number of n-grams, a title learned too slowly beside a photo and was hardly listened to. Embeddings
    start at zero and nothing has a bias: an n-gram that training never met, and a missing title, add exactly nothing.
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
        """float32[B, text_width]. Exported graphs have no operation for a bag of embeddings, only loops."""
        if torch.compiler.is_exporting():
            return (F.embedding(text, self.embedding.weight) * (text != 0).unsqueeze(2)).sum(1)
        summed: Tensor = self.embedding(text)
        return summed


class Kept(NamedTuple):
    """What a training step sees. photo, title: bool[B, 1]; a product without a title keeps its photo."""

    photo: Tensor
    title: Tensor


def drop_inputs(text: Tensor, title_dropout: float) -> Kept:
    """Leave out titles at random, and a few photos, so that either alone is enough; never both of a product."""
    drawn = torch.rand(len(text), 1, device=text.device)
    title = (text != 0).any(dim=1, keepdim=True) & (drawn >= title_dropout)
    return Kept(~title | (drawn < 1 - PHOTO_DROPOUT), title)
