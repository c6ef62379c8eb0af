"""A linear classifier for the values of one key on features of a frozen network."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

STEPS = 100  # of L-BFGS, at most
PENALTY = 0.01  # of the squared weights on features of variance 1 / F; chosen on val (docs/experiments.md)
CONSTANT = 1e-3  # added to a feature's standard deviation

Floats = NDArray[np.float32]


class Scaling(NamedTuple):
    """Centres features and scales them to a variance of 1 / F each. mean, factor: float32[F]."""

    mean: Floats
    factor: Floats

    @classmethod
    def of(cls, features: Floats) -> Self:
        """Of float32[N, F], which may include products without a label."""
        deviation = features.std(axis=0) + CONSTANT
        return cls(features.mean(axis=0), (1 / deviation / np.sqrt(features.shape[1])).astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        return (features - self.mean) * self.factor


class LinearProbe(NamedTuple):
    """Logits are features @ weight.T + bias. weight: float32[V, F]; bias: float32[V]."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Floats, hot: NDArray[np.bool_], scaling: Scaling, *, one: bool) -> Self:
        """Logistic regression with an L2 penalty, multinomial if a product has `one` value, on N labelled products.

        features: float32[N, F]; hot: bool[N, V], the stated values. The problem is convex, so there is nothing to tune
        but the penalty: Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019, fit features of
        networks in this way.
        """
        inputs = torch.from_numpy(scaling(features))
        targets = torch.from_numpy(hot.astype(np.float32))
        targets = targets / targets.sum(dim=1, keepdim=True) if one else targets
        weight = torch.zeros(hot.shape[1], inputs.shape[1], requires_grad=True)
        bias = torch.zeros(hot.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=STEPS, history_size=10, tolerance_grad=1e-4, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = F.linear(inputs, weight, bias)
            fit = (
                F.cross_entropy(logits, targets, reduction="sum")
                if one
                else F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            )
            # A tiny penalty on the biases keeps those of values that are always or never stated finite.
            penalised = fit + PENALTY / 2 * (weight.square().sum() + bias.square().sum() / inputs.shape[1])
            penalised.backward()  # type: ignore[no-untyped-call]
            return penalised

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            unscaled = weight * torch.from_numpy(scaling.factor)
            return cls(unscaled, bias - unscaled @ torch.from_numpy(scaling.mean))

    def __call__(self, features: Floats) -> Floats:
        """float32[N, V]: the logits of float32[N, F]."""
        logits: Floats = F.linear(torch.from_numpy(features), self.weight, self.bias).numpy()
        return logits
