"""From features to the flat value axis: each key's own head, all keys as one fused operation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture
from attire.taxonomy import Taxonomy


class ValueLayout(nn.Module):
    """Where each key's values lie on the flat axis, as tensors that follow the module from device to device.

    padded: int64[A, V], the columns of each key, V the most values of any key; padding repeats the key's first column
    real:   bool[A, V], False at padding
    flat:   int64[K], the position of each column in the flattened [A, V]
    one:    bool[A], keys of arity one
    key_of_column: int64[K]
    """

    padded: Tensor
    real: Tensor
    flat: Tensor
    one: Tensor
    key_of_column: Tensor

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        starts = torch.from_numpy(taxonomy.starts)[:, None]
        sizes = torch.tensor([len(key.values) for key in taxonomy.keys.values()], dtype=torch.int64)[:, None]
        offsets = torch.arange(int(sizes.max()) if len(sizes) else 0)[None]
        real = offsets < sizes
        self.register_buffer("padded", torch.where(real, starts + offsets, starts), persistent=False)
        self.register_buffer("real", real, persistent=False)
        self.register_buffer("flat", real.flatten().nonzero().squeeze(1), persistent=False)
        self.register_buffer("one", torch.from_numpy(taxonomy.one), persistent=False)
        self.register_buffer("key_of_column", torch.from_numpy(taxonomy.key_of_column), persistent=False)


class FusedHeads(nn.Module):
    """A heads `features -> hidden -> values` with ReLU, computed together: float32[B, F] -> float32[B, K].

    The first layers of all heads are one matrix; the second layers are one batched product over keys, padded to the
    largest key, whose padding no output reads and no gradient reaches. Equal to A separate MLPs (see the test).
    """

    def __init__(self, features: int, taxonomy: Taxonomy, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout = ValueLayout(taxonomy)
        keys, values = self.layout.padded.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a category model has no keys, and torch warns of initialising nothing
            self.hidden = nn.Linear(features, keys * hidden)
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(keys, hidden, values))
        self.bias = nn.Parameter(torch.empty(keys, 1, values))
        bound = 1 / math.sqrt(hidden)  # nn.Linear's own initialisation, per head
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        keys, hidden, _ = self.weight.shape
        activations = self.dropout(self.hidden(features).relu()).unflatten(1, (keys, hidden)).transpose(0, 1)
        padded = torch.baddbmm(self.bias, activations, self.weight)  # [A, B, V]
        return padded.transpose(0, 1).flatten(1).index_select(1, self.layout.flat)


class LinearHeads(nn.Linear):
    """One linear layer per key, which together are one matrix: float32[B, F] -> float32[B, K]."""

    def __init__(self, features: int, taxonomy: Taxonomy) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            super().__init__(features, taxonomy.width)


class ResidualAttention(LinearHeads):
    """Linear heads that look where the evidence for each value is: a map float32[B, F, h, w] -> float32[B, K].

    To a value's score averaged over positions comes `share` times its score averaged with attention, which a softmax
    of `temperature` times the scores themselves gives; with a share of 0 they are linear heads on averaged features.
    Zhu & Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition", ICCV 2021 (CSRA), with
    one attention head, and a bias. Dropout takes whole channels, as it would of averaged features.
    """

    def __init__(
        self, features: int, taxonomy: Taxonomy, share: float, temperature: float, dropout: float = 0.0
    ) -> None:
        super().__init__(features, taxonomy)
        self.share, self.temperature, self.dropout = share, temperature, nn.Dropout2d(dropout)

    def forward(self, features: Tensor) -> Tensor:
        positions = self.dropout(features).flatten(2).transpose(1, 2)  # [B, h * w, F]
        scores = F.linear(positions, self.weight)  # [B, h * w, K]
        attention = (self.temperature * scores).softmax(1)
        return scores.mean(1) + self.bias + self.share * (attention * scores).sum(1)


def pooled(features: Tensor) -> Tensor:
    """float32[B, F] of features that are so already, or of a map float32[B, F, h, w]: its average."""
    return features.mean((2, 3)) if features.ndim == 4 else features


def _linear(features: int, taxonomy: Taxonomy, _architecture: Architecture, _dropout: float) -> nn.Module:
    return LinearHeads(features, taxonomy)


def _mlp(features: int, taxonomy: Taxonomy, architecture: Architecture, dropout: float) -> nn.Module:
    return FusedHeads(features, taxonomy, architecture.hidden, dropout)


def _csra(features: int, taxonomy: Taxonomy, architecture: Architecture, dropout: float) -> nn.Module:
    return ResidualAttention(features, taxonomy, architecture.csra.share, architecture.csra.temperature, dropout)


HEADS: dict[str, Callable[[int, Taxonomy, Architecture, float], nn.Module]] = {
    "csra": _csra,
    "linear": _linear,
    "mlp": _mlp,
}
