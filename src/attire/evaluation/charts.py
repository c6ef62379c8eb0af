"""Charts as SVG text, drawn here and now: they need neither a browser's network nor a script.

Colours are the page's CSS variables (--ink, --paper, --soft, --line, --accent, --warm), so that one drawing serves
light, dark and print. Altair is imported when a chart is drawn: no other verb should wait for it.
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

POINTS = 300  # of a curve, at most
PLOT_PX = (240, 200)  # width and height inside the axes: three stand side by side on a laptop
CELL_PX = 24
LOOK = {
    "background": "transparent",
    "font": "sans-serif",
    "aria": False,  # but for marks that say otherwise: their descriptions become tooltips
    "padding": {"left": 16, "top": 16, "right": 6, "bottom": 4},  # the reader's font may be wider than the one here
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
WANTED = 0.95  # precision
_ROOT = re.compile(r'<svg (xmlns(:\w+)?="[^"]*" )*')  # inside a page, SVG needs no name space
_GROUP = re.compile(r' role="graphics-symbol" aria-roledescription="[^"]* container"')  # a symbol must have a name
_MARK = re.compile(r'<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"([^>]*)/>')


class Chart(NamedTuple):
    """A drawing and what stands above it."""

    title: str
    svg: str


class Cell(NamedTuple):
    """A cell of a heat map: how strong it is (0 to 1), the text in it, and what is told of it under the mouse."""

    row: str
    column: str
    strength: float
    text: str
    told: str


def precision_coverage(curve: Curve, chosen: tuple[float, float] | None) -> Chart:
    """Precision of the filled against coverage; `chosen` is what the bundle's thresholds reach, if it has any."""
    import altair as alt

    points = thinned(curve)
    reached = [point[1] for point in (*points, chosen or (0, 1))]
    low = max(0.0, np.ceil(10 * min([WANTED, *reached])) / 10 - 0.1)
    x = alt.X("coverage:Q", title="share of known fields filled", scale=alt.Scale(domain=[0, 1]), axis=_percent())
    y = alt.Y("precision:Q", title="share of the filled that are right", scale=alt.Scale(domain=[low, 1]))
    y = y.axis(format=".0%", tickCount=5)
    wanted = alt.Chart(_rows([{"precision": WANTED}])).mark_rule(color="var(--soft)", strokeDash=[5, 4]).encode(y=y)
    line = alt.Chart(_rows([{"coverage": c, "precision": p} for c, p in points]))
    layers: list[Any] = [wanted, line.mark_line(color="var(--accent)", strokeWidth=2.5).encode(x=x, y=y)]
    title = "Precision and coverage, the surest answers first"
    if chosen:
        title += f". ◆ the chosen thresholds: {chosen[0]:.1%} filled, {chosen[1]:.1%} right"
        point = alt.Chart(_rows([{"coverage": chosen[0], "precision": chosen[1]}]))
        diamond = point.mark_point(shape="diamond", size=160, opacity=1, filled=True, color="var(--warm)")
        layers.append(diamond.encode(x=x, y=y))
    chart = alt.layer(*layers).properties(width=PLOT_PX[0], height=PLOT_PX[1])
    return Chart(title, _svg(chart, f"{title}. The dashed line is {WANTED:.0%} precision."))


def reliability(bins: Bins, what: str) -> Chart:
    """Measured precision against confidence, and below it how many answers each bin has."""
    import altair as alt

    rows = [
        {"from": i / BINS, "to": (i + 1) / BINS, "count": int(count), "confidence": confidence, "precision": precision}
        for i, (count, confidence, precision) in enumerate(zip(*bins, strict=True))
        if count
    ]
    for row in rows:
        row["told"] = f"{row['count']:,} answers: confidence {row['confidence']:.3f}, right {row['precision']:.3f}"
    title = f"Confidence of {what}: ECE {number(bins.error)} over {bins.answers.sum():,} answers"
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title=None, scale=unit, axis=_percent())
    y = alt.Y("precision:Q", title="share that is right", scale=unit, axis=_percent())
    exact = alt.Chart(_rows([{"confidence": i, "precision": i} for i in (0, 1)]))
    found = alt.Chart(_rows(rows))
    upper = alt.layer(
        exact.mark_line(color="var(--soft)", strokeDash=[5, 4]).encode(x=x, y=y),
        found.mark_line(color="var(--accent)", strokeWidth=1.5).encode(x=x, y=y),
        found.mark_point(color="var(--accent)", filled=True, size=60, opacity=1, aria=True).encode(
            x=x, y=y, description="told:N"
        ),
    ).properties(width=PLOT_PX[0], height=PLOT_PX[1] - 74)
    lower = (
        found.mark_rect(color="var(--accent)", opacity=0.75, aria=True)
        .encode(
            x=alt.X("from:Q", title="confidence", scale=unit, axis=_percent()),
            x2="to:Q",
            y=alt.Y("count:Q", title="answers", axis=alt.Axis(tickCount=2, format="~s")),
            y2=alt.datum(0),
            description="told:N",
        )
        .properties(width=PLOT_PX[0], height=50)
    )
    told = "; ".join(f"{row['from']:.2f} to {row['to']:.2f}: {row['told']}" for row in rows)
    return Chart(title, _svg(alt.vconcat(upper, lower, spacing=6), f"{title}. {told}"))


def heat_map(cells: Iterable[Cell], rows: Sequence[str], columns: Sequence[str], told: str) -> str:
    """Cells over `rows` and `columns`, blank where there is none; `told` says what is shown to those who do not see."""
    import altair as alt

    table = [cell._asdict() for cell in cells]
    x = alt.X("column:N", title=None, sort=None, scale=alt.Scale(domain=list(columns)))
    x = x.axis(labelAngle=-90, orient="top", labelLimit=160)
    y = alt.Y("row:N", title=None, sort=None, scale=alt.Scale(domain=list(rows))).axis(labelLimit=160)
    base = alt.Chart(_rows(table)).encode(x=x, y=y)
    # Half of the accent at most: the ink on it stays legible in light and dark.
    strength = alt.Opacity("strength:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.03, 0.5]))
    chart = alt.layer(
        base.mark_rect(color="var(--accent)", stroke="var(--paper)", aria=True).encode(
            opacity=strength, description="told:N"
        ),
        base.mark_text(fontSize=11).encode(text="text:N", color=alt.value("var(--ink)")),
    )
    return _svg(chart.properties(width=alt.Step(CELL_PX), height=alt.Step(CELL_PX - 3)), told)


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """At most `POINTS` points of the curve, evenly spread over its coverage, with its last."""
    if not len(curve.coverage):
        return []
    wanted = np.linspace(0, curve.coverage[-1], POINTS + 1)[1:]
    kept = np.unique(np.searchsorted(curve.coverage, wanted - 1e-12))
    return [(float(curve.coverage[i]), float(curve.precision[i])) for i in kept]


def _rows(rows: list[dict[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=rows)


def _percent() -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1])


def _svg(chart: alt.TopLevelMixin, told: str) -> str:
    """The chart, scalable, with `told` for those who do not see it; a mark's description becomes its tooltip."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict() | {"config": LOOK})
    svg = _GROUP.sub("", svg)
    svg = _MARK.sub(r"<path\2><title>\1</title></path>", svg)
    return _ROOT.sub(f'<svg role="img" aria-label="{escape(told)}" ', svg, count=1)
