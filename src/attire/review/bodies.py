"""Bodies of requests: read whole before anything looks at them, or refused while they arrive."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attire.review.refusals import refusal

MOST_BYTES = 1 << 20  # 500 verdicts on products with long ids take a fifth
WITHIN_S = 30.0


class Bodies:
    """ASGI middleware: no body holds more memory than `MOST_BYTES`, or a connection for longer than `within_s`."""

    def __init__(self, app: ASGIApp, within_s: float = WITHIN_S) -> None:
        self.app, self.within_s = app, within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        close = {"Connection": "close"}  # the rest will not be read
        try:
            async with asyncio.timeout(self.within_s):
                arrived = await _whole(receive)
        except TimeoutError:
            refused = refusal(408, f"The request did not arrive within {self.within_s:g} s.", close)
            await refused(scope, receive, send)
            return
        if arrived is None:
            refused = refusal(413, f"The request is too large: at most {MOST_BYTES:,} bytes are taken.", close)
            await refused(scope, receive, send)
            return
        waiting = [arrived]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, again, send)


async def _whole(receive: Receive) -> Message | None:
    """The body as one message, or that the client has gone; None for a body that is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return {"type": "http.request", "body": bytes(body), "more_body": False}
