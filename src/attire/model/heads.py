"""From features to the flat value axis: each key's own head, all keys as one fused operation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

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
        activations = self.dropout(self.hidden(features).relu()).view(len(features), keys, hidden).transpose(0, 1)
        padded = torch.baddbmm(self.bias, activations, self.weight)  # [A, B, V]
        return padded.transpose(0, 1).flatten(1).index_select(1, self.layout.flat)


class LinearHeads(nn.Linear):
    """One linear layer per key, which together are one matrix: float32[B, F] -> float32[B, K]."""

    def __init__(self, features: int, taxonomy: Taxonomy, _hidden: int = 0, _dropout: float = 0.0) -> None:
        super().__init__(features, taxonomy.width)


HEADS: dict[str, Callable[[int, Taxonomy, int, float], nn.Module]] = {"linear": LinearHeads, "mlp": FusedHeads}
