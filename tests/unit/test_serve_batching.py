"""Batches across requests: together under load, in order, one failure alone, two engines apart, drained at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from asking import FakeEngine, until

from attire.bundle import ModelBundle
from attire.engines.engine import Bytes, Floats
from attire.serve.batching import Batcher, FullError, Row
from attire.serve.metrics import Metrics

Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher] = []

    def new(max_batch: int = 4, capacity: int = 100) -> Batcher:
        made.append(Batcher(Metrics(), max_batch=max_batch, capacity=capacity))
        return made[-1]

    yield new
    for batcher in made:
        batcher.close()


@pytest.fixture
def engine(untrained: ModelBundle) -> FakeEngine:
    return FakeEngine(untrained.taxonomy)


def grey(level: int) -> Bytes:
    return np.full((3, 32, 24), level, dtype=np.uint8)


def one(batcher: Batcher, engine: FakeEngine, level: int) -> Future[Row]:
    """A photo of that grey, on its way."""
    return batcher.submit("client", engine, [(grey(level), None)])[0]


def test_what_gathers_while_the_engine_computes_goes_together_and_comes_back_to_whom_it_belongs(
    make: Make, engine: FakeEngine
) -> None:
    batcher = make()
    engine.gate.clear()
    answers = [one(batcher, engine, 1)]
    until(lambda: answers[0].running())
    answers += [one(batcher, engine, level) for level in range(2, 11)]
    engine.gate.set()
    got = [answer.result(5)[0] for answer in answers]
    assert engine.batches == [1, 4, 4, 1]
    expected = np.stack([engine.logits(grey(level)[None])[0][0] for level in range(1, 11)])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_an_idle_engine_takes_what_there_is_whoever_else_is_on_the_way(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    with batcher.admit("client", 50):
        start = time.monotonic()
        one(batcher, engine, 1).result(5)
        assert time.monotonic() - start < 0.5
    assert engine.batches == [1]


def test_photos_of_one_product_go_together(make: Make, engine: FakeEngine) -> None:
    for _ in range(20):  # the engine is idle and could start on the first of them
        engine.batches.clear()
        answers = make().submit("client", engine, [(grey(level), None) for level in (1, 2, 3)])
        assert all(answer.result(5) for answer in answers)
        assert engine.batches == [3]


def test_one_that_breaks_the_engine_fails_alone(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = one(batcher, engine, 9)
    until(first.running)
    answers = [one(batcher, engine, level) for level in (1, 0, 2)]
    engine.gate.set()
    assert answers[0].result(5)
    assert answers[2].result(5)
    with pytest.raises(RuntimeError, match="black"):
        answers[1].result(5)
    assert one(batcher, engine, 3).result(5)


def test_given_up_photos_are_not_computed(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = one(batcher, engine, 1)
    until(first.running)
    given_up, kept = one(batcher, engine, 2), one(batcher, engine, 3)
    assert given_up.cancel()
    engine.gate.set()
    assert kept.result(5)
    assert engine.batches == [1, 1]


def test_two_engines_never_share_a_batch(make: Make, engine: FakeEngine, untrained: ModelBundle) -> None:
    batcher, other = make(), FakeEngine(untrained.taxonomy)
    engine.gate.clear()
    answers = [one(batcher, engine, 1)]
    until(answers[0].running)
    answers += [one(batcher, each, 2) for each in (engine, engine, other, other, engine)]
    engine.gate.set()
    assert all(answer.result(5) for answer in answers)
    assert engine.batches == [1, 2, 1]
    assert other.batches == [2]


def test_there_is_room_for_so_many_and_it_is_given_back(make: Make) -> None:
    batcher = make(capacity=4)
    with batcher.admit("a", 2):
        with pytest.raises(FullError), batcher.admit("a", 1):  # the others' share
            pass
        with batcher.admit("b", 1), batcher.admit("c", 1), pytest.raises(FullError), batcher.admit("d", 1):
            pass
    with batcher.admit("a", 2):
        pass


def test_clients_take_turns_at_the_engine(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=2)
    engine.gate.clear()
    first = one(batcher, engine, 9)
    until(first.running)
    many = batcher.submit("many", engine, [(grey(level), None) for level in range(1, 9)])
    (few,) = batcher.submit("few", engine, [(grey(1), None)])
    done: list[str] = []
    many[2].add_done_callback(lambda _: done.append("third of many"))
    few.add_done_callback(lambda _: done.append("few"))
    engine.gate.set()
    assert all(answer.result(5) for answer in many)
    assert done == ["few", "third of many"]


def test_an_answer_that_is_not_a_number_is_a_fault_and_of_its_photo_alone(
    make: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits(pixels: Bytes) -> tuple[Floats, Floats]:
        category = pixels.mean(axis=(2, 3), dtype=np.float32)
        return category, np.where(category > 100, np.nan, category).astype(np.float32)

    monkeypatch.setattr(engine, "logits", logits)
    answers = make().submit("client", engine, [(grey(1), None), (grey(200), None)])
    assert answers[0].result(5)
    with pytest.raises(ArithmeticError, match="not a number"):
        answers[1].result(5)


def test_closing_answers_what_waits(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=1)
    answers = [one(batcher, engine, level) for level in range(1, 6)]
    batcher.close()
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError):
        one(batcher, engine, 1)
