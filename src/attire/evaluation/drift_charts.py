"""The answers for a key before and now, as charts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attire.evaluation.charts import PLOT_PX, Chart, drawn, inline
from attire.score.answer_counts import BIN, BINS
from attire.score.decisions import sigmoid

VALUES = 12  # that are shown
ROW_PX = 18
TICKS = (0.5, 0.9, 0.99, 0.999)  # confidences on the axis


def confidence_chart(before: NDArray[np.int64], now: NDArray[np.int64]) -> Chart:
    """How sure answers are: shares of the answers by confidence, on the scale of log odds. before, now: int64[BINS]."""
    import altair as alt

    used = np.flatnonzero(before + now)
    first, last = (used[0], used[-1] + 1) if len(used) else (0, BINS)
    edges = (np.arange(BINS + 1) - BINS // 2) * BIN
    low, high = min(edges[first], -0.5), max(edges[last], 5.0)
    rows: list[dict[str, Any]] = []
    for side, counts in (("before", before), ("now", now)):
        for number in range(first, last):
            share = counts[number] / max(1, counts.sum())
            middle = edges[number] + BIN / 2
            about = f"{side}: {share:.1%} of the answers at about {sigmoid(np.array(middle)).item():.3f}"
            rows.append({"side": side, "sure": middle, "share": share, "tooltip": about})
    ticks = [float(np.log(p / (1 - p))) for p in TICKS]
    labels = " : ".join(f"abs(datum.value - {tick}) < 1e-6 ? '{p:.1%}'" for tick, p in zip(ticks, TICKS, strict=True))
    axis = alt.Axis(values=ticks, labelExpr=f"replace({labels} : '', '.0%', '%')", grid=False)
    x = alt.X("sure:Q", title="confidence", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    y = alt.Y("share:Q", title="share of the answers", axis=alt.Axis(format=".0%", tickCount=4))
    base = alt.Chart(inline(rows)).encode(x=x, y=y)
    chart = alt.layer(
        base.transform_filter(alt.datum.side == "before").mark_area(
            interpolate="step", color="var(--soft)", opacity=0.35
        ),
        base.transform_filter(alt.datum.side == "now").mark_line(
            interpolate="step", color="var(--accent)", strokeWidth=2
        ),
    ).properties(width=PLOT_PX[0], height=PLOT_PX[1] - 74)
    title = "How sure answers are: grey before, blue now"
    return Chart(title, drawn(chart, f"{title}. {'; '.join(row['tooltip'] for row in rows)}"))


def values_chart(
    words: tuple[str, ...], before: NDArray[np.int64], now: NDArray[np.int64], products: tuple[int, int]
) -> Chart:
    """Shares of the products by answer: int64[V] before and now, of `products`; the largest ones are shown."""
    import altair as alt

    shares = np.stack([counts / max(1, total) for counts, total in zip((before, now), products, strict=True)])
    order = np.argsort(-shares.max(axis=0), kind="stable")[:VALUES]
    order = order[shares[:, order].any(axis=0)]
    rows: list[dict[str, Any]] = [
        {
            "value": words[n],
            "before": shares[0, n],
            "now": shares[1, n],
            "tooltip": f"{words[n]}: {shares[0, n]:.1%} of the products before, {shares[1, n]:.1%} now",
        }
        for n in order
    ]
    y = alt.Y("value:N", title=None, sort=None, scale=alt.Scale(domain=[row["value"] for row in rows]))
    base = alt.Chart(inline(rows)).encode(y=y.axis(labelLimit=130, ticks=False))
    axis = alt.Axis(format=".0%", tickCount=4)
    chart = alt.layer(
        base.mark_bar(color="var(--accent)", opacity=0.75, height=ROW_PX - 7, aria=True).encode(
            x=alt.X("now:Q", title="share of the products", axis=axis), description="tooltip:N"
        ),
        base.mark_tick(color="var(--ink)", thickness=2, size=ROW_PX - 3).encode(x="before:Q"),
    ).properties(width=PLOT_PX[0], height=alt.Step(ROW_PX))
    title = "What is answered: | before, bar now"
    return Chart(title, drawn(chart, f"{title}. {'; '.join(row['tooltip'] for row in rows)}"))
