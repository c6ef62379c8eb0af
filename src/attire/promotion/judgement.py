"""Whether a candidate is worse than the present version: every headline figure, and the IoU of every key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from attire.errors import first_few
from attire.evaluation.compare import FIGURE, KEY, LOWER_IS_BETTER, Difference, better
from attire.evaluation.evidence import Evidence, matches_of_both
from attire.evaluation.tables import FIGURE_TITLES, number, signed
from attire.score.metrics import key_iou, weighted
from attire.score.swaps import swapped

CHANCE = 0.05  # how often a candidate that is as good as the present version is refused, at most
# Of these more than what was promised is not asked for, because it costs filled fields.
PROMISED = ((FIGURE, "precision_95"), (FIGURE, "category_precision"))
# How much is filled also depends on the thresholds, which are fitted on other products: two trainings of one recipe
# differ in it by a point and more, beyond what these products explain. So a smaller loss than this is none.
FILLED, MARGIN = ((FIGURE, "coverage_95"), (FIGURE, "category_coverage")), 0.02
NAMED = 5  # changes that a sentence names
Name = tuple[str, str]  # FIGURE or KEY, and its name


class Judgement(BaseModel):
    """Differences candidate - present of headline `figures` and of the IoU of `keys`, on the same products.

    The intervals hold for all of them together: with equally good models, none of them is below zero for a figure (or
    above, where lower is better) with probability 1 - `CHANCE`. promised: the precision that was promised. gone: words
    of the catalog that only the present version answers with. uncalibrated: only the present version can promise a
    precision. unlabelled: keys of both that have no label here, so that nothing is known about them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: int
    groups: int
    promised: float
    figures: dict[str, Difference]
    keys: dict[str, Difference]
    gone: tuple[str, ...] = ()
    uncalibrated: bool = False
    unlabelled: tuple[str, ...] = ()

    @property
    def changes(self) -> dict[Name, Difference]:
        """All that was compared."""
        return {(kind, name): d for kind, of in ((FIGURE, self.figures), (KEY, self.keys)) for name, d in of.items()}

    @property
    def losses(self) -> dict[Name, Difference]:
        """What is worse beyond chance, but for a precision that is as promised, and less than `MARGIN` of coverage."""
        return {
            name: difference
            for name, difference in self.changes.items()
            if side(name, difference) == "A"
            and not (name in PROMISED and difference.b >= self.promised)
            and not (name in FILLED and difference.value > -MARGIN)
        }

    @property
    def gains(self) -> dict[Name, Difference]:
        """What is better beyond chance."""
        return {name: difference for name, difference in self.changes.items() if side(name, difference) == "B"}

    @property
    def reasons(self) -> list[str]:
        """Why the candidate is refused, as sentences; empty if it is not."""
        sentences = []
        if self.losses:
            number_of = f"{len(self.losses)} of {len(self.changes)} figures"
            sentences.append(f"Worse beyond chance in {number_of}: {_named(self.losses)}.")
        if self.uncalibrated:
            sentences.append("It was not calibrated, so it cannot promise a precision, as the present version does.")
        if self.gone:
            sentences.append(f"It cannot answer with words that the present version knows: {first_few(self.gone, 10)}.")
        return sentences


def side(name: Name, difference: Difference) -> Literal["A", "B", ""]:
    """The side that is better beyond chance: A is the present version. Of a key, a higher IoU is."""
    kind, figure = name
    return better(figure if kind == FIGURE else KEY, difference)


def summary(judgement: Judgement, split: str) -> str:
    """What the comparison of a candidate found that is not refused."""
    text = (
        f"Not worse beyond chance in any of {len(judgement.changes)} figures, on {judgement.products:,} products of "
        f"{split}."
    )
    gains = judgement.gains
    return f"{text} Better in {len(gains)}: {_named(gains)}." if gains else text


def _named(changes: Mapping[Name, Difference]) -> str:
    """The first changes, with their intervals, and the number of the others."""
    texts = [
        f"{f'IoU of {name}' if kind == KEY else FIGURE_TITLES[name]} {number(d.b)}, before {number(d.a)}: "
        f"{signed(d.value)} ({signed(d.low)} to {signed(d.high)})"
        for (kind, name), d in changes.items()
    ]
    more = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return "; ".join([*texts[:NAMED], *more])


def judge(present: Evidence, candidate: Evidence, keys: Sequence[str], promised: float) -> Judgement:
    """Compare two models on the same products, of which neither learned any, by the `keys` that both can answer.

    `present` and `candidate` are in the words of the same catalog.
    """
    present, candidate = present.of_keys(keys), candidate.of_keys(keys)
    both = matches_of_both(present, candidate)

    def numbers(weights: NDArray[np.float32]) -> dict[Name, NDArray[np.float64]]:
        figures = {(FIGURE, name): values for name, values in weighted(both, weights).items()}
        return figures | {(KEY, name): values for name, values in zip(keys, key_iou(both, weights), strict=True)}

    lower = {(FIGURE, name) for name in LOWER_IS_BETTER}
    changes = swapped(numbers, present.groups, CHANCE, lower)
    ones, zeros = np.ones((len(present.ids), 1), np.float32), np.zeros((len(present.ids), 1), np.float32)
    before, after = (numbers(np.concatenate(sides)) for sides in ((ones, zeros), (zeros, ones)))
    differences = {
        name: Difference(
            a=float(before[name][0]),
            b=float(after[name][0]),
            value=value,
            low=value - changes.limit * changes.errors[name],
            high=value + changes.limit * changes.errors[name],
        )
        for name, value in changes.differences.items()
    }
    return Judgement(
        products=len(present.ids),
        groups=len(set(present.groups)),
        promised=promised,
        figures={name: d for (kind, name), d in differences.items() if kind == FIGURE},
        keys={name: d for (kind, name), d in differences.items() if kind == KEY},
        uncalibrated=present.accepted is not None and candidate.accepted is None,
        unlabelled=tuple(name for name in keys if (KEY, name) not in differences),
    )
