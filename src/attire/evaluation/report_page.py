"""The report as a single HTML file with all tables, charts and thumbnails embedded, so that it needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from attire.bundle import ModelBundle
from attire.evaluation import charts, gallery
from attire.evaluation.charts import Cell, Chart
from attire.evaluation.compare import Comparison
from attire.evaluation.evidence import Evidence
from attire.evaluation.promise_chart import promise_chart
from attire.evaluation.promise_tables import MEANINGS, category_row, key_rows, promise_sentences, promise_sheets
from attire.evaluation.rendering import render
from attire.evaluation.report import Report
from attire.evaluation.tables import (
    FIGURE_TITLES,
    comparison_sheets,
    comparison_verdict,
    division_sheets,
    extent,
    number,
    sheets,
    trend_sheets,
    trend_verdict,
    verdict,
)
from attire.evaluation.trend import Trend
from attire.neighbours.labelled_photos import LabelledPhotos
from attire.score.curves import (
    category_confusion,
    category_reliability,
    filled_reliability,
    iou_by_category,
    key_confusion,
    key_reliability,
    precision_coverage,
)
from attire.score.metrics import COARSE_FIGURES, FIGURES

MORE_DEFINITIONS = {
    "IoU": "number of values both chosen and stated, divided by the number chosen or stated; 0 for a field left open "
    "or predicted not to apply",
    "mode": "baseline that sees no photo: the most frequent category and the most frequent value of each key in train",
    "mode in true category": "baseline that is given the true category: the most frequent value of each key within it",
    "lookup": "baseline that is given the predicted category: the most frequent value of each key within it",
    "mode IoU, lookup IoU": "IoU of the baselines 'mode in true category' and 'lookup'",
    "accuracy": "share of known pairs with exactly the stated values",
}
UNANSWERED, OPEN = "no photo", "left open"


def page(
    report: Report,
    evidence: Evidence,
    photos: Sequence[Sequence[Path]],
    bundle: ModelBundle | None = None,
    labelled: LabelledPhotos | None = None,
) -> str:
    """Render the report. `photos` are the photos of each product in `evidence`.

    With the `bundle` that was evaluated, mistakes are shown with heat maps; with `labelled`, also with similar photos.
    """
    figures, keys, categories = sheets(report)
    rows, category = key_rows(report), category_row(report)
    judged = [*([category] if category else []), *rows]

    def cards(picks: list[gallery.Pick], explained: bool = False) -> list[gallery.Card]:
        plain = [gallery.card(evidence, pick, photos[pick.row]) for pick in picks]
        if labelled and explained:
            plain = gallery.with_similar(labelled, plain)
        if not (bundle and explained):
            return plain
        return gallery.with_heat_maps(bundle, plain, [photos[pick.row] for pick in picks])

    return render(
        "report.html",
        title=f"Evaluation on {report.provenance.split}",
        evidence=_extent(report),
        verdict=verdict(report) if report.keys else "This model answers only the category.",
        notes=report.notes,
        figures=figures,
        keys=keys,
        categories=categories,
        calibrated=evidence.accepted is not None,
        promises=promise_sheets(report) if rows else (),
        promise_chart=[(title, _svg(svg)) for title, svg in ([promise_chart(judged)] if rows else [])],
        filled_charts=[(title, _svg(svg)) for title, svg in _filled_charts(evidence)],
        promise_sentences=promise_sentences(report),
        promise_meanings=MEANINGS,
        charts=[(title, _svg(svg)) for title, svg in _confidence_charts(report, evidence)],
        percent=_percent,
        confusions=list(_confusions(evidence)),
        iou_map=_svg(_iou_map(evidence)) if evidence.matches.known.any() else "",
        category_map=_svg(_category_map(evidence)),
        mistakes=cards(gallery.confident_mistakes(evidence), explained=True),
        category_mistakes=cards(gallery.confident_category_mistakes(evidence), explained=True),
        left_open=cards(gallery.left_open(evidence)),
        division=division_sheets(report.division) if report.division else (),
        seed=report.provenance.seed,
        definitions=_definitions(report.figures) | MORE_DEFINITIONS,
        provenance={name: "–" if value is None else str(value) for name, value in report.provenance},
    )


def comparison_page(comparison: Comparison, a: str, b: str) -> str:
    """Render a comparison as a single HTML file. `a` and `b` are the names of the reports."""
    figures, *keys = comparison_sheets(comparison)
    return render(
        "compare.html",
        title=f"Comparison on {comparison.a.split}",
        extent=extent(comparison.products, comparison.groups, comparison.left_out),
        verdict=comparison_verdict(comparison),
        notes=comparison.notes,
        sides={f"A: {a}": f"bundle {comparison.a.bundle}", f"B: {b}": f"bundle {comparison.b.bundle}"},
        figures=figures,
        keys=keys,
        definitions=_definitions(comparison.figures),
    )


def trend_page(trend: Trend) -> str:
    """Render figures over time as a single HTML file."""
    lines = {
        FIGURE_TITLES[name]: [(point.value, point.low, point.high) for point in points]
        for name, points in trend.figures.items()
    }
    return render(
        "trend.html",
        title=f"{len(trend.names)} reports on {trend.reports[-1].split}",
        extent=extent(trend.products, trend.groups, trend.left_out),
        verdict=trend_verdict(trend),
        notes=trend.notes,
        reports={
            f"{i}: {name}": f"bundle {report.bundle}"
            for i, (name, report) in enumerate(zip(trend.names, trend.reports, strict=True), 1)
        },
        charts=[
            (chart.title, _svg(chart.svg))
            for chart in (
                charts.over_time(title, trend.names, points)
                for title, points in lines.items()
                if not np.isnan(points).all()
            )
        ],
        sheets=trend_sheets(trend),
        definitions=_definitions(trend.figures),
    )


def _definitions(figures: Iterable[str]) -> dict[str, str]:
    """The titles of figures with their meanings."""
    return {FIGURE_TITLES[name]: (FIGURES | COARSE_FIGURES)[name] for name in figures}


def _extent(report: Report) -> str:
    """Summarise the amount of evidence in a sentence or two."""
    counts = report.counts
    text = f"{number(counts.products)} products in {number(counts.groups)} groups"
    if report.keys:
        text += (
            f", {number(counts.known_pairs)} fields with a label, {number(counts.predicted_pairs)} fields answered. "
            f"Macro IoU covers {counts.keys} keys, mAP {counts.values} values, macro F1 {counts.categories} categories."
        )
    else:
        text += f" of {counts.categories} categories."
    if counts.unanswered:
        text += f" {number(counts.unanswered)} products have no readable photo and count as unanswered."
    return text


def _confidence_charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    if evidence.matches.known.any():
        coverage, precision = (report.figures[name].value for name in ("coverage_95", "precision_95"))
        chosen = None if np.isnan(precision) else (coverage, precision)
        yield charts.precision_coverage(precision_coverage(evidence.matches), chosen)
        yield charts.reliability(key_reliability(evidence.matches), "the keys")
    yield charts.reliability(category_reliability(evidence.truth, evidence.decisions), "the category")


def _filled_charts(evidence: Evidence) -> Iterator[Chart]:
    for labels, bins in filled_reliability(evidence.matches):
        extent = f"{labels[-1]:,} to {labels[0]:,}" if labels[0] > labels[-1] else f"{labels[0]:,}"
        yield charts.reliability(bins, f"filled fields of {len(labels)} keys with {extent} labels")


def _confusions(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """The confusion matrix of each key with labels: stated values (rows) by the answers that occur (columns)."""
    for name, key in evidence.taxonomy.keys.items():
        count = key_confusion(evidence.taxonomy, evidence.truth, evidence.decisions, name)
        stated = evidence.truth.hot[:, evidence.taxonomy.columns[name]].sum(axis=0)
        rows, columns = np.flatnonzero(stated), np.flatnonzero((count.sum(axis=0) > 0) | np.append(stated > 0, False))
        words = (*key.values, OPEN)
        if len(rows):
            yield {
                "key": name,
                "many": key.arity == "many",
                "columns": [words[i] for i in columns],
                "rows": [
                    {"value": words[i], "known": int(stated[i]), "counts": count[i, columns].tolist()} for i in rows
                ],
            }


def _category_map(evidence: Evidence) -> str:
    count = category_confusion(evidence.truth, evidence.decisions)
    total = count.sum(axis=1)
    words = (*evidence.taxonomy.categories, UNANSWERED)
    cells = [
        Cell(
            words[row],
            words[column],
            n / total[row],
            _percent(n / total[row]),
            f"{words[row]}: {n:,} of {total[row]:,}",
        )
        for (row, column), n in np.ndenumerate(count)
        if n
    ]
    rows = [word for word, n in zip(words, total, strict=False) if n]
    columns = [word for word, n in zip(words, count.sum(axis=0) + np.append(total, 0), strict=True) if n]
    return charts.heat_map(cells, rows, columns, "Heat map of categories by predicted category.")


def _iou_map(evidence: Evidence) -> str:
    iou, count = (table.T for table in iou_by_category(evidence.matches))
    keys, categories = list(evidence.taxonomy.keys), evidence.taxonomy.categories
    cells = [
        Cell(key, category, float(value), f"{100 * value:.0f}", f"{key}, {category}: IoU {value:.3f} of {n:,} labels")
        for key, row, labels in zip(keys, iou, count, strict=True)
        for category, value, n in zip(categories, row, labels, strict=True)
        if n
    ]
    rows = [key for key, n in zip(keys, count.sum(axis=1), strict=True) if n]
    columns = [category for category, n in zip(categories, count.sum(axis=0), strict=True) if n]
    return charts.heat_map(cells, rows, columns, "Heat map of the IoU of keys within categories.")


def _svg(drawing: str) -> Markup:
    """Mark a chart as safe: Vega escapes the words in it."""
    return Markup(drawing)  # noqa: S704


def _percent(share: float) -> str:
    """A share in whole percent; empty below 0.5%."""
    return f"{100 * share:.0f}" if share >= 0.005 else ""
