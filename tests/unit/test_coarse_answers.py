"""Where a value is too fine for the promise, its group is filled: the root of the value, at the root's probability."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import accepting_bundle
from helpers.fake_engines import Answers
from helpers.taxonomies import BLUES, blues, parents_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from scipy.stats import binom

from attire.bundle import ModelBundle
from attire.config import DecisionRule
from attire.evaluation.evidence import Evidence
from attire.evaluation.translation import Translation
from attire.filling.fill import fill
from attire.inference.chunks import RowBuilder
from attire.inference.product_logits import LogitsTable, ProductLogits
from attire.labels import Targets, contradicted, encode
from attire.parents import ancestors
from attire.prediction import Answer
from attire.score.calibration import Fitted, fit_calibration
from attire.score.calibration_record import CALIBRATION, COARSE_DTYPES, CalibrationRecord, frequencies
from attire.score.decisions import Decisions, coarse_values, decide, with_coarse
from attire.score.metrics import headline, match
from attire.score.promise import Promise
from attire.score.thresholds import fit_thresholds, fixed_sequence
from attire.taxonomy import Key, Taxonomy

TAXONOMY = blues()
COLOUR, SURE = 1, Promise(precision=0.9)
Drawn = tuple[Targets, np.ndarray, np.ndarray]


def draw(n: int, seed: int) -> Drawn:
    """Shirts whose colours are clear and whose shades are not; labels are drawn from the softmax of the logits."""
    rng = np.random.default_rng(seed)
    clear = rng.normal(0, 4, (n, len(BLUES)))
    roots = TAXONOMY.roots[TAXONOMY.columns["colour"]] - TAXONOMY.columns["colour"].start
    colours = clear[:, roots] + rng.normal(0, 1, (n, len(BLUES)))
    logits = np.hstack([rng.normal(0, 4, (n, 2)), colours]).astype(np.float32)
    hot = np.zeros(logits.shape, dtype=bool)
    for columns in TAXONOMY.columns.values():
        p = np.exp(logits[:, columns])
        value = (p.cumsum(1) / p.sum(1, keepdims=True) < rng.random((n, 1))).sum(1)
        hot[np.arange(n), columns.start + value] = True
    category = np.repeat(np.array([[9, -9]], np.float32), n, axis=0)
    return Targets(np.zeros(n, np.int64), hot, np.ones((n, 2), np.int8)), category, logits


def fit(drawn: Drawn, taxonomy: Taxonomy = TAXONOMY) -> Fitted:
    return fit_calibration(taxonomy, DecisionRule(), *drawn, frequencies(taxonomy, drawn[0]))


def decisions_of(fitted: Fitted, drawn: Drawn, taxonomy: Taxonomy = TAXONOMY) -> Decisions:
    return decide(taxonomy, DecisionRule(), *fitted.calibration.scale(taxonomy, *drawn[1:]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """An untrained bundle with the calibration of drawn answers."""
    saved, fitted = accepting_bundle(tmp_path_factory.mktemp("bundle") / "bundle", TAXONOMY), fit(draw(3000, 0))
    calibration = saved.spec.model_copy(update={"calibration": fitted.calibration})
    return replace(saved, spec=calibration, record=fitted.record)


@given(parents_of(BLUES), st.integers(0, 1000))
def test_a_coarse_answer_is_the_root_with_the_probability_of_all_its_kinds(parents: dict[str, str], seed: int) -> None:
    taxonomy = blues(parents)
    logits = np.random.default_rng(seed).normal(0, 1, (4, taxonomy.width)).astype(np.float32)
    decisions = decide(taxonomy, DecisionRule(), np.zeros((4, 2), np.float32) + np.array([9, 0], np.float32), logits)
    values = coarse_values(taxonomy, decisions)
    coarse = with_coarse(taxonomy, decisions, values)
    groups = {value: [value, *ancestors(value, parents)][-1] for value in BLUES}
    for row in range(4):
        chosen = next(value for value in BLUES if decisions.chosen[row, taxonomy.column_index["colour", value]])
        root = groups[chosen]
        kinds = [taxonomy.column_index["colour", value] for value in BLUES if groups[value] == root]
        expected = {taxonomy.column_index["colour", root]} if len(kinds) > 1 else set()
        assert set(np.flatnonzero(values[row]).tolist()) == expected
        answered = taxonomy.column_index["colour", root]
        assert coarse.chosen[row].sum() == decisions.chosen[row].sum()
        assert coarse.chosen[row, answered]
        assert coarse.probability[row, answered] == pytest.approx(decisions.probability[row, kinds].sum(), rel=1e-5)


@given(st.integers(0, 10_000))
def test_the_test_is_about_what_is_filled_at_the_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fine = rng.beta(4, 1, 300).round(2)
    coarse = np.maximum(fine, rng.beta(6, 0.5, 300).round(2))
    right = rng.random(300) < fine
    coarse_right = right | (rng.random(300) < coarse)
    minimum = fixed_sequence(fine, right, 0.8, 0.1, (coarse, coarse_right))
    if minimum < 1:
        filled = coarse >= minimum
        stated_right = np.where(fine >= minimum, right, coarse_right)[filled].sum()
        assert binom.sf(stated_right - 1, filled.sum(), 0.8) <= 0.1
    same = fixed_sequence(fine, right, 0.8, 0.1, (fine, right))
    assert same == fixed_sequence(fine, right, 0.8, 0.1)


def test_the_promise_about_a_key_holds_for_finer_and_coarser_values_together() -> None:
    """The true precision is that of many products; it is too low no more often than stated."""
    many = draw(5000, 1)
    broken = filled = 0
    for seed in range(2, 62):
        fitted = fit(draw(300, seed))
        decisions = decisions_of(fitted, many)
        accepted = fit_thresholds(TAXONOMY, fitted.record, SURE).accepted(TAXONOMY, decisions)
        answers = with_coarse(TAXONOMY, decisions, accepted.coarse).chosen
        right = ~contradicted(TAXONOMY, many[0].hot, answers)[accepted.keys[:, COLOUR], COLOUR]
        if len(right):
            filled += 1
            broken += right.mean() < 0.9
    assert filled > 40
    assert broken <= binom.ppf(0.999, filled, 0.1)


def test_groups_fill_fields_that_values_leave_open() -> None:
    fitted, new = fit(draw(3000, 0)), draw(3000, 1)
    decisions, record = decisions_of(fitted, new), fitted.record
    accepted = fit_thresholds(TAXONOMY, record, SURE).accepted(TAXONOMY, decisions)
    without = replace(record, coarse_column=record.column, coarse_log_odds=record.log_odds, coarse_right=record.right)
    fine = fit_thresholds(TAXONOMY, without, SURE).accepted(TAXONOMY, decisions)
    assert not fine.coarse.any()
    with_groups, with_values = (match(TAXONOMY, new[0], decisions, answers) for answers in (accepted, fine))
    assert headline(with_groups)["coverage_95"] > headline(with_values)["coverage_95"] + 0.1
    assert headline(with_groups)["precision_95"] > 0.89
    for figure in ("attribute_iou", "coarse_iou", "ece"):
        assert headline(with_groups)[figure] == headline(with_values)[figure], "these are about the likeliest values"
    # A coarse value is right more often than the value that it replaces, and says so.
    replaced = accepted.coarse[:, TAXONOMY.columns["colour"]].any(axis=1)
    assert with_groups.filled_right[replaced, COLOUR].mean() > with_groups.right[replaced, COLOUR].mean() + 0.1
    confidence = with_groups.filled_confidence[replaced, COLOUR]
    assert (confidence > with_groups.confidence[replaced, COLOUR]).all()


def test_without_parents_nothing_is_coarse(tmp_path: Path) -> None:
    plain = blues({})
    fitted = fit(draw(1000, 0), plain)
    fitted.record.save(tmp_path)
    assert not load_file(tmp_path / CALIBRATION).keys() & COARSE_DTYPES.keys()
    thresholds = fit_thresholds(plain, CalibrationRecord.load(tmp_path, plain), SURE)
    assert thresholds.coarse_shift is None
    assert not thresholds.accepted(plain, decisions_of(fitted, draw(200, 1), plain)).coarse.any()
    # Parents that are given later do not count: nothing is known about such answers.
    assert not thresholds.accepted(TAXONOMY, decisions_of(fitted, draw(200, 1))).coarse.any()


def test_a_record_with_coarse_answers_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = fit(draw(100, 0)).record
    record.save(tmp_path)
    loaded = CalibrationRecord.load(tmp_path, TAXONOMY)
    for name, array in vars(record).items():
        np.testing.assert_array_equal(array, getattr(loaded, name))
    assert (record.coarse_right >= record.right).all(), "a right value is right as its group too"
    assert (record.coarse_right > record.right).any()


def test_single_and_bulk_predictions_say_the_same(bundle: ModelBundle) -> None:
    _, category, logits = draw(60, 1)
    products = [ProductLogits(str(n), category[n], logits[n], ()) for n in range(60)]
    table = RowBuilder(bundle, "long", SURE).rows(LogitsTable.take(products, 60, TAXONOMY))
    rows = {(row["id"], row["key"]): row for row in table.iter_rows(named=True)}
    decisions = bundle.decide(category, logits)
    coarse = bundle.accepted(decisions, SURE).coarse[:, TAXONOMY.column_index["colour", "Blue"]]
    assert coarse.sum() > 3
    for n, product in enumerate(products):
        for key, answer in bundle.answer(category[n], logits[n], SURE).attributes.items():
            row = rows[product.id, key]
            alternatives = json.loads(row["alternatives"])
            assert [other["value"] for other in alternatives] == [other.value for other in answer.alternatives]
            if not isinstance(answer, Answer):
                assert row["values"] is None
                continue
            assert (row["values"], row["confidence"]) == (answer.values[0], pytest.approx(answer.confidence, rel=1e-5))
            if key == "colour" and coarse[n]:
                kinds = [TAXONOMY.column_index["colour", value] for value in BLUES if value != "Red"]
                assert answer.values == ("Blue",)
                assert answer.confidence == pytest.approx(decisions.probability[n, kinds].sum(), rel=1e-5)
                assert "Blue" not in [other.value for other in answer.alternatives]


def test_a_report_keeps_coarse_values(tmp_path: Path) -> None:
    fitted, new = fit(draw(3000, 0)), draw(200, 1)
    decisions = decisions_of(fitted, new)
    accepted = fit_thresholds(TAXONOMY, fitted.record, SURE).accepted(TAXONOMY, decisions)
    ids = tuple(map(str, range(200)))
    evidence = Evidence(TAXONOMY, ids, ids, new[0], decisions, accepted)
    (tmp_path / "taxonomy.toml").write_text(TAXONOMY.to_toml())
    evidence.products().write_parquet(tmp_path / "products.parquet")
    evidence.pairs().write_parquet(tmp_path / "pairs.parquet")
    again = Evidence.load(tmp_path)
    assert again.accepted is not None
    assert accepted.coarse.any()
    np.testing.assert_array_equal(again.accepted.coarse, accepted.coarse)
    np.testing.assert_array_equal(again.matches.filled_right, evidence.matches.filled_right)


def test_coarse_values_are_judged_by_the_parents_of_the_catalog() -> None:
    """They are what the bundle filled, also where the catalog calls it otherwise or has no parents any more."""
    fitted, new = fit(draw(3000, 0)), draw(300, 1)
    truth, decisions = new[0], decisions_of(fitted, new)
    accepted = fit_thresholds(TAXONOMY, fitted.record, SURE).accepted(TAXONOMY, decisions)
    colour = TAXONOMY.keys["colour"]
    renamed = {value: "Bleu" if value == "Blue" else value for value in reversed(BLUES)}
    for parents in ({child: renamed[parent] for child, parent in colour.parents.items()}, {}):
        changed = {"values": tuple(renamed.values()), "aliases": {"Blue": "Bleu"}, "parents": parents}
        keys = {"neck": TAXONOMY.keys["neck"], "colour": Key(**colour.model_dump() | changed)}
        later = Taxonomy(**TAXONOMY.model_dump() | {"keys": keys})
        words = Translation.between(TAXONOMY, later, "it")
        stated = [
            {key: [later.value(key, value)] for (key, value), column in TAXONOMY.column_index.items() if hot[column]}
            for hot in truth.hot
        ]
        matches = match(
            later,
            encode(later, ["Shirts"] * 300, stated),
            words.decisions(decisions),
            words.accepted(accepted),
        )
        before = match(TAXONOMY, truth, decisions, accepted)
        filled_coarse = accepted.coarse.any(axis=1)
        if parents:
            np.testing.assert_array_equal(matches.filled_right, before.filled_right)
        else:
            assert (
                matches.filled_right[filled_coarse, COLOUR].mean() < before.filled_right[filled_coarse, COLOUR].mean()
            )


def test_a_feed_is_filled_with_the_group(bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = {
        "clear": ((250, 10, 10), ("Shirts", "Red")),
        "shade": ((10, 10, 250), ("Shirts", "Navy Blue?", "Blue?", "Teal?")),
    }
    for name, (colour, _) in seen.items():
        Image.new("RGB", (24, 32), colour).save(f"{name}.png")
    Path("feed.csv").write_text(
        "id,image,category,colour\n1,clear.png,Shirts,\n2,shade.png,Shirts,\n3,shade.png,Shirts,Light Navy\n"
    )
    engine = Answers(TAXONOMY, dict(seen.values()))
    fill(bundle, "feed.csv", "out.csv", images=".", engine=engine, precision=SURE)
    assert [row.split(",")[3] for row in Path("out.csv").read_text().splitlines()[1:]] == ["Red", "Blue", "Light Navy"]
