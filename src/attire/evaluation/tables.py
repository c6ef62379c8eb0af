"""Tables of text for reports and comparisons, shared by the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from attire.evaluation.baselines import MODE, MODE_WITHIN_CATEGORY, MODE_WITHIN_PREDICTED
from attire.evaluation.compare import Comparison, Difference, better
from attire.evaluation.report import CategoryScores, KeyScores, Report
from attire.evaluation.split_summary import Division
from attire.evaluation.trend import Trend, TrendPoint

FIGURE_TITLES = {
    "category_accuracy": "category accuracy",
    "category_f1": "category macro F1",
    "attribute_iou": "attribute IoU",
    "coarse_iou": "coarse IoU",
    "macro_iou": "macro IoU",
    "original_iou": "original IoU",
    "spurious_rate": "spurious rate",
    "coverage_95": "filled fields (coverage@95)",
    "precision_95": "precision of filled fields",
    "category_coverage": "filled categories",
    "category_precision": "precision of filled categories",
    "ece": "calibration error (ECE)",
    "map": "mAP",
}
BASELINE_TITLES = {
    MODE: "mode",
    MODE_WITHIN_CATEGORY: "mode in true category",
    MODE_WITHIN_PREDICTED: "lookup",
}
KEY_TITLES = {
    "key": "key",
    "known": "known",
    "predicted": "predicted",
    "iou": "IoU",
    "mode_iou": "mode IoU",
    "coarse_iou": "coarse IoU",
    "lookup_iou": "lookup IoU",
    "accuracy": "accuracy",
    "spurious_rate": "spurious",
    "map": "mAP",
}
CATEGORY_TITLES = {
    "category": "category",
    "products": "products",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "known": "labels",
    "iou": "IoU",
    "mode_iou": "mode IoU",
    "spurious_rate": "spurious",
}


class Sheet(NamedTuple):
    """A table of text: the first column names the row, the others hold numbers, except those named in `prose`."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    prose: tuple[str, ...] = ()

    def table(self) -> Table:
        """The sheet as a rich table for the terminal."""
        table = Table(title=self.title, title_justify="left", box=SIMPLE_HEAD, padding=0)
        for i, name in enumerate(self.header):
            words = not i or name in self.prose
            whole = not words and not any("(" in row[i] for row in self.rows)  # a change and its interval may be broken
            table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=whole)
        for row in self.rows:
            table.add_row(*row)
        return table


def sheets(report: Report) -> tuple[Sheet, Sheet, Sheet]:
    """Three sheets: the figures with the baselines, the keys, and the categories."""
    names = list(report.baselines)
    shown = [field for field in KEY_TITLES if field in report.key_fields]
    return (
        Sheet(
            "Figures",
            ("figure", "value", "95% interval", *(BASELINE_TITLES[name] for name in names)),
            tuple(
                (
                    FIGURE_TITLES[figure],
                    number(score.value),
                    "–" if np.isnan(score.value) else f"{number(score.low)}–{number(score.high)}",
                    *(number(report.baselines[name][figure]) for name in names),
                )
                for figure, score in report.figures.items()
            ),
        ),
        Sheet("Per key", tuple(KEY_TITLES[field] for field in shown), _cells(report.keys, shown)),
        Sheet("Per category", tuple(CATEGORY_TITLES.values()), _cells(report.categories, CATEGORY_TITLES)),
    )


def division_sheets(division: Division) -> tuple[Sheet, Sheet, Sheet]:
    """Three sheets: sizes of the splits, their balance, and the least balanced values."""
    return (
        Sheet(
            "Sizes",
            ("split", "share", "products", "groups"),
            tuple((p.part, f"{p.share:.0%}", number(p.products), number(p.groups)) for p in division.parts),
        ),
        Sheet(
            "Balance (deviation from the split's share)",
            ("split", "kind", "count", "mean", "largest"),
            tuple((b.part, b.kind, number(b.count), number(b.mean), number(b.largest)) for b in division.balance),
        ),
        Sheet(
            "Least balanced values",
            ("value", "split", "products", "share", "deviation"),
            tuple(
                (f"{d.key}: {d.value}", d.part, number(d.count), number(d.share), signed(d.deviation))
                for d in division.furthest
            ),
        ),
    )


