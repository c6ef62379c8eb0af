"""What is refused before it costs much: large bodies while they arrive, forms that are slow to read, large photos."""

from __future__ import annotations

import asyncio

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.errors import PhotoError
from attire.serve.fairness import Room, client_of
from attire.serve.image_headers import PASSES, Header, read_header
from attire.serve.problems import Problem, ProblemError, response
from attire.serve.settings import MIB, Settings

UNREAD = ("GET", "HEAD", "OPTIONS")  # methods whose body nobody reads


def check_photo(content: bytes, settings: Settings) -> Header:
    """The photo's header; raises `PhotoError` for one that is too large in bytes, pixels or passes over them."""
    if len(content) > settings.photo_bytes:
        raise PhotoError(f"too large: {len(content):,} bytes, at most {settings.photo_bytes:,} are taken")
    header = read_header(content)
    size = f"{header.width:,} x {header.height:,} px"
    if header.pixels > settings.photo_pixels:
        raise PhotoError(f"too large: {size}, at most {settings.photo_pixels:,} pixels are taken")
    if header.passes * header.pixels > PASSES * settings.photo_pixels:
        raise PhotoError(f"too slow to decode: {size} in {header.passes:,} scans")
    return header


class BodyLimits:
    """ASGI middleware: bounds the size of a body while it arrives, its time, and what all bodies together may hold."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.room = app, settings, Room(settings.bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in UNREAD:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(self, client_of(scope), receive)
        try:
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length[:20]) > self.settings.body_bytes:
                raise self.too_large()
            _check_form(headers.get("content-type", ""))
        except ProblemError as error:
            refusal = response(Problem.of(error.status_code, error.detail), scope["path"], dict(error.headers or {}))
            await refusal(scope, receive, send)
            return
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.room.give(body.client, body.size)

    def too_large(self) -> ProblemError:
        """The refusal of a body that has more bytes than are taken."""
        most = f"{self.settings.body_bytes / MIB:,.0f} MiB"
        error = ProblemError(413, f"the body is too large: at most {most} are taken. Send fewer or smaller photos.")
        error.headers = {"Connection": "close"}  # the rest will not be read
        return error


def _check_form(content_type: str) -> None:
    """Refuse a form that is read byte by byte, or that names an encoding (which may take the square of its length)."""
    kind, options = parse_options_header(content_type)  # as the form's own parser does
    if kind == b"application/x-www-form-urlencoded":
        raise ProblemError(415, "expected a form of the type multipart/form-data")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise ProblemError(415, "expected UTF-8: leave the charset out of Content-Type")


class _Body:
    """One request's body, counted while it arrives."""

    def __init__(self, limits: BodyLimits, client: str, receive: Receive) -> None:
        self.client, self.size = client, 0
        self._limits, self._receive, self._complete = limits, receive, False
        self._until = asyncio.get_running_loop().time() + limits.settings.upload_s

    async def receive(self) -> Message:
        if self._complete:  # only a disconnect can follow
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            error = ProblemError(408, f"the body did not arrive within {self._limits.settings.upload_s:g} s")
            error.headers = {"Connection": "close"}
            raise error from None
        arrived = len(message.get("body", b""))
        if self.size + arrived > self._limits.settings.body_bytes:
            raise self._limits.too_large()
        if not self._limits.room.take(self.client, arrived):
            raise ProblemError(503, "too many large requests at once. Try again later.", retry_after_s=1)
        self.size += arrived
        self._complete = not message.get("more_body", False)
        return message
