"""Runs `attire serve` as a process, for benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(bundle: Path, *options: str, source: Path | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """Serve a bundle and yield the address and process once it is ready; prints the end of the log after an error.

    `source` is the src/ folder of another checkout to serve with.
    """
    port = free_port()
    command = [sys.executable, "-c", "from attire.cli import main; main()", "serve", str(bundle), "--port", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        environment = os.environ | ({"PYTHONPATH": str(source)} if source else {})
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment)
        address = f"http://127.0.0.1:{port}"
        try:
            wait_ready(f"{address}/readyz", process, seconds=120)
            yield address, psutil.Process(process.pid)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-5000:])
            raise
        finally:
            process.terminate()
            process.wait(60)


def wait_ready(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until `url` answers 200; raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} was not ready within {seconds:g} s")
