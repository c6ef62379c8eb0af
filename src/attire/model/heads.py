"""Attribute heads: from features to the logits of all values of all keys, computed for all keys at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attire.config import Architecture
from attire.errors import ConfigError
from attire.taxonomy import Taxonomy


class ValueLayout(nn.Module):
    """The columns of each key on the flat axis of K values, as buffers that move with the module between devices.

    padded: int64[A, V], the columns of each key, V the largest number of values; padding repeats the first column
    real:   bool[A, V], False at padding
    flat:   int64[K], the position of each column in the flattened [A, V]
    one:    bool[A], True for keys of arity one
    key_of_column: int64[K], the key of each column
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


class Rows(NamedTuple):
    """Copies of the parameters of a head, by the words that they belong to: [A, ...] for keys and [K, ...] for values.

    The dimensions after the first are the same for all taxonomies.
    """

    of_keys: tuple[Tensor, ...]
    of_values: tuple[Tensor, ...]

    def put_linear(self, key: int, columns: slice, weight: Tensor, bias: Tensor) -> None:
        """Make the logits of a key with V values a linear function: weight [V, F], bias [V].

        A key's MLP computes it with two hidden units for each value, as x = relu(x) - relu(-x). Raises `ConfigError`
        if it has fewer.
        """
        last, last_bias = self.of_values
        if not self.of_keys:
            last[columns], last_bias[columns] = weight, bias
            return
        values, hidden = len(bias), self.of_keys[1].shape[1]
        if hidden < 2 * values:
            raise ConfigError(f"mlp heads of hidden = {hidden} are too narrow for a key with {values} values.")
        first, first_bias = self.of_keys
        first[key], first_bias[key], last[columns], last_bias[columns] = 0, 0, 0, 0
        first[key, : 2 * values] = torch.cat([weight, -weight])
        first_bias[key, : 2 * values] = torch.cat([bias, -bias])
        last[columns, : 2 * values] = torch.cat([torch.eye(values), -torch.eye(values)], dim=1)


class FusedHeads(nn.Module):
    """One two-layer MLP with ReLU per key, computed together: float32[B, F] -> float32[B, K].

    The first layers of all keys are one matrix. The second layers are one batched product over keys, padded to the
    key with most values; no output reads the padding, so it gets no gradient. Equal to A separate MLPs (tested).
    """

    def __init__(self, features: int, taxonomy: Taxonomy, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout = ValueLayout(taxonomy)
        keys, values = self.layout.padded.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without keys (category only) torch warns about an empty layer
            self.hidden = nn.Linear(features, keys * hidden)
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(keys, hidden, values))
        self.bias = nn.Parameter(torch.empty(keys, 1, values))
        bound = 1 / math.sqrt(hidden)  # as nn.Linear initialises each head
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        keys, hidden, _ = self.weight.shape
        activations = self.dropout(self.hidden(features).relu()).unflatten(1, (keys, hidden)).transpose(0, 1)
        padded = torch.baddbmm(self.bias, activations, self.weight)  # [A, B, V]
        return padded.transpose(0, 1).flatten(1).index_select(1, self.layout.flat)

    @torch.no_grad()
    def rows(self) -> Rows:
        """The first layers by key, the second ones by value."""
        shape = self.weight.shape[:2]
        second = self.weight.transpose(1, 2).flatten(0, 1)[self.layout.flat], self.bias.flatten()[self.layout.flat]
        first = self.hidden.weight.reshape(*shape, -1).clone(), self.hidden.bias.reshape(shape).clone()
        return Rows(first, second)

    @torch.no_grad()
    def set_rows(self, rows: Rows) -> None:
        """Replace all parameters by `rows`."""
        self.hidden.weight.copy_(rows.of_keys[0].flatten(0, 1))
        self.hidden.bias.copy_(rows.of_keys[1].flatten())
        keys, hidden, values = self.weight.shape
        weight, bias = self.weight.new_zeros(keys * values, hidden), self.bias.new_zeros(keys * values)
        weight[self.layout.flat], bias[self.layout.flat] = rows.of_values
        self.weight.copy_(weight.view(keys, values, hidden).transpose(1, 2))
        self.bias.copy_(bias.view(keys, 1, values))


class LinearHeads(nn.Linear):
    """One linear layer per key, stored as one matrix: float32[B, F] -> float32[B, K]."""

    def __init__(self, features: int, taxonomy: Taxonomy) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            super().__init__(features, taxonomy.width)

    @torch.no_grad()
    def rows(self) -> Rows:
        """The matrix and the biases by value."""
        return Rows((), (self.weight.clone(), self.bias.clone()))

    @torch.no_grad()
    def set_rows(self, rows: Rows) -> None:
        """Replace all parameters by `rows`."""
        self.weight.copy_(rows.of_values[0])
        self.bias.copy_(rows.of_values[1])


class ResidualAttention(LinearHeads):
    """Linear heads with class-specific residual attention (CSRA): a map float32[B, F, h, w] -> float32[B, K].

    A value's logit is its score averaged over positions, plus `share` times its attention-weighted score; the
    attention is a softmax over positions of `temperature` times the scores. With `share` 0 this equals linear heads
    on average-pooled features. Zhu & Wu, "Residual Attention: A Simple but Effective Method for Multi-Label
    Recognition", ICCV 2021, with one attention head and a bias. Dropout drops whole channels.
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
    """Average a map float32[B, F, h, w] over positions; features float32[B, F] are returned unchanged."""
    return features.mean((2, 3)) if features.ndim == 4 else features


def _linear(features: int, taxonomy: Taxonomy, _architecture: Architecture, _dropout: float) -> LinearHeads:
    return LinearHeads(features, taxonomy)


def _mlp(features: int, taxonomy: Taxonomy, architecture: Architecture, dropout: float) -> FusedHeads:
    return FusedHeads(features, taxonomy, architecture.hidden, dropout)


def _csra(features: int, taxonomy: Taxonomy, architecture: Architecture, dropout: float) -> LinearHeads:
    return ResidualAttention(features, taxonomy, architecture.csra.share, architecture.csra.temperature, dropout)


HEADS: dict[str, Callable[[int, Taxonomy, Architecture, float], LinearHeads | FusedHeads]] = {
    "csra": _csra,
    "linear": _linear,
    "mlp": _mlp,
}
