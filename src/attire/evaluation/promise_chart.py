"""The picture of the promise: the precision of filled fields by key, what was promised, and the coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attire.evaluation.charts import Chart, drawn, inline
from attire.evaluation.promise_tables import FilledRow
from attire.score.verdicts import Verdict

ROW_PX = 18
# Verdicts differ in shape, so that nobody needs to tell their colours apart.
MARKS: dict[Verdict, dict[str, Any]] = {
    Verdict.KEPT: {"shape": "circle", "filled": True, "color": "var(--accent)", "size": 60},
    Verdict.NOT_SHOWN: {
        "shape": "circle",
        "filled": False,
        "fill": "var(--paper)",
        "color": "var(--accent)",
        "size": 60,
    },
    Verdict.BROKEN: {"shape": "diamond", "filled": True, "color": "var(--warm)", "size": 90},
    Verdict.FEW: {"shape": "square", "filled": False, "fill": "var(--paper)", "color": "var(--soft)", "size": 45},
}


def promise_chart(rows: Sequence[FilledRow]) -> Chart:
    """Precision of the filled fields of each key against what was promised, and beside it the coverage."""
    import altair as alt

    order = sorted(rows, key=lambda row: (np.isnan(row.precision), row.precision - np.nan_to_num(row.promised)))
    low = min(
        [0.9, *(row.precision for row in rows if row.filled), *(row.promised for row in rows if row.promised > 0)]
    )
    domain = [max(0.0, np.floor(10 * low - 0.5) / 10), 1]
    table: list[dict[str, Any]] = [
        {
            "key": row.name,
            "promised": row.promised if row.promised > 0 else None,
            "precision": row.precision if row.filled else None,
            "low": row.interval[0] if row.filled else None,
            "high": row.interval[1] if row.filled else None,
            "coverage": np.nan_to_num(row.coverage).item(),
            "verdict": row.verdict and row.verdict.value,
            "tooltip": f"{row.name}: {row.right:,} of {row.filled:,} filled fields are right, {row.verdict or '–'}",
            "filled": f"{row.name}: {row.filled:,} of {row.known:,} fields are filled",
        }
        for row in order
    ]
    y = alt.Y("key:N", title=None, sort=None, scale=alt.Scale(domain=[row.name for row in order]))
    scale = alt.Scale(domain=domain, clamp=True, nice=False)
    x = alt.X("precision:Q", title="right, of filled fields", scale=scale, axis=alt.Axis(format=".0%", tickCount=4))
    base = alt.Chart(inline(table)).encode(y=y.axis(labelLimit=130, ticks=False))
    marks = [
        base.transform_filter(alt.datum.verdict == verdict.value)
        .mark_point(aria=True, opacity=1, strokeWidth=1.5, **MARKS[verdict])
        .encode(x=x, description="tooltip:N")
        for verdict in MARKS
    ]
    left = alt.layer(
        base.mark_rule(color="var(--soft)", strokeWidth=1.5).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        base.mark_tick(color="var(--ink)", thickness=1.5, size=ROW_PX - 3).encode(x=alt.X("promised:Q", scale=scale)),
        base.transform_filter(alt.datum.coverage == 0)
        .mark_text(color="var(--soft)", align="left", fontSize=11)
        .encode(x=alt.datum(domain[0]), text=alt.value("nothing filled")),
        *marks,
    )
    right = (
        alt.Chart(inline(table))
        .mark_bar(color="var(--accent)", opacity=0.75, height=ROW_PX - 7, aria=True)
        .encode(
            x=alt.X("coverage:Q", title="filled, of all", scale=alt.Scale(domain=[0, 1])).axis(
                format=".0%", values=[0, 0.5, 1]
            ),
            y=y.axis(labels=False, ticks=False),
            description="filled:N",
        )
    )
    step = alt.Step(ROW_PX)
    chart = alt.hconcat(left.properties(width=170, height=step), right.properties(width=80, height=step), spacing=10)
    title = "Right of filled fields by key. | promised, ● kept, ○ not shown to be kept, ◆ broken, □ too few to tell"
    return Chart(title, drawn(chart, f"{title}. {'; '.join(row['tooltip'] for row in table)}"))
