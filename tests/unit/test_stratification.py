"""Stratification: as the library iterative-stratification, and what splits lack and groups allow is respected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import IterativeStratification

from attire.catalog.stratification import deal, stratify


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 120),
    rarity=st.floats(0, 1),
    shares=st.sampled_from([(0.75, 0.25), (0.7, 0.2, 0.1), (0.5, 0.5)]),
)
def test_dealing_to_empty_splits_equals_the_library(
    seed: int, groups: int, rarity: float, shares: tuple[float, ...]
) -> None:
    random = np.random.default_rng(seed)
    marks = random.random((groups, 12)) < random.random(12) * rarity
    part = np.array(shares)
    splits = stratify(
        marks,
        np.ones((groups, len(part)), dtype=bool),
        part * groups,
        np.outer(part, marks.sum(axis=0)),
        np.random.RandomState(seed),
    )
    np.testing.assert_array_equal(splits, IterativeStratification(marks, part, np.random.RandomState(seed)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(1, 80), largest=st.integers(1, 40))
def test_every_group_is_in_an_allowed_split(seed: int, groups: int, largest: int) -> None:
    random = np.random.default_rng(seed)
    marks, sizes = random.random((groups, 8)) < 0.2, random.integers(1, largest + 1, groups)
    allowed = random.random((groups, 3)) < 0.5
    allowed[~allowed.any(axis=1), 0] = True
    splits = deal(marks, sizes, allowed, np.array([0.6, 0.3, 0.1]), seed)
    assert allowed[np.arange(groups), splits].all()


def test_splits_get_what_they_lack_of_sizes_and_marks() -> None:
    """Train has the groups with mark 0, val those with mark 1; new groups, half of them with each mark, even it out."""
    kept, new = 300, 600
    marks = np.zeros((kept + new, 2), dtype=bool)
    allowed = np.ones((kept + new, 2), dtype=bool)
    marks[:150, 0] = marks[150:kept, 1] = True
    allowed[:150] = [True, False]
    allowed[150:kept] = [False, True]
    marks[kept:, 0] = np.arange(new) % 2 == 0
    marks[kept:, 1] = ~marks[kept:, 0]
    splits = deal(marks, np.ones(kept + new, dtype=np.int64), allowed, np.array([0.5, 0.5]), seed=0)
    for mark in range(2):
        assert splits[marks[:, mark]].mean() == pytest.approx(0.5, abs=0.01)


def test_new_groups_make_up_for_large_ones_that_stay() -> None:
    """A group of 400 products stays in val, which wants 500 of 2,000."""
    sizes = np.array([400, *[1] * 1600])
    allowed = np.ones((1601, 2), dtype=bool)
    allowed[0] = [False, True]
    splits = deal(np.ones((1601, 1), dtype=bool), sizes, allowed, np.array([0.75, 0.25]), seed=0)
    assert sizes[splits == 1].sum() == pytest.approx(500, abs=2)
