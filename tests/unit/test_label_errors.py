"""The precision corrected for wrong labels, on simulated labels, answers and judgements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attire.score.intervals import wilson
from attire.score.label_errors import CorrectedPrecision, Stratum, corrected_precision


def stratum(fields: NDArray[np.bool_], judged: NDArray[np.bool_], right: NDArray[np.bool_]) -> Stratum:
    return Stratum(
        filled=int(fields.sum()), judged=int((fields & judged).sum()), right=int((fields & judged & right).sum())
    )


def simulated(
    rng: np.random.Generator, filled: int, sample: int, precision: float, noise: float
) -> CorrectedPrecision | None:
    """Answers and labels of six values, each wrong at random; the true value is 0. `sample` fields are judged."""
    answer = np.where(rng.random(filled) < precision, 0, rng.integers(1, 6, filled))
    label = np.where(rng.random(filled) >= noise, 0, rng.integers(1, 6, filled))
    judged = rng.permutation(filled) < sample
    return corrected_precision(*(stratum(kind, judged, answer == 0) for kind in (answer == label, answer != label)))


@pytest.mark.parametrize(
    ("filled", "sample", "precision", "noise"), [(2000, 200, 0.96, 0.1), (1000, 300, 0.9, 0.05), (300, 300, 0.96, 0.1)]
)
def test_the_interval_contains_the_truth_about_as_often_as_stated(
    filled: int, sample: int, precision: float, noise: float
) -> None:
    rng = np.random.default_rng(0)
    results = [simulated(rng, filled, sample, precision, noise) for _ in range(1000)]
    estimates = [result for result in results if result]
    assert len(estimates) == 1000
    covered = np.mean([result.low <= precision <= result.high for result in estimates])
    assert 0.94 <= covered <= 0.985
    assert np.mean([result.value for result in estimates]) == pytest.approx(precision, abs=0.003)
    measured = precision * (1 - noise) + (1 - precision) * noise / 5
    assert np.mean([result.measured for result in estimates]) == pytest.approx(measured, abs=0.003)


def test_it_is_more_precise_than_the_judged_fields_alone() -> None:
    corrected = simulated(np.random.default_rng(1), 5000, 200, 0.96, 0.03)
    assert corrected
    low, high = wilson(corrected.agreeing.right + corrected.contradicting.right, corrected.judged)
    assert corrected.high - corrected.low < 0.9 * float(high - low)


def test_reviewers_that_side_with_the_labels_confirm_the_measured_precision() -> None:
    corrected = corrected_precision(Stratum(filled=940, judged=94, right=94), Stratum(filled=60, judged=6, right=0))
    assert corrected
    assert corrected.value == corrected.measured == 0.94
    assert corrected.low < 0.94 < corrected.high


def test_without_judged_fields_of_a_kind_there_is_no_estimate() -> None:
    some, none = Stratum(filled=90, judged=20, right=19), Stratum(filled=0, judged=0, right=0)
    assert corrected_precision(some, Stratum(filled=10, judged=0, right=0)) is None
    assert corrected_precision(none, none) is None
    only = corrected_precision(some, none)
    assert only
    assert (only.measured, only.value) == (1, 0.95)


@st.composite
def strata(draw: st.DrawFn) -> Stratum:
    filled = draw(st.integers(1, 3000))
    judged = draw(st.integers(1, filled))
    return Stratum(filled=filled, judged=judged, right=draw(st.integers(0, judged)))


@given(strata(), strata())
def test_the_estimate_lies_in_its_interval(agreeing: Stratum, contradicting: Stratum) -> None:
    corrected = corrected_precision(agreeing, contradicting)
    assert corrected
    assert 0 <= corrected.low <= corrected.value <= corrected.high <= 1
