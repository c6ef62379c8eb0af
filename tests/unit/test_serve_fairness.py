"""Clients get fair shares of capacity and turns; large photos are decoded in processes that can be killed."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers.serve_client import until
from PIL import Image

from attire.errors import PhotoError
from attire.pixels.preprocess import Preprocess
from attire.serve import decoder_pool
from attire.serve.compute_threads import FairThreads
from attire.serve.decoder_pool import Decoders
from attire.serve.decoder_process import VIEW_PX, decode
from attire.serve.fairness import FairQueue, Room, client_of
from attire.serve.settings import Settings

PREPROCESS = Preprocess(size_px=(32, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def scope(host: str | None, **state: str) -> dict[str, Any]:
    return {"client": None if host is None else (host, 1234), "state": state}


def test_a_client_is_a_key_or_an_address() -> None:
    assert client_of(scope("10.0.0.1", key="abc")) == "abc"
    assert client_of(scope("10.0.0.1")) != client_of(scope("10.0.0.2"))
    assert (
        client_of(scope("2a00:1:2:3::1")) == client_of(scope("2a00:1:2:3:ffff::9")) != client_of(scope("2a00:1:2:4::1"))
    )
    assert client_of(scope("::ffff:10.0.0.1")) == client_of(scope("10.0.0.1"))
    assert client_of(scope(None)) == client_of({}) == ""
    assert client_of(scope("testclient")) == "testclient"


def test_capacity_is_shared_and_released() -> None:
    room = Room(16)
    amounts = dict.fromkeys("abcd", 0)
    for client in amounts:
        while room.take(client, 1):
            amounts[client] += 1
    assert amounts == {"a": 8, "b": 4, "c": 2, "d": 1}
    assert room.taken == 15
    assert room.take("e", 1)
    assert not room.take("f", 1)
    for client, amount in amounts.items():
        room.give(client, amount)
    assert not room.take("a", 9)
    assert room.take("a", 7)
    assert Room(1).take("a", 1)


def test_clients_take_turns_by_cost_and_each_keeps_its_order() -> None:
    queue = FairQueue[str]()
    for number in range(6):
        queue.put("many", 1, f"many {number}")
    queue.put("costly", 3, "costly 0")
    queue.put("costly", 3, "costly 1")
    queue.put("few", 1, "few 0")
    assert [queue.get() for _ in range(len(queue))] == [
        "many 0", "few 0", "many 1", "many 2", "costly 0", "many 3", "many 4", "many 5", "costly 1",
    ]  # fmt: skip
    queue.put("late", 1, "late 0")  # turns before the queue was empty do not count
    queue.put("many", 1, "many 6")
    assert [queue.get(), queue.get()] == ["late 0", "many 6"]


def test_a_queue_forgets_idle_clients() -> None:
    queue = FairQueue[int]()
    queue.put("first", 1, 0)
    for number in range(5000):
        queue.put(f"client {number}", 1, number)
        queue.get()
    assert len(queue._done) <= 1001


def test_threads_are_shared_and_cancelled_jobs_are_not_run() -> None:
    threads, gate, ran = FairThreads(1, "test"), threading.Event(), list[str]()
    first = threads.submit("many", 1, gate.wait)
    until(first.running)
    many = [threads.submit("many", 1, partial(ran.append, f"many {number}")) for number in range(3)]
    few = threads.submit("few", 1, partial(ran.append, "few"))
    broken = threads.submit("few", 1, lambda: 1 / 0)
    assert many[1].cancel()
    gate.set()
    few.result(5)
    many[2].result(5)
    with pytest.raises(ZeroDivisionError):
        broken.result(5)
    assert ran == ["many 0", "few", "many 2"]
    threads.stop()
    threads.join()
    with pytest.raises(RuntimeError):
        threads.submit("few", 1, gate.wait)


def png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(content, "PNG", compress_level=1)
    return content.getvalue()


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """Decoders for which nearly every photo is large."""
    monkeypatch.setattr(decoder_pool, "LARGE", 20 * 100**2)
    opened = Decoders(Settings(bundle=Path(), decoders=1))
    yield opened
    opened.close()


def children() -> list[psutil.Process]:
    """The running decoder processes."""
    name = "attire.serve.decoder_process"
    return [process for process in psutil.Process().children() if name in " ".join(process.cmdline())]


def test_a_large_photo_is_decoded_in_a_process_to_the_same_pixels(decoders: Decoders) -> None:
    small, large, strip = png((90, 100)), png((300, 200), "RGBA"), png((1500, 3))
    for content in (small, large, strip, large):
        pixels = asyncio.run(decoders.decode("client", content, PREPROCESS))
        np.testing.assert_array_equal(pixels, decode(content, PREPROCESS))
        assert len(children()) == (content is not small)
    damaged = large[: len(large) // 2]
    with pytest.raises(PhotoError) as refused:
        asyncio.run(decoders.decode("client", damaged, PREPROCESS))
    with pytest.raises(PhotoError) as expected:
        decode(damaged, PREPROCESS)
    assert str(refused.value) == str(expected.value)
    assert asyncio.run(decoders.view("client", small)) == small
    wide = asyncio.run(decoders.view("client", png((VIEW_PX + 100, 10))))
    assert isinstance(wide, np.ndarray)
    assert wide.shape == (10, VIEW_PX, 3)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the system does not share by session")
def test_decoders_yield_the_processor_to_the_engine(decoders: Decoders) -> None:
    asyncio.run(decoders.decode("client", png((300, 200), "RGBA"), PREPROCESS))
    (process,) = children()
    assert process.nice() == 19
    assert Path(f"/proc/{process.pid}/autogroup").read_text().endswith(" nice 19\n")


def test_slow_decoding_is_killed_and_the_next_photo_is_decoded(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pool, "CPU_S", -1)
    slow = png((1500, 1500))

    async def until_it_is_ended() -> None:
        while True:  # the system limits CPU time in whole seconds
            await decoders.decode("client", slow, PREPROCESS)

    with pytest.raises(PhotoError, match="too slow to decode"):
        asyncio.run(until_it_is_ended())
    monkeypatch.undo()
    assert asyncio.run(decoders.decode("client", png((300, 200)), PREPROCESS)).shape == (3, 32, 24)


def test_a_dead_process_is_replaced_and_none_is_left_after_close(decoders: Decoders) -> None:
    content = png((300, 200))
    asyncio.run(decoders.decode("client", content, PREPROCESS))
    (process,) = children()
    process.kill()
    process.wait(5)
    assert asyncio.run(decoders.decode("client", content, PREPROCESS)).shape == (3, 32, 24)
    decoders.close()
    assert not children()


def test_a_large_photo_does_not_delay_small_ones(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(*_: object) -> None:
        gate.wait(10)

    monkeypatch.setattr(decoder_pool.Process, "decode", slow)

    async def run() -> None:
        large = [asyncio.ensure_future(decoders.decode(f"{n}", png((300, 200)), PREPROCESS)) for n in range(3)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            assert (await decoders.decode("small", png((90, 100)), PREPROCESS)).shape == (3, 32, 24)
        gate.set()
        await asyncio.gather(*large)

    asyncio.run(run())
