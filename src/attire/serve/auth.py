"""Who is answered, before a body is read: who has an API key, and who asks this server under one of its names."""

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

PROBES = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # asked under whatever name a balancer has


class Hosts:
    """ASGI middleware: refuses requests for another host than this server.

    Without keys this is all that keeps a page of another site from asking through somebody's browser, under a name of
    its own that it lets lead here (DNS rebinding). With keys, names count only where some are given.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.names = app, {host.lower() for host in settings.allow_hosts}
        self.any = bool(settings.keys) and not self.names
        self.local = is_local(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.any and scope["path"] not in PROBES:
            given = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not self._knows(host_of(given)):
                known = ", ".join(sorted(self.names)) or ("localhost" if self.local else "its address")
                detail = (
                    f"asked for the host '{given[:100]}', but this server is {known}. Its operator can --allow-hosts"
                )
                await response(Problem.of(421, detail), scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        # A page cannot let an address lead elsewhere; but who listens to this machine only is asked from there.
        return is_local(host) or host in self.names or (is_address(host) and not self.local)


class Keys:
    """ASGI middleware: refuses requests below a path of `needed` without one of its keys; no keys, no refusal.

    FastAPI would parse the body, however large, before it asked a dependency.
    """

    def __init__(self, app: ASGIApp, needed: Mapping[str, Sequence[SecretStr]]) -> None:
        self.app = app
        # Digests have one length, so that not even a key's length shows in the time.
        self.needed: Mapping[str, list[bytes]] = {
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
        if scheme.lower() == b"bearer" and any(matches):
            scope.setdefault("state", {})[KEY] = digest.hex()
            return True
        return not known


def in_description(scheme: str, description: str) -> Any:
    """A dependency that tells OpenAPI of a key and checks nothing."""
    return Security(HTTPBearer(auto_error=False, scheme_name=scheme, description=description))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
