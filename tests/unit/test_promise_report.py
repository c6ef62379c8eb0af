"""What the report says about the promise, by key and by category."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.accepted import with_categories
from helpers.synthetic_evidence import PROVENANCE, TAXONOMY, N, labels, synthetic_evidence
from rich.console import Console

from attire.evaluation.baselines import MODE_WITHIN_PREDICTED, baselines
from attire.evaluation.evidence import Evidence
from attire.evaluation.promise_chart import promise_chart
from attire.evaluation.promise_tables import FilledRow, category_row, key_rows, promise_sentences, promise_sheets
from attire.evaluation.report import KeyScores, Report, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.report_page import page
from attire.score.label_errors import Stratum, corrected_precision
from attire.score.metrics import key_iou, match
from attire.score.verdicts import KeyPromise, Verdict

EVIDENCE = synthetic_evidence()
RIVALS = baselines(TAXONOMY, labels(0, 200), EVIDENCE.truth, EVIDENCE.decisions.category)
PROMISES = (KeyPromise(0.95), KeyPromise(0.8), KeyPromise(None, "it had no labels in training"), KeyPromise(0.3))
CORRECTED = corrected_precision(Stratum(filled=150, judged=40, right=39), Stratum(filled=20, judged=10, right=6))
REPORT = score_report(
    EVIDENCE, RIVALS, PROVENANCE, promises=PROMISES, category_promise=KeyPromise(0.9), corrected=CORRECTED
)
PHOTOS: list[list[Path]] = [[]] * N
NEW = ("filled", "right_filled", "promised", "held_back", "lookup_iou", "beats_lookup")


def test_filled_fields_are_counted_by_key_and_by_category() -> None:
    assert EVIDENCE.accepted is not None
    keys, categories = np.zeros((4, 2), dtype=int), np.zeros((3, 3))
    for row in range(N):
        for a, columns in enumerate(TAXONOMY.columns.values()):
            hot, chosen = EVIDENCE.truth.hot[row, columns], EVIDENCE.decisions.chosen[row, columns]
            if hot.any() and chosen.any() and EVIDENCE.accepted.keys[row, a]:
                right = bool(hot[chosen].all())
                keys[a] += 1, right
                categories[EVIDENCE.truth.category[row]] += 1, right, PROMISES[a].precision or 0
    assert [(scores.filled, scores.right_filled) for scores in REPORT.keys] == [tuple(row) for row in keys.tolist()]
    of_categories = [(scores.filled, scores.right_filled) for scores in REPORT.categories]
    assert of_categories == [(int(filled), int(right)) for filled, right, _ in categories]
    promised = [scores.promised for scores in REPORT.categories]
    assert promised[:2] == pytest.approx([total / filled for filled, _, total in categories[:2]])
    assert np.isnan(promised[2]), "it has no products"
    figures = REPORT.figures
    assert keys[:, 1].sum() / keys[:, 0].sum() == pytest.approx(figures["precision_95"].value)


def test_keys_are_compared_with_the_lookup_on_the_same_products() -> None:
    lookup = match(TAXONOMY, EVIDENCE.truth, RIVALS[MODE_WITHIN_PREDICTED])
    expected = key_iou(lookup, np.ones((N, 1)))[:, 0]
    np.testing.assert_array_equal([scores.lookup_iou for scores in REPORT.keys], expected)
    assert [scores.beats_lookup for scores in REPORT.keys] == [True, True, None, True]
    itself = Evidence(
        TAXONOMY, EVIDENCE.ids, EVIDENCE.groups, EVIDENCE.truth, RIVALS[MODE_WITHIN_PREDICTED], EVIDENCE.accepted
    )
    report = score_report(itself, RIVALS, PROVENANCE, promises=PROMISES)
    assert [scores.beats_lookup for scores in report.keys] == [False, False, None, False]
    marked = promise_sentences(report)[1]
    assert marked.startswith("Marked ≈ lookup, because not shown to be better than the most frequent value of")
    assert marked.endswith(": colour, neck, style.")
    assert {row[1].split("; ")[-1] for row in promise_sheets(report)[0].rows[1:] if row[0] != "silent"} == {"≈ lookup"}
    assert all(scores.beats_lookup is None for scores in score_report(EVIDENCE, {}, PROVENANCE).keys)


def test_the_table_gives_a_verdict_for_each_key_and_for_all() -> None:
    by_key, by_category = promise_sheets(REPORT)
    rows = {row[0]: row[1:] for row in by_key.rows}
    assert list(rows) == ["all keys", "category", *TAXONOMY.keys]
    assert rows["silent"][:3] == ("held back: it had no labels in training", "–", "–")
    for name, scores in zip(TAXONOMY.keys, REPORT.keys, strict=True):
        if scores.filled:
            assert scores.right_filled is not None
            assert rows[name][1] == f"{scores.right_filled / scores.filled:.3f}"
            assert rows[name][0] in [*Verdict]
            assert rows[name][4:6] == (str(scores.known), str(scores.filled))
    assert rows["style"][0] == "kept"
    filled = [scores.filled or 0 for scores in REPORT.keys]
    mean = np.dot(filled, [0.95, 0.8, 0, 0.3]) / sum(filled)
    assert rows["all keys"][3] == f"{mean:.3f}"
    assert [row[0] for row in by_category.rows] == list(TAXONOMY.categories)
    assert by_category.rows[2][1] == "–"


def test_the_category_has_a_row_and_a_sentence_of_its_own() -> None:
    truth, decisions, accepted = EVIDENCE.truth.category, EVIDENCE.decisions.category, EVIDENCE.accepted
    assert accepted is not None
    open_for_some = accepted._replace(category=np.arange(N) % 3 > 0)
    evidence = Evidence(TAXONOMY, EVIDENCE.ids, EVIDENCE.groups, EVIDENCE.truth, EVIDENCE.decisions, open_for_some)
    report = score_report(evidence, RIVALS, PROVENANCE, promises=PROMISES, category_promise=KeyPromise(0.9))
    filled = open_for_some.category & (truth >= 0) & (decisions >= 0)
    right = int((truth == decisions)[filled].sum())
    row = category_row(report)
    assert row is not None
    assert row[:5] == ("category", int((truth >= 0).sum()), int(filled.sum()), right, 0.9)
    assert f"{right / filled.sum():.3f} of them rightly" in promise_sentences(report)[1]
    assert "category: " in json.dumps(promise_chart([row])[1])
    held = score_report(evidence, RIVALS, PROVENANCE, promises=PROMISES, category_promise=KeyPromise(None, "too few"))
    cells = next(cells for cells in promise_sheets(held)[0].rows if cells[0] == "category")
    assert cells[1] == "held back: too few"
    assert category_row(score_report(EVIDENCE, RIVALS, PROVENANCE)) is None


def test_sentences_say_what_chance_does_and_what_review_found() -> None:
    verdicts, _, corrected = promise_sentences(REPORT)
    assert verdicts.startswith("Of 3 keys with filled fields, the promise is kept for ")
    assert re.search(r"chance alone would call 0\.\d of them broken, and measure \d below", verdicts)
    assert CORRECTED is not None
    assert "measured against the labels of the feeds 0.882; corrected for wrong labels found in review " in corrected
    assert f"{CORRECTED.value:.3f} ({CORRECTED.low:.3f} to {CORRECTED.high:.3f}), from 50 judged fields" in corrected
    assert "Of 10 judged answers that contradict the label, 6 are right." in corrected


def test_the_page_has_the_promise_and_is_empty_of_it_without_thresholds() -> None:
    html = page(REPORT, EVIDENCE, PHOTOS)
    for text in (*promise_sentences(REPORT), "Is the promise kept?", "held back: it had no labels in training"):
        assert text in html
    assert html.count("<table") == html.count("<caption")
    unfitted = synthetic_evidence(calibrated=False)
    report = score_report(unfitted, RIVALS, PROVENANCE)
    assert "promise kept?" not in page(report, unfitted, PHOTOS)
    assert promise_sentences(report) == []
    assert promise_sheets(report)[0].rows == ()


def test_if_nothing_is_filled_there_is_no_promise_to_check() -> None:
    empty = Evidence(
        TAXONOMY,
        EVIDENCE.ids,
        EVIDENCE.groups,
        EVIDENCE.truth,
        EVIDENCE.decisions,
        with_categories(TAXONOMY, np.zeros_like(EVIDENCE.decisions.applies)),
    )
    report = score_report(empty, RIVALS, PROVENANCE, promises=PROMISES)
    assert "No field with a label is filled" in promise_sentences(report)[0]
    assert "nothing filled" in page(report, empty, PHOTOS)


def test_scores_of_an_earlier_attire_can_be_read() -> None:
    content = json.loads(REPORT.model_dump_json())
    for row in [*content["keys"], *content["categories"]]:
        for name in NEW:
            row.pop(name, None)
    del content["corrected"]
    old = Report.model_validate(content)
    assert old.keys[0].filled is None
    assert np.isnan(old.keys[0].promised)
    assert key_rows(old) == []
    assert promise_sentences(old) == []


def test_the_table_of_keys_has_the_promise_for_other_programs(tmp_path: Path) -> None:
    write_report(REPORT, EVIDENCE, PHOTOS, tmp_path)
    table = pl.read_csv(tmp_path / "per_key.csv")
    assert set(NEW) < set(table.columns) == set(KeyScores.model_fields) - {"coarse_iou"} - {"coarse_iou"}
    assert table["filled"].to_list() == [scores.filled for scores in REPORT.keys]
    assert table["promised"].to_list() == [0.95, 0.8, None, 0.3]
    assert Report.load(tmp_path).corrected == CORRECTED
    write_report(score_report(EVIDENCE, {}, PROVENANCE), EVIDENCE, PHOTOS, tmp_path)
    assert "corrected" not in json.loads((tmp_path / "scores.json").read_text())


def test_verdicts_are_broken_across_lines_on_a_narrow_terminal() -> None:
    output = StringIO()
    Console(width=80, file=output).print(promise_sheets(REPORT)[0].table())
    assert max(map(len, output.getvalue().splitlines())) <= 80
    for scores in REPORT.keys:
        if scores.filled:
            assert f"{scores.right_filled / scores.filled:.3f}" in output.getvalue()  # type: ignore[operator]


def test_the_chart_shows_each_key_where_its_precision_is() -> None:
    rows = [
        FilledRow("kept", 1000, 500, 490, 0.95),
        FilledRow("below", 300, 150, 140, 0.95),
        FilledRow("broken", 200, 100, 80, 0.95),
        FilledRow("few", 20, 5, 5, 0.95),
        FilledRow("none", 20, 0, 0, np.nan, ("held back",)),
    ]
    title, svg = promise_chart(rows)
    assert "◆ broken" in title
    position = {
        name: float(x)
        for x, name in re.findall(
            r'translate\(([\d.]+),[\d.]+\)"[^>]*><title>(\w+): [\d,]+ of [\d,]+ filled fields', svg
        )
    }
    low, width = 0.7, 170  # 0.8 is the lowest precision; the axis starts half a tenth below it, rounded down
    assert position.keys() == {"kept", "below", "broken", "few"}
    for row in rows[:4]:
        assert position[row.name] == pytest.approx((row.precision - low) / (1 - low) * width, abs=0.01)
    assert re.findall(r">(\w+)</text>", svg)[:5] == ["broken", "below", "kept", "few", "none"]
    assert ">nothing filled</text>" in svg
    assert "none: 0 of 20 fields are filled" in svg
