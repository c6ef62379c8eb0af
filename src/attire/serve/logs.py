"""The server's log: one line for each request with an id that joins it with the client's; never what was sent.

Lines go to standard error. Nothing that a client sent can end a line or steer a terminal.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.errors import spelled_out
from attire.serve.metrics import Metrics

logger = logging.getLogger("attire.access")
HEADER = "X-Request-ID"
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLOSED = 499  # nginx's number for a client that went away before the answer


class RequestLog:
    """ASGI middleware: logs method, path, status, time and id. No query string, no body, no key."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(HEADER.lower().encode(), b"").decode("latin-1")
        id = given if ID.fullmatch(given) else uuid.uuid4().hex
        start, status = time.perf_counter(), CLOSED

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            took = time.perf_counter() - start
            # The route's template, not the path: a path can be anything, and each would be a series of its own.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(took)
            path = quote(scope["path"][:200])
            logger.info("%s %s %d %.0f ms %s", scope["method"], path, status, 1000 * took, id)


def log_to_stderr() -> None:
    """Workers are processes of their own, so each does this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    # force: the command line's own handler folds lines to the terminal's width
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("attire", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)


class Lines(logging.Formatter):
    """Spells out control characters; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return spelled_out(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return spelled_out(super().formatException(ei), kept="\n")
