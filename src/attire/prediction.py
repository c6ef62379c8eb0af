"""The prediction for one product: a category, and an answer or an abstention for each applicable key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another value (or category) that was considered, with its probability."""

    value: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The values of a key; `confidence` in [0, 1] is the probability that all of them are right."""

    values: tuple[str, ...]
    confidence: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Abstained:
    """The key applies, but no answer is confident enough to be filled."""

    reason: str
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one product.

    `attributes` has an entry for each key that applies to `category`; `bundle` is the digest of the model bundle.
    """

    id: str
    category: str
    category_confidence: float
    category_alternatives: tuple[Alternative, ...]
    attributes: dict[str, Answer | Abstained]
    bundle: str

    def __getitem__(self, key: str) -> Answer | Abstained:
        return self.attributes[key]
