"""Decodes small photos in threads and large ones in processes; clients take turns at both.

Decoding a large photo takes hundreds of megabytes and holds the GIL for tenths of a second. A separate process blocks
no other request, returns its memory to the system, and can be killed.
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
LARGE = 90_000_000  # `Header.work` above which a photo is large: 4.5 megapixels of PNG or WebP, 0.2 s
CPU_S, CPU_S_PER_WORK = 2, 1e-8  # CPU limit: three times what the slowest valid photos take


class Decoders:
    """Decodes the photos of all requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        processes = max(1, settings.decoders // 4)
        self._threads = FairThreads(settings.decoders, "decode")
        self._process_threads = FairThreads(processes, "decode-large")  # each waits for a process
        self._processes = [Process() for _ in range(processes)]
        self._free = SimpleQueue[Process]()
        for process in self._processes:
            self._free.put(process)

    async def run(self, client: str, job: Callable[[], T], cost: float = 1) -> T:
        """Run a blocking job in one of the threads. `cost` is measured in small photos.

        A job that is cancelled before its turn is never run; a running job keeps its thread until it ends.
        """
        return await asyncio.wrap_future(self._threads.submit(client, cost, job))

    async def decode(self, client: str, content: bytes, preprocess: Preprocess | None) -> Bytes:
        """Check a photo with `check_photo` and decode it (see `decoder_process.decode`); raises `PhotoError`."""
        result = await self.run(client, partial(self._decode_if_small, content, preprocess))
        if not isinstance(result, Header):
            return result
        cpu_s = CPU_S + CPU_S_PER_WORK * result.passes * result.pixels
        job = partial(self._decode_in_process, content, preprocess, cpu_s)
        return await asyncio.wrap_future(self._process_threads.submit(client, result.work / LARGE, job))

    async def view(self, client: str, content: bytes) -> bytes | Bytes:
        """Return a small photo as it is, or a reduced copy uint8[h, w, 3] of a large one; raises `PhotoError`."""
        header = await self.run(client, partial(check_photo, content, self._settings))
        small = max(header.width, header.height) <= VIEW_PX and header.work <= LARGE
        return content if small else await self.decode(client, content, None)

    def close(self) -> None:
        """Cancel queued jobs, kill the processes, and wait for the threads."""
        self._threads.stop()
        self._process_threads.stop()
        for process in self._processes:
            process.end()
        self._process_threads.join()
        self._threads.join()

    def _decode_if_small(self, content: bytes, preprocess: Preprocess | None) -> Bytes | Header:
        header = check_photo(content, self._settings)
        return header if header.work > LARGE else decode(content, preprocess)

    def _decode_in_process(self, content: bytes, preprocess: Preprocess | None, cpu_s: float) -> Bytes:
        process = self._free.get()
        try:
            return process.decode(content, preprocess, cpu_s)
        finally:
            self._free.put(process)


class Process:
    """A decoding process, started when it is first needed and again after it died."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes, preprocess: Preprocess | None, cpu_s: float) -> Bytes:
        """Decode a photo, see `decoder_process.decode`; raises `PhotoError`, also above `cpu_s` seconds of CPU."""
        if self._running is None or self._running.poll() is not None:
            self._running = _start()
        running = self._running
        assert running.stdin
        assert running.stdout
        try:
            return ask(running.stdin, running.stdout, content, preprocess, cpu_s)
        except (EOFError, OSError):
            self.end()
            raise PhotoError(f"too slow to decode: it takes more than {cpu_s:.0f} s or crashes the decoder") from None

    def end(self) -> None:
        """Kill the process."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            for stream in (self._running.stdin, self._running.stdout):
                assert stream
                with suppress(OSError):  # unread data does not matter
                    stream.close()


def _start() -> subprocess.Popen[bytes]:
    # Without the settings of `attire.memory`, which would keep freed memory.
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "attire.serve.decoder_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C must reach only the server, which ends this process
    )
