"""The page of a comparison of answers, as a single HTML file."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from attire.evaluation.charts import Chart
from attire.evaluation.drift_charts import confidence_chart, values_chart
from attire.evaluation.drift_tables import MEANINGS, belief, drift_sentences, drift_sheet
from attire.evaluation.rendering import render
from attire.progress import track
from attire.score.drift import Drift, KeyDrift
from attire.score.promise import percent
from attire.taxonomy import CATEGORY


def drift_page(drift: Drift, before: str, now: str) -> str:
    """Render the page. `before` and `now` are the names of the two sides."""
    sheet = drift_sheet(drift)
    by_name = {key.key: key for key in drift.keys}
    return render(
        "drift.html",
        title="Drift of answers",
        sides={
            f"before: {before}": f"{drift.before.products:,} products",
            f"now: {now}": f"{drift.now.products:,} products",
        },
        sentences=drift_sentences(drift),
        error=percent(drift.error),
        sheet=sheet,
        keys=[_charts(drift, by_name[row[0]]) for row in track(sheet.rows, "drawing", "keys", len(sheet.rows))],
        meanings=MEANINGS,
    )


def _charts(drift: Drift, key: KeyDrift) -> dict[str, Any]:
    name = key.key if key.key in drift.before.columns else CATEGORY
    rows = drift.before.columns[name]
    before, now = drift.before.answers[rows], drift.now.answers[rows]
    products = (drift.before.products, drift.now.products)
    charts = (
        confidence_chart(before.sum(axis=0), now.sum(axis=0)),
        values_chart(drift.before.words[name], before.sum(axis=1), now.sum(axis=1), products),
    )
    return {
        "name": key.key,
        "said": f"{key.verdict.value}; the promise: {belief(key)}",
        "charts": [_safe(chart) for chart in charts],
    }


def _safe(chart: Chart) -> tuple[str, Markup]:
    """A chart whose SVG is safe: Vega escapes the words in it."""
    return chart.title, Markup(chart.svg)  # noqa: S704
