"""Charts of the report as static SVG, which needs no network and no scripts.

Colours are the page's CSS variables (--ink, --paper, --soft, --line, --accent, --warm), so that a chart works in light
and dark mode and in print. Altair is imported only when a chart is drawn, to keep other commands fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attire.evaluation.tables import number
from attire.score.curves import Bins, Curve
from attire.score.metrics import BINS

if TYPE_CHECKING:
    import altair as alt

POINTS = 300  # maximum number of points of a curve
PLOT_PX = (240, 200)  # width and height inside the axes: three charts fit side by side on a laptop
CELL_PX = 24
CONFIG = {
    "background": "transparent",
    "font": "sans-serif",
    "aria": False,  # except marks with aria=True, whose descriptions become tooltips
    "padding": {"left": 16, "top": 16, "right": 6, "bottom": 4},  # the reader's font may be wider
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--soft)",
        "tickColor": "var(--soft)",
    },
}
TARGET = 0.95  # precision of the dashed line
_ROOT = re.compile(r'<svg (xmlns(:\w+)?="[^"]*" )*')  # SVG inside HTML needs no namespace
_GROUP = re.compile(
    r' role="graphics-symbol" aria-roledescription="[^"]* container"'
)  # a symbol without a name is invalid
_MARK = re.compile(r'<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"([^>]*)/>')


class Chart(NamedTuple):
    """A drawing and its title."""

    title: str
    svg: str


class Cell(NamedTuple):
    """A cell of a heat map: its colour strength (0 to 1), its text, and its tooltip."""

    row: str
    column: str
    strength: float
    text: str
    tooltip: str


def precision_coverage(curve: Curve, chosen: tuple[float, float] | None) -> Chart:
    """Precision against coverage. `chosen`: coverage and precision of the bundle's thresholds, None without them."""
    import altair as alt

    points = thinned(curve)
    precisions = [precision for _, precision in (*points, chosen or (0, 1))]
    low = max(0.0, np.ceil(10 * min([TARGET, *precisions])) / 10 - 0.1)
    x = alt.X("coverage:Q", title="coverage: share of fields filled", scale=alt.Scale(domain=[0, 1]), axis=_percent())
    y = alt.Y("precision:Q", title="precision of filled fields", scale=alt.Scale(domain=[low, 1]))
    y = y.axis(format=".0%", tickCount=5)
    target = alt.Chart(inline([{"precision": TARGET}])).mark_rule(color="var(--soft)", strokeDash=[5, 4]).encode(y=y)
    line = alt.Chart(inline([{"coverage": c, "precision": p} for c, p in points]))
    layers: list[Any] = [target, line.mark_line(color="var(--accent)", strokeWidth=2.5).encode(x=x, y=y)]
    title = "Precision and coverage, the most confident answers first"
    if chosen:
        title += f". ◆ the bundle's thresholds: {chosen[0]:.1%} filled, {chosen[1]:.1%} right"
        point = alt.Chart(inline([{"coverage": chosen[0], "precision": chosen[1]}]))
        diamond = point.mark_point(shape="diamond", size=160, opacity=1, filled=True, color="var(--warm)")
        layers.append(diamond.encode(x=x, y=y))
    chart = alt.layer(*layers).properties(width=PLOT_PX[0], height=PLOT_PX[1])
    return Chart(title, drawn(chart, f"{title}. The dashed line is {TARGET:.0%} precision."))


def reliability(bins: Bins, what: str) -> Chart:
    """Reliability diagram: precision against confidence, with the number of answers in each bin below."""
    import altair as alt

    rows = [
        {"from": i / BINS, "to": (i + 1) / BINS, "count": int(count), "confidence": confidence, "precision": precision}
        for i, (count, confidence, precision) in enumerate(zip(*bins, strict=True))
        if count
    ]
    for row in rows:
        row["tooltip"] = f"{row['count']:,} answers: confidence {row['confidence']:.3f}, right {row['precision']:.3f}"
    title = f"Confidence of {what}: ECE {number(bins.error)} over {bins.answers.sum():,} answers"
    lowest = min([1.0, *(min(row["from"], row["precision"]) for row in rows)]) if rows else 0.0
    low = min(0.75, np.floor(4 * lowest) / 4)  # filled fields are all in one corner
    unit = alt.Scale(domain=[low, 1])
    x = alt.X("confidence:Q", title=None, scale=unit, axis=_percent(low))
    y = alt.Y("precision:Q", title="share that is right", scale=unit, axis=_percent(low))
    diagonal = alt.Chart(inline([{"confidence": i, "precision": i} for i in (low, 1)]))
    measured = alt.Chart(inline(rows))
    upper = alt.layer(
        diagonal.mark_line(color="var(--soft)", strokeDash=[5, 4]).encode(x=x, y=y),
        measured.mark_line(color="var(--accent)", strokeWidth=1.5).encode(x=x, y=y),
        measured.mark_point(color="var(--accent)", filled=True, size=60, opacity=1, aria=True).encode(
            x=x, y=y, description="tooltip:N"
        ),
    ).properties(width=PLOT_PX[0], height=PLOT_PX[1] - 74)
    lower = (
        measured.mark_rect(color="var(--accent)", opacity=0.75, aria=True)
        .encode(
            x=alt.X("from:Q", title="confidence", scale=unit, axis=_percent(low)),
            x2="to:Q",
            y=alt.Y("count:Q", title="answers", axis=alt.Axis(tickCount=2, format="~s")),
            y2=alt.datum(0),
            description="tooltip:N",
        )
        .properties(width=PLOT_PX[0], height=50)
    )
    description = "; ".join(f"{row['from']:.2f} to {row['to']:.2f}: {row['tooltip']}" for row in rows)
    return Chart(title, drawn(alt.vconcat(upper, lower, spacing=6), f"{title}. {description}"))


