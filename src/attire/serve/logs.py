"""The server's log on standard error: one line per request, with a request id that clients can set, and no content.

Control characters from clients are escaped, so that they can neither end a line nor control a terminal.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.errors import spelled_out

if TYPE_CHECKING:  # it imports prometheus_client, which must not happen before PROMETHEUS_MULTIPROC_DIR is set
    from attire.serve.metrics import Metrics

logger = logging.getLogger("attire.access")
HEADER = "X-Request-ID"
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLOSED = 499  # nginx's status for a client that disconnected before the answer


class RequestLog:
    """ASGI middleware that logs method, path, status, time and request id, but no query string, body or key."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        header = dict(scope["headers"]).get(HEADER.lower().encode(), b"").decode("latin-1")
        id = header if ID.fullmatch(header) else uuid.uuid4().hex
        start, status = time.perf_counter(), CLOSED

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            # The route's template, not the path: every path would create its own time series.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            path = quote(scope["path"][:200])
            logger.info("%s %s %d %.0f ms %s", scope["method"], path, status, 1000 * seconds, id)


def log_to_stderr() -> None:
    """Configure logging of this process; each worker calls it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    # force: the command line's handler wraps lines at the terminal's width
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("attire", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)


class Lines(logging.Formatter):
    """Formats records with control characters escaped; tracebacks keep their line breaks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return spelled_out(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return spelled_out(super().formatException(ei), kept="\n")
