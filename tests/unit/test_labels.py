"""Labels as arrays: known, unknown and not applicable."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.taxonomies import BLUES, PARENTS, blues, parents_of
from hypothesis import given
from hypothesis import strategies as st

from attire.labels import (
    Known,
    NotApplicable,
    State,
    Unknown,
    coarsened,
    contradicted,
    contradicts,
    encode,
    label,
    rolled_up,
)
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "neck": Key(categories=("Shirts",), values=("Round", "V")),
        "details": Key(arity="many", categories=("Shirts", "Belts"), values=("Pocket", "Hood", "Zip")),
    },
)


def test_three_kinds_of_label() -> None:
    assert label(TAXONOMY, "neck", "Shirts", ["V"]) == Known(("V",))
    assert label(TAXONOMY, "neck", "Shirts", []) == Unknown()
    assert label(TAXONOMY, "neck", "Belts", ["V"]) == NotApplicable()
    assert label(TAXONOMY, "neck", None, []) == Unknown()


def test_encoding() -> None:
    targets = encode(
        TAXONOMY,
        ["Shirts", "Belts", None, "Belts"],
        [{"neck": ["V"], "details": ["Pocket", "Zip"]}, {}, {"neck": ["Round"]}, {"neck": ["V"]}],
    )
    assert targets.category.tolist() == [0, 1, -1, 1]
    assert targets.hot.astype(int).tolist() == [[0, 1, 1, 0, 1], [0] * 5, [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    known, unknown, ruled_out = State.KNOWN, State.UNKNOWN, State.NOT_APPLICABLE
    assert targets.state.tolist() == [[known, known], [ruled_out, unknown], [known, unknown], [ruled_out, unknown]]
    assert targets.hot.dtype == np.bool_
    assert targets.state.dtype == np.int8


def test_words_outside_the_taxonomy_raise() -> None:
    with pytest.raises(KeyError):
        encode(TAXONOMY, ["Shirts"], [{"neck": ["Boat"]}])


def test_a_taxonomy_without_keys() -> None:
    targets = encode(Taxonomy(categories=("A",), keys={}), ["A"], [{}])
    assert targets.hot.shape == (1, 0)
    assert targets.state.shape == (1, 0)


@pytest.mark.parametrize(
    ("answer", "stated", "expected"),
    [
        (["Pocket"], ["Pocket", "Zip"], False),  # leaving out a stated value is no contradiction
        (["Zip", "Pocket"], ["Pocket", "Zip"], False),
        (["Pocket", "Zip"], ["Pocket"], True),
        (["Pocket", "Hood"], ["Pocket", "Zip"], True),
        (["Hood"], ["Pocket", "Zip"], True),
        (["Hood"], [], False),
        ([], ["Hood"], False),
    ],
)
def test_an_answer_contradicts_the_label_if_it_names_another_value(
    answer: list[str], stated: list[str], expected: bool
) -> None:
    assert contradicts(answer, stated, {}) is expected
    hot, chosen = (encode(TAXONOMY, [None], [{"details": values}]).hot for values in (stated, answer))
    assert contradicted(TAXONOMY, hot, chosen).tolist() == [[False, expected]]


@pytest.mark.parametrize(
    ("answer", "stated", "expected"),
    [
        (["Blue"], ["Navy Blue"], False),  # coarser
        (["Blue"], ["Light Navy"], False),
        (["Navy Blue"], ["Light Navy"], False),
        (["Navy Blue"], ["Blue"], True),  # finer: nobody said so
        (["Navy Blue"], ["Teal"], True),  # another kind of the same
        (["Blue", "Red"], ["Navy Blue"], True),
        (["Blue", "Red"], ["Navy Blue", "Red"], False),
        (["Blue"], ["Red"], True),
        (["Blue"], [], False),
    ],
)
def test_a_coarser_answer_contradicts_nothing(answer: list[str], stated: list[str], expected: bool) -> None:
    assert contradicts(answer, stated, PARENTS) is expected
    taxonomy = blues(arity="many")
    hot, chosen = (encode(taxonomy, [None], [{"colour": values}]).hot for values in (stated, answer))
    assert contradicted(taxonomy, hot, chosen).tolist() == [[False, expected]]


@given(st.data())
def test_values_roll_up_into_all_their_ancestors(data: st.DataObject) -> None:
    """The oracle is the matrix of who is a kind of whom, the transitive closure of the parents."""
    taxonomy = blues(data.draw(parents_of(BLUES)))
    kind_of = np.eye(taxonomy.width, dtype=bool)
    for value, parent in taxonomy.parents("colour").items():
        kind_of[taxonomy.column_index["colour", value], taxonomy.column_index["colour", parent]] = True
    kind_of = np.linalg.matrix_power(kind_of.astype(int), taxonomy.width) > 0
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    probability = rng.random((6, taxonomy.width)).astype(np.float32)
    hot, chosen = rng.random((2, 6, taxonomy.width)) < 0.3
    np.testing.assert_allclose(rolled_up(taxonomy, probability), probability @ kind_of, rtol=1e-5)
    np.testing.assert_array_equal(rolled_up(taxonomy, hot), hot @ kind_of)
    is_root = kind_of.sum(axis=1) == 1
    np.testing.assert_array_equal(coarsened(taxonomy, hot), (hot @ kind_of) & is_root)
    parents = taxonomy.parents("colour")
    answers, labels = ([np.array(BLUES)[row[2:]].tolist() for row in marks] for marks in (chosen, hot))
    wrong = [contradicts(answer, stated, parents) for answer, stated in zip(answers, labels, strict=True)]
    np.testing.assert_array_equal(contradicted(taxonomy, hot, chosen)[:, 1], wrong)


def test_without_parents_nothing_rolls_up() -> None:
    marks = np.random.default_rng(0).random((4, TAXONOMY.width)) < 0.5
    np.testing.assert_array_equal(rolled_up(TAXONOMY, marks), marks)
    np.testing.assert_array_equal(coarsened(TAXONOMY, marks), marks)
