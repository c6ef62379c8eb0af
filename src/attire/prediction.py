"""The prediction for one product: a category, and an answer or an abstention for each applicable key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape


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

    `category` is None if it is left open; then `category_confidence` is that of the first of `category_alternatives`.
    `attributes` has an entry for each key that is likely to apply; `bundle` is the digest of the model bundle;
    `thumbnail` draws the first photo as a small JPEG, if the photo is at hand.
    """

    id: str
    category: str | None
    category_confidence: float
    category_alternatives: tuple[Alternative, ...]
    attributes: dict[str, Answer | Abstained]
    bundle: str
    thumbnail: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, key: str) -> Answer | Abstained:
        return self.attributes[key]

    def _repr_html_(self) -> str:
        """The photo beside a table of answers, for notebooks."""
        sure = "" if self.category is None else f"{self.category_confidence:.0%}"
        rows = [("category", self.category or "left open", sure, self.category_alternatives)]
        for key, answer in self.attributes.items():
            if isinstance(answer, Answer):
                rows.append((key, ", ".join(answer.values), f"{answer.confidence:.0%}", answer.alternatives))
            else:
                rows.append((key, "left open", "", answer.alternatives))
        cells = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(values)}</td><td>{confidence}</td><td>"
            f"{escape(', '.join(f'{other.value} {other.confidence:.0%}' for other in others))}</td></tr>"
            for key, values, confidence, others in rows
        )
        head = "<tr><th></th><th>answer</th><th>confidence</th><th>alternatives</th></tr>"
        photo = ""
        if self.thumbnail is not None:
            photo = f'<img alt="" src="data:image/jpeg;base64,{b64encode(self.thumbnail()).decode()}">'
        return f"<p>{escape(self.id)}</p>{photo}<table>{head}{cells}</table>"
