"""Compare two reports on the same products: the difference of every figure, with paired intervals.

Each bootstrap resample of groups scores both models, so that products that are easy or hard for both do not widen the
interval (Efron and Tibshirani, "An introduction to the bootstrap", 1993). Figures are recomputed from the evidence.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from attire.evaluation.common_products import common_products
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Figure, Provenance
from attire.score.intervals import intervals
from attire.score.metrics import key_filling, key_iou, weighted

LOWER_IS_BETTER = ("spurious_rate", "ece")
FIGURE, KEY, COVERAGE, PRECISION = "figure", "key", "coverage", "precision"  # kinds of numbers that are compared


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Frozen):
    """A figure of A and of B, and the difference B - A with its 95% interval; nan if either side has no evidence."""

    a: Figure
    b: Figure
    value: Figure
    low: Figure
    high: Figure

    @property
    def beyond_chance(self) -> bool:
        """True if the interval excludes zero."""
        return self.low > 0 or self.high < 0


class Comparison(_Frozen):
    """Differences of all `figures`, and by key of IoU (`keys`), `coverage`, and the `precision` of filled fields.

    The last two are empty unless both bundles have fitted thresholds. left_out: number of products that are not
    compared, because one of the bundles learned from their groups. known: number of labels of each key.
    """

    a: Provenance
    b: Provenance
    products: int
    groups: int
    left_out: int
    figures: dict[str, Difference]
    keys: dict[str, Difference]
    known: dict[str, int]
    coverage: dict[str, Difference] = Field(default_factory=dict)
    precision: dict[str, Difference] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()  # from both reports


def compare(a: str | Path, b: str | Path) -> Comparison:
    """Compare the reports in two directories that `attire evaluate` wrote, on the products that both scored.

    Products of groups that one of the bundles learned from are left out. Raises `ReportError` if a report is missing or
    damaged, if they differ in catalog, split, products or taxonomy, or if no product is left.
    """
    reports, evidence, left_out = common = common_products([Path(a), Path(b)])
    names = list(evidence[0].taxonomy.keys)
    ones = np.ones((len(evidence[0].ids), 1))
    values = [_numbers(side, ones) for side in evidence]

    def differences(weights: NDArray[np.floating]) -> dict[tuple[str, str], NDArray[np.float64]]:
        of_a, of_b = both.map(_numbers, evidence, (weights, weights))
        return {name: of_b[name] - of_a[name] for name in of_a}

    with ThreadPoolExecutor(2, "compare") as both:  # numpy computes without the interpreter's lock
        interval = intervals(differences, evidence[0].groups)
    all_differences = {
        name: Difference(
            a=float(values[0][name][0]),
            b=float(values[1][name][0]),
            value=float(values[1][name][0] - values[0][name][0]),
            low=interval[name].low,
            high=interval[name].high,
        )
        for name in interval
    }

    def of_kind(chosen: str) -> dict[str, Difference]:
        return {name: difference for (kind, name), difference in all_differences.items() if kind == chosen}

    both_fill = all(side.accepted is not None for side in evidence)
    return Comparison(
        a=reports[0].provenance,
        b=reports[1].provenance,
        products=len(evidence[0].ids),
        groups=common.groups,
        left_out=left_out,
        figures=of_kind(FIGURE),
        keys=of_kind(KEY),
        known=dict(zip(names, evidence[0].matches.known.sum(axis=0).tolist(), strict=True)),
        coverage=of_kind(COVERAGE) if both_fill else {},
        precision=of_kind(PRECISION) if both_fill else {},
        notes=tuple(f"{side}: {note}" for side, report in zip("AB", reports, strict=True) for note in report.notes),
    )


def better(figure: str, difference: Difference) -> Literal["A", "B", ""]:
    """The side that is better beyond chance, or an empty string."""
    if not difference.beyond_chance:
        return ""
    return "B" if (difference.value > 0) != (figure in LOWER_IS_BETTER) else "A"


def _numbers(evidence: Evidence, weights: NDArray[np.floating]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """All figures, and IoU, coverage and precision of all keys, float64[R] each, for R sets of weights."""
    matches = evidence.matches
    numbers = {(FIGURE, name): values for name, values in weighted(matches, weights).items()}
    coverage, precision = key_filling(matches, weights)
    for kind, rows in ((KEY, key_iou(matches, weights)), (COVERAGE, coverage), (PRECISION, precision)):
        numbers |= {(kind, name): values for name, values in zip(evidence.taxonomy.keys, rows, strict=True)}
    return numbers
