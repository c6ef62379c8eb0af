"""HTTP connections that can neither fill a server's memory nor keep others out, for what uvicorn runs.

uvicorn bounds none of this: a header may be endless, a connection may wait for ever, and any number may be open.
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

HEAD_BYTES = 32 * 1024  # request line and headers, or trailers
HEADERS = 100
SMALL_CHUNKS, CHUNK_BYTES = 1000, 24  # of a chunked body: beyond so many, more work than content unless of that size
CHUNK_HEAD_BYTES = 6  # what stands around a chunk of that size
PIPELINED = 16  # requests that one connection may send ahead
HEAD_S = 10  # from a connection's start, or its last answer, to the end of the next request's headers
READ_S = 60  # for a client to take what waits for it
CONNECTIONS = 512
GOING = CONNECTIONS // 16  # at once, where there are more: looking through all of them for each would take long
NUMBERS = itertools.count()  # of connections, the oldest first


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds, for `http=`; with `ws="none"`, for a WebSocket would have none of them.

    A connection too many takes the place of those that wait for their client, of the client that has most of these.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._number = next(NUMBERS)
        self._around, self._body, self._parts = 0, 0, 0  # of a request: bytes beside its body, of it, and its parts
        self._fault = HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1"
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._time("head", HEAD_S, self._head_overdue)
        if len(self.connections) > CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self._around += len(data)
        super().data_received(data)
        if self._around > HEAD_BYTES + self._body * CHUNK_HEAD_BYTES / CHUNK_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers are larger than {HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._around = self._body = self._parts = 0  # the rest of this read is not counted: it is bounded already

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers are larger than {HEAD_BYTES:,} bytes")
        if len(self.pipeline) >= PIPELINED:
            self._stop(HTTPStatus.TOO_MANY_REQUESTS, f"more than {PIPELINED} requests without waiting for an answer")
        self._cancel("head")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._around -= len(body)
        self._body += len(body)
        self._parts += 1
        if self._parts > SMALL_CHUNKS + self._body / CHUNK_BYTES:
            self._stop(HTTPStatus.BAD_REQUEST, f"a body in chunks of less than {CHUNK_BYTES} bytes")
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._idle:
            self._time("head", HEAD_S, self._head_overdue)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._time("answer", READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel("answer")
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for name in ("head", "answer"):
            self._cancel(name)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says more
        self._refuse(*self._fault)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        """Whether it is the client's turn."""
        return not self.transport.is_closing() and (self._idle or self.cycle.more_body)

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        waiting: list[BoundedProtocol] = [
            one for one in self.connections if isinstance(one, BoundedProtocol) and one is not self and one._waits
        ]
        if not waiting:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{CONNECTIONS} connections are open already")
            return
        ((peer, _),) = Counter(one._peer for one in waiting).most_common(1)
        theirs = [one for one in waiting if one._peer == peer]
        # First those that never asked for anything, then those that may ask again, last (and one only) a body's sender.
        first, *others = sorted(theirs, key=lambda one: (one.cycle is not None, not one._idle, one._number))
        for one in (first, *(one for one in others[: min(GOING, len(others) // 4)] if one._idle)):
            one.transport.abort()

    def _head_overdue(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no request arrived within {HEAD_S} s")

    def _stop(self, status: HTTPStatus, detail: str) -> NoReturn:
        """Let the parser go no further."""
        self._fault = status, detail
        raise HttpParserError(detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Close the connection, with an answer where none has begun."""
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

    def _time(self, name: str, seconds: float, then: Callable[[], None]) -> None:
        self._cancel(name)
        self._timers[name] = self.loop.call_later(seconds, then)

    def _cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
