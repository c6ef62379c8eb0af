"""Calibration: the temperatures that generated the labels are recovered, and thresholds keep their promise."""

from __future__ import annotations

import numpy as np
import pytest

from attire.config import DecisionRule
from attire.errors import ConfigError
from attire.labels import State, Targets
from attire.score.calibration import (
    NEVER,
    PRECISIONS,
    Calibration,
    SetAside,
    answers_needed,
    fit_calibration,
    fit_thresholds,
)
from attire.score.decisions import Decisions, decide
from attire.score.metrics import headline, match
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("A", "B"),
    keys={
        "common": Key(categories=("A", "B"), values=("x", "y", "z")),
        "rare": Key(categories=("A", "B"), values=("u", "v")),
    },
)


def draw(n: int, temperature: float, seed: int = 0) -> tuple[Targets, np.ndarray, np.ndarray]:
    """Labels sampled from softmax(logits / temperature); `rare` is known for 1 product in 100."""
    rng = np.random.default_rng(seed)
    category, logits = rng.normal(0, 3, (n, 2)).astype(np.float32), rng.normal(0, 3, (n, 5)).astype(np.float32)
    hot = np.zeros((n, 5), dtype=bool)
    for columns in (slice(0, 3), slice(3, 5)):
        p = np.exp(logits[:, columns] / temperature)
        value = (p.cumsum(1) / p.sum(1, keepdims=True) < rng.random((n, 1))).sum(1)
        hot[np.arange(n), columns.start + value] = True
    known = np.column_stack([np.ones(n, bool), np.arange(n) % 100 == 0])
    hot &= known[:, [0, 0, 0, 1, 1]]
    p = np.exp(category / temperature)
    truth = (p[:, 0] / p.sum(1) < rng.random(n)).astype(np.int64)
    return Targets(truth, hot, np.where(known, State.KNOWN, State.UNKNOWN).astype(np.int8)), category, logits


def test_the_temperature_of_the_labels_is_recovered() -> None:
    calibration = fit_calibration(TAXONOMY, DecisionRule(), *draw(5000, temperature=2.0))
    assert calibration.category_temperature == pytest.approx(2, rel=0.08)
    assert calibration.temperature[0] == pytest.approx(2, rel=0.08)
    assert calibration.temperature[1] == pytest.approx(2, rel=0.3), "a rare key follows the others"


def test_a_rare_key_stays_near_the_common_temperature() -> None:
    truth, category, logits = draw(400, temperature=2.0)
    temperature = fit_calibration(TAXONOMY, DecisionRule(), truth, category, logits).temperature
    assert abs(np.log(temperature[1] / temperature[0])) < 0.7, "4 labels cannot move it far"


def test_calibration_lowers_the_calibration_error() -> None:
    calibration = fit_calibration(TAXONOMY, DecisionRule(), *draw(5000, temperature=2.0))
    truth, category, logits = draw(5000, temperature=2.0, seed=1)
    truth = truth._replace(category=category.argmax(1))

    def ece(category: np.ndarray, logits: np.ndarray) -> float:
        return headline(match(TAXONOMY, truth, decide(TAXONOMY, DecisionRule(), category, logits)))["ece"]

    assert ece(*calibration.scale(TAXONOMY, category, logits)) < 0.03 < 0.08 < ece(category, logits)


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_accepted_answers_reach_the_promised_precision(precision: float) -> None:
    calibration = fit_calibration(TAXONOMY, DecisionRule(), *draw(5000, temperature=0.8))
    truth, category, logits = draw(5000, temperature=0.8, seed=1)
    decisions = decide(TAXONOMY, DecisionRule(), *calibration.scale(TAXONOMY, category, logits))
    accepted = calibration.accepted(TAXONOMY, decisions, precision)
    matches = match(TAXONOMY, truth, decisions, accepted)
    right = (matches.known & accepted & matches.right).sum() / (matches.known & accepted).sum()
    assert precision - 0.01 < right
    assert 0.1 < (matches.known & accepted).sum() / matches.known.sum() < 1


