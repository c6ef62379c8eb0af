"""The figures of several models over time, on the same products, with paired intervals of the changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from attire.errors import ReportError
from attire.evaluation.common_products import common_products
from attire.evaluation.compare import Difference
from attire.evaluation.report import Figure, Provenance
from attire.score.intervals import Interval, intervals
from attire.score.metrics import weighted

_VALUE, _FIRST, _PREVIOUS = "value", "first", "previous"
_Name = tuple[str, str, int]  # what is computed, for which figure, for which report


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrendPoint(_Frozen):
    """A figure of one report with its 95% interval, and what changed since the first and since the previous report.

    The changes are None for the first report.
    """

    value: Figure
    low: Figure
    high: Figure
    since_first: Difference | None
    since_previous: Difference | None


class Trend(_Frozen):
    """The figures of several reports: `figures` has a point for each report, in the order of `names`.

    names: the reports' directories. left_out: number of products that are not compared, because one of the bundles
    learned from their groups.
    """

    names: tuple[str, ...]
    reports: tuple[Provenance, ...]
    products: int
    groups: int
    left_out: int
    figures: dict[str, tuple[TrendPoint, ...]]
    notes: tuple[str, ...] = ()


def trend(reports: Sequence[str | Path]) -> Trend:
    """Compare at least two reports in directories that `attire evaluate` wrote, in the order given.

    All are scored on the products that none of their bundles learned from, and on the same bootstrap resamples. Raises
    `ReportError` as `compare` does.
    """
    folders = [Path(report) for report in reports]
    if len(folders) < 2:
        raise ReportError(f"a trend needs at least two reports, got {len(folders)}.")
    common = common_products(folders)
    matches = [evidence.matches for evidence in common.evidence]

    def numbers(weights: NDArray[np.floating]) -> dict[_Name, NDArray[np.float64]]:
        figures = [weighted(one, weights) for one in matches]
        computed = {(_VALUE, name, i): values for i, one in enumerate(figures) for name, values in one.items()}
        for i, one in enumerate(figures[1:], 1):
            for name, values in one.items():
                computed[_FIRST, name, i] = values - figures[0][name]
                computed[_PREVIOUS, name, i] = values - figures[i - 1][name]
        return computed

    values = {name: float(value[0]) for name, value in numbers(np.ones((len(common.evidence[0].ids), 1))).items()}
    interval = intervals(numbers, common.evidence[0].groups)
    figures = {name for _, name, _ in values}
    return Trend(
        names=tuple(map(str, folders)),
        reports=tuple(report.provenance for report in common.reports),
        products=len(common.evidence[0].ids),
        groups=common.groups,
        left_out=common.left_out,
        figures={
            name: tuple(_point(name, i, values, interval) for i in range(len(folders)))
            for name in common.reports[0].figures
            if name in figures
        },
        notes=tuple(
            f"{folder}: {note}" for folder, report in zip(folders, common.reports, strict=True) for note in report.notes
        ),
    )


def _point(figure: str, i: int, values: dict[_Name, float], interval: dict[_Name, Interval]) -> TrendPoint:
    def change(kind: str, since: int) -> Difference | None:
        if not i:
            return None
        low, high = interval[kind, figure, i]
        a, b = values[_VALUE, figure, since], values[_VALUE, figure, i]
        return Difference(a=a, b=b, value=values[kind, figure, i], low=low, high=high)

    low, high = interval[_VALUE, figure, i]
    return TrendPoint(
        value=values[_VALUE, figure, i],
        low=low,
        high=high,
        since_first=change(_FIRST, 0),
        since_previous=change(_PREVIOUS, i - 1),
    )
