from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from helpers.synthetic_evidence import TAXONOMY, WITH_PARENTS, synthetic_evidence
from numpy.typing import NDArray

from attire.evaluation.compare import FIGURE, Difference
from attire.evaluation.evidence import Evidence, matches_of_both
from attire.promotion.judgement import Judgement, judge, side
from attire.score.metrics import headline, key_iou, weighted
from attire.score.swaps import swapped

Floats = NDArray[np.float64]


def means(a: Floats, b: Floats) -> Callable[[NDArray[np.float32]], dict[int, Floats]]:
    """The mean of each column of a and b, float64[N, F], for weights of both."""
    both = np.concatenate([a, b])

    def figures(weights: NDArray[np.float32]) -> dict[int, Floats]:
        return dict(enumerate(both.T @ weights / weights.sum(axis=0)))

    return figures


def test_the_error_is_that_of_paired_differences_by_chance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 3))
    changes = swapped(means(a, b), [str(i) for i in range(400)], 0.05, swaps=4000)
    for i, difference in changes.differences.items():
        assert difference == pytest.approx((b - a)[:, i].mean())
        assert changes.errors[i] == pytest.approx(np.sqrt(((b - a)[:, i] ** 2).sum()) / 400, rel=0.05)


def test_one_figure_has_the_limit_of_the_normal_distribution_and_many_that_of_bonferroni() -> None:
    rng, groups = np.random.default_rng(1), [str(i) for i in range(500)]
    for figures, quantile in ((1, 1.645), (50, 3.09)):
        a, b = rng.normal(size=(2, 500, figures))
        assert swapped(means(a, b), groups, 0.05, swaps=4000).limit == pytest.approx(quantile, rel=0.06)
    a = np.repeat(rng.normal(size=(500, 1)), 50, axis=1)
    b = np.repeat(rng.normal(size=(500, 1)), 50, axis=1)
    assert swapped(means(a, b), groups, 0.05, swaps=4000).limit == pytest.approx(1.645, rel=0.06), "one and the same"


