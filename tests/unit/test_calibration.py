"""Calibration: the temperatures that generated the labels are recovered, and answers are recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attire.config import DecisionRule
from attire.errors import ConfigError
from attire.labels import State, Targets
from attire.score.calibration import Calibration, Fitted, fit_calibration
from attire.score.calibration_record import CALIBRATION, CalibrationRecord, frequencies
from attire.score.decisions import decide
from attire.score.metrics import headline, match
from attire.score.promise import Promise
from attire.score.thresholds import fit_thresholds
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


def fit(truth: Targets, category: np.ndarray, logits: np.ndarray, taught: np.ndarray | None = None) -> Fitted:
    return fit_calibration(TAXONOMY, DecisionRule(), truth, category, logits, frequencies(TAXONOMY, truth), taught)


def test_the_temperature_of_the_labels_is_recovered() -> None:
    calibration = fit(*draw(5000, temperature=2.0)).calibration
    assert calibration.category_temperature == pytest.approx(2, rel=0.08)
    assert calibration.temperature[0] == pytest.approx(2, rel=0.08)
    assert calibration.temperature[1] == pytest.approx(2, rel=0.3), "a rare key follows the others"


def test_a_rare_key_stays_near_the_common_temperature() -> None:
    truth, category, logits = draw(400, temperature=2.0)
    temperature = fit(truth, category, logits).calibration.temperature
    assert abs(np.log(temperature[1] / temperature[0])) < 0.7, "4 labels cannot move it far"


def test_calibration_lowers_the_calibration_error() -> None:
    calibration = fit(*draw(5000, temperature=2.0)).calibration
    truth, category, logits = draw(5000, temperature=2.0, seed=1)
    truth = truth._replace(category=category.argmax(1))

    def ece(category: np.ndarray, logits: np.ndarray) -> float:
        return headline(match(TAXONOMY, truth, decide(TAXONOMY, DecisionRule(), category, logits)))["ece"]

    assert ece(*calibration.scale(TAXONOMY, category, logits)) < 0.03 < 0.08 < ece(category, logits)


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_filled_answers_reach_the_promised_precision(precision: float) -> None:
    calibration, record = fit(*draw(5000, temperature=0.8))
    truth, category, logits = draw(5000, temperature=0.8, seed=1)
    decisions = decide(TAXONOMY, DecisionRule(), *calibration.scale(TAXONOMY, category, logits))
    accepted = fit_thresholds(TAXONOMY, record, Promise(precision=precision)).accepted(TAXONOMY, decisions)
    matches = match(TAXONOMY, truth, decisions, accepted)
    right = (matches.known & accepted.keys & matches.right).sum() / (matches.known & accepted.keys).sum()
    assert precision - 0.01 < right
    assert 0.1 < (matches.known & accepted.keys).sum() / matches.known.sum() < 1
    assert precision - 0.01 < (decisions.category == truth.category)[accepted.category].mean()
    assert 0.1 < accepted.category.mean() < 1


def test_without_labels_the_temperatures_are_1_and_nothing_is_promised() -> None:
    truth, category, logits = draw(50, temperature=1)
    unlabelled = Targets(np.full(50, -1), np.zeros_like(truth.hot), np.full_like(truth.state, State.UNKNOWN))
    calibration, record = fit(unlabelled, category, logits)
    assert calibration.category_temperature == pytest.approx(1, abs=0.01)
    assert calibration.temperature == pytest.approx((1, 1), abs=0.01)
    assert fit_thresholds(TAXONOMY, record, Promise()).all_held_back


def test_keys_without_labels_in_training_are_not_recorded() -> None:
    record = fit(*draw(400, temperature=1), np.array([False, True])).record
    assert set(record.key.tolist()) == {1, 2}, "the second key and the category"
    assert record.checked[record.key == 1].sum() == 4


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = fit(*draw(60, temperature=1)).record
    record.save(tmp_path)
    loaded = CalibrationRecord.load(tmp_path, TAXONOMY)
    for name, array in vars(record).items():
        np.testing.assert_array_equal(array, getattr(loaded, name))


DAMAGE = {
    "no column": lambda arrays: arrays.pop("column"),
    "another length": lambda arrays: arrays.update(right=arrays["right"][1:]),
    "another type": lambda arrays: arrays.update(right=arrays["right"].astype(np.int64)),
    "another taxonomy": lambda arrays: arrays.update(frequency=arrays["frequency"][:, 1:].copy()),
    "an unknown key": lambda arrays: arrays["key"].__setitem__(0, 3),
    "an unknown column": lambda arrays: arrays["column"].__setitem__(0, -1),
    "no number": lambda arrays: arrays["log_odds"].__setitem__(0, np.nan),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_refused(damage: Callable[[dict[str, np.ndarray]], object], tmp_path: Path) -> None:
    fit(*draw(60, temperature=1)).record.save(tmp_path)
    arrays = load_file(tmp_path / CALIBRATION)
    damage(arrays)
    save_file(arrays, tmp_path / CALIBRATION)
    with pytest.raises(ValueError, match=r"expected arrays|must be an index|NaN"):
        CalibrationRecord.load(tmp_path, TAXONOMY)


def test_frequencies_are_shares_within_a_category() -> None:
    truth = Targets(
        np.array([0, 0, 0, 1, -1]),
        np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=bool),
        np.ones((5, 2), np.int8),
    )
    frequency = frequencies(TAXONOMY, truth)
    np.testing.assert_allclose(frequency[:, :3].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(frequency[:, 3:].sum(axis=1), 1, rtol=1e-6)
    assert frequency[0, 0] == pytest.approx((2 + 0.4783) / 4, abs=0.01)
    assert frequency[1, 2] > 0.6, "the only label of its category"
    assert (frequency > 0).all()


def test_a_bundle_of_format_1_fills_by_its_own_thresholds() -> None:
    thresholds = {"0.95": (0.5, 2.0, 0.9, 2.0, 2.0)}
    calibration = Calibration(category_temperature=1, temperature=(1, 1), thresholds=thresholds)
    category = np.log(np.array([[0.95, 0.05], [0.8, 0.2]], np.float32))
    logits = np.log(np.array([[0.6, 0.2, 0.2, 0.9, 0.1], [0.1, 0.8, 0.1, 0.9, 0.1]], np.float32))
    decisions = decide(TAXONOMY, DecisionRule(), category, logits)
    fitted = calibration.early_thresholds(TAXONOMY, Promise())
    accepted = fitted.accepted(TAXONOMY, decisions)
    assert accepted.category.tolist() == [True, False], "a category is filled from 0.9"
    assert accepted.keys.tolist() == [[True, False], [False, False]]
    with pytest.raises(
        ConfigError, match=r"cannot promise 90% precision: it was .* for 0\.95 of all keys together\. Train it again"
    ):
        calibration.early_thresholds(TAXONOMY, Promise(precision=0.9))
