"""What is refused before any photo is decoded: large bodies while they arrive, and photos by their first bytes."""

from __future__ import annotations

import asyncio
import io
import struct
import warnings

from PIL import Image, UnidentifiedImageError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.errors import PhotoError
from attire.serve.problems import Problem, ProblemError, response
from attire.serve.settings import MIB, Settings

SCANS = 64  # of a JPEG: a usual progressive one has 10; each is a pass over all pixels, for as little as 20 bytes
MAGIC = {"JPEG": (b"\xff\xd8\xff",), "PNG": (b"\x89PNG\r\n\x1a\n",), "WEBP": (b"RIFF",)}


def check_photo(content: bytes, settings: Settings) -> None:
    """Raise `PhotoError` for a photo that is too large in bytes or pixels, or of another format. Decodes nothing."""
    if len(content) > settings.photo_bytes:
        raise PhotoError(f"too large: {len(content):,} bytes, at most {settings.photo_bytes:,} are taken")
    if not content:
        raise PhotoError("empty: 0 bytes")
    kind = next((name for name, starts in MAGIC.items() if content.startswith(starts)), None)
    if kind is None or (kind == "WEBP" and content[8:12] != b"WEBP"):
        raise PhotoError("not a photo that is taken: expected JPEG, PNG or WebP")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=tuple(MAGIC)) as photo:
                width, height = photo.size
    except UnidentifiedImageError:
        raise PhotoError(f"damaged: it starts as {kind}, but its header cannot be read") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"too large: at most {settings.photo_pixels:,} pixels are taken") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, struct.error) as error:
        raise PhotoError(f"damaged: {error}") from None
    # Elsewhere than at the start of a scan these two bytes stand only in a thumbnail, which has few.
    if kind == "JPEG" and content.count(b"\xff\xda") > SCANS:
        raise PhotoError(f"too slow to decode: a JPEG of more than {SCANS} scans")
    if width * height > settings.photo_pixels:
        size = f"{width:,} x {height:,} px"
        raise PhotoError(f"too large: {size}, at most {settings.photo_pixels:,} pixels are taken")


class BodyLimits:
    """ASGI middleware: bounds the size of a body while it arrives, its time, and what all bodies together may hold."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.held = app, settings, 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self.settings.body_bytes:
            error = self._too_large()
            refusal = response(Problem.of(error.status_code, error.detail), scope["path"], dict(error.headers or {}))
            await refusal(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.held -= body.size

    def check(self, size: int) -> None:
        """Raise `ProblemError` where one body has grown to `size` bytes, or all of them, beyond what is taken."""
        if size > self.settings.body_bytes:
            raise self._too_large()
        if self.held > self.settings.bodies_bytes:
            raise ProblemError(503, "too many large requests at once. Try again later.", retry_after_s=1)

    def _too_large(self) -> ProblemError:
        most = f"{self.settings.body_bytes / MIB:,.0f} MiB"
        error = ProblemError(413, f"the body is too large: at most {most} are taken. Send fewer or smaller photos.")
        error.headers = {"Connection": "close"}  # the rest will not be read
        return error


class _Body:
    """One request's body, counted while it arrives."""

    def __init__(self, limits: BodyLimits, receive: Receive) -> None:
        self._limits, self._receive, self.size, self._complete = limits, receive, 0, False
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
        self.size += arrived
        self._limits.held += arrived
        self._complete = not message.get("more_body", False)
        self._limits.check(self.size)
        return message
