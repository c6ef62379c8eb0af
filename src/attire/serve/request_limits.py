"""Refuses expensive requests early: large or slow bodies, forms that are slow to parse, and large photos."""

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

UNREAD = ("GET", "HEAD", "OPTIONS")  # methods whose body is never read


def check_photo(content: bytes, settings: Settings) -> Header:
    """Return the photo's header; raises `PhotoError` if it has too many bytes, pixels or passes over its pixels."""
    if len(content) > settings.photo_bytes:
        raise PhotoError(f"too large: {len(content):,} bytes, at most {settings.photo_bytes:,} are accepted")
    header = read_header(content)
    size = f"{header.width:,} x {header.height:,} px"
    if header.pixels > settings.photo_pixels:
        raise PhotoError(f"too large: {size}, at most {settings.photo_pixels:,} pixels are accepted")
    if header.passes * header.pixels > PASSES * settings.photo_pixels:
        raise PhotoError(f"too slow to decode: {size} in {header.passes:,} scans")
    return header


class BodyLimits:
    """ASGI middleware that limits the size and duration of each body, and the total size of all bodies in memory."""

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
        """Return the refusal of a body that is too large."""
        limit = f"{self.settings.body_bytes / MIB:,.0f} MiB"
        error = ProblemError(413, f"The body is too large: at most {limit} are accepted. Send fewer or smaller photos.")
        error.headers = {"Connection": "close"}  # the rest will not be read
        return error


def _check_form(content_type: str) -> None:
    """Refuse URL-encoded forms, which are parsed byte by byte, and charsets that decode in quadratic time."""
    kind, options = parse_options_header(content_type)  # the same function that the form parser uses
    if kind == b"application/x-www-form-urlencoded":
        raise ProblemError(415, "Expected a form of type multipart/form-data.")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise ProblemError(415, "Expected UTF-8. Leave the charset out of Content-Type.")


class _Body:
    """One request's body, measured while it arrives."""

    def __init__(self, limits: BodyLimits, client: str, receive: Receive) -> None:
        self.client, self.size = client, 0
        self._limits, self._receive, self._complete = limits, receive, False
        self._deadline = asyncio.get_running_loop().time() + limits.settings.upload_s

    async def receive(self) -> Message:
        if self._complete:  # only a disconnect can follow
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            error = ProblemError(408, f"The body did not arrive within {self._limits.settings.upload_s:g} s.")
            error.headers = {"Connection": "close"}
            raise error from None
        arrived = len(message.get("body", b""))
        if self.size + arrived > self._limits.settings.body_bytes:
            raise self._limits.too_large()
        if not self._limits.room.take(self.client, arrived):
            raise ProblemError(503, "Too many large requests at once. Try again later.", retry_after_s=1)
        self.size += arrived
        self._complete = not message.get("more_body", False)
        return message
