from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from attire.config import Decision
from attire.evaluation.baselines import MODE, MODE_WITHIN_CATEGORY, baselines
from attire.evaluation.files import page, write_report
from attire.evaluation.report import Provenance, Report, Score, score_report
from attire.evaluation.sheets import number, sheets, verdict
from attire.labels import Targets, encode
from attire.score.decisions import confidence, decide
from attire.score.metrics import FIGURES, headline, match, per_key
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Jeans", "Hats & <b>Caps</b>"),
    keys={
        "colour": Key(categories=("Shirts", "Jeans"), values=("Red", "Blue", "Green")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
        "silent": Key(categories=("Jeans",), values=("Yes",)),
    },
)
PROVENANCE = Provenance(bundle="b" * 64, catalog="c" * 64, split="val", splits="5" * 64, seed=7, attire="0.1.0")


def _labels(seed: int, n: int) -> Targets:
    rng = np.random.default_rng(seed)
    return encode(
        TAXONOMY,
        [str(c) for c in rng.choice(TAXONOMY.categories[:2], n)],
        [
            {key: (str(rng.choice(TAXONOMY.keys[key].values)),) for key in ("colour", "neck") if rng.random() < 0.7}
            for _ in range(n)
        ],
    )


TRUTH = _labels(1, 120)
RNG = np.random.default_rng(2)
DECISIONS = decide(
    TAXONOMY,
    Decision(),
    (RNG.normal(0, 1, (120, 3)) + 2 * np.eye(3)[TRUTH.category]).astype(np.float32),
    (RNG.normal(0, 1, (120, 6)) + 3 * TRUTH.hot).astype(np.float32),
)
GROUPS = [f"g{i // 2}" for i in range(120)]
RIVALS = baselines(TAXONOMY, _labels(0, 200), TRUTH)
SURE = confidence(TAXONOMY, DECISIONS) > 0.5
REPORT = score_report(TAXONOMY, TRUTH, DECISIONS, GROUPS, RIVALS, PROVENANCE, SURE)


def test_figures_stand_within_their_intervals_beside_both_baselines() -> None:
    values = {name: score.value for name, score in REPORT.figures.items()}
    assert values == pytest.approx(headline(match(TAXONOMY, TRUTH, DECISIONS, SURE)))
    # A resample's calibration error is biased upwards, for noise only adds to its gaps; on 120 products visibly so.
    assert all(score.low <= score.value <= score.high for name, score in REPORT.figures.items() if name != "ece")
    assert all(score.low < score.high for score in REPORT.figures.values())
    rival = headline(match(TAXONOMY, TRUTH, RIVALS[MODE_WITHIN_CATEGORY]))
    assert REPORT.baselines[MODE_WITHIN_CATEGORY]["attribute_iou"] == rival["attribute_iou"]
    assert REPORT.baselines[MODE]["category_accuracy"] > 0
    assert np.isnan(REPORT.baselines[MODE_WITHIN_CATEGORY]["category_accuracy"])  # it is told the category


def test_rows_and_counts() -> None:
    assert [row.key for row in REPORT.keys] == list(TAXONOMY.keys)
    assert [row.category for row in REPORT.categories] == list(TAXONOMY.categories)
    mode_iou = per_key(TAXONOMY, match(TAXONOMY, TRUTH, RIVALS[MODE_WITHIN_CATEGORY]))["iou"]
    np.testing.assert_array_equal([row.mode_iou for row in REPORT.keys], mode_iou)
    counts = REPORT.counts
    assert (counts.products, counts.groups, counts.unanswered) == (120, 60, 0)
    assert counts.known_pairs == sum(row.known for row in REPORT.keys) == sum(row.known for row in REPORT.categories)
    assert (counts.keys, counts.categories, counts.values) == (2, 2, 5)


def test_products_without_answers_are_counted() -> None:
    some = DECISIONS._replace(category=np.where(np.arange(120) < 3, -1, DECISIONS.category))
    report = score_report(TAXONOMY, TRUTH, some, GROUPS, {}, PROVENANCE)
    assert report.counts.unanswered == 3
    assert "3 products have no readable photo" in page(report)


def test_written_files_hold_the_report(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "new" / "report")
    out = tmp_path / "new" / "report"
    assert sorted(f.name for f in out.iterdir()) == ["per_category.csv", "per_key.csv", "report.html", "scores.json"]
    text = (out / "scores.json").read_text()
    again = Report.model_validate_json(text)
    assert again.model_dump_json() == REPORT.model_dump_json()
    assert json.loads(text)["keys"][2]["iou"] is None  # no evidence: neither 0 nor the word NaN, which is not JSON
    assert json.loads(text).keys() == {"version", "provenance", "counts", "figures", "baselines", "keys", "categories"}
    assert json.loads(text)["figures"].keys() == FIGURES.keys()
    table = pl.read_csv(out / "per_key.csv")
    assert table["iou"].to_list() == pytest.approx([REPORT.keys[0].iou, REPORT.keys[1].iou, None])
    assert pl.read_csv(out / "per_category.csv")["category"].to_list() == list(TAXONOMY.categories)


def test_the_page_needs_no_network_and_escapes_words() -> None:
    html = page(REPORT)
    assert not re.search(r"https?:|src=|@import|url\(|<link", html)
    assert "Hats &amp; &lt;b&gt;Caps&lt;/b&gt;" in html
    assert "<b>" not in html
    assert not re.search(r"\$\w", html)  # no part of the template left open
    for value in (REPORT.figures["attribute_iou"].value, REPORT.keys[0].iou):
        assert f"<td>{number(value)}</td>" in html


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.5, 0.6, "above the 0.400"), (0.1, 0.2, "below the 0.400"), (0.3, 0.5, "no different")]
)
def test_the_verdict_compares_with_the_baseline_that_knows_the_category(low: float, high: float, word: str) -> None:
    figures = {**REPORT.figures, "attribute_iou": Score(value=(low + high) / 2, low=low, high=high)}
    rivals = {MODE_WITHIN_CATEGORY: {"attribute_iou": 0.4}}
    assert word in verdict(REPORT.model_copy(update={"figures": figures, "baselines": rivals}))


def test_without_baselines_the_report_says_so() -> None:
    report = score_report(TAXONOMY, TRUTH, DECISIONS, GROUPS, {}, PROVENANCE)
    assert "no baseline" in verdict(report)
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
