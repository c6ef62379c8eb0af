"""Chooses fields to label, one product after the other, by how much their labels would teach about all others.

Each field (the category, or one key) is seen as a linear model of its own on the products' features. A label of a field
in doubt makes that model surer, most of all about products that look alike. The next field to ask for is the one that
lowers the doubt of all products most. After each choice the gain of what looks alike falls, so that a batch is diverse;
and as the gain is that of a key, it falls with the number of labels that the key has, so that keys without labels are
asked for. While there is no model, `typical.py` chooses instead.

The criterion is that of BAIT (Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021),
with one number for the Fisher information of a field; with equal doubts it would be transductive experimental design
(Yu, Bi & Tresp, "Active Learning via Transductive Experimental Design", ICML 2006). Both choose examples with one label
each; here a product has several fields, each with its price.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARE = 0.5  # a product is asked for its fields with at least this share of the gain of its best one
PRIOR = 1.0  # precision of the weights, when features have a mean squared length of 1
BIAS = 0.3  # the constant feature
LEAST_DOUBT = 0.05  # of a labelled field: even a label that the model is sure of teaches something

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of N products, F for each: the category, then the keys.

    features: float32[N, D]. doubt: float32[N, F] in [0, 1], how unsure the model is of the field (1 without a model).
    applies: bool[N, F], the fields that the product has. labelled: bool[N, F], those with a label to learn from. open:
    bool[N, F], those that may be asked for. unsure_category: bool[N], whether a product's category is asked for with
    any other field, because it decides which keys apply.
    """

    features: Floats
    doubt: Floats
    applies: Bools
    labelled: Bools
    open: Bools
    unsure_category: Bools


class Choice(NamedTuple):
    """A product (its row) and the fields to ask for, each with its gain: the category first, then the best."""

    row: int
    fields: tuple[int, ...]
    gains: tuple[float, ...]


def choose(fields: Fields, share: float = SHARE) -> Iterator[Choice]:
    """Yield products with fields to ask for, the most useful first, until no open field is left."""
    features = _scaled(fields.features)
    products, kinds = fields.open.shape
    gain = np.zeros((products, kinds))
    models = [_Model(features, fields, number) for number in range(kinds)]
    for number, model in enumerate(models):
        gain[model.candidates, number] = model.gains()
    waiting = np.ones(len(gain), dtype=bool)
    while waiting.any():
        row = int(np.where(waiting, gain.max(axis=1), 0).argmax())
        if not (waiting[row] and gain[row].max() > 0):
            return
        asked = gain[row] >= share * gain[row].max()
        asked[0] |= fields.open[row, 0] and fields.unsure_category[row]
        order = sorted(np.flatnonzero(asked).tolist(), key=lambda number: (number > 0, -gain[row, number], number))
        yield Choice(row, tuple(order), tuple(float(gain[row, number]) for number in order))
        waiting[row] = False
        for number in order:
            models[number].learn(row)
            gain[models[number].candidates, number] = models[number].gains()


class _Model:
    """What is known of one field: the covariance of its weights, and for each product what a label of it would gain.

    variance: float64[M], of the logits of the M candidates. reach: float64[M], how much of the doubt of all products
    comes from weights that a candidate's label tells about.
    """

    def __init__(self, features: NDArray[np.float64], fields: Fields, number: int) -> None:
        doubt = fields.doubt[:, number].astype(np.float64)
        labelled, applies = fields.labelled[:, number], fields.applies[:, number]
        known, everything = features[labelled], features[applies]
        information = (known.T * doubt[labelled].clip(min=LEAST_DOUBT)) @ known
        self.features, self.doubt = features, doubt
        self.covariance = np.linalg.inv(information + PRIOR * np.eye(features.shape[1]))
        self.all = (everything.T * doubt[applies]) @ everything
        self.candidates = np.flatnonzero(fields.open[:, number])
        weighted = features[self.candidates] @ self.covariance
        self.variance = (weighted * features[self.candidates]).sum(axis=1)
        self.reach = ((weighted @ self.all) * weighted).sum(axis=1)

    def gains(self) -> NDArray[np.float64]:
        """float64[M]: by how much a label of each candidate would lower the doubt of all products."""
        doubt = self.doubt[self.candidates]
        return np.asarray((doubt * self.reach / (1 + doubt * self.variance)).clip(min=0))

    def learn(self, row: int) -> None:
        """Take the field of the product `row` as labelled (Sherman & Morrison's formula, also for the gains)."""
        told = self.covariance @ self.features[row]
        step = self.doubt[row] / (1 + self.doubt[row] * (told @ self.features[row]))
        spread = self.all @ told
        by_two = np.stack([told, self.covariance @ spread], axis=1)
        along, across = (self.features @ by_two)[self.candidates].T
        self.reach += step * along * (step * along * (told @ spread) - 2 * across)
        self.variance -= step * along**2
        self.covariance -= step * np.outer(told, told)


def _scaled(features: Floats) -> NDArray[np.float64]:
    """float64[N, D + 1]: features with a mean of 0 and a mean squared length of 1, and a constant one."""
    centred = features.astype(np.float64) - features.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=1).mean()) if len(centred) else 1.0
    return np.concatenate([centred / (length or 1.0), np.full((len(centred), 1), BIAS)], axis=1)
