"""Charts show the computed values: positions are read back from the SVG."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.synthetic_evidence import synthetic_evidence

from attire.evaluation import charts
from attire.evaluation.charts import Cell
from attire.score.curves import Curve, key_reliability, precision_coverage, reliability

WIDTH, HEIGHT = charts.PLOT_PX


def spots(svg: str, colour: str) -> list[tuple[float, float]]:
    """Positions of the marks filled with the colour, in px from the top left corner of the axes."""
    positions = re.findall(rf'transform="translate\(([\d.]+),([\d.]+)\)"[^>]*fill="var\(--{colour}\)"', svg)
    return [(float(x), float(y)) for x, y in positions]


def test_the_operating_point_is_drawn_at_its_coverage_and_precision() -> None:
    curve = Curve(np.array([0.25, 0.5, 1.0]), np.array([1.0, 0.9, 0.75]))
    title, svg = charts.precision_coverage(curve, (0.5, 0.9))
    assert "50.0% filled, 90.0% right" in title
    [(x, y)] = spots(svg, "warm")
    low = 0.7  # the lowest point, rounded down to a tenth
    assert (x, y) == pytest.approx((0.5 * WIDTH, HEIGHT * (1 - 0.9) / (1 - low)))
    dashed = re.search(r'translate\(240,([\d.]+)\)"[^>]*stroke="var\(--soft\)"[^>]*stroke-dasharray', svg)
    assert dashed
    assert float(dashed[1]) == pytest.approx(HEIGHT * 0.05 / (1 - low))
    line = re.search(r'd="(M[^"]*)" stroke="var\(--accent\)"', svg)
    assert line
    drawn = [tuple(map(float, point.split(","))) for point in re.split("[ML]", line[1])[1:]]
    expected = [(c * WIDTH, HEIGHT * (1 - p) / (1 - low)) for c, p in zip(*curve, strict=True)]
    assert drawn == [pytest.approx(point, abs=1e-2) for point in expected]


def test_without_thresholds_there_is_no_operating_point() -> None:
    title, svg = charts.precision_coverage(precision_coverage(synthetic_evidence(calibrated=False).matches), None)
    assert "◆" not in title
    assert not spots(svg, "warm")


def test_a_long_curve_is_thinned_to_a_subset_of_its_points() -> None:
    curve = Curve(np.linspace(0.001, 0.9, 5000), np.linspace(1, 0.8, 5000))
    points = charts.thinned(curve)
    assert len(points) <= charts.POINTS
    assert points[-1] == (0.9, 0.8)
    assert set(points) <= set(zip(*map(np.ndarray.tolist, curve), strict=True))
    assert charts.thinned(Curve(np.zeros(0), np.zeros(0))) == []


def test_reliability_has_a_dot_and_a_tooltip_for_each_bin() -> None:
    bins = key_reliability(synthetic_evidence().matches)
    title, svg = charts.reliability(bins, "the keys")
    assert f"ECE {bins.error:.3f} over {bins.answers.sum():,} answers" in title
    filled_bins = np.flatnonzero(bins.answers)
    dots = spots(svg, "accent")[: len(filled_bins)]
    height = HEIGHT - 74
    assert dots == [
        pytest.approx((bins.confidence[i] * WIDTH, height * (1 - bins.precision[i])), abs=1e-6) for i in filled_bins
    ]
    for i in filled_bins:
        assert svg.count(f"<title>{bins.answers[i]:,} answers: confidence {bins.confidence[i]:.3f}") >= 2


def test_no_answers_draw_an_empty_chart() -> None:
    title, svg = charts.reliability(reliability(np.zeros(0), np.zeros(0, dtype=bool)), "the keys")
    assert "ECE – over 0 answers" in title
    assert svg.startswith("<svg")


def test_a_heat_map_has_its_cells_and_nothing_else() -> None:
    cells = [Cell("a", "x", 0.5, "50", "a <b> & more"), Cell("b", "y", 0.0, "0", "b")]
    svg = charts.heat_map(cells, ["a", "b"], ["x", "y", "z"], "a description")
    assert re.findall(r"<title>(.*?)</title>", svg) == ["a &lt;b&gt; &amp; more", "b"]
    assert 'aria-label="a description"' in svg
    assert re.findall(r">(50|0|x|y|z|a|b)</text>", svg).count("z") == 1
    assert 'opacity="0.265"' in svg  # halfway between the faintest and the strongest
    assert "http" not in svg
