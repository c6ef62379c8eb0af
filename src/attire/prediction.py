"""What attire says of one product: a category, and per applicable key an answer or an abstention."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alternative:
    """A value (or category) that was considered, with its probability."""

    value: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The key's values; `confidence` in [0, 1] is the probability that all of them are right."""

    values: tuple[str, ...]
    confidence: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Abstained:
    """The key applies, but no value is sure enough to be filled."""

    reason: str
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """One product. `attributes` has an entry for each key that applies to `category`; `bundle` its model's digest."""

    id: str
    category: str
    category_confidence: float
    category_alternatives: tuple[Alternative, ...]
    attributes: dict[str, Answer | Abstained]
    bundle: str

    def __getitem__(self, key: str) -> Answer | Abstained:
        return self.attributes[key]