def comparison_sheets(comparison: Comparison) -> tuple[Sheet, ...]:
    """Sheets of A and B: all figures, and by key the IoU and, if both fill fields, the coverage and the precision.

    The largest difference is first.
    """
    header = ("A", "B", "B − A", "95% interval", "better")
    of_keys = {
        "IoU per key": comparison.keys,
        "Coverage per key (share of fields that are filled)": comparison.coverage,
        "Precision of filled fields per key": comparison.precision,
    }
    return (
        Sheet(
            "Figures",
            ("figure", *header),
            tuple((FIGURE_TITLES[name], *_cells_of(name, figure)) for name, figure in comparison.figures.items()),
        ),
        *(
            Sheet(
                title,
                ("key", "known", *header),
                tuple(
                    (name, number(comparison.known[name]), *_cells_of(name, difference))
                    for name, difference in sorted(
                        differences.items(), key=lambda item: -abs(np.nan_to_num(item[1].value, nan=-1))
                    )
                ),
            )
            for title, differences in of_keys.items()
            if differences
        ),
    )


def comparison_verdict(comparison: Comparison) -> str:
    """One or two sentences: in how many figures and keys A or B is better beyond chance."""
    sentences = []
    for kind, differences in (("figures", comparison.figures), ("keys", comparison.keys)):
        winners = [better(name, difference) for name, difference in differences.items()]
        if differences:
            b, a = winners.count("B"), winners.count("A")
            sentences.append(f"Of {len(differences)} {kind}, B is better in {b} and A in {a} beyond chance.")
    return " ".join(sentences)


def trend_sheets(trend: Trend) -> tuple[Sheet, ...]:
    """A sheet for each figure, with a row for each report, which are numbered from 1."""
    header = ("report", "value", "95% interval", "since the first", "since the previous")
    return tuple(
        Sheet(
            FIGURE_TITLES[figure],
            header,
            tuple((str(i), *_point_cells(figure, point)) for i, point in enumerate(points, 1)),
        )
        for figure, points in trend.figures.items()
    )


def trend_verdict(trend: Trend) -> str:
    """In how many figures the last report is better or worse than the first one, and than the previous one."""
    sentences = []
    for since in ("first", "previous"):
        changes = {figure: getattr(points[-1], f"since_{since}") for figure, points in trend.figures.items()}
        sides = [better(figure, change) for figure, change in changes.items()]
        sentences.append(
            f"Since the {since} report, {sides.count('B')} of {len(sides)} figures got better and {sides.count('A')} "
            "worse beyond chance."
        )
    return " ".join(sentences)


def extent(products: int, groups: int, left_out: int) -> str:
    """What a comparison is on, as one or two sentences."""
    text = f"{number(products)} products in {number(groups)} groups."
    if left_out:
        text += f" {number(left_out)} are left out, because one of the bundles learned from their groups."
    return text


def verdict(report: Report) -> str:
    """One sentence: whether the model beats the baseline that is given the true category."""
    iou, mode = report.figures["attribute_iou"], report.baselines.get(MODE_WITHIN_CATEGORY, {}).get("attribute_iou")
    summary = f"Attribute IoU is {number(iou.value)} ({number(iou.low)} to {number(iou.high)})"
    if mode is None:
        return f"{summary}. There is no baseline, because no train products are left to fit one."
    relation = "above" if iou.low > mode else "below" if iou.high < mode else "no different from"
    return f"{summary}: {relation} the {number(mode)} of the most frequent value within the true category."


def number(value: float) -> str:
    """Format counts with separators and figures with three digits; a dash for nan."""
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if np.isnan(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """Format a difference with its sign; a dash for nan."""
    return "–" if np.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _cells_of(name: str, difference: Difference) -> tuple[str, ...]:
    interval = "–" if np.isnan(difference.value) else f"{signed(difference.low)} to {signed(difference.high)}"
    a, b, value = number(difference.a), number(difference.b), signed(difference.value)
    return a, b, value, interval, better(name, difference) or "–"


def _point_cells(figure: str, point: TrendPoint) -> tuple[str, ...]:
    interval = "–" if np.isnan(point.value) else f"{number(point.low)}–{number(point.high)}"
    return (
        number(point.value),
        interval,
        *(_change(figure, change) for change in (point.since_first, point.since_previous)),
    )


def _change(figure: str, change: Difference | None) -> str:
    if change is None or np.isnan(change.value):
        return "–"
    word = {"A": " worse", "B": " better", "": ""}[better(figure, change)]
    return f"{signed(change.value)} ({signed(change.low)} to {signed(change.high)}){word}"


def _cells(rows: Sequence[KeyScores] | Sequence[CategoryScores], fields: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    values = [[getattr(row, field) for field in fields] for row in rows]
    return tuple(tuple(value if isinstance(value, str) else number(value) for value in row) for row in values)
