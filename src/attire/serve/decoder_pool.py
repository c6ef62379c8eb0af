"""Who decodes: threads what is small, processes what is large. Clients take turns at both.

A large photo holds hundreds of megabytes and, for tenths of a second, Python's lock. In a process of its own it holds
up nobody, its memory goes back to the system, and it can be ended, which a thread cannot.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from attire.engines.engine import Bytes
from attire.errors import PhotoError
from attire.memory import SETTINGS
from attire.pixels.preprocess import Preprocess
from attire.serve.compute_threads import FairThreads
from attire.serve.decoder_process import VIEW_PX, ask, decode
from attire.serve.image_headers import Header
from attire.serve.request_limits import check_photo
from attire.serve.settings import Settings

T = TypeVar("T")
LARGE = 90_000_000  # of `Header.work`: 4.5 megapixels of PNG or WebP, 0.2 s
CPU_S, CPU_S_PER_WORK = 2, 1e-8  # at most, three times what the slowest take


class Decoders:
    """Decodes the photos of all requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        many = max(1, settings.decoders // 4)
        self._threads = FairThreads(settings.decoders, "decode")
        self._waiting_for_processes = FairThreads(many, "decode-large")
        self._processes = [Process() for _ in range(many)]
        self._free = SimpleQueue[Process]()
        for process in self._processes:
            self._free.put(process)

    async def run(self, client: str, job: Callable[[], T], cost: float = 1) -> T:
        """Run a job that would hold up other requests in one of the threads; `cost`: in small photos.

        One that is cancelled before its turn is never run; one that runs keeps its thread until it ends.
        """
        return await asyncio.wrap_future(self._threads.submit(client, cost, job))

    async def decode(self, client: str, content: bytes, preprocess: Preprocess | None) -> Bytes:
        """As `decoding.decode`; raises `PhotoError`, also for what `check_photo` refuses."""
        found = await self.run(client, partial(self._if_small, content, preprocess))
        if not isinstance(found, Header):
            return found
        job = partial(self._by_process, content, preprocess, CPU_S + CPU_S_PER_WORK * found.passes * found.pixels)
        return await asyncio.wrap_future(self._waiting_for_processes.submit(client, found.work / LARGE, job))

    async def view(self, client: str, content: bytes) -> bytes | Bytes:
        """What is shown of a photo: itself, or of a large one a smaller copy, uint8[h, w, 3]; raises `PhotoError`."""
        header = await self.run(client, partial(check_photo, content, self._settings))
        small = max(header.width, header.height) <= VIEW_PX and header.work <= LARGE
        return content if small else await self.decode(client, content, None)

    def close(self) -> None:
        """Give up what waits, end the processes, and wait for what runs here."""
        self._threads.stop()
        self._waiting_for_processes.stop()
        for process in self._processes:
            process.end()
        self._waiting_for_processes.join()
        self._threads.join()

    def _if_small(self, content: bytes, preprocess: Preprocess | None) -> Bytes | Header:
        header = check_photo(content, self._settings)
        return header if header.work > LARGE else decode(content, preprocess)

    def _by_process(self, content: bytes, preprocess: Preprocess | None, cpu_s: float) -> Bytes:
        process = self._free.get()
        try:
            return process.decode(content, preprocess, cpu_s)
        finally:
            self._free.put(process)


class Process:
    """A process that decodes, started when there is something to do and none runs."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes, preprocess: Preprocess | None, cpu_s: float) -> Bytes:
        """As `decoding.decode`."""
        if self._running is None or self._running.poll() is not None:
            self._running = _start()
        running = self._running
        assert running.stdin
        assert running.stdout
        try:
            return ask(running.stdin, running.stdout, content, preprocess, cpu_s)
        except (EOFError, OSError):
            self.end()
            raise PhotoError(f"too slow to decode: it takes more than {cpu_s:.0f} s, or breaks the decoder") from None

    def end(self) -> None:
        """End it, whatever it does."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            for stream in (self._running.stdin, self._running.stdout):
                assert stream
                with suppress(OSError):  # what was not read is not missed
                    stream.close()


def _start() -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}  # it gives memory back
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "attire.serve.decoder_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the server, which ends this
    )
