"""How likely a label is wrong, from the labels of a field and the probabilities of networks that have not learned them.

A field has V values, of which each of its M products states one (`stated`: int64[M]). `probability` (float64[M, V]) is
calibrated on the stated labels.

Like confident learning (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels",
JAIR 70, 2021) it estimates how often which value is stated of a product that has another one, and then judges each
label. It differs in two points, because fashion photos are ambiguous and confident learning takes ambiguity for noise
(docs/experiments.md): the noise rate is counted on those products only of which the network is surest (the anchor
points of Patrini et al., "Making deep neural networks robust to label noise: a loss correction approach", CVPR 2017),
and the score is not a margin or a confidence but the probability, by Bayes' rule, that the label is wrong. So it means
the same for a key of two values as for one of thirty, and ranks the labels of all keys together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stated = NDArray[np.int64]

SUREST = 0.25  # share of the products with the same likeliest value that are anchors
UNIFORM = 0.5  # share of wrong labels that may be any value; the others are values that the network confuses, too
SMOOTHING = 3.0  # products of each value that are added to its confusions, spread over all values
STEPS = 3  # of `without_noise`


class Anchors(NamedTuple):
    """The number of anchors of a field, and of those whose label the network contradicts."""

    number: int
    wrong: int

    @property
    def rate(self) -> float:
        """The share of wrong labels; nan without anchors."""
        return self.wrong / self.number if self.number else np.nan


def anchors(stated: Stated, probability: Floats, agrees: NDArray[np.bool_]) -> Anchors:
    """Count the anchors: of each value, the `SUREST` share of the products of which it is the likeliest value.

    agrees: bool[V, V], whether a value (column) does not contradict a stated one (row).
    """
    likeliest, confidence = probability.argmax(axis=1), probability.max(axis=1)
    is_anchor = np.zeros(len(stated), dtype=bool)
    for value in np.unique(likeliest):
        rows = np.flatnonzero(likeliest == value)
        is_anchor[rows[confidence[rows] >= np.quantile(confidence[rows], 1 - SUREST)]] = True
    return Anchors(int(is_anchor.sum()), int((~agrees[stated, likeliest])[is_anchor].sum()))


def noise_matrix(stated: Stated, probability: Floats, rate: float) -> Floats:
    """float64[V, V]: the probability that a value (column) is stated of a product that has another, or the same (row).

    `rate` of the labels are wrong: half of them any other value, half one that the network takes for it as well, as
    often as it does so on average. What the labels themselves say about the second is mostly ambiguity.
    """
    values = probability.shape[1]
    confused = np.zeros((values, values))
    np.add.at(confused, stated, probability)
    confused += SMOOTHING / max(1, values - 1)
    uniform = np.ones_like(confused)
    for share in (confused, uniform):
        np.fill_diagonal(share, 0)
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    noise = rate * (UNIFORM * uniform + (1 - UNIFORM) * confused)
    np.fill_diagonal(noise, 1 - rate)
    return noise


def without_noise(probability: Floats, noise: Floats) -> Floats:
    """float64[M, V]: the probabilities of true values, from those of stated ones.

    Stated values are true ones seen through the noise matrix, which is undone by a few steps of expectation
    maximisation (Richardson, JOSA 62, 1972; Lucy, Astronomical Journal 79, 1974): no probability becomes negative.
    """
    true = probability.copy()
    for _ in range(STEPS):
        true *= (probability / np.maximum(true @ noise, 1e-12)) @ noise.T
        true /= np.maximum(true.sum(axis=1, keepdims=True), 1e-300)
    return true


def posterior(stated: Stated, probability: Floats, noise: Floats) -> Floats:
    """float64[M, V]: the probability of each true value, given the photo and the stated value."""
    joint = without_noise(probability, noise) * noise[:, stated].T
    return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300))
