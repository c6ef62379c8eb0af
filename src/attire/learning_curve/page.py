"""The learning curves as a single HTML page with a small chart for each key."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from attire.evaluation.charts import Chart, drawn, inline
from attire.evaluation.rendering import render
from attire.learning_curve.curve import KeyCurve, LearningCurve
from attire.learning_curve.tables import MEANINGS, in_order, sheet, verdict

PLOT_PX = (240, 150)
STEPS = 30  # points of a drawn power law
LIMITS = {
    "labels": "more labels help",
    "not labels": "something else limits it",
    "unclear": "unclear",
    "too few labels": "too few labels to tell",
}


def page(curve: LearningCurve) -> str:
    """Render the page; it needs no network."""
    charts = map(key_chart, in_order(curve))
    return render(
        "curve.html",
        "attire.learning_curve",
        title="How many labels it takes",
        extent=f"Recipe {curve.recipe}, backbone {curve.backbone}: trained on parts of the {curve.products:,} products "
        "of train, each part inside the next one, and scored on val with one photo of each product.",
        verdict=verdict(curve),
        charts=[(chart.title, Markup(chart.svg)) for chart in charts],  # noqa: S704  (Vega escapes the words in it)
        sheet=sheet(curve),
        definitions=MEANINGS,
        provenance={"catalog": curve.catalog, "splits": curve.splits},
    )


def key_chart(key: KeyCurve) -> Chart:
    """IoU and coverage over the number of labels; dashed: the power law, and what it forecasts with its interval."""
    import altair as alt

    measured = [
        point.model_dump() | {"tooltip": f"{point.labels:,} labels: IoU {point.iou:.3f}, coverage {point.coverage:.0%}"}
        for point in key.points
    ]
    ahead = [
        forecast.model_dump() | {"tooltip": f"{forecast.labels:,} labels: IoU about {forecast.iou:.3f}"}
        for forecast in key.forecasts
    ]
    scale = alt.Scale(type="log", nice=False, padding=8)
    x = alt.X("labels:Q", title="labels", scale=scale, axis=alt.Axis(format=".2~s", values=_ticks(key), grid=False))
    y_scale = alt.Scale(domain=[0, 1])
    y = alt.Y("iou:Q", title=None, scale=y_scale, axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1]))

    def marks(rows: list[dict[str, Any]], colour: str) -> list[alt.Chart]:
        base = alt.Chart(inline(rows))
        rule = base.mark_rule(color=colour, strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q")
        point = base.mark_point(color=colour, filled=True, size=50, opacity=1, aria=True)
        return [rule, point.encode(x=x, y=y, description="tooltip:N")]

    coverage = alt.Chart(inline(measured)).mark_line(color="var(--soft)", strokeWidth=1.5, strokeDash=[1, 3])
    layers: list[Any] = [coverage.encode(x=x, y=alt.Y("coverage:Q", scale=y_scale))]
    if key.law is not None:
        law = alt.Chart(inline(_law(key, key.law))).mark_line(color="var(--accent)", strokeWidth=1.5, strokeDash=[5, 4])
        layers.append(law.encode(x=x, y=y))
    layers += [*marks(measured, "var(--accent)"), *(marks(ahead, "var(--warm)") if ahead else [])]
    chart = alt.layer(*layers).properties(width=PLOT_PX[0], height=PLOT_PX[1])
    title = f"{key.key}: {LIMITS[key.limit]}"
    return Chart(title, drawn(chart, f"{title}. {'; '.join(row['tooltip'] for row in [*measured, *ahead])}"))


def _law(key: KeyCurve, law: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Points of the power law, from the fewest labels to the most that are forecast."""
    a, b, c = law
    n = np.geomspace(key.points[0].labels, key.forecasts[-1].labels, STEPS)
    error = np.clip(a + b * (n / key.points[-1].labels) ** -c, 0, 1)
    return [{"labels": float(x), "iou": float(y)} for x, y in zip(n, 1 - error, strict=True)]


def _ticks(key: KeyCurve) -> list[int]:
    numbers = [*(point.labels for point in key.points), *(forecast.labels for forecast in key.forecasts)]
    return [numbers[0], key.points[-1].labels, *([numbers[-1]] if key.forecasts else [])]
