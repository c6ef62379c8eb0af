"""API keys, as bearer tokens, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from attire.serve.problems import ProblemError

Guard = Callable[..., Awaitable[None]]


def guard(keys: Sequence[SecretStr], *, scheme: str, description: str) -> Guard:
    """A dependency that refuses requests without one of `keys`."""
    credentials = Security(HTTPBearer(auto_error=False, scheme_name=scheme, description=description))
    # Digests have one length, so that not even a key's length shows in the time.
    known = [hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys]

    async def check(given: HTTPAuthorizationCredentials | None = credentials) -> None:
        token = hashlib.sha256((given.credentials if given else "").encode("utf-8", "replace")).digest()
        matches = [hmac.compare_digest(token, key) for key in known]  # all of them, whichever fits
        if not any(matches):
            error = ProblemError(401, "expected the header 'Authorization: Bearer KEY' with a key of this server")
            error.headers = {"WWW-Authenticate": "Bearer"}
            raise error

    return check
