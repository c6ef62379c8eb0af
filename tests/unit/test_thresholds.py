"""Thresholds: a promise is kept for every key, keys without enough evidence are held back, spurious fields are rare."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from attire.errors import ConfigError
from attire.score.calibration_record import UNKNOWN, CalibrationRecord
from attire.score.decisions import Decisions, log_odds, sigmoid
from attire.score.promise import Promise
from attire.score.shortfall import promises, shortfall
from attire.score.thresholds import NEVER, SPURIOUS, HeldBack, answers_needed, fit_thresholds, fixed_sequence
from attire.taxonomy import CATEGORY, Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("A", "B"),
    keys={
        "first": Key(categories=("A", "B"), values=("x", "y", "z")),
        "second": Key(categories=("A",), values=("u", "v")),
    },
)
SECOND = 3  # column of u


def record(*answers: tuple[int, int, float, int], applicability: float = 1.0, ruled_out: int = 0) -> CalibrationRecord:
    """Answers (key, column, confidence, right)."""
    key, column, confidence, right = (np.array(part) for part in zip(*answers, strict=True))
    fine = (column.astype(np.int32), log_odds(confidence).astype(np.float32), right.astype(np.int8))
    return CalibrationRecord(
        key.astype(np.int16),
        column.astype(np.int32),
        log_odds(confidence).astype(np.float32),
        np.full(len(key), applicability, np.float32),
        right.astype(np.int8),
        np.full(len(key), ruled_out, np.int8),
        np.array([len(key)]),
        np.full((2, 5), 0.5, np.float32),
        *fine,
    )


def many(key: int, column: int, confidence: float, right: int, wrong: int) -> list[tuple[int, int, float, int]]:
    return [(key, column, confidence, 1)] * right + [(key, column, confidence, 0)] * wrong


def minimum_of(fitted: CalibrationRecord, column: int, promise: Promise) -> float:
    """The confidence from which the value in a column is filled."""
    thresholds = fit_thresholds(TAXONOMY, fitted, promise)
    key = TAXONOMY.key_of_column[column]
    return float(sigmoid(np.asarray(thresholds.minimum[key] - thresholds.shift[column])))


def draw(rng: np.random.Generator, answers: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether the answers are right, a share `noise` less often than claimed."""
    confidence = rng.beta(4, 0.6, answers)
    return confidence, rng.random(answers) < confidence * (1 - noise)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_threshold_is_too_low_no_more_often_than_stated(noise: float) -> None:
    """The true precision above a threshold is known for a distribution that is drawn from."""
    rng = np.random.default_rng(0)
    everything = np.sort(rng.beta(4, 0.6, 200_000))[::-1] * (1 - noise)
    true_precision = everything.cumsum() / np.arange(1, len(everything) + 1)
    broken = filled = 0
    for _ in range(400):
        minimum = fixed_sequence(*draw(rng, 400, noise), precision=0.9, error=0.1)
        if minimum < 1:
            filled += 1
            above = int((everything >= minimum * (1 - noise)).sum())
            broken += true_precision[above - 1] < 0.9
    assert filled > 300
    assert broken <= binom.ppf(0.999, filled, 0.1)


def test_the_sequence_stops_at_the_first_threshold_that_fails() -> None:
    confidence = np.repeat([0.99, 0.91, 0.905], 100)
    right = np.concatenate([np.ones(100), np.arange(100) >= 40, np.ones(100)]) == 1
    assert fixed_sequence(confidence, right, 0.9, 0.1) == 0.99


def test_too_few_right_answers_promise_nothing() -> None:
    enough = math.ceil(math.log(0.1) / math.log(0.95))
    for count, expected in ((enough - 1, NEVER), (enough, 0.9)):
        assert fixed_sequence(np.full(count, 0.9), np.ones(count, bool), 0.95, 0.1) == expected
    assert fixed_sequence(np.zeros(0), np.zeros(0, bool), 0.95, 0.1) == NEVER


def test_each_key_keeps_its_promise_by_itself() -> None:
    answers = record(*many(0, 0, 0.97, 970, 30), *many(1, SECOND, 0.97, 80, 20))
    by_key = fit_thresholds(TAXONOMY, answers, Promise())
    assert list(by_key.held_back) == ["second", CATEGORY]
    assert by_key.held_back["second"] == HeldBack(100, None)
    average = fit_thresholds(TAXONOMY, answers, Promise(precision=0.9, scope="average"))
    assert np.isfinite(average.minimum[:-1]).all(), "the first key makes up for the second"


def test_a_key_may_have_its_own_precision() -> None:
    answers = record(*many(0, 0, 0.97, 970, 30), *many(1, SECOND, 0.9, 90, 10))
    promise = Promise(keys={"second": 0.8})
    assert "second" in fit_thresholds(TAXONOMY, answers, Promise()).held_back
    assert "second" not in fit_thresholds(TAXONOMY, answers, promise).held_back
    with pytest.raises(ConfigError, match="'secnd', which is not a key; did you mean 'second'"):
        fit_thresholds(TAXONOMY, answers, Promise(keys={"secnd": 0.8}))
    with pytest.raises(ConfigError, match="cannot be promised on average"):
        fit_thresholds(TAXONOMY, answers, Promise(keys={"second": 0.8}, scope="average"))


def test_the_category_has_a_threshold_too() -> None:
    sure, unsure = many(2, 5, 0.98, 396, 4), many(2, 6, 0.6, 240, 160)
    thresholds = fit_thresholds(TAXONOMY, record(*sure, *unsure, *many(0, 0, 0.9, 1, 0)), Promise())
    category_probability = np.array([[0.98, 0.02], [0.4, 0.6]], np.float32)
    decisions = Decisions(
        np.array([0, 1]),
        category_probability,
        np.full((2, 5), 0.5, np.float32),
        np.zeros((2, 5), bool),
        np.ones((2, 2), bool),
    )
    assert thresholds.accepted(TAXONOMY, decisions).category.tolist() == [True, False]


