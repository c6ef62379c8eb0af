"""Checks API keys and the Host header before a request's body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from attire.hosts import host_of, is_address, is_local
from attire.serve.fairness import KEY
from attire.serve.problems import Problem, response
from attire.serve.settings import Settings

PROBES = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # answered for any Host: load balancers ask


class Hosts:
    """ASGI middleware that refuses requests whose Host header names another server.

    Without API keys this is the only protection against DNS rebinding: a web page that points its own domain at this
    server and sends requests through a visitor's browser. With keys, hosts are checked only if `allow_hosts` is set.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.names = app, {host.lower() for host in settings.allow_hosts}
        self.any = bool(settings.keys) and not self.names
        self.local = is_local(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.any and scope["path"] not in PROBES:
            header = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not self._allows(host_of(header)):
                names = ", ".join(sorted(self.names)) or ("localhost" if self.local else "its IP address")
                detail = (
                    f"The request is for the host '{header[:100]}', but this server answers as {names}. "
                    "The operator can add a host with --allow-hosts."
                )
                await response(Problem.of(421, detail), scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _allows(self, host: str) -> bool:
        # An IP address cannot be rebound. A server that listens on loopback only is never reached by another address.
        return is_local(host) or host in self.names or (is_address(host) and not self.local)


class Keys:
    """ASGI middleware that refuses requests below a path of `needed` without one of its keys.

    A path with an empty list of keys is open. This is no FastAPI dependency, because FastAPI parses the whole body
    before it calls dependencies.
    """

    def __init__(self, app: ASGIApp, needed: Mapping[str, Sequence[SecretStr]]) -> None:
        self.app = app
        # Digests have equal length, so the comparison time does not reveal the length of a key.
        self.needed: Mapping[str, list[bytes]] = {
            path: [_digest(key.get_secret_value().encode()) for key in keys] for path, keys in needed.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            detail = "Expected the header 'Authorization: Bearer KEY' with an API key of this server."
            refusal = response(Problem.of(401, detail), scope["path"], {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        keys = next((keys for path, keys in self.needed.items() if f"{scope['path']}/".startswith(f"{path}/")), [])
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        digest = _digest(token.strip())
        matches = [hmac.compare_digest(digest, key) for key in keys]  # compare all: constant time
        if scheme.lower() == b"bearer" and any(matches):
            scope.setdefault("state", {})[KEY] = digest.hex()
            return True
        return not keys


def in_description(scheme: str, description: str) -> Any:
    """Return a dependency that documents an API key in OpenAPI; it checks nothing."""
    return Security(HTTPBearer(auto_error=False, scheme_name=scheme, description=description))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