def test_equal_models_are_refused_as_often_as_stated() -> None:
    rng, refused, trials = np.random.default_rng(2), 0, 300
    for trial in range(trials):
        # 30 groups of two, skewed differences, and a figure that only eight products have
        noise = np.repeat(rng.exponential(size=(30, 4)) * rng.choice([-1, 1], (30, 4)), 2, axis=0)
        noise[8:, 3] = 0
        changes = swapped(
            means(np.zeros_like(noise), noise), [str(i // 2) for i in range(60)], 0.05, swaps=200, seed=trial
        )
        refused += any(d < -changes.limit * changes.errors[i] for i, d in changes.differences.items())
    assert 0.02 * trials <= refused <= 0.085 * trials


def test_a_few_products_are_never_beyond_chance() -> None:
    a, b = np.ones((40, 20)), np.ones((40, 20))
    b[:5, 0] = 0  # all five products on which the models differ got worse
    b[:, 1:] += np.random.default_rng(3).normal(size=(40, 19))
    changes = swapped(means(a, b), [str(i) for i in range(40)], 0.05)
    assert changes.differences[0] / changes.errors[0] == pytest.approx(-np.sqrt(5), rel=0.1)
    assert changes.limit > 2.5


def test_equal_answers_have_no_error_and_undefined_figures_are_left_out() -> None:
    same = np.random.default_rng(4).normal(size=(20, 2))

    def figures(weights: NDArray[np.float32]) -> dict[int, Floats]:
        return {**means(same, same)(weights), 2: np.full(weights.shape[1], np.nan)}

    changes = swapped(figures, ["g"] * 20, 0.05)
    assert changes.differences.keys() == {0, 1}
    assert list(changes.errors.values()) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("parents", [False, True])
def test_figures_of_both_models_are_those_of_each(parents: bool) -> None:
    sides = [synthetic_evidence(skill=skill, taxonomy=WITH_PARENTS if parents else TAXONOMY) for skill in (1, 3)]
    both, n = matches_of_both(*sides), len(sides[0].ids)
    for i, one in enumerate(sides):
        weights = np.zeros((2 * n, 1))
        weights[i * n : (i + 1) * n] = 1
        values = {name: value[0] for name, value in weighted(both, weights).items()}
        assert values == pytest.approx(headline(one.matches), nan_ok=True)
        ones = np.ones((n, 1))
        np.testing.assert_allclose(key_iou(both, weights), key_iou(one.matches, ones))


def test_evidence_of_some_keys_has_their_figures() -> None:
    evidence = synthetic_evidence()
    some = evidence.of_keys(["style", "colour"])
    ones = np.ones((len(evidence.ids), 1))
    np.testing.assert_array_equal(key_iou(some.matches, ones), key_iou(evidence.matches, ones)[[3, 0]])
    assert list(some.taxonomy.keys) == ["style", "colour"]
    assert evidence.of_keys([]).matches.known.shape == (len(evidence.ids), 0)


def decided(present: Evidence, candidate: Evidence, promised: float = 0.95) -> set[str]:
    judgement = judge(present, candidate, list(present.taxonomy.keys), promised)
    return {name for _, name in judgement.losses}


def test_a_loss_is_named_and_a_gain_is_not() -> None:
    good, bad = synthetic_evidence(skill=4), synthetic_evidence(skill=0.5)
    assert {"attribute_iou", "colour", "coverage_95", "map"} <= decided(good, bad)
    assert not decided(bad, good)
    assert decided(good, good) == set()
    judgement = judge(good, bad, list(good.taxonomy.keys), 0.95)
    assert judgement.unlabelled == ("silent",)
    (reason,) = judgement.reasons
    assert reason.startswith(f"Worse beyond chance in {len(judgement.losses)} of {len(judgement.changes)} figures: ")
    assert reason.endswith(f"; and {len(judgement.losses) - 5} more.")
    for difference in judgement.changes.values():
        assert difference.low <= difference.value <= difference.high


def test_a_precision_above_the_promised_one_is_no_loss() -> None:
    good, bad = synthetic_evidence(skill=4), synthetic_evidence(skill=0.5)
    assert "precision_95" in decided(good, bad)
    assert "precision_95" not in decided(good, bad, promised=0.4)


@pytest.mark.parametrize(("share", "is_loss"), [(0.02, False), (0.2, True)])
def test_a_little_less_coverage_is_no_loss(share: float, is_loss: bool) -> None:
    evidence = synthetic_evidence(skill=4)
    assert evidence.accepted is not None
    open_now = (np.arange(len(evidence.ids)) < share * len(evidence.ids))[:, None]
    fewer = replace(evidence, accepted=evidence.accepted._replace(keys=evidence.accepted.keys & ~open_now))
    change = judge(evidence, fewer, list(evidence.taxonomy.keys), 0.95).figures["coverage_95"]
    assert -change.value == pytest.approx(share * change.a, rel=0.3)
    assert ("coverage_95" in decided(evidence, fewer)) is is_loss
    if not is_loss:
        certain = Difference(a=0.6, b=0.585, value=-0.015, low=-0.017, high=-0.013)
        judgement = Judgement(products=1, groups=1, promised=0.95, figures={"coverage_95": certain}, keys={})
        assert side((FIGURE, "coverage_95"), certain) == "A"
        assert not judgement.losses


def test_a_bundle_without_a_promise_does_not_replace_one_that_has_it() -> None:
    calibrated, not_calibrated = synthetic_evidence(), synthetic_evidence(calibrated=False)
    judgement = judge(calibrated, not_calibrated, list(calibrated.taxonomy.keys), 0.95)
    assert judgement.reasons == [
        "It was not calibrated, so it cannot promise a precision, as the present version does."
    ]
    assert "coverage_95" not in judgement.figures
    assert not judge(not_calibrated, calibrated, list(calibrated.taxonomy.keys), 0.95).reasons
