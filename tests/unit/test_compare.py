from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.synthetic_evidence import PROVENANCE, synthetic_evidence

from attire.errors import ReportError
from attire.evaluation.compare import Difference, better, compare
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.report_page import comparison_page
from attire.evaluation.tables import comparison_sheets, comparison_verdict
from attire.score.metrics import FIGURES, headline, per_key

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, evidence: Evidence) -> Path:
        write_report(score_report(evidence, {}, PROVENANCE), evidence, [[]] * len(evidence.ids), tmp_path / name)
        return tmp_path / name

    return write


def test_a_report_does_not_differ_from_itself(write: Write) -> None:
    folder = write("a", synthetic_evidence())
    comparison = compare(folder, folder)
    for difference in [*comparison.figures.values(), comparison.keys["colour"]]:
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert not difference.beyond_chance
    assert comparison.figures.keys() == FIGURES.keys()
    assert (comparison.products, comparison.groups) == (120, 60)
    assert np.isnan(comparison.keys["silent"].value), "it has no labels"
    assert "B is better in 0 and A in 0" in comparison_verdict(comparison)


def test_differences_are_those_of_the_figures_with_paired_intervals(write: Write) -> None:
    first, second = synthetic_evidence(skill=3), synthetic_evidence(skill=3.3)  # the same noise, a little more signal
    comparison = compare(write("a", first), write("b", second))
    of_a, of_b = headline(first.matches), headline(second.matches)
    for name, difference in comparison.figures.items():
        assert (difference.a, difference.b) == (of_a[name], of_b[name])
        assert difference.value == pytest.approx(of_b[name] - of_a[name], abs=1e-12)
        assert difference.low <= difference.value <= difference.high
    taxonomy = first.taxonomy
    iou = [per_key(taxonomy, side.matches)["iou"] for side in (first, second)]
    assert comparison.keys["neck"].value == pytest.approx(iou[1][1] - iou[0][1])
    assert comparison.known["neck"] == first.matches.known[:, 1].sum()
    difference = comparison.figures["attribute_iou"]
    alone = [score_report(side, {}, PROVENANCE).figures["attribute_iou"] for side in (first, second)]
    unpaired = np.linalg.norm([score.high - score.low for score in alone])
    assert difference.high - difference.low < 0.6 * unpaired


def test_a_real_difference_is_beyond_chance(write: Write) -> None:
    comparison = compare(write("a", synthetic_evidence(skill=0.5)), write("b", synthetic_evidence(skill=4)))
    assert better("attribute_iou", comparison.figures["attribute_iou"]) == "B"
    assert "B" in comparison_sheets(comparison)[0].rows[2]
    page = comparison_page(comparison, "runs/a", "<b>")
    assert "&lt;b&gt;" in page
    assert not re.search(r"https?:|src=|@import|url\(|<link", page)


def test_lower_is_better_for_errors() -> None:
    difference = Difference(a=0.1, b=0.2, value=0.1, low=0.05, high=0.15)
    assert better("spurious_rate", difference) == better("ece", difference) == "A"
    assert better("map", difference) == "B"
    assert better("map", difference.model_copy(update={"low": -0.05})) == ""


def test_a_bundle_without_thresholds_can_be_compared(write: Write) -> None:
    comparison = compare(write("a", synthetic_evidence(calibrated=False)), write("b", synthetic_evidence()))
    coverage = comparison.figures["coverage_95"]
    assert np.isnan([coverage.a, coverage.value, coverage.low]).all()
    assert coverage.b > 0
    assert comparison_sheets(comparison)[0].rows[6][-3:] == ("–", "–", "–")


def test_reports_on_different_data_cannot_be_compared(write: Write) -> None:
    a = write("a", synthetic_evidence())
    b = Path(shutil.copytree(a, a.with_name("b")))
    for change, message in (
        ({"catalog": "d" * 64}, "different catalogs"),
        ({"splits": "6" * 64}, "different splits"),
        ({"split": "test"}, "different splits"),
        ({"catalog": "d" * 64, "split": "test"}, "different catalogs and splits"),
    ):
        scores = Report.load(a).model_copy(update={"provenance": PROVENANCE.model_copy(update=change)})
        (b / "scores.json").write_text(scores.model_dump_json())
        with pytest.raises(ReportError, match=f"{message}. Evaluate both bundles on the same split"):
            compare(a, b)
    shutil.copy(a / "scores.json", b)
    products, pairs = pl.read_parquet(b / "products.parquet"), pl.read_parquet(b / "pairs.parquet")
    for name, table in (("products", products), ("pairs", pairs)):
        table.with_columns(pl.col("id").replace("p000", "other")).write_parquet(b / f"{name}.parquet")
    with pytest.raises(ReportError, match="different products"):
        compare(a, b)


def test_a_directory_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"has no scores.json: expected a directory"):
        compare(tmp_path, tmp_path)
