"""API keys, as bearer tokens, compared in constant time and before a body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from attire.serve.problems import Problem, response


class Keys:
    """ASGI middleware: refuses requests below a path of `needed` without one of its keys; no keys, no refusal.

    FastAPI would parse the body, however large, before it asked a dependency.
    """

    def __init__(self, app: ASGIApp, needed: Mapping[str, Sequence[SecretStr]]) -> None:
        self.app = app
        # Digests have one length, so that not even a key's length shows in the time.
        self.needed = {
            path: [_digest(key.get_secret_value().encode()) for key in keys] for path, keys in needed.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            detail = "expected the header 'Authorization: Bearer KEY' with a key of this server"
            refusal = response(Problem.of(401, detail), scope["path"], {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        known = next((keys for path, keys in self.needed.items() if f"{scope['path']}/".startswith(f"{path}/")), [])
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        digest = _digest(token.strip())
        matches = [hmac.compare_digest(digest, key) for key in known]  # all of them, whichever fits
        return not known or (scheme.lower() == b"bearer" and any(matches))


def in_description(scheme: str, description: str) -> Any:
    """A dependency that tells OpenAPI of a key and checks nothing."""
    return Security(HTTPBearer(auto_error=False, scheme_name=scheme, description=description))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
