"""Labels as arrays: known, unknown and not applicable."""

from __future__ import annotations

import numpy as np
import pytest

from attire.labels import Known, NotApplicable, State, Unknown, contradicted, contradicts, encode, label
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
