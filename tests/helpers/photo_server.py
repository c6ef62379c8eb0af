"""A local HTTP server of photos that counts requests, answers conditional ones, and fails on request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PhotoServer:
    """`photos` maps paths to contents. A path in `failing` is answered with its status, as often as its number says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.photos: dict[str, bytes] = {}
        self.failing: dict[str, tuple[int, int]] = {}
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.tags = True

    def answer(self, path: str, known: str | None) -> tuple[int, bytes, str]:
        """Status, content and ETag."""
        self.requests[path] += 1
        status, times = self.failing.get(path, (0, 0))
        if times:
            self.failing[path] = (status, times - 1)
            return status, b"", ""
        if path not in self.photos:
            return 404, b"", ""
        tag = f'"{sha256(self.photos[path]).hexdigest()[:8]}"'
        if self.tags and known == tag:
            return 304, b"", tag
        self.sent[path] += 1
        return 200, self.photos[path], tag if self.tags else ""


@contextmanager
def serving_photos() -> Iterator[PhotoServer]:
    """Serve photos while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content, tag = photos.answer(self.path, self.headers.get("If-None-Match"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if tag:
                self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    photos = PhotoServer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield photos
    finally:
        server.shutdown()
        server.server_close()
