"""Are the forecasts of `attire curve` right? Each size is forecast from the smaller ones, and then looked at.

python benchmarks/curve.py CATALOG --weights FILE --parts DIR [--json FILE] [--plot docs/learning-curves.svg]

Trains on nested parts of train as `attire curve` does, with small heads (512 wide, 10 epochs). Then the IoU of each key
with half of train is forecast from the parts up to a quarter, and that with all of train from those up to a half: as
"twice the labels". Compared with what was measured, and with the guess that twice the labels change nothing.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from rich.console import Console
from support.common import machine
from support.plots import GREY, save_plot

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import load_recipe
from attire.learning_curve.curve import ALL, key_curves
from attire.learning_curve.measure import SHARES, measure
from attire.score.promise import Promise

SHOWN = (ALL, "colour", "pattern", "neck", "material", "ankle_height")
console = Console()


def forecasts(keys: list[str], measured: list[Any], groups: list[str]) -> list[dict[str, Any]]:
    """For each key: what the last size was forecast to be from the ones before, and what it is."""
    rows = []
    for one in key_curves(keys, measured[:-1], groups, 0):
        if one.forecasts:
            columns = list(range(len(keys))) if one.key == ALL else [keys.index(one.key)]
            known = measured[-1].known[:, columns].sum()
            truth, twice = float(measured[-1].iou[:, columns].sum() / known), one.forecasts[0]
            rows.append(
                {
                    "key": one.key,
                    "labels": int(measured[-1].labels[columns].sum()),
                    "before": round(one.points[-1].iou, 3),
                    "forecast": [round(x, 3) for x in (twice.iou, twice.low, twice.high)],
                    "measured": round(truth, 3),
                    "inside": twice.low <= truth <= twice.high,
                    "limit": one.limit,
                }
            )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean errors over keys, and the share of forecasts whose interval has the measured IoU."""
    keys = [row for row in rows if row["key"] != ALL]
    gains = {
        limit: [r["measured"] - r["before"] for r in keys if r["limit"] == limit] for limit in ("labels", "not labels")
    }
    return {
        "keys": len(keys),
        "error": round(float(np.mean([abs(row["forecast"][0] - row["measured"]) for row in keys])), 4),
        "error_if_nothing_changed": round(float(np.mean([abs(row["before"] - row["measured"]) for row in keys])), 4),
        "inside": round(float(np.mean([row["inside"] for row in keys])), 3),
        **{f"gain_if_{limit.replace(' ', '_')}": round(float(np.mean(g)), 4) for limit, g in gains.items() if g},
    }


def plot(curves: list[Any], file: Path) -> None:
    """Measured points with intervals, the power law, and its forecasts, a panel for each of some keys."""
    import altair as alt

    panels = []
    for one in (curve for name in SHOWN for curve in curves if curve.key == name and curve.law):
        a, b, c = one.law
        n = np.geomspace(one.points[0].labels, one.forecasts[-1].labels, 30)
        law = 1 - np.clip(a + b * (n / one.points[-1].labels) ** -c, 0, 1)
        x = alt.X("labels:Q", title="labels", scale=alt.Scale(type="log", nice=False, padding=8))
        x = x.axis(format=".2~s", tickCount=3, grid=False)
        y = alt.Y("iou:Q", title=None, scale=alt.Scale(domain=[0, 1])).axis(format=".0%", tickCount=4)
        line = alt.Chart(alt.InlineData(values=[{"labels": p, "iou": q} for p, q in zip(n, law, strict=True)]))
        layers: list[Any] = [line.mark_line(strokeDash=[4, 4], strokeWidth=1, color=GREY).encode(x=x, y=y)]
        for rows, colour in ((one.points, "#3b7dd8"), (one.forecasts, "#d9822b")):
            base = alt.Chart(alt.InlineData(values=[row.model_dump() for row in rows]))
            layers.append(base.mark_rule(color=colour).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"))
            layers.append(base.mark_point(color=colour, filled=True, opacity=1).encode(x=x, y=y))
        panels.append(alt.layer(*layers).properties(width=200, height=140, title=f"{one.key}: {one.limit}"))
    chart = alt.concat(*panels, columns=3)
    save_plot(chart, file)


def main(
    data: Path, /, *, weights: Path, parts: Path, json_to: Path | None = None, plot_to: Path | None = None
) -> None:
    """Measure; finished parts are kept in the folder `parts`."""
    catalog = Catalog.load(data)
    splits = Splits.of(None, catalog)
    small = {"trunk": 512, "colour": 96, "batch_size": 512, "attributes": {"epochs": 10, "lr": 2e-3}}
    recipe = load_recipe("frozen", {"backbone": "tf_efficientnet_lite0", "size_px": [224, 168], **small})
    measured, groups = measure(catalog, splits, recipe, weights, Promise.of(0.95), 0, parts)
    keys = list(catalog.taxonomy.keys)
    content: dict[str, Any] = {
        "command": "python benchmarks/curve.py CATALOG --weights FILE --parts DIR",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
    }
    for share, count in ((1 / 2, -1), (1.0, len(SHARES))):
        rows = forecasts(keys, measured[:count], groups)
        content[f"up to {share:g} of train"] = {**summary(rows), "forecasts": rows}
        console.print(share, summary(rows))
    curves = key_curves(keys, measured, groups, 0)
    content["limits"] = {one.key: one.limit for one in curves}
    if json_to is not None:
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if plot_to is not None:
        plot(curves, plot_to)


if __name__ == "__main__":
    cyclopts.run(main)
