from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from attire.score.intervals import intervals, wilson

Weights = NDArray[np.float32]


def _mean_of(values: NDArray[np.float64]) -> Callable[[Weights], dict[str, NDArray[np.float64]]]:
    return lambda weights: {"mean": (values @ weights) / weights.sum(axis=0)}


def test_the_interval_of_a_mean_matches_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3, 1, 2000)
    low, high = intervals(_mean_of(values), [str(i) for i in range(2000)], resamples=2000)["mean"]
    error = 1.96 * values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_products_of_one_group_are_drawn_together() -> None:
    draws: list[Weights] = []
    groups = ["a", "b", "a", "c", "b"]

    def figures(weights: Weights) -> dict[str, NDArray[np.float64]]:
        draws.append(weights)
        return {"first": weights[0].astype(float)}

    intervals(figures, groups, resamples=120)
    weights = np.concatenate(draws, axis=1)
    assert weights.shape == (5, 120)
    np.testing.assert_array_equal(weights[0], weights[2])
    np.testing.assert_array_equal(weights[1], weights[4])
    assert (weights[[0, 1, 3]].sum(axis=0) == 3).all()  # as many groups as there are
    assert (weights[0] != weights[1]).any()


def test_copies_of_a_product_do_not_narrow_its_interval() -> None:
    values = np.random.default_rng(1).normal(0, 1, 200)
    alone = intervals(_mean_of(values), [str(i) for i in range(200)])["mean"]
    copied = intervals(_mean_of(np.repeat(values, 10)), [str(i) for i in range(200) for _ in range(10)])["mean"]
    assert copied == pytest.approx(alone)


def test_equal_seeds_give_equal_intervals_in_any_row_order() -> None:
    values, groups = np.random.default_rng(2).normal(0, 1, 100), [f"g{i:03}" for i in range(100)]
    order = np.random.default_rng(3).permutation(100)
    first = intervals(_mean_of(values), groups, seed=5)["mean"]
    assert intervals(_mean_of(values[order]), [groups[i] for i in order], seed=5)["mean"] == pytest.approx(first)
    assert intervals(_mean_of(values), groups, seed=6)["mean"] != pytest.approx(first)


def test_nan_resamples_are_left_out_and_all_nan_stays_nan() -> None:
    def figures(weights: Weights) -> dict[str, NDArray[np.float64]]:
        values = weights[0].astype(float)
        return {"some": np.where(values > 0, values, np.nan), "none": np.full(len(values), np.nan)}

    result = intervals(figures, ["a", "b", "c"])
    assert result["some"].low == 1
    assert np.isnan(result["none"]).all()


def test_a_share_has_wilsons_interval() -> None:
    right, n = [0, 7, 95, 300], [10, 10, 100, 300]
    expected = [binomtest(*case).proportion_ci(0.95, method="wilson") for case in zip(right, n, strict=True)]
    low, high = wilson(right, n)
    assert low == pytest.approx([interval.low for interval in expected], abs=1e-6)
    assert high == pytest.approx([interval.high for interval in expected], abs=1e-6)
    assert [float(end) for end in wilson(0, 0)] == [0, 1], "no evidence"
