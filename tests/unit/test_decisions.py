from __future__ import annotations

import numpy as np
import pytest
from helpers.accepted import with_categories
from numpy.typing import NDArray

from attire.config import DecisionRule
from attire.labels import labelled
from attire.prediction import Abstained, Answer, Prediction
from attire.score.decisions import decide, likeliest, prediction
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Jeans", "Belts"),
    keys={
        "colour": Key(categories=("Shirts", "Jeans", "Belts"), values=("Red", "Blue", "Green")),
        "neck": Key(categories=("Shirts",), values=("Round", "Polo")),
        "style": Key(arity="many", categories=("Shirts", "Jeans"), values=("Casual", "Formal", "Sports", "Party")),
    },
)
TYPED, THRESHOLD = DecisionRule(), DecisionRule(rule="threshold", threshold=0.8)


def _logits(seed: int = 0, n: int = 50) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 2, (n, 3)).astype(np.float32), rng.normal(0, 2, (n, 9)).astype(np.float32))


def _softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    exp = np.exp(x)
    return np.asarray(exp / exp.sum(), dtype=np.float32)


def test_typed_equals_a_plain_loop() -> None:
    category_logits, logits = _logits()
    decisions = decide(TAXONOMY, TYPED, category_logits, logits)
    for row in range(len(logits)):
        p = _softmax(category_logits[row])
        assert decisions.category[row] == p.argmax()
        np.testing.assert_allclose(decisions.category_probability[row], p, rtol=1e-5)
        for a, (name, key) in enumerate(TAXONOMY.keys.items()):
            columns = TAXONOMY.columns[name]
            applies = sum(p[TAXONOMY.category_index[c]] for c in key.categories) > 0.5
            assert decisions.applies[row, a] == applies
            x = logits[row, columns]
            expected = _softmax(x) if key.arity == "one" else 1 / (1 + np.exp(-x))
            np.testing.assert_allclose(decisions.probability[row, columns], expected, rtol=1e-5)
            chosen = (np.arange(len(x)) == x.argmax()) | ((expected > 0.5) & (key.arity == "many"))
            np.testing.assert_array_equal(decisions.chosen[row, columns], chosen & applies)


def test_the_gate_is_the_category_probability_that_a_key_needs() -> None:
    category_logits = np.log(np.array([[0.6, 0.1, 0.3]], dtype=np.float32))
    logits = np.zeros((1, 9), dtype=np.float32)
    answered = {
        gate: decide(TAXONOMY, DecisionRule(gate=gate), category_logits, logits).applies[0].tolist()
        for gate in (0.5, 0.65, 0.8)
    }
    assert answered == {0.5: [True, True, True], 0.65: [True, False, True], 0.8: [True, False, False]}


def test_the_threshold_rule_has_no_gate() -> None:
    category_logits, logits = _logits(1)
    decisions = decide(TAXONOMY, THRESHOLD, category_logits, logits)
    assert decisions.applies.all()
    np.testing.assert_array_equal(decisions.chosen, logits > np.log(0.8 / 0.2))


def test_a_key_applies_by_the_total_probability_of_its_categories() -> None:
    category_logits = np.log(np.array([[0.3, 0.3, 0.4]], dtype=np.float32))
    decisions = decide(TAXONOMY, TYPED, category_logits, np.zeros((1, 9), np.float32))
    assert decisions.category[0] == 2
    assert decisions.applies[0].tolist() == [True, False, True]


def test_known_category_overrules_the_logits() -> None:
    category_logits, logits = _logits(2, n=3)
    decisions = decide(TAXONOMY, TYPED, category_logits, logits, known_category=np.array([0, -1, 2]))
    free = decide(TAXONOMY, TYPED, category_logits, logits)
    assert decisions.category[[0, 2]].tolist() == [0, 2]
    assert decisions.category_probability[2].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(decisions.category_probability[1], free.category_probability[1])
    assert decisions.applies[2].tolist() == [True, False, False]


def test_extreme_logits_stay_finite() -> None:
    logits = np.array([[1e4, -1e4, 0, 1e4, 1e4, -1e4, 1e4, 0, 3]], dtype=np.float32)
    with np.errstate(over="raise", invalid="raise"):
        decisions = decide(TAXONOMY, TYPED, np.array([[1e4, 0, -1e4]], np.float32), logits)
    assert np.isfinite(decisions.probability).all()
    assert decisions.chosen[0].tolist() == [True, False, False, True, False, False, True, False, True]


def test_likeliest_takes_the_first_of_a_tie() -> None:
    scores = np.array([[0, 1, 1, 2, 2, 0, 0, 0, 0]], dtype=np.float32)
    assert np.flatnonzero(likeliest(TAXONOMY, scores)).tolist() == [1, 3, 5]


def test_no_products() -> None:
    decisions = decide(TAXONOMY, TYPED, np.zeros((0, 3), np.float32), np.zeros((0, 9), np.float32))
    assert decisions.chosen.shape == (0, 9)


def test_a_taxonomy_without_keys_still_gets_categories() -> None:
    decisions = decide(
        Taxonomy(categories=("a", "b"), keys={}), TYPED, np.eye(2, dtype=np.float32), np.zeros((2, 0), np.float32)
    )
    assert decisions.category.tolist() == [0, 1]
    assert decisions.chosen.shape == (2, 0)


def predict(category: NDArray[np.float32], logits: NDArray[np.float32], rule: DecisionRule = TYPED) -> Prediction:
    decisions = decide(TAXONOMY, rule, category, logits)
    return prediction(
        TAXONOMY, decisions, with_categories(TAXONOMY, labelled(TAXONOMY, decisions.chosen)), 0, "p1", "abc"
    )


def test_a_prediction_has_values_confidence_and_alternatives() -> None:
    logits = np.array([[0, 2, 1, 0, 0, 3, 1, -5, -6]], dtype=np.float32)
    shirt = predict(np.array([[3, 1, 0]], np.float32), logits)
    assert (shirt.id, shirt.category, shirt.bundle) == ("p1", "Shirts", "abc")
    assert [c.value for c in shirt.category_alternatives] == ["Jeans", "Belts"]
    colour, style = shirt["colour"], shirt["style"]
    assert isinstance(colour, Answer)
    assert colour.values == ("Blue",)
    assert [a.value for a in colour.alternatives] == ["Green", "Red"]
    assert isinstance(style, Answer)
    assert style.values == ("Casual", "Formal")
    assert style.confidence == pytest.approx(1 / (1 + np.exp(-1)) / (1 + np.exp(-3)), rel=1e-5)  # both must be right
    assert [a.value for a in style.alternatives] == ["Sports", "Party"]


def test_keys_that_do_not_apply_are_missing_and_keys_without_a_value_are_left_open() -> None:
    rule = DecisionRule(rule="threshold", threshold=0.8)
    logits = np.full((1, 9), -3, dtype=np.float32)
    category = np.array([[0, 9, 0]], np.float32)
    style = predict(category, logits, rule)["style"]
    assert isinstance(style, Abstained)
    assert len(style.alternatives) == 3
    jeans = predict(category, logits)
    assert list(jeans.attributes) == ["colour", "style"]
    assert isinstance(jeans["style"], Answer), "a key that applies has at least its likeliest value"
