"""Connections that fill memory or block others are refused or closed; normal ones never are."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI, Request
from helpers.serve_client import served, until

from attire.serve import connections
from attire.serve.connections import HEAD_BYTES, HEADERS, PIPELINED, BoundedProtocol

app = FastAPI()


@app.get("/")
async def alive() -> str:
    return "alive"


@app.post("/")
async def size(request: Request) -> int:
    return len(await request.body())


@app.get("/large")
async def large() -> str:
    return "x" * 50_000_000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(app) as url:
        yield url


def connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Everything that the server sends until it closes the connection."""
    content = b""
    with contextlib.suppress(ConnectionError):  # the server resets the connection if data arrives after it closed
        while received := connection.recv(65536):
            content += received
    return content


def send(connection: socket.socket, blocks: Iterator[bytes]) -> int:
    """Send until the server closes the connection; returns the number of sent bytes."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        for block in blocks:
            connection.sendall(block)
            sent += len(block)
    return sent


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "block"),
    [
        (b"GET /", b"a" * 4096),
        (GET + b"X: ", b"a" * 4096),
        (GET + b"X", b"a" * 4096),
        (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"a" * 4096),
        (CHUNKED + b"1;x=", b"a" * 4096),
        (CHUNKED, b"1\r\nx\r\n" * 1000),
        (GET + b"\r\n", b"\r\n" * 2000),
    ],
    ids=["path", "value", "name", "trailer", "extension", "chunks", "blanks"],
)
def test_endless_data_outside_the_body_is_refused(address: str, start: bytes, block: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(start)
        sent = send(connection, (block for _ in range(5000)))
        answer = read_all(connection)
    assert sent < 10_000_000  # buffers of the system
    assert b"HTTP/1.1 4" in answer or not answer  # a reset may arrive first
    assert httpx.get(address).json() == "alive"


def test_large_headers_are_refused(address: str) -> None:
    too_large = httpx.get(address, headers={"X": "a" * HEAD_BYTES})
    assert too_large.status_code == 431
    assert too_large.headers["content-type"] == "application/problem+json"
    assert "32,768 bytes" in too_large.json()["detail"]
    assert httpx.get(address, headers={f"X-{n}": "a" for n in range(HEADERS)}).status_code == 431
    assert httpx.get(address, headers={"X": "a" * (HEAD_BYTES - 500)}).json() == "alive"


def test_bodies_arrive_complete(address: str) -> None:
    content = b"0123456789" * 300_000
    with httpx.Client(base_url=address) as client:
        for _ in range(2):  # over one connection
            assert client.post("/", content=content).json() == len(content)
            assert client.post(
                "/", content=(content[n : n + 1000] for n in range(0, len(content), 1000))
            ).json() == len(content)


def test_pipelined_requests_are_limited(address: str) -> None:
    with connected(address) as connection:
        connection.sendall((GET + b"\r\n") * PIPELINED + GET + b"Connection: close\r\n\r\n")
        assert read_all(connection).count(b'"alive"') == PIPELINED + 1
    with connected(address) as connection:
        send(connection, ((GET + b"\r\n") * 1000 for _ in range(10)))
        assert read_all(connection).count(b'"alive"') < 100


def test_a_client_that_sends_no_complete_headers_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with served(app) as address:
        for start in (b"", b"GET /", GET + b"X: a", GET + b"\r\n" + GET + b"X: a"):
            with connected(address) as connection:
                connection.sendall(start)
                start_s = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    for _ in range(20):  # single bytes do not extend the time limit
                        time.sleep(0.05)
                        connection.sendall(b"a" if start else b"")
                answer = read_all(connection)
                assert time.monotonic() - start_s < 5
                assert b"HTTP/1.1 408 " in answer or not answer


def test_a_client_that_does_not_read_its_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_S", 0.3)
    with served(app) as address, connected(address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1)
        assert len(read_all(connection)) < 50_000_000


def test_a_new_connection_replaces_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 4)
    with served(app) as address:
        with httpx.Client(base_url=address) as client:  # one connection, idle between requests
            assert client.get("/").json() == "alive"
            idle = [connected(address) for _ in range(2)]
            for connection in idle:
                connection.sendall(b"GET / HT")
            assert [httpx.get(address).json() for _ in range(5)] == ["alive"] * 5
            newer = [connected(address) for _ in range(3)]
            assert idle[0].recv(1) == b""  # the oldest connection without a request is closed first
            assert client.get("/").json() == httpx.get(address).json() == "alive"
        for connection in (*idle, *newer):
            connection.close()


def test_a_new_connection_is_refused_if_none_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 2)
    monkeypatch.setattr(BoundedProtocol, "_waits", False)
    with served(app) as address:
        busy = [connected(address) for _ in range(2)]
        until(lambda: all(not connection.sendall(b"G") for connection in busy))  # type: ignore[func-returns-value]
        assert httpx.get(address).status_code == 503
        for connection in busy:
            connection.close()
