from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import jsonschema
import numpy as np
import polars as pl
import pytest
from helpers.accepted import with_categories
from helpers.synthetic_evidence import PROVENANCE, TAXONOMY, WITH_PARENTS, N, labels, synthetic_evidence
from PIL import Image
from rich.console import Console

from attire.evaluation.baselines import MODE, MODE_WITHIN_CATEGORY, baselines
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report, Score, json_schema, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.report_page import page
from attire.evaluation.split_summary import Balance, Deviation, Division, SplitSize
from attire.evaluation.tables import number, sheets, verdict
from attire.labels import Targets
from attire.score.curves import iou_by_category
from attire.score.metrics import FIGURES, headline, match, per_key
from attire.taxonomy import Taxonomy

SCHEMA = Path(__file__).parents[2] / "docs" / "scores.schema.json"
VOID = {"meta", "img", "br", "path", "line"}


class Outline(HTMLParser):
    """Collects the heading levels and the elements that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.levels: list[int] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.levels.append(int(tag[1]))

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


EVIDENCE = synthetic_evidence()
TRUTH, DECISIONS = EVIDENCE.truth, EVIDENCE.decisions
RIVALS = baselines(TAXONOMY, labels(0, 200), TRUTH, DECISIONS.category)
DIVISION = Division(
    parts=(
        SplitSize(part="train", share=0.75, products=360, groups=180),
        SplitSize(part="val", share=0.25, products=120, groups=60),
    ),
    balance=(Balance(part="val", kind="values", count=4, mean=0.01, largest=0.0625),),
    furthest=(Deviation(part="val", key="neck", value="Polo", count=64, share=0.1875, deviation=-0.0625),),
)
REPORT = score_report(EVIDENCE, RIVALS, PROVENANCE, DIVISION)
PHOTOS: list[list[Path]] = [[]] * N


@cache
def _page(evidence: Evidence = EVIDENCE) -> str:
    return page(score_report(evidence, {}, PROVENANCE), evidence, PHOTOS)


def test_figures_are_within_their_intervals_and_have_both_baselines() -> None:
    values = {name: score.value for name, score in REPORT.figures.items()}
    assert values == pytest.approx(headline(EVIDENCE.matches))
    assert all(score.low <= score.value <= score.high for score in REPORT.figures.values())
    assert all(score.low < score.high for score in REPORT.figures.values())
    rival = headline(match(TAXONOMY, TRUTH, RIVALS[MODE_WITHIN_CATEGORY]))
    assert REPORT.baselines[MODE_WITHIN_CATEGORY]["attribute_iou"] == rival["attribute_iou"]
    assert REPORT.baselines[MODE]["category_accuracy"] > 0
    assert np.isnan(REPORT.baselines[MODE_WITHIN_CATEGORY]["category_accuracy"])  # it is given the category


def test_rows_and_counts() -> None:
    assert [row.key for row in REPORT.keys] == list(TAXONOMY.keys)
    assert [row.category for row in REPORT.categories] == list(TAXONOMY.categories)
    mode_iou = per_key(TAXONOMY, match(TAXONOMY, TRUTH, RIVALS[MODE_WITHIN_CATEGORY]))["iou"]
    np.testing.assert_array_equal([row.mode_iou for row in REPORT.keys], mode_iou)
    counts = REPORT.counts
    assert (counts.products, counts.groups, counts.unanswered) == (120, 60, 0)
    assert counts.known_pairs == sum(row.known for row in REPORT.keys) == sum(row.known for row in REPORT.categories)
    assert (counts.keys, counts.categories, counts.values) == (3, 2, 8)


def test_products_without_answers_are_counted() -> None:
    decisions = DECISIONS._replace(category=np.where(np.arange(120) < 3, -1, DECISIONS.category))
    html = _page(Evidence(TAXONOMY, EVIDENCE.ids, EVIDENCE.groups, TRUTH, decisions))
    assert "3 products have no readable photo" in html
    assert "no photo</text>" in html, "a column of the category confusion matrix"


def test_the_written_files_contain_the_report(tmp_path: Path) -> None:
    write_report(REPORT, EVIDENCE, PHOTOS, tmp_path / "new" / "report")
    out = tmp_path / "new" / "report"
    tables = ["pairs.parquet", "per_category.csv", "per_key.csv", "products.parquet"]
    assert sorted(f.name for f in out.iterdir()) == [*tables, "report.html", "scores.json", "taxonomy.toml"]
    text = (out / "scores.json").read_text()
    again = Report.model_validate_json(text)
    assert again.model_dump_json() == REPORT.model_dump_json()
    assert json.loads(text)["keys"][2]["iou"] is None  # no evidence: neither 0 nor NaN, which is not valid JSON
    names = {"version", "provenance", "counts", "figures", "baselines", "keys", "categories", "division", "notes"}
    assert json.loads(text).keys() == names
    jsonschema.validate(json.loads(text), json.loads(json_schema()))
    assert json.loads(text)["figures"].keys() == FIGURES.keys()
    table = pl.read_csv(out / "per_key.csv")
    assert table["iou"].to_list() == pytest.approx([*(k.iou for k in REPORT.keys[:2]), None, REPORT.keys[3].iou])
    assert pl.read_csv(out / "per_category.csv")["category"].to_list() == list(TAXONOMY.categories)


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    command = "python -c 'from attire.evaluation.report import json_schema; print(json_schema(), end=\"\")'"
    assert SCHEMA.read_text(encoding="utf-8") == json_schema(), f"update it: {command} > {SCHEMA}"


def test_the_page_needs_no_network_and_escapes_words(tmp_path: Path) -> None:
    Image.new("RGB", (30, 40)).save(tmp_path / "photo.png")
    html = page(REPORT, EVIDENCE, [[tmp_path / "photo.png"]] * N)
    assert not re.search(r"https?:|src=(?!\"data:image/jpeg)|@import|url\(|<link|<script src", html)
    assert "Hats &amp; &lt;b&gt;Caps&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "{{" not in html
    assert "{%" not in html
    for value in (REPORT.figures["attribute_iou"].value, REPORT.keys[0].iou):
        assert f"<td>{number(value)}</td>" in html


def test_the_page_is_well_formed_and_accessible() -> None:
    html = _page()
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    assert parser.levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(parser.levels, parser.levels[1:], strict=False))
    assert html.count("<table") == html.count("<caption")
    assert html.count("<svg") == html.count('<svg role="img" aria-label=') == 7
    assert not re.search(r"<th(?! scope=)[ >]", html)
    assert not re.search(r"<img(?![^>]* alt=)", html)


def test_one_confusion_matrix_of_all_keys_is_shown() -> None:
    html = _page()
    assert re.findall(r"<option>(.*?)</option>", html) == ["colour", "neck", "style"]  # `silent` has no labels
    assert html.count('<div class="one">') == 1
    assert html.count('<div class="one" hidden>') == 2
    stated = TRUTH.hot[:, TAXONOMY.column_index["neck", "Polo"]]
    right = (stated & DECISIONS.chosen[:, TAXONOMY.column_index["neck", "Polo"]]).sum()
    assert f'title="Polo: {right} of {stated.sum()} got Polo">{100 * right / stated.sum():.0f}</td>' in html


def test_heat_map_tooltips_show_the_number_of_labels() -> None:
    iou, count = iou_by_category(EVIDENCE.matches)
    assert f"<title>neck, Shirts: IoU {iou[0, 1]:.3f} of {count[0, 1]} labels</title>" in _page()


def test_the_page_describes_the_split() -> None:
    html = page(REPORT, EVIDENCE, PHOTOS)
    assert '<th scope="row">train</th><td>75%</td><td>360</td><td>180</td>' in html
    assert '<th scope="row">neck: Polo</th><td>val</td><td>64</td><td>0.188</td><td>−0.062</td>' in html
    assert "How the data was split" not in _page()


def test_without_thresholds_the_page_says_so() -> None:
    html = _page(synthetic_evidence(calibrated=False))
    assert "no operating point" in html
    assert "Left open" not in html
    assert "no operating point" not in _page()
    assert "Left open" in _page()


def test_a_model_that_answers_only_the_category_has_a_page() -> None:
    words = Taxonomy(categories=TAXONOMY.categories)
    truth = Targets(TRUTH.category, TRUTH.hot[:, :0], TRUTH.state[:, :0])
    empty = np.zeros((N, 0), dtype=bool)
    decisions = DECISIONS._replace(probability=empty.astype(np.float32), chosen=empty, applies=empty)
    html = _page(Evidence(words, EVIDENCE.ids, EVIDENCE.groups, truth, decisions, with_categories(words, empty)))
    assert "answers only the category" in html
    assert "Confidence of the category: ECE" in html
    for word in ("Per key", "operating point", "Keys within categories", "Left open"):
        assert word not in html


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.5, 0.6, "above the 0.400"), (0.1, 0.2, "below the 0.400"), (0.3, 0.5, "no different")]
)
def test_the_verdict_compares_with_the_baseline_that_is_given_the_category(low: float, high: float, word: str) -> None:
    figures = {**REPORT.figures, "attribute_iou": Score(value=(low + high) / 2, low=low, high=high)}
    rivals = {MODE_WITHIN_CATEGORY: {"attribute_iou": 0.4}}
    assert word in verdict(REPORT.model_copy(update={"figures": figures, "baselines": rivals}))


def test_without_baselines_the_report_says_so() -> None:
    report = score_report(EVIDENCE, {}, PROVENANCE)
    assert "There is no baseline" in verdict(report)
    assert sheets(report)[0].header == ("figure", "value", "95% interval")
    assert np.isnan(report.keys[0].mode_iou)


def test_terminal_tables_show_a_dash_where_there_is_no_evidence() -> None:
    output = StringIO()
    console = Console(width=120, file=output)
    for sheet in sheets(REPORT):
        console.print(sheet.table())
    lines = output.getvalue().splitlines()
    assert any(re.search(r"silent .* – ", line) for line in lines)
    assert any(re.search(r"attribute IoU .* " + number(REPORT.figures["attribute_iou"].value), line) for line in lines)


def test_with_parents_the_report_has_coarse_figures(tmp_path: Path) -> None:
    evidence = synthetic_evidence(taxonomy=WITH_PARENTS)
    report = score_report(evidence, RIVALS, PROVENANCE)
    assert list(report.figures)[2:4] == ["attribute_iou", "coarse_iou"]
    coarse, plain = report.figures["coarse_iou"], REPORT.figures["attribute_iou"]
    assert plain.value == report.figures["attribute_iou"].value < coarse.value
    assert coarse.low < coarse.value < coarse.high
    assert report.baselines[MODE]["coarse_iou"] > REPORT.baselines[MODE]["attribute_iou"]
    write_report(report, evidence, PHOTOS, tmp_path)
    written = json.loads((tmp_path / "scores.json").read_text())
    jsonschema.validate(written, json.loads(json_schema()))
    assert ["coarse_iou" in row for row in written["keys"]] == [True, False, False, False], "only of keys with parents"
    assert Report.load(tmp_path).model_dump_json() == report.model_dump_json()
    table = pl.read_csv(tmp_path / "per_key.csv")
    assert table["coarse_iou"].to_list() == pytest.approx([report.keys[0].coarse_iou, None, None, None])
    assert table["coarse_iou"][0] > table["iou"][0]
    assert "coarse IoU" in sheets(report)[1].header
    html = (tmp_path / "report.html").read_text()
    assert f"<td>{number(report.keys[0].coarse_iou)}</td>" in html
    assert "<dt>coarse IoU</dt>" in html
    assert Evidence.load(tmp_path).matches.right.sum() > EVIDENCE.matches.right.sum(), "a coarser answer is right"


def test_without_parents_no_coarse_figure_is_shown(tmp_path: Path) -> None:
    write_report(REPORT, EVIDENCE, PHOTOS, tmp_path)
    for name in ("scores.json", "per_key.csv", "report.html"):
        assert "coarse" not in (tmp_path / name).read_text()
