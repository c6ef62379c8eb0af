"""How often a label is wrong, and what the right one is: confident learning on one field's labels and probabilities.

A field has V values, of which each of its M products states one (`stated`: int64[M]). `probability` (float64[M, V]) is
that of a network which has not learned the product, calibrated on the stated labels.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70, 2021, count how
often a value is stated of products that are confidently another one (`confident_joint`). The score here goes further:
the counts become a noise matrix, the noise is taken out of the network's probabilities, which have learned it too, and
Bayes' rule gives the probability that a label is wrong. Unlike a margin or the confidence in the stated value, it means
the same for a key of two values with many wrong labels as for one of thirty with few, so it ranks all keys together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stated = NDArray[np.int64]

NO_THRESHOLD = 2.0  # of a value that nobody states: above any probability
EPSILON = 1e-6  # tolerance of thresholds, as in cleanlab
PRIOR_COUNT = 2.0  # labels of each value that the key's mean noise rate counts for, against its own
STEPS = 3  # of `without_noise`


def confident_thresholds(stated: Stated, probability: Floats) -> Floats:
    """float64[V]: the mean probability of a value among the products that state it."""
    count = np.bincount(stated, minlength=probability.shape[1])
    own = np.bincount(stated, probability[np.arange(len(stated)), stated], probability.shape[1])
    return np.asarray(np.where(count, np.maximum(own / np.maximum(count, 1), EPSILON), NO_THRESHOLD))


def confident_joint(stated: Stated, probability: Floats) -> NDArray[np.int64]:
    """int64[V, V]: how many products state a value (row) and are confidently another, or the same one (column).

    A product is confidently a value whose probability reaches its threshold; of several, the likeliest. The diagonal is
    at least 1.
    """
    confident = probability >= confident_thresholds(stated, probability) - EPSILON
    several = confident.sum(axis=1) > 1
    value = np.where(several, probability.argmax(axis=1), confident.argmax(axis=1))
    counted = confident.any(axis=1)
    joint = np.zeros((probability.shape[1],) * 2, dtype=np.int64)
    np.add.at(joint, (stated[counted], value[counted]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def noise_matrix(stated: Stated, probability: Floats) -> Floats:
    """float64[V, V]: the probability that a value (column) is stated of a product that has another, or the same (row).

    From the confident joint, scaled so that each value is stated as often as it is. A value with few products follows
    the mean noise of the field.
    """
    count = np.bincount(stated, minlength=probability.shape[1])
    joint = confident_joint(stated, probability).astype(np.float64)
    joint *= (count / joint.sum(axis=1))[:, None]
    wrong = (joint.sum() - np.trace(joint) + 1) / (joint.sum() + 2)
    values = len(joint)
    prior = np.full(joint.shape, wrong / max(1, values - 1))
    np.fill_diagonal(prior, 1 - wrong)
    noise = joint.T + PRIOR_COUNT * prior
    return np.asarray(noise / noise.sum(axis=1, keepdims=True))


def without_noise(probability: Floats, noise: Floats, steps: int = STEPS) -> Floats:
    """float64[M, V]: the probabilities of true values, from those of stated ones.

    Stated values are true ones seen through the noise matrix, which is undone by a few steps of expectation
    maximisation (Richardson, JOSA 62, 1972; Lucy, Astronomical Journal 79, 1974): no probability becomes negative.
    """
    true = probability.copy()
    for _ in range(steps):
        true *= (probability / np.maximum(true @ noise, 1e-12)) @ noise.T
        true /= true.sum(axis=1, keepdims=True)
    return true


def posterior(stated: Stated, probability: Floats, noise: Floats) -> Floats:
    """float64[M, V]: the probability of each true value, given the photo and the stated value."""
    joint = without_noise(probability, noise) * noise[:, stated].T
    return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300))
