"""A uvicorn protocol that limits what a connection can cost.

uvicorn itself has no limits here: a header may be endless, a connection may idle forever, and any number may be open.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NoReturn

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES = 32 * 1024  # limit of request line and headers, or of trailers
HEADERS = 100
SMALL_CHUNKS, CHUNK_BYTES = 1000, 24  # a chunked body with more chunks than this needs this mean size
CHUNK_HEAD_BYTES = 6  # framing bytes around a chunk of that size
PIPELINED = 16  # requests that a connection may send before it gets answers
HEAD_S = 10  # from connecting, or from the last answer, until the next request's headers are complete
SOON_S = 1  # a connection that is open at shutdown may still send its first request for this long
READ_S = 60  # for a client to read data that is ready
CONNECTIONS = 512
GOING = CONNECTIONS // 16  # connections closed at once to make room: scanning all of them is slow
NUMBERS = itertools.count()  # of connections, oldest first
TOO_LARGE = f"The headers are larger than {HEAD_BYTES:,} bytes."


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits, for `http=`. Use it with `ws="none"`: WebSockets would bypass them.

    Above `CONNECTIONS`, a new connection replaces idle ones of the client that has the most idle connections.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._number = next(NUMBERS)
        # Per request: bytes outside the body, bytes of the body, and calls of `on_body`.
        self._head_bytes, self._body_bytes, self._body_chunks = 0, 0, 0
        self._fault = HTTPStatus.BAD_REQUEST, "The request is not valid HTTP/1.1."
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._shutting_down = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer("head", HEAD_S, self._head_overdue)
        if len(self.connections) > CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES + self._body_bytes * CHUNK_HEAD_BYTES / CHUNK_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # The rest of this read is not counted, because its size is limited already.
        self._head_bytes = self._body_bytes = self._body_chunks = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The request has more than {HEADERS} headers.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LARGE)
        if len(self.pipeline) >= PIPELINED:
            detail = f"The connection sent more than {PIPELINED} requests without waiting for an answer."
            self._stop(HTTPStatus.TOO_MANY_REQUESTS, detail)
        self._cancel_timer("head")
        super().on_headers_complete()
        if self._shutting_down:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        self._body_bytes += len(body)
        self._body_chunks += 1
        if self._body_chunks > SMALL_CHUNKS + self._body_bytes / CHUNK_BYTES:
            self._stop(HTTPStatus.BAD_REQUEST, f"The body comes in chunks of less than {CHUNK_BYTES} bytes.")
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._idle:
            self._start_timer("head", HEAD_S, self._head_overdue)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer("answer", READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_timer("answer")
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection once its request is answered. Its first request may be on the way: wait for that too."""
        self._shutting_down = True
        if self.cycle is None:
            self._start_timer("head", SOON_S, self.transport.close)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        for name in ("head", "answer"):
            self._cancel_timer(name)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - `_fault` says more
        self._refuse(*self._fault)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        """Whether the server is waiting for the client."""
        return not self.transport.is_closing() and (self._idle or self.cycle.more_body)

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        waiting: list[BoundedProtocol] = [
            other
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other is not self and other._waits
        ]
        if not waiting:
            detail = f"{CONNECTIONS} connections are open already. Try again later."
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, detail)
            return
        ((peer, _),) = Counter(other._peer for other in waiting).most_common(1)
        candidates = [other for other in waiting if other._peer == peer]
        # First those that never sent a request, then idle ones, last (and only one) a connection that sends a body.
        first, *others = sorted(candidates, key=lambda other: (other.cycle is not None, not other._idle, other._number))
        for other in (first, *(other for other in others[: min(GOING, len(others) // 4)] if other._idle)):
            other.transport.abort()

    def _head_overdue(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"No request arrived within {HEAD_S} s.")

    def _stop(self, status: HTTPStatus, detail: str) -> NoReturn:
        """Abort the parser; `send_400_response` then sends this refusal."""
        self._fault = status, detail
        raise HttpParserError(detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Close the connection, with an error response unless a response has started."""
        if self.transport.is_closing():
            return
        if self._idle or not self.cycle.response_started:
            problem = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
            content = json.dumps(problem).encode()
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(content)).encode()),
                (b"connection", b"close"),
            ]
            lines = [name + b": " + value + b"\r\n" for name, value in (*self.server_state.default_headers, *headers)]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", content]))
        self.transport.close()

    def _start_timer(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_timer(name)
        self._timers[name] = self.loop.call_later(seconds, callback)

    def _cancel_timer(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