def heat_map(cells: Iterable[Cell], rows: Sequence[str], columns: Sequence[str], description: str) -> str:
    """A heat map over `rows` and `columns`, blank without a cell. `description` is for screen readers."""
    import altair as alt

    table = [cell._asdict() for cell in cells]
    x = alt.X("column:N", title=None, sort=None, scale=alt.Scale(domain=list(columns)))
    x = x.axis(labelAngle=-90, orient="top", labelLimit=160)
    y = alt.Y("row:N", title=None, sort=None, scale=alt.Scale(domain=list(rows))).axis(labelLimit=160)
    base = alt.Chart(inline(table)).encode(x=x, y=y)
    # At most half of the accent colour, so that the text stays legible in light and dark mode.
    strength = alt.Opacity("strength:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.03, 0.5]))
    chart = alt.layer(
        base.mark_rect(color="var(--accent)", stroke="var(--paper)", aria=True).encode(
            opacity=strength, description="tooltip:N"
        ),
        base.mark_text(fontSize=11).encode(text="text:N", color=alt.value("var(--ink)")),
    )
    return drawn(chart.properties(width=alt.Step(CELL_PX), height=alt.Step(CELL_PX - 3)), description)


def over_time(title: str, names: Sequence[str], points: Sequence[tuple[float, float, float]]) -> Chart:
    """A figure's value and interval (low, high) for each of `names`, numbered from 1; a gap where the value is nan."""
    import altair as alt

    rows: list[dict[str, Any]] = [
        {"report": i, "value": value, "low": low, "high": high, "tooltip": f"{i}: {name}: {number(value)}"}
        for i, (name, (value, low, high)) in enumerate(zip(names, points, strict=True), 1)
        if not np.isnan(value)
    ]
    axis = alt.Axis(values=list(range(1, len(names) + 1)), format="d", grid=False)
    x = alt.X("report:Q", title="report", scale=alt.Scale(domain=[1, len(names)], nice=False, padding=8), axis=axis)
    scale = alt.Scale(zero=False)
    y = alt.Y("value:Q", title=None, scale=scale).axis(tickCount=5)
    measured = alt.Chart(inline(rows))
    chart = alt.layer(
        measured.mark_area(color="var(--accent)", opacity=0.15).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        measured.mark_line(color="var(--accent)", strokeWidth=1.5).encode(x=x, y=y),
        measured.mark_point(color="var(--accent)", filled=True, size=60, opacity=1, aria=True).encode(
            x=x, y=y, description="tooltip:N"
        ),
    ).properties(width=PLOT_PX[0], height=PLOT_PX[1] - 74)
    return Chart(title, drawn(chart, f"{title}. {'; '.join(row['tooltip'] for row in rows)}"))


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """At most `POINTS` points of the curve, evenly spread over its coverage, including the last one."""
    if not len(curve.coverage):
        return []
    coverages = np.linspace(0, curve.coverage[-1], POINTS + 1)[1:]
    indices = np.unique(np.searchsorted(curve.coverage, coverages - 1e-12))
    return [(float(curve.coverage[i]), float(curve.precision[i])) for i in indices]


def inline(rows: list[dict[str, Any]]) -> alt.InlineData:
    """The data of a chart, in its specification."""
    import altair as alt

    return alt.InlineData(values=rows)


def _percent(low: float = 0.0) -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", values=np.linspace(low, 1, {0.0: 5, 0.25: 4}.get(low, 6)).tolist())


def drawn(chart: alt.TopLevelMixin, description: str) -> str:
    """Render the chart as SVG, with `description` for screen readers and the marks' descriptions as tooltips."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict() | {"config": CONFIG})
    svg = _GROUP.sub("", svg)
    svg = _MARK.sub(r"<path\2><title>\1</title></path>", svg)
    return _ROOT.sub(f'<svg role="img" aria-label="{escape(description)}" ', svg, count=1)
