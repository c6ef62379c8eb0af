"""Batches across requests: together under load, in order, one failure alone, two engines apart, drained at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from asking import FakeEngine, until

from attire.bundle import ModelBundle
from attire.predict.engines import Bytes
from attire.serve.batching import Batcher, FullError
from attire.serve.metrics import Metrics

Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher] = []

    def batcher(max_batch: int = 4, max_wait_s: float = 0.0, capacity: int = 100) -> Batcher:
        made.append(Batcher(Metrics(), max_batch=max_batch, max_wait_s=max_wait_s, capacity=capacity))
        return made[-1]

    yield batcher
    for one in made:
        one.close()


@pytest.fixture
def engine(untrained: ModelBundle) -> FakeEngine:
    return FakeEngine(untrained.taxonomy)


def grey(level: int) -> Bytes:
    return np.full((3, 32, 24), level, dtype=np.uint8)


def test_what_gathers_while_the_engine_computes_goes_together_and_comes_back_to_whom_it_belongs(
    make: Make, engine: FakeEngine
) -> None:
    batcher = make()
    engine.gate.clear()
    answers = [batcher.submit(engine, grey(1))]
    until(lambda: answers[0].running())
    answers += [batcher.submit(engine, grey(level)) for level in range(2, 11)]
    engine.gate.set()
    got = [answer.result(5)[0] for answer in answers]
    assert engine.batches == [1, 4, 4, 1]
    expected = np.stack([engine.logits(grey(level)[None])[0][0] for level in range(1, 11)])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_lone_photo_waits_for_others_but_not_for_ever(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_wait_s=0.3)
    with batcher.admit(2):
        start = time.monotonic()
        first = batcher.submit(engine, grey(1))
        time.sleep(0.05)
        second = batcher.submit(engine, grey(2))
        first.result(5), second.result(5)
        assert engine.batches == [2]
        assert time.monotonic() - start < 0.28  # both that are admitted are here
        alone = batcher.submit(engine, grey(3))
        alone.result(5)
        assert engine.batches == [2, 1]


def test_one_that_breaks_the_engine_fails_alone(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = batcher.submit(engine, grey(9))
    until(first.running)
    answers = [batcher.submit(engine, grey(level)) for level in (1, 0, 2)]
    engine.gate.set()
    assert answers[0].result(5)
    assert answers[2].result(5)
    with pytest.raises(RuntimeError, match="black"):
        answers[1].result(5)
    assert batcher.submit(engine, grey(3)).result(5)


def test_given_up_photos_are_not_computed(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = batcher.submit(engine, grey(1))
    until(first.running)
    given_up, kept = batcher.submit(engine, grey(2)), batcher.submit(engine, grey(3))
    assert given_up.cancel()
    engine.gate.set()
    assert kept.result(5)
    assert engine.batches == [1, 1]


def test_two_engines_never_share_a_batch(make: Make, engine: FakeEngine, untrained: ModelBundle) -> None:
    batcher, other = make(), FakeEngine(untrained.taxonomy)
    engine.gate.clear()
    answers = [batcher.submit(engine, grey(1))]
    until(answers[0].running)
    answers += [batcher.submit(one, grey(2)) for one in (engine, engine, other, other, engine)]
    engine.gate.set()
    assert all(answer.result(5) for answer in answers)
    assert engine.batches == [1, 2, 1]
    assert other.batches == [2]


def test_there_is_room_for_so_many_and_it_is_given_back(make: Make) -> None:
    batcher = make(capacity=3)
    with batcher.admit(2):
        with pytest.raises(FullError), batcher.admit(2):
            pass
        with batcher.admit(1):
            pass
    with batcher.admit(3):
        pass


def test_closing_answers_what_waits(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=1)
    answers = [batcher.submit(engine, grey(level)) for level in range(1, 6)]
    batcher.close()
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError):
        batcher.submit(engine, grey(1))
