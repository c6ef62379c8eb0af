"""Plots for the docs, which are read on light and on dark pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GREY = "#808890"  # can be read on both


def save_plot(chart: Any, file: Path) -> None:
    """Write an Altair chart as an SVG without a background, its words and axes in grey."""
    import vl_convert

    text = {"labelColor": GREY, "titleColor": GREY, "labelFontSize": 12, "titleFontSize": 12}
    look = {
        "axis": {**text, "gridColor": "#80889040", "domainColor": GREY, "tickColor": GREY},
        "legend": text,
        "header": {"labelColor": GREY, "labelFontSize": 13},
        "title": {"color": GREY},
        "view": {"stroke": None},
        "background": "transparent",
        "font": "sans-serif",
    }
    file.write_text(vl_convert.vegalite_to_svg(chart.to_dict() | {"config": look}), encoding="utf-8")
