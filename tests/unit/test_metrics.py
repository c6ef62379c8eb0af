"""Every figure is compared with scikit-learn or a plain loop over products."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.accepted import with_categories
from helpers.taxonomies import blues
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    jaccard_score,
    precision_recall_fscore_support,
)

from attire.config import DecisionRule
from attire.labels import Targets, encode, labelled
from attire.score.decisions import Decisions, confidence, decide
from attire.score.metrics import (
    BINS,
    COARSE_FIGURES,
    FIGURES,
    MIN_LABELS,
    MIN_POSITIVES,
    headline,
    match,
    per_category,
    per_key,
    weighted,
)
from attire.taxonomy import Key, Taxonomy

CATEGORIES = ("Shirts", "Jeans", "Belts", "Hats")
TAXONOMY = Taxonomy(
    categories=CATEGORIES,
    keys={
        "colour": Key(categories=CATEGORIES, values=("Red", "Blue", "Green")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
        "style": Key(arity="many", categories=("Shirts", "Jeans"), values=("Casual", "Formal", "Sports", "Party")),
        "rare": Key(categories=CATEGORIES, values=("Yes", "No")),
    },
)
N = 300


def _case(seed: int, rule: DecisionRule) -> tuple[Targets, Decisions]:
    """Random labels with gaps (also on keys that do not apply, and products without a category), noisy answers."""
    rng = np.random.default_rng(seed)
    categories = [None if rng.random() < 0.05 else CATEGORIES[rng.choice(4, p=[0.5, 0.3, 0.2, 0])] for _ in range(N)]
    labels = []
    for row in range(N):
        stated: dict[str, tuple[str, ...]] = {}
        for name, key in TAXONOMY.keys.items():
            if row >= 7 if name == "rare" else rng.random() < 0.4:
                continue
            count = 1 if key.arity == "one" else int(rng.integers(1, 4))
            stated[name] = tuple(rng.choice(key.values, count, replace=False))
        labels.append(stated)
    truth = encode(TAXONOMY, categories, labels)
    one_hot = truth.category[:, None] == np.arange(4)
    category_logits = rng.normal(0, 1, (N, 4)) + 2 * one_hot
    logits = (rng.normal(0, 1, truth.hot.shape) + 1.5 * truth.hot).round(1)  # rounded, so that there are ties
    return truth, decide(TAXONOMY, rule, category_logits.astype(np.float32), logits.astype(np.float32))


CASES = [_case(0, DecisionRule()), _case(1, DecisionRule()), _case(2, DecisionRule(rule="threshold", threshold=0.8))]


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_category_figures_equal_scikit_learn(truth: Targets, decisions: Decisions) -> None:
    matches = match(TAXONOMY, truth, decisions)
    figures, table = headline(matches), per_category(matches)
    known_category = truth.category >= 0
    true, predicted = truth.category[known_category], decisions.category[known_category]
    occur = np.unique(true)
    assert figures["category_accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert figures["category_f1"] == pytest.approx(f1_score(true, predicted, labels=occur, average="macro"))
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted, labels=occur)
    np.testing.assert_allclose(table["precision"][occur], precision)
    np.testing.assert_allclose(table["recall"][occur], recall)
    np.testing.assert_allclose(table["f1"][occur], f1)
    np.testing.assert_array_equal(table["products"][occur], support)
    assert table["predicted"].sum() == known_category.sum()


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_iou_equals_scikit_learn(truth: Targets, decisions: Decisions) -> None:
    known = labelled(TAXONOMY, truth.hot)
    by_key, totals = {}, []
    for a, (name, columns) in enumerate(TAXONOMY.columns.items()):
        rows = known[:, a]
        true, chosen = truth.hot[rows, columns], decisions.chosen[rows, columns]
        by_key[name] = jaccard_score(true, chosen, average="samples", zero_division=0)
        totals += [by_key[name]] * int(rows.sum())
    matches = match(TAXONOMY, truth, decisions)
    figures, table = headline(matches), per_key(TAXONOMY, matches)
    assert figures["attribute_iou"] == pytest.approx(np.mean(totals))
    assert table["known"].tolist() == known.sum(axis=0).tolist()
    assert known[:, 3].sum() < MIN_LABELS  # so "rare" is in the table but not in the macro average
    np.testing.assert_allclose(table["iou"], list(by_key.values()))
    assert figures["macro_iou"] == pytest.approx(np.mean([by_key[k] for k in ("colour", "neck", "style")]))
    same = truth.hot == decisions.chosen
    exact = [same[known[:, a], columns].all(axis=1).mean() for a, columns in enumerate(TAXONOMY.columns.values())]
    np.testing.assert_allclose(table["accuracy"], exact)


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_map_equals_scikit_learn(truth: Targets, decisions: Decisions) -> None:
    known = labelled(TAXONOMY, truth.hot)
    precisions = {}
    for (key, value), column in TAXONOMY.column_index.items():
        rows = known[:, list(TAXONOMY.keys).index(key)]
        if truth.hot[rows, column].sum() >= MIN_POSITIVES:
            precisions[key, value] = average_precision_score(
                truth.hot[rows, column], decisions.probability[rows, column]
            )
    matches = match(TAXONOMY, truth, decisions)
    assert headline(matches)["map"] == pytest.approx(np.mean(list(precisions.values())))
    for a, name in enumerate(TAXONOMY.keys):
        by_key = [p for (key, _), p in precisions.items() if key == name]
        expected = np.mean(by_key) if by_key else np.nan
        assert per_key(TAXONOMY, matches)["map"][a] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_original_iou_and_spurious_rate_equal_a_loop_over_dictionaries(truth: Targets, decisions: Decisions) -> None:
    def dictionary(row: NDArray[np.bool_]) -> dict[str, set[int]]:
        return {k: set(np.flatnonzero(row[c])) for k, c in TAXONOMY.columns.items() if row[c].any()}

    scores, spurious = [], []
    for row in range(N):
        true, predicted = dictionary(truth.hot[row]), dictionary(decisions.chosen[row])
        if true:
            both = true.keys() & predicted.keys()
            total = sum(len(true[k] & predicted[k]) / len(true[k] | predicted[k]) for k in both)
            scores.append(total / len(predicted) if predicted else 0)
        if truth.category[row] >= 0:
            category = CATEGORIES[truth.category[row]]
            spurious += [category not in TAXONOMY.keys[k].categories for k in predicted]
    figures = headline(match(TAXONOMY, truth, decisions))
    assert figures["original_iou"] == pytest.approx(np.mean(scores))
    assert figures["spurious_rate"] == pytest.approx(np.mean(spurious))


def test_a_stated_value_of_a_key_that_does_not_apply_is_known_and_scores_0_if_left_open() -> None:
    truth = encode(TAXONOMY, ["Belts"], [{"neck": ("Polo",), "colour": ("Red",)}])
    logits = np.array([[9, 0, 0, 0, 9, 0, 0, 0, 0, 9, 0]], dtype=np.float32)
    decisions = decide(TAXONOMY, DecisionRule(), np.array([[0, 0, 9, 0]], np.float32), logits)
    matches = match(TAXONOMY, truth, decisions)
    assert per_key(TAXONOMY, matches)["known"].tolist() == [1, 1, 0, 0]
    assert headline(matches)["attribute_iou"] == 0.5


def test_no_evidence_is_nan_never_0() -> None:
    truth = encode(TAXONOMY, [None], [{}])
    decisions = decide(TAXONOMY, DecisionRule(), np.zeros((1, 4), np.float32), np.zeros((1, 11), np.float32))
    matches = match(TAXONOMY, truth, decisions)
    assert all(np.isnan(value) for value in headline(matches).values())
    assert np.isnan(per_key(TAXONOMY, matches)["iou"]).all()
    assert np.isnan(per_category(matches)["f1"]).all()


def test_a_product_without_answers_scores_0() -> None:
    truth = encode(TAXONOMY, ["Shirts"], [{"neck": ("Polo",)}])
    unanswered = Decisions(
        np.array([-1]),
        np.zeros((1, 4), np.float32),
        np.zeros((1, 11), np.float32),
        np.zeros((1, 11), bool),
        np.zeros((1, 4), bool),
    )
    figures = headline(match(TAXONOMY, truth, unanswered))
    assert [figures[f] for f in ("category_accuracy", "category_f1", "attribute_iou", "original_iou")] == [0, 0, 0, 0]
    assert np.isnan(figures["spurious_rate"])  # a share of no predictions


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_confidence_figures_equal_a_plain_loop(truth: Targets, decisions: Decisions) -> None:
    sure = confidence(TAXONOMY, decisions) > 0.7
    figures = headline(match(TAXONOMY, truth, decisions, with_categories(TAXONOMY, sure)))
    known = filled = right_filled = 0
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row in range(N):
        for a, columns in enumerate(TAXONOMY.columns.values()):
            hot, chosen = truth.hot[row, columns], decisions.chosen[row, columns]
            if not hot.any():
                continue
            known += 1
            if not chosen.any():
                continue
            claimed, right = float(decisions.probability[row, columns][chosen].prod()), bool(hot[chosen].all())
            bins.setdefault(min(int(claimed * BINS), BINS - 1), []).append((claimed, right))
            filled += sure[row, a]
            right_filled += sure[row, a] and right
    gaps = [abs(sum(claimed - right for claimed, right in pairs)) for pairs in bins.values()]
    assert figures["coverage_95"] == pytest.approx(filled / known)
    assert figures["precision_95"] == pytest.approx(right_filled / filled)
    assert figures["category_coverage"] == 1
    assert figures["category_precision"] == pytest.approx(figures["category_accuracy"])
    assert figures["ece"] == pytest.approx(sum(gaps) / sum(map(len, bins.values())), rel=1e-4)


def test_without_thresholds_there_is_no_coverage() -> None:
    figures = headline(match(TAXONOMY, *CASES[0]))
    assert np.isnan(figures["coverage_95"])
    assert np.isnan(figures["precision_95"])
    assert np.isnan(figures["category_coverage"])
    assert np.isnan(figures["category_precision"])
    assert figures["ece"] > 0


@pytest.mark.parametrize(("truth", "decisions"), CASES)
def test_a_weight_of_n_equals_repeating_the_product_n_times(truth: Targets, decisions: Decisions) -> None:
    times = np.random.default_rng(0).integers(0, 4, N)
    rows = np.repeat(np.arange(N), times)
    sure = confidence(TAXONOMY, decisions) > 0.7
    plain = match(TAXONOMY, truth, decisions, with_categories(TAXONOMY, sure))
    repeated = headline(
        match(
            TAXONOMY,
            Targets._make(x[rows] for x in truth),
            Decisions._make(x[rows] for x in decisions),
            with_categories(TAXONOMY, sure[rows]),
        )
    )
    got = weighted(plain, np.stack([times, np.ones(N)], axis=1))
    assert got.keys() == FIGURES.keys()
    for name, value in headline(plain).items():
        assert got[name][1] == pytest.approx(value, nan_ok=True)
        if name not in ("macro_iou", "map"):  # which keys and values count does not depend on weights
            assert got[name][0] == pytest.approx(repeated[name])
    precisions = [
        average_precision_score(r.hits, decisions.probability[r.rows, r.column], sample_weight=times[r.rows])
        for r in plain.rankings
    ]
    assert got["map"][0] == pytest.approx(np.mean(precisions))


def test_a_coarse_answer_is_right_and_scores_only_as_coarse() -> None:
    cases = [  # stated, answered, IoU, coarse IoU, right
        ("Navy Blue", "Navy Blue", 1, 1, True),
        ("Navy Blue", "Blue", 0, 1, True),
        ("Blue", "Navy Blue", 0, 1, False),
        ("Teal", "Navy Blue", 0, 1, False),
        ("Light Navy", "Red", 0, 0, False),
        ("Light Navy", None, 0, 0, False),
    ]
    taxonomy = blues()
    truth = encode(taxonomy, ["Shirts"] * len(cases), [{"colour": (stated,)} for stated, *_ in cases])
    answers = [{"colour": (answer,)} if answer else {} for _, answer, *_ in cases]
    chosen = encode(taxonomy, ["Shirts"] * len(cases), answers).hot
    probability = np.where(chosen, np.float32(0.9), np.float32(0.02))
    applies = np.ones((len(cases), 2), dtype=bool)
    decisions = Decisions(truth.category, np.eye(2, dtype=np.float32)[truth.category], probability, chosen, applies)
    matches = match(taxonomy, truth, decisions, accepted=with_categories(taxonomy, applies))
    assert matches.iou[:, 1].tolist() == matches.exact[:, 1].tolist() == [iou for _, _, iou, _, _ in cases]
    assert matches.coarse_iou is not None
    assert matches.coarse_iou[:, 1].tolist() == [coarse for _, _, _, coarse, _ in cases]
    assert matches.right[:, 1].tolist() == [right for *_, right in cases]
    figures, table = headline(matches), per_key(taxonomy, matches)
    assert figures.keys() == FIGURES.keys() | COARSE_FIGURES.keys()
    assert (figures["attribute_iou"], figures["coarse_iou"]) == pytest.approx((1 / 6, 4 / 6))
    assert figures["precision_95"] == pytest.approx(2 / 5)
    np.testing.assert_array_equal(table["coarse_iou"], [np.nan, 4 / 6])
    plain = match(blues({}), truth, decisions, accepted=with_categories(taxonomy, applies))
    assert plain.coarse_iou is None
    assert headline(plain).keys() == FIGURES.keys()
    assert headline(plain)["precision_95"] == pytest.approx(1 / 5)
