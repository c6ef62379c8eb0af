from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from attire.score.intervals import wilson
from attire.score.verdicts import Verdict, chances, judge

PROMISED = st.floats(0.5, 0.99)


@given(filled=st.integers(1, 400), share=st.floats(0, 1), promised=PROMISED)
def test_a_promise_is_broken_only_beyond_chance_and_kept_only_on_evidence(
    filled: int, share: float, promised: float
) -> None:
    right = round(share * filled)
    verdict = judge(filled, right, promised)
    _, high = wilson(right, filled)
    assert (verdict == Verdict.BROKEN) == (high < promised)
    assert (verdict in (Verdict.BROKEN, Verdict.NOT_SHOWN)) == (right < promised * filled)
    if verdict == Verdict.KEPT:
        assert filled * (1 - promised) >= 1


@given(filled=st.integers(1, 300), promised=PROMISED)
def test_the_chances_of_verdicts_are_binomial(filled: int, promised: float) -> None:
    expected = dict.fromkeys(Verdict, 0.0)
    for right in range(filled + 1):
        expected[judge(filled, right, promised)] += binom.pmf(right, filled, promised)
    assert chances(filled, promised) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("filled", [100, 1000, 20_000])
def test_a_promise_that_is_just_kept_is_seldom_called_broken(filled: int) -> None:
    chance = chances(filled, 0.95)
    assert 0.01 < chance[Verdict.BROKEN] < 0.05
    assert sum(chance.values()) == pytest.approx(1)