def test_a_value_that_is_wrong_more_often_than_it_claims_gets_a_higher_threshold() -> None:
    answers = record(*many(0, 0, 0.9, 990, 10), *many(0, 1, 0.9, 60, 40))
    first, second, third = (minimum_of(answers, column, Promise()) for column in range(3))
    assert first <= 0.9 + 1e-6 < second
    assert first < third < second, "the third value has no answers"


def test_few_answers_move_a_threshold_less_than_many() -> None:
    def shift(lucky: int) -> float:
        answers = record(*many(0, 0, 0.9, 480, 20), *many(0, 1, 0.9, lucky, 0))
        return float(fit_thresholds(TAXONOMY, answers, Promise(precision=0.9)).shift[1])

    assert 0 < shift(3) < 0.1
    assert shift(3) < shift(30) < shift(300)
    assert shift(300) > 1


def test_fields_whose_key_does_not_apply_are_rare() -> None:
    """They have no label, so only the category can tell."""
    rng = np.random.default_rng(0)
    applicability = rng.uniform(0.5, 1, 20_000).astype(np.float32)
    ruled_out = rng.random(20_000) > applicability
    answers = record(*many(0, 0, 0.99, 20_000, 0))
    right = np.where(ruled_out, UNKNOWN, 1).astype(np.int8)
    answers = CalibrationRecord(
        **vars(answers)
        | {
            "applicability": applicability,
            "ruled_out": ruled_out.astype(np.int8),
            "right": right,
            "coarse_right": right,
        }
    )
    gate = fit_thresholds(TAXONOMY, answers, Promise()).gate
    assert SPURIOUS / 2 < ruled_out[applicability >= gate].mean() <= SPURIOUS
    assert 0.95 < gate < 1


@pytest.mark.parametrize(("precision", "expected"), [(0.9, 22), (0.95, 45), (0.99, 230)])
def test_how_many_answers_are_needed_if_all_are_right(precision: float, expected: int) -> None:
    assert answers_needed(np.zeros(0), np.zeros(0, bool), precision, 0.9) == expected
    assert answers_needed(np.full(5, 0.9), np.ones(5, bool), precision, 0.9) == expected


def test_wrong_answers_raise_the_number_needed_until_no_number_is_enough() -> None:
    few = answers_needed(np.full(20, 0.9), np.arange(20) >= 0, 0.95, 0.9)
    more = answers_needed(np.full(100, 0.9), np.arange(100) >= 2, 0.95, 0.9)
    assert few is not None
    assert more is not None
    assert few < more
    assert answers_needed(np.full(100, 0.9), np.arange(100) >= 5, 0.95, 0.9) is None


def test_a_promise_is_read_from_options_and_files(tmp_path: Path) -> None:
    file = tmp_path / "promise.toml"
    file.write_text("precision = 0.9\nconfidence = 0.8\n[keys]\ncolour = 0.99\n", encoding="utf-8")
    assert Promise.parse([]) == Promise()
    assert Promise.parse(["0.9", "colour=0.8"]) == Promise(precision=0.9, keys={"colour": 0.8})
    assert Promise.parse([str(file), "colour=0.7"], scope="key") == Promise(
        precision=0.9, confidence=0.8, keys={"colour": 0.7}
    )
    assert str(Promise(keys={"colour": 0.9})) == "95%, colour 90%"
    assert str(Promise(precision=0.995, scope="average")) == "99.5% on average"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("often", r"--precision often: expected a share such as 0\.95"),
        ("colour=much", r"--precision colour=much: expected a share"),
        ("1.5", r"--precision: precision: .* Expected shares from 0\.5 to 0\.999"),
        ("colour=0.1", r"--precision: keys\.colour: .* Expected shares"),
        ("missing.toml", r"missing\.toml cannot be read"),
    ],
)
def test_what_is_no_precision_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Promise.parse([text])


def test_keys_that_are_held_back_are_named_the_closest_first() -> None:
    promise = Promise()

    def sentence(*answers: tuple[int, int, float, int]) -> str | None:
        return shortfall(fit_thresholds(TAXONOMY, record(*answers), promise), promise, TAXONOMY)

    enough, few, wrong = many(0, 0, 0.99, 200, 0), many(1, SECOND, 0.99, 20, 0), many(0, 0, 0.6, 30, 20)
    assert sentence(*enough, *many(1, SECOND, 0.99, 200, 0)) is None
    assert (sentence(*enough, *few) or "").startswith("At 95% precision 1 of 2 keys are left open")
    assert "The closest: second: 20 checked answers, about 25 more are needed." in (sentence(*enough, *few) or "")
    nothing = sentence(*wrong, *few) or ""
    assert "all keys are left open" in nothing
    assert nothing.index("second: 20") < nothing.index("first: 50 checked answers, and not even the most confident")


def test_what_can_be_promised_is_said_for_each_precision() -> None:
    sentences = promises(TAXONOMY, record(*many(0, 0, 0.99, 100, 0)), ["second"])
    assert sentences == [
        "At 90% precision for each key, with 90% confidence, it fills 1 of 2 keys.",
        "At 95% precision for each key, with 90% confidence, it fills 1 of 2 keys.",
        "At 99% precision for each key, with 90% confidence, it fills 0 of 2 keys.",
        "Always left open, because no product has a label for them: second.",
    ]
    assert "was not calibrated" in promises(TAXONOMY, None, [])[0]
