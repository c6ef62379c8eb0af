"""Batching across requests: full batches under load, order, isolated failures, two engines, shutdown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from helpers.serve_client import FakeEngine, until

from attire.bundle import ModelBundle
from attire.engines.engine import Bytes, Floats
from attire.serve.batching import Batcher, FullError, Row
from attire.serve.metrics import Metrics

Make = Callable[..., Batcher]


@pytest.fixture
def make() -> Iterator[Make]:
    batchers: list[Batcher] = []

    def new(max_batch: int = 4, capacity: int = 100, batch_s: float = 1e9) -> Batcher:
        batchers.append(Batcher(Metrics(), max_batch=max_batch, capacity=capacity, batch_s=batch_s))
        return batchers[-1]

    yield new
    for batcher in batchers:
        batcher.close()


@pytest.fixture
def engine(untrained: ModelBundle) -> FakeEngine:
    return FakeEngine(untrained.taxonomy)


def grey(level: int) -> Bytes:
    return np.full((3, 32, 24), level, dtype=np.uint8)


def submit(batcher: Batcher, engine: FakeEngine, level: int) -> Future[Row]:
    """Submit one photo of that grey."""
    return batcher.submit("client", engine, [(grey(level), None)])[0]


def test_photos_that_arrive_while_the_engine_computes_form_batches_and_keep_their_order(
    make: Make, engine: FakeEngine
) -> None:
    batcher = make()
    engine.gate.clear()
    answers = [submit(batcher, engine, 1)]
    until(lambda: answers[0].running())
    answers += [submit(batcher, engine, level) for level in range(2, 11)]
    engine.gate.set()
    got = [answer.result(5)[0] for answer in answers]
    assert engine.batches == [1, 4, 4, 1]
    expected = np.stack([engine.logits(grey(level)[None])[0][0] for level in range(1, 11)])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_an_idle_engine_does_not_wait_for_admitted_photos(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    with batcher.admit("client", 50):
        start = time.monotonic()
        submit(batcher, engine, 1).result(5)
        assert time.monotonic() - start < 0.5
    assert engine.batches == [1]


def test_photos_of_one_product_go_together(make: Make, engine: FakeEngine) -> None:
    for _ in range(20):  # the idle engine could start with the first one
        engine.batches.clear()
        answers = make().submit("client", engine, [(grey(level), None) for level in (1, 2, 3)])
        assert all(answer.result(5) for answer in answers)
        assert engine.batches == [3]


def test_one_that_breaks_the_engine_fails_alone(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = submit(batcher, engine, 9)
    until(first.running)
    answers = [submit(batcher, engine, level) for level in (1, 0, 2)]
    engine.gate.set()
    assert answers[0].result(5)
    assert answers[2].result(5)
    with pytest.raises(RuntimeError, match="black"):
        answers[1].result(5)
    assert submit(batcher, engine, 3).result(5)


def test_cancelled_photos_are_not_computed(make: Make, engine: FakeEngine) -> None:
    batcher = make()
    engine.gate.clear()
    first = submit(batcher, engine, 1)
    until(first.running)
    cancelled, other = submit(batcher, engine, 2), submit(batcher, engine, 3)
    assert cancelled.cancel()
    engine.gate.set()
    assert other.result(5)
    assert engine.batches == [1, 1]


def test_a_batch_is_no_larger_than_the_engine_computes_in_time(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=32, batch_s=0.2)
    engine.gate.clear()
    first = submit(batcher, engine, 1)
    until(first.running)
    answers = [submit(batcher, engine, level) for level in range(2, 10)]
    time.sleep(0.15)  # so slow: two photos in 0.2 s
    engine.gate.set()
    assert all(answer.result(5) for answer in (first, *answers))
    assert engine.batches[:2] == [1, 1]
    assert max(engine.batches) <= 8
    fast = submit(batcher, engine, 1)
    assert fast.result(5)


def test_two_engines_never_share_a_batch(make: Make, engine: FakeEngine, untrained: ModelBundle) -> None:
    batcher, other = make(), FakeEngine(untrained.taxonomy)
    engine.gate.clear()
    answers = [submit(batcher, engine, 1)]
    until(answers[0].running)
    answers += [submit(batcher, each, 2) for each in (engine, engine, other, other, engine)]
    engine.gate.set()
    assert all(answer.result(5) for answer in answers)
    assert engine.batches == [1, 2, 1]
    assert other.batches == [2]


def test_the_capacity_is_limited_and_released(make: Make) -> None:
    batcher = make(capacity=4)
    with batcher.admit("a", 2):
        with pytest.raises(FullError), batcher.admit("a", 1):  # reserved for other clients
            pass
        with batcher.admit("b", 1), batcher.admit("c", 1), pytest.raises(FullError), batcher.admit("d", 1):
            pass
    with batcher.admit("a", 2):
        pass


def test_clients_take_turns_at_the_engine(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=2)
    engine.gate.clear()
    first = submit(batcher, engine, 9)
    until(first.running)
    many = batcher.submit("many", engine, [(grey(level), None) for level in range(1, 9)])
    (few,) = batcher.submit("few", engine, [(grey(1), None)])
    done: list[str] = []
    many[2].add_done_callback(lambda _: done.append("third of many"))
    few.add_done_callback(lambda _: done.append("few"))
    engine.gate.set()
    assert all(answer.result(5) for answer in many)
    assert done == ["few", "third of many"]


def test_logits_that_are_not_a_number_fail_their_photo_only(
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


def test_closing_computes_queued_photos(make: Make, engine: FakeEngine) -> None:
    batcher = make(max_batch=1)
    answers = [submit(batcher, engine, level) for level in range(1, 6)]
    batcher.close()
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError):
        submit(batcher, engine, 1)