def answers(confidence: list[float], right: list[bool], value: int = 0) -> tuple[Targets, Decisions]:
    """Answers `value` of the key `common` with their labels; no other key has a label."""
    n = len(confidence)
    chosen, hot = np.zeros((n, 5), bool), np.zeros((n, 5), bool)
    chosen[:, value] = True
    hot[np.arange(n), np.where(right, value, (value + 1) % 3)] = True
    probability = np.where(chosen, np.array(confidence, np.float32)[:, None], 0)
    state = np.tile(np.array([State.KNOWN, State.UNKNOWN], np.int8), (n, 1))
    category = np.zeros(n, np.int64)
    applies = np.ones((n, 2), bool)
    return Targets(category, hot, state), Decisions(category, np.ones((n, 2), np.float32), probability, chosen, applies)


def together(*parts: tuple[Targets, Decisions]) -> tuple[Targets, Decisions]:
    truth, decisions = zip(*parts, strict=True)
    return (
        Targets(*(np.concatenate(column) for column in zip(*truth, strict=True))),
        Decisions(*(np.concatenate(column) for column in zip(*decisions, strict=True))),
    )


def test_a_few_right_answers_are_not_enough() -> None:
    assert fit_thresholds(TAXONOMY, *answers([0.9] * 5, [True] * 5), 0.95)[0] == NEVER


def test_a_value_that_is_wrong_more_often_than_it_claims_gets_a_higher_threshold() -> None:
    good = answers([0.9] * 400, [True] * 396 + [False] * 4, value=0)
    bad = answers([0.9] * 100, [True] * 60 + [False] * 40, value=1)
    thresholds = fit_thresholds(TAXONOMY, *together(good, bad), 0.95)
    assert thresholds[0] <= 0.9 < thresholds[1]
    assert thresholds[0] < thresholds[2] < thresholds[1], "the third value has no answers"


def test_few_answers_move_a_threshold_less_than_many() -> None:
    def shift(lucky: int) -> float:
        common = answers([0.9] * 500, [True] * 480 + [False] * 20, value=0)
        rare = answers([0.9] * lucky, [True] * lucky, value=1)
        _, rare_value, unseen, *_ = np.array(fit_thresholds(TAXONOMY, *together(common, rare), 0.9))
        return float(np.log(unseen / (1 - unseen)) - np.log(rare_value / (1 - rare_value)))

    assert 0 < shift(3) < 0.1
    assert shift(3) < shift(30) < shift(300)
    assert shift(300) > 1


def test_calibrated_values_share_one_threshold() -> None:
    confident = answers([0.99] * 300, [True] * 297 + [False] * 3, value=0)
    unsure = answers([0.6] * 300, [True] * 180 + [False] * 120, value=1)
    thresholds = fit_thresholds(TAXONOMY, *together(confident, unsure), 0.95)
    assert thresholds[0] == pytest.approx(0.99, abs=1e-3)
    assert 0.6 < thresholds[1] == pytest.approx(0.99, abs=1e-3)


def test_a_precision_that_was_not_fitted_is_refused() -> None:
    calibration = Calibration(category_temperature=1, temperature=(1, 1), thresholds={"0.95": (0.5,) * 5})
    with pytest.raises(ConfigError, match=r"this bundle has 0\.95"):
        calibration.check(0.9)


def test_the_confidence_of_several_values_is_their_joint_probability() -> None:
    taxonomy = Taxonomy(categories=("A",), keys={"many": Key(arity="many", categories=("A",), values=("p", "q", "r"))})
    chosen, probability = np.array([[True, True, False]]), np.array([[0.9, 0.8, 0.1]], np.float32)
    ones = np.ones((1, 1), np.float32)
    decisions = Decisions(np.zeros(1, np.int64), ones, probability, chosen, ones.astype(bool))

    def accepted(q: float) -> bool:
        thresholds = {"0.95": (1.0, q, 1.0)}  # the threshold of the least confident value counts
        calibration = Calibration(category_temperature=1, temperature=(1,), thresholds=thresholds)
        return bool(calibration.accepted(taxonomy, decisions, 0.95)[0, 0])

    assert accepted(0.71)
    assert not accepted(0.73)


