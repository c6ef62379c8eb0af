"""Reads request bodies completely before they are handled, or refuses them while they arrive."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.review.refusals import refusal

MAX_BYTES = 1 << 20  # five times what 500 verdicts on products with long ids take
TIMEOUT_S = 30.0


class Bodies:
    """ASGI middleware that limits the size of each body to `MAX_BYTES` and its duration to `timeout_s`."""

    def __init__(self, app: ASGIApp, timeout_s: float = TIMEOUT_S) -> None:
        self.app, self.timeout_s = app, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        close = {"Connection": "close"}  # the rest will not be read
        try:
            async with asyncio.timeout(self.timeout_s):
                message = await _read_body(receive)
        except TimeoutError:
            response = refusal(408, f"The request did not arrive within {self.timeout_s:g} s.", close)
            await response(scope, receive, send)
            return
        if message is None:
            response = refusal(413, f"The request is too large: at most {MAX_BYTES:,} bytes are accepted.", close)
            await response(scope, receive, send)
            return
        messages = [message]

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, receive_again, send)


async def _read_body(receive: Receive) -> Message | None:
    """Return the body as one message, a disconnect message, or None for a body that is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            return None
        if not message.get("more_body", False):
            return {"type": "http.request", "body": bytes(body), "more_body": False}
