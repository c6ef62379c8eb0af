"""Helpers for tests of attire.serve: a fake engine, photos in memory, and real servers in threads and processes."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from attire.bundle import ModelBundle
from attire.engines.engine import Bytes, Floats
from attire.serve.app import create_app
from attire.serve.connections import BoundedProtocol
from attire.serve.fetch import Fetcher
from attire.serve.live_bundle import Model
from attire.serve.settings import Settings
from attire.taxonomy import Taxonomy

PATIENCE_S = 180  # for what takes seconds; on a busy machine it may take minutes


class FakeEngine:
    """An engine whose logits are a fixed linear map of the mean colour.

    It waits for `gate`, and fails for photos that are completely black.
    """

    name = "fake"

    def __init__(self, taxonomy: Taxonomy) -> None:
        random = np.random.default_rng(0)
        self.category = random.normal(size=(3, len(taxonomy.categories))).astype(np.float32)
        self.attributes = random.normal(size=(3, taxonomy.width)).astype(np.float32)
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        assert self.gate.wait(PATIENCE_S)
        self.batches.append(len(pixels))
        colour = pixels.mean(axis=(2, 3), dtype=np.float32) / 255
        if (colour.max(axis=1) == 0).any():
            raise RuntimeError("black")
        return colour @ self.category, colour @ self.attributes


def photo(colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (24, 32), format: str = "PNG") -> bytes:
    """An encoded photo of one colour."""
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, format)
    return content.getvalue()


@contextmanager
def client(
    bundle: ModelBundle, engine: FakeEngine | None = None, fetch: Fetcher | None = None, **settings: Any
) -> Iterator[TestClient]:
    """A client of the application with a fake engine."""
    app_settings = Settings(bundle=bundle.path, **({"allow_hosts": ("testserver",)} | settings))
    model = Model(bundle, engine or FakeEngine(bundle.taxonomy))
    app = create_app(app_settings, load=lambda _: model, fetch=fetch)
    with TestClient(app, raise_server_exceptions=False) as test_client:
        yield test_client


def ask(client: TestClient | httpx.Client, *photos: bytes, **fields: Any) -> httpx.Response:
    """POST /v1/predict."""
    files = [("photos", ("photo", content)) for content in photos]
    answer: Any = client.post("/v1/predict", files=files, data=fields)
    response: httpx.Response = answer
    return response


@contextmanager
def server(bundle: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes], Callable[[], str]]]:
    """Run `attire serve` on a free port; yields its address, its process and a function that reads its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = bundle.parent / f"serve-{port}.log"
    command = [sys.executable, "-c", "from attire.cli import main; main()", "serve", str(bundle), "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, *options], stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or ready(address))
        assert process.poll() is None, log.read_text()
        yield address, process, log.read_text
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def get(url: str) -> httpx.Response:
    """GET without loading the certificates, which takes longer than an answer of a server on this machine."""
    return httpx.get(url, verify=False)  # noqa: S501


def ready(address: str) -> bool:
    """Return whether the server is ready."""
    try:
        return get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def until(done: Callable[[], bool]) -> None:
    """Wait until `done` returns true; fails after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, f"not done within {PATIENCE_S} s"
        time.sleep(0.05)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve the application in a thread on a free port of this machine; yields its address."""
    running = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="on", http=BoundedProtocol, ws="none")
    )
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: running.started)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
