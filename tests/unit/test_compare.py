from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.synthetic_evidence import PROVENANCE, WITH_PARENTS, synthetic_evidence

from attire.cli import app
from attire.errors import ReportError
from attire.evaluation.compare import Difference, better, compare
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.report_page import comparison_page, trend_page
from attire.evaluation.tables import comparison_sheets, comparison_verdict, trend_sheets, trend_verdict
from attire.evaluation.trend import trend
from attire.score.metrics import FIGURES, headline, per_key

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, evidence: Evidence, left_out: Sequence[str] = ()) -> Path:
        kept = evidence.of_products([id for id in evidence.ids if id not in left_out])
        report = score_report(kept, {}, PROVENANCE, left_out=len(left_out))
        write_report(report, kept, [[]] * len(kept.ids), tmp_path / name)
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


def test_coverage_and_precision_are_compared_by_key(write: Write) -> None:
    first, second = synthetic_evidence(skill=0.5), synthetic_evidence(skill=4)
    comparison = compare(write("a", first), write("b", second))
    for a, name in enumerate(first.taxonomy.keys):
        for side, evidence in (("a", first), ("b", second)):
            matches = evidence.matches
            assert matches.filled is not None
            known, filled = matches.known[:, a].sum(), matches.filled[:, a].sum()
            right = (matches.filled & matches.right)[:, a].sum()
            expected = (filled / known, right / filled) if filled else (np.nan, np.nan)
            measured = [getattr(of_keys[name], side) for of_keys in (comparison.coverage, comparison.precision)]
            assert measured == pytest.approx(expected, nan_ok=True)
    sheets = comparison_sheets(comparison)
    assert [sheet.title.split()[0] for sheet in sheets] == ["Figures", "IoU", "Coverage", "Precision"]
    page = comparison_page(comparison, "a", "b")
    assert all(sheet.title in page for sheet in sheets)
    assert better("coverage", comparison.coverage["colour"]) == "B"


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
    assert comparison.precision == comparison.coverage == {}
    assert len(comparison_sheets(comparison)) == 2


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


def test_only_products_that_both_have_not_seen_are_compared(write: Write) -> None:
    first, second = synthetic_evidence(skill=1), synthetic_evidence(skill=3)
    a, b = write("a", first, first.ids[:10]), write("b", second, first.ids[6:20])
    comparison = compare(a, b)
    common = first.ids[20:]
    assert (comparison.products, comparison.left_out) == (100, 20)
    assert comparison.groups == 50
    expected = [headline(side.of_products(common).matches) for side in (first, second)]
    for name, difference in comparison.figures.items():
        assert (difference.a, difference.b) == pytest.approx((expected[0][name], expected[1][name]))
    assert "20 are left out, because one of the bundles learned" in comparison_page(comparison, "a", "b")
    with pytest.raises(ReportError, match=r"a, .*c cannot be compared: each of their products .* new to all of them"):
        compare(write("a", first, first.ids[:70]), write("c", second, first.ids[70:]))
    with pytest.raises(ReportError, match="different products"):
        compare(write("a", first, first.ids[:70]), write("d", second.of_products(first.ids[70:])))


def test_reports_over_time_are_those_of_all_pairs(write: Write) -> None:
    evidence = [synthetic_evidence(skill=skill) for skill in (1, 2, 2, 4)]
    left_out = [(), (), evidence[0].ids[:4], ()]
    folders = [write(f"week{i}", side, gone) for i, (side, gone) in enumerate(zip(evidence, left_out, strict=True))]
    over_time = trend(folders)
    assert over_time.names == tuple(map(str, folders))
    assert (over_time.products, over_time.groups, over_time.left_out) == (116, 58, 4)
    last_of_common = write("last", evidence[3], evidence[0].ids[:4])
    pairs = {"since_first": compare(folders[0], last_of_common), "since_previous": compare(folders[2], folders[3])}
    alone = score_report(evidence[3].of_products(evidence[0].ids[4:]), {}, PROVENANCE)
    for name, points in over_time.figures.items():
        last = points[-1]
        assert (last.value, last.low, last.high) == pytest.approx(
            [getattr(alone.figures[name], end) for end in ("value", "low", "high")], nan_ok=True
        )
        assert points[0].since_first is points[0].since_previous is None
        for kind, pair in pairs.items():
            assert getattr(last, kind) == pair.figures[name]
    iou = over_time.figures["attribute_iou"]
    assert iou[2].since_previous is not None
    assert (iou[2].since_previous.value, iou[2].since_previous.beyond_chance) == (0, False)
    assert "Since the first report, " in trend_verdict(over_time)
    rows = trend_sheets(over_time)[2].rows
    assert rows[0][-2:] == ("–", "–")
    assert rows[3][3].endswith(" better")


def test_the_command_compares_two_reports_or_more(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write(name, synthetic_evidence(skill=skill))) for skill, name in enumerate("abc")]
    out = str(Path(folders[0]).parent / "pages" / "{}.html")
    app(["compare", *folders[:2], "--out", out.format(2)], result_action="return_value")
    assert "B is better in" in capsys.readouterr().out
    app(["compare", *folders, "--out", out.format(3)], result_action="return_value")
    assert "since the first" in capsys.readouterr().out
    assert "B − A" in Path(out.format(2)).read_text()
    assert "since the previous" in Path(out.format(3)).read_text()


def test_the_page_over_time_draws_a_point_for_each_report(write: Write) -> None:
    folders = [write(name, synthetic_evidence(skill=skill)) for skill, name in enumerate(("one", "<b>two", "three"))]
    page = trend_page(trend(folders))
    assert page.count("<svg") == len(FIGURES)
    assert page.count("&lt;b&gt;two: ") == 2 * len(FIGURES), "the tooltip of its point, and the chart's description"
    assert "<b>two" not in page
    assert not re.search(r"https?:|src=|@import|url\(|<link", page)
    with pytest.raises(ReportError, match="at least two reports, got 1"):
        trend(folders[:1])


def test_coarse_figures_are_compared(write: Write) -> None:
    sides = [synthetic_evidence(skill=skill, taxonomy=WITH_PARENTS) for skill in (0.5, 4)]
    folders = [write(name, side) for name, side in zip("ab", sides, strict=True)]
    comparison, over_time = compare(*folders), trend(folders)
    figures = [headline(side.matches)["coarse_iou"] for side in sides]
    assert (comparison.figures["coarse_iou"].a, comparison.figures["coarse_iou"].b) == tuple(figures)
    assert better("coarse_iou", comparison.figures["coarse_iou"]) == "B"
    assert [point.value for point in over_time.figures["coarse_iou"]] == figures
    for page in (comparison_page(comparison, "a", "b"), trend_page(over_time)):
        assert "<dt>coarse IoU</dt>" in page
    with pytest.raises(ReportError, match="different taxonomies"):
        compare(folders[0], write("c", synthetic_evidence()))
