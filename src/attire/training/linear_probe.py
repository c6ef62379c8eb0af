"""A linear classifier for the values of one key on features of a frozen network."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

STEPS = 60  # of L-BFGS, at most
PENALTY = 0.3  # of the squared weights on features of variance 1 / F; chosen on val (docs/experiments.md)
EM_STEPS = 100
SMOOTHING = 0.01  # share of all products that is added to the count of each value
CAUTIOUS = 10  # labels of a value, on average, from which half of the correction of frequencies is believed
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

    def for_frequencies_of(self, unlabelled: Floats, hot: NDArray[np.bool_]) -> LinearProbe:
        """The same classifier of one value for products among which values are as frequent as in the catalog.

        Examples that people pick are not: often there are equally many of each value. How frequent values are among
        `unlabelled` products, float32[M, F], is estimated by expectation maximisation from their answers: Saerens et
        al., "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural Computation 2002. Answers
        learned from few labels of each value say little, so less of the correction is believed; a key with many labels
        counts a new value of it well. hot: bool[N, V], as in `fit`.
        """
        counts = hot.sum(axis=0).astype(np.float64)
        total, values = counts.sum() + len(unlabelled), len(counts)
        learned = (counts + 1) / (counts.sum() + values)
        likelihood = self(unlabelled).astype(np.float64) - np.log(learned)
        frequency = learned
        for _ in range(EM_STEPS):
            logits = likelihood + np.log(frequency)
            answers = np.exp(logits - logits.max(axis=1, keepdims=True))
            answers /= answers.sum(axis=1, keepdims=True)
            frequency = counts + answers.sum(axis=0) + SMOOTHING * total
            frequency /= frequency.sum()
        belief = np.where(counts > 0, counts.mean() / (counts.mean() + CAUTIOUS), 0)
        shift = belief * np.log(frequency / learned)
        return self._replace(bias=self.bias + torch.from_numpy(shift.astype(np.float32)))

    def __call__(self, features: Floats) -> Floats:
        """float32[N, V]: the logits of float32[N, F]."""
        logits: Floats = F.linear(torch.from_numpy(features), self.weight, self.bias).numpy()
        return logits
