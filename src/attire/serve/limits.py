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
    if width * height > settings.photo_pixels:
        size = f"{width:,} x {height:,} px"
        raise PhotoError(f"too large: {size}, at most {settings.photo_pixels:,} pixels are taken")


class BodyLimits:
    """ASGI middleware: bounds the size of a body while it arrives, the time it takes, and how many are held at once."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.held = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(dict(scope["headers"]).get(b"content-length", b""))
        if refusal is not None:
            headers = {**(refusal.headers or {}), "Connection": "close"}  # the body will not be read
            problem = response(Problem.of(refusal.status_code, refusal.detail), scope["path"], headers)
            await problem(scope, receive, send)
            return
        self.held += 1
        try:
            await self.app(scope, self._limited(receive), send)
        finally:
            self.held -= 1

    def _refusal(self, length: bytes) -> ProblemError | None:
        if length.isdigit() and int(length[:20]) > self.settings.body_bytes:
            return self._too_large()
        if self.held >= self.settings.bodies:
            return ProblemError(503, "too many requests at once. Try again later.", retry_after_s=1)
        return None

    def _too_large(self) -> ProblemError:
        most = f"{self.settings.body_bytes / MIB:,.0f} MiB"
        return ProblemError(413, f"the body is too large: at most {most} are taken. Send fewer or smaller photos.")

    def _limited(self, receive: Receive) -> Receive:
        size, complete, until = 0, False, asyncio.get_running_loop().time() + self.settings.upload_s

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # only a disconnect can follow
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                error = ProblemError(408, f"the body did not arrive within {self.settings.upload_s:g} s")
                error.headers = {"Connection": "close"}
                raise error from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > self.settings.body_bytes:
                error = self._too_large()
                error.headers = {"Connection": "close"}
                raise error
            return message

        return limited
