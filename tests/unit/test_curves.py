"""Curves and tables against counts by hand, and against the headline figures."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic_evidence import TAXONOMY, synthetic_evidence
from sklearn.metrics import confusion_matrix

from attire.score import curves
from attire.score.metrics import BINS, headline, per_key

EVIDENCE = synthetic_evidence()
TRUTH, DECISIONS, MATCHES = EVIDENCE.truth, EVIDENCE.decisions, EVIDENCE.matches


def test_precision_and_coverage_by_hand() -> None:
    m = MATCHES._replace(
        known=np.array([[True], [True], [True], [True], [False]]),
        predicted=np.array([[True], [True], [True], [False], [True]]),
        right=np.array([[True], [False], [True], [False], [False]]),
        confidence=np.array([[0.9], [0.5], [0.5], [1.0], [0.99]], dtype=np.float32),
    )
    coverage, precision = curves.precision_coverage(m)
    # 3 of 4 known pairs are answered; the two of equal confidence share a point.
    np.testing.assert_allclose(coverage, [1 / 4, 3 / 4])
    np.testing.assert_allclose(precision, [1, 2 / 3])


def test_the_curve_ends_at_all_answers() -> None:
    coverage, precision = curves.precision_coverage(MATCHES)
    answered = MATCHES.known & MATCHES.predicted
    assert coverage[-1] == pytest.approx(answered.sum() / MATCHES.known.sum())
    assert precision[-1] == pytest.approx(MATCHES.right.sum() / answered.sum())
    assert (np.diff(coverage) > 0).all()


def test_reliability_by_hand() -> None:
    bins = curves.reliability(np.array([0.0, 0.05, 0.5, 1.0]), np.array([False, True, True, True]))
    assert bins.answers.tolist() == [2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert bins.confidence[[0, 7, 14]].tolist() == [0.025, 0.5, 1]
    assert bins.precision[[0, 7, 14]].tolist() == [0.5, 1, 1]
    assert np.isnan(bins.precision[1])
    assert bins.error == pytest.approx((2 * 0.475 + 0.5 + 0) / 4)


def test_the_error_of_the_bins_is_the_figure() -> None:
    bins = curves.key_reliability(MATCHES)
    assert len(bins.answers) == BINS
    assert bins.error == pytest.approx(headline(MATCHES)["ece"], abs=1e-6)
    assert np.isnan(curves.reliability(np.zeros(0), np.zeros(0, dtype=bool)).error)


def test_category_tables() -> None:
    decisions = DECISIONS._replace(category=np.where(np.arange(120) < 3, -1, DECISIONS.category))
    count = curves.category_confusion(TRUTH, decisions)
    answered = decisions.category >= 0
    expected = confusion_matrix(TRUTH.category[answered], decisions.category[answered], labels=range(3))
    np.testing.assert_array_equal(count[:, :3], expected)
    assert count[:, 3].sum() == 3
    bins = curves.category_reliability(TRUTH, decisions)
    assert bins.answers.sum() == 117
    assert np.nansum(bins.answers * bins.precision) == pytest.approx(np.trace(expected))


def test_confusion_of_a_key_with_one_value() -> None:
    count = curves.key_confusion(TAXONOMY, TRUTH, DECISIONS, "neck")
    columns = TAXONOMY.columns["neck"]
    stated = TRUTH.hot[:, columns].any(axis=1)
    chosen = np.where(DECISIONS.chosen[:, columns].any(axis=1), DECISIONS.chosen[:, columns].argmax(axis=1), 2)
    expected = confusion_matrix(TRUTH.hot[stated][:, columns].argmax(axis=1), chosen[stated], labels=range(3))
    np.testing.assert_array_equal(count, expected[:2])
    assert count.sum() == MATCHES.known[:, 1].sum()
    assert count[:, 2].sum() > 0, "some are left open, because the predicted category rules the key out"


def test_confusion_of_a_key_with_several_values_by_hand() -> None:
    columns = TAXONOMY.columns["style"]
    hot, chosen = np.zeros((3, TAXONOMY.width), dtype=bool), np.zeros((3, TAXONOMY.width), dtype=bool)
    hot[0, columns], chosen[0, columns] = [True, True, False], [True, False, True]
    hot[1, columns], chosen[1, columns] = [True, False, False], [True, True, False]
    hot[2, columns] = [False, True, False]
    count = curves.key_confusion(TAXONOMY, TRUTH._replace(hot=hot), DECISIONS._replace(chosen=chosen), "style")
    assert count.tolist() == [[2, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_iou_of_keys_within_categories() -> None:
    iou, count = curves.iou_by_category(MATCHES)
    shirts = TRUTH.category == 0
    assert count[0, 1] == MATCHES.known[shirts, 1].sum()
    assert iou[0, 1] == pytest.approx(MATCHES.iou[shirts & MATCHES.known[:, 1], 1].mean())
    assert np.isnan(iou[:, 2]).all(), "this key has no labels"
    assert np.isnan(iou[2]).all(), "this category has no products"
    np.testing.assert_allclose(
        np.nansum(iou * count, axis=0)[:2] / count.sum(axis=0)[:2], per_key(TAXONOMY, MATCHES)["iou"][:2]
    )
