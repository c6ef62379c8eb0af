"""The report as one HTML document that needs no network: every table, chart and thumbnail is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attire.bundle import ModelBundle
from attire.evaluation import charts, gallery
from attire.evaluation.charts import Cell, Chart
from attire.evaluation.compare import Comparison
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report
from attire.evaluation.tables import (
    FIGURE_TITLES,
    comparison_sheets,
    comparison_verdict,
    division_sheets,
    number,
    sheets,
    verdict,
)
from attire.score.curves import (
    category_confusion,
    category_reliability,
    iou_by_category,
    key_confusion,
    key_reliability,
    precision_coverage,
)
from attire.score.metrics import FIGURES
from attire.theme import THEME

MORE_DEFINITIONS = {
    "IoU": "chosen and stated values by chosen or stated values; 0 where the key was left open or ruled out",
    "mode": "a baseline that sees no photo: the most frequent category and value of each key in train",
    "mode in true category": "another that is told the category: the most frequent value of each key within it",
    "mode IoU": "the IoU of the mode in the true category",
    "accuracy": "share of known pairs with exactly the stated values",
}
UNANSWERED, OPEN = "no photo", "left open"


def page(
    report: Report, evidence: Evidence, photos: Sequence[Sequence[Path]], bundle: ModelBundle | None = None
) -> str:
    """The whole document; `photos` are those of each of the evidence's products.

    With the `bundle` that was scored, mistakes are shown with what in the photo spoke for them.
    """
    figures, keys, categories = sheets(report)

    def cards(picks: list[gallery.Pick], explained: bool = False) -> list[gallery.Card]:
        found = [gallery.card(evidence, pick, photos[pick.row]) for pick in picks]
        seen = [photos[pick.row] for pick in picks]
        return gallery.with_heat_maps(bundle, found, seen) if bundle and explained else found

    return render(
        "report.html",
        title=f"Evaluation on {report.provenance.split}",
        evidence=_extent(report),
        verdict=verdict(report) if report.keys else "This model answers the category alone.",
        notes=report.notes,
        figures=figures,
        keys=keys,
        categories=categories,
        calibrated=evidence.accepted is not None,
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
        definitions={**{FIGURE_TITLES[name]: meaning for name, meaning in FIGURES.items()}, **MORE_DEFINITIONS},
        provenance={name: "–" if value is None else str(value) for name, value in report.provenance},
    )


def comparison_page(comparison: Comparison, a: str, b: str) -> str:
    """The differences as one HTML document; `a` and `b` are what the reports are called."""
    figures, keys = comparison_sheets(comparison)
    return render(
        "compare.html",
        title=f"Comparison on {comparison.a.split}",
        extent=f"{number(comparison.products)} products in {number(comparison.groups)} groups, scored by both.",
        verdict=comparison_verdict(comparison),
        notes=comparison.notes,
        sides={f"A: {a}": f"bundle {comparison.a.bundle}", f"B: {b}": f"bundle {comparison.b.bundle}"},
        figures=figures,
        keys=keys,
        definitions={FIGURE_TITLES[name]: meaning for name, meaning in FIGURES.items()},
    )


def render(template: str, **content: Any) -> str:
    """A page from one of the templates; text in `content` is escaped, `Markup` is not."""
    loader = PackageLoader("attire.evaluation")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(content | {"theme": Markup(THEME)})  # noqa: S704  (our own file)


def _extent(report: Report) -> str:
    """How much evidence there is, in a sentence or two."""
    counts = report.counts
    said = f"{number(counts.products)} products in {number(counts.groups)} groups"
    if report.keys:
        said += (
            f", {number(counts.known_pairs)} known (product, key) pairs, {number(counts.predicted_pairs)} predicted. "
            f"Macro IoU covers {counts.keys} keys, mAP {counts.values} values, macro F1 {counts.categories} categories."
        )
    else:
        said += f" of {counts.categories} categories."
    if counts.unanswered:
        said += f" {number(counts.unanswered)} products have no readable photo and count as unanswered."
    return said


def _confidence_charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    if evidence.matches.known.any():
        coverage, precision = (report.figures[name].value for name in ("coverage_95", "precision_95"))
        chosen = None if np.isnan(precision) else (coverage, precision)
        yield charts.precision_coverage(precision_coverage(evidence.matches), chosen)
        yield charts.reliability(key_reliability(evidence.matches), "the keys")
    yield charts.reliability(category_reliability(evidence.truth, evidence.decisions), "the category")


def _confusions(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Per key with a known pair: the stated values, the answers that occur, and how often each met each."""
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
        Cell(key, category, float(found), f"{100 * found:.0f}", f"{key}, {category}: IoU {found:.3f} of {n:,} labels")
        for key, found_in, labels in zip(keys, iou, count, strict=True)
        for category, found, n in zip(categories, found_in, labels, strict=True)
        if n
    ]
    rows = [key for key, n in zip(keys, count.sum(axis=1), strict=True) if n]
    columns = [category for category, n in zip(categories, count.sum(axis=0), strict=True) if n]
    return charts.heat_map(cells, rows, columns, "Heat map of the IoU of keys within categories.")


def _svg(drawing: str) -> Markup:
    """A chart of Vega's, which escapes the words in it."""
    return Markup(drawing)  # noqa: S704


def _percent(share: float) -> str:
    """Whole percent, nothing for less than half of one."""
    return f"{100 * share:.0f}" if share >= 0.005 else ""