@pytest.mark.parametrize(("precision", "minimum"), [(0.9, 15), (0.95, 32), (0.99, 163)])
def test_how_many_answers_are_needed_if_all_are_right(precision: float, minimum: int) -> None:
    empty: np.ndarray = np.zeros(0)
    assert answers_needed(empty, empty.astype(bool), precision) == minimum
    assert answers_needed(np.full(5, 0.9), np.ones(5, bool), precision) == minimum
    assert fit_thresholds(TAXONOMY, *answers([0.9] * (minimum - 1), [True] * (minimum - 1)), precision)[0] == NEVER
    assert fit_thresholds(TAXONOMY, *answers([0.9] * minimum, [True] * minimum), precision)[0] < 1


def test_wrong_answers_raise_the_number_needed_until_no_number_is_enough() -> None:
    confidence = np.full(100, 0.9)
    right = np.arange(100) >= 2  # 98%
    needed = answers_needed(confidence, right, 0.95)
    assert needed is not None
    assert 32 < needed < 100
    assert answers_needed(confidence, np.arange(100) >= 5, 0.95) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_precision_is_promised_once_there_are_enough_answers(seed: int) -> None:
    n = int(np.random.default_rng(seed).integers(5, 60))
    calibration = fit_calibration(TAXONOMY, DecisionRule(), *draw(n, temperature=0.3, seed=seed))
    assert calibration.set_aside is not None
    assert (calibration.set_aside.products, calibration.set_aside.answers) == (n, n + (n + 99) // 100)
    for precision in map(str, PRECISIONS):
        needed = calibration.set_aside.needed[precision]
        enough = needed is not None and needed <= calibration.set_aside.answers
        assert (precision in calibration.promised) == enough
        assert (calibration.shortfall(float(precision)) is None) == enough


def test_a_shortfall_says_what_is_needed_and_what_can_be_promised() -> None:
    def message(needed: int | None, answers: int = 20, reached: float = NEVER) -> str:
        calibration = Calibration(
            category_temperature=1,
            temperature=(1, 1),
            thresholds={"0.9": (reached,) * 5, "0.95": (NEVER,) * 5},
            set_aside=SetAside(products=12, answers=answers, needed={"0.9": 15, "0.95": needed}),
        )
        return calibration.shortfall(0.95) or ""

    assert message(40, reached=0.8) == (
        "Nothing is filled at 95% precision: the calibration set is too small. It has 20 checked answers of 12 "
        "products, and about 40 are needed. Use 2.0 times as many products, or a calibration share 2.0 times as large. "
        "The bundle can promise 90%."
    )
    assert "The bundle can promise no precision: use --fill all" in message(40)
    assert "and about 32 are needed. The bundle can promise" in message(32, answers=0)
    assert "even the most confident answers are not right that often" in message(None)


def test_without_labels_the_temperatures_are_1() -> None:
    truth, category, logits = draw(50, temperature=1)
    unlabelled = Targets(np.full(50, -1), np.zeros_like(truth.hot), np.full_like(truth.state, State.UNKNOWN))
    calibration = fit_calibration(TAXONOMY, DecisionRule(), unlabelled, category, logits)
    assert calibration.category_temperature == pytest.approx(1, abs=0.01)
    assert calibration.temperature == pytest.approx((1, 1), abs=0.01)
    assert calibration.promised == ()


def test_keys_without_labels_in_training_do_not_calibrate_others() -> None:
    truth, category, logits = draw(400, temperature=1)
    taught = np.array([False, True])
    calibration = fit_calibration(TAXONOMY, DecisionRule(), truth, category, logits, taught)
    assert calibration.set_aside is not None
    assert calibration.set_aside.answers == 4
